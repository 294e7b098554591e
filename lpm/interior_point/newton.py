r"""One primal-dual Newton step of the interior-point method: the linearised optimality conditions and their solution.

With q = tr(X A^{-1} X^T), the multipliers s, nu of the slacks h, k and the multiplier L of A, the conditions are

    grad f + s grad_Y q = 0,  s grad_A q + nu I - L = 0,  s h = nu k = epsilon,  A L = epsilon I,
    q + h = tau^2,  tr A + k = 1,

written in the coordinates Y with X = F Y, A = F F^T, in which A = I. Given A, the rows of Y do not couple. So a step
costs M solves of size g + 2 and a Schur complement on the g (g + 1) / 2 + G numbers of A.

The right side is linear in four numbers of which the barrier's weight is part. So four solutions serve all weights, and
the decrement at any weight is a quadratic form in four numbers.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from lpm.interior_point import small
from lpm.interior_point.elimination import FewCoordinates, ManyCoordinates
from lpm.interior_point.reduced import Programs
from lpm.interior_point.state import Direction, State


class NewtonSystem:
    """The optimality conditions linearised at a state, with the rows of Y eliminated.

    Args:
        programs: the reduced programs.
        state: where to linearise.
        guarded: whether the slack h is tied to q by q + h = tau^2.

    Attributes:
        f: f at the state, (B,).
        log_det: log det of A at the state, (B,).
        q: tr(X A^-1 X^T) there, (B,).
        trace: tr A there, (B,).
        h: the slack h in use, (B,).
    """

    def __init__(self, programs: Programs, state: State, guarded: bool) -> None:
        self.programs, self.state, self.guarded = programs, state, guarded
        g = programs.g
        A = state.A.transpose(2, 0, 1)
        self.root = small.cholesky(A)  # these, and the whitened L, are (B, g, g)
        self.inverse = small.inverse(self.root)
        self.scale = programs.by_group(np.sqrt(state.a))
        Y = np.concatenate([_on_rows(self.inverse, state.X[:g]), state.X[g:] / self.scale])
        Y *= programs.active
        moment = np.einsum("imb,jmb->ijb", Y[:g], Y[:g])  # Y^T Y, block diagonal like A
        moments = programs.sum_by_group(Y[g:] ** 2)
        self.q = np.einsum("iib->b", moment) + moments.sum(axis=0)
        self.trace = np.einsum("iib,ib->b", state.A, programs.use) + (state.a * programs.use_group).sum(axis=0)
        self.log_det = 2 * np.log(np.einsum("bii->bi", self.root)).sum(axis=1) + np.log(state.a).sum(axis=0)
        self.h = programs.tau2 - self.q if guarded and programs.decay is None else state.h
        self.residual = programs.tau2 - self.q - self.h
        self.L = small.product(small.transposed(self.root), state.L.transpose(2, 0, 1), self.root)
        self.l = state.a * state.l
        self.f, gradient, hessian = programs.derivatives(state.X, self.root, self.scale)
        self.q_Y = 2 * Y
        # The numbers of A: those of a symmetric block in an orthonormal basis, then those of the groups.
        self.i, self.j, self.times, identity = _numbers(g)
        moved = small.product(small.transposed(self.root), self.root).transpose(1, 2, 0)
        # Right sides, of all four: grad f, grad q, the trace, the identity. The last two have no part of Y.
        self.right_Y = gradient, self.q_Y
        block, P = len(self.i), len(programs.use_basis)
        self.right_A = np.zeros((P, 4, len(programs)))
        self.right_A[:block, 1], self.right_A[block:, 1] = -self.times * moment[self.i, self.j], -moments
        self.right_A[:block, 2], self.right_A[block:, 2] = self.times * moved[self.i, self.j], state.a
        self.right_A[:block, 3], self.right_A[block:, 3] = identity, 1.0
        self.right_A *= programs.use_basis[:, None]
        self._eliminate(hessian, moment, moments)

    def _eliminate(self, hessian: np.ndarray, moment: np.ndarray, moments: np.ndarray) -> None:
        """Eliminate the rows of Y. The Schur complement on A remains, with the term s/h (grad q)(grad q)^T kept apart.

        Blocks, with P numbers in A: H for Y (M B matrices n x n), B = s d^2 q / dY dA (n, P), and one for A (P, P).
        The Schur complement is the block of A minus B^T H^{-1} B.
        """
        programs, s, active = self.programs, self.state.s, self.programs.active
        g, n, B, P, block = programs.g, len(active), len(programs), len(programs.use_basis), len(self.i)
        basis = programs.basis
        # H: the Hessian of f + s q in Y. Absent coordinates get a 1 on the diagonal and nothing else, so they stay 0.
        hessian *= active[:, None] * active
        np.einsum("nnmb->nmb", hessian)[...] += 2 * s + (1 - active)
        eliminate = FewCoordinates if n <= small.LARGEST else ManyCoordinates
        self.rows = eliminate(programs, hessian, -s * self.q_Y, self.right_Y)
        # Block of A: d^2 (s q) / dA^2 = 2 s Y^T Y dA and the multiplier's L dA, both symmetrised, and the slack k's
        # nu/k (trace)(trace)^T.
        schur = np.zeros((P, P, B))
        weight = 2 * s * moment + self.L.transpose(1, 2, 0)
        if g == 1:
            schur[0, 0] = weight[0, 0]
        elif g > 1:
            curvature = (basis.reshape(-1, g) @ weight.reshape(g, -1)).reshape(block, g, g, B)
            curved = basis.reshape(block, -1) @ curvature.transpose(2, 1, 0, 3).reshape(g * g, -1)
            curved = curved.reshape(block, block, B)
            schur[:block, :block] = (curved + curved.transpose(1, 0, 2)) / 2
        diagonal = np.einsum("ppb->pb", schur)
        diagonal[block:] = 2 * s * moments + self.l
        if programs.decay is None:
            trace = self.right_A[:, 2]
            schur += (self.state.nu / self.state.k) * trace[:, None] * trace
        schur -= self.rows.schur
        use = programs.use_basis
        schur *= use[:, None] * use
        diagonal += 1 - use
        self.schur = schur
        self.reduced_A = self.right_A.copy()
        self.reduced_A[:, :2] -= self.rows.reduced
        self.reduced_A *= use[:, None]

    def _solutions(self, right_A: np.ndarray, solved_Y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Solve for Y and A, for right sides with the rows of Y eliminated.

        right_A: (P, q, B). solved_Y: H^{-1} times the right sides of Y, (n, q', M, B); those that lack are 0.
        """
        d_A = small.solve(self.schur[:, :, None], right_A[:, :, None])[:, :, 0]
        d_Y = -self.rows.along(d_A)
        d_Y[:, : solved_Y.shape[1]] += solved_Y
        return d_Y, d_A

    def weights(self, epsilon: np.ndarray) -> np.ndarray:
        """Write the right side at a barrier weight in terms of grad f, grad q, the trace and the identity.

        Args:
            epsilon: barrier weights, (B,).

        Returns:
            Their factors, (4, B).
        """
        state, weights = self.state, np.empty((4, len(epsilon)))
        weights[0], weights[3] = 1.0, -epsilon
        if self.programs.decay is not None:
            weights[1], weights[2] = state.s, state.nu
        else:
            weights[1], weights[2] = (epsilon - state.s * self.residual) / self.h, epsilon / state.k
        return weights

    def descend(self, epsilon: np.ndarray, stride: float, least: float) -> tuple[np.ndarray, Direction]:
        """Lower the barrier's weight while the point is central, and solve for the direction towards the path there.

        Args:
            epsilon: barrier weights, (B,).
            stride: factor by which they are lowered.
            least: weight below which they are not lowered.

        Returns:
            The weights, and the direction.
        """
        d_Y, d_A = self._solutions(self.reduced_A, self.rows.solved)
        inner = np.einsum("pib,pqb->iqb", self.right_A, d_A)
        for i, right in enumerate(self.right_Y):
            inner[i] += np.einsum("nmb,nqmb->qb", right, d_Y)
        curvature = self.h / self.state.s + inner[1, 1]

        def coefficients(epsilon: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            """The direction in terms of the four solutions, and its decrement."""
            weights = self.weights(epsilon)
            along = -weights
            if self.programs.decay is None:  # Sherman-Morrison for the rank-one term of q
                along[1] += (weights * inner[1]).sum(axis=0) / curvature
            return along, -(weights * (inner * along).sum(axis=1)).sum(axis=0)

        # decrement / epsilon is the squared Newton decrement of the barrier function over epsilon. At 1 or less the
        # point is central: Newton's method would converge from there, and a smaller weight can be tried.
        while True:
            along, decrement = coefficients(epsilon)
            lower = (decrement <= epsilon) & (epsilon > least)
            if not lower.any():
                break
            epsilon = np.where(lower, stride * epsilon, epsilon)
        Y, numbers = np.einsum("nqmb,qb->nmb", d_Y, along), np.einsum("pqb,qb->pb", d_A, along)
        return epsilon, self._direction(Y, numbers, epsilon, decrement)

    def direction(self, epsilon: np.ndarray) -> Direction:
        """Solve for Newton's direction towards a point of the central path, to full accuracy.

        Args:
            epsilon: barrier weights of that point, (B,).

        Returns:
            The direction; nan where rounding has made the system singular, or the multiplier L indefinite.
        """
        weights, solved = self.weights(epsilon), self.rows.solved
        # The right side is added up before it is solved for: its parts cancel near the optimum.
        whole = np.einsum("piB,iB->pB", self.reduced_A, weights)
        d_Y, d_A = self._solutions(
            np.stack([whole, self.reduced_A[:, 1]], axis=1),
            np.stack([solved[:, 0] + weights[1] * solved[:, 1], solved[:, 1]], axis=1),
        )
        Y, numbers = -d_Y[:, 0], -d_A[:, 0]
        if self.programs.decay is None:
            change, curvature = (self._q_change(d_Y[:, i], d_A[:, i]) for i in (0, 1))
            share = change / (self.h / self.state.s + curvature)
            Y, numbers = Y + share * d_Y[:, 1], numbers + share * d_A[:, 1]
        return self._direction(Y, numbers, epsilon, np.zeros_like(epsilon))

    def _q_change(self, d_Y: np.ndarray, d_A: np.ndarray) -> np.ndarray:
        """The change of q to first order, (B,)."""
        return (self.q_Y * d_Y).sum(axis=(0, 1)) + (self.right_A[:, 1] * d_A).sum(axis=0)

    def _direction(self, Y: np.ndarray, numbers: np.ndarray, epsilon: np.ndarray, decrement: np.ndarray) -> Direction:
        """The direction of all variables from that of Y (n, M, B) and of the numbers of A (P, B)."""
        programs, state, h, g = self.programs, self.state, self.h, self.programs.g
        block = len(self.i)
        A, a = np.zeros((len(epsilon), g, g)), numbers[block:]
        A[:, self.i, self.j] = A[:, self.j, self.i] = (numbers[:block] / self.times).T
        if programs.decay is None:
            d_h = self.residual - self._q_change(Y, numbers)
            d_k = -(self.right_A[:, 2] * numbers).sum(axis=0)
            d_s = (epsilon - state.s * d_h) / h - state.s
            d_nu = (epsilon - state.nu * d_k) / state.k - state.nu
        else:
            d_h = d_k = d_s = d_nu = np.zeros_like(epsilon)
        AL, use = small.product(A, self.L), programs.use.T
        L = -(AL + small.transposed(AL)) / 2 - self.L
        np.einsum("bii->bi", L)[...] += epsilon[:, None]
        L *= use[:, :, None] * use[:, None]
        l = (epsilon - a * self.l - self.l) * programs.use_group  # noqa: E741
        if g == 1:
            least_L = np.where(self.L > 0, L / self.L, np.nan)[:, 0, 0]
        else:
            inverse = small.inverse(small.cholesky(self.L))
            least_L = small.least_eigenvalue(small.product(inverse, L, small.transposed(inverse)))
        primal = [small.least_eigenvalue(A), a.min(axis=0, initial=0.0), d_k / state.k]
        if not self.guarded:
            primal.append(d_h / h)
        least_l = np.where(self.l > 0, l / self.l, np.nan).min(axis=0, initial=0.0)
        moved_A = small.product(self.root, A, small.transposed(self.root))
        moved_L = small.product(small.transposed(self.inverse), L, self.inverse)
        change = State(
            X=np.concatenate([_on_rows(self.root, Y[:g]), Y[g:] * self.scale]) * programs.active,
            A=moved_A.transpose(1, 2, 0),
            a=a * state.a,
            h=d_h,
            k=d_k,
            s=d_s,
            nu=d_nu,
            L=moved_L.transpose(1, 2, 0),
            l=l / state.a,
            epsilon=epsilon,
            stride=state.stride,
        )
        return Direction(
            change=change,
            decrement=decrement,
            longest_primal=_to_boundary(primal),
            longest_dual=_to_boundary([d_s / state.s, d_nu / state.nu, least_L, least_l]),
        )


@lru_cache
def _numbers(g: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rows and columns of the numbers of a symmetric block, (P,) each, their times in it, and the identity, (P, 1)."""
    i, j = np.triu_indices(g)
    return i, j, np.where(i == j, 1.0, 2**0.5)[:, None], (i == j).astype(float)[:, None]


def _on_rows(matrix: np.ndarray, X: np.ndarray) -> np.ndarray:
    """Matrices (B, g, g) times the group sums of all rows, (g, M, B)."""
    return matrix[:, 0, 0] * X if len(X) == 1 else np.einsum("bij,jmb->imb", matrix, X)


def _to_boundary(relative_changes: list[np.ndarray]) -> np.ndarray:
    """Longest step, at most 1, that goes at most 99 % of the way to a point where a positive quantity vanishes."""
    fastest = relative_changes[0]
    for change in relative_changes[1:]:
        fastest = np.minimum(fastest, change)  # nan if one is
    return np.where(fastest > -0.99, 1.0, -0.99 / fastest)
