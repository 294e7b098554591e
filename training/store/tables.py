"""Runs to tables: mean ± std (n) beside the paper's value, as Markdown, CSV or LaTeX. Needs no torch.

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
from training.config import SETTING, RunConfig, with_preset
from training.experiments import Table, config
from training.store.results import RunResult
from training.store.runs import RunFolder, find

SPLITS = ("many", "med", "few", "all")


@dataclass(frozen=True)
class Entry:
    """One cell: our runs' accuracies in per cent, and the paper's mean and standard deviation (None where it prints none).

    imbalance: 0 for a data set with class counts of its own. data: what our runs were trained on, '' without runs. preset: their
    recipe.
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
        return statistics.fmean(self.ours) if self.ours else None

    @property
    def std(self) -> float | None:
        return statistics.stdev(self.ours) if len(self.ours) > 1 else None

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's mean."""
        return None if self.mean is None or self.paper is None else self.mean - self.paper.mean

    @property
    def outside(self) -> bool:
        """Whether our mean is outside the paper's mean ± std; only at preset 'paper', on the paper's data, where it has a std."""
        if self.difference is None or self.paper is None or self.paper.std is None:
            return False
        # Another recipe, or other data, is nothing to hold the paper's spread against.
        return (self.preset, self.data) == ("paper", self.dataset) and abs(self.difference) > self.paper.std


def entries(number: int, table: Table, store: Path, preset: str, seeds: Sequence[int]) -> list[Entry]:
    """All cells of a table, from the runs that the store has. Raises InvalidInput for a damaged one."""
    printed = {(c.method, c.dataset, c.imbalance, c.split): c for c in load(number)}
    found = []
    for dataset in table.datasets:
        for factor in table.factors:
            for method in table.methods:
                folders = [RunFolder(store, replace(config(method, dataset, factor, preset), seed=s)) for s in seeds]
                results = [f.result(*RESULT, *SPLITS) for f in folders if f.done]
                for split in SPLITS if table.splits else ("all",):
                    values = tuple(float(result.last[split]) for result in results)
                    data = ", ".join(sorted({result.dataset for result in results}))
                    cell = printed.get((method, dataset, str(factor or ""), split))
                    found.append(Entry(method, dataset, factor, split, values, cell, data, preset))
    return found


def missing(table: Table, store: Path, preset: str, seeds: Sequence[int]) -> list[RunConfig]:
    """The runs that the table wants and the store has not, seed by seed."""
    wanted = [
        replace(config(method, dataset, factor, preset), seed=s)
        for s in seeds
        for dataset in table.datasets
        for factor in table.factors
        for method in table.methods
    ]
    return [c for c in wanted if not RunFolder(store, c).done]


RESULT = ("dataset", "device", "torch", "time", "train_seconds")
"""What tables and exports read of a run's result, beside the accuracies."""


def in_words(values: Sequence[float]) -> str:
    """Mean ± std (n), or a dash."""
    if not values:
        return "–"
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.2f}{spread} ({len(values)})"


def setting(config: RunConfig, data: str) -> str:
    """What runs share, in words: data, imbalance, preset, network, epochs, and what else is not the preset's."""
    factor = "" if config.data_set.files else f", imbalance {config.factor}"
    others = "".join(
        f", {name.replace('_', '-')}: {value}" for name, value in changed(config).items() if name not in SHOWN
    )
    return f"{data}{factor}, preset {config.preset} ({config.model}, epochs: {config.epochs}{others})"


SHOWN = ("model", "epochs")


def changed(config: RunConfig) -> dict[str, Any]:
    """The choices of a recipe that differ from its preset's; none where the preset is no longer one."""
    own = {name: getattr(config, name) for name in SETTING if name != "preset"}
    try:
        base = with_preset(RunConfig(**own), config.preset.removesuffix("+"))
    except InvalidInput:
        return {}
    names = (field.name for field in fields(config) if field.name not in SETTING)
    return {name: value for name in names if (value := getattr(config, name)) != getattr(base, name)}


def ranges(config: RunConfig, result: RunResult) -> dict[str, str]:
    """What the splits of your own data are, in words; those of published data are the paper's."""
    rule = {"many": f"above {MANY}", "med": f"{FEW} to {MANY}", "few": f"below {FEW}"}
    found = result.splits if config.data_set.user_named else {}
    return {
        split: f"{last - first + 1} of {config.K} classes, {rule[split]} training images"
        for split, (first, last) in found.items()
        if split in rule
    }


