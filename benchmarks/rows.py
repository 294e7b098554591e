"""What every benchmark says of its numbers, and how it writes them."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lpm.console.output import provenance


def origin() -> dict[str, str]:
    """When, on which machine and at which commit something was measured."""
    record = provenance()
    return {key: record[key] for key in ("time", "commit", "machine")}


def as_csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Rows as CSV, a header first: the columns of the first row."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


def write(path: Path | None, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV; nothing without a path."""
    if path is not None:
        path.write_bytes(as_csv(rows))
