"""Runs that mix by other laws: they train, resume, measure, and equal simpler runs where their law says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save as save_tensors

from figures import optimum
from lpm.console.errors import InvalidInput
from tests.training.test_methods_resume import METHODS as RESUMED
from training.batches.epoch import draw
from training.config import RunConfig, with_preset
from training.data import datasets
from training.methods import LAWS
from training.run import loop, trainer
from training.store import collapse
from training.store.runs import RunFolder

TINY = replace(with_preset(RunConfig(), "smoke"), epochs=3, width=4, imbalance=10.0, augment=True)
CPU = torch.device("cpu")
METHODS = {name: choices for name, choices in RESUMED.items() if name in ("remix", "unimix+la", "cutmix")}


def weights(config: RunConfig, data: datasets.LongTailed, epochs: int) -> bytes:
    """The state after some epochs, without counts of label pairs."""
    learner = trainer.Trainer(config, data, CPU)
    for _ in range(epochs):
        learner.train_epoch()
    return save_tensors({name: x for name, x in learner.state().items() if name != "pair_counts"})


def test_boxes_that_never_come_are_training_without_mixup(digits: datasets.LongTailed) -> None:
    never = replace(TINY, mixing="cutmix", box_probability=1e-12)
    assert weights(never, digits, 2) == weights(replace(TINY, alpha=0.0), digits, 2)


@pytest.mark.parametrize("sampler", ["cas", "lom", "bmls"])
def test_a_deferred_run_is_the_plain_run_before_its_epoch(sampler: str, digits: datasets.LongTailed) -> None:
    deferred, plain = replace(TINY, sampler=sampler, sampler_from=0.67), TINY
    assert weights(deferred, digits, 2) == weights(plain, digits, 2)
    assert weights(deferred, digits, 3) != weights(plain, digits, 3)


@pytest.mark.parametrize("law", ["cutmix", "remix", "manifold"])
def test_the_loss_depends_on_both_labels(law: str, digits: datasets.LongTailed) -> None:
    config = replace(TINY, mixing=law, **({"box_probability": 1.0} if law == "cutmix" else {}))
    learner = trainer.Trainer(config, digits, CPU)
    learner.network.eval()
    drawn = draw(config, learner.assembly.sampler, 1).select(torch.arange(32) * 15)  # of all batches
    first, second = (learner.source.side(drawn, torch.arange(32), side) for side in (0, 1))
    a, b = (learner.steps.train_labels[drawn.pairs[:, side]] for side in (0, 1))

    def loss(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        value: torch.Tensor = learner.assembly.objective(first, second, a, b, drawn.ratios, drawn.weights, drawn.boxes)
        return value.detach()

    assert 0 < float(drawn.weights.mean()) < 1
    assert loss((a + 1) % 10, b) != loss(a, b)
    assert loss(a, (b + 1) % 10) != loss(a, b)
    w = drawn.weights.double()
    z = logits(learner, first, second, drawn.ratios, drawn.boxes).detach().double()
    log_p = torch.log_softmax(z, dim=1)
    rows = torch.arange(32)
    assert float(loss(a, b)) == pytest.approx(float(-(w * log_p[rows, a] + (1 - w) * log_p[rows, b]).mean()), rel=1e-5)


def logits(
    learner: trainer.Trainer, first: torch.Tensor, second: torch.Tensor, ratios: torch.Tensor, boxes: torch.Tensor
) -> torch.Tensor:
    """Scores of mixed images, one by one; of manifold mixup the mixture of both scores, as the classifier is linear."""
    if learner.config.mixing == "manifold":
        one, two = (learner.network.classifier(learner.features(x)) for x in (first, second))
        return ratios[:, None] * one + (1 - ratios[:, None]) * two
    mixed = ratios.view(-1, 1, 1, 1) * first + (1 - ratios.view(-1, 1, 1, 1)) * second
    for n, (top, bottom, left, right) in enumerate(boxes.T.tolist()):
        mixed[n] = first[n]
        mixed[n, :, top:bottom, left:right] = second[n, :, top:bottom, left:right]
    return learner.network.classifier(learner.features(mixed))


def test_a_run_keeps_what_its_law_drew(digits: datasets.LongTailed, tmp_path: Path) -> None:
    N, batches = len(digits.train.labels), -(-len(digits.train.labels) // TINY.batch)
    for name in METHODS:
        config = replace(TINY, **METHODS[name])
        loop.run(config, digits, folder := RunFolder(tmp_path, config), CPU)
        kept = folder.final()["lambdas"]
        assert kept.shape == (3 * (N if name == "unimix+la" else batches),)
        learner = trainer.Trainer(config, digits, CPU)
        drawn = torch.cat([draw(config, learner.assembly.sampler, epoch).ratios for epoch in (1, 2, 3)])
        assert set(kept.tolist()) == set(drawn.tolist())


def test_label_pairs_are_measured_where_images_are_mixed_as_by_mixup(
    digits: datasets.LongTailed, tmp_path: Path
) -> None:
    for law in LAWS:
        window: dict[str, Any] = {"cmo_first": 0, "cmo_last": 0} if law in ("cmo", "otmix-train") else {}
        config = replace(TINY, mixing=law, epochs=1, warmup=0, **window)
        loop.run(config, digits, folder := RunFolder(tmp_path, config), CPU)
        measured = folder.geometry(1)
        assert ("pair_means" in measured) == (law in ("mixup", "remix", "mamix"))
        assert measured["class_means"].shape == (10, 16)
        assert (collapse.collapse_numbers(config, digits.counts) is None) == (law != "mixup")
        if law != "mixup":
            with pytest.raises(InvalidInput, match=f"no program for mixing '{law}'; choose a run with mixup"):
                optimum.network(folder, 1)


def test_images_of_another_size_than_the_row_says_are_refused(digits: datasets.LongTailed) -> None:
    wide = replace(digits, train=replace(digits.train, images=np.pad(digits.train.images, ((0, 0),) * 3 + ((0, 4),))))
    with pytest.raises(
        InvalidInput, match="cuts boxes from images of 8 x 8 pixels, and those of digits-lt have 8 x 12"
    ):
        trainer.Trainer(replace(TINY, mixing="cutmix"), wide, CPU)
