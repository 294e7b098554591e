"""Figure 4: class vectors of classes 0, 8 and 9, test features and confidence of each method, and the model's optimum.

**The projection.** Three class vectors w_0, w_8, w_9 minus their mean span a plane. Features are projected onto it
orthogonally, and the plane is turned so that w_0 points up. Scores of the three classes differ by (w_a - w_b) h + b_a -
b_b, which depends on h through its projection alone. So the background, the largest of the three softmax values, is
exact at every point. Below is the layer-peeled optimum of the same run, with its label-pair features: one point for
each mixing ratio.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from figures import store
from figures.optimum import Budget, Network, Optimum, add_budget, frequencies, network, optimum
from figures.style import PAGE_WIDTH, Row, save, write_rows
from figures.uniformity import SCORES
from lpm import geometry
from lpm.console import cli
from lpm.console.errors import InvalidInput
from paper_checks.paper.tables import load
from training.store.runs import RunFolder

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METHODS = ("random+FC", "CBS+FC", "CAS+FC", "BMLS+FC", "BMLS+MS")
"""Methods of the figure, one column of panels each."""
CLASSES = (0, 8, 9)
"""The most frequent class and the two rarest ones of ten."""
SHOWN = 150
"""Number of test images drawn for each class: the first ones of the test set."""
COLOURS, MARKERS = ("#0072B2", "#D55E00", "#000000"), ("o", "^", "s")
"""Colours and markers of ``CLASSES``."""


@dataclass(frozen=True)
class Panel:
    """One panel of the picture: a network, or the optimum of a network, in the plane of three class vectors.

    Attributes:
        run: dataset, preset, method and seed, as in the CSV.
        source: "network" or "optimum".
        vectors: (3, 2) class vectors of ``CLASSES`` minus their mean, projected.
        biases: (3,) their biases; 0 for an optimum.
        features: (n, 2) projected features by label. A network's are those of test images, by class. An optimum's are
            those of label pairs "a,b", sorted by mixing ratio.
        rare_cosine: cosine of the two rare class vectors before the projection, which does not keep it.
    """

    run: dict[str, Any]
    source: str
    vectors: np.ndarray
    biases: np.ndarray
    features: dict[int | str, np.ndarray]
    rare_cosine: float

    @property
    def rows(self) -> list[Row]:
        """Rows of the CSV: the cosine first, in column x of a row of kind "cosine"; then one row per point."""
        rows = [self._row("cosine", f"{CLASSES[1]},{CLASSES[2]}", self.rare_cosine, 0.0, 0.0)]
        for k, (x, y), bias in zip(CLASSES, self.vectors, self.biases, strict=True):
            rows.append(self._row("class vector", k, x, y, bias))
        kind = "feature" if self.source == "network" else "pair feature"
        for label, points in self.features.items():
            rows += [self._row(kind, label, x, y, 0.0) for x, y in points]
        return rows

    def _row(self, kind: str, label: int | str, x: float, y: float, bias: float) -> Row:
        shared = self.run | {"source": self.source, "kind": kind, "class": label}
        return shared | {"x": float(x), "y": float(y), "bias": float(bias)}


def add_options(parser: cli.Parser) -> None:
    """Add the options that choose the runs and the budget of their optimum.

    Args:
        parser: parser of the command.
    """
    add_budget(parser)
    store.add_options(parser)


def make(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Write the picture and the table of uniformity scores.

    Args:
        options: parsed options.
        folder: folder for the files.

    Returns:
        The record for the manifest.

    Raises:
        InvalidInput: if runs are missing or damaged.
        NotCertified: if an optimum cannot be certified.
    """
    setting = store.setting(options)
    wanted = [config for method in METHODS for config in store.configs(setting, method)]
    runs = store.finished_runs(wanted, setting, store.table_command(setting, 8))
    panels, scores = data(runs, options.budget)
    rows = [row for panel in panels for row in panel.rows]
    save(lambda _: plot(panels), rows, folder, "fig4")  # the rows hold the same numbers as the panels
    write_rows(scores, folder / "fig4-uniformity.csv")
    (folder / "fig4.md").write_text(markdown(scores), encoding="utf-8")
    return {"runs": [run.config.folder for run in runs], "budget": options.budget}


def data(runs: Sequence[RunFolder], budget: Budget = "means") -> tuple[list[Panel], list[Row]]:
    """Project and score the networks of some runs and their optima.

    Args:
        runs: finished runs.
        budget: which mean squared length E_H is, see :data:`figures.optimum.Budget`.

    Returns:
        The panels of the smallest seed's runs, and the uniformity scores of every run.

    Raises:
        InvalidInput: if a run is damaged or its classifier has no program.
        NotCertified: if an optimum cannot be certified.
    """
    panels: list[Panel] = []
    scores: list[Row] = []
    first_seed = min(run.config.seed for run in runs)
    for run in runs:
        net = network(run, run.config.epochs)
        best = optimum(run, net, frequencies(run), budget)
        if run.config.seed == first_seed:
            panels += [measured_panel(run, net), predicted_panel(run, best)]
        scores += _scores(run, net, best)
    return panels, scores


