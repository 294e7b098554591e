"""Figure 2: how often labels and label pairs occur in an epoch, by sampler, and the average coefficient of variation.

Two pictures: the mean and standard deviation over epochs at one imbalance factor, a panel a sampler and kind of label; and the
average CV at every imbalance factor, as counted and as the sampler's law has it. Class counts are those of CIFAR10-LT and
CIFAR100-LT, so no images are needed.
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
from training.catalogue import CLASSES
from training.config import RunConfig, SamplerName
from training.data.datasets import long_tailed_counts
from training.experiments import BOTH, FACTORS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SAMPLERS: dict[str, SamplerName] = {"random": "random", "CBS": "cbs", "CAS": "cas", "LOM": "lom", "BMLS": "bmls"}
APPROXIMATE = {("CAS", "label pair")}
"""Closed forms that are none; see :mod:`figures.expected_cv`."""

POINTS = 50
"""Label pairs a < b are drawn in at most so many groups, pairs (a, a) in a fifth of them."""


@dataclass(frozen=True)
class Drawn:
    """Frequencies by kind of label over the epochs of a sampler, and their average CV by its law.

    name: of the sampler in tables. counts: (K,) images of each class.
    """

    name: str
    config: RunConfig
    counts: np.ndarray
    epochs: int
    frequency: dict[str, Frequency]
    expected: dict[str, float]

    @property
    def words(self) -> dict[str, Any]:
        """What a row says of it."""
        config = self.config
        return {
            "dataset": config.dataset,
            "imbalance": int(config.imbalance),
            "sampler": self.name,
            "epochs": self.epochs,
        }


def add_options(parser: cli.Parser) -> None:
    """Which epochs, and which imbalance factor is drawn in full."""
    factors = "|".join(map(str, FACTORS))
    parser.add_argument("--epochs", type=int, default=100, help="epochs that every sampler draws")
    parser.add_argument(
        "--imbalance", type=int, default=100, metavar="R", help=f"{factors}: of the picture of frequencies"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the samplers")


def make(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Write fig2 (frequencies) and fig2-cv (average CV). Raises InvalidInput for an imbalance factor that is not the paper's."""
    if options.imbalance not in FACTORS:
        raise InvalidInput(
            f"imbalance {options.imbalance} is none of the paper's factors {', '.join(map(str, FACTORS))}"
        )
    from rich.console import Console
    from rich.progress import track

    console, total = Console(stderr=True), len(BOTH) * len(FACTORS) * len(SAMPLERS)
    silent = options.quiet or not console.is_terminal
    every = draw(options.epochs, options.seed)
    drawn = list(track(every, "samplers", total, transient=True, console=console, disable=silent))
    save(plot, data(drawn, options.imbalance), folder, "fig2")
    save(plot_cv, cv_data(drawn), folder, "fig2-cv")
    return {"epochs": options.epochs, "seed": options.seed, "imbalance": options.imbalance}


