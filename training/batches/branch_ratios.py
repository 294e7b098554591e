"""What becomes of the mixing ratios of networks with two branches: rows of :data:`training.methods.BRANCHES` name these."""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import beta

from training.batches.mixing import Ratios
from training.config import RunConfig


def folded(config: RunConfig, epoch: int, drawn: Ratios) -> Ratios:
    """Fold the ratios at 1/2, for DBN-mix: max(lambda, 1 - lambda).

    Args:
        config: the run.
        epoch: from 1.
        drawn: the ratios as drawn.

    Returns:
        Ratios in [1/2, 1].
    """
    of_pairs = torch.maximum(drawn.of_pairs, 1 - drawn.of_pairs)
    return Ratios(np.maximum(drawn.drawn, 1 - drawn.drawn), of_pairs)


def falling(config: RunConfig, epoch: int, drawn: Ratios) -> Ratios:
    """Give all pairs of an epoch BBN's l = 1 - ((epoch - 1) / epochs)^2.

    Args:
        config: the run.
        epoch: from 1.
        drawn: the ratios of a run without mixup; only their shapes count.

    Returns:
        The same ratio everywhere.
    """
    share = 1 - ((epoch - 1) / config.epochs) ** 2
    return Ratios(np.full_like(drawn.drawn, share), torch.full_like(drawn.of_pairs, share))


def mean_share(config: RunConfig, branch: int) -> float:
    """Compute the mean weight of the first image's label in what a branch is trained on, over the whole run.

    For DBN-mix the first branch has E max(lambda, 1 - lambda) = 1/2 + 1 / (alpha 4^alpha B(alpha, alpha)), the second one the
    rest to 1; for BBN both have the mean of l over all epochs.

    Args:
        config: the run, with two branches.
        branch: 0 or 1.

    Returns:
        The share, in [0, 1].
    """
    if config.branches == "bbn":
        T = config.epochs
        return 1 - (T - 1) * (2 * T - 1) / (6 * T**2)
    alpha = config.alpha
    larger = 0.5 + 1 / (alpha * 4**alpha * float(beta(alpha, alpha))) if alpha else 1.0
    return larger if branch == 0 else 1 - larger
