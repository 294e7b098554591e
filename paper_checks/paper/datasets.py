"""The paper's data sets: class counts where a formula gives them, and sizes where only those are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FACTORS = (200, 100, 50, 10)


def cifar_lt(K: int, imbalance: float) -> np.ndarray:
    """Class counts (K,) of CIFAR-LT: n_k = floor(n_max mu^(k/(K-1))), mu = 1 / imbalance, n_max = 50,000 / K.

    Source: Cao et al. 2019 (LDAM), whose generator Zhong et al. and the paper follow.
    """
    n_max = 50_000 / K
    return np.array([int(n_max * (1 / imbalance) ** (k / (K - 1.0))) for k in range(K)])


@dataclass(frozen=True)
class DataSet:
    """What is known of a data set: classes, training images, and the source of the numbers."""

    name: str
    K: int
    images: int
    source: str


def datasets() -> list[DataSet]:
    """All data sets of the paper, CIFAR-LT at each imbalance factor."""
    found = [
        DataSet(f"CIFAR{K}-LT, imbalance {f}", K, int(cifar_lt(K, f).sum()), "formula of Cao et al. 2019")
        for K in (10, 100)
        for f in FACTORS
    ]
    lists = "published training list"
    return [
        *found,
        DataSet("Places-LT", 365, 62_500, f"{lists} of Liu et al. 2019"),
        DataSet("ImageNet-LT", 1000, 115_846, f"{lists} of Liu et al. 2019"),
        DataSet("iNaturalist 2018", 8142, 437_513, "competition's training list; also printed in the paper"),
    ]
