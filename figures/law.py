"""Networks on the line of the collapse law: ``python -m figures law``.

Lines are the optimum of the penalised program with a free bias, points are trained networks, from the rows that
``python -m benchmarks.law`` writes. Dashed lines are the optimum with what the networks can fit of their labels
(:mod:`lpm.fitted`), measured at the smallest mu of a method. Against mu over the law's threshold: singular values of the class
vectors, accuracies, and the cosine among rare classes.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from figures.law_runs import RUNS, read
from figures.style import PAGE_WIDTH, Row, save
from lpm.console import cli
from lpm.console.errors import InvalidInput
from lpm.cure_rows import CURES, Setting
from lpm.fitted import fitted
from lpm.law import collapse_number
from lpm.pairs import imbalanced
from lpm.solve import solve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

K, IMBALANCE, NODES = 10, 10.0, 8
"""Classes, n_A / n_B, and quadrature nodes of the mixing ratio."""

FIT = ("fit_AB", "fit_A", "fit_B")
"""Columns of the shares of labels that a network can fit."""

Shares = tuple[float, float, float]
"""Such shares, in the order of ``FIT``."""

NESTED = 0.03
"""Excess of a share inside a group that is put down to the unequal sizes of groups."""

MERGED = 0.15
"""A group has collapsed where its r is below this part of the other's."""

NEAR = (0.97, 0.99, 0.998)
"""Further points, where lines end steeply."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A method, one column of the figure.

    Attributes:
        title: its title.
        cure: its name in :data:`lpm.cure_rows.CURES`.
        group: the group whose collapse number is the threshold: 0 frequent, 1 rare classes.
        own: whether directions of the rare classes' own are drawn: where frequent classes keep theirs.
    """

    title: str
    cure: str
    group: int = 1
    own: bool = False


DIGITS = {
    "FC": Panel(title="mixup, FC", cure="mixup", own=True),
    "MS": Panel(title="mixup, MS", cure="MS", own=True),
    "LA": Panel(title="logit adjustment", cure="logit adjustment 1", own=True),
    "CW": Panel(title="class weights", cure="class weights", group=0),
    "CAS": Panel(title="CAS", cure="CBS/CAS/LOM"),
    "BMLS": Panel(title="BMLS, FC", cure="BMLS a<b"),
    "no-mixup": Panel(title="no mixup", cure="no mixup", own=True),
}
"""The methods on the digits by their series in the rows."""

CIFAR = {
    "CIFAR": DIGITS["FC"],
    "CIFAR-slow": replace(DIGITS["FC"], title="mixup, FC, slower"),
    **{
        f"CIFAR-{name}": replace(DIGITS[name], own=DIGITS[name].group == 1)
        for name in ("MS", "LA", "CW", "CAS", "BMLS")
    },
}
"""Those on CIFAR-10. Its rare classes resemble frequent ones, so directions of their own are drawn for balanced methods, too."""

PANELS = DIGITS | CIFAR
FIGURES = {"law": DIGITS, "law-cifar": CIFAR}
"""The methods of each figure, by its file's name."""

BUILDERS = {cure.name: cure.build for cure in CURES}

SIZES = {
    "r_A": ("#0072B2", "s", "frequent classes"),
    "s_AB": ("#8c8c8c", "o", "between"),
    "r_B": ("#D55E00", "D", "rare classes"),
}
"""Colour, marker and label of each singular value: r is the root mean square of a group's own ones."""


def add_options(parser: cli.Parser) -> None:
    """Add the options of the figure.

    Args:
        parser: parser of the command.
    """
    add = parser.group("figure").add_argument
    add("--runs", type=Path, default=RUNS, metavar="FILE", help="CSV of benchmarks.law (default: the committed rows)")
    add("--points", type=int, default=17, help="points of each predicted line, at least 2")


