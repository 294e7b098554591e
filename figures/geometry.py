"""Trained networks against their own layer-peeled optimum: the comparison the project exists for.

Every run is measured several times (training/run/measurement.py). Each measurement gives budgets; the program at these
budgets and
the run's label-pair frequencies is solved, and class vectors are compared: cosines, lengths, self-duality.
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
from training.store.metrics import splits
from training.store.runs import RunFolder

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METHODS = ("random+FC", "CBS+FC", "CAS+FC", "BMLS+FC", "random+MS", "BMLS+MS")
REFERENCE = "BMLS+FC"
"""Its label pairs are balanced: what differs from it is what the sampler does, whatever the images look like."""

FLAT = 0.02
"""Predictions that differ by less are one number."""


def add_options(parser: cli.Parser) -> None:
    """Which runs."""
    parser.add_argument(
        "runs", type=Path, nargs="*", metavar="RUN", help="folders of finished runs; else those of the options below"
    )
    add_budget(parser)
    store.add_options(parser)


def chosen(options: argparse.Namespace) -> list[RunFolder]:
    """The runs that the options name. Raises InvalidInput where there are none, with the command that makes them."""
    if options.runs:
        return [store.read_run(path) for path in options.runs]
    setting = store.setting(options)
    wanted = [c for method in METHODS for c in store.configs(setting, method)]
    return store.finished_runs(wanted, setting, store.table_command(setting, 8, 4))


def make(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Write the comparison over the epochs, at the end, and against the reference sampler; the record."""
    runs = chosen(options)
    check_comparable(runs)
    order = {method: place for place, method in enumerate(METHODS)}
    runs.sort(
        key=lambda run: (order.get(run.config.method, len(order)), run.config.key, run.config.seed)
    )  # as in the tables
    found = [compare(run, options.budget) for run in runs]
    epochs = [row for rows, _ in found for row in rows]
    cosines = [row for _, rows in found for row in rows]
    save(plot_cosines, cosines, folder, "geometry-cosines")
    save(plot_epochs, epochs, folder, "geometry-epochs")
    changes = changed(cosines)
    if changes:
        save(plot_changes, changes, folder, "geometry-changes")
    last = [rows[-1] for rows, _ in found]
    write_rows(last, folder / "geometry.csv")
    (folder / "geometry.md").write_text(markdown(last, changes), encoding="utf-8")
    return {"runs": [run.config.folder for run in runs], "budget": options.budget}


METHOD = ("sampler", "cas_m", "coverage", "classifier", "loss", "bias", "features", "scale", "ratio_per", "seed")
"""Choices in which runs of one comparison may differ."""


def check_comparable(runs: Sequence[RunFolder]) -> None:
    """Raise InvalidInput for a run that is given twice, and for runs that differ in more than their method and seed."""
    places = [run.path.resolve() for run in runs]
    if twice := [run for run, place in zip(runs, places, strict=True) if places.count(place) > 1]:
        raise InvalidInput(f"{str(twice[0].path)!r} is given twice")
    first = runs[0]
    for run in runs[1:]:
        for field in fields(run.config):
            if field.name not in (*METHOD, "preset"):
                one, other = (getattr(r.config, field.name) for r in (first, run))
                if one != other:
                    raise InvalidInput(
                        f"{str(first.path)!r} has {field.name} {one}, {str(run.path)!r} {other}; draw them apart"
                    )
        if run.metrics()["dataset"] != first.metrics()["dataset"]:
            raise InvalidInput(f"{str(first.path)!r} and {str(run.path)!r} were trained on other data; draw them apart")


def compare(run: RunFolder, budget: Budget = "means") -> tuple[list[Row], list[Row]]:
    """A row for each measured epoch; and for the last one a row for each pair of classes.

    Raises InvalidInput when the run holds no measurements.
    """
    if not (epochs := run.geometries()):
        raise InvalidInput(
            f"{str(run.path)!r} holds no geometry; it is of an older version: delete it and train it again"
        )
    _few(run)  # before much is solved
    counts = frequencies(run)
    rows = []
    for epoch in epochs:
        net = network(run, epoch)
        best = optimum(run, net, counts, budget)
        rows.append(_epoch_row(run, net, best))
    return rows, _pair_rows(run, net, best)


def _named(run: RunFolder) -> dict[str, Any]:
    """method: with the key where the recipe is not a preset's, because such recipes share a name."""
    c = run.config
    method = f"{c.method} {c.key[:4]}" if c.preset.endswith("+") else c.method
    data = run.metrics()["dataset"]
    return {"dataset": data, "imbalance": c.imbalance, "preset": c.preset, "method": method, "seed": c.seed}


