"""The choices that say which data a run is on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from training.catalogue import CATALOGUE
from training.choices.choice import between, choice

IN_MEMORY: dict[str, Any] = {"applies": lambda run: not run.data_set.files, "scope": "CIFAR and the digits"}
FILES: dict[str, Any] = {
    "applies": lambda run: run.data_set.files,
    "scope": "image files (imagenet-lt, places-lt, inaturalist2018, own)",
}
AUGMENTED: dict[str, Any] = {
    "applies": lambda run: run.data_set.files and run.augment,
    "scope": "augmented image files (imagenet-lt, places-lt, inaturalist2018, own)",
}
OWN: dict[str, Any] = {"applies": lambda run: run.data_set.user_named, "scope": "dataset 'own'"}
OF_DATA = {rule["scope"] for rule in (IN_MEMORY, FILES, AUGMENTED, OWN)}
"""Where a choice applies that depends on the data, which a user may have forgotten to name."""


@dataclass(frozen=True)
class DataChoices:
    """The data of a run."""

    dataset: str = choice("digits-lt", "the data set", "data", words=tuple(CATALOGUE))
    imbalance: float = choice(
        100.0,
        "n_max / n_min of the long-tailed subset; commands take 10 for the digits",
        "data",
        **between(1, 1e9, rule="must lie in 1..1e9, n_max / n_min"),
        **IN_MEMORY,
    )
    subset_seed: int = choice(
        0,
        "which images the long-tailed subset keeps; 0 keeps those that other repositories keep",
        "data",
        **between(0, 2**32 - 1, rule="must lie in 0..2^32-1"),
        **IN_MEMORY,
    )
    n_max: int = choice(
        0,
        "training images of the most frequent class; 0 for all that there are",
        "data",
        **between(0, 10**9, rule="must lie in 0..10^9"),
        **IN_MEMORY,
    )
    tail: str = choice(
        "exp",
        "how class counts fall from n_max to n_min",
        "data",
        words={
            "exp": "exponentially",
            "step": "the first half of the classes has n_max images each, the other half n_min",
        },
        **IN_MEMORY,
    )
    holdout: float = choice(
        0.0,
        "share of the training images of each class that is held out of training and evaluated beside the test images; "
        "choose hyperparameters by it, never by the test images",
        "data",
        holds=lambda run, value: 0 <= value < 1,
        rule="must lie in [0, 1)",
    )
    classes: int = choice(
        0,
        "number of classes of your own images (default: counted in the folders or names under --data-root)",
        "data",
        **OWN,
    )
    name: str = choice("", "name of your own data; results call them own-NAME", "data", **OWN)
