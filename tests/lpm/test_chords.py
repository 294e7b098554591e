"""Collapse, or its absence, proved at every imbalance of a range: control weights, bounds, and what must not be proved."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import numpy as np
import pytest

from lpm import chords, mixing
from lpm.chords import Chords, apart_up_to, collapsed_from, prove
from lpm.dual_condition import margin
from lpm.family import Family
from lpm.law import own_norm
from lpm.threshold import main, threshold

FAMILIES = {
    "plain": Family("plain"),
    "fc block": Family("fc", "block", w_r=2.0),
    "fc product": Family("fc", "product"),
    "fc product beta": Family("fc", "product", mixing=mixing.beta(1.0, 8)),
    "fc one majority class": Family("fc", "product", K_A=1, e_h=2.0, mixing=mixing.fixed(0.457)),
    "ms product": Family("ms", "product", K=100, mixing=mixing.fixed(0.3)),
    "ms-free": Family("ms-free", "block"),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_collapse_is_proved_from_just_above_the_threshold_on_and_from_nowhere_below(name: str) -> None:
    family = FAMILIES[name]
    result = threshold(family, R_max=1e7)
    assert result.R0 is not None
    assert result.bracket is not None
    R = collapsed_from(family, result.R0)
    assert R is not None
    assert result.R0 < R <= 1.02 * result.R0
    assert prove(family, result.bracket[0]) is None
    assert prove(family, 0.5 * result.R0) is None
    ends = prove(family, R)
    assert ends is not None
    assert (ends[0], ends[-1]) == (R, math.inf)
    assert all(a < b for a, b in pairwise(ends))
    # The dual condition agrees wherever one asks, between the ends and far beyond them.
    for x in np.geomspace(R, 1e3 * R, 6):
        at_x = margin(family.at(float(x)))
        assert at_x.certified
        assert at_x.value > 0


@pytest.mark.parametrize("name", ["fc block", "fc product", "fc one majority class"])
def test_the_absence_of_collapse_is_proved_up_to_just_below_the_threshold(name: str) -> None:
    family, some = FAMILIES[name], Chords(FAMILIES[name])
    result = threshold(family, R_max=1e7)
    assert result.R0 is not None
    assert result.bracket is not None
    R = apart_up_to(family, result.R0)
    assert R is not None
    assert 0.96 * result.R0 < R < result.R0
    for x in np.geomspace(1, R, 5):
        at_x = margin(family.at(float(x)))
        assert at_x.certified
        assert at_x.value < 0
    # No interval that holds a collapsed program is proved to be free of collapse, however short it is.
    w = 1 / result.bracket[1]
    assert some.cover(1.5 * w, w, collapse=False) is None
    for low, high in ((w, 1.001 * w), (w, 1.5 * w), (0.0, w), (0.2 * w, 0.3 * w)):
        lengths = (-0.5, -0.1, -0.01, -1e-3)
        ends = some.points(high, lengths)
        assert not any(some.proves(low, high, t, X) for t, X in zip(lengths, ends, strict=True))


@pytest.mark.parametrize("name", FAMILIES)
def test_weights_in_an_interval_are_means_of_the_control_weights(name: str) -> None:
    family = FAMILIES[name]
    some, low, high = Chords(family), 0.003, 0.4
    control = some.control(low, high)
    for s in (0.0, 0.2, 0.7, 1.0):
        n, w = len(control) - 1, (1 - s) * low + s * high
        basis = [math.comb(n, j) * s**j * (1 - s) ** (n - j) for j in range(n + 1)]
        weights = np.sum([share * c for share, c in zip(basis, control, strict=True)], axis=0)
        p = family.at(1 / w).rows.p
        np.testing.assert_allclose(weights / weights[0], p / p[0], rtol=1e-9)
        # V is concave in the weights and the own norm convex: what the proof rests on.
        total = float(some.problem.rows.count @ weights)
        mean = [share * float(some.problem.rows.count @ c) / total for share, c in zip(basis, control, strict=True)]
        lower = sum(m * some._lower_bound(c) for m, c in zip(mean, control, strict=True))
        assert some._lower_bound(weights) >= lower - 1e-9
        own = sum(m * own_norm(some._at(c), some.minority) for m, c in zip(mean, control, strict=True))
        assert own_norm(some._at(weights), some.minority) <= own * (1 + 1e-12)


def test_a_stronger_pull_or_a_worse_end_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    family = FAMILIES["fc product"]
    R0 = threshold(family).R0
    assert R0 is not None
    some, w, t = Chords(family), 1 / (1.6 * R0), 0.05
    (X,) = some.points(w, [t])
    assert some.proves(0.9 * w, w, t, X)
    assert not some.proves(0.9 * w, w, t, 0.9 * X)
    assert not some.proves(0.9 * w, 1.7 * w, t, X)
    monkeypatch.setattr(chords, "own_norm", lambda *words: 1.6 * own_norm(*words))
    assert prove(family, 1.1 * R0) is None


def test_balanced_frequencies_are_never_proved_to_collapse() -> None:
    assert prove(Family("fc", "balanced"), 1e6) is None


def test_the_command_says_from_where_on_collapse_is_proved(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--program", "fc", "--profile", "block", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["R0"] < result["collapsed_from"] <= 1.01 * result["R0"]
    assert main(["--program", "fc", "--profile", "block"]) == 0
    text = capsys.readouterr().out
    assert "at every R from 300" in text
    assert "on (proved)" in text
    assert main(["--program", "plain", "--R-min", "100"]) == 0
    assert capsys.readouterr().out.endswith("and at every R from 100 on (proved)\n")
