"""The rows of a sweep, a solve each: made, written to CSV, summed up in a table."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

from lpm.family import Family
from lpm.programs import PROGRAMS
from lpm.solution import TOLERANCE
from lpm.solve import Solver, solve
from lpm.threshold import Threshold


@dataclass(frozen=True, kw_only=True)
class Row:
    """One solve. lam: the ratio, or the name of its law. Cosines are means over pairs of classes, nan where there is none."""

    program: str
    profile: str
    K: int
    K_A: int
    R: float
    lam: str
    E_H: float
    E_W: float
    loss: float
    lower_bound: float
    gap: float
    cos_AA: float
    cos_AB: float
    cos_BB: float
    norm_A: float
    norm_B: float
    collapsed: bool
    solver: str
    seconds: float

    @property
    def name(self) -> str:
        """The program with its profile, as tables name it."""
        return PROGRAMS[self.program].label(self.profile)

    @property
    def relative_gap(self) -> float:
        return self.gap / self.loss


def solve_row(
    family: Family, R: float, *, solver: Solver = "auto", tolerance: float = TOLERANCE, force: bool = False
) -> Row:
    """Solve one family at one R. Raises as :func:`lpm.solve.solve`."""
    s = solve(family.at(R), solver, tolerance=tolerance, force=force)
    return Row(
        program=family.program,
        profile=family.profile,
        K=family.K,
        K_A=family.majority,
        R=R,
        lam="-" if s.problem.mixing == "none" else s.problem.mixing,
        E_H=family.e_h,
        E_W=family.e_w,
        loss=s.loss,
        lower_bound=s.lower_bound,
        gap=s.gap,
        cos_AA=s.cosine(0, 0),
        cos_AB=s.cosine(0, 1),
        cos_BB=s.cosine(1, 1),
        norm_A=s.norm(0),
        norm_B=s.norm(1),
        collapsed=s.collapsed,
        solver=s.solver,
        seconds=s.seconds,
    )


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """One line a solve; floats in full precision."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([field.name for field in fields(Row)])
        writer.writerows([f"{v:.17g}" if isinstance(v, float) else v for v in astuple(row)] for row in rows)


def write_thresholds(path: Path, families: Sequence[Family], thresholds: dict[str, Threshold]) -> None:
    """One line a program: R0 and its certified bracket, empty where there is none."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["program", "profile", "K", "K_A", "lam", "R0", "bracket_low", "bracket_high", "collapsed_above", "seconds"]
        )
        for family in families:
            if (found := thresholds.get(family.name)) is not None:
                low, high = found.bracket or ("", "")
                lam = family.mixing.label if PROGRAMS[family.program].mixed else "-"
                writer.writerow(
                    [
                        family.program,
                        family.profile,
                        family.K,
                        family.majority,
                        lam,
                        "" if found.R0 is None else found.R0,
                        low,
                        high,
                        found.collapsed_above,
                        found.seconds,
                    ]
                )


def summary(rows: Sequence[Row], thresholds: dict[str, Threshold]) -> list[list[str]]:
    """A line a program: cosines AA/AB/BB at the sweep's decades, R0 and the largest relative gap; the first line is the head."""
    R = sorted({row.R for row in rows})
    inside = [10.0**n for n in range(-12, 13) if R[0] <= 10.0**n <= R[-1]] or [R[0], R[-1]]
    decades = sorted({min(R, key=lambda r: abs(np.log(r / d))) for d in inside})
    table = [["program", *(f"R = {d:.10g}" for d in decades), "R0", "max gap"]]
    for name in dict.fromkeys(row.name for row in rows):
        here = {row.R: row for row in rows if row.name == name}
        cells = [
            "\n".join("-" if np.isnan(c) else f"{c:+.3f}" for c in (here[d].cos_AA, here[d].cos_AB, here[d].cos_BB))
            if d in here
            else ""
            for d in decades
        ]
        table.append(
            [name, *cells, _threshold_cell(thresholds.get(name)), f"{max(r.relative_gap for r in here.values()):.0e}"]
        )
    return table


def _threshold_cell(found: Threshold | None) -> str:
    if found is None:
        return "undefined"
    if found.R0 is None:
        return "none, always\ncollapsed" if found.collapsed_above else "none"
    return f"{found.R0:.6g}" + ("" if found.collapsed_above else "\n(below)")
