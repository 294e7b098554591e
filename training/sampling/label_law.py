"""How often the stream of a run's training labels has each class: the prior that a loss corrects for."""

from __future__ import annotations

import numpy as np

from lpm.console.errors import InvalidInput
from training.config import RunConfig
from training.methods import BRANCHES, SAMPLERS, function


def label_frequencies(config: RunConfig, counts: np.ndarray, branch: int = 0) -> np.ndarray:
    """Compute the frequencies q_k = E[lambda 1(a = k) + (1-lambda) 1(b = k)] of the labels that a run trains on.

    The ratio's law is symmetric, so q is the mean over both sides of a pair; without mixup it is that of the first side.
    For random pairs q_k = n_k / N exactly, for balanced samplers 1 / K. With two branches each side has its own weight.

    Args:
        config: the run.
        counts: (K,) training images of each class.
        branch: the branch, 0 or 1, whose labels are meant, of a network with a classifier per branch.

    Returns:
        (K,) float64, with sum 1.
    """
    first, second = sides(config, counts)
    if config.branches != "none":
        share = function(BRANCHES[config.branches].share)(config, branch)
        return share * first + (1 - share) * second
    return (first + second) / 2 if config.alpha else first


def sides(config: RunConfig, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute how often each class is the label of the first and of the second image of a pair.

    With label pairs a < b both sides get the mean of both: a ratio with a symmetric law does not tell them apart. Only two
    branches do, whose ratios have no symmetric law.

    Args:
        config: the run.
        counts: (K,) training images of each class.

    Returns:
        (K,) and (K,) float64, each with sum 1.

    Raises:
        InvalidInput: if the sampler's row does not say which classes it draws.
    """
    row, n = SAMPLERS[config.sampler], np.asarray(counts)
    laws = {"as they are": n / n.sum(), "balanced": np.full(len(n), 1 / len(n))}
    if row.draws == "a < b" and config.branches != "none":
        K = len(n)
        second = 2 * np.arange(K) / (K * (K - 1))
        return second[::-1], second
    if config.sampler == "coverage" and config.alpha:  # balanced in labels, whatever it mixes
        return laws["balanced"], laws["balanced"]
    if row.classes not in laws:
        raise InvalidInput(f"it is not known how often sampler {config.sampler!r} draws each class; take --prior data")
    return laws[row.classes], laws[row.classes]
