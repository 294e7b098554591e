r"""The instruments of the checks: certified losses, collapse and cosines of an optimum.

Loss and collapse come from ``lpm``'s certificates. Cosines get an interval from strong convexity. Let Z be feasible
with gap delta = f(Z) - f*, Z* the optimum, and Z' = D^{1/2} Z F with C = F F^T. As long as |Z' - Z*'|_F <= rho,

.. math:: \frac{\mu}{2} \|Z' - Z^{*\prime}\|_F^2 \le \delta, \qquad
          \mu = \min_k \frac{p_k m_k}{d_k \max c}, \quad
          m_k = e^{-2\rho/\sqrt{d_k c}} \min_i \mathrm{softmax}(z_k)_i\,\sigma,

because the Hessian of a softmax on sum-zero vectors is at least its smallest probability, times sigma, the least
eigenvalue of the map from logits to the softmax's classes. A rho with mu rho^2 > 2 delta therefore bounds the distance.
Common shifts of Z's rows come on top: f does not see them, and the optimum has none.
From Z' to W W^T = gamma^2 F^{-T} |Z'| F^{-1} distances grow by a factor sqrt(2) at most, before C enters (Araki and
Yamagami 1981). docs/theory/certificate.md derives all this.

With ``rigorous`` the same formulas are evaluated in ball arithmetic (:mod:`paper_checks.ball`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from lpm import recovery
from lpm.console.errors import NotCertified
from lpm.dual_condition import margin
from lpm.family import Family
from lpm.losses import log_partition
from lpm.problem import Problem
from lpm.solution import Solution, evaluate
from lpm.solve import solve, solve_all
from lpm.threshold import threshold
from paper_checks.interval import BALL, FLOAT64, Fact, Interval
from paper_checks.runs import Run

BALL_SIZE = 1200
"""Largest number of entries of Z (rows times classes) for ball arithmetic; larger programs get float64 certificates."""


@dataclass(frozen=True)
class Lab:
    """The instruments, with what all checks share.

    Attributes:
        rigorous: whether ball arithmetic replaces float64 where the program is small.
        seed: seed of random instances and simulated epochs.
        runs: training runs to compare with the paper's tables.
    """

    rigorous: bool = False
    seed: int = 0
    runs: tuple[Run, ...] = ()

    def rng(self) -> np.random.Generator:
        """Return a fresh generator from the seed, the same in every check."""
        return np.random.default_rng(self.seed)

    def loss(self, problem: Problem) -> Interval:
        """Enclose the optimal value f* of a program.

        Args:
            problem: the program.

        Returns:
            A certified interval.
        """
        solution = solve(problem)
        if self._use_balls(problem):
            from paper_checks import ball

            return Interval(*ball.loss(solution), BALL)
        return Interval(solution.lower_bound, solution.loss + (solution.loss - solution.lower_bound), FLOAT64)

    def collapsed(self, problem: Problem) -> Fact:
        """Decide whether the minority's class vectors coincide at the optimum.

        Args:
            problem: a program with exchangeable minority classes.

        Returns:
            True or False when certified, otherwise open.
        """
        if problem.minority is not None and self._use_balls(problem):
            from paper_checks import ball

            return Fact(ball.collapsed(solve(problem)), BALL)
        dual_margin = margin(problem)
        return Fact(dual_margin.value > 0 if dual_margin.certified else None, FLOAT64)

    def threshold(self, family: Family, R_min: float = 1.0, R_max: float = 1e4) -> Interval | None:
        """Enclose R0, the imbalance from which on the minority is collapsed.

        Args:
            family: programs that differ in their imbalance only.
            R_min: lower end of the search.
            R_max: upper end of the search.

        Returns:
            The certified bracket of R0; None if the range holds no threshold.

        Raises:
            ArithmeticError: if no bracket could be certified.
        """
        search = threshold(family, R_min=R_min, R_max=R_max)
        if not search.certified:
            raise ArithmeticError(f"{family.name}: R0 in [{R_min:g}, {R_max:g}] has no certified bracket")
        if search.bracket is None:
            return None
        return Interval(*search.bracket, FLOAT64)

    def cosines(self, problem: Problem) -> CosineTable:
        """Enclose the cosines between all class vectors of the optimum.

        Args:
            problem: a program of at most about 12 classes.

        Returns:
            An interval for each pair of classes.

        Raises:
            ArithmeticError: if the optimal class vectors need not be unique, or the gap is too wide for an interval.
        """
        solution = solve(problem)
        if self._use_balls(problem):
            from paper_checks import ball

            return CosineTable(*ball.cosines(solution), BALL)
        return CosineTable(*_cosines(solution), FLOAT64)

    def _use_balls(self, problem: Problem) -> bool:
        # Margins have no ball arithmetic, and decays have that of paper_checks.beyond.
        covered = problem.decay is None and problem.margin is None
        return self.rigorous and covered and problem.rows.count.sum() * problem.K <= BALL_SIZE


@dataclass(frozen=True)
class CosineTable:
    """Certified cosines between class vectors.

    Attributes:
        lower: lower bounds (K, K).
        upper: upper bounds (K, K).
        how: how the bounds are known, as in :mod:`paper_checks.interval`.
    """

    lower: np.ndarray
    upper: np.ndarray
    how: str

    def __getitem__(self, pair: tuple[int, int]) -> Interval:
        return Interval(float(self.lower[pair]), float(self.upper[pair]), self.how)

    def smallest(self) -> Interval:
        """Return the smallest cosine between two different classes."""
        off = ~np.eye(len(self.lower), dtype=bool)
        return Interval(float(self.lower[off].min()), float(self.upper[off].min()), self.how)

    def largest(self) -> Interval:
        """Return the largest cosine between two different classes."""
        off = ~np.eye(len(self.lower), dtype=bool)
        return Interval(float(self.lower[off].max()), float(self.upper[off].max()), self.how)

    def range(self) -> Interval:
        """Return the largest minus the smallest cosine: 0 exactly when all angles are equal."""
        low, high = self.smallest(), self.largest()
        return Interval(max(0.0, high.lower - low.upper), high.upper - low.lower, self.how)


def solutions(problems: Iterable[Problem]) -> list[Solution]:
    """Solve the points of a curve together.

    Args:
        problems: the points.

    Returns:
        Their certified solutions.

    Raises:
        NotCertified: if one has no certificate.
    """
    certified = []
    for solution in solve_all(list(problems)):
        if isinstance(solution, NotCertified):
            raise solution
        certified.append(solution)
    return certified


def _cosines(solution: Solution) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper cosines (K, K) of the optimum, by the module's formula in float64."""
    full, Z = recovery.logits(solution)
    certificate = evaluate(solution.coordinates, solution.X)
    if not certificate.top > certificate.gradient_error:
        raise ArithmeticError("the budget may not be used up at the optimum, so its class vectors need not be unique")
    gram, radius = solution.gram.matrix(solution.problem.members), gram_radius(full, Z, solution.gap)
    square = np.diag(gram)  # squared lengths (K,)
    if np.any(square <= radius):
        raise ArithmeticError("a class vector is too short for an interval of its cosines; take a smaller R")
    # A quotient of intervals with positive denominators has its extremes at the corners.
    corners = []
    for inner in (gram - radius, gram + radius):
        for a in (square - radius, square + radius):
            corners += [inner / np.sqrt(np.outer(a, b)) for b in (square - radius, square + radius)]
    lower, upper = np.maximum(np.min(corners, axis=0), -1.0), np.minimum(np.max(corners, axis=0), 1.0)
    np.fill_diagonal(lower, 1.0)
    np.fill_diagonal(upper, 1.0)
    return lower, upper


