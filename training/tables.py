"""Runs to tables: mean ± std (n) beside the paper's value, as Markdown, CSV or LaTeX. Needs no torch.

The paper's numbers come from ``paper_checks/data`` through :mod:`paper_checks.paper_tables`, and from nowhere else.
"""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from paper_checks.paper_tables import Cell, load
from training.config import RunConfig
from training.experiments import Table, config
from training.runs import RunFolder, find

SPLITS = ("many", "med", "few", "all")


@dataclass(frozen=True)
class Entry:
    """One cell: our runs' accuracies in per cent, and the paper's mean and standard deviation (None where it prints none).

    data: what our runs were trained on, '' without runs. preset: their recipe.
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
    """All cells of a table, from the runs that the store has."""
    printed = {(c.method, c.dataset, c.imbalance, c.split): c for c in load(number)}
    found = []
    for dataset in table.datasets:
        for factor in table.factors:
            for method in table.methods:
                folders = [RunFolder(store, replace(config(method, dataset, factor, preset), seed=s)) for s in seeds]
                metrics = [f.metrics() for f in folders if f.done]
                for split in SPLITS if table.splits else ("all",):
                    values = tuple(float(m["last"][split]) for m in metrics)
                    data = ", ".join(sorted({m["dataset"] for m in metrics}))
                    cell = printed.get((method, dataset, str(factor), split))
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


def ours(entry: Entry) -> str:
    """Mean ± std (n), or a dash."""
    if entry.mean is None:
        return "–"
    spread = f" ± {entry.std:.2f}" if entry.std is not None else ""
    return f"{entry.mean:.2f}{spread} ({len(entry.ours)})"


HEAD = ("method", "data set", "imbalance", "split", "preset", "ours (n)", "paper", "difference")


def _row(entry: Entry) -> tuple[str, ...]:
    paper = (
        "–"
        if entry.paper is None
        else f"{entry.paper.mean:.2f}" + (f" ± {entry.paper.std:.2f}" if entry.paper.std is not None else "")
    )
    difference = "–" if entry.difference is None else f"{entry.difference:+.2f}" + (" *" if entry.outside else "")
    where = entry.method, entry.data or entry.dataset, str(entry.imbalance), entry.split, entry.preset
    return *where, ours(entry), paper, difference


def markdown(found: Sequence[Entry]) -> str:
    """A Markdown table; * marks a mean outside the paper's mean ± std."""
    rows = [HEAD, ("---",) * len(HEAD), *map(_row, found)]
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def latex(found: Sequence[Entry]) -> str:
    """A LaTeX tabular."""
    body = [" & ".join(_row(e)).replace("±", r"$\pm$").replace("–", "--").replace("_", r"\_") + r" \\" for e in found]
    head = " & ".join(HEAD) + r" \\ \hline"
    return "\n".join([r"\begin{tabular}{" + "l" * len(HEAD) + "}", head, *body, r"\end{tabular}"]) + "\n"


def as_csv(found: Sequence[Entry]) -> str:
    """CSV with plain numbers."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    numbers = ["n", "mean", "std", "paper_mean", "paper_std", "difference", "outside"]
    writer.writerow(["method", "dataset", "imbalance", "split", "preset", *numbers])
    for e in found:
        paper = ("", "") if e.paper is None else (e.paper.mean, "" if e.paper.std is None else e.paper.std)
        ours_ = ["" if v is None else f"{v:.4f}" for v in (e.mean, e.std)]
        difference = "" if e.difference is None else f"{e.difference:.4f}"
        where = [e.method, e.data or e.dataset, e.imbalance, e.split, e.preset, len(e.ours)]
        writer.writerow([*where, *ours_, *paper, difference, int(e.outside)])
    return file.getvalue()


FORMATS = {"markdown": markdown, "csv": as_csv, "latex": latex}

COLUMNS = (
    "dataset", "imbalance", "method", "split", "accuracy", "seed", "preset", "epochs", "model", "device", "torch", "commit",
    "time", "train_seconds", "config",
)  # fmt: skip


def export(store: Path) -> list[dict[str, str]]:
    """A row for each finished run and split, for ``results/``; ``python -m paper_checks --runs`` reads it."""
    rows = []
    for folder in find(store):
        if not folder.done:
            continue
        c, m = folder.config, folder.metrics()
        for split, accuracy in m["last"].items():
            values = (
                m["dataset"], f"{c.imbalance:g}", c.method, split, f"{accuracy:.4f}", c.seed, c.preset, c.epochs, c.model,
                m["device"], m["torch"], m["commit"], m["time"], f"{m['train_seconds']:.1f}", c.key,
            )  # fmt: skip
            rows.append(dict(zip(COLUMNS, map(str, values), strict=True)))
    return rows
