"""An option that is a switch, and may also name a value of another option."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any


class Switch(argparse.Action):
    """The options ``--NAME``, ``--no-NAME`` and ``--NAME WORD``, which switches on and is kept under a name of its own.

    Args:
        option_strings: the first option.
        dest: where True or False is kept.
        word: where the word is kept.
        keywords: as for other actions; ``type`` checks the word.
    """

    def __init__(self, option_strings: Sequence[str], dest: str, *, word: str, **keywords: Any) -> None:
        options = [*option_strings, *("--no-" + option.removeprefix("--") for option in option_strings)]
        super().__init__(options, dest, nargs="?", **keywords)
        self.word = word

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        """Take the option from a command line.

        Args:
            parser: the command's parser.
            namespace: what is parsed.
            values: the word, or None.
            option: as it was typed.

        Raises:
            ArgumentError: if there is a word behind ``--no-NAME``.
        """
        on = not str(option).startswith("--no-")
        if values is not None:
            if not on:
                raise argparse.ArgumentError(self, f"--no takes no word, and there is {values!r}")
            setattr(namespace, self.word, values)
        setattr(namespace, self.dest, on)
