"""The rows of trained networks that ``python -m benchmarks.law`` wrote, for the figures about the collapse law."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

from figures.style import Row
from lpm.console.errors import InvalidInput
from training.data.untrusted import contents

RUNS = Path(__file__).parents[1] / "results" / "law-runs.csv"
"""The rows that are drawn by default."""

LIMIT = 100_000_000
"""Bytes that a file of rows may have."""


def read(path: Path, measure: Callable[[dict[str, str]], Row | None]) -> list[Row]:
    """Read rows of runs.

    Args:
        path: a CSV that ``benchmarks.law`` wrote.
        measure: takes from a row, as text, what a figure draws; None for a row that is not drawn.

    Returns:
        What is drawn, one row per run.

    Raises:
        InvalidInput: if the file is missing, or lacks a column or a number.
    """
    text = contents(path, LIMIT)
    try:
        rows = [measure(row) for row in csv.DictReader(io.StringIO(text.decode(), newline=""))]
    except (LookupError, ValueError, TypeError, ArithmeticError, csv.Error) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise InvalidInput(f"--runs {str(path)!r} cannot be read as rows of benchmarks.law: {reason[:100]}") from None
    return [row for row in rows if row is not None]
