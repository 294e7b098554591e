"""Maps of R0, the imbalance where minority collapse sets in, for FC and MS: over lambda and budget, over K and K_A."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from figures.style import DIVERGING, PAGE_WIDTH, SEQUENTIAL, Row
from lpm.console.rounding import certain
from lpm.family import Family
from lpm.mixing import fixed
from lpm.threshold import Threshold, thresholds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PROGRAMS = ("fc", "ms")
"""Programs of the maps."""
LAMS = tuple(np.linspace(0.02, 0.5, 11).tolist())
"""Mixing ratios of the map over the budget."""
BUDGETS = tuple((5 * 10 ** (np.arange(-5, 5) / 5)).tolist())
"""Budgets E_H E_W of that map."""
DECAYS = tuple((2.0 ** np.arange(-2, 2.25, 0.5)).tolist())
"""Decays of that map under weight decay, over the decay that is asked for."""
CLASSES = tuple(range(4, 13))
"""Numbers of classes K of the map over K and K_A."""
R_MAX = 1e6
"""Largest imbalance at which a threshold is searched."""
LEVELS = (2, 3, 5, 10, 30, 100, 1e3, 1e4, 1e5)
"""Contours of R0."""
FINE, COARSE = (0.6, 0.7, 0.8, 0.9, 0.95, 1.05, 1.1, 1.2, 1.3, 1.4, 1.5, 2), (0.01, 0.03, 0.1, 0.3, 0.7, 1.5, 3, 10)
"""Contours of ratios that stay within a factor 4 of 1, and of others. 1 is left out, because a whole column is 1."""
EMPTY: dict[str, Any] = {"facecolor": "white", "edgecolor": "0.6", "hatch": "/////", "linewidth": 0.0}
"""Filling of a cell without a certified number."""
NONE: dict[str, Any] = {"facecolor": "0.85", "linewidth": 0.0}
"""Filling of a cell without a threshold."""


def certified_thresholds(families: Sequence[Family], R_max: float = R_MAX) -> list[dict[str, Any]]:
    """Find R0 on 1..R_max for many families at once.

    Args:
        families: the programs, by R.
        R_max: largest imbalance.

    Returns:
        For each R0, its bracket R0_low and R0_high, and the state: "certified", "none" (no collapse), "throughout"
        (collapsed at every R) or "not certified". Numbers without a proof are nan.
    """
    return [_columns(result) for result in thresholds(families, R_max=R_max)]


def _columns(result: Threshold) -> dict[str, Any]:
    state = "certified" if result.R0 is not None else "throughout" if result.collapsed_above else "none"
    low, high = result.bracket or (math.nan, math.nan)
    return {
        "R0": result.R0 if result.R0 is not None and result.certified else math.nan,
        "R0_low": low,
        "R0_high": high,
        "state": state if result.certified else "not certified",
    }


def settings(decay: float | None) -> str:
    """Name the budgets of the pictures, or the decay in their place.

    Args:
        decay: mu; None for budgets.

    Returns:
        The words, as matplotlib takes them.
    """
    return "$E_H$ = 5, $E_W$ = 1" if decay is None else f"decay μ = {decay:g}"


def budget_rows(
    K: int, decay: float | None = None, lams: Sequence[float] = LAMS, budgets: Sequence[float] = BUDGETS
) -> list[Row]:
    """Find R0 over (lambda, E), E = E_H E_W, with half of the classes minority and label pairs as mixup draws them.

    Args:
        K: number of classes.
        decay: mu; the map is then over (lambda, mu) around it. None for budgets.
        lams: mixing ratios.
        budgets: budgets E.

    Returns:
        One row per program, budget and mixing ratio. Column R0_ratio: R0 over that at the same E, or mu, and the last
        of ``lams``.
    """
    axis = "E" if decay is None else "mu"
    values = budgets if decay is None else [decay * share for share in DECAYS]

    def family(program: str, lam: float, value: float) -> Family:
        if decay is None:
            return Family(program, "product", K, mixing=fixed(lam), e_h=value)
        return Family(program, "product", K, mixing=fixed(lam), decay=value)

    cells = [(program, value, lam) for program in PROGRAMS for value in values for lam in lams]
    found = certified_thresholds([family(program, lam, value) for program, value, lam in cells])
    last = {cell[:2]: columns["R0"] for cell, columns in zip(cells, found, strict=True) if cell[2] == lams[-1]}
    return [
        {"program": program, "profile": "product", "K": K, "K_A": K // 2, "lam": lam, axis: value, "R_max": R_MAX}
        | columns
        | {"R0_ratio": columns["R0"] / last[program, value]}
        for (program, value, lam), columns in zip(cells, found, strict=True)
    ]


def class_rows(decay: float | None = None, classes: Sequence[int] = CLASSES) -> list[Row]:
    """Find R0 over (K, K_A), K_A = 1..K-2, at lambda = 1/2, E_H = 5, E_W = 1, with label pairs as mixup draws them.

    Args:
        decay: mu in place of the budgets; None for these.
        classes: numbers of classes K.

    Returns:
        One row per program, K and K_A.
    """
    cells = [(program, K, K_A) for program in PROGRAMS for K in classes for K_A in range(1, K - 1)]
    found = certified_thresholds([Family(program, "product", K, K_A=K_A, decay=decay) for program, K, K_A in cells])
    return [
        {"program": program, "profile": "product", "K": K, "K_A": K_A, "lam": 0.5}
        | ({"E": 5.0} if decay is None else {"mu": decay})
        | {"R_max": R_MAX}
        | columns
        for (program, K, K_A), columns in zip(cells, found, strict=True)
    ]


def plot_budget(rows: Sequence[Row]) -> Figure:
    """Draw one line of panels per program: R0, and R0 over that at lambda = 1/2 and the same budget.

    Args:
        rows: rows of :func:`budget_rows`.

    Returns:
        The figure.
    """
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    figure = Figure(figsize=(PAGE_WIDTH, 5.4), layout="constrained")
    figure.suptitle(f"K = {rows[0]['K']}, $K_A$ = {rows[0]['K_A']}, label pairs as mixup draws them", fontsize=8)
    lines = figure.subplots(len(PROGRAMS), 2, sharex=True, sharey=True)
    shared = _log_norm(rows)
    for program, axes in zip(PROGRAMS, lines, strict=True):
        cells = [row for row in rows if row["program"] == program]
        ratios = [row["R0_ratio"] for row in cells if row["R0_ratio"] > 0]
        factor = max([1.05, *(max(ratio, 1 / ratio) for ratio in ratios)])  # the scale is symmetric about 1
        _contours(axes[0], cells, "R0", shared, LEVELS)
        _contours(axes[1], cells, "R0_ratio", LogNorm(1 / factor, factor), FINE if factor < 4 else COARSE)
        axes[0].set_title(f"{program.upper()}: $R_0$")
        axes[1].set_title(f"{program.upper()}: $R_0$ over that at λ = {max(row['lam'] for row in cells):g}")
    for program_axes in lines:
        program_axes[0].set_ylabel("budget $E_H E_W$" if "E" in rows[0] else "decay μ")
    for axis in lines[-1]:
        axis.set_xlabel("mixing ratio λ")
    _explain_empty(figure, rows)
    return figure


def plot_classes(rows: Sequence[Row]) -> Figure:
    """Draw one panel per program: R0 in the cell of (K, K_A).

    Args:
        rows: rows of :func:`class_rows`.

    Returns:
        The figure.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(PAGE_WIDTH, 3.6), layout="constrained")
    figure.suptitle(f"λ = 1/2, {settings(rows[0].get('mu'))}, label pairs as mixup draws them", fontsize=8)
    axes = figure.subplots(1, len(PROGRAMS), sharex=True, sharey=True)
    norm = _log_norm(rows)
    for program, axis in zip(PROGRAMS, axes, strict=True):
        cells = [row for row in rows if row["program"] == program]
        mesh, K, K_A, _ = _mesh(axis, cells, ("K", "K_A", "R0"), norm, SEQUENTIAL)
        for row in cells:
            if (R0 := row["R0"]) > 0:
                text = certain(row["R0_low"], row["R0_high"], 3 if R0 < 1e3 else 2).replace("e+0", "e")
                colour = "white" if norm(R0) < 0.5 else "black"
                axis.text(row["K"], row["K_A"], text, color=colour, fontsize=7, ha="center", va="center")
        axis.set(title=f"{program.upper()}: $R_0$", xlabel="classes K", xticks=K, yticks=K_A)
    axes[0].set_ylabel("majority classes $K_A$")
    figure.colorbar(mesh, ax=list(axes), aspect=25, format="%g")
    _explain_empty(figure, rows)
    return figure


