"""The numbers of the explorer, solved beforehand: one row per certified optimum, and one row per threshold."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import lpm.solve
import lpm.threshold
from lpm.console.errors import InvalidInput, NotCertified, check_within
from lpm.console.progress import steps
from lpm.family import Family
from lpm.mixing import Mixing, beta, fixed
from lpm.solution import Solution
from lpm.threshold import Threshold

R_MAX = 1e4
"""Largest imbalance of the slider."""

PROFILES = {
    "plain": ("",),
    "fc": ("block", "product", "balanced", "distinct"),
    "ms": ("block", "product", "balanced", "distinct"),
    "ms-free": ("block", "product", "balanced"),
}
"""Profiles of each program; '' is the plain program's, which has no label pairs.

ms-free has no 'distinct', under which the label pairs (a, a) would have class vectors of length 0.
"""
MIXES = ("fc", "ms")
"""Programs that depend on lambda."""

COUNTED = ("", "block", "product")
"""Profiles whose frequencies depend on the class counts, and so on R."""

AXES = np.array([[1, 1, -1, -1], [math.sqrt(2), -math.sqrt(2), 0, 0], [0, 0, math.sqrt(2), -math.sqrt(2)]]).T / 2
"""Orthonormal basis (4, 3) of the sum-zero space of K = 4 classes, two of them minority.

The columns are majority against minority, inside the majority, and inside the minority. By symmetry the basis
diagonalises every optimal Gram matrix, whose kernel contains the vector of ones.
"""

TOGETHER = 128
"""Number of families that are solved at once. With 32 the explorer's data takes a quarter longer."""

SHORTEST = 1e-5
"""Cosines of a class vector shorter than this share of the longest are left out, because they are rounding errors."""


@dataclass(frozen=True)
class Grid:
    """The positions of the sliders.

    Attributes:
        K: numbers of classes, even.
        lams: fixed mixing ratios; Beta(1, 1) comes after them.
        points: number of imbalances in 1..1e4.
        programs: programs to offer.
        decay: weight decay mu in place of the budgets; None for these.

    Raises:
        InvalidInput: if a K is odd or below 4, points is out of range, or a program is unknown.
    """

    K: tuple[int, ...] = (4, 6, 10, 100)
    lams: tuple[float, ...] = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
    points: int = 41
    programs: tuple[str, ...] = tuple(PROFILES)
    decay: float | None = None

    def __post_init__(self) -> None:
        if odd := [K for K in self.K if K < 4 or K % 2]:
            raise InvalidInput(f"K = {odd[0]} must be even and at least 4: half of the classes are the minority")
        if not 2 <= self.points <= 201:
            raise InvalidInput(f"points = {self.points} must lie in 2..201 imbalances")
        if self.decay is not None:
            check_within("decay", self.decay, 1e-6, 10.0)
        if unknown := [p for p in self.programs if p not in PROFILES]:
            raise InvalidInput(f"program {unknown[0]!r} is not in the explorer; choose from {', '.join(PROFILES)}")

    @property
    def R(self) -> list[float]:
        """The imbalances, evenly spaced on a log scale."""
        return [float(R) for R in np.geomspace(1.0, R_MAX, self.points)]

    @property
    def laws(self) -> list[Mixing]:
        """The laws of the mixing ratio."""
        return [*(fixed(lam) for lam in self.lams), beta(1.0)]

    def families(self) -> Iterator[Family]:
        """Return every program, profile, K and law of lambda; programs without lambda have one law.

        Yields:
            The families.
        """
        for program in self.programs:
            for profile in PROFILES[program]:
                for K in self.K:
                    for law in self.laws if program in MIXES else [fixed()]:
                        yield Family(program, profile, K, mixing=law, decay=self.decay)


def depends_on_R(family: Family) -> bool:
    """Return whether the imbalance changes the program; balanced label pairs do not depend on it.

    Args:
        family: a program, profile and K.

    Returns:
        Whether R matters.
    """
    return family.program == "plain" or family.profile in COUNTED


def imbalances(grid: Grid, family: Family) -> list[float]:
    """List the imbalances at which a family is solved.

    Args:
        grid: positions of the sliders.
        family: a family of the grid.

    Returns:
        Those of the grid; R = 1 alone for a family that does not depend on R.
    """
    return grid.R if depends_on_R(family) else grid.R[:1]


def optima(grid: Grid) -> list[dict[str, Any]]:
    """Solve every family of the grid.

    Args:
        grid: positions of the sliders.

    Returns:
        One row per family and R.

    Raises:
        NotCertified: if an optimum cannot be certified.
    """
    return _optima(grid, list(grid.families()))


