r"""Row losses ``L(z) = logpartition(z) - <y, z>`` and their gradients, O(K) per row for every program of the paper.

All programs share the linear part, ``y = lambda e_a + (1 - lambda) e_b``. They differ in the classes that the softmax
sums over. With ``lse`` the log-sum-exp over the K classes,

====================  ===========================================================  =====================================
partition             softmax over                                                 logpartition
====================  ===========================================================  =====================================
``classes``           K classes, logits z_a (cross-entropy)                        lse(z)
``pairs``             K^2 label pairs, logits lambda z_a + (1 - lambda) z_b (MS)   lse(lambda z) + lse((1 - lambda) z)
``unordered``         label pairs a < b, the same logits                           lse_b[(1-lambda) z_b + lse_{a<b} lambda z_a]
====================  ===========================================================  =====================================

The matrix W^lambda of K^2 class vectors is never built. The double sum over all pairs is a product of two sums, and
over a < b it is one running log-cumulative-sum.

:class:`Losses` adds what cures change: any label in place of y, factors and offsets of the logits, margins.

Logits come as distinct *values* V (M, n) with log-multiplicities ``logn`` (M, n): a value stands for that many classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from lpm.problem import Partition, Problem


def log_partition(
    partition: Partition,
    V: np.ndarray,
    lam: np.ndarray,
    logn: np.ndarray | float = 0.0,
    added: np.ndarray | float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Evaluate the log-partition of each row and its gradient.

    Args:
        partition: the classes that the softmax sums over.
        V: logit values, (M, n).
        lam: mixing ratios, (M,); ``classes`` does not use them.
        logn: log of the number of classes behind each value, (M, n); -inf for a value of no class. ``unordered`` needs
            one class per value unless lambda = 1/2.
        added: what a class behind each value adds to the logit of a label pair, (M, n) or 0; not for ``classes``.

    Returns:
        The log-partition (M,) and its gradient in the values (M, n).
    """
    if partition == "classes":
        return _lse(V + logn)
    if partition == "pairs" and (lam == 0.5).all():  # the two sums are one
        half, gradient = _lse(0.5 * V + (logn + added))
        return 2 * half, gradient
    lam = lam[:, None]
    if partition == "pairs":
        left, left_grad = _lse(lam * V + (logn + added))
        right, right_grad = _lse((1 - lam) * V + (logn + added))
        return left + right, lam * left_grad + (1 - lam) * right_grad
    return _unordered(V, lam, np.broadcast_to(logn, V.shape), added)


