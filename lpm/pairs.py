"""How often each label pair occurs: n_(a,b) from class counts under a sampler's profile, or from a table.

Classes with equal counts are exchangeable, so counts are kept per *group* of classes. Nothing is lost when every
class is a group of its own, and with a few groups a problem has the same size at 4 classes and at 8,142.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lpm.console.errors import InvalidInput, check_within

MAX_CLASSES = 10_000_000
MAX_RATIO = 1e60
"""Of two counts; their squares and products must stay far from the limits of float64."""


@dataclass(frozen=True, kw_only=True)
class ClassCounts:
    """Class counts by group: group g holds ``sizes[g]`` classes of ``counts[g]`` samples each.

    sizes: (G,) int. counts: (G,) float, only ratios matter. group_of: (K,) group of each class.
    family: (G,) 0 for the majority A and 1 for the minority B in the paper's setting; all 0 where there is no such split.
    """

    sizes: np.ndarray
    counts: np.ndarray
    group_of: np.ndarray
    family: np.ndarray

    @property
    def K(self) -> int:
        return int(self.sizes.sum())


def majority(K: int, K_A: int | None = None) -> int:
    """The number of majority classes K_A among K: half of them, rounded down, unless it is given."""
    return K // 2 if K_A is None else K_A


def check_imbalances(R_min: float, R_max: float) -> None:
    """Raise InvalidInput unless ``R_min < R_max`` are two imbalances between which a range can lie."""
    if not 1 / MAX_RATIO <= R_min < R_max <= MAX_RATIO:
        raise InvalidInput(
            f"R_min = {R_min:g}, R_max = {R_max:g}: a range needs 0 < R_min < R_max, both within {MAX_RATIO:g}"
        )


def imbalanced(K: int, K_A: int | None = None, R: float = 1.0, w_r: float = 1.0) -> ClassCounts:
    """The paper's setting: K_A majority classes of n_A samples, K - K_A minority classes of n_B, R = n_A / n_B.

    w_r is Proposition 1's oversampling: the minority counts as w_r n_B. K_A defaults to K // 2.

    Raises InvalidInput for K < 2, K_A outside 1..K-1, R <= 0 or w_r <= 0.
    """
    if not 2 <= K <= MAX_CLASSES:
        raise InvalidInput(f"K = {K} must lie in 2..{MAX_CLASSES:,} classes")
    K_A = majority(K, K_A)
    if not 1 <= K_A <= K - 1:
        raise InvalidInput(f"K_A = {K_A} is outside 1..{K - 1}; both groups of K = {K} classes need a member")
    for name, value in (("R", R), ("w_r", w_r)):
        check_within(name, value, 1 / MAX_RATIO, MAX_RATIO)
    sizes = np.array([K_A, K - K_A])
    return ClassCounts(
        sizes=sizes,
        counts=np.array([float(R), float(w_r)]),
        group_of=np.repeat([0, 1], sizes),
        family=np.array([0, 1]),
    )


def class_counts(counts: Sequence[float] | np.ndarray) -> ClassCounts:
    """Any class counts, shape (K,); classes of equal count form a group, the largest count first.

    Raises InvalidInput for fewer than 2 counts, a count that is negative or not finite, or nothing but zeros.
    """
    n = np.asarray(counts, dtype=float)
    if n.ndim != 1 or n.size < 2:
        raise InvalidInput(f"class counts need at least 2 classes in one row, got shape {n.shape}")
    if not np.all(np.isfinite(n)) or np.any(n < 0):
        k = int(np.flatnonzero(~np.isfinite(n) | (n < 0))[0])
        raise InvalidInput(f"count of class {k} is {n[k]:g}; counts must be finite and at least 0")
    if not n.any():
        raise InvalidInput("every class count is 0; at least one class must occur")
    _check_range("class counts", n)
    values, group = np.unique(-n, return_inverse=True)
    return ClassCounts(
        sizes=np.bincount(group), counts=-values, group_of=group, family=np.zeros(len(values), dtype=int)
    )


@dataclass(frozen=True, kw_only=True)
class LabelPairs:
    """Label-pair counts: ``same[g] = n_(a,a)`` for a in g, ``cross[g, h] = n_(a,b)`` for a in g, b in h, a != b.

    sizes: (G,) int. same: (G,). cross: (G, G), its diagonal for two different classes of one group. group_of: (K,).
    profile: the name in tables. family: as in :class:`ClassCounts`. Only ratios of counts matter.
    """

    sizes: np.ndarray
    same: np.ndarray
    cross: np.ndarray
    group_of: np.ndarray
    profile: str
    family: np.ndarray

    @property
    def K(self) -> int:
        return int(self.sizes.sum())


def block(classes: ClassCounts) -> LabelPairs:
    """Theorem 1 and Proposition 1 as printed: n_A on K_A^2, w_r n_B on K_B^2, no pair across the groups."""
    if not classes.family.any():
        raise InvalidInput(
            "profile 'block' is defined for a majority and a minority group; give K, K_A and R, or use 'product'"
        )
    return _of_groups(classes, "block", same=classes.counts, cross=np.diag(classes.counts))


def product(classes: ClassCounts) -> LabelPairs:
    """n_(a,b) = n_a n_b: a random pairing of the data, which is what mixup draws."""
    n = classes.counts / classes.counts.max()
    return _of_groups(classes, "product", same=n**2, cross=np.outer(n, n))


def balanced(classes: ClassCounts) -> LabelPairs:
    """n_(a,b) = 1 on all K^2 pairs: BMLS over K^2; also the expectation of CBS, CAS and LOM."""
    G = len(classes.sizes)
    return _of_groups(classes, "balanced", same=np.ones(G), cross=np.ones((G, G)))


def distinct(classes: ClassCounts) -> LabelPairs:
    """n_(a,b) = 1 for a != b: BMLS with a < b under a ratio symmetric about 1/2."""
    G = len(classes.sizes)
    return _of_groups(classes, "distinct", same=np.zeros(G), cross=np.ones((G, G)))


def _of_groups(classes: ClassCounts, profile: str, *, same: np.ndarray, cross: np.ndarray) -> LabelPairs:
    """Label pairs in the groups of the class counts."""
    return LabelPairs(
        sizes=classes.sizes,
        same=same,
        cross=cross,
        group_of=classes.group_of,
        profile=profile,
        family=classes.family,
    )


PROFILES = {"block": block, "product": product, "balanced": balanced, "distinct": distinct}


def table(counts: Sequence[Sequence[float]] | np.ndarray) -> LabelPairs:
    """Any K x K table of label-pair counts n_(a,b), say a sampler's log; no symmetry is assumed.

    Raises InvalidInput unless the table is square, K >= 2, finite, non-negative and not all zero.
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
        family=np.zeros(K, dtype=int),
    )


def _check_range(what: str, counts: np.ndarray) -> None:
    low, high = counts[counts > 0].min(), counts.max()
    if high / MAX_RATIO > low or not 1 / MAX_RATIO <= high <= MAX_RATIO:
        raise InvalidInput(f"{what} from {low:g} to {high:g}: they and their ratio must not exceed {MAX_RATIO:g}")
