"""The numbers of the explorer's second view: each method under weight decay with a free bias, and networks beside them.

Ten classes, five frequent (A) and five rare ones (B). By symmetry the centred class vectors have three different
singular values: four times r_A inside A, s_AB between the groups, four times r_B inside B.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from figures.law import BUILDERS, MERGED, NODES, K
from figures.law_runs import read
from figures.style import Row
from lpm.console.errors import InvalidInput, NotCertified
from lpm.console.progress import steps
from lpm.console.rounding import upward
from lpm.cure_rows import CURES, Setting
from lpm.law import collapse_number
from lpm.pairs import imbalanced
from lpm.problem import Problem
from lpm.solution import Solution
from lpm.solve import solve_all

IMBALANCES = (1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0)
"""Positions of the slider of the imbalance; networks were trained at 3, 10, 30 and 120."""

LEAST, MOST = 0.01, 0.4
"""Ends of the slider of the decay: the largest threshold is .316, of balanced classes without mixup."""

NEAR = (0.9, 0.96, 0.99, 0.998)
"""Further points below a threshold, over the threshold: lines end steeply there."""

LEFT_OUT = ("MS a<b", "logit adjustment 1/2", "BMLS", "UniMix without offsets")
"""Cures without a row: the first one has no free bias; the class vectors of the others are those of a cure that has one.

