"""Rows of training runs, as committed under ``results/``: what the empirical check reads.

A CSV file with a header and a row for each run and split: dataset, imbalance, method, split, accuracy (per cent, last
epoch), seed, preset. Data sets and methods are named as in ``data/table*.csv``; ``cifar10-jpeg-lt`` is not ``cifar10-lt``.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lpm.errors import InvalidInput

DEFAULT = Path(__file__).parent.parent / "results" / "runs.csv"


@dataclass(frozen=True)
class Run:
    """One number of one training run; accuracy in per cent."""

    dataset: str
    imbalance: str
    method: str
    split: str
    accuracy: float
    seed: int
    preset: str


def read(path: Path) -> list[Run]:
    """The rows of a file.

    Raises InvalidInput for a file that cannot be read, lacks a column, or holds a value out of range, naming the line.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = set(Run.__dataclass_fields__) - set(reader.fieldnames or ())
            if missing:
                raise InvalidInput(f"--runs {str(path)!r} lacks the column {min(missing)!r}; see paper_checks/runs.py")
            rows = []
            for row in reader:
                try:
                    run = Run(
                        row["dataset"], row["imbalance"], row["method"], row["split"],
                        float(row["accuracy"]), int(row["seed"]), row["preset"],
                    )  # fmt: skip
                except (TypeError, ValueError):
                    raise InvalidInput(
                        f"--runs {str(path)!r} line {reader.line_num}: accuracy and seed must be numbers"
                    ) from None
                if not (math.isfinite(run.accuracy) and 0 <= run.accuracy <= 100):
                    raise InvalidInput(
                        f"--runs {str(path)!r} line {reader.line_num}: accuracy {run.accuracy:g} is outside 0..100 per cent"
                    )
                rows.append(run)
            return rows
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or "not a CSV file in UTF-8"
        raise InvalidInput(f"--runs {str(path)!r} cannot be read: {reason}") from None


def means(rows: Iterable[Run]) -> dict[tuple[str, str, str], list[float]]:
    """Accuracies by (dataset, imbalance, method), one for each seed; a later row of the same seed replaces an earlier one."""
    found: dict[tuple[str, str, str], dict[int, float]] = defaultdict(dict)
    for r in rows:
        found[r.dataset, r.imbalance, r.method][r.seed] = r.accuracy
    return {key: list(by_seed.values()) for key, by_seed in found.items()}
