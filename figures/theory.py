"""The layer-peeled model in pictures: ``python -m figures theory``, or one of them with ``--only theory-sweep``.

theory-sweep              cosines and norms of class vectors against R, every program, with R0
theory-r0-lambda-budget   R0 over (lambda, E_H E_W), FC and MS
theory-r0-classes         R0 over (K, K_A), FC and MS
theory-fc-ms              Gram matrices of FC's and MS's optimum at growing imbalance and at balanced label pairs
theory-gram-cifar10       the same at CIFAR10-LT's counts under each sampler
theory-gram-cifar100      the same for CIFAR100-LT, at lambda = 1/2, where BMLS+MS does not see the order of a label pair

All numbers are certified: a row of a solve carries its relative gap, one of a threshold its bracket.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from figures.style import PAGE_WIDTH, STYLES, Row, save
from figures.theory_gram import fc_ms_cases, gram_rows, plot_gram, sampler_cases
from figures.theory_maps import EMPTY, budget_rows, certified_threshold, class_rows, plot_budget, plot_classes
from lpm import mixing
from lpm.console import cli
from lpm.console.errors import InvalidInput, NotCertified
from lpm.family import Family
from lpm.rows import solve_row
from lpm.sweep import grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SWEPT = (
    *(("plain", ""), ("fc", "block"), ("fc", "product"), ("fc", "balanced")),
    *(("ms-unordered", "product"), ("ms", "block"), ("ms", "product"), ("ms", "balanced")),
    *(("ms-unordered", "balanced"), ("ms-free", "block"), ("ms-free", "product"), ("ms-free", "balanced")),
)
"""Programs and profiles of the sweep, four a line."""
R_MIN, R_MAX, POINTS = 1.0, 1e4, 41
NODES = 16
"""Quadrature nodes of Beta(1, 1) at CIFAR10-LT's counts: cosines are then right to 1e-4."""
MEASURED = ("loss", "cos_AA", "cos_AB", "cos_BB", "norm_A", "norm_B", "collapsed", "relative_gap")
LABELS = {"AA": "cosine AA, norm A", "AB": "cosine AB", "BB": "cosine BB, norm B"}


@dataclass(frozen=True)
class Picture:
    """One of the figures: how its rows are made, and drawn."""

    data: Callable[[], list[Row]]
    plot: Callable[[Sequence[Row]], Figure]


def pictures(K: int, imbalance: float, seed: int) -> dict[str, Picture]:
    """All figures by name. K: classes where no data set says. imbalance: of CIFAR-LT. seed: of one epoch's label pairs."""
    laws = {10: mixing.beta(1.0, NODES), 100: mixing.fixed()}
    words = {10: f"λ ~ Beta(1, 1) on {NODES} nodes", 100: "λ = 1/2"}
    found = {
        "theory-sweep": Picture(partial(sweep_rows, K), plot_sweep),
        "theory-r0-lambda-budget": Picture(partial(budget_rows, K), plot_budget),
        "theory-r0-classes": Picture(class_rows, plot_classes),
        "theory-fc-ms": Picture(
            partial(gram_rows, fc_ms_cases, K),
            partial(
                plot_gram,
                columns=4,
                title=f"K = {K}, $K_A$ = {K // 2}, label pairs as mixup draws them or balanced, λ = 1/2",
                order="majority first",
            ),
        ),
    }
    for classes, law in laws.items():
        found[f"theory-gram-cifar{classes}"] = Picture(
            partial(gram_rows, sampler_cases, classes, imbalance, law, seed),
            partial(
                plot_gram,
                columns=3,
                title=f"CIFAR{classes}-LT, imbalance {imbalance:g}, {words[classes]}; "
                "expected label pairs, or those of one epoch",
                order="most frequent first",
            ),
        )
    return found


def add_options(parser: cli.Parser) -> None:
    """Options of the command."""
    names = pictures(4, 100.0, 0)
    add = parser.add_argument
    add("--only", type=cli.choice(*names), metavar="NAME", help="|".join(names))
    add("--K", type=int, default=4, help="classes, where neither an axis nor a data set says")
    add("--imbalance", type=float, default=100.0, help="of CIFAR10-LT and CIFAR100-LT")
    add("--seed", type=int, default=0, help="of the label pairs of one epoch")


