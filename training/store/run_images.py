"""The image files of a run, ``images.json.gz``: what each was, so that a change can be named. Needs no torch.

The file holds path, class, size, time of change and a hash of the contents of every image, and the order of the classes,
so that the network's outputs keep their meaning. A file whose time differs is compared by its contents: one that was copied
or touched is the same.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lpm.console.output import write
from training.data.datasets import Images, Listed, LongTailed
from training.data.remembered import State, digests
from training.data.untrusted import contents

IMAGES = "images.json.gz"
"""Name of the file in a run's folder."""

LIMIT = 200_000_000
"""Bytes that it may have, also when it is unpacked. iNaturalist's list has sixty million."""

PARTS = ("train", "test", "holdout")
"""The sets of images that a run may have; a run has no holdout unless it was asked for."""

UNKNOWN = -1
"""In place of a time of change that was not stored."""

Key = tuple[str, str]
"""An image: its part, 'train', 'test' or 'holdout', and its path."""


class Image(NamedTuple):
    """An image as a run used it.

    Attributes:
        label: its class, as the run numbers them.
        size: in bytes.
        time: of its last change, in nanoseconds; :data:`UNKNOWN` in a run of an older version.
        digest: the hash of its contents; '' where it is unknown.
    """

    label: int
    size: int
    time: int = UNKNOWN
    digest: str = ""


class RunImages(NamedTuple):
    """The content of ``images.json.gz``.

    Attributes:
        sha256: the fingerprint of the data.
        class_names: in the run's order.
        counts: (K,) training images of each class when the run was begun.
        images: every image.
    """

    sha256: str
    class_names: list[str]
    counts: list[int]
    images: dict[Key, Image]


@dataclass(frozen=True)
class Comparison:
    """Image files beside those of a run.

    Attributes:
        changed: images whose class, size or contents are others.
        missing: images that are gone or left out.
        new: images that were not there before.
        unknown: number of images with another time of change whose contents could not be compared.
        images: the images as they are now, with the hashes that are known.
    """

    changed: list[Key]
    missing: list[Key]
    new: list[Key]
    unknown: int
    images: dict[Key, Image]

    @property
    def same(self) -> bool:
        """Whether no image is known to be another."""
        return not (self.changed or self.missing or self.new)


def compared(begun: Mapping[Key, Image], data: LongTailed) -> Comparison:
    """Compare image files with those of a run. Files are read where their times of change differ.

    Args:
        begun: the run's images; none where it begins.
        data: the data as they are now, with the run's numbers of classes.

    Returns:
        The differences.
    """
    now, changed, unknown = _images_of(data), list[Key](), 0
    unread = [
        key for key, image in now.items() if (old := begun.get(key)) is None or old[1:3] != image[1:3] or not old.digest
    ]
    read = digests(_listed(data.train).root, [(key[1], State(*now[key][1:3])) for key in unread])
    digest_of = dict(zip(unread, read, strict=True))
    for key, image in now.items():
        old = begun.get(key, image)
        new = image._replace(digest=digest_of.get(key, old.digest))
        both = bool(new.digest and old.digest)
        if new[:2] != old[:2] or (both and new.digest != old.digest):
            changed.append(key)
        elif new.time != old.time != UNKNOWN and not both:
            unknown += 1
            new = old if old.digest else new  # what is known stays, so that a later check can still tell
        now[key] = new
    missing, added = [key for key in begun if key not in now], [key for key in now if key not in begun]
    return Comparison(changed, missing, added, unknown, now)


def save(folder: Path, data: LongTailed, images: Mapping[Key, Image]) -> None:
    """Write ``images.json.gz``.

    Args:
        folder: the run's folder.
        data: the data, with the run's numbers of classes.
        images: the images, as :func:`compared` returns them.
    """
    rows: dict[str, list[tuple[Any, ...]]] = {part: [] for part in data.parts}
    for (part, path), image in images.items():
        rows[part].append((path, *image))
    content = {
        "sha256": data.fingerprint["sha256"],
        "class_names": list(data.class_names),
        "counts": data.split_counts.tolist(),
        **rows,
    }
    write(folder / IMAGES, gzip.compress(json.dumps(content).encode(), compresslevel=3, mtime=0))


def load(folder: Path) -> RunImages | None:
    """Read ``images.json.gz``.

    Args:
        folder: the run's folder.

    Returns:
        Its content; None if it is missing or damaged.
    """
    if not os.path.isfile(folder / IMAGES):
        return None
    try:
        unpack = zlib.decompressobj(wbits=31)  # 31: the form of gzip
        content = json.loads(unpack.decompress(contents(folder / IMAGES, LIMIT), LIMIT))
        counts, names = content["counts"], content["class_names"]
        rows = {(part, row[0]): row[1:] for part in PARTS for row in _rows(content, part)}
        right = (
            [type(content["sha256"]), type(names)] == [str, list]
            and {type(name) for name in names} == {str}
            and {type(count) for count in counts} == {int}
            and len(counts) == len(names)
            and {type(path) for _, path in rows} == {str}
            and {tuple(map(type, row)) for row in rows.values()} <= {(int, int), (int, int, int, str)}
        )
        # An older version stored neither time nor hash.
        return RunImages(content["sha256"], names, counts, {k: Image(*v) for k, v in rows.items()}) if right else None
    except (ValueError, KeyError, TypeError, IndexError, RecursionError, zlib.error):  # InvalidInput is a ValueError
        return None


def _rows(content: Mapping[str, Any], part: str) -> Any:
    return content.get(part, ()) if part == "holdout" else content[part]


def times_of(data: LongTailed) -> str:
    """Hash the times of change of all image files. Where the hash is the run's, no file is looked at.

    Args:
        data: the data; image files.

    Returns:
        The hash.
    """
    return _hash(np.concatenate([_listed(part).times for part in data.parts.values()]))


def times_in(images: Mapping[Key, Image]) -> str:
    """Compute :func:`times_of` of the images of a run.

    Args:
        images: the images, in their order.

    Returns:
        The hash.
    """
    return _hash(np.array([image.time for image in images.values()], dtype=np.int64))


def _hash(times: np.ndarray) -> str:
    return hashlib.blake2b(times.astype("<i8").tobytes(), digest_size=8).hexdigest()


def _listed(part: Images | Listed) -> Listed:
    assert isinstance(part, Listed)
    return part


def _images_of(data: LongTailed) -> dict[Key, Image]:
    """The images without their hashes, in the order of :attr:`LongTailed.parts`."""
    return {
        (name, path): Image(label, size, time)
        for name, part in ((name, _listed(part)) for name, part in data.parts.items())
        for path, label, size, time in zip(
            part.paths, part.labels.tolist(), part.sizes.tolist(), part.times.tolist(), strict=True
        )
    }