def gram_radius(full: Problem, Z: np.ndarray, gap: float) -> float:
    """Bound the Frobenius distance of W W^T, read off Z by Lemma 1, from that of the optimum.

    Args:
        full: the problem written out, one row per label pair and mixing ratio.
        Z: feasible logits (m, K).
        gap: an upper bound on f(Z) - f*.

    Returns:
        The bound.

    Raises:
        ArithmeticError: if the gap is too wide for a bound.
    """
    rows, K = full.rows, full.K
    C = full.C_block  # metric of the class vectors (K, K); D = diag(d) is that of the features
    eigenvalues = np.linalg.eigvalsh(C)
    low, high = eigenvalues[0], float(np.max(full.c))
    value, _ = log_partition(full.partition, Z, rows.lam)
    smallest, sigma = np.empty(len(Z)), np.ones(len(Z))  # (m,): smallest probability of each row's softmax; sigma
    if full.partition == "classes":
        smallest = np.exp(Z.min(axis=1) - value)
    else:
        V = [pair_vectors(K, lam, unordered=full.partition == "unordered") for lam in rows.lam]
        smallest = np.array([np.exp((v @ z).min() - f) for v, z, f in zip(V, Z, value, strict=True)])
        centred = [v - v.mean(axis=0) for v in V]
        sigma = np.array([np.linalg.eigvalsh(v.T @ v)[1] for v in centred])
    # rho is about Z without the common shifts of its rows, which leave f as it is; the optimum has none.
    shift = float(np.linalg.norm(np.sqrt(rows.d) * (Z @ C.sum(axis=1))) / np.sqrt(C.sum()))
    # Within rho of Z' log-probabilities move by 2 rho / sqrt(d c) at most, so mu depends on rho: take the first to fit.
    root_d = np.sqrt(rows.d * low)
    for rho in np.logspace(-9, 0, 37):
        mu = float((rows.p / (rows.d * high) * smallest * sigma * np.exp(-2 * rho / root_d)).min())
        if mu * rho**2 > 2 * gap:
            # |Z|' itself is computed to rounding, a relative 1e-12 of the budget at most.
            distance = np.sqrt(2) * (rho + shift) + 1e-12 * full.tau
            return float(np.sqrt(full.e_w / full.e_h) * distance / low)
    raise ArithmeticError(f"gap {gap:.1e} is too wide for an interval of cosines; take a smaller R or smaller budgets")


def pair_vectors(K: int, lam: float, *, unordered: bool = False) -> np.ndarray:
    """Write out the map V from class vectors to label pairs' vectors, W^lambda = V W.

    Args:
        K: number of classes, small.
        lam: mixing ratio lambda.
        unordered: whether only the label pairs a < b are rows; otherwise all K^2 are.

    Returns:
        V, with one row lambda e_a + (1 - lambda) e_b per label pair and K columns.
    """
    a, b = np.triu_indices(K, 1) if unordered else np.indices((K, K)).reshape(2, -1)
    V = np.zeros((len(a), K))
    np.add.at(V, (np.arange(len(a)), a), lam)
    np.add.at(V, (np.arange(len(a)), b), 1 - lam)
    return V
