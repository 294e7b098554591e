"""The runs that a table of the paper needs, and those that a store lacks. Needs no torch."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from training.config import RunConfig
from training.experiments import Table, cell
from training.published import Row
from training.store import posthoc
from training.store.runs import RunFolder


@dataclass(frozen=True)
class Wanted:
    """A run that a table needs.

    Attributes:
        row: the row of the table.
        own: whether it has the recipe of the method's authors.
        config: the run with seed 0.
        before: the run that a second stage starts from, with seed 0.
    """

    row: Row
    own: bool
    config: RunConfig
    before: tuple[RunConfig, ...] = ()


RECIPES = ("common", "own")
"""Recipes of a table's runs: the preset, and that of the method's authors where it differs."""


def wanted(table: Table, preset: str, recipes: Sequence[str] = RECIPES) -> list[Wanted]:
    """List the runs that a table needs.

    Args:
        table: the table, or a part of it.
        preset: recipe of the runs.
        recipes: words of :data:`RECIPES`.

    Returns:
        The runs in the table's order, with seed 0. Rows of one method share their runs.
    """
    runs = []
    for dataset, factor, row in itertools.product(table.datasets, table.factors, table.rows):
        for own in (False, True):
            if row.method and RECIPES[own] in recipes and (row.own is not None or not own):
                *before, run = cell(row.method, dataset, factor, preset, row.own if own else None)
                runs.append(Wanted(row, own, run, tuple(before)))
    return runs


def missing(
    table: Table, store: Path, preset: str, seeds: Sequence[int], recipes: Sequence[str] = RECIPES
) -> list[RunConfig]:
    """List the runs of a table that are not finished.

    Args:
        table: the table, or a part of it.
        store: folder of the run store.
        preset: recipe of the runs.
        seeds: seeds of each cell.
        recipes: words of :data:`RECIPES`.

    Returns:
        The runs, each once: all cells of the first seed, then those of the next. The run that a second stage starts from
        stands before it.
    """

    def lacking(runs: Iterable[RunConfig], seed: int) -> list[RunConfig]:
        return [run for config in runs if not RunFolder(store, run := replace(config, seed=seed)).done]

    cells = wanted(table, preset, recipes)
    runs = [
        run
        for seed in seeds
        for one in cells
        if lacking([one.config], seed)
        for run in lacking([*one.before, one.config], seed)
    ]
    return list(dict.fromkeys(runs))


def uncorrected(table: Table, store: Path, preset: str, seeds: Sequence[int]) -> dict[Path, list[str]]:
    """List the finished runs of a table that lack corrections.

    Args:
        table: the table, or a part of it.
        store: folder of the run store.
        preset: recipe of the runs.
        seeds: seeds of each cell.

    Returns:
        By the run's folder, the titles of the corrections.

    Raises:
        InvalidInput: if the stored corrections of a run are damaged.
    """
    lacking: dict[Path, list[str]] = {}
    for one, seed in itertools.product(wanted(table, preset, ["common"]), seeds):
        folder, title = RunFolder(store, replace(one.config, seed=seed)), one.row.correction
        if title and folder.done and posthoc.corrected(folder, title) is None:
            lacking.setdefault(folder.path, []).append(title)
    return lacking