def _lse(A: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log-sum-exp over each row and its gradient, the softmax. It is written over A."""
    top = A.max(axis=1, keepdims=True)  # so that exp cannot overflow
    A -= top
    np.exp(A, out=A)
    total = A.sum(axis=1, keepdims=True)
    A /= total
    return (top + np.log(total))[:, 0], A


def _unordered(
    V: np.ndarray, lam: np.ndarray, logn: np.ndarray, added: np.ndarray | float
) -> tuple[np.ndarray, np.ndarray]:
    """Log of the sum over a < b of exp(lam v_a + (1-lam) v_b + added_a + added_b), and its gradient.

    It has two parts: pairs of classes behind two values, and pairs behind one value. The n classes behind one value
    make n (n-1)/2 pairs; for n = 1 the term of this part is log 0.
    """
    first, second = lam * V + (logn + added), (1 - lam) * V + (logn + added)
    before = _exclusive_cumulative(first)
    after = _exclusive_cumulative(second[:, ::-1])[:, ::-1]
    with np.errstate(divide="ignore"):
        inside = V + 2 * added + logn + np.log(np.maximum(np.expm1(logn), 0.0) / 2)
    as_second, as_first = second + before, first + after
    value, _ = _lse(np.concatenate([as_second, inside], axis=1))
    share = lam * np.exp(as_first - value[:, None]) + (1 - lam) * np.exp(as_second - value[:, None])
    return value, share + np.exp(inside - value[:, None])


def _exclusive_cumulative(A: np.ndarray) -> np.ndarray:
    """Log-cumulative-sum-exp of the entries strictly before each one."""
    before = np.full_like(A, -np.inf)
    before[:, 1:] = np.logaddexp.accumulate(A[:, :-1], axis=1)
    return before


@dataclass(frozen=True, kw_only=True)
class Losses:
    """The losses of some rows as functions of their logit values V (M, n).

    With U = factor V + offset the loss of a row is ``mass logpartition(U) - <label, U>``. With margins it is the sum over
    c in {a, b} of ``label_c (logpartition(U - margin_c e_c) - (U_c - margin_c))``. Pair offsets add s_a + s_b to the logit
    of a label pair, so ``mass (s_a + s_b)`` is taken off.

    Attributes:
        partition: the classes that the softmax sums over.
        lam: mixing ratios, (M,).
        log_number: log of the number of classes behind each value, (M, n), or 0.
        at: index of the value of a and of b, (2, M).
        label: label of a and of b, (2, M).
        rest: label mass behind each value beside that of a and b, (M, n); None for 0.
        mass: sum of the whole label, (M,); None for 1.
        offset: added to the logits, (M, n); None for 0.
        factor: multiplies the logits, (M, n); None for 1.
        margin: taken off the logit of a and of b, (2, M); None for 0.
        pair_offset: added to the logit of a label pair for a class of it, (M, n); None for 0.
    """

    partition: Partition
    lam: np.ndarray
    log_number: np.ndarray | float
    at: np.ndarray
    label: np.ndarray
    rest: np.ndarray | None
    mass: np.ndarray | None
    offset: np.ndarray | None
    factor: np.ndarray | None
    margin: np.ndarray | None
    pair_offset: np.ndarray | None

    @classmethod
    def of(cls, problem: Problem, rows: slice | np.ndarray, log_number: np.ndarray | float) -> Losses:
        """Take the losses of some rows of a problem.

        Args:
            problem: the problem.
            rows: which rows.
            log_number: log of the number of classes behind each value, (m, n); 0 if every class is a group of its own.

        Returns:
            The losses. Values are those of the other classes of each group, of a, of b; or of each class.
        """
        a, b, same = problem.rows.first[rows], problem.rows.second[rows], problem.rows.same[rows]
        G, expanded = len(problem.sizes), problem.expanded
        label, rest = problem.labels(rows)
        if rest is not None:
            rest = rest * problem.others(rows)
            rest = rest if expanded else np.pad(rest, ((0, 0), (0, 2)))

        def values(of_group: np.ndarray | None) -> np.ndarray | None:
            if of_group is None:
                return None
            by_row = np.broadcast_to(of_group, (len(a), G))
            return by_row if expanded else np.concatenate([by_row, of_group[a, None], of_group[b, None]], axis=1)

        return cls(
            partition=problem.partition,
            lam=problem.rows.lam[rows],
            log_number=log_number,
            at=np.stack([a, b]) if expanded else np.stack([np.full_like(a, G), np.where(same, G, G + 1)]),
            label=label,
            rest=rest,
            mass=None if problem.rows.label is None else problem.mass[rows],
            offset=values(problem.offset),
            factor=values(problem.factor),
            margin=None if problem.margin is None else problem.margin[np.stack([a, b])],
            pair_offset=values(problem.pair_offset),
        )

    @classmethod
    def together(cls, many: Sequence[Losses]) -> Losses:
        """Put the rows of several problems one after another.

        Args:
            many: losses with the same partition and the same terms.

        Returns:
            The losses of all their rows.
        """
        if len(many) == 1:
            return many[0]

        def joined(name: str) -> Any:
            values = [getattr(losses, name) for losses in many]
            if not isinstance(values[0], np.ndarray):
                return values[0]
            return np.concatenate(values, axis=1 if name in ("at", "label", "margin") else 0)

        return cls(**{field.name: joined(field.name) for field in fields(cls)})

    def target(self, n: int) -> np.ndarray:
        """Write the labels out.

        Args:
            n: number of values of a row.

        Returns:
            The label mass behind each value, (M, n).
        """
        target = np.zeros((len(self.lam), n)) if self.rest is None else self.rest.copy()
        np.add.at(target, (np.arange(len(target)), self.at), self.label)
        return target

    def softmaxes(self, n: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Give the log-partitions that the loss adds up.

        Args:
            n: number of values of a row.

        Returns:
            For each one, its weight (M,) and what it adds to the logits, (M, n).
        """
        added = np.zeros((len(self.lam), n)) if self.offset is None else self.offset
        if self.margin is None:
            return [(np.ones(len(added)) if self.mass is None else self.mass, added)]
        r, both = np.arange(len(added)), []
        for at, label, margin in zip(self.at, self.label, self.margin, strict=True):
            less = added.copy()
            less[r, at] -= margin
            both.append((label, less))
        return both

    def evaluate(self, V: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Evaluate the losses.

        Args:
            V: logit values, (M, n).

        Returns:
            The losses (M,), their gradients (M, n), and the sizes of their terms (M,), which bound their rounding.
        """
        added = 0.0 if self.pair_offset is None else self.pair_offset
        r, U = np.arange(len(V)), V if self.factor is None else V * self.factor
        if self.offset is not None:
            U = U + self.offset
        own = U[r, self.at]
        if self.margin is None:
            value, slope = log_partition(self.partition, U, self.lam, self.log_number, added)
            if self.mass is not None:
                value, slope = value * self.mass, slope * self.mass[:, None]
        else:
            own, value, slope = own - self.margin, np.zeros(len(V)), np.zeros(U.shape)
            for at, less, label in zip(self.at, own, self.label, strict=True):
                W = U.copy()
                W[r, at] = less
                part, part_slope = log_partition(self.partition, W, self.lam, self.log_number)
                value, slope = value + label * part, slope + label[:, None] * part_slope
        size = np.abs(value) + (self.label * np.abs(own)).sum(axis=0)
        value = value - (self.label * own).sum(axis=0)
        if self.pair_offset is not None:
            of_target = self.pair_offset[r, self.at].sum(axis=0) * (1.0 if self.mass is None else self.mass)
            value, size = value - of_target, size + np.abs(of_target)
        for at, label in zip(self.at, self.label, strict=True):
            slope[r, at] -= label
        if self.rest is not None:
            value -= (self.rest * U).sum(axis=1)
            size += (self.rest * np.abs(U)).sum(axis=1)
            slope -= self.rest
        if self.factor is not None:
            slope *= self.factor
        return value, slope, size
