"""Backgrounds matched to foregrounds by optimal transport: OTMix (Gao et al. 2023), with the confusion of training images.

The authors' code reads the confusion of the test images. Here it is that of the training images, so the method has another
name: OTMix-train.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from training.config import RunConfig
from training.methods import LAWS

FEATURE_SHARE = 0.05
"""Share of the features in the cost; the confusion has the rest. The authors' value, as the other two."""

REGULARISATION = 0.01
"""Weight of the entropy in the plan."""

POWER = 1.0
"""Exponent of the share of the epochs that have ended, in the probability that an epoch is matched."""

ROUNDS = 100
"""Rounds of Sinkhorn's algorithm. A fixed number needs no value on the host, so a CUDA graph can replay them."""


def matched(config: RunConfig, epoch: int) -> bool:
    """Draw whether the pairs of an epoch are matched: with probability (ended epochs / epochs)^u, never in the first one.

    Args:
        config: the run.
        epoch: from 1.

    Returns:
        Whether they are; False for laws that match nothing.
    """
    if not LAWS[config.mixing].matched:
        return False
    drawn = np.random.default_rng([config.seed, 15, epoch]).random()
    return bool(drawn < ((epoch - 1) / config.epochs) ** POWER)


def confusion(true: Tensor, predicted: Tensor, K: int) -> Tensor:
    """Compute how often a class is predicted as each other class, as shares of its wrong predictions.

    Args:
        true: classes, (n,) int64.
        predicted: predicted classes, (n,) int64.
        K: number of classes.

    Returns:
        (K, K) float32 by true, then predicted class: zero on the diagonal, and in rows of classes without an error.
    """
    counts = torch.zeros(K * K, device=true.device).index_add_(0, true * K + predicted, torch.ones_like(true).float())
    counts = counts.view(K, K).fill_diagonal_(0)
    return counts / counts.sum(dim=1, keepdim=True).clamp(min=1)


def cost(foregrounds: Tensor, backgrounds: Tensor, b: Tensor, a: Tensor, confused: Tensor) -> Tensor:
    """Compute the cost of every foreground on every background.

    It is s (1 - cos(h'_k, h_j)) + (1 - s) (1 - Q[b_k, a_j]) with s = :data:`FEATURE_SHARE`: low where the foreground's class is
    often predicted as the background's.

    Args:
        foregrounds: features h', (B, p).
        backgrounds: features h, (B, p).
        b: label of each foreground, (B,).
        a: label of each background, (B,).
        confused: Q, (K, K), as :func:`confusion`.

    Returns:
        (B, B).
    """
    cosines = F.normalize(foregrounds, dim=1) @ F.normalize(backgrounds, dim=1).T
    return FEATURE_SHARE * (1 - cosines) + (1 - FEATURE_SHARE) * (1 - confused[b[:, None], a])


def plan(costs: Tensor, rounds: int = ROUNDS) -> Tensor:
    """Compute the logarithm of the transport plan with equal masses, by Sinkhorn's algorithm.

    exp(-cost / 0.01) underflows in float32. So the scaling factors are kept as logarithms.

    Args:
        costs: (B, B).
        rounds: of the algorithm.

    Returns:
        (B, B); exp of it has columns that sum to 1 / B, and rows nearly so.
    """
    kernel, mass = -costs / REGULARISATION, -math.log(len(costs))
    columns = torch.zeros_like(kernel[0])
    for _ in range(rounds):
        rows = mass - torch.logsumexp(kernel + columns, dim=1)
        columns = mass - torch.logsumexp(kernel + rows[:, None], dim=0)
    return kernel + rows[:, None] + columns
