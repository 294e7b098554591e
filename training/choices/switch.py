"""An option that is a switch, and may also name a value of another option."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any


class Switch(argparse.Action):
    """The options ``--NAME``, ``--no-NAME`` and ``--NAME WORD``, which switches on and is kept under a name of its own.

    Args:
        option_strings: the first option.
        dest: where True or False is kept.
        word: where the word is kept.
        type: a function that checks the word.
        keywords: as for other actions.
    """

    def __init__(
        self, option_strings: Sequence[str], dest: str, *, word: str, type: Callable[[str], Any] = str, **keywords: Any
    ) -> None:
        options = [*option_strings, *("--no-" + option.removeprefix("--") for option in option_strings)]
        super().__init__(options, dest, nargs="?", **keywords)
        self.word, self.check = word, type  # not argparse's, whose errors name both options

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        """Take the option from a command line.

        Args:
            parser: the command's parser.
            namespace: what is parsed.
            values: the word, or None.
            option: as it was typed.

        A wrong word, and any word behind ``--no-NAME``, are errors of the parser.
        """
        on = not str(option).startswith("--no-")
        if values is not None:
            if not on:
                parser.error(f"argument {option}: it takes no word, and there is {values!r}")
            try:
                setattr(namespace, self.word, self.check(values))
            except argparse.ArgumentTypeError as error:
                parser.error(f"argument {option}: {error}")
        setattr(namespace, self.dest, on)
