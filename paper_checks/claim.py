"""What a check is: a claim of the paper in a docstring of fixed form, and a function that computes its verdict.

The report prints the sections of the docstring, so readers of the code and of the report see the same words:

    Statement: the claim in our words. Its first sentence stands on the first line, further ones in a paragraph below.

    Where: its place in the paper.
    Quote: the words of the paper, with "..." in place of words that are left out; a test finds them in the text.
    Formula: what is computed.
    Assumptions: what the paper assumes, and what the instances fix.
    Test: how the claim is tested.
    Verdict: what the numbers say, and why.
    Overturned by: what would change the verdict.
    References: sources beside the paper.

A section ``Args`` with one line per parameter ends the docstring. It is for readers of the code; the report leaves it
out. A check takes a :class:`~paper_checks.lab.Lab` and, by keyword, what the paper claims. So a test can change the
claim and watch the verdict change. The check returns a :class:`Finding`; :func:`conclude` draws its verdict from the
comparisons.
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
    """The possible verdicts on a claim; ``paper_checks.report.MEANINGS`` explains each."""

    HOLDS = "holds"
    REPAIRED = "holds under a stated repair"
    FAILS = "fails as stated"
    VACUOUS = "vacuous"
    INCONSISTENT = "inconsistent"
    OPEN = "cannot be decided here"


Relation = Literal["=", "<", ">", "<=", ">="]
"""How a computed value should stand to the claimed one."""

Value = Interval | Fact | float | int | bool | str
"""What can be compared: numbers, certified or not, truth values and words."""


@dataclass(frozen=True)
class Quantity:
    """One comparison: ``computed`` should stand in ``relation`` to ``claimed``.

    Numbers are compared as intervals. "=" is contradicted only when the intervals are further apart than ``tolerance``.
    The other relations hold, or are contradicted, only if they do so for all points of both intervals.

    Attributes:
        name: what is compared, with the instance in parentheses.
        claimed: the value that the paper claims, or the bound that follows from the claim.
        computed: the value found.
        relation: how ``computed`` should stand to ``claimed``.
        tolerance: difference that "=" allows, such as the rounding of printed digits.
        known: how a plain number is known. Empty: integers, words and truth values are exact, floats have no bound.
    """

    name: str
    claimed: Value
    computed: Value
    relation: Relation = "="
    tolerance: float = 0.0
    known: str = ""

    @property
    def agrees(self) -> bool | None:
        """True if the value is as claimed, False if it provably is not, None if the intervals leave it open."""
        if isinstance(self.claimed, str | bool) or isinstance(self.computed, str | bool | Fact):
            computed = self.computed.value if isinstance(self.computed, Fact) else self.computed
            return None if computed is None else computed == self.claimed
        claimed, computed = _interval(self.claimed), _interval(self.computed)
        if self.relation == "=":
            if max(computed.upper - claimed.lower, claimed.upper - computed.lower) <= self.tolerance:
                return True
            apart = max(computed.lower - claimed.upper, claimed.lower - computed.upper)
            return False if apart > self.tolerance else None
        larger, smaller = (claimed, computed) if self.relation in ("<", "<=") else (computed, claimed)
        if self.relation in ("<=", ">="):
            return True if larger.lower >= smaller.upper else False if larger.upper < smaller.lower else None
        return True if larger.lower > smaller.upper else False if larger.upper <= smaller.lower else None

    @property
    def how(self) -> str:
        """How the computed value is known, in the report's words."""
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
    """A statement that holds in place of one that does not, with the comparisons that were checked for it.

    Attributes:
        statement: the repaired statement.
        quantities: comparisons that must agree for it to count as checked.
        licence: why it still is the paper's claim: it corrects a misprint, or adds an assumption that another place of
            the paper makes. The claim then holds under this repair. Empty: the statement says what is true instead.
    """

    statement: str
    quantities: Sequence[Quantity]
    licence: str = ""

    @property
    def checked(self) -> bool:
        """Whether there are comparisons and all of them agree."""
        return bool(self.quantities) and all(q.agrees for q in self.quantities)


def restricted(statement: str, quantities: Sequence[Quantity], *, exception: str = "") -> Repair:
    """Repair a universal sentence by leaving out its counterexamples: the one rule for all such sentences.

    A sentence is universal if it says "all", "across", "consistently" or "the more ..., the lower". One counterexample
    refutes it. To leave the counterexamples out is no repair, because every false sentence could be saved like that.
    It is one only if the paper itself names this exception.

    Args:
        statement: the sentence, restricted to the cases that agree.
        quantities: comparisons for those cases.
        exception: where the paper names the exception, with its words in quotation marks; empty: nowhere.

    Returns:
        The repair.
    """
    return Repair(statement, quantities, licence=exception)


