"""Functions of one's own, named by their dotted names. Needs no torch.

Such a function is code. It runs only where the user has named it: by the option that makes the run, or by ``--trust-code``. A
stored run that names code is refused without that.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any

from lpm.console.errors import InvalidInput
from training.data.untrusted import line

VARIABLE = "TRAINING_TRUSTED_CODE"
"""Environment variable with the dotted names that may run, so that processes of a command know them, too."""


def trusted() -> frozenset[str]:
    """The dotted names that may run in this process."""
    return frozenset(os.environ.get(VARIABLE, "").split())


def trust(*names: str) -> None:
    """Allow dotted names to run in this process and in those that it starts.

    Args:
        *names: such as 'package.module:function'.
    """
    os.environ[VARIABLE] = " ".join(sorted(trusted().union(names)))


def function_of(name: str, option: str) -> Callable[..., Any]:
    """Find a function by its dotted name.

    Args:
        name: such as 'package.module:function'; Python looks for the module where it looks for any other.
        option: the option that has it, for messages.

    Returns:
        The function.

    Raises:
        InvalidInput: if the user has not said that it may run, or it cannot be found.
    """
    if name not in trusted():
        raise InvalidInput(
            f"{option} {name} is code of yours, which a stored run may only name: --trust-code {name} runs it"
        )
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # whatever the module's own code raises
        remedy = ""
        if isinstance(error, ModuleNotFoundError) and error.name == module.partition(".")[0]:
            remedy = "; start the command in the folder of your code, and with --address have that folder on every host"
        raise InvalidInput(
            f"{option} {name} cannot be imported: {line(error) or type(error).__name__}{remedy}"
        ) from None
    if not callable(found):
        raise InvalidInput(f"{option} {name} is no function")
    function: Callable[..., Any] = found
    return function