def _few(run: RunFolder) -> slice:
    """The few-shot classes. Raises InvalidInput unless there are two, between which there is a cosine."""
    counts = np.array(run.metrics().get("train_counts", ()))
    first, last = splits(run.config.dataset, counts).get("few", (0, 0))
    if first == last:
        raise InvalidInput(f"{str(run.path)!r} has less than two few-shot classes, and no cosine between them")
    return slice(first, last + 1)


def _epoch_row(run: RunFolder, net: Network, best: Optimum) -> Row:
    K = run.config.K
    C, P = (geometry.cosines(W @ W.T) for W in (net.W, best.W))
    length, predicted = (np.linalg.norm(W, axis=1) / np.sqrt((W**2).sum() / K) for W in (net.W, best.W))
    off = ~np.eye(K, dtype=bool)
    few = _few(run)
    inside = off[few, few]
    dual, dual_predicted = self_duality(net, best)
    return _named(run) | {
        "epoch": net.epoch,
        "E_W": best.e_w,
        "E_H": best.e_h,
        "mean_square": best.square,
        "loss_of_optimum": best.loss,
        "relative_gap": best.relative_gap,
        "rank_of_optimum": best.rank,
        "noise": net.noise,
        "correlation": correlation(P[off], C[off]),
        "largest_deviation": float(np.abs(P - C)[off].max()),
        "rms_deviation": float(np.sqrt(((P - C)[off] ** 2).mean())),
        "few_cosine": float(C[few, few][inside].mean()),
        "few_cosine_predicted": float(P[few, few][inside].mean()),
        "few_length": float(length[few].mean()),
        "few_length_predicted": float(predicted[few].mean()),
        "length_correlation": correlation(predicted, length),
        "self_duality": dual,
        "self_duality_predicted": dual_predicted,
    }


def _pair_rows(run: RunFolder, net: Network, best: Optimum) -> list[Row]:
    C, P = (geometry.cosines(W @ W.T) for W in (net.W, best.W))
    G, Q = (W @ W.T * len(W) / (W**2).sum() for W in (net.W, best.W))
    return [
        _named(run)
        | {
            "epoch": net.epoch,
            "a": a,
            "b": b,
            "cosine": float(C[a, b]),
            "cosine_predicted": float(P[a, b]),
            "product": float(G[a, b]) if a != b else float(np.sqrt(G[a, a])),
            "product_predicted": float(Q[a, b]) if a != b else float(np.sqrt(Q[a, a])),
        }
        for a in range(len(C))
        for b in range(len(C))
    ]


def correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's of predictions x and measurements y; nan where the predictions are all but one number: no order to get right."""
    return float(np.corrcoef(x, y)[0, 1]) if np.ptp(x) > FLAT and np.ptp(y) > 0 else float("nan")


def changed(rows: Sequence[Row]) -> list[Row]:
    """What a method changes against the reference at the same setting and seed: w_a . w_b, and for a = b the length |w_a|, of
    class vectors scaled to mean squared length 1.

    Which classes look alike moves cosines in every run alike; the difference of two runs does not have that part.
    """
    place = ("dataset", "imbalance", "preset", "seed", "a", "b")
    reference = {tuple(r[k] for k in place): r for r in rows if r["method"] == REFERENCE}
    found: list[Row] = []
    for row in rows:
        base = reference.get(tuple(row[k] for k in place))
        if base is not None and row["method"] != REFERENCE and row["a"] <= row["b"]:
            found.append(
                {
                    **{k: row[k] for k in (*place, "method")},
                    "change": row["product"] - base["product"],
                    "change_predicted": row["product_predicted"] - base["product_predicted"],
                }
            )
    return found


def markdown(rows: Sequence[Row], changes: Sequence[Row]) -> str:
    """The last epochs as a table, measured / predicted, each the mean over the seeds.

    The last two columns: the correlation of predicted and measured changes against the reference, of lengths and of products.
    """
    head = (
        "method", "n", "E_W", "mean square of features", "few-few cosine", "few length", "correlation",
        "largest deviation", "self-duality", "change of lengths, r", "change of products, r",
    )  # fmt: skip
    lines = [head, ("---",) * len(head)]
    for method in dict.fromkeys(r["method"] for r in rows):
        here = [r for r in rows if r["method"] == method]
        mean = {k: float(np.mean([r[k] for r in here])) for k, v in here[0].items() if isinstance(v, float)}
        mine = [c for c in changes if c["method"] == method]
        r = [_change_correlation([c for c in mine if (c["a"] == c["b"]) == one]) for one in (True, False)]
        lines.append(
            (
                method, str(len(here)), f"{mean['E_W']:.2f}", f"{mean['mean_square']:.2f}",
                f"{mean['few_cosine']:+.2f} / {mean['few_cosine_predicted']:+.2f}",
                f"{mean['few_length']:.2f} / {mean['few_length_predicted']:.2f}", _or_dash(mean["correlation"]),
                f"{mean['largest_deviation']:.2f}",
                f"{mean['self_duality']:.2f} / {mean['self_duality_predicted']:.2f}", *map(_or_dash, r),
            )
        )  # fmt: skip
    first = rows[0]
    where = f"{first['dataset']}, imbalance {first['imbalance']:g}, preset {first['preset']}, last epoch"
    return cli.markdown_table(lines) + f"\n{where}; reference {REFERENCE}.\n"


