"""How many directions of W survive weight decay, and where each is lost: ``python -m lpm.directions --counts N,N,...``.

Where classes of a group differ, by their counts or by the order a < b, no two class vectors coincide exactly. Their
directions, the singular vectors of W, are lost one after another. Their number is bounded from both sides by the dual of a
solved program (:attr:`lpm.solution.Solution.rank_bounds`), so a place where one is lost has a certified bracket. Where
nothing survives is a closed form (:func:`lpm.law.directions_at_zero`).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np

from lpm import law
from lpm.console.errors import InvalidInput, NotCertified
from lpm.console.rounding import outward
from lpm.options import add_features, add_program
from lpm.orbits import MAX_GROUPS
from lpm.problem import Problem
from lpm.solution import Solution
from lpm.solve import add_counts, counts_of, problem_of, solve_all

WIDTH = 0.02
"""Width of a bracket in the logarithm: one percent to both sides."""
ROUNDS = 40
"""Largest number of rounds of a search; 2 to 8 are usual."""
APART = 0.1
"""Share of the width by which points of a secant are apart at least: nearer ones differ by rounding."""
NEVER = 1e-6
"""Share of the largest value at Z = 0 below which a direction is none of the program's."""
FEW_NODES = 8
"""Default number of quadrature nodes of the command, where a program of ten different classes takes a quarter of a second."""


@dataclass(frozen=True)
class Known:
    """What a solved program says about its directions.

    Attributes:
        low: smallest number of directions that is proved.
        high: largest one.
        values: singular values of the scaled Z, descending.
    """

    low: int
    high: int
    values: np.ndarray

    @classmethod
    def of(cls, solution: Solution | NotCertified) -> Known:
        """Read a solution.

        Args:
            solution: a solution, or the refusal of a solver, which says nothing.

        Returns:
            What it says.
        """
        if isinstance(solution, NotCertified):
            return cls(0, sys.maxsize, np.zeros(0))
        low, high = solution.rank_bounds or (0, sys.maxsize)
        coordinates, others = solution.coordinates, solution.problem.sizes - 1
        single = np.linalg.svd(solution.X[:, : coordinates.G], compute_uv=False)
        inside = np.repeat(coordinates.group_norms(solution.X) / np.maximum(others, 1), others)
        return cls(low, high, np.sort(np.concatenate([single, inside]))[::-1])


def lost(
    at: Callable[[float], Problem],
    starts: Mapping[int, float],
    ends: tuple[float, float],
    *,
    width: float = WIDTH,
    rounds: int = ROUNDS,
    progress: Callable[[int], None] | None = None,
) -> dict[int, tuple[float, float] | None]:
    """Find where directions are lost as a parameter grows.

    Each round solves, all at once, one program for each direction that is still looked for. The i-th singular value falls
    almost linearly in the logarithm of the parameter until it is 0, so a secant finds the place. A secant that does not
    halve the bracket is followed by a bisection.

    Args:
        at: the problem at the parameter, a decay or an imbalance.
        starts: for each direction i the parameter around which to look for the place where fewer than i are left.
        ends: smallest and largest parameter.
        width: width of a bracket in the logarithm of the parameter.
        rounds: largest number of rounds.
        progress: called before each round but the first with the number of directions that are still looked for.

    Returns:
        For each direction two parameters: at the first at least i directions are proved, at the second fewer. They are further
        apart than ``width`` where the gap of the solver leaves the number open over a wider stretch, or the rounds are used up.
        None if one of them was not found between the ends. It is a crossing near the start, and nothing is said about others.
    """
    low, high = math.log(ends[0]), math.log(ends[1])
    known: dict[float, Known] = {}
    searches = {i: _search(i, known, min(max(math.log(start), low), high), width) for i, start in starts.items()}
    for turn in range(rounds):
        asked = set()
        for i, search in list(searches.items()):
            x = next(search, None)
            x = None if x is None else min(max(x, low), high)
            if x is None or (turn and x in known):
                del searches[i]  # found, or at an end of the range
            else:
                asked.add(x)
                if not turn:  # the second point of a pair around the start
                    asked.add(min(max(x + 0.98 * width, low), high))
        if not asked:
            break
        if progress and turn:
            progress(len(searches))
        new = sorted(asked - known.keys())
        known |= dict(zip(new, map(Known.of, solve_all([at(math.exp(x)) for x in new])), strict=True))
    found = {}
    for i in starts:
        alive, dead = _bracket(i, known)
        found[i] = None if alive is None or dead is None else (math.exp(alive), math.exp(dead))
    return found


def _bracket(i: int, known: Mapping[float, Known]) -> tuple[float | None, float | None]:
    """The nearest two points between which direction i is lost; None where there is none."""
    dead = min((x for x, one in known.items() if one.high < i), default=None)
    alive = max((x for x, one in known.items() if one.low >= i and (dead is None or x < dead)), default=None)
    return alive, dead


def _search(i: int, known: Mapping[float, Known], start: float, width: float) -> Iterator[float]:
    """Where to look for the loss of direction i, one logarithm of the parameter after another; ``known`` grows meanwhile."""
    yield start - 0.49 * width
    last = math.inf
    while True:
        alive, dead = _bracket(i, known)
        if alive is None:  # further down, in steps that double
            lowest = min(known)
            yield lowest - max(0.2, start - lowest)
            continue
        open_ones = [x for x, one in known.items() if one.low < i <= one.high and x > alive]
        if dead is None:
            highest = max([alive, *open_ones])
            x = _secant(i, known, alive, width)
            yield x if highest < x < highest + 1 else highest + max(0.2, highest - start)
            continue
        gap = dead - alive
        open_ones = [x for x in open_ones if x < dead]
        if open_ones:  # too near for the solver's gap: narrow both sides of the stretch that is open
            left, right = min(open_ones) - alive, dead - max(open_ones)
            if gap <= width or max(left, right) <= width:
                return
            yield alive + left / 2 if left > right else dead - right / 2
        elif gap <= width:
            return
        else:
            x = _secant(i, known, alive, width)
            if dead - x <= 0.5 * width:
                x = dead - 0.9 * width
            yield x if alive < x < dead and gap <= last / 2 else (alive + dead) / 2
        last = gap


