"""Rows of lists of images, and names of classes.

A list has one of three forms: text with `path label` on each line, iNaturalist's JSON, or one folder per class.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from lpm.console.errors import InvalidInput
from training.data.untrusted import contents, line

LIMIT = 250_000_000
"""Bytes that a list may have. iNaturalist's, the longest, has about a hundred million as JSON."""

NAMES_LIMIT = 20_000_000
"""Bytes that a file with the names of classes may have."""

IMAGES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif")
"""Endings of the names of images in class folders."""

NO_IMAGES = (
    ".heic",
    ".heif",
    ".avif",
    ".jxl",
    ".jp2",
    ".dcm",
    ".nii",
    ".npy",
    ".svg",
    ".psd",
    ".pdf",
    ".mp4",
    ".zip",
    ".txt",
    ".csv",
)
"""Endings of names that a list may not have: no decoder here reads such a file."""


class Row(NamedTuple):
    """An image of a list, as the list has it.

    Attributes:
        number: its line in a text list, from 1; its position in JSON or in class folders, from 0.
        path: relative to the root.
        label: its class, the list's own number.
    """

    number: int
    path: str
    label: int


def list_rows(source: Path) -> tuple[Iterator[Row], str]:
    """Read a list of images, JSON if its name ends in .json, else text.

    Args:
        source: the list.

    Returns:
        The rows, which are parsed as they are taken, and a format for a row's number in errors, such as 'line {}'.

    Raises:
        InvalidInput: if the file is no such list; also while rows are taken.
    """
    content, name = contents(source, LIMIT), str(source)
    return (
        (_json_rows(content, name), "images[{}]")
        if source.suffix.lower() == ".json"
        else (_text_rows(content, name), "line {}")
    )


def hidden(name: str) -> bool:
    """Tell whether a name is one that operating systems put beside images.

    Args:
        name: of a file or folder, without its folder.

    Returns:
        Whether it begins with a dot or is Thumbs.db or desktop.ini.
    """
    return name.startswith(".") or name in ("Thumbs.db", "desktop.ini")


def class_folders(train: Path) -> list[str]:
    """List the class folders for training.

    Args:
        train: the folder that holds one folder per class.

    Returns:
        Their names, sorted.

    Raises:
        InvalidInput: if the folder cannot be read or results cannot show a name.
    """
    names = [name for name in _names(train) if (train / name).is_dir()]
    for name in names:
        _check_name(name, repr(str(train / name)[-250:]))
    return names


def class_names(file: Path) -> list[str]:
    """Read the names of the labels 0, 1, ... of a list, one per line.

    Args:
        file: text in UTF-8.

    Returns:
        The names.

    Raises:
        InvalidInput: if the file cannot be read, results cannot show a name, or a name occurs twice.
    """
    try:
        text = contents(file, NAMES_LIMIT).decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError:
        raise InvalidInput(f"{str(file)!r} is not text in UTF-8") from None
    names = [name.strip() for name in text.rstrip().split("\n")]
    first: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        _check_name(name, f"{str(file)!r}, line {number}")
        if first.setdefault(name, number) != number:
            raise InvalidInput(f"{str(file)!r}, line {number}: {name!r} is the name of line {first[name]} already")
    return names


def _check_name(name: str, source: str) -> None:
    if not (name and name.isprintable() and len(name) < 200):
        raise InvalidInput(f"{source}: the name of a class must be printable text, below 200 characters")


def _names(folder: Path) -> list[str]:
    """The sorted names in a folder, without hidden ones. Raises InvalidInput for a folder that cannot be read."""
    try:
        return sorted(name for name in os.listdir(folder) if not hidden(name))
    except OSError as error:
        raise InvalidInput(f"{str(folder)!r} cannot be read: {error.strerror}") from None


def _refuse(reason: str) -> None:
    raise InvalidInput(reason)


def folder_rows(
    source: Path, root: Path, names: list[str], *, refuse: Callable[[str], None] = _refuse
) -> Iterator[Row]:
    """Iterate over the images in class folders; other files are refused, not left out.

    Args:
        source: the folder that holds one folder per class.
        root: the folder that paths are relative to, without links.
        names: of the classes; the position of a name is its label.
        refuse: called with what is wrong for each file or folder that should not be there; by default it raises
            InvalidInput.

    Yields:
        The images, class after class, sorted by name.

    Raises:
        InvalidInput: if a folder is outside the root, cannot be read or is no class's, or a file is not named as an
            image.
    """
    labels = {name: label for label, name in enumerate(names)}
    number, within = 0, os.path.relpath(os.path.realpath(source), root)
    if within.startswith(".."):
        raise InvalidInput(f"{str(source)!r} lies outside --data-root")
    for name in _names(source):
        folder = source / name
        problem = ""
        if os.path.relpath(os.path.realpath(folder), root).startswith(".."):
            problem = f"{str(folder)!r} is a link that leaves --data-root"
        elif not folder.is_dir():
            problem = f"{str(folder)!r} is not a folder; {str(source)!r} should hold one folder per class"
        elif name not in labels:
            problem = f"{str(folder)!r}: there is no such class folder for training; remove it"
        if problem:
            refuse(problem)
            continue
        for file in _names(folder):
            if (folder / file).is_dir():
                refuse(f"{str(folder / file)!r} is a folder; images lie directly in their class folder; or use lists")
            elif not file.lower().endswith(IMAGES):
                refuse(
                    f"{str(folder / file)!r} is not named as an image ({', '.join(IMAGES)}); convert it or move it away"
                )
            else:
                yield Row(number, f"{within}/{name}/{file}", labels[name])
                number += 1


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
                f"{name!r}, images[{number}]: no annotation is left for its id; each image needs one of its own"
            )
        yield Row(number, entry["file_name"], labels.pop(entry["id"]))
    if labels:
        raise InvalidInput(f"{name!r}: {len(labels)} annotations belong to images that the list does not have")


def _needed(entry: dict[str, Any]) -> dict[str, Any]:
    """The entries of a JSON object that are needed. The rest, such as photographers and licences, would fill memory."""
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
