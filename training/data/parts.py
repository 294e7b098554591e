"""Which rows of one list are for training, and which for testing: a column says so, or the folders of the images do."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from pathlib import Path

from lpm.console.errors import InvalidInput
from training.data.list_rows import list_rows
from training.data.rows import Row

NAMES = {"train": (("train", "training"),), "test": (("test", "testing"), ("val", "valid", "validation"))}
"""By part, the words of a column or the names of folders. Images for validation test where there are none for testing."""


def of_part(rows: Iterable[Row], part: str, refuse: Callable[[Row], None] = lambda row: None) -> list[Row]:
    """Choose the rows of a part.

    Args:
        rows: of a list with both parts.
        part: 'train' or 'test'.
        refuse: called with each row that does not say its part.

    Returns:
        The rows.
    """
    words, known = (
        [(row, _word(row)) for row in rows],
        {*itertools.chain.from_iterable(itertools.chain(*NAMES.values()))},
    )
    for row, word in words:
        if word not in known:
            refuse(row)
    chosen = ([row for row, word in words if word in names] for names in NAMES[part])
    return next((found for found in chosen if found), [])


def _word(row: Row) -> str:
    """What says the part of a row."""
    return (row.part or row.path.partition("/")[0]).lower()


def is_divided(source: Path, *, by_column: bool = False) -> bool:
    """Tell whether a list says which of its rows are for training and which for testing.

    Args:
        source: the list.
        by_column: whether only a column counts.

    Returns:
        Whether it has both; False for a list that cannot be read.
    """
    try:
        rows = [
            row for row in list_rows(source, named=True, refuse=lambda reason: None)[0] if row.part or not by_column
        ]
    except InvalidInput:
        return False
    return all(of_part(rows, part) for part in NAMES)
