"""What becomes of the mixing ratios of networks with two branches: rows of :data:`training.methods.BRANCHES` name these."""

from __future__ import annotations

import numpy as np
import torch

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
