"""The expected label weight of a pair's first image under each mixing law, given the counts of both classes.

With it the label law of a training stream is exact (:mod:`training.sampling.label_law`). lambda ~ Beta(alpha, alpha), and
E[lambda; lambda >= x] = P(Beta(alpha + 1, alpha) >= x) / 2.
"""

from __future__ import annotations

import numpy as np
from scipy.special import betainc

from training.batches.boxes import mean_area
from training.batches.laws import mamix_middle
from training.config import RunConfig


def symmetric(config: RunConfig, n_a: np.ndarray, n_b: np.ndarray) -> np.ndarray:
    """The mean under mixup: one half, or 1 without mixup.

    Args:
        config: the run.
        n_a: images of the first image's class, any shape.
        n_b: images of the second image's class, a shape that broadcasts with it.

    Returns:
        The common shape.
    """
    return np.full(np.broadcast_shapes(n_a.shape, n_b.shape), 0.5 if config.alpha else 1.0)


def remix(config: RunConfig, n_a: np.ndarray, n_b: np.ndarray, *, kappa: float, tau: float) -> np.ndarray:
    """The mean under Remix: E[lambda; lambda >= tau] for a class that is kappa times as frequent.

    Args:
        config: the run.
        n_a: images of the first image's class, any shape.
        n_b: images of the second image's class, a shape that broadcasts with it.
        kappa: as in :func:`training.batches.laws.remix_weights`.
        tau: likewise.

    Returns:
        The common shape.
    """
    frequent = (1 - betainc(config.alpha + 1, config.alpha, tau)) / 2
    return np.where(n_a >= kappa * n_b, frequent, np.where(n_b >= kappa * n_a, 1 - frequent, 0.5))


def mamix(config: RunConfig, n_a: np.ndarray, n_b: np.ndarray, *, c: float) -> np.ndarray:
    """The mean under MAMix.

    Args:
        config: the run.
        n_a: images of the first image's class, any shape.
        n_b: images of the second image's class, a shape that broadcasts with it.
        c: as in :func:`training.batches.laws.mamix_weights`.

    Returns:
        The common shape.
    """
    middle = mamix_middle(n_a, n_b, c)
    # Both pieces are E[lambda; lambda < x] / (2 x), one in lambda, one in 1 - lambda.
    below, above = (betainc(config.alpha + 1, config.alpha, x) / (4 * x) for x in (middle, 1 - middle))
    return below + (1 - betainc(config.alpha, config.alpha, middle)) - above


def unimix(config: RunConfig, n_a: np.ndarray, n_b: np.ndarray) -> np.ndarray:
    """The mean under UniMix: r + 1/2 - P(Beta > 1 - r), r = n_b / (n_a + n_b).

    Args:
        config: the run.
        n_a: images of the first image's class, any shape.
        n_b: images of the second image's class, a shape that broadcasts with it.

    Returns:
        The common shape.
    """
    r = n_b / (n_a + n_b)
    mean: np.ndarray = r + 0.5 - betainc(config.alpha, config.alpha, r)
    return mean


def cutmix(config: RunConfig, n_a: np.ndarray, n_b: np.ndarray, *, probability: float) -> np.ndarray:
    """The mean under CutMix: 1 less the mean share of a box, times the share of batches that have one.

    Args:
        config: the run.
        n_a: images of the first image's class, any shape.
        n_b: images of the second image's class, a shape that broadcasts with it.
        probability: share of the batches that get a box.

    Returns:
        The common shape.
    """
    mean = 1 - probability * mean_area(config.alpha, config.pixels)
    return np.full(np.broadcast_shapes(n_a.shape, n_b.shape), mean)


def cmo(
    config: RunConfig, n_a: np.ndarray, n_b: np.ndarray, *, probability: float, first: int, last: int
) -> np.ndarray:
    """The mean under CMO, over all epochs.

    Args:
        config: the run.
        n_a: images of the first image's class, any shape.
        n_b: images of the second image's class, a shape that broadcasts with it.
        probability: share of the batches that get a box.
        first: epochs without boxes at the start.
        last: epochs without boxes at the end.

    Returns:
        The common shape.
    """
    share = (config.epochs - first - last) / config.epochs
    return cutmix(config, n_a, n_b, probability=probability * share)
