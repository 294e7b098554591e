"""Long-tailed image sets: CIFAR as tensors from either layout that people have, the digits that come with scikit-learn, and
large sets of image files by their lists (:mod:`training.lists`).

Untrusted files stay data: pickles are read by an unpickler that makes inert stand-ins of arrays and nothing else, and images
are decoded by Pillow from bytes, at the one size that is expected.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from lpm.errors import InvalidInput
from training import lists
from training.config import CLASSES, LARGE
from training.lists import Listed

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
"""CIFAR's constants as every long-tailed repository uses them (the std is that of per-image means; kept for comparison)."""

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LARGE_CONSTANTS = {
    "imagenet-lt": IMAGENET,
    "places-lt": IMAGENET,
    "places-lt-ft": IMAGENET,
    "inaturalist2018": ((0.466, 0.471, 0.380), (0.195, 0.194, 0.192)),
}
"""Mean and std of image files, as the reference code has them."""


@dataclass(frozen=True)
class Images:
    """images: (N, C, H, W) uint8. labels: (N,) int64."""

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class LongTailed:
    """A long-tailed training set and its balanced test set. name: what results are called. mean, std: of pixels in [0, 1]."""

    name: str
    train: Images | Listed
    test: Images | Listed
    K: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def fingerprint(self) -> dict[str, str]:
        """The name, and a hash of every image and label (of image files: of their list): what a run was trained and tested on."""
        if isinstance(self.train, Listed) or isinstance(self.test, Listed):
            assert isinstance(self.train, Listed)
            assert isinstance(self.test, Listed)
            return {"name": self.name, "sha256": lists.fingerprint(self.train, self.test)}
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


