"""Class counts and label-pair counts from text files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lpm.console.errors import InvalidInput
from lpm.pairs import MAX_CLASSES

LIMIT = 200_000_000
"""Largest number of bytes of a file: ten million counts of twenty digits."""


def read_counts(path: Path) -> np.ndarray:
    """Read class counts from a text file, one count per line; blank lines and comments (``#``) are skipped.

    Args:
        path: the file.

    Returns:
        The counts, (K,).

    Raises:
        InvalidInput: if the file is unreadable, too long or empty, or a line is not one positive number.
    """
    name = f"counts file {str(path)!r}"
    counts: list[float] = []
    for number, line in enumerate(_lines(path, name, "one class count per line"), 1):
        text = line.split("#")[0].strip()
        if not text:
            continue
        try:
            count = float(text)
        except ValueError:
            raise InvalidInput(
                f"{name} line {number}: {text[:40]!r} is not a number; give one count per line"
            ) from None
        if not 0 < count < float("inf"):
            raise InvalidInput(f"{name} line {number}: count {count:g} must be positive and finite; drop the class")
        counts.append(count)
        if len(counts) > MAX_CLASSES:
            raise InvalidInput(f"{name} has more than {MAX_CLASSES:,} counts; give fewer classes")
    if len(counts) < 2:
        raise InvalidInput(f"{name} holds {len(counts)} counts; give at least 2 classes, one count per line")
    return np.array(counts)


def read_table(path: Path) -> np.ndarray:
    """Read a K x K table of numbers from a CSV file (commas, semicolons or white space) without a header.

    Args:
        path: the file.

    Returns:
        The table.

    Raises:
        InvalidInput: if the file is unreadable or ragged, or holds anything but numbers; the message names the line.
    """
    rows: list[list[float]] = []
    for number, line in enumerate(_lines(path, f"table {str(path)!r}", "a CSV file of K rows of K counts"), 1):
        if not line.strip():
            continue
        cells = line.replace(";", ",").split(",") if {",", ";"} & set(line) else line.split()
        try:
            rows.append([float(cell) for cell in cells])
        except ValueError:
            raise InvalidInput(
                f"table {str(path)!r} line {number}: {line.strip()[:40]!r} is not a row of numbers"
            ) from None
        if len(rows[-1]) != len(rows[0]):
            raise InvalidInput(
                f"table {str(path)!r} line {number} has {len(rows[-1])} counts, line 1 has {len(rows[0])}"
            )
    return np.array(rows)


def _lines(path: Path, name: str, remedy: str) -> list[str]:
    try:
        with path.open("rb") as file:  # a pipe, perhaps
            data = file.read(LIMIT + 1)
        if len(data) > LIMIT:
            raise InvalidInput(f"{name} has more than {LIMIT:,} bytes; give {remedy}")
        return data.decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise InvalidInput(f"{name} cannot be read: {reason}; give {remedy}") from None
