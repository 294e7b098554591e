"""The sweep's picture: cosines of class vectors against the imbalance R, one panel per program."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lpm.console.output import write

if TYPE_CHECKING:
    from lpm.rows import Row
    from lpm.threshold import Threshold

LINES = {
    "cos_AA": ("#0b3c8c", "-", "majority–majority"),
    "cos_AB": ("#a3a3a3", (0, (5, 2)), "majority–minority"),
    "cos_BB": ("#d1495b", (0, (1.5, 1.2)), "minority–minority"),
}
"""Colour, dashes and label of each cosine: safe for the colour-blind, and in print of three different greys."""


def plot_sweep(
    rows: Sequence[Row], thresholds: dict[str, Threshold], paths: Sequence[Path], settings: str = ""
) -> None:
    """Draw solved rows; a dash-dotted line marks R0, and nothing is solved here.

    Args:
        rows: the solves of a sweep.
        thresholds: thresholds by the name of their family.
        paths: files to write, png or pdf.
        settings: the settings that all rows share, in words, for the lower margin.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator

    names = list(dict.fromkeys(row.name for row in rows))
    columns = min(4, len(names))
    lines = -(-len(names) // columns)
    width, height = max(3.1 * columns, 5.2), 2.5 * lines + 0.7
    figure = Figure(figsize=(width, height))
    words = ["imbalance R = n_A / n_B", *textwrap.wrap(settings, int(13 * width))]
    figure.set_figheight(height := height + 0.15 * max(0, len(words) - 2))
    # A layout by hand, in inches: an automatic one draws every text once more, which takes longer than all solves.
    below = 0.47 + 0.15 * len(words)
    margins = {"left": 0.7 / width, "right": 1 - 0.06 / width, "bottom": below / height, "top": 1 - 0.58 / height}
    axes = figure.subplots(
        lines, columns, squeeze=False, sharex=True, sharey=True, gridspec_kw=margins | {"wspace": 0.05, "hspace": 0.16}
    )
    for axis in axes.flat[len(names) :]:
        axis.set_axis_off()
    for name, axis in zip(names, axes.flat, strict=False):
        solved = [row for row in rows if row.name == name]
        R = np.array([row.R for row in solved])
        for column, (colour, dash, label) in LINES.items():
            axis.semilogx(
                R, [getattr(row, column) for row in solved], color=colour, linestyle=dash, lw=1.8, label=label
            )
        threshold = thresholds.get(name)
        axis.set_title(name, fontsize=9, loc="left", fontweight="bold")
        if threshold is not None and threshold.R0 is not None:
            axis.axvline(threshold.R0, color="black", lw=0.9, linestyle="-.")
            axis.set_title(f"R₀ = {threshold.text}", fontsize=9, loc="right")
        elif threshold is not None:
            axis.set_title(threshold.state, fontsize=9, loc="right")
        axis.set_ylim(-1.05, 1.08)
        axis.grid(alpha=0.25, lw=0.6)
        axis.tick_params(labelsize=8)
        axis.minorticks_off()
    wide = max(row.R for row in rows) > 100 * min(row.R for row in rows)
    axes[0, 0].xaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
    axes[0, 0].xaxis.set_major_formatter(FuncFormatter(_decade))
    figure.supxlabel("\n".join(words), y=0.06 / height, fontsize=9)
    figure.supylabel("cosine of class vectors", x=0.05 / width, fontsize=9)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=3, fontsize=8.5, frameon=False)
    with rc_context({"pdf.fonttype": 42}):  # TrueType, which publishers accept
        for path in paths:
            content = io.BytesIO()  # matplotlib answers a full disk with errors of its own
            figure.savefig(content, dpi=150, format=path.suffix[1:])
            write(path, content.getvalue())


def _decade(R: float, _: int) -> str:
    """The label of a tick. Not in mathtext: each font that a PDF embeds takes as long as forty solves."""
    power = round(math.log10(R))
    if power <= 3 or not math.isclose(R, 10.0**power):
        return f"{R:g}"
    return "10" + str(power).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
