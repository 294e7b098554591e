"""Rows of lists of images, and names of classes.

A list is text with `path label` on each line, a table (CSV, TSV, or JSON Lines such as Hugging Face's metadata.jsonl),
COCO's JSON, which iNaturalist uses too, or one folder per class.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import unicodedata
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from lpm.console.errors import InvalidInput
from training.data.untrusted import contents, line, quoted, without_links

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
        label: its class, the list's own number or the name of the class.
    """

    number: int
    path: str
    label: int | str


METADATA = ("metadata.csv", "metadata.jsonl")
"""Names of Hugging Face's lists, which lie beside their images: paths are relative to the list's folder."""

TABLES = (".csv", ".tsv", ".jsonl")
"""Endings of the names of lists that are tables."""


def list_rows(source: Path, *, named: bool = False, known: Collection[str] | None = None) -> tuple[Iterator[Row], str]:
    """Read a list of images: JSON if its name ends in .json, a table if it ends in one of :data:`TABLES`, else text.

    Args:
        source: the list.
        named: whether labels may be names: words of a text, and the names that COCO's ``categories`` have.
        known: the names of the classes, if they are known; ``categories`` with other names are not used.

    Returns:
        The rows, which are parsed as they are taken, and a format for a row's number in errors, such as 'line {}'.

    Raises:
        InvalidInput: if the file is no such list; also while rows are taken.
    """
    content, name, ending = contents(source, LIMIT), str(source), source.suffix.lower()
    if ending == ".json":
        return _json_rows(content, name, named=named, known=known), "images[{}]"
    if ending in TABLES:
        return (_jsonl_rows if ending == ".jsonl" else _csv_rows)(content, name), "line {}"
    return _text_rows(content, name, named=named), "line {}"


def has_labels(source: Path) -> bool:
    """Tell whether a list has labels.

    Args:
        source: the list.

    Returns:
        Whether its first row can be read, with a label.
    """
    try:
        return next(list_rows(source, named=True)[0], None) is not None
    except InvalidInput:
        return False


def names_in(source: Path) -> list[str] | None:
    """Find the names of the classes in a list.

    Args:
        source: the list.

    Returns:
        The names, sorted, or in the order of COCO's ids or of a table's columns; None where labels are numbers.

    Raises:
        InvalidInput: as :func:`list_rows`, or if results cannot show a name.
    """
    labels = dict.fromkeys(row.label for row in list_rows(source, named=True)[0])
    if all(isinstance(label, int) for label in labels):
        return None
    content, ending = contents(source, LIMIT), source.suffix.lower()
    if ending == ".json":
        names = list(_categories(json.loads(content, object_hook=_needed), str(source)).values())
    else:
        names = sorted({normal(str(label)): str(label) for label in labels}.values())
        if ending in TABLES[:2]:
            header = csv.reader(io.StringIO(text_of(content, str(source))), delimiter=delimiter(content, ending))
            columns = [column.strip() for column in next(header, [])]
            names = [column for column in columns if column in labels] if set(names) <= set(columns) else names
    for name in names:
        _check_name(name, repr(str(source)))
    return names


