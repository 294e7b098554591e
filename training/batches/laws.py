"""Mixing laws: how the two images of each pair are blended, and how much of the label each side has.

A law is drawn on the host before its epoch, as a function of (seed, epoch, labels of the pairs). What happens "with some
probability", "from some epoch" or "per batch" is data for a step, never a branch in it. Each law is a row of
:data:`training.methods.LAWS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from training.batches.mixing import per_sample, ratios
from training.config import RunConfig
from training.methods import LAWS, SAMPLERS
from training.sampling.pair_sampler import PairSampler


class Pairs:
    """The index pairs of an epoch, drawn when they are first asked for: some laws need no labels.

    A box covers less than half of an image, so the two sides of a pair are not alike. Where a sampler puts the lower class
    first, boxes would then unbalance what it balances. So the sides of a random half of its pairs are exchanged.

    Args:
        config: the run.
        sampler: draws them.
        epoch: its number, from 1.
        sizes: pairs in each batch.

    Attributes:
        sizes: pairs in each batch.
    """

    def __init__(self, config: RunConfig, sampler: PairSampler, epoch: int, sizes: Sequence[int]) -> None:
        self._config, self._sampler, self._epoch, self.sizes = config, sampler, epoch, sizes

    @cached_property
    def indices(self) -> np.ndarray:
        """Index pairs, (N, 2) int64."""
        config, pairs = self._config, self._sampler.pairs(self._epoch - 1)
        if not LAWS[config.mixing].boxes or not SAMPLERS[config.sampler].lower_first:
            return pairs
        exchanged = np.random.default_rng([config.seed, 14, self._epoch]).random(len(pairs)) < 0.5
        return np.where(exchanged[:, None], pairs[:, ::-1], pairs)

    @property
    def images(self) -> tuple[np.ndarray, np.ndarray]:
        """Training images of the class of each pair's first and second image, (N,) int64 each."""
        first, second = self._sampler.counts[self._sampler.labels[self.indices]].T
        return first, second


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How the images and labels of an epoch's N pairs are mixed.

    Attributes:
        drawn: (n,) float32, shares of the first image, one per batch or one per pair; a finished run stores those of all its
            epochs.
        ratios: (N,) float32, weight of the first image.
        weights: (N,) float32, weight of the first image's label.
        boxes: (4, N) int64, or (4, 0), as :func:`training.batches.blending.blended` has them.
    """

    drawn: np.ndarray
    ratios: Tensor
    weights: Tensor
    boxes: Tensor


def plan(config: RunConfig, epoch: int, pairs: Pairs) -> Plan:
    """Draw how an epoch is mixed, by the run's law.

    Args:
        config: the run.
        epoch: from 1.
        pairs: its pairs.

    Returns:
        The plan; no two of its tensors share memory.
    """
    law: Plan = LAWS[config.mixing].made(config, config, epoch, pairs)
    return law


def mixup(config: RunConfig, epoch: int, pairs: Pairs) -> Plan:
    """Weigh images and labels alike, by the ratios of ``--ratio-per`` (Zhang et al. 2018).

    Args:
        config: the run.
        epoch: from 1.
        pairs: the pairs of the epoch.

    Returns:
        The plan.
    """
    law = ratios(config, epoch, pairs.sizes)
    return _without_boxes(law.drawn, law.of_pairs, law.of_pairs.clone())


def remix(config: RunConfig, epoch: int, pairs: Pairs, *, kappa: float, tau: float) -> Plan:
    """Mix images as mixup does, and give the label to the rarer class where counts differ much (Chou et al. 2020).

    Args:
        config: the run.
        epoch: from 1.
        pairs: the pairs of the epoch.
        kappa: as in :func:`remix_weights`.
        tau: as in :func:`remix_weights`.

    Returns:
        The plan.
    """
    law = ratios(config, epoch, pairs.sizes)
    return _without_boxes(
        law.drawn, law.of_pairs, _tensor(remix_weights(law.of_pairs.numpy(), *pairs.images, kappa, tau))
    )


def mamix(config: RunConfig, epoch: int, pairs: Pairs, *, c: float) -> Plan:
    """Mix images as mixup does, and labels by :func:`mamix_weights`.

    Args:
        config: the run.
        epoch: from 1.
        pairs: the pairs of the epoch.
        c: as in :func:`mamix_weights`.

    Returns:
        The plan.
    """
    law = ratios(config, epoch, pairs.sizes)
    return _without_boxes(law.drawn, law.of_pairs, _tensor(mamix_weights(law.of_pairs.numpy(), *pairs.images, c)))


def unimix(config: RunConfig, epoch: int, pairs: Pairs) -> Plan:
    """Draw one ratio per pair that leans to the rarer class, :func:`unimix_ratios` (Xu et al. 2021).

    Args:
        config: the run.
        epoch: from 1.
        pairs: the pairs of the epoch.

    Returns:
        The plan; labels weigh as images do.
    """
    drawn = unimix_ratios(per_sample(config, epoch, pairs.sizes).drawn, *pairs.images)
    return _without_boxes(drawn, _tensor(drawn), _tensor(drawn))


def remix_weights(
    ratio: np.ndarray, n_a: np.ndarray, n_b: np.ndarray, kappa: float = 3.0, tau: float = 0.5
) -> np.ndarray:
    """Compute Remix's label weight of the first image.

    0 where n_a >= kappa n_b and lambda < tau; 1 where n_b >= kappa n_a and 1 - lambda < tau; lambda elsewhere.

    Args:
        ratio: mixing ratio lambda, weight of the first image, (N,) or ().
        n_a: training images of the first image's class, (N,).
        n_b: training images of the second image's class, (N,).
        kappa: how many times as many images the frequent class has at least, above 1.
        tau: weight of the frequent image below which its label has none; 0 is mixup.

    Returns:
        (N,).
    """
    to_second = (n_a >= kappa * n_b) & (ratio < tau)
    to_first = (n_b >= kappa * n_a) & (1 - ratio < tau)
    return np.where(to_second, 0.0, np.where(to_first, 1.0, ratio))


def mamix_weights(ratio: np.ndarray, n_a: np.ndarray, n_b: np.ndarray, c: float = -0.25) -> np.ndarray:
    """Compute MAMix's label weight of the first image, piecewise linear in lambda.

    It is 0 at lambda = 0, 1 at 1, and 1/2 at n_b^c / (n_a^c + n_b^c): with c below 0 the rarer class keeps half of the label
    where it has less than half of the image.

    Args:
        ratio: mixing ratio lambda, weight of the first image, (N,) or ().
        n_a: training images of the first image's class, (N,).
        n_b: training images of the second image's class, (N,).
        c: exponent of the counts; 0 is mixup.

    Returns:
        (N,).
    """
    middle = mamix_middle(n_a, n_b, c)
    return np.where(ratio < middle, ratio / (2 * middle), 1 - (1 - ratio) / (2 * (1 - middle)))


def mamix_middle(n_a: np.ndarray, n_b: np.ndarray, c: float) -> np.ndarray:
    """Compute the ratio at which MAMix gives each label one half.

    Args:
        n_a: training images of the first image's class, (N,).
        n_b: training images of the second image's class, (N,).
        c: exponent of the counts.

    Returns:
        1 / (1 + (n_a / n_b)^c), (N,).
    """
    middle: np.ndarray = 1 / (1 + (n_a / n_b) ** c)
    return middle


def unimix_ratios(drawn: np.ndarray, n_a: np.ndarray, n_b: np.ndarray) -> np.ndarray:
    """Compute UniMix's mixing ratio: n_b / (n_a + n_b) + drawn, less 1 where it is above 1.

    Args:
        drawn: numbers of Beta(alpha, alpha), (N,).
        n_a: training images of the first image's class, (N,).
        n_b: training images of the second image's class, (N,).

    Returns:
        Weights of the first image, (N,) float32.
    """
    shifted = n_b / (n_a + n_b) + drawn
    return (shifted - (shifted > 1)).astype(np.float32)


def _without_boxes(drawn: np.ndarray, lam: Tensor, weights: Tensor) -> Plan:
    return Plan(drawn=drawn, ratios=lam, weights=weights, boxes=torch.zeros(4, 0, dtype=torch.int64))


def _tensor(values: np.ndarray) -> Tensor:
    """A float32 tensor with memory of its own."""
    return torch.from_numpy(values.astype(np.float32))
