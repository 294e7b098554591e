"""The largest values of a set's pixels, where they have more than eight bits: found once and remembered.

PNG and TIFF alone can have such pixels. So nothing is read of a set of JPEGs, and of other files their first bytes, as long as
they have not changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from lpm.console.engines import processes
from lpm.console.errors import InvalidInput
from lpm.console.output import write
from training.data.depth import Largest
from training.data.images import Decoding, largest_in
from training.data.untrusted import contents, opened

REMEMBERED, LIMIT, SETS = ".depth.json", 1_000_000, 20
"""File under the root that remembers the largest values, bytes that it may have, and sets that it remembers."""

CHUNK, ALONE = 64, 200
"""Images per task of a process, and images that are read without further processes."""

ENOUGH = 2**14
"""Whole numbers from here on fill 16 bits: no further PNG can change that."""


def largest_of(root: Path, paths: Iterable[str], decoding: Decoding, *, workers: int = 1) -> Largest:
    """Find the largest values of images whose depth neither they nor the user say.

    Args:
        root: the folder that paths are relative to.
        paths: the images of the set. Those that cannot be decoded are left out: training names them.
        decoding: how files become pixels.
        workers: processes that decode.

    Returns:
        The values; zero where no image has more than eight bits.

    Raises:
        ChildProcessError: if a decoding process was killed.
    """
    deep = [path for path in paths if path.lower().endswith((".png", ".tif", ".tiff"))]
    if decoding.bits or not deep:
        return Largest()
    digest, known = _digest(root, deep), _remembered(root)
    if digest not in known:
        known[digest] = _found(root, deep, decoding, workers)
        with contextlib.suppress(OSError):  # then it is found anew the next time
            write(root / REMEMBERED, json.dumps(dict(list(known.items())[-SETS:])).encode())
    return known[digest]


def _found(root: Path, paths: Sequence[str], decoding: Decoding, workers: int) -> Largest:
    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    found = Largest()
    if workers <= 1 or len(paths) <= ALONE:
        for chunk in chunks:
            found = _in_chunk(root, decoding, found, chunk)
        return found
    with processes(workers) as pool:
        # A process does not know what others found: it stops early only within its own images.
        for other in pool.map(partial(_in_chunk, root, decoding, found), chunks):
            found = Largest(max(found.whole, other.whole), max(found.real, other.real))
    return found


def _in_chunk(root: Path, decoding: Decoding, found: Largest, paths: Sequence[str]) -> Largest:
    for path in paths:
        try:
            if path.lower().endswith(".png") and (found.whole >= ENOUGH or not _is_deep_png(root / path)):
                continue
            other = largest_in(path, root=root, decoding=decoding)
        except InvalidInput:
            continue
        found = Largest(max(found.whole, other.whole), max(found.real, other.real))
    return found


def _is_deep_png(path: Path) -> bool:
    """Whether a PNG has 16 bits per sample: the byte of its header that says so, which is no proof that it is whole."""
    with opened(path, 2**62) as file:
        return file.read(25)[24:] == b"\x10"


def _digest(root: Path, paths: Sequence[str]) -> str:
    """A hash of paths, sizes and times of change."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        try:
            status = os.stat(os.path.join(root, path))
            digest.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\0".encode(errors="surrogateescape"))
        except (OSError, ValueError):
            digest.update(b"\0\0")
    return digest.hexdigest()


def _remembered(root: Path) -> dict[str, Largest]:
    """By digest, what was found earlier; nothing if the file is missing or damaged."""
    if not os.path.isfile(root / REMEMBERED):
        return {}
    try:
        content = json.loads(contents(root / REMEMBERED, LIMIT))
        known = {str(digest): Largest(int(whole), float(real)) for digest, (whole, real) in content.items()}
    except (InvalidInput, ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return {}
    return {digest: found for digest, found in known.items() if 0 <= found.whole < 2**31 and 0 <= found.real < math.inf}
