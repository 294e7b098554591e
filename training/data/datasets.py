"""Long-tailed image sets: what a loader is asked for, what it returns, and the subset that makes balanced data long-tailed.

The catalogue (:mod:`training.catalogue`) names each data set's loader.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lpm.console.errors import InvalidInput
from lpm.console.text import counted
from training.catalogue import CATALOGUE, DataSet
from training.config import RunConfig
from training.data.depth import NOTHING, Largest
from training.data.holdout import held_out
from training.data.images import MAX_PIXELS, Decoding
from training.data.set_depth import largest_of
from training.methods import function


@dataclass(frozen=True)
class Images:
    """Images in memory, for training or for testing.

    Attributes:
        images: (N, C, H, W) uint8.
        labels: (N,) int64, class 0 the most frequent in training.
    """

    images: np.ndarray
    labels: np.ndarray

    @property
    def names(self) -> tuple[str, ...]:
        """The numbers of the images, as text."""
        return tuple(map(str, range(len(self.labels))))

    def select(self, chosen: np.ndarray) -> Images:
        """Select some of the images.

        Args:
            chosen: (N,) bool.

        Returns:
            The images, in the same order.
        """
        return Images(self.images[chosen], self.labels[chosen])

    def update(self, digest: hashlib._Hash) -> None:
        """Add every image and label to a hash.

        Args:
            digest: the hash.
        """
        for array in (self.images, self.labels):
            digest.update(np.ascontiguousarray(array).tobytes())


@dataclass(frozen=True)
class Listed:
    """N images on disk, in the order of their list.

    Attributes:
        root: the folder that paths are relative to, with links resolved.
        paths: N paths.
        labels: (N,) int64 classes; class 0 is the most frequent in training.
        sizes: (N,) int64 bytes of each file.
        times: (N,) int64 nanoseconds, when each file was changed last.
    """

    root: Path
    paths: tuple[str, ...]
    labels: np.ndarray
    sizes: np.ndarray
    times: np.ndarray

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def names(self) -> tuple[str, ...]:
        """The paths of the images."""
        return self.paths

    def select(self, chosen: np.ndarray) -> Listed:
        """Select some of the images.

        Args:
            chosen: (N,) bool.

        Returns:
            The images, in the same order.
        """
        paths = tuple(path for path, taken in zip(self.paths, chosen.tolist(), strict=True) if taken)
        return Listed(self.root, paths, self.labels[chosen], self.sizes[chosen], self.times[chosen])

    def update(self, digest: hashlib._Hash) -> None:
        """Add every relative path, label and file size to a hash, in order.

        Contents are left out: those of iNaturalist are a hundred gigabytes, to be read at every start. Sizes show files
        that were scaled, encoded again or cut short. A run has hashes of contents where they are known
        (:mod:`training.store.run_images`).

        Args:
            digest: the hash.
        """
        digest.update(f"{len(self)}\0".encode())
        for path in self.paths:
            digest.update(path.encode() + b"\0")
        digest.update(self.labels.astype("<i8").tobytes() + self.sizes.astype("<i8").tobytes())


@dataclass(frozen=True)
class LongTailed:
    """A long-tailed training set and its test set.

    Attributes:
        name: the name in results.
        train: the training images.
        test: the test images, of the same kind.
        K: number of classes.
        mean: mean of each channel, for pixels in 0..1.
        std: standard deviation of each channel.
        class_names: the name of each class, by falling count of training images; none where numbers are the names.
        hashed_names: the names that enter the fingerprint, where they are not those.
        left_out: paths of files that were left out, because they cannot be used.
        begun_counts: (K,) training images of each class when a run was begun, where its data are others now; many,
            medium and few stay what they were.
        largest_pixels: the largest values of image files with more than eight bits; where it has none, each file is scaled by
            its own.
        max_pixels: pixels that an image file may have.
        holdout: training images that are held out, None where there are none; :attr:`train` is without them.
    """

    name: str
    train: Images | Listed
    test: Images | Listed
    K: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...] = ()
    hashed_names: tuple[str, ...] | None = None
    left_out: tuple[str, ...] = ()
    begun_counts: tuple[int, ...] | None = None
    largest_pixels: Largest = NOTHING
    max_pixels: int = MAX_PIXELS
    holdout: Images | Listed | None = None

    @property
    def parts(self) -> dict[str, Images | Listed]:
        """The sets of images by name: 'train', 'test', and 'holdout' where there is one."""
        parts = {"train": self.train, "test": self.test}
        return parts if self.holdout is None else parts | {"holdout": self.holdout}

    def with_holdout(self, share: float, seed: int) -> LongTailed:
        """Hold a share of the training images of each class out of training.

        Args:
            share: in (0, 1).
            seed: which images.

        Returns:
            The same data, with fewer training images.

        Raises:
            InvalidInput: if no class has enough images.
        """
        chosen = held_out(self.train.labels, self.train.names, share, seed)
        return replace(self, train=self.train.select(~chosen), holdout=self.train.select(chosen))

    @property
    def fingerprint(self) -> dict[str, str]:
        """The name, and a hash of what a run is trained and tested on: images and labels, or lists and sizes of files."""
        digest = hashlib.sha256()
        for part in self.parts.values():
            part.update(digest)
        names = self.class_names if self.hashed_names is None else self.hashed_names
        digest.update("\0".join(names).encode())
        return {"name": self.name, "sha256": digest.hexdigest()}

    @property
    def counts(self) -> np.ndarray:
        """Training images of each class, (K,)."""
        return np.bincount(self.train.labels, minlength=self.K)

    @property
    def channels(self) -> int:
        """Channels of the images."""
        return self.train.images.shape[1] if isinstance(self.train, Images) else 3

    @property
    def holdout_counts(self) -> tuple[int, ...]:
        """Images of each class that are held out, (K,); () without such images."""
        if self.holdout is None:
            return ()
        return tuple(np.bincount(self.holdout.labels, minlength=self.K).tolist())

    @property
    def split_counts(self) -> np.ndarray:
        """Training images of each class, (K,), which divide the classes into many, medium and few."""
        return self.counts if self.begun_counts is None else np.array(self.begun_counts)

    def as_begun(self, class_names: Sequence[str], counts: Sequence[int]) -> LongTailed:
        """Number the classes of image files as when a run was begun, whatever their numbers of images are now.

        Args:
            class_names: the same names, in the order that the run has.
            counts: (K,) training images of each class when the run was begun.

        Returns:
            The same images with other labels.
        """
        position = {name: label for label, name in enumerate(self.class_names)}
        order = [position[name] for name in class_names]
        number = np.argsort(order)
        parts: dict[str, Any] = {name: replace(part, labels=number[part.labels]) for name, part in self.parts.items()}
        hashed = self.hashed_names
        return replace(
            self,
            **parts,
            class_names=tuple(class_names),
            hashed_names=None if hashed is None else tuple(hashed[label] for label in order),
            begun_counts=tuple(counts),
        )


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a loader is asked for.

    Attributes:
        row: the data set's row of the catalogue.
        root: the folder of its files, which exists; None where none was given and the row needs none.
        imbalance: n_max / n_min of the long-tailed subset, at least 1.
        n_max: images of its most frequent class; 0 for all.
        tail: how class counts fall, 'exp' or 'step'.
        subset_seed: which images the subset keeps.
        classes: number of classes.
        name: the name in results.
        train_list: the list of training images, where one is given.
        test_list: the list of test images, where one is given.
        leave_out: paths of image files that are left out, as if no list had them.
    """

    row: DataSet
    root: Path | None = None
    imbalance: float = 1.0
    n_max: int = 0
    tail: str = "exp"
    subset_seed: int = 0
    classes: int = 0
    name: str = ""
    train_list: Path | None = None
    test_list: Path | None = None
    leave_out: Collection[str] = ()

    @property
    def folder(self) -> Path:
        """The root, where the catalogue says that one is needed."""
        assert self.root is not None
        return self.root

    def long_tailed(self, labels: np.ndarray, n_max: int | None = None) -> np.ndarray:
        """Choose the long-tailed subset of balanced training images.

        Args:
            labels: (N,) class of each image.
            n_max: images of the most frequent class if the request has none; by default N / K.

        Returns:
            The indices of the images that are kept.

        Raises:
            InvalidInput: if a class has too few images, or would be left with none.
        """
        n_max = self.n_max or n_max or len(labels) // self.classes
        counts = long_tailed_counts(n_max, self.classes, self.imbalance, self.tail)
        return long_tailed_indices(labels, counts, self.subset_seed)


