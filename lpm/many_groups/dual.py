r"""Lower bounds from points that need not be feasible, made tight where the gradient's largest singular values stick out.

For a convex f and *any* Y, every Z of the nuclear-norm ball has

.. math:: f(Z) \ge f(Y) + \langle \nabla f(Y), Z - Y \rangle
               \ge f(Y) - \langle \nabla f(Y), Y \rangle - \tau\, \| D^{-1/2} \nabla f(Y)\, C^{-1/2} \|_2 .

At Y = Z that is the gap of :mod:`lpm.solution`. It pays tau times what the *largest* singular value has too much. At a
near-optimal Z all directions in use have nearly the same singular value and few stick out, so Y is moved until its
gradient has none above a limit: to first order the bound then loses only what directions in use have too little, and
the logits that do this differ by ``change of the residual / (probability)``. The bound holds whatever Y comes out.
"""

from __future__ import annotations

import numpy as np

from lpm.many_groups.blocks import Blocks, Evaluation, Logits, Spectrum

ROUNDS = 2
BELOW = 0.1
"""Share of the nuclear norm that lies in directions whose gradient is smaller than the limit."""
LONGEST = 1.0
"""Largest change of a logit."""


class Flattened:
    """Logits near given ones, whose gradient has no singular value above ``limit`` to first order."""

    def __init__(self, blocks: Blocks, logits: Logits, gradient: Spectrum, limit: float) -> None:
        self.blocks, self.start = blocks, logits
        change = np.minimum(limit / np.maximum(gradient.values, 1e-300), 1.0) - 1.0
        G, V, problem = blocks.G, gradient.vectors, blocks.problem
        self.matrix = (V * change[:G]) @ V.T @ problem.C_block
        self.zero_sum = np.append(change[G:] * problem.c, 0.0)

    def __call__(self, block: slice) -> np.ndarray:
        """Rows ``block``."""
        blocks, G, rows = self.blocks, self.blocks.G, self.blocks.problem.rows
        V, weight, lam = self.start(block), self.blocks.weight[block, None], rows.lam[block, None]
        _, S, _ = blocks.terms(V, block)
        share = S / weight
        share[:, G:] += blocks.target(block)
        # The Hessian by the logits is about diag(share) for cross-entropy, diag(lam^2 + (1 - lam)^2) share for label pairs.
        curvature = 1.0 if blocks.problem.partition == "classes" else lam**2 + (1 - lam) ** 2
        number = np.exp(blocks.log_number(block))
        gradient = blocks.pull_back(S, block)
        gradient[:, :G] = gradient[:, :G] @ self.matrix
        gradient[:, G:] *= self.zero_sum[blocks.slots[:, block]].T
        change = blocks.logits(gradient, block) * (blocks.scale[block, None] ** 2 / weight)
        with np.errstate(over="ignore"):
            step = np.divide(change * number, share * curvature, out=np.zeros_like(change), where=share > 0)
        return V + np.clip(step, -LONGEST, LONGEST)


def tighten(blocks: Blocks, logits: Logits, primal: Spectrum, at: Evaluation, tolerance: float) -> Evaluation:
    """A lower bound found near ``logits``, where f was evaluated as ``at`` and whose spectrum is ``primal``: the best one, or one
    that makes the relative gap ``tolerance``, because a round takes longer than all before it.
    """
    tau, G, best, here = blocks.problem.tau, blocks.G, at, at
    weight = primal.values * primal.times
    for _ in range(ROUNDS):
        if gap(at, best, tau) / at.loss <= tolerance:
            break
        along = np.linalg.norm(here.gradient.values[:G, None] * (here.gradient.vectors.T @ primal.vectors), axis=0)
        size = np.concatenate([along, here.gradient.values[G:]])
        order = np.argsort(size)
        limit = size[order][np.searchsorted(np.cumsum(weight[order]), BELOW * weight.sum())]
        logits = Flattened(blocks, logits, here.gradient, float(limit))
        here = blocks.evaluate(logits)
        if here.loss - here.deficit(tau) <= best.loss - best.deficit(tau):
            break
        best = here
    return best


def gap(primal: Evaluation, dual: Evaluation, tau: float) -> float:
    """Bound on f - f* at the feasible Z of ``primal``, by the lower bound of ``dual``; rounding included."""
    rounding = primal.rounding + (0.0 if dual is primal else dual.rounding_of_both)
    return max(0.0, primal.loss - dual.loss + dual.deficit(tau)) + rounding
