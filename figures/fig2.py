"""Figure 2: how often labels and label pairs occur in an epoch, by sampler, and the average coefficient of variation.

There are two pictures. One shows the mean and standard deviation over epochs at one imbalance factor, with one panel
per sampler and kind of label. The other shows the average CV at every imbalance factor, as counted and by the sampler's
law. Class counts are those of CIFAR10-LT and CIFAR100-LT, so no images are needed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from figures.expected_cv import closed_form
from figures.frequencies import KINDS, Frequency, counted, possible
from figures.style import PAGE_WIDTH, Row, save, style_of
from lpm.console import cli
from lpm.console.errors import InvalidInput
from lpm.console.progress import console
from training.catalogue import CATALOGUE
from training.config import RunConfig
from training.data.datasets import long_tailed_counts
from training.experiments import BOTH, FACTORS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SAMPLERS: dict[str, str] = {"random": "random", "CBS": "cbs", "CAS": "cas", "LOM": "lom", "BMLS": "bmls"}
"""Samplers of the figure by their names in tables."""
APPROXIMATE = {("CAS", "label pair")}
"""Samplers and kinds of label whose closed form is an approximation; see :mod:`figures.expected_cv`."""

POINTS = 50
"""Largest number of points that label pairs a < b are drawn as; pairs (a, a) are drawn as a fifth of it at most."""


@dataclass(frozen=True)
class Drawn:
    """The epochs that a sampler has drawn at one imbalance factor.

    Attributes:
        name: the sampler in tables.
        config: the run whose sampler it is.
        counts: (K,) number of images of each class.
        epochs: number of epochs.
        frequency: frequencies over the epochs by kind of label.
        expected: average CV by kind of label, by the sampler's law.
    """

    name: str
    config: RunConfig
    counts: np.ndarray
    epochs: int
    frequency: dict[str, Frequency]
    expected: dict[str, float]

    @property
    def columns(self) -> dict[str, Any]:
        """Columns that all rows of it share."""
        return {
            "dataset": self.config.dataset,
            "imbalance": int(self.config.imbalance),
            "sampler": self.name,
            "epochs": self.epochs,
        }


def add_options(parser: cli.Parser) -> None:
    """Add the options that choose the epochs, and the imbalance factor of the first picture.

    Args:
        parser: parser of the command.
    """
    factors = "|".join(map(str, FACTORS))
    add = parser.group("figure").add_argument
    add("--epochs", type=int, default=100, help="number of epochs that every sampler draws")
    add("--imbalance", type=int, default=100, metavar="R", help=f"{factors}: imbalance factor of the first picture")
    add("--seed", type=int, default=0, help="seed of the samplers")


def make(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Write fig2 (frequencies) and fig2-cv (average CV).

    Args:
        options: parsed options.
        folder: folder for the files.

    Returns:
        The record for the manifest.

    Raises:
        InvalidInput: if the imbalance factor is not one of the paper's, or the number of epochs is out of range.
    """
    if options.imbalance not in FACTORS:
        raise InvalidInput(
            f"imbalance {options.imbalance} is none of the paper's factors {', '.join(map(str, FACTORS))}"
        )
    from rich.progress import track

    terminal, total = console(), len(BOTH) * len(FACTORS) * len(SAMPLERS)
    silent = options.quiet or not terminal.is_terminal
    draws = draw(options.epochs, options.seed)
    drawn = list(track(draws, "samplers", total, transient=True, console=terminal, disable=silent))
    save(plot, data(drawn, options.imbalance), folder, "fig2")
    save(plot_cv, cv_data(drawn), folder, "fig2-cv")
    return {"epochs": options.epochs, "seed": options.seed, "imbalance": options.imbalance}


