"""Boxes of one image pasted into another: CutMix and CMO (Yun et al. 2019, Park et al. 2022).

The side of a box is trunc(P sqrt(1 - l)) of P pixels with l ~ Beta(alpha, alpha). It reaches half of that, rounded down, to
both sides of a uniform centre, and ends at the image's edge. So sides are even before they are clipped. The label of the
first image weighs 1 - area / P^2, with the area that is left.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import betainc

from training.batches.laws import Pairs, Plan
from training.batches.mixing import beta
from training.config import RunConfig


def cutmix(config: RunConfig, epoch: int, pairs: Pairs, *, probability: float) -> Plan:
    """Paste a box of the second image into the first one, one box per batch, in a share of the batches.

    Args:
        config: the run.
        epoch: from 1.
        pairs: the pairs of the epoch.
        probability: the share; the other batches show the first images alone.

    Returns:
        The plan.
    """
    number, P = len(pairs.sizes), config.pixels
    rng = np.random.default_rng([config.seed, 13, epoch])
    pasted = rng.random(number) < probability
    boxes = random_boxes(beta(config, epoch, number), P, rng) * pasted  # 0, 0, 0, 0 holds no pixel
    area = (boxes[1] - boxes[0]) * (boxes[3] - boxes[2])
    weights = (1 - area / P**2).astype(np.float32)
    sizes = torch.tensor(pairs.sizes)
    of_pairs = torch.repeat_interleave(torch.from_numpy(weights), sizes)
    return Plan(
        drawn=weights,
        ratios=of_pairs,
        weights=of_pairs.clone(),
        boxes=torch.repeat_interleave(torch.from_numpy(boxes), sizes, dim=1),
    )


def cmo(config: RunConfig, epoch: int, pairs: Pairs, *, probability: float, first: int, last: int) -> Plan:
    """Do as :func:`cutmix`, but in the first and last epochs of a run show first images alone.

    With sampler ``bilateral`` the first image is the background, as classes are, and the second one the foreground of a
    balanced stream: Park et al.'s method.

    Args:
        config: the run.
        epoch: from 1.
        pairs: the pairs of the epoch.
        probability: share of the batches that get a box.
        first: epochs without boxes at the start.
        last: epochs without boxes at the end.

    Returns:
        The plan.
    """
    within = first < epoch <= config.epochs - last
    return cutmix(config, epoch, pairs, probability=probability if within else 0.0)


def random_boxes(kept: np.ndarray, P: int, rng: np.random.Generator) -> np.ndarray:
    """Draw boxes.

    Args:
        kept: share of the first image that shall be kept before a box is clipped, (n,), from Beta(alpha, alpha).
        P: pixels per side of an image.
        rng: draws the centres.

    Returns:
        First row, end of the rows, first column, end of the columns, (4, n) int64.
    """
    half = (P * np.sqrt(1 - kept.astype(np.float64))).astype(np.int64) // 2
    centres = rng.integers(P, size=(2, len(kept)))
    starts, ends = np.maximum(centres - half, 0), np.minimum(centres + half, P)
    return np.stack([starts[0], ends[0], starts[1], ends[1]])


def mean_area(alpha: float, P: int) -> float:
    """Compute the expected share of an image that a box covers, exactly.

    Args:
        alpha: parameter of the Beta law.
        P: pixels per side.

    Returns:
        sum over sides s of P(side = s) (mean clipped length of s / P)^2: rows and columns have centres of their own.
    """
    sides, centres = np.arange(P + 1), np.arange(P)
    # The side is s where sqrt(1 - l) P lies in [s, s + 1), and 1 - l has the law of l.
    cumulative = betainc(alpha, alpha, np.minimum((np.append(sides, P + 1) / P) ** 2, 1.0))
    half = sides[:, None] // 2
    lengths = np.minimum(centres + half, P) - np.maximum(centres - half, 0)
    return float((np.diff(cumulative) * (lengths.mean(axis=1) / P) ** 2).sum())
