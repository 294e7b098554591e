"""One look for all figures, and the one way to write them: PDF, PNG and the rows that were drawn (CSV).

A figure module has ``data()``, which makes rows, and ``plot(rows)``, which draws them and computes nothing that a reader of
the rows could not. Lines differ in colour (Okabe and Ito's, safe for colour-blind eyes), in dash and in grey value.
"""

from __future__ import annotations

import csv
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lpm.console.errors import InvalidInput

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMN, PAGE = 3.35, 6.9
"""Widths of a column and of a page, in inches."""

Row = Mapping[str, Any]
"""What a figure draws: one row of its CSV."""

RC: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.6,
    "lines.markersize": 3.5,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "pdf.fonttype": 42,  # TrueType, which publishers accept
    "savefig.dpi": 200,
}


@dataclass(frozen=True)
class Look:
    """How one method, program or group is drawn everywhere."""

    colour: str
    dash: str | tuple[int, tuple[float, ...]]
    marker: str


LOOKS = {
    "random": Look("#000000", "-", "o"),
    "CBS": Look("#0072B2", (0, (5, 1.5)), "s"),
    "CAS": Look("#56B4E9", (0, (3, 1.2, 1, 1.2)), "^"),
    "LOM": Look("#CC79A7", (0, (1, 1)), "v"),
    "BMLS": Look("#D55E00", "-", "D"),
    "BMLS+MS": Look("#009E73", (0, (6, 1.5, 1, 1.5)), "P"),
    "random+MS": Look("#8c8c8c", (0, (2, 1)), "X"),
    "all": Look("#000000", "-", "o"),
    "many": Look("#0072B2", (0, (5, 1.5)), "s"),
    "med": Look("#56B4E9", (0, (3, 1.2, 1, 1.2)), "^"),
    "few": Look("#D55E00", (0, (1.5, 1.2)), "D"),
    "AA": Look("#0072B2", "-", "s"),
    "AB": Look("#8c8c8c", (0, (5, 2)), "o"),
    "BB": Look("#D55E00", (0, (1.5, 1.2)), "D"),
}
"""By sampler (with FC), method, split of the classes, and pair of groups (A majority, B minority)."""

SPARE_COLOURS = ("#E69F00", "#6A3D9A", "#8C510A", "#01665E", "#A50026", "#1B2A6B", "#7A7A00")
SPARE_DASHES: tuple[tuple[int, tuple[float, ...]], ...] = (
    (0, (8, 2)), (0, (4, 1, 1, 1, 1, 1)), (0, (2.5, 2.5)), (0, (7, 1, 3, 1)), (0, (1, 2.5))
)  # fmt: skip
SPARE_MARKERS = ("p", "*", "<", ">", "h", "d", "H", "8", "1")
"""Looks of all other methods. The numbers of them have no common divisor: 7 x 5 x 9 looks differ from one another, and by
their markers from those above."""

SEQUENTIAL = "cividis"
"""Colour map of what has an order, cosines among it: kept in grey, sign included."""

DIVERGING = "RdBu_r"
"""Colour map where contours or numbers say the sign."""


def look(name: str) -> Look:
    """The look of a method by its name in tables; '+FC' is left out. A name not in LOOKS has one of the spare looks, always
    the same one."""
    name = name.removesuffix("+FC")
    if name in LOOKS:
        return LOOKS[name]
    n = zlib.crc32(name.encode())  # not hash(), which differs from process to process
    return Look(SPARE_COLOURS[n % 7], SPARE_DASHES[n % 5], SPARE_MARKERS[n % 9])


def save(plot: Callable[[Sequence[Row]], Figure], rows: Sequence[Row], folder: Path, name: str) -> None:
    """Draw rows and write ``name``.pdf, .png and .csv into a folder. rows: all with the same keys.

    Raises InvalidInput when there is nothing to draw.
    """
    from matplotlib import rc_context

    if not rows:
        raise InvalidInput(f"figure {name!r} has no rows to draw")
    write_rows(rows, folder / f"{name}.csv")
    with rc_context(RC):
        figure = plot(rows)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once, not again for each file
        for kind in ("pdf", "png"):
            figure.savefig(folder / f"{name}.{kind}")


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """Write rows as CSV, a header first."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: printed(v) for k, v in row.items()} for row in rows)


def printed(value: Any) -> Any:
    """A cell of the CSV: numbers to eight digits, nothing for None and nan."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.8g}"
    return "" if value is None else value