def thresholds(grid: Grid) -> list[dict[str, Any]]:
    """Find R0 in 1..1e4 for every family of the grid.

    Args:
        grid: positions of the sliders.

    Returns:
        One row per family, with R0 and its certified bracket, nan where there is none.
    """
    return _thresholds(list(grid.families()))


def solve_all(grid: Grid, *, quiet: bool) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Find all rows, with a sign of life after each.

    Args:
        grid: positions of the sliders.
        quiet: whether to show nothing.

    Returns:
        The rows of :func:`optima`, and those of :func:`thresholds`.

    Raises:
        NotCertified: if an optimum cannot be certified.
    """
    optimum_rows, threshold_rows, families = [], [], list(grid.families())
    with steps(sum(1 + len(imbalances(grid, family)) for family in families), quiet=quiet) as step:
        for first in range(0, len(families), TOGETHER):
            some = families[first : first + TOGETHER]
            threshold_rows += _thresholds(some)
            optimum_rows += _optima(grid, some)
            for family in some:
                for _ in range(1 + len(imbalances(grid, family))):
                    step(f"{family.name}, K = {family.K}")
    return optimum_rows, threshold_rows


def _names(family: Family) -> dict[str, Any]:
    lam = family.mixing.label if family.program in MIXES else "-"
    return {"program": family.program, "profile": family.profile, "K": family.K, "K_A": family.K // 2, "lam": lam}


def _thresholds(families: Sequence[Family]) -> list[dict[str, Any]]:
    """The rows of :func:`thresholds` for some families."""
    results: dict[int, Threshold] = {}
    for R_max in (R_MAX, 2.0):  # a short range is enough for a family that is one program for all R
        some = [n for n, family in enumerate(families) if (R_MAX if depends_on_R(family) else 2.0) == R_max]
        results |= dict(zip(some, lpm.threshold.thresholds([families[n] for n in some], R_max=R_max), strict=True))
    return [_threshold(family, results[n]) for n, family in enumerate(families)]


def _threshold(family: Family, result: Threshold) -> dict[str, Any]:
    low, high = result.bracket or (math.nan, math.nan)
    return _names(family) | {
        "R0": math.nan if result.R0 is None else result.R0,
        "bracket_low": low,
        "bracket_high": high,
        "collapsed_above": result.collapsed_above,
        "certified": result.certified,
    }


def _optima(grid: Grid, families: Sequence[Family]) -> list[dict[str, Any]]:
    """The rows of :func:`optima` for some families. Raises NotCertified."""
    points = [(family, R) for family in families for R in imbalances(grid, family)]
    solutions = lpm.solve.solve_all([family.at(R) for family, R in points])
    return [_row(family, R, solution) for (family, R), solution in zip(points, solutions, strict=True)]


def _row(family: Family, R: float, solution: Solution | NotCertified) -> dict[str, Any]:
    if isinstance(solution, NotCertified):
        raise solution
    numbers = {
        "R": R,
        "loss": solution.loss,
        "relative_gap": solution.relative_gap,
        "collapsed": solution.collapsed,
    }
    return _names(family) | numbers | _geometry(solution)


def _geometry(solution: Solution) -> dict[str, float]:
    """Return cosines and norms of the groups A and B, and for K = 4 the sigma.

    With label pairs as classes there is a third group, C: the label pairs across. sigma_AB, sigma_A, sigma_B are the
    singular values of W: W W^T = AXES diag(sigma^2) AXES^T. Collapse is sigma_B = 0.
    """
    gram = solution.gram
    norms, cosines = gram.norms, gram.group_cosines
    index = {"A": 0, "B": len(norms) - 1} | ({"C": 1} if len(norms) == 3 else {})
    has_cosine = norms > SHORTEST * norms.max()

    def cosine(g: str, h: str) -> float:
        if g not in index or h not in index or not (has_cosine[index[g]] and has_cosine[index[h]]):
            return math.nan
        return float(cosines[index[g], index[h]])

    row = {f"cos_{g}{h}": cosine(g, h) for g, h in ("AA", "AB", "BB", "AC", "BC", "CC")}
    row |= {f"norm_{g}": float(norms[index[g]]) if g in index else math.nan for g in "ABC"}
    sigma = np.full(3, math.nan)
    if solution.problem.K == 4 and len(norms) == 2:
        full = gram.matrix(solution.problem.members)
        sigma = np.sqrt(np.maximum(np.diag(AXES.T @ full @ AXES), 0.0))
    return row | {name: float(s) for name, s in zip(("sigma_AB", "sigma_A", "sigma_B"), sigma, strict=True)}
