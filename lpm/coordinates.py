r"""Scaled symmetric coordinates, in which the budget is a plain nuclear norm and a group costs one number.

A row of orbit r is invariant under the permutations that fix its label pair. On the group sums and on the zero-sum
part of each group it therefore has G + (at most 2) coordinates, orthonormal within the row:

- ``t_g`` = (sum of its logits over group g) / sqrt(K_g), for every group;
- for a label pair (a, a), or a and b in different groups: how far the special class stands out of its group;
- for a != b in one group: how far the two together stand out, and their difference.

Each is scaled by ``sqrt(count d)`` and by C^{1/2}, the zero-sum ones by ``sqrt(K_g - 1)`` more. Then, with T (M, G) and
one vector v_g per group, Schur's lemma splits the matrix into

.. math:: \|D^{1/2} Z C^{1/2}\|_* = \|T\|_* + \sum_g \|v_g\|_2, \qquad
          \|D^{-1/2} \nabla f\, C^{-1/2}\|_2 = \max(\|T_G\|_2, \max_g \|v_{G,g}\|_2),

where T_G, v_G are the gradient of f in these very coordinates. When every class is its own group, the coordinates are
the matrix ``D^{1/2} Z C^{1/2}`` itself. Shapes: a point X is (M, n), n = G + 2 (or n = G = K written out).
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from lpm.frame import Frame
from lpm.losses import Losses
from lpm.problem import Problem


class Coordinates:
    """The coordinates of one problem: f, its gradient and both norms as functions of a point X (M, n).

    Build them once per solve; a :class:`lpm.solution.Solution` carries them.

    Args:
        problem: the problem.

    Attributes:
        problem: the problem.
        frame: what it shares with alike problems.
        G: number of groups.
        scale: sqrt(count d) of each row, (M,).
        weight: count p of each row, (M,), the share of the row in f.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem, self.frame = problem, Frame.of(problem)
        self.G = len(problem.sizes)
        self.scale = np.sqrt(problem.rows.count * problem.rows.d)
        self.weight = problem.rows.count * problem.rows.p

    @property
    def C_half(self) -> np.ndarray:
        """A root F of C on the normalised group sums, C = F F^T, (G, G): the same norms whichever root it is.

        It is the symmetric one, C^{1/2}. Where eigenvalues are far apart, it is the Cholesky factor, whose small entries
        are accurate too.
        """
        return self.frame.roots[0]

    @property
    def C_inverse_half(self) -> np.ndarray:
        """F^{-1}, (G, G)."""
        return self.frame.roots[1]

    @cached_property
    def smoothness(self) -> float:
        """An upper bound L on the curvature of f: f is L-smooth in these coordinates."""
        problem = self.problem
        # A softmax Hessian is a variance: x^T H x = Var(x_i) <= (max x - min x)^2 / 4 <= |x|^2 / 2. Over label pairs it is
        # the variance of lambda x_a + (1-lambda) x_b, which stays within [min x, max x], so the bound is the same.
        largest = 0.5 if problem.factor is None else 0.5 * float(problem.factor.max()) ** 2
        return float(largest * (problem.mass * problem.rows.p / problem.rows.d).max() / self.frame.least)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (M, n) of a point."""
        return len(self.scale), self.G + (0 if self.problem.expanded else 2)

    @property
    def slots(self) -> np.ndarray:
        """Group of each zero-sum coordinate, (M, n - G) int; -1 for a coordinate that the row does not have."""
        return self.frame.slots

    @property
    def log_multiplicity(self) -> np.ndarray | float:
        """Log of the number of classes behind each logit value, (M, n), or 0 (:class:`lpm.frame.Frame`)."""
        return self.frame.log_multiplicity

    @cached_property
    def losses(self) -> Losses:
        """The losses of the rows as functions of :meth:`logits`."""
        return Losses.of(self.problem, slice(None), self.log_multiplicity)

    @cached_property
    def basis(self) -> np.ndarray:
        """Linear map from a point to the logit values, (M, n, n); only for problems with groups."""
        return self.frame.basis / self.scale[:, None, None]

    def logits(self, X: np.ndarray) -> np.ndarray:
        """Evaluate the logits at a point.

        Args:
            X: the point, (M, n).

        Returns:
            Logit values, (M, n): of the other classes of each group, of a, of b; or of each class when written out.
        """
        if self.problem.expanded:
            return (X / self.scale[:, None]) @ self.C_inverse_half
        return np.matmul(self.basis, X[:, :, None])[:, :, 0]

    def value_and_gradient(self, X: np.ndarray) -> tuple[float, np.ndarray]:
        """Evaluate f and its gradient at a point.

        Args:
            X: the point, (M, n).

        Returns:
            f(X), and its gradient (M, n) in these coordinates.
        """
        value, slope, _ = self.losses.evaluate(self.logits(X))
        f = float(self.weight @ value)
        if self.problem.expanded:
            return f, (slope * (self.weight / self.scale)[:, None]) @ self.C_inverse_half.T
        return f, np.matmul(slope[:, None, :], self.basis)[:, 0] * self.weight[:, None]

    def offset_gradient(self, X: np.ndarray) -> np.ndarray:
        """Evaluate the gradient of f in a number that is added to all logits of a group, factors applied already.

        Args:
            X: the point, (M, n).

        Returns:
            The gradient, (G,); its sum is 0 but for rounding.
        """
        slope, factor = self.losses.evaluate(self.logits(X))[1], self.losses.factor
        return self.of_groups(self.weight[:, None] * (slope if factor is None else slope / factor))

    def of_groups(self, values: np.ndarray) -> np.ndarray:
        """Add up numbers that belong to logit values, by the groups of their classes.

        Args:
            values: one number for each logit value, (M, n), in the order of :meth:`logits`.

        Returns:
            The sums, (G,).
        """
        sums = values[:, : self.G].sum(axis=0)
        if not self.problem.expanded:
            np.add.at(sums, self.problem.rows.first, values[:, self.G])
            np.add.at(sums, self.problem.rows.second, values[:, self.G + 1])
        return sums

    @cached_property
    def value_at_zero(self) -> float:
        """f(0), an upper bound on every optimum."""
        return self.value_and_gradient(np.zeros(self.shape))[0]

    def rounding(self, X: np.ndarray) -> float:
        """Bound the rounding of f in float64: f is a difference of terms of the size of the logits.

        Args:
            X: the point, (M, n).

        Returns:
            The bound.
        """
        _, _, size = self.losses.evaluate(self.logits(X))
        return float(8 * np.finfo(float).eps * (self.weight @ size))

    def group_norms(self, X: np.ndarray) -> np.ndarray:
        """Measure the zero-sum part of each group.

        Args:
            X: a point or a gradient, (M, n).

        Returns:
            |v_g| of each group, (G,).
        """
        zero_sum = X[:, self.G :] ** 2
        return np.sqrt([zero_sum[self.slots == g].sum() for g in range(self.G)])

    def nuclear_norm(self, X: np.ndarray) -> float:
        """Evaluate |D^{1/2} Z C^{1/2}|_*, the left-hand side of the budget.

        Args:
            X: the point, (M, n).

        Returns:
            The norm.
        """
        return float(np.linalg.svd(X[:, : self.G], compute_uv=False).sum() + self.group_norms(X).sum())

    def spectral_norm(self, gradient: np.ndarray, frozen: tuple[int, ...] = ()) -> float:
        """Evaluate |D^{-1/2} (gradient in Z) C^{-1/2}|_2, the dual norm.

        Args:
            gradient: gradient in these coordinates, (M, n).
            frozen: groups to leave out.

        Returns:
            The norm.
        """
        zero_sum = np.delete(self.group_norms(gradient), frozen)
        return float(max(np.linalg.norm(gradient[:, : self.G], 2), zero_sum.max(initial=0.0)))
