"""Everything random of one epoch, drawn before it starts: a step asks the host for nothing, so a GPU never waits.

All of it is a function of (seed, epoch). So a run that resumes draws what it would have drawn, and each of several
processes draws the same epoch and takes its share of every batch.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from training.batches.augment import crops_and_flips
from training.batches.laws import Pairs, plan
from training.config import RunConfig
from training.distributed.ranks import ALONE, Ranks
from training.sampling.pair_sampler import PairSampler


@dataclass(frozen=True)
class Epoch:
    """What is random in one epoch, or in a process's share of it, for each of N index pairs.

    A pair has two sides: side 0 is its first image, side 1 its second.

    Attributes:
        number: position of each pair in the whole epoch, (N,) int64.
        pairs: index pairs, (N, 2) int64.
        ratios: mixing ratio lambda, the first image's weight, (N,) float32.
        crops: row and column at which each side's image is cropped, (2, 2, N) by side, then axis; empty, (2, 2, 0), for
            image files, which are cropped where they are decoded.
        flips: whether each side's image is flipped, (2, N) bool.
        factors: of each side's brightness, contrast and saturation, (2, 3, N); empty, (2, 3, 0), without colour jitter.
        weights: weight of the first image's label, (N,) float32; the second one's has the rest to 1.
        boxes: rows and columns of the second image that are pasted into the first, (4, N) int64, as
            :func:`training.batches.blending.blended` has them; empty, (4, 0), where images are mixed by ``ratios``.
    """

    number: Tensor
    pairs: Tensor
    ratios: Tensor
    crops: Tensor
    flips: Tensor
    factors: Tensor
    weights: Tensor
    boxes: Tensor

    def to(self, device: torch.device) -> Epoch:
        """Copy it to a device.

        Args:
            device: where its tensors shall be.

        Returns:
            The copy; the same tensors where they are on the device already.
        """
        return Epoch(*(getattr(self, f.name).to(device) for f in fields(self)))

    def copy_(self, other: Epoch) -> None:
        """Take the values of another epoch, in place: a captured step reads the same tensors for ever.

        Args:
            other: an epoch of the same shapes.
        """
        for f in fields(self):
            getattr(self, f.name).copy_(getattr(other, f.name), non_blocking=True)

    def select(self, positions: Tensor) -> Epoch:
        """Select some pairs of it.

        Args:
            positions: which ones, (n,) int64.

        Returns:
            What is random for these pairs, in this order.
        """
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        pairs = values.pop("pairs")[positions]  # the pairs alone have their N first
        chosen = {name: x[..., positions] if x.shape[-1] else x for name, x in values.items()}
        return Epoch(pairs=pairs, **chosen)


def draw(config: RunConfig, sampler: PairSampler, epoch: int, ranks: Ranks = ALONE) -> Epoch:
    """Draw an epoch of a run, on the CPU.

    Args:
        config: the run.
        sampler: draws its pairs.
        epoch: its number, from 1.
        ranks: the processes that train the run.

    Returns:
        The epoch; with several processes, this one's share of it.
    """
    sizes = batch_sizes(sampler.N, config)
    drawn = Pairs(config, sampler, epoch, sizes)
    pairs, mixed = torch.from_numpy(drawn.indices), plan(config, epoch, drawn)
    generator = torch.Generator().manual_seed(_seed(config.seed, epoch))
    if config.data_set.files:
        crops, flips, factors = _augmentation_of_files(len(pairs), config.jitter, generator)
    else:
        crops, flips = _augmentation(sizes, generator)
        factors = torch.ones(2, 3, 0)
    whole = Epoch(
        number=torch.arange(len(pairs)),
        pairs=pairs,
        ratios=mixed.ratios,
        crops=crops,
        flips=flips,
        factors=factors,
        weights=mixed.weights,
        boxes=mixed.boxes,
    )
    return whole if ranks.world == 1 and not config.parts else whole.select(ranks.epoch_shard(sizes, config.parts))


def _augmentation(sizes: list[int], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The crops and flips of an epoch: side 0 of a batch is drawn first, then side 1, then the next batch."""
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
    """The crops (none), flips and factors (uniform in 1 ± jitter) of an epoch of image files."""
    flips = torch.rand(2, N, generator=generator) < 0.5
    factors = 1 + jitter * (2 * torch.rand(2, 3, N if jitter else 0, generator=generator) - 1)
    return torch.zeros(2, 2, 0, dtype=torch.int64), flips, factors


def batch_sizes(number: int, config: RunConfig) -> list[int]:
    """Divide an epoch into batches.

    A BatchNorm needs two pairs. So if fewer remain for the last batch (or for a part of it), they join the batch
    before.

    Args:
        number: pairs in the epoch.
        config: the run: its batch size and its parts of a batch.

    Returns:
        The pairs in each batch.
    """
    size = config.batch
    whole, rest = divmod(number, size)
    sizes = [size] * whole + ([rest] if rest else [])
    if len(sizes) > 1 and sizes[-1] < 2 * max(config.parts, 1):
        sizes[-2:] = [size + rest]
    return sizes


def _seed(*words: int) -> int:
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> 1)
