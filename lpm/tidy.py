"""Sweeps and thresholds as tidy rows, for notebooks and data frames: one row per solve, one column per quantity.

```python
rows = sweep_rows([Family("fc", "product"), Family("ms", "block")], R=[1, 10, 100])
frame = rows.frame()  # with pandas
```
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from lpm.console.errors import InvalidInput
from lpm.console.progress import steps
from lpm.console.text import html_table
from lpm.family import Family
from lpm.programs import PROGRAMS
from lpm.rows import Row
from lpm.solution import TOLERANCE
from lpm.solve import Solver
from lpm.tasks import Refusal, Task, solved, tasks_of
from lpm.threshold import Threshold

if TYPE_CHECKING:
    import pandas


class Table(list[dict[str, Any]]):
    """Rows with the same columns, a list of dictionaries; notebooks show it as a table."""

    def frame(self) -> pandas.DataFrame:
        """Make a data frame.

        Returns:
            The rows as a frame of pandas.

        Raises:
            InvalidInput: if pandas is not installed.
        """
        try:
            import pandas
        except ModuleNotFoundError:
            raise InvalidInput("pandas is not installed; pip install pandas brings it") from None
        return pandas.DataFrame(list(self))

    def _repr_html_(self) -> str:
        """The table for notebooks."""
        cells = [[f"{x:.6g}" if isinstance(x, float) else str(x) for x in row.values()] for row in self]
        return html_table(list(self[0]) if self else [], cells)


def sweep_rows(
    families: Family | Iterable[Family],
    R: Sequence[float] | np.ndarray,
    *,
    solver: Solver = "auto",
    tolerance: float = TOLERANCE,
    progress: bool = False,
) -> Table:
    """Solve families at many imbalances.

    Args:
        families: one family, or several.
        R: imbalances n_A / n_B.
        solver: as for :func:`lpm.solve.solve`.
        tolerance: largest relative gap that is certified.
        progress: whether a bar on standard error shows how far it is.

    Returns:
        One row per family and R, in their order, with the columns of :class:`lpm.rows.Row` and ``refused``: why a row is not
        certified, "" where it is. A refused row has its settings, and None for the rest.

    Raises:
        InvalidInput: as :func:`lpm.solve.solve`, or if a family does not allow an R, or there is none.
    """
    several, grid = _several(families), np.asarray(R, dtype=float).ravel()
    if not len(grid):
        raise InvalidInput("R is empty; give the imbalances to solve at, such as R=[1, 10, 100]")
    tasks = [task for task in tasks_of(several, grid, solver=solver, tolerance=tolerance) if task.R is not None]
    results = _results(tasks, progress)
    return Table(_sweep_row(task, result) for task, result in zip(tasks, results, strict=True))


def threshold_rows(
    families: Family | Iterable[Family], *, R_min: float = 1.0, R_max: float = 1e4, progress: bool = False
) -> Table:
    """Find the thresholds R0 of families.

    Args:
        families: one family, or several, each with an exchangeable minority.
        R_min: smallest imbalance of the range.
        R_max: largest imbalance of the range.
        progress: whether a bar on standard error shows how far it is.

    Returns:
        One row per family: its settings, R0 (None if there is none), the ends of its bracket, and whether collapse lies above
        it and is certified.

    Raises:
        InvalidInput: as :func:`lpm.threshold.threshold`.
    """
    tasks = tasks_of(_several(families), np.array([R_min, R_max], dtype=float))
    chosen = [task for task in tasks if task.R is None]
    if len(chosen) * 3 != len(tasks):
        raise InvalidInput("a threshold needs a minority of two exchangeable classes or more; take a smaller K_A")
    return Table(
        _settings(task.family) | _threshold_columns(result)
        for task, result in zip(chosen, _results(chosen, progress), strict=True)
    )


def _several(families: Family | Iterable[Family]) -> list[Family]:
    return [families] if isinstance(families, Family) else list(families)


def _results(tasks: Sequence[Task], progress: bool) -> list[Threshold | Row | Refusal]:
    """The results of tasks without a journal, which come in their order."""
    results = []
    with steps(len(tasks)) if progress else nullcontext(lambda words: None) as step:  # rich is loaded for a bar alone
        for family, result in solved(tasks):
            results.append(result)
            step(family.name)
    return results


def _settings(family: Family) -> dict[str, Any]:
    """The columns that say what was solved, as :class:`lpm.rows.Row` has them."""
    budgets = family.decay is None
    return {
        "program": family.program,
        "profile": family.profile,
        "K": family.K,
        "K_A": family.majority,
        "lam": family.mixing.label if PROGRAMS[family.program].mixed else "-",
        "E_H": family.e_h if budgets else float("nan"),
        "E_W": family.e_w if budgets else float("nan"),
        "decay": float("nan") if family.decay is None else family.decay,
    }


def _sweep_row(task: Task, result: Threshold | Row | Refusal) -> dict[str, Any]:
    if isinstance(result, Row):
        return {**result.columns(), "refused": ""}
    assert isinstance(result, Refusal)
    known = _settings(task.family) | {"R": task.R, "refused": result.reason}
    names = [field.name for field in fields(Row)]
    names.insert(names.index("gap") + 1, "relative_gap")
    return {name: known.get(name) for name in (*names, "refused")}


def _threshold_columns(result: Threshold | Row | Refusal) -> dict[str, Any]:
    assert isinstance(result, Threshold)
    low, high = result.bracket or (None, None)
    return {
        "R0": result.R0,
        "bracket_low": low,
        "bracket_high": high,
        "collapsed_above": result.collapsed_above,
        "certified": result.certified,
        "seconds": result.seconds,
    }