def _log_norm(rows: Sequence[Row]) -> Any:
    """Return the scale of colours for every R0 of a figure."""
    from matplotlib.colors import LogNorm

    thresholds = [row["R0"] for row in rows if row["R0"] > 0] or [1.0]
    return LogNorm(min(thresholds), max(*thresholds, 1.01 * min(thresholds)))


def _contours(axis: Axes, rows: Sequence[Row], column: str, norm: Any, levels: Sequence[float]) -> None:
    """Draw one map over (lam, E) with labelled contour lines and a colour bar."""
    from matplotlib.patheffects import withStroke

    axis.set_yscale("log")
    axis.yaxis.set_major_formatter("{x:g}")
    colours, ink = (SEQUENTIAL, "white") if column == "R0" else (DIVERGING, "black")
    mesh, lam, E, values = _mesh(axis, rows, ("lam", "E" if "E" in rows[0] else "mu", column), norm, colours)
    if crossed := [level for level in levels if (values < level).any() and (values > level).any()]:
        lines = axis.contour(lam, E, np.log(values), levels=np.log(crossed), colors=ink, linewidths=0.7)
        labels = {log_level: f"{level:g}" for log_level, level in zip(lines.levels, crossed, strict=True)}
        for text in axis.clabel(lines, fmt=labels, fontsize=7):
            text.set_path_effects([withStroke(linewidth=1, foreground="black")] if ink == "white" else [])
    bar = axis.figure.colorbar(mesh, ax=axis, aspect=25, format="%g")
    if norm.vmax < 10 * norm.vmin:  # no power of ten need lie in between, where a log scale has its ticks
        bar.set_ticks([tick for tick in (0.6, 0.8, 1, 1.25, 1.6, 2.5, 4) if norm.vmin <= tick <= norm.vmax])
        bar.minorticks_off()


