"""Tied features, h_(a,b) = lambda h_a + (1-lambda) h_b, under weight decay: mixup of the classifier's inputs."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from paper_checks.claim import Finding, Quantity, check, conclude
from paper_checks.claims.tied_features import TiedLosses, TiedProgram
from paper_checks.interval import FLOAT64, Fact
from paper_checks.lab import Lab, pair_vectors

GAP = 1e-11
"""Gap at which the solver stops."""
STEPS = 50_000
"""Largest number of its steps."""


class TiedDecay(TiedLosses):
    """The program min_Z f(V Z) + mu |D^{1/2} Z|_* over Z (K, K), for random label pairs of class shares pi.

    V maps classes to label pairs. D = sum_k p_k v_k v_k^T if the mixed features are under decay, diag(pi) if those of
    unmixed images are. A point is X = D^{1/2} Z.

    Args:
        pi: class shares (K,), the majority first; sum 1.
        K_A: number of majority classes.
        lam: mixing ratio.
        mu: decay.
        features: the features under decay.
    """

    def __init__(self, pi: np.ndarray, K_A: int, lam: float, mu: float, features: Literal["mixed", "unmixed"]) -> None:
        K, p, V = len(pi), np.outer(pi, pi).ravel(), pair_vectors(len(pi), lam)
        super().__init__(p, lam, K, K_A, V.T @ (p[:, None] * V) if features == "mixed" else np.diag(pi))
        self.mu, self.at_zero = mu, math.log(K)

    def bounds(self, X: np.ndarray, right: np.ndarray) -> tuple[float, float]:
        """Enclose the smallest objective over all Y with Y P = Y.

        Args:
            X: one such point (K, K).
            right: the projector P (K, K).

        Returns:
            A lower bound, and the objective at X.
        """
        f, G = self.loss(X)
        excess = max(0.0, float(np.linalg.norm(G @ right, 2)) / self.mu - 1) + 1e-14
        return f - float((G * X).sum()) - excess * self.at_zero - 1e-14, f + self.mu * float(
            np.linalg.norm(X, "nuc")
        ) + 1e-14

    def solve(self, right: np.ndarray) -> np.ndarray:
        """Minimise the objective over all Y with Y P = Y, by accelerated proximal gradient with restarts.

        Args:
            right: the projector P (K, K).

        Returns:
            The point.

        Raises:
            ArithmeticError: if the gap does not close.
        """
        X = Y = np.zeros_like(right)
        momentum = 1.0
        for step in range(STEPS):
            following = self._shrink((Y - self.loss(Y)[1] / self.L) @ right)
            if ((Y - following) * (following - X)).sum() > 0:  # the momentum points uphill
                momentum, following = 1.0, self._shrink((X - self.loss(X)[1] / self.L) @ right)
            grown = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
            X, Y = following, following + (momentum - 1) / grown * (following - X)
            momentum = grown
            if step % 50 == 49:
                lower, upper = self.bounds(X, right)
                if upper - lower < GAP:
                    return X
        raise ArithmeticError(f"the tied program's gap is {upper - lower:.1e}")

    def _shrink(self, X: np.ndarray) -> np.ndarray:
        """The proximal point of the nuclear norm: singular values less mu / L."""
        U, s, V = np.linalg.svd(X)
        return (U * np.maximum(s - self.mu / self.L, 0)) @ V

    def collapsed(self) -> Fact:
        """Decide whether the minority's class vectors coincide at the optimum, as :mod:`paper_checks.beyond.decided`.

        Returns:
            True or False when certified, otherwise open.
        """
        everything = np.eye(len(self.mean))
        X = self.solve(everything)
        lower, upper = self.bounds(X, everything)
        error = math.sqrt(2 * self.L * (upper - lower))
        if float(np.linalg.norm(self.loss(X)[1] @ (everything - self.mean), 2)) + error < self.mu:
            return Fact(True, FLOAT64)
        return Fact(False if self.bounds(self.solve(self.mean), self.mean)[0] > upper else None, FLOAT64)


@check("tied-features-decay")
def tied_features_decay(lab: Lab, *, power: int = 1) -> Finding:
    """Statement: Tied features h_(a,b) = lambda h_a + (1-lambda) h_b collapse at the same decay as free ones.

    If instead the features of unmixed images are under decay, they collapse at q times that mu^2.

    Where: beyond the paper; docs/theory/collapse-law.md.
    Quote: none
    Formula: c_B = q pi_B, as for free features; q^2 pi_B with unmixed features under decay. In the normal form D is
        V^T diag(p) V, or diag(pi), in place of diag(p).
    Assumptions: random pairs; decay on single samples, C = I; cross-entropy.
    Test: Certified optima at 0.97 and 1.03 of each threshold, K = 4 and 5, lambda = 1/2 and 0.2. Under budgets on both
        sides of R0 = 60.2.
    Verdict: Proved: V^T diag(p) V is the very matrix of the targets' moments, so one factor of it cancels. Under budgets
        the two differ: R0 is 60.2 with tied features and 297.8 with free ones (claim tied-features).
    Overturned by: a certified optimum on the other side.
    References: Verma et al. 2019 mix features (not read).

    Args:
        lab: the instruments.
        power: power of q in the number of mixed features.
    """
    quantities = []
    for K, K_A, R, lam in ((4, 2, 20.0, 0.5), (5, 2, 8.0, 0.2)):
        counts = np.where(np.arange(K) < K_A, R, 1.0)
        pi, q = counts / counts.sum(), lam**2 + (1 - lam) ** 2
        numbers: dict[Literal["mixed", "unmixed"], float] = {"mixed": q**power * pi[-1], "unmixed": q**2 * pi[-1]}
        for features, number in numbers.items():
            quantities += [
                Quantity(
                    f"collapsed at mu = {factor} of the threshold ({features} features, K={K}, R={R:g}, lambda={lam})",
                    factor > 1,
                    TiedDecay(pi, K_A, lam, factor * math.sqrt(number), features).collapsed(),
                )
                for factor in (0.97, 1.03)
            ]
    quantities += [
        Quantity(f"collapsed at R = {R:g} under budgets (K=4, lambda=1/2)", R > 60.2, TiedProgram(R, 0.5).collapsed())
        for R in (60, 60.4)
    ]
    return conclude(
        quantities,
        evidence=f"{sum(q.agrees is True for q in quantities)} of {len(quantities)} certified optima agree",
        instances="K=4, R=20, lambda=1/2; K=5, K_A=2, R=8, lambda=0.2",
    )
