"""What the explorer shows, solved beforehand: a row a certified optimum, a row a threshold."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from lpm.console.errors import InvalidInput
from lpm.family import Family
from lpm.mixing import Mixing, beta, fixed
from lpm.solution import Solution
from lpm.solve import solve
from lpm.threshold import threshold

R_MAX = 1e4

PROFILES = {
    "plain": ("",),
    "fc": ("block", "product", "balanced", "distinct"),
    "ms": ("block", "product", "balanced", "distinct"),
    "ms-free": (
        "block",
        "product",
        "balanced",
    ),  # under 'distinct' the pairs (a, a) would have class vectors of length 0
}
MIXES = ("fc", "ms")
"""Programs that lambda enters."""

COUNTED = ("", "block", "product")
"""Profiles whose frequencies depend on the class counts, and so on R; '' is the plain program's."""

AXES = np.array([[1, 1, -1, -1], [math.sqrt(2), -math.sqrt(2), 0, 0], [0, 0, math.sqrt(2), -math.sqrt(2)]]).T / 2
"""Orthonormal basis (4, 3) of the sum-zero space of K = 4 classes, two of them minority: majority against minority, inside
the majority, inside the minority. By symmetry it diagonalises every optimal Gram matrix, whose kernel contains 1."""

SHORTEST = 1e-5
"""Cosines of a class vector shorter than this share of the longest are left out: cosines are known no better than that."""


@dataclass(frozen=True)
class Grid:
    """What the sliders offer. K: even. lams: fixed mixing ratios; Beta(1, 1) comes last. points: imbalances in 1..1e4."""

    K: tuple[int, ...] = (4, 6, 10, 100)
    lams: tuple[float, ...] = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
    points: int = 41
    programs: tuple[str, ...] = tuple(PROFILES)

    def __post_init__(self) -> None:
        if odd := [K for K in self.K if K < 4 or K % 2]:
            raise InvalidInput(f"K = {odd[0]} must be even and at least 4: half of the classes are the minority")
        if not 2 <= self.points <= 201:
            raise InvalidInput(f"points = {self.points} must lie in 2..201 imbalances")
        if unknown := [p for p in self.programs if p not in PROFILES]:
            raise InvalidInput(f"program {unknown[0]!r} is not in the explorer; choose from {', '.join(PROFILES)}")

    @property
    def R(self) -> list[float]:
        """The imbalances, evenly spread on a log scale."""
        return [float(R) for R in np.geomspace(1.0, R_MAX, self.points)]

    @property
    def laws(self) -> list[Mixing]:
        """The laws of the mixing ratio."""
        return [*(fixed(lam) for lam in self.lams), beta(1.0)]

    def families(self) -> Iterator[Family]:
        """Every program, profile, K and law of lambda; programs without lambda once."""
        for program in self.programs:
            for profile in PROFILES[program]:
                for K in self.K:
                    for law in self.laws if program in MIXES else [fixed()]:
                        yield Family(program, profile, K, mixing=law)


def depends_on_R(family: Family) -> bool:
    """Whether the imbalance changes the program; balanced label pairs do not see it."""
    return family.program == "plain" or family.profile in COUNTED


def optima(grid: Grid) -> list[dict[str, Any]]:
    """A row a solve. Where R does not enter there is one row, at R = 1. Raises NotCertified as :func:`lpm.solve.solve`."""
    return [_row(f, R) for f in grid.families() for R in (grid.R if depends_on_R(f) else grid.R[:1])]


def thresholds(grid: Grid) -> list[dict[str, Any]]:
    """A row a family: R0 in 1..1e4 and its certified bracket, nan where there is none."""
    return [_threshold(family) for family in grid.families()]


def _names(family: Family) -> dict[str, Any]:
    lam = family.mixing.label if family.program in MIXES else "-"
    return {"program": family.program, "profile": family.profile, "K": family.K, "K_A": family.K // 2, "lam": lam}


def _threshold(family: Family) -> dict[str, Any]:
    # One program for all R is settled by a short range.
    found = threshold(family, R_max=R_MAX if depends_on_R(family) else 2.0)
    low, high = found.bracket or (math.nan, math.nan)
    return _names(family) | {
        "R0": math.nan if found.R0 is None else found.R0,
        "bracket_low": low,
        "bracket_high": high,
        "collapsed_above": found.collapsed_above,
        "certified": found.certified,
    }


def _row(family: Family, R: float) -> dict[str, Any]:
    found = solve(family.at(R))
    return (
        _names(family)
        | {
            "R": R,
            "loss": found.loss,
            "relative_gap": found.relative_gap,
            "collapsed": found.collapsed,
        }
        | _geometry(found)
    )


def _geometry(solution: Solution) -> dict[str, float]:
    """Cosines and norms of the groups A, B and, with label pairs as classes, C: the pairs across; for K = 4 the sigma.

    sigma_AB, sigma_A, sigma_B are the singular values of W: W W^T = AXES diag(sigma^2) AXES^T. Collapse is sigma_B = 0.
    """
    gram = solution.gram
    norms, cosines = gram.norms, gram.group_cosines
    where = {"A": 0, "B": len(norms) - 1} | ({"C": 1} if len(norms) == 3 else {})
    seen = norms > SHORTEST * norms.max()

    def cosine(g: str, h: str) -> float:
        if not {g, h} <= set(where):
            return math.nan
        both = seen[where[g]] and seen[where[h]]
        return float(cosines[where[g], where[h]]) if both else math.nan

    row = {f"cos_{g}{h}": cosine(g, h) for g, h in ("AA", "AB", "BB", "AC", "BC", "CC")}
    row |= {f"norm_{g}": float(norms[where[g]]) if g in where else math.nan for g in "ABC"}
    sigma = np.full(3, math.nan)
    if solution.problem.K == 4 and len(norms) == 2:
        full = gram.matrix(solution.problem.members)
        sigma = np.sqrt(np.maximum(np.diag(AXES.T @ full @ AXES), 0.0))
    return row | {name: float(s) for name, s in zip(("sigma_AB", "sigma_A", "sigma_B"), sigma, strict=True)}
