"""The layer-peeled model in pictures: ``python -m figures theory``, or one of them with ``--only theory-sweep``.

theory-sweep              cosines and norms of class vectors against R, every program, with R0
theory-r0-lambda-budget   R0 over (lambda, E_H E_W), or over (lambda, mu) under --decay, FC and MS
theory-r0-classes         R0 over (K, K_A), FC and MS
theory-fc-ms              Gram matrices of FC's and MS's optimum at growing imbalance and at balanced label pairs
theory-gram-cifar10       the same at CIFAR10-LT's counts under each sampler
theory-gram-cifar100      the same for CIFAR100-LT, at lambda = 1/2, where BMLS+MS ignores the order of a label pair

All numbers are certified: a row of a solve has its relative gap, and a row of a threshold its bracket.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from figures.style import PAGE_WIDTH, STYLES, Row, save
from figures.theory_gram import fc_ms_cases, gram_rows, plot_gram, sampler_cases
from figures.theory_maps import (
    EMPTY,
    budget_rows,
    certified_thresholds,
    class_rows,
    plot_budget,
    plot_classes,
    settings,
)
from lpm import mixing
from lpm.console import cli
from lpm.console.errors import InvalidInput, NotCertified, check_within
from lpm.console.progress import console
from lpm.console.rounding import certain
from lpm.family import Family
from lpm.rows import Row as SolvedRow
from lpm.rows import solve_rows
from lpm.sweep import grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SWEPT = (
    ("plain", ""),
    ("fc", "block"),
    ("fc", "product"),
    ("fc", "balanced"),
    ("ms-unordered", "product"),
    ("ms", "block"),
    ("ms", "product"),
    ("ms", "balanced"),
    ("ms-unordered", "balanced"),
    ("ms-free", "block"),
    ("ms-free", "product"),
    ("ms-free", "balanced"),
)
"""Programs and profiles of the sweep, in the order of their panels."""
COLUMNS = 4
"""Panels in a line of the sweep."""
R_MIN, R_MAX, POINTS = 1.0, 1e4, 41
"""Range and number of imbalances of the sweep."""
NODES = 16
"""Quadrature nodes of Beta(1, 1) at CIFAR10-LT's counts: cosines are then right to 1e-4."""
MEASURED = ("loss", "cos_AA", "cos_AB", "cos_BB", "norm_A", "norm_B", "collapsed", "relative_gap")
"""Columns of a solve."""
LABELS = {"AA": "cosine AA, norm A", "AB": "cosine AB", "BB": "cosine BB, norm B"}
"""Curves of the sweep by pair of groups."""


@dataclass(frozen=True)
class Picture:
    """One of the pictures.

    Attributes:
        data: makes its rows.
        plot: draws the rows.
    """

    data: Callable[[], list[Row]]
    plot: Callable[[Sequence[Row]], Figure]


def pictures(K: int, imbalance: float, seed: int, decay: float | None = None) -> dict[str, Picture]:
    """Return all pictures.

    Args:
        K: number of classes, where neither an axis nor a data set gives it.
        imbalance: imbalance factor of CIFAR10-LT and CIFAR100-LT.
        seed: seed of the label pairs of one epoch.
        decay: weight decay mu in place of the budgets; None for these.

    Returns:
        The pictures by name.
    """
    named = {
        "theory-sweep": Picture(data=partial(sweep_rows, K, decay), plot=plot_sweep),
        "theory-r0-lambda-budget": Picture(data=partial(budget_rows, K, decay), plot=plot_budget),
        "theory-r0-classes": Picture(data=partial(class_rows, decay), plot=plot_classes),
        "theory-fc-ms": Picture(
            data=partial(gram_rows, decay, fc_ms_cases, K),
            plot=partial(
                plot_gram,
                columns=4,
                title=f"K = {K}, $K_A$ = {K // 2}, label pairs as mixup draws them or balanced, λ = 1/2, {settings(decay)}",
                order="majority first",
            ),
        ),
    }
    laws = {10: mixing.beta(1.0, NODES), 100: mixing.fixed()}
    law_texts = {10: f"λ ~ Beta(1, 1) on {NODES} nodes", 100: "λ = 1/2"}
    for classes, law in laws.items():
        named[f"theory-gram-cifar{classes}"] = Picture(
            data=partial(gram_rows, decay, sampler_cases, classes, imbalance, law, seed),
            plot=partial(
                plot_gram,
                columns=3,
                title=f"CIFAR{classes}-LT, imbalance {imbalance:g}, {law_texts[classes]}, {settings(decay)}; "
                "expected label pairs, or those of one epoch",
                order="most frequent first",
            ),
        )
    return named


