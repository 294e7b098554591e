"""Figure 3: test accuracy and average coefficient of variation over the coverage ratio, beside the paper's accuracies.

At a coverage ratio r round(r K) classes, drawn anew each epoch, are mixed with one another (label pairs a < b), the others
within themselves (a, a), as :class:`training.sampling.samplers.Coverage` says. The classifier is FC. The paper prints its
accuracies, but neither the imbalance factor nor the values of the average CV.
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
from training.store.runs import RunFolder

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RATIOS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
SPLITS = ("all", "many", "med", "few")
MOST = 1_000_000
"""Training images that a class may have, twenty times all that CIFAR has."""
KIND_STYLES = dict(zip(KINDS, (Style("#0072B2", "-", "o"), Style("#D55E00", (0, (5, 1.5)), "D")), strict=True))


def add_options(parser: cli.Parser) -> None:
    """Which runs."""
    store.add_options(parser)


def make(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Write fig3 and its table, fig3.md. Raises InvalidInput when runs are missing, with the command that makes them."""
    setting = store.setting(options)
    rows = data(setting)
    save(plot, rows, folder, "fig3")
    (folder / "fig3.md").write_text(markdown(rows), encoding="utf-8")
    return {name: rows[0][name] for name in ("dataset", "imbalance", "preset")} | {"seeds": setting.seeds}


def command(setting: store.Setting) -> str:
    """One shell line that trains all runs."""
    ratios = " ".join(f"{ratio:g}" for ratio in RATIOS)
    return f"for r in {ratios}; do python -m training.train --sampler coverage --coverage $r {setting.command_options}; done"


def data(setting: store.Setting) -> list[Row]:
    """A row a coverage ratio.

    all, many, med, few: mean test accuracy of the seeds' last epochs in per cent, and its std. cv: average CV of labels and of
    label pairs over the epochs of the first seed's run, of those that occurred; closed_form: of all, by the sampler's law.
    paper: accuracies of the paper's Figure 3, on paper_dataset. Raises InvalidInput when runs are missing.
    """
    base = {r: store.configs(setting, "random+FC", sampler="coverage", coverage=r) for r in RATIOS}
    folders = store.finished_runs([c for configs in base.values() for c in configs], setting, command(setting))
    n = len(setting.seeds)
    return [_row(setting, folders[i * n : (i + 1) * n]) for i in range(len(RATIOS))]


def _row(setting: store.Setting, folders: Sequence[RunFolder]) -> Row:
    from training.sampling.samplers import mixed_classes  # brings torch

    metrics, config = [_result(folder) for folder in folders], folders[0].config
    row: dict[str, Any] = {
        "dataset": ", ".join(sorted({m["dataset"] for m in metrics})),
        "imbalance": setting.imbalance,
        "preset": setting.preset,
        "seeds": len(folders),
        "coverage": config.coverage,
        "mixed_classes": mixed_classes(config.coverage, config.K),
    }
    for split in SPLITS:
        values = [m["last"][split] for m in metrics]
        row |= {split: statistics.fmean(values), f"{split}_std": statistics.stdev(values) if len(values) > 1 else None}
    counts = np.array(metrics[0]["train_counts"])
    cv, law = counted(config, counts, config.epochs), closed_form(config, counts, config.epochs)
    for kind in KINDS:
        row |= {_cv(kind): cv[kind].average_cv, f"{_cv(kind)}_closed_form": law[kind]}
    return row | _printed(setting.dataset, config.coverage)


def _result(folder: RunFolder) -> dict[str, Any]:
    """A run's metrics. Raises InvalidInput without the accuracy of a split, or the number of images of each class."""
    found, K = folder.metrics(), folder.config.K
    counts = found.get("train_counts")
    if lacking := [split for split in SPLITS if split not in found["last"]]:
        raise InvalidInput(f"the result of run {str(folder.path)!r} has no accuracy {lacking[0]!r}; train it again")
    if not isinstance(counts, list) or len(counts) != K or not all(type(n) is int and 1 <= n <= MOST for n in counts):
        raise InvalidInput(
            f"the result of run {str(folder.path)!r} has train_counts {str(counts)[:40]!r}, which must be {K} whole numbers "
            f"in 1..{MOST:,}, the images of each class; train it again"
        )
    return found


