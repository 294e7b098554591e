r"""Row losses ``L(z) = logpartition(z) - <y, z>`` and their gradients, O(K) a row for every program of the paper.

All programs share the linear part, ``y = lambda e_a + (1 - lambda) e_b``; they differ in the classes that the softmax
sums over. With ``lse`` the log-sum-exp over the K classes,

====================  ===========================================================  =====================================
partition             softmax over                                                 logpartition
====================  ===========================================================  =====================================
``classes``           K classes, logits z_a (cross-entropy)                        lse(z)
``pairs``             K^2 label pairs, logits lambda z_a + (1 - lambda) z_b (MS)   lse(lambda z) + lse((1 - lambda) z)
``unordered``         label pairs a < b, the same logits                           lse_b[(1-lambda) z_b + lse_{a<b} lambda z_a]
====================  ===========================================================  =====================================

The matrix W^lambda of K^2 class vectors is never built: the double sum over all pairs is a product of two sums, and
over a < b it is one running log-cumulative-sum.

Logits come as distinct *values* V (M, n) with log-multiplicities ``logn`` (M, n): a value stands for that many classes.
"""

from __future__ import annotations

import numpy as np

from lpm.problem import Partition


def log_partition(
    partition: Partition, V: np.ndarray, lam: np.ndarray, logn: np.ndarray | float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Log-partition (M,) of each row and its gradient (M, n) in the values V.

    V: (M, n) logit values. lam: (M,) mixing ratios, unused by ``classes``. logn: (M, n) log-multiplicities, -inf for
    a value that no class takes; ``unordered`` needs one class a value unless lam = 1/2.
    """
    if partition == "classes":
        return _lse(V + logn)
    lam = lam[:, None]
    if partition == "pairs":
        left, left_grad = _lse(lam * V + logn)
        right, right_grad = _lse((1 - lam) * V + logn)
        return left + right, lam * left_grad + (1 - lam) * right_grad
    return _unordered(V, lam, np.broadcast_to(logn, V.shape))


def _lse(A: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log-sum-exp over each row and its gradient, the softmax."""
    top = A.max(axis=1, keepdims=True)
    E = np.exp(A - top)
    total = E.sum(axis=1, keepdims=True)
    E /= total
    return (top + np.log(total))[:, 0], E


def _unordered(V: np.ndarray, lam: np.ndarray, logn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum over a < b of exp(lam v_a + (1-lam) v_b): value w < v pairs, and pairs inside one value's classes.

    A value of n classes holds n (n-1)/2 pairs of its own; for n = 1 that term is log 0.
    """
    first, second = lam * V + logn, (1 - lam) * V + logn
    before = _exclusive_cumulative(first)
    after = _exclusive_cumulative(second[:, ::-1])[:, ::-1]
    with np.errstate(divide="ignore"):
        inside = V + logn + np.log(np.maximum(np.expm1(logn), 0.0) / 2)
    as_second, as_first = second + before, first + after
    value, _ = _lse(np.concatenate([as_second, inside], axis=1))
    share = lam * np.exp(as_first - value[:, None]) + (1 - lam) * np.exp(as_second - value[:, None])
    return value, share + np.exp(inside - value[:, None])


def _exclusive_cumulative(A: np.ndarray) -> np.ndarray:
    """Log-cumulative-sum-exp of the entries strictly before each one."""
    before = np.full_like(A, -np.inf)
    before[:, 1:] = np.logaddexp.accumulate(A[:, :-1], axis=1)
    return before
