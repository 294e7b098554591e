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
from lpm.rows import Row, solve_row, solve_rows
from lpm.solution import TOLERANCE
from lpm.solve import Solver, choose
from lpm.threshold import Threshold, threshold, thresholds

BATCH = 128
"""Largest number of tasks that are solved at once. A batch takes a fraction of a second, and is lost as a whole where a
sweep is killed."""


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

    @property
    def R(self) -> float | None:
        """The imbalance of a row; None for a threshold."""
        return self.function.keywords.get("R")

    def restored(self, record: Any) -> Threshold | Row | None:
        """Read a result of this task that was kept.

        Args:
            record: the result as it was kept; None for none.

        Returns:
            The result; None if the record is not one of this task.
        """
        if self.R is None:
            return restored(Threshold, record)
        row = restored(Row, record)
        return row if row is not None and (row.name, row.R) == (self.family.name, self.R) else None


def results_of(tasks: Sequence[Task]) -> list[Threshold | Row | Refusal]:
    """Solve a batch.

    Args:
        tasks: thresholds alone or rows alone, with the same choices.

    Returns:
        For each task its threshold or row, or the refusal of a row that was not certified.
    """
    choices = {name: value for name, value in tasks[0].function.keywords.items() if name != "R"}
    if tasks[0].R is None:
        return list(thresholds([task.family for task in tasks], **choices))
    points = [(task.family, task.function.keywords["R"]) for task in tasks]
    rows = solve_rows(points, **choices)
    return [
        Refusal(family.name, R, str(row)) if isinstance(row, NotCertified) else row
        for (family, R), row in zip(points, rows, strict=True)
    ]


def batches(tasks: Sequence[Task]) -> list[list[Task]]:
    """Put tasks into batches that are solved at once: thresholds first, then rows in their order.

    Args:
        tasks: the tasks.

    Returns:
        The batches. Rows whose solver does not take many at once, and so may be slow, are batches of one.
    """
    alone: dict[str, bool] = {}
    parts: list[list[Task]] = []
    for task in sorted(tasks, key=lambda task: task.R is not None):
        name = task.family.name
        if task.R is not None and name not in alone:
            solver = task.function.keywords["solver"]
            alone[name] = (choose(task.family.at(task.R)) if solver == "auto" else solver) != "orbits"
        last = parts[-1] if parts else []
        alike = bool(last) and (last[0].R is None) == (task.R is None)
        if alike and len(last) < BATCH and (task.R is None or not (alone[name] or alone[last[0].family.name])):
            last.append(task)
        else:
            parts.append([task])
    return parts


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
        For each task its family, and its threshold or row, or the refusal of a row that was not certified. Results that
        the journal has come first; the others come in batches.

    Raises:
        InvalidInput: if a family or the solver does not allow it.
    """
    known = {} if journal is None else {task.key: task.restored(journal.records.get(task.key)) for task in tasks}
    for task in tasks:
        if (result := known.get(task.key)) is not None:
            yield task.family, result
    parts = batches([task for task in tasks if known.get(task.key) is None])
    for part, results in zip(parts, each(results_of, parts), strict=True):
        if journal is not None:
            for task, result in zip(part, results, strict=True):
                if not isinstance(result, Refusal):
                    journal.add(task.key, asdict(result))
        for task, result in zip(part, results, strict=True):
            yield task.family, result
