"""First-order solver for many groups: similar classes are merged, the point is carried back, and the gap is the true one.

A program in G groups has G^2 orbits of label pairs and a point G^3 numbers. It is solved first with few groups, each an
interval of class frequencies; between these the logits are interpolated
(:class:`lpm.many_groups.merging.Interpolation`) and scaled into the *true* ball, so that f there, with the true
frequencies, is an upper bound. The lower bound holds for any logits and need not come from the same point
(:mod:`lpm.many_groups.dual`). Both are evaluated a block of label pairs at a time, in O(G^2) memory; merging decides
how wide the interval is, not whether it is right (docs/theory.md, section 10). If it is too wide, twice as many groups
follow, started from there, and at last the true groups themselves if their point fits into memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from lpm.console.errors import InvalidInput, NotCertified
from lpm.geometry import GroupGram
from lpm.many_groups.blocks import Blocks, Evaluation, Logits, Spectrum
from lpm.many_groups.descent import Descent
from lpm.many_groups.dual import gap, tighten
from lpm.many_groups.merging import Interpolation, Level, log_frequency, merge_alike, merged_level, similar
from lpm.problem import MAX_LOGITS, Problem
from lpm.solution import ROUNDING, SMALLER, TOLERANCE, Solution

FEWEST_GROUPS = 32
MAX_GROUPS = 2000
MAX_STORED = 40_000_000
"""Entries of a point that :mod:`lpm.many_groups.descent` may hold, three times (1 GB)."""
MAX_STREAMED = 1_000_000_000
"""Entries of a point of the true program, never held as a whole; its gap takes G times as many multiplications."""
TIME_LIMIT = 600.0

Progress = Callable[[int, float, float], None]
"""Called with a number of groups, the relative gap reached with them, and the seconds spent."""


@dataclass(frozen=True)
class MergedSolution(Solution):
    """A solution whose point may be too large to hold: ``X`` then has no rows.

    rank and collapsed_groups are those of this point; the optimum's only if the gap is small.
    true_gram: W W^T, which the solver reads off before it lets the point go.
    """

    true_gram: GroupGram

    @cached_property
    def gram(self) -> GroupGram:
        """W W^T by Lemma 1."""
        return self.true_gram


@dataclass(frozen=True)
class _Point:
    """A feasible point of the true program: its logits, its spectrum, f there, and the best lower bound known."""

    blocks: Blocks
    logits: Logits
    spectrum: Spectrum
    primal: Evaluation
    dual: Evaluation

    @classmethod
    def scaled(cls, blocks: Blocks, logits: Logits, tolerance: float) -> _Point:
        """The point of some logits, scaled into the ball if they lie outside; a relative gap of ``tolerance`` is good enough."""
        spectrum = blocks.spectrum(logits)
        factor = 1 / max(1.0, spectrum.nuclear / blocks.problem.tau)

        def inside(block: slice) -> np.ndarray:
            return factor * logits(block)

        spectrum, primal = replace(spectrum, values=factor * spectrum.values), blocks.evaluate(inside)
        return cls(blocks, inside, spectrum, primal, tighten(blocks, inside, spectrum, primal, tolerance))

    @property
    def gap(self) -> float:
        return gap(self.primal, self.dual, self.blocks.problem.tau)

    @property
    def relative_gap(self) -> float:
        return self.gap / self.primal.loss

    @property
    def used(self) -> np.ndarray:
        """Which singular directions (2 G,) the point uses; those it does not are 0 to rounding, projected away."""
        return (self.spectrum.times > 0) & (self.spectrum.values > 1e-12 * self.blocks.problem.tau)

    @property
    def collapsed_groups(self) -> tuple[int, ...]:
        """Groups of two classes or more whose vectors coincide."""
        several = self.blocks.problem.sizes > 1
        return tuple(np.flatnonzero(several & ~self.used[self.blocks.G :]).tolist())

    @property
    def rank(self) -> int:
        """Of W."""
        return int(self.spectrum.times[self.used].sum())

    @property
    def gram(self) -> GroupGram:
        """W W^T by Lemma 1 (:attr:`lpm.solution.Solution.gram`)."""
        problem, G, V = self.blocks.problem, self.blocks.G, self.spectrum.vectors
        gamma2, root = np.sqrt(problem.e_w / problem.e_h), self.blocks.C_inverse_half
        block = gamma2 * root @ ((V * self.spectrum.values[:G]) @ V.T) @ root
        return GroupGram(problem.sizes, block, gamma2 * self.spectrum.values[G:] / problem.c)


def solve(
    problem: Problem,
    *,
    tolerance: float = TOLERANCE,
    groups: int | None = None,
    time_limit: float = TIME_LIMIT,
    progress: Progress | None = None,
) -> MergedSolution:
    """Solve to a relative gap of ``tolerance``, with as few groups as that takes and ``groups`` at most.

    time_limit: seconds after which no further iteration begins, so that the gap is known in time; it is evaluated once in any
    case, which takes O(G^4) operations (minutes for 1,000 groups). Raises InvalidInput for a program that is too
    large even to evaluate, or in which the order of classes has a meaning; NotCertified when the gap stays above ``tolerance``.
    """
    start, cost = time.perf_counter(), 0.0
    _refuse(problem)
    alike, row, swapped = merge_alike(problem)
    true = Level(Blocks(alike), log_frequency(alike))
    X, last, best, iterations = np.empty((0, 0)), None, None, 0
    for here in _levels(problem, true, groups):
        X = np.zeros(here.blocks.shape) if last is None else _written(Interpolation(last, X, here), here.blocks)
        enough = 0.9 * tolerance if here is true else tolerance / 3
        descent, last = Descent(here.blocks, X), here
        iterations += descent.run(enough, start + time_limit - cost)
        X = descent.X
        del descent  # and the other two arrays of its size
        begun = time.perf_counter()
        logits = true.blocks.at(X) if here is true else Interpolation(here, X, true)
        point = _Point.scaled(true.blocks, logits, tolerance)
        best = point if best is None or point.gap < best.gap else best
        solver, now = f"merged ({here.blocks.G} of {true.blocks.G} groups)", time.perf_counter()
        seconds, cost = now - start, now - begun
        if progress is not None:
            progress(here.blocks.G, point.relative_gap, seconds)
        if best.relative_gap <= tolerance:
            return _solution(problem, best, _unfold(problem, best, row, swapped), solver, seconds, iterations)
        if late := seconds + cost > time_limit:
            break
    assert best is not None
    remedies = [f"loosen --tolerance to {1.1 * best.relative_gap:.1e}"] if 1.1 * best.relative_gap <= 1 else []
    if late:
        remedies.append(f"raise the time limit of {time_limit:g} s")
    elif last is not true:
        remedies.append("round the counts so that fewer of them differ")
    remedy = ", or ".join(remedies) or "counts and budgets are too far apart for float64: take smaller ratios"
    if best.gap < ROUNDING:
        remedy = SMALLER
    raise NotCertified(gap=best.gap, relative_gap=best.relative_gap, tolerance=tolerance, solver=solver, remedy=remedy)


def _refuse(problem: Problem) -> None:
    if problem.partition == "unordered" and np.any(problem.rows.lam != 0.5):
        raise InvalidInput(
            f"program {problem.program!r} orders the classes unless lambda = 1/2, so none are alike; use --solver factored"
        )
    M, G = len(problem.rows), len(problem.sizes)
    if G > MAX_GROUPS or M * G > MAX_STREAMED:
        raise InvalidInput(
            f"{G:,} groups of equal frequency and {M:,} kinds of label pairs are more than merged can evaluate; "
            "round the counts so that fewer of them differ"
        )


def _levels(problem: Problem, true: Level, groups: int | None) -> Iterator[Level]:
    """The program in 32, 64, 128, ... merged groups, and last in its own, or in as many as are asked for or fit."""
    (M, n), G = true.blocks.shape, true.blocks.G
    most = min(G, G if groups is None else groups, int(G * (MAX_STORED / (M * n)) ** (1 / 3)))
    number, before = FEWEST_GROUPS, 0
    while 2 * number <= most:
        owner = similar(problem, number)
        if owner.max() > before:  # few classes make no more groups
            yield merged_level(problem, owner)
        number, before = 2 * number, owner.max()
    yield true if most == G else merged_level(problem, similar(problem, most))


def _written(logits: Logits, blocks: Blocks) -> np.ndarray:
    """The point of some logits written out, scaled into the ball if it lies outside."""
    X, factor = np.empty(blocks.shape), 1 / max(1.0, blocks.spectrum(logits).nuclear / blocks.problem.tau)
    for block in blocks:
        X[block] = factor * blocks.points(logits(block), block)
    return X


def _solution(
    problem: Problem, point: _Point, X: np.ndarray, solver: str, seconds: float, iterations: int
) -> MergedSolution:
    return MergedSolution(
        problem,
        X,
        point.primal.loss,
        point.gap,
        point.collapsed_groups,
        point.rank,
        solver,
        seconds,
        iterations,
        point.gram,
    )


def _unfold(problem: Problem, point: _Point, row: np.ndarray, swapped: np.ndarray) -> np.ndarray:
    """The point in the coordinates of :mod:`lpm.coordinates`, (M, n), where label pairs are few enough to write out."""
    G, rows = len(problem.sizes), problem.rows
    if rows.count.sum() * problem.K > MAX_LOGITS:
        return np.empty((0, G + 2))
    alike, blocks = point.blocks, Blocks(problem)
    V = np.concatenate([point.logits(block) for block in alike])[row]
    V[swapped, G:] = V[swapped, :-3:-1]
    X = blocks.points(V, slice(None))
    X[:, G:] *= np.sqrt(np.maximum(problem.sizes - 1, 1))[np.minimum(blocks.slots.T, G - 1)]
    return X[:, :G] if problem.expanded else X
