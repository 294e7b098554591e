"""Samplers whose images have class laws of their own, and deferred ones: what they draw, by counting."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from training.config import RunConfig, with_preset
from training.model import build
from training.sampling.label_law import label_frequencies
from training.sampling.samplers import ClassAware, Random
from training.sampling.two_laws import Bilateral, Deferred, Tempered, WeightedPartners, drawn, power_law

COUNTS = np.array([200, 90, 41, 18, 8])
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(5), COUNTS))
N = len(LABELS)
EPOCHS = 200


@pytest.mark.parametrize("power", [0.0, -1.0, 1.0, -0.5])
def test_second_images_have_their_own_class_law(power: float) -> None:
    sampler, images = Bilateral(LABELS, power=power), np.zeros(N)
    for epoch in range(EPOCHS):
        first, second = sampler.pairs(epoch).T
        assert sorted(first.tolist()) == list(range(N))
        images += np.bincount(second, minlength=N)
    law = (COUNTS.astype(float) ** power) / (COUNTS.astype(float) ** power).sum()
    expected = EPOCHS * N * (law / COUNTS)[LABELS]  # within a class all images alike
    assert np.abs((images - expected) / np.sqrt(expected)).max() < 5
    classes = np.bincount(LABELS, images)
    assert np.abs((classes - EPOCHS * N * law) / np.sqrt(EPOCHS * N * law)).max() < 5


def test_reversed_streams_have_the_shares_of_bbn() -> None:
    """CIFAR-10 at imbalance 100: 40 % of the second images are of the rarest class, 0.4 % of the most frequent one."""
    counts = np.array([5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50])
    shares = power_law(counts, -1.0) / power_law(counts, -1.0).sum()
    assert shares[[9, 0]] == pytest.approx([0.40, 0.004], rel=0.02)


@pytest.mark.parametrize("power", [0.5, 0.0, 1.0])
def test_tempered_label_pairs_occur_in_proportion_to_a_power_of_both_counts(power: float) -> None:
    sampler, pairs, images = Tempered(LABELS, power=power), np.zeros((5, 5)), np.zeros(N)
    for epoch in range(EPOCHS):
        drawn_now = sampler.pairs(epoch)
        assert drawn_now.shape == (N, 2)
        np.add.at(pairs, tuple(LABELS[drawn_now].T), 1)
        images += np.bincount(drawn_now.ravel(), minlength=N)
    weights = np.outer(COUNTS, COUNTS).astype(float) ** power
    expected = EPOCHS * N * weights / weights.sum()
    assert np.abs((pairs - expected) / np.sqrt(expected)).max() < 5
    alike = (expected.sum(axis=1) * 2 / COUNTS)[LABELS]  # within a class all images alike
    assert np.abs((images - alike) / np.sqrt(alike)).max() < 5


def test_logit_adjustment_of_tempered_pairs_is_the_log_of_their_frequency() -> None:
    """MS adds tau log q to each side of a label pair, and q is the power law itself: together log P(a, b)."""
    config = replace(with_preset(RunConfig(), "smoke"), sampler="tempered", classifier="ms", loss="la", pair_power=0.25)
    assert label_frequencies(config, COUNTS) == pytest.approx(COUNTS**0.25 / (COUNTS**0.25).sum(), rel=1e-12)


@pytest.mark.parametrize("batch", [1, 50, 357])
def test_weighted_partners_are_of_the_batch(batch: int) -> None:
    sampler = WeightedPartners(LABELS, batch=batch)
    first, second = sampler.pairs(3).T
    assert sorted(first.tolist()) == list(range(N))
    for start in range(0, N, batch):
        assert set(second[start : start + batch]) <= set(first[start : start + batch])


def test_weighted_partners_follow_the_weights() -> None:
    """In a batch of all images a partner is of class k with probability n_k^(1 + power) over their sum."""
    sampler, images = WeightedPartners(LABELS, batch=N, power=-0.5), np.zeros(N)
    for epoch in range(EPOCHS):
        images += np.bincount(sampler.pairs(epoch)[:, 1], minlength=N)
    weights = COUNTS.astype(float)[LABELS] ** -0.5
    expected = EPOCHS * N * weights / weights.sum()
    assert np.abs((images - expected) / np.sqrt(expected)).max() < 5
    assert np.bincount(LABELS, expected) / (EPOCHS * N) == pytest.approx(COUNTS**0.5 / (COUNTS**0.5).sum())


def test_positions_are_drawn_in_proportion_and_never_beyond_the_end() -> None:
    cumulative = np.cumsum([0.1, 0.0, 0.3])
    assert drawn(cumulative, np.array([0.0, 0.2499, 0.2501, 1 - 2**-53])).tolist() == [0, 0, 2, 2]
    assert np.isfinite(power_law(np.array([1, 10**6]), -4.0)).all()


def test_a_deferred_sampler_is_the_plain_one_before_its_epoch() -> None:
    plain, late = Random(LABELS, seed=4), ClassAware(LABELS, seed=4)
    deferred = Deferred(plain, late, 3)
    for epoch in (4, 0, 2, 3):
        assert np.array_equal(deferred.pairs(epoch), (plain if epoch < 3 else late).pairs(epoch))


def test_a_run_defers_its_sampler_by_a_share_of_its_epochs() -> None:
    """As weights that set in and learning rates that fall: 0.8 of 200 epochs means from epoch 161 on, the 160th from 0."""
    config = replace(with_preset(RunConfig(), "paper"), sampler="cbs", sampler_from=0.8, seed=1)
    sampler = build.sampler(config, LABELS)
    plain, cbs = (build.sampler(replace(config, sampler=name, sampler_from=0.0), LABELS) for name in ("random", "cbs"))
    assert np.array_equal(sampler.pairs(159), plain.pairs(159))
    assert np.array_equal(sampler.pairs(160), cbs.pairs(160))
    assert config.lr_at(160) > config.lr_at(161)
