"""Mixup's features as §3.2 defines them, tied to the classes, against those that Eq. 5 frees."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from lpm.family import Family
from lpm.losses import log_partition
from lpm.mixing import fixed
from paper_checks.claim import Finding, Quantity, Repair, check, conclude, contradictions
from paper_checks.interval import FLOAT64, Fact, Interval
from paper_checks.lab import Lab, pair_vectors

GAP = 1e-12
"""Gap at which the solver of the tied program stops."""


class TiedLosses:
    """The loss f of tied features: cross-entropy on lambda e_a + (1-lambda) e_b at logits V Z, of any Z (K, K).

    V maps classes to label pairs. A point is X = M^(1/2) Z.

    Args:
        p: share of each label pair, (K^2,).
        lam: mixing ratio.
        K: number of classes, small.
        K_A: number of majority classes.
        M: matrix of the features' budget or decay, (K, K).
    """

    def __init__(self, p: np.ndarray, lam: float, K: int, K_A: int, M: np.ndarray) -> None:
        self.p, self.V = p, pair_vectors(K, lam)  # labels, too: row (a, b) is lambda e_a + (1-lambda) e_b
        values, vectors = np.linalg.eigh(M)
        self.A = self.V @ (vectors / np.sqrt(values)) @ vectors.T  # logits of the point X are A X
        # The Hessian of a softmax is at most 1/2, so f is L-smooth in X.
        self.L = 0.5 * float(np.linalg.eigvalsh(self.A.T @ (p[:, None] * self.A))[-1])
        self.mean = np.eye(K)
        self.mean[K_A:, K_A:] = 1 / (K - K_A)  # makes the minority's class vectors equal

    def loss(self, X: np.ndarray) -> tuple[float, np.ndarray]:
        """Evaluate f and its gradient at a point.

        Args:
            X: the point (K, K).

        Returns:
            The loss and its gradient (K, K).
        """
        Z = self.A @ X
        value, gradient = log_partition("classes", Z, np.ones(len(Z)))
        return float(self.p @ (value - (self.V * Z).sum(axis=1))), self.A.T @ (self.p[:, None] * (gradient - self.V))


class TiedProgram(TiedLosses):
    """LPM_lambda with h_(a,b) = lambda h_a + (1-lambda) h_b, for K_A majority classes of K and product frequencies.

    With V the map from classes to label pairs, logits are V Z, Z = H W^T (K, K), and the feature budget of Eq. 5 is
    tr(M H H^T) <= E_H with M = V^T V / K^2. So the program is min f(V Z) under |M^(1/2) Z|_* <= sqrt(K E_H E_W), as in
    docs/theory/model.md, with M in place of a diagonal. E_W = 1.

    Args:
        R: imbalance n_A / n_B of the classes.
        lam: mixing ratio.
        K: number of classes, small.
        K_A: number of majority classes.
        e_h: feature budget E_H.
    """

    def __init__(self, R: float, lam: float, K: int = 4, K_A: int = 2, e_h: float = 5.0) -> None:
        counts = np.where(np.arange(K) < K_A, R, 1.0)
        V = pair_vectors(K, lam)
        super().__init__(np.outer(counts, counts).ravel() / counts.sum() ** 2, lam, K, K_A, V.T @ V / K**2)
        self.tau = math.sqrt(K * e_h)

    def solve(self, projector: np.ndarray) -> tuple[float, float, np.ndarray]:
        """Minimise f over the ball of the nuclear norm, by accelerated projected gradient with restarts.

        Args:
            projector: orthogonal projector (K, K) of the class vectors; the identity, or ``self.mean``.

        Returns:
            The loss, a bound on its excess over the optimum, and the gradient (K, K) at the point.

        Raises:
            ArithmeticError: if the gap does not close.
        """
        X = Y = np.zeros_like(projector)
        momentum = 1.0
        for step in range(20_000):
            following = self._project((Y - self.loss(Y)[1] / self.L) @ projector)
            if ((Y - following) * (following - X)).sum() > 0:  # the momentum points uphill
                Y, momentum = X, 1.0
                following = self._project((Y - self.loss(Y)[1] / self.L) @ projector)
            grown = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
            X, Y = following, following + (momentum - 1) / grown * (following - X)
            momentum = grown
            if step % 50 == 49:
                value, gradient = self.loss(X)
                gap = float((gradient * X).sum()) + self.tau * float(np.linalg.norm(gradient @ projector, 2))
                if gap < GAP:
                    return value, max(gap, 16 * np.finfo(float).eps * value), gradient
        raise ArithmeticError(f"the tied program's gap is {gap:.1e}")

    def _project(self, X: np.ndarray) -> np.ndarray:
        """The nearest point in the ball of the nuclear norm: its singular values are projected onto a simplex."""
        U, s, V = np.linalg.svd(X)
        if s.sum() > self.tau:
            excess = (np.cumsum(s) - self.tau) / np.arange(1, len(s) + 1)
            s = np.maximum(s - excess[np.flatnonzero(s > excess)[-1]], 0)
        return (U * s) @ V

    def optimum(self) -> Interval:
        """Enclose the optimal value.

        Returns:
            A certified interval.
        """
        value, gap, _ = self.solve(np.eye(len(self.mean)))
        return Interval(value - gap, value + gap, FLOAT64)

    def collapsed(self) -> Fact:
        """Decide whether the minority's class vectors coincide at the optimum, by the dual condition.

        Solve with equal vectors. That costs nothing exactly if the zero-sum part of the gradient has no larger norm
        than the rest (docs/theory/collapse.md). Each norm is within sqrt(2 L gap) of its value at the optimum.

        Returns:
            True or False when certified, otherwise open.
        """
        _, gap, gradient = self.solve(self.mean)
        rest = float(np.linalg.norm(gradient @ self.mean, 2))
        apart = float(np.linalg.norm(gradient - gradient @ self.mean, 2))
        decided = abs(rest - apart) > 2 * math.sqrt(2 * self.L * gap)
        return Fact(rest > apart if decided else None, FLOAT64)


@check("tied-features", "Eq. 5")
def tied_features(lab: Lab, *, features: Literal["tied", "free"] = "tied") -> Finding:
    """Statement: Eq. 5 is the layer-peeled model of the mixed features that §3.2 defines.

    Where: §3.2 (definition of S^lambda), §5.2 (1), Eq. 5.
    Quote: as the mixed feature set of (a,b)-label samples.
    Formula: §3.2: h_(a,b) = lambda h_a + (1-lambda) h_b. Eq. 5 minimises over one free h_(a,b) for each label pair.
    Assumptions: K = 4, K_A = 2, product frequencies, E_H = 5, E_W = 1; Eq. 5's budget on the mixed features in both.
    Test: Certified optima of both programs, and whether the minority is collapsed there, at R = 100 and 200 and lambda
        = 1/2 and 0.3. The dual condition on both sides of the tied program's threshold R0.
    Verdict: The two places contradict each other. Tied features have K free vectors, those of Eq. 5 have K^2. The
        optima differ, and so does collapse: at lambda = 1/2 it sets in at R0 = 60.2 with tied features, at 297.8 with
        free ones. For Eq. 5: a network does not map a mixed image to the mixture of two features, as §5.3 (i) says. For
        §3.2: it is the definition, and it is exact for mixup of features. Theorem 1 is true in both.
    Overturned by: a sentence that takes h^lambda of Eq. 5 as new variables.
    References: Verma et al. 2019 mix features, which are tied in this sense.

    Args:
        lab: the instruments.
        features: features that Eq. 5 is claimed to have: 'tied' as in §3.2, or 'free'.
    """
    quantities = []
    for lam in (0.5, 0.3):
        for R in (100, 200):
            family, name = Family("fc", "product", mixing=fixed(lam)), f"lambda={lam}, R={R}"
            eq5 = family.at(R)
            tied = TiedProgram(R, lam)
            loss = tied.optimum() if features == "tied" else lab.loss(eq5)
            state = tied.collapsed() if features == "tied" else lab.collapsed(eq5)
            free = lab.collapsed(eq5)
            known = state.value is not None and free.value is not None
            same = Fact(state.value == free.value if known else None, state.how)
            quantities += [
                Quantity(f"optimum with the features of §3.2 against Eq. 5 ({name})", lab.loss(eq5), loss, "=", 1e-6),
                Quantity(f"collapsed with both or with neither ({name})", True, same),
            ]
    onset = [
        Quantity(f"collapsed at R = {R:g} with tied features (lambda=1/2)", state, TiedProgram(R, 0.5).collapsed())
        for R, state in ((60.1, False), (60.3, True), (600, True))
    ] + [
        Quantity(f"collapsed at R = {R:g} with free features (lambda=1/2)", state, lab.collapsed(Family("fc", "product").at(R)))
        for R, state in ((297.5, False), (298.2, True), (600, True))
    ]  # fmt: skip
    return conclude(
        quantities,
        evidence=contradictions(quantities, 2)
        + "; R0 lies between 60.1 and 60.3 with tied features, 297.5 and 298.2 with free ones",
        instances="K=4, K_A=2, product, R = 100, 200, lambda = 1/2, 0.3",
        internal=True,
        repair=Repair(
            "The minority collapses at a finite R with tied and with free features, earlier with tied ones.", onset
        ),
    )