def _or_dash(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:+.2f}"


def _change_correlation(rows: Sequence[Row]) -> float:
    if not rows:
        return float("nan")
    return correlation(np.array([r["change_predicted"] for r in rows]), np.array([r["change"] for r in rows]))


def _first_seeds(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each method's smallest seed."""
    methods = dict.fromkeys(r["method"] for r in rows)
    seeds = {m: min(r["seed"] for r in rows if r["method"] == m) for m in methods}
    return {m: [r for r in rows if r["method"] == m and r["seed"] == seeds[m]] for m in methods}


def plot_cosines(rows: Sequence[Row]) -> Figure:
    """Cosine matrices, the network's above its optimum's, a column a method (its smallest seed)."""
    from matplotlib.figure import Figure

    shown = _first_seeds(rows)
    columns = len(shown)
    figure = Figure(figsize=(max(PAGE_WIDTH * columns / 6, 2.6), 2.35), layout="constrained")
    axes = figure.subplots(2, columns, squeeze=False)
    for column, (method, here) in enumerate(shown.items()):
        K = 1 + max(r["a"] for r in here)
        for line, key in enumerate(("cosine", "cosine_predicted")):
            matrix = np.full((K, K), np.nan)
            for r in here:
                matrix[r["a"], r["b"]] = r[key]
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


def plot_epochs(rows: Sequence[Row]) -> Figure:
    """Measured (lines) and predicted (hollow marks) over the epochs, a method's smallest seed."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    figure = Figure(figsize=(PAGE_WIDTH, 2.7), layout="constrained")
    axes = figure.subplots(1, len(PANELS))
    for axis, (key, title) in zip(axes, PANELS.items(), strict=True):
        for method, here in _first_seeds(rows).items():
            style = style_of(method)
            x = [r["epoch"] for r in here]
            axis.plot(x, [r[key] for r in here], color=style.colour, linestyle=style.dash, label=method)
            axis.plot(
                x, [r[f"{key}_predicted"] for r in here], style.marker, color=style.colour, markerfacecolor="none"
            )
        axis.set_title(title)
        axis.set_xlabel("epoch")
    handles, labels = axes[0].get_legend_handles_labels()
    what = [
        Line2D([], [], color="black"),
        Line2D([], [], color="black", linestyle="", marker="o", markerfacecolor="none"),
    ]
    figure.legend(
        [*handles, *what], [*labels, "network", "its optimum"], loc="outside lower center", ncols=4,
    )  # fmt: skip
    return figure


def plot_changes(rows: Sequence[Row]) -> Figure:
    """Predicted against measured change of the Gram matrix, a panel a method, all seeds; one class (filled), two (hollow)."""
    from matplotlib.figure import Figure

    methods = list(dict.fromkeys(r["method"] for r in rows))
    figure = Figure(figsize=(max(PAGE_WIDTH * len(methods) / 5, 3.4), 1.9), layout="constrained")
    axes = figure.subplots(1, len(methods), squeeze=False, sharex=True, sharey=True)[0]
    for axis, method in zip(axes, methods, strict=True):
        _changes(axis, method, [r for r in rows if r["method"] == method])
    axes[0].set_ylabel("measured change")
    words = f"predicted change against {REFERENCE}:", "lengths |w_a| (filled), products w_a · w_b (hollow)"
    figure.supxlabel((" " if len(methods) > 3 else "\n").join(words), fontsize=8)
    return figure


def _changes(axis: Axes, method: str, rows: Sequence[Row]) -> None:
    style = style_of(method)
    for one in (True, False):
        here = [r for r in rows if (r["a"] == r["b"]) == one]
        axis.plot(
            [r["change_predicted"] for r in here], [r["change"] for r in here], style.marker, color=style.colour,
            markersize=3, markerfacecolor=style.colour if one else "none", markeredgewidth=0.6,
        )  # fmt: skip
    axis.axline((0, 0), slope=1, color="black", linewidth=0.6, linestyle=":")
    r = [_change_correlation([r for r in rows if (r["a"] == r["b"]) == one]) for one in (True, False)]
    words = f"r = {r[0]:.2f}, {r[1]:.2f}" if np.isfinite(r).all() else "none predicted"
    axis.set_title(f"{method}\n{words}", fontsize=7.5)
