"""Rows of lists of images.

A list is text with `path label` on each line, a table (:mod:`training.data.tables`), or COCO's JSON
(:mod:`training.data.coco`).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator
from pathlib import Path

from lpm.console.errors import InvalidInput
from training.data.coco import json_rows, names_of
from training.data.finder import finder_of
from training.data.names import TABLES, name_problem, normal
from training.data.refusals import Refuse, at_once
from training.data.rows import LIMIT, Row, label_of, text_of
from training.data.tables import csv_rows, delimiter, jsonl_rows
from training.data.untrusted import contents


def list_rows(
    source: Path,
    *,
    root: Path | None = None,
    named: bool = False,
    known: Collection[str] | None = None,
    refuse: Refuse = at_once,
) -> tuple[Iterator[Row], str]:
    """Read a list of images: JSON, a table or text, by the ending of its name.

    Args:
        source: the list.
        root: the folder that paths are relative to. In a table without known names of columns, the files that are there tell
            a header from a row.
        named: whether labels may be names: words of a text, and the names that COCO's ``categories`` have.
        known: the names of the classes, if they are known; ``categories`` with other names are not used.
        refuse: called with what is wrong for each row that cannot be used, which is left out; by default it raises
            InvalidInput.

    Returns:
        The rows, which are parsed as they are taken, and a format for a row's number in errors, such as 'line {}'.

    Raises:
        InvalidInput: if the file is no such list; also while rows are taken.
    """
    content, name, ending = contents(source, LIMIT), str(source), source.suffix.lower()
    if ending == ".json":
        return json_rows(content, name, refuse, named=named, known=known), "images[{}]"
    if ending in TABLES:
        if ending == ".jsonl":
            return jsonl_rows(content, name, refuse), "line {}"
        return csv_rows(content, name, refuse, is_there=finder_of(root, source).finds if root else _unknown), "line {}"
    return _text_rows(content, name, refuse, named=named), "line {}"


def _unknown(path: str) -> bool:
    """Whether an image is there, where the folder is not known."""
    return False


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


def names_in(source: Path, *, root: Path | None = None, refuse: Refuse = at_once) -> list[str] | None:
    """Find the names of the classes in a list.

    Args:
        source: the list.
        root: as in :func:`list_rows`.
        refuse: called with what is wrong for each row that cannot be used, and for each name that results cannot show; by
            default it raises InvalidInput.

    Returns:
        The names that occur, sorted, or in the order of COCO's ids or of a table's columns; None where labels are numbers.

    Raises:
        InvalidInput: as :func:`list_rows`.
    """
    labels = dict.fromkeys(row.label for row in list_rows(source, root=root, named=True, refuse=refuse)[0])
    if not labels:
        refuse(f"{str(source)!r} lists no image")
    if all(isinstance(label, int) for label in labels):
        return None
    words = [label for label in labels if isinstance(label, str)]
    if len(words) < len(labels) and all(word[:1] == "-" and word[1:].isdecimal() for word in words):
        return None  # numbers, among which no class is negative
    content, ending = contents(source, LIMIT), source.suffix.lower()
    if ending == ".json":
        names = [name for name in names_of(content, str(source)) if name in labels]
    else:
        names = sorted({normal(str(label)): str(label) for label in labels}.values())
        if ending in TABLES[:2]:
            header = csv.reader(
                io.StringIO(text_of(content, str(source)), newline=""), delimiter=delimiter(content, ending)
            )
            columns = [column.strip() for column in next(header, [])]
            names = [column for column in columns if column in labels] if set(names) <= set(columns) else names
    for name in names:
        if problem := name_problem(name):
            refuse(f"{str(source)!r}, class {name[:40]!a}: {problem}")
    return names


def _text_rows(data: bytes, name: str, refuse: Refuse, *, named: bool) -> Iterator[Row]:
    for number, raw in enumerate(io.BytesIO(data), 1):
        place = f"{name!r}, line {number}"
        try:
            words = raw.decode("utf-8-sig" if number == 1 else "utf-8").rsplit(None, 1)
        except UnicodeDecodeError:
            refuse(f"{place}: it is not text in UTF-8")
            continue
        if not words:
            continue  # an empty line
        if len(words) != 2:
            hint = "; call a list with commas .csv" if "," in words[0] else ""
            refuse(f"{place}: {words[0][:80]!r} is not a path, a space and a label{hint}")
            continue
        path, label = words[0], label_of(words[1])
        if isinstance(label, str) and not (named and any(map(str.isalpha, label))):
            refuse(f"{place}: label {label[:20]!r} is not a whole number from 0")
            continue
        yield Row(number, path, label)