def plane(W: np.ndarray) -> np.ndarray:
    """Return an orthonormal basis of the plane of three class vectors minus their mean.

    The first class vector points up (y), and the third lies to the right of it. Where the three lie on a line, because
    two of them have collapsed, the line points up.

    Args:
        W: (3, p) class vectors.

    Returns:
        (2, p) the directions of x and y.

    Raises:
        InvalidInput: if the three coincide.
    """
    centred = W - W.mean(axis=0)
    size = float(np.linalg.norm(centred))
    if size <= 1e-6 * max(float(np.linalg.norm(W)), 1e-300):
        raise InvalidInput(f"the class vectors of {CLASSES} coincide; they span no plane")
    # The first is zero when the other two lie on opposite sides of the mean.
    reference: np.ndarray = centred[0] if np.linalg.norm(centred[0]) > 1e-6 * size else centred[1]
    up = reference / np.linalg.norm(reference)
    across = centred[2] - centred[2] @ up * up
    if np.linalg.norm(across) < 1e-6 * size:  # all on one line: any direction across it will do
        across = np.eye(len(up))[np.argmin(np.abs(up))]
        across = across - across @ up * up
    return np.stack([across / np.linalg.norm(across), up])


def _described(run: RunFolder) -> dict[str, Any]:
    config = run.config
    return {
        "dataset": run.result().dataset,
        "preset": config.preset,
        "method": config.method,
        "seed": config.seed,
    }


def _rare_cosine(W: np.ndarray) -> float:
    first, second = (W[k] / np.linalg.norm(W[k]) for k in CLASSES[1:])
    return float(first @ second)


def measured_panel(run: RunFolder, net: Network) -> Panel:
    """Project the class vectors of a network and its features of test images.

    Args:
        run: a finished run.
        net: its network after the last epoch.

    Returns:
        The panel.

    Raises:
        InvalidInput: if the run's test features are missing or damaged, or the class vectors coincide.
    """
    final = run.final()
    try:
        features, labels = final["test_features"].astype(float), final["test_labels"]
        if features.shape != (labels.size, net.W.shape[1]) or labels.ndim != 1 or not np.isfinite(features).all():
            raise ValueError("their shapes or values are wrong")
        if not set(CLASSES) <= set(labels.tolist()):
            raise ValueError(f"one of the classes {', '.join(map(str, CLASSES))} has no test image")
    except (KeyError, ValueError) as error:
        raise InvalidInput(f"{str(run.path)!r} holds no usable test features ({error}); train it again") from None
    W = net.W[list(CLASSES)]
    basis = plane(W)
    return Panel(
        run=_described(run),
        source="network",
        vectors=(W - W.mean(axis=0)) @ basis.T,
        biases=net.bias[list(CLASSES)],
        features={k: features[labels == k][:SHOWN] @ basis.T for k in CLASSES},
        rare_cosine=_rare_cosine(net.W),
    )


def predicted_panel(run: RunFolder, best: Optimum) -> Panel:
    """Project the class vectors of an optimum and its features of label pairs among the three classes.

    Args:
        run: the run whose optimum it is.
        best: the optimum.

    Returns:
        The panel.

    Raises:
        InvalidInput: if the class vectors coincide.
    """
    W = best.W[list(CLASSES)]
    basis = plane(W)
    features: dict[int | str, np.ndarray] = {}
    for a in CLASSES:
        for b in CLASSES:
            indices = np.flatnonzero((best.a == a) & (best.b == b))
            indices = indices[np.argsort(best.lam[indices])]
            if indices.size:
                features[f"{a},{b}"] = best.H[indices] @ basis.T
    return Panel(
        run=_described(run),
        source="optimum",
        vectors=(W - W.mean(axis=0)) @ basis.T,
        biases=np.zeros(len(CLASSES)),
        features=features,
        rare_cosine=_rare_cosine(best.W),
    )


def _scores(run: RunFolder, net: Network, best: Optimum) -> list[Row]:
    rows: list[Row] = []
    for source, W in (("network", net.W), ("optimum", best.W)):
        all_cosines, three_cosines = (geometry.cosines(V @ V.T) for V in (W, W[list(CLASSES)]))
        for name, score in SCORES.items():
            rows.append(
                {
                    **_described(run),
                    "accuracy": float(run.result().last["all"]),
                    "source": source,
                    "score": name,
                    "U_G": score(all_cosines),
                    "U": score(three_cosines),
                }
            )
    return rows


