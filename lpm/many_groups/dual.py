r"""Lower bounds from any points, made tight where the gradient's largest singular values stick out.

For a convex f and *any* Y, every Z of the nuclear-norm ball has

.. math:: f(Z) \ge f(Y) + \langle \nabla f(Y), Z - Y \rangle
               \ge f(Y) - \langle \nabla f(Y), Y \rangle - \tau\, \| D^{-1/2} \nabla f(Y)\, C^{-1/2} \|_2 .

Under a decay mu the last term is max(0, |G'|_2 / mu - 1) f(0) instead, G' the scaled gradient, and bounds f + mu |Z'|_*.
At Y = Z that is the gap of :mod:`lpm.solution`. It pays tau times the excess of the *largest* singular value. At a
near-optimal Z all directions in use have nearly the same singular value and few stick out. So Y is moved until its
gradient has none above a limit. To first order the bound then loses only what directions in use have too little. The
logits that do this differ by ``change of the residual / (probability)``. The bound holds for every Y.
"""

from __future__ import annotations

import math

import numpy as np

from lpm.many_groups.blocks import Blocks, Evaluation, Logits
from lpm.many_groups.spectra import Spectrum

ROUNDS = 2
"""Largest number of moves of Y. Each needs the logits of the one before, so its time grows with their number."""
BELOW = 0.1
"""Share of the nuclear norm in directions whose singular value of the gradient is below the limit."""
LONGEST = 1.0
"""Largest change of a logit: beyond, the first order says nothing."""


class Flattened:
    """Logits near given ones, whose gradient has no singular value above a limit to first order.

    Calling it with a block gives the logits of these rows.

    Args:
        blocks: the blocks of the problem.
        logits: the given logits.
        gradient: spectrum of the scaled gradient there.
        limit: largest singular value that is left.
    """

    def __init__(self, blocks: Blocks, logits: Logits, gradient: Spectrum, limit: float) -> None:
        self.blocks, self.start = blocks, logits
        change = np.minimum(limit / np.maximum(gradient.values, 1e-300), 1.0) - 1.0
        G, V, problem = blocks.G, gradient.vectors, blocks.problem
        self.matrix = (V * change[:G]) @ V.T @ problem.C_block
        self.zero_sum = np.append(change[G:] * problem.c, 0.0)

    def __call__(self, block: slice) -> np.ndarray:
        """Give the logits of a block.

        Args:
            block: the rows.

        Returns:
            The logits, (m, G + 2).
        """
        blocks, G, rows = self.blocks, self.blocks.G, self.blocks.problem.rows
        V, weight, lam = self.start(block), self.blocks.weight[block, None], rows.lam[block, None]
        _, S, _ = blocks.terms(V, block)
        share = S / weight
        share[:, G:] += blocks.target(block)  # the softmax, up to the factor that lambda gives it
        # The Hessian by the logits is about diag(share) for cross-entropy, and for label pairs that times
        # lam^2 + (1 - lam)^2.
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
    """Look for a lower bound near some logits.

    Args:
        blocks: the blocks of the problem.
        logits: logits of a feasible point.
        primal: spectrum of the point.
        at: evaluation of f there.
        tolerance: relative gap that is small enough. The search then ends, because a round takes longer than all before
            it.

    Returns:
        The evaluation that proves the best bound found, possibly ``at`` itself.
    """
    G, best, last, mu = blocks.G, at, at, blocks.problem.decay
    weight = primal.values * primal.times
    for _ in range(ROUNDS):
        if relative_gap(blocks, at, best, primal) <= tolerance:
            break
        # The gradient's size along each direction of the point, and the limit below which a share BELOW of it lies.
        along = np.linalg.norm(last.gradient.values[:G, None] * (last.gradient.vectors.T @ primal.vectors), axis=0)
        size = np.concatenate([along, last.gradient.values[G:]])
        order = np.argsort(size)
        limit = size[order][np.searchsorted(np.cumsum(weight[order]), BELOW * weight.sum())]
        logits = Flattened(blocks, logits, last.gradient, float(limit) if mu is None else mu)
        last = blocks.evaluate(logits)
        if last.loss - last.deficit(blocks) <= best.loss - best.deficit(blocks):
            break
        best = last
    return best


def gap(blocks: Blocks, primal: Evaluation, dual: Evaluation, point: Spectrum) -> float:
    """Bound the objective at a feasible point less the optimum by the lower bound of another one, rounding included.

    Args:
        blocks: the blocks of the problem.
        primal: evaluation at the feasible point.
        dual: evaluation that proves the lower bound.
        point: spectrum of the feasible point.

    Returns:
        The bound.
    """
    rounding = primal.rounding + (0.0 if dual is primal else dual.rounding_of_both)
    penalty = penalty_of(blocks, point)
    rounding += 64 * np.finfo(float).eps * penalty
    return max(0.0, primal.loss + penalty - dual.loss + dual.deficit(blocks)) + rounding


def penalty_of(blocks: Blocks, point: Spectrum) -> float:
    """Evaluate the part of the objective beside f.

    Args:
        blocks: the blocks of the problem.
        point: spectrum of a point.

    Returns:
        mu times the nuclear norm; 0 for budgets.
    """
    return 0.0 if blocks.problem.decay is None else blocks.problem.decay * point.nuclear


def relative_gap(blocks: Blocks, primal: Evaluation, dual: Evaluation, point: Spectrum) -> float:
    """Divide the gap by the objective; arguments as :func:`gap`.

    Args:
        blocks: the blocks of the problem.
        primal: evaluation at the feasible point.
        dual: evaluation that proves the lower bound.
        point: spectrum of the feasible point.

    Returns:
        The relative gap; infinity where the objective is 0 in float64.
    """
    objective = primal.loss + penalty_of(blocks, point)
    return gap(blocks, primal, dual, point) / objective if objective else math.inf
