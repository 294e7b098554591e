"""How often each label pair (a, b) occurs: n_(a,b) from class counts under a sampler's profile, or from a table.

Classes with equal counts are exchangeable, so counts are kept per *group* of classes. Nothing is lost, because every
class may be a group of its own. With a few groups a problem has the same size at 4 classes and at 8,142.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lpm.console.errors import InvalidInput, check_within

MAX_CLASSES = 10_000_000
"""Largest number of classes."""
MAX_RATIO = 1e60
"""Largest ratio of two counts. Their squares and products must stay far from the limits of float64."""


@dataclass(frozen=True, kw_only=True)
class ClassCounts:
    """Class counts by group: group g holds ``sizes[g]`` classes of ``counts[g]`` samples each.

    Attributes:
        sizes: number of classes in each group, (G,) int.
        counts: samples of one class of each group, (G,) float; only ratios matter.
        group_of: group of each class, (K,).
        side: (G,), in the paper's setting 0 for the majority A and 1 for the minority B; elsewhere all 0.
    """

    sizes: np.ndarray
    counts: np.ndarray
    group_of: np.ndarray
    side: np.ndarray

    @property
    def K(self) -> int:
        """Number of classes."""
        return int(self.sizes.sum())


def majority(K: int, K_A: int | None = None) -> int:
    """Count the majority classes.

    Args:
        K: number of classes.
        K_A: number of majority classes, if it is given.

    Returns:
        K_A, or K // 2 if it is None.
    """
    return K // 2 if K_A is None else K_A


def check_imbalances(R_min: float, R_max: float) -> None:
    """Check the ends of a range of imbalances.

    Args:
        R_min: smallest imbalance n_A / n_B.
        R_max: largest imbalance.

    Raises:
        InvalidInput: unless ``0 < R_min < R_max``, both within ``MAX_RATIO``.
    """
    if not 1 / MAX_RATIO <= R_min < R_max <= MAX_RATIO:
        raise InvalidInput(
            f"R_min = {R_min:g}, R_max = {R_max:g}: a range needs 0 < R_min < R_max, both within {MAX_RATIO:g}"
        )


def imbalanced(K: int, K_A: int | None = None, R: float = 1.0, w_r: float = 1.0) -> ClassCounts:
    """Build the paper's setting: K_A majority classes of n_A samples and K - K_A minority classes of n_B.

    Args:
        K: number of classes, at least 2.
        K_A: number of majority classes, 1 to K - 1; K // 2 if None.
        R: imbalance n_A / n_B.
        w_r: Proposition 1's oversampling; the minority counts as w_r n_B.

    Returns:
        Class counts in two groups, the majority first.

    Raises:
        InvalidInput: if an argument is out of range.
    """
    if not 2 <= K <= MAX_CLASSES:
        raise InvalidInput(f"K = {K} must lie in 2..{MAX_CLASSES:,} classes")
    K_A = majority(K, K_A)
    if not 1 <= K_A <= K - 1:
        raise InvalidInput(
            f"K_A = {K_A} is outside 1..{K - 1}; majority and minority of K = {K} classes both need a class"
        )
    for name, value in (("R", R), ("w_r", w_r)):
        check_within(name, value, 1 / MAX_RATIO, MAX_RATIO)
    sizes = np.array([K_A, K - K_A])
    return ClassCounts(
        sizes=sizes,
        counts=np.array([float(R), float(w_r)]),
        group_of=np.repeat([0, 1], sizes),
        side=np.array([0, 1]),
    )


def class_counts(counts: Sequence[float] | np.ndarray) -> ClassCounts:
    """Build class counts from one number per class; classes of equal count form a group, the largest count first.

    Args:
        counts: samples of each class, (K,).

    Returns:
        The class counts by group.

    Raises:
        InvalidInput: if there are fewer than 2 counts, one is negative or not finite, all are 0, or they are too far
            apart.
    """
    n = np.asarray(counts, dtype=float)
    if n.ndim != 1 or n.size < 2:
        raise InvalidInput(f"class counts must be one number per class for at least 2 classes, got shape {n.shape}")
    if not np.all(np.isfinite(n)) or np.any(n < 0):
        k = int(np.flatnonzero(~np.isfinite(n) | (n < 0))[0])
        raise InvalidInput(f"count of class {k} is {n[k]:g}; counts must be finite and at least 0")
    if not n.any():
        raise InvalidInput("every class count is 0; at least one class must occur")
    _check_range("class counts", n)
    values, group = np.unique(-n, return_inverse=True)
    return ClassCounts(sizes=np.bincount(group), counts=-values, group_of=group, side=np.zeros(len(values), dtype=int))


@dataclass(frozen=True, kw_only=True)
class LabelPairs:
    """Label-pair counts by group.

    ``same[g] = n_(a,a)`` for a in g, and ``cross[g, h] = n_(a,b)`` for a in g, b in h, a != b. Only ratios of counts
    matter.

    Attributes:
        sizes: number of classes in each group, (G,) int.
        same: count of the label pair (a, a) of one class of each group, (G,).
        cross: counts between groups, (G, G); the diagonal is for two different classes of one group.
        group_of: group of each class, (K,).
        profile: name of the frequencies in tables.
        side: (G,), as in :class:`ClassCounts`.
    """

    sizes: np.ndarray
    same: np.ndarray
    cross: np.ndarray
    group_of: np.ndarray
    profile: str
    side: np.ndarray

    @property
    def K(self) -> int:
        """Number of classes."""
        return int(self.sizes.sum())


def block(classes: ClassCounts) -> LabelPairs:
    """Count label pairs as Theorem 1 and Proposition 1 print: n_A on K_A^2, w_r n_B on K_B^2, none across.

    Args:
        classes: class counts of a majority and a minority.

    Returns:
        The label-pair counts.

    Raises:
        InvalidInput: if the classes have no majority and minority.
    """
    if not classes.side.any():
        raise InvalidInput(
            "profile 'block' is defined for a majority and a minority; give K, K_A and R, or use 'product'"
        )
    return _of_groups(classes, "block", same=classes.counts, cross=np.diag(classes.counts))


def product(classes: ClassCounts | Sequence[float]) -> LabelPairs:
    """Count label pairs as mixup draws them, by a random pairing of the data: n_(a,b) = n_a n_b.

    Args:
        classes: class counts, or a list of one count per class.

    Returns:
        The label-pair counts.

    Raises:
        InvalidInput: if a list is none of class counts, as in :func:`class_counts`.
    """
    classes = _counted(classes)
    n = classes.counts / classes.counts.max()
    return _of_groups(classes, "product", same=n**2, cross=np.outer(n, n))


def balanced(classes: ClassCounts | Sequence[float]) -> LabelPairs:
    """Count all K^2 label pairs equally often, n_(a,b) = 1: BMLS over K^2, and the expectation of CBS, CAS and LOM.

    Args:
        classes: the classes, or a list of their counts, which have no effect.

    Returns:
        The label-pair counts.

    Raises:
        InvalidInput: if a list is none of class counts, as in :func:`class_counts`.
    """
    classes = _counted(classes)
    G = len(classes.sizes)
    return _of_groups(classes, "balanced", same=np.ones(G), cross=np.ones((G, G)))


def distinct(classes: ClassCounts | Sequence[float]) -> LabelPairs:
    """Count all label pairs a != b equally often, n_(a,b) = 1: BMLS over a < b, under a law symmetric about 1/2.

    Args:
        classes: the classes, or a list of their counts, which have no effect.

    Returns:
        The label-pair counts.

    Raises:
        InvalidInput: if a list is none of class counts, as in :func:`class_counts`.
    """
    classes = _counted(classes)
    G = len(classes.sizes)
    return _of_groups(classes, "distinct", same=np.zeros(G), cross=np.ones((G, G)))


def _counted(classes: ClassCounts | Sequence[float]) -> ClassCounts:
    return classes if isinstance(classes, ClassCounts) else class_counts(classes)


def _of_groups(classes: ClassCounts, profile: str, *, same: np.ndarray, cross: np.ndarray) -> LabelPairs:
    """Label pairs in the groups of the class counts."""
    return LabelPairs(
        sizes=classes.sizes,
        same=same,
        cross=cross,
        group_of=classes.group_of,
        profile=profile,
        side=classes.side,
    )


PROFILES = {"block": block, "product": product, "balanced": balanced, "distinct": distinct}
"""The profiles by name: functions from class counts to label-pair counts."""


def table(counts: Sequence[Sequence[float]] | np.ndarray) -> LabelPairs:
    """Take label-pair counts from a table, for example from a sampler's log; no symmetry is assumed.

    Args:
        counts: n_(a,b) in row a and column b, (K, K).

    Returns:
        The label-pair counts, with every class a group of its own.

    Raises:
        InvalidInput: unless the table is square, K >= 2, finite, non-negative, not all zero, and not too far apart.
    """
    n = np.asarray(counts, dtype=float)
    if n.ndim != 2 or n.shape[0] != n.shape[1] or n.shape[0] < 2:
        raise InvalidInput(f"a label-pair table must be K x K with K >= 2, got shape {n.shape}")
    if not np.all(np.isfinite(n)) or np.any(n < 0):
        a, b = (int(i) for i in np.argwhere(~np.isfinite(n) | (n < 0))[0])
        raise InvalidInput(f"label-pair count ({a}, {b}) is {n[a, b]:g}; counts must be finite and at least 0")
    if not n.any():
        raise InvalidInput("every label-pair count is 0; at least one pair must occur")
    _check_range("label-pair counts", n)
    K = len(n)
    return LabelPairs(
        sizes=np.ones(K, dtype=int),
        same=np.diag(n).copy(),
        cross=n,
        group_of=np.arange(K),
        profile="table",
        side=np.zeros(K, dtype=int),
    )


def _check_range(name: str, counts: np.ndarray) -> None:
    low, high = counts[counts > 0].min(), counts.max()
    if high / MAX_RATIO > low or not 1 / MAX_RATIO <= high <= MAX_RATIO:
        raise InvalidInput(f"{name} from {low:g} to {high:g}: they and their ratio must not exceed {MAX_RATIO:g}")
