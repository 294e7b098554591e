r"""The imbalance R0 at which minority collapse sets in, by a dual condition: ``python -m lpm.threshold``.

Solve the program with the minority's class vectors forced to coincide (u_B = 0) and let G be its gradient. The
restriction costs nothing, that is collapse is globally optimal, exactly when

.. math:: \|u_{G,B}\|_2 \le \max(\|T_G\|_2, \|u_{G,A}\|_2),

and R0 is the root of the difference. Many searches go side by side, so that the programs that they ask for next are
solved at once. The gradient is the same at every optimum, and at a point of gap
delta it is within sqrt(2 L delta) of it (L: smoothness of f). So a margin above that error *proves* collapse, or its
absence, at that R. Cosines are never compared with a tolerance (docs/theory/collapse.md).
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from lpm import law
from lpm.chords import collapsed_from
from lpm.console.rounding import inside, outward, up
from lpm.dual_condition import Margin, margins, minority_of
from lpm.family import Family
from lpm.options import DEFAULT_PROGRAM, add_family, add_range, describe, family_of
from lpm.pairs import MAX_RATIO, check_imbalances
from lpm.problem import Problem

ROOT = 1e-11
"""Error of a root that is looked for, relative to 1 + |log R|."""
ROUNDS = 40
"""Largest number of rounds of a search for a root; 3 to 5 are usual."""
FACTORS = tuple(tuple(2.0**n for n in powers) for powers in ((-2, -1, -0.5, 0, 0.5, 1), (1.5, 2, 3, 4, 5, 6)))
"""Multiples of the expected distance at which proofs next to a root are tried, in two rounds."""
CLEAR = 1.2
"""A margin at the end of a bracket exceeds its error by this factor. The error depends on how the last digits are rounded,
and with them on what is solved beside it. So the proof can be repeated by itself."""


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """The imbalance at which minority collapse sets in, on a range of R.

    Attributes:
        R0: the lowest imbalance of the range at which collapse sets in, inside its bracket; None if it sets in at none, or if
            that is not certified.
        bracket: two imbalances around R0. At one of them collapse is proved, at the other its absence.
        collapsed_above: whether the minority is collapsed just above R0; without R0, at the end of the range. It is no claim
            about all R.
        certified: whether the bracket is proved; without R0, the sign of the dual condition at every R that was tried.
        seconds: time that the search took.
        intervals: all R of the range at which the minority is collapsed, as pairs of ends; between the R that were tried
            under budgets, and exactly under a decay.
        proofs: if it is not certified, the imbalances that were tried at which collapse (True) or its absence (False)
            is proved, ascending.
        collapsed_from: imbalance from which on collapse is proved at *every* R; None if it is not, or was not asked.
    """

    R0: float | None
    bracket: tuple[float, float] | None
    collapsed_above: bool
    certified: bool
    seconds: float
    intervals: tuple[tuple[float, float], ...] = ()
    proofs: tuple[tuple[float, bool], ...] = ()
    collapsed_from: float | None = None

    @property
    def state(self) -> str:
        """What holds where there is no R0, in few words."""
        if not self.certified:
            return "R₀ not certified"
        if self.collapsed_above:
            return "collapsed throughout"
        return f"collapse ends at {self.intervals[-1][1]:.4g}" if self.intervals else "no collapse"

    @property
    def text(self) -> str:
        """R0 in the fewest digits that lie inside its bracket; "" without a bracket."""
        return "" if self.R0 is None or self.bracket is None else inside(self.R0, self.bracket)


def threshold(family: Family, *, R_min: float = 1.0, R_max: float = 1e4) -> Threshold:
    """Find the lowest R0 of a range at which minority collapse sets in, with its certified bracket.

    Args:
        family: the program as a function of R.
        R_min: smallest imbalance.
        R_max: largest imbalance.

    Returns:
        The threshold.

    Raises:
        InvalidInput: unless 0 < R_min < R_max, and as :func:`lpm.dual_condition.margin`.
    """
    return thresholds([family], R_min=R_min, R_max=R_max)[0]


def thresholds(families: Sequence[Family], *, R_min: float = 1.0, R_max: float = 1e4) -> list[Threshold]:
    """Find the thresholds of many families at once.

    Args:
        families: the programs as functions of R.
        R_min: smallest imbalance.
        R_max: largest imbalance.

    Returns:
        The threshold of each.

    Raises:
        InvalidInput: as :func:`threshold`.
    """
    check_imbalances(R_min, R_max)
    results: dict[int, Threshold] = {}
    for i, family in enumerate(families):
        if family.decay is not None:
            minority_of(family.at(R_min))
            # Beyond the range, too: that tells from where on collapse holds at every R.
            results[i] = by_law(family.at, law.separators(family.at, R_min, MAX_RATIO), R_max)
    searched = [i for i in range(len(families)) if i not in results]
    results |= dict(zip(searched, searches([families[i].at for i in searched], R_min, R_max), strict=True))
    return [results[i] for i in range(len(families))]


def search(at: Callable[[float], Problem], R_min: float, R_max: float) -> Threshold:
    """Find a threshold by the dual condition, on a grid of imbalances: for budgets, and where the law does not apply.

    Args:
        at: the problem at an imbalance.
        R_min: smallest imbalance.
        R_max: largest imbalance.

    Returns:
        The threshold, the lowest at which collapse sets in on the grid.

    Raises:
        InvalidInput: as :func:`lpm.dual_condition.margin`.
    """
    return searches([at], R_min, R_max)[0]


def searches(ats: Sequence[Callable[[float], Problem]], R_min: float, R_max: float) -> list[Threshold]:
    """Do many searches side by side: the conditions that all of them ask for next are evaluated at once.

    Args:
        ats: the problem at an imbalance, for each search.
        R_min: smallest imbalance.
        R_max: largest imbalance.

    Returns:
        The threshold of each. Its seconds are the time of all, divided by their number.

    Raises:
        InvalidInput: as :func:`search`.
    """
    start, results = time.perf_counter(), {}
    running = {i: _search(R_min, R_max) for i in range(len(ats))}
    asked = {i: next(steps) for i, steps in running.items()}
    while asked:
        answers = iter(margins([ats[i](math.exp(x)) for i, points in asked.items() for x in points]))
        for i, points in list(asked.items()):
            try:
                asked[i] = running[i].send([next(answers) for _ in points])
            except StopIteration as end:
                results[i] = end.value
                del asked[i]
    seconds = (time.perf_counter() - start) / max(1, len(ats))
    return [replace(results[i], seconds=seconds) for i in range(len(ats))]


Search = Generator[list[float], list[Margin], Any]
"""A part of a search: it yields logarithms of imbalances, and gets the margins there."""


def _search(R_min: float, R_max: float) -> Search:
    """The steps of one search. It returns the threshold."""
    ends = math.log(R_min), math.log(R_max)
    grid = np.linspace(*ends, 2 + math.ceil(2 * math.log10(R_max / R_min))).tolist()
    found = yield grid
    values = [m.value for m in found]
    proofs = tuple((math.exp(x), m.value > 0) for x, m in zip(grid, found, strict=True) if m.certified)
    change = np.flatnonzero(np.diff(np.sign(values)) != 0)
    roots = {}
    for i in change.tolist():
        roots[i] = yield from _root(grid, values, i)
    intervals = _intervals([math.exp(x) for x, _ in roots.values()], R_min, R_max, values[0] > 0)
    onset = next((i for i in roots if values[i + 1] > 0), None)
    if onset is None:
        certified, bracket, R0 = len(proofs) == len(grid), None, None
    else:
        root, error = roots[onset]
        slope = abs(values[onset + 1] - values[onset]) / (grid[onset + 1] - grid[onset])
        bracket = yield from _bracket(root, min(0.1, error / slope))
        certified, R0 = bracket is not None, math.exp(root)
    return Threshold(
        R0=R0 if certified else None,  # no digit without a proof
        bracket=bracket,
        collapsed_above=values[-1] > 0 if onset is None else True,
        certified=certified,
        seconds=0.0,
        intervals=intervals if certified else (),
        proofs=() if certified else proofs,
    )


def _root(grid: list[float], values: list[float], i: int) -> Search:
    """Find the root of the margin between two points of a grid.

    Each round asks for three points: where the polynomial through the nearest four takes the inverse function to be 0,
    and as far to both sides as the last estimate was off. One round costs little more for three points than for one. If
    a round does not quarter the bracket, the next one asks for its quarters instead.

    It returns the root and the error of the margin there.
    """
    (low, high), known = (grid[i], grid[i + 1]), dict(zip(grid, values, strict=True))
    rising, error, last, quarters = values[i + 1] > values[i], 0.0, math.inf, False
    for _ in range(ROUNDS):
        width, tolerance = high - low, ROOT * (1 + max(abs(low), abs(high)))
        estimate = _inverse_interpolation(known, low, high)
        if abs(estimate - last) <= tolerance or width <= tolerance:
            return estimate, error
        reach = max(tolerance, min(2 * abs(estimate - last), width / 8))
        if quarters:
            points = [low + share * width for share in (0.25, 0.5, 0.75)]
        else:
            points = [x for x in (estimate - reach, estimate, estimate + reach) if low < x < high]
        found = yield points
        last, error = estimate, found[len(found) // 2].error
        for x, margin_there in zip(points, found, strict=True):
            known[x] = margin_there.value
            if (margin_there.value > 0) == rising:
                high = min(high, x)
            else:
                low = max(low, x)
        quarters = not quarters and high - low > width / 4
    return 0.5 * (low + high), error


def _inverse_interpolation(known: dict[float, float], low: float, high: float) -> float:
    """Where the polynomial in the margin through the four points next to a bracket is 0; else where the secant is."""
    ordered = sorted((x for x in known if math.isfinite(known[x])), key=lambda x: abs(x - (low + high) / 2))[:4]
    if low in ordered and high in ordered:
        y = [known[x] for x in ordered]
        if len(set(y)) == len(y):
            weights = [math.prod(v / (v - u) for v in y if v != u) for u in y]
            root = math.fsum(x * weight for x, weight in zip(ordered, weights, strict=True))
            if low < root < high:
                return root
    below, above = known[low], known[high]
    if not math.isfinite(above - below):
        return (low + high) / 2
    return low + (high - low) * below / (below - above)


def _bracket(root: float, distance: float) -> Search:
    """Imbalances below and above a threshold at which the absence of collapse, and collapse, are proved; None if one is missing.

    The error of a margin is the root of the solver's last gap, and that gap is rounding. From one imbalance to the
    next, and from one processor to another, the error varies by a factor of 5. So each side of the threshold is
    searched independently and in short steps. With one step for both, the worse side would decide.

    root: log of the threshold. distance: expected distance of a proof from the root, in log R.
    """
    ends: dict[int, float] = {}
    for factors in FACTORS:
        asked = [(side, factor) for side in (-1, 1) if side not in ends for factor in factors]
        found = yield [root + side * factor * distance for side, factor in asked]
        for (side, factor), proof in zip(asked, found, strict=True):
            clear = proof.certified and abs(proof.value) >= CLEAR * proof.error
            if side not in ends and clear and (proof.value > 0) == (side == 1):
                ends[side] = math.exp(root + side * factor * distance)
        if len(ends) == 2:
            break
    return (ends[-1], ends[1]) if len(ends) == 2 else None


def _intervals(crossings: list[float], R_min: float, R_max: float, collapsed: bool) -> tuple[tuple[float, float], ...]:
    """The stretches of a range in which collapse holds, from its crossings; collapsed: whether it holds at R_min."""
    ends = [*([R_min] if collapsed else []), *crossings]
    if len(ends) % 2:
        ends.append(R_max)
    return tuple(zip(ends[::2], ends[1::2], strict=True))


def by_law(at: Callable[[float], Problem], points: Sequence[float], R_max: float) -> Threshold:
    """Find a threshold under decay by the collapse law; no program is solved.

    Args:
        at: the problem under decay at an imbalance.
        points: imbalances with at most one crossing between any two, ascending. The range begins at the first one.
        R_max: largest imbalance of the range.

    Returns:
        The threshold.

    Raises:
        InvalidInput: as :func:`lpm.law.collapse_number`.
    """
    start, first = time.perf_counter(), at(points[0])
    everywhere = law.crossings(at, points)
    found = [c for c in everywhere if R_max > c.R]
    problems = [first, *map(at, points[1:])] if not everywhere else [first]
    values = [(law.excess(problem, minority_of(problem)), law.rounding(problem)) for problem in problems]
    clear = [
        value > 0 for value, rounding in values if abs(value) > 2 * rounding
    ]  # elsewhere mu^2 = c_B but for rounding
    holds, certified = clear[0] if clear else values[0][0] >= 0, bool(everywhere or clear)
    R0 = next((c for c in found if c.collapsed_above), None)
    if everywhere:
        forever = everywhere[-1].bracket[1] if everywhere[-1].collapsed_above else None
    else:
        forever = points[0] if holds else None
    return Threshold(
        R0=R0.R if R0 else None,
        bracket=R0.bracket if R0 else None,
        collapsed_above=R0 is not None or (holds and not found),
        certified=certified,
        seconds=time.perf_counter() - start,
        intervals=_intervals([c.R for c in found], points[0], R_max, holds) if certified else (),
        collapsed_from=forever if certified else None,
    )


def sentence(family: Family, result: Threshold, R_min: float, R_max: float) -> str:
    """Put a threshold into one sentence.

    Args:
        family: the family.
        result: its threshold.
        R_min: smallest imbalance of the range.
        R_max: largest imbalance of the range.

    Returns:
        The sentence.
    """
    if not result.certified and family.decay is not None:
        return f"{family.name}: R0 is not certified: mu^2 is the collapse number but for rounding, at every R; take another decay"
    if not result.certified:
        return f"{family.name}: R0 is not certified, {_proved(result)}; take smaller budgets, or another range of R"
    if result.R0 is None or result.bracket is None:
        where = _stretches(result)
        if result.intervals and not result.collapsed_above:
            return f"{family.name}: no threshold; the minority is collapsed in {where} and nowhere else up to R = {R_max:g}"
        quantifier = "every" if result.collapsed_above else "no"
        extent = f"in [{R_min:g}, {R_max:g}] (--R-min, --R-max)"
        text = f"{family.name}: no threshold; the minority is collapsed at {quantifier} R"
        text += f" {extent}" if family.decay is not None else f" that was tried {extent}"
        if result.collapsed_from is not None and family.decay is None:
            text += f", and at every R from {up(result.collapsed_from, 6):.6g} on (proved)"
        return text
    if family.decay is not None:
        text = f"{family.name}: R0 = {result.text} (certified in {outward(*result.bracket, 9)}, by the collapse law)"
        return f"{text}; between R = {R_min:g} and {R_max:g} the minority is collapsed in {_stretches(result)}"
    proof = f"certified in {outward(*result.bracket, 9)}"
    if len(family.mixing.nodes) > 1:
        proof += f", for the {len(family.mixing.nodes)}-node quadrature of lambda"
    text = f"{family.name}: R0 = {result.text} ({proof}); the minority is collapsed above it"
    if result.collapsed_from is not None:
        return f"{text}, at every R from {up(result.collapsed_from, 6):.6g} on (proved)"
    return f"{text} at R nearby"


def _stretches(result: Threshold) -> str:
    """The intervals in which collapse holds, in words."""
    return " and ".join(f"[{low:.9g}, {high:.9g}]" for low, high in result.intervals)


def _proved(result: Threshold) -> str:
    """What is proved of a threshold that is not certified."""
    parts = []
    for state, word in ((False, "absence of collapse"), (True, "collapse")):
        R = [f"{x:.6g}" for x, collapsed in result.proofs if collapsed is state]
        if R:
            parts.append(f"{word} at R = {R[0]}" + (f" to {R[-1]} ({len(R)} tried)" if len(R) > 1 else ""))
    return f"losses are too close to 0 for float64; proved is {' and '.join(parts) or 'nothing'}"


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: words of the command line; those of the process if None.

    Returns:
        Its exit status; 1 if the threshold is not certified.
    """
    from lpm.console import cli

    parser = cli.Parser(
        "lpm.threshold", "the imbalance R0 at which minority collapse sets in, with a certified bracket"
    )
    add_family(parser)
    add_range(parser)
    cli.add_report(parser)
    options = parser.parse_args(arguments)
    family = family_of(options, options.program or DEFAULT_PROGRAM, options.profile or "")
    result = threshold(family, R_min=options.R_min, R_max=options.R_max)
    if result.certified and result.collapsed_above and family.decay is None:
        result = replace(result, collapsed_from=collapsed_from(family, result.R0 or options.R_min))
    if options.json:
        cli.print_json(describe(family) | {"R_min": options.R_min, "R_max": options.R_max} | asdict(result))
    else:
        print(sentence(family, result, options.R_min, options.R_max))
        if result.certified and not options.quiet:
            cli.next_step(f"python -m lpm.cures --K {family.K} --K-A {family.majority} shows what moves R0")
    return 0 if result.certified else 1


if __name__ == "__main__":
    from lpm.console.cli import run

    sys.exit(run(main))
