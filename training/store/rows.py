"""Finished runs as rows of CSV, as ``results/runs.csv`` has them: written from a store, and read again. Needs no torch.

A run has one row per split. Corrections of a run are rows too, with the correction behind the method's name.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lpm.console.errors import InvalidInput
from lpm.console.output import write
from training.data.untrusted import contents
from training.store import posthoc
from training.store.runs import find

COLUMNS = (
    "dataset", "imbalance", "method", "split", "accuracy", "seed", "preset", "epochs", "model", "device", "torch",
    "commit", "time", "train_seconds", "config", "best",
)  # fmt: skip
"""The columns. ``best`` is the accuracy of the epoch with the highest one, which test images chose, in the row of 'all' or
'balanced'; files of older versions lack it.
"""

NEEDED = ("dataset", "device", "torch", "time", "train_seconds")
"""Fields of a run's result that rows have, beside the accuracies."""

LIMIT = 100_000_000
"""Bytes that a file may have."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a finished run, or a correction of one, gave.

    Attributes:
        dataset: the name of the data.
        last: accuracies in per cent after the last epoch, by split.
        best: the accuracy at the best epoch; None where it is not known.
        cpu_seconds: seconds that training took on a CPU; None where it is not known.
    """

    dataset: str
    last: Mapping[str, float]
    best: float | None = None
    cpu_seconds: float | None = None


Rows = Mapping[tuple[str, int, str], Measured]
"""By key of the config, seed and :func:`titled` method."""

NO_ROWS: Rows = {}
"""No run is known beside those of the store."""


def titled(method: str, correction: str = "") -> str:
    """The name of a method with a correction.

    Args:
        method: the method of a run.
        correction: the correction as :mod:`training.store.posthoc` titles it; '' for none.

    Returns:
        Such as 'random+FC, post-hoc LA'.
    """
    return f"{method}, {correction}" if correction else method


def export(store: Path) -> list[dict[str, str]]:
    """Collect the accuracies of all finished runs, for ``results/``; ``python -m paper_checks --runs`` reads them.

    Args:
        store: folder of the run store.

    Returns:
        One row per run or correction, and split, with the :data:`COLUMNS`.

    Raises:
        InvalidInput: if a result is damaged.
    """
    rows = []
    for folder in find(store):
        if not folder.done:
            continue
        c, result = folder.config, folder.result(*NEEDED)
        preset = c.preset + c.key if c.preset.endswith("+") else c.preset  # there may be several changed recipes
        corrections = {row.title: row.last for row in posthoc.read(folder) if row.correction != "none"}
        for correction, last in {"": result.last, **corrections}.items():
            decides = "balanced" if "balanced" in last else "all"
            for split, accuracy in last.items():
                best = "" if correction or split != decides or result.best is None else f"{result.best:.4f}"
                values = (
                    result.dataset, c.factor, titled(c.method, correction), split, f"{accuracy:.4f}", c.seed, preset, c.epochs,
                    c.model, result.device, result.torch, result.commit, result.time, f"{result.train_seconds:.1f}", c.key, best,
                )  # fmt: skip
                rows.append(dict(zip(COLUMNS, map(str, values), strict=True)))
    return rows


def as_csv(rows: Iterable[Mapping[str, str]]) -> bytes:
    """Write rows as a file's content, with their header.

    Args:
        rows: as :func:`export` makes them.

    Returns:
        The content.
    """
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


def check_export(path: Path | None) -> None:
    """Check a file that rows will be written to, before anything is trained.

    Args:
        path: the file of ``--export``; None for none.

    Raises:
        InvalidInput: if it is a folder, or in none, or a file that holds something else: no other file is overwritten.
    """
    if path is None:
        return
    if path.is_dir() or not path.parent.is_dir():
        problem = "that is a folder" if path.is_dir() else "there is no such folder"
        raise InvalidInput(f"--export {str(path)!r}: {problem}; name a file in a folder that exists")
    if path.exists():
        read(path, "--export")


def add_to(path: Path, store: Path, known: Path | None = None) -> None:
    """Write the rows of all finished runs: those of a file, and those that it lacks of the store and of the file written before.

    Files are read anew, because another command may have added to them.

    Args:
        path: file that is written; rows of runs that the store does not have stay in it.
        store: folder of the run store.
        known: another file of rows, which may be the same; None for none.

    Raises:
        InvalidInput: if a file has other columns.
    """
    first = [] if known is None else read(known, "--rows")
    runs = {_run(row) for row in first}
    older = read(path, "--export") if path.exists() else []
    others = {(*_run(row), row["split"]): row for row in [*older, *export(store)] if _run(row) not in runs}
    write(path, as_csv([*first, *others.values()]))


def _run(row: Mapping[str, str]) -> tuple[str, str, str]:
    return row["config"], row["seed"], row["method"]


def read(path: Path, option: str) -> list[dict[str, str]]:
    """Read rows.

    Args:
        path: a file that :func:`export` made.
        option: the option that named it, for messages.

    Returns:
        The rows in the order of the file.

    Raises:
        InvalidInput: if the file cannot be read, or has other columns.
    """
    try:
        reader = csv.DictReader(io.StringIO(contents(path, LIMIT).decode(), newline=""))
        columns, rows = reader.fieldnames, list(reader)
    except (UnicodeDecodeError, csv.Error):
        columns, rows = None, []
    if tuple(columns or ()) == COLUMNS[:-1]:
        rows = [row | {COLUMNS[-1]: ""} for row in rows]
    elif tuple(columns or ()) != COLUMNS:
        rows, columns = [], None
    if columns is None or any(None in (*row, *row.values()) for row in rows):
        raise InvalidInput(f"{option} {str(path)!r} has no rows with the columns {', '.join(COLUMNS)}")
    return rows


def by_run(path: Path, option: str) -> Rows:
    """Read rows, those of a run together.

    Args:
        path: a file that :func:`export` made.
        option: the option that named it, for messages.

    Returns:
        What each run and correction gave.

    Raises:
        InvalidInput: as :func:`read`, if a row is impossible, or if two rows are of one run and split.
    """
    runs: dict[tuple[str, int, str], Measured] = {}
    for number, row in enumerate(read(path, option), 1):
        place = f"{option} {str(path)!r} row {number}"
        if not (
            re.fullmatch(r"[a-z0-9-]{1,40}", row["dataset"])
            and re.fullmatch(r"[0-9]{1,9}", row["seed"])
            and re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,20})?", row["accuracy"])
            and float(row["accuracy"]) <= 100
            and (
                not row["best"]
                or (re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,20})?", row["best"]) and float(row["best"]) <= 100)
            )
        ):
            raise InvalidInput(f"{place}: dataset must be a name, seed a whole number, and accuracies lie in 0..100")
        key = row["config"], int(row["seed"]), row["method"]
        run = runs.setdefault(key, Measured(dataset=row["dataset"], last={}))
        if row["split"] in run.last or run.dataset != row["dataset"]:
            raise InvalidInput(f"{place} repeats a run; keep one of them")
        timed = row["device"] == "cpu" and re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", row["train_seconds"])
        runs[key] = Measured(
            dataset=run.dataset,
            last={**run.last, row["split"]: float(row["accuracy"])},
            best=float(row["best"]) if row["best"] else run.best,
            cpu_seconds=float(row["train_seconds"]) if timed else None,
        )
    return runs
