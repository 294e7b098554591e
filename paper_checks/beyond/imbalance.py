"""Collapse that ends again as the imbalance grows, and class counts that all differ."""

from __future__ import annotations

import math

import numpy as np

from lpm import orbits
from lpm.family import Family
from lpm.law import own_norm
from lpm.mixing import fixed
from lpm.pairs import class_counts, product
from lpm.problem import Problem
from lpm.programs import fc, plain
from lpm.solution import evaluate
from lpm.threshold import threshold
from paper_checks.beyond.decided import collapsed
from paper_checks.claim import Curve, Finding, Plot, Quantity, check, conclude
from paper_checks.interval import FLOAT64, Fact
from paper_checks.lab import Lab


@check("re-entrance")
def re_entrance(lab: Lab, *, states: tuple[bool, bool, bool] = (True, False, True)) -> Finding:
    """Statement: Minority collapse can end and set in again as the imbalance grows.

    One frequent class that is mixed with many rare ones trains them.

    Where: beyond the paper; docs/theory/collapse-law.md.
    Quote: none
    Formula: c_B(R) = K^3 q (K_B + K_A R^2) / (K_A R + K_B)^4 for product frequencies and a decay on means over label
        pairs. It increases on an interval of R exactly if K_B > 8 K_A.
    Assumptions: K = 41, K_A = 1, lambda = 1/2, mu = 0.90576; decay on means over label pairs, as the budgets of Fang et
        al. have. With a decay on single samples c_B = q pi_B falls in R, so collapse does not end.
    Test: Certify collapse or its absence, without the law, at R = 1.5, 2.1, 4, 8, then 38, 40, 80, then 150. The set of
        all R by the law. The slope of c_B at R = K_B / (2 K_A) for K_B = 7, 8, 9 and 24, 25 at K_A = 1 and 3.
    Verdict: Proved: the slope has the sign of -K_A R^2 + K_B R - 2 K_B, largest at R = K_B / (2 K_A), where it is positive
        exactly if K_B > 8 K_A.
    Overturned by: one certified optimum on the other side.
    References: none beside this project.

    Args:
        lab: the instruments.
        states: whether the minority is claimed to be collapsed at small, middle and large R.
    """
    family = Family("fc", "product", 41, K_A=1, decay=0.90576, features="mean")
    quantities = [
        Quantity(f"collapsed at R = {R:g}", state, collapsed(lab, family.at(R)))
        for Rs, state in zip(((1.5, 2.1, 4, 8), (38, 40, 80), (150,)), states, strict=True)
        for R in Rs
    ]
    intervals = threshold(family).intervals
    quantities.append(Quantity("intervals of R with collapse, up to 10,000", 2, len(intervals)))
    for K_A, K_B in ((1, 7), (1, 8), (1, 9), (3, 24), (3, 25)):
        pairs = Family("fc", "product", K_A + K_B, K_A=K_A)
        below, above = (own_norm(pairs.at(factor * K_B / (2 * K_A)), 1) for factor in (0.99, 1.01))
        quantities.append(
            Quantity(f"c_B increases at R = K_B / (2 K_A) (K_A={K_A}, K_B={K_B})", K_B > 8 * K_A, above > below)
        )
    Rs = np.geomspace(1, 300, 80)
    numbers = [own_norm(family.at(float(R)), 1) for R in Rs]
    return conclude(
        quantities,
        evidence="collapsed for R in " + " and ".join(f"[{low:.6g}, {high:.6g}]" for low, high in intervals),
        instances="K=41, K_A=1, lambda=1/2, mu=0.90576, decay on means over label pairs",
        plot=Plot(
            "imbalance R",
            "root of the collapse number, and mu",
            [Curve("sqrt(c_B)", Rs.tolist(), numbers), Curve("mu", [1, 300], [0.90576] * 2, "--")],
            log_x=True,
        ),
    )


