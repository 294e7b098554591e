"""Figure 3: test accuracy and average coefficient of variation over the coverage ratio, beside the paper's accuracies.

At a coverage ratio r, round(r K) classes are drawn anew in each epoch and mixed with one another (label pairs a < b).
The other classes are mixed within themselves (a, a); see :class:`training.sampling.balanced.Coverage`. The classifier
is FC. The paper prints its accuracies, but neither the imbalance factor nor the values of the average CV.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from figures import store
from figures.expected_cv import closed_form
from figures.frequencies import KINDS, counted
from figures.style import PAGE_WIDTH, Row, Style, save, style_of
from lpm.console import cli
from lpm.console.errors import InvalidInput
from paper_checks.paper.tables import load
from training.store.results import RunResult
from training.store.runs import RunFolder

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RATIOS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Coverage ratios of the figure."""
SPLITS = ("all", "many", "med", "few")
"""All classes and the three splits."""
MOST = 1_000_000
"""Largest number of training images of a class: twenty times as many as CIFAR has in all."""
KIND_STYLES = dict(zip(KINDS, (Style("#0072B2", "-", "o"), Style("#D55E00", (0, (5, 1.5)), "D")), strict=True))
"""Styles by kind of label."""


def add_options(parser: cli.Parser) -> None:
    """Add the options that choose the runs.

    Args:
        parser: parser of the command.
    """
    store.add_options(parser)


