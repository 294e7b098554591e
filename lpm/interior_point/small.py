"""Linear algebra on very many very small matrices.

LAPACK is called once per matrix, which for 3 x 3 costs more than the arithmetic. Where there are many, a step of an
elimination is one operation on all of them. A matrix without an answer gets nan, and the others are not disturbed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import numpy as np

LARGEST = 6
"""Largest side of the matrices for which NumPy's operations on all of them are faster than LAPACK's on each."""

FEW = 16
"""Number of matrices up to which LAPACK on each is faster all the same."""


def product(*factors: np.ndarray) -> np.ndarray:
    """Multiply square matrices.

    Args:
        *factors: the matrices, (B, g, g) each.

    Returns:
        Their products, (B, g, g).
    """
    result = factors[0]
    for factor in factors[1:]:
        result = result * factor if factor.shape[1] == 1 else result @ factor
    return result


def transposed(A: np.ndarray) -> np.ndarray:
    """Transpose matrices.

    Args:
        A: the matrices, (B, g, h).

    Returns:
        Views of them, (B, h, g).
    """
    return A.transpose(0, 2, 1)


def cholesky(A: np.ndarray) -> np.ndarray:
    """Factorise A = F F^T.

    Args:
        A: symmetric matrices, (B, g, g).

    Returns:
        The lower triangular factors, (B, g, g); nan where A is not positive definite.
    """
    return np.sqrt(A) if A.shape[1] == 1 else _each(np.linalg.cholesky, A)


def inverse(A: np.ndarray) -> np.ndarray:
    """Invert matrices.

    Args:
        A: the matrices, (B, g, g).

    Returns:
        Their inverses, (B, g, g); nan where A is singular.
    """
    return 1 / A if A.shape[1] == 1 else _each(np.linalg.inv, A)


def least_eigenvalue(A: np.ndarray) -> np.ndarray:
    """Find the least eigenvalue of symmetric matrices.

    Args:
        A: the matrices, (B, g, g).

    Returns:
        The eigenvalues, (B,); inf for g = 0, nan where A is not finite.
    """
    g = A.shape[1]
    if g == 0:
        return np.full(len(A), np.inf)
    if g == 1:
        return A[:, 0, 0]
    if g == 2:
        return (A[:, 0, 0] + A[:, 1, 1]) / 2 - np.hypot((A[:, 0, 0] - A[:, 1, 1]) / 2, A[:, 0, 1])
    finite = np.isfinite(A).all(axis=(1, 2))
    least = np.full(len(A), np.nan)
    least[finite] = np.linalg.eigvalsh(A[finite])[:, 0]
    return least


def solve(H: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve H x = right for symmetric positive definite H, so without pivoting.

    Args:
        H: the matrices, (n, n, M, B).
        right: right sides, (n, q, M, B).

    Returns:
        The solutions, (n, q, M, B).
    """
    n = len(H)
    if n > LARGEST or H[0, 0].size <= FEW:
        solved = _solve_each(np.ascontiguousarray(H.transpose(3, 2, 0, 1)), right.transpose(3, 2, 0, 1))
        return solved.transpose(2, 3, 1, 0)
    W = np.concatenate([H, right], axis=1)
    for k in range(n):
        W[k, k + 1 :] /= W[k, k]
        if k + 1 < n:
            W[k + 1 :, k + 1 :] -= W[k + 1 :, k, None] * W[k, k + 1 :]
    x = W[:, n:]
    for k in range(n - 1, 0, -1):
        x[:k] -= W[:k, k, None] * x[k]
    return x


def inner(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Add products up over all coordinates of all rows.

    Args:
        left: columns, (n, P, M, B).
        right: columns, (n, q, M, B).

    Returns:
        The sums for each two columns, (P, q, B).
    """
    n, P, M, B = left.shape
    matrices = left.transpose(3, 1, 0, 2).reshape(B, P, n * M), right.transpose(3, 0, 2, 1).reshape(B, n * M, -1)
    return np.matmul(*matrices).transpose(1, 2, 0)


def _each(function: Callable[[np.ndarray], np.ndarray], A: np.ndarray) -> np.ndarray:
    """A function of LAPACK on matrices (B, g, g), one by one where one of them has no answer."""
    try:
        return function(A)
    except np.linalg.LinAlgError:
        if len(A) == 1:
            return np.full_like(A, np.nan)
        return np.concatenate([_each(function, A[b : b + 1]) for b in range(len(A))])


def _solve_each(H: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve by LAPACK; H (..., n, n), right (..., n, q)."""
    try:
        return np.linalg.solve(H, right)
    except np.linalg.LinAlgError:
        x = np.full(right.shape, np.nan)
        for index in np.ndindex(H.shape[:-2]):
            with contextlib.suppress(np.linalg.LinAlgError):
                x[index] = np.linalg.solve(H[index], right[index])
        return x