@dataclass(frozen=True)
class Curve:
    """One line of a plot.

    Attributes:
        label: its name in the legend.
        x: abscissae.
        y: ordinates, as many.
        style: a matplotlib line style, or 'o' or 's' for points.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    style: str = "-"


@dataclass(frozen=True)
class Plot:
    """The data of a small picture, which the report draws.

    Attributes:
        x: label of the x axis.
        y: label of the y axis.
        curves: the lines.
        log_x: whether the x axis is logarithmic.
        log_y: whether the y axis is logarithmic.
        ticks: labels at x = 0, 1, ...; none: numbers.
    """

    x: str
    y: str
    curves: Sequence[Curve]
    log_x: bool = False
    log_y: bool = False
    ticks: Sequence[str] = ()


@dataclass(frozen=True)
class Finding:
    """The outcome of a check. Its verdict is a function of its comparisons and of nothing else.

    Attributes:
        quantities: comparisons that the claim implies.
        evidence: the deciding numbers in one line.
        instances: the instances that were tried.
        hypothesis: comparisons that the claim assumes.
        repair: a statement that holds where the claim does not.
        internal: whether the claim is compared with another place of the paper; a contradiction is then an
            inconsistency.
        undefined: why comparisons cannot decide the claim, such as a missing definition; empty: they can.
        plot: a picture, where looking beats reading.
    """

    quantities: Sequence[Quantity]
    evidence: str
    instances: str
    hypothesis: Sequence[Quantity] = ()
    repair: Repair | None = None
    internal: bool = False
    undefined: str = ""
    plot: Plot | None = None

    @property
    def comparisons(self) -> Sequence[Quantity]:
        """All comparisons, those for the hypothesis first."""
        return [*self.hypothesis, *self.quantities]

    @property
    def verdict(self) -> Verdict:
        """The verdict that the comparisons force.

        A contradicted hypothesis makes the claim vacuous. Otherwise one contradiction makes it fail, or hold under a
        checked repair that has a licence. Without comparisons, or with one left open, the claim cannot be decided.
        Otherwise it holds.
        """
        agreement = [q.agrees for q in self.quantities]
        if self.undefined:
            return Verdict.OPEN
        if any(q.agrees is False for q in self.hypothesis):
            return Verdict.VACUOUS
        if False in agreement:
            if self.repair is not None and self.repair.licence and self.repair.checked:
                return Verdict.REPAIRED
            return Verdict.INCONSISTENT if self.internal else Verdict.FAILS
        return Verdict.OPEN if not agreement or None in agreement else Verdict.HOLDS


def conclude(
    quantities: Sequence[Quantity],
    *,
    evidence: str,
    instances: str,
    hypothesis: Sequence[Quantity] = (),
    repair: Repair | None = None,
    internal: bool = False,
    undefined: str = "",
    known: str = "",
    plot: Plot | None = None,
) -> Finding:
    """Collect the comparisons of a check, from which its verdict follows (:attr:`Finding.verdict`).

    Args:
        quantities: comparisons that the claim implies.
        evidence: the deciding numbers in one line.
        instances: the instances that were tried.
        hypothesis: comparisons that the claim assumes.
        repair: a statement that holds where the claim does not.
        internal: whether the claim is compared with another place of the paper; a contradiction is then an
            inconsistency.
        undefined: why comparisons cannot decide the claim, such as a missing definition; empty: they can.
        known: how plain numbers are known, for all comparisons; empty: as each comparison says.
        plot: a picture for the report.

    Returns:
        The finding.
    """
    if known:
        quantities, hypothesis = ([replace(q, known=q.known or known) for q in qs] for qs in (quantities, hypothesis))
        if repair is not None:
            repair = replace(repair, quantities=[replace(q, known=q.known or known) for q in repair.quantities])
    return Finding(quantities, evidence, instances, hypothesis, repair, internal, undefined, plot)


def contradictions(quantities: Sequence[Quantity], most: int = 4) -> str:
    """List the first few comparisons that contradict the claim, for a line of evidence.

    Args:
        quantities: comparisons, in the order of importance.
        most: number of contradictions to list.

    Returns:
        Name of each, the value that the claim requires and the value found, and how many more there are.
    """
    wrong = [q for q in quantities if q.agrees is False]
    required = [("" if q.relation == "=" else f"{q.relation} ") + show(q.claimed) for q in wrong]
    listed = "; ".join(
        f"{q.name}: required {r}, found {show(q.computed)}" for q, r in zip(wrong[:most], required, strict=False)
    )
    return (listed or "no contradiction") + (f"; and {len(wrong) - most} more" if len(wrong) > most else "")


def show(value: Value) -> str:
    """Format a value for reading.

    Args:
        value: number, interval, truth value or words.

    Returns:
        Seven digits of a float, the certain digits of an interval, yes or no for a truth value.
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.7g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


SECTIONS = (
    "Statement", "Where", "Quote", "Formula", "Assumptions", "Test", "Verdict", "Overturned by", "References",
)  # fmt: skip
"""The sections of a check's docstring, in their order."""


@dataclass(frozen=True)
class Check:
    """A claim and the function that judges it.

    Attributes:
        id: short name, as in the report and on the command line.
        covers: numbered items of the paper that the claim is about, such as "Eq. 5".
        run: the function. It takes a Lab, and by keyword what is claimed; it returns a Finding.
        says: the text of each section of its docstring, each as one line.
    """

    id: str
    covers: tuple[str, ...]
    run: Callable[..., Finding]
    says: dict[str, str] = field(repr=False)


def check(id: str, *covers: str) -> Callable[[Callable[..., Finding]], Check]:
    """Make a check of a function whose docstring has all ``SECTIONS``.

    Args:
        id: short name of the claim.
        *covers: numbered items of the paper that the claim is about.

    Returns:
        The decorator.
    """

    def wrap(function: Callable[..., Finding]) -> Check:
        return Check(id, covers, function, read_sections(function))

    return wrap


def read_sections(function: Callable[..., Any]) -> dict[str, str]:
    """Read the sections of a check's docstring.

    Args:
        function: a function with a docstring in the form above.

    Returns:
        The text of each section as one line, by its name; ``Args`` is left out.

    Raises:
        ValueError: if a section is missing or out of order.
    """
    text = re.split(r"^Args:$", inspect.getdoc(function) or "", flags=re.MULTILINE)[0]
    parts = re.split(rf"^({'|'.join(SECTIONS)}): ", text, flags=re.MULTILINE)
    if tuple(parts[1::2]) != SECTIONS or parts[0].strip():
        raise ValueError(f"{function.__name__}: docstring sections {parts[1::2]} must be {list(SECTIONS)}")
    return {name: " ".join(body.split()) for name, body in zip(SECTIONS, parts[2::2], strict=True)}
