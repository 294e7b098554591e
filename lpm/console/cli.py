"""The parts that commands share: options, one-line errors with exit status 2, JSON output."""

from __future__ import annotations

import argparse
import difflib
import io
import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from lpm.console import signals
from lpm.console.errors import InvalidInput, NotCertified, install
from lpm.console.text import markdown, shown

EXTRA = dict.fromkeys(("torch", "safetensors", "sklearn", "pyarrow", "PIL"), "train")
"""Packages, and the extra that installs each."""

MANY = 20
"""Words of a choice above which an error does not list them."""


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or action.default is False or "(default" in (action.help or ""):
            return action.help
        if isinstance(action.default, list) and action.default:
            return f"{action.help} (default: {','.join(map(str, action.default))})"  # as one types it
        return super()._get_help_string(action)


class _Refusal(argparse.Action):
    def __call__(
        self, parser: argparse.ArgumentParser, namespace: object, values: object, option: str | None = None
    ) -> NoReturn:
        parser.error(f"{option} does not apply: {self.const}")


class Parser(argparse.ArgumentParser):
    """Argument parser of ``python -m <module>`` whose errors are one line and exit status 2.

    Args:
        module: dotted name of the module.
        description: the first line of its help.
    """

    def __init__(self, module: str, description: str) -> None:
        super().__init__(
            prog=f"python -m {module}",
            description=description,
            allow_abbrev=False,
            formatter_class=_Help,
        )
        self._groups: dict[str, argparse._ArgumentGroup] = {}

    def group(self, title: str) -> argparse._ArgumentGroup:
        """Give the group of options under a title of the help. It is made at the first call.

        Args:
            title: the title.

        Returns:
            The group.
        """
        if title not in self._groups:
            self._groups[title] = self.add_argument_group(title)
        return self._groups[title]

    def refuse(self, reason: str, *options: str) -> None:
        """Answer options of other commands, which people may try here, with a reason.

        Args:
            reason: why they do not apply, and the remedy.
            *options: the options.
        """
        for option in options:
            self.add_argument(option, action=_Refusal, const=reason, nargs="?", help=argparse.SUPPRESS)

    def error(self, message: str) -> NoReturn:
        """Print an error and end the process, overriding :meth:`argparse.ArgumentParser.error`.

        The error of an unknown option names the nearest one.

        Args:
            message: the error.
        """
        prefix = "unrecognized arguments: "
        if message.startswith(prefix):
            unknown = (message.removeprefix(prefix).split() or [""])[0]
            if self._get_positional_actions() and not unknown.startswith("-"):
                message = f"{unknown!r} is one word too many; a pattern may have matched several files or folders"
            else:
                message = f"option {unknown!r} is unknown{_nearest(unknown, self._option_string_actions)}; see --help"
        print(shown(f"error: {message}"), file=sys.stderr)
        sys.exit(2)


def _nearest(word: str, words: Iterable[str]) -> str:
    by_lower = {known.lower(): known for known in words}
    close = difflib.get_close_matches(word.lower(), list(by_lower), n=1, cutoff=0.6)
    return f", did you mean {by_lower[close[0]]!r}?" if close else ""


def choice(*words: str) -> Callable[[str], str]:
    """Make an argument type that accepts some words; its error names the nearest.

    Args:
        words: the words.

    Returns:
        A function from a text to the same text, for argparse.
    """

    def parse(text: str) -> str:
        if text in words:
            return text
        if all(part.strip() in words for part in text.split(",")):
            raise argparse.ArgumentTypeError(f"{text!r} is several words; put spaces between them, not commas")
        all_words = f"one of {', '.join(words)}" if len(words) <= MANY else f"--help lists all {len(words)}"
        raise argparse.ArgumentTypeError(f"{text!r} is unknown{_nearest(text, words)} ({all_words})")

    return parse


def numbers(what: str) -> Callable[[str], tuple[float, ...]]:
    """Build the type of an option whose value is a list of numbers.

    Args:
        what: the numbers in the plural, for the error.

    Returns:
        A function that reads numbers between commas, and raises ArgumentTypeError where there are none.
    """

    def parse(text: str) -> tuple[float, ...]:
        try:
            return tuple(float(part) for part in text.split(","))
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text[:60]!r} is not a comma-separated list of {what}") from None

    return parse


def jobs(text: str) -> int:
    """Read a number of processes, 1 to 64.

    Args:
        text: the argument.

    Returns:
        The number.

    Raises:
        ArgumentTypeError: if the text is no such number.
    """
    if not re.fullmatch(r"\d{1,2}", text) or not 1 <= int(text) <= 64:
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is not a number of processes, 1 to 64")
    return int(text)


def minutes(text: str) -> float:
    """Parse a time limit.

    Args:
        text: word of the command line.

    Returns:
        Minutes, more than 0 and at most a day.

    Raises:
        ArgumentTypeError: if the text is anything else.
    """
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1440:
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is not a number of minutes, at most 1440")
    return value


