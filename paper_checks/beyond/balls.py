r"""Collapse under weight decay in ball arithmetic: no rounding and no solver is trusted.

The class vectors W and features H of a solver's point are read as exact numbers, so its objective is at most
``f(H W^T) + mu (tr(D H H^T) + tr(C W W^T)) / 2``. Every optimum has a nuclear norm of at most f(0) / mu. So for any Z

.. math:: F^* \ge f(Z) - \langle G, Z \rangle - \max(0, \|G'\|_2 / \mu - 1)\, f(0) .

Over points with equal class vectors in a group, G' may be averaged over the group first. Everything else is as in
:mod:`paper_checks.ball`, with any labels, offsets and factors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from flint import arb, arb_mat, ctx

from lpm import recovery
from lpm.problem import Problem
from lpm.solution import Solution
from paper_checks.ball_losses import BITS, BallLosses, exact, matrix, root_of_radius


@dataclass(frozen=True)
class _Program:
    """A penalised program written out, in balls.

    Attributes:
        losses: the losses of its m rows and K classes.
        d: weight of each row in the features' decay (m).
        c: decay of each class vector (K); C is diagonal under decay.
        mu: the decay.
        at_zero: f(0).
    """

    losses: BallLosses
    d: list[arb]
    c: list[arb]
    mu: arb
    at_zero: arb

    @classmethod
    def of(cls, problem: Problem) -> _Program:
        """Read a written-out problem as exact numbers."""
        assert problem.decay is not None
        losses, rows = BallLosses.of(problem), problem.rows
        return cls(
            losses=losses,
            d=losses.p if np.array_equal(rows.d, rows.p) else exact(rows.d),
            c=exact(problem.c),
            mu=exact([problem.decay])[0],
            at_zero=losses.evaluate(arb_mat(len(rows), problem.K))[0],
        )

    def spectral_norm(self, G: arb_mat, right: arb_mat) -> arb:
        """An upper bound on |D^{-1/2} G C^{-1/2} P|_2; ``right`` is the projector P, which commutes with C."""
        scaled = [[G[k, i] / (d * c).sqrt() for i, c in enumerate(self.c)] for k, d in enumerate(self.d)]
        A = arb_mat(scaled) * right
        return root_of_radius(A.transpose() * A)

    def lower(self, Z: arb_mat, right: arb_mat) -> tuple[arb, arb_mat]:
        """A lower bound on the objective over all Y with Y P = Y, and the gradient at Z."""
        f, G, _ = self.losses.evaluate(Z)
        inner = sum((G[k, i] * Z[k, i] for k in range(G.nrows()) for i in range(G.ncols())), arb(0))
        excess = (self.spectral_norm(G, right) / self.mu - 1).upper()
        return f - inner - (excess if excess > 0 else arb(0)) * self.at_zero, G

    def upper(self, W: arb_mat, H: arb_mat) -> arb:
        """The objective of class vectors W and features H."""
        f, _, _ = self.losses.evaluate(H * W.transpose())
        decay = sum((d * H[k, j] ** 2 for k, d in enumerate(self.d) for j in range(H.ncols())), arb(0))
        decay += sum((c * W[i, j] ** 2 for i, c in enumerate(self.c) for j in range(W.ncols())), arb(0))
        return f + self.mu * decay / 2


def _factors(solution: Solution) -> tuple[Problem, arb_mat, arb_mat]:
    """The problem written out, and exact W (K, r) and H (m, r) of a point."""
    full, Z = recovery.logits(solution)
    W, H = recovery.class_vectors_and_features(full, Z)
    return full, matrix(W), matrix(H)


@ctx.workprec(BITS)
def collapsed(solution: Solution, merged: np.ndarray, group: int) -> bool | None:
    """Decide whether the class vectors of a group coincide at the optimum of a program under decay.

    Args:
        solution: a point near the optimum.
        merged: a point near the optimum with equal class vectors in the group (M, n).
        group: the group.

    Returns:
        True if that is proved, False if it is refuted, otherwise None.
    """
    full, W, H = _factors(solution)
    program, K, members = _Program.of(full), full.K, solution.problem.members[group]
    identity = arb_mat([[arb(int(i == j)) for j in range(K)] for i in range(K)])
    inside = [[i in members and j in members for j in range(K)] for i in range(K)]
    average = arb_mat([[arb(1) / len(members) if inside[i][j] else identity[i, j] for j in range(K)] for i in range(K)])
    lower, G = program.lower(H * W.transpose(), identity)
    upper = program.upper(W, H)
    _, W_merged, H_merged = _factors(replace(solution, X=merged))
    if program.lower(H_merged * (average * W_merged).transpose(), average)[0] > upper:
        return False
    smoothness = program.losses.steepest(program.d) / (2 * min(c.lower() for c in program.c))
    error = (2 * smoothness * abs(upper - lower).upper()).sqrt()
    return True if program.spectral_norm(G, identity - average) + error < program.mu else None
