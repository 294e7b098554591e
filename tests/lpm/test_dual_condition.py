"""The dual condition of collapse: the minority's own norm in closed form, and bounds on the norm that holds it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lpm import mixing, orbits
from lpm.console.errors import InvalidInput
from lpm.coordinates import Coordinates
from lpm.dual_condition import margin
from lpm.family import Family
from lpm.law import own_norm
from tests.lpm import closed_forms

FAMILIES = {
    "plain": Family("plain", K=10),
    "plain, two minority classes": Family("plain", K=4),
    "fc product": Family("fc", "product", K=5, K_A=2, mixing=mixing.fixed(0.3)),
    "fc block": Family("fc", "block", K=6, K_A=2, w_r=3),
    "fc eq7": Family("fc", "block", K=5, K_A=3, budget="eq7"),
    "fc beta": Family("fc", "product", mixing=mixing.beta(1.0, 8)),
    "ms product": Family("ms", "product", K=7, mixing=mixing.fixed(0.3)),
    "ms beta": Family("ms", "block", mixing=mixing.beta(0.2, 5)),
    "ms-unordered": Family("ms-unordered", "product", K=5),
    "ms-free": Family("ms-free", "block"),
    "ms-free product": Family("ms-free", "product"),
}


@pytest.mark.parametrize("R", [1.0, 20.0, 1e5])
@pytest.mark.parametrize("name", FAMILIES)
def test_own_norm_is_that_of_the_gradient_wherever_the_minority_coincides(name: str, R: float) -> None:
    problem = FAMILIES[name].at(R)
    coordinates, B = Coordinates(problem), problem.minority
    assert B is not None
    X = np.random.default_rng(0).standard_normal(coordinates.shape)
    X[:, coordinates.G :][np.isin(coordinates.slots, (-1, B))] = 0.0
    for size in (0.0, 1e-2, 0.3):
        _, gradient = coordinates.value_and_gradient(size * X * coordinates.scale[:, None])
        assert own_norm(problem, B) == pytest.approx(coordinates.group_norms(gradient)[B], rel=1e-12)


@pytest.mark.parametrize("law", [mixing.fixed(0.5), mixing.fixed(0.1), mixing.beta(1.0, 16)], ids=lambda law: law.label)
@pytest.mark.parametrize(("K", "K_A"), [(4, 2), (4, 1), (10, 7), (100, 36)])
@pytest.mark.parametrize("R", [0.1, 1.0, 300.0])
def test_own_norm_is_the_closed_form(law: mixing.Mixing, K: int, K_A: int, R: float) -> None:
    q = law.mean(law.nodes**2 + (1 - law.nodes) ** 2)
    for profile, exact in (("product", closed_forms.own_product), ("block", closed_forms.own_block)):
        problem = Family("fc", profile, K, K_A=K_A, mixing=law).at(R)
        assert own_norm(problem, 1) == pytest.approx(exact(K_A, K - K_A, R, q), rel=1e-12)


@pytest.mark.parametrize("R", [40.0, 280.0, 1000.0])
@pytest.mark.parametrize("name", ["fc product", "ms-free", "ms-unordered", "plain"])
def test_bounds_of_a_poor_point_hold(name: str, R: float, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = FAMILIES[name].at(R)
    coordinates, exact = Coordinates(problem), margin(problem)
    assert exact.error < 1e-3
    optimal, _ = orbits.optimum(coordinates, target=1e-11, frozen=(problem.minority or 0,))
    rng, errors = np.random.default_rng(0), []
    for size in (1e-8, 1e-6, 1e-4, 1e-3, 0.1):
        for length in (1.01, 0.99, 1.0):  # a point beyond the ball, inside it, or on it
            X = optimal * (1 + size * rng.standard_normal(optimal.shape))
            X *= length * problem.tau / coordinates.nuclear_norm(X)
            monkeypatch.setattr(orbits, "optima", lambda *_, X=X, **__: [(X, 0)])
            rough = margin(problem)
            assert abs(rough.value - exact.value) <= rough.error + exact.error
        errors.append(rough.error)
    assert exact.error < errors[0] < errors[1] < 0.1  # the bounds say something


def test_the_margin_is_not_monotone_in_the_imbalance() -> None:
    # A larger imbalance can bring a minority further from collapse: so a sign at one R says nothing about larger ones.
    family = Family("fc", "product", K=4, K_A=1, e_h=2.0, mixing=mixing.fixed(0.457))
    rises, falls, rises_again = (margin(family.at(R)) for R in (1.0, 100.0, 1e4))
    assert rises.value - rises.error > falls.value + falls.error + 1
    assert rises_again.value - rises_again.error > falls.value + falls.error + 1


def test_nothing_pulls_classes_apart_whose_label_pairs_never_occur() -> None:
    problem = Family("fc", "product").at(1e60)
    assert own_norm(problem, 1) > 0
    assert margin(problem).certified
    assert math.isfinite(margin(problem).value)


def test_a_minority_of_one_class_is_refused() -> None:
    with pytest.raises(InvalidInput, match="K_A <= K - 2"):
        margin(Family("fc", K=4, K_A=3).at(10))
