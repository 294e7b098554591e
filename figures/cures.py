"""The cure map: what theory predicts for each method, and what its networks do: ``python -m figures cures``.

Rows are runs, measured once (:mod:`figures.cure_measures`) and kept as CSV. With ``--store`` the finished runs of a store are
measured too, unless they are among the rows. A gain over the plain run has two parts. With a classifier retrained on each run's
frozen features (cRT) as the yardstick,

    accuracy(M) - accuracy(P) = [cRT(M) - cRT(P)] + [(accuracy(M) - cRT(M)) - (accuracy(P) - cRT(P))],

the first part is *representation*: the features are better. The second is *preference*: the features of the plain run with
another classifier have it, too.
"""

from __future__ import annotations

import argparse
import csv
import io
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from figures import cure_plot, cure_tables
from figures.style import Row, save, write_rows
from lpm.console import cli
from lpm.console.errors import InvalidInput
from lpm.console.text import shown
from training.config import RunConfig
from training.data.images import MAX_PIXELS
from training.data.untrusted import contents
from training.experiments import runs_of
from training.named import METHODS
from training.options import add_device
from training.store import runs
from training.store.runs import RunFolder

if TYPE_CHECKING:
    from training.data.datasets import LongTailed

ROWS = Path(__file__).parents[1] / "results" / "cures.csv"
"""The rows that are drawn by default."""

PLAIN = "random+FC, no mixup"
"""The plain run, over which gains are counted."""

SETTING = ("dataset", "imbalance", "preset", "epochs", "model")
"""Columns that all drawn rows share."""

WORDS = (*SETTING, "method", "seed", "config", "counts", "splits")
"""Columns that name the run of a row."""

TEXTS = ("dataset", "method", "preset", "model", "config", "counts", "splits", *cure_plot.SPECTRA)
"""Columns that are no numbers, beside the notes."""

PERCENT = cure_plot.COLUMNS[cure_plot.COLUMNS.index("all") :]
"""Columns that lie in 0..100."""

LIMIT, LARGEST = 10_000_000, 1e9
"""Bytes that a file of rows may have, and the size that its other numbers may have."""


def add_options(parser: cli.Parser) -> None:
    """Add the options of the figure.

    Args:
        parser: parser of the command.
    """
    add = parser.group("figure").add_argument
    add("--rows", type=Path, metavar="FILE", help="CSV of measured runs (default: the committed rows, without --store)")
    add(
        "--store",
        type=Path,
        metavar="DIR",
        help="measure the finished runs of this store that are not among the rows (default: measure none)",
    )
    for name, what in (("dataset", "data set"), ("preset", "recipe")):
        add(f"--{name}", metavar="NAME", help=f"draw runs of this {what} only, as the rows name it (default: all)")
    add("--imbalance", type=float, help="draw runs of this imbalance only (default: all)")
    add("--all-methods", action="store_true", help="add a table of predictions for the methods without a run")
    add(
        "--data-root", type=Path, metavar="DIR", help="folder with the data of the runs (default: none, for the digits)"
    )
    add_device(parser)


