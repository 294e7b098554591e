"""How often labels and label pairs occur in an epoch, counted over the epochs that a run's own sampler draws.

A label's frequency is how often a class occurs on either side of the N pairs (i, j) of an epoch, so frequencies sum to
2N. A label pair is unordered, {a, b}. Mixup's law Beta(alpha, alpha) is symmetric, so (a, b) and (b, a) are the same
mixed label, and frequencies of label pairs sum to N. The paper does not say which it counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lpm.console.errors import InvalidInput
from training.config import RunConfig

KINDS = ("label", "label pair")
"""Kinds of label whose frequencies are counted."""
MOST_EPOCHS = 10_000
"""Largest number of epochs that can be counted."""


@dataclass(frozen=True)
class Frequency:
    """Frequencies of the C labels of one kind that a sampler can produce, over epochs.

    Attributes:
        mean: (C,) mean number of occurrences in an epoch.
        std: (C,) its standard deviation over the epochs.
    """

    mean: np.ndarray
    std: np.ndarray

    @property
    def seen(self) -> int:
        """Number of labels that occurred at all."""
        return int((self.mean > 0).sum())

    @property
    def average_cv(self) -> float:
        """Average coefficient of variation (1/C) sum_c std_c / mean_c (§5.2) over the labels that occurred."""
        occurred = self.mean > 0
        return float((self.std[occurred] / self.mean[occurred]).mean())


def possible(config: RunConfig) -> tuple[np.ndarray, np.ndarray]:
    """Return the label pairs a <= b that a config's sampler can produce, sorted by a, then b.

    These are all of them, with two exceptions. BMLS, and a coverage that mixes all classes, produce only a < b. A
    coverage that mixes no classes produces only a = b.

    Args:
        config: the run.

    Returns:
        The classes a, and the classes b.
    """
    from training.sampling.balanced import mixed_classes  # brings torch

    a, b = np.triu_indices(config.K)
    mixed = mixed_classes(config.coverage, config.K)
    if config.sampler == "bmls" or (config.sampler == "coverage" and mixed in (0, config.K)):
        keep = a == b if mixed == 0 else a < b
        return a[keep], b[keep]
    return a, b


def label_pairs(config: RunConfig, counts: np.ndarray) -> Callable[[int], np.ndarray]:
    """Return a function that draws the label pairs of an epoch as the config's own sampler does.

    Args:
        config: the run.
        counts: (K,) number of images of each class.

    Returns:
        A function from the epoch, counted from 0, to its (N, 2) ordered label pairs.
    """
    from training.model import build  # brings torch
    from training.sampling.balanced import BalancedMixedLabels

    sampler = build.sampler(config, np.repeat(np.arange(config.K), counts))
    if isinstance(sampler, BalancedMixedLabels):
        return sampler.label_pairs  # the same without their images, which take most of the time
    return lambda epoch: sampler.labels[sampler.pairs(epoch)]


def counted(config: RunConfig, counts: np.ndarray, epochs: int) -> dict[str, Frequency]:
    """Count frequencies over the first epochs of a config's sampler.

    Args:
        config: the run.
        counts: (K,) number of images of each class.
        epochs: number of epochs.

    Returns:
        Frequencies by kind of label. The standard deviation is that of the epochs themselves (divided by their number).

    Raises:
        InvalidInput: if the number of epochs is below two or above ``MOST_EPOCHS``.
    """
    if not 2 <= epochs <= MOST_EPOCHS:
        raise InvalidInput(
            f"epochs = {epochs} must lie in 2..{MOST_EPOCHS:,}: a standard deviation over epochs needs two"
        )
    K, draw = config.K, label_pairs(config, counts)
    # Sums of whole numbers and of their squares are exact.
    label_sum, label_squares = np.zeros((2, K), dtype=np.int64)
    pair_sum, pair_squares = np.zeros((2, K, K), dtype=np.int64)
    for epoch in range(epochs):
        numbers = np.sort(draw(epoch), axis=1) @ [K, 1]  # a K + b, with a <= b
        pairs = np.bincount(numbers, minlength=K * K).reshape(K, K)
        labels = pairs.sum(axis=0) + pairs.sum(axis=1)
        label_sum += labels
        label_squares += labels**2
        pair_sum += pairs
        pair_squares += pairs**2
    allowed = possible(config)
    return {
        "label": _over_epochs(label_sum, label_squares, epochs),
        "label pair": _over_epochs(pair_sum[allowed], pair_squares[allowed], epochs),
    }


def _over_epochs(sums: np.ndarray, squares: np.ndarray, epochs: int) -> Frequency:
    return Frequency(mean=sums / epochs, std=np.sqrt(epochs * squares - sums**2) / epochs)
