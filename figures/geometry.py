"""Trained networks against their own layer-peeled optimum: the comparison the project exists for.

Every run is measured several times (:mod:`training.run.measurement`). Each measurement gives budgets. The program at
these budgets and the run's label-pair frequencies is solved, and class vectors are compared: cosines, lengths,
self-duality.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from figures import store
from figures.optimum import Budget, Network, Optimum, add_budget, frequencies, network, optimum, self_duality
from figures.style import PAGE_WIDTH, SEQUENTIAL, Row, save, style_of, write_rows
from lpm import geometry
from lpm.console import cli
from lpm.console.errors import InvalidInput
from training.methods import KINDS, settings
from training.store.metrics import splits
from training.store.runs import RunFolder

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METHODS = ("random+FC", "CBS+FC", "CAS+FC", "BMLS+FC", "random+MS", "BMLS+MS")
"""Methods that are compared where no runs are named, in the order of the figure."""
REFERENCE = "BMLS+FC"
"""Method that others are compared with. Its label pairs are balanced: a difference from it is the sampler's effect."""

FLAT = 0.02
"""Predictions that differ by less count as one number."""


def add_options(parser: cli.Parser) -> None:
    """Add the options that choose the runs and the budget of their optimum.

    Args:
        parser: parser of the command.
    """
    parser.group("figure").add_argument(
        "runs",
        type=Path,
        nargs="*",
        metavar="RUN",
        help="folders of finished runs; without them the options below choose",
    )
    add_budget(parser)
    store.add_options(parser)


def chosen(options: argparse.Namespace) -> list[RunFolder]:
    """Return the runs that the options name.

    Args:
        options: parsed options.

    Returns:
        Finished runs.

    Raises:
        InvalidInput: if a run is missing; the message says which command trains it.
    """
    if options.runs:
        return [store.read_run(path) for path in options.runs]
    setting = store.setting(options)
    wanted = [config for method in METHODS for config in store.configs(setting, method)]
    return store.finished_runs(wanted, setting, store.table_command(setting, 8, 4))


