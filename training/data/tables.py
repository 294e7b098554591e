"""Lists of images that are tables: CSV, TSV and JSON Lines, with a header or without."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from lpm.console.errors import InvalidInput
from lpm.console.text import counted
from training.data.names import IMAGES
from training.data.refusals import Refuse
from training.data.rows import Row, label_of, text_of
from training.data.untrusted import line

PATHS = (
    *("file_name", "filename", "path", "filepath", "file_path", "image_path"),
    *("img_path", "file", "image", "image_id", "image_name", "img", "id", "id_code", "name"),
)

LABELS = (
    *("label", "labels", "class", "category", "target", "class_name"),
    *("category_name", "diagnosis", "dx", "breed", "species", "class_id", "category_id", "y"),
)

PARTS = ("split", "subset", "partition", "set")
"""Names of a table's columns, the likelier one first, in small letters."""

NOT_LABELS = ("caption", "text", "description", "prompt", "url", "width", "height")
"""Names of columns that are no labels, though no other column is left."""

SAMPLE = 20
"""Rows by which a header is told from another row."""


class Columns(NamedTuple):
    """What the columns of a table hold.

    Attributes:
        header: whether the first line names them.
        path: the column of paths.
        label: the column of labels; None where each class has a column.
        part: the column that says which images are for training; None without one.
        one_hot: the columns of the classes; empty where there is a column of labels.
    """

    header: bool
    path: int
    label: int | None
    part: int | None = None
    one_hot: tuple[int, ...] = ()


def delimiter(data: bytes, ending: str) -> str:
    """Tell what separates the columns of a table.

    Args:
        data: its bytes.
        ending: of its name, such as '.csv'.

    Returns:
        A tab for .tsv; else what the first line has most of: commas, semicolons, tabs or bars.
    """
    first = data.lstrip().split(b"\n", 1)[0]
    return "\t" if ending == ".tsv" else max(",;\t|", key=lambda sign: first.count(sign.encode()))


def csv_rows(data: bytes, name: str, refuse: Refuse, *, is_there: Callable[[str], bool]) -> Iterator[Row]:
    """Read a table of cells.

    Args:
        data: its bytes.
        name: of its file.
        refuse: called with what is wrong for each row that cannot be used, which is left out.
        is_there: tells whether there is such an image.

    Yields:
        The rows.

    Raises:
        InvalidInput: if it is no table, or columns for paths and labels are missing.
    """
    ending = ".tsv" if name.lower().endswith(".tsv") else ".csv"
    lines = csv.reader(io.StringIO(text_of(data, name), newline=""), delimiter=delimiter(data, ending))
    rows = ((max(lines.line_num, 1), [cell.strip() for cell in cells]) for cells in lines if any(cells))
    try:
        sample = list(itertools.islice(rows, 1 + SAMPLE))
        first = sample[0][1] if sample else []
        columns = _columns(first, [cells for _, cells in sample[1:] if len(cells) == len(first)], name, is_there)
        for number, cells in itertools.chain(sample[columns.header :], rows):
            try:
                yield _row(number, cells, columns, first)
            except ValueError as error:
                refuse(f"{name!r}, line {number}: {error}")
    except csv.Error as error:
        raise InvalidInput(f"{name!r}, line {lines.line_num}: {line(error)}") from None


def _row(number: int, cells: list[str], columns: Columns, first: list[str]) -> Row:
    """One row of a table. Raises ValueError if it cannot be used."""
    if len(cells) != len(first):
        raise ValueError(f"it has {counted(len(cells), 'cell')}, and the first line {len(first)}")
    part = "" if columns.part is None else cells[columns.part]
    if columns.label is not None:
        if not cells[columns.label]:
            raise ValueError("it has no label")
        return Row(number, cells[columns.path], _label(cells[columns.label]), part)
    hot = [first[column] for column in columns.one_hot if _is_one(cells[column])]
    if len(hot) != 1:
        raise ValueError(f"{len(hot)} of its classes are 1; it needs exactly one")
    return Row(number, cells[columns.path], hot[0], part)


