"""The collapse law against solved programs, and certificates, solvers and coordinates under weight decay."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lpm import factored, merged, mixing, orbits, pairs, programs, sdp
from lpm.console.errors import InvalidInput
from lpm.coordinates import Coordinates
from lpm.cure_rows import CURES, Cure, Setting
from lpm.family import Family
from lpm.law import collapse_number, own_norm
from lpm.pairs import class_counts, imbalanced
from lpm.problem import Features, Problem
from lpm.solution import evaluate
from lpm.solve import Solver, solve
from paper_checks.beyond.decided import collapsed
from paper_checks.lab import Lab

few = settings(max_examples=20, deadline=None, derandomize=True)
WITHOUT_LAW = ("MS a<b", "LDAM")


@st.composite
def changed(draw: st.DrawFn) -> Problem:
    """Any program of two or three groups with random labels, offsets, factors and pair offsets, on three kinds of label pairs."""
    sizes = draw(st.lists(st.integers(1, 4), min_size=2, max_size=3).filter(lambda s: max(s) > 1))
    counts = [float(10.0 ** draw(st.floats(0, 2))) * (1 + g) for g in range(len(sizes))]
    assume(len(set(counts)) == len(counts))
    classes = class_counts(np.repeat(counts, sizes))
    law = draw(st.sampled_from([mixing.fixed(0.5), mixing.fixed(0.15), mixing.beta(0.4, 3)]))
    kind = draw(st.sampled_from(["plain", "fc", "ms"]))
    profile = draw(st.sampled_from([pairs.product, pairs.balanced, pairs.distinct]))
    problem = programs.plain(classes) if kind == "plain" else getattr(programs, kind)(profile(classes), law)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    G = len(problem.sizes)
    if kind != "ms" and draw(st.booleans()):
        label = rng.uniform(0, 0.3, (len(problem.rows), G + 2)) * draw(st.booleans())
        label[:, -2:] += rng.uniform(0.1, 1.5, (len(label), 2))
        problem = replace(problem, rows=replace(problem.rows, label=label))
    return replace(
        problem,
        offset=draw(st.sampled_from([None, rng.normal(0, 3, G)])),
        factor=draw(st.sampled_from([None, rng.uniform(0.5, 2, G)])),
        pair_offset=rng.normal(0, 3, G) if kind == "ms" and draw(st.booleans()) else None,
    )


def several(problem: Problem) -> list[int]:
    """The groups of two classes or more."""
    return np.flatnonzero(problem.sizes > 1).tolist()


@few
@given(changed(), st.sampled_from(["sample", "mean"]))
def test_the_law_decides_collapse_of_any_group_of_any_symmetric_program(problem: Problem, features: Features) -> None:
    for group in several(problem):
        number = collapse_number(problem.under_decay(1.0, features), group)
        for factor in (0.97, 1.03):
            found = collapsed(Lab(), problem.under_decay(factor * math.sqrt(number), features), group)
            assert found.value is (factor > 1)


@pytest.mark.parametrize("cure", [cure for cure in CURES if cure.name not in WITHOUT_LAW], ids=lambda c: c.name)
def test_the_law_decides_collapse_under_every_cure(cure: Cure) -> None:
    rng = np.random.default_rng(CURES.index(cure))
    K, R = int(rng.integers(4, 9)), float(np.exp(rng.uniform(0.5, 5)))
    classes = imbalanced(K, int(rng.integers(1, K - 1)), R)
    problem = cure.build(Setting(classes=classes, alpha=float(rng.uniform(0.3, 2)), nodes=2))
    number = collapse_number(problem.under_decay(1.0), 1)
    for factor in (0.97, 1.03):
        assert collapsed(Lab(), problem.under_decay(factor * math.sqrt(number))).value is (factor > 1)


@few
@given(changed(), st.integers(0, 2**32 - 1))
def test_at_equal_class_vectors_the_gradient_between_them_has_labels_alone(problem: Problem, seed: int) -> None:
    problem = problem.under_decay(0.1)
    coordinates = Coordinates(problem)
    for group in several(problem):
        X = np.random.default_rng(seed).standard_normal(coordinates.shape)
        X[:, coordinates.G :][(coordinates.slots < 0) | (coordinates.slots == group)] = 0.0
        _, gradient = coordinates.value_and_gradient(X)
        assert coordinates.group_norms(gradient)[group] == pytest.approx(own_norm(problem, group), rel=1e-9)


def test_what_the_law_does_not_cover_is_refused() -> None:
    problem = Family("fc", "product", decay=0.1).at(5.0)
    for refused in (
        replace(problem, margin=np.array([0.1, 0.3])),
        Family("ms-unordered", K=5, mixing=mixing.fixed(0.3), decay=0.1).at(5.0),
        Family("fc", K=3, K_A=2, decay=0.1).at(5.0),
    ):
        with pytest.raises(InvalidInput):
            collapse_number(refused, len(refused.sizes) - 1)


def test_a_margin_moves_the_collapse() -> None:
    problem = Family("fc", "product").at(20.0)
    mu = 1.03 * math.sqrt(collapse_number(problem.under_decay(1.0), 1))
    with_margin = replace(problem, margin=np.array([0.0, 0.5])).under_decay(mu)
    assert collapsed(Lab(), problem.under_decay(mu)).value is True
    assert collapsed(Lab(), with_margin).value is False


@few
@given(changed(), st.floats(0.05, 1.5), st.integers(0, 2**32 - 1))
def test_gap_under_decay_is_valid_at_any_point(problem: Problem, share: float, seed: int) -> None:
    coordinates = Coordinates(problem.under_decay(1.0))
    steepest = coordinates.spectral_norm(coordinates.value_and_gradient(np.zeros(coordinates.shape))[1])
    problem = problem.under_decay(share * steepest)
    best = orbits.solve(problem)
    coordinates, rng = best.coordinates, np.random.default_rng(seed)
    X = rng.standard_normal(coordinates.shape) * 10 ** rng.uniform(-2, 1)
    X[:, coordinates.G :][coordinates.slots < 0] = 0.0
    optimal = evaluate(coordinates, best.X)
    for point in (X, 0.9 * best.X + 0.1 * X, 0 * X):
        certificate = evaluate(coordinates, point)
        objective = certificate.loss + certificate.penalty
        assert objective >= best.lower_bound
        assert objective - certificate.gap <= best.upper_bound
        error = certificate.gradient_error + optimal.gradient_error
        assert np.linalg.norm(certificate.gradient - optimal.gradient) <= error


SOLVED = {
    "plain": Family("plain", K=5, K_A=2).at(8.0),
    "fc": Family("fc", "product", 4, mixing=mixing.fixed(0.3)).at(8.0),
    "ms": Family("ms", "product", 4).at(8.0),
}


@pytest.mark.parametrize("factor", [1.02, 1.5])
@pytest.mark.parametrize("solver", ["orbits", "factored", "sdp"])
@pytest.mark.parametrize("name", SOLVED)
def test_where_nothing_is_left_all_solvers_say_so(name: str, solver: Solver, factor: float) -> None:
    coordinates = Coordinates(SOLVED[name].under_decay(1.0))
    steepest = coordinates.spectral_norm(coordinates.value_and_gradient(np.zeros(coordinates.shape))[1])
    solution = solve(SOLVED[name].under_decay(factor * steepest), solver)
    assert (solution.rank, solution.rank_bounds, solution.collapsed) == (0, (0, 0), True)


@pytest.mark.parametrize("share", [0.5, 0.9, 1.1])
@pytest.mark.parametrize("name", SOLVED)
def test_solvers_agree_under_decay(name: str, share: float) -> None:
    problem = SOLVED[name]
    problem = problem.under_decay(share * math.sqrt(collapse_number(problem.under_decay(1.0), 1)))
    solutions = [solver.solve(problem) for solver in (orbits, factored, merged, sdp)]
    assert max(s.relative_gap for s in solutions) <= 1e-6
    # Every optimum lies in every interval, so any two intervals meet.
    assert max(s.lower_bound for s in solutions) <= min(s.upper_bound for s in solutions)


@few
@given(changed())
def test_orbits_and_factored_agree_with_any_labels_offsets_and_factors(problem: Problem) -> None:
    group = several(problem)[0]
    problem = problem.under_decay(0.6 * math.sqrt(collapse_number(problem.under_decay(1.0), group)))
    one, other = orbits.solve(problem), factored.solve(problem)
    assert max(one.relative_gap, other.relative_gap) <= 1e-6
    assert max(one.lower_bound, other.lower_bound) <= min(one.upper_bound, other.upper_bound)


def test_decay_on_mixed_class_vectors_is_not_meant() -> None:
    fc, ms = (Family(name, "product", mixing=mixing.fixed(0.3), decay=0.1).at(20.0) for name in ("fc", "ms"))
    assert ms.beta == 0
    np.testing.assert_array_equal(fc.c, ms.c)
    assert collapse_number(fc, 1) == pytest.approx(collapse_number(ms, 1), rel=1e-14)
