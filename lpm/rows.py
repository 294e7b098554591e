"""The rows of a sweep, one per solve: solved, written to CSV, summed up in a table."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from lpm.console.errors import NotCertified
from lpm.console.rounding import upward
from lpm.family import Family
from lpm.programs import PROGRAMS
from lpm.solution import TOLERANCE, Solution
from lpm.solve import Solver, solve_all
from lpm.threshold import Threshold


@dataclass(frozen=True, kw_only=True)
class Row:
    """One solve of a sweep, one line of ``sweep.csv``.

    Attributes:
        program: name of the program.
        profile: name of the profile.
        K: number of classes.
        K_A: number of majority classes.
        R: imbalance n_A / n_B.
        lam: mixing ratio, or the name of its law; "-" if nothing is mixed.
        E_H: feature budget; nan under a decay, as E_W.
        E_W: class-vector budget.
        decay: weight decay mu in place of both budgets; nan for budgets.
        loss: f at the certified point.
        objective: what is minimised: the loss for budgets, the loss and mu times the nuclear norm under a decay.
        lower_bound: lower bound on the optimal value.
        upper_bound: upper bound on the optimal value: the loss, and the bound on its rounding.
        gap: bound on the loss less the optimal value: the loss less the lower bound.
        cos_AA: mean cosine between classes of the majority A; nan if there are no two classes, as for the next two.
        cos_AB: mean cosine between the majority A and the minority B.
        cos_BB: mean cosine between classes of the minority B.
        norm_A: mean length of the class vectors of A.
        norm_B: mean length of the class vectors of B.
        collapsed: whether the minority is collapsed; None if undecided at the tolerance ("undecided" in the CSV).
        solver: name of the solver.
        seconds: time that the solve took.
    """

    program: str
    profile: str
    K: int
    K_A: int
    R: float
    lam: str
    E_H: float
    E_W: float
    decay: float
    loss: float
    objective: float
    lower_bound: float
    upper_bound: float
    gap: float
    cos_AA: float
    cos_AB: float
    cos_BB: float
    norm_A: float
    norm_B: float
    collapsed: bool | None
    solver: str
    seconds: float

    @property
    def name(self) -> str:
        """The program with its profile, as tables name it."""
        return PROGRAMS[self.program].label(self.profile)

    @property
    def relative_gap(self) -> float:
        """The gap divided by the objective."""
        return self.gap / self.objective

    def columns(self) -> dict[str, Any]:
        """Give the columns of ``sweep.csv``.

        Returns:
            The fields in their order, and the relative gap behind the gap.
        """
        columns: dict[str, Any] = {}
        for field in fields(self):
            columns[field.name] = getattr(self, field.name)
            if field.name == "gap":
                columns["relative_gap"] = self.relative_gap
        return columns


def solve_row(
    family: Family, R: float, *, solver: Solver = "auto", tolerance: float = TOLERANCE, force: bool = False
) -> Row:
    """Solve one family at one R.

    Args:
        family: the family.
        R: imbalance n_A / n_B.
        solver: as for :func:`lpm.solve.solve`.
        tolerance: largest relative gap that is certified.
        force: lift the size limit of ``sdp``.

    Returns:
        The row.

    Raises:
        NotCertified: as :func:`lpm.solve.solve`.
        InvalidInput: as :func:`lpm.solve.solve`, or if the family does not allow R.
    """
    (row,) = solve_rows([(family, R)], solver=solver, tolerance=tolerance, force=force)
    if isinstance(row, NotCertified):
        raise row
    return row


def solve_rows(
    points: Sequence[tuple[Family, float]],
    *,
    solver: Solver = "auto",
    tolerance: float = TOLERANCE,
    force: bool = False,
) -> list[Row | NotCertified]:
    """Solve many families, each at one R, at once.

    Args:
        points: the families and imbalances.
        solver: as for :func:`lpm.solve.solve`.
        tolerance: largest relative gap that is certified.
        force: lift the size limit of ``sdp``.

    Returns:
        For each point its row, or the error that :func:`solve_row` would raise.

    Raises:
        InvalidInput: as :func:`solve_row`.
    """
    problems = [family.at(R) for family, R in points]
    solutions = solve_all(problems, solver, tolerance=tolerance, force=force)
    return [
        solution if isinstance(solution, NotCertified) else _row(family, R, solution)
        for (family, R), solution in zip(points, solutions, strict=True)
    ]


def _row(family: Family, R: float, s: Solution) -> Row:
    return Row(
        program=family.program,
        profile=family.profile,
        K=family.K,
        K_A=family.majority,
        R=R,
        lam="-" if s.problem.mixing == "none" else s.problem.mixing,
        E_H=family.e_h if family.decay is None else float("nan"),
        E_W=family.e_w if family.decay is None else float("nan"),
        decay=float("nan") if family.decay is None else family.decay,
        loss=s.loss,
        objective=s.objective,
        lower_bound=s.lower_bound,
        upper_bound=s.upper_bound,
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
    """Write rows to a CSV file, one line per solve; floats in full precision.

    Args:
        path: the file.
        rows: the solves, at least one.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(rows[0].columns())
        writer.writerows([_cell(value) for value in row.columns().values()] for row in rows)


