"""Many problems at once: what one by one gives, whatever is solved beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from lpm import mixing, orbits, pairs, programs, tasks
from lpm.console.errors import NotCertified
from lpm.coordinates import Coordinates
from lpm.cure_rows import CURES, Setting
from lpm.dual_condition import margin, margins
from lpm.family import Family
from lpm.interior_point import central_path, small
from lpm.interior_point.elimination import FewCoordinates, ManyCoordinates
from lpm.interior_point.embedding import reduce
from lpm.interior_point.newton import NewtonSystem
from lpm.pairs import class_counts, imbalanced
from lpm.problem import Problem
from lpm.rows import Row, solve_rows
from lpm.solution import Solution, evaluate, evaluate_all
from lpm.solve import solve, solve_all
from lpm.stack import Stack, stacks
from lpm.sweep import DEFAULT, grid
from lpm.threshold import threshold, thresholds


def random_problems(seed: int) -> list[Problem]:
    """Problems of every kind, of several shapes and in random order."""
    rng = np.random.default_rng(seed)
    problems: list[Problem] = []
    for program, profile in (*DEFAULT, ("ms-unordered", "product"), ("fc", "distinct")):
        for decay in (None, 0.02, 0.5):  # the last one learns little or nothing
            K = int(rng.integers(4, 12))
            law = [mixing.fixed(0.5), mixing.fixed(0.3), mixing.beta(1.0, 3)][int(rng.integers(3))]
            law = mixing.fixed(0.5) if program == "ms-unordered" else law
            family = Family(program, profile, K, K_A=int(rng.integers(1, K)), mixing=law, decay=decay)
            problems += [family.at(float(R)) for R in 10 ** rng.uniform(0, 4, 3)]
    setting = Setting(classes=imbalanced(6, 3, 50.0), nodes=3)
    problems += [cure.build(setting) for cure in CURES]
    problems += [cure.build(setting).under_decay(0.03) for cure in CURES]
    problems.append(programs.fc(pairs.product(class_counts([30, 20, 20, 7, 7, 7, 2]))))  # groups of one class and more
    problems.append(programs.fc(pairs.product(class_counts([9, 5, 3, 1]))))  # every class a group of its own
    problems.append(programs.plain(class_counts([1, 1, 1])))  # one group
    return [problems[i] for i in rng.permutation(len(problems)) if len(problems[i].sizes) <= orbits.MAX_GROUPS]


def agree(one: Solution, other: Solution) -> None:
    """Both intervals contain the optimum; both gaps are as small as the solver makes them."""
    assert one.lower_bound <= other.upper_bound
    assert other.lower_bound <= one.upper_bound
    assert max(one.relative_gap, other.relative_gap) <= 1e-9
    assert abs(one.objective - other.objective) <= 1e-10 * one.objective


@pytest.mark.parametrize("seed", [0, 1])
def test_many_at_once_are_what_one_by_one_gives(seed: int) -> None:
    problems = random_problems(seed)
    together = orbits.solve_all(problems)
    for problem, solution in zip(problems, together, strict=True):
        try:
            alone = orbits.solve(problem)
        except NotCertified:
            assert isinstance(solution, NotCertified), problem
            continue
        assert isinstance(solution, Solution), problem
        assert solution.problem is problem
        agree(alone, solution)
        if not (alone.undecided_groups or solution.undecided_groups):
            assert alone.collapsed_groups == solution.collapsed_groups
            assert alone.rank == solution.rank


def test_frozen_groups_stand_beside_free_ones() -> None:
    problems = [Family("fc", "product", 5, K_A=K_A).at(R) for K_A in (1, 2, 3) for R in (2.0, 30.0)]
    frozen = [(1,), (), (0, 1), (), (1,), (0,)]
    coordinates = [Coordinates(problem) for problem in problems]
    together = orbits.optima(coordinates, target=1e-10, frozen=frozen)
    for member, groups, (X, _) in zip(coordinates, frozen, together, strict=True):
        alone, _ = orbits.optimum(member, target=1e-10, frozen=groups)
        np.testing.assert_allclose(X, alone, atol=1e-9)
        assert not member.group_norms(X)[list(groups)].any()


def test_one_that_is_refused_costs_no_other() -> None:
    easy = [Family("plain").at(R) for R in (1.0, 10.0, 100.0)]
    hard = Family("plain", e_h=30, e_w=30).at(10.0)  # a loss of 1e-13
    refused, *solved = solve_all([hard, *easy])
    assert isinstance(refused, NotCertified)
    with pytest.raises(NotCertified, match="loss is too close to 0"):
        solve(hard)
    for problem, solution in zip(easy, solved, strict=True):
        assert isinstance(solution, Solution)
        agree(solve(problem), solution)


def test_one_that_breaks_linear_algebra_costs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    problems = [Family("plain").at(R) for R in (1.0, 10.0, 100.0)]
    exact = orbits.solve_all

    def breaks(some: Sequence[Problem], **choices: Any) -> list[Solution | NotCertified]:
        if any(problem is problems[1] for problem in some):
            raise np.linalg.LinAlgError("SVD did not converge")
        return exact(some, **choices)

    monkeypatch.setattr(orbits, "solve_all", breaks)
    one, two, three = solve_all(problems, "orbits")
    assert isinstance(one, Solution)
    assert isinstance(three, Solution)
    assert isinstance(two, NotCertified)
    assert "too far apart for float64" in str(two)


def test_a_member_that_rounding_stops_is_left_where_it_is() -> None:
    # nan in one problem's data never reaches the others.
    good, bad = Coordinates(Family("fc").at(10.0)), Coordinates(Family("fc").at(20.0))
    bad.weight = bad.weight * np.nan
    (X, _), (Y, _) = orbits.optima([good, bad], target=1e-10, frozen=[(), ()])
    assert evaluate(good, X / max(1.0, good.nuclear_norm(X) / good.problem.tau)).relative_gap < 1e-10
    assert Y.shape == bad.shape


@pytest.mark.parametrize("decay", [None, 0.03])
def test_certificates_are_the_same_in_a_stack(decay: float | None) -> None:
    coordinates = [Coordinates(Family("ms", "product", 6, decay=decay).at(R)) for R in (1.0, 5.0, 80.0)]
    rng = np.random.default_rng(0)
    points = []
    for one in coordinates:
        X = rng.standard_normal(one.shape)
        X[:, one.G :][one.slots < 0] = 0.0
        points.append(0.5 * X * one.problem.tau / one.nuclear_norm(X))
    ((positions, stack),) = stacks(coordinates)
    assert positions == [0, 1, 2]
    for one, X, certificate in zip(coordinates, points, evaluate_all(stack, np.stack(points)), strict=True):
        f, gradient = one.value_and_gradient(X)
        assert certificate.loss == pytest.approx(f, rel=1e-14)
        np.testing.assert_allclose(certificate.gradient, gradient, rtol=1e-12, atol=1e-15)
        assert certificate.gap == pytest.approx(evaluate(one, X).gap, rel=1e-9)
        top = one.spectral_norm(gradient)
        if decay is None:
            assert certificate.top == pytest.approx(top, rel=1e-13)
            assert certificate.gap == pytest.approx((gradient * X).sum() + one.problem.tau * top + one.rounding(X))
        else:
            assert certificate.penalty == pytest.approx(decay * one.nuclear_norm(X), rel=1e-13)


def test_thresholds_at_once_are_those_one_by_one() -> None:
    families = [Family(*choice) for choice in DEFAULT]
    families += [
        Family("ms", K=6, K_A=2, mixing=mixing.fixed(0.2)),
        Family("fc", decay=0.1),
        Family("fc", e_h=40, e_w=3),
    ]
    for family, together in zip(families, thresholds(families), strict=True):
        alone = threshold(family)
        assert together.certified == alone.certified
        assert together.collapsed_above == alone.collapsed_above
        assert (together.R0 is None) == (alone.R0 is None)
        if alone.R0 is not None:
            assert pytest.approx(alone.R0, rel=1e-8) == together.R0
            assert alone.bracket is not None
            assert together.bracket is not None
            assert together.bracket[0] < alone.bracket[1]
            assert alone.bracket[0] < together.bracket[1]


def test_margins_at_once_are_those_one_by_one() -> None:
    problems = [Family(program).at(R) for program in ("fc", "ms", "plain", "ms-free") for R in (3.0, 200.0)]
    problems.append(Family("fc", decay=0.1).at(3.0))
    problems.append(CURES[[cure.name for cure in CURES].index("LDAM")].build(Setting(classes=imbalanced(4, 2, 9.0))))
    for problem, together in zip(problems, margins(problems), strict=True):
        alone = margin(problem)
        assert abs(together.value - alone.value) <= together.error + alone.error + 1e-15
        assert together.certified == alone.certified


def test_batches_are_thresholds_and_then_rows_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "BATCH", 4)
    families = [Family("plain"), Family("fc"), Family("ms-unordered", mixing=mixing.fixed(0.3), K=17)]
    listed = tasks.tasks_of(families, grid(1.0, 100.0, 3))
    parts = tasks.batches(listed)
    assert [[task.R for task in part] for part in parts][:1] == [[None, None]]
    rows = [task for part in parts[1:] for task in part]
    assert rows == [task for task in listed if task.R is not None]
    # The last family has 17 groups and a solver that takes one problem at a time.
    assert [len(part) for part in parts] == [2, 4, 2, 1, 1, 1]
    results = [result for part in parts[:3] for result in tasks.results_of(part)]
    assert [(row.name, row.R) for row in results if isinstance(row, Row)] == [
        (family.name, R) for family in families[:2] for R in grid(1.0, 100.0, 3)
    ]


def test_a_refused_row_is_named() -> None:
    families = [Family("plain", e_h=30, e_w=30), Family("fc", "product")]
    listed = [task for task in tasks.tasks_of(families, np.array([10.0, 20.0])) if task.R is not None]
    (part,) = tasks.batches(listed)
    found = tasks.results_of(part)
    assert [(refusal.name, refusal.R) for refusal in found[:2] if isinstance(refusal, tasks.Refusal)] == [
        ("plain", 10.0),
        ("plain", 20.0),
    ]
    assert all(isinstance(row, Row) for row in found[2:])
    assert [type(row) for row in solve_rows([(families[0], 10.0), (families[1], 10.0)])] == [NotCertified, Row]


def test_the_order_of_problems_is_kept() -> None:
    members = [Coordinates(problem) for problem in random_problems(2)]
    positions = [position for some, _ in stacks(members) for position in some]
    assert sorted(positions) == list(range(len(members)))
    assert all(stack.members[n] is members[p] for some, stack in stacks(members) for n, p in enumerate(some))
    assert max(len(stack) for _, stack in stacks(members)) > 1
    assert Stack(members[:1]).shape == (1, *members[0].shape)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 9])
def test_small_linear_algebra(n: int) -> None:
    rng = np.random.default_rng(n)
    root = rng.standard_normal((6, n, n))
    A = root @ root.transpose(0, 2, 1) + 0.1 * np.eye(n)
    right = rng.standard_normal((6, n, 4))
    found = small.solve(A.transpose(1, 2, 0)[:, :, None], right.transpose(1, 2, 0)[:, :, None])
    np.testing.assert_allclose(found[:, :, 0].transpose(2, 0, 1), np.linalg.solve(A, right), rtol=1e-9)
    np.testing.assert_allclose(small.inverse(A), np.linalg.inv(A), rtol=1e-9)
    np.testing.assert_allclose(small.least_eigenvalue(A), np.linalg.eigvalsh(A)[:, 0], rtol=1e-9)
    A[2] *= -1
    with np.errstate(invalid="ignore"):
        F = small.cholesky(A)
    assert np.isnan(F[2, 0, 0])
    others = np.delete(np.arange(6), 2)
    np.testing.assert_allclose(F[others] @ F[others].transpose(0, 2, 1), A[others], rtol=1e-9)


@pytest.mark.parametrize("decay", [None, 0.03])
@pytest.mark.parametrize("counts", [(90, 60, 60, 30, 9), (90, 60, 60, 30, 30, 9, 8, 8)])
def test_both_eliminations_give_the_same_step(
    counts: tuple[int, ...], decay: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows with few coordinates and with many are eliminated by different code; a Newton system is the same by both."""
    family = Family("ms", "product", len(counts), mixing=mixing.beta(1.0, 3), decay=decay)
    stack = Stack(
        [
            Coordinates(family.on(class_counts(np.array(counts)))),
            Coordinates(family.on(class_counts(np.array(counts) + 1))),
        ]
    )
    programs, _ = reduce(stack, [(), ()])
    assert len(programs.active) > programs.g > 1  # coordinates inside groups, too
    state = central_path.start(programs)
    systems = []
    for largest in (0, 99):
        monkeypatch.setattr(small, "LARGEST", largest)
        systems.append(NewtonSystem(programs, state, guarded=True))
    many, few = systems
    assert isinstance(many.rows, ManyCoordinates)
    assert isinstance(few.rows, FewCoordinates)
    for name in ("schur", "reduced", "solved"):
        np.testing.assert_allclose(getattr(many.rows, name), getattr(few.rows, name), rtol=1e-9, atol=1e-12)
    with np.errstate(divide="ignore"):  # a step of any length, as in orbits
        steps = [system.direction(0.5 * state.epsilon).change for system in systems]
    for name in ("X", "A", "a", "s", "L", "l"):
        values = [getattr(step, name) for step in steps]
        np.testing.assert_allclose(*values, rtol=1e-8, atol=1e-10 * np.abs(values[0]).max(initial=0.0))
