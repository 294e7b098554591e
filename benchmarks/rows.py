"""Where and when a benchmark's numbers were measured, and how they are written."""

from __future__ import annotations

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
