"""Figure 4: class vectors of classes 0, 8 and 9, test features and confidence, for each sampler; and as the model predicts them.

**The projection.** Three class vectors w_0, w_8, w_9 minus their mean span a plane. Features are projected onto it
orthogonally, and it is turned so that w_0 points up. Scores of the three classes differ by (w_a - w_b) h + b_a - b_b, which
depends on h through its projection alone: so the background, the largest of the three softmax values, is exact at every point.
Below, the layer-peeled optimum of the same run: its label-pair features, a point for each mixing ratio.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from figures import store
from figures.optimum import Budget, Network, Optimum, add_budget, frequencies, network, optimum
from figures.style import PAGE, Row, save, write_rows
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
CLASSES = (0, 8, 9)
SHOWN = 150
"""Test images of each class that are drawn, the first ones of the test set."""
COLOURS, MARKERS = ("#0072B2", "#D55E00", "#000000"), ("o", "^", "s")


def add_options(parser: cli.Parser) -> None:
    """Which runs, and which budget their optimum has."""
    add_budget(parser)
    store.add_options(parser)


def make(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Write the picture, the table of uniformity scores and the record."""
    setting = store.setting(options)
    wanted = [c for method in METHODS for c in store.configs(setting, method)]
    runs = store.finished(wanted, setting, store.table_command(setting, 8))
    rows, scores = data(runs, options.budget)
    save(plot, rows, folder, "fig4")
    write_rows(scores, folder / "fig4-uniformity.csv")
    (folder / "fig4.md").write_text(markdown(scores), encoding="utf-8")
    return {"runs": [run.config.folder for run in runs], "budget": options.budget}


def data(runs: Sequence[RunFolder], budget: Budget = "means") -> tuple[list[Row], list[Row]]:
    """Points of the picture (of each method's first seed), and the scores of every run."""
    rows: list[Row] = []
    scores: list[Row] = []
    for run in runs:
        net = network(run, run.config.epochs)
        best = optimum(run, net, frequencies(run), budget)
        if run.config.seed == min(r.config.seed for r in runs):
            rows += measured_points(run, net) + predicted_points(run, best)
        scores += _scores(run, net, best)
    return rows, scores


def plane(W: np.ndarray) -> np.ndarray:
    """Orthonormal basis (2, p) of the plane of three class vectors W (3, p) minus their mean; the first points up (y), the
    third lies to the right. Where the three are on a line (two of them have collapsed) the line points up.

    Raises InvalidInput when the three coincide.
    """
    centred = W - W.mean(axis=0)
    size = float(np.linalg.norm(centred))
    if size <= 1e-6 * max(float(np.linalg.norm(W)), 1e-300):
        raise InvalidInput(f"the class vectors of {CLASSES} coincide; they span no plane")
    longest: np.ndarray = centred[0] if np.linalg.norm(centred[0]) > 1e-6 * size else centred[1]
    up = longest / np.linalg.norm(longest)
    across = centred[2] - centred[2] @ up * up
    if np.linalg.norm(across) < 1e-6 * size:
        across = np.eye(len(up))[np.argmin(np.abs(up))]
        across = across - across @ up * up
    return np.stack([across / np.linalg.norm(across), up])


def _points(run: RunFolder, source: str, kind: str, label: int | str, xy: np.ndarray, bias: float = 0.0) -> list[Row]:
    c = run.config
    shared = {
        "dataset": run.metrics()["dataset"], "preset": c.preset, "method": c.method, "seed": c.seed, "source": source
    }  # fmt: skip
    return [
        shared | {"kind": kind, "class": label, "x": float(x), "y": float(y), "bias": bias}
        for x, y in np.atleast_2d(xy)
    ]


def _cosine(run: RunFolder, source: str, W: np.ndarray) -> list[Row]:
    """The cosine of the two rare class vectors themselves, which the plane does not show: as x of a row of its own."""
    one, other = (W[k] / np.linalg.norm(W[k]) for k in CLASSES[1:])
    return _points(run, source, "cosine", "{},{}".format(*CLASSES[1:]), np.array([one @ other, 0.0]))


def measured_points(run: RunFolder, net: Network) -> list[Row]:
    """The network: class vectors with their biases, and the features of test images."""
    found = run.final()
    try:
        features, labels = found["test_features"].astype(float), found["test_labels"]
        if features.shape != (labels.size, net.W.shape[1]) or labels.ndim != 1 or not np.isfinite(features).all():
            raise ValueError("shapes")
        if not set(CLASSES) <= set(labels.tolist()):
            raise ValueError("a class has none")
    except (KeyError, ValueError) as error:
        raise InvalidInput(f"{str(run.path)!r} holds no test features ({error}); train it again") from None
    W = net.W[list(CLASSES)]
    basis = plane(W)
    rows = _cosine(run, "network", net.W)
    for w, k in zip((W - W.mean(axis=0)) @ basis.T, CLASSES, strict=True):
        rows += _points(run, "network", "class vector", k, w, float(net.bias[k]))
        rows += _points(run, "network", "feature", k, features[labels == k][:SHOWN] @ basis.T)
    return rows


def predicted_points(run: RunFolder, best: Optimum) -> list[Row]:
    """The optimum: class vectors, and the features of label pairs among the three classes, by mixing ratio."""
    W = best.W[list(CLASSES)]
    basis = plane(W)
    rows: list[Row] = []
    for w, k in zip((W - W.mean(axis=0)) @ basis.T, CLASSES, strict=True):
        rows += _points(run, "optimum", "class vector", k, w)
    rows += _cosine(run, "optimum", best.W)
    for a in CLASSES:
        for b in CLASSES:
            here = np.flatnonzero((best.a == a) & (best.b == b))
            here = here[np.argsort(best.lam[here])]
            rows += _points(run, "optimum", "pair feature", f"{a},{b}", best.H[here] @ basis.T) if here.size else []
    return rows


