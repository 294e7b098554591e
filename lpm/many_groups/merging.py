"""Fewer groups: classes of similar frequency merged into one group, and points carried back to the true groups."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lpm.many_groups.blocks import Blocks
from lpm.problem import Problem, Rows

LEAST = 3
"""Fewest classes of a merged group, so that each kind of logit occurs: of a, of b, and of another class."""


def log_frequency(problem: Problem) -> np.ndarray:
    """Measure how often a class of each group is in a label pair, weighted by its mixing ratio.

    Args:
        problem: the problem.

    Returns:
        Log of the frequencies, (G,); finite for classes that never occur.
    """
    rows, G = problem.rows, len(problem.sizes)
    mass = rows.count * rows.p
    total = np.bincount(rows.first, mass * rows.lam, G) + np.bincount(rows.second, mass * (1 - rows.lam), G)
    share = total / problem.sizes
    return np.log(np.maximum(share, 0.1 * share[share > 0].min()))


def merge_alike(problem: Problem) -> tuple[Problem, np.ndarray, np.ndarray]:
    """Merge orbits with the same target.

    These are (g, h) at lambda and (h, g) at 1 - lambda, and (a, a) at any lambda for ``classes``. They have equal
    logits at an optimum if their p/d agree. Their p and d add up. Ratios p/d and lambda are compared to 12 digits.
    So this is exact to 12 digits only: the interval of :mod:`lpm.merged` holds up to a relative 1e-12.

    Args:
        problem: the problem.

    Returns:
        The merged problem, the row (M,) that stands for each old row, and whether a and b have changed places in it
        (M,).
    """
    rows = problem.rows
    a, b, lam = rows.first, rows.second, rows.lam
    if problem.partition == "classes":
        lam = np.where(rows.same, 1.0, lam)
    swap = np.zeros(len(rows), dtype=bool)
    if problem.partition != "unordered":
        swap = (lam < 0.5) | ((lam == 0.5) & (a > b))
        a, b, lam = np.where(swap, b, a), np.where(swap, a, b), np.where(swap, 1 - lam, lam)
    keys = np.stack([np.round(np.log(rows.p / rows.d), 12), np.round(lam, 12), rows.same, b, a])
    order = np.lexsort(keys)
    new = np.append(True, np.any(np.diff(keys[:, order], axis=1) != 0, axis=0))
    owner = np.empty(len(order), dtype=int)
    owner[order] = np.cumsum(new) - 1
    representative = order[new]
    p, d = np.bincount(owner, rows.p), np.bincount(owner, rows.d)
    merged = Rows(
        first=a[representative],
        second=b[representative],
        same=rows.same[representative],
        lam=lam[representative],
        count=rows.count[representative],
        p=p,
        d=d,
    )
    return replace(problem, rows=merged), owner, swap & ~rows.same


def merge(problem: Problem, owner: np.ndarray) -> tuple[Problem, np.ndarray]:
    """Merge groups; frequencies and weights are averaged.

    Args:
        problem: the problem.
        owner: the merged group of each group, (G,).

    Returns:
        The program with groups merged, and the row (M,) that each old row has become a part of.
    """
    rows = problem.rows
    first, second = owner[rows.first], owner[rows.second]
    if problem.partition == "unordered":
        first, second = np.minimum(first, second), np.maximum(first, second)
    lam, lam_of = np.unique(rows.lam, return_inverse=True)
    shape = (int(owner.max()) + 1,) * 2 + (2, len(lam))
    # one number for each row: NumPy sorts numbers many times as fast as columns
    codes = np.ravel_multi_index((first, second, rows.same.astype(int), lam_of), shape)
    keys, part_of = np.unique(codes, return_inverse=True)
    first, second, same, lam_of = np.unravel_index(keys, shape)
    count = np.bincount(part_of, rows.count)
    p, d = (np.bincount(part_of, rows.count * x) / count for x in (rows.p, rows.d))
    sizes = np.bincount(owner, problem.sizes).astype(int)
    merged = replace(
        problem,
        sizes=sizes,
        rows=Rows(first=first, second=second, same=same == 1, lam=lam[lam_of], count=count, p=p, d=d),
        c=np.bincount(owner, problem.sizes * problem.c) / sizes,
        diagonal=None,
        group_of=None if problem.group_of is None else owner[problem.group_of],
        sides=(),
    )
    return merged, part_of


def merge_equal(problem: Problem) -> Problem:
    """Merge groups of different counts whose classes are exchangeable all the same.

    Under ``balanced`` frequencies all classes are exchangeable, under ``product`` only those of equal count. Where label pairs
    are classes, the order a < b sets all classes apart unless lambda = 1/2, though their frequencies are equal.

    Args:
        problem: the problem.

    Returns:
        The same program in fewer groups, or unchanged if there are no such groups.
    """
    if problem.changed or (problem.partition == "unordered" and bool(np.any(problem.rows.lam != 0.5))):
        return problem
    owner = np.unique(np.round(-log_frequency(problem), 10), return_inverse=True)[1]
    if owner.max() + 1 == len(owner):
        return problem
    merged, part_of = merge(problem, owner)
    few, old, K = merged.rows, problem.rows, merged.sizes
    # Exchangeable: every label pair of the merged groups occurs, and all that became one row were alike.
    pairs = np.outer(K, K) - np.diag(K)
    if problem.partition == "unordered":
        pairs = pairs - np.diag(np.diag(pairs)) // 2
    complete = few.count == np.where(few.same, K[few.first], pairs[few.first, few.second])
    means = (few.p[part_of], old.p), (few.d[part_of], old.d), (merged.c[owner], problem.c)
    alike = all(np.allclose(mean, each, rtol=1e-12, atol=0) for mean, each in means)
    return merged if complete.all() and alike else problem


def similar(problem: Problem, groups: int) -> np.ndarray:
    """Split groups into intervals of log frequency with least variance inside.

    It is dynamic programming over the distinct frequencies, each with its number of classes. An interval has ``LEAST``
    classes or more, so there may be fewer intervals than asked for.

    Args:
        problem: the problem.
        groups: largest number of intervals.

    Returns:
        The merged group of each group, (G,); the most frequent come first.
    """
    t, position = np.unique(-log_frequency(problem), return_inverse=True)
    number = np.bincount(position, problem.sizes).astype(float)
    # Classes in each interval [i, j), their sum of t and of t^2, and so the sum of squared deviations from their mean.
    classes, sum_t, sum_t2 = (
        cumulative[None, :] - cumulative[:, None]
        for cumulative in (np.concatenate([[0.0], np.cumsum(number * t**k)]) for k in (0, 1, 2))
    )
    deviation = sum_t2 - sum_t**2 / np.maximum(classes, 1)
    cost = np.where(classes >= LEAST, np.maximum(deviation, 0.0), np.inf)
    best, cuts, ends = cost[0], [], [len(t)]
    for _ in range(min(groups, len(t)) - 1):
        total = best[:, None] + cost
        cut, new = total.argmin(axis=0), total.min(axis=0)
        if not np.isfinite(new[-1]):
            break
        cuts.append(cut)
        best = new
    for cut in reversed(cuts):
        ends.append(int(cut[ends[-1]]))
    return np.searchsorted(np.sort(ends), position, side="right")


@dataclass(frozen=True)
class Level:
    """A program in some number of groups.

    Attributes:
        blocks: the blocks of the program.
        t: log frequency of each group, (G,): the mean over the classes merged in it.
    """

    blocks: Blocks
    t: np.ndarray


def merged_level(problem: Problem, owner: np.ndarray) -> Level:
    """Merge the groups of a program.

    Args:
        problem: the program.
        owner: the merged group of each group, (G,).

    Returns:
        The program in merged groups.
    """
    weight = np.bincount(owner, problem.sizes)
    t = np.bincount(owner, problem.sizes * log_frequency(problem)) / weight
    return Level(Blocks(merge_alike(merge(problem, owner)[0])[0]), t)


class Interpolation:
    """Logits of a level carried to a level of more groups, linear between log frequencies.

    The logits of a label pair are smooth in the log frequencies of a, of b, and of the class they belong to, but for a
    kink where classes collapse. A row is made from up to four rows of the coarse level, when it is asked for.

    Args:
        coarse: the level of fewer groups.
        X: its point.
        fine: the level of more groups.

    Attributes:
        coarse: blocks of the level of fewer groups.
        fine: blocks of the level of more groups.
        X: the coarse point.
        ends: the two coarse groups between which, or beside which, each fine group lies, (2, G).
        share: their weights, (2, G).
        columns: the same as a matrix, (coarse G, G).
        ratios: mixing ratios of the coarse level.
        row: the coarse row of a label pair, by (same, ratio, g, h); -1 if it does not occur.
    """

    def __init__(self, coarse: Level, X: np.ndarray, fine: Level) -> None:
        self.coarse, self.fine, self.X = coarse.blocks, fine.blocks, X
        # The two coarse groups between which each fine group lies (or beside which, at the ends), and where it lies.
        order = np.argsort(coarse.t)
        right = np.searchsorted(coarse.t[order], fine.t).clip(min(1, len(order) - 1), len(order) - 1)
        self.ends = np.stack([order[right - 1], order[right]])
        low, high = coarse.t[self.ends]
        above = (fine.t - low) / np.where(high > low, high - low, 1.0)
        self.share = np.stack([1 - above, above])
        self.columns = np.zeros((len(order), len(above)))
        for end, share in zip(self.ends, self.share, strict=True):
            np.add.at(self.columns, (end, np.arange(len(above))), share)
        self._index()

    def _index(self) -> None:
        """Tabulate row[same, ratio, g, h]: the coarse row of a label pair, -1 if it does not occur."""
        rows = self.coarse.problem.rows
        self.ratios = np.unique(np.round(rows.lam, 12))
        self.row = np.full((2, len(self.ratios), self.coarse.G, self.coarse.G), -1)
        same, ratio, number = rows.same.astype(int), self._ratio(rows.lam), np.arange(len(rows))
        half = rows.lam == 0.5  # these rows stand for (b, a), too
        self.row[same[half], ratio[half], rows.second[half], rows.first[half]] = number[half]
        self.row[same, ratio, rows.first, rows.second] = number

    def _ratio(self, lam: np.ndarray) -> np.ndarray:
        """Positions of mixing ratios among ``ratios``."""
        return np.searchsorted(self.ratios, np.round(lam, 12))

    def __call__(self, block: slice) -> np.ndarray:
        """Give the logits of a block of the fine level.

        Args:
            block: the rows.

        Returns:
            The logits, (m, G + 2).
        """
        G, (row, share, turned) = self.coarse.G, self._parts(block)
        V = np.zeros((row.shape[1], G + 2))
        for part in range(4):
            use = np.flatnonzero(share[part])
            logits = self.coarse.logits(self.X[row[part, use]], row[part, use])
            swap = turned[part, use]
            logits[swap, G:] = logits[swap, :-3:-1]
            V[use] += share[part, use, None] * logits
        return self.fine.centred(np.concatenate([V[:, :G] @ self.columns, V[:, G:]], axis=1), block)

    def _parts(self, block: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Coarse rows, their weights, and whether a and b have changed places there; each (4, m).

        If one of the four rows is missing, the row of the nearest groups replaces all four, if it occurs.
        """
        rows = self.fine.problem.rows
        a, b, same = rows.first[block], rows.second[block], rows.same[block].astype(int)
        at_a, at_b = np.repeat([0, 1], 2), np.tile([0, 1], 2)
        first, second = self.ends[at_a][:, a], self.ends[at_b][:, b]
        share = self.share[at_a][:, a] * np.where(same == 1, (at_a == at_b)[:, None], self.share[at_b][:, b])
        row = self.row[same, self._ratio(rows.lam[block]), first, second]
        missing = np.any((row < 0) & (share != 0), axis=0)
        nearest = 2 * self.share.argmax(axis=0)[a] + self.share.argmax(axis=0)[b]
        share[:, missing] = (np.arange(4)[:, None] == nearest[missing]) & (row[:, missing] >= 0)
        return row, share, self.coarse.problem.rows.first[row] != first
