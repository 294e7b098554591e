"""The picture of ``lpm.cures``: collapse numbers of majority and minority against mu^2, and cosines of the minority."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lpm.console.output import write
from lpm.plot import LINES

if TYPE_CHECKING:
    from lpm.cure_table import Row


def plot(rows: Sequence[Row], paths: Sequence[Path], settings: str, decay: float | None) -> None:
    """Draw the table of cures; nothing is solved here.

    Args:
        rows: its rows.
        paths: files to write, png or pdf.
        settings: the settings in words.
        decay: mu, or None for budgets.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    rows = [row for row in rows if row.relative_gap is not None][::-1]
    figure = Figure(figsize=(8.6, 0.27 * len(rows) + 1.7), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    places = range(len(rows))
    colours = {"A": LINES["cos_AA"][0], "B": LINES["cos_BB"][0]}
    for place, row in zip(places, rows, strict=True):
        if row.c_A and row.c_B:
            left.plot([row.c_B, row.c_A], [place, place], color="#c8c8c8", lw=1.2, zorder=1)
    for side, label in (("A", "majority"), ("B", "minority")):
        known = [(getattr(row, f"c_{side}"), place) for row, place in zip(rows, places, strict=True)]
        known = [(number, place) for number, place in known if number]
        if known:  # a side of one class has no collapse number
            left.plot(*zip(*known, strict=True), "o" if side == "A" else "s", ms=4.5, color=colours[side], label=label)
    if decay is not None:
        left.axvline(decay**2, color="black", lw=0.9, ls="-.", label="$\\mu^2$: collapsed to its left")
    left.set_xscale("log")
    left.set_xlabel("collapse number $c$")
    left.set_yticks(list(places), [row.cure for row in rows], fontsize=8)
    for name, (colour, _, label) in LINES.items():
        known = [(getattr(row, name), place) for row, place in zip(rows, places, strict=True)]
        known = [(cosine, place) for cosine, place in known if cosine is not None]
        if known:
            right.plot(
                *zip(*known, strict=True),
                "oDs"[list(LINES).index(name)],
                ms=4.5,
                color=colour,
                label=label,
                clip_on=False,
            )
    right.set_xlabel("cosine of class vectors")
    right.set_xlim(-1.05, 1.05)
    for axis in (left, right):
        axis.grid(alpha=0.25, lw=0.6)
        axis.legend(
            fontsize=7.5,
            frameon=False,
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=2,
            handletextpad=0.3,
            columnspacing=0.8,
        )
        axis.tick_params(axis="x", labelsize=8)
    figure.supxlabel(settings, fontsize=8)
    with rc_context({"pdf.fonttype": 42}):
        for path in paths:
            content = io.BytesIO()  # matplotlib answers a full disk with errors of its own
            figure.savefig(content, dpi=150, format=path.suffix[1:])
            write(path, content.getvalue())
