"""Maps of R0, the imbalance at which minority collapse sets in: over lambda and the budget, and over K and K_A, for FC and MS."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from figures.style import DIVERGING, PAGE_WIDTH, SEQUENTIAL, Row
from lpm.family import Family
from lpm.mixing import fixed
from lpm.threshold import threshold

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PROGRAMS = ("fc", "ms")
LAMS = tuple(np.linspace(0.02, 0.5, 11).tolist())
BUDGETS = tuple((5 * 10 ** (np.arange(-5, 5) / 5)).tolist())
CLASSES = tuple(range(4, 13))
R_MAX = 1e6
LEVELS = (2, 3, 5, 10, 30, 100, 1e3, 1e4, 1e5)
FINE, COARSE = (0.6, 0.7, 0.8, 0.9, 0.95, 1.05, 1.1, 1.2, 1.3, 1.4, 1.5, 2), (0.01, 0.03, 0.1, 0.3, 0.7, 1.5, 3, 10)
"""Contours of R0, and of ratios that stay within a factor 4 of 1 or do not; 1 is left out, a whole column of them is 1."""
EMPTY: dict[str, Any] = {"facecolor": "white", "edgecolor": "0.6", "hatch": "/////", "linewidth": 0.0}
"""How a place without a certified number is filled."""
NONE: dict[str, Any] = {"facecolor": "0.85", "linewidth": 0.0}
"""How a cell without a threshold is filled."""


def certified_threshold(family: Family, R_max: float = R_MAX) -> dict[str, Any]:
    """R0 on 1..R_max with its bracket and a state: ``certified``, ``none``, ``throughout`` (collapsed) or ``not certified``.

    Numbers without a proof are nan.
    """
    found = threshold(family, R_max=R_max)
    state = "certified" if found.R0 is not None else "throughout" if found.collapsed_above else "none"
    low, high = found.bracket or (math.nan, math.nan)
    return {
        "R0": found.R0 if found.R0 is not None and found.certified else math.nan,
        "R0_low": low,
        "R0_high": high,
        "state": state if found.certified else "not certified",
    }


def budget_rows(K: int, lams: Sequence[float] = LAMS, budgets: Sequence[float] = BUDGETS) -> list[Row]:
    """R0 over (lambda, E), E = E_H E_W, at K classes, half of them minority; label pairs as mixup draws them.

    R0_ratio: R0 over that at the same E and the last of ``lams``.
    """
    rows: list[Row] = []
    for program in PROGRAMS:
        for E in budgets:
            found = [certified_threshold(Family(program, "product", K, mixing=fixed(lam), e_h=E)) for lam in lams]
            rows += [
                {"program": program, "profile": "product", "K": K, "K_A": K // 2, "lam": lam, "E": E, "R_max": R_MAX}
                | one
                | {"R0_ratio": one["R0"] / found[-1]["R0"]}
                for lam, one in zip(lams, found, strict=True)
            ]
    return rows


def class_rows(classes: Sequence[int] = CLASSES) -> list[Row]:
    """R0 over (K, K_A), K_A = 1..K-2, at lambda = 1/2, E_H = 5, E_W = 1; label pairs as mixup draws them."""
    return [
        {"program": program, "profile": "product", "K": K, "K_A": K_A, "lam": 0.5, "E": 5.0, "R_max": R_MAX}
        | certified_threshold(Family(program, "product", K, K_A=K_A))
        for program in PROGRAMS
        for K in classes
        for K_A in range(1, K - 1)
    ]


def plot_budget(rows: Sequence[Row]) -> Figure:
    """A line of panels a program: R0, and R0 over that at lambda = 1/2 and the same budget."""
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    figure = Figure(figsize=(PAGE_WIDTH, 5.4), layout="constrained")
    figure.suptitle(f"K = {rows[0]['K']}, $K_A$ = {rows[0]['K_A']}, label pairs as mixup draws them", fontsize=8)
    lines = figure.subplots(len(PROGRAMS), 2, sharex=True, sharey=True)
    shared = _log_norm(rows)
    for program, axes in zip(PROGRAMS, lines, strict=True):
        here = [r for r in rows if r["program"] == program]
        furthest = max([1.05, *(max(x, 1 / x) for r in here if (x := r["R0_ratio"]) > 0)])
        _contours(axes[0], here, "R0", shared, LEVELS)
        _contours(axes[1], here, "R0_ratio", LogNorm(1 / furthest, furthest), FINE if furthest < 4 else COARSE)
        axes[0].set_title(f"{program.upper()}: $R_0$")
        axes[1].set_title(f"{program.upper()}: $R_0$ over that at λ = {max(r['lam'] for r in here):g}")
    for program_axes in lines:
        program_axes[0].set_ylabel("budget $E_H E_W$")
    for axis in lines[-1]:
        axis.set_xlabel("mixing ratio λ")
    _explain_empty(figure, rows)
    return figure


def plot_classes(rows: Sequence[Row]) -> Figure:
    """A panel a program: R0 in the cell of (K, K_A)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(PAGE_WIDTH, 3.6), layout="constrained")
    figure.suptitle("λ = 1/2, $E_H$ = 5, $E_W$ = 1, label pairs as mixup draws them", fontsize=8)
    axes = figure.subplots(1, len(PROGRAMS), sharex=True, sharey=True)
    norm = _log_norm(rows)
    for program, axis in zip(PROGRAMS, axes, strict=True):
        here = [r for r in rows if r["program"] == program]
        mesh, K, K_A, _ = _mesh(axis, here, ("K", "K_A", "R0"), norm, SEQUENTIAL)
        for r in here:
            if r["R0"] > 0:
                text = f"{r['R0']:.3g}" if r["R0"] < 1e3 else f"{r['R0']:.1e}".replace("e+0", "e")
                colour = "white" if norm(r["R0"]) < 0.5 else "black"
                axis.text(r["K"], r["K_A"], text, color=colour, fontsize=7, ha="center", va="center")
        axis.set(title=f"{program.upper()}: $R_0$", xlabel="classes K", xticks=K, yticks=K_A)
    axes[0].set_ylabel("majority classes $K_A$")
    figure.colorbar(mesh, ax=list(axes), aspect=25, format="%g")
    _explain_empty(figure, rows)
    return figure


