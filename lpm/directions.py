"""How many directions of W survive weight decay, and where each is lost: ``python -m lpm.directions --counts N,N,...``.

Where classes of a group differ, by their counts or by the order a < b, no two class vectors coincide exactly. Their
directions, the singular vectors of W, are lost one after another. Their number is bounded from both sides by the dual of a
solved program (:attr:`lpm.solution.Solution.rank_bounds`), so a place where one is lost has a certified bracket. Where
nothing survives is a closed form (:func:`lpm.law.eigenvalues`).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from lpm import law
from lpm.console.errors import InvalidInput, NotCertified
from lpm.console.rounding import outward
from lpm.options import add_family
from lpm.orbits import MAX_GROUPS
from lpm.problem import Problem
from lpm.solution import Solution
from lpm.solve import add_counts, counts_of, problem_of, solve_all

WIDTH = 0.02
"""Width of a bracket in the logarithm: one percent to both sides."""
ROUNDS = 40
"""Largest number of rounds of a search; 2 to 8 are usual."""


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
        low, high = solution.rank_bounds or (solution.rank, solution.rank)
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
) -> dict[int, tuple[float, float] | None]:
    """Find where directions are lost as a parameter grows.

    Each round solves, all at once, one program for each direction that is still looked for. The i-th singular value falls
    almost linearly in the logarithm of the parameter until it is 0, so a secant finds the place.

    Args:
        at: the problem at the parameter, a decay or an imbalance.
        starts: for each direction i the parameter around which to look for the place where fewer than i are left.
        ends: smallest and largest parameter.
        width: width of a bracket in the logarithm of the parameter.
        rounds: largest number of rounds.

    Returns:
        For each direction two parameters: at the first at least i directions are proved, at the second fewer. They are further
        apart than ``width`` if the rounds did not suffice. None if one of them was not found between the ends. It is a
        crossing near the start, and nothing is said about others.
    """
    low, high = math.log(ends[0]), math.log(ends[1])
    known: dict[float, Known] = {}
    for _ in range(rounds):
        asked = {
            min(max(x, low), high)
            for i, start in starts.items()
            for x in _next(i, known, min(max(math.log(start), low), high), width)
        }
        new = sorted(asked - known.keys())
        if not new:
            break
        solved = solve_all([at(math.exp(x)) for x in new])
        known |= dict(zip(new, map(Known.of, solved), strict=True))
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


def _next(i: int, known: Mapping[float, Known], start: float, width: float) -> Sequence[float]:
    """Where to look next for the loss of direction i: logarithms of the parameter, none if its bracket cannot be narrowed."""
    if not known:
        return start - 0.49 * width, start + 0.49 * width
    alive, dead = _bracket(i, known)
    open_ones = sorted(x for x, one in known.items() if one.low < i <= one.high)  # too near for the solver's gap
    if alive is None:
        low = min(known)
        return (low - max(0.2, start - low),)
    inside = [x for x in open_ones if x > alive and (dead is None or x < dead)]
    if inside:
        if dead is None:
            return (inside[-1] + max(0.5 * width, inside[-1] - alive),)
        left, right = inside[0] - alive, dead - inside[-1]
        if dead - alive <= width or max(left, right) <= width:
            return ()
        return (alive + left / 2 if left > right else dead - right / 2,)
    if dead is not None and dead - alive <= width:
        return ()
    points = sorted(x for x, one in known.items() if one.low >= i and x <= alive)[-2:]
    end = alive + 1.0 if dead is None else dead
    if len(points) < 2:
        return (alive - 0.2,)
    (x0, y0), (x1, y1) = ((x, known[x].values[i - 1]) for x in points)
    root = x1 + (x1 - x0) * y1 / (y0 - y1) if y0 > y1 else math.inf
    if root - alive <= 0.4 * width:
        x = alive + 0.9 * width
    elif end - root <= 0.4 * width:
        x = end - 0.9 * width
    else:
        x = root - 0.3 * width
    if alive < x < end:
        return (x,)
    return (end if dead is None else (alive + dead) / 2,)


def table(problem: Problem, *, width: float = WIDTH) -> list[Direction]:
    """Find the decays at which a program's directions are lost.

    Args:
        problem: the problem; its own decay does not matter.
        width: width of a bracket in the logarithm of the decay.

    Returns:
        Its K - 1 directions, the longest first.

    Raises:
        InvalidInput: if the problem has budgets, or more groups of equal classes than ``orbits`` solves.
    """
    if problem.decay is None:
        raise InvalidInput("directions are lost to a weight decay; put the problem under one first: .under_decay(1)")
    if len(problem.sizes) > MAX_GROUPS:
        raise InvalidInput(
            f"{len(problem.sizes):,} different counts are more than the {MAX_GROUPS} for which directions are bounded "
            "sharply; round the counts"
        )
    roots = np.sqrt(np.maximum(law.eigenvalues(problem), 0.0))[::-1].tolist()
    ends = 1e-3 * max(roots[-1], 1e-6 * roots[0]), 10 * roots[0]
    starts = {i + 1: max(root, ends[0]) for i, root in enumerate(roots)}
    found = lost(lambda mu: replace(problem, decay=mu), starts, ends, width=width)
    return [Direction(i, found[i], starts[i]) for i in starts]


@dataclass(frozen=True)
class Direction:
    """Where one direction of W is lost.

    Attributes:
        direction: its number i, from 1: W has at least i directions below the bracket of decays.
        bracket: two decays: at the first at least i directions are proved, at the second fewer; None if not found.
        eigenvalue_root: root of the i-th largest eigenvalue of P M P (:func:`lpm.law.eigenvalues`): the decay at which exactly
            the first direction is lost, without offsets, and all those inside groups of equal classes; else an estimate.
    """

    direction: int
    bracket: tuple[float, float] | None
    eigenvalue_root: float


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
    add_family(parser)
    add_counts(parser)
    parser.refuse("it looks at one R; `python -m lpm.threshold` takes a range", "--R-min", "--R-max")
    cli.add_report(parser)
    options = parser.parse_args(arguments)
    given = [name for name in ("decay", "E_H", "E_W") if getattr(options, name) is not None]
    if given:
        raise InvalidInput(
            f"--{given[0].replace('_', '-')} does not apply: the decay is what is looked for; `python -m lpm.solve` "
            "solves at one"
        )
    if options.bias:
        raise InvalidInput(
            "--bias does not apply: directions are looked for without a free bias, whose solves take minutes"
        )
    options.decay = 1.0
    rows = table(problem_of(options, counts_of(options)))
    if options.json:
        cli.print_json([asdict(row) for row in rows])
    elif not options.quiet:
        print("direction  lost at a decay in  root of the eigenvalue")
        for row in rows:
            bracket = "not found" if row.bracket is None else outward(*row.bracket, 4)
            print(f"{row.direction:9d}  {bracket:>18}  {row.eigenvalue_root:22.4g}")
        cli.next_step("python -m lpm.cures with --decay MU shows what each cure does at one of these decays")
    return 0 if all(row.bracket for row in rows) else 1


if __name__ == "__main__":
    from lpm.console.cli import run

    sys.exit(run(main))
