"""The paper's tables as runs: which methods, data sets and imbalance factors each of them has.

At preset ``paper`` each cell of a table is 5 seeds of 200 epochs. Preset ``quick`` is 30 epochs of ResNet-8, about five
minutes per run on two CPU cores. It shows the order of methods only; its numbers do not compare with the paper's. The
large data sets are 3 seeds of ResNet-50 at 224 pixels on several GPUs, by the recipes of :mod:`training.catalogue`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from lpm.console.errors import InvalidInput
from training.config import RunConfig, with_preset
from training.named import METHODS
from training.published import TABLE_2, TABLE_7, Recipe, Row, ran
from training.second_stage import second_stage

BOTH, FACTORS = ("cifar10-lt", "cifar100-lt"), (200, 100, 50, 10)
FC = ("random+FC", "CBS+FC", "CAS+FC", "BMLS+FC")
ETF = ("random+ETF+DR", "CBS+ETF+DR", "CAS+ETF+DR", "BMLS+ETF+DR", "BMLS+MS-WETF+CE")


@dataclass(frozen=True)
class Table:
    """A table of the paper.

    Attributes:
        rows: its rows, and our method for each.
        datasets: names of data sets.
        factors: imbalance factors; 0 for the class counts that the data set has already.
        splits: whether it has the many, medium and few classes beside all.
        seeds: runs per cell.
    """

    rows: tuple[Row, ...]
    datasets: tuple[str, ...] = BOTH
    factors: tuple[int, ...] = FACTORS
    splits: bool = False
    seeds: int = 5

    @property
    def methods(self) -> tuple[str, ...]:
        """Our methods, keys of :data:`training.named.METHODS`, each once."""
        return tuple(dict.fromkeys(row.method for row in self.rows if row.method))


LARGE_METHODS = (*FC, "BMLS+MS")

TABLES: dict[int, Table] = {
    1: Table(ran("BMLS+FC", "BMLS+MS"), factors=(200, 100), splits=True),
    2: Table(TABLE_2),
    3: Table(ran(*LARGE_METHODS), ("places-lt", "places-lt-ft", "imagenet-lt", "inaturalist2018"), (0,), seeds=3),
    4: Table(ran("random+FC", "random+MS", "BMLS+FC", "BMLS+MS")),
    5: Table(ran(*ETF)),
    7: Table(TABLE_7),
    8: Table(ran(*FC, "BMLS+MS"), splits=True),
    9: Table(ran(*LARGE_METHODS), ("places-lt", "places-lt-ft"), (0,), splits=True, seeds=3),
    10: Table(ran(*LARGE_METHODS), ("imagenet-lt", "inaturalist2018"), (0,), splits=True, seeds=3),
    11: Table(ran("random+FC", "random+MS", "BMLS+FC", "BMLS+MS"), splits=True),
    12: Table(ran(*ETF), ("cifar10-lt",), splits=True),
    13: Table(ran(*ETF), ("cifar100-lt",), splits=True),
}
"""By number in the paper, the tables that a run store can fill; 3, 9 and 10 are on image files."""


def runs_of(base: RunConfig, method: str, own: Recipe | None = None) -> list[RunConfig]:
    """Make the runs of a method: one, or with a second stage the run that it starts from and the stage.

    Args:
        base: the data and the recipe; the method replaces sampler, classifier and so on.
        method: key of :data:`training.named.METHODS`.
        own: changes of the recipe, which give the preset's name a ``+``. A second stage has its own recipe and starts from
            the changed run.

    Returns:
        The runs in the order of training. The last one is the method's.

    Raises:
        InvalidInput: if the method is unknown, or not possible with the other choices.
    """
    if method not in METHODS:
        raise InvalidInput(f"method {method!r} is unknown; choose one of {', '.join(METHODS)}")
    choices = dict(METHODS[method])
    stage = choices.pop("stage", None)
    if own is not None:
        choices |= {"preset": f"{base.preset}+", "epochs": round(own.longer * base.epochs)}
        choices |= {**own.choices, **own.on.get(base.dataset, {})}
    run = replace(base, **choices)
    return [run] if stage is None else [run, second_stage(run, stage)]


def recipe(dataset: str, imbalance: float, preset: str) -> RunConfig:
    """Build what the runs of a table's cells share.

    Args:
        dataset: name of the data set.
        imbalance: imbalance factor; 0 keeps RunConfig's default, which image files do not use.
        preset: name of the recipe.

    Returns:
        A run of plain mixup with seed 0.

    Raises:
        InvalidInput: if the data set has no such preset.
    """
    factor: dict[str, Any] = {"imbalance": float(imbalance)} if imbalance else {}
    return replace(with_preset(RunConfig(dataset=dataset), preset), **factor)


def cell(method: str, dataset: str, imbalance: float, preset: str, own: Recipe | None = None) -> list[RunConfig]:
    """Build the runs of a table's cell, with seed 0.

    Args:
        method: key of :data:`training.named.METHODS`.
        dataset: name of the data set.
        imbalance: imbalance factor; 0 keeps RunConfig's default, which image files do not use.
        preset: name of the recipe.
        own: changes of the recipe, which give the preset's name a ``+``.

    Returns:
        The runs in the order of training. The last one is the cell's.

    Raises:
        InvalidInput: if the method is unknown or not possible with the recipe, or the data set has no such preset.
    """
    return runs_of(recipe(dataset, imbalance, preset), method, own)


def config(method: str, dataset: str, imbalance: float, preset: str, seed: int = 0) -> RunConfig:
    """Build the run of a table's cell.

    Args:
        method: key of :data:`training.named.METHODS`.
        dataset: name of the data set.
        imbalance: imbalance factor; 0 keeps RunConfig's default, which image files do not use.
        preset: name of the recipe.
        seed: seed of the run.

    Returns:
        The run; with a second stage, the stage.

    Raises:
        InvalidInput: if the method is unknown, or the data set has no such preset.
    """
    return replace(cell(method, dataset, imbalance, preset)[-1], seed=seed)