def long_tailed_counts(n_max: int, K: int, imbalance: float, tail: str = "exp") -> np.ndarray:
    """The standard long-tailed class counts, n_k = floor(n_max imbalance^(-k/(K-1))); or a step.

    With a step the first floor(K/2) classes have n_max images each, and the others floor(n_max / imbalance). Source: Cao et
    al. 2019, for both.

    Args:
        n_max: images of the most frequent class.
        K: number of classes.
        imbalance: n_max / n_min.
        tail: 'exp' or 'step'.

    Returns:
        (K,), falling.

    Raises:
        InvalidInput: if the imbalance is below 1.
    """
    if not imbalance >= 1:
        raise InvalidInput(f"imbalance {imbalance:g} must be at least 1, n_max / n_min")
    if tail == "step":
        return np.where(np.arange(K) < K // 2, n_max, int(n_max * (1 / imbalance)))
    return np.array([int(n_max * (1 / imbalance) ** (k / (K - 1.0))) for k in range(K)])


def long_tailed_indices(labels: np.ndarray, counts: np.ndarray, seed: int) -> np.ndarray:
    """Choose the images of the long-tailed subset that other work uses too.

    Class by class the images are shuffled by one legacy generator, and the first n_k are kept.

    Args:
        labels: (N,) class of each image.
        counts: (K,) images to keep of each class.
        seed: of the generator; 0 in other work.

    Returns:
        The indices of the images that are kept.

    Raises:
        InvalidInput: if a class has too few images, or would be left with none.
    """
    rng, subset = np.random.RandomState(seed), []
    for k, n in enumerate(counts):
        images = np.flatnonzero(labels == k)
        rng.shuffle(images)
        if not 1 <= n <= len(images):
            raise InvalidInput(
                f"class {k} has {counted(len(images), 'image')} and should keep {n}; take a smaller "
                + ("--n-max" if n else "imbalance")
            )
        subset.append(images[:n])
    return np.concatenate(subset)


def of(
    config: RunConfig,
    root: Path | None,
    *,
    train_list: Path | None,
    test_list: Path | None,
    leave_out: Collection[str] = (),
    max_pixels: int = MAX_PIXELS,
) -> LongTailed:
    """Load the data of a run.

    Args:
        config: the run.
        root: the folder of the files.
        train_list: the list of training images, if not under its usual name.
        test_list: the list of test images, if not under its usual name.
        leave_out: paths of image files that are left out.
        max_pixels: pixels that an image file may have.

    Returns:
        The data.

    Raises:
        InvalidInput: as :func:`load`.
        ChildProcessError: if a process was killed that looked for the depth of pixels.
    """
    data = load(
        config.dataset,
        root,
        imbalance=config.imbalance,
        n_max=config.n_max,
        tail=config.tail,
        subset_seed=config.subset_seed,
        classes=config.classes,
        name=config.data,
        train_list=train_list,
        test_list=test_list,
        leave_out=leave_out,
    )
    if not (isinstance(data.train, Listed) and isinstance(data.test, Listed)):
        return data.with_holdout(config.holdout, config.subset_seed) if config.holdout else data
    decoding = Decoding(config.upright, config.pixel_bits, max_pixels=max_pixels)
    workers = len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # torchrun's processes here
    largest = largest_of(data.train.root, (*data.train.paths, *data.test.paths), decoding, workers=workers)
    data = replace(data, largest_pixels=largest, max_pixels=max_pixels)
    return data.with_holdout(config.holdout, config.subset_seed) if config.holdout else data


def load(
    dataset: str,
    root: Path | None,
    *,
    imbalance: float = 1.0,
    n_max: int = 0,
    tail: str = "exp",
    subset_seed: int = 0,
    classes: int = 0,
    name: str = "",
    train_list: Path | None = None,
    test_list: Path | None = None,
    leave_out: Collection[str] = (),
) -> LongTailed:
    """Load a data set of the catalogue.

    Args:
        dataset: its name.
        root: the folder of its files; image files may lie in its folder of the data set's name.
        imbalance: n_max / n_min of the long-tailed subset of CIFAR and the digits.
        n_max: images of that subset's most frequent class; 0 for all.
        tail: how that subset's class counts fall, 'exp' or 'step'.
        subset_seed: which images that subset keeps.
        classes: number of classes, for dataset 'own'.
        name: the name in results; by default the data set's.
        train_list: the list of training image files, if not under its published name.
        test_list: the list of test image files, if not under its published name.
        leave_out: paths of image files that are left out, as if the lists did not have them.

    Returns:
        The data. CIFAR that was re-encoded as JPEG has another name, 'cifar10-jpeg-lt', because it is not CIFAR.

    Raises:
        InvalidInput: if the name is unknown, the root is missing, or files are missing or corrupt.
    """
    if dataset not in CATALOGUE:
        raise InvalidInput(f"dataset {dataset!r} is unknown; choose one of {', '.join(CATALOGUE)}")
    row = CATALOGUE[dataset]
    if (train_list or test_list) is not None and not row.files:
        listed = ", ".join(sorted(name for name, other in CATALOGUE.items() if other.files))
        raise InvalidInput(f"--train-list and --test-list are for {listed}, not {dataset!r}")
    if row.needs_root and root is None:
        raise InvalidInput(f"dataset {dataset!r} needs --data-root, the folder of its files")
    if row.needs_root and root is not None and not root.is_dir():
        raise InvalidInput(f"--data-root {str(root)!r} is not a folder")
    request = Request(
        row=row,
        root=root,
        imbalance=imbalance,
        n_max=n_max,
        tail=tail,
        subset_seed=subset_seed,
        classes=row.classes or classes,
        name=name or dataset,
        train_list=train_list,
        test_list=test_list,
        leave_out=leave_out,
    )
    loaded: LongTailed = function(row.loader)(request)
    return loaded