def markdown(scores: Sequence[Row]) -> str:
    """Return the table of accuracies and uniformity scores, network and optimum, with the paper's beside them.

    Args:
        scores: rows of :func:`data`; each method's smallest seed is shown.

    Returns:
        The table as Markdown: U_G / U in one column per definition.
    """
    paper = {(cell.method, cell.split): cell.mean for cell in load("figure4")}
    methods = list(dict.fromkeys(row["method"] for row in scores))
    definitions = list(SCORES)
    lines = [("method", "", "accuracy", *definitions), ("---",) * (3 + len(definitions))]
    for method in methods:
        rows = [row for row in scores if row["method"] == method]
        seed = min(row["seed"] for row in rows)
        for source in ("network", "optimum"):
            shown = [row for row in rows if row["source"] == source and row["seed"] == seed]
            cells = [f"{row['U_G']:.3f} / {row['U']:.3f}" for row in shown]
            accuracy = f"{rows[0]['accuracy']:.2f}" if source == "network" else ""
            lines.append((method, source, accuracy, *cells))
        if (method, "U") in paper:
            printed = f"U_G = {paper[method, 'U_G']:.4f}, U = {paper[method, 'U']:.4f}, no definition given"
            line = (method, "paper, cifar10-lt", f"{paper[method, 'all']:.2f}", printed)
            lines.append((*line, *[""] * (len(definitions) - 1)))
    text = cli.markdown_table(lines)
    first = scores[0]
    note = f"U_G / U: all classes / classes {', '.join(map(str, CLASSES))}; class vectors are centred"
    return f"{text}\n{note}. Runs: {first['dataset']}, preset {first['preset']}, one seed.\n"


def plot(panels: Sequence[Panel]) -> Figure:
    """Draw one column per method: the network above, its optimum below.

    Args:
        panels: those of :func:`data`.

    Returns:
        The figure.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    methods = list(dict.fromkeys(panel.run["method"] for panel in panels))
    figure = Figure(figsize=(PAGE_WIDTH, 3.2), layout="constrained")
    axes = figure.subplots(2, len(methods), squeeze=False)
    for panel in panels:
        _draw(axes[("network", "optimum").index(panel.source), methods.index(panel.run["method"])], panel)
    for axis, method in zip(axes[0], methods, strict=True):
        axis.set_title(method)
    axes[0, 0].set_ylabel("network")
    axes[1, 0].set_ylabel("its optimum")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    handles += [
        Line2D([], [], color="#444444", marker="o", markersize=1.5, linewidth=0.8),
        Line2D([], [], color="black", linestyle=(0, (4, 1.5))),
    ]
    labels += ["model: two classes mixed, by λ", "class vectors"]
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), markerscale=2.5)
    return figure


def _draw(axis: Axes, panel: Panel) -> None:
    axis.set_xticks([])
    axis.set_yticks([])
    axis.grid(False)
    axis.set_aspect("equal")
    _, a, b = CLASSES
    axis.set_xlabel(f"cos(w{a}, w{b}) = {panel.rare_cosine:+.2f}", fontsize=7, labelpad=2)
    # Lengths of class vectors and features are in different units: vectors are drawn to the size of the cloud.
    size = 1.05 * max(np.abs(np.concatenate(list(panel.features.values()))).max(), 1e-9)
    _background(axis, panel.vectors, panel.biases, size)
    longest = np.linalg.norm(panel.vectors, axis=1).max()
    for k, vector, colour, marker in zip(CLASSES, panel.vectors, COLOURS, MARKERS, strict=True):
        points = panel.features.get(k, np.empty((0, 2)))  # none of an optimum, whose features belong to label pairs
        axis.plot(
            points[:, 0], points[:, 1], marker, color=colour, markersize=1.6, markeredgewidth=0, alpha=0.7,
            label=f"class {k}",
        )  # fmt: skip
        x, y = vector / longest * size * 0.95
        axis.plot([0, x], [0, y], color=colour, linestyle=(0, (4, 1.5)), linewidth=1.4)
    if panel.source == "optimum":
        for points in panel.features.values():
            axis.plot(points[:, 0], points[:, 1], "o-", color="#444444", markersize=1.5, linewidth=0.8)
    axis.set_xlim(-size, size)
    axis.set_ylim(-size, size)


def _background(axis: Axes, vectors: np.ndarray, biases: np.ndarray, size: float) -> None:
    """Shade the square [-size, size]^2 by the largest of the three softmax values: dark where none is large."""
    line = np.linspace(-size, size, 201)
    x, y = np.meshgrid(line, line)
    scores = vectors[:, 0, None, None] * x + vectors[:, 1, None, None] * y + biases[:, None, None]
    scores = np.exp(scores - scores.max(axis=0))
    axis.imshow(
        scores.max(axis=0) / scores.sum(axis=0), extent=(-size, size, -size, size), origin="lower", cmap="gray",
        vmin=0.0, vmax=1.0, alpha=0.55,
    )  # fmt: skip
