"""The paper's tables filled from the run store: our runs beside its values, and what is missing. Needs no torch.

The paper's numbers come from ``paper_checks/data`` through :mod:`paper_checks.paper.tables`, and from nowhere else.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from lpm.console.errors import InvalidInput
from paper_checks.paper.tables import Cell, load
from training.catalogue import FEW, MANY
from training.config import CHOICES, SETTING, RunConfig, with_preset
from training.experiments import Table, cell
from training.published import Recipe, Row
from training.store import posthoc
from training.store.results import RunResult
from training.store.runs import RunFolder, find

SPLITS = ("many", "med", "few", "all")


@dataclass(frozen=True)
class Entry:
    """One cell of a table: our runs beside the paper's value.

    Attributes:
        method: key of :data:`training.named.METHODS`; '' where we have none for the row.
        dataset: name of the data set, as the paper's table has it.
        imbalance: imbalance factor; 0 for the class counts that the data set has already.
        split: 'many', 'med', 'few' or 'all'.
        ours: accuracies of our runs in per cent, one per seed; empty without runs.
        paper: the paper's mean and standard deviation; None where it prints no value.
        data: the data that our runs were trained on, such as re-encoded images; '' without runs.
        preset: recipe of our runs.
        row: the row of the paper's table; None for a cell of no table.
        best: accuracies of the same runs at their best epoch, which test images chose, where they are stored.
        own: accuracies of runs by the recipe of the method's authors; empty without such runs.
    """

    method: str
    dataset: str
    imbalance: int
    split: str
    ours: tuple[float, ...]
    paper: Cell | None
    data: str
    preset: str
    row: Row | None = None
    best: tuple[float, ...] = ()
    own: tuple[float, ...] = ()

    @property
    def mean(self) -> float | None:
        """Mean of our runs; None without runs."""
        return statistics.fmean(self.ours) if self.ours else None

    @property
    def difference(self) -> float | None:
        """Our mean minus the paper's; None where one is missing."""
        return None if self.mean is None or self.paper is None else self.mean - self.paper.mean

    @property
    def outside(self) -> bool:
        """Whether our mean is outside the paper's mean ± std.

        False at another preset than 'paper', on other data than the paper's, or where the paper has no std.
        """
        if self.difference is None or self.paper is None or self.paper.std is None:
            return False
        # With another recipe or on other data the paper's standard deviation is no yardstick.
        return (self.preset, self.data) == ("paper", self.dataset) and abs(self.difference) > self.paper.std


def entries(number: int, table: Table, store: Path, preset: str, seeds: Sequence[int]) -> list[Entry]:
    """Fill a table from the runs that the store has.

    Args:
        number: the table's number in the paper.
        table: the table, or a part of it.
        store: folder of the run store.
        preset: recipe of the runs.
        seeds: seeds of the runs; runs that are missing are left out.

    Returns:
        All cells, in the table's order.

    Raises:
        InvalidInput: if the result of a run is damaged or lacks an accuracy.
    """
    printed = {(c.method, c.dataset, c.imbalance, c.split): c for c in load(number)}

    def finished(row: Row, dataset: str, factor: int, own: Recipe | None = None) -> list[RunResult]:
        if not row.method:
            return []
        run = cell(row.method, dataset, factor, preset, own)[-1]
        folders = [RunFolder(store, replace(run, seed=seed)) for seed in seeds]
        results = [(folder, folder.result(*RESULT, *SPLITS)) for folder in folders if folder.done]
        if not row.correction:
            return [result for _, result in results]
        corrections = [(result, posthoc.corrected(folder, row.correction)) for folder, result in results]
        return [replace(result, last=c.last, best=None) for result, c in corrections if c is not None]

    cells = []
    for dataset, factor, row in itertools.product(table.datasets, table.factors, table.rows):
        results = finished(row, dataset, factor)
        by_own = [] if row.own is None else finished(row, dataset, factor, row.own)
        for split in SPLITS if table.splits else ("all",):
            cells.append(
                Entry(
                    method=row.method,
                    dataset=dataset,
                    imbalance=factor,
                    split=split,
                    ours=tuple(float(result.last[split]) for result in results),
                    paper=printed.get((row.printed, dataset, str(factor or ""), split)),
                    data=", ".join(sorted({result.dataset for result in (*results, *by_own)})),
                    preset=preset,
                    row=row,
                    best=tuple(float(r.best) for r in results if r.best is not None and split == "all"),
                    own=tuple(float(result.last[split]) for result in by_own),
                )
            )
    return cells


