"""The five data sets as their recipes train them, with labels of the true numbers of classes and images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import nn

from paper_checks.datasets import cifar_lt
from training.models import ResNet
from training.resnets import Bottlenecks


@dataclass(frozen=True)
class Setting:
    """A data set as its recipe trains it. counts: (K,) images of a class. p: feature width. pixels: side of an image."""

    counts: np.ndarray
    epochs: int
    batch: int
    p: int
    pixels: int
    network: Callable[[], nn.Module]

    @property
    def K(self) -> int:
        return len(self.counts)

    @property
    def N(self) -> int:
        return int(self.counts.sum())

    @property
    def labels(self) -> np.ndarray:
        """(N,), in a random order."""
        return np.random.default_rng(0).permutation(np.repeat(np.arange(self.K), self.counts))


def long_tail(N: int, largest: int, smallest: int, many: int, medium: int, few: int) -> np.ndarray:
    """Class counts that sum to N, with the published largest and smallest, and numbers of classes of more than 100 images, of
    20 to 100, and of fewer: log-linear below 100, above it bent as N needs it.
    """
    low, high = 0.01, 50.0
    tail = np.concatenate([np.geomspace(100, 20, medium), np.geomspace(19, smallest, few)])
    while high - low > 1e-9:
        bend = (low + high) / 2
        head = 101 * (largest / 101) ** (np.linspace(1, 0, many) ** bend)
        counts = np.rint(np.concatenate([head, tail])).astype(np.int64)
        low, high = (bend, high) if counts.sum() > N else (low, bend)
    counts[1] += N - counts.sum()
    return counts


def _wide() -> nn.Module:
    return ResNet("resnet32", width=32)


def _places() -> nn.Module:
    return Bottlenecks("resnet152", trains="block")


SETTINGS = {
    "CIFAR10-LT": Setting(cifar_lt(10, 100), 200, 128, 64, 32, ResNet),
    "CIFAR100-LT": Setting(cifar_lt(100, 100), 200, 128, 128, 32, _wide),
    "Places-LT": Setting(long_tail(62_500, 4980, 5, 131, 163, 71), 90, 256, 2048, 224, _places),
    "ImageNet-LT": Setting(long_tail(115_846, 1280, 5, 385, 479, 136), 180, 256, 2048, 224, Bottlenecks),
    "iNaturalist 2018": Setting(long_tail(437_513, 1000, 2, 842, 3701, 3599), 200, 256, 2048, 224, Bottlenecks),
}
"""The paper's data sets, CIFAR-LT at imbalance 100, with the recipes of Zhong et al. 2021 (MiSLAS), CIFAR100-LT's network that of
Yang et al. 2022. Places-LT trains the last block of a ResNet-152 that is frozen before it.
"""