def make(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Solve and draw. Raises InvalidInput for a K that leaves no minority of two or is too large to show."""
    if not 4 <= options.K <= 100:
        raise InvalidInput(f"K = {options.K} must lie in 4..100: two minority classes or more, and a matrix to look at")
    if not 1 <= options.imbalance <= 500:
        raise InvalidInput(f"imbalance = {options.imbalance:g} must lie in 1..500, so that every class keeps an image")
    if options.seed < 0:
        raise InvalidInput(f"seed = {options.seed} must be at least 0")
    from rich.console import Console

    words = {"K": options.K, "imbalance": options.imbalance, "seed": options.seed, "nodes": NODES}
    drawn: dict[str, Any] = {}
    for name, picture in pictures(options.K, options.imbalance, options.seed).items():
        if options.only in (None, name):
            start = time.perf_counter()
            with Console(stderr=True, quiet=options.quiet).status(name):
                rows = picture.data()
            save(picture.plot, rows, folder, name)
            drawn[name] = {**summary(rows), "seconds": round(time.perf_counter() - start, 2)}
    return {**words, "figures": drawn}


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """For the manifest: how many rows, how many of them are not certified, and the widest gap of the others."""
    certified = [r for r in rows if not _not_certified(r)]
    gaps = [r["relative_gap"] for r in certified if "relative_gap" in r]
    widest = {"largest_relative_gap": max(gaps)} if gaps else {}
    return {"rows": len(rows), "not_certified": len(rows) - len(certified), **widest}


def _not_certified(row: Row) -> bool:
    return row.get("state") == "not certified" or math.isnan(row.get("loss", row.get("inner", 0.0)))


def sweep_rows(K: int, points: int = POINTS, programs: Sequence[tuple[str, str]] = SWEPT) -> list[Row]:
    """A row a solve, for each program and R, with the program's R0; lambda = 1/2, E_H = 5, E_W = 1, half the classes minority."""
    rows: list[Row] = []
    for program, profile in programs:
        family = Family(program, profile, K)
        R0 = certified_threshold(family, R_MAX)
        rows += [{**_point(family, float(R)), **R0} for R in grid(R_MIN, R_MAX, points)]
    return rows


def _point(family: Family, R: float) -> dict[str, Any]:
    names = {"program": family.program, "profile": family.profile, "K": family.K, "K_A": family.K // 2, "R": R}
    try:
        row = solve_row(family, R)
    except NotCertified as error:
        return names | dict.fromkeys(MEASURED, math.nan) | {"relative_gap": error.relative_gap}
    return names | {name: getattr(row, name) for name in MEASURED}


def plot_sweep(rows: Sequence[Row]) -> Figure:
    """Four programs a line: cosines of the groups (none with a vector of length 0), below them norms; a vertical line at R0."""
    from matplotlib.figure import Figure

    programs = list(dict.fromkeys((r["program"], r["profile"]) for r in rows))
    lines = -(-len(programs) // 4)
    figure = Figure(figsize=(PAGE_WIDTH, 2.4 * lines + 0.6), layout="constrained")
    K, K_A = rows[0]["K"], rows[0]["K_A"]
    words = "A majority, B minority; for ms-free label pairs inside them"
    figure.suptitle(f"K = {K}, $K_A$ = {K_A}, λ = 1/2, $E_H$ = 5, $E_W$ = 1 ({words})", fontsize=8)
    axes = figure.subplots(2 * lines, 4, sharex=True, sharey="row", height_ratios=[2, 1] * lines)
    longest = max(r[name] for r in rows for name in ("norm_A", "norm_B") if r[name] > 0)
    for i, name in enumerate(programs):
        above, below = axes[2 * (i // 4) : 2 * (i // 4) + 2, i % 4]
        _curves(above, below, [r for r in rows if (r["program"], r["profile"]) == name])
        above.set(xscale="log", ylim=(-1.05, 1.05))
        below.set_ylim(0, 1.08 * longest)
        if i % 4 == 0:
            above.set_ylabel("cosine")
            below.set_ylabel("norm")
    for axis in axes[-1]:
        axis.set_xlabel("R = $n_A / n_B$")
    labelled = [axis.get_legend_handles_labels() for axis in axes[::2].flat]
    handles = {label: handle for pair in labelled for handle, label in zip(*pair, strict=True)}
    figure.legend(handles=list(handles.values()), loc="outside lower center", ncols=len(handles))
    return figure


def _curves(above: Axes, below: Axes, rows: Sequence[Row]) -> None:
    """One program: its cosines and norms over R."""
    first, R = rows[0], [r["R"] for r in rows]
    for pair, label in LABELS.items():
        style: Any = {"color": STYLES[pair].colour, "linestyle": STYLES[pair].dash}
        above.plot(R, [r[f"cos_{pair}"] for r in rows], label=label, **style)
        if pair != "AB":
            below.plot(R, [r[f"norm_{pair[0]}"] for r in rows], **style)
    half = math.sqrt(R[1] / R[0])
    for axis in (above, below):
        if first["R0"] > 0:
            axis.axvline(first["R0"], color="black", linewidth=0.8, linestyle="-.", label="$R_0$")
        for r in rows:
            if math.isnan(r["loss"]):
                axis.axvspan(r["R"] / half, r["R"] * half, label="not certified", **EMPTY)
    words = {"none": "no collapse", "throughout": "collapsed throughout", "not certified": "$R_0$ not certified"}
    above.set_title(f"{first['program']} {first['profile']}".removesuffix(" -"), pad=12)
    above.text(0, 1.04, words.get(first["state"], f"$R_0$ = {first['R0']:.5g}"), transform=above.transAxes, fontsize=7)
