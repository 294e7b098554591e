r"""The central path of the symmetry-reduced program, and primal-dual Newton steps along it.

In the coordinates of :mod:`lpm.coordinates` the program is

.. math::
    \min_{X, A} f(X) \quad\text{s.t.}\quad \mathrm{tr}(X A^{-1} X^T) \le \tau^2,\; \mathrm{tr} A \le 1,\; A \succeq 0,

because ``|X|_*^2`` is the minimum of tr(X A^{-1} X^T) over tr A <= 1. A is block diagonal: a symmetric block on the group
sums (the classifier's Gram matrix up to scale) and one number a group. With h, k the slacks of the two scalar constraints
the central path minimises f - epsilon (log h + log k + log det A) as epsilon falls to 0.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lpm.coordinates import Coordinates
from lpm.newton import NewtonSystem, State

MAX_STEPS = 150
STRIDE = 0.02
"""Factor by which an unguarded step lowers the barrier's weight, as long as steps stay long."""

LossTerms = tuple[list[tuple[np.ndarray, np.ndarray]], np.ndarray]


class CentralPath:
    """The reduced program on the group-sum directions ``span`` (G, g) and all groups but the ``frozen`` ones."""

    def __init__(
        self, coordinates: Coordinates, loss_terms: LossTerms, span: np.ndarray, frozen: tuple[int, ...]
    ) -> None:
        self.coordinates, self.loss_terms, self.span, self.frozen = coordinates, loss_terms, span, frozen
        self.tau2 = coordinates.problem.tau**2
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
        terms, linear = loss_terms
        self.terms = [(self._reduce(B), logn) for B, logn in terms]
        self.target = self._reduce(linear)

    def start(self) -> State:
        X, A = np.zeros((self.M, self.n)), np.eye(self.size) / (2 * self.size)
        epsilon = self.value(X)
        return State(X, A, self.tau2, 0.5, epsilon / self.tau2, 2 * epsilon, epsilon * np.linalg.inv(A), epsilon)

    def follow(self, state: State, epsilon: float) -> tuple[State, int]:
        """Steps along the central path until the barrier's weight is at most ``epsilon``, and their number."""
        for steps in range(MAX_STEPS):
            if state.epsilon <= epsilon:
                return state, steps
            try:
                state = self.step(state, guarded=True)
            except np.linalg.LinAlgError:
                break  # rounding has eaten the barrier; what was reached is certified like any other point
        return state, steps

    def deflate(self, state: State) -> tuple[CentralPath, State]:
        """Leave out the directions and groups that the optimum does not use: there A is near 0, its multiplier is not.

        A stays invertible without them. A wrong choice shows in the certificate, which sees all directions.
        """
        if not self.uses_budget(state):
            return self, state  # A is then arbitrary
        g = self.G
        a, V = np.linalg.eigh(state.A[:g, :g])
        keep = a * state.nu > np.einsum("ij,ik,kj->j", V, state.L[:g, :g], V)
        zero_sum = np.arange(g, self.size)
        used = state.A[zero_sum, zero_sum] * state.nu > state.L[zero_sum, zero_sum]
        frozen = tuple({*self.frozen, *self.groups[~used].tolist()})
        path = CentralPath(self.coordinates, self.loss_terms, self.span @ V[:, keep], frozen)
        basis = np.zeros((self.size, path.size))
        basis[:g, : path.G] = V[:, keep]
        basis[zero_sum[used], np.arange(path.G, path.size)] = 1.0
        X = np.concatenate([state.X[:, :g] @ V[:, keep], state.X[:, g:]], axis=1) * path.active
        A = basis.T @ state.A @ basis
        return path, replace(state, X=X, A=A, L=basis.T @ state.L @ basis, k=state.k + np.trace(state.A) - np.trace(A))

    def _reduce(self, a: np.ndarray) -> np.ndarray:
        """Last axis from all coordinates to those without the common shift of all logits."""
        G = len(self.span)
        return np.concatenate([a[..., :G] @ self.span, a[..., G:]], axis=-1)

    def uses_budget(self, state: State) -> bool:
        """False when the optimum lies inside the nuclear-norm ball: the slack h stays away from 0."""
        return state.h < 0.01 * self.tau2

    def point(self, state: State) -> np.ndarray:
        """The point in all coordinates; scaled onto the boundary of the budget, unless the budget is not used up."""
        point = np.concatenate([state.X[:, : self.G] @ self.span.T, state.X[:, self.G :]], axis=1)
        if not self.uses_budget(state):
            return point
        return point * (np.sqrt(self.tau2) / self.coordinates.nuclear_norm(point))

    def relative_gap(self, point: np.ndarray) -> float:
        """Relative gap of a point (M, n) in all coordinates."""
        loss, gradient = self.coordinates.value_and_gradient(point)
        top = self.coordinates.spectral_norm(gradient, self.frozen)
        return abs(float((gradient * point).sum()) + np.sqrt(self.tau2) * top) / loss

    # -- the objective ------------------------------------------------------------------------------------------

    def value(self, X: np.ndarray) -> float:
        total = -(self.target * X).sum(axis=1)
        for B, logn in self.terms:
            V = np.matmul(B, X[:, :, None])[:, :, 0] + logn
            top = V.max(axis=1)
            total += top + np.log(np.exp(V - top[:, None]).sum(axis=1))
        return float(self.weight @ total)

    def derivatives(self, X: np.ndarray, white: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Gradient (M, n) and Hessian blocks (M, n, n) of f in whitened coordinates ``Y``, X = white Y row by row."""
        gradient = -np.matmul(self.target[:, None, :], white)[:, 0]
        hessian = np.zeros((self.M, self.n, self.n))
        for B, logn in self.terms:
            BW = np.matmul(B, white)
            V = np.matmul(B, X[:, :, None])[:, :, 0] + logn
            pi = np.exp(V - V.max(axis=1, keepdims=True))
            pi /= pi.sum(axis=1, keepdims=True)
            mean = np.matmul(pi[:, None, :], BW)
            gradient += mean[:, 0]
            hessian += np.matmul((pi[:, :, None] * BW).transpose(0, 2, 1), BW) - mean.transpose(0, 2, 1) * mean
        return gradient * self.weight[:, None] * self.active, hessian * self.weight[:, None, None]

    # -- the barrier --------------------------------------------------------------------------------------------

    def barrier(self, X: np.ndarray, A: np.ndarray, epsilon: float) -> float:
        """f - epsilon (log of both scalar slacks + log det A); infinite outside the domain."""
        try:
            inverse_root = np.linalg.inv(np.linalg.cholesky(A))
        except np.linalg.LinAlgError:
            return np.inf
        diagonal = np.diag(inverse_root)
        h = self.tau2 - np.sum((X[:, : self.G] @ inverse_root[: self.G, : self.G].T) ** 2)
        h -= (X[:, self.G :] ** 2 * self.active[:, self.G :] * diagonal[self.column] ** 2).sum()
        k = 1 - np.trace(A)
        if not (h > 0 and k > 0):
            return np.inf
        return self.value(X) - epsilon * float(np.log(h) + np.log(k) - 2 * np.log(diagonal).sum())

    def step(self, state: State, *, guarded: bool) -> State:
        """One primal-dual Newton step, after lowering epsilon.

        guarded: lower epsilon only at central points, and search the line for descent of the barrier function, which
        makes progress certain because the direction is one of descent. Otherwise the slack h moves on its own and the
        step is Newton's, which near the optimum reaches full accuracy.

        Raises LinAlgError when rounding leaves no usable step.
        """
        system = NewtonSystem(self, state, guarded)
        epsilon = state.epsilon
        if guarded:
            direction = system.direction(epsilon)
            while direction.decrement <= epsilon and epsilon > 1e-30:
                epsilon *= 0.03
                direction = system.direction(epsilon)
        else:
            epsilon *= STRIDE if state.stride > 0.9 else 1.0
            direction = system.direction(epsilon)
        primal, dual = direction.longest_primal, direction.longest_dual
        if guarded:
            here = self.barrier(state.X, state.A, epsilon)
            while (
                self.barrier(state.X + primal * direction.X, state.A + primal * direction.A, epsilon)
                > here - 1e-4 * primal * direction.decrement
            ):
                primal /= 2
                if primal < 1e-12:
                    raise np.linalg.LinAlgError("no descent along the direction")
        return State(
            X=state.X + primal * direction.X,
            A=state.A + primal * direction.A,
            h=system.h + primal * direction.h,
            k=state.k + primal * direction.k,
            s=state.s + dual * direction.s,
            nu=state.nu + dual * direction.nu,
            L=state.L + dual * direction.L,
            epsilon=epsilon,
            stride=min(primal, dual),
        )


def without_shift(coordinates: Coordinates) -> np.ndarray:
    """Orthonormal basis (G, G - 1) of the group-sum directions but the common shift of all logits.

    A shift changes no loss, so the gradient, and with it every optimum, is orthogonal to C^{1/2} 1. Leaving the
    direction out keeps A invertible at the optimum, and with it Newton's steps exact to rounding.
    """
    shift = coordinates.C_half @ np.sqrt(coordinates.problem.sizes)
    return np.linalg.svd(shift[None, :])[2][1:].T


def _symmetric_basis(G: int, groups: int) -> np.ndarray:
    """Orthonormal basis (P, s, s) of matrices with a symmetric G x G block and ``groups`` diagonal entries, s = G + groups."""
    i, j = np.triu_indices(G)
    i, j = np.append(i, np.arange(G, G + groups)), np.append(j, np.arange(G, G + groups))
    basis = np.zeros((len(i), G + groups, G + groups))
    p = np.arange(len(i))
    basis[p, i, j] = basis[p, j, i] = np.where(i == j, 1.0, 0.5**0.5)
    return basis


def log_sum_exp_terms(coordinates: Coordinates) -> LossTerms:
    """The loss of every row as a sum of lse(B x + logn) minus a linear part: [(B (M, v, n), logn (M, v)), ...], (M, n)."""
    problem, lam = coordinates.problem, coordinates.problem.rows.lam[:, None, None]
    if problem.expanded:
        B = coordinates.C_inverse_half / coordinates.scale[:, None, None]
        logn = np.zeros(coordinates.shape)
    else:
        B, logn = coordinates.basis, np.asarray(coordinates.log_multiplicity)
    linear = np.matmul(coordinates.target[:, None, :], B)[:, 0]
    if problem.partition == "classes":
        return [(B, logn)], linear
    if problem.partition == "pairs":
        return [(lam * B, logn), ((1 - lam) * B, logn)], linear
    v, w = np.triu_indices(B.shape[1])
    with np.errstate(divide="ignore"):
        inside = logn + np.log(np.maximum(np.expm1(logn), 0.0) / 2)
    number = np.where(v == w, inside[:, v], logn[:, v] + logn[:, w])
    return [(lam * B[:, v] + (1 - lam) * B[:, w], number)], linear
