"""Laws of the weight of a in a mixed label, beyond mixup's own: with jumps, and of pasted patches."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

Weights = tuple[np.ndarray, np.ndarray]
"""A discrete law of the weight of a in the label: values (Q,) in [0, 1] and probabilities (Q,)."""

SIDE, CUT_SHARE = 32, 0.5
"""CutMix and CMO: pixels of an image's side, and the share of batches in which a patch is pasted."""


def between(alpha: float, nodes: int, breaks: tuple[float, ...]) -> Weights:
    """Discretise Beta(alpha, alpha), exactly between breaks for alpha = 1.

    Args:
        alpha: its parameter.
        nodes: quadrature nodes between two breaks.
        breaks: ratios at which what is averaged may jump.

    Returns:
        Gauss-Legendre nodes in the law's distribution function, and their weights.
    """
    from scipy.special import betainc, betaincinv  # here, because scipy takes long to import

    ends = np.unique([0.0, *betainc(alpha, alpha, np.array(breaks)), 1.0])
    x, w = _on_the_line(nodes)
    low, width = ends[:-1, None], np.diff(ends)[:, None]
    u, weights = low + width * (x + 1) / 2, width * w / 2
    return betaincinv(alpha, alpha, u.ravel()), weights.ravel()


_on_the_line = lru_cache(np.polynomial.legendre.leggauss)
"""Gauss-Legendre nodes in [-1, 1] and their weights; finding them takes longer than all else."""


def merged(values: np.ndarray, weights: np.ndarray) -> Weights:
    """Make equal values one.

    Args:
        values: values of a law, (Q,).
        weights: their probabilities, (Q,).

    Returns:
        The law.
    """
    distinct_values, owner = np.unique(values, return_inverse=True)
    return distinct_values, np.bincount(owner, weights)


@lru_cache
def patches(nodes: int) -> Weights:
    """The law of the label weight of CutMix: 1 less the share of the image that a clipped box covers, 1 without a box.

    Box sides are ``2 floor(floor(32 sqrt(1 - lambda)) / 2)``, lambda uniform, around a uniform centre. The exact law
    has hundreds of values; Gauss's quadrature of ``nodes`` points has the same moments up to 2 nodes - 1.

    Args:
        nodes: number of quadrature nodes.

    Returns:
        The law.
    """
    values, weights = [1.0], [1.0 - CUT_SHARE]
    centre = np.arange(SIDE)
    for side in range(SIDE + 1):
        share = ((side + 1) / SIDE) ** 2 - (side / SIDE) ** 2 if side < SIDE else 0.0
        half = side // 2
        length = np.minimum(centre + half, SIDE) - np.maximum(centre - half, 0)
        area = np.outer(length, length).ravel() / SIDE**2
        values += (1 - area).tolist()
        weights += [CUT_SHARE * share / SIDE**2] * len(area)
    return _quadrature(*merged(np.array(values), np.array(weights)), nodes)


def _quadrature(values: np.ndarray, weights: np.ndarray, nodes: int) -> Weights:
    """Gauss's quadrature of a discrete law, from the three-term recurrence of its orthogonal polynomials (Lanczos)."""
    nodes = min(nodes, len(values))
    Q = [np.sqrt(weights / weights.sum())]
    diagonal, beside = [], []
    for _ in range(nodes):
        v = values * Q[-1]
        diagonal.append(float(Q[-1] @ v))
        v = v - np.array(Q).T @ (np.array(Q) @ v)
        v = v - np.array(Q).T @ (np.array(Q) @ v)  # twice is enough for orthogonality to rounding
        beside.append(float(np.linalg.norm(v)))
        Q.append(v / max(beside[-1], 1e-300))
    J = np.diag(diagonal) + np.diag(beside[:-1], 1) + np.diag(beside[:-1], -1)
    points, vectors = np.linalg.eigh(J)
    return np.clip(points, 0.0, 1.0), vectors[0] ** 2
