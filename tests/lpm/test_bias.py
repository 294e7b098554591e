"""A free bias that nothing penalises: the certificate at any point and bias, the same collapse, absorbed offsets, refusals."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from lpm import cures, programs
from lpm import solve as command
from lpm.console.errors import InvalidInput, NotCertified
from lpm.coordinates import Coordinates
from lpm.cure_rows import CURES, Setting
from lpm.dual_condition import margin
from lpm.family import Family
from lpm.law import collapse_number
from lpm.mixing import fixed
from lpm.pairs import class_counts, imbalanced, product
from lpm.problem import Problem
from lpm.solution import Solution, evaluate
from lpm.solve import solve, solve_all
from tests.lpm.test_law import changed, few, several

BUILDERS = {cure.name: cure.build for cure in CURES}


def free(problem: Problem, mu: float) -> Problem:
    """The problem under a decay, with a free bias."""
    return replace(problem.under_decay(mu), bias=True)


@settings(few, max_examples=10)  # a best bias takes some ten batches of solves
@given(changed(), st.floats(0.2, 0.9), st.integers(0, 2**32 - 1))
def test_the_certificate_is_true_at_any_point_and_any_bias(problem: Problem, part: float, seed: int) -> None:
    """Also far from the optimum, where the term of the bias is most of the gap."""
    best = solve(
        free(problem, part * math.sqrt(max(collapse_number(problem.under_decay(1.0), g) for g in several(problem))))
    )
    assert best.relative_gap <= 1e-6
    rng = np.random.default_rng(seed)
    assert best.problem.offset is not None
    for size in (1e-6, 0.1, 10.0):
        moved = replace(best.problem, offset=best.problem.offset + size * rng.normal(size=len(problem.sizes)))
        coordinates = Coordinates(moved)
        point = best.X * (1 + size * rng.normal(size=best.X.shape))
        certificate = evaluate(coordinates, point)
        objective = certificate.loss + certificate.penalty
        assert objective - certificate.gap <= best.upper_bound
        assert objective >= best.lower_bound
        at_bias = evaluate(Coordinates(replace(moved, bias=False)), point)
        assert certificate.gap > at_bias.gap  # what another bias may gain is counted


@settings(few, max_examples=6)
@given(changed())
def test_a_bias_does_not_move_the_collapse(problem: Problem) -> None:
    tried = [(group, factor) for group in several(problem) for factor in (0.97, 1.03)]
    thresholds = {group: math.sqrt(collapse_number(problem.under_decay(1.0), group)) for group, _ in tried}
    problems = [free(problem, factor * thresholds[group]) for group, factor in tried]
    for (group, factor), solution in zip(tried, solve_all(problems), strict=True):
        assert isinstance(solution, Solution)
        assert (group in solution.collapsed_groups) is (factor > 1)
        assert group not in solution.undecided_groups


@pytest.mark.parametrize("strength", ["logit adjustment 1/2", "logit adjustment 1"])
def test_a_bias_absorbs_logit_adjustment(strength: str) -> None:
    setting = Setting(classes=imbalanced(10, 5, 100.0), nodes=4)
    with_it, without = (solve(free(BUILDERS[name](setting), 0.03)) for name in (strength, "mixup"))
    assert with_it.objective == pytest.approx(without.objective, rel=1e-11)
    assert with_it.gram.block == pytest.approx(without.gram.block, rel=1e-6)
    assert with_it.gram.eigenvalue == pytest.approx(without.gram.eigenvalue, rel=1e-6)


def test_equal_counts_need_no_bias() -> None:
    problem = programs.plain(class_counts([10, 10, 10, 10]))
    with_it = solve(free(problem, 0.05))
    assert with_it.objective == pytest.approx(solve(problem.under_decay(0.05)).objective, rel=1e-12)


@pytest.mark.parametrize("counts", [(1e9, 1e4, 1), (1e5, 1e3, 10, 1)])
def test_a_bias_is_found_where_a_class_has_hardly_any_labels(counts: tuple[float, ...]) -> None:
    """Its slope is tiny from the start, and the optimal value is almost flat along its bias."""
    assert solve(free(programs.fc(product(class_counts(counts)), fixed(0.5)), 0.01)).relative_gap < 1e-9


def test_many_at_once_are_each_at_the_best_of_all_biases() -> None:
    setting = Setting(classes=imbalanced(10, 5, 30.0), nodes=3)
    problems = [free(cure.build(setting), 0.05) for cure in CURES if cure.name != "MS a<b"]
    problems.insert(1, free(programs.plain(class_counts([50, 20, 5])), 0.1))  # three groups, beside those with two
    for problem, solution in zip(problems, solve_all(problems), strict=True):
        assert isinstance(solution, Solution)
        assert solution.relative_gap < 1e-9
        if len(problem.sizes) == 2:
            assert solution.problem.offset is not None
            shifts = [solution.problem.offset + np.array([0.0, step]) for step in (0.0, -0.05, 0.05)]
            beside = solve_all([replace(problem, bias=False, offset=offset) for offset in shifts])
            at, below, above = (one.objective for one in beside if isinstance(one, Solution))
            assert at == pytest.approx(solution.objective, rel=1e-10)
            assert min(below, above) > solution.upper_bound


def test_it_is_the_optimum_over_class_vectors_features_and_bias() -> None:
    """Three counts that all differ, against L-BFGS on W, H and b with penalties in place of the nuclear norm."""
    mu, pi = 0.12, np.array([9.0, 5.0, 2.0]) / 16
    solution = solve(free(programs.fc(product(class_counts(16 * pi)), fixed(0.3)), mu))
    a, b = (x.ravel() for x in np.meshgrid(range(3), range(3), indexing="ij"))
    p, eye = pi[a] * pi[b], np.eye(3)
    targets = 0.3 * eye[a] + 0.7 * eye[b]

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        W, bias, scaled = x[:9].reshape(3, 3), x[9:12], x[12:].reshape(9, 3)
        H = scaled / np.sqrt(p)[:, None]
        z = H @ W.T + bias
        top = z.max(axis=1, keepdims=True)
        total = np.exp(z - top).sum(axis=1, keepdims=True)
        value = (top + np.log(total))[:, 0] - (targets * z).sum(axis=1)
        slope = p[:, None] * (np.exp(z - top) / total - targets)
        gradient = slope.T @ H + mu * W, slope.sum(axis=0), slope @ W / np.sqrt(p)[:, None] + mu * scaled
        return p @ value + mu / 2 * ((W**2).sum() + (scaled**2).sum()), np.concatenate([g.ravel() for g in gradient])

    start = np.random.default_rng(0).normal(size=12 + 27)
    found = minimize(
        objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 5000, "ftol": 1e-15, "gtol": 1e-10}
    )
    assert solution.lower_bound <= found.fun + 1e-12
    assert solution.objective == pytest.approx(found.fun, rel=1e-9)
    bias = solution.problem.offset
    assert bias is not None
    assert bias - bias[0] == pytest.approx(found.x[9:12] - found.x[9], abs=1e-4)
    without = solve(programs.fc(product(class_counts(16 * pi)), fixed(0.3)).under_decay(mu))
    assert without.lower_bound > solution.upper_bound  # a bias is worth something


def test_margins_have_a_dual_condition_with_a_bias() -> None:
    """LDAM has no law: the dual condition and the solution itself agree on both sides of its threshold."""

    def at(R: float) -> Problem:
        return free(BUILDERS["LDAM"](Setting(classes=imbalanced(6, 3, R), nodes=2)), 0.1)

    for R, collapsed in ((5.0, False), (40.0, True)):
        found = margin(at(R))
        assert found.certified
        assert (found.value > 0) is collapsed
        assert solve(at(R)).collapsed is collapsed


def test_classes_without_labels_have_no_best_bias() -> None:
    """Pairs of a majority and a minority class never occur in ``ms-free`` with ``block``, and are classes of their own."""
    with pytest.raises(NotCertified, match="no label"):
        solve(Family("ms-free", K=4, decay=0.1, bias=True).at(10.0))


def test_thresholds_under_decay_have_no_use_for_a_bias() -> None:
    from lpm.threshold import threshold

    with_it, without = (threshold(Family("fc", K=4, decay=0.2, bias=bias)) for bias in (True, False))
    assert with_it.R0 == without.R0


def test_the_command_prints_the_bias(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--K", "10", "--R", "10", "--decay", "0.09", "--bias", "--alpha", "1", "--nodes", "4"]) == 0
    assert "free bias" in capsys.readouterr().out
    monkeypatch.setattr(cures, "CURES", [cure for cure in CURES if cure.name in ("mixup", "LDAM", "MS a<b")])
    assert cures.main(["--K", "4", "--R", "10", "--decay", "0.1", "--bias", "--nodes", "2"]) == 0
    assert "ms-unordered" in capsys.readouterr().out  # the one cure without it says why


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--bias"], "--decay"),
        (["--bias", "--E-H", "3"], "--decay"),
        (["--bias", "--decay", "0.1", "--solver", "factored"], "--solver"),
        (["--bias", "--decay", "0.1", "--solver", "sdp"], "--solver"),
        (["--bias", "--decay", "0.1", "--program", "ms-unordered"], "ms-unordered"),
        (["--bias", "--decay", "0.1", "--counts", ",".join(map(str, range(2, 30)))], "groups"),
    ],
)
def test_what_has_no_bias_is_one_line(words: list[str], message: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        command.main(words)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
