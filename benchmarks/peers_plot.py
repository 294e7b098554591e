"""The picture of :mod:`benchmarks.peers`: time against the number of classes and of points, on logarithmic axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmarks.peers import OURS, PEERS, SERIES, Row, origin_of
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
        axes[0].set_ylabel("seconds")
        handles, labels = axes[-1].get_legend_handles_labels()  # this series has all solvers
        figure.legend(handles, labels, loc="outside upper center", ncols=3)
        figure.supxlabel(origin_of(rows), fontsize=7)
        return figure
