"""Find the image files that cannot be decoded: every file is decoded once, in parallel, and remembered.

A file that decodes is remembered (:mod:`training.data.remembered`). So a check after the first one decodes new and changed
files only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lpm.console.engines import processes
from lpm.console.errors import InvalidInput
from lpm.console.progress import tracked
from training.data.images import MAX_PIXELS, Decoding, decode
from training.data.remembered import Checked, digest_of, remember, remembered, state_of

CHUNK, ALONE = 64, 200
"""Images per task of a process, and images that are decoded without further processes."""

Outcome = tuple[str, str | None, str]
"""The path of a file, what is wrong with the image or None, and the hash of a right one's contents."""


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
    known = remembered(root, max_pixels)
    states = {path: state for path in paths if (state := state_of(root, path)) is not None}
    new = [path for path in dict.fromkeys(paths) if path not in known or known[path].state != states.get(path)]
    reasons: dict[str, str] = {}
    decoded, unwritable = dict[str, Checked](), ""
    try:
        outcomes = _decoded(root, new, workers, max_pixels)
        for path, reason, digest in tracked(outcomes, len(new), "decoding images", quiet=quiet):
            if reason is not None:
                reasons[path] = reason
            elif path in states:
                decoded[path] = Checked(states[path], digest)
    finally:
        stale = known.keys() & reasons.keys()
        if decoded or stale:
            files = {path: at for path, at in (known | decoded).items() if path not in reasons}
            unwritable = remember(root, files, max_pixels)
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
    known = remembered(root, max_pixels)
    return sum(path not in known or known[path].state != state_of(root, path) for path in paths)


def _decoded(root: Path, paths: Sequence[str], workers: int, max_pixels: int) -> Iterator[Outcome]:
    if workers <= 1 or len(paths) <= ALONE:
        yield from (_outcome(root, max_pixels, path) for path in paths)
        return
    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    with processes(workers) as pool:
        for outcomes in pool.map(partial(_outcomes, root, max_pixels), chunks):
            yield from outcomes


def _outcomes(root: Path, max_pixels: int, paths: Sequence[str]) -> list[Outcome]:
    return [_outcome(root, max_pixels, path) for path in paths]


def _outcome(root: Path, max_pixels: int, path: str) -> Outcome:
    try:
        decode(path, root=root, decoding=Decoding(max_pixels=max_pixels))
    except InvalidInput as error:
        return path, str(error), ""
    return path, None, digest_of(root, path)  # read again, but by now from the machine's memory