def normal(name: str) -> str:
    """Write a name in Unicode's form NFC, in which names that look the same are equal.

    Args:
        name: a name or a path.

    Returns:
        The name; only for comparison, because the disk may have another form.
    """
    return name if name.isascii() else unicodedata.normalize("NFC", name)


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
        InvalidInput: if the folder cannot be read, results cannot show a name, or two names look the same.
    """
    names, first = [name for name in _names(train) if (train / name).is_dir()], dict[str, str]()
    for name in names:
        _check_name(name, quoted(train / name))
        if first.setdefault(normal(name), name) != name:
            raise InvalidInput(
                f"{str(train)!r} has two class folders that look the same, {first[normal(name)]!a} and {name!a}; "
                "rename or merge them"
            )
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


def refuse_file(path: str, reason: str) -> None:
    """Refuse a file; the default where files may be left out.

    Args:
        path: the file.
        reason: what is wrong, naming it.

    Raises:
        InvalidInput: always, with the reason.
    """
    raise InvalidInput(reason)


def folder_rows(
    source: Path,
    root: Path,
    names: list[str],
    *,
    leave_out: Collection[str] = (),
    refuse: Callable[[str], None] = _refuse,
    refuse_file: Callable[[str, str], None] = refuse_file,
) -> Iterator[Row]:
    """Iterate over the images in class folders; other files are refused, not left out.

    Args:
        source: the folder that holds one folder per class.
        root: the folder that paths are relative to, without links.
        names: of the classes; the position of a name is its label.
        leave_out: paths of files that are left out.
        refuse: called with what is wrong for each folder that should not be there; by default it raises InvalidInput.
        refuse_file: called with the path of each file that is not named as an image, and with what is wrong; by
            default it raises InvalidInput.

    Yields:
        The images, class after class, sorted by name.

    Raises:
        InvalidInput: if a folder is outside the root, cannot be read or is no class's, or a file is not named as an
            image.
    """
    labels = {normal(name): label for label, name in enumerate(names)}
    number, within = 0, os.path.relpath(os.path.realpath(source), root)
    if within.startswith(".."):
        common = os.path.commonpath([root, os.path.realpath(source)])
        raise InvalidInput(
            f"{str(source)!r} lies outside --data-root; give one that holds all images, such as {common!r}, and "
            "--train-list and --test-list"
        )
    for name in _names(source):
        if name in METADATA:  # without labels, or it would be read instead of the folders
            continue
        folder = source / name
        problem = ""
        if os.path.relpath(os.path.realpath(folder), root).startswith(".."):
            problem = f"{str(folder)!r} is a link that leaves --data-root; {without_links(root)}"
        elif not folder.is_dir():
            problem = f"{str(folder)!r} is not a folder; {str(source)!r} should hold one folder per class"
        elif normal(name) not in labels:
            problem = f"{str(folder)!r}: there is no such class folder for training; remove it"
        if problem:
            refuse(problem)
            continue
        for file in _names(folder):
            path = f"{within}/{name}/{file}"
            if path in leave_out:
                continue
            if (folder / file).is_dir():
                refuse(f"{str(folder / file)!r} is a folder; images lie directly in their class folder; or use lists")
            elif not file.lower().endswith(IMAGES):
                refuse_file(
                    path,
                    f"{str(folder / file)!r} is not named as an image ({', '.join(IMAGES)}); convert it or move it away",
                )
            else:
                yield Row(number, path, labels[normal(name)])
                number += 1


def _label(word: str) -> int | str:
    """A label as a number, where it is one."""
    return int(word) if word.isascii() and word.isdigit() and len(word) < 10 else word


def _text_rows(data: bytes, name: str, *, named: bool) -> Iterator[Row]:
    for number, raw in enumerate(io.BytesIO(data), 1):
        try:
            words = raw.decode("utf-8-sig" if number == 1 else "utf-8").rsplit(None, 1)
        except UnicodeDecodeError:
            raise InvalidInput(f"{name!r}, line {number}: it is not text in UTF-8") from None
        if not words:
            continue  # an empty line
        if len(words) != 2:
            raise InvalidInput(f"{name!r}, line {number}: {words[0][:80]!r} is not a path, a space and a label")
        path, label = words[0], _label(words[1])
        if isinstance(label, str) and not (named and any(map(str.isalpha, label))):
            raise InvalidInput(f"{name!r}, line {number}: label {label[:20]!r} is not a whole number from 0")
        yield Row(number, path, label)


PATHS = (
    *("file_name", "filename", "path", "filepath", "file_path", "image_path"),
    *("file", "image", "image_id", "image_name", "img", "id", "name"),
)
LABELS = (
    *("label", "labels", "class", "category", "target", "class_name"),
    *("category_name", "diagnosis", "class_id", "category_id", "y"),
)
"""Names of a table's columns, the likelier one first, in small letters."""


