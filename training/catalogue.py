"""The catalogue of data sets: one row holds all that is known of a data set, and names the function that loads it.

CONTRIBUTING.md, "Add a data set", says how to add one. Needs no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lpm.console.errors import InvalidInput

Ranges = Mapping[str, tuple[int, int]]
"""First and last class of the many, medium and few classes, both included, by falling count of training images."""

Constants = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation of each channel, for pixels in 0..1."""

MANY, FEW = 100, 20
"""Without published ranges a class has many training images above 100, and few below 20 (Liu et al. 2019)."""

ARRAY_PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "quick": {"model": "resnet8", "epochs": 30, "warmup": 2},
    "smoke": {"model": "resnet8", "epochs": 40, "warmup": 2, "batch": 32, "augment": False},
}
"""Presets of data sets that fit in memory: the choices that differ from the paper's recipe for CIFAR, RunConfig's defaults."""

FILE_RECIPE: dict[str, Any] = {
    **{"model": "resnet50", "alpha": 0.2, "epochs": 180, "batch": 256, "weight_decay": 5e-4},
    **{"schedule": "cosine", "warmup": 0, "jitter": 0.4},
}
"""What the paper's recipe becomes for image files. Source: MiSLAS, stage 1 (Zhong et al. 2021)."""

FILE_PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "quick": {"model": "resnet8", "size": 64, "epochs": 30, "jitter": 0.0},
    "smoke": {"model": "resnet8", "size": 32, "width": 8, "epochs": 2, "batch": 64, "jitter": 0.0},
}
"""Presets of data sets of image files: the choices that differ from their recipe."""

OWN_PRESETS: dict[str, dict[str, Any]] = {
    **FILE_PRESETS,
    "features": {
        **{"model": "resnet18", "pretrained": True, "trains": "features", "augment": False, "jitter": 0.0},
        **{"epochs": 100, "batch": 32, "lr": 0.03},
    },
    "strong": {
        **{"model": "resnet18", "width": 32, "size": 96, "jitter": 0.0, "transform": "trivial"},
        **{"epochs": 120, "batch": 32, "lr": 0.05, "warmup": 5},
    },
}
"""Those of one's own images: also a classifier on features of a pretrained network, and many epochs of stronger augmentation."""


@dataclass(frozen=True, kw_only=True)
class Lists:
    """Names that the lists of images may have under the data's folder; the first one that exists is taken.

    Attributes:
        train: names of the list of training images, or of a folder that holds one folder per class.
        test: names of the list of test images, or of such a folder.
    """

    train: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """One data set.

    Attributes:
        name: the word of ``--dataset``.
        loader: the function that loads it, as ``module:function``; it takes a :class:`training.data.datasets.Request` and returns
            a :class:`training.data.datasets.LongTailed`.
        classes: the number of classes; 0 where a run says it.
        lists: names of its lists of image files; None for data that are held in memory.
        folder: the folder of the images inside ``--data-root``, where there is one of that name.
        needs_root: whether ``--data-root`` must be given.
        user_named: whether the data are the user's own, with ``--name`` and ``--classes``.
        ranges: published many, medium and few classes; None where the number of training images decides (:data:`MANY`).
        constants: mean and standard deviation per channel; None where the loader computes them.
        channels: channels of the first stage of CIFAR's residual networks.
        pixels: pixels per side of images that are held in memory; files are cut to the run's size.
        default_preset: the preset that a run has unless another is named.
        default_imbalance: the imbalance factor that a command takes unless another is given.
        recipe: choices that differ from RunConfig's defaults under every preset.
        presets: by name, the choices that differ from the recipe.
        network: choices that hold under every preset, after the preset's.
    """

    name: str
    loader: str
    classes: int = 0
    lists: Lists | None = None
    folder: str = ""
    needs_root: bool = True
    user_named: bool = False
    ranges: Ranges | None = None
    constants: Constants | None = None
    channels: int = 16
    pixels: int = 32
    default_preset: str = "paper"
    default_imbalance: float = 100.0
    recipe: Mapping[str, Any] = field(default_factory=dict)
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: ARRAY_PRESETS)
    network: Mapping[str, Any] = field(default_factory=dict)

    @property
    def files(self) -> bool:
        """Whether it consists of image files, which are decoded while a run trains, with class counts of their own."""
        return self.lists is not None

    def preset(self, name: str) -> dict[str, Any]:
        """The choices of a recipe.

        Args:
            name: the preset.

        Returns:
            Every choice that differs from RunConfig's defaults, by field.

        Raises:
            InvalidInput: if the data set has no such preset.
        """
        if name not in self.presets:
            known = ", ".join(self.presets)
            raise InvalidInput(f"preset {name!r} is unknown for {self.name}; choose one of {known}")
        return {**self.recipe, **self.presets[name], **self.network}