def address(text: str) -> str:
    """Check a host and a port.

    Args:
        text: the argument, HOST:PORT.

    Returns:
        The same text.

    Raises:
        ArgumentTypeError: if the text has another form.
    """
    if not re.fullmatch(r"[\w.-]{1,255}:\d{1,5}", text, flags=re.ASCII) or int(text.rpartition(":")[2]) > 65535:
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is not HOST:PORT, such as 10.0.0.1:6379")
    return text


def list_commands(
    package: str, description: str, commands: Mapping[str, str], arguments: Sequence[str] | None = None
) -> int:
    """Print the commands of a package, for ``python -m package``.

    Args:
        package: its name.
        description: what it is for, in a few words.
        commands: the commands' modules, each with one line.
        arguments: words of the command line; those of the process if None.

    Returns:
        The exit status: 2 if there is any word but a call for help.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words and words[0] not in ("-h", "--help"):
        remedy = f"type python -m {package}.{words[0]}" if words[0] in commands else f"commands: {', '.join(commands)}"
        print(shown(f"error: {words[0]!r} is no option of python -m {package}; {remedy}"), file=sys.stderr)
        return 2
    print(f"{package}: {description}\n")
    width = max(map(len, commands)) + len(package)
    for name, line in commands.items():
        print(f"  python -m {f'{package}.{name}':<{width + 3}}{line}")
    print("\n--help behind a command lists its options.")
    return 0


def add_engine(parser: Parser, sharing: str = "") -> None:
    """Add the options that choose where many tasks are done.

    Args:
        parser: the parser of the command.
        sharing: help for --jobs on a cluster; "" if it has no effect there.
    """
    add = parser.group("processes").add_argument
    add(
        "--engine",
        type=choice("local", "ray"),
        default="local",
        metavar="NAME",
        help="local|ray: processes, or Ray (extra `cluster`)",
    )
    add(
        "--address",
        type=address,
        metavar="HOST:PORT",
        help="address of a running Ray cluster; without it Ray is started here",
    )
    add(
        "--jobs",
        type=jobs,
        default=1,
        metavar="N",
        help=f"processes at a time; with --address {sharing or 'it has no effect'}",
    )


def add_report(parser: Parser) -> None:
    """Add the options that choose the output.

    Args:
        parser: the parser of the command.
    """
    add = parser.group("output").add_argument
    add("--json", action="store_true", help="print JSON")
    add("--quiet", action="store_true", help="no progress bar and no table")


def print_json(value: Any) -> None:
    """Print JSON on standard output; nan and infinity become null.

    Args:
        value: the value.
    """
    print(json.dumps(plain_data(value), indent=1, allow_nan=False))


def markdown_table(rows: Iterable[Iterable[str]]) -> str:
    """Format a Markdown table. Cells are shown as they are: what Markdown may read as a sign is escaped.

    Args:
        rows: rows of cells; the second row is the table's rule.

    Returns:
        The table.
    """
    return "".join("| " + " | ".join(map(markdown, row)) + " |\n" for row in rows)


def plain_data(value: Any) -> Any:
    """Turn NumPy values and containers into JSON types; floats that JSON cannot hold into None.

    Args:
        value: the value.

    Returns:
        The same in JSON types.
    """
    if isinstance(value, dict):
        return {str(k): plain_data(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return plain_data(value.tolist())
    if isinstance(value, list | tuple):
        return [plain_data(v) for v in value]
    if isinstance(value, np.generic):
        return plain_data(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def next_step(text: str) -> None:
    """Say on standard error what one may do next.

    Args:
        text: the command, or a sentence with it.
    """
    print(f"next: {shown(text)}", file=sys.stderr)


def complain(error: InvalidInput) -> None:
    """Print an error on standard error, and the lines that belong to it.

    Args:
        error: the error.
    """
    print(*map(shown, (*error.lines, f"error: {error}")), sep="\n", file=sys.stderr)


def run(main: Callable[[], int]) -> int:
    """Run a command: bad input ends in one line and status 2, an uncertified result in one line and status 1.

    Args:
        main: the command, which returns its exit status.

    Returns:
        The exit status.
    """
    try:
        signals.raise_again()
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")  # a terminal without λ is no reason to fail
        return main()
    except InvalidInput as error:
        complain(error)
        return 2
    except ModuleNotFoundError as error:
        if error.name not in EXTRA:
            raise
        print(f"error: {error.name} is not installed; {install(EXTRA[error.name])} brings it", file=sys.stderr)
        return 2
    except NotCertified as error:
        print(f"not certified: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if isinstance(error, BrokenPipeError):  # the reader of a pipe, for example head, has closed it
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        print(shown(f"error: {error}"), file=sys.stderr)  # for example a full disk
        return 1
    except (MemoryError, np.linalg.LinAlgError) as error:
        kind = "out of memory" if isinstance(error, MemoryError) else "linear algebra failed in float64"
        remedy = "take a smaller problem" if isinstance(error, MemoryError) else "take numbers nearer to 1"
        print(f"error: {kind}{f' ({error})' if str(error) else ''}; {remedy}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
