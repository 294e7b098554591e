"""The symmetry-reduced program that the interior-point method solves: f on the coordinates in use, row by row.

In use are the group sums along ``span`` and the zero-sum coordinates of all groups but the ``frozen`` ones.
"""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from lpm.coordinates import Coordinates

LossTerms = tuple[list[tuple[np.ndarray, np.ndarray, np.ndarray]], np.ndarray, float]
"""The maps B (M, v, n), log-multiplicities logn (M, v) and weights (M,) of log-sum-exps; a linear part (M, n); a constant."""


class ReducedProgram:
    """f(X) on the coordinates in use, X (M, n), and the symmetric matrices A (size, size) that belong to them.

    Args:
        coordinates: coordinates of the whole problem.
        loss_terms: the loss as log-sum-exps and a linear part, in all coordinates.
        span: orthonormal directions of the group sums that are in use, (G, g).
        frozen: groups with u_g = 0.

    Attributes:
        tau2: tau^2.
        decay: weight mu of the nuclear norm in the objective, or None for the budget tau.
        weight: share of each row in f, (M,).
        constant: the constant of f.
        groups: groups whose zero-sum coordinates are in use.
        G: number of directions g of the group sums.
        M: number of rows.
        n: number of coordinates of a row.
        size: side of the matrices A.
        column: column of A of each zero-sum coordinate, (M, n - g) int; 0 for absent ones.
        active: 1 for each coordinate of a row that is in use, 0 for the others, (M, n).
        basis: orthonormal basis of the matrices A, (P, size, size).
        flat_basis: the same, (P, size^2).
        basis_diagonal: diagonals of the basis, (size, P).
        terms: the log-sum-exps of f in the coordinates in use, with their weights.
        target: the linear part of f, (M, n).
    """

    def __init__(
        self, coordinates: Coordinates, loss_terms: LossTerms, span: np.ndarray, frozen: tuple[int, ...]
    ) -> None:
        self.coordinates, self.loss_terms, self.span, self.frozen = coordinates, loss_terms, span, frozen
        self.tau2, self.decay = coordinates.problem.tau**2, coordinates.problem.decay
        self.weight = coordinates.weight
        slots = np.where(np.isin(coordinates.slots, frozen), -1, coordinates.slots)
        self.groups = np.unique(slots[slots >= 0])
        self.G = g = span.shape[1]
        self.M, self.n = len(slots), g + slots.shape[1]
        self.size = g + len(self.groups)
        # Column of A that each zero-sum coordinate uses; an absent coordinate is masked by `active`.
        self.column = np.where(slots >= 0, g + np.searchsorted(self.groups, slots), 0)
        self.active = np.concatenate([np.ones((self.M, g)), slots >= 0], axis=1)
        self.basis = _symmetric_basis(g, len(self.groups))
        self.flat_basis = self.basis.reshape(len(self.basis), self.size**2)
        self.basis_diagonal = np.einsum("pii->ip", self.basis)
        terms, linear, self.constant = loss_terms
        self.terms = [(self._reduce(B), logn, self.weight * mass) for B, logn, mass in terms]
        self.target = self._reduce(linear) * self.weight[:, None]

    @classmethod
    def of(cls, coordinates: Coordinates, frozen: tuple[int, ...] = ()) -> ReducedProgram:
        """Reduce a problem: leave out the common shift of its logits and the frozen groups.

        Args:
            coordinates: coordinates of the problem.
            frozen: groups with u_g = 0.

        Returns:
            The reduced program.
        """
        return cls(coordinates, _log_sum_exp_terms(coordinates), _without_shift(coordinates), frozen)

    def restrict(self, directions: np.ndarray, used: np.ndarray) -> tuple[ReducedProgram, np.ndarray]:
        """Keep some directions of the group sums and some groups.

        Args:
            directions: orthonormal directions to keep, (g, g').
            used: mask over ``groups``.

        Returns:
            The smaller program, and the basis (size, size') that takes its matrices A into this one's.
        """
        frozen = tuple({*self.frozen, *self.groups[~used].tolist()})
        program = ReducedProgram(self.coordinates, self.loss_terms, self.span @ directions, frozen)
        basis = np.zeros((self.size, program.size))
        basis[: self.G, : program.G] = directions
        basis[np.arange(self.G, self.size)[used], np.arange(program.G, program.size)] = 1.0
        return program, basis

    def _reduce(self, a: np.ndarray) -> np.ndarray:
        """Take the last axis of an array from all coordinates to those in use."""
        G = len(self.span)
        return np.concatenate([a[..., :G] @ self.span, a[..., G:]], axis=-1)

    def embed(self, X: np.ndarray) -> np.ndarray:
        """Write a point in all coordinates of the problem.

        Args:
            X: the point in the coordinates in use.

        Returns:
            The point in all coordinates.
        """
        return np.concatenate([X[:, : self.G] @ self.span.T, X[:, self.G :]], axis=1)

    def relative_gap(self, point: np.ndarray) -> float:
        """Evaluate the relative gap of a point over all points with u_g = 0 for the frozen groups.

        Args:
            point: the point in all coordinates of the problem.

        Returns:
            The relative gap.
        """
        loss, gradient = self.coordinates.value_and_gradient(point)
        top, inner = self.coordinates.spectral_norm(gradient, self.frozen), float((gradient * point).sum())
        if self.decay is None:
            return abs(inner + np.sqrt(self.tau2) * top) / loss
        penalty = self.decay * self.coordinates.nuclear_norm(point)
        excess = max(0.0, top / self.decay - 1) * self.coordinates.value_at_zero
        return (abs(inner + penalty) + excess) / (loss + penalty)

    def value(self, X: np.ndarray) -> float:
        """Evaluate f.

        Args:
            X: the point, (M, n).

        Returns:
            f(X).
        """
        total = self.constant - float((self.target * X).sum())
        for B, logn, weight in self.terms:
            V = np.matmul(B, X[:, :, None])[:, :, 0] + logn
            top = V.max(axis=1)
            total += float(weight @ (top + np.log(np.exp(V - top[:, None]).sum(axis=1))))
        return total

    def derivatives(self, X: np.ndarray, white: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Evaluate the first and second derivatives of f in whitened coordinates Y, X = white Y row by row.

        Args:
            X: the point, (M, n).
            white: linear map of each row, (M, n, n).

        Returns:
            The gradient (M, n) and the Hessian blocks (M, n, n); the rows of f do not couple.
        """
        gradient = -np.matmul(self.target[:, None, :], white)[:, 0]  # (M, n): of the linear part
        hessian = np.zeros((self.M, self.n, self.n))
        for B, logn, weight in self.terms:
            BW = np.matmul(B, white)  # (M, v, n): from Y to the v logit values
            V = np.matmul(B, X[:, :, None])[:, :, 0] + logn  # (M, v): logits plus log-multiplicities
            pi = np.exp(V - V.max(axis=1, keepdims=True))  # (M, v): shifted, so that exp cannot overflow
            pi /= pi.sum(axis=1, keepdims=True)  # (M, v): softmax
            mean = np.matmul(pi[:, None, :], BW)  # (M, 1, n): E_pi of the rows of BW, the gradient of lse
            gradient += weight[:, None] * mean[:, 0]  # (M, n)
            # (M, n, n): the Hessian of lse is the covariance of the rows of BW under pi
            covariance = np.matmul((pi[:, :, None] * BW).transpose(0, 2, 1), BW) - mean.transpose(0, 2, 1) * mean
            hessian += weight[:, None, None] * covariance
        return gradient * self.active, hessian


def _without_shift(coordinates: Coordinates) -> np.ndarray:
    """Orthonormal basis (G, G - 1) of the group-sum directions without the common shift of all logits.

    A shift changes no loss, so the gradient, and with it every optimum, is orthogonal to C^{1/2} 1. Without this
    direction A is invertible at the optimum, and Newton's steps are exact to rounding. With factors of the logits it is
    the shift after them that changes no loss.
    """
    factor = coordinates.problem.factor
    shift = (np.sqrt(coordinates.problem.sizes) / (1.0 if factor is None else factor)) @ coordinates.C_half
    return np.linalg.svd(shift[None, :])[2][1:].T


def _symmetric_basis(G: int, groups: int) -> np.ndarray:
    """Orthonormal basis (P, s, s) of matrices with a symmetric G x G block and then ``groups`` diagonal entries."""
    i, j = np.triu_indices(G)
    i, j = np.append(i, np.arange(G, G + groups)), np.append(j, np.arange(G, G + groups))
    basis = np.zeros((len(i), G + groups, G + groups))
    p = np.arange(len(i))
    basis[p, i, j] = basis[p, j, i] = np.where(i == j, 1.0, 0.5**0.5)
    return basis


def _log_sum_exp_terms(coordinates: Coordinates) -> LossTerms:
    """The loss of each row as a weighted sum of lse(B x + logn) minus a linear part, and the constant of f."""
    problem, losses, lam = coordinates.problem, coordinates.losses, coordinates.problem.rows.lam[:, None, None]
    M, n = coordinates.shape
    logn = np.broadcast_to(coordinates.log_multiplicity, (M, n))
    if problem.expanded:
        B = np.tile(coordinates.C_inverse_half.T, (M, 1, 1)) / coordinates.scale[:, None, None]
    else:
        B = coordinates.basis
    if losses.factor is not None:
        B = B * losses.factor[:, :, None]
    linear = np.matmul(losses.target(n)[:, None, :], B)[:, 0]
    v, w = np.triu_indices(n)
    terms = []
    for mass, added in losses.softmaxes(n):
        if problem.partition == "classes":
            terms.append((B, logn + added, mass))
        elif problem.partition == "pairs":
            terms += [(ratio * B, logn + ratio[:, :, 0] * added, mass) for ratio in (lam, 1 - lam)]
        else:
            # Pairs of classes behind two values v < w, or behind one value: n (n - 1) / 2 of them, none for n = 1.
            with np.errstate(divide="ignore"):
                inside = logn + np.log(np.maximum(np.expm1(logn), 0.0) / 2)
            number = np.where(v == w, inside[:, v], logn[:, v] + logn[:, w])
            ratio = lam[:, :, 0]
            shift = ratio * added[:, v] + (1 - ratio) * added[:, w]
            terms.append((lam * B[:, v] + (1 - lam) * B[:, w], number + shift, mass))
    at_zero = sum(float((coordinates.weight * mass) @ logsumexp(number, axis=1)) for _, number, mass in terms)
    return terms, linear, coordinates.value_at_zero - at_zero
