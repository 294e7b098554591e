"""The laws of mixup's ratio: lambda ~ Beta(alpha, alpha), one per batch or one per pair, as a function of (seed, epoch).

At alpha = 0 every ratio is 1, and a step sees the first image of each pair alone: training without mixup.

Each law is a row of :data:`training.methods.MIXINGS`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from training.config import RunConfig
from training.methods import BRANCHES, MIXINGS, function


@dataclass(frozen=True)
class Ratios:
    """The mixing ratios of one epoch.

    Attributes:
        drawn: (n,) float32, the ratios that were drawn; a finished run stores those of all its epochs.
        of_pairs: (N,) float32, the ratio of each pair of images: the weight of its first image.
    """

    drawn: np.ndarray
    of_pairs: Tensor


def ratios(config: RunConfig, epoch: int, sizes: Sequence[int]) -> Ratios:
    """Draw the mixing ratios of an epoch by the run's law.

    Args:
        config: the run.
        epoch: from 1.
        sizes: pairs in each of its batches.

    Returns:
        The ratios.
    """
    law: Ratios = MIXINGS[config.ratio_per].made(config, config, epoch, sizes)
    of_branches = BRANCHES[config.branches].ratios
    return function(of_branches)(config, epoch, law) if of_branches else law


def per_batch(config: RunConfig, epoch: int, sizes: Sequence[int]) -> Ratios:
    """Draw one ratio per batch, as MiSLAS's code does (Zhong et al. 2021), whose recipe the paper follows.

    Args:
        config: alpha, the batch size and the seed.
        epoch: from 1.
        sizes: pairs in each batch.

    Returns:
        ceil(N / batch) ratios, one more than there are batches where a small last batch joins the one before.
    """
    drawn = beta(config, epoch, math.ceil(sum(sizes) / config.batch))
    return Ratios(drawn, torch.repeat_interleave(torch.from_numpy(drawn)[: len(sizes)], torch.tensor(sizes)))


def per_batch_swapped(config: RunConfig, epoch: int, sizes: Sequence[int]) -> Ratios:
    """Draw one ratio per batch, and exchange lambda and 1 - lambda for each pair with probability 1/2.

    The ratio is exchanged and not the pair, because the order of a pair is a class of MS over a < b.

    Args:
        config: alpha, the batch size and the seed.
        epoch: from 1.
        sizes: pairs in each batch.

    Returns:
        The ratios of :func:`per_batch`, exchanged for half of the pairs.
    """
    plain = per_batch(config, epoch, sizes)
    swapped = torch.from_numpy(np.random.default_rng([config.seed, 11, epoch]).random(sum(sizes)) < 0.5)
    return Ratios(plain.drawn, torch.where(swapped, 1 - plain.of_pairs, plain.of_pairs))


def per_sample(config: RunConfig, epoch: int, sizes: Sequence[int]) -> Ratios:
    """Draw one ratio per pair of images.

    Args:
        config: alpha and the seed.
        epoch: from 1.
        sizes: pairs in each batch.

    Returns:
        N ratios.
    """
    drawn = beta(config, epoch, sum(sizes))
    return Ratios(drawn, torch.from_numpy(drawn))


def beta(config: RunConfig, epoch: int, number: int) -> np.ndarray:
    """Draw from Beta(alpha, alpha).

    Args:
        config: alpha and the seed.
        epoch: from 1.
        number: how many.

    Returns:
        (number,) float32.
    """
    if not config.alpha:  # the law's limit at 0 has half of its mass at 0: a random one of the two images
        return np.ones(number, dtype=np.float32)
    rng = np.random.default_rng([config.seed, 7, epoch])
    return rng.beta(config.alpha, config.alpha, size=number).astype(np.float32)
