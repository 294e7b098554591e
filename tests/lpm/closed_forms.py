"""Programs whose optimum is known from a formula. No solver is used: this is the oracle of the test suite."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq, minimize, root

from lpm import mixing, pairs, programs
from lpm.problem import Problem


@dataclass(frozen=True)
class Known:
    """A problem with a known optimum.

    Attributes:
        name: what the problem is.
        problem: the problem.
        loss: its exact loss.
        cosines: exact cosines between classes of two groups, (G, G), nan if there are no two such classes; None if unknown.
    """

    name: str
    problem: Problem
    loss: float
    cosines: np.ndarray | None = None


def plain_balanced(K: int, E: float) -> float:
    """Plain LPM with equal counts: f* = log(1 + (K-1) exp(-K/(K-1) sqrt(E)))."""
    return float(np.log1p((K - 1) * np.exp(-K / (K - 1) * np.sqrt(E))))


def fc_balanced(K: int, lam: float, E: float) -> float:
    """LPM_lambda with all K^2 label pairs equally frequent: three scalars on one curve (docs/theory/closed-forms.md).

    z_(a,a) = alpha (e_a - 1/K) and z_(a,b) = beta e_a + gamma e_b - (beta + gamma)/K, with z = c (y - softmax(z)) in every
    row. c follows from the budget (K-1) sqrt(alpha^2 + (K-1)(beta^2 + gamma^2) - 2 beta gamma) = K^1.5 sqrt(E).
    """

    def scalars(c: float) -> tuple[float, float, float]:
        # A row minimises its loss plus |z|^2 / (2c): strongly convex, so a descent method cannot miss.
        alpha = brentq(lambda a: a * (np.exp(a) + K - 1) - c * K, 0.0, np.log1p(c * K) + 1)

        def fixed_point(x: np.ndarray) -> list[float]:
            b, g = x
            D = np.exp(b) + np.exp(g) + K - 2
            return [b - c * (lam - (np.exp(b) - 1) / D), g - c * (1 - lam - (np.exp(g) - 1) / D)]

        def penalised(x: np.ndarray) -> float:
            b, g = x
            norm = b**2 + g**2 - (b + g) ** 2 / K
            return float(np.log(np.exp(b) + np.exp(g) + K - 2) - lam * b - (1 - lam) * g + norm / (2 * c))

        start = minimize(penalised, [0.0, 0.0], method="BFGS").x
        beta, gamma = root(fixed_point, start, tol=1e-14).x
        return alpha, beta, gamma

    def budget(log_c: float) -> float:
        a, b, g = scalars(np.exp(log_c))
        return float((K - 1) * np.sqrt(a**2 + (K - 1) * (b**2 + g**2) - 2 * b * g) - K**1.5 * np.sqrt(E))

    a, b, g = scalars(np.exp(brentq(budget, -6.0, 7.0, xtol=1e-14)))
    same = np.log1p((K - 1) * np.exp(-a))
    mixed = np.log(np.exp(b) + np.exp(g) + K - 2) - lam * b - (1 - lam) * g
    return float((same + (K - 1) * mixed) / K)


def plain_two_groups(
    K_A: int, K_B: int, R: float, E: float, *, collapsed: bool = False
) -> tuple[float, np.ndarray, float]:
    """Plain LPM with two groups: its optimum, cosines AA, AB, BB, and p_own - p_offA of an A row.

    Z = alpha on the zero-sum vectors of A, beta on those of B, (s, c) along 1_A K_B/K - 1_B K_A/K, subject to
    (K_A-1) alpha + (K_B-1) beta + sqrt(K_A K_B/K) sqrt(K_A s^2 + K_B c^2) = K sqrt(E). ``collapsed`` sets beta = 0.
    """
    K = K_A + K_B
    free = [0, 2, 3] if collapsed else [0, 1, 2, 3]

    def unpack(x: np.ndarray) -> np.ndarray:
        full = np.zeros(4)
        full[free] = x
        return full

    def loss(x: np.ndarray) -> float:
        a, b, s, c = unpack(x)
        loss_A = np.log1p((K_A - 1) * np.exp(-a) + K_B * np.exp(-(a * (1 - 1 / K_A) + s)))
        loss_B = np.log1p((K_B - 1) * np.exp(-b) + K_A * np.exp(-(b * (1 - 1 / K_B) + c)))
        return float((K_A * loss_A + K_B / R * loss_B) / (K_A + K_B / R))

    def excess(x: np.ndarray) -> float:
        a, b, s, c = unpack(x)
        sigma = np.sqrt(K_A * K_B / K) * np.sqrt(K_A * s**2 + K_B * c**2)
        return float((K_A - 1) * a + (K_B - 1) * b + sigma - K * np.sqrt(E))

    def gradient(function: Callable[[np.ndarray], float], x: np.ndarray) -> np.ndarray:
        # Richardson-extrapolated central differences: exact to about 1e-12.
        def central(h: float) -> np.ndarray:
            return np.array([(function(x + h * e) - function(x - h * e)) / (2 * h) for e in np.eye(len(x))])

        return (64 * central(5e-4) - 20 * central(1e-3) + central(2e-3)) / 45

    start = minimize(
        loss,
        np.full(len(free), 0.5),
        constraints=[{"type": "eq", "fun": excess}],
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 1000},
    ).x

    def stationary(y: np.ndarray) -> np.ndarray:
        x, multiplier = y[:-1], y[-1]
        return np.append(gradient(loss, x) + multiplier * gradient(excess, x), excess(x))

    x = root(stationary, np.append(start, 0.01), tol=1e-13).x[:-1]
    a, b, s, c = unpack(x)
    sigma = np.sqrt(K_A * K_B / K) * np.sqrt(K_A * s**2 + K_B * c**2)
    u = np.repeat([K_B / K, -K_A / K], [K_A, K_B])
    P_A, P_B = np.zeros((K, K)), np.zeros((K, K))
    P_A[:K_A, :K_A], P_B[K_A:, K_A:] = np.eye(K_A) - 1 / K_A, np.eye(K_B) - 1 / K_B
    gram = a * P_A + b * P_B + sigma * np.outer(u, u) / (u @ u)
    norm = np.sqrt(np.diag(gram))
    cosine = gram / np.outer(norm, norm)
    row = np.exp([0.0, -a, -(a * (1 - 1 / K_A) + s)])
    p_own, p_off, _ = row / (row @ [1, K_A - 1, K_B])
    return loss(x), np.array([cosine[0, 1], cosine[0, -1], cosine[-2, -1]]), p_own - p_off


def plain_threshold(K_A: int, K_B: int, E: float) -> float:
    """Plain LPM: R0 = 1 / (1 - p_own + p_offA), a fixed point over the collapsed optimum."""

    def error(log_R: float) -> float:
        R = np.exp(log_R)
        difference = plain_two_groups(K_A, K_B, R, E, collapsed=True)[2]
        return float(log_R + np.log(1 - difference))

    return float(np.exp(brentq(error, 0.1, np.log(1e4), xtol=1e-12)))


def own_product(K_A: int, K_B: int, R: float, q: float) -> float:
    """Own norm of the minority for ``fc`` under ``product``, q = E[lambda^2 + (1 - lambda)^2] (docs/theory/closed-forms.md)."""
    return float(np.sqrt((K_A + K_B) ** 3 * q * (K_B + K_A * R**2)) / (K_A * R + K_B) ** 2)


def own_block(K_A: int, K_B: int, R: float, q: float) -> float:
    """Own norm of the minority for ``fc`` under ``block``."""
    return float(np.sqrt((K_A + K_B) ** 3 * K_B * q) / (K_A**2 * R + K_B**2))


def seli_singular_values(K_A: int, K_B: int, R: float) -> np.ndarray:
    """Limit of vanishing penalties or growing budgets on single samples, descending (Thrampoulidis et al. 2022).

    The logits tend to a multiple of I - 11^T/K on every sample, so the scaled matrix is diag(n)^{1/2} (I - 11^T/K).
    """
    K = K_A + K_B
    return np.sqrt(np.sort([R] * (K_A - 1) + [(R * K_B + K_A) / K] + [1.0] * (K_B - 1))[::-1])


def hong_and_ling(K_A: int, K_B: int, R: float) -> float:
    """Penalty lambda_Z from which on the minority collapses, sqrt(n_B) / N, here for n_B = 1 (Hong and Ling 2023).

    Their program is (1/N) sum_i CE_i + lambda_Z |Z diag(n)^{1/2}|_*, Z with one column per class.
    """
    return 1 / (K_A * R + K_B)


def small_budget_threshold(program: str, K_A: int, K_B: int, q: float) -> float:
    """Limit of R0 as the budgets vanish: 1, and for ``fc block`` with q = E[lambda^2 + (1 - lambda)^2] a root."""
    if program != "fc block":
        return 1.0
    return float(np.sqrt(min(K_B / K_A, max(0.0, q * (K_A + K_B) / K_A - 1))))


def exponential_rate(program: str, K_A: int, K_B: int) -> float:
    """Slope of log R0 against sqrt(E_H E_W) for large budgets, 1/N*.

    N* is the least nuclear norm of majority rows whose logits exceed by 1 those of all classes outside the label. Rows
    (a, a) are e_a - 1/K_A on A, rows (a, b) e_a + e_b - 2/K_A, and the mean over A exceeds B by what is missing.
    """
    K = K_A + K_B
    if program == "plain":
        return float(K / (K_A - 1 + np.sqrt(K_B / K)))
    return float(K**1.5 / ((K_A - 1) * np.sqrt(2 * K_A - 3) + np.sqrt((4 * K_A - 3) * K_B / K)))


def _etf(G: int, K: int) -> np.ndarray:
    return np.full((G, G), -1 / (K - 1))


@functools.cache
def catalogue() -> list[Known]:
    """Every problem with a known optimum, small enough for every solver."""
    known = []
    for K, E_H, E_W in ((3, 5.0, 1.0), (4, 2.0, 0.5), (5, 9.0, 1.0), (6, 5.0, 1.0)):
        problem = programs.plain(pairs.imbalanced(K), e_h=E_H, e_w=E_W)
        known.append(Known(f"plain balanced K={K}", problem, plain_balanced(K, E_H * E_W), _etf(2, K)))
    for K, lam, E in ((3, 0.5, 5.0), (3, 0.2, 5.0), (4, 0.5, 1.0), (4, 0.9, 5.0), (5, 0.35, 5.0)):
        problem = programs.fc(pairs.balanced(pairs.imbalanced(K)), mixing.fixed(lam), e_h=E)
        known.append(Known(f"fc balanced K={K} lam={lam}", problem, fc_balanced(K, lam, E), _etf(2, K)))
    for K_A, K_B, R in ((2, 2, 10.0), (2, 3, 4.0), (3, 2, 100.0)):
        problem = programs.plain(pairs.imbalanced(K_A + K_B, K_A, R))
        f, cosines, _ = plain_two_groups(K_A, K_B, R, 5.0, collapsed=plain_threshold(K_A, K_B, 5.0) < R)
        AA, AB, BB = cosines
        known.append(Known(f"plain {K_A}+{K_B} R={R}", problem, f, np.array([[AA, AB], [AB, BB]])))
    for K, E in ((3, 5.0), (4, 5.0)):
        # Theorem 2's program on balanced pairs is the plain program at K^2 classes.
        problem = programs.ms_free(pairs.balanced(pairs.imbalanced(K)), e_h=E)
        known.append(Known(f"ms-free balanced K={K}", problem, plain_balanced(K**2, E), _etf(3, K**2)))
    return known