def make(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Write the comparison over the epochs, at the end, and against the reference method.

    Args:
        options: parsed options.
        folder: folder for the files.

    Returns:
        The record for the manifest.

    Raises:
        InvalidInput: if runs are missing, damaged or not comparable.
        NotCertified: if an optimum cannot be certified.
    """
    runs = chosen(options)
    check_comparable(runs)
    order = {method: number for number, method in enumerate(METHODS)}  # as in the paper's tables
    runs.sort(key=lambda run: (order.get(run.config.method, len(order)), run.config.key, run.config.seed))
    comparisons = [compare(run, options.budget) for run in runs]
    epochs = [row for epoch_rows, _ in comparisons for row in epoch_rows]
    cosines = [row for _, pair_rows in comparisons for row in pair_rows]
    save(plot_cosines, cosines, folder, "geometry-cosines")
    save(plot_epochs, epochs, folder, "geometry-epochs")
    changes = changed(cosines)
    if changes:
        save(plot_changes, changes, folder, "geometry-changes")
    last = [epoch_rows[-1] for epoch_rows, _ in comparisons]
    write_rows(last, folder / "geometry.csv")
    (folder / "geometry.md").write_text(markdown(last, changes), encoding="utf-8")
    return {"runs": [run.config.folder for run in runs], "budget": options.budget}


METHOD = (*KINDS, *settings(), "features", "seed")
"""Fields of a config in which runs of one comparison may differ."""


def check_comparable(runs: Sequence[RunFolder]) -> None:
    """Check that runs differ in their method and seed alone.

    Args:
        runs: finished runs.

    Raises:
        InvalidInput: if a run is given twice, or runs differ in more than method and seed.
    """
    paths = [run.path.resolve() for run in runs]
    if repeated := [run for run, path in zip(runs, paths, strict=True) if paths.count(path) > 1]:
        raise InvalidInput(f"{str(repeated[0].path)!r} is given twice")
    first = runs[0]
    for run in runs[1:]:
        for field in fields(run.config):
            if field.name not in (*METHOD, "preset"):
                first_value, value = (getattr(r.config, field.name) for r in (first, run))
                if first_value != value:
                    raise InvalidInput(
                        f"{str(first.path)!r} has {field.name} {first_value}, {str(run.path)!r} {value}; "
                        "draw them apart"
                    )
        if run.result().dataset != first.result().dataset:
            raise InvalidInput(f"{str(first.path)!r} and {str(run.path)!r} were trained on other data; draw them apart")


def compare(run: RunFolder, budget: Budget = "means") -> tuple[list[Row], list[Row]]:
    """Compare a run with its optimum after every measured epoch.

    Args:
        run: a finished run.
        budget: whose mean squared length E_H is.

    Returns:
        One row per measured epoch; and for the last one, one row per pair of classes.

    Raises:
        InvalidInput: if the run holds no measurements or damaged ones, or has less than two few-shot classes.
        NotCertified: if an optimum cannot be certified.
    """
    if not (epochs := run.geometries()):
        raise InvalidInput(
            f"{str(run.path)!r} holds no geometry; it is of an older version: delete it and train it again"
        )
    _few(run)  # raises before much is solved
    counts = frequencies(run)
    rows = []
    for epoch in epochs:
        net = network(run, epoch)
        best = optimum(run, net, counts, budget)
        rows.append(_epoch_row(run, net, best))
    return rows, _pair_rows(run, net, best)


def _described(run: RunFolder) -> dict[str, Any]:
    """Return the columns that name a run."""
    config = run.config
    # A recipe that is not a preset's ("paper+") is told apart by the key, because such recipes share a name.
    method = f"{config.method} {config.key[:4]}" if config.preset.endswith("+") else config.method
    return {
        "dataset": run.result().dataset,
        "imbalance": config.imbalance,
        "preset": config.preset,
        "method": method,
        "seed": config.seed,
    }


def _few(run: RunFolder) -> slice:
    """Return the few-shot classes. Raise InvalidInput unless there are two, between which there is a cosine."""
    counts = np.array(run.result().train_counts)
    first, last = splits(run.config.dataset, counts, run.config.tail).get("few", (0, 0))
    if first == last:
        raise InvalidInput(f"{str(run.path)!r} has less than two few-shot classes, and no cosine between them")
    return slice(first, last + 1)


def _scaled_lengths(W: np.ndarray) -> np.ndarray:
    """Return the lengths of class vectors (K, p) scaled to mean squared length 1: (K,)."""
    return np.linalg.norm(W, axis=1) / np.sqrt((W**2).sum() / len(W))


def _scaled_gram(W: np.ndarray) -> np.ndarray:
    """Return the Gram matrix of class vectors (K, p) scaled to mean squared length 1: (K, K)."""
    return W @ W.T * len(W) / (W**2).sum()


def _epoch_row(run: RunFolder, net: Network, best: Optimum) -> Row:
    cosine, predicted = (geometry.cosines(W @ W.T) for W in (net.W, best.W))
    length, predicted_length = (_scaled_lengths(W) for W in (net.W, best.W))
    off_diagonal = ~np.eye(run.config.K, dtype=bool)
    few = _few(run)
    different = off_diagonal[few, few]
    dual, predicted_dual = self_duality(net, best)
    return _described(run) | {
        "epoch": net.epoch,
        "E_W": best.e_w,
        "E_H": best.e_h,
        "mean_square": best.mean_square,
        "loss_of_optimum": best.loss,
        "relative_gap": best.relative_gap,
        "rank_of_optimum": best.rank,
        "noise": net.noise,
        "correlation": correlation(predicted[off_diagonal], cosine[off_diagonal]),
        "largest_deviation": float(np.abs(predicted - cosine)[off_diagonal].max()),
        "rms_deviation": float(np.sqrt(((predicted - cosine)[off_diagonal] ** 2).mean())),
        "few_cosine": float(cosine[few, few][different].mean()),
        "few_cosine_predicted": float(predicted[few, few][different].mean()),
        "few_length": float(length[few].mean()),
        "few_length_predicted": float(predicted_length[few].mean()),
        "length_correlation": correlation(predicted_length, length),
        "self_duality": dual,
        "self_duality_predicted": predicted_dual,
    }


def _pair_rows(run: RunFolder, net: Network, best: Optimum) -> list[Row]:
    cosine, predicted = (geometry.cosines(W @ W.T) for W in (net.W, best.W))
    gram, predicted_gram = (_scaled_gram(W) for W in (net.W, best.W))

    def product(matrix: np.ndarray, a: int, b: int) -> float:
        """Return w_a . w_b, or for a = b the length |w_a|."""
        return float(matrix[a, b]) if a != b else float(np.sqrt(matrix[a, a]))

    return [
        _described(run)
        | {
            "epoch": net.epoch,
            "a": a,
            "b": b,
            "cosine": float(cosine[a, b]),
            "cosine_predicted": float(predicted[a, b]),
            "product": product(gram, a, b),
            "product_predicted": product(predicted_gram, a, b),
        }
        for a in range(len(cosine))
        for b in range(len(cosine))
    ]


def correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Return Pearson's correlation of predictions and measurements.

    Args:
        x: (n,) predictions.
        y: (n,) measurements.

    Returns:
        The correlation; nan where predictions differ by ``FLAT`` or less, or measurements not at all. Then there is no
        order to predict.
    """
    return float(np.corrcoef(x, y)[0, 1]) if np.ptp(x) > FLAT and np.ptp(y) > 0 else float("nan")


def changed(rows: Sequence[Row]) -> list[Row]:
    """Return how products of class vectors change from the reference method to another, at the same setting and seed.

    Class vectors are scaled to mean squared length 1. The product is w_a . w_b, and for a = b the length |w_a|. Similar
    images move the cosines of their classes in every run; the difference of two runs does not have that part.

    Args:
        rows: rows of :func:`compare` by pair of classes.

    Returns:
        One row per run of another method and a <= b, with the measured and the predicted change.
    """
    shared = ("dataset", "imbalance", "preset", "seed", "a", "b")
    references = {tuple(row[name] for name in shared): row for row in rows if row["method"] == REFERENCE}
    changes: list[Row] = []
    for row in rows:
        reference = references.get(tuple(row[name] for name in shared))
        if reference is not None and row["method"] != REFERENCE and row["a"] <= row["b"]:
            changes.append(
                {
                    **{name: row[name] for name in (*shared, "method")},
                    "change": row["product"] - reference["product"],
                    "change_predicted": row["product_predicted"] - reference["product_predicted"],
                }
            )
    return changes


def markdown(rows: Sequence[Row], changes: Sequence[Row]) -> str:
    """Return the table of the last epochs, measured / predicted, each the mean over the seeds.

    Args:
        rows: the last row of each run.
        changes: rows of :func:`changed`. The last two columns have their correlations of predicted and measured change,
            of lengths and of products.

    Returns:
        The table as Markdown, one line per method.
    """
    head = (
        "method", "n", "E_W", "mean square of features", "few-few cosine", "few length", "correlation",
        "largest deviation", "self-duality", "change of lengths, r", "change of products, r",
    )  # fmt: skip
    lines = [head, ("---",) * len(head)]
    for method in dict.fromkeys(row["method"] for row in rows):
        runs = [row for row in rows if row["method"] == method]
        numbers = [name for name, value in runs[0].items() if isinstance(value, float)]
        mean = {name: float(np.mean([row[name] for row in runs])) for name in numbers}
        length_r, product_r = _change_correlations([row for row in changes if row["method"] == method])
        lines.append(
            (
                method, str(len(runs)), f"{mean['E_W']:.2f}", f"{mean['mean_square']:.2f}",
                f"{mean['few_cosine']:+.2f} / {mean['few_cosine_predicted']:+.2f}",
                f"{mean['few_length']:.2f} / {mean['few_length_predicted']:.2f}", _or_dash(mean["correlation"]),
                f"{mean['largest_deviation']:.2f}",
                f"{mean['self_duality']:.2f} / {mean['self_duality_predicted']:.2f}",
                _or_dash(length_r), _or_dash(product_r),
            )
        )  # fmt: skip
    first = rows[0]
    note = f"{first['dataset']}, imbalance {first['imbalance']:g}, preset {first['preset']}, last epoch"
    return cli.markdown_table(lines) + f"\n{note}; reference {REFERENCE}.\n"


def _or_dash(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:+.2f}"


def _change_correlations(changes: Sequence[Row]) -> tuple[float, float]:
    """Return the correlations of predicted and measured changes: of lengths (a = b), and of products (a < b)."""

    def of(rows: Sequence[Row]) -> float:
        if not rows:
            return float("nan")
        return correlation(np.array([r["change_predicted"] for r in rows]), np.array([r["change"] for r in rows]))

    return of([r for r in changes if r["a"] == r["b"]]), of([r for r in changes if r["a"] != r["b"]])


def _first_seeds(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the rows of each method's smallest seed."""
    methods = dict.fromkeys(row["method"] for row in rows)
    seeds = {method: min(row["seed"] for row in rows if row["method"] == method) for method in methods}
    return {
        method: [row for row in rows if row["method"] == method and row["seed"] == seeds[method]] for method in methods
    }


def plot_cosines(rows: Sequence[Row]) -> Figure:
    """Draw cosine matrices, the network's above its optimum's, one column per method (its smallest seed).

    Args:
        rows: rows of :func:`compare` by pair of classes.

    Returns:
        The figure.
    """
    from matplotlib.figure import Figure

    shown = _first_seeds(rows)
    columns = len(shown)
    figure = Figure(figsize=(max(PAGE_WIDTH * columns / 6, 2.6), 2.35), layout="constrained")
    axes = figure.subplots(2, columns, squeeze=False)
    for column, (method, pair_rows) in enumerate(shown.items()):
        K = 1 + max(row["a"] for row in pair_rows)
        for line, name in enumerate(("cosine", "cosine_predicted")):
            matrix = np.full((K, K), np.nan)
            for row in pair_rows:
                matrix[row["a"], row["b"]] = row[name]
            axis = axes[line, column]
            np.fill_diagonal(matrix, np.nan)
            axis.set_facecolor("0.85")
            image = axis.imshow(matrix, cmap=SEQUENTIAL, vmin=-0.6, vmax=1)
            axis.grid(False)
            axis.set_xticks([0, K - 1])
            axis.set_yticks([0, K - 1])
            axis.tick_params(length=2)
        axes[0, column].set_title(method, fontsize=7.5)
    axes[0, 0].set_ylabel("network")
    axes[1, 0].set_ylabel("its optimum")
    figure.colorbar(image, ax=axes, fraction=0.03, pad=0.01, ticks=[-0.5, 0, 0.5, 1], label="cosine of class vectors")
    return figure


PANELS = {
    "few_cosine": "mean cosine of few classes",
    "few_length": "mean length (rms of all: 1)",
    "self_duality": "distance to self-duality",
}
"""Columns that are drawn over the epochs, and their titles."""


def plot_epochs(rows: Sequence[Row]) -> Figure:
    """Draw measured (lines) and predicted (hollow markers) numbers over the epochs, each method's smallest seed.

    Args:
        rows: rows of :func:`compare` by epoch.

    Returns:
        The figure, one panel per entry of ``PANELS``.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    figure = Figure(figsize=(PAGE_WIDTH, 2.7), layout="constrained")
    axes = figure.subplots(1, len(PANELS))
    for axis, (name, title) in zip(axes, PANELS.items(), strict=True):
        for method, epoch_rows in _first_seeds(rows).items():
            style = style_of(method)
            x = [row["epoch"] for row in epoch_rows]
            y = [row[name] for row in epoch_rows]
            predicted = [row[f"{name}_predicted"] for row in epoch_rows]
            axis.plot(x, y, color=style.colour, linestyle=style.dash, label=method)
            axis.plot(x, predicted, style.marker, color=style.colour, markerfacecolor="none")
        axis.set_title(title)
        axis.set_xlabel("epoch")
    handles, labels = axes[0].get_legend_handles_labels()
    sources = [
        Line2D([], [], color="black"),
        Line2D([], [], color="black", linestyle="", marker="o", markerfacecolor="none"),
    ]
    figure.legend(
        [*handles, *sources], [*labels, "network", "its optimum"], loc="outside lower center", ncols=4,
    )  # fmt: skip
    return figure


def plot_changes(rows: Sequence[Row]) -> Figure:
    """Draw predicted against measured changes of the Gram matrix, one panel per method, all seeds.

    Args:
        rows: rows of :func:`changed`. Filled markers are lengths of one class vector, hollow ones products of two.

    Returns:
        The figure.
    """
    from matplotlib.figure import Figure

    methods = list(dict.fromkeys(row["method"] for row in rows))
    figure = Figure(figsize=(max(PAGE_WIDTH * len(methods) / 5, 3.4), 1.9), layout="constrained")
    axes = figure.subplots(1, len(methods), squeeze=False, sharex=True, sharey=True)[0]
    for axis, method in zip(axes, methods, strict=True):
        _changes(axis, method, [row for row in rows if row["method"] == method])
    axes[0].set_ylabel("measured change")
    label = f"predicted change against {REFERENCE}:", "lengths |w_a| (filled), products w_a · w_b (hollow)"
    figure.supxlabel((" " if len(methods) > 3 else "\n").join(label), fontsize=8)
    return figure


def _changes(axis: Axes, method: str, rows: Sequence[Row]) -> None:
    style = style_of(method)
    lengths, products = [r for r in rows if r["a"] == r["b"]], [r for r in rows if r["a"] != r["b"]]
    for drawn, face in ((lengths, style.colour), (products, "none")):
        axis.plot(
            [r["change_predicted"] for r in drawn], [r["change"] for r in drawn], style.marker, color=style.colour,
            markersize=3, markerfacecolor=face, markeredgewidth=0.6,
        )  # fmt: skip
    axis.axline((0, 0), slope=1, color="black", linewidth=0.6, linestyle=":")
    length_r, product_r = _change_correlations(rows)
    text = f"r = {length_r:.2f}, {product_r:.2f}" if np.isfinite([length_r, product_r]).all() else "none predicted"
    axis.set_title(f"{method}\n{text}", fontsize=7.5)
