"""The picture and the page of rows of :mod:`benchmarks.peers`: time against the number of classes and of points.

``python -m benchmarks.peers_page results/peers-benchmark.csv --plot docs/figures/peers.png --page docs/reproduce/speed.md``
draws the rows, and puts their table, machine and date into the page.
"""

from __future__ import annotations

import argparse
import csv
import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.peers import OURS, PEERS, SERIES, Row
from figures.style import MATPLOTLIB_SETTINGS, PAGE_WIDTH

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOOK = dict(
    zip(
        (*OURS, *PEERS),
        (
            ("#0072B2", "-", "o"),
            ("#56B4E9", "--", "o"),
            ("#D55E00", "-", "s"),
            ("#E69F00", "--", "s"),
            ("#000000", ":", "^"),
        ),
        strict=True,
    )
)
"""Colour, dashes and marker of each solver; colours are Okabe and Ito's."""


def read(path: Path) -> list[dict[str, Any]]:
    """Read rows that :mod:`benchmarks.peers` wrote.

    Args:
        path: the CSV file.

    Returns:
        The rows, numbers as numbers.
    """
    numbers: dict[str, Callable[[str], Any]] = {"size": int, "seconds": float, "largest_gap": float}
    rows = csv.DictReader(io.StringIO(path.read_text()))
    return [{name: numbers.get(name, str)(value) for name, value in row.items()} for row in rows]


def table(rows: Sequence[Row]) -> str:
    """Write the table of docs/reproduce/speed.md.

    Args:
        rows: the measurements.

    Returns:
        Markdown: at the sizes that each series shows, seconds, multiples of the time of ``orbits``, and gaps.
    """
    lines = [
        "| what | solver | CPU seconds | multiple of `orbits` | largest relative gap |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, series in SERIES.items():
        for size in series.shown:
            at_size = {row["solver"]: row for row in rows if row["series"] == name and row["size"] == size}
            for solver, row in at_size.items():
                multiple = row["seconds"] / at_size["orbits"]["seconds"]
                what = f"{series.title}, {series.label}: {size:,}"
                lines.append(
                    f"| {what} | {solver} | {row['seconds']:.2g} | {multiple:.3g} | {row['largest_gap']:.1e} |"
                )
    return "\n".join(lines)


def origin_of(rows: Sequence[Row]) -> str:
    """Say when and where rows were measured.

    Args:
        rows: of one run.

    Returns:
        Date, machine and commit, with a ``+`` for uncommitted changes.
    """
    commit = rows[0]["commit"]
    return f"{rows[0]['time'][:10]}, {rows[0]['machine']}, commit {commit[:7]}{'+' * commit.endswith('+')}"


def with_rows(page: str, rows: Sequence[Row]) -> str:
    """Put rows into a page.

    Args:
        page: Markdown with a table of other rows and a line "Measured: ...".
        rows: the measurements.

    Returns:
        The page with the table and the origin of these.
    """
    page = re.sub(r"(^\|.*\n)+", lambda old: table(rows) + "\n", page, count=1, flags=re.MULTILINE)
    return re.sub(r"^Measured: .*$", f"Measured: {origin_of(rows)}.", page, flags=re.MULTILINE)


def plot(rows: Sequence[Row]) -> Figure:
    """Draw measurements.

    Args:
        rows: of one run of :mod:`benchmarks.peers`.

    Returns:
        One panel per series; machine, date and commit stand below.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(MATPLOTLIB_SETTINGS):
        figure = Figure(figsize=(PAGE_WIDTH, 2.9), layout="constrained")
        axes = figure.subplots(1, len(SERIES), sharey=True)
        for (name, series), axis in zip(SERIES.items(), axes, strict=True):
            for solver, (colour, dashes, marker) in LOOK.items():
                line = [
                    (row["size"], row["seconds"]) for row in rows if (row["series"], row["solver"]) == (name, solver)
                ]
                axis.loglog(
                    *zip(*line, strict=True), color=colour, linestyle=dashes, marker=marker, label=solver
                ) if line else None
            axis.set_title(series.title)
            axis.set_xlabel(series.label)
        axes[0].set_ylabel("CPU seconds")
        handles, labels = axes[-1].get_legend_handles_labels()  # this series has all solvers
        figure.legend(handles, labels, loc="outside upper center", ncols=3)
        figure.supxlabel(origin_of(rows), fontsize=7)
        return figure


def main() -> None:
    """Run the command: draw rows, and put them into a page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers_page")
    parser.add_argument("rows", type=Path, help="CSV file of benchmarks.peers")
    parser.add_argument("--plot", type=Path, help="PNG file for the picture")
    parser.add_argument("--page", type=Path, help="Markdown page whose table is replaced")
    options = parser.parse_args()
    rows = read(options.rows)
    if options.plot is not None:
        plot(rows).savefig(options.plot, dpi=200)
    if options.page is not None:
        options.page.write_text(with_rows(options.page.read_text(), rows))


if __name__ == "__main__":
    main()
