"""Every solver on every problem with a known optimum; on other problems, the solvers against each other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lpm import factored, mixing, orbits, pairs, programs, recovery, sdp
from lpm.console.errors import InvalidInput, NotCertified
from lpm.coordinates import Coordinates
from lpm.family import Family
from lpm.pairs import class_counts, imbalanced
from lpm.problem import Problem
from lpm.solution import Solution, certify
from lpm.solve import solve
from tests.lpm import closed_forms

Solver = Callable[[Problem], Solution]
SOLVERS: dict[str, Solver] = {
    "orbits": orbits.solve,
    "factored": factored.solve,
    "sdp-clarabel": sdp.solve,
    "sdp-scs": lambda problem: sdp.solve(problem, conic="scs"),
}
KNOWN = closed_forms.catalogue()


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.name)
@pytest.mark.parametrize("name", SOLVERS)
def test_known_optimum(name: str, known: closed_forms.Known) -> None:
    try:
        solution = SOLVERS[name](known.problem)
    except NotCertified:
        # SCS is a first-order method and may miss the tolerance; its point must then pass a looser one.
        assert name == "sdp-scs"
        solution = sdp.solve(known.problem, conic="scs", tolerance=1e-2)
        assert solution.relative_gap > 1e-6
    rounding = 1e-11 * known.loss
    assert solution.lower_bound - rounding <= known.loss <= solution.loss + rounding
    if known.cosines is not None:
        # f is flat around the optimum: cosines are good to the root of the gap, and orbits' gap is at rounding.
        known_pairs = ~np.isnan(solution.gram.group_cosines)
        limit = 1e-7 if name == "orbits" else 2e-3 + np.sqrt(solution.relative_gap)
        error = np.abs(solution.gram.group_cosines - known.cosines)[known_pairs].max()
        assert error < limit


def _three_groups() -> pairs.LabelPairs:
    return pairs.product(class_counts([20, 5, 20, 1, 5]))


UNKNOWN: dict[str, Problem] = {
    "fc product K=3": programs.fc(pairs.product(imbalanced(3, 1, 30)), mixing.fixed(0.3)),
    "fc product K=4 collapsed": programs.fc(pairs.product(imbalanced(4, 2, 1000))),
    "fc block K=4": programs.fc(pairs.block(imbalanced(4, 2, 10)), mixing.fixed(0.7)),
    "fc eq7 K=4": programs.fc(pairs.block(imbalanced(4, 2, 10)), budget="eq7"),
    "fc distinct K=5": programs.fc(pairs.distinct(imbalanced(5)), mixing.fixed(0.6)),
    "fc beta K=3": programs.fc(pairs.product(imbalanced(3, 1, 10)), mixing.beta(1.0, 3)),
    "fc three groups": programs.fc(_three_groups(), mixing.fixed(0.4)),
    "ms product K=4": programs.ms(pairs.product(imbalanced(4, 2, 10)), mixing.fixed(0.2)),
    "ms three groups": programs.ms(_three_groups()),
    "ms beta K=3": programs.ms(pairs.balanced(imbalanced(3)), mixing.beta(0.4, 3)),
    "ms-unordered K=4": programs.ms_unordered(pairs.product(imbalanced(4, 2, 10))),
    "ms-unordered K=4 lam=0.3": programs.ms_unordered(pairs.product(imbalanced(4, 2, 10)), mixing.fixed(0.3)),
    "ms-free product K=3": programs.ms_free(pairs.product(imbalanced(3, 1, 10))),
    "ms-free distinct K=3": programs.ms_free(pairs.distinct(imbalanced(3, 1))),
    "table K=3": programs.fc(pairs.table([[5, 1, 0], [2, 9, 4], [0, 0, 1]]), mixing.fixed(0.8)),
    "table with a silent class": programs.ms(pairs.table([[5, 1, 0], [2, 9, 0], [0, 0, 0]])),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_solvers_agree_to_the_certified_interval(name: str) -> None:
    problem = UNKNOWN[name]
    exact, first_order, reference = (SOLVERS[s](problem) for s in ("orbits", "factored", "sdp-clarabel"))
    rounding = 1e-12 * exact.loss
    for one in (exact, first_order, reference):
        for other in (exact, first_order, reference):
            assert one.lower_bound <= other.loss + rounding
    assert exact.rank == reference.rank
    assert exact.collapsed == first_order.collapsed == reference.collapsed
    np.testing.assert_allclose(exact.gram.norms, reference.gram.norms, atol=2e-3)


@pytest.mark.parametrize("K", [4, 100, 8142])
@pytest.mark.parametrize("R", [1.0, 30.0, 1e6])
def test_orbits_reaches_rounding_at_any_size(K: int, R: float) -> None:
    classes = imbalanced(K, K // 2, R)
    for problem in (
        programs.plain(classes),
        programs.fc(pairs.product(classes)),
        programs.fc(pairs.product(classes), mixing.beta(1.0)),
        programs.ms(pairs.block(classes), mixing.fixed(0.3)),
        programs.ms(pairs.balanced(classes), mixing.beta(0.2)),
        programs.ms_unordered(pairs.distinct(classes)),
        programs.ms_free(pairs.block(classes)),
    ):
        solution = orbits.solve(problem)
        assert solution.relative_gap <= 1e-7, problem.program


def test_orbits_with_many_groups_and_factored_agree_on_cifar10_lt_counts() -> None:
    problem = programs.fc(pairs.product(class_counts([int(5000 * 100 ** (-k / 9)) for k in range(10)])))
    exact, first_order = orbits.solve(problem), factored.solve(problem)
    assert first_order.lower_bound <= exact.loss <= first_order.loss + 1e-12
    assert exact.rank == first_order.rank


def test_budget_that_is_not_used_up() -> None:
    # Two classes, pairs a != b only, lambda = 1/2: both targets are (1/2, 1/2), so W = 0 is optimal and f* = log 2.
    problem = programs.fc(pairs.distinct(imbalanced(2)))
    for name in ("orbits", "factored", "sdp-clarabel"):
        solution = SOLVERS[name](problem)
        assert solution.loss == pytest.approx(np.log(2), abs=1e-9)
    assert orbits.solve(problem).rank == 0
    # At lambda = 0.9 the optimum has finite logits, too: f* is the entropy of (0.9, 0.1).
    problem = programs.fc(pairs.distinct(imbalanced(2)), mixing.fixed(0.9), e_h=100.0)
    for name in ("orbits", "factored", "sdp-clarabel"):
        assert SOLVERS[name](problem).loss == pytest.approx(-0.9 * np.log(0.9) - 0.1 * np.log(0.1), abs=1e-7)


def test_refusals() -> None:
    problem = programs.fc(pairs.product(class_counts(np.arange(1, 30))))
    with pytest.raises(InvalidInput, match="29; use --solver factored"):
        orbits.solve(problem)
    with pytest.raises(InvalidInput, match="870 wide, more than 42"):
        sdp.solve(problem)
    with pytest.raises(InvalidInput, match="use --solver orbits"):
        factored.solve(programs.fc(pairs.product(imbalanced(1000))))
    with pytest.raises(NotCertified, match="exceeds the tolerance") as refusal:
        factored.solve(problem, max_iterations=3)
    assert refusal.value.relative_gap > refusal.value.tolerance == 1e-6
    with pytest.raises(InvalidInput, match="tolerance = 0"):
        solve(problem, tolerance=0.0)


def test_auto_chooses_by_the_number_of_groups() -> None:
    assert solve(programs.plain(imbalanced(50, 25, 3))).solver == "orbits"
    assert solve(programs.plain(class_counts(np.arange(1, 30)))).solver == "factored"


@pytest.mark.parametrize(
    ("K", "lam", "low", "high"),
    [
        # From the paper's definition in 60 digits: the optimum lies in [low, high].
        (4, 0.9999, 0.6454277562966186, 0.6454277565876014),
        (5, 0.999, 1.0401281805658835, 1.0401281805703040),
        (6, 0.001, 0.4091011679163417, 0.4091011679163452),
        (5, 0.01, 0.3061627420704012, 0.3061627420704033),
    ],
)
def test_interval_contains_the_optimum_where_C_is_nearly_singular(K: int, lam: float, low: float, high: float) -> None:
    problem = programs.ms_unordered(pairs.product(imbalanced(K, K // 2, 10)), mixing.fixed(lam))
    for solution in (orbits.solve(problem), factored.solve(problem)):
        assert solution.lower_bound <= high
        assert low <= solution.upper_bound
    assert orbits.solve(problem).relative_gap < 1e-10


@pytest.mark.parametrize(("K", "lam"), [(4, 0.9999), (5, 1e-4), (4, 1e-14), (5, 1 - 1e-12)])
def test_interval_contains_that_of_ball_arithmetic_where_C_is_nearly_singular(K: int, lam: float) -> None:
    pytest.importorskip("flint", reason="python-flint, the extra 'rigorous', is not installed")
    from paper_checks import ball

    solution = orbits.solve(programs.ms_unordered(pairs.product(imbalanced(K, K // 2, 10)), mixing.fixed(lam)))
    low, high = ball.loss(solution)
    assert solution.lower_bound <= low < high <= solution.upper_bound


@pytest.mark.parametrize("K", [3, 4, 7])
@pytest.mark.parametrize("side", [0, 1])
def test_the_optimum_of_unordered_pairs_is_continuous_up_to_both_ends_of_lambda(K: int, side: int) -> None:
    pairs_of_classes, losses, grams = pairs.product(imbalanced(K, K // 2, 10)), [], []
    for distance in (1e-4, 1e-8, 1e-12, 2**-53 if side else 1e-100):
        lam = 1 - distance if side else distance
        solution = orbits.solve(programs.ms_unordered(pairs_of_classes, mixing.fixed(lam)))
        assert solution.relative_gap < 1e-9
        losses.append(solution.loss)
        # A class that is nearly without weight has a vector of length 1 / lambda: scale it back.
        root = np.sqrt(solution.problem.diagonal)
        grams.append(solution.gram.block * np.outer(root, root))
    assert abs(losses[1] - losses[2]) < 1e-3 * abs(losses[0] - losses[2]) + 1e-10
    assert losses[2] == pytest.approx(losses[3], rel=1e-9)
    np.testing.assert_allclose(grams[2], grams[3], atol=1e-4)


def test_the_best_point_that_is_known_at_a_tiny_lambda_lies_in_the_interval() -> None:
    problem = programs.ms_unordered(pairs.product(imbalanced(4, 2, 10)), mixing.fixed(1e-14))
    solution = orbits.solve(problem)
    assert solution.lower_bound < 0.1681520718  # f of a feasible point, in 60 digits
    assert solution.loss < 0.168153
    full, Z = recovery.logits(solution)
    W, H = recovery.class_vectors_and_features(full, Z)
    # The paper's own sum, term by term: no C is needed.
    square = np.mean([((1e-14 * W[a] + (1 - 1e-14) * W[b]) ** 2).sum() for a in range(4) for b in range(a + 1, 4)])
    assert square <= full.e_w * (1 + 1e-9)
    assert full.rows.d @ (H**2).sum(axis=1) <= full.e_h * (1 + 1e-9)


@pytest.mark.parametrize(("K", "lam"), [(4, 1e-170), (5, 1e-300), (30, 5e-324)])
def test_a_singular_C_is_refused(K: int, lam: float) -> None:
    with pytest.raises(InvalidInput, match=r"C .* is singular in float64; take lambda further from 0 and 1"):
        programs.ms_unordered(pairs.product(imbalanced(K, K // 2, 10)), mixing.fixed(lam))


def test_a_gap_that_C_makes_wide_names_C() -> None:
    problem = programs.ms_unordered(pairs.product(imbalanced(3, 1, 10)), mixing.fixed(1e-12))
    with pytest.raises(NotCertified, match="C has eigenvalues far apart: use --solver orbits, or take lambda further"):
        factored.solve(problem)
    assert orbits.solve(problem).relative_gap < 1e-9


@pytest.mark.parametrize(("solver", "advised"), [("factored", True), ("orbits", False)])
def test_a_solver_that_fails_is_not_advised_again(solver: str, advised: bool) -> None:
    coordinates = Coordinates(programs.ms_unordered(pairs.product(imbalanced(4, 2, 10)), mixing.fixed(0.001)))
    with pytest.raises(NotCertified) as refused:
        certify(coordinates, np.zeros(coordinates.shape), solver=solver, seconds=0.0, iterations=0)
    assert ("use --solver orbits" in str(refused.value)) == advised


def test_failed_linear_algebra_is_not_certified(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> Solution:
        raise np.linalg.LinAlgError("SVD did not converge")

    monkeypatch.setattr(orbits, "solve_all", fail)
    with pytest.raises(NotCertified, match="too far apart for float64"):
        solve(programs.plain(imbalanced(4, 2, 10)), "orbits")


def test_auto_falls_back_to_the_first_order_solver_at_tiny_budgets() -> None:
    problem = Family("plain", K=3, e_h=4e-11, e_w=0.06).at(1713.66)
    with pytest.raises(NotCertified):
        solve(problem, "orbits")
    assert solve(problem).solver == "factored"
