"""Where and when a benchmark's numbers were measured, and how they are written."""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lpm.console.output import provenance


def origin() -> dict[str, str]:
    """Return when, on which machine and at which commit something is measured.

    Returns:
        Columns of the CSV.
    """
    record = provenance()
    return {key: record[key] for key in ("time", "commit", "machine")}


def csv_file(text: str) -> Path:
    """Read the file that rows go to, the type of an option: what cannot be written is said before minutes of measuring.

    Args:
        text: the word of the command line.

    Returns:
        The file, which need not exist.

    Raises:
        ArgumentTypeError: if it is a folder, or in none.
    """
    path = Path(text)
    if path.is_dir() or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text[:200]!r} is a folder, or in none; name a file in a folder that exists")
    return path


def as_csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Format rows as CSV with a header.

    Args:
        rows: at least one row; the first one gives the columns.

    Returns:
        The file's content.
    """
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


def write(path: Path | None, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV.

    Args:
        path: the file; nothing is written if None.
        rows: at least one row; the first one gives the columns.
    """
    if path is not None:
        path.write_bytes(as_csv(rows))
