"""Lists of images on disk, as people have them: `path label` a line, or iNaturalist's JSON.

A list is data from elsewhere. Every path is checked before training: it must lead to a regular file inside the root.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import posixpath
import stat
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lpm.errors import InvalidInput
from training.config import CLASSES
from training.untrusted import contents, line

NAMES = {
    "imagenet-lt": [("ImageNet_LT_train.txt", "ImageNet_LT_test.txt")],
    "places-lt": [("Places_LT_train.txt", "Places_LT_test.txt")],
    "inaturalist2018": [("iNaturalist18_train.txt", "iNaturalist18_val.txt"), ("train2018.json", "val2018.json")],
}
"""What the lists for training and testing are called where they are published."""

LIMIT = 250_000_000
"""Bytes of a list. iNaturalist's, the longest, has some hundred million as JSON."""


@dataclass(frozen=True)
class Listed:
    """Images on disk. root: a folder, without links. paths: relative to it, N in the list's order. labels: (N,) int64,
    class 0 the most frequent in training. sizes: (N,) int64, of the files in bytes.
    """

    root: Path
    paths: tuple[str, ...]
    labels: np.ndarray
    sizes: np.ndarray

    def __len__(self) -> int:
        return len(self.paths)


class Row(NamedTuple):
    """An image of a list: where the list has it, its path and its label, as the list says them."""

    where: int
    path: str
    label: int


def load(
    dataset: str, root: Path, *, train_list: Path | None = None, test_list: Path | None = None
) -> tuple[Listed, Listed, np.ndarray]:
    """The images for training and for testing, and the list's own label of class k, (K,).

    Classes are numbered by falling count of training images, those of equal count by the list's label. train_list,
    test_list: where the lists are, by default under ``root`` with their published names.

    Raises InvalidInput, with the list's name and line, for lists that are missing or malformed, for classes without
    images, and for paths that are there twice, lead to no regular file, or leave the root.
    """
    if dataset not in NAMES:
        raise InvalidInput(f"dataset {dataset!r} has no lists; choose one of {', '.join(NAMES)}")
    if not root.is_dir():
        raise InvalidInput(f"--data-root {str(root)!r} is not a folder")
    K = CLASSES[dataset]
    root = Path(os.path.realpath(root))
    taken: dict[str, str] = {}
    train = _listed(root, train_list or _find(dataset, root, 0), K, "training", taken)
    test = _listed(root, test_list or _find(dataset, root, 1), K, "test", taken)
    order = np.argsort(-np.bincount(train.labels, minlength=K), kind="stable")
    number = np.argsort(order)
    return (
        Listed(root, train.paths, number[train.labels], train.sizes),
        Listed(root, test.paths, number[test.labels], test.sizes),
        order,
    )


def fingerprint(train: Listed, test: Listed) -> str:
    """A hash of every relative path, label and file size, in order: what a run was trained and tested on.

    Not of contents: those of iNaturalist are a hundred gigabytes, to be read at every start. Sizes tell files that were
    scaled, encoded anew or cut short.
    """
    digest = hashlib.sha256()
    for part in (train, test):
        digest.update(f"{len(part)}\0".encode())
        for path in part.paths:
            digest.update(path.encode() + b"\0")
        digest.update(part.labels.astype("<i8").tobytes() + part.sizes.astype("<i8").tobytes())
    return digest.hexdigest()


def _find(dataset: str, root: Path, side: int) -> Path:
    """The list for training (side 0) or testing (1) under its published name. Raises InvalidInput when it is not there."""
    option = ("--train-list", "--test-list")[side]
    names = [pair[side] for pair in NAMES[dataset]]
    for name in names:
        if os.path.lexists(root / name):
            if not (root / name).resolve().is_relative_to(root.resolve()):
                raise InvalidInput(f"{str(root / name)!r} is a link that leaves --data-root; give it with {option}")
            return root / name
    raise InvalidInput(f"--data-root {str(root)!r} holds no {' or '.join(names)}; say where it is with {option}")


