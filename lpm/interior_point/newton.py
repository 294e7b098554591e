r"""One primal-dual Newton step of the interior-point method: the linearised optimality conditions and their solution.

With q = tr(X A^{-1} X^T), the multipliers s, nu of the slacks h, k and the multiplier L of A, the conditions are

    grad f + s grad_Y q = 0,  s grad_A q + nu I - L = 0,  s h = nu k = epsilon,  A L = epsilon I,
    q + h = tau^2,  tr A + k = 1,

written in the coordinates Y with X = Y A^{1/2}, in which A = I. Given A, the rows of Y do not couple. So a step costs
one batched solve of M systems of size G + 2 and a Schur complement on the G (G+1)/2 + G numbers of A.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lpm.interior_point.reduced import ReducedProgram


@dataclass(frozen=True, kw_only=True)
class State:
    """A point of the interior-point method: primal variables, slacks and multipliers.

    Attributes:
        X: the point, (M, n).
        A: block-diagonal symmetric matrix, (size, size).
        h: slack of tr(X A^-1 X^T) <= tau^2.
        k: slack of tr A <= 1.
        s: multiplier of the first constraint.
        nu: multiplier of the second constraint.
        L: multiplier of A >= 0, (size, size).
        epsilon: weight of the barrier.
        stride: the shorter of the last primal and dual step lengths, at most 1.
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


@dataclass(frozen=True, kw_only=True)
class Direction:
    """Newton's direction from a state.

    Attributes:
        X: change of the state's X, (M, n).
        A: change of its A, (size, size).
        h: change of its h.
        k: change of its k.
        s: change of its s.
        nu: change of its nu.
        L: change of its L, (size, size).
        decrement: minus the slope of the barrier function along the direction.
        longest_primal: longest primal step inside the domain, at most 1.
        longest_dual: longest dual step inside the domain, at most 1.
    """

    X: np.ndarray
    A: np.ndarray
    h: float
    k: float
    s: float
    nu: float
    L: np.ndarray
    decrement: float
    longest_primal: float
    longest_dual: float


