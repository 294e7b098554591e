"""How often labels and label pairs occur in an epoch, counted over the epochs that a run's own sampler draws.

A label's frequency is how often a class occurs on either side of the N pairs (i, j) of an epoch, so that frequencies sum to
2N. A label pair is unordered, {a, b}: mixup's law Beta(alpha, alpha) is symmetric, so (a, b) and (b, a) are the same mixed
label, and their frequencies sum to N. The paper does not say which it counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lpm.console.errors import InvalidInput
from training.config import RunConfig

KINDS = ("label", "label pair")
MOST_EPOCHS = 10_000


@dataclass(frozen=True)
class Frequency:
    """mean, std: over epochs, (C,) each, of how often the C labels occur that a sampler can produce."""

    mean: np.ndarray
    std: np.ndarray

    @property
    def seen(self) -> int:
        """Labels that occurred at all."""
        return int((self.mean > 0).sum())

    @property
    def average_cv(self) -> float:
        """The paper's average coefficient of variation (1/C) sum_c std_c / mean_c (§5.2), over the labels that occurred."""
        there = self.mean > 0
        return float((self.std[there] / self.mean[there]).mean())


def possible(config: RunConfig) -> tuple[np.ndarray, np.ndarray]:
    """The label pairs a <= b that the config's sampler can produce, in row order: (a, b).

    All of them; only a < b for BMLS and where a coverage mixes all classes, only a = b where it mixes none.
    """
    from training.sampling.samplers import mixed_classes  # brings torch

    a, b = np.triu_indices(config.K)
    mixed = mixed_classes(config.coverage, config.K)
    if config.sampler == "bmls" or (config.sampler == "coverage" and mixed in (0, config.K)):
        keep = a == b if mixed == 0 else a < b
        return a[keep], b[keep]
    return a, b


def label_pairs(config: RunConfig, counts: np.ndarray) -> Callable[[int], np.ndarray]:
    """The ordered label pairs (N, 2) of epoch 0, 1, ... as the config's own sampler draws them."""
    from training.model import build  # brings torch
    from training.sampling.samplers import BalancedMixedLabels

    sampler = build.sampler(config, np.repeat(np.arange(config.K), counts))
    if isinstance(sampler, BalancedMixedLabels):
        return sampler.label_pairs  # the same without their images, which take most of the time
    return lambda epoch: sampler.labels[sampler.pairs(epoch)]


def counted(config: RunConfig, counts: np.ndarray, epochs: int) -> dict[str, Frequency]:
    """Frequencies by kind of label over the first epochs of the config's sampler. counts: (K,) images of each class.

    A frequency's std is that of the epochs themselves (divided by their number). Raises InvalidInput for fewer than two epochs.
    """
    if not 2 <= epochs <= MOST_EPOCHS:
        raise InvalidInput(f"epochs = {epochs} must lie in 2..{MOST_EPOCHS:,}: a spread over epochs needs two")
    K, draw = config.K, label_pairs(config, counts)
    total = {kind: np.zeros(shape, dtype=np.int64) for kind, shape in zip(KINDS, [(2, K), (2, K, K)], strict=True)}
    for epoch in range(epochs):
        pairs = np.bincount(np.sort(draw(epoch), axis=1) @ [K, 1], minlength=K * K).reshape(K, K)
        for kind, n in zip(KINDS, (pairs.sum(axis=0) + pairs.sum(axis=1), pairs), strict=True):
            total[kind] += [n, n * n]  # sums of whole numbers are exact
    allowed = {"label": (np.arange(K),), "label pair": possible(config)}
    return {kind: _over_epochs(*(part[allowed[kind]] for part in total[kind]), epochs=epochs) for kind in KINDS}


def _over_epochs(sums: np.ndarray, squares: np.ndarray, *, epochs: int) -> Frequency:
    return Frequency(sums / epochs, np.sqrt(epochs * squares - sums**2) / epochs)