def _log_norm(rows: Sequence[Row]) -> Any:
    """The colours' scale for every R0 of a figure."""
    from matplotlib.colors import LogNorm

    found = [r["R0"] for r in rows if r["R0"] > 0] or [1.0]
    return LogNorm(min(found), max(*found, 1.01 * min(found)))


def _contours(axis: Axes, rows: Sequence[Row], column: str, norm: Any, levels: Sequence[float]) -> None:
    """One map over (lam, E) with labelled contour lines and a colour bar."""
    from matplotlib.patheffects import withStroke

    axis.set_yscale("log")
    axis.yaxis.set_major_formatter("{x:g}")
    colours, ink = (SEQUENTIAL, "white") if column == "R0" else (DIVERGING, "black")
    mesh, lam, E, values = _mesh(axis, rows, ("lam", "E", column), norm, colours)
    if inside := [level for level in levels if (values < level).any() and (values > level).any()]:
        drawn = axis.contour(lam, E, np.log(values), levels=np.log(inside), colors=ink, linewidths=0.7)
        words = {at: f"{level:g}" for at, level in zip(drawn.levels, inside, strict=True)}
        for text in axis.clabel(drawn, fmt=words, fontsize=7):
            text.set_path_effects([withStroke(linewidth=1, foreground="black")] if ink == "white" else [])
    bar = axis.figure.colorbar(mesh, ax=axis, aspect=25, format="%g")
    if norm.vmax < 10 * norm.vmin:  # without a decade to mark
        bar.set_ticks([at for at in (0.6, 0.8, 1, 1.25, 1.6, 2.5, 4) if norm.vmin <= at <= norm.vmax])
        bar.minorticks_off()


def _mesh(
    axis: Axes, rows: Sequence[Row], columns: tuple[str, str, str], norm: Any, colours: str
) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray]:
    """Coloured cells of the third column over the first two, an evenly spaced grid; cells without a number show why.

    Returns the mesh, the sorted coordinates (X,) and (Y,) and the values (Y, X), nan where there is no number.
    """
    from matplotlib.patches import Rectangle

    x, y, value = columns
    xs, ys = (np.unique([r[name] for r in rows]) for name in (x, y))
    right, top = _edges(xs), np.exp(_edges(np.log(ys))) if axis.get_yscale() == "log" else _edges(ys)
    values = np.full((len(ys), len(xs)), np.nan)
    for r in rows:
        i, j = int(np.searchsorted(ys, r[y])), int(np.searchsorted(xs, r[x]))
        values[i, j] = r[value]
        if math.isnan(r[value]):
            corner, size = (right[j], top[i]), (right[j + 1] - right[j], top[i + 1] - top[i])
            axis.add_patch(Rectangle(corner, *size, **(EMPTY if r["state"] == "not certified" else NONE)))
    axis.grid(False)
    axis.set(xlim=(right[0], right[-1]), ylim=(top[0], top[-1]))
    return axis.pcolormesh(right, top, values, norm=norm, cmap=colours, rasterized=True), xs, ys, values


def _edges(centres: np.ndarray) -> np.ndarray:
    """Borders (n+1,) of cells around evenly spaced centres (n,)."""
    half = (centres[1] - centres[0]) / 2
    return np.append(centres - half, centres[-1] + half)


def _explain_empty(figure: Figure, rows: Sequence[Row]) -> None:
    """A legend of the fillings that occur."""
    from matplotlib.patches import Patch

    states = {r["state"] for r in rows}
    fillings = {
        "none": Patch(label=f"no collapse up to R = {rows[0]['R_max']:,.0f}, certified at each R tried", **NONE),
        "not certified": Patch(label="not certified: losses too close to 0", **EMPTY),
    }
    patches = [patch for state, patch in fillings.items() if state in states]
    if patches:
        figure.legend(handles=patches, loc="outside lower center", ncols=2)
