r"""What the checks measure with: certified losses, collapse and cosines of an optimum.

Loss and collapse come from ``lpm``'s certificates. Cosines get an interval from strong convexity: for a feasible Z of gap
delta and the optimum Z*, as long as |Z' - Z*'|_F <= rho,

.. math:: \frac{\mu}{2} \|Z' - Z^{*\prime}\|_F^2 \le \delta, \qquad
          \mu = \min_k \frac{p_k m_k}{d_k \|C\|_2}, \quad m_k = e^{-2\rho/\sqrt{d_k c}} \min_i \mathrm{softmax}(z_k)_i\,\sigma,

because a softmax Hessian is at least (its smallest probability) on sum-zero vectors (times sigma, the least eigenvalue of
the map from logits to the softmax's classes). A rho with mu rho^2 > 2 delta therefore bounds the distance. From Z' to
W W^T = gamma^2 C^{-1/2} |Z'| C^{-1/2} distances grow by at most sqrt(2) (Araki and Yamagami 1981).

With ``rigorous`` the same formulas are evaluated in ball arithmetic (:mod:`paper_checks.ball`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lpm import recovery
from lpm.coordinates import Coordinates
from lpm.family import Family
from lpm.losses import log_partition
from lpm.problem import Problem
from lpm.solution import Solution, evaluate
from lpm.solve import solve
from lpm.threshold import margin, threshold
from paper_checks.interval import BALL, FLOAT64, Fact, Interval
from paper_checks.runs import Run

BALL_SIZE = 1200
"""Entries of Z (rows by classes) up to which ball arithmetic is used; above, float64 certificates."""


@dataclass(frozen=True)
class Lab:
    """The instruments. rigorous: use ball arithmetic where the program is small. seed: of random instances.
    runs: rows of training runs.
    """

    rigorous: bool = False
    seed: int = 0
    runs: tuple[Run, ...] = ()

    def rng(self) -> np.random.Generator:
        """A fresh generator, the same in every check."""
        return np.random.default_rng(self.seed)

    def loss(self, problem: Problem) -> Interval:
        """The optimal value f*."""
        solution = solve(problem)
        if self._use_balls(problem):
            from paper_checks import ball

            return Interval(*ball.loss(solution), BALL)
        return Interval(solution.lower_bound, solution.loss + (solution.loss - solution.lower_bound), FLOAT64)

    def collapsed(self, problem: Problem) -> Fact:
        """Whether the minority's class vectors coincide at the optimum."""
        if problem.minority is not None and self._use_balls(problem):
            from paper_checks import ball

            return Fact(ball.collapsed(solve(problem)), BALL)
        found = margin(problem)
        return Fact(found.value > 0 if found.certified else None, FLOAT64)

    def threshold(self, family: Family, R_min: float = 1.0, R_max: float = 1e4) -> Interval | None:
        """R0 as its certified bracket, None where the range holds no threshold.

        Raises ArithmeticError when no bracket could be certified.
        """
        found = threshold(family, R_min=R_min, R_max=R_max)
        if found.R0 is None:
            return None
        if found.bracket is None:
            raise ArithmeticError(f"{family.name}: R0 = {found.R0:g} has no certified bracket")
        return Interval(*found.bracket, FLOAT64)

    def cosines(self, problem: Problem) -> CosineTable:
        """The cosines between all class vectors of the optimum, K <= 12 or so."""
        solution = solve(problem)
        if self._use_balls(problem):
            from paper_checks import ball

            return CosineTable(*ball.cosines(solution), BALL)
        return CosineTable(*_cosines(solution), FLOAT64)

    def _use_balls(self, problem: Problem) -> bool:
        return self.rigorous and problem.rows.count.sum() * problem.K <= BALL_SIZE


