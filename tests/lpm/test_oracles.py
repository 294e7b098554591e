"""Published numbers and limits of the model: other people's thresholds, spectra and cosines, and both ends of the budgets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lpm import mixing, orbits
from lpm.family import Family
from lpm.pairs import imbalanced
from lpm.problem import Problem
from lpm.programs import plain
from lpm.solve import solve
from lpm.threshold import threshold
from tests.lpm import closed_forms


def on_samples(K: int, K_A: int, R: float, e_h: float) -> Problem:
    """The plain program with budgets on single samples and on the sum of class vectors: d = p, C = I."""
    problem = plain(imbalanced(K, K_A, R), e_h=e_h)
    return replace(problem, rows=replace(problem.rows, d=problem.rows.p), c=np.ones(2))


def penalised(K_A: int, K_B: int, R: float, penalty: float) -> np.ndarray:
    """Hong and Ling's program by proximal gradient steps, without any code of ``lpm``; the scaled Z' (K, K).

    Row k of Z' = diag(n)^{1/2} Z holds the logits of class k's samples, scaled. n_B is 1.
    """
    n = np.repeat([R, 1.0], [K_A, K_B])
    X, Y, momentum = np.zeros((len(n), len(n))), np.zeros((len(n), len(n))), 1.0
    step = 2 * n.sum()  # 1 / L: row k has the curvature (n_k / N) / n_k / 2
    for _ in range(4000):
        softmax = np.exp(Y / np.sqrt(n)[:, None])
        softmax /= softmax.sum(axis=1, keepdims=True)
        gradient = np.sqrt(n)[:, None] / n.sum() * (softmax - np.eye(len(n)))
        U, s, Vt = np.linalg.svd(Y - step * gradient)
        new = (U * np.maximum(s - step * penalty, 0)) @ Vt
        faster = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        Y, X, momentum = new + (momentum - 1) / faster * (new - X), new, faster
    return X


@pytest.mark.parametrize(("K_A", "K_B", "R"), [(2, 2, 10.0), (1, 3, 4.0), (3, 2, 25.0)])
@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_hong_and_ling(K_A: int, K_B: int, R: float, factor: float) -> None:
    penalty = factor * closed_forms.hong_and_ling(K_A, K_B, R)
    X = penalised(K_A, K_B, R, penalty)
    minority = X[:, K_A:] - X[:, K_A:].mean(axis=1, keepdims=True)
    assert (np.abs(minority).max() < 1e-9) == (factor > 1)
    # The budget's program at this radius has the same optimum. Its Z' is theirs over sqrt(N).
    radius = np.linalg.svd(X, compute_uv=False).sum() / np.sqrt(K_A * R + K_B)
    solution = solve(on_samples(K_A + K_B, K_A, R, radius**2))
    assert solution.collapsed is (factor > 1)
    Z = X / np.sqrt(np.repeat([R, 1.0], [K_A, K_B]))[:, None]
    p = np.repeat([R, 1.0], [K_A, K_B]) / (K_A * R + K_B)
    loss = p @ (np.log(np.exp(Z).sum(axis=1)) - np.diag(Z))
    assert solution.lower_bound - 1e-9 <= loss <= solution.loss + 1e-9


def test_growing_budgets_on_single_samples_tend_to_seli() -> None:
    K_A, K_B, R = 2, 3, 10.0
    exact = closed_forms.seli_singular_values(K_A, K_B, R)
    exact /= exact.sum()
    shares = {}
    for radius in (6.0, 12.0, 24.0):
        solution = orbits.solve(on_samples(K_A + K_B, K_A, R, radius**2))
        values = np.linalg.svd(solution.X[:, :2], compute_uv=False)
        groups = np.repeat(solution.coordinates.group_norms(solution.X) / [K_A - 1, K_B - 1], [K_A - 1, K_B - 1])
        shares[radius] = np.sort([*groups, values[0]])[::-1] / radius
        assert values[1] < 1e-6
    errors = [np.abs(share - exact).max() for share in shares.values()]
    assert errors[0] > 1.7 * errors[1] > 1.7**2 * errors[2]
    # What is missing falls like 1 / radius; without that term the limit is there.
    np.testing.assert_allclose(2 * shares[24.0] - shares[12.0], exact, atol=0.003)


def test_the_six_cosines_of_fang_et_al() -> None:
    # The output of their published program: K = 10, five classes each, E_H = 5, E_W = 1.
    printed = [-0.1111, -0.0172, 0.5175, 1.0, 1.0, 1.0]
    cosines = [orbits.solve(plain(imbalanced(10, 5, R))).cosine(1, 1) for R in (1, 10**0.5, 10, 10**1.5, 100, 1000)]
    assert [round(c, 4) for c in cosines] == printed


def test_a_threshold_under_mixup() -> None:
    result = threshold(Family("fc", "block", mixing=mixing.fixed(0.1)))
    assert result.bracket is not None
    assert result.bracket[0] < 437.250851715 < result.bracket[1]
    assert pytest.approx(437.250851715, rel=1e-8) == result.R0


@pytest.mark.parametrize(
    ("program", "K", "K_A", "lam"),
    [
        ("plain", 4, 2, 0.5),
        ("fc product", 4, 2, 0.5),
        ("ms product", 4, 2, 0.5),
        ("fc block", 4, 1, 0.5),
        ("fc block", 5, 2, 0.1),
        ("fc block", 7, 3, 0.3),
    ],
)
def test_threshold_at_small_budgets(program: str, K: int, K_A: int, lam: float) -> None:
    name, _, profile = program.partition(" ")
    exact = closed_forms.small_budget_threshold(program, K_A, K - K_A, lam**2 + (1 - lam) ** 2)
    R0 = {}
    for E in (1e-3, 1e-4, 1e-5):
        result = threshold(Family(name, profile, K, K_A=K_A, mixing=mixing.fixed(lam), e_h=E), R_min=0.1, R_max=10)
        assert result.R0 is not None
        R0[E] = result.R0
    # R0 approaches its limit like the root of the budgets.
    assert abs(R0[1e-3] - exact) > 3 * abs(R0[1e-4] - exact) > 9 * abs(R0[1e-5] - exact)
    extrapolated = (10**0.5 * R0[1e-5] - R0[1e-4]) / (10**0.5 - 1)
    assert extrapolated == pytest.approx(exact, abs=1e-3)


@pytest.mark.parametrize(("lam", "K_A"), [(0.5, 3), (0.4, 3)])
def test_no_threshold_is_left_at_small_budgets_where_the_limit_is_zero(lam: float, K_A: int) -> None:
    assert closed_forms.small_budget_threshold("fc block", K_A, 5 - K_A, lam**2 + (1 - lam) ** 2) == 0
    result = threshold(Family("fc", "block", 5, K_A=K_A, mixing=mixing.fixed(lam), e_h=1e-5), R_min=0.05, R_max=10)
    assert (result.R0, result.collapsed_above, result.certified) == (None, True, True)


@pytest.mark.parametrize(
    ("program", "K", "lam"),
    [("plain", 4, 0.5), ("plain", 10, 0.5), ("fc block", 4, 0.5), ("fc block", 4, 0.1), ("fc product", 6, 0.5)],
)
def test_log_R0_grows_like_the_root_of_the_budgets(program: str, K: int, lam: float) -> None:
    name, _, profile = program.partition(" ")
    law, R0 = mixing.fixed(lam), []
    for radius in (4.5, 5.0, 5.5):
        R0.append(threshold(Family(name, profile, K, mixing=law, e_h=radius**2), R_min=10, R_max=1e8).R0 or np.nan)
    first, second = np.diff(np.log(R0)) / 0.5
    exact = closed_forms.exponential_rate(program, K // 2, K // 2)
    assert second == pytest.approx(exact, rel=0.01)
    assert abs(second - exact) < abs(first - exact)
