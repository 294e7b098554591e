"""Everything random of one epoch, drawn before it starts: so a step asks the host for nothing, and a GPU never waits.

All of it is a function of (seed, epoch), so a run that resumes draws what it would have drawn, and each of several processes
draws the same epoch and takes its share of every batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from training.batches.augment import crops_and_flips
from training.catalogue import LARGE
from training.config import RunConfig
from training.distributed.ranks import ALONE, Ranks
from training.sampling.samplers import PairSampler


@dataclass(frozen=True)
class Epoch:
    """One epoch, or a process's share of it, by position. number: (N,) the position in the whole epoch. pairs: (N, 2) image
    indices. ratios: (N,) lambda. crops: (2, 2, N), where each side's image is cropped; of image files none, (2, 2, 0): they
    are cropped where they are decoded. flips: (2, N), whether it is flipped. factors: (2, 3, N) of its brightness, contrast
    and saturation, or none, (2, 3, 0).
    """

    number: Tensor
    pairs: Tensor
    ratios: Tensor
    crops: Tensor
    flips: Tensor
    factors: Tensor

    def to(self, device: torch.device) -> Epoch:
        """The same on a device."""
        return Epoch(*(getattr(self, f.name).to(device) for f in fields(self)))

    def copy_(self, other: Epoch) -> None:
        """Take the values of another epoch; the tensors stay the same ones, which a captured step needs."""
        for f in fields(self):
            getattr(self, f.name).copy_(getattr(other, f.name), non_blocking=True)

    def share(self, rows: Tensor) -> Epoch:
        """Some positions of it."""
        return Epoch(
            self.number[rows],
            self.pairs[rows],
            self.ratios[rows],
            *(x[..., rows] if x.shape[-1] else x for x in (self.crops, self.flips, self.factors)),
        )


def draw(config: RunConfig, sampler: PairSampler, epoch: int, ranks: Ranks = ALONE) -> Epoch:
    """Epoch 1, 2, ... of a run, on the CPU; of several processes, this one's share."""
    pairs = torch.from_numpy(sampler.pairs(epoch - 1))
    ratios = torch.from_numpy(mixing_ratios(config, epoch, len(pairs)))
    sizes = batch_sizes(len(pairs), config)
    if config.ratio_per != "sample":
        ratios = torch.repeat_interleave(ratios[: len(sizes)], torch.tensor(sizes))
    if config.ratio_per == "batch-swapped":  # the ratio and not the pair, whose order is a class of MS over a < b
        ratios = torch.where(_swapped(config, epoch, len(pairs)), 1 - ratios, ratios)
    generator = torch.Generator().manual_seed(_seed(config.seed, epoch))
    if config.dataset in LARGE:
        crops, flips, factors = _augmentation_of_files(len(pairs), config.jitter, generator)
    else:
        crops, flips = _augmentation(sizes, generator)
        factors = torch.ones(2, 3, 0)
    whole = Epoch(torch.arange(len(pairs)), pairs, ratios, crops, flips, factors)
    return whole if ranks.world == 1 and not config.parts else whole.share(ranks.rows(sizes, config.parts))


def _augmentation(sizes: list[int], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """crops and flips of an epoch."""
    crops, flips = [], []
    for size in sizes:
        for _side in (0, 1):
            crop, flip = crops_and_flips(size, generator)
            crops.append(crop)
            flips.append(flip)
    return (
        torch.stack([torch.cat(crops[side::2], dim=1) for side in (0, 1)]),
        torch.stack([torch.cat(flips[side::2]) for side in (0, 1)]),
    )


def _augmentation_of_files(N: int, jitter: float, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """crops (none), flips and factors, uniform in 1 ± jitter, of an epoch of image files."""
    flips = torch.rand(2, N, generator=generator) < 0.5
    factors = 1 + jitter * (2 * torch.rand(2, 3, N if jitter else 0, generator=generator) - 1)
    return torch.zeros(2, 2, 0, dtype=torch.int64), flips, factors


def batch_sizes(number: int, config: RunConfig) -> list[int]:
    """Sizes of an epoch's batches. A BatchNorm needs two pairs, so where fewer (for a part) are left over, they join the last
    batch.
    """
    size = config.batch
    whole, rest = divmod(number, size)
    sizes = [size] * whole + ([rest] if rest else [])
    if len(sizes) > 1 and sizes[-1] < 2 * max(config.parts, 1):
        sizes[-2:] = [size + rest]
    return sizes


def mixing_ratios(config: RunConfig, epoch: int, images: int) -> np.ndarray:
    """The epoch's mixing ratios, one a batch (or, if the config says so, one an image), lambda ~ Beta(alpha, alpha); float32."""
    rng = np.random.default_rng([config.seed, 7, epoch])
    size = images if config.ratio_per == "sample" else math.ceil(images / config.batch)
    return rng.beta(config.alpha, config.alpha, size=size).astype(np.float32)


def _swapped(config: RunConfig, epoch: int, images: int) -> Tensor:
    """Whose sides are swapped, (N,) bool, each with probability 1/2."""
    return torch.from_numpy(np.random.default_rng([config.seed, 11, epoch]).random(images) < 0.5)


def _seed(*words: int) -> int:
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> 1)
