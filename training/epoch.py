"""Everything random of one epoch, drawn before it starts: so a step asks the host for nothing, and a GPU never waits.

All of it is a function of (seed, epoch), so a run that resumes draws what it would have drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from training.augment import places_and_flips
from training.config import RunConfig
from training.samplers import PairSampler


@dataclass(frozen=True)
class Epoch:
    """One epoch by position. pairs: (N, 2) image indices. ratios: (N,) lambda. places: (2, 2, N), where each side's image is
    cropped. flips: (2, N), whether it is flipped.
    """

    pairs: Tensor
    ratios: Tensor
    places: Tensor
    flips: Tensor

    def to(self, device: torch.device) -> Epoch:
        """The same on a device."""
        return Epoch(*(getattr(self, f.name).to(device) for f in fields(self)))

    def copy_(self, other: Epoch) -> None:
        """Take the values of another epoch; the tensors stay the same ones, which a captured step needs."""
        for f in fields(self):
            getattr(self, f.name).copy_(getattr(other, f.name), non_blocking=True)


def draw(config: RunConfig, sampler: PairSampler, epoch: int) -> Epoch:
    """Epoch 1, 2, ... of a run, on the CPU."""
    pairs = torch.from_numpy(sampler.pairs(epoch - 1))
    ratios = torch.from_numpy(mixing_ratios(config, epoch, len(pairs)))
    sizes = batch_sizes(len(pairs), config.batch)
    if config.ratio_per == "batch":
        ratios = torch.repeat_interleave(ratios[: len(sizes)], torch.tensor(sizes))
    generator = torch.Generator().manual_seed(_seed(config.seed, epoch))
    places, flips = [], []
    for size in sizes:
        for _side in (0, 1):
            place, flip = places_and_flips(size, generator)
            places.append(place)
            flips.append(flip)
    return Epoch(
        pairs,
        ratios,
        torch.stack([torch.cat(places[side::2], dim=1) for side in (0, 1)]),
        torch.stack([torch.cat(flips[side::2]) for side in (0, 1)]),
    )


def batch_sizes(number: int, size: int) -> list[int]:
    """Sizes of an epoch's batches; a single pair left over joins the last one, because a BatchNorm needs two."""
    whole, rest = divmod(number, size)
    sizes = [size] * whole + ([rest] if rest else [])
    if len(sizes) > 1 and sizes[-1] == 1:
        sizes[-2:] = [size + 1]
    return sizes


def mixing_ratios(config: RunConfig, epoch: int, images: int) -> np.ndarray:
    """The epoch's mixing ratios, one a batch (or, if the config says so, one an image), lambda ~ Beta(alpha, alpha); float32."""
    rng = np.random.default_rng([config.seed, 7, epoch])
    size = images if config.ratio_per == "sample" else math.ceil(images / config.batch)
    return rng.beta(config.alpha, config.alpha, size=size).astype(np.float32)


def _seed(*words: int) -> int:
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> 1)
