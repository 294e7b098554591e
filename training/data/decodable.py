"""Find the image files that cannot be decoded: every file is decoded once, in parallel, and remembered.

A file that decodes is remembered by its path, its size and the time of its last change, in a file under the root. So a
check after the first one decodes new and changed files only.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import PIL
from rich.console import Console
from rich.progress import Progress

from lpm.console.engines import processes
from lpm.console.errors import InvalidInput
from lpm.console.output import remove_remains, write
from lpm.console.text import shown
from training.data.images import MAX_PIXELS, Decoding, decode
from training.data.untrusted import contents

REMEMBERED = ".decodable.json"
"""File under the root that remembers the files that decode. It may be deleted."""

LIMIT = 1_000_000_000
"""Bytes that it may have."""

CHUNK, ALONE = 64, 200
"""Images per task of a process, and images that are decoded without further processes."""

NAMED = 20
"""Files that are named when many are refused or left out."""

State = tuple[int, int]
"""A file's size in bytes, and the time of its last change in nanoseconds."""


@dataclass(frozen=True)
class Report:
    """What a check has found.

    Attributes:
        number: how many files were asked for.
        remembered: how many of them were remembered and not decoded again.
        broken: by path, one sentence for each file that cannot be decoded, naming it, in the order of the files.
        unwritable: why the check could not be remembered; '' if it was.
    """

    number: int
    remembered: int
    broken: dict[str, str]
    unwritable: str = ""


def check(
    root: Path, paths: Sequence[str], *, workers: int = 1, quiet: bool = True, max_pixels: int = MAX_PIXELS
) -> Report:
    """Decode every image that is not remembered.

    What was decoded is remembered also if the check is interrupted.

    Args:
        root: the folder that paths are relative to.
        paths: the images.
        workers: processes that decode.
        quiet: whether to show no progress bar.
        max_pixels: pixels that an image may have.

    Returns:
        The report.

    Raises:
        ChildProcessError: if a decoding process was killed.
    """
    known = _remembered(root, max_pixels)
    states = {path: state for path in paths if (state := _state(root, path)) is not None}
    new = [path for path in dict.fromkeys(paths) if path not in states or known.get(path) != states[path]]
    reasons: dict[str, str] = {}
    decoded, unwritable = dict[str, State](), ""
    try:
        for path, reason in _shown(_decoded(root, new, workers, max_pixels), len(new), quiet=quiet):
            if reason is not None:
                reasons[path] = reason
            elif path in states:
                decoded[path] = states[path]
    finally:
        stale = known.keys() & reasons.keys()
        if decoded or stale:
            files = {path: at for path, at in (known | decoded).items() if path not in reasons}
            unwritable = _remember(root, files, max_pixels)
    return Report(len(paths), len(paths) - len(new), reasons, unwritable)


def unchecked(root: Path, paths: Iterable[str], *, max_pixels: int = MAX_PIXELS) -> int:
    """Count the images that are not remembered as decodable.

    Args:
        root: the folder that paths are relative to.
        paths: the images.
        max_pixels: pixels that an image may have.

    Returns:
        How many a check would decode.
    """
    known = _remembered(root, max_pixels)
    return sum(path not in known or known[path] != _state(root, path) for path in paths)


def refuse(reasons: Collection[str], among: str, remedy: str) -> None:
    """Refuse files that cannot be used, all at once: several are named on standard error, :data:`NAMED` at most.

    Args:
        reasons: one sentence for each file.
        among: of what they are, for the error of several files.
        remedy: what to do about each.

    Raises:
        InvalidInput: if there is a reason.
    """
    if len(reasons) == 1:
        raise InvalidInput(f"{next(iter(reasons))}; {remedy}")
    name(reasons)
    if reasons:
        raise InvalidInput(f"{len(reasons):,} files of {among} cannot be used, as named above; {remedy}")


def name(reasons: Collection[str], start: str = "") -> None:
    """Name files on standard error, one per line, :data:`NAMED` at most.

    Args:
        reasons: one sentence for each file.
        start: the beginning of each line.
    """
    for reason in itertools.islice(reasons, NAMED):
        print(shown(f"{start}{reason}"), file=sys.stderr)
    if len(reasons) > NAMED:
        print(f"and {len(reasons) - NAMED:,} more; python -m training.check names all", file=sys.stderr)


def _decoded(root: Path, paths: Sequence[str], workers: int, max_pixels: int) -> Iterator[tuple[str, str | None]]:
    """For each path, itself and what is wrong with the image, or None."""
    if workers <= 1 or len(paths) <= ALONE:
        yield from ((path, _reason(root, max_pixels, path)) for path in paths)
        return
    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    with processes(workers) as pool:
        for chunk, reasons in zip(chunks, pool.map(partial(_reasons, root, max_pixels), chunks), strict=True):
            yield from zip(chunk, reasons, strict=True)


def _reasons(root: Path, max_pixels: int, paths: Sequence[str]) -> list[str | None]:
    return [_reason(root, max_pixels, path) for path in paths]


def _reason(root: Path, max_pixels: int, path: str) -> str | None:
    try:
        decode(path, root=root, decoding=Decoding(max_pixels=max_pixels))
    except InvalidInput as error:
        return str(error)
    return None


def _shown(items: Iterator[tuple[str, str | None]], number: int, *, quiet: bool) -> Iterator[tuple[str, str | None]]:
    """The items, with a progress bar on a terminal."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=quiet or not console.is_terminal) as progress:
        yield from progress.track(items, total=number, description="decoding images")


def _state(root: Path, path: str) -> State | None:
    """A file's size and time of change; None where there is no such file."""
    try:
        status = os.stat(os.path.join(root, path))
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


def _decoder(max_pixels: int) -> str:
    """What decodes: another version, or another limit, may accept other files."""
    return f"Pillow {PIL.__version__}" + f", {max_pixels} pixels" * (max_pixels != MAX_PIXELS)


def _remembered(root: Path, max_pixels: int) -> dict[str, State]:
    """The files that decode, as an earlier check has found; none if its file is missing or damaged."""
    if not os.path.isfile(root / REMEMBERED):
        return {}
    try:
        content = json.loads(contents(root / REMEMBERED, LIMIT))
        if content["decoder"] != _decoder(max_pixels):
            return {}
        return {path: (int(size), int(changed)) for path, (size, changed) in content["files"].items()}
    except (InvalidInput, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return {}


def _remember(root: Path, files: dict[str, State], max_pixels: int) -> str:
    """Write the files that decode. Returns why this is not possible, or ''."""
    try:
        remove_remains(root, [REMEMBERED])
        write(root / REMEMBERED, json.dumps({"decoder": _decoder(max_pixels), "files": files}).encode())
    except OSError as error:
        return f"{str(root / REMEMBERED)!r} cannot be written: {error.strerror}"
    return ""
