r"""Accelerated projected gradient in symmetric coordinates, one block of label pairs at a time.

.. math:: Y = X + \theta (X - X_-), \qquad X_+ = P(Y - \nabla f(Y) / L)

with P the projection onto the nuclear-norm ball; under a decay mu it lowers all singular values by mu / L. P needs the
spectrum alone: a step is one pass over the rows that collects T^T T, and a second one that multiplies by a G x G matrix.
Three arrays (M, G + 2) are kept, X, X_- and X_+; gradients are made and dropped. Momentum restarts when it points
uphill, and L is found by backtracking.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from lpm.many_groups.blocks import Blocks, Moments
from lpm.many_groups.dual import relative_gap, tighten

CHECK = 20
"""Iterations from one evaluation of the gap to the next."""
PATIENCE = 1000
"""Iterations without a smaller gap that count as the end of double precision."""


class Descent:
    """Iterates of one problem from a feasible point.

    Args:
        blocks: the blocks of the problem.
        X: the first point, (M, G + 2); overwritten.

    Attributes:
        blocks: the blocks of the problem.
        X: the current point.
        before: the last point.
        after: room for the next point.
        lipschitz: the current L.
        momentum: the current state of the momentum.
        theta: share of the last step that is added.
        spectrum: spectrum of X, after the first step.
    """

    def __init__(self, blocks: Blocks, X: np.ndarray) -> None:
        self.blocks, self.X, self.before, self.after = blocks, X, X.copy(), np.empty_like(X)
        rows = blocks.problem.rows
        # Below the global bound 1/2 max p/d / lambda_min(C); backtracking raises it where the curvature asks.
        self.lipschitz = 0.1 * float((rows.p / rows.d).max() / blocks.problem.c.min())
        self.momentum, self.theta = 1.0, 0.0

    def run(self, tolerance: float, deadline: float) -> int:
        """Iterate until the gap is small enough, the time is up, or the gap shrinks no more.

        Args:
            tolerance: relative gap that is small enough.
            deadline: time after which no iteration begins, on the clock of ``time.perf_counter``.

        Returns:
            The number of iterations.
        """
        best_gap, best_iteration, iteration = np.inf, 0, 0
        while iteration < best_iteration + PATIENCE and time.perf_counter() < deadline:
            iteration += 1
            self.step()
            if iteration % CHECK == 0:
                relative_gap = self.relative_gap(tolerance)
                if relative_gap < 0.9 * best_gap:
                    best_gap, best_iteration = relative_gap, iteration
                if relative_gap <= tolerance:
                    break
        return iteration

    def relative_gap(self, tolerance: float) -> float:
        """Evaluate the relative gap of X, with a lower bound that is made tight until the gap is small enough.

        Args:
            tolerance: relative gap that is small enough.

        Returns:
            The relative gap.
        """
        blocks, logits = self.blocks, self.blocks.at(self.X)
        primal = blocks.evaluate(logits)
        dual = tighten(blocks, logits, self.spectrum, primal, tolerance)
        return relative_gap(blocks, primal, dual, self.spectrum)

    def step(self) -> None:
        """Take one iteration, with as many trials of L as it needs."""
        while (uphill := self._trial()) is None:
            self.lipschitz *= 1.5
        self.lipschitz *= 0.97  # a little less is tried next time, so that L can fall again
        if uphill:
            self.momentum = 1.0
        following = (1 + np.sqrt(1 + 4 * self.momentum**2)) / 2
        self.theta, self.momentum = (self.momentum - 1) / following, following
        self.X, self.before, self.after = self.after, self.X, self.before

    def _ahead(self, block: slice) -> np.ndarray:
        """Rows of Y, the point where the gradient is taken."""
        return self.X[block] + self.theta * (self.X[block] - self.before[block])

    def _trial(self) -> bool | None:
        """Write X_+ to ``after``. Returns whether momentum points uphill there, None if L is too small.

        With S = Y - grad f(Y) / L the usual condition f(X_+) <= f(Y) + <grad, X_+ - Y> + L/2 |X_+ - Y|^2 reads
        f(X_+) <= f(Y) + L/2 |X_+ - S|^2 - |grad|^2 / (2 L), and |X_+ - S| follows from singular values. Rounding of
        both sides is allowed for; without that L might grow for ever.
        """
        blocks, L, after = self.blocks, self.lipschitz, self.after
        moments, f, square, size = Moments(blocks), 0.0, 0.0, 0.0
        for block in blocks:
            Y = self._ahead(block)
            part, S, terms = blocks.terms(blocks.logits(Y, block), block)
            gradient = blocks.pull_back(S, block)
            f, square, size = f + part, square + float(np.vdot(gradient, gradient)), size + terms
            after[block] = Y - gradient / L
            moments.add(after[block], block)
        spectrum = moments.spectrum()
        mu = blocks.problem.decay
        projected = spectrum.project(blocks.problem.tau) if mu is None else spectrum.lowered(mu / L)
        moved = float(spectrum.times @ (spectrum.values - projected) ** 2)
        shrink = projected / np.maximum(spectrum.values, 1e-300)
        G = blocks.G
        matrix, zero_sum = (spectrum.vectors * shrink[:G]) @ spectrum.vectors.T, np.append(shrink[G:], 0.0)
        f_after = uphill = 0.0
        for block in blocks:
            new = after[block]
            new[:, :G] = new[:, :G] @ matrix
            new[:, G:] *= zero_sum[blocks.slots[:, block]].T
            f_after += blocks.terms(blocks.logits(new, block), block)[0]
            uphill += float(np.vdot(self._ahead(block) - new, new - self.X[block]))
        if f_after > f + L / 2 * moved - square / (2 * L) + 16 * np.finfo(float).eps * (size + square / L):
            return None
        self.spectrum = replace(spectrum, values=projected)
        return uphill > 0
