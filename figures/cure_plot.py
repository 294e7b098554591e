"""The picture of the cure map: one row per method, prediction and measurement side by side, in grey values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from figures.style import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = (
    *("mu", "predicted_threshold", "predicted_R0", "predicted_cos_many", "predicted_cos_many_few", "predicted_cos_few"),
    *(
        "predicted_length_few",
        "predicted_margin_few",
        "cos_many",
        "cos_many_few",
        "cos_few",
        "length_few",
        "margin_few",
    ),
    *("all", "many", "med", "few", "ece", "few_as_own", "few_as_many", "few_as_med", "few_as_few", "among_few"),
    *("la_all", "la_many", "la_few", "la_ece", "crt_all", "crt_many", "crt_few", "crt_ece"),
)
"""Columns of numbers that are averaged over seeds."""

SPECTRA = ("predicted_singular_values", "singular_values")
"""Columns of spectra."""

WIDTH, LEFT, TOP, BOTTOM, ROW = 12.0, 2.35, 0.5, 0.6, 0.2
"""Width of the picture, its margins, and the height of a row, in inches."""

LEGEND: dict[str, Any] = {"handlelength": 1.1, "columnspacing": 0.7, "handletextpad": 0.4, "borderaxespad": 0.2}
"""Spaces of the legends, in units of the font's size."""


def plot(rows: Sequence[Row]) -> Figure:
    """Draw the map.

    Args:
        rows: one row per method, from top to bottom.

    Returns:
        The figure.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    panels: tuple[tuple[str, float, Callable[[Axes, Sequence[Row], np.ndarray], None]], ...] = (
        ("mu over\nthreshold", 1.0, _thresholds),
        ("singular\nvalues", 1.3, _spectra),
        ("cosine,\nfew classes", 1.1, _cosines),
        ("length,\nfew / many", 1.1, _lengths),
        ("margin,\nfew classes", 1.1, _margins),
        ("accuracy, %", 1.9, _accuracies),
        ("few images\npredicted as, %", 1.7, _predicted_as),
        ("gain over the plain run,\npoints of accuracy", 2.0, _gains),
        ("ECE, %", 0.8, _calibration),
    )
    height = TOP + BOTTOM + ROW * len(rows)
    figure = Figure(figsize=(WIDTH, height))
    # Fixed margins: the widest name of a method must not take the panels' place.
    margins = {"left": LEFT / WIDTH, "right": 0.99, "bottom": BOTTOM / height, "top": 1 - TOP / height, "wspace": 0.2}
    widths = [width for _, width, _ in panels]
    axes = figure.subplots(1, len(panels), sharey=True, width_ratios=widths, gridspec_kw=margins)
    y = np.arange(len(rows))[::-1]
    for axis, (title, _, draw) in zip(axes, panels, strict=True):
        draw(axis, rows, y)
        axis.set_xlabel(title)
        axis.tick_params(axis="y", length=0)
        axis.spines["left"].set_visible(False)
        if axis.get_xscale() == "linear":
            axis.xaxis.set_major_locator(MaxNLocator(3))
        if handles := axis.get_legend_handles_labels()[0]:
            columns = 2 if len(handles) > 2 else 1
            axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns, fontsize=6.5, **LEGEND)
    axes[0].set_yticks(y, [row["method"].replace("$", r"\$") for row in rows])
    axes[0].set_ylim(-0.7, len(rows) - 0.3)
    return figure


def spectrum(words: str) -> list[float]:
    """Read a spectrum.

    Args:
        words: its values with spaces between them; '' for none.

    Returns:
        The values.

    Raises:
        ValueError: if a word is no finite number.
    """
    values = [float(word) for word in words.split()]
    if not np.isfinite(values).all():
        raise ValueError("a singular value is not finite")
    return values


def _values(rows: Sequence[Row], name: str) -> np.ndarray:
    return np.array([row[name] for row in rows], float)


def _pair(axis: Axes, rows: Sequence[Row], y: np.ndarray, name: str) -> None:
    """A prediction as a ring, the measurement as a disc, and a line between them."""
    predicted, measured = _values(rows, f"predicted_{name}"), _values(rows, name)
    axis.hlines(y, predicted, measured, color="0.7", lw=1)
    axis.plot(predicted, y, "o", mfc="white", mec="black", ls="", ms=4, label="predicted")
    axis.plot(measured, y, "o", color="black", ls="", ms=4, label="measured")


def _thresholds(axis: Axes, rows: Sequence[Row], y: np.ndarray) -> None:
    axis.plot(_values(rows, "mu") / _values(rows, "predicted_threshold"), y, "D", color="black", ls="", ms=3)
    axis.set_xscale("log")
    axis.axvline(1.0, color="black", lw=1, ls="--", label="collapse")
    for row, height in zip(rows, y, strict=True):
        if row["note"]:
            axis.text(
                0.95,
                height,
                "no threshold",
                fontsize=5.5,
                ha="right",
                va="center",
                transform=axis.get_yaxis_transform(),
            )


def _spectra(axis: Axes, rows: Sequence[Row], y: np.ndarray) -> None:
    """Measured values above predicted ones, which are rings."""
    for name, shift, face in (("predicted_singular_values", -0.16, "white"), ("singular_values", 0.16, "black")):
        for row, height in zip(rows, y, strict=True):
            values = spectrum(row[name])
            axis.plot(values, [height + shift] * len(values), "o", mfc=face, mec="black", ls="", ms=2.2, mew=0.5)


def _cosines(axis: Axes, rows: Sequence[Row], y: np.ndarray) -> None:
    _pair(axis, rows, y, "cos_few")


def _lengths(axis: Axes, rows: Sequence[Row], y: np.ndarray) -> None:
    _pair(axis, rows, y, "length_few")


def _margins(axis: Axes, rows: Sequence[Row], y: np.ndarray) -> None:
    """Without mixed-singleton's, which are between logits of label pairs and would squeeze the others."""
    of_classes = np.array(["+MS" not in row["method"] for row in rows])
    _pair(axis, [row for row, shown in zip(rows, of_classes, strict=True) if shown], y[of_classes], "margin_few")


