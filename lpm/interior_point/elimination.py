"""The rows of Y eliminated from a Newton step: what the Schur complement on the numbers of A needs of them.

The blocks are H for a row of Y (M B matrices n x n), and B for Y and A (n, P), the mixed derivatives of s q. By A = I,
d(grad_Y q)[dA] = -grad_Y q dA, so B takes dA to -s grad_Y q dA. Both classes give the same numbers, each in the order of
memory in which it is fast: coordinates first where there are a few, rows first where a row is a matrix for BLAS.
"""

from __future__ import annotations

import numpy as np

from lpm.interior_point import small
from lpm.interior_point.reduced import Programs


class FewCoordinates:
    """Elimination where all rows of a program go through each step at once.

    Args:
        programs: the reduced programs.
        hessian: H, (n, n, M, B); the identity on coordinates that are not in use.
        minus: -s grad_Y q, (n, M, B).
        right_Y: two right sides of Y, (n, M, B) each.

    Attributes:
        schur: B^T H^{-1} B, (P, P, B).
        reduced: B^T H^{-1} times the right sides, (P, 2, B).
        solved: H^{-1} times the right sides, (n, 2, M, B).
    """

    def __init__(
        self, programs: Programs, hessian: np.ndarray, minus: np.ndarray, right_Y: tuple[np.ndarray, np.ndarray]
    ) -> None:
        g, (n, M, B), P = programs.g, programs.active.shape, len(programs.use_basis)
        block = len(programs.basis)
        right = np.zeros((n, P + 2, M, B))
        if g == 1:
            right[0, 0] = minus[0]
        elif g > 1:
            turned = programs.basis.transpose(1, 0, 2).reshape(-1, g) @ minus[:g].reshape(g, -1)
            right[:g, :block] = turned.reshape(g, block, M, B)
        if n > g:
            right[g:, block:P] = minus[g:, None] * programs.in_group.transpose(1, 0, 2, 3)
        right[:, :P] *= programs.active[:, None]
        right[:, P], right[:, P + 1] = right_Y
        solved = small.solve(hessian, right)
        inner = small.inner(right, solved)[:P]  # all right sides: a part of them would be copied first
        self.schur, self.reduced = inner[:, :P], inner[:, P:]
        self._solved, self.solved = solved[:, :P], solved[:, P:]

    def along(self, d_A: np.ndarray) -> np.ndarray:
        """Give H^{-1} B d_A.

        Args:
            d_A: changes of the numbers of A, (P, q, B).

        Returns:
            The change of Y that answers each, (n, q, M, B).
        """
        return np.einsum("npmb,pqb->nqmb", self._solved, d_A)


class ManyCoordinates:
    """The same where a row has many coordinates: H is inverted, and the P columns of B are never written down.

    Args:
        programs: as for :class:`FewCoordinates`.
        hessian: as there.
        minus: as there.
        right_Y: as there.

    Attributes:
        schur: as there.
        reduced: as there.
        solved: as there.
    """

    def __init__(
        self, programs: Programs, hessian: np.ndarray, minus: np.ndarray, right_Y: tuple[np.ndarray, np.ndarray]
    ) -> None:
        g, (n, M, B), z = programs.g, programs.active.shape, len(programs.use_group)
        self.programs, self.minus = programs, minus.transpose(2, 1, 0)
        sums = self.minus[..., :g]
        matrices = np.ascontiguousarray(hessian.transpose(3, 2, 0, 1)).reshape(B * M, n, n)
        self.inverse = small.inverse(matrices).reshape(B, M, n, n)
        active = programs.active.transpose(2, 1, 0)
        self.inverse *= active[..., None] * active[..., None, :]
        right = np.zeros((B, M, n, z + 2))
        right[..., g:, :z] = minus.transpose(2, 1, 0)[..., g:, None] * programs.in_group.transpose(3, 2, 1, 0)
        right[..., z], right[..., z + 1] = (one.transpose(2, 1, 0) for one in right_Y)
        solved = self.inverse @ right
        # A number of the symmetric block stands for the matrix of its basis. Sums over rows of products of entries come first.
        basis = programs.basis.reshape(-1, g * g)
        outer = (sums[..., None] * sums[..., None, :]).reshape(B, M, -1)
        fourth = outer.swapaxes(1, 2) @ self.inverse[..., :g, :g].reshape(B, M, -1)
        fourth = fourth.reshape(B, g, g, g, g).transpose(0, 3, 1, 4, 2).reshape(B, g * g, g * g)
        third = sums.swapaxes(1, 2) @ solved[..., :g, :].reshape(B, M, -1)
        third = third.reshape(B, g, g, -1).swapaxes(1, 2).reshape(B, g * g, -1)
        across = basis @ third
        within = right[..., :z].reshape(B, M * n, z).swapaxes(1, 2) @ solved.reshape(B, M * n, -1)
        columns = np.concatenate([across, within], axis=1)  # (B, P, z + 2)
        numbers = np.concatenate([basis @ fourth @ basis.T, across[..., :z].swapaxes(1, 2)], axis=1)
        self.schur = np.concatenate([numbers, columns[..., :z]], axis=2).transpose(1, 2, 0)
        self.reduced = columns[..., z:].transpose(1, 2, 0)
        self.solved = solved[..., z:].transpose(2, 3, 1, 0)

    def along(self, d_A: np.ndarray) -> np.ndarray:
        """As :meth:`FewCoordinates.along`.

        Args:
            d_A: changes of the numbers of A, (P, q, B).

        Returns:
            The change of Y that answers each, (n, q, M, B).
        """
        programs, g, block = self.programs, self.programs.g, len(self.programs.basis)
        moved = np.empty((*self.minus.shape, d_A.shape[1]))
        matrices = np.einsum("pij,pqb->biqj", programs.basis, d_A[:block]).reshape(len(programs), g, -1)
        moved[..., :g, :] = (self.minus[..., :g] @ matrices).reshape(*self.minus.shape[:2], -1, g).swapaxes(2, 3)
        numbers = np.einsum("zkmb,zqb->bmkq", programs.in_group, d_A[block:])
        moved[..., g:, :] = self.minus[..., g:, None] * numbers
        return (self.inverse @ moved).transpose(2, 3, 1, 0)
