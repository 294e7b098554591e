"""First-order solver for many groups: similar classes are merged, and the gap is the true program's.

A program in G groups has G^2 orbits of label pairs, and a point has G^3 numbers. The program is solved first with few
groups, each an interval of class frequencies. Between these the logits are interpolated
(:class:`lpm.many_groups.merging.Interpolation`) and scaled into the *true* ball. So f there, with the true frequencies,
is an upper bound. The lower bound holds for any logits and need not come from the same point
(:mod:`lpm.many_groups.dual`). Both are evaluated one block of label pairs at a time, in O(G^2) memory. Merging decides
how wide the interval is, not whether it is right (docs/theory/solvers.md). If it is too wide, twice as many groups
follow, started from there. The true groups themselves come last, if their point fits into memory.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from lpm.console.errors import InvalidInput, NotCertified
from lpm.coordinates import Coordinates
from lpm.geometry import GroupGram
from lpm.many_groups.blocks import Blocks, Evaluation, Logits, OutOfTime
from lpm.many_groups.descent import Descent
from lpm.many_groups.dual import gap, penalty_of, relative_gap, tighten
from lpm.many_groups.merging import Interpolation, Level, log_frequency, merge_alike, merged_level, similar
from lpm.many_groups.spectra import Spectrum
from lpm.problem import MAX_LOGITS, Problem
from lpm.solution import ROUNDING, SMALLER, TOLERANCE, Solution

FEWEST_GROUPS = 32
"""Merged groups of the first attempt."""
MAX_GROUPS = 2000
"""Largest number of true groups."""
MAX_STORED = 40_000_000
"""Largest number of entries of a point that :mod:`lpm.many_groups.descent` holds, three times (1 GB)."""
MAX_STREAMED = 1_000_000_000
"""Largest number of entries of a point of the true program. It is never held as a whole, but its gap takes G times as
many multiplications."""
TIME_LIMIT = 600.0
"""Default time limit in seconds."""
FIRST_SHARE = 0.2
"""Share of the time limit after which the first merged program is left, so that its gap can be evaluated."""

Progress = Callable[[int, float, float], None]
"""Called with a number of groups, the relative gap reached with them, and the seconds spent."""


@dataclass(frozen=True, kw_only=True, repr=False)
class MergedSolution(Solution):
    """A solution whose point may be too large to hold: ``X`` then has no rows.

    ``rank`` and ``collapsed_groups`` are those of this point, the one that the certificate is about. As for every
    solution, ``rank_bounds``, ``undecided_groups`` and ``binds`` say what the gap leaves open.

    Attributes:
        true_gram: W W^T, which the solver reads off before it drops the point.
    """

    true_gram: GroupGram

    @cached_property
    def gram(self) -> GroupGram:
        """W W^T by Lemma 1."""
        return self.true_gram


@dataclass(frozen=True, kw_only=True)
class _Point:
    """A feasible point of the true program: its logits, its spectrum, f there, and the best lower bound known."""

    blocks: Blocks
    logits: Logits
    spectrum: Spectrum
    primal: Evaluation
    dual: Evaluation

    @classmethod
    def scaled(cls, blocks: Blocks, logits: Logits, tolerance: float) -> _Point:
        """The point of some logits, scaled into the ball if they lie outside; a gap of ``tolerance`` is good enough."""
        spectrum = blocks.spectrum(logits)
        factor = _into_ball(blocks.problem, spectrum)

        def inside(block: slice) -> np.ndarray:
            return factor * logits(block)

        spectrum, primal = replace(spectrum, values=factor * spectrum.values), blocks.evaluate(inside)
        dual = tighten(blocks, inside, spectrum, primal, tolerance)
        return cls(blocks=blocks, logits=inside, spectrum=spectrum, primal=primal, dual=dual)

    @property
    def gap(self) -> float:
        return gap(self.blocks, self.primal, self.dual, self.spectrum)

    @property
    def relative_gap(self) -> float:
        return relative_gap(self.blocks, self.primal, self.dual, self.spectrum)

    @property
    def used(self) -> np.ndarray:
        """Which singular directions (2 G,) the point uses; the others were projected away and are 0 to rounding."""
        return (self.spectrum.times > 0) & (self.spectrum.values > 1e-12 * self.spectrum.nuclear)

    @property
    def collapsed_groups(self) -> tuple[int, ...]:
        """Groups of two classes or more whose vectors coincide."""
        several = self.blocks.problem.sizes > 1
        return tuple(np.flatnonzero(several & ~self.used[self.blocks.G :]).tolist())

    @property
    def rank(self) -> int:
        """Rank of W."""
        return int(self.spectrum.times[self.used].sum())

    @cached_property
    def slack_error(self) -> float:
        """Bound on the error of every slack, as in :class:`lpm.solution.Certificate`."""
        error = np.sqrt(2 * Coordinates(self.blocks.problem).smoothness * self.gap)
        top = self.primal.gradient.spectral
        return float(2 * error / (top - error)) if top > error else np.inf

    @cached_property
    def excess(self) -> np.ndarray:
        """Share of the nuclear norm less dual slack of each singular direction, (2 G,): positive if it is in use."""
        G, gradient, spectrum = self.blocks.G, self.primal.gradient, self.spectrum
        along = np.linalg.norm(gradient.values[:G, None] * (gradient.vectors.T @ spectrum.vectors), axis=0)
        slack = 1 - np.concatenate([along, gradient.values[G:]]) / max(gradient.spectral, 1e-300)
        return spectrum.times * spectrum.values / self.blocks.problem.tau - slack

    @property
    def undecided_groups(self) -> tuple[int, ...]:
        """Groups of two classes or more of which the gap leaves open whether they collapse."""
        several = self.blocks.problem.sizes > 1
        decided = np.abs(self.excess[self.blocks.G :]) > self.slack_error
        agrees = (self.excess[self.blocks.G :] > 0) == self.used[self.blocks.G :]
        return tuple(np.flatnonzero(several & ~(decided & agrees)).tolist())

    @property
    def rank_bounds(self) -> tuple[int, int]:
        """The smallest and the largest rank that the gap leaves open."""
        times, error = self.spectrum.times, self.slack_error
        low, high = (int(times[self.excess > sign * error].sum()) for sign in (1, -1))
        return low, min(high, self.blocks.problem.K - 1)

    @property
    def gram(self) -> GroupGram:
        """W W^T by Lemma 1 (:attr:`lpm.solution.Solution.gram`)."""
        problem, G, V = self.blocks.problem, self.blocks.G, self.spectrum.vectors
        gamma2, root = np.sqrt(problem.e_w / problem.e_h), self.blocks.C_inverse_half.matrix
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
    """Solve a problem to a relative gap of ``tolerance``, with as few merged groups as that takes.

    Args:
        problem: the problem.
        tolerance: largest relative gap that is certified.
        groups: largest number of merged groups; no limit if None.
        time_limit: seconds after which the solver stops, an evaluation of the gap included. One takes O(G^4) operations
            (80 s for 1,000 groups).
        progress: called after each number of groups.

    Returns:
        The certified solution.

    Raises:
        InvalidInput: if the program is too large even to evaluate, or if the order of classes matters in it.
        NotCertified: if the gap stays above ``tolerance``, or none is known in time.
    """
    start = time.perf_counter()
    _refuse(problem)
    alike, row, swapped = merge_alike(problem)
    true = Level(Blocks(alike), log_frequency(alike))
    true.blocks.deadline = start + time_limit
    best, attempt = None, None
    try:
        for attempt in _attempts(problem, true, groups, tolerance, start, time_limit):
            best = attempt.point if best is None or attempt.point.gap < best.gap else best
            if progress is not None:
                progress(attempt.groups, attempt.point.relative_gap, attempt.seconds)
            if best.relative_gap <= tolerance:
                break
    except OutOfTime:
        if attempt is not None:
            attempt = replace(attempt, late=True)
    true.blocks.deadline = math.inf
    if best is None or attempt is None:
        raise NotCertified(
            gap=math.inf,
            relative_gap=math.inf,
            tolerance=tolerance,
            solver="merged",
            remedy=f"raise the time limit of {time_limit:g} s, in which no gap of {true.blocks.G:,} groups is known, or "
            "round the counts so that fewer of them differ",
        )
    if best.relative_gap <= tolerance:
        return MergedSolution(
            coordinates=Coordinates(problem),
            X=_unfold(problem, best, row, swapped),
            loss=best.primal.loss,
            gap=best.gap,
            collapsed_groups=best.collapsed_groups,
            rank=best.rank,
            solver=attempt.solver,
            seconds=attempt.seconds,
            iterations=attempt.iterations,
            rounding=best.primal.rounding,
            undecided_groups=best.undecided_groups,
            rank_bounds=best.rank_bounds,
            binds=bool(np.isfinite(best.slack_error)),
            true_gram=best.gram,
            penalty=penalty_of(best.blocks, best.spectrum),
        )
    raise NotCertified(
        gap=best.gap,
        relative_gap=best.relative_gap,
        tolerance=tolerance,
        solver=attempt.solver,
        remedy=_remedy(best, attempt, time_limit),
    )


@dataclass(frozen=True, kw_only=True)
class _Attempt:
    """A point of the true program that was found with some number of merged groups.

    point: in the true program. groups, true_groups: numbers of groups, merged and of the true program.
    iterations, seconds: of all attempts so far. late: no time is left for another attempt.
    """

    point: _Point
    groups: int
    true_groups: int
    iterations: int
    seconds: float
    late: bool

    @property
    def solver(self) -> str:
        return f"merged ({self.groups} of {self.true_groups} groups)"


def _attempts(
    problem: Problem, true: Level, groups: int | None, tolerance: float, start: float, time_limit: float
) -> Iterator[_Attempt]:
    """Points from more and more groups, each started from the one before, until groups or time run out.

    start: when the solver began, on the clock of ``time.perf_counter``.
    """
    X, coarse, iterations, evaluation_seconds = np.empty((0, 0)), None, 0, 0.0
    for level in _levels(problem, true, groups):
        X = np.zeros(level.blocks.shape) if coarse is None else _written(Interpolation(coarse, X, level), level.blocks)
        descent = Descent(level.blocks, X)
        # A merged program is solved more closely than is asked for, because carrying its point to the true program
        # widens the gap. Time is left for one more evaluation of the true program, as long as the last one took.
        enough = 0.9 * tolerance if level is true else tolerance / 3
        left = time_limit - evaluation_seconds if coarse is not None else FIRST_SHARE * time_limit
        iterations += descent.run(enough, start + left)
        X, coarse = descent.X, level
        del descent  # and the other two arrays of its size
        evaluation_start = time.perf_counter()
        logits = true.blocks.at(X) if level is true else Interpolation(level, X, true)
        point = _Point.scaled(true.blocks, logits, tolerance)
        now = time.perf_counter()
        seconds, evaluation_seconds = now - start, now - evaluation_start
        late = seconds + evaluation_seconds > time_limit
        yield _Attempt(
            point=point,
            groups=level.blocks.G,
            true_groups=true.blocks.G,
            iterations=iterations,
            seconds=seconds,
            late=late,
        )
        if late:
            return


def _remedy(best: _Point, last: _Attempt, time_limit: float) -> str:
    """Advice for a gap that stays too wide."""
    if best.gap < ROUNDING:
        return SMALLER
    remedies = [f"loosen --tolerance to {1.1 * best.relative_gap:.1e}"] if 1.1 * best.relative_gap <= 1 else []
    if last.late:
        remedies.append(f"raise the time limit of {time_limit:g} s")
    elif last.groups < last.true_groups:
        remedies.append("round the counts so that fewer of them differ")
    return ", or ".join(remedies) or "counts and budgets are too far apart for float64: take smaller ratios"


def _refuse(problem: Problem) -> None:
    """Raise InvalidInput for a program that this solver cannot take."""
    if problem.partition == "unordered" and np.any(problem.rows.lam != 0.5):
        raise InvalidInput(
            f"program {problem.program!r} orders the classes unless lambda = 1/2, so no two are alike; "
            "use --solver factored"
        )
    if problem.changed:
        raise InvalidInput(
            "solver merged takes the labels and the loss of the paper's programs, not offsets, factors, margins or other "
            "labels; use --solver factored, or orbits for few groups"
        )
    M, G = len(problem.rows), len(problem.sizes)
    if G > MAX_GROUPS or M * G > MAX_STREAMED:
        raise InvalidInput(
            f"{G:,} groups of equal frequency and {M:,} kinds of label pairs are more than solver merged can evaluate; "
            "round the counts so that fewer of them differ"
        )


def _levels(problem: Problem, true: Level, groups: int | None) -> Iterator[Level]:
    """The program in 32, 64, 128, ... merged groups; last in its own, or in as many as are asked for or fit."""
    (M, n), G = true.blocks.shape, true.blocks.G
    most = min(G, G if groups is None else groups, int(G * (MAX_STORED / (M * n)) ** (1 / 3)))
    number, last = FEWEST_GROUPS, 0
    while 2 * number <= most:
        owner = similar(problem, number)
        if owner.max() > last:  # few classes make no more groups
            yield merged_level(problem, owner)
        number, last = 2 * number, owner.max()
    yield true if most == G else merged_level(problem, similar(problem, most))


def _into_ball(problem: Problem, spectrum: Spectrum) -> float:
    """The factor that takes a point into the nuclear-norm ball; 1 under a decay, where all points are feasible."""
    return 1.0 if problem.decay is not None else 1 / max(1.0, spectrum.nuclear / problem.tau)


def _written(logits: Logits, blocks: Blocks) -> np.ndarray:
    """The point of some logits written out, scaled into the ball if it lies outside."""
    X, factor = np.empty(blocks.shape), _into_ball(blocks.problem, blocks.spectrum(logits))
    for block in blocks:
        X[block] = factor * blocks.points(logits(block), block)
    return X


def _unfold(problem: Problem, point: _Point, row: np.ndarray, swapped: np.ndarray) -> np.ndarray:
    """The point in the coordinates of :mod:`lpm.coordinates`, (M, n), if label pairs are few enough to write out."""
    G, rows = len(problem.sizes), problem.rows
    if rows.count.sum() * problem.K > MAX_LOGITS:
        return np.empty((0, G + 2))
    alike, blocks = point.blocks, Blocks(problem)
    V = np.concatenate([point.logits(block) for block in alike])[row]
    V[swapped, G:] = V[swapped, :-3:-1]  # the logits of a and of b change places
    X = blocks.points(V, slice(None))
    X[:, G:] *= np.sqrt(np.maximum(problem.sizes - 1, 1))[np.minimum(blocks.slots.T, G - 1)]
    return X[:, :G] if problem.expanded else X
