"""Pairs for a loop of one's own: what a plain DataLoader yields, ratios, class order, processes, and refusals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from lpm.console.errors import InvalidInput
from training.batches.mixing import ratios as ratios_of_a_run
from training.config import RunConfig, with_preset
from training.model.long_tail_losses import LogitAdjustment
from training.sampling.balanced import BalancedMixedLabels
from training.sampling.pair_sampler import PairSampler
from training.sampling.pairs import Pairs, WithRatios, by_count
from training.sampling.samplers import Random

LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, 3], [6, 30, 9, 4]))
N = len(LABELS)


class Images(Dataset[Any]):
    """Image i is a constant, i."""

    def __len__(self) -> int:
        return N

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return torch.full((3, 2, 2), float(i)), int(LABELS[i])


def sampler(seed: int = 0, **keywords: Any) -> PairSampler:
    return BalancedMixedLabels(LABELS, seed=seed, batch=8, **keywords)


def epoch_of(pairs: Pairs, workers: int = 0) -> list[torch.Tensor]:
    """All that an epoch yields, joined over its batches."""
    loader = DataLoader(pairs, batch_size=8, sampler=pairs.sampler, num_workers=workers)
    return [torch.cat(parts) for parts in zip(*loader, strict=True)]


def test_a_plain_loader_yields_the_samplers_pairs_mixed() -> None:
    x, a, b, lam = epoch_of(Pairs(Images(), sampler()))
    i, j = torch.from_numpy(sampler().pairs(0)).T
    assert torch.equal(torch.stack([a, b]), torch.from_numpy(LABELS)[torch.stack([i, j])])
    torch.testing.assert_close(x[:, 0, 0, 0], lam * i + (1 - lam) * j)
    assert lam.dtype == torch.float32
    assert lam.unique().numel() == N


def test_without_mixing_both_images_come() -> None:
    x, y, a, b, lam = epoch_of(Pairs(Images(), sampler(), mix=False))
    assert torch.equal(torch.stack([x[:, 0, 0, 0], y[:, 0, 0, 0]], dim=1), torch.from_numpy(sampler().pairs(0)).float())
    assert torch.equal(lam, epoch_of(Pairs(Images(), sampler()))[3])
    assert len(a) == len(b) == N


def test_items_may_be_dictionaries() -> None:
    class Rows(Images):
        def __getitem__(self, i: int) -> Any:
            x, label = super().__getitem__(i)
            return {"label": label, "image": x, "path": "unused"}

    plain, keyed = Pairs(Images(), sampler()), Pairs(Rows(), sampler(), image="image", label="label")
    for one, other in zip(epoch_of(plain), epoch_of(keyed), strict=True):
        assert torch.equal(one, other)


def test_workers_change_nothing() -> None:
    for one, other in zip(epoch_of(Pairs(Images(), sampler())), epoch_of(Pairs(Images(), sampler()), 1), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("ratio_per", "alpha"), [("sample", 1.0), ("batch", 0.2), ("batch-swapped", 0.2), ("batch", 0.0)]
)
def test_ratios_are_those_of_a_training_run(ratio_per: str, alpha: float) -> None:
    config = replace(with_preset(RunConfig(), "smoke"), seed=3, batch=8, alpha=alpha, ratio_per=ratio_per)
    sizes = [8] * (N // 8) + [N % 8]
    law = WithRatios(sampler(seed=3), alpha=alpha, ratio_per=ratio_per)
    for epoch in (0, 1, 5):
        np.testing.assert_array_equal(law.ratios(epoch), ratios_of_a_run(config, epoch + 1, sizes).of_pairs)


def test_a_run_resumes_in_the_middle_of_an_epoch() -> None:
    whole = WithRatios(sampler())
    first, second = list(whole), list(whole)
    assert first != second
    begun = WithRatios(sampler())
    steps = iter(begun)
    taken = [next(steps) for _ in range(11)]
    resumed = WithRatios(sampler())
    resumed.load_state_dict(begun.state_dict())
    assert taken + list(resumed) == first
    assert list(resumed) == second
    resumed.set_epoch(0)
    assert list(resumed) == first


@pytest.mark.parametrize("ratio_per", ["sample", "batch", "batch-swapped"])
def test_processes_share_an_epoch_with_its_ratios(ratio_per: str) -> None:
    alone = list(WithRatios(sampler(), ratio_per=ratio_per))
    shares = [list(WithRatios(sampler(rank=r, world_size=2), ratio_per=ratio_per)) for r in (0, 1)]
    together = [pair for both in zip(*shares, strict=True) for pair in both]
    assert together[:N] == alone
    assert together[N:] == alone[: 2 * len(shares[0]) - N]  # repeated, so that shares are equally long


def test_classes_are_numbered_from_frequent_to_rare() -> None:
    ranks = by_count(LABELS)
    assert [set(ranks[label == LABELS]) for label in (1, 2, 0, 3)] == [{0}, {1}, {2}, {3}]
    counts = np.bincount(LABELS)
    for i, j in BalancedMixedLabels(ranks, seed=0).pairs(0):
        assert counts[LABELS[i]] > counts[LABELS[j]]
    assert by_count([7, 3, 7, 3, 9]).tolist() == [1, 0, 1, 0, 2]  # gaps, and equal counts


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Pairs(Images(), Random(LABELS[1:])), "49 images and the sampler 48 labels"),
        (lambda: WithRatios(sampler(), alpha=-1), "alpha = -1 must be"),
        (lambda: WithRatios(sampler(), alpha=float("nan")), "alpha = nan must be"),
        (lambda: WithRatios(sampler(), alpha=1e308), "alpha = 1e\\+308 must be"),
        (
            lambda: Random(LABELS, seed=1.5),  # type: ignore[arg-type]
            "seed 1.5 and batch .* must be whole numbers",
        ),
        (lambda: WithRatios(sampler(), ratio_per="image"), "'image' is unknown; choose one of sample, batch"),
        (lambda: next(iter(DataLoader(Pairs(Images(), sampler())))), "give the DataLoader sampler=pairs.sampler"),
        (lambda: by_count([0.5]), "whole numbers"),
    ],
)
def test_misuse_is_refused_in_one_line(make: Any, words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as refused:
        make()
    assert "\n" not in str(refused.value)


def test_labels_in_another_order_are_noticed() -> None:
    """Their number is right, so nothing else would show it."""
    with pytest.raises(InvalidInput, match="give the sampler the labels of these images, in their order"):
        epoch_of(Pairs(Images(), Random(np.roll(LABELS, 1))))
    epoch_of(Pairs(Images(), Random(by_count(LABELS))))  # other numbers for the same classes are fine


def test_images_must_be_tensors_of_one_shape() -> None:
    class Grown(Images):
        def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
            return torch.zeros(1, 2 + i % 2, 2), 0

    class Decoded(Images):
        def __getitem__(self, i: int) -> Any:
            return np.zeros((2, 2, 3)), 0

    with pytest.raises(InvalidInput, match="a transform that makes tensors"):
        Pairs(Decoded(), sampler())[0, 1, 0.5]
    with pytest.raises(InvalidInput, match="let the transform crop all to one"):
        Pairs(Grown(), sampler())[0, 1, 0.5]


def test_parts_say_what_they_are() -> None:
    sampler = BalancedMixedLabels([0] * 5 + [1] * 3 + [2] * 2, seed=1, batch=4)
    line = "BalancedMixedLabels(10 images of 3 classes: 5, 3, 2; batch 4, seed 1, epoch 0, position 0)"
    assert repr(sampler) == line
    next(iter(sampler))
    assert "position 1)" in repr(sampler)
    data = TensorDataset(torch.zeros(10, 1, 2, 2), torch.tensor([0] * 5 + [1] * 3 + [2] * 2))
    assert repr(Pairs(data, BalancedMixedLabels(data.tensors[1], seed=1, batch=4))) == f"Pairs(TensorDataset, {line})"
    assert repr(LogitAdjustment(torch.tensor([5, 3, 2]))) == "LogitAdjustment(offsets -1.61 to -0.693 for 3 classes)"
    with pytest.raises(
        InvalidInput, match="a sampler of index pairs is needed, such as BalancedMixedLabels, not a list"
    ):
        Pairs(data, [1, 2])  # type: ignore[arg-type]