def _mesh(
    axis: Axes, rows: Sequence[Row], columns: tuple[str, str, str], norm: Any, colours: str
) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray]:
    """Draw coloured cells of the third column over the first two, an even grid; cells without a number show why.

    Returns the mesh, the sorted coordinates (X,) and (Y,) and the values (Y, X), nan where there is no number.
    """
    from matplotlib.patches import Rectangle

    x, y, value = columns
    xs, ys = (np.unique([row[name] for row in rows]) for name in (x, y))
    x_edges = _edges(xs)
    y_edges = np.exp(_edges(np.log(ys))) if axis.get_yscale() == "log" else _edges(ys)
    values = np.full((len(ys), len(xs)), np.nan)
    for row in rows:
        i, j = int(np.searchsorted(ys, row[y])), int(np.searchsorted(xs, row[x]))
        values[i, j] = row[value]
        if math.isnan(row[value]):
            corner = x_edges[j], y_edges[i]
            size = x_edges[j + 1] - x_edges[j], y_edges[i + 1] - y_edges[i]
            axis.add_patch(Rectangle(corner, *size, **(EMPTY if row["state"] == "not certified" else NONE)))
    axis.grid(False)
    axis.set(xlim=(x_edges[0], x_edges[-1]), ylim=(y_edges[0], y_edges[-1]))
    return axis.pcolormesh(x_edges, y_edges, values, norm=norm, cmap=colours, rasterized=True), xs, ys, values


def _edges(centres: np.ndarray) -> np.ndarray:
    """Return the borders (n+1,) of cells around evenly spaced centres (n,)."""
    half = (centres[1] - centres[0]) / 2
    return np.append(centres - half, centres[-1] + half)


def _explain_empty(figure: Figure, rows: Sequence[Row]) -> None:
    """Add a legend of the fillings that occur."""
    from matplotlib.patches import Patch

    states = {row["state"] for row in rows}
    fillings = {
        "none": Patch(label=f"no collapse up to R = {rows[0]['R_max']:,.0f}, certified at each R tried", **NONE),
        "not certified": Patch(label="not certified: losses too close to 0", **EMPTY),
    }
    patches = [patch for state, patch in fillings.items() if state in states]
    if patches:
        figure.legend(handles=patches, loc="outside lower center", ncols=2)
