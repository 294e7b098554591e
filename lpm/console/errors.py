"""The one exception for input that cannot be used, and the remedy for a package that is missing."""

from __future__ import annotations

from functools import partial
from typing import Any


class InvalidInput(ValueError):
    """Input that breaks a rule; the message names the value, the rule and the remedy in one line."""


def check_within(name: str, value: float, low: float, high: float) -> None:
    """Raise InvalidInput unless ``low <= value <= high``, both positive."""
    if not low <= value <= high:
        raise InvalidInput(f"{name} = {value:g} must be positive, within {low:g}..{high:g}")


def install(extra: str) -> str:
    """The command that brings an extra."""
    return f'pip install -c constraints.txt -e ".[{extra}]"'


class NotCertified(RuntimeError):
    """A solver's point whose relative gap exceeds the tolerance. Attributes: gap, relative_gap, tolerance, solver, remedy."""

    def __init__(self, *, gap: float, relative_gap: float, tolerance: float, solver: str, remedy: str) -> None:
        self.gap, self.relative_gap, self.tolerance, self.solver = gap, relative_gap, tolerance, solver
        self.remedy = remedy
        super().__init__(
            f"{solver}: relative gap {relative_gap:.1e} (gap {gap:.1e}) exceeds the tolerance {tolerance:.0e}; {remedy}"
        )

    def __reduce__(self) -> tuple[Any, ...]:  # an exception's own passes on the message alone: a process could not tell
        names = ("gap", "relative_gap", "tolerance", "solver", "remedy")
        return partial(NotCertified, **{name: getattr(self, name) for name in names}), ()