@check("counts-all-differ")
def counts_all_differ(lab: Lab, *, shift: float = 1.0) -> Finding:
    """Statement: With any class counts nothing survives a decay exactly if mu^2 reaches an eigenvalue in closed form.

    Where: beyond the paper; docs/theory/collapse-law.md.
    Quote: none
    Formula: W = 0 is optimal exactly if mu^2 >= the largest eigenvalue of P M P, M = sum_k p_k t_k t_k^T, P the projector
        on vectors of sum 0. Random pairs: M = q diag(pi) + (1-q) pi pi^T.
    Assumptions: no offsets; decay on single samples, C = I.
    Test: Counts that fall geometrically, and random ones; without mixup, and with random pairs. At 0.98 of the threshold
        a certified optimum is better than W = 0; at 1.02 it is certified that every optimum is W = 0.
    Verdict: Proved: at W = 0 the scaled gradient has the rows -sqrt(p_k) P t_k.
    Overturned by: a certified optimum on the other side.
    References: none beside this project.

    Args:
        lab: the instruments; their seed draws counts.
        shift: factor by which the threshold is claimed to be off.
    """
    rng, quantities, thresholds = lab.rng(), [], []
    cases = [("geometric", np.geomspace(30, 1, 5), 0.5), ("geometric", np.geomspace(100, 1, 8), None)]
    cases += [("random", np.exp(rng.uniform(0, 5, 6)), float(rng.uniform(0.05, 0.95))) for _ in range(2)]
    for kind, counts, lam in cases:
        classes, K = class_counts(counts), len(counts)
        problem = plain(classes) if lam is None else fc(product(classes), fixed(lam))
        q = 1.0 if lam is None else lam**2 + (1 - lam) ** 2
        pi = counts / counts.sum()
        threshold = math.sqrt(shift * top_eigenvalue(q * np.diag(pi) + (1 - q) * np.outer(pi, pi)))
        thresholds.append(f"{threshold:.6g}")
        name = f"{kind} counts, K={K}, " + ("no mixup" if lam is None else f"lambda={lam:.3g}")
        quantities += [
            Quantity(
                f"something survives mu = {factor} of the threshold ({name})",
                factor < 1,
                survives(problem.under_decay(factor * threshold)),
            )
            for factor in (0.98, 1.02)
        ]
    return conclude(
        quantities,
        evidence="thresholds of mu: " + ", ".join(thresholds),
        instances="; ".join(f"{kind} counts, K={len(counts)}" for kind, counts, _ in cases),
    )


@check("rank-exceeds-count")
def rank_exceeds_count(lab: Lab, *, lam: float = 0.5) -> Finding:
    """Statement: With mixup more directions can survive a decay than P M P has eigenvalues above mu^2.

    So the number of eigenvalues is no upper bound on the rank of W. It was a conjecture here until a search refuted it.

    Where: beyond the paper; docs/theory/collapse-law.md.
    Quote: none
    Formula: rank W >= 2 at mu^2 = 1.003 e_2, where e_1 > mu^2 > e_2 are the two non-zero eigenvalues of P M P.
    Assumptions: K = 3, counts 10, 300, 1000, random pairs, lambda = 1/2, no offsets; decay on single samples, C = I.
    Test: The lower bound on the rank that the gap leaves open, at 1.001 and 1.003 of e_2; none survives beside the first at 1.01.
    Verdict: Certified on this instance. The same counts at lambda = 0.1, or without mixup, have rank 1 there.
    Overturned by: a certified optimum of rank 1.
    References: none beside this project.

    Args:
        lab: the instruments.
        lam: the mixing ratio.
    """
    counts = np.array([10.0, 300.0, 1000.0])
    pi, q = counts / counts.sum(), lam**2 + (1 - lam) ** 2
    P = np.eye(3) - 1 / 3
    second = float(np.linalg.eigvalsh(P @ (q * np.diag(pi) + (1 - q) * np.outer(pi, pi)) @ P)[1])
    quantities, bounds = [], []
    for factor in (1.001, 1.003, 1.01):
        solution = orbits.solve(fc(product(class_counts(counts)), fixed(lam)).under_decay(math.sqrt(factor * second)))
        low, high = solution.rank_bounds or (0, 2)
        bounds.append(f"{low} to {high}")
        both = True if low == 2 else (False if high < 2 else None)
        quantities.append(Quantity(f"two directions survive mu^2 = {factor} e_2", factor < 1.005, Fact(both, FLOAT64)))
    return conclude(
        quantities,
        evidence=f"rank at 1.001, 1.003 and 1.01 of e_2 = {second:.6g}: " + ", ".join(bounds),
        instances=f"K=3, counts 10, 300, 1000, lambda={lam:g}",
    )


def top_eigenvalue(M: np.ndarray) -> float:
    """Compute the largest eigenvalue of P M P, P the projector on vectors of sum 0.

    Args:
        M: a symmetric matrix (K, K).

    Returns:
        The eigenvalue.
    """
    P = np.eye(len(M)) - 1 / len(M)
    return float(np.linalg.eigvalsh(P @ M @ P)[-1])


def survives(problem: Problem) -> Fact:
    """Decide whether the optimum of a program under decay is W = 0.

    Args:
        problem: the program.

    Returns:
        True if some W is certified to be better, False if it is certified that every optimum is 0, otherwise open.
    """
    solution, mu = orbits.solve(problem, target=1e-12), problem.decay
    assert mu is not None
    if solution.upper_bound < solution.coordinates.value_at_zero * (1 - 1e-13):
        return Fact(True, FLOAT64)
    point = evaluate(solution.coordinates, solution.X)
    steepest = solution.coordinates.spectral_norm(point.gradient) + point.gradient_error
    return Fact(False if steepest < mu else None, FLOAT64)
