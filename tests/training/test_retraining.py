"""A classifier retrained on frozen features: its draws, what it can and cannot tell apart, and that it is repeatable."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lpm.console.errors import InvalidInput
from training.config import RunConfig, with_preset
from training.run.retraining import class_balanced, retrained_scores

RUN = replace(with_preset(RunConfig(), "smoke"), imbalance=10.0)
COUNTS = np.array([60, 48, 37, 29, 22, 17, 14, 11, 8, 6])
LABELS = np.repeat(np.arange(10), COUNTS)


def finished(config: RunConfig, train: np.ndarray, test: np.ndarray) -> Any:
    """A network as far as its features go."""
    data = SimpleNamespace(train=SimpleNamespace(labels=LABELS))
    return SimpleNamespace(config=config, data=data, inputs={"train": train, "test": test}.__getitem__)


def features(scale: float, seed: int) -> np.ndarray:
    """One direction per class, with noise."""
    noise = np.random.default_rng(seed).normal(size=(len(LABELS), 16))
    return (scale * np.eye(16)[LABELS] + 0.1 * noise).astype(np.float32)


def test_classes_are_drawn_evenly_and_images_of_a_class_too() -> None:
    drawn = np.concatenate([class_balanced(LABELS, 10, np.random.default_rng(seed)) for seed in range(200)])
    shares = np.bincount(LABELS[drawn], minlength=10) / len(drawn)
    assert shares == pytest.approx(0.1, abs=0.005)
    of_class = np.bincount(drawn, minlength=len(LABELS))[LABELS == 9]
    assert of_class.min() > 0.9 * of_class.mean()


def test_separable_features_are_told_apart_and_mere_noise_is_not() -> None:
    scores = retrained_scores(finished(RUN, features(2.0, 0), features(2.0, 1)))
    assert np.mean(scores.argmax(axis=1) == LABELS) > 0.99
    noise = retrained_scores(finished(RUN, features(0.0, 0), features(0.0, 1)))
    rare = LABELS == 9
    assert np.mean(noise.argmax(axis=1) == LABELS) < 0.3
    # No preference for frequent classes is left: predictions of noise are no nearer to the class counts than to uniform ones.
    shares = np.bincount(noise.argmax(axis=1), minlength=10) / len(LABELS)
    assert np.abs(shares - 0.1).sum() < np.abs(shares - COUNTS / COUNTS.sum()).sum()
    assert rare.sum() == 6


def test_draws_follow_from_the_seed() -> None:
    def scores(seed: int) -> np.ndarray:
        return retrained_scores(finished(replace(RUN, seed=seed), features(1.0, 0), features(1.0, 1)))

    assert np.array_equal(scores(0), scores(0))
    assert not np.array_equal(scores(0), scores(1))


def test_two_branches_have_no_single_features() -> None:
    run = replace(RUN, branches="dbn", sampler="bilateral", loss="complement")
    with pytest.raises(InvalidInput, match="branches"):
        retrained_scores(finished(run, features(1.0, 0), features(1.0, 1)))
