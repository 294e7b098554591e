"""What a check of image files has found, remembered under their root: which decode, and a hash of their contents.

A file is the one that was checked as long as it has the same path, size and time of its last change. So what was read
once is not read again, neither by the next check nor for a hash.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import PIL

from lpm.console.errors import InvalidInput
from lpm.console.output import remove_remains, write
from training.data.images import LIMIT as IMAGE_LIMIT
from training.data.images import MAX_PIXELS
from training.data.untrusted import contents

REMEMBERED = ".decodable.json"
"""File under the root that remembers the files that decode. It may be deleted."""

LIMIT = 1_000_000_000
"""Bytes that it may have."""

READ = 1_000_000_000
"""Bytes of files that are read for their hashes at a time, at most. A second or two from memory, ten from a disk."""


class State(NamedTuple):
    """A file as it was when it was looked at.

    Attributes:
        size: in bytes.
        time: of its last change, in nanoseconds.
    """

    size: int
    time: int


class Checked(NamedTuple):
    """A file that decodes.

    Attributes:
        state: of the file.
        digest: the hash of its contents, as :func:`digest_of` computes it.
    """

    state: State
    digest: str


def state_of(root: Path, path: str) -> State | None:
    """Look at a file.

    Args:
        root: the folder that the path is relative to.
        path: the file.

    Returns:
        Its state; None where there is no such file.
    """
    try:
        status = os.stat(os.path.join(root, path))
    except (OSError, ValueError):
        return None
    return State(status.st_size, status.st_mtime_ns)


def digest_of(root: Path, path: str) -> str:
    """Hash the contents of a file.

    Args:
        root: the folder that the path is relative to.
        path: the file.

    Returns:
        BLAKE2b of eight bytes, in hexadecimal digits; '' where the file cannot be read.
    """
    try:
        return hashlib.blake2b(contents(os.path.join(root, path), IMAGE_LIMIT), digest_size=8).hexdigest()
    except InvalidInput:
        return ""


def digests(root: Path, files: Sequence[tuple[str, State]]) -> list[str]:
    """Find the hashes of the contents of files: those that a check has computed, and others by reading.

    Args:
        root: the folder that paths are relative to.
        files: path and state of each file.

    Returns:
        The hash of each file. It is '' for files that no check has read, if they have more than :data:`READ` bytes together.
    """
    known = remembered(root, None) if files else {}
    found = [checked.digest if (checked := known.get(path)) and checked.state == at else "" for path, at in files]
    if sum(at.size for (_, at), digest in zip(files, found, strict=True) if not digest) > READ:
        return found
    return [digest or _read(root, path, at) for (path, at), digest in zip(files, found, strict=True)]


@lru_cache(maxsize=1_000_000)
def _read(root: Path, path: str, state: State) -> str:
    """The hash of a file's contents, read once while its state is the same: many runs ask for it."""
    return digest_of(root, path)


def remembered(root: Path, max_pixels: int | None) -> dict[str, Checked]:
    """Read what an earlier check has found.

    Args:
        root: the folder of the images.
        max_pixels: the limit of pixels with which files must have been decoded; None for any.

    Returns:
        The files that decode, by path; none if the memory is missing or damaged, or of another decoder.
    """
    if not os.path.isfile(root / REMEMBERED):
        return {}
    try:
        content = json.loads(contents(root / REMEMBERED, LIMIT))
        if max_pixels is not None and content["decoder"] != decoder(max_pixels):
            return {}
        return {
            path: Checked(State(int(size), int(time)), str(digest))
            for path, (size, time, digest) in content["files"].items()
        }
    except (InvalidInput, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return {}


def remember(root: Path, files: dict[str, Checked], max_pixels: int) -> str:
    """Write the files that decode.

    Args:
        root: the folder of the images.
        files: the files, by path.
        max_pixels: the limit of pixels with which they were decoded.

    Returns:
        Why this is not possible, or ''.
    """
    rows = {path: (*checked.state, checked.digest) for path, checked in files.items()}
    try:
        remove_remains(root, [REMEMBERED])
        write(root / REMEMBERED, json.dumps({"decoder": decoder(max_pixels), "files": rows}).encode())
    except OSError as error:
        return f"{str(root / REMEMBERED)!r} cannot be written: {error.strerror}"
    return ""


def decoder(max_pixels: int) -> str:
    """Name what decodes: another version, or another limit, may accept other files.

    Args:
        max_pixels: pixels that an image may have.

    Returns:
        The name.
    """
    return f"Pillow {PIL.__version__}" + f", {max_pixels} pixels" * (max_pixels != MAX_PIXELS)
