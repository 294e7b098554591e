"""Offsets of label pairs: the loss against a softmax written out over all label pairs, solvers against one another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from lpm import factored, merged, mixing, orbits, pairs, programs, sdp
from lpm.console.errors import InvalidInput
from lpm.losses import Losses
from lpm.pairs import class_counts
from lpm.problem import Problem
from training import mixed_singleton

CLASSES = class_counts(np.array([90.0, 30.0, 30.0, 4.0]))
SHIFTS = np.array([0.3, -1.2, -4.0])
"""One for each group of equal counts."""


def written_out(full: Problem, V: np.ndarray) -> np.ndarray:
    """The losses of rows with logits V (M, K), each a softmax over a list of label pairs."""
    rows, K, s = full.rows, full.K, full.pair_offset
    assert s is not None
    labels = [(a, b) for a in range(K) for b in range(K) if a < b or full.partition == "pairs"]
    losses = []
    for a, b, lam, z in zip(rows.first, rows.second, rows.lam, V, strict=True):
        logits = np.array([lam * z[i] + (1 - lam) * z[j] + s[i] + s[j] for i, j in labels])
        losses.append(logsumexp(logits) - logits[labels.index((a, b))])
    return np.array(losses)


def of_program(partition: str, lam: float) -> Problem:
    """Mixed-singleton of four classes with offsets of label pairs."""
    if partition == "pairs":
        problem = programs.ms(pairs.product(CLASSES), mixing.fixed(lam))
    else:
        problem = programs.ms_unordered(pairs.distinct(CLASSES), mixing.fixed(lam))
    return replace(problem, pair_offset=SHIFTS if len(problem.sizes) == 3 else SHIFTS[[0, 1, 1, 2]])


@pytest.mark.parametrize("partition", ["pairs", "unordered"])
def test_the_loss_is_a_softmax_over_label_pairs(partition: str) -> None:
    full, _ = of_program(partition, 0.3).expand()
    V = 3 * np.random.default_rng(0).standard_normal((len(full.rows), full.K))
    value, slope, size = Losses.of(full, slice(None), 0.0).evaluate(V)
    np.testing.assert_allclose(value, written_out(full, V), rtol=1e-12)
    assert np.all(size >= np.abs(value))
    step = 1e-5
    for k in range(full.K):
        moved = step * np.eye(full.K)[k]
        difference = (written_out(full, V + moved) - written_out(full, V - moved)) / (2 * step)
        np.testing.assert_allclose(slope[:, k], difference, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(("partition", "lam"), [("pairs", 0.3), ("pairs", 0.5), ("unordered", 0.5)])
def test_solvers_agree(partition: str, lam: float) -> None:
    problem = of_program(partition, lam).under_decay(0.05)
    solutions = [solver.solve(problem) for solver in (orbits, factored, sdp)]
    assert max(s.relative_gap for s in solutions) <= 1e-6
    assert max(s.lower_bound for s in solutions) <= min(s.upper_bound for s in solutions)
    without = orbits.solve(replace(problem, pair_offset=None))
    assert not without.lower_bound <= solutions[0].loss + solutions[0].penalty <= without.upper_bound


def test_at_one_half_they_are_offsets_of_logits_twice_as_large() -> None:
    problem = of_program("pairs", 0.5).under_decay(0.05)
    other = replace(problem, pair_offset=None, offset=2 * SHIFTS)
    assert orbits.solve(problem).lower_bound == pytest.approx(orbits.solve(other).lower_bound, rel=1e-10)


@pytest.mark.parametrize("partition", ["pairs", "unordered"])
def test_they_are_logit_adjustment_of_mixed_singleton_as_networks_have_it(partition: str) -> None:
    full, _ = of_program(partition, 0.3).expand()
    assert full.pair_offset is not None
    V = np.random.default_rng(1).standard_normal((len(full.rows), full.K))
    value, _, _ = Losses.of(full, slice(None), 0.0).evaluate(V)
    z, a, b, lam, offsets = map(
        torch.from_numpy, (V, full.rows.first, full.rows.second, full.rows.lam, full.pair_offset)
    )
    mean = mixed_singleton(z, a, b, lam, unordered=partition == "unordered", offsets=offsets)
    assert value.mean() == pytest.approx(mean.item(), rel=1e-12)


def test_what_they_are_not_defined_for_is_refused() -> None:
    problem = programs.fc(pairs.product(CLASSES))
    with pytest.raises(InvalidInput, match="label pairs as classes"):
        replace(problem, pair_offset=SHIFTS)
    with pytest.raises(InvalidInput, match="pair offsets must be finite"):
        replace(of_program("pairs", 0.5), pair_offset=np.array([1.0, np.nan, 0.0]))
    with pytest.raises(InvalidInput, match="--solver factored"):
        merged.solve(of_program("pairs", 0.5).under_decay(0.05))