class NewtonSystem:
    """The optimality conditions linearised at a state, with the rows of Y eliminated.

    Args:
        program: the reduced program.
        state: where to linearise.
        guarded: whether the slack h is tied to q by q + h = tau^2.
    """

    def __init__(self, program: ReducedProgram, state: State, guarded: bool) -> None:
        self.program, self.state, self.guarded = program, state, guarded
        G, zero_sum = program.G, np.arange(program.G, program.n)
        eigenvalues, vectors = np.linalg.eigh(state.A)
        self.root, self.inverse_root = ((vectors * eigenvalues**power) @ vectors.T for power in (0.5, -0.5))
        self.scale = np.diag(self.root)[program.column]
        # A^{1/2} for each row, (M, n, n): the block on the group sums, then the numbers of its zero-sum coordinates.
        white = np.zeros((program.M, program.n, program.n))
        white[:, :G, :G] = self.root[:G, :G]
        white[:, zero_sum, zero_sum] = self.scale
        Y = np.concatenate([state.X[:, :G] @ self.inverse_root[:G, :G], state.X[:, G:] / self.scale], axis=1)
        Y *= program.active
        moment = np.zeros((program.size, program.size))  # Y^T Y, block diagonal like A
        moment[:G, :G] = Y[:, :G].T @ Y[:, :G]
        np.add.at(moment, (program.column, program.column), Y[:, G:] ** 2)
        q = np.trace(moment)
        self.h = program.tau2 - q if guarded and program.decay is None else state.h
        self.residual = program.tau2 - q - self.h
        self.L = self.root @ state.L @ self.root
        self.gradient, hessian = program.derivatives(state.X, white)
        self.q_Y, self.q_A = 2 * Y, -program.flat_basis @ moment.ravel()
        self.trace, self.identity = program.flat_basis @ state.A.ravel(), program.basis_diagonal.sum(axis=0)
        self._eliminate(hessian, moment)

    def _eliminate(self, hessian: np.ndarray, moment: np.ndarray) -> None:
        """Eliminate the rows of Y. The Schur complement on A remains, with the term s/h (grad q)(grad q)^T kept apart.

        Blocks, with P numbers in A: H for Y (M batches of n x n), B = s d^2 q / dY dA (M n, P), and one for A (P, P).
        The Schur complement is the block of A minus B^T H^{-1} B.
        """
        program, s, P = self.program, self.state.s, len(self.program.basis)
        # H: the Hessian of f + s q in Y. Absent coordinates get a 1 on the diagonal and nothing else, so they stay 0.
        diagonal = np.arange(program.n)
        hessian *= program.active[:, :, None] * program.active[:, None, :]
        hessian[:, diagonal, diagonal] += 2 * s + (1 - program.active)
        # B: the mixed derivatives of s q by Y and A, (M, n, P). By A = I, d(grad_Y q)[dA] = -grad_Y q dA.
        cross = np.concatenate(
            [
                np.matmul(program.basis[:, : program.G, : program.G], self.q_Y[:, : program.G].T).transpose(2, 1, 0),
                self.q_Y[:, program.G :, None] * program.basis_diagonal[program.column],
            ],
            axis=1,
        )
        cross *= -s
        self.cross = cross.reshape(program.M * program.n, P)
        # One batched solve with H for all right sides: the columns of B, the gradient of f and the gradient of q.
        right = np.concatenate([cross, self.gradient[:, :, None], self.q_Y[:, :, None]], axis=2)
        solved = np.linalg.solve(hessian, right)
        self.solved_cross, self.solved_gradient, self.solved_q = solved[:, :, :P], solved[:, :, P], solved[:, :, P + 1]
        # Block of A: d^2 (s q) / dA^2 = 2 s Y^T Y dA and the multiplier's L dA, both symmetrised, and the slack k's
        # nu/k (trace)(trace)^T.
        curvature = program.basis @ (2 * s * moment + self.L)
        schur = program.flat_basis @ curvature.transpose(0, 2, 1).reshape(P, program.size**2).T
        schur = (schur + schur.T) / 2
        if program.decay is None:
            schur += (self.state.nu / self.state.k) * np.outer(self.trace, self.trace)
        # Minus B^T H^{-1} B.
        self.schur = schur - self.cross.T @ self.solved_cross.reshape(program.M * program.n, P)
        # The answer to grad q, for the rank-one term by Sherman and Morrison.
        self.along_q = self._solve(self.solved_q, self.q_A)
        self.q_curvature = self.h / s + self._q_change(*self.along_q)

    def _solve(self, solved_Y: np.ndarray, right_A: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Solve the eliminated system without q's rank-one term, for a right side of Y and one of A.

        solved_Y: H^{-1} times the right side of Y, (M, n). right_A: the right side of A, (P,).
        """
        d_A = np.linalg.solve(self.schur, right_A - self.cross.T @ solved_Y.ravel())
        return solved_Y - self.solved_cross @ d_A, d_A

    def _q_change(self, d_Y: np.ndarray, d_A: np.ndarray) -> float:
        """The change of q to first order."""
        return float((self.q_Y * d_Y).sum() + self.q_A @ d_A)

    def direction(self, epsilon: float) -> Direction:
        """Solve for Newton's direction towards a point of the central path.

        Args:
            epsilon: barrier weight of that point.

        Returns:
            The direction.

        Raises:
            LinAlgError: if rounding has made the system singular, or the multiplier L indefinite.
        """
        program, state, h = self.program, self.state, self.h
        penalised = program.decay is not None
        multiplier = state.s if penalised else (epsilon - state.s * self.residual) / h
        right_Y = self.gradient + multiplier * self.q_Y
        right_A = multiplier * self.q_A + (state.nu if penalised else epsilon / state.k) * self.trace
        right_A -= epsilon * self.identity
        Y, a = self._solve(self.solved_gradient + multiplier * self.solved_q, right_A)
        if penalised:
            Y, a = -Y, -a
        else:
            share = self._q_change(Y, a) / self.q_curvature  # Sherman-Morrison for the rank-one term of q
            Y, a = share * self.along_q[0] - Y, share * self.along_q[1] - a
        A = (a @ program.flat_basis).reshape(program.size, program.size)
        d_h = d_k = d_s = d_nu = 0.0
        if not penalised:
            d_h, d_k = self.residual - self._q_change(Y, a), -float(self.trace @ a)
            d_s = (epsilon - state.s * d_h) / h - state.s
            d_nu = (epsilon - state.nu * d_k) / state.k - state.nu
        d_L = epsilon * np.eye(program.size) - (A @ self.L + self.L @ A) / 2 - self.L
        inverse_root_L = np.linalg.inv(np.linalg.cholesky(self.L))
        least_L = np.linalg.eigvalsh(inverse_root_L @ d_L @ inverse_root_L.T).min(initial=0.0)
        return Direction(
            X=np.concatenate(
                [Y[:, : program.G] @ self.root[: program.G, : program.G], Y[:, program.G :] * self.scale], axis=1
            )
            * program.active,
            A=self.root @ A @ self.root,
            h=d_h,
            k=d_k,
            s=d_s,
            nu=d_nu,
            L=self.inverse_root @ d_L @ self.inverse_root,
            decrement=-float((right_Y * Y).sum() + right_A @ a),
            longest_primal=_to_boundary(
                np.linalg.eigvalsh(A).min(initial=0.0), d_k / state.k, 0.0 if self.guarded else d_h / h
            ),
            longest_dual=_to_boundary(d_s / state.s, d_nu / state.nu, least_L),
        )


def _to_boundary(*relative_changes: float) -> float:
    """Longest step, at most 1, that goes at most 99 % of the way to a point where a positive quantity vanishes."""
    fastest = min(relative_changes)
    return 1.0 if fastest > -0.99 else -0.99 / float(fastest)
