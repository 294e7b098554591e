"""Long-tailed image sets: CIFAR (:mod:`training.data.cifar`) and the digits that come with scikit-learn as arrays, and large
sets of image files by their lists (:mod:`training.data.lists`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lpm.console.errors import InvalidInput
from training.catalogue import CLASSES, LARGE
from training.config import RunConfig
from training.data import cifar, lists
from training.data.lists import Listed

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
"""CIFAR's constants as every long-tailed repository uses them (the std is that of per-image means; kept for comparison)."""

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LARGE_CONSTANTS = {
    "imagenet-lt": IMAGENET,
    "places-lt": IMAGENET,
    "places-lt-ft": IMAGENET,
    "inaturalist2018": ((0.466, 0.471, 0.380), (0.195, 0.194, 0.192)),
    "own": IMAGENET,
}
"""Mean and std of image files, as the reference code has them."""


@dataclass(frozen=True)
class Images:
    """images: (N, C, H, W) uint8. labels: (N,) int64."""

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class LongTailed:
    """A long-tailed training set and its test set. name: what results are called. mean, std: of pixels in [0, 1]. class_names:
    what lists call the classes, by falling count; none where their numbers are their names.
    """

    name: str
    train: Images | Listed
    test: Images | Listed
    K: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> dict[str, str]:
        """The name, and a hash of every image and label (of image files: of their lists): what a run is trained and tested on."""
        if isinstance(self.train, Listed) or isinstance(self.test, Listed):
            assert isinstance(self.train, Listed)
            assert isinstance(self.test, Listed)
            return {"name": self.name, "sha256": lists.fingerprint(self.train, self.test, self.class_names)}
        digest = hashlib.sha256()
        for array in (self.train.images, self.train.labels, self.test.images, self.test.labels):
            digest.update(np.ascontiguousarray(array).tobytes())
        return {"name": self.name, "sha256": digest.hexdigest()}

    @property
    def counts(self) -> np.ndarray:
        """Training images of each class, (K,)."""
        return np.bincount(self.train.labels, minlength=self.K)


def long_tailed_counts(n_max: int, K: int, imbalance: float) -> np.ndarray:
    """n_k = floor(n_max imbalance^(-k/(K-1))), (K,): the standard long-tailed counts (Cao et al. 2019).

    Raises InvalidInput for an imbalance below 1.
    """
    if not imbalance >= 1:
        raise InvalidInput(f"imbalance {imbalance:g} must be at least 1, n_max / n_min")
    return np.array([int(n_max * (1 / imbalance) ** (k / (K - 1.0))) for k in range(K)])


def long_tailed_indices(labels: np.ndarray, counts: np.ndarray, seed: int) -> np.ndarray:
    """The images that everybody's long-tailed subset keeps: class by class, shuffled by one legacy generator, the first n_k.

    Raises InvalidInput when a class has too few images, or would be left with none.
    """
    rng, kept = np.random.RandomState(seed), []
    for k, n in enumerate(counts):
        where = np.flatnonzero(labels == k)
        rng.shuffle(where)
        if not 1 <= n <= len(where):
            raise InvalidInput(f"class {k} has {len(where)} images and should keep {n}; take a smaller imbalance")
        kept.append(where[:n])
    return np.concatenate(kept)


def of(config: RunConfig, root: Path | None, *, train_list: Path | None, test_list: Path | None) -> LongTailed:
    """The data of a run. Raises as :func:`load` does."""
    return load(
        config.dataset,
        root,
        imbalance=config.imbalance,
        subset_seed=config.subset_seed,
        classes=config.classes,
        name=config.data,
        train_list=train_list,
        test_list=test_list,
    )


def load(
    dataset: str,
    root: Path | None,
    *,
    imbalance: float = 1.0,
    subset_seed: int = 0,
    classes: int = 0,
    name: str = "",
    train_list: Path | None = None,
    test_list: Path | None = None,
) -> LongTailed:
    """A long-tailed data set: 'digits-lt' (built in), 'cifar10-lt' or 'cifar100-lt' (from files under ``root``), or image files
    under ``root`` (or its folder of the data set's name) by their lists, which have class counts of their own. classes, name: of
    your own, dataset 'own'.

    CIFAR re-encoded as JPEG is not CIFAR: its name becomes 'cifar10-jpeg-lt'.

    Raises InvalidInput for an unknown name, a missing root, missing or corrupt files.
    """
    if (train_list or test_list) is not None and dataset not in LARGE:
        raise InvalidInput(f"--train-list and --test-list are for {', '.join(sorted(LARGE))}, not {dataset!r}")
    if dataset == "digits-lt":
        return _digits(imbalance, subset_seed)
    if dataset not in CLASSES:
        raise InvalidInput(f"dataset {dataset!r} is unknown; choose one of {', '.join(CLASSES)}")
    if root is None:
        raise InvalidInput(f"dataset {dataset!r} needs --data-root, the folder of its files")
    if not root.is_dir():
        raise InvalidInput(f"--data-root {str(root)!r} is not a folder")
    if dataset in LARGE:
        files = dataset.removesuffix("-ft")
        place = root / files if (root / files).is_dir() and dataset != "own" else root
        K = CLASSES[dataset] or classes
        train, test, names = lists.load(files, place, classes=K, train_list=train_list, test_list=test_list)
        return LongTailed(name or dataset, train, test, K, *LARGE_CONSTANTS[dataset], tuple(map(str, names)))
    K = CLASSES[dataset]
    found, test_found = cifar.read(root, K)
    kept = long_tailed_indices(found.labels, long_tailed_counts(len(found.labels) // K, K, imbalance), subset_seed)
    if np.bincount(test_found.labels, minlength=K).min() == 0:
        raise InvalidInput(f"--data-root {str(root)!r}: the test set has no image of some class; is a file missing?")
    called = f"cifar{K}-jpeg-lt" if found.jpeg or test_found.jpeg else dataset
    every = np.arange(len(test_found.labels))
    of_train = Images(found.decode(kept), found.labels[kept])
    of_test = Images(test_found.decode(every), test_found.labels)
    return LongTailed(called, of_train, of_test, K, MEAN, STD)


def _digits(imbalance: float, subset_seed: int) -> LongTailed:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    images = (pixels.reshape(-1, 1, 8, 8) * 15.9375).astype(np.uint8)
    # The last 50 images of each class are the balanced test set; at most 120 of the others are for training.
    test = np.concatenate([np.flatnonzero(labels == k)[-50:] for k in range(10)])
    rest = np.setdiff1d(np.arange(len(labels)), test)
    kept = rest[long_tailed_indices(labels[rest], long_tailed_counts(120, 10, imbalance), subset_seed)]
    mean, std = float(images[rest].mean() / 255), float(images[rest].std() / 255)
    labels = labels.astype(np.int64)
    return LongTailed(
        "digits-lt", Images(images[kept], labels[kept]), Images(images[test], labels[test]), 10, (mean,), (std,)
    )
