"""The data sets that a run can train on."""

from __future__ import annotations

from typing import Literal

Dataset = Literal[
    "digits-lt", "cifar10-lt", "cifar100-lt", "imagenet-lt", "places-lt", "places-lt-ft", "inaturalist2018", "own"
]


CLASSES = {
    **{"digits-lt": 10, "cifar10-lt": 10, "cifar100-lt": 100},
    **{"imagenet-lt": 1000, "places-lt": 365, "places-lt-ft": 365, "inaturalist2018": 8142, "own": 0},
}
"""Of your own data, as many as the config says."""


LARGE = frozenset({"imagenet-lt", "places-lt", "places-lt-ft", "inaturalist2018", "own"})
"""Data sets of image files, with class counts of their own; 'ft' is Places-LT with a pretrained network, the paper's PL*; 'own'
are yours.
"""


SPLITS = {
    "digits-lt": {"many": (0, 2), "med": (3, 6), "few": (7, 9)},
    "cifar10-lt": {"many": (0, 2), "med": (3, 6), "few": (7, 9)},
    "cifar100-lt": {"many": (0, 35), "med": (36, 70), "few": (71, 99)},
    "imagenet-lt": {"many": (0, 389), "med": (390, 834), "few": (835, 999)},
    "places-lt": {"many": (0, 130), "med": (131, 287), "few": (288, 364)},
    "places-lt-ft": {"many": (0, 130), "med": (131, 287), "few": (288, 364)},
    "inaturalist2018": {"many": (0, 841), "med": (842, 4542), "few": (4543, 8141)},
}
"""First and last class of the many, medium and few classes, by falling count: the paper's Table 6, which counts class 835 of
ImageNet-LT twice; here it is among the few, as in the reference code.
"""


MANY, FEW = 100, 20
"""On your own data a class has many training images above 100, few below 20 (Liu et al. 2019)."""