def make(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Write fig3 and its table, fig3.md.

    Args:
        options: parsed options.
        folder: folder for the files.

    Returns:
        The record for the manifest.

    Raises:
        InvalidInput: if runs are missing or damaged; the message says which command trains them.
    """
    setting = store.setting(options)
    rows = data(setting)
    save(plot, rows, folder, "fig3")
    (folder / "fig3.md").write_text(markdown(rows), encoding="utf-8")
    return {name: rows[0][name] for name in ("dataset", "imbalance", "preset")} | {"seeds": setting.seeds}


def command(setting: store.Setting) -> str:
    """Return one shell line that trains all runs of the figure.

    Args:
        setting: data set, recipe, seeds and store.

    Returns:
        A loop over the coverage ratios.
    """
    ratios = " ".join(f"{ratio:g}" for ratio in RATIOS)
    options = f"--sampler coverage --coverage $r {setting.command_options}"
    return f"for r in {ratios}; do python -m training.train {options}; done"


def data(setting: store.Setting) -> list[Row]:
    """Return the numbers of the figure.

    Args:
        setting: data set, recipe, seeds and store.

    Returns:
        One row per coverage ratio. Columns all, many, med, few: mean test accuracy of the seeds' last epochs in per
        cent, and its standard deviation (_std). cv_label, cv_label_pair: average CV over the epochs of the first seed's
        run, over the labels that occurred; _closed_form: over all labels, by the sampler's law. paper_all, paper_many,
        paper_med,
        paper_few: accuracies of the paper's Figure 3, on paper_dataset.

    Raises:
        InvalidInput: if runs are missing or damaged.
    """
    base = {ratio: store.configs(setting, "random+FC", sampler="coverage", coverage=ratio) for ratio in RATIOS}
    wanted = [config for configs in base.values() for config in configs]
    folders = store.finished_runs(wanted, setting, command(setting))
    n = len(setting.seeds)
    return [_row(setting, folders[i * n : (i + 1) * n]) for i in range(len(RATIOS))]


def _row(setting: store.Setting, folders: Sequence[RunFolder]) -> Row:
    from training.sampling.balanced import mixed_classes  # brings torch

    results, config = [_result(folder) for folder in folders], folders[0].config
    row: dict[str, Any] = {
        "dataset": ", ".join(sorted({result.dataset for result in results})),
        "imbalance": setting.imbalance,
        "preset": setting.preset,
        "seeds": len(folders),
        "coverage": config.coverage,
        "mixed_classes": mixed_classes(config.coverage, config.K),
    }
    for split in SPLITS:
        values = [result.last[split] for result in results]
        row |= {split: statistics.fmean(values), f"{split}_std": statistics.stdev(values) if len(values) > 1 else None}
    counts = np.array(results[0].train_counts)
    cv, law = counted(config, counts, config.epochs), closed_form(config, counts, config.epochs)
    for kind in KINDS:
        row |= {_cv_column(kind): cv[kind].average_cv, f"{_cv_column(kind)}_closed_form": law[kind]}
    return row | _paper_accuracies(setting.dataset, config.coverage)


def _result(folder: RunFolder) -> RunResult:
    """Return a run's result. Raise InvalidInput if it lacks a split's accuracy or has impossible class counts."""
    result, K = folder.result(), folder.config.K
    counts = result.train_counts
    if lacking := [split for split in SPLITS if split not in result.last]:
        raise InvalidInput(f"the result of run {str(folder.path)!r} has no accuracy {lacking[0]!r}; train it again")
    if len(counts) != K or not all(1 <= n <= MOST for n in counts):
        raise InvalidInput(
            f"the result of run {str(folder.path)!r} has train_counts {str(list(counts))[:40]!r}, "
            f"which must be {K} whole numbers in 1..{MOST:,}, the images of each class; train it again"
        )
    return result


def _paper_accuracies(dataset: str, ratio: float) -> dict[str, Any]:
    """Return the paper's accuracies at a ratio, on the same data set; for the digits, those of CIFAR10-LT."""
    dataset = "cifar10-lt" if dataset == store.DIGITS else dataset
    cells = {(cell.dataset, cell.method, cell.split): cell.mean for cell in load("figure3")}
    return {"paper_dataset": dataset} | {
        f"paper_{split}": cells[dataset, f"coverage {ratio:.1f}", split] for split in SPLITS
    }


def markdown(rows: Sequence[Row]) -> str:
    """Return the table of accuracies and average CVs, ours and the paper's.

    Differences are left out, because the imbalance factors may not be the same.

    Args:
        rows: rows of :func:`data`.

    Returns:
        The table as Markdown, one line per coverage ratio.
    """
    first = rows[0]
    ours, paper = f"ours, {first['dataset']}", f"paper, {first['paper_dataset']}"
    head = ["coverage ratio", "mixed classes", *(f"{s} ({ours})" for s in SPLITS), *(f"{s} ({paper})" for s in SPLITS)]
    head += [f"average CV of {kind}s (closed form)" for kind in KINDS]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        cells = [f"{row['coverage']:g}", str(row["mixed_classes"])]
        cells += [_accuracy(row[split], row[f"{split}_std"]) for split in SPLITS]
        cells += [_accuracy(row[f"paper_{split}"], None) for split in SPLITS]
        cells += [f"{row[_cv_column(kind)]:.3g} ({row[_cv_column(kind) + '_closed_form']:.3g})" for kind in KINDS]
        lines.append(cells)
    return (
        f"Test accuracy in per cent over the coverage ratio. Ours: {_ours(first)}. The paper's: Figure 3, "
        "which prints neither the imbalance factor nor the average CV.\n"
        "Label pairs are a < b among the mixed classes, (a, a) for each of the others.\n\n" + cli.markdown_table(lines)
    )


def _accuracy(mean: float, std: float | None) -> str:
    return f"{mean:.2f}" + (f" ± {std:.2f}" if std is not None else "")


def plot(rows: Sequence[Row]) -> Figure:
    """Draw accuracy by split (left) and average CV (right) over the coverage ratio.

    Args:
        rows: rows of :func:`data`.

    Returns:
        The figure.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(PAGE_WIDTH, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    _accuracies(left, rows)
    _variation(right, rows)
    for axis in (left, right):
        axis.set_xlabel("coverage ratio")
        axis.set_xticks([row["coverage"] for row in rows])
        axis.legend(ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.2), handlelength=2.6, columnspacing=1.2)
    figure.suptitle(_ours(rows[0]), fontsize=8)
    return figure


def _accuracies(axis: Axes, rows: Sequence[Row]) -> None:
    """Draw our accuracies as lines; the paper's as hollow markers where it has the data set."""
    x = [row["coverage"] for row in rows]
    in_paper = rows[0]["dataset"] != store.DIGITS
    for split in SPLITS:
        style, std = style_of(split), [row[f"{split}_std"] for row in rows]
        shared: Any = dict(color=style.colour, marker=style.marker)
        error = None if None in std else std
        axis.errorbar(x, [row[split] for row in rows], error, linestyle=style.dash, label=split, **shared)
        if in_paper:
            axis.plot(x, [row[f"paper_{split}"] for row in rows], ls="", mfc="none", ms=5.5, **shared)
    axis.set_ylabel("test accuracy (%)")
    axis.set_title("test accuracy" + (" (hollow: the paper's)" if in_paper else ""))


def _variation(axis: Axes, rows: Sequence[Row]) -> None:
    """Draw the average CV as counted and by law; the line of label pairs leaves out ratio 0, where all are (a, a)."""
    for kind, style in KIND_STYLES.items():
        column = _cv_column(kind)
        on_line = [row for row in rows if kind == "label" or row["mixed_classes"]]
        x, law = [row["coverage"] for row in on_line], [row[f"{column}_closed_form"] for row in on_line]
        axis.plot(x, law, color=style.colour, linestyle=style.dash, lw=1)
        hollow: Any = dict(color=style.colour, marker=style.marker, ls="", mfc="none", ms=5.5, label=f"{kind}s")
        axis.plot([row["coverage"] for row in rows], [row[column] for row in rows], **hollow)
        for row in rows:
            if row not in on_line:
                point = row["coverage"], row[column]
                axis.annotate("pairs {a, a} only", point, (-3, 8), textcoords="offset points", color=style.colour)
    axis.set(yscale="log", ylabel="average CV over epochs")
    axis.set_title("counted (markers), closed form (lines)")


def _cv_column(kind: str) -> str:
    return f"cv_{kind.replace(' ', '_')}"


def _ours(row: Row) -> str:
    seeds = "1 seed" if row["seeds"] == 1 else f"mean ± std of {row['seeds']} seeds"
    return f"{row['dataset']}, imbalance {row['imbalance']:g}, preset {row['preset']}, classifier FC, {seeds}"