def _scores(run: RunFolder, net: Network, best: Optimum) -> list[Row]:
    rows: list[Row] = []
    for source, W in (("network", net.W), ("optimum", best.W)):
        for name, score in SCORES.items():
            every, three = (geometry.cosines(V @ V.T) for V in (W, W[list(CLASSES)]))
            rows.append(
                {
                    "dataset": run.metrics()["dataset"],
                    "preset": run.config.preset,
                    "method": run.config.method,
                    "seed": run.config.seed,
                    "accuracy": float(run.metrics()["last"]["all"]),
                    "source": source,
                    "score": name,
                    "U_G": score(every),
                    "U": score(three),
                }
            )
    return rows


def markdown(scores: Sequence[Row]) -> str:
    """Accuracy and uniformity under each definition, U_G / U, network and optimum, first seed; the paper's beside them."""
    printed = {(c.method, c.split): c.mean for c in load("figure4")}
    methods = list(dict.fromkeys(r["method"] for r in scores))
    names = list(SCORES)
    lines = [("method", "", "accuracy", *names), ("---",) * (3 + len(names))]
    for method in methods:
        here = [r for r in scores if r["method"] == method]
        for source in ("network", "optimum"):
            seed = min(r["seed"] for r in here)
            cells = [f"{r['U_G']:.3f} / {r['U']:.3f}" for r in here if r["source"] == source and r["seed"] == seed]
            accuracy = f"{here[0]['accuracy']:.2f}" if source == "network" else ""
            lines.append((method, source, accuracy, *cells))
        if (method, "U") in printed:
            paper = f"U_G = {printed[method, 'U_G']:.4f}, U = {printed[method, 'U']:.4f}, no definition given"
            row = (method, "paper, cifar10-lt", f"{printed[method, 'all']:.2f}", paper)
            lines.append((*row, *[""] * (len(names) - 1)))
    text = cli.markdown_table(lines)
    first = scores[0]
    note = f"U_G / U: all classes / classes {', '.join(map(str, CLASSES))}; class vectors are centred"
    return f"{text}\n{note}. Runs: {first['dataset']}, preset {first['preset']}, one seed.\n"


def plot(rows: Sequence[Row]) -> Figure:
    """A column a method: the network above, its optimum below."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    methods = list(dict.fromkeys(r["method"] for r in rows))
    figure = Figure(figsize=(PAGE, 3.2), layout="constrained")
    axes = figure.subplots(2, len(methods), squeeze=False)
    for column, method in enumerate(methods):
        for line, source in enumerate(("network", "optimum")):
            axis = axes[line, column]
            here = [r for r in rows if r["method"] == method and r["source"] == source]
            _panel(axis, here)
        axes[0, column].set_title(method)
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


def _panel(axis: Axes, rows: Sequence[Row]) -> None:
    axis.set_xticks([])
    axis.set_yticks([])
    axis.grid(False)
    axis.set_aspect("equal")
    vectors = [r for r in rows if r["kind"] == "class vector"]
    points = [r for r in rows if r["kind"] in ("feature", "pair feature")]
    for r in rows:
        if r["kind"] == "cosine":
            a, b = r["class"].split(",")
            axis.set_xlabel(f"cos(w{a}, w{b}) = {r['x']:+.2f}", fontsize=7, labelpad=2)
    w = np.array([(r["x"], r["y"]) for r in vectors])
    # Lengths of class vectors and features are in different units: vectors are drawn to the size of the cloud.
    size = 1.05 * max(np.abs([(r["x"], r["y"]) for r in points]).max(), 1e-9)
    _background(axis, w, np.array([r["bias"] for r in vectors]), size)
    for k, (r, colour, marker) in enumerate(zip(vectors, COLOURS, MARKERS, strict=True)):
        mine = [p for p in points if p["kind"] == "feature" and p["class"] == r["class"]]
        axis.plot(
            [p["x"] for p in mine], [p["y"] for p in mine], marker, color=colour, markersize=1.6, markeredgewidth=0,
            alpha=0.7, label=f"class {r['class']}",
        )  # fmt: skip
        end = w[k] / np.linalg.norm(w, axis=1).max() * size * 0.95
        axis.plot([0, end[0]], [0, end[1]], color=colour, linestyle=(0, (4, 1.5)), linewidth=1.4)
    for label in dict.fromkeys(p["class"] for p in points if p["kind"] == "pair feature"):
        mine = [p for p in points if p["class"] == label]
        axis.plot([p["x"] for p in mine], [p["y"] for p in mine], "o-", color="#444444", markersize=1.5, linewidth=0.8)
    axis.set_xlim(-size, size)
    axis.set_ylim(-size, size)


def _background(axis: Axes, w: np.ndarray, bias: np.ndarray, size: float) -> None:
    """The largest of the three softmax values: dark where the model is confused."""
    line = np.linspace(-size, size, 201)
    x, y = np.meshgrid(line, line)
    z = w[:, 0, None, None] * x + w[:, 1, None, None] * y + bias[:, None, None]
    z = np.exp(z - z.max(axis=0))
    axis.imshow(
        z.max(axis=0) / z.sum(axis=0), extent=(-size, size, -size, size), origin="lower", cmap="gray", vmin=0.0, vmax=1.0,
        alpha=0.55,
    )  # fmt: skip
