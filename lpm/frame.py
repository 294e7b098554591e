"""What coordinates of alike problems share: the frame, which depends on classes, orbits and C, not on frequencies.

A sweep over the imbalance changes frequencies alone, so its problems have one frame. It is built once.
"""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar

import numpy as np

from lpm.problem import Problem

MOST_FRAMES = 256
"""Largest number of frames that are kept."""
LARGEST = 50_000
"""Largest number of entries of a basis that is kept: 400 kB."""


def square_root(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Take a root F of C on the normalised group sums, C = F F^T.

    Args:
        problem: the problem.

    Returns:
        F and its inverse, (G, G) each.
    """
    if problem.C_graded:
        from scipy.linalg import solve_triangular  # here, because scipy takes long to import

        F = np.linalg.cholesky(problem.C_block)
        return F, solve_triangular(F, np.eye(len(F)), lower=True)
    eigenvalues, vectors = np.linalg.eigh(problem.C_block)
    return (vectors * np.sqrt(eigenvalues)) @ vectors.T, (vectors / np.sqrt(eigenvalues)) @ vectors.T


class Frame:
    """The parts of coordinates that frequencies and budgets do not change. :meth:`of` gives alike problems one frame.

    Args:
        problem: the problem.
    """

    _kept: ClassVar[dict[tuple[object, ...], Frame]] = {}

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.G = len(problem.sizes)

    @classmethod
    def of(cls, problem: Problem) -> Frame:
        """Give the frame of a problem, the one that is kept if there is one.

        Args:
            problem: the problem.

        Returns:
            The frame.
        """
        rows, G = problem.rows, len(problem.sizes)
        if len(rows) * (G + 2) ** 2 > LARGEST:
            return cls(problem)
        arrays = (problem.sizes, rows.first, rows.second, rows.same, problem.c)
        diagonal = b"" if problem.diagonal is None else problem.diagonal.tobytes()
        key = (*(array.tobytes() for array in arrays), problem.beta, diagonal)
        frame = cls._kept.get(key)
        if frame is None:
            if len(cls._kept) >= MOST_FRAMES:
                del cls._kept[next(iter(cls._kept))]
            frame = cls._kept[key] = cls(problem)
        return frame

    @cached_property
    def roots(self) -> tuple[np.ndarray, np.ndarray]:
        """A root F of C on the normalised group sums, C = F F^T, and its inverse, (G, G) each."""
        return square_root(self.problem)

    @cached_property
    def least(self) -> float:
        """A lower bound on the eigenvalues of C."""
        # The spectral norm of F^{-1} is 1 / (least eigenvalue of C), also where eigenvalues themselves are inaccurate.
        least = 1 / np.linalg.norm(self.roots[1], 2) ** 2
        return min(float(least), float(self.problem.c[self.problem.sizes > 1].min(initial=np.inf)))

    @cached_property
    def slots(self) -> np.ndarray:
        """Group of each zero-sum coordinate, (M, n - G) int; -1 for a coordinate that the row does not have."""
        rows, sizes = self.problem.rows, self.problem.sizes
        if self.problem.expanded:
            return np.empty((len(rows), 0), dtype=int)
        inside = (rows.first == rows.second) & ~rows.same
        # A class stands out only of a group with other classes; two classes of one group need a third.
        first = np.where(sizes[rows.first] > np.where(inside, 2, 1), rows.first, -1)
        second = np.where(~rows.same & (sizes[rows.second] > 1), rows.second, -1)
        return np.stack([first, second], axis=1)

    @cached_property
    def log_multiplicity(self) -> np.ndarray | float:
        """Log of the number of classes behind each logit value, (M, n).

        The values are those of the other classes of each group, then of a, then of b. It is 0 when every class is a
        group of its own.
        """
        rows, problem = self.problem.rows, self.problem
        if problem.expanded:
            return 0.0
        number = np.concatenate([problem.others(), np.ones((len(rows), 1)), ~rows.same[:, None]], axis=1)
        with np.errstate(divide="ignore"):
            return np.log(number)

    @cached_property
    def basis(self) -> np.ndarray:
        """Linear map from a point without the scale of its rows to the logit values, (M, n, n); only with groups."""
        rows, G = self.problem.rows, self.G
        sizes = self.problem.sizes.astype(float)
        r = np.arange(len(rows))
        inside = (rows.first == rows.second) & ~rows.same
        # Logits of the other classes of each group, of a and of b: first the mean of their group ...
        B = np.zeros((len(rows), G + 2, G + 2))
        B[:, np.arange(G), np.arange(G)] = sizes**-0.5
        B[r, G, rows.first] = sizes[rows.first] ** -0.5
        B[r, G + 1, rows.second] = np.where(rows.same, 0.0, sizes[rows.second] ** -0.5)
        # ... then the deviation from it along each zero-sum direction.
        for slot, group in enumerate(self.slots.T):
            stands_out = (group >= 0) & ~inside  # direction e_a - 1/K_g, normalised
            s, g = r[stands_out], group[stands_out]
            B[s, G + slot, G + slot] = np.sqrt((sizes[g] - 1) / sizes[g])
            B[s, g, G + slot] = -1 / np.sqrt(sizes[g] * (sizes[g] - 1))
        s = r[inside & (self.slots[:, 0] >= 0)]  # direction e_a + e_b - 2/K_g, normalised
        K_g = sizes[rows.first[s]]
        B[s, G, G] = B[s, G + 1, G] = (1 - 2 / K_g) / np.sqrt(2 * (K_g - 2) / K_g)
        B[s, rows.first[s], G] = -2 / K_g / np.sqrt(2 * (K_g - 2) / K_g)
        s = r[inside]  # direction e_a - e_b, normalised
        B[s, G, G + 1], B[s, G + 1, G + 1] = 0.5**0.5, -(0.5**0.5)
        # A point is scaled by C^{1/2}; undo it.
        if self.problem.beta == 0.0:  # C is diagonal; the product would cost M n G^2
            B[:, :, :G] *= np.diag(self.roots[1])
        else:
            B[:, :, :G] = B[:, :, :G] @ self.roots[1].T
        group = np.maximum(self.slots, 0)
        B[:, :, G:] /= np.sqrt(self.problem.c[group] * np.maximum(sizes[group] - 1, 1))[:, None, :]
        B[np.isneginf(self.log_multiplicity)] = 0.0  # values of no class
        return B
