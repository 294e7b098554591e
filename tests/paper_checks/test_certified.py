"""What the checks measure with: intervals and their comparison, certified cosines, ball arithmetic, corrected tests."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_ind

from lpm import recovery
from lpm.family import Family
from lpm.mixing import Mixing, fixed
from lpm.pairs import balanced, block, distinct, imbalanced, product, table
from lpm.problem import Problem
from lpm.programs import fc, ms, ms_free, ms_unordered, plain
from lpm.solve import solve
from lpm.threshold import threshold
from paper_checks.claim import Finding, Quantity, Repair, Verdict, conclude
from paper_checks.claims.significance import Comparison, corrected, printed_sample
from paper_checks.interval import BALL, Fact, Interval
from paper_checks.lab import Lab, gram_radius, pair_vectors
from paper_checks.paper.statistics import Sample, holm, welch
from paper_checks.paper.tables import Cell
from tests.lpm.closed_forms import Known, catalogue

CLAIM, NEAR = Interval(1.0, 1.1), 0.05


@pytest.mark.parametrize("seed", range(40))
def test_the_text_of_an_interval_contains_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    middle, half = rng.normal() * 10.0 ** rng.integers(-6, 6), abs(rng.normal()) * 10.0 ** rng.integers(-9, 4)
    interval = Interval(middle - half, middle + half)
    number, _, reach = str(interval).partition(" ± ")
    if reach:
        assert Fraction(number) - Fraction(reach) <= Fraction(interval.lower)
        assert Fraction(interval.upper) <= Fraction(number) + Fraction(reach)
    else:  # every number of the interval is rounded to these digits
        digits = len(number.split("e")[0].strip("-").replace(".", "").lstrip("0"))
        assert float(f"{interval.lower:.{digits}g}") == float(f"{interval.upper:.{digits}g}") == float(number)


@pytest.mark.parametrize(
    ("relation", "computed", "agrees"),
    [
        ("=", Interval(1.02, 1.08), None),
        ("=", Interval(1.3, 1.4), False),
        ("=", Interval(0.5, 0.6), False),
        ("=", Interval(1.12, 1.4), None),
        ("<", Interval(0.8, 0.9), True),
        ("<", Interval(0.8, 1.05), None),
        ("<", Interval(1.1, 1.2), False),
        (">", Interval(1.2, 1.3), True),
        (">", Interval(1.0, 1.0), False),
        (">", Interval(1.05, 1.3), None),
        (">=", Interval(1.1, 1.3), True),
        (">=", Interval(0.9, 0.95), False),
        ("<=", Interval(0.9, 1.0), True),
        ("<=", Interval(1.11, 1.3), False),
    ],
)
def test_intervals_agree_or_contradict_only_when_all_of_them_does(
    relation: str, computed: Interval, agrees: bool | None
) -> None:
    assert Quantity("x", CLAIM, computed, relation, NEAR).agrees is agrees


def test_points_words_and_facts_compare() -> None:
    assert Quantity("x", 1.0, 1.004, "=", 0.005).agrees
    assert Quantity("x", 1.0, 1.006, "=", 0.005).agrees is False
    assert Quantity("x", "a", "b").agrees is False
    assert Quantity("x", True, Fact(True)).agrees
    assert Quantity("x", True, Fact(None)).agrees is None
    with pytest.raises(ValueError, match="is not an interval"):
        Interval(1.0, 0.9)
    with pytest.raises(ValueError, match="is not an interval"):
        Interval(math.nan, 0.9)


YES, NO, OPEN = (Quantity("x", True, Fact(v)) for v in (True, False, None))


@pytest.mark.parametrize(
    ("quantities", "options", "verdict"),
    [
        ([YES], {}, Verdict.HOLDS),
        ([YES, OPEN], {}, Verdict.OPEN),
        ([], {}, Verdict.OPEN),
        ([YES, OPEN, NO], {}, Verdict.FAILS),
        ([NO], {"internal": True}, Verdict.INCONSISTENT),
        ([NO], {"repair": Repair("r", [YES], licence="a misprint")}, Verdict.REPAIRED),
        ([NO], {"repair": Repair("r", [YES])}, Verdict.FAILS),
        ([NO], {"repair": Repair("r", [OPEN], licence="a misprint")}, Verdict.FAILS),
        ([NO], {"repair": Repair("r", [], licence="a misprint")}, Verdict.FAILS),
        ([YES], {"hypothesis": [NO]}, Verdict.VACUOUS),
        ([YES], {"hypothesis": [YES]}, Verdict.HOLDS),
    ],
)
def test_verdict_follows_from_the_quantities(quantities: list[Quantity], options: dict, verdict: Verdict) -> None:
    finding: Finding = conclude(quantities, evidence="e", instances="i", **options)
    assert finding.verdict == verdict


def small() -> list[Known]:
    """Closed forms small enough for ball arithmetic, of the programs with class vectors of K classes."""
    return [k for k in catalogue() if k.problem.rows.count.sum() * k.problem.K <= 400]


@pytest.mark.parametrize("known", small(), ids=lambda k: k.name)
@pytest.mark.parametrize("rigorous", [False, True])
def test_the_closed_form_lies_in_the_interval(known: Known, rigorous: bool) -> None:
    if rigorous:
        pytest.importorskip("flint", reason="python-flint, the extra 'rigorous', is not installed")
    interval = Lab(rigorous=rigorous).loss(known.problem)
    assert interval.lower - 1e-12 <= known.loss <= interval.upper + 1e-12  # the oracle itself is right to some 1e-13
    assert interval.width < 1e-9
    if known.cosines is not None and "ms-free" not in known.name:
        gram = solve(known.problem).gram
        inner = replace(gram).group_cosines
        assert np.nanmax(np.abs(inner - known.cosines)) < 1e-6
        cosines = Lab(rigorous=rigorous).cosines(known.problem)
        for g, classes in enumerate(known.problem.members):
            for h, other_classes in enumerate(known.problem.members):
                pairs = [(a, b) for a in classes for b in other_classes if a != b]
                for a, b in pairs:
                    assert cosines.lower[a, b] - 1e-9 <= known.cosines[g, h] <= cosines.upper[a, b] + 1e-9


TWO = Mixing(np.array([0.25, 0.75]), np.array([0.5, 0.5]), "two points")


@pytest.mark.parametrize(
    "problem",
    [
        fc(block(imbalanced(4, 2, 1))),
        fc(product(imbalanced(4, 1, 30)), fixed(0.2)),
        ms(block(imbalanced(4, 2, 10)), fixed(0.3)),
        ms_unordered(balanced(imbalanced(4)), TWO),
        ms_unordered(product(imbalanced(5, 2, 3))),
        plain(imbalanced(5, 2, 7)),
        fc(table(np.arange(1.0, 17).reshape(4, 4))),
    ],
    ids=lambda p: f"{p.program} {p.profile}",
)
def test_ball_arithmetic_and_float64_agree(problem: Problem) -> None:
    pytest.importorskip("flint", reason="python-flint, the extra 'rigorous', is not installed")
    one, other = Lab().loss(problem), Lab(rigorous=True).loss(problem)
    assert other.how == BALL
    assert max(one.lower, other.lower) <= min(one.upper, other.upper)
    a, b = Lab().cosines(problem), Lab(rigorous=True).cosines(problem)
    assert np.all(np.maximum(a.lower, b.lower) <= np.minimum(a.upper, b.upper))
    assert (b.upper - b.lower).max() < 2e-2


@pytest.mark.parametrize("program", ["fc", "ms", "plain", "ms-free"])
def test_collapse_is_decided_on_both_sides_of_the_threshold(program: str) -> None:
    pytest.importorskip("flint", reason="python-flint, the extra 'rigorous', is not installed")
    family = Family(program, "block")
    R0 = threshold(family).R0
    assert R0 is not None
    for factor, state in ((0.97, False), (1.03, True)):
        R = round(factor * R0, 2)
        for lab in (Lab(), Lab(rigorous=True)):
            assert lab.collapsed(family.at(R)).value is state


def test_cosine_intervals_contain_the_optimum_for_a_rough_point() -> None:
    problem = fc(product(imbalanced(4, 2, 10)), fixed(0.3))
    exact = solve(problem)
    rough = solve(problem, "factored", tolerance=1e-4)
    full, Z = recovery.logits(rough)
    radius = gram_radius(full, Z, rough.gap)
    distance = np.linalg.norm(rough.gram.matrix(problem.members) - exact.gram.matrix(problem.members))
    assert 1e-7 < distance <= radius


def test_common_shifts_of_logits_are_part_of_the_radius() -> None:
    problem = fc(product(imbalanced(4, 2, 30)), fixed(0.3))
    exact = solve(problem)
    full, Z = recovery.logits(exact)
    C = np.diag(full.c) + full.beta
    W, _ = recovery.class_vectors_and_features(full, Z)
    for size in (1e-4, 1e-2):
        shifted = Z + size * np.linspace(-1, 2, len(Z))[:, None]
        shift = np.linalg.norm(np.sqrt(full.rows.d)[:, None] * (shifted - Z) @ np.linalg.cholesky(C))
        more = gram_radius(full, shifted, exact.gap) - gram_radius(full, Z, exact.gap)
        assert more == pytest.approx(2**0.5 * shift * np.sqrt(full.e_w / full.e_h) / full.c.min(), rel=1e-6)
        moved, _ = recovery.class_vectors_and_features(full, shifted)
        distance = np.linalg.norm(moved @ moved.T - W @ W.T)
        assert gram_radius(full, Z, exact.gap) < distance <= gram_radius(full, shifted, exact.gap)
    pytest.importorskip("flint", reason="python-flint, the extra 'rigorous', is not installed")
    from flint import ctx

    from paper_checks import ball, ball_losses

    with ctx.workprec(ball_losses.BITS):
        point = ball._point(exact)
        assert float(ball._shift(point)) < 1e-12
        assert float(ball._shift(replace(point, Z=ball_losses.matrix(shifted)))) == pytest.approx(shift, rel=1e-9)


def test_cosines_need_a_budget_that_is_used_up() -> None:
    """At K = 2 with pairs a != b the loss has a minimum inside a large ball."""
    problem = fc(distinct(imbalanced(2, 1)), fixed(0.3), e_h=1e4)
    with pytest.raises(ArithmeticError, match="need not be unique"):
        Lab().cosines(problem)
    pytest.importorskip("flint", reason="python-flint, the extra 'rigorous', is not installed")
    with pytest.raises(ArithmeticError, match="need not be unique"):
        Lab(rigorous=True).cosines(problem)


def test_ball_arithmetic_reads_fractions_back_and_restores_its_precision() -> None:
    flint = pytest.importorskip("flint", reason="python-flint, the extra 'rigorous', is not installed")
    from paper_checks import ball, ball_losses

    before = flint.ctx.prec
    ball.loss(solve(fc(block(imbalanced(3, 1, 2)))))
    assert flint.ctx.prec == before
    assert ball_losses.fraction(0.1) == Fraction(1, 10)
    assert ball_losses.fraction(math.pi) == Fraction(math.pi)


def test_a_wrong_gradient_or_a_wrong_point_widens_the_ball_interval_but_never_moves_it() -> None:
    """The bounds hold at any point: only the width depends on how good it is."""
    pytest.importorskip("flint", reason="python-flint, the extra 'rigorous', is not installed")
    from paper_checks import ball

    solution = solve(fc(product(imbalanced(4, 2, 10))))
    worse = replace(solution, X=solution.X * 0.9)
    low, high = ball.loss(worse)
    exact = ball.loss(solution)
    assert low <= exact[0] <= exact[1] <= high
    assert high - low > 1e-3


def test_ms_free_is_not_ms_in_ball_arithmetic() -> None:
    pytest.importorskip("flint", reason="python-flint, the extra 'rigorous', is not installed")
    lab, pairs = Lab(rigorous=True), balanced(imbalanced(3))
    assert lab.loss(ms_free(pairs)).upper < lab.loss(ms(pairs)).lower


@pytest.mark.parametrize("lam", [0.2, 0.5])
def test_pair_vectors(lam: float) -> None:
    V = pair_vectors(3, lam)
    assert V.shape == (9, 3)
    assert np.allclose(V.sum(axis=1), 1)
    assert np.allclose(V[1], [lam, 1 - lam, 0])
    assert pair_vectors(4, lam, unordered=True).shape == (6, 4)


def test_welch_from_runs_and_from_print_is_welch_on_the_numbers() -> None:
    values = [70.1, 70.9, 71.4, 70.2, 70.7], [72.0, 71.1, 71.9, 73.0, 71.5, 70.8]
    expected_p = ttest_ind(*values, equal_var=False).pvalue
    assert welch(*map(Sample.of, values)) == pytest.approx(expected_p, rel=1e-9)
    first, second = values[0], values[1][:5]
    expected_p = ttest_ind(first, second, equal_var=False).pvalue
    cells = [
        Cell("cifar10-lt", "100", "m", "all", float(np.mean(x)), float(np.std(x, ddof=1)) - 0.005)
        for x in (first, second)
    ]
    assert welch(*map(printed_sample, cells)) == pytest.approx(expected_p, rel=1e-9)
    with pytest.raises(ValueError, match="without a standard deviation"):
        printed_sample(replace(cells[1], std=None))


@pytest.mark.parametrize(
    ("first", "second"), [([50.0], [48.0, 49.5]), ([48.0, 49.5], []), ([50.0, 50.0], [48.0, 48.0])]
)
def test_welch_needs_two_runs_and_a_standard_deviation(first: list[float], second: list[float]) -> None:
    assert math.isnan(welch(Sample.of(first), Sample.of(second)))


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    cell = Cell("cifar10-lt", "100", "m", "all", 1.0, 1.0)
    assert [c.corrected for c in corrected([Comparison("x", cell, cell, 0.5)] * 3)] == [1.0, 1.0, 1.0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_keeps_the_order_and_lies_between_raw_and_bonferroni(p: list[float]) -> None:
    adjusted = holm(p)
    assert all(x <= a <= 1 for a, x in zip(adjusted, p, strict=True))
    assert min(adjusted) == min(1.0, len(p) * min(p))
    order = sorted(range(len(p)), key=lambda i: p[i])
    assert [adjusted[i] for i in order] == sorted(adjusted)
