"""Functions of one's own, named by their dotted names. Needs no torch.

Such a function is code. It runs only where the user has named it: by the option that makes the run, or by ``--trust-code``. A
stored run that names code is refused without that.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lpm.console.errors import InvalidInput
from training.data.untrusted import line

VARIABLE = "TRAINING_TRUSTED_CODE"
"""Environment variable with the dotted names that may run, so that processes of a command know them, too."""

NOT_OWN = ("lpm", "training")
"""Packages whose modules are no part of one's own code, though it may import them."""

FRAMES = 10
"""Lines of a traceback that are printed, at most: the innermost."""

_HASHES: dict[str, tuple[object, str]] = {}
"""Functions that were found, each with the hash of its source at that time."""


class OwnCodeError(InvalidInput):
    """One's own code that raised something, or returned what it must not. No data are to blame."""


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
    except (Exception, SystemExit) as error:  # whatever the module's own code raises
        remedy = ""
        if isinstance(error, ModuleNotFoundError) and error.name == module.partition(".")[0]:
            remedy = "; start the command in the folder of your code, and with --address have that folder on every host"
        raise InvalidInput(
            f"{option} {name} cannot be imported: {line(error) or type(error).__name__}{remedy}"
        ) from None
    if not callable(found):
        raise InvalidInput(f"{option} {name} is no function")
    # Now, because edits of the files change nothing in this process. A module that is imported anew has another function.
    if name not in _HASHES or _HASHES[name][0] is not found:
        _HASHES[name] = found, _hash(module)
    function: Callable[..., Any] = found
    return function


def called(function: Callable[..., Any], *args: object, words: str) -> Any:
    """Call a function of one's own.

    Args:
        function: the function.
        *args: its arguments.
        words: the option and the name, for messages.

    Returns:
        What the function returns.

    Raises:
        OwnCodeError: if the function raises anything, with the lines of its own source that led there.
    """
    try:
        return function(*args)
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)[1:]  # the first is the call above
        folders = (str(Path(__file__).parents[1]), *map(sysconfig.get_path, ("stdlib", "purelib", "platlib")))
        others = tuple(os.path.join(folder, "") for folder in folders)
        frames = [frame for frame in frames if not frame.filename.startswith(others)] or frames
        raise OwnCodeError(
            f"{words} raised {type(error).__name__}: {line(error)}",
            lines=tuple(f"{f.filename}:{f.lineno} in {f.name}: {f.line}" for f in frames[-FRAMES:]),
        ) from None


def source_hash(name: str, option: str) -> str:
    """Hash the source of a function: its module, and all modules beside this one that it imports, or that these import.

    Installed packages that it imports are left out, and so are files that it reads.

    Args:
        name: as in :func:`function_of`.
        option: as in :func:`function_of`.

    Returns:
        The SHA-256, hexadecimal; that of the code that runs, which later edits leave.

    Raises:
        InvalidInput: as :func:`function_of`.
    """
    function_of(name, option)
    return _HASHES[name][1]


def _hash(module: str) -> str:
    digest = hashlib.sha256()
    for name, source in sorted(_sources(module).items()):
        digest.update(f"{name} {len(source)}\n".encode() + source)
    return digest.hexdigest()


def _sources(module: str) -> dict[str, bytes]:
    """The sources of a module and of those that it needs below the folder it comes from, by their dotted names."""
    file = getattr(sys.modules[module], "__file__", None)
    if file is None:  # built in, or typed into a notebook
        return {}
    root = Path(file).parents[module.count(".") + (Path(file).stem == "__init__")]
    installed = str(root) in sysconfig.get_paths().values()
    sources, waiting = dict[str, bytes](), {module: Path(file)}
    while waiting:
        name, file = waiting.popitem()
        try:
            sources[name] = Path(file).read_bytes()
            tree = ast.parse(sources[name])
        except (OSError, ValueError, SyntaxError):  # compiled, or changed since it was imported
            continue
        package = name if Path(file).stem == "__init__" else name.rpartition(".")[0]
        for needed in _imports(tree, package):
            top = needed.partition(".")[0]
            if needed in sources or top in NOT_OWN or (installed and top != module.partition(".")[0]):
                continue
            place = root.joinpath(*needed.split("."))
            for path in (place.with_suffix(".py"), place / "__init__.py"):  # of both, Python takes the package
                if path.is_file():
                    waiting[needed] = path
    return sources


def _imports(tree: ast.Module, package: str) -> Iterator[str]:
    """The dotted names that a module of a package imports, those of packages on their way included.

    Some of them are no modules, but what modules hold.
    """
    for node in ast.walk(tree):
        names = list[str]()
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            try:
                base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            except ImportError:  # beyond the top
                continue
            names = [f"{base}.{alias.name}" for alias in node.names]
        for parts in (name.split(".") for name in names):
            yield from (".".join(parts[:length]) for length in range(1, len(parts) + 1))