NOTE = (
    "Test accuracy in %, last epoch. ours: mean ± standard deviation (n runs); difference: our mean minus the paper's; * marks a "
    "mean of ours outside the paper's mean ± standard deviation, at preset paper on the paper's data only."
)
HEAD = ("method", "data set", "imbalance", "split", "preset", "ours (n)", "paper", "difference")


def factor_word(imbalance: int) -> str:
    """An imbalance factor in words."""
    return str(imbalance) if imbalance else "own"


def _row(entry: Entry) -> tuple[str, ...]:
    paper = (
        "–"
        if entry.paper is None
        else f"{entry.paper.mean:.2f}" + (f" ± {entry.paper.std:.2f}" if entry.paper.std is not None else "")
    )
    difference = "–" if entry.difference is None else f"{entry.difference:+z.2f}" + (" *" if entry.outside else "")
    where = entry.method, entry.data or entry.dataset, factor_word(entry.imbalance), entry.split, entry.preset
    return *where, in_words(entry.ours), paper, difference


def markdown(found: Sequence[Entry]) -> str:
    """A Markdown table, and a line that says what its columns and * mean."""
    rows = [HEAD, ("---",) * len(HEAD), *([word.replace("|", r"\|") for word in _row(e)] for e in found)]
    return cli.markdown_table(rows) + "\n" + NOTE.replace("*", r"\*") + "\n"


LATEX = str.maketrans(
    {c: rf"\{c}" for c in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "|": r"\textbar{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "±": r"$\pm$", "–": "--"}
)
"""What LaTeX reads as something else, and our two signs that it may not have."""


def _tex(words: Sequence[str]) -> str:
    """A row of a tabular; signed numbers in math mode, where a minus is not a hyphen."""
    return " & ".join(re.sub(r"^[+-]\d+\.\d+", r"$\g<0>$", word.translate(LATEX)) for word in words) + r" \\"


def latex(found: Sequence[Entry]) -> str:
    """A LaTeX tabular, whose last line says what its columns and * mean."""
    note = rf"\multicolumn{{{len(HEAD)}}}{{p{{0.95\linewidth}}}}{{\footnotesize {NOTE.translate(LATEX)}}}"
    body = [_tex(HEAD), r"\hline", *(_tex(_row(e)) for e in found), r"\hline", note]
    return "\n".join([rf"\begin{{tabular}}{{{'l' * len(HEAD)}}}", *body, r"\end{tabular}", ""])


def as_csv(found: Sequence[Entry]) -> str:
    """CSV with plain numbers."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    numbers = ["n", "mean", "std", "paper_mean", "paper_std", "difference", "outside"]
    writer.writerow(["method", "dataset", "imbalance", "split", "preset", *numbers])
    for e in found:
        paper = ("", "") if e.paper is None else (e.paper.mean, "" if e.paper.std is None else e.paper.std)
        ours_ = ["" if v is None else f"{v:.4f}" for v in (e.mean, e.std)]
        difference = "" if e.difference is None else f"{e.difference:z.4f}"
        where = [e.method, e.data or e.dataset, factor_word(e.imbalance), e.split, e.preset, len(e.ours)]
        writer.writerow([*where, *ours_, *paper, difference, int(e.outside)])
    return file.getvalue()


FORMATS = {"markdown": markdown, "csv": as_csv, "latex": latex}

COLUMNS = (
    "dataset", "imbalance", "method", "split", "accuracy", "seed", "preset", "epochs", "model", "device", "torch", "commit",
    "time", "train_seconds", "config",
)  # fmt: skip


def export(store: Path) -> list[dict[str, str]]:
    """A row for each finished run and split, for ``results/``; ``python -m paper_checks --runs`` reads it.

    Raises InvalidInput for a damaged result.
    """
    rows = []
    for folder in find(store):
        if not folder.done:
            continue
        c, result = folder.config, folder.result(*RESULT)
        preset = c.preset + c.key if c.preset.endswith("+") else c.preset  # changed recipes are not all one
        for split, accuracy in result.last.items():
            values = (
                result.dataset, c.factor, c.method, split, f"{accuracy:.4f}", c.seed, preset, c.epochs, c.model,
                result.device, result.torch, result.commit, result.time, f"{result.train_seconds:.1f}", c.key,
            )  # fmt: skip
            rows.append(dict(zip(COLUMNS, map(str, values), strict=True)))
    return rows
