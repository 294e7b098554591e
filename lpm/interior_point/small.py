"""Linear algebra on very many very small matrices: matrices in the first two axes, members in the last ones.

LAPACK is called once per matrix, which for 3 x 3 costs more than the arithmetic. Here a step of an elimination is one
operation on all members. A member without an answer gets nan, and the others are not disturbed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import numpy as np

LARGEST = 8
"""Side from which on LAPACK is faster."""


def cholesky(A: np.ndarray) -> np.ndarray:
    """Factorise A = F F^T.

    Args:
        A: symmetric matrices, (g, g, B).

    Returns:
        The lower triangular factors, (g, g, B); nan where A is not positive definite.
    """
    g = len(A)
    if g == 1:
        return np.sqrt(A)
    if g > LARGEST:
        return _by_lapack(np.linalg.cholesky, A)
    F = np.zeros_like(A)
    for j in range(g):
        F[j, j] = np.sqrt(A[j, j] - (F[j, :j] ** 2).sum(axis=0))
        F[j + 1 :, j] = (A[j + 1 :, j] - (F[j + 1 :, :j] * F[j, :j]).sum(axis=1)) / F[j, j]
    return F


def inverse_of_lower(F: np.ndarray) -> np.ndarray:
    """Invert lower triangular matrices.

    Args:
        F: the matrices, (g, g, B).

    Returns:
        Their inverses, (g, g, B).
    """
    g = len(F)
    if g == 1:
        return 1 / F
    inverse = np.zeros_like(F)
    for i in range(g):
        inverse[i, i] = 1 / F[i, i]
        if i:
            inverse[i, :i] = -np.einsum("kb,kjb->jb", F[i, :i], inverse[:i, :i]) * inverse[i, i]
    return inverse


def solve(H: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve H x = right without pivoting, as H is symmetric positive definite.

    Args:
        H: the matrices, (n, n, ...).
        right: right sides, (n, q, ...).

    Returns:
        The solutions, (n, q, ...).
    """
    n = len(H)
    if n > LARGEST:
        return _solve_by_lapack(H, right)
    W = np.concatenate([H, right], axis=1)
    for k in range(n):
        W[k, k + 1 :] /= W[k, k]
        if k + 1 < n:
            W[k + 1 :, k + 1 :] -= W[k + 1 :, k, None] * W[k, k + 1 :]
    x = W[:, n:]
    for k in range(n - 1, 0, -1):
        x[:k] -= W[:k, k, None] * x[k]
    return x


def least_eigenvalue(A: np.ndarray) -> np.ndarray:
    """Find the least eigenvalue of symmetric matrices.

    Args:
        A: the matrices, (g, g, B).

    Returns:
        The eigenvalues, (B,); inf for g = 0, nan where A is not finite.
    """
    g = len(A)
    if g == 0:
        return np.full(A.shape[2], np.inf)
    if g == 1:
        return A[0, 0]
    if g == 2:
        return (A[0, 0] + A[1, 1]) / 2 - np.hypot((A[0, 0] - A[1, 1]) / 2, A[0, 1])
    finite = np.isfinite(A).all(axis=(0, 1))
    least = np.full(A.shape[2], np.nan)
    least[finite] = np.linalg.eigvalsh(A[:, :, finite].transpose(2, 0, 1))[:, 0]
    return least


def product(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """Multiply matrices.

    Args:
        A: the left factors, (g, k, B).
        B: the right factors, (k, h, B).

    Returns:
        The products, (g, h, B).
    """
    if A.shape[:2] == B.shape[:2] == (1, 1):
        return A * B
    return np.ascontiguousarray(np.matmul(A.transpose(2, 0, 1), B.transpose(2, 0, 1)).transpose(1, 2, 0))


def _by_lapack(function: Callable[[np.ndarray], np.ndarray], A: np.ndarray) -> np.ndarray:
    """A function of LAPACK on matrices (g, g, B), member by member where one of them has no answer."""
    members = A.transpose(2, 0, 1)
    try:
        return np.ascontiguousarray(function(members).transpose(1, 2, 0))
    except np.linalg.LinAlgError:
        if len(members) == 1:
            return np.full_like(A, np.nan)
        return np.concatenate([_by_lapack(function, A[:, :, b : b + 1]) for b in range(len(members))], axis=2)


def _solve_by_lapack(H: np.ndarray, right: np.ndarray) -> np.ndarray:
    """:func:`solve` for larger matrices."""
    matrices, sides = np.moveaxis(H, (0, 1), (-2, -1)), np.moveaxis(right, (0, 1), (-2, -1))
    try:
        x = np.linalg.solve(matrices, sides)
    except np.linalg.LinAlgError:
        x = np.full(sides.shape, np.nan)
        for index in np.ndindex(matrices.shape[:-2]):
            with contextlib.suppress(np.linalg.LinAlgError):
                x[index] = np.linalg.solve(matrices[index], sides[index])
    return np.ascontiguousarray(np.moveaxis(x, (-2, -1), (0, 1)))
