"""What a check is: a claim of the paper in a docstring of fixed form, and a function that finds its verdict.

The docstring is the record that the report prints, so the reader of the code and of the report see the same words:

    Statement: the claim in our words.
    Where: its place in the paper.
    Quote: the words of the paper, "..." for what is left out; a test finds them in the text.
    Formula: what is computed.
    Assumptions: what the paper assumes, and what the instances fix.
    Test: how it is tested.
    Verdict: the rule by which the verdict follows from the numbers.
    Overturned by: what would change the verdict.
    References: sources beside the paper.

The function gets a :class:`~paper_checks.lab.Lab` and, by keyword, the values that the paper claims. Those are
arguments, not constants, so that a test can change what is claimed and watch the verdict change.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Literal

from paper_checks.interval import EXACT, PLAIN, Fact, Interval


class Verdict(StrEnum):
    """What can be said of a claim."""

    HOLDS = "holds"
    REPAIRED = "holds under a stated repair"
    FAILS = "fails as stated"
    VACUOUS = "vacuous"
    INCONSISTENT = "inconsistent"
    OPEN = "cannot be decided here"


Relation = Literal["=", "<", ">", "<=", ">="]
Value = Interval | Fact | float | int | bool | str


@dataclass(frozen=True)
class Quantity:
    """One comparison: ``computed`` should stand in ``relation`` to ``claimed``.

    Numbers become intervals. '=' allows a difference of ``tolerance`` (rounding of the printed digits, say) and is
    contradicted only when the intervals are disjoint by more than that; the other relations need all of both intervals.
    known: how a plain number is known; integers, words and truth values are exact, floats carry no bound unless said.
    """

    name: str
    claimed: Value
    computed: Value
    relation: Relation = "="
    tolerance: float = 0.0
    known: str = ""

    @property
    def agrees(self) -> bool | None:
        """True: as claimed. False: provably not. None: the intervals leave it open."""
        if isinstance(self.claimed, str | bool) or isinstance(self.computed, str | bool | Fact):
            computed = self.computed.value if isinstance(self.computed, Fact) else self.computed
            return None if computed is None else computed == self.claimed
        claim, found = _interval(self.claimed), _interval(self.computed)
        if self.relation == "=":
            if max(found.upper - claim.lower, claim.upper - found.lower) <= self.tolerance:
                return True
            apart = max(found.lower - claim.upper, claim.lower - found.upper)
            return False if apart > self.tolerance else None
        if self.relation in ("<", "<="):
            found, claim = claim, found
        if self.relation in ("<=", ">="):
            return True if found.lower >= claim.upper else False if found.upper < claim.lower else None
        return True if found.lower > claim.upper else False if found.upper <= claim.lower else None

    @property
    def how(self) -> str:
        """How the computed value is known."""
        if isinstance(self.computed, Interval | Fact):
            return self.computed.how
        return self.known or (PLAIN if isinstance(self.computed, float) else EXACT)


def _interval(value: Value) -> Interval:
    if isinstance(value, Interval):
        return value
    if isinstance(value, int | float):
        return Interval.point(value)
    raise TypeError(f"{value!r} is not a number")


@dataclass(frozen=True)
class Repair:
    """A statement that does hold in place of one that does not, with the numbers that were checked for it.

    keeps: True when it is the paper's claim with a correction or an added assumption, so that the claim counts as holding
    under this repair; False when it says what is true instead.
    """

    statement: str
    quantities: Sequence[Quantity]
    keeps: bool = False

    @property
    def checked(self) -> bool:
        return bool(self.quantities) and all(q.agrees for q in self.quantities)


@dataclass(frozen=True)
class Curve:
    """One line of a plot; ``style`` is a matplotlib line style, or 'o' or 's' for points."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    style: str = "-"


@dataclass(frozen=True)
class Plot:
    """A small picture where looking beats reading: data only, drawn by the report. ticks: labels of x = 0, 1, ..."""

    x: str
    y: str
    curves: Sequence[Curve]
    log_x: bool = False
    log_y: bool = False
    ticks: Sequence[str] = ()


@dataclass(frozen=True)
class Finding:
    """The outcome of a check. evidence: one line. instances: on what it was tried."""

    verdict: Verdict
    evidence: str
    instances: str
    quantities: Sequence[Quantity]
    repair: Repair | None = None
    plot: Plot | None = None


def conclude(
    quantities: Sequence[Quantity],
    *,
    evidence: str,
    instances: str,
    hypothesis: Sequence[Quantity] = (),
    repair: Repair | None = None,
    internal: bool = False,
    known: str = "",
    plot: Plot | None = None,
) -> Finding:
    """The verdict that the quantities force.

    hypothesis: what the claim assumes; if one is contradicted the claim is vacuous. internal: the claim is compared
    with another place of the paper, so a contradiction is an inconsistency. No quantity, or one left open: undecided.
    known: how the plain numbers are known, all of them.
    """
    if known:
        quantities, hypothesis = ([replace(q, known=known) for q in qs] for qs in (quantities, hypothesis))
        if repair is not None:
            repair = replace(repair, quantities=[replace(q, known=q.known or known) for q in repair.quantities])
    states = [q.agrees for q in quantities]
    if any(q.agrees is False for q in hypothesis):
        verdict = Verdict.VACUOUS
    elif False in states:
        verdict = Verdict.INCONSISTENT if internal else Verdict.FAILS
        if repair is not None and repair.keeps and repair.checked:
            verdict = Verdict.REPAIRED
    elif not states or None in states:
        verdict = Verdict.OPEN
    else:
        verdict = Verdict.HOLDS
    return Finding(verdict, evidence, instances, [*hypothesis, *quantities], repair, plot)


def contradictions(quantities: Sequence[Quantity], most: int = 4) -> str:
    """The first few comparisons that contradict the claim, for a line of evidence."""
    found = [q for q in quantities if q.agrees is False]
    said = "; ".join(f"{q.name}: {show(q.computed)} against {show(q.claimed)}" for q in found[:most])
    return (said or "no contradiction") + (f"; and {len(found) - most} more" if len(found) > most else "")


def show(value: Value) -> str:
    """A value for reading."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.7g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


SECTIONS = (
    "Statement", "Where", "Quote", "Formula", "Assumptions", "Test", "Verdict", "Overturned by", "References",
)  # fmt: skip


@dataclass(frozen=True)
class Check:
    """A claim and the function that judges it. covers: the paper's numbered items that it speaks of."""

    id: str
    covers: tuple[str, ...]
    run: Callable[..., Finding]
    says: dict[str, str] = field(repr=False)


def check(id: str, *covers: str) -> Callable[[Callable[..., Finding]], Check]:
    """Make a check of a function whose docstring has all ``SECTIONS``."""

    def wrap(function: Callable[..., Finding]) -> Check:
        return Check(id, covers, function, read_sections(function))

    return wrap


def read_sections(function: Callable[..., Any]) -> dict[str, str]:
    """The sections of a check's docstring, each as one line. Raises ValueError when one is missing or out of order."""
    text = inspect.getdoc(function) or ""
    parts = re.split(rf"^({'|'.join(SECTIONS)}): ", text, flags=re.MULTILINE)
    if tuple(parts[1::2]) != SECTIONS or parts[0].strip():
        raise ValueError(f"{function.__name__}: docstring sections {parts[1::2]} must be {list(SECTIONS)}")
    return {name: " ".join(body.split()) for name, body in zip(SECTIONS, parts[2::2], strict=True)}