A bias absorbs offsets, so logit adjustment has the class vectors of mixup at every strength, and UniMix those without.
"""

METHODS = tuple(cure.name for cure in CURES if cure.name not in LEFT_OUT)
"""The methods of the list."""

SERIES = {
    "FC": "mixup",
    "MS": "MS",
    "LA": "logit adjustment 1",
    "CW": "class weights",
    "CAS": "CBS/CAS/LOM",
    "BMLS": "BMLS a<b",
    "no-mixup": "no mixup",
    "weight-decay": "mixup",
    "weight-decay-lr": "mixup",
    "weight-decay-batch": "mixup",
    "map-3": "mixup",
    "map-30": "mixup",
    "map-100": "mixup",
    "CIFAR": "mixup",
    "CIFAR-slow": "mixup",
    "CIFAR-slower": "mixup",
    "CIFAR-long": "mixup",
    "CIFAR-LA": "logit adjustment 1",
    "CIFAR-MS": "MS",
    "CIFAR-CW": "class weights",
    "CIFAR-CAS": "CBS/CAS/LOM",
    "CIFAR-BMLS": "BMLS a<b",
}
"""The method of each series of ``benchmarks.law`` that is shown."""


@dataclass(frozen=True)
class Decays:
    """The positions of the sliders.

    Attributes:
        methods: names of methods.
        points: number of decays.
        imbalances: the imbalances.

    Raises:
        InvalidInput: if a method is unknown, or the number is out of range.
    """

    methods: tuple[str, ...] = METHODS
    points: int = 25
    imbalances: tuple[float, ...] = IMBALANCES

    def __post_init__(self) -> None:
        if not 2 <= self.points <= 101:
            raise InvalidInput(f"--decays {self.points} must lie in 2..101")
        if unknown := [name for name in self.methods if name not in METHODS]:
            raise InvalidInput(f"method {unknown[0][:60]!r} is not in the explorer; choose from {', '.join(METHODS)}")

    @property
    def mu(self) -> list[float]:
        """The decays, three digits each, nearly even on a log scale."""
        return [float(f"{mu:.3g}") for mu in np.geomspace(LEAST, MOST, self.points)]


@dataclass(frozen=True, kw_only=True)
class _Curve:
    """A method at an imbalance, before it is solved. numbers: the collapse numbers of A and B; None without the law."""

    method: str
    R: float
    problem: Problem
    numbers: tuple[float, float] | None

    def decays(self, grid: Decays) -> list[float]:
        """The positions of the slider, and points just below the thresholds."""
        thresholds = [math.sqrt(c) for c in self.numbers or ()]
        near = (factor * threshold for threshold in thresholds for factor in NEAR)
        return sorted({*grid.mu, *(mu for mu in near if LEAST < mu < MOST)})


def predicted(grid: Decays, *, quiet: bool) -> list[Row]:
    """Solve every method at every imbalance and decay.

    Args:
        grid: positions of the sliders.
        quiet: whether to show no sign of life.

    Returns:
        One row per optimum, by method, imbalance and decay.

    Raises:
        NotCertified: if an optimum cannot be certified.
    """
    rows: list[Row] = []
    with steps(len(grid.imbalances), quiet=quiet) as step:
        for R in grid.imbalances:  # the methods of one imbalance at once
            curves = [_curve(method, R) for method in grid.methods]
            points = [(curve, mu) for curve in curves for mu in curve.decays(grid)]
            solutions = solve_all([replace(curve.problem, decay=mu, bias=True) for curve, mu in points])
            rows += [_row(curve, mu, solution) for (curve, mu), solution in zip(points, solutions, strict=True)]
            step(f"{len(grid.methods)} methods under weight decay, R = {R:g}")
    order = {method: n for n, method in enumerate(grid.methods)}
    return sorted(rows, key=lambda row: (order[row["method"]], row["R"], row["mu"]))


def _curve(method: str, R: float) -> _Curve:
    problem = BUILDERS[method](Setting(classes=imbalanced(K, K // 2, R), nodes=NODES)).under_decay(1.0)
    if problem.margin is not None:
        return _Curve(method=method, R=R, problem=problem, numbers=None)
    A, B = problem.sides[0][0], problem.sides[1][0]
    numbers = collapse_number(problem, A), collapse_number(problem, B)
    return _Curve(method=method, R=R, problem=problem, numbers=numbers)


def _row(curve: _Curve, mu: float, solution: Solution | NotCertified) -> Row:
    if isinstance(solution, NotCertified):
        raise solution
    gram = solution.gram
    between = float(gram.block[0, 0] + gram.block[1, 1] - 2 * gram.block[0, 1]) / 2
    A, B = (math.sqrt(max(float(value), 0.0)) for value in gram.eigenvalue)
    c_A, c_B = curve.numbers or (math.nan, math.nan)
    return {
        "method": curve.method,
        "R": curve.R,
        "mu": mu,
        "c_A": c_A,
        "c_B": c_B,
        "r_A": A,
        "s_AB": math.sqrt(max(between, 0.0)),
        "r_B": B,
        "collapsed": solution.collapsed,
        "relative_gap": solution.relative_gap,
    }


def networks(path: Path) -> list[Row]:
    """Read the networks that the second view shows.

    Args:
        path: a CSV that ``benchmarks.law`` wrote.

    Returns:
        One row per run, with the singular values of its centred class vectors.

    Raises:
        InvalidInput: if the file is missing, or lacks a column or a number.
    """
    return read(path, _network)


def _network(row: dict[str, str]) -> Row | None:
    if row["series"] not in SERIES:
        return None
    inside = {side: [float(row[f"s{side}{n}"]) for n in range(1, K // 2)] for side in "AB"}
    # The squares of all nine add up to those inside A, inside B and between: they are traces of one Gram matrix.
    squares = {side: math.fsum(value**2 for value in values) for side, values in inside.items()}
    between = math.fsum(float(row[f"s{n}"]) ** 2 for n in range(1, K)) - squares["A"] - squares["B"]
    A, B = (math.sqrt(squares[side] / (K // 2 - 1)) for side in "AB")
    counts = [int(word) for word in row["counts"].split()]
    numbers = {
        "R": counts[0] / counts[-1],
        "mu": float(row["mu"]),
        "r_A": A,
        "s_AB": math.sqrt(max(between, 0.0)),
        "r_B": B,
        "many": float(row["many"]),
        "few": float(row["few"]),
    }
    if not all(math.isfinite(value) for value in numbers.values()):
        raise ValueError("a number is not finite")
    by_balance = row["series"].startswith(("weight-decay", "map-"))
    kind = "CIFAR-10" if row["series"].startswith("CIFAR") else "balance" if by_balance else "penalties"
    spectrum = [*inside["A"], numbers["s_AB"], *inside["B"]]
    return {"method": SERIES[row["series"]], "kind": kind, "seed": int(row["seed"]), **numbers, "spectrum": spectrum}


def document(grid: Decays, rows: list[Row], runs: list[Row]) -> dict[str, Any]:
    """Return the data that the page's script reads.

    Args:
        grid: positions of the sliders.
        rows: rows of :func:`predicted`.
        runs: rows of :func:`networks`.

    Returns:
        Positions of the sliders, one curve per method and imbalance, and the networks of each method.
    """
    curves: dict[str, dict[str, Any]] = {}
    for row in rows:
        known = None if math.isnan(row["c_B"]) else [_short(math.sqrt(row[name])) for name in ("c_A", "c_B")]
        curve = curves.setdefault(f"{row['method']} {row['R']:g}", {"thresholds": known, "mu": [], "gap": 0.0})
        curve["mu"].append(_short(row["mu"]))
        curve["gap"] = max(curve["gap"], row["relative_gap"])
        for name in ("r_A", "s_AB", "r_B"):
            curve.setdefault(name, []).append(_short(row[name]))
        curve.setdefault("collapsed", []).append(row["collapsed"])
    for curve in curves.values():
        curve["gap"] = upward(curve["gap"], 1)
    return {
        "methods": list(grid.methods),
        "R": grid.imbalances,
        "mu": grid.mu,
        "merged": MERGED,
        "curves": curves,
        "networks": [{name: _short(value) for name, value in run.items()} for run in runs],
    }


def _short(value: Any) -> Any:
    """Return a number with five digits, a list of such numbers, and anything else as it is."""
    if isinstance(value, list):
        return [_short(one) for one in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value