TEN: Ranges = {"many": (0, 2), "med": (3, 6), "few": (7, 9)}
PLACES: Ranges = {"many": (0, 130), "med": (131, 287), "few": (288, 364)}
CIFAR: Constants = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
"""CIFAR's constants as every long-tailed repository uses them. The standard deviation is that of per-image means; it is kept so
that results compare.
"""
IMAGENET: Constants = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PLACES_LISTS = Lists(train=("Places_LT_train.txt",), test=("Places_LT_test.txt",))

ROWS = (
    DataSet(
        name="digits-lt",  # comes with scikit-learn
        loader="training.data.digits:load",
        classes=10,
        needs_root=False,
        ranges=TEN,
        pixels=8,
        default_preset="smoke",
        default_imbalance=10.0,
    ),
    DataSet(name="cifar10-lt", loader="training.data.cifar:load", classes=10, ranges=TEN, constants=CIFAR),
    DataSet(
        name="cifar100-lt",
        loader="training.data.cifar:load",
        classes=100,
        ranges={"many": (0, 35), "med": (36, 70), "few": (71, 99)},
        constants=CIFAR,
        channels=32,
    ),
    DataSet(
        name="imagenet-lt",
        loader="training.data.lists:load_long_tailed",
        classes=1000,
        lists=Lists(train=("ImageNet_LT_train.txt",), test=("ImageNet_LT_test.txt",)),
        # The paper's Table 6 counts class 835 twice; here it is among the few, as in Yang et al.'s code.
        ranges={"many": (0, 389), "med": (390, 834), "few": (835, 999)},
        constants=IMAGENET,
        recipe=FILE_RECIPE,
        # Yang et al. 2022.
        presets=FILE_PRESETS | {"yang": {"model": "resnet50-wide4", "epochs": 90, "batch": 1024}},
    ),
    DataSet(
        name="places-lt",
        loader="training.data.lists:load_long_tailed",
        classes=365,
        lists=PLACES_LISTS,
        ranges=PLACES,
        constants=IMAGENET,
        recipe=FILE_RECIPE | {"epochs": 90},
        presets=FILE_PRESETS,
    ),
    DataSet(
        name="places-lt-ft",  # the paper's PL*
        loader="training.data.lists:load_long_tailed",
        classes=365,
        lists=PLACES_LISTS,
        folder="places-lt",
        ranges=PLACES,
        constants=IMAGENET,
        recipe=FILE_RECIPE | {"epochs": 90},
        presets=FILE_PRESETS,
        # As MiSLAS trains it, under any preset; the paper does not say.
        network={"model": "resnet152", "width": 0, "pretrained": True, "trains": "block"},
    ),
    DataSet(
        name="inaturalist2018",
        loader="training.data.lists:load_long_tailed",
        classes=8142,
        lists=Lists(
            train=("iNaturalist18_train.txt", "train2018.json"), test=("iNaturalist18_val.txt", "val2018.json")
        ),
        ranges={"many": (0, 841), "med": (842, 4542), "few": (4543, 8141)},
        constants=((0.466, 0.471, 0.380), (0.195, 0.194, 0.192)),
        recipe=FILE_RECIPE | {"epochs": 200, "weight_decay": 1e-4},
        presets=FILE_PRESETS
        | {
            # Kang et al. 2020.
            "decoupling": {"epochs": 90, "lr": 0.2, "batch": 512, "jitter": 0.0},
            # The schedule of Zhou et al. 2020, with mixup and the augmentation above and without their two branches.
            "bbn": {"lr": 0.05, "schedule": "steps", "drops": (2 / 3, 8 / 9), "epochs": 180, "batch": 128},
        },
    ),
    DataSet(
        name="own",
        loader="training.data.lists:load_long_tailed",
        lists=Lists(
            train=("train.txt", "train.json", "train"),
            test=("test.txt", "val.txt", "test.json", "val.json", "test", "val", "validation"),
        ),
        user_named=True,
        constants=IMAGENET,
        recipe=FILE_RECIPE | {"upright": True},  # ImageNet-LT's, and images turned as their cameras say
        presets=OWN_PRESETS,
    ),
)
"""One row per data set. The published ranges are those of the paper's Table 6."""

CATALOGUE: dict[str, DataSet] = {row.name: row for row in ROWS}
"""The rows by name."""


def preset_names() -> tuple[str, ...]:
    """The presets of all data sets, each once."""
    return tuple(dict.fromkeys(name for row in ROWS for name in row.presets))