RESULT = ("dataset", "device", "torch", "time", "train_seconds")
"""Fields of a run's result that tables and exports read, beside the accuracies."""


def in_words(values: Sequence[float]) -> str:
    """Write accuracies as mean ± std (n).

    Args:
        values: one number per run.

    Returns:
        The text, without std for a single run; a dash without runs.
    """
    if not values:
        return "–"
    deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.2f}{deviation} ({len(values)})"


def setting(config: RunConfig, data: str) -> str:
    """Describe what runs share.

    Args:
        config: one of the runs.
        data: name of the data that they were trained on.

    Returns:
        Data, imbalance, preset, network, epochs, and the other choices that differ from the preset's.
    """
    factor = "" if config.data_set.files else f", imbalance {config.factor}"
    changes = "".join(
        f", {name.replace('_', '-')}: {value}" for name, value in changed(config).items() if name not in SHOWN
    )
    return f"{data}{factor}, preset {config.preset} ({config.model}, epochs: {config.epochs}{changes})"


SHOWN = ("model", "epochs")
"""Choices that :func:`setting` always names."""


def changed(config: RunConfig) -> dict[str, Any]:
    """Find the choices of a run's recipe that differ from its preset's.

    Args:
        config: the run.

    Returns:
        The run's values by name; none if this version has no such preset.
    """
    same = {name: getattr(config, name) for name in SETTING if CHOICES[name].group == "data"}
    try:
        base = with_preset(RunConfig(**same), config.preset.removesuffix("+"))
    except InvalidInput:
        return {}
    names = (field.name for field in fields(config) if field.name not in SETTING)
    return {name: value for name in names if (value := getattr(config, name)) != getattr(base, name)}


def ranges(config: RunConfig, result: RunResult) -> dict[str, str]:
    """Describe the splits of the user's own data; those of published data are the paper's.

    Args:
        config: the run.
        result: its result.

    Returns:
        By split, its number of classes and its rule in words; none for published data.
    """
    rule = {"many": f"above {MANY}", "med": f"{FEW} to {MANY}", "few": f"below {FEW}"}
    splits = result.splits if config.data_set.user_named else {}
    return {
        split: f"{last - first + 1} of {config.K} classes, {rule[split]} training images"
        for split, (first, last) in splits.items()
        if split in rule
    }


def factor_word(imbalance: int) -> str:
    """Write an imbalance factor for tables.

    Args:
        imbalance: the factor; 0 for the class counts that the data set has already.

    Returns:
        The number, or 'own' for 0.
    """
    return str(imbalance) if imbalance else "own"


COLUMNS = (
    "dataset", "imbalance", "method", "split", "accuracy", "seed", "preset", "epochs", "model", "device", "torch",
    "commit", "time", "train_seconds", "config",
)  # fmt: skip
"""Columns of an export."""


def export(store: Path) -> list[dict[str, str]]:
    """Collect the accuracies of all finished runs, for ``results/``; ``python -m paper_checks --runs`` reads them.

    Args:
        store: folder of the run store.

    Returns:
        One row per run and split, with the :data:`COLUMNS`.

    Raises:
        InvalidInput: if a result is damaged.
    """
    rows = []
    for folder in find(store):
        if not folder.done:
            continue
        c, result = folder.config, folder.result(*RESULT)
        preset = c.preset + c.key if c.preset.endswith("+") else c.preset  # there may be several changed recipes
        for split, accuracy in result.last.items():
            values = (
                result.dataset, c.factor, c.method, split, f"{accuracy:.4f}", c.seed, preset, c.epochs, c.model,
                result.device, result.torch, result.commit, result.time, f"{result.train_seconds:.1f}", c.key,
            )  # fmt: skip
            rows.append(dict(zip(COLUMNS, map(str, values), strict=True)))
    return rows
