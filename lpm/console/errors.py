"""Exceptions that end a command with one line, and the remedy for a package that is missing."""

from __future__ import annotations

from functools import partial
from typing import Any

from lpm.console.rounding import upward


class InvalidInput(ValueError):
    """Input that breaks a rule; the message names the value, the rule and the remedy in one line.

    Args:
        message: the line.
        lines: what a command prints above it, where several things are wrong at once.

    Attributes:
        lines: as given.
    """

    def __init__(self, message: object, *, lines: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.lines = lines


def check_within(name: str, value: float, low: float, high: float) -> None:
    """Check a positive number against its range.

    Args:
        name: its name in the message.
        value: the number.
        low: smallest value that is allowed.
        high: largest value that is allowed.

    Raises:
        InvalidInput: unless ``low <= value <= high``.
    """
    if not low <= value <= high:
        raise InvalidInput(f"{name} = {value:g} must be positive, within {low:g}..{high:g}")


def install(extra: str) -> str:
    """Give the command that installs an extra.

    Args:
        extra: name of the extra.

    Returns:
        The command.
    """
    return f'pip install -c constraints.txt -e ".[{extra}]"'


class NotCertified(RuntimeError):
    """A solver's point whose relative gap exceeds the tolerance.

    Args:
        gap: gap of the point.
        relative_gap: gap divided by the loss.
        tolerance: largest relative gap that was asked for.
        solver: name of the solver.
        remedy: advice that the message ends with.

    Attributes:
        gap: gap of the point.
        relative_gap: gap divided by the loss.
        tolerance: largest relative gap that was asked for.
        solver: name of the solver.
        remedy: advice that the message ends with.
    """

    def __init__(self, *, gap: float, relative_gap: float, tolerance: float, solver: str, remedy: str) -> None:
        self.gap, self.relative_gap, self.tolerance, self.solver = gap, relative_gap, tolerance, solver
        self.remedy = remedy
        super().__init__(
            f"{solver}: relative gap {upward(relative_gap, 2)} (gap {upward(gap, 2)}) exceeds the tolerance {tolerance:g}; "
            f"{remedy}"
        )

    def __reduce__(self) -> tuple[Any, ...]:  # the inherited one passes only the message on, to other processes, too
        names = ("gap", "relative_gap", "tolerance", "solver", "remedy")
        return partial(NotCertified, **{name: getattr(self, name) for name in names}), ()
