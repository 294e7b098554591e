"""The paper's data sets: class counts where a formula gives them, and sizes where only those are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FACTORS = (200, 100, 50, 10)
"""Imbalance factors of the paper's CIFAR-LT: images of the largest class over images of the smallest."""


def cifar_lt(K: int, imbalance: float) -> np.ndarray:
    """Count the training images of each class of CIFAR-LT.

    n_k = floor(n_max mu^(k/(K-1))) with mu = 1 / imbalance and n_max = 50,000 / K, k = 0, ..., K - 1.
    Source: Cao et al. 2019 (LDAM), whose generator Zhong et al. and the paper follow.

    Args:
        K: number of classes, 10 or 100.
        imbalance: images of the largest class over images of the smallest.

    Returns:
        Class counts (K,), largest first.
    """
    n_max = 50_000 / K
    return np.array([int(n_max * (1 / imbalance) ** (k / (K - 1.0))) for k in range(K)])


@dataclass(frozen=True)
class DataSet:
    """The size of a training set.

    Attributes:
        name: name for readers, with the imbalance factor of CIFAR-LT.
        K: number of classes.
        images: number of training images.
        source: where the number of images comes from.
    """

    name: str
    K: int
    images: int
    source: str


def datasets() -> list[DataSet]:
    """Return all data sets of the paper, CIFAR-LT at each imbalance factor."""
    cifar = [
        DataSet(f"CIFAR{K}-LT, imbalance {f}", K, int(cifar_lt(K, f).sum()), "formula of Cao et al. 2019")
        for K in (10, 100)
        for f in FACTORS
    ]
    lists = "published training list"
    return [
        *cifar,
        DataSet("Places-LT", 365, 62_500, f"{lists} of Liu et al. 2019"),
        DataSet("ImageNet-LT", 1000, 115_846, f"{lists} of Liu et al. 2019"),
        DataSet("iNaturalist 2018", 8142, 437_513, "competition's training list; also printed in the paper"),
    ]