@dataclass(frozen=True)
class CosineTable:
    """Cosines between class vectors, each inside [lower, upper]; shapes (K, K)."""

    lower: np.ndarray
    upper: np.ndarray
    how: str

    def __getitem__(self, pair: tuple[int, int]) -> Interval:
        return Interval(float(self.lower[pair]), float(self.upper[pair]), self.how)

    def smallest(self) -> Interval:
        """The smallest cosine between two different classes."""
        off = ~np.eye(len(self.lower), dtype=bool)
        return Interval(float(self.lower[off].min()), float(self.upper[off].min()), self.how)

    def largest(self) -> Interval:
        """The largest cosine between two different classes."""
        off = ~np.eye(len(self.lower), dtype=bool)
        return Interval(float(self.lower[off].max()), float(self.upper[off].max()), self.how)

    def spread(self) -> Interval:
        """Largest minus smallest cosine: 0 exactly when all angles are equal."""
        low, high = self.smallest(), self.largest()
        return Interval(max(0.0, high.lower - low.upper), high.upper - low.lower, self.how)


def _cosines(solution: Solution) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper cosines (K, K) of the optimum, from the module's formula in float64."""
    full, Z = recovery.logits(solution)
    certificate = evaluate(Coordinates(solution.problem), solution.X)
    if not certificate.top > certificate.gradient_error:
        raise ArithmeticError("the budget may not be used up at the optimum, so its class vectors need not be unique")
    gram, radius = solution.gram.matrix(solution.problem.members), gram_radius(full, Z, solution.gap)
    square = np.diag(gram)
    if np.any(square <= radius):
        raise ArithmeticError("a class vector is too short for an interval of its cosines; take a smaller R")
    corners = []
    for inner in (gram - radius, gram + radius):
        for a in (square - radius, square + radius):
            corners += [inner / np.sqrt(np.outer(a, b)) for b in (square - radius, square + radius)]
    lower, upper = np.maximum(np.min(corners, axis=0), -1.0), np.minimum(np.max(corners, axis=0), 1.0)
    np.fill_diagonal(lower, 1.0)
    np.fill_diagonal(upper, 1.0)
    return lower, upper


def gram_radius(full: Problem, Z: np.ndarray, gap: float) -> float:
    """Bound on the Frobenius distance of W W^T, by Lemma 1 from Z (m, K), to that of the optimum.

    full: written out. gap: f(Z) - f* is at most this. Raises ArithmeticError when the gap is too wide to say anything.
    """
    rows, K = full.rows, full.K
    C = np.diag(full.c) + full.beta
    eigenvalues = np.linalg.eigvalsh(C)
    low, high = eigenvalues[0], float(np.max(full.c))
    value, _ = log_partition(full.partition, Z, rows.lam)
    smallest, sigma = np.empty(len(Z)), np.ones(len(Z))
    if full.partition == "classes":
        smallest = np.exp(Z.min(axis=1) - value)
    else:
        V = [pair_vectors(K, lam, unordered=full.partition == "unordered") for lam in rows.lam]
        smallest = np.array([np.exp((v @ z).min() - f) for v, z, f in zip(V, Z, value, strict=True)])
        centred = [v - v.mean(axis=0) for v in V]
        sigma = np.array([np.linalg.eigvalsh(v.T @ v)[1] for v in centred])
    root_d = np.sqrt(rows.d * low)
    for rho in np.logspace(-9, 0, 37):
        mu = float((rows.p / (rows.d * high) * smallest * sigma * np.exp(-2 * rho / root_d)).min())
        if mu * rho**2 > 2 * gap:
            # |Z|' itself is computed to rounding, a relative 1e-12 of the budget at most.
            distance = np.sqrt(2) * rho + 1e-12 * full.tau
            return float(np.sqrt(full.e_w / full.e_h) * distance / low)
    raise ArithmeticError(f"gap {gap:.1e} is too wide for an interval of cosines; take a smaller R or smaller budgets")


def pair_vectors(K: int, lam: float, *, unordered: bool = False) -> np.ndarray:
    """Rows lambda e_a + (1 - lambda) e_b over all pairs of K^2, or over a < b: W^lambda = this @ W. K small."""
    a, b = np.triu_indices(K, 1) if unordered else np.indices((K, K)).reshape(2, -1)
    V = np.zeros((len(a), K))
    np.add.at(V, (np.arange(len(a)), a), lam)
    np.add.at(V, (np.arange(len(a)), b), 1 - lam)
    return V