def _secant(i: int, known: Mapping[float, Known], alive: float, width: float) -> float:
    """Where the line through the last two singular values meets 0, or next to it; inf if they do not fall."""
    points = [x for x, one in known.items() if one.low >= i and x <= alive - APART * width]
    if not points:
        return math.inf
    before = max(points)
    y0, y1 = (float(known[x].values[i - 1]) for x in (before, alive))
    if y0 <= y1:
        return math.inf
    root = alive + (alive - before) * y1 / (y0 - y1)
    return alive + 0.9 * width if root - alive <= 0.4 * width else root - 0.3 * width


@dataclass(frozen=True)
class Direction:
    """Where directions of W are lost: one, or all that groups of equal classes lose at once.

    Attributes:
        first: number of the first of them, from 1.
        last: number of the last.
        bracket: two decays: at the first W has at least ``last`` directions, proved, at the second fewer than ``first``; None
            if not found.
        at_zero: the value of the same number in :func:`lpm.law.directions_at_zero`. The first direction is lost at exactly this
            decay, and those inside a group of equal classes at exactly the group's. For others it is an estimate.
    """

    first: int
    last: int
    bracket: tuple[float, float] | None
    at_zero: float


def table(problem: Problem, *, width: float = WIDTH, progress: Callable[[int], None] | None = None) -> list[Direction]:
    """Find the decays at which a program's directions are lost.

    Args:
        problem: the problem under a decay, which does not matter itself.
        width: width of a bracket in the logarithm of the decay.
        progress: as for :func:`lost`.

    Returns:
        Its directions, the longest first, but those whose value at Z = 0 is 0 to rounding.

    Raises:
        InvalidInput: if the problem has budgets or a free bias, or more groups of equal classes than ``orbits`` solves.
    """
    if problem.decay is None:
        raise InvalidInput("directions are lost to a weight decay; put the problem under one first: .under_decay(1)")
    if len(problem.sizes) > MAX_GROUPS:
        raise InvalidInput(
            f"{len(problem.sizes):,} groups of unlike classes are more than the {MAX_GROUPS} for which directions are "
            "bounded sharply; round the counts, or take fewer classes where the order a < b sets all apart"
        )
    values = law.directions_at_zero(problem)
    largest, first, blocks = values[0][0], 1, []
    for value, number in values:
        if value > NEVER * largest:
            blocks.append((first, first + number - 1, value))
        first += number
    if not blocks:
        return []
    starts = {i: value for first, last, value in blocks for i in (first, last)}
    ends = 1e-3 * blocks[-1][2], 10 * largest
    found = lost(lambda mu: replace(problem, decay=mu), starts, ends, width=width, progress=progress)
    rows = []
    for first, last, value in blocks:
        early, late = found[first], found[last]
        bracket = None if early is None or late is None else (late[0], early[1])
        rows.append(Direction(first, last, bracket, value))
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: words of the command line; those of the process if None.

    Returns:
        Its exit status; 1 if a bracket is missing.

    Raises:
        InvalidInput: if options do not go together.
    """
    from lpm.console import cli

    parser = cli.Parser(
        "lpm.directions", "the weight decays at which the directions of W are lost, with certified brackets"
    )
    add_program(parser, nodes=FEW_NODES)
    add_features(parser, "sample")
    add_counts(parser)
    parser.refuse("the decay is what is looked for; `python -m lpm.solve` solves at one", "--decay")
    parser.refuse("directions are lost to a weight decay, not to budgets", "--E-H", "--E-W", "--budget")
    parser.refuse("directions are looked for without a free bias", "--bias")
    parser.refuse("it looks at one R; `python -m lpm.threshold` takes a range", "--R-min", "--R-max")
    cli.add_report(parser)
    options = parser.parse_args(arguments)
    options.decay, options.E_H, options.E_W, options.bias, options.budget = 1.0, None, None, False, "paper"
    if options.alpha is not None and options.nodes is None:
        options.nodes = FEW_NODES

    def progress(left: int) -> None:
        print(f"places still looked for: {left}", file=sys.stderr)

    rows = table(problem_of(options, counts_of(options)), progress=None if options.quiet or options.json else progress)
    if options.json:
        cli.print_json([asdict(row) for row in rows])
    elif not options.quiet:
        print(f"{'direction':>11}  {'lost at a decay in':>20}  {'value at Z = 0':>14}")
        for row in rows:
            name = str(row.first) if row.first == row.last else f"{row.first}-{row.last}"
            bracket = "not found" if row.bracket is None else outward(*row.bracket, 4)
            print(f"{name:>11}  {bracket:>20}  {row.at_zero:14.4g}")
        if any(row.bracket is None for row in rows):
            print("not found: the solver leaves their number open there, as it does at tiny decays", file=sys.stderr)
        cli.next_step("python -m lpm.cures with --decay MU shows what each cure does at one of these decays")
    return 0 if all(row.bracket for row in rows) else 1


if __name__ == "__main__":
    from lpm.console.cli import run

    sys.exit(run(main))
