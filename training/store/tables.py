"""Make tables of runs: mean ± std (n) beside the paper's value, as Markdown, CSV or LaTeX. Needs no torch.

The paper's numbers come from ``paper_checks/data`` through :mod:`paper_checks.paper.tables`, and from nowhere else.
"""

from __future__ import annotations

import csv
import io
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from lpm.console import cli
from lpm.console.errors import InvalidInput
from paper_checks.paper.tables import Cell, load
from training.catalogue import FEW, MANY
from training.config import CHOICES, SETTING, RunConfig, with_preset
from training.experiments import Table, config
from training.store.results import RunResult
from training.store.runs import RunFolder, find

SPLITS = ("many", "med", "few", "all")


@dataclass(frozen=True)
class Entry:
    """One cell of a table: our runs beside the paper's value.

    Attributes:
        method: key of :data:`training.experiments.METHODS`.
        dataset: name of the data set, as the paper's table has it.
        imbalance: imbalance factor; 0 for the class counts that the data set has already.
        split: 'many', 'med', 'few' or 'all'.
        ours: accuracies of our runs in per cent, one per seed; empty without runs.
        paper: the paper's mean and standard deviation; None where it prints no value.
        data: the data that our runs were trained on, such as re-encoded images; '' without runs.
        preset: recipe of our runs.
    """

    method: str
    dataset: str
    imbalance: int
    split: str
    ours: tuple[float, ...]
    paper: Cell | None
    data: str
    preset: str

    @property
    def mean(self) -> float | None:
        """Mean of our runs; None without runs."""
        return statistics.fmean(self.ours) if self.ours else None

    @property
    def std(self) -> float | None:
        """Sample standard deviation of our runs; None below two runs."""
        return statistics.stdev(self.ours) if len(self.ours) > 1 else None

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
    cells = []
    for dataset in table.datasets:
        for factor in table.factors:
            for method in table.methods:
                folders = [RunFolder(store, replace(config(method, dataset, factor, preset), seed=s)) for s in seeds]
                results = [f.result(*RESULT, *SPLITS) for f in folders if f.done]
                for split in SPLITS if table.splits else ("all",):
                    values = tuple(float(result.last[split]) for result in results)
                    data = ", ".join(sorted({result.dataset for result in results}))
                    cell = printed.get((method, dataset, str(factor or ""), split))
                    cells.append(
                        Entry(
                            method=method,
                            dataset=dataset,
                            imbalance=factor,
                            split=split,
                            ours=values,
                            paper=cell,
                            data=data,
                            preset=preset,
                        )
                    )
    return cells


def missing(table: Table, store: Path, preset: str, seeds: Sequence[int]) -> list[RunConfig]:
    """List the runs of a table that are not finished.

    Args:
        table: the table, or a part of it.
        store: folder of the run store.
        preset: recipe of the runs.
        seeds: seeds of each cell.

    Returns:
        The runs: all cells of the first seed, then those of the next.
    """
    wanted = [
        replace(config(method, dataset, factor, preset), seed=s)
        for s in seeds
        for dataset in table.datasets
        for factor in table.factors
        for method in table.methods
    ]
    return [c for c in wanted if not RunFolder(store, c).done]


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


NOTE = (
    "Test accuracy in % after the last epoch. ours: mean ± standard deviation (n runs). difference: our mean minus the "
    "paper's. * marks one of our means that is outside the paper's mean ± standard deviation, only at preset paper and "
    "on the paper's data."
)
"""The line below a table that explains its columns and its mark."""

HEAD = ("method", "data set", "imbalance", "split", "preset", "ours (n)", "paper", "difference")
"""Columns of a table."""


def factor_word(imbalance: int) -> str:
    """Write an imbalance factor for tables.

    Args:
        imbalance: the factor; 0 for the class counts that the data set has already.

    Returns:
        The number, or 'own' for 0.
    """
    return str(imbalance) if imbalance else "own"


def _row(entry: Entry) -> tuple[str, ...]:
    paper = (
        "–"
        if entry.paper is None
        else f"{entry.paper.mean:.2f}" + (f" ± {entry.paper.std:.2f}" if entry.paper.std is not None else "")
    )
    difference = "–" if entry.difference is None else f"{entry.difference:+z.2f}" + (" *" if entry.outside else "")
    cell = entry.method, entry.data or entry.dataset, factor_word(entry.imbalance), entry.split, entry.preset
    return *cell, in_words(entry.ours), paper, difference


def markdown(cells: Sequence[Entry]) -> str:
    """Write a Markdown table, and a line that explains its columns and its mark.

    Args:
        cells: cells of a table; each becomes a row.

    Returns:
        The text.
    """
    rows = [HEAD, ("---",) * len(HEAD), *map(_row, cells)]
    return cli.markdown_table(rows) + "\n" + NOTE.replace("*", r"\*") + "\n"


LATEX = str.maketrans(
    {c: rf"\{c}" for c in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "|": r"\textbar{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "±": r"$\pm$", "–": "--"}
)
"""Characters that LaTeX reads as commands, and two signs that it may lack, with what is written in their place."""


def _tex(words: Sequence[str]) -> str:
    """A row of a tabular; signed numbers in math mode, where a minus is not a hyphen."""
    return " & ".join(re.sub(r"^[+-]\d+\.\d+", r"$\g<0>$", word.translate(LATEX)) for word in words) + r" \\"


def latex(cells: Sequence[Entry]) -> str:
    """Write a LaTeX tabular, whose last line explains its columns and its mark.

    Args:
        cells: cells of a table; each becomes a row.

    Returns:
        The text.
    """
    note = rf"\multicolumn{{{len(HEAD)}}}{{p{{0.95\linewidth}}}}{{\footnotesize {NOTE.translate(LATEX)}}}"
    body = [_tex(HEAD), r"\hline", *(_tex(_row(cell)) for cell in cells), r"\hline", note]
    return "\n".join([rf"\begin{{tabular}}{{{'l' * len(HEAD)}}}", *body, r"\end{tabular}", ""])


def as_csv(cells: Sequence[Entry]) -> str:
    """Write CSV, with plain numbers.

    Args:
        cells: cells of a table; each becomes a row.

    Returns:
        The text.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    numbers = ["n", "mean", "std", "paper_mean", "paper_std", "difference", "outside"]
    writer.writerow(["method", "dataset", "imbalance", "split", "preset", *numbers])
    for cell in cells:
        paper = ("", "") if cell.paper is None else (cell.paper.mean, "" if cell.paper.std is None else cell.paper.std)
        ours = ["" if value is None else f"{value:.4f}" for value in (cell.mean, cell.std)]
        difference = "" if cell.difference is None else f"{cell.difference:z.4f}"
        names = [cell.method, cell.data or cell.dataset, factor_word(cell.imbalance), cell.split, cell.preset]
        writer.writerow([*names, len(cell.ours), *ours, *paper, difference, int(cell.outside)])
    return file.getvalue()


FORMATS = {"markdown": markdown, "csv": as_csv, "latex": latex}
"""By the word of ``--format``, the function that writes a table."""

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