def _accuracies(axis: Axes, rows: Sequence[Row], y: np.ndarray) -> None:
    axis.barh(y, _values(rows, "all"), height=0.62, color="0.85", label="all")
    for name, marker, face in (("many", "s", "white"), ("med", "^", "0.6"), ("few", "D", "black")):
        axis.plot(_values(rows, name), y, marker, mfc=face, mec="black", ls="", ms=3.5, label=name)
    axis.set_xlim(0, 100)


def _predicted_as(axis: Axes, rows: Sequence[Row], y: np.ndarray) -> None:
    start = np.zeros(len(rows))
    shades = (("own", "0.15", ""), ("few", "0.5", ""), ("med", "0.75", "////"), ("many", "0.95", ""))
    for name, grey, hatch in shades:
        width, label = _values(rows, f"few_as_{name}"), {"own": "right", "few": "other few"}.get(name, name)
        axis.barh(
            y, width, left=start, height=0.62, color=grey, edgecolor="0.3", lw=0.4, hatch=hatch, label=label
        )  # fmt: skip
        start = start + width
    axis.set_xlim(0, 100)


def _gains(axis: Axes, rows: Sequence[Row], y: np.ndarray) -> None:
    preference, representation = _values(rows, "preference"), _values(rows, "representation")
    # Parts of one sign stand end to end; parts of two signs on their own sides.
    start = np.where(preference * representation > 0, preference, 0.0)
    axis.barh(y, preference, height=0.62, color="0.8", edgecolor="0.3", lw=0.4, label="preference")
    axis.barh(
        y, representation, left=start, height=0.62, color="0.35", edgecolor="0.3", lw=0.4, label="representation"
    )  # fmt: skip
    axis.plot(_values(rows, "gain"), y, "|", color="black", ms=9, mew=1.5, label="gain")
    axis.plot(_values(rows, "la_all") - _values(rows, "all") + _values(rows, "gain"), y, "x", color="black", ms=4.5,
              label="post-hoc LA")  # fmt: skip
    axis.axvline(0.0, color="black", lw=0.6)


def _calibration(axis: Axes, rows: Sequence[Row], y: np.ndarray) -> None:
    axis.barh(y, _values(rows, "ece"), height=0.62, color="0.7")
    axis.plot(_values(rows, "la_ece"), y, "x", color="black", ls="", ms=4.5)
