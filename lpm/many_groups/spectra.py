"""Singular values by symmetry, and powers of C, for programs with many groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lpm.problem import Problem


@dataclass(frozen=True)
class Spectrum:
    """Singular values of a matrix, by symmetry: those of T, then one for the zero-sum part of each group.

    Attributes:
        values: singular values, (2 G,); the first G are those of T.
        times: multiplicity of each singular value, (2 G,).
        vectors: right singular vectors of T in its columns, (G, G).
    """

    values: np.ndarray
    times: np.ndarray
    vectors: np.ndarray

    @property
    def nuclear(self) -> float:
        """Sum of all singular values."""
        return float(self.values @ self.times)

    @property
    def spectral(self) -> float:
        """The largest singular value."""
        return float(self.values[self.times > 0].max())

    def lowered(self, by: float) -> np.ndarray:
        """Lower all singular values, as the proximal map of ``by`` times the nuclear norm does.

        Args:
            by: how much.

        Returns:
            The singular values, (2 G,), none below 0.
        """
        return np.maximum(self.values - by, 0.0)

    def project(self, tau: float) -> np.ndarray:
        """Project onto the nuclear-norm ball.

        Args:
            tau: radius of the ball.

        Returns:
            Singular values (2 G,) of the nearest matrix in the ball.
        """
        if self.nuclear <= tau:
            return self.values
        order = np.argsort(-self.values)
        s, n = self.values[order], self.times[order]
        excess = (np.cumsum(n * s) - tau) / np.maximum(np.cumsum(n), 1)
        positive = np.flatnonzero((s > excess) & (n > 0))  # none if rounding swallows tau
        shift = excess[positive[-1]] if len(positive) else s[0]
        return self.lowered(float(shift))


@dataclass(frozen=True, kw_only=True)
class Power:
    """A power of C on the normalised group sums, kept in the form in which it multiplies fastest.

    Attributes:
        matrix: the power, (G, G).
        diagonal: its diagonal part, (G,), if the power is that and a multiple of v v^T, v_g = sqrt(sizes_g); else None.
        along: the vector v, (G,).
        rise: the multiple of v v^T.
    """

    matrix: np.ndarray
    diagonal: np.ndarray | None
    along: np.ndarray
    rise: float

    @classmethod
    def of(cls, problem: Problem, exponent: float) -> Power:
        """Raise C to a power.

        C is diag(c) + beta v v^T. If c is constant, v is an eigenvector and all that is orthogonal to it another
        eigenspace. So a power has the same form.

        Args:
            problem: the problem.
            exponent: the exponent.

        Returns:
            The power.
        """
        C, v = problem.C_block, np.sqrt(problem.sizes)
        eigenvalues, vectors = np.linalg.eigh(C)
        matrix, diagonal, rise = (vectors * eigenvalues**exponent) @ vectors.T, None, 0.0
        if problem.beta == 0.0:
            diagonal = np.diag(C) ** exponent
        elif problem.diagonal is None and np.ptp(problem.c) <= 4 * np.finfo(float).eps * problem.c.max():  # constant
            diagonal = problem.c**exponent
            rise = float(((problem.c[0] + problem.beta * problem.K) ** exponent - diagonal[0]) / problem.K)
        return cls(matrix=matrix, diagonal=diagonal, along=v, rise=rise)

    def after(self, T: np.ndarray) -> np.ndarray:
        """Multiply rows by the power from the right.

        Args:
            T: the rows, (m, G).

        Returns:
            T times the power, (m, G).
        """
        if self.diagonal is None:
            return T @ self.matrix
        product = T * self.diagonal
        if self.rise:
            product += np.outer(T @ self.along, self.rise * self.along)
        return product