def load(
    dataset: str,
    root: Path | None,
    *,
    imbalance: float,
    subset_seed: int = 0,
    train_list: Path | None = None,
    test_list: Path | None = None,
) -> LongTailed:
    """A long-tailed data set: 'digits-lt' (built in), 'cifar10-lt' or 'cifar100-lt' (from files under ``root``), or image files
    under ``root`` (or its folder of the data set's name) by their lists, which have class counts of their own.

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
        place = root / files if (root / files).is_dir() else root
        train, test, _ = lists.load(files, place, train_list=train_list, test_list=test_list)
        return LongTailed(dataset, train, test, CLASSES[dataset], *LARGE_CONSTANTS[dataset])
    K = CLASSES[dataset]
    read = _find(root, K)
    encoded, test_encoded, jpeg = read()
    counts = long_tailed_counts(len(encoded) // K, K, imbalance)
    kept = long_tailed_indices(encoded.labels, counts, subset_seed)
    if np.bincount(test_encoded.labels, minlength=K).min() == 0:
        raise InvalidInput(f"--data-root {str(root)!r}: the test set has no image of some class; is a file missing?")
    name = f"cifar{K}-jpeg-lt" if jpeg else dataset
    return LongTailed(name, encoded.decode(kept), test_encoded.decode(np.arange(len(test_encoded))), K, MEAN, STD)


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


@dataclass(frozen=True)
class _Encoded:
    """Images still to be decoded: an array (N, 3, 32, 32), or files as bytes."""

    labels: np.ndarray
    arrays: np.ndarray | None
    files: list[bytes] | None
    source: str

    def __len__(self) -> int:
        return len(self.labels)

    def decode(self, which: np.ndarray) -> Images:
        if self.arrays is not None:
            return Images(self.arrays[which], self.labels[which])
        assert self.files is not None
        return Images(np.stack([_decode(self.files[i], self.source, int(i)) for i in which]), self.labels[which])


Reader = Callable[[], tuple[_Encoded, _Encoded, bool]]


def _find(root: Path, K: int) -> Reader:
    """How to read the K-class CIFAR under ``root``. Raises InvalidInput when it is not there."""
    folder = "cifar-10-batches-py" if K == 10 else "cifar-100-python"
    first = "data_batch_1" if K == 10 else "train"
    for place in (root, root / folder, *sorted(root.glob(f"*/{folder}"))):
        if (place / first).is_file():
            if not place.resolve().is_relative_to(root.resolve()):
                raise InvalidInput(
                    f"{str(place)!r} is a link that leaves --data-root; give the folder it leads to instead"
                )
            return lambda: (*_read_batches(place, K), False)
    for place in sorted({path.parent for path in root.rglob("train-*.parquet")}):
        parts = {split: sorted(place.glob(f"{split}-*.parquet")) for split in ("train", "test")}
        if parts["test"] and _label_column(parts["train"][0]) == ("label" if K == 10 else "fine_label"):
            in_order = {split: _all_shards(paths, split) for split, paths in parts.items()}
            return lambda: _read_parquet(in_order, K)
    raise InvalidInput(
        f"--data-root {str(root)!r} holds no CIFAR-{K}: neither {folder}/ nor train-*.parquet and test-*.parquet of it"
    )


def _all_shards(paths: list[Path], split: str) -> list[Path]:
    """The files of a split by number. Raises InvalidInput when those named train-00000-of-00002 and so on are not all there."""
    names = [(re.match(r"\w+-(\d+)-of-(\d+)\b", path.stem), path) for path in paths]
    shards = sorted((int(match[1]), int(match[2]), path) for match, path in names if match)
    if shards and [shard[:2] for shard in shards] != [(i, len(paths)) for i in range(len(paths))]:
        there, n = ", ".join(str(number) for number, *_ in shards)[:80], shards[-1][1]
        raise InvalidInput(
            f"{str(paths[0].parent)!r} has {len(paths)} {split} files, with the numbers {there}; by their names there should "
            f"be {n}, each of 0 to {n - 1} once"
        )
    return [path for *_, path in shards] or paths


class _Array:
    """What a pickled NumPy array becomes: its shape, type and bytes, which nothing interprets until they are checked."""

    def __init__(self, *state: Any) -> None:
        self.state = state

    def __setstate__(self, state: Any) -> None:
        _version, shape, kind, fortran, raw = state
        self.state = raw, kind, shape, "F" if fortran else "C"

    def pixels(self) -> np.ndarray:
        """Images (N, 3, 32, 32). Raises ValueError unless it is N x 3072 bytes in C order."""
        raw, kind, shape, order = self.state
        word = kind.word.decode() if isinstance(kind.word, bytes) else kind.word
        if word not in ("u1", "|u1") or order != "C" or not isinstance(raw, bytes | bytearray):
            raise ValueError(f"its images are {word!r}, not bytes")
        if len(shape) != 2 or shape[1] != 3072 or len(raw) != shape[0] * 3072:
            raise ValueError(f"its images have shape {shape}, not N x 3072")
        return np.frombuffer(raw, dtype=np.uint8).reshape(-1, 3, 32, 32)


class _DType:
    """What a pickled NumPy type becomes: its word."""

    def __init__(self, word: Any, *_: Any) -> None:
        self.word = word

    def __setstate__(self, state: Any) -> None:
        """Byte order and such; bytes have none."""


def _encode(text: str, codec: str) -> bytes:
    if codec != "latin1":
        raise pickle.UnpicklingError(f"it asks for the codec {codec!r}")
    return text.encode("latin1")


class _ArraysOnly(pickle.Unpickler):
    """An unpickler for CIFAR's batches: strings, numbers, lists, dicts and stand-ins for arrays; anything else is refused.

    NumPy's own constructors are not handed out: they build arrays over any bytes, object pointers included.
    """

    STAND_INS: ClassVar[dict[tuple[str, str], Any]] = {
        **{(f"numpy.{core}.multiarray", "_reconstruct"): lambda *_: _Array() for core in ("core", "_core")},
        **{(f"numpy.{core}.numeric", "_frombuffer"): _Array for core in ("core", "_core")},
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _DType,
        ("_codecs", "encode"): _encode,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.STAND_INS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return self.STAND_INS[module, name]


def _line(error: Exception) -> str:
    """What an error says, in one short line that a terminal shows as it is: a file may have chosen the words."""
    return "".join(c if c.isprintable() else " " for c in str(error))[:80]


def _read_batches(folder: Path, K: int) -> tuple[_Encoded, _Encoded]:
    names = [f"data_batch_{i}" for i in range(1, 6)] if K == 10 else ["train"]
    test = "test_batch" if K == 10 else "test"
    train = [_batch(folder / name, K) for name in names]
    arrays, labels = (np.concatenate([part[i] for part in train]) for i in (0, 1))
    test_arrays, test_labels = _batch(folder / test, K)
    return _Encoded(labels, arrays, None, str(folder)), _Encoded(test_labels, test_arrays, None, str(folder))


def _batch(path: Path, K: int) -> tuple[np.ndarray, np.ndarray]:
    try:
        with path.open("rb") as file:
            data = _ArraysOnly(file, encoding="bytes").load()
        images, labels = data[b"data"].pixels(), data[b"labels" if K == 10 else b"fine_labels"]
        if not isinstance(labels, list) or not all(type(x) is int for x in labels):
            raise ValueError("its labels are not a list of integers")
    except OSError as error:
        raise InvalidInput(f"{str(path)!r} cannot be read: {error.strerror}") from None
    except Exception as error:  # a corrupt pickle can raise anything; none of it is executed
        raise InvalidInput(f"{str(path)!r} is not a CIFAR batch: {_line(error)}") from None
    return images, _checked(labels, len(images), K, str(path))


def _checked(labels: list[int], number: int, K: int, source: str) -> np.ndarray:
    if len(labels) != number or not labels or min(labels) < 0 or max(labels) >= K:
        raise InvalidInput(f"{source!r}: {len(labels)} labels for {number} images, each must lie in 0..{K - 1}")
    return np.asarray(labels, dtype=np.int64)


def _label_column(path: Path) -> str:
    import pyarrow.parquet as pq

    try:
        names = pq.read_schema(path).names
    except Exception as error:
        raise InvalidInput(f"{str(path)!r} is not a parquet file: {_line(error)}") from None
    return next((name for name in ("fine_label", "label") if {name, "img"} <= set(names)), "")


def _read_parquet(parts: dict[str, list[Path]], K: int) -> tuple[_Encoded, _Encoded, bool]:
    column = "label" if K == 10 else "fine_label"
    found = {}
    for split, paths in parts.items():
        files: list[bytes] = []
        labels: list[int] = []
        for path in paths:
            for image, label in _rows(path, column):
                files.append(image)
                labels.append(label)
        source = str(paths[0].parent)
        found[split] = _Encoded(_checked(labels, len(files), K, source), None, files, source)
    jpeg = any(file.startswith(b"\xff\xd8") for part in found.values() for file in part.files or [])
    return found["train"], found["test"], jpeg


def _rows(path: Path, column: str) -> Iterator[tuple[bytes, int]]:
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, columns=["img", column])
        for image, label in zip(table["img"].to_pylist(), table[column].to_pylist(), strict=True):
            if type(image["bytes"]) is not bytes or type(label) is not int:
                raise ValueError(f"a row has {type(image['bytes']).__name__} and {type(label).__name__}")
            yield image["bytes"], label
    except Exception as error:
        raise InvalidInput(f"{str(path)!r} lacks img.bytes or {column}, or is corrupt: {_line(error)}") from None


def _decode(data: bytes, source: str, number: int) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            if image.size != (32, 32):
                raise ValueError(f"it is {image.size[0]} x {image.size[1]}, not 32 x 32")
            return np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    except Exception as error:
        raise InvalidInput(f"{source!r}: image {number} cannot be decoded: {_line(error)}") from None
