r"""Exact symmetry-reduced solver: a primal-dual interior-point method whose cost does not depend on K.

Symmetry needed: classes exchangeable inside G groups (equal counts), a few groups only. In the coordinates of
:mod:`lpm.coordinates` the program is

.. math::
    \min_{X, A} f(X) \quad\text{s.t.}\quad \mathrm{tr}(X A^{-1} X^T) \le \tau^2,\; \mathrm{tr} A \le 1,\; A \succeq 0,

because ``|X|_*^2`` is the minimum of tr(X A^{-1} X^T) over tr A <= 1. A is block diagonal: a G x G block, the classifier's
Gram matrix on group sums up to scale, and one number per group. Given A the rows of X do not couple, so a Newton step costs
one batched solve of M systems of size G + 2 and a Schur complement of size G (G+1)/2 + G. All logarithmic barriers live
on A and on the two scalar constraints; the condensed primal-dual direction is a descent direction of the barrier function,
which a backtracking line search exploits, so that convergence is global.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from lpm.coordinates import Coordinates
from lpm.errors import InvalidInput
from lpm.problem import Problem
from lpm.solution import TOLERANCE, Solution, certify

MAX_GROUPS = 16
"""More groups make the Schur complement the bottleneck; the first-order solver is faster there."""

MAX_STEPS = 150
POLISH_STEPS = 15


def solve(problem: Problem, *, tolerance: float = TOLERANCE, target: float = 1e-10,
          frozen: tuple[int, ...] = ()) -> Solution:  # fmt: skip
    """Solve ``problem`` to a relative gap of ``target`` and certify it to ``tolerance``.

    frozen: groups whose class vectors are forced to coincide (u_g = 0), as section "threshold" of docs/theory.md needs;
    the solution is then feasible, and certified only if that restriction costs nothing.

    Raises InvalidInput for more than ``MAX_GROUPS`` groups, NotCertified when the gap stays above ``tolerance``.
    """
    start = time.perf_counter()
    X, iterations = optimum(problem, target=min(target, tolerance), frozen=frozen)
    return certify(problem, X, solver="orbits", seconds=time.perf_counter() - start, iterations=iterations,
                   tolerance=tolerance, remedy="try --solver factored, or a looser --tolerance")  # fmt: skip


def optimum(problem: Problem, *, target: float, frozen: tuple[int, ...] = ()) -> tuple[np.ndarray, int]:
    """An optimal point (M, n) in scaled coordinates, with u_g = 0 for the ``frozen`` groups, and the iterations spent."""
    if len(problem.sizes) > MAX_GROUPS:
        raise InvalidInput(
            f"orbits needs at most {MAX_GROUPS} groups of equal classes, this problem has {len(problem.sizes)}; "
            "use --solver factored"
        )
    coordinates = Coordinates(problem)
    path = _CentralPath(coordinates, _log_sum_exp_terms(coordinates), _without_shift(coordinates), frozen)
    state = path.start()
    value, best, best_gap, spent = state.epsilon, path.point(state), np.inf, 0
    for depth in (1e-5, 1e-7, 1e-9, 1e-11):
        state, steps = path.follow(state, epsilon=depth * value / path.size)
        point, gap, polish_steps = _polish(path, state, target)
        spent += steps + polish_steps
        if gap < best_gap:
            best, best_gap = point, gap
        if best_gap <= target:
            break
    return best, spent


def _polish(path: _CentralPath, state: _State, target: float) -> tuple[np.ndarray, float, int]:
    """Newton's method to full accuracy on the directions that the optimum uses; the best point, its gap, the steps.

    Along directions in which f is flat a relative gap of 1e-10 leaves cosines uncertain by 1e-5; Newton's method does
    not, once the directions on which A vanishes are out of the way.
    """
    full = path
    path, state = path.deflate(state)
    best, best_gap = path.point(state), np.inf
    for steps in range(1, POLISH_STEPS + 1):
        try:
            state = path.step(state, guarded=False)
        except np.linalg.LinAlgError:
            break  # rounding has eaten the barrier
        point = path.point(state)
        gap = full.relative_gap(point)
        improved = gap < 0.3 * best_gap
        if gap < best_gap:
            best, best_gap = point, gap
        if best_gap <= target and not improved:
            break
    return best, best_gap, steps


_LossTerms = tuple[list[tuple[np.ndarray, np.ndarray]], np.ndarray]


@dataclass(frozen=True)
class _State:
    """Primal X, A; slacks h, k of tr(X A^-1 X^T) <= tau^2 and tr A <= 1; multipliers s, nu of both, L of A >= 0.

    epsilon: the barrier's weight. stride: shorter of the last primal and dual step lengths, at most 1.
    """

    X: np.ndarray
    A: np.ndarray
    h: float
    k: float
    s: float
    nu: float
    L: np.ndarray
    epsilon: float
    stride: float = 1.0


class _CentralPath:
    """The reduced program on the group-sum directions ``span`` (G, g) and all groups but the ``frozen`` ones."""

    def __init__(self, coordinates: Coordinates, loss_terms: _LossTerms, span: np.ndarray, frozen: tuple[int, ...]) -> None:
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
        self.flat_basis = self.basis.reshape(len(self.basis), -1)
        self.basis_diagonal = np.einsum("pii->ip", self.basis)
        terms, linear = loss_terms
        self.terms = [(self._reduce(B), logn) for B, logn in terms]
        self.target = self._reduce(linear)

    def start(self) -> _State:
        X, A = np.zeros((self.M, self.n)), np.eye(self.size) / (2 * self.size)
        epsilon = self.value(X)
        return _State(X, A, self.tau2, 0.5, epsilon / self.tau2, 2 * epsilon, epsilon * np.linalg.inv(A), epsilon)

    def follow(self, state: _State, epsilon: float) -> tuple[_State, int]:
        """Steps along the central path until the barrier's weight is at most ``epsilon``, and their number."""
        for steps in range(MAX_STEPS):
            if state.epsilon <= epsilon:
                return state, steps
            try:
                state = self.step(state, guarded=True)
            except np.linalg.LinAlgError:
                break  # rounding has eaten the barrier; what was reached is certified like any other point
        return state, steps

    def deflate(self, state: _State) -> tuple[_CentralPath, _State]:
        """Leave out the directions and groups that the optimum does not use: there A is near 0, its multiplier is not.

        A stays invertible without them. A wrong choice shows in the certificate, which sees all directions.
        """
        g = self.G
        a, V = np.linalg.eigh(state.A[:g, :g])
        keep = a * state.nu > np.einsum("ij,ik,kj->j", V, state.L[:g, :g], V)
        zero_sum = np.arange(g, self.size)
        used = state.A[zero_sum, zero_sum] * state.nu > state.L[zero_sum, zero_sum]
        frozen = tuple({*self.frozen, *self.groups[~used].tolist()})
        path = _CentralPath(self.coordinates, self.loss_terms, self.span @ V[:, keep], frozen)
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

    def point(self, state: _State) -> np.ndarray:
        """The point in all coordinates, scaled onto the boundary of the budget, where every optimum lies."""
        point = np.concatenate([state.X[:, : self.G] @ self.span.T, state.X[:, self.G :]], axis=1)
        return point * (np.sqrt(self.tau2) / max(self.coordinates.nuclear_norm(point), 1e-300))

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

    def step(self, state: _State, *, guarded: bool) -> _State:
        """One primal-dual Newton step, after lowering epsilon.

        guarded: lower epsilon only at central points and search the line for descent of the barrier function, which makes
        progress certain. Otherwise the slack h moves on its own and the step is Newton's, which near the optimum alone
        reaches full accuracy.
        """
        X, A, epsilon = state.X, state.A, state.epsilon
        G, P, basis = self.G, len(self.basis), self.basis
        eigenvalues, vectors = np.linalg.eigh(A)
        R, R_inverse = vectors * np.sqrt(eigenvalues), (vectors / np.sqrt(eigenvalues)).T
        # eigh may permute the one-dimensional blocks; the symmetric root keeps each in its own column.
        R, R_inverse = R @ vectors.T, vectors @ R_inverse
        white = np.zeros((self.M, self.n, self.n))
        white[:, :G, :G] = R[:G, :G]
        scale = np.diag(R)[self.column]
        zero_sum = np.arange(G, self.n)
        white[:, zero_sum, zero_sum] = scale
        Y = np.concatenate([X[:, :G] @ R_inverse[:G, :G], X[:, G:] / scale], axis=1) * self.active
        gradient, hessian = self.derivatives(X, white)
        hessian *= self.active[:, :, None] * self.active[:, None, :]
        diagonal = np.arange(self.n)
        hessian[:, diagonal, diagonal] += 2 * state.s + (1 - self.active)

        moment = np.zeros((self.size, self.size))  # Y^T Y, block diagonal like A
        moment[:G, :G] = Y[:, :G].T @ Y[:, :G]
        np.add.at(moment, (self.column, self.column), Y[:, G:] ** 2)
        k = state.k
        h = self.tau2 - np.trace(moment) if guarded else state.h
        residual = self.tau2 - np.trace(moment) - h
        L = R @ state.L @ R
        cross = np.empty((self.M, self.n, P))  # second derivative in (Y, A)
        cross[:, :G] = np.matmul(basis[:, :G, :G], Y[:, :G].T).transpose(2, 1, 0)
        cross[:, G:] = Y[:, G:, None] * self.basis_diagonal[self.column]
        cross *= -2 * state.s
        curvature = basis @ (2 * state.s * moment + L)
        schur = self.flat_basis @ curvature.transpose(0, 2, 1).reshape(P, -1).T
        trace = self.flat_basis @ A.ravel()  # derivative of tr A
        schur = (schur + schur.T) / 2 + (state.nu / k) * np.outer(trace, trace)
        q_Y, q_A = 2 * Y, -self.flat_basis @ moment.ravel()  # derivative of tr(X A^-1 X^T)
        solved = np.linalg.solve(hessian, np.concatenate([cross, gradient[:, :, None], q_Y[:, :, None]], axis=2))
        flat = cross.reshape(-1, P)
        schur -= flat.T @ solved[:, :, :P].reshape(-1, P)
        identity = self.basis_diagonal.sum(axis=0)

        def direction(rhs_Y: np.ndarray, solved_Y: np.ndarray, rhs_A: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            d_A = np.linalg.solve(schur, rhs_A - flat.T @ solved_Y.ravel())
            return solved_Y - solved[:, :, :P] @ d_A, d_A

        q_dir = direction(q_Y, solved[:, :, P + 1], q_A)
        q_curvature = h / state.s + (q_Y * q_dir[0]).sum() + q_A @ q_dir[1]
        while True:
            if not guarded:
                epsilon *= 0.05 if state.stride > 0.9 else 1.0
            multiplier = (epsilon - state.s * residual) / h
            g_Y = gradient + multiplier * q_Y
            g_A = multiplier * q_A + (epsilon / k) * trace - epsilon * identity
            d_Y, d_A = direction(g_Y, solved[:, :, P] + multiplier * solved[:, :, P + 1], g_A)
            along = ((q_Y * d_Y).sum() + q_A @ d_A) / q_curvature
            d_Y, d_A = -(d_Y - along * q_dir[0]), -(d_A - along * q_dir[1])
            decrement = -((g_Y * d_Y).sum() + g_A @ d_A)
            if not guarded or decrement > epsilon:
                break
            epsilon *= 0.03

        d_A_matrix = (d_A @ self.flat_basis).reshape(self.size, self.size)
        d_q, d_trace = (q_Y * d_Y).sum() + q_A @ d_A, trace @ d_A
        d_h = residual - d_q
        d_s = (epsilon - state.s * d_h) / h - state.s
        d_nu = (epsilon + state.nu * d_trace) / k - state.nu
        d_L = epsilon * np.eye(self.size) - (d_A_matrix @ L + L @ d_A_matrix) / 2 - L
        dual = min(_to_boundary(d_s / state.s), _to_boundary(d_nu / state.nu), _to_boundary(_least(L, d_L)))
        primal = min(_to_boundary(np.linalg.eigvalsh(d_A_matrix)[0]), _to_boundary(-d_trace / k))
        if not guarded:
            primal = min(primal, _to_boundary(d_h / h))
        d_X = np.concatenate([d_Y[:, :G] @ R[:G, :G], d_Y[:, G:] * scale], axis=1) * self.active
        d_A_matrix = R @ d_A_matrix @ R
        if guarded:
            here = self.barrier(X, A, epsilon)
            while self.barrier(X + primal * d_X, A + primal * d_A_matrix, epsilon) > here - 1e-4 * primal * decrement:
                primal /= 2
                if primal < 1e-12:
                    raise np.linalg.LinAlgError("no descent")
        return _State(
            X + primal * d_X, A + primal * d_A_matrix, h + primal * d_h, k - primal * d_trace,
            state.s + dual * d_s, state.nu + dual * d_nu, state.L + dual * (R_inverse @ d_L @ R_inverse), epsilon, min(primal, dual),
        )  # fmt: skip


def _to_boundary(relative_decrease: float) -> float:
    """Longest step, at most 1, that keeps 99 % of the way to the boundary; argument: most negative relative change."""
    return 1.0 if relative_decrease > -0.99 else -0.99 / relative_decrease


def _least(L: np.ndarray, d_L: np.ndarray) -> float:
    """Smallest eigenvalue of L^{-1/2} d_L L^{-1/2}."""
    inverse_root = np.linalg.inv(np.linalg.cholesky(L))
    return float(np.linalg.eigvalsh(inverse_root @ d_L @ inverse_root.T)[0])


def _without_shift(coordinates: Coordinates) -> np.ndarray:
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


def _log_sum_exp_terms(coordinates: Coordinates) -> _LossTerms:
    """The loss of every row as a sum of lse(B x + logn) minus a linear part: [(B (M, v, n), logn (M, v)), ...], (M, n)."""
    problem, lam = coordinates.problem, coordinates.problem.rows.lam[:, None, None]
    if problem.expanded:
        B = coordinates.C_inverse_half / coordinates.scale[:, None, None]
        logn = np.zeros(coordinates.shape)
    else:
        B, logn = coordinates.basis, coordinates.log_multiplicity
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
