"""When networks of an ordinary recipe collapse: weight decay against imbalance, ``python -m figures law-map``.

Rows are those of ``python -m benchmarks.law`` whose weight decay acts on all layers, with step counts and no penalties.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from figures.law import MERGED
from figures.law_runs import RUNS, read
from figures.style import PAGE_WIDTH, SEQUENTIAL, Row, save
from lpm.console import cli
from lpm.console.errors import InvalidInput

if TYPE_CHECKING:
    from matplotlib.figure import Figure

K = 10
"""Classes of the runs, half of them rare."""


def add_options(parser: cli.Parser) -> None:
    """Add the options of the figure.

    Args:
        parser: parser of the command.
    """
    add = parser.group("figure").add_argument
    add("--runs", type=Path, default=RUNS, metavar="FILE", help="CSV of benchmarks.law (default: the committed rows)")


def make(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Read the rows and draw the map.

    Args:
        options: parsed options.
        folder: folder for the files.

    Returns:
        The record for the manifest.

    Raises:
        InvalidInput: if the rows cannot be read, or have no run with ordinary weight decay.
    """
    rows = data(options.runs)
    save(plot, rows, folder, "law-map")
    return {"cells": len(rows), "runs": sum(row["runs"] for row in rows)}


def data(path: Path) -> list[Row]:
    """Take the means over seeds of runs with ordinary weight decay.

    Args:
        path: a CSV that ``benchmarks.law`` wrote.

    Returns:
        One row per imbalance and weight decay: r of rare classes over that of frequent ones, and accuracies in per cent.

    Raises:
        InvalidInput: if the file is missing, lacks a column or a number, or has no such run.
    """
    cells: dict[tuple[float, float], list[tuple[float, float, float]]] = {}
    for run in read(path, _measured):
        cells.setdefault((run["imbalance"], run["weight_decay"]), []).append((run["ratio"], run["many"], run["few"]))
    if not cells:
        raise InvalidInput(f"--runs {str(path)!r} has no runs with ordinary weight decay")
    rows: list[Row] = []
    for (R, w), runs in sorted(cells.items()):
        ratio, many, few = np.mean(runs, axis=0).tolist()
        rows.append({"imbalance": R, "weight_decay": w, "runs": len(runs), "ratio": ratio, "many": many, "few": few})
    return rows


def _measured(row: dict[str, str]) -> Row | None:
    if row["series"] != "weight-decay" and not row["series"].startswith("map-"):
        return None
    counts = [int(word) for word in row["counts"].split()]
    r = {side: float(np.linalg.norm([float(row[f"s{side}{n}"]) for n in range(1, K // 2)])) for side in "AB"}
    values = (r["B"] / r["A"], float(row["many"]), float(row["few"]))
    if not np.all(np.isfinite(values)):
        raise ValueError("a number is not finite")
    names = ("imbalance", "weight_decay", "ratio", "many", "few")
    return dict(zip(names, (counts[0] / counts[-1], float(row["weight_decay"]), *values), strict=True))


def plot(rows: Sequence[Row]) -> Figure:
    """Draw the map.

    Args:
        rows: rows of :func:`data`.

    Returns:
        The figure: a cell's colour is how much is left of the rare classes' differences, its number their accuracy.
    """
    from matplotlib.figure import Figure

    Rs, ws = (sorted({row[name] for row in rows}) for name in ("imbalance", "weight_decay"))
    values = np.full((len(Rs), len(ws)), np.nan)
    for row in rows:
        values[Rs.index(row["imbalance"]), ws.index(row["weight_decay"])] = row["ratio"]
    figure = Figure(figsize=(PAGE_WIDTH, 0.9 + 0.42 * len(Rs)), layout="constrained")
    axis = figure.subplots()
    axis.grid(visible=False)
    image = axis.imshow(values, cmap=SEQUENTIAL, vmin=0, vmax=1, aspect="auto", origin="lower")
    for row in rows:
        axis.text(
            ws.index(row["weight_decay"]),
            Rs.index(row["imbalance"]),
            f"{row['few']:.0f}" + " collapsed" * (row["ratio"] < MERGED),
            ha="center",
            va="center",
            fontsize=7,
            color="white" if row["ratio"] < 0.5 else "black",
        )
    axis.set_xticks(range(len(ws)), [f"{w:g}" for w in ws])
    axis.set_yticks(range(len(Rs)), [f"{R:g}" for R in Rs])
    axis.set_xlabel("weight decay of all layers (numbers: accuracy on rare classes, %)")
    axis.set_ylabel("imbalance")
    figure.colorbar(image, ax=axis, label="r rare / r frequent")
    return figure
