"""Rows of lists of images.

A list is text with `path label` on each line, a table (CSV, TSV, or JSON Lines such as Hugging Face's metadata.jsonl), or
COCO's JSON, which iNaturalist uses too.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from lpm.console.errors import InvalidInput
from training.data.names import IMAGES, TABLES, check_name, normal
from training.data.untrusted import contents, line

LIMIT = 250_000_000
"""Bytes that a list may have. iNaturalist's, the longest, has about a hundred million as JSON."""


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
    words = [label for label in labels if isinstance(label, str)]
    if len(words) < len(labels) and all(word[:1] == "-" and word[1:].isdecimal() for word in words):
        raise InvalidInput(f"{str(source)!r} has label {words[0][:20]!r}, no class; leave out rows that have no label")
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
        check_name(name, repr(str(source)))
    return names


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
    *("img_path", "file", "image", "image_id", "image_name", "img", "id", "id_code", "name"),
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
        if label is None and len(first) == 2 and first[one_hot[0]] and not first[one_hot[0]].lower().endswith(IMAGES):
            label = one_hot[0]  # the only other column of a header, whatever its name
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
