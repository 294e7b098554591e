"""The style of all figures, and the one way to write them: PDF, PNG and the rows that were drawn (CSV).

A figure module has ``data()``, which makes rows, and ``plot(rows)``, which draws them. ``plot`` computes nothing that a
reader of the rows could not compute. Lines differ in colour (Okabe and Ito's palette for colour-blind readers), in dash
and in grey value.
"""

from __future__ import annotations

import csv
import io
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lpm.console.errors import InvalidInput
from lpm.console.output import write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMN_WIDTH, PAGE_WIDTH = 3.35, 6.9
"""Widths of a column and of a page, in inches."""

Row = Mapping[str, Any]
"""One row of a figure's CSV: values by column."""

MATPLOTLIB_SETTINGS: Any = {
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
"""Fonts, lines and axes of every figure."""


@dataclass(frozen=True)
class Style:
    """How one method, program or group is drawn in every figure.

    Attributes:
        colour: hexadecimal RGB colour of lines and markers.
        dash: matplotlib's line style, a name or (offset, lengths of dashes and gaps in points).
        marker: matplotlib's marker.
    """

    colour: str
    dash: str | tuple[int, tuple[float, ...]]
    marker: str


STYLES = {
    "random": Style("#000000", "-", "o"),
    "CBS": Style("#0072B2", (0, (5, 1.5)), "s"),
    "CAS": Style("#56B4E9", (0, (3, 1.2, 1, 1.2)), "^"),
    "LOM": Style("#CC79A7", (0, (1, 1)), "v"),
    "BMLS": Style("#D55E00", "-", "D"),
    "BMLS+MS": Style("#009E73", (0, (6, 1.5, 1, 1.5)), "P"),
    "random+MS": Style("#8c8c8c", (0, (2, 1)), "X"),
    "all": Style("#000000", "-", "o"),
    "many": Style("#0072B2", (0, (5, 1.5)), "s"),
    "med": Style("#56B4E9", (0, (3, 1.2, 1, 1.2)), "^"),
    "few": Style("#D55E00", (0, (1.5, 1.2)), "D"),
    "AA": Style("#0072B2", "-", "s"),
    "AB": Style("#8c8c8c", (0, (5, 2)), "o"),
    "BB": Style("#D55E00", (0, (1.5, 1.2)), "D"),
    "tempered+ETF+DR": Style("#6A3D9A", (0, (8, 2)), "v"),  # its spare style is that of CBS+ETF+DR
}
"""Styles by sampler (with FC), method, split of the classes, and pair of groups (A majority, B minority)."""

SPARE_COLOURS = ("#E69F00", "#6A3D9A", "#8C510A", "#01665E", "#A50026", "#1B2A6B", "#7A7A00")
SPARE_DASHES: tuple[tuple[int, tuple[float, ...]], ...] = (
    (0, (8, 2)), (0, (4, 1, 1, 1, 1, 1)), (0, (2.5, 2.5)), (0, (7, 1, 3, 1)), (0, (1, 2.5))
)  # fmt: skip
SPARE_MARKERS = ("p", "*", "<", ">", "h", "d", "H", "8", "1")
"""Parts from which the styles of all other methods are made, see :func:`style_of`.

Their numbers 7, 5 and 9 have no common divisor, so 7 x 5 x 9 styles are distinct. No marker occurs in ``STYLES``.
"""

BOUNDS = ("_low", "_high", "relative_gap")
"""Ends of the names of columns that hold bounds."""

SEQUENTIAL = "cividis"
"""Colour map of ordered values such as cosines. Its brightness rises throughout, so grey keeps order and sign."""

DIVERGING = "RdBu_r"
"""Colour map for panels whose contours or numbers show the sign."""


def style_of(name: str) -> Style:
    """Return the style of a method.

    Args:
        name: the method as tables name it; the suffix "+FC" does not count.

    Returns:
        Its entry in ``STYLES``, or else a spare style that depends on the name alone.
    """
    name = name.removesuffix("+FC")
    if name in STYLES:
        return STYLES[name]
    number = zlib.crc32(name.encode())  # not hash(), which differs from process to process
    # The remainders by 7, 5 and 9 are independent: all combinations of colour, dash and marker occur.
    return Style(
        SPARE_COLOURS[number % len(SPARE_COLOURS)],
        SPARE_DASHES[number % len(SPARE_DASHES)],
        SPARE_MARKERS[number % len(SPARE_MARKERS)],
    )


def save(plot: Callable[[Sequence[Row]], Figure], rows: Sequence[Row], folder: Path, name: str) -> None:
    """Draw rows and write ``name``.pdf, .png and .csv.

    Args:
        plot: draws the rows.
        rows: rows of the CSV, all with the same columns.
        folder: folder for the files.
        name: file name without its ending.

    Raises:
        InvalidInput: if there are no rows.
    """
    from matplotlib import rc_context

    if not rows:
        raise InvalidInput(f"figure {name!r} has no rows to draw")
    write_rows(rows, folder / f"{name}.csv")
    with rc_context(MATPLOTLIB_SETTINGS):
        figure = plot(rows)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once, not again for each file
        for ending in ("pdf", "png"):
            # Drawn in memory, because matplotlib answers a full disk with errors of its own.
            content = io.BytesIO()
            figure.savefig(content, format=ending)
            write(folder / f"{name}.{ending}", content.getvalue())


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """Write rows as CSV, with a header.

    Args:
        rows: at least one row; the first one gives the columns.
        path: the file.
    """
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {column: csv_cell(value, exact=column.endswith(BOUNDS)) for column, value in row.items()} for row in rows
    )
    write(path, file.getvalue().encode())


def csv_cell(value: Any, *, exact: bool = False) -> Any:
    """Format a value for the CSV.

    Args:
        value: a value of a row.
        exact: whether to write every digit of a float, as for bounds, which must not be rounded to nearest.

    Returns:
        A float with eight digits, or with all; an empty string for None and nan; anything else as it is.
    """
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.{17 if exact else 8}g}"
    return "" if value is None else value
