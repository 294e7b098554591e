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

Logits come as distinct *values* V (M, n) with log-multiplicities ``logn`` (M, n): a value stands for that many classes.
"""

from __future__ import annotations

import numpy as np

from lpm.problem import Partition


def log_partition(
    partition: Partition, V: np.ndarray, lam: np.ndarray, logn: np.ndarray | float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Evaluate the log-partition of each row and its gradient.

    Args:
        partition: the classes that the softmax sums over.
        V: logit values, (M, n).
        lam: mixing ratios, (M,); ``classes`` does not use them.
        logn: log of the number of classes behind each value, (M, n); -inf for a value of no class. ``unordered`` needs
            one class per value unless lambda = 1/2.

    Returns:
        The log-partition (M,) and its gradient in the values (M, n).
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
    top = A.max(axis=1, keepdims=True)  # so that exp cannot overflow
    softmax = np.exp(A - top)
    total = softmax.sum(axis=1, keepdims=True)
    softmax /= total
    return (top + np.log(total))[:, 0], softmax


def _unordered(V: np.ndarray, lam: np.ndarray, logn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log of the sum over a < b of exp(lam v_a + (1-lam) v_b), and its gradient.

    It has two parts: pairs of classes behind two values, and pairs behind one value. The n classes behind one value
    make n (n-1)/2 pairs; for n = 1 the term of this part is log 0.
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
