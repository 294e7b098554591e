"""Accuracies of training runs, which the check ``empirical`` compares with the paper's tables.

They come from a CSV file such as ``results/runs.csv``, with a header and one row per run and split. Its columns:
dataset, imbalance, method, split, accuracy (per cent, last epoch), seed, preset. Data sets and methods are named as in
``data/table*.csv``; ``cifar10-jpeg-lt`` is not ``cifar10-lt``. Large data sets have class counts of their own: their
imbalance is 'own', or empty.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lpm.console.errors import InvalidInput

DEFAULT = Path(__file__).parent.parent / "results" / "runs.csv"
"""The committed runs of this project."""


@dataclass(frozen=True)
class Run:
    """The accuracy of one training run on one split.

    Attributes:
        dataset: name of the data set.
        imbalance: imbalance factor; empty for data sets with class counts of their own.
        method: sampler, classifier and loss joined by '+'.
        split: many, med, few or all.
        accuracy: test accuracy after the last epoch, in per cent.
        seed: seed of the run.
        preset: name of the recipe; "paper" is the paper's.
    """

    dataset: str
    imbalance: str
    method: str
    split: str
    accuracy: float
    seed: int
    preset: str


def read(path: Path) -> tuple[Run, ...]:
    """Read a CSV file of runs.

    Args:
        path: the file; further columns are ignored.

    Returns:
        The runs in the order of the file.

    Raises:
        InvalidInput: if the file cannot be read, lacks a column, repeats a run, or holds a value out of range. The
            message names the line.
    """
    if path.exists() and not path.is_file():
        raise InvalidInput(f"--runs {str(path)!r} is not a file; give a CSV file of training runs")
    rows: dict[tuple[str, ...], Run] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            names = list(reader.fieldnames or ())
            missing = [name for name in Run.__dataclass_fields__ if names.count(name) != 1]
            if missing:
                raise InvalidInput(
                    f"--runs {str(path)!r} needs exactly one column {missing[0]!r}; see paper_checks/runs.py"
                )
            for row in reader:
                run = _run(row, f"--runs {str(path)!r} line {reader.line_num}")
                key = (run.dataset, run.imbalance, run.method, run.split, str(run.seed), run.preset)
                if key in rows:
                    raise InvalidInput(f"--runs {str(path)!r} line {reader.line_num} repeats a run: {' '.join(key)}")
                rows[key] = run
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or f"not a CSV file in UTF-8 ({error})"
        raise InvalidInput(f"--runs {str(path)!r} cannot be read: {reason}") from None
    return tuple(rows.values())


def _run(row: dict[str, str | None], place: str) -> Run:
    if None in row or None in row.values():
        raise InvalidInput(f"{place}: the row does not have a value for each column")
    words = {name: (row[name] or "").strip() for name in Run.__dataclass_fields__}
    try:
        accuracy, seed = float(words["accuracy"]), int(words["seed"])
        imbalance = f"{float(words['imbalance']):g}" if words["imbalance"] not in ("", "own") else ""
    except ValueError:
        raise InvalidInput(f"{place}: accuracy, seed and imbalance must be numbers") from None
    if imbalance and not 1 <= float(imbalance) < math.inf:
        raise InvalidInput(f"{place}: imbalance {imbalance} must be at least 1")
    if not (math.isfinite(accuracy) and 0 <= accuracy <= 100):
        raise InvalidInput(f"{place}: accuracy {accuracy:g} is outside 0..100 per cent")
    return Run(words["dataset"], imbalance, words["method"], words["split"], accuracy, seed, words["preset"])


def by_setting(rows: Iterable[Run]) -> dict[tuple[str, str, str], list[float]]:
    """Group accuracies by setting.

    Args:
        rows: runs of one split.

    Returns:
        Accuracies in per cent, one per seed, by (dataset, imbalance, method).
    """
    accuracies: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for r in rows:
        accuracies[r.dataset, r.imbalance, r.method].append(r.accuracy)
    return dict(accuracies)