def draw(
    epochs: int, seed: int = 0, *, datasets: Sequence[str] = BOTH, factors: Sequence[int] = FACTORS
) -> Iterator[Drawn]:
    """Count the frequencies of every sampler at every imbalance factor.

    Args:
        epochs: number of epochs.
        seed: seed of the samplers.
        datasets: names of the data sets.
        factors: imbalance factors.

    Yields:
        The epochs of one sampler, data set by data set and factor by factor.

    Raises:
        InvalidInput: if the number of epochs is out of range.
    """
    for dataset in datasets:
        for factor in factors:
            counts = long_tailed_counts(50_000 // CATALOGUE[dataset].classes, CATALOGUE[dataset].classes, factor)
            for name, sampler in SAMPLERS.items():
                config = RunConfig(dataset=dataset, imbalance=float(factor), sampler=sampler, seed=seed)
                yield Drawn(
                    name=name,
                    config=config,
                    counts=counts,
                    epochs=epochs,
                    frequency=counted(config, counts, epochs),
                    expected=closed_form(config, counts, epochs),
                )


def data(drawn: Sequence[Drawn], imbalance: int) -> list[Row]:
    """Return the points of the first picture.

    A point is a class, or a group of label pairs that are neighbours when sorted by n_a n_b, falling.

    Args:
        drawn: epochs of the samplers.
        imbalance: imbalance factor of the picture.

    Returns:
        One row per point. Column pairs: for label pairs, whether a < b or a = b. rank: the class, or the group's mean
        rank among all a <= b. mean, std: over epochs, averaged over the group. labels: size of the group. average_cv:
        of the sampler, over all labels of the kind.
    """
    return [row for d in drawn if d.config.imbalance == imbalance for row in (*_class_rows(d), *_pair_rows(d))]


def _class_rows(drawn: Drawn) -> Iterator[Row]:
    frequency = drawn.frequency["label"]
    for k in range(drawn.config.K):
        yield _point(drawn, "label", "", k, frequency.mean[k : k + 1], frequency.std[k : k + 1])


def _pair_rows(drawn: Drawn) -> Iterator[Row]:
    K = drawn.config.K
    all_a, all_b = np.triu_indices(K)
    order = np.argsort(-drawn.counts[all_a] * drawn.counts[all_b], kind="stable")  # frequent to rare
    rank = np.empty((K, K))
    rank[all_a[order], all_b[order]] = np.arange(len(order))
    a, b = possible(drawn.config)
    frequency = drawn.frequency["label pair"]
    for relation, selected, points in (("a < b", a < b, POINTS), ("a = b", a == b, POINTS // 5)):
        indices = np.flatnonzero(selected)
        indices = indices[np.argsort(rank[a[indices], b[indices]])]
        if not len(indices):
            continue
        for group in np.array_split(indices, min(points, len(indices))):
            mean_rank = float(rank[a[group], b[group]].mean())
            yield _point(drawn, "label pair", relation, mean_rank, frequency.mean[group], frequency.std[group])


def _point(drawn: Drawn, kind: str, pairs: str, rank: float, mean: np.ndarray, std: np.ndarray) -> Row:
    return drawn.columns | {
        "kind": kind,
        "pairs": pairs,
        "rank": rank,
        "mean": float(mean.mean()),
        "std": float(std.mean()),
        "labels": len(mean),
        "average_cv": drawn.frequency[kind].average_cv,
    }


def cv_data(drawn: Sequence[Drawn]) -> list[Row]:
    """Return the points of the second picture.

    Args:
        drawn: epochs of the samplers.

    Returns:
        One row per data set, imbalance factor, sampler and kind of label. Column labels: how many the sampler can
        produce, K, or all K(K+1)/2 unordered pairs, for BMLS the K(K-1)/2 with a < b. seen: how many occurred;
        average_cv is over those. closed_form: over all of them, by the sampler's law. exact: whether the closed form is
        exact.
    """
    return [
        d.columns
        | {
            "images": int(d.counts.sum()),
            "kind": kind,
            "labels": len(d.frequency[kind].mean),
            "seen": d.frequency[kind].seen,
            "average_cv": d.frequency[kind].average_cv,
            "closed_form": d.expected[kind],
            "exact": (d.name, kind) not in APPROXIMATE,
        }
        for d in drawn
        for kind in KINDS
    ]


def plot(rows: Sequence[Row]) -> Figure:
    """Draw the frequencies: one column per sampler, and for each data set a line of labels and a line of label pairs.

    Labels are sorted by class, label pairs by n_a n_b. Only "random" has a log scale.

    Args:
        rows: rows of :func:`data`.

    Returns:
        The figure.
    """
    from matplotlib.figure import Figure

    panels = [(dataset, kind) for dataset in _distinct(rows, "dataset") for kind in KINDS]
    figure = Figure(figsize=(PAGE_WIDTH, 0.5 + 1.5 * len(panels)), layout="constrained")
    grid = figure.subplots(len(panels), len(SAMPLERS), squeeze=False)
    for line, (dataset, kind) in zip(grid, panels, strict=True):
        for axis, sampler in zip(line, SAMPLERS, strict=True):
            _panel(axis, _select(rows, dataset=dataset, kind=kind, sampler=sampler))
        for axis in line[2:]:
            axis.sharey(line[1])
            axis.tick_params(labelleft=False)
        line[0].set_ylabel(f"{dataset.upper()}\n{kind}s, times an epoch")
        pair_label = "label pair {a, b}, by the product of its classes' counts, frequent to rare"
        line[2].set_xlabel("class, frequent to rare" if kind == "label" else pair_label)
    figure.suptitle(f"imbalance factor {rows[0]['imbalance']}", fontsize=8)
    figure.legend(*grid[1, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _panel(axis: Axes, rows: Sequence[Row]) -> None:
    """Draw the frequencies of one sampler and kind of label."""
    sampler, style = rows[0]["sampler"], style_of(rows[0]["sampler"])
    axis.set_title(sampler)
    cv = rf"$\overline{{\mathrm{{CV}}}}$ {rows[0]['average_cv']:.2g}"
    axis.set_title(cv, loc="right", fontweight="normal", fontsize=7)
    if sampler == "random":
        axis.set_yscale("log")
        positive = [row["mean"] for row in rows if row["mean"] > 0]
        axis.set_ylim(min(positive) / 2, 2 * max(positive))
    x, mean, std = _columns([row for row in rows if row["pairs"] != "a = b"], "rank", "mean", "std")
    axis.plot(x, mean, color=style.colour, lw=1, label="mean")
    band = f"± standard deviation over {rows[0]['epochs']} epochs"
    axis.fill_between(x, mean - std, mean + std, color=style.colour, alpha=0.3, lw=0, label=band)
    if same_class := [row for row in rows if row["pairs"] == "a = b"]:
        x, mean, std = _columns(same_class, "rank", "mean", "std")
        hollow: Any = dict(fmt="o", mfc="white", ms=2.5, mew=0.6, color="black", lw=0.6)
        axis.errorbar(x, mean, std, **hollow, label="the same for label pairs {a, a}")


def plot_cv(rows: Sequence[Row]) -> Figure:
    """Draw the average CV over the imbalance factor: counted (markers), and by the sampler's law (lines).

    Args:
        rows: rows of :func:`cv_data`.

    Returns:
        The figure, one panel per kind of label and data set.
    """
    from matplotlib.figure import Figure

    datasets = _distinct(rows, "dataset")
    figure = Figure(figsize=(PAGE_WIDTH, 4.6), layout="constrained")
    grid = figure.subplots(len(KINDS), len(datasets), squeeze=False, sharex=True, sharey="row")
    for line, kind in zip(grid, KINDS, strict=True):
        for axis, dataset in zip(line, datasets, strict=True):
            axis.set_title(f"{dataset.upper()}, {kind}s")
            axis.set(xscale="log", yscale="log", ymargin=0.1)
            for sampler in SAMPLERS:
                _curve(axis, _select(rows, dataset=dataset, kind=kind, sampler=sampler))
        line[0].set_ylabel("average CV over epochs")
    factors = sorted(_distinct(rows, "imbalance"))
    for axis in grid[-1]:
        axis.set_xlabel("imbalance factor")
        axis.set_xticks(factors, [str(f) for f in factors])
        axis.xaxis.minorticks_off()
    title = f"counted over {rows[0]['epochs']} epochs (markers), by the sampler's law (lines)"
    figure.legend(*grid[-1, 0].get_legend_handles_labels(), loc="outside upper center", ncols=5, title=title)
    return figure


def _curve(axis: Axes, rows: Sequence[Row]) -> None:
    """Draw the average CV of a sampler on one data set. A log scale cannot show zeros, so a label says them."""
    sampler, style = rows[0]["sampler"], style_of(rows[0]["sampler"])
    x, cv, law = _columns(rows, "imbalance", "average_cv", "closed_form")
    if not cv.any():
        axis.annotate(f"{sampler}: 0", (0.98, 0.04), xycoords="axes fraction", ha="right", fontsize=7.5)
        return
    axis.plot(x, law, color=style.colour, linestyle=style.dash, lw=1)
    axis.plot(x, cv, color=style.colour, marker=style.marker, ms=4.5, mfc="none", ls="", label=sampler)
    for row in rows:
        if row["seen"] < row["labels"]:  # labels that never occurred count in the law only
            point, text = (row["imbalance"], row["closed_form"]), f"{100 * row['seen'] / row['labels']:.1f} % seen"
            axis.annotate(text, point, (4, 5), textcoords="offset points", ha="right", fontsize=7)


def _distinct(rows: Sequence[Row], column: str) -> list[Any]:
    """Return the values of a column, each once."""
    return list(dict.fromkeys(row[column] for row in rows))


def _select(rows: Sequence[Row], **values: Any) -> list[Row]:
    """Return the rows that have these values in these columns."""
    return [row for row in rows if all(row[name] == value for name, value in values.items())]


def _columns(rows: Sequence[Row], *names: str) -> list[np.ndarray]:
    return [np.array([row[name] for row in rows]) for name in names]
