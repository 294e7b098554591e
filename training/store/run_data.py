"""What a run was trained on, ``data.json``. Needs no torch.

It holds the name and the hash of the data, the files that were left out, and each change of the data while the run was
trained. For image files it also holds a hash of their times of change, so that unchanged files cost no look, and
``images.json.gz`` holds the files themselves (:mod:`training.store.run_images`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lpm.console.errors import InvalidInput
from lpm.console.output import write
from lpm.console.text import shown
from training.data.datasets import Listed, LongTailed
from training.data.untrusted import contents, line
from training.store import run_images
from training.store.run_images import Comparison, compared, times_in

DATA, TIMES = "data.json", "times"
"""Name of the file in a run's folder, and of its hash of times of change."""

LIMIT = 100_000_000
"""Bytes that it may have."""

UNREAD = (
    "{:,} image files have the same sizes and other times of change. Whether they are the same is not known, because no check "
    "has read them; python -m training.check does it once"
)
"""What is said of files that are too many to be read at a start."""

NAMED = 20
"""Files that a change names."""


@dataclass(frozen=True, kw_only=True)
class DataChange:
    """A run went on with other image files than before.

    Attributes:
        epoch: the last epoch on the data before.
        before: SHA-256 of the data before, as in ``data.json``.
        after: SHA-256 of the data from then on; the same where only contents changed, and no size.
        changed: number of files whose contents, size or class are others.
        missing: number of files that are gone or left out.
        new: number of files that were not there before.
        files: the paths of these files, :data:`NAMED` at most.
    """

    epoch: int
    before: str
    after: str
    changed: int
    missing: int
    new: int
    files: tuple[str, ...]

    def __str__(self) -> str:
        if not self.files:
            return "the same files in another order of the list"
        numbers = f"{self.changed:,} changed, {self.missing:,} missing, {self.new:,} new"
        return numbers + (f", such as {line(repr(self.files[0]))}" if self.files else "")


def stored(folder: Path) -> dict[str, Any]:
    """Read ``data.json``.

    Args:
        folder: the run's folder.

    Returns:
        Its content; empty where it is missing, or no JSON object.

    Raises:
        InvalidInput: if it cannot be read or is not JSON.
    """
    if not (folder / DATA).exists():
        return {}
    try:
        content = json.loads(contents(folder / DATA, LIMIT))
    except InvalidInput:
        raise
    except (ValueError, RecursionError):
        raise InvalidInput(f"{str(folder / DATA)!r} cannot be read: not JSON") from None
    return content if isinstance(content, dict) else {}


def left_out(folder: Path) -> tuple[str, ...]:
    """Read which image files a run left out.

    Args:
        folder: the run's folder.

    Returns:
        Their paths below the data's root.

    Raises:
        InvalidInput: if ``data.json`` is damaged.
    """
    paths = stored(folder).get("left_out", [])
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        raise InvalidInput(f"{str(folder / DATA)!r} is damaged: its left_out is no list of paths")
    return tuple(paths)


def begun_order(folder: Path, data: LongTailed) -> tuple[list[str], list[int]] | None:
    """Find the order of the classes of a run, if its image files changed after it was begun.

    Args:
        folder: the run's folder.
        data: the data as they are now.

    Returns:
        What :meth:`training.data.datasets.LongTailed.as_begun` needs; None where the run has these data, or classes of
        other names.

    Raises:
        InvalidInput: if ``data.json`` is damaged.
    """
    content = stored(folder)
    same = content.get("sha256") == data.fingerprint["sha256"] and not content.get("changes")
    if not content or same or not isinstance(data.train, Listed) or (begun := run_images.load(folder)) is None:
        return None
    names = begun.class_names
    return (names, begun.counts) if sorted(names) == sorted(data.class_names) else None


def change(folder: Path, data: LongTailed, epoch: int) -> DataChange | None:
    """Find how the image files of a run differ from those it was trained on so far.

    Args:
        folder: the run's folder.
        data: the data as they are now, with the run's numbers of classes.
        epoch: the last epoch so far.

    Returns:
        The change; None where it cannot be known, or the classes have other names: the run cannot go on then.
    """
    begun = run_images.load(folder)
    if begun is None or not isinstance(data.train, Listed) or begun.class_names != list(data.class_names):
        return None
    return _change(compared(begun.images, data), begun.sha256, data, epoch)


def _change(found: Comparison, before: str, data: LongTailed, epoch: int) -> DataChange:
    return DataChange(
        epoch=epoch,
        before=before,
        after=data.fingerprint["sha256"],
        changed=len(found.changed),
        missing=len(found.missing),
        new=len(found.new),
        files=tuple(path for _, path in (*found.changed, *found.missing, *found.new)[:NAMED]),
    )


