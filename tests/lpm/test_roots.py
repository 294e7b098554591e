"""Roots of many increasing functions: known roots near and far, steep, flat and at 0, and functions without one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lpm.roots import between, increasing


def test_every_root_is_found_in_few_evaluations() -> None:
    rng = np.random.default_rng(0)
    roots, steep, calls = 10 * rng.normal(size=500), np.exp(2 * rng.normal(size=500)), np.zeros(500)
    roots[0] = 0.0

    def function(members: np.ndarray, x: np.ndarray) -> np.ndarray:
        calls[members] += 1
        return np.tanh(steep[members] * (x - roots[members])) + 0.1 * (x - roots[members]) ** 3

    found = increasing(function, 500)
    assert np.abs(found - roots).max() < 1e-11
    assert calls[0] == 1
    assert calls.mean() < 15  # bisection would take some 45


def test_a_function_without_a_root_gets_nan_and_disturbs_no_other() -> None:
    def function(members: np.ndarray, x: np.ndarray) -> np.ndarray:
        return np.choose(members, [2 + np.tanh(x), x - 3.0, np.full_like(x, np.nan), np.tanh(x) - 2])

    found = increasing(function, 4)
    assert found[1] == 3.0
    assert np.isnan(found[[2, 3]]).all()
    assert increasing(function, 0).shape == (0,)


def test_one_root_in_a_bracket_also_where_the_function_falls_or_jumps() -> None:
    assert between(lambda x: x**3 - 2, 0.0, 4.0) == pytest.approx(2 ** (1 / 3), rel=1e-12)
    assert between(lambda x: 1 - math.exp(x), -3.0, 40.0) == pytest.approx(0.0, abs=1e-12)
    assert between(lambda x: 1.0 if x > 0.3 else -2.0, 0.0, 1.0) == pytest.approx(0.3, rel=1e-11)
    assert between(lambda x: x - 1, 1.0, 2.0) == 1.0