def draw(
    epochs: int, seed: int = 0, *, datasets: Sequence[str] = BOTH, factors: Sequence[int] = FACTORS
) -> Iterator[Drawn]:
    """Count the frequencies of every sampler at every imbalance factor. Raises InvalidInput for fewer than two epochs."""
    for dataset in datasets:
        for factor in factors:
            counts = long_tailed_counts(50_000 // CLASSES[dataset], CLASSES[dataset], factor)
            for name, sampler in SAMPLERS.items():
                config = RunConfig(dataset=dataset, imbalance=float(factor), sampler=sampler, seed=seed)  # type: ignore[arg-type]
                frequency = counted(config, counts, epochs)
                yield Drawn(name, config, counts, epochs, frequency, closed_form(config, counts, epochs))


def data(drawn: Sequence[Drawn], imbalance: int) -> list[Row]:
    """A row a point of Figure 2: a class, or a group of label pairs that are neighbours when sorted by n_a n_b, falling.

    pairs: of label pairs, whether a < b or a = b. rank: the class, or the group's mean rank among all a <= b. mean, std: over
    epochs, averaged over the group. labels: how many are in it. average_cv: of the sampler, over all labels of the kind.
    """
    return [row for d in drawn if d.config.imbalance == imbalance for row in (*_classes(d), *_pairs(d))]


def _classes(d: Drawn) -> Iterator[Row]:
    found = d.frequency["label"]
    for k in range(d.config.K):
        yield _point(d, "label", "", k, found.mean[k : k + 1], found.std[k : k + 1], found.average_cv)


def _pairs(d: Drawn) -> Iterator[Row]:
    rank = np.empty((d.config.K, d.config.K))
    every = np.array(np.triu_indices(d.config.K))
    by_product = np.argsort(-d.counts[every[0]] * d.counts[every[1]], kind="stable")
    rank[tuple(every[:, by_product])] = np.arange(every.shape[1])
    a, b = possible(d.config)
    found = d.frequency["label pair"]
    for pairs, here, points in (("a < b", a < b, POINTS), ("a = b", a == b, POINTS // 5)):
        where = np.flatnonzero(here)[np.argsort(rank[a[here], b[here]])]
        for group in np.array_split(where, min(points, len(where))) if len(where) else []:
            middle = float(rank[a[group], b[group]].mean())
            yield _point(d, "label pair", pairs, middle, found.mean[group], found.std[group], found.average_cv)


def _point(d: Drawn, kind: str, pairs: str, rank: float, mean: np.ndarray, std: np.ndarray, average_cv: float) -> Row:
    numbers = {"mean": float(mean.mean()), "std": float(std.mean()), "labels": len(mean), "average_cv": average_cv}
    return d.words | {"kind": kind, "pairs": pairs, "rank": rank} | numbers


def cv_data(drawn: Sequence[Drawn]) -> list[Row]:
    """A row a data set, imbalance factor, sampler and kind of label.

    labels: how many the sampler can produce: K; all K(K+1)/2 unordered pairs, for BMLS the K(K-1)/2 with a < b. seen: how many
    occurred; average_cv is over those. closed_form: over all of them, by the sampler's law; exact: whether it is.
    """
    return [
        d.words
        | {"images": int(d.counts.sum()), "kind": kind, "labels": len(d.frequency[kind].mean)}
        | {"seen": d.frequency[kind].seen, "average_cv": d.frequency[kind].average_cv}
        | {"closed_form": d.expected[kind], "exact": (d.name, kind) not in APPROXIMATE}
        for d in drawn
        for kind in KINDS
    ]


def plot(rows: Sequence[Row]) -> Figure:
    """A column a sampler, two rows a data set: labels by class, label pairs by n_a n_b. Only 'random' has a log scale."""
    from matplotlib.figure import Figure

    panels = [(dataset, kind) for dataset in _once(rows, "dataset") for kind in KINDS]
    figure = Figure(figsize=(PAGE_WIDTH, 0.5 + 1.5 * len(panels)), layout="constrained")
    grid = figure.subplots(len(panels), len(SAMPLERS), squeeze=False)
    for line, (dataset, kind) in zip(grid, panels, strict=True):
        for axis, sampler in zip(line, SAMPLERS, strict=True):
            _panel(axis, _where(rows, dataset=dataset, kind=kind, sampler=sampler))
        for axis in line[2:]:
            axis.sharey(line[1])
            axis.tick_params(labelleft=False)
        line[0].set_ylabel(f"{dataset.upper()}\n{kind}s, times an epoch")
        of_pairs = "label pair {a, b}, by the product of its classes' counts, frequent to rare"
        line[2].set_xlabel("class, frequent to rare" if kind == "label" else of_pairs)
    figure.suptitle(f"imbalance factor {rows[0]['imbalance']}", fontsize=8)
    figure.legend(*grid[1, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _panel(axis: Axes, rows: Sequence[Row]) -> None:
    """Frequencies of one sampler and kind of label."""
    sampler, style = rows[0]["sampler"], style_of(rows[0]["sampler"])
    axis.set_title(sampler)
    cv = rf"$\overline{{\mathrm{{CV}}}}$ {rows[0]['average_cv']:.2g}"
    axis.set_title(cv, loc="right", fontweight="normal", fontsize=7)
    if sampler == "random":
        axis.set_yscale("log")
        seen = [r["mean"] for r in rows if r["mean"] > 0]
        axis.set_ylim(min(seen) / 2, 2 * max(seen))
    x, mean, std = _columns([r for r in rows if r["pairs"] != "a = b"], "rank", "mean", "std")
    spread = f"± standard deviation over {rows[0]['epochs']} epochs"
    axis.plot(x, mean, color=style.colour, lw=1, label="mean")
    axis.fill_between(x, mean - std, mean + std, color=style.colour, alpha=0.3, lw=0, label=spread)
    if same := [r for r in rows if r["pairs"] == "a = b"]:
        x, mean, std = _columns(same, "rank", "mean", "std")
        hollow: Any = dict(fmt="o", mfc="white", ms=2.5, mew=0.6, color="black", lw=0.6)
        axis.errorbar(x, mean, std, **hollow, label="the same for label pairs {a, a}")


def plot_cv(rows: Sequence[Row]) -> Figure:
    """Average CV over the imbalance factor: counted (markers), by the sampler's law (lines)."""
    from matplotlib.figure import Figure

    datasets = _once(rows, "dataset")
    figure = Figure(figsize=(PAGE_WIDTH, 4.6), layout="constrained")
    grid = figure.subplots(len(KINDS), len(datasets), squeeze=False, sharex=True, sharey="row")
    for line, kind in zip(grid, KINDS, strict=True):
        for axis, dataset in zip(line, datasets, strict=True):
            axis.set_title(f"{dataset.upper()}, {kind}s")
            axis.set(xscale="log", yscale="log", ymargin=0.1)
            for sampler in SAMPLERS:
                _curve(axis, _where(rows, dataset=dataset, kind=kind, sampler=sampler))
        line[0].set_ylabel("average CV over epochs")
    factors = sorted(_once(rows, "imbalance"))
    for axis in grid[-1]:
        axis.set_xlabel("imbalance factor")
        axis.set_xticks(factors, [str(f) for f in factors])
        axis.xaxis.minorticks_off()
    title = f"counted over {rows[0]['epochs']} epochs (markers), by the sampler's law (lines)"
    figure.legend(*grid[-1, 0].get_legend_handles_labels(), loc="outside upper center", ncols=5, title=title)
    return figure


def _curve(axis: Axes, rows: Sequence[Row]) -> None:
    """Average CV of a sampler on one data set; zeros, which a log scale has no place for, are named."""
    sampler, style = rows[0]["sampler"], style_of(rows[0]["sampler"])
    x, cv, law = _columns(rows, "imbalance", "average_cv", "closed_form")
    if not cv.any():
        axis.annotate(f"{sampler}: 0", (0.98, 0.04), xycoords="axes fraction", ha="right", fontsize=7.5)
        return
    axis.plot(x, law, color=style.colour, linestyle=style.dash, lw=1)
    axis.plot(x, cv, color=style.colour, marker=style.marker, ms=4.5, mfc="none", ls="", label=sampler)
    for row in rows:
        if row["seen"] < row["labels"]:  # labels that never occurred count in the law only
            place, text = (row["imbalance"], row["closed_form"]), f"{100 * row['seen'] / row['labels']:.1f} % seen"
            axis.annotate(text, place, (4, 5), textcoords="offset points", ha="right", fontsize=7)


def _once(rows: Sequence[Row], name: str) -> list[Any]:
    return list(dict.fromkeys(row[name] for row in rows))


def _where(rows: Sequence[Row], **values: Any) -> list[Row]:
    return [row for row in rows if all(row[name] == value for name, value in values.items())]


def _columns(rows: Sequence[Row], *names: str) -> list[np.ndarray]:
    return [np.array([row[name] for row in rows]) for name in names]
