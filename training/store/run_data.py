"""What a run was trained on: ``data.json`` and, for image files, ``images.json.gz``. Needs no torch.

``data.json`` holds the name and the hash of the data, the files that were left out, and each change of the data while
the run was trained. ``images.json.gz`` holds the path, class and size of every image, so that a change can be named,
and the order of the classes, so that the network's outputs keep their meaning.
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lpm.console.errors import InvalidInput
from lpm.console.output import write
from training.data.datasets import Listed, LongTailed
from training.data.untrusted import contents, line

DATA, IMAGES = "data.json", "images.json.gz"
"""Names of the two files in a run's folder."""

PARTS = ("train", "test", "holdout")
"""The sets of images that a run may have; a run has no holdout unless it was asked for."""

LIMIT = 100_000_000
"""Bytes that either file may have, also when it is unpacked. iNaturalist's list of images has forty million."""

NAMED = 20
"""Files that a change names."""


@dataclass(frozen=True, kw_only=True)
class DataChange:
    """A run went on with other image files than before.

    Attributes:
        epoch: the last epoch on the data before.
        before: SHA-256 of the data before, as in ``data.json``.
        after: SHA-256 of the data from then on.
        changed: number of files whose size or class is another.
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
    if not content or same or not isinstance(data.train, Listed) or (begun := _images(folder)) is None:
        return None
    names = begun["class_names"]
    return (names, begun["counts"]) if sorted(names) == sorted(data.class_names) else None


def change(folder: Path, data: LongTailed, epoch: int) -> DataChange | None:
    """Find how the image files of a run differ from those it was trained on so far.

    Args:
        folder: the run's folder.
        data: the data as they are now, with the run's numbers of classes.
        epoch: the last epoch so far.

    Returns:
        The change; None where it cannot be known, or the classes have other names: the run cannot go on then.
    """
    begun = _images(folder)
    if begun is None or not isinstance(data.train, Listed) or begun["class_names"] != list(data.class_names):
        return None
    old, new = (
        {(part, path): (label, size) for part in PARTS for path, label, size in content.get(part, ())}
        for content in (begun, _content(data))
    )
    changed = [key for key in new if key in old and old[key] != new[key]]
    missing, added = [key for key in old if key not in new], [key for key in new if key not in old]
    return DataChange(
        epoch=epoch,
        before=str(begun["sha256"]),
        after=data.fingerprint["sha256"],
        changed=len(changed),
        missing=len(missing),
        new=len(added),
        files=tuple(path for _, path in (*changed, *missing, *added)[:NAMED]),
    )


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
    if not others:
        return ""
    difference = change(folder, images, 0) if images is not None and others == {"sha256"} else None
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
    so_far, new = changes(folder) if epoch else (), None
    if epoch and stored(folder).get("sha256") != fingerprint["sha256"]:
        new = change(folder, data, epoch)
    content: dict[str, Any] = dict(fingerprint)
    content |= {"left_out": list(data.left_out)} if data.left_out else {}
    if every_change := [*so_far, *([] if new is None else [new])]:
        content["changes"] = [asdict(entry) for entry in every_change]
    text = json.dumps(content, indent=1).encode()
    if not (folder / DATA).is_file() or contents(folder / DATA, LIMIT) != text:
        write(folder / DATA, text)
    # In this order: a process that is killed in between leaves a list that the hash below does not fit.
    if isinstance(data.train, Listed) and ((begun := _images(folder)) is None or begun["sha256"] != content["sha256"]):
        write(folder / IMAGES, gzip.compress(json.dumps(_content(data)).encode(), compresslevel=3, mtime=0))
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


def _content(data: LongTailed) -> dict[str, Any]:
    """The content of ``images.json.gz``."""
    parts = {}
    for name, part in data.parts.items():
        assert isinstance(part, Listed)
        parts[name] = [list(row) for row in zip(part.paths, part.labels.tolist(), part.sizes.tolist(), strict=True)]
    return {
        "sha256": data.fingerprint["sha256"],
        "class_names": list(data.class_names),
        "counts": data.split_counts.tolist(),
        **parts,
    }


def _images(folder: Path) -> dict[str, Any] | None:
    """The content of ``images.json.gz``; None if it is missing or damaged."""
    if not os.path.isfile(folder / IMAGES):
        return None
    try:
        unpack = zlib.decompressobj(wbits=31)  # 31: the form of gzip
        content = json.loads(unpack.decompress(contents(folder / IMAGES, LIMIT), LIMIT))
        counts, names = content["counts"], content["class_names"]
        rows = [row for part in PARTS for row in (content.get(part, ()) if part == "holdout" else content[part])]
        right = (
            [type(content["sha256"]), type(names)] == [str, list]
            and {type(name) for name in names} == {str}
            and {type(count) for count in counts} == {int}
            and len(counts) == len(names)
            and {tuple(map(type, row)) for row in rows} == {(str, int, int)}
        )
    except (ValueError, KeyError, TypeError, RecursionError, zlib.error):  # InvalidInput is a ValueError
        return None
    return content if right else None
