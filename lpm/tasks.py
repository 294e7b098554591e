"""The pieces of a sweep: what is to be solved, in which order, and what is known already."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from lpm.console import engines
from lpm.console.errors import NotCertified
from lpm.console.journal import Journal, restored
from lpm.family import Family
from lpm.options import describe
from lpm.rows import Row, solve_row
from lpm.solution import TOLERANCE
from lpm.solve import Solver
from lpm.threshold import Threshold, threshold


@dataclass(frozen=True)
class Refusal:
    """A row that a sweep leaves out.

    Attributes:
        name: the program with its profile.
        R: imbalance n_A / n_B.
        reason: why it was not certified, in one line.
    """

    name: str
    R: float
    reason: str


@dataclass(frozen=True)
class Task:
    """One piece of a sweep.

    Attributes:
        family: the family.
        function: what is asked of it: :func:`lpm.threshold.threshold` or :func:`lpm.rows.solve_row`, with its choices.
    """

    family: Family
    function: partial[Any]

    @cached_property
    def key(self) -> str:
        """A key that stands for the family and all choices."""
        law = self.family.mixing
        words = [describe(self.family), law.nodes.tolist(), law.weights.tolist(), self.function.keywords]
        return hashlib.sha256(json.dumps(words).encode()).hexdigest()[:24]

    def result(self) -> Threshold | Row | Refusal:
        """Solve it.

        Returns:
            The threshold or the row, or the refusal of a row that was not certified.
        """
        try:
            return self.function(self.family)
        except NotCertified as error:
            return Refusal(self.family.name, self.function.keywords["R"], str(error))

    def restored(self, record: Any) -> Threshold | Row | None:
        """Read a result of this task that was kept.

        Args:
            record: the result as it was kept; None for none.

        Returns:
            The result; None if the record is not one of this task.
        """
        R = self.function.keywords.get("R")
        if R is None:
            return restored(Threshold, record)
        row = restored(Row, record)
        return row if row is not None and (row.name, row.R) == (self.family.name, R) else None


def tasks_of(
    families: Sequence[Family],
    R: np.ndarray,
    *,
    solver: Solver = "auto",
    tolerance: float = TOLERANCE,
    force: bool = False,
) -> list[Task]:
    """List the tasks of families on a grid: for each its threshold (if its minority is exchangeable), then one row per R.

    Args:
        families: the families.
        R: imbalances, ascending.
        solver: as for :func:`lpm.solve.solve`.
        tolerance: largest relative gap that is certified.
        force: lift the size limit of ``sdp``.

    Returns:
        The tasks.

    Raises:
        InvalidInput: if a family does not allow it.
    """
    tasks = []
    for family in families:
        if family.at(R[0]).minority is not None:
            tasks.append(Task(family, partial(threshold, R_min=float(R[0]), R_max=float(R[-1]))))
        row = partial(solve_row, solver=solver, tolerance=tolerance, force=force)
        tasks += [Task(family, partial(row, R=float(r))) for r in R]
    return tasks


def solved(
    tasks: Sequence[Task], *, each: engines.Map = map, journal: Journal | None = None
) -> Iterator[tuple[Family, Threshold | Row | Refusal]]:
    """Solve tasks.

    Args:
        tasks: the tasks.
        each: the ``map`` that does the work, for example that of :func:`lpm.console.engines.mapping`.
        journal: keeps each result as it comes. Results that it has are not solved again.

    Yields:
        For each task its family, and its threshold or row, or the refusal of a row that was not certified.

    Raises:
        InvalidInput: if a family or the solver does not allow it.
    """
    known = {} if journal is None else {task.key: task.restored(journal.records.get(task.key)) for task in tasks}
    results = iter(each(Task.result, [task for task in tasks if known.get(task.key) is None]))
    for task in tasks:
        if (result := known.get(task.key)) is not None:
            yield task.family, result
            continue
        result = next(results)
        if journal is not None and not isinstance(result, Refusal):
            journal.add(task.key, asdict(result))
        yield task.family, result
