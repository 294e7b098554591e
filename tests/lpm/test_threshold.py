"""The threshold of minority collapse against closed forms, and against solves on either side of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from lpm import mixing, orbits
from lpm.console.errors import InvalidInput
from lpm.coordinates import Coordinates
from lpm.dual_condition import margin
from lpm.family import Family
from lpm.solve import solve
from lpm.threshold import main, sentence, threshold
from tests.lpm import closed_forms

FAMILIES = {
    "plain": Family("plain", K=10),
    "fc product": Family("fc", "product"),
    "fc block": Family("fc", "block", K=6, K_A=2),
    "fc eq7": Family("fc", "block", K=5, K_A=3, budget="eq7"),
    "fc product beta": Family("fc", "product", mixing=mixing.beta(1.0, 8)),
    "ms product": Family("ms", "product", mixing=mixing.fixed(0.3)),
    "ms-unordered": Family("ms-unordered", "product", K=5),
    "ms-free": Family("ms-free", "block"),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_threshold_is_bracketed_by_solves(name: str) -> None:
    family = FAMILIES[name]
    result = threshold(family, R_max=1e5)
    assert result.R0 is not None
    assert result.bracket is not None
    assert result.bracket[0] < result.R0 < result.bracket[1]
    assert result.bracket[1] / result.bracket[0] < 1.1
    assert result.collapsed_above
    assert solve(family.at(0.98 * result.R0)).collapsed is False
    above = solve(family.at(1.02 * result.R0))
    assert above.collapsed is True
    assert above.cosine(1, 1) == pytest.approx(1.0, abs=1e-12)
    low, high = (margin(family.at(R)) for R in result.bracket)
    assert low.certified
    assert high.certified
    assert low.value < 0 < high.value


def test_bracket_is_narrow_however_the_solver_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    family, rng, exact, gaps = FAMILIES["ms-unordered"], np.random.default_rng(0), orbits.optima, []

    def rounded(many: Sequence[Coordinates], **choices: Any) -> list[tuple[np.ndarray, int]]:
        points = zip(many, exact(many, **choices), choices["frozen"], strict=True)
        return [(shaken(coordinates, X, frozen), steps) for coordinates, (X, steps), frozen in points]

    def shaken(coordinates: Coordinates, X: np.ndarray, frozen: tuple[int, ...]) -> np.ndarray:
        # Relative gaps from 1e-13 to above 1e-11, the solver's target: more than they vary between processors.
        X = X * (1 + 10.0 ** rng.uniform(-12.2, -10.5) * rng.standard_normal(X.shape))
        X *= coordinates.problem.tau / coordinates.nuclear_norm(X)
        loss, gradient = coordinates.value_and_gradient(X)
        top = coordinates.spectral_norm(gradient, frozen)
        gaps.append(((gradient * X).sum() + coordinates.problem.tau * top) / loss)
        return X

    monkeypatch.setattr(orbits, "optima", rounded)
    for _ in range(5):
        result = threshold(family, R_min=3000, R_max=50_000)
        assert result.R0 is not None
        assert result.bracket is not None
        assert result.bracket[0] < result.R0 < result.bracket[1] < 1.1 * result.bracket[0]
    assert np.quantile(gaps, 0.1) < 1e-12
    assert np.quantile(gaps, 0.9) > 5e-12


@pytest.mark.parametrize(("K_A", "K_B", "E"), [(5, 5, 5.0), (2, 2, 5.0), (3, 5, 3.0)])
def test_plain_threshold_is_the_fixed_point(K_A: int, K_B: int, E: float) -> None:
    result = threshold(Family("plain", K=K_A + K_B, K_A=K_A, e_h=E))
    assert pytest.approx(closed_forms.plain_threshold(K_A, K_B, E), rel=1e-7) == result.R0


def test_no_digit_of_R0_without_a_certificate() -> None:
    family = Family("fc", "block", mixing=mixing.fixed(0.1), e_h=60)  # R0 = 1.40386775e10, and losses of 1e-9
    result = threshold(family, R_max=1e14)
    assert (result.R0, result.bracket, result.certified, result.text) == (None, None, False, "")
    assert result.proofs[0] == (1.0, False)
    text = sentence(family, result, 1.0, 1e14)
    assert "R0 is not certified" in text
    assert "absence of collapse at R = 1" in text


@pytest.mark.parametrize("name", ["plain", "fc product", "ms-free"])
def test_R0_is_printed_in_digits_that_its_bracket_proves(name: str) -> None:
    result = threshold(FAMILIES[name], R_max=1e5)
    assert result.bracket is not None
    assert result.bracket[0] <= float(result.text) <= result.bracket[1]
    assert f"R0 = {result.text} (certified in [" in sentence(FAMILIES[name], result, 1.0, 1e5)
    low, high = sentence(FAMILIES[name], result, 1.0, 1e5).split("[")[1].split("]")[0].split(", ")
    assert float(low) <= result.bracket[0] < result.bracket[1] <= float(high)


@pytest.mark.parametrize(
    "family",
    [
        Family("plain", e_h=1e-3),
        Family("ms", "block", mixing=mixing.fixed(1e-6)),
        Family("fc", "product"),
        Family("ms"),
    ],
    ids=["plain, tiny budget", "ms, tiny lambda", "fc", "ms"],
)
def test_a_solution_near_the_threshold_is_undecided_or_right(family: Family) -> None:
    result = threshold(family)
    assert result.bracket is not None
    low, high = result.bracket
    for distance in (1e-7, 1e-6, 1e-5, 1e-4, 1e-2):
        assert solve(family.at(low * (1 - distance))).collapsed in (False, None)
        assert solve(family.at(high * (1 + distance))).collapsed in (True, None)
    assert solve(family.at(result.R0)).collapsed is None
    assert solve(family.at(low * 0.9)).collapsed is False
    assert solve(family.at(high * 1.1)).collapsed is True


def test_balanced_frequencies_never_collapse() -> None:
    for program in ("fc", "ms"):
        result = threshold(Family(program, "balanced"))
        assert result.R0 is None
        assert result.bracket is None
        assert not result.collapsed_above


def test_range_beyond_the_threshold_is_collapsed_throughout() -> None:
    result = threshold(Family("plain", K=10), R_min=20, R_max=1000)
    assert result.R0 is None
    assert result.collapsed_above


def test_where_collapse_only_ends_there_is_no_threshold(capsys: pytest.CaptureFixture[str]) -> None:
    family = Family("fc", "product", 41, K_A=1, decay=0.90576, features="mean")
    ((low, high),) = threshold(family, R_max=50).intervals
    assert low == 1
    for R, collapsed in ((high / 1.001, True), (high * 1.001, False)):
        assert solve(family.at(R)).collapsed is collapsed
    result = threshold(family, R_max=50)
    assert (result.R0, result.bracket, result.collapsed_above, result.certified) == (None, None, False, True)
    assert result.state == f"collapse ends at {high:.4g}"
    words = "--K 41 --K-A 1 --decay 0.90576 --features mean --R-max 50"
    assert main(words.split()) == 0
    assert f"collapsed in [1, {high:.9g}] and nowhere else" in capsys.readouterr().out


def test_mu_at_the_collapse_number_of_every_R_is_not_decided(capsys: pytest.CaptureFixture[str]) -> None:
    for K in (4, 10):  # c_B = 1 / (2 K)
        result = threshold(Family("fc", "balanced", K, decay=math.sqrt(1 / (2 * K))))
        assert (result.R0, result.certified, result.intervals) == (None, False, ())
    touching = threshold(Family("plain", decay=0.5))  # c_B = 1/4 at R = 1, and less above it
    assert (touching.R0, touching.certified, touching.intervals) == (None, True, ((1, 1e4),))
    assert main(["--profile", "balanced", "--decay", str(math.sqrt(1 / 8))]) == 1
    assert "take another decay" in capsys.readouterr().out


def test_oversampling_moves_the_threshold() -> None:
    # Proposition 1: w_r n_B replaces n_B, so R0 grows by the factor w_r.
    one, other = (threshold(Family("fc", "block", w_r=w)) for w in (1.0, 3.0))
    assert one.R0 is not None
    assert pytest.approx(3 * one.R0, rel=1e-9) == other.R0


def test_refusals() -> None:
    with pytest.raises(InvalidInput, match="K_A <= K - 2"):
        threshold(Family("fc", "product", K=4, K_A=3))
    with pytest.raises(InvalidInput, match="lambda = 1/2"):
        threshold(Family("ms-unordered", "product", mixing=mixing.fixed(0.3)))
    with pytest.raises(InvalidInput, match="0 < R_min < R_max"):
        threshold(Family("plain"), R_min=5, R_max=5)