def _columns(first: list[str], sample: Sequence[list[str]], name: str, is_there: Callable[[str], bool]) -> Columns:
    """The columns of a table, by its first line and some rows.

    The first line is a header if it has a known name for paths. It also is one if it names no image and other lines do, or
    a known name for labels that no other line has.
    """
    small = [cell.lower() for cell in first]
    path = next((small.index(word) for word in PATHS if word in small), None)
    label = next((small.index(word) for word in LABELS if word in small and small.index(word) != path), None)
    part = next((small.index(word) for word in PARTS if word in small and small.index(word) not in (path, label)), None)
    others = [column for column in range(len(first)) if column not in (path, label, part)]
    if path is None:
        images = _of_images(others, sample, is_there)
        named = label is not None and bool(sample) and all(cells[label] != first[label] for cells in sample)
        if any(_is_image(cell) or is_there(cell) for cell in first) or not (images or named):
            if len(first) != 2:
                raise InvalidInput(
                    f"{name!r}, line 1: a table needs two columns, path and label, or a header that names 'path' and 'label'"
                )
            return Columns(False, *((1, 0) if _is_image(first[1]) and not _is_image(first[0]) else (0, 1)))
        if len(images or others) != 1:
            raise InvalidInput(f"{name!r} has no column for paths that is known; name one of its columns 'path'")
        (path,) = images or others
        others.remove(path)
    if label is None and len(others) == 1 and small[others[0]] not in NOT_LABELS:
        (label,) = others
    if label is None:  # one column per class, beside columns of text such as patients
        others = [column for column in others if any(_is_number(cells[column]) for cells in sample)]
    if label is None and not (others and all(_is_number(cells[column]) for cells in sample for column in others)):
        raise InvalidInput(
            f"{name!r} has no column for labels; name one of its columns 'label', or have one per class with 0 and 1"
        )
    return Columns(True, path, label, part, tuple(others) if label is None else ())


def _of_images(columns: list[int], sample: Sequence[list[str]], is_there: Callable[[str], bool]) -> list[int]:
    """The columns of which most cells are images: those that are there, else those with such endings."""
    cells_of = {column: [cells[column] for cells in sample] for column in columns}
    for test in (is_there, _is_image):
        if found := [column for column, cells in cells_of.items() if 2 * sum(map(test, cells)) > len(cells)]:
            return found
    return []


def _is_image(cell: str) -> bool:
    return cell.lower().endswith(IMAGES)


def _label(cell: str) -> int | str:
    """The label of a cell. pandas writes whole numbers as 3.0 where another cell of the column is empty."""
    whole = re.fullmatch(r"([0-9]+)\.0+", cell)
    return label_of(whole[1] if whole else cell)


def _number(cell: str) -> float | None:
    """A cell as a number, with pandas' truth values; None for other words."""
    if cell.lower() in ("true", "false"):
        return float(cell.lower() == "true")
    try:
        return float(cell)
    except ValueError:
        return None


def _is_number(cell: str) -> bool:
    return _number(cell) is not None


def _is_one(cell: str) -> bool:
    value = _number(cell)
    if value not in (0, 1):
        raise ValueError(f"{cell[:20]!r} is neither 0 nor 1; a table without a column 'label' has one for each class")
    return value == 1


def jsonl_rows(data: bytes, name: str, refuse: Refuse) -> Iterator[Row]:
    """Read a list in JSON Lines.

    Args:
        data: its bytes.
        name: of its file.
        refuse: called with what is wrong for each line that cannot be used, which is left out.

    Yields:
        The rows.
    """
    for number, raw in enumerate(io.BytesIO(data), 1):
        if not raw.strip():
            continue
        try:
            entry = json.loads(raw)
        except (ValueError, RecursionError) as error:
            refuse(f"{name!r}, line {number}: {line(error)}")
            continue
        known = entry if isinstance(entry, dict) else {}
        path = next((known[word] for word in PATHS if word in known), None)
        label = next((known[word] for word in LABELS if word in known), None)
        if isinstance(label, float) and label.is_integer():
            label = int(label)
        if not isinstance(path, str) or not isinstance(label, int | str) or isinstance(label, bool):
            refuse(f"{name!r}, line {number}: it needs file_name (str) and label (int or str)")
            continue
        part = next((known[word] for word in PARTS if isinstance(known.get(word), str)), "")
        yield Row(number, path, label_of(label) if isinstance(label, str) else label, part)