def _listed(root: Path, source: Path, K: int, use: str, taken: dict[str, str]) -> Listed:
    """The images of one list, labels as it has them. taken: the list that has a path already; grows."""
    name, is_json = str(source), source.suffix == ".json"
    rows, place = (_json_rows, "images[{}]") if is_json else (_text_rows, "line {}")
    files = _Files(root)
    paths: list[str] = []
    labels, sizes = array("q"), array("q")  # a few bytes an image; lists of integers have some forty
    for where, path, label in rows(contents(source, LIMIT), name):
        try:
            if not 0 <= label < K:
                raise ValueError(f"label {str(label)[:20]} must lie in 0..{K - 1}")
            path = _inside(path)
            if path in taken:
                raise ValueError(f"{path[:200]!r} is there already, in {taken[path]!r}")
            sizes.append(files.size(path))
        except OSError as error:
            raise InvalidInput(f"{name!r}, {place.format(where)}: {path[:200]!r}: {error.strerror}") from None
        except ValueError as error:
            raise InvalidInput(f"{name!r}, {place.format(where)}: {error}") from None
        taken[path] = name
        paths.append(path)
        labels.append(label)
    there = np.frombuffer(labels, dtype=np.int64)
    absent = np.flatnonzero(np.bincount(there, minlength=K) == 0)
    if len(absent):
        raise InvalidInput(f"{name!r}: {len(absent)} of {K} classes have no {use} image, class {absent[0]} for one")
    return Listed(root, tuple(paths), there, np.frombuffer(sizes, dtype=np.int64))


def _text_rows(data: bytes, name: str) -> Iterator[Row]:
    for number, raw in enumerate(io.BytesIO(data), 1):
        try:
            words = raw.decode("utf-8-sig" if number == 1 else "utf-8").rsplit(None, 1)
        except UnicodeDecodeError:
            raise InvalidInput(f"{name!r}, line {number}: it is not text in UTF-8") from None
        if not words:
            continue  # an empty line
        if len(words) != 2:
            raise InvalidInput(f"{name!r}, line {number}: {words[0][:80]!r} is not a path, a space and a label")
        path, label = words
        if not (label.isascii() and label.isdigit() and len(label) < 10):
            raise InvalidInput(f"{name!r}, line {number}: label {label[:20]!r} is not a whole number from 0")
        yield Row(number, path, int(label))


def _json_rows(data: bytes, name: str) -> Iterator[Row]:
    try:
        content = json.loads(data, object_hook=_needed)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{name!r} is not JSON: {line(error)}") from None
    labels: dict[int, int] = {}
    for number, entry in _entries(content, "annotations", {"image_id": int, "category_id": int}, name):
        if entry["image_id"] in labels:
            raise InvalidInput(f"{name!r}, annotations[{number}]: its image has a label already")
        labels[entry["image_id"]] = entry["category_id"]
    for number, entry in _entries(content, "images", {"id": int, "file_name": str}, name):
        if entry["id"] not in labels:
            raise InvalidInput(
                f"{name!r}, images[{number}]: no annotation is left for its id; each image needs its own"
            )
        yield Row(number, entry["file_name"], labels.pop(entry["id"]))
    if labels:
        raise InvalidInput(f"{name!r}: {len(labels)} annotations are of images that it does not have")


def _needed(entry: dict[str, Any]) -> dict[str, Any]:
    """What a list needs of an object. The rest, photographers and licences and such, would fill memory."""
    keys = ("images", "annotations", "id", "file_name", "image_id", "category_id")
    return {key: entry[key] for key in keys if key in entry}


def _entries(content: Any, key: str, types: dict[str, type], name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects in a list of the file. Raises InvalidInput unless each has the fields; a bool is not an integer."""
    entries = content.get(key) if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise InvalidInput(f"{name!r} has no list {key!r}")
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict) or any(type(entry.get(field)) is not kind for field, kind in types.items()):
            wanted = " and ".join(f"{field} ({kind.__name__})" for field, kind in types.items())
            raise InvalidInput(f"{name!r}, {key}[{number}]: it needs {wanted}")
        yield number, entry


def _inside(path: str) -> str:
    """A list's path in its plainest form. Raises ValueError unless it goes down from the root."""
    if path.startswith("/") or ".." in path.split("/"):
        raise ValueError(f"{path[:200]!r} must be relative to --data-root, without '..'")
    return posixpath.normpath(path)


class _Files:
    """The files of a root. Folders are resolved once each: a million images lie in some thousands."""

    def __init__(self, root: Path) -> None:
        self.root, self.within = str(root), os.path.join(root, "")
        self.folders: dict[str, str] = {}

    def size(self, path: str) -> int:
        """The bytes of a file. Raises OSError when it is not there, ValueError for a link that leaves the root, or no file."""
        folder, _, name = path.rpartition("/")
        if folder not in self.folders:
            self.folders[folder] = self._resolved(folder, path)
        status = os.lstat(f"{self.folders[folder]}/{name}")
        if stat.S_ISLNK(status.st_mode):
            status = os.lstat(self._resolved(path, path))
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{path[:200]!r} is not a regular file")
        return status.st_size

    def _resolved(self, part: str, path: str) -> str:
        real = os.path.realpath(os.path.join(self.root, part), strict=True)
        if not (real + "/").startswith(self.within):
            raise ValueError(f"{path[:200]!r} is or lies behind a link that leaves --data-root")
        return real
