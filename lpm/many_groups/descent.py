r"""Accelerated projected gradient in symmetric coordinates, a block of label pairs at a time.

.. math:: Y = X + \theta (X - X_-), \qquad X_+ = P(Y - \nabla f(Y) / L)

with P the projection onto the nuclear-norm ball. P needs the spectrum alone: a step is one pass over the rows that
collects T^T T, and a second one that multiplies by a G x G matrix. Three arrays (M, G + 2) are kept, X, X_- and X_+;
gradients are made and forgotten. Momentum restarts when it points uphill, L is found by backtracking.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from lpm.many_groups.blocks import Blocks, Moments
from lpm.many_groups.dual import gap, tighten

CHECK = 20
PATIENCE = 1000
"""Iterations without a smaller gap after which the end of double precision is taken to be reached."""


class Descent:
    """Iterates of one problem from a feasible point X (M, G + 2), which is overwritten."""

    def __init__(self, blocks: Blocks, X: np.ndarray) -> None:
        self.blocks, self.X, self.before, self.after = blocks, X, X.copy(), np.empty_like(X)
        rows = blocks.problem.rows
        # Below the global bound 1/2 max p/d / lambda_min(C); backtracking raises it where the curvature asks.
        self.lipschitz = 0.1 * float((rows.p / rows.d).max() / blocks.problem.c.min())
        self.momentum, self.theta = 1.0, 0.0

    def run(self, tolerance: float, deadline: float) -> int:
        """Iterate until the relative gap is at most ``tolerance``, or until ``deadline`` on ``time.perf_counter``'s clock.

        Returns the number of iterations.
        """
        best, best_at, iteration = np.inf, 0, 0
        while iteration < best_at + PATIENCE and time.perf_counter() < deadline:
            iteration += 1
            self.step()
            if iteration % CHECK == 0:
                reached = self.relative_gap(tolerance)
                if reached < 0.9 * best:
                    best, best_at = reached, iteration
                if reached <= tolerance:
                    break
        return iteration

    def relative_gap(self, tolerance: float) -> float:
        """Of X, with a lower bound made tight until that is ``tolerance``."""
        blocks, logits = self.blocks, self.blocks.at(self.X)
        here = blocks.evaluate(logits)
        return gap(here, tighten(blocks, logits, self.spectrum, here, tolerance), blocks.problem.tau) / here.loss

    def step(self) -> None:
        """One iteration, with as many trials of L as it takes."""
        while (uphill := self._trial()) is None:
            self.lipschitz *= 1.5
        self.lipschitz *= 0.97
        if uphill:
            self.momentum = 1.0
        following = (1 + np.sqrt(1 + 4 * self.momentum**2)) / 2
        self.theta, self.momentum = (self.momentum - 1) / following, following
        self.X, self.before, self.after = self.after, self.X, self.before

    def _ahead(self, block: slice) -> np.ndarray:
        return self.X[block] + self.theta * (self.X[block] - self.before[block])

    def _trial(self) -> bool | None:
        """Write X_+ to ``after``. Returns whether momentum points uphill there, None if L is too small.

        With S = Y - grad f(Y) / L the usual condition f(X_+) <= f(Y) + <grad, X_+ - Y> + L/2 |X_+ - Y|^2 reads
        f(X_+) <= f(Y) + L/2 |X_+ - S|^2 - |grad|^2 / (2 L), and |X_+ - S| is a matter of singular values. Rounding of
        both sides is allowed for, or L might grow for ever.
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
        projected = spectrum.project(blocks.problem.tau)
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