def make(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure runs where there are new ones, and draw all.

    Args:
        options: parsed options.
        folder: folder for the files: ``cures.csv`` has the runs, ``cure-map.*`` the means over seeds that are drawn, as a
            picture and as two tables.

    Returns:
        The record for the manifest.

    Raises:
        InvalidInput: if rows or runs cannot be read, there are none, or they are of different settings.
    """
    path = ROWS if options.rows is None and options.store is None else options.rows
    rows = [] if path is None else read(path)
    if options.store is not None:
        rows += new_rows(options, rows)
    chosen = [row for row in rows if is_wanted(row, options)]
    if not chosen:
        raise InvalidInput("no measured run is of this data set, imbalance and preset; measure some with --store DIR")
    settings = sorted({tuple(row[name] for name in SETTING) for row in chosen})
    if len(settings) > 1:
        words = "; ".join(", ".join(map(str, setting)) for setting in settings)
        raise InvalidInput(f"runs of several settings: {words}; choose with --dataset, --imbalance, --preset")
    write_rows(sorted(rows, key=lambda row: [str(row[name]) for name in WORDS]), folder / "cures.csv")
    methods = means(chosen)
    tables = [cure_tables.markdown(methods)]
    if options.all_methods:
        tables.append(cure_tables.predictions(unmeasured(chosen)))
    (folder / "cure-map.md").write_text("\n".join(tables), encoding="utf-8")
    save(cure_plot.plot, methods, folder, "cure-map")
    return {"runs": len(chosen), "methods": len(methods)}


def is_wanted(row: Row, options: argparse.Namespace) -> bool:
    """Tell whether a row is of the setting that the options choose.

    Args:
        row: a row.
        options: parsed options.

    Returns:
        Whether it is.
    """
    return all(getattr(options, name) in (None, row[name]) for name in ("dataset", "imbalance", "preset"))


def read(path: Path) -> list[Row]:
    """Read measured runs.

    Args:
        path: a CSV that this figure wrote.

    Returns:
        The rows: numbers are floats, NaN where a cell is empty; spectra are words.

    Raises:
        InvalidInput: if the file is missing, lacks a column, has something else where a number belongs, or a run twice.
    """
    text = contents(path, LIMIT)
    try:
        rows = [_typed(row) for row in csv.DictReader(io.StringIO(text.decode(), newline=""), strict=True)]
        if len({tuple(row[name] for name in (*SETTING, "config", "seed")) for row in rows}) < len(rows):
            raise ValueError("a run is there twice")
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise InvalidInput(f"--rows {str(path)!r} cannot be read as rows of figures cures: {reason[:100]}") from None
    return rows


def _typed(row: dict[str, str]) -> Row:
    missing = {*WORDS, *cure_plot.COLUMNS, *cure_plot.SPECTRA, "predicted_note"} - set(row)
    if missing:
        raise KeyError(min(missing))
    if None in row:
        raise ValueError("a row has more cells than the header")
    typed: dict[str, Any] = {}
    for name, cell in row.items():
        if name in TEXTS or name.endswith("_note"):
            typed[name] = shown(cell, 300)
        else:
            typed[name] = float(cell) if cell else math.nan
            if math.isinf(typed[name]) and name != "predicted_R0":
                raise ValueError(f"{name} is not finite")
            low, high = (0, 100) if name in PERCENT else (-LARGEST, LARGEST)
            if typed[name] < low or (typed[name] > high and name != "predicted_R0"):
                raise ValueError(f"{name} is not in {low:g}..{high:g}")
    if typed["mu"] <= 0 or typed["predicted_threshold"] <= 0:
        raise ValueError("mu and its threshold must be positive")
    for name in cure_plot.SPECTRA:
        cure_plot.spectrum(typed[name])
    ranges = ranges_of(typed)
    if any(not 0 <= first <= last < len(counts_of(typed)) for first, last in ranges.values()):
        raise ValueError("splits do not fit the counts")
    return typed | {name: int(row[name]) for name in ("seed", "epochs")}


def counts_of(row: Row) -> np.ndarray:
    """Read the class counts of a row.

    Args:
        row: a row.

    Returns:
        (K,) training images of each class.

    Raises:
        ValueError: if a word is no whole number, or none is there.
    """
    counts = [int(word) for word in row["counts"].split()]
    if not counts or min(counts) < 1:
        raise ValueError("class counts must be 1 or more")
    return np.array(counts)


def ranges_of(row: Row) -> dict[str, tuple[int, int]]:
    """Read the splits of a row.

    Args:
        row: a row.

    Returns:
        First and last class of each split, both included.

    Raises:
        ValueError: if the words are not a name and two whole numbers for each split.
    """
    words = row["splits"].split()
    names, firsts, lasts = words[::3], words[1::3], words[2::3]
    return {name: (int(first), int(last)) for name, first, last in zip(names, firsts, lasts, strict=True)}


def unmeasured(rows: Sequence[Row]) -> list[Row]:
    """Predict for the methods that have no run.

    Args:
        rows: runs of one setting; the decay is the mean of the plain runs', or of all without a plain run.

    Returns:
        One row per method that the rows lack, in the order of :data:`training.named.METHODS`: method, decay and predictions.
    """
    from figures.cure_measures import predicted

    plain = [row["mu"] for row in rows if row["method"] == PLAIN]
    mu, counts, ranges = _mean(plain or [row["mu"] for row in rows]), counts_of(rows[0]), ranges_of(rows[0])
    known = {row["method"] for row in rows}
    return [
        {"method": method, "mu": mu, **predicted(runs_of(RunConfig(), method)[-1], mu, counts, ranges)}
        for method in METHODS
        if method not in known
    ]


def new_rows(options: argparse.Namespace, known: Sequence[Row]) -> list[Row]:
    """Measure the finished runs of a store that are wanted and not known.

    Args:
        options: the options: the store, which of its runs are wanted, and where data are.
        known: rows of runs that are measured already.

    Returns:
        The rows of the others.

    Raises:
        InvalidInput: if the store has no finished run, a run is damaged, or its data are not there.
    """
    from figures.cure_measures import imbalance_of, row_of
    from training.model import build
    from training.run.corrections import Finished
    from training.run.inference import network_of

    seen = {(row["config"], row["seed"]) for row in known}
    finished = [run for run in runs.find(options.store) if run.done]
    if not finished:
        raise InvalidInput(f"--store {str(options.store)!r} has no finished run")
    device, rows = build.device(options.device), []
    loaded: dict[tuple[object, ...], LongTailed] = {}
    for run in finished:
        setting = {"dataset": run.result().dataset, "preset": run.config.preset, "imbalance": imbalance_of(run)}
        if (run.config.key, run.config.seed) in seen or not is_wanted(setting, options):
            continue
        data = _data(run, options, loaded)
        if not options.quiet:
            print(f"measuring {run.config.method}, seed {run.config.seed}", file=sys.stderr, flush=True)
        rows.append(row_of(run, Finished(run.config, network_of(run, data.channels, device), data, device)))
    return rows


def _data(run: RunFolder, options: argparse.Namespace, loaded: dict[tuple[object, ...], LongTailed]) -> LongTailed:
    """The data of a run; those in memory are loaded once for all runs on them."""
    from training.config import CHOICES
    from training.jobs.prepare import again

    key = tuple(getattr(run.config, name) for name, known in CHOICES.items() if known.group == "data")
    where = argparse.Namespace(data_root=options.data_root, train_list=None, test_list=None, max_pixels=MAX_PIXELS)
    if run.config.data_set.files:
        return again(run, where)
    if key in loaded:
        run.check(loaded[key].fingerprint)
    else:
        loaded[key] = again(run, where)
    return loaded[key]


def means(rows: Sequence[Row]) -> list[Row]:
    """Take means over seeds, and divide gains over the plain run.

    Args:
        rows: runs of one setting.

    Returns:
        One row per method, by falling accuracy: its runs, why it has no prediction ('' where it has one), the means of
        :data:`figures.cure_plot.COLUMNS`, the gain over the plain run and its two parts, NaN without a plain run or a yardstick.
    """
    methods = dict.fromkeys(row["method"] for row in rows)
    table = {
        method: {name: _mean([row[name] for row in rows if row["method"] == method]) for name in cure_plot.COLUMNS}
        for method in methods
    }
    plain = table.get(PLAIN, dict.fromkeys(cure_plot.COLUMNS, math.nan))
    result: list[Row] = []
    for method, row in table.items():
        gain, representation = row["all"] - plain["all"], row["crt_all"] - plain["crt_all"]
        parts = {"gain": gain, "representation": representation, "preference": gain - representation}
        number = sum(one["method"] == method for one in rows)
        note = next(str(one["predicted_note"]) for one in rows if one["method"] == method)
        spectra = {
            name: _mean_spectrum([str(one[name]) for one in rows if one["method"] == method])
            for name in cure_plot.SPECTRA
        }
        result.append({"method": method, "runs": number, "note": note, **row, **spectra, **parts})
    return sorted(result, key=lambda row: (-row["all"], row["method"]))


def _mean(values: Sequence[float]) -> float:
    """The mean of the values that are there."""
    there = [value for value in values if not math.isnan(value)]
    return float(np.mean(there)) if there else math.nan


def _mean_spectrum(words: Sequence[str]) -> str:
    """The mean of spectra, as :func:`figures.cure_measures.shape` writes them; '' where there is none."""
    there = [cure_plot.spectrum(word) for word in words if word]
    return " ".join(f"{value:.4f}" for value in np.mean(there, axis=0)) if there else ""