def _printed(dataset: str, ratio: float) -> dict[str, Any]:
    """The paper's accuracies at a ratio: on the same data set, for the digits on the one that has as many classes."""
    dataset = "cifar10-lt" if dataset == store.DIGITS else dataset
    cells = {(c.dataset, c.method, c.split): c.mean for c in load("figure3")}
    return {"paper_dataset": dataset} | {
        f"paper_{split}": cells[dataset, f"coverage {ratio:.1f}", split] for split in SPLITS
    }


def markdown(rows: Sequence[Row]) -> str:
    """The table as Markdown. No difference is formed: the imbalance factors, if nothing else, may not be the same."""
    first = rows[0]
    ours, paper = f"ours, {first['dataset']}", f"paper, {first['paper_dataset']}"
    head = ["coverage ratio", "mixed classes", *(f"{s} ({ours})" for s in SPLITS), *(f"{s} ({paper})" for s in SPLITS)]
    head += [f"average CV of {kind}s (closed form)" for kind in KINDS]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        cells = [f"{row['coverage']:g}", str(row["mixed_classes"])]
        cells += [_accuracy(row[split], row[f"{split}_std"]) for split in SPLITS]
        cells += [_accuracy(row[f"paper_{split}"], None) for split in SPLITS]
        lines.append(cells + [f"{row[_cv(kind)]:.3g} ({row[_cv(kind) + '_closed_form']:.3g})" for kind in KINDS])
    return (
        f"Test accuracy in per cent over the coverage ratio. Ours: {_ours(first)}. The paper's: Figure 3, without the imbalance "
        "factor and the average CV, which it does not print.\nLabel pairs are a < b among the mixed classes, (a, a) for each of "
        "the others.\n\n" + cli.markdown_table(lines)
    )


def _accuracy(mean: float, std: float | None) -> str:
    return f"{mean:.2f}" + (f" ± {std:.2f}" if std is not None else "")


def plot(rows: Sequence[Row]) -> Figure:
    """Left accuracy by split, right average CV, over the coverage ratio."""
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
    """Ours as lines; the paper's as hollow markers where it has the data set."""
    x = [row["coverage"] for row in rows]
    printed = rows[0]["dataset"] != store.DIGITS
    for split in SPLITS:
        style, std = style_of(split), [row[f"{split}_std"] for row in rows]
        shared: Any = dict(color=style.colour, marker=style.marker)
        error = None if None in std else std
        axis.errorbar(x, [row[split] for row in rows], error, linestyle=style.dash, label=split, **shared)
        if printed:
            axis.plot(x, [row[f"paper_{split}"] for row in rows], ls="", mfc="none", ms=5.5, **shared)
    axis.set_ylabel("test accuracy (%)")
    axis.set_title("test accuracy" + (" (hollow: the paper's)" if printed else ""))


def _variation(axis: Axes, rows: Sequence[Row]) -> None:
    """Average CV as counted and by law. The line of label pairs leaves out ratio 0, where none of them is a < b."""
    for kind, style in KIND_STYLES.items():
        name = _cv(kind)
        line = [row for row in rows if kind == "label" or row["mixed_classes"]]
        x, law = [row["coverage"] for row in line], [row[f"{name}_closed_form"] for row in line]
        axis.plot(x, law, color=style.colour, linestyle=style.dash, lw=1)
        hollow: Any = dict(color=style.colour, marker=style.marker, ls="", mfc="none", ms=5.5, label=f"{kind}s")
        axis.plot([row["coverage"] for row in rows], [row[name] for row in rows], **hollow)
        for row in rows:
            if row not in line:
                place = row["coverage"], row[name]
                axis.annotate("pairs {a, a} only", place, (-3, 8), textcoords="offset points", color=style.colour)
    axis.set(yscale="log", ylabel="average CV over epochs")
    axis.set_title("counted (markers), closed form (lines)")


def _cv(kind: str) -> str:
    return f"cv_{kind.replace(' ', '_')}"


def _ours(row: Row) -> str:
    seeds = "1 seed" if row["seeds"] == 1 else f"mean ± std of {row['seeds']} seeds"
    return f"{row['dataset']}, imbalance {row['imbalance']:g}, preset {row['preset']}, classifier FC, {seeds}"
