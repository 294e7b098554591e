"""OTMix-train: Sinkhorn's algorithm, costs and confusion against others; what a step matches and counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lpm.console.errors import InvalidInput
from tests.training import own
from training.batches import transport
from training.batches.epoch import draw
from training.config import RunConfig, with_preset
from training.data import datasets
from training.run.trainer import Trainer
from training.store.runs import find

CPU = torch.device("cpu")
TINY = replace(
    with_preset(RunConfig(), "smoke"),
    **{"epochs": 3, "warmup": 1, "width": 4, "imbalance": 10.0, "sampler": "bilateral", "mixing": "otmix-train"},
    **{"cmo_first": 0, "cmo_last": 0, "alpha": 4.0, "precision": "fp32", "seed": 5},
)
"""Matched in epochs 2 and 3."""


def drawn_costs(K: int, B: int, seed: int = 0) -> Tensor:
    """Costs of random features, labels and confusion."""
    generator = torch.Generator().manual_seed(seed)
    confused = torch.rand(K, K, generator=generator) ** 4
    confused.fill_diagonal_(0)
    a, b = torch.randint(K, (2, B), generator=generator)
    h, h2 = torch.randn(2, B, 16, generator=generator).relu()
    return transport.cost(h2, h, b, a, confused / confused.sum(dim=1, keepdim=True))


def exact(costs: np.ndarray, rounds: int) -> np.ndarray:
    """Sinkhorn's algorithm in its first form, with scaling factors: possible in float64."""
    kernel, mass, v = np.exp(-costs / 0.01), 1 / len(costs), np.ones(len(costs))
    for _ in range(rounds):
        u = mass / (kernel @ v)
        v = mass / (kernel.T @ u)
    plan: np.ndarray = u[:, None] * kernel * v
    return plan


@pytest.mark.parametrize(("K", "B"), [(10, 64), (100, 128), (3, 5), (2, 1)])
def test_the_plan_is_sinkhorns(K: int, B: int) -> None:
    """float32 logarithms of some hundred have errors of 1e-4 at most, over 100 rounds."""
    costs = drawn_costs(K, B)
    found, expected = transport.plan(costs), exact(costs.double().numpy(), transport.ROUNDS)
    assert np.allclose(found.exp().numpy() * B, expected * B, rtol=1e-3, atol=1e-5)
    assert torch.allclose(found.exp().sum(dim=0) * B, torch.ones(B), atol=1e-4)


@pytest.mark.parametrize("K", [10, 100])
def test_a_hundred_rounds_choose_as_very_many(K: int) -> None:
    for seed in range(3):
        costs = drawn_costs(K, 64, seed)
        long = exact(costs.double().numpy(), 30_000)
        assert np.abs(long.sum(axis=1) * 64 - 1).max() < 1e-4  # so it is the plan: masses are equal
        chosen, best = transport.plan(costs).argmax(dim=1).numpy(), long.argmax(axis=1)
        assert (chosen == best).mean() > 0.95


def test_the_plan_is_that_of_pot() -> None:
    ot = pytest.importorskip("ot", reason="POT is not installed; it is no dependency")
    costs, mass = drawn_costs(10, 64).double().numpy(), np.full(64, 1 / 64)
    theirs = ot.sinkhorn(mass, mass, costs, 0.01, method="sinkhorn_log", numItermax=100_000, stopThr=1e-12, warn=False)
    ours = transport.plan(torch.from_numpy(costs), 20_000).exp().numpy()
    assert np.allclose(ours, theirs, rtol=0, atol=1e-6)


def test_costs_are_the_formula() -> None:
    generator = np.random.default_rng(0)
    h, h2 = generator.normal(size=(2, 6, 4))
    a, b = generator.integers(3, size=(2, 6))
    confused = generator.random((3, 3))
    found = transport.cost(*(torch.from_numpy(x) for x in (h2, h, b, a, confused)))
    for k in range(6):
        for j in range(6):
            cosine = h2[k] @ h[j] / np.linalg.norm(h2[k]) / np.linalg.norm(h[j])
            assert float(found[k, j]) == pytest.approx(0.05 * (1 - cosine) + 0.95 * (1 - confused[b[k], a[j]]))
    zeros, label = torch.zeros(2, 4), torch.zeros(2, dtype=torch.int64)  # features that ReLU has all cut
    assert torch.allclose(transport.cost(zeros, zeros, label, label, torch.zeros(1, 1)), torch.ones(2, 2))


def test_confusion_is_the_share_of_errors() -> None:
    true, predicted = torch.tensor([0, 0, 0, 0, 1, 2, 2]), torch.tensor([0, 1, 1, 2, 1, 0, 2])
    found = transport.confusion(true, predicted, 3)
    assert torch.allclose(found, torch.tensor([[0, 2 / 3, 1 / 3], [0, 0, 0], [1, 0, 0]]))