def make(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Solve the lines, read the points, and draw both.

    Args:
        options: parsed options.
        folder: folder for the files.

    Returns:
        The record for the manifest.

    Raises:
        InvalidInput: if the rows cannot be read, or there are too few points.
        NotCertified: if an optimum cannot be certified.
    """
    if not 2 <= options.points <= 1000:
        raise InvalidInput(f"--points {options.points} must lie in 2..1000")
    measured = measured_rows(options.runs)
    names = [name for name in PANELS if any(row["series"] == name for row in measured)]
    if not names:
        raise InvalidInput(f"--runs {str(options.runs)!r} has no runs of {', '.join(PANELS)}")
    rows: list[Row] = []
    for name in names:
        points = [row for row in measured if row["series"] == name]
        start = min(0.45, *(row["ratio"] for row in points))
        ratios = sorted({*np.linspace(start, 1.25, options.points).tolist(), *NEAR})
        rows += predicted_rows(name, ratios)
        # The labels of MS are label pairs, which cannot be fitted in part.
        if PANELS[name].cure != "MS" and (shares := shares_of(points)) is not None:
            rows += predicted_rows(name, ratios, shares)
    for file, panels in FIGURES.items():
        if drawn := [row for row in [*rows, *measured] if row["series"] in panels]:
            save(plot, drawn, folder, file)
    thresholds = {name: threshold(measured, name) for name in names}
    return {"series": names, "runs": len(measured), "points": options.points, "measured_thresholds": thresholds}


def setting() -> Setting:
    """The class counts of the runs: five frequent classes and five rare ones."""
    return Setting(classes=imbalanced(K, K // 2, IMBALANCE), nodes=NODES)


def shares_of(points: Sequence[Row]) -> Shares | None:
    """The shares of the labels that networks fit at the smallest mu.

    Args:
        points: measured rows of one series.

    Returns:
        Means over the seeds: of the mass on A, inside A, inside B. A share inside a group that exceeds that of the group by
        ``NESTED`` or less counts as equal to it; None if one exceeds it by more, which no erasure of labels has.
    """
    least = min(row["ratio"] for row in points)
    runs = [row for row in points if row["ratio"] == least]
    group, *own = (float(np.mean([row[name] for row in runs])) for name in FIT)
    return (group, min(own[0], group), min(own[1], group)) if max(own) <= group + NESTED else None


def threshold(rows: Sequence[Row], name: str) -> float | None:
    """The mu at which networks collapse: the first group's r over the other's, in the mean over seeds, crosses ``MERGED``.

    Args:
        rows: measured rows.
        name: the series.

    Returns:
        mu, interpolated linearly between neighbours of the grid; None without a crossing.
    """
    first, other = ("r_A", "r_B") if PANELS[name].group == 0 else ("r_B", "r_A")
    by_mu: dict[float, list[float]] = {}
    for row in rows:
        if row["series"] == name:
            by_mu.setdefault(row["mu"], []).append(row[first] / row[other])
    points = [(mu, float(np.mean(ratios))) for mu, ratios in sorted(by_mu.items())]
    for (mu, ratio), (next_mu, next_ratio) in pairwise(points):
        if ratio >= MERGED > next_ratio:
            return mu + (ratio - MERGED) / (ratio - next_ratio) * (next_mu - mu)
    return None


def predicted_rows(name: str, ratios: Sequence[float] | np.ndarray, shares: Shares | None = None) -> list[Row]:
    """Solve a method's program at several decays.

    Args:
        name: key of ``PANELS``.
        ratios: mu over the threshold.
        shares: the shares of labels that can be fitted, as :func:`shares_of`; all of them if None.

    Returns:
        One row per decay: the singular values of the centred class vectors, and the cosine among rare classes.
    """
    panel = PANELS[name]
    problem = BUILDERS[panel.cure](setting()).under_decay(1.0)
    root = math.sqrt(collapse_number(problem, panel.group))
    if shares is not None:
        problem = fitted(problem, group=shares[0], own=shares[1:])
    rows: list[Row] = []
    for ratio in ratios:
        solution = solve(replace(problem, decay=float(ratio * root), bias=True))
        gram, half = solution.gram, K // 2
        between = float(gram.block[0, 0] + gram.block[1, 1] - 2 * gram.block[0, 1]) / 2
        frequent, rare = (max(float(value), 0.0) for value in gram.eigenvalue)
        length = between / K + rare * (half - 1) / half  # of a centred class vector of B, squared
        rows.append(
            {
                "series": name,
                "what": "predicted" if shares is None else "fitted",
                "seed": "",
                "mu": ratio * root,
                "ratio": float(ratio),
                "r_A": math.sqrt(frequent),
                "s_AB": math.sqrt(max(between, 0.0)),
                "r_B": math.sqrt(rare),
                "own_B": math.sqrt(rare),
                "many": "",
                "few": "",
                "few_cosine": (between / K - rare / half) / length if length > 1e-9 else math.nan,
                **dict.fromkeys(FIT, ""),
                "relative_gap": solution.relative_gap,
            }
        )
    return rows


def measured_rows(path: Path) -> list[Row]:
    """Read the rows of trained networks.

    Args:
        path: a CSV that ``benchmarks.law`` wrote.

    Returns:
        One row per run of a series that is drawn, with the columns of :func:`predicted_rows`.

    Raises:
        InvalidInput: if the file is missing, or lacks a column or a number.
    """
    return read(path, lambda row: _measured(row) if row["series"] in PANELS else None)


def _measured(row: dict[str, str]) -> Row:
    own = {
        side: math.sqrt(math.fsum(float(row[f"s{side}{n}"]) ** 2 for n in range(1, K // 2)) / (K // 2 - 1))
        for side in "AB"
    }
    # The squares of all nine add up to those inside A, inside B and between: they are traces of one Gram matrix.
    whole = math.fsum(float(row[f"s{n}"]) ** 2 for n in range(1, K))
    between = whole - (K // 2 - 1) * (own["A"] ** 2 + own["B"] ** 2)
    numbers = {name: float(row[name]) for name in ("mu", "ratio", "many", "few", "few_cosine", "shared_B", *FIT)}
    if not all(math.isfinite(value) for value in (*numbers.values(), *own.values(), between)):
        raise ValueError("a number is not finite")
    return {
        "series": row["series"],
        "what": "measured",
        "seed": row["seed"],
        "mu": numbers["mu"],
        "ratio": numbers["ratio"],
        "r_A": own["A"],
        "s_AB": math.sqrt(max(between, 0.0)),
        "r_B": own["B"],
        "own_B": own["B"] * math.sqrt(max(1 - numbers["shared_B"], 0.0)),
        "many": numbers["many"],
        "few": numbers["few"],
        "few_cosine": numbers["few_cosine"],
        **{name: numbers[name] for name in FIT},
        "relative_gap": "",
    }


def plot(rows: Sequence[Row]) -> Figure:
    """Draw predicted lines and measured points.

    Args:
        rows: rows of :func:`predicted_rows` and :func:`measured_rows`.

    Returns:
        The figure: one column per method, three lines of panels.
    """
    from matplotlib.figure import Figure

    names = [name for name in PANELS if any(row["series"] == name for row in rows)]
    figure = Figure(figsize=(max(PAGE_WIDTH, 1.5 * len(names)), 5.2), layout="constrained")
    axes = figure.subplots(3, len(names), squeeze=False, sharex="col", sharey="row")
    for column, name in zip(axes.T, names, strict=True):
        lines, dashed, points = (
            [row for row in rows if (row["series"], row["what"]) == (name, what)]
            for what in ("predicted", "fitted", "measured")
        )
        column[0].set_title(PANELS[name].title, fontsize=8)
        draw = partial(_draw, lines=lines, dashed=dashed, points=points)
        for key, (colour, marker, label) in SIZES.items():
            draw(column[0], key, colour, marker, label)
        if PANELS[name].own:
            _draw_own(column[0], points)
        for key, side in (("many", "r_A"), ("few", "r_B")):
            draw(column[1], key, *SIZES[side][:2], "")
        draw(column[2], "few_cosine", *SIZES["r_B"][:2], "")
        for axis in column:
            axis.axvline(1.0, color="black", lw=0.7, linestyle=":")
            axis.grid(alpha=0.25, lw=0.5)
            axis.tick_params(labelsize=7)
    for axis, label in zip(axes[:, 0], ("singular value", "accuracy (%)", "cosine among rare"), strict=True):
        axis.set_ylabel(label, fontsize=8)
    of_dashes = "dashed: with what is fitted; " * any(row["what"] == "fitted" for row in rows)
    figure.supxlabel(f"decay μ over the threshold of the law (lines: optimum; {of_dashes}points: networks)", fontsize=8)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, fontsize=8, frameon=False)
    return figure


def _draw_own(axis: Axes, points: Sequence[Row]) -> None:
    x, y = [row["ratio"] for row in points], [row["own_B"] for row in points]
    label = "rare classes, on directions of their own"
    axis.plot(
        x, y, "D", color=SIZES["r_B"][0], markersize=4.5, markerfacecolor="none", markeredgewidth=0.7, label=label
    )


def _draw(
    axis: Axes,
    key: str,
    colour: str,
    marker: str,
    label: str,
    *,
    lines: Sequence[Row],
    dashed: Sequence[Row],
    points: Sequence[Row],
) -> None:
    if key not in ("many", "few"):
        axis.plot([row["ratio"] for row in lines], [row[key] for row in lines], color=colour, lw=1.3, label=label)
        axis.plot([row["ratio"] for row in dashed], [row[key] for row in dashed], color=colour, lw=0.9, linestyle="--")
    x, y = [row["ratio"] for row in points], [row[key] for row in points]
    axis.plot(x, y, color=colour, marker=marker, markersize=2.8, linestyle="none", alpha=0.8)
