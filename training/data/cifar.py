"""CIFAR from either of its layouts: the pickled batches, or parquet files of encoded images.

Untrusted files stay data. Pickles are read by :mod:`training.data.batch_pickles`, which makes inert stand-ins for arrays
and nothing else. Parquet files are read a few rows at a time, up to the number of images that CIFAR has. Images are
decoded by Pillow from bytes, at the one size that is expected.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lpm.console.errors import InvalidInput
from training.data import batch_pickles
from training.data.datasets import Images, LongTailed, Request
from training.data.untrusted import contents, line, opened

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

LIMIT = 1_000_000_000
"""Bytes that a file may have; CIFAR's largest has 155 million."""

IMAGES = 50_000
"""Images that a set may have."""

IMAGE_LIMIT = 1_000_000
"""Bytes that an encoded image may have."""


@dataclass(frozen=True)
class Encoded:
    """Images of CIFAR before decoding, as an array or as files.

    Attributes:
        labels: class of each image, (N,) int64.
        arrays: pixels, (N, 3, 32, 32) uint8; None for files.
        files: the bytes of N encoded images; None for an array.
        source: the folder they come from, for errors.
    """

    labels: np.ndarray
    arrays: np.ndarray | None
    files: list[bytes] | None
    source: str

    @property
    def jpeg(self) -> bool:
        """Whether an image is a JPEG file, which is not CIFAR."""
        return any(file.startswith(b"\xff\xd8") for file in self.files or [])

    def decode(self, indices: np.ndarray) -> np.ndarray:
        """Decode some images.

        Args:
            indices: which ones, (n,).

        Returns:
            Pixels, (n, 3, 32, 32) uint8.

        Raises:
            InvalidInput: if an image is broken or of another size; it names the image.
        """
        if self.arrays is not None:
            return self.arrays[indices]
        assert self.files is not None
        return np.stack([_decode(self.files[i], self.source, int(i)) for i in indices])


def read(root: Path, K: int) -> tuple[Encoded, Encoded]:
    """Find and read CIFAR below a folder. Links that leave the folder are refused, as in lists.

    Args:
        root: the folder, or one above it.
        K: 10 or 100 classes.

    Returns:
        The training images and the test images.

    Raises:
        InvalidInput: if files are missing or corrupt.
    """
    folder = "cifar-10-batches-py" if K == 10 else "cifar-100-python"
    first = "data_batch_1" if K == 10 else "train"
    for candidate in (root, root / folder, *sorted(root.glob(f"*/{folder}"))):
        if os.path.lexists(candidate / first):
            if not candidate.resolve().is_relative_to(root.resolve()):
                raise InvalidInput(
                    f"{str(candidate)!r} is a link that leaves --data-root; give the folder it leads to instead"
                )
            return _read_batches(candidate, K, root)
    for candidate in sorted({path.parent for path in root.rglob("train-*.parquet")}):
        parts = {part: sorted(candidate.glob(f"{part}-*.parquet")) for part in ("train", "test")}
        if parts["test"] and _label_column(parts["train"][0]) == ("label" if K == 10 else "fine_label"):
            for file in (*parts["train"], *parts["test"]):
                _refuse_leaving(file, root)
            train, test = (_all_shards(paths, part) for part, paths in parts.items())
            return _read_parquet(train, K), _read_parquet(test, K)
    raise InvalidInput(
        f"--data-root {str(root)!r} holds no CIFAR-{K}; it needs {folder}/, or train-*.parquet and test-*.parquet"
    )


def _all_shards(paths: list[Path], part: str) -> list[Path]:
    """The files of a set by number. Raises InvalidInput unless 00000-of-00002 and so on all exist."""
    names = [(re.match(r"\w+-(\d+)-of-(\d+)\b", path.stem), path) for path in paths]
    shards = sorted((int(match[1]), int(match[2]), path) for match, path in names if match)
    if shards and [shard[:2] for shard in shards] != [(i, len(paths)) for i in range(len(paths))]:
        numbers, n = ", ".join(str(number) for number, *_ in shards)[:80], shards[-1][1]
        raise InvalidInput(
            f"{str(paths[0].parent)!r} has {len(paths)} {part} files, with the numbers {numbers}; by their names there "
            f"should be {n}, each of 0 to {n - 1} once"
        )
    return [path for *_, path in shards] or paths


def _refuse_leaving(file: Path, root: Path) -> None:
    """Raise InvalidInput for a link that leads out of a folder."""
    if file.is_symlink() and not Path(os.path.realpath(file)).is_relative_to(os.path.realpath(root)):
        raise InvalidInput(f"{str(file)!r} is a link that leaves --data-root; put a copy of the file in its place")


def _read_batches(folder: Path, K: int, root: Path) -> tuple[Encoded, Encoded]:
    names = [f"data_batch_{i}" for i in range(1, 6)] if K == 10 else ["train"]
    test = "test_batch" if K == 10 else "test"
    for name in (*names, test):
        _refuse_leaving(folder / name, root)
    train = [_batch(folder / name, K) for name in names]
    arrays, labels = (np.concatenate([part[i] for part in train]) for i in (0, 1))
    test_arrays, test_labels = _batch(folder / test, K)
    return Encoded(labels, arrays, None, str(folder)), Encoded(test_labels, test_arrays, None, str(folder))


