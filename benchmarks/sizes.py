"""The five data sets as their recipes train them, with labels of the true numbers of classes and images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import nn

from benchmarks.long_tails import LONG_TAILS
from paper_checks.paper.datasets import cifar_lt
from training.model.cifar_resnets import ResNet
from training.model.imagenet_resnets import Bottlenecks


@dataclass(frozen=True)
class Setting:
    """A data set as its recipe trains it.

    Attributes:
        counts: (K,) number of images of each class.
        epochs: number of epochs.
        batch: number of pairs in a batch.
        p: feature width.
        pixels: side of an image.
        network: makes the network.
    """

    counts: np.ndarray
    epochs: int
    batch: int
    p: int
    pixels: int
    network: Callable[[], nn.Module]

    @property
    def K(self) -> int:
        """Number of classes."""
        return len(self.counts)

    @property
    def N(self) -> int:
        """Number of images."""
        return int(self.counts.sum())

    @property
    def labels(self) -> np.ndarray:
        """The class of each image (N,), in a random order."""
        return np.random.default_rng(0).permutation(np.repeat(np.arange(self.K), self.counts))


def _wide() -> nn.Module:
    return ResNet("resnet32", width=32)


def _places() -> nn.Module:
    return Bottlenecks("resnet152", trains="block")


SETTINGS = {
    "CIFAR10-LT": Setting(cifar_lt(10, 100), 200, 128, 64, 32, ResNet),
    "CIFAR100-LT": Setting(cifar_lt(100, 100), 200, 128, 128, 32, _wide),
    "Places-LT": Setting(LONG_TAILS["places-lt"].stand_in(), 90, 256, 2048, 224, _places),
    "ImageNet-LT": Setting(LONG_TAILS["imagenet-lt"].stand_in(), 180, 256, 2048, 224, Bottlenecks),
    "iNaturalist 2018": Setting(LONG_TAILS["inaturalist2018"].stand_in(), 200, 256, 2048, 224, Bottlenecks),
}
"""The paper's data sets, with CIFAR-LT at imbalance 100.

Places-LT trains the last block of a ResNet-152 whose other layers are frozen. Source: the recipes of Zhong et al. 2021
(MiSLAS); CIFAR100-LT's network is that of Yang et al. 2022.
"""
