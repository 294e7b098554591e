"""The label law of every sampler under every mixing law, against what is drawn."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lpm.console.errors import InvalidInput
from training.batches.epoch import batch_sizes
from training.batches.laws import Pairs, plan
from training.config import RunConfig, with_preset
from training.methods import LAWS, SAMPLERS
from training.model import build
from training.sampling.label_law import label_frequencies

TINY = replace(with_preset(RunConfig(), "smoke"), epochs=200, imbalance=10.0, batch=4, coverage=1.0)
COUNTS = np.array([200, 90, 41, 18, 8])
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(5), COUNTS))
CIFAR10 = np.array([5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50])
"""Images of the classes of CIFAR10-LT at imbalance 100."""


@pytest.mark.parametrize("law", [name for name, row in LAWS.items() if row.mean])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_frequencies_are_those_of_the_labels_that_are_drawn(sampler: str, law: str) -> None:
    """Within five standard deviations. Batches of four let an image meet itself, so that counts too."""
    choices: dict[str, Any] = {"ratio_per": "sample"} if LAWS[law].takes_ratios else {}
    if sampler == "coverage":
        choices["coverage"] = 0.6
    if sampler == "unimix":
        choices["batch"] = len(LABELS)  # the law is that of a batch of all images
    config = replace(TINY, sampler=sampler, mixing=law, alpha=0.7, **choices)
    q, made = label_frequencies(config, COUNTS), build.sampler(config, LABELS)
    sizes, mass = batch_sizes(len(LABELS), config), np.zeros(5)
    epochs = range(1, 201) if law == "cmo" else range(1, 61)  # CMO's window counts
    for epoch in epochs:
        pairs = Pairs(config, made, epoch, sizes)
        weights = plan(config, epoch, pairs).weights.numpy()
        for label, weight in zip(LABELS[pairs.indices].T, (weights, 1 - weights), strict=True):
            mass += np.bincount(label, weight, minlength=5)
    assert q.sum() == pytest.approx(1)
    # One box per batch: its pairs count as one, which is more than they weigh.
    drawn = len(epochs) * (len(sizes) if LAWS[law].boxes else len(LABELS))
    assert np.all(np.abs(mass / mass.sum() - q) <= 5 * np.sqrt(q * (1 - q) / drawn))


@pytest.mark.parametrize(
    ("choices", "ratio"),
    [
        ({}, 100),
        ({"mixing": "remix"}, 77),
        ({"mixing": "unimix", "sampler": "unimix", "alpha": 0.8}, 21),
        ({"mixing": "cmo", "sampler": "bilateral", "cmo_first": 0, "cmo_last": 0}, 19),
        ({"sampler": "bilateral"}, 4.8),
        ({"sampler": "lom", "mixing": "mamix", "mamix_c": 0.0}, 1),
        ({"sampler": "bmls", "mixing": "cutmix"}, 1),
    ],
)
def test_head_and_tail_are_as_far_apart_as_was_computed_before(choices: dict[str, Any], ratio: float) -> None:
    """The most frequent class of CIFAR10-LT over the rarest, in labels; the numbers were simulated apart from this code."""
    config = replace(with_preset(RunConfig(dataset="cifar10-lt"), "paper"), **choices)
    q = label_frequencies(config, CIFAR10)
    assert q[0] / q[9] == pytest.approx(ratio, rel=0.03)  # simulated from some hundred thousand pairs


def test_classes_of_one_count_are_summed_together() -> None:
    """8,142 classes: pairs of classes would be 66 million."""
    counts = np.sort(np.random.default_rng(0).geometric(0.02, 8142))[::-1]
    config = replace(TINY, mixing="remix", sampler="bmls")
    start = time.process_time()
    q = label_frequencies(config, counts)
    assert time.process_time() - start < 5  # less than a tenth of that
    assert q.sum() == pytest.approx(1)
    assert q[-1] > q[0]  # balanced label pairs, and Remix leans to rare classes


def test_a_sampler_that_does_not_say_its_law_needs_the_data_as_prior(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SAMPLERS, "cas", replace(SAMPLERS["cas"], label_law=""))
    with pytest.raises(InvalidInput, match="how often sampler 'cas' draws each class; take --prior data"):
        label_frequencies(replace(TINY, sampler="cas"), COUNTS)


def test_matched_backgrounds_need_the_data_as_prior() -> None:
    config = replace(TINY, mixing="otmix-train")
    with pytest.raises(InvalidInput, match="how often mixing 'otmix-train' shows each class; take --prior data"):
        label_frequencies(config, COUNTS)
    build.network(replace(config, loss="la", prior="data"), 1, counts=np.arange(1, 11))


def test_a_deferred_sampler_has_two_laws() -> None:
    with pytest.raises(InvalidInput, match="with --sampler-from they change during the run; take --prior data"):
        replace(TINY, sampler="cbs", sampler_from=0.8, loss="la")
    replace(TINY, sampler="cbs", sampler_from=0.8, loss="la", prior="data")