def _cell(value: object) -> object:
    if isinstance(value, float):
        return f"{value:.17g}"
    return "undecided" if value is None else value


def write_thresholds(path: Path, families: Sequence[Family], thresholds: dict[str, Threshold]) -> None:
    """Write thresholds to a CSV file, one line per family: R0 and its certified bracket, empty if there is none.

    Args:
        path: the file.
        families: the families, in the order of the lines.
        thresholds: thresholds by the name of their family; families without one get no line.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["program", "profile", "K", "K_A", "lam", "R0", "bracket_low", "bracket_high", "collapsed_above", "seconds"]
        )
        for family in families:
            if (threshold := thresholds.get(family.name)) is not None:
                low, high = threshold.bracket or ("", "")
                lam = family.mixing.label if PROGRAMS[family.program].mixed else "-"
                writer.writerow(
                    [
                        family.program,
                        family.profile,
                        family.K,
                        family.majority,
                        lam,
                        "" if threshold.R0 is None else threshold.R0,
                        low,
                        high,
                        threshold.collapsed_above,
                        threshold.seconds,
                    ]
                )


def summary(rows: Sequence[Row], thresholds: dict[str, Threshold]) -> list[list[str]]:
    """Sum a sweep up: cosines AA/AB/BB at its decades, R0 and the largest relative gap, one row per family.

    Args:
        rows: the solves.
        thresholds: thresholds by the name of their family.

    Returns:
        A table of cells; its first row is the head.
    """
    R = sorted({row.R for row in rows})
    powers = [10.0**n for n in range(-12, 13) if R[0] <= 10.0**n <= R[-1]] or [R[0], R[-1]]
    decades = sorted({min(R, key=lambda r: abs(np.log(r / power))) for power in powers})
    table = [["program", *(f"R = {d:.10g}" for d in decades), "R0", "largest\nrelative\ngap"]]
    for name in dict.fromkeys(row.name for row in rows):
        by_R = {row.R: row for row in rows if row.name == name}
        cells = [_cosines_cell(by_R[d]) if d in by_R else "" for d in decades]
        largest_gap = max(row.relative_gap for row in by_R.values())
        table.append([name, *cells, _threshold_cell(thresholds.get(name)), upward(largest_gap, 1)])
    return table


def _cosines_cell(row: Row) -> str:
    return "\n".join("-" if np.isnan(c) else f"{c:+.3f}" for c in (row.cos_AA, row.cos_AB, row.cos_BB))


def _threshold_cell(threshold: Threshold | None) -> str:
    if threshold is None:
        return "undefined"
    if not threshold.certified:
        return "not certified"
    if threshold.R0 is None:
        return "none" if threshold.state == "no collapse" else f"none,\n{threshold.state}"
    return threshold.text