def test_later_epochs_are_matched_more_often() -> None:
    config = replace(TINY, epochs=4)
    share = [np.mean([transport.matched(replace(config, seed=s), e) for s in range(2000)]) for e in (1, 2, 3, 4)]
    assert share[0] == 0
    deviation = 0.5 / 2000**0.5
    assert np.abs(np.array(share) - [0, 0.25, 0.5, 0.75]).max() < 5 * deviation
    assert not any(transport.matched(replace(TINY, mixing="cmo"), e) for e in range(1, 4))


def test_an_unmatched_epoch_is_cmo(digits: datasets.LongTailed) -> None:
    matched, cmo = (Trainer(replace(TINY, mixing=mixing), digits, CPU) for mixing in ("otmix-train", "cmo"))
    assert matched.train_epoch()["loss"] == cmo.train_epoch()["loss"]
    assert torch.equal(matched.steps.label_counts, cmo.steps.label_counts)
    assert matched.train_epoch()["loss"] != cmo.train_epoch()["loss"]


def test_a_step_trains_on_the_backgrounds_of_least_cost_and_counts_them(digits: datasets.LongTailed) -> None:
    """Batch by batch against backgrounds that are chosen anew with the network as it is then."""
    learner = Trainer(TINY, digits, CPU)
    learner.train_epoch()
    before = learner.steps.label_counts.clone()
    labels = torch.from_numpy(digits.train.labels)
    learner.network.eval()
    seen = torch.cat([learner.network(x).argmax(dim=1) for x in learner.source.train(torch.arange(len(labels)))])
    confused = np.zeros((10, 10))
    for true, predicted in zip(labels.tolist(), seen.tolist(), strict=True):
        confused[true, predicted] += true != predicted
    confused /= np.maximum(confused.sum(axis=1, keepdims=True), 1)
    drawn, expected, at = draw(TINY, learner.assembly.sampler, 2), np.zeros((10, 10), dtype=np.int64), 0
    shown: list[tuple[Tensor, ...]] = []
    forward = learner.assembly.objective.forward

    def watch(first: Tensor, second: Tensor, a: Tensor, b: Tensor, *others: Any) -> Tensor:
        shown.append((first, a, b))
        assert learner.network.training
        value: Tensor = forward(first, second, a, b, *others)
        return value

    learner.assembly.objective.forward = watch
    chosen: list[int] = []
    batches = next(x for name, x in learner.network.named_buffers() if name.endswith("num_batches_tracked"))
    step = learner.steps.step

    def compared(local: int, size: int, match: bool = False) -> None:
        nonlocal at
        rows = torch.arange(at, at := at + local)
        first, second = (learner.source.side(drawn, rows, side) for side in (0, 1))
        a, b = labels[drawn.pairs[rows]].T
        assert match == bool(drawn.boxes[:, rows].any())
        if match:
            learner.network.eval()
            with torch.no_grad():
                h, h2 = (learner.network.features(x, bf16=False) for x in (first, second))
            costs = transport.cost(h2, h, b, a, torch.from_numpy(confused).float()).double().numpy()
            best = torch.from_numpy(exact(costs, transport.ROUNDS).argmax(axis=1))
            learner.network.train()
            chosen.append(len(best.unique()))
            first, a = first[best], a[best]
        trained = batches.clone()
        step(local, size, match)
        assert torch.equal(batches, trained + 1)  # BatchNorm's statistics have seen the mixed images alone
        assert torch.equal(shown[-1][0], first)
        assert torch.equal(shown[-1][1], a)
        assert torch.equal(shown[-1][2], b)
        np.add.at(expected, (a.numpy(), b.numpy()), 1)

    learner.steps.release()  # what the first epoch made
    learner.steps.step = compared  # type: ignore[method-assign]
    learner.train_epoch()
    assert chosen
    assert min(chosen) < TINY.batch  # one background serves several foregrounds
    assert np.array_equal((learner.steps.label_counts - before).numpy(), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classifier": "ms"}, "mixing 'otmix-train' shows first images alone"),
        ({"cmo_first": 2, "cmo_last": 1}, "mixing 'otmix-train' has no box in the first 2 and last 1 epochs"),
        ({"loss": "la"}, "how often mixing 'otmix-train' shows each class is not known; take --prior data"),
        ({"branches": "dbn"}, "which mixing 'otmix-train' does not have"),
        (
            {"dataset": "own", "classes": 1001, "imbalance": 100.0},
            "'otmix-train' counts errors by pairs of classes, up to 1,000 classes, and there are 1,001; take 'cmo'",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        replace(TINY, **change)


def test_image_files_are_matched_after_cropping(tmp_path: Path) -> None:
    """Every pair of every epoch is counted once, by the host or by a step."""
    words = ["--sampler", "bilateral", "--mixing", "otmix-train", "--cmo-first", "0", "--cmo-last", "0", "--seeds", "5"]
    assert (
        own.trained(
            own.pets(tmp_path / "pets"), tmp_path / "runs", *words, "--epochs", "3", "--size", "16", "--batch", "8"
        )
        == 0
    )
    (folder,) = find(tmp_path / "runs")
    counts, images = folder.final()["pair_counts"], sum(own.COUNTS["train"].values())
    assert any(transport.matched(folder.config, epoch) for epoch in (1, 2, 3))
    assert int(counts.sum()) == 3 * images