def add_options(parser: cli.Parser) -> None:
    """Add the options of the command.

    Args:
        parser: parser of the command.
    """
    names = pictures(4, 100.0, 0)
    add = parser.group("figure").add_argument
    add(
        "--only",
        type=cli.choice(*names),
        metavar="NAME",
        help="|".join(names) + ": draw this picture only (default: all)",
    )
    add("--K", type=int, default=4, help="number of classes, where neither an axis nor a data set gives it")
    add("--imbalance", type=float, default=100.0, help="imbalance factor of CIFAR10-LT and CIFAR100-LT")
    add("--seed", type=int, default=0, help="seed of the label pairs of one epoch")
    add("--decay", type=float, metavar="MU", help="weight decay in place of the budgets (default: budgets)")


def make(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Solve and draw.

    Args:
        options: parsed options.
        folder: folder for the files.

    Returns:
        The record for the manifest.

    Raises:
        InvalidInput: if K leaves no minority of two classes or is too large to draw, or another option is out of range.
    """
    if not 4 <= options.K <= 100:
        raise InvalidInput(f"K = {options.K} must lie in 4..100: two minority classes, and legible matrices")
    if not 1 <= options.imbalance <= 500:
        raise InvalidInput(f"imbalance = {options.imbalance:g} must lie in 1..500, so that every class keeps an image")
    if options.decay is not None:
        check_within("decay", options.decay, 1e-6, 10.0)
    if options.seed < 0:
        raise InvalidInput(f"seed = {options.seed} must be at least 0")
    drawn: dict[str, Any] = {}
    for name, picture in pictures(options.K, options.imbalance, options.seed, options.decay).items():
        if options.only in (None, name):
            start = time.perf_counter()
            with contextlib.nullcontext() if options.quiet else console().status(name):
                rows = picture.data()
            save(picture.plot, rows, folder, name)
            drawn[name] = {**summary(rows), "seconds": round(time.perf_counter() - start, 2)}
    asked = {"K": options.K, "imbalance": options.imbalance, "seed": options.seed, "decay": options.decay}
    return asked | {"nodes": NODES, "figures": drawn}


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Summarise the rows of a picture for the manifest.

    Args:
        rows: rows of the picture.

    Returns:
        The number of rows, the number of uncertified ones, and the largest relative gap of the others.
    """
    certified = [row for row in rows if not _not_certified(row)]
    gaps = [row["relative_gap"] for row in certified if "relative_gap" in row]
    largest = {"largest_relative_gap": max(gaps)} if gaps else {}
    return {"rows": len(rows), "not_certified": len(rows) - len(certified), **largest}


def _not_certified(row: Row) -> bool:
    return row.get("state") == "not certified" or math.isnan(row.get("loss", row.get("inner", 0.0)))


def sweep_rows(
    K: int, decay: float | None = None, points: int = POINTS, programs: Sequence[tuple[str, str]] = SWEPT
) -> list[Row]:
    """Solve programs over R, at lambda = 1/2, E_H = 5, E_W = 1 and half of the classes minority.

    Args:
        K: number of classes.
        decay: weight decay mu in place of the budgets; None for these.
        points: number of imbalances.
        programs: programs and profiles.

    Returns:
        One row per program and R, with the program's R0. A solve that is not certified has nan for numbers.
    """
    families = [Family(program, profile, K, decay=decay) for program, profile in programs]
    R0 = certified_thresholds(families, R_MAX)
    places = [(n, float(R)) for n in range(len(families)) for R in grid(R_MIN, R_MAX, points)]
    solved = solve_rows([(families[n], R) for n, R in places])
    return [{**_point(families[n], R, row), **R0[n]} for (n, R), row in zip(places, solved, strict=True)]


def _point(family: Family, R: float, row: SolvedRow | NotCertified) -> dict[str, Any]:
    names = {"program": family.program, "profile": family.profile, "K": family.K, "K_A": family.K // 2, "R": R}
    if family.decay is not None:
        names["mu"] = family.decay
    if isinstance(row, NotCertified):
        return names | dict.fromkeys(MEASURED, math.nan) | {"relative_gap": row.relative_gap}
    return names | {name: getattr(row, name) for name in MEASURED}


def plot_sweep(rows: Sequence[Row]) -> Figure:
    """Draw the sweep: for each program the cosines of the groups, below them norms, and a vertical line at R0.

    A vector of length 0 has no cosine.

    Args:
        rows: rows of :func:`sweep_rows`.

    Returns:
        The figure, ``COLUMNS`` programs in a line.
    """
    from matplotlib.figure import Figure

    programs = list(dict.fromkeys((row["program"], row["profile"]) for row in rows))
    lines = math.ceil(len(programs) / COLUMNS)
    figure = Figure(figsize=(PAGE_WIDTH, 2.4 * lines + 0.6), layout="constrained")
    K, K_A = rows[0]["K"], rows[0]["K_A"]
    groups = "A majority, B minority; for ms-free label pairs inside them"
    figure.suptitle(f"K = {K}, $K_A$ = {K_A}, λ = 1/2, {settings(rows[0].get('mu'))} ({groups})", fontsize=8)
    axes = figure.subplots(2 * lines, COLUMNS, sharex=True, sharey="row", height_ratios=[2, 1] * lines)
    longest = max(row[name] for row in rows for name in ("norm_A", "norm_B") if row[name] > 0)
    for number, name in enumerate(programs):
        line, column = divmod(number, COLUMNS)
        above, below = axes[2 * line, column], axes[2 * line + 1, column]
        _curves(above, below, [row for row in rows if (row["program"], row["profile"]) == name])
        above.set(xscale="log", ylim=(-1.05, 1.05))
        below.set_ylim(0, 1.08 * longest)
        if column == 0:
            above.set_ylabel("cosine")
            below.set_ylabel("norm")
    for axis in axes[-1]:
        axis.set_xlabel("R = $n_A / n_B$")
    handles: dict[str, Any] = {}  # one per label, though all panels have them
    for axis in axes[::2].flat:
        axis_handles, labels = axis.get_legend_handles_labels()
        handles |= dict(zip(labels, axis_handles, strict=True))
    figure.legend(handles=list(handles.values()), loc="outside lower center", ncols=len(handles))
    return figure


def _curves(above: Axes, below: Axes, rows: Sequence[Row]) -> None:
    """Draw the cosines and norms of one program over R."""
    first, R = rows[0], [row["R"] for row in rows]
    for groups, label in LABELS.items():
        style: Any = {"color": STYLES[groups].colour, "linestyle": STYLES[groups].dash}
        above.plot(R, [row[f"cos_{groups}"] for row in rows], label=label, **style)
        if groups != "AB":
            below.plot(R, [row[f"norm_{groups[0]}"] for row in rows], **style)
    half_step = math.sqrt(R[1] / R[0])  # on the log scale
    for axis in (above, below):
        if first["R0"] > 0:
            axis.axvline(first["R0"], color="black", linewidth=0.8, linestyle="-.", label="$R_0$")
        for row in rows:
            if math.isnan(row["loss"]):
                axis.axvspan(row["R"] / half_step, row["R"] * half_step, label="not certified", **EMPTY)
    states = {"none": "no collapse", "throughout": "collapsed throughout", "not certified": "$R_0$ not certified"}
    above.set_title(f"{first['program']} {first['profile']}".removesuffix(" -"), pad=12)
    text = states.get(first["state"]) or f"$R_0$ = {certain(first['R0_low'], first['R0_high'], 5)}"
    above.text(0, 1.04, text, transform=above.transAxes, fontsize=7)