def _are_those_of(content: Mapping[str, Any], data: LongTailed | None) -> bool:
    """Whether no image file was changed since ``data.json`` was written; True also where that cannot be known."""
    if data is None or not isinstance(data.train, Listed) or TIMES not in content:
        return True
    return bool(content[TIMES] == run_images.times_of(data))


def check(
    folder: Path, data: Mapping[str, str], images: LongTailed | None, *, go_on: bool, done: bool, remedy: str
) -> str:
    """See that a run is on these data, or may go on with them.

    Args:
        folder: the run's folder.
        data: name and hash of the data, and the hash of pretrained weights where there are any.
        images: the data themselves, which say how image files differ from the run's.
        go_on: whether a run on image files may go on though they have changed.
        done: whether the run is finished.
        remedy: what else to do, for the error.

    Returns:
        How the image files differ, in words; '' where they do not.

    Raises:
        InvalidInput: if the run is on other data and may not go on.
    """
    content = stored(folder)
    others = {key for key in data if content.get(key) != data[key]}
    if not others and _are_those_of(content, images):
        return ""
    difference = change(folder, images, 0) if images is not None and others <= {"sha256"} else None
    if not others and (difference is None or not difference.files):  # files were touched or copied, no more
        return ""
    if difference is not None and go_on:
        return str(difference)
    if difference is not None:
        words, more = f"({difference})", "" if done else "put them back, or go on with --data-changed ok, or "
    else:
        words, more = f"or weights ({line(content.get('name'))})", ""
        if go_on and others == {"sha256"}:
            more = "it cannot go on: its classes have other names, or it kept no list of its images; "
    raise InvalidInput(f"{str(folder)!r} holds a run on other data {words}; {more}{remedy}")


def record(folder: Path, data: LongTailed, fingerprint: Mapping[str, str], epoch: int) -> DataChange | None:
    """Store what a run is trained on from now on.

    This process must hold the lock, and the data must be the run's, or ones that it may go on with.

    Args:
        folder: the run's folder.
        data: the data.
        fingerprint: name and hash of the data, and the hash of pretrained weights where there are any.
        epoch: the last epoch that has ended; 0 where the run begins.

    Returns:
        The change, if the data changed after an epoch.
    """
    before, so_far, new = stored(folder), changes(folder) if epoch else (), None
    content: dict[str, Any] = dict(fingerprint)
    content |= {"left_out": list(data.left_out)} if data.left_out else {}
    images, begun = None, None
    if isinstance(data.train, Listed):
        begun = run_images.load(folder)
        as_before = before.get("sha256") == fingerprint["sha256"] and _are_those_of(before, data)
        # A process that was killed below, between two writes, has left a list that data.json does not fit.
        fits = begun is not None and (begun.sha256, times_in(begun.images)) == (before.get("sha256"), before.get(TIMES))
        if as_before and fits:
            content[TIMES] = before[TIMES]
        else:
            found = compared(begun.images if begun is not None and epoch else {}, data)
            content[TIMES], images = times_in(found.images), found.images
            if epoch and begun is not None and not (as_before or found.same):
                new = _change(found, begun.sha256, data, epoch)
            if found.unknown:
                print(shown(f"note: {folder}: {UNREAD.format(found.unknown)}"), file=sys.stderr)
    if every_change := [*so_far, *([] if new is None else [new])]:
        content["changes"] = [asdict(entry) for entry in every_change]
    text = json.dumps(content, indent=1).encode()
    if not (folder / DATA).is_file() or contents(folder / DATA, LIMIT) != text:
        write(folder / DATA, text)
    if images is not None:
        run_images.save(folder, data, images)
    return new


def changes(folder: Path) -> tuple[DataChange, ...]:
    """Read how the data of a run changed while it was trained.

    Args:
        folder: the run's folder.

    Returns:
        The changes, in order; those of a damaged or foreign file are left out.
    """
    entries = stored(folder).get("changes", [])
    return changes_of(entries) if are_changes(entries) else ()


def are_changes(entries: Any) -> bool:
    """Tell whether a value of a JSON file is a list of changes.

    Args:
        entries: the value.

    Returns:
        Whether :func:`changes_of` can read it.
    """
    kinds = {"epoch": int, "before": str, "after": str, "changed": int, "missing": int, "new": int, "files": list}
    return isinstance(entries, list) and all(
        isinstance(entry, dict)
        and {name: type(value) for name, value in entry.items()} == kinds
        and all(isinstance(path, str) for path in entry["files"])
        for entry in entries
    )


def changes_of(entries: Sequence[Mapping[str, Any]]) -> tuple[DataChange, ...]:
    """Make changes of their JSON.

    Args:
        entries: a list that :func:`are_changes` accepts.

    Returns:
        The changes.
    """
    return tuple(DataChange(**{**entry, "files": tuple(entry["files"])}) for entry in entries)