def _batch(path: Path, K: int) -> tuple[np.ndarray, np.ndarray]:
    content = contents(path, LIMIT)
    try:
        data = batch_pickles.load(content)
        if not isinstance(data, dict):
            raise ValueError("it holds no dictionary")
        images, labels = data[b"data"].pixels(), data[b"labels" if K == 10 else b"fine_labels"]
        if not isinstance(labels, list) or not all(type(x) is int for x in labels):
            raise ValueError("its labels are not a list of integers")
    except Exception as error:  # a corrupt pickle can raise anything; none of it is executed
        raise InvalidInput(f"{str(path)!r} is not a CIFAR batch: {line(error)}") from None
    return images, _checked(labels, len(images), K, str(path))


def _checked(labels: list[int], number: int, K: int, source: str) -> np.ndarray:
    if len(labels) != number or not labels or min(labels) < 0 or max(labels) >= K:
        raise InvalidInput(f"{source!r}: {len(labels)} labels for {number} images, each must lie in 0..{K - 1}")
    return np.asarray(labels, dtype=np.int64)


def _label_column(path: Path) -> str:
    import pyarrow.parquet as pq

    with opened(path, LIMIT) as file:
        try:
            names = pq.read_schema(file).names
        except Exception as error:
            raise InvalidInput(f"{str(path)!r} is not a parquet file: {line(error)}") from None
    return next((name for name in ("fine_label", "label") if {name, "img"} <= set(names)), "")


def _read_parquet(paths: list[Path], K: int) -> Encoded:
    files: list[bytes] = []
    labels: list[int] = []
    for path in paths:
        for image, label in _rows(path, "label" if K == 10 else "fine_label", IMAGES - len(files)):
            files.append(image)
            labels.append(label)
    source = str(paths[0].parent)
    return Encoded(_checked(labels, len(files), K, source), None, files, source)


def _rows(path: Path, column: str, limit: int) -> Iterator[tuple[bytes, int]]:
    """The images and labels of a file with at most ``limit`` rows. Raises InvalidInput for any other file."""
    import pyarrow.parquet as pq

    with opened(path, LIMIT) as file:
        try:
            parquet = pq.ParquetFile(file)
            _refuse_large(parquet, limit)
            # Few rows at a time: a value that is stored once may stand in every row.
            for batch in parquet.iter_batches(16, columns=["img", column], use_threads=False):
                for image, label in zip(batch["img"].to_pylist(), batch[column].to_pylist(), strict=True):
                    if type(image["bytes"]) is not bytes or type(label) is not int:
                        raise ValueError(f"a row has {type(image['bytes']).__name__} and {type(label).__name__}")
                    if len(image["bytes"]) > IMAGE_LIMIT:
                        raise ValueError(f"an image has {len(image['bytes']):,} bytes, more than {IMAGE_LIMIT:,}")
                    if (limit := limit - 1) < 0:
                        raise ValueError(f"there are more than {IMAGES:,} images")
                    yield image["bytes"], label
        except Exception as error:
            raise InvalidInput(f"{str(path)!r} lacks img.bytes or {column}, or is corrupt: {line(error)}") from None


def _refuse_large(parquet: ParquetFile, limit: int) -> None:
    """Raise ValueError for a file that says it has more rows, or more bytes when it is decompressed."""
    metadata = parquet.metadata
    if metadata.num_rows > limit:
        raise ValueError(f"there are more than {IMAGES:,} images")
    size = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    if size > LIMIT:
        raise ValueError(f"it has {size:,} bytes when it is decompressed, more than {LIMIT:,}")


def _decode(data: bytes, source: str, number: int) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            if image.size != (32, 32):
                raise ValueError(f"it is {image.size[0]} x {image.size[1]}, not 32 x 32")
            return np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    except Exception as error:
        raise InvalidInput(f"{source!r}: image {number} cannot be decoded: {line(error)}") from None


def load(request: Request) -> LongTailed:
    """Load long-tailed CIFAR-10 or CIFAR-100.

    Args:
        request: the folder of the files, the number of classes, the imbalance and the seed of the subset.

    Returns:
        Images (3, 32, 32). The name becomes 'cifar10-jpeg-lt' where images are re-encoded as JPEG, which is not CIFAR.

    Raises:
        InvalidInput: if files are missing or corrupt, or a class has too few images.
    """
    K, row = request.classes, request.row
    train, test = read(request.folder, K)
    subset = request.long_tailed(train.labels)
    if np.bincount(test.labels, minlength=K).min() == 0:
        raise InvalidInput(
            f"--data-root {str(request.folder)!r}: the test set has no image of some class; is a file missing?"
        )
    name = f"cifar{K}-jpeg-lt" if train.jpeg or test.jpeg else row.name
    train_images = Images(train.decode(subset), train.labels[subset])
    test_images = Images(test.decode(np.arange(len(test.labels))), test.labels)
    assert row.constants is not None
    return LongTailed(name, train_images, test_images, K, *row.constants)