def text_of(data: bytes, name: str) -> str:
    """Decode a table or a text.

    Args:
        data: its bytes.
        name: of its file, for the error.

    Returns:
        The text.

    Raises:
        InvalidInput: if it is not UTF-8.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidInput(f"{name!r} is not text in UTF-8") from None


def delimiter(data: bytes, ending: str) -> str:
    """Tell what separates the columns of a table.

    Args:
        data: its bytes.
        ending: of its name, such as '.csv'.

    Returns:
        A tab for .tsv; else a semicolon where the first line has more of these than commas, else a comma.
    """
    first = data.split(b"\n", 1)[0]
    return "\t" if ending == ".tsv" else ";" if first.count(b";") > first.count(b",") else ","


def _csv_rows(data: bytes, name: str) -> Iterator[Row]:
    ending = ".tsv" if name.lower().endswith(".tsv") else ".csv"
    lines = csv.reader(io.StringIO(text_of(data, name), newline=""), delimiter=delimiter(data, ending))
    try:
        first = [cell.strip() for cell in next(lines, [])]
        small = [cell.lower() for cell in first]
        path = next((small.index(word) for word in PATHS if word in small), None)
        label = next((small.index(word) for word in LABELS if word in small and small.index(word) != path), None)
        rest = itertools.chain([] if path is not None else [first], lines)
        if path is None:
            path, label = _columns(first, name)
        one_hot = [column for column in range(len(first)) if column != path] if label is None else []
        if label is None and len(one_hot) < 2:
            raise InvalidInput(f"{name!r} has no column for labels; name one of its columns 'label'")
        for cells in rest:
            number = max(lines.line_num, 1)
            if not any(cells):
                continue  # an empty line
            if len(cells) != len(first):
                raise InvalidInput(
                    f"{name!r}, line {number}: it has {len(cells)} cells, and the first line {len(first)}"
                )
            if label is not None:
                yield Row(number, cells[path].strip(), _label(cells[label].strip()))
                continue
            hot = [first[column] for column in one_hot if _is_one(cells[column], f"{name!r}, line {number}")]
            if len(hot) != 1:
                raise InvalidInput(f"{name!r}, line {number}: {len(hot)} of its classes are 1; it needs exactly one")
            yield Row(number, cells[path].strip(), hot[0])
    except csv.Error as error:
        raise InvalidInput(f"{name!r}, line {lines.line_num}: {line(error)}") from None


def _columns(first: list[str], name: str) -> tuple[int, int]:
    """The columns of path and label in a table without a header, of which this is the first line."""
    if len(first) != 2:
        raise InvalidInput(
            f"{name!r}, line 1: a table needs two columns, path and label, or a header that names 'path' and 'label'"
        )
    return (1, 0) if first[1].lower().endswith(IMAGES) and not first[0].lower().endswith(IMAGES) else (0, 1)


def _is_one(cell: str, place: str) -> bool:
    try:
        value = float(cell)
    except ValueError:
        value = -1.0
    if value not in (0, 1):
        raise InvalidInput(
            f"{place}: {cell[:20]!r} is neither 0 nor 1; a table without a column 'label' has one for each class"
        )
    return value == 1


def _jsonl_rows(data: bytes, name: str) -> Iterator[Row]:
    for number, raw in enumerate(io.BytesIO(data), 1):
        if not raw.strip():
            continue
        try:
            entry = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"{name!r}, line {number}: {line(error)}") from None
        known = entry if isinstance(entry, dict) else {}
        path = next((known[word] for word in PATHS if word in known), None)
        label = next((known[word] for word in LABELS if word in known), None)
        if not isinstance(path, str) or not isinstance(label, int | str) or isinstance(label, bool):
            raise InvalidInput(f"{name!r}, line {number}: it needs file_name (str) and label (int or str)")
        yield Row(number, path, _label(label) if isinstance(label, str) else label)


Id = int | str


def _json_rows(data: bytes, name: str, *, named: bool, known: Collection[str] | None) -> Iterator[Row]:
    try:
        content = json.loads(data, object_hook=_needed)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{name!r} is not JSON: {line(error)}") from None
    names = _categories(content, name) if named else {}
    if known is not None and not set(names.values()) <= set(known):
        names = {}
    labels: dict[Id, Id] = {}
    kind: Any = (int, str) if named else int
    for number, entry in _entries(content, "annotations", {"image_id": kind, "category_id": kind}, name):
        label = entry["category_id"]
        if names:
            if label not in names:
                raise InvalidInput(
                    f"{name!r}, annotations[{number}]: categories lack its category_id {str(label)[:20]!r}"
                )
            label = names[label]
        if labels.setdefault(entry["image_id"], label) != label or (not named and number + 1 != len(labels)):
            raise InvalidInput(f"{name!r}, annotations[{number}]: its image has a label already")
    for number, entry in _entries(content, "images", {"id": kind, "file_name": str}, name):
        if entry["id"] not in labels:
            raise InvalidInput(
                f"{name!r}, images[{number}]: no annotation is left for its id; each image needs one of its own"
            )
        yield Row(number, entry["file_name"], labels.pop(entry["id"]))
    if labels:
        raise InvalidInput(f"{name!r}: {len(labels)} annotations belong to images that the list does not have")


def _categories(content: Any, name: str) -> dict[Id, str]:
    """The names in COCO's ``categories`` by their id, in the order of ids; none without such a list."""
    if not isinstance(content, dict) or not content.get("categories"):
        return {}
    found = {
        entry["id"]: entry["name"]
        for _, entry in _entries(content, "categories", {"id": (int, str), "name": str}, name)
    }
    if len(set(found.values())) < len(content["categories"]):
        raise InvalidInput(f"{name!r}: two of its categories have one id or one name")
    return dict(sorted(found.items(), key=lambda item: (isinstance(item[0], str), item[0])))


def _needed(entry: dict[str, Any]) -> dict[str, Any]:
    """The entries of a JSON object that are needed. The rest, such as photographers and licences, would fill memory."""
    keys = ("images", "annotations", "categories", "id", "name", "file_name", "image_id", "category_id")
    return {key: entry[key] for key in keys if key in entry}


def _entries(content: Any, key: str, types: dict[str, Any], name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects in a list of the file. Raises InvalidInput unless each has the fields; a bool is not an integer."""
    entries = content.get(key) if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise InvalidInput(f"{name!r} has no list {key!r}")
    kinds = {field: kind if isinstance(kind, tuple) else (kind,) for field, kind in types.items()}
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict) or any(type(entry.get(field)) not in kind for field, kind in kinds.items()):
            wanted = " and ".join(f"{field} ({' or '.join(k.__name__ for k in kind)})" for field, kind in kinds.items())
            raise InvalidInput(f"{name!r}, {key}[{number}]: it needs {wanted}")
        yield number, entry
