"""Figure 4 and the comparison of a network with its optimum: budgets, projections, scores, pictures, bad input."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib import rc_context

from figures import fig4, optimum, uniformity
from figures.__main__ import main as draw
from figures.geometry import changed, correlation, markdown
from figures.optimum import Network
from figures.store import read_run
from figures.style import MATPLOTLIB_SETTINGS
from lpm import geometry
from lpm.console import cli
from lpm.console.errors import InvalidInput
from lpm.pairs import table
from lpm.solve import solve
from paper_checks.claims.facts import SCORES
from tests.training.own import older
from training.config import RunConfig, with_preset
from training.data import datasets
from training.run import loop
from training.store.runs import RunFolder, at

TINY = replace(with_preset(RunConfig(), "smoke"), epochs=2, width=4, imbalance=10.0)
K = 10


@pytest.fixture(scope="module")
def trained(digits: datasets.LongTailed, tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunFolder]:
    store = tmp_path_factory.mktemp("store")
    folders = {}
    for sampler, classifier in (("random", "fc"), ("bmls", "fc"), ("bmls", "ms-unordered"), ("bmls", "etf")):
        config = replace(TINY, sampler=sampler, classifier=classifier, width=4)
        folder = RunFolder(store, config)
        loop.run(config, digits, folder, torch.device("cpu"))
        folders[config.method] = folder
    return folders


def made_network(W: np.ndarray, H: np.ndarray) -> Network:
    """Return a network without noise; H is (Q, K, K, p)."""
    Q = len(H)
    shape = H.shape[:3]
    return Network(1, W, np.zeros(K), np.zeros(W.shape[1]), H, np.zeros(shape), np.full(shape, 5), np.arange(Q) / Q)


@pytest.mark.parametrize("classifier", ["fc", "ms", "ms-unordered"])
def test_budgets_are_those_of_the_program_and_the_optimum_is_its_solution(
    classifier: str, trained: dict[str, RunFolder]
) -> None:
    rng = np.random.default_rng(0)
    W, H = rng.normal(size=(K, 6)), rng.normal(size=(4, K, K, 6))
    W -= W.mean(axis=0)
    counts = np.outer(*(2 * [np.linspace(9, 1, K)])) if classifier != "ms-unordered" else np.triu(np.ones((K, K)), 1)
    run = trained["random+FC"]
    run = RunFolder(run.path.parent.parent, run.config)
    object.__setattr__(run.config, "classifier", classifier)  # only the name is read
    try:
        best = optimum.optimum(run, made_network(W, H), counts)
    finally:
        object.__setattr__(run.config, "classifier", "fc")
    squares = (H**2).sum(axis=-1).mean(axis=0)
    a, b = np.triu_indices(K, 1)
    second, cross = 1 / 3, 1 / 6  # E lambda^2 and E lambda (1 - lambda), lambda uniform on (0, 1)
    mixed = second * ((W[:, None] ** 2).sum(-1) + (W[None] ** 2).sum(-1)) + 2 * cross * W @ W.T
    if classifier == "fc":
        e_w, e_h = (W**2).sum() / K, squares.mean()
    elif classifier == "ms":
        e_w, e_h = mixed.mean(), squares.mean()
    else:
        e_w, e_h = mixed[a, b].mean(), squares[a, b].mean()
    assert best.e_w == pytest.approx(e_w)
    assert best.e_h == pytest.approx(e_h)
    alone = solve(optimum.program(classifier, table(counts), 1.0, e_h, e_w))
    expected = geometry.cosines(alone.gram.matrix(alone.problem.members))
    assert np.abs(geometry.cosines(best.W @ best.W.T) - expected).max() < 2e-3  # both certified to 1e-6 of the loss
    assert best.loss == pytest.approx(alone.loss, rel=2e-6)


def test_balanced_label_pairs_make_the_optimum_an_etf(trained: dict[str, RunFolder]) -> None:
    rng = np.random.default_rng(1)
    best = optimum.optimum(
        trained["random+FC"], made_network(rng.normal(size=(K, 3)), rng.normal(size=(2, K, K, 3))), np.ones((K, K))
    )
    assert geometry.etf_distance(best.W @ best.W.T) < 1e-3
    assert best.rank == K - 1
    dual = geometry.self_duality(best.W, optimum.class_features(best.a, best.b, best.lam, best.weight, best.H, K))
    assert dual < 1e-3


def test_squared_lengths_of_means_are_estimated_without_bias() -> None:
    rng = np.random.default_rng(2)
    mean, n, repeats = np.array([1.0, -2.0]), 3, 4000
    h = mean + rng.normal(size=(repeats, n, 2))
    means = h.mean(axis=1)
    variance = ((h**2).sum(-1).mean(1) - (means**2).sum(-1)) * n / (n - 1)
    net = Network(
        1, np.eye(2), np.zeros(2), np.zeros(2), means.reshape(repeats, 1, 1, 2), variance.reshape(repeats, 1, 1),
        np.full((repeats, 1, 1), n), np.zeros(repeats),
    )  # fmt: skip
    unmeasured = replace(net, variance=np.full((repeats, 1, 1), np.nan))
    assert np.isnan(unmeasured.squares()).all()
    assert float(net.squares()[0, 0]) == pytest.approx(5.0, abs=0.15)
    assert float(net.squares("features")[0, 0]) == pytest.approx(7.0, abs=0.15)  # 5 and two components of variance 1
    assert (means**2).sum(-1).mean() > 5.5  # the naive estimate is biased
    assert net.noise == pytest.approx(2 / 5, rel=0.1)


def test_the_projection_keeps_lengths_angles_and_the_three_classes_confidence() -> None:
    rng = np.random.default_rng(3)
    W, h, bias = rng.normal(size=(3, 7)), rng.normal(size=(50, 7)), rng.normal(size=3)
    basis = fig4.plane(W)
    centred = W - W.mean(axis=0)
    w = centred @ basis.T
    assert np.allclose(basis @ basis.T, np.eye(2))
    assert np.allclose(w @ w.T, centred @ centred.T)
    assert w[0, 0] == pytest.approx(0)
    assert w[0, 1] > 0 > w[1, 0]

    def softmax(z: np.ndarray) -> np.ndarray:
        e = np.exp(z - z.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    assert np.allclose(softmax(h @ W.T + bias), softmax((h @ basis.T) @ w.T + bias))
    with pytest.raises(InvalidInput, match="coincide"):
        fig4.plane(np.ones((3, 4)))


@pytest.mark.parametrize("together", [(1, 2), (0, 1), (0, 2)])
def test_collapsed_class_vectors_are_drawn_on_a_line(together: tuple[int, int]) -> None:
    W = np.random.default_rng(5).normal(size=(3, 7))
    W[together[1]] = W[together[0]]
    basis = fig4.plane(W)
    w = (W - W.mean(axis=0)) @ basis.T
    assert np.allclose(basis @ basis.T, np.eye(2))
    assert np.allclose(w[:, 0], 0)
    assert np.allclose(w[together[0]], w[together[1]])


def test_what_is_drawn_is_the_network_and_its_optimum(trained: dict[str, RunFolder]) -> None:
    run = trained["random+FC"]
    net = optimum.network(run, 2)
    best = optimum.optimum(run, net, optimum.frequencies(run))
    final = run.final()
    W, b = (final[f"network.classifier.linear.{name}"].astype(float) for name in ("weight", "bias"))
    measured, predicted = fig4.measured_panel(run, net), fig4.predicted_panel(run, best)
    for panel, gram in ((measured, W @ W.T), (predicted, best.W @ best.W.T)):
        for i, a in enumerate(fig4.CLASSES):
            for j, c in enumerate(fig4.CLASSES):
                exact = gram[a, a] + gram[c, c] - 2 * gram[a, c]
                drawn = ((panel.vectors[i] - panel.vectors[j]) ** 2).sum()
                assert drawn == pytest.approx(exact, rel=1e-4, abs=1e-9)
    h = measured.features[8]
    features = final["test_features"].astype(float)[final["test_labels"] == 8][: len(h)]
    scores = features @ W[list(fig4.CLASSES)].T + b[list(fig4.CLASSES)]
    drawn_scores = h @ measured.vectors.T + measured.biases
    differences = [z - z[:, :1] for z in (scores, drawn_scores)]
    assert np.allclose(*differences, atol=2e-3)  # features are stored in half precision


def test_rows_of_figure_4_are_the_cosine_and_the_points_of_its_panels(trained: dict[str, RunFolder]) -> None:
    run = trained["random+FC"]
    net = optimum.network(run, 2)
    best = optimum.optimum(run, net, optimum.frequencies(run))
    for panel, W in ((fig4.measured_panel(run, net), net.W), (fig4.predicted_panel(run, best), best.W)):
        cosine, *points = panel.rows
        assert (cosine["kind"], cosine["class"], cosine["x"]) == ("cosine", "8,9", panel.rare_cosine)
        assert panel.rare_cosine == pytest.approx(geometry.cosines(W @ W.T)[8, 9])
        vectors = [row for row in points if row["kind"] == "class vector"]
        assert [(row["x"], row["y"], row["bias"]) for row in vectors] == [
            (x, y, bias) for (x, y), bias in zip(panel.vectors, panel.biases, strict=True)
        ]
        assert len(points) == 3 + sum(map(len, panel.features.values()))


def test_self_duality_weighs_features() -> None:
    """Class features are means weighted by label: here two features by hand."""
    a, b, lam = np.array([0, 0]), np.array([1, 1]), np.array([0.25, 0.75])
    H, weight = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([2.0, 1.0])
    means = optimum.class_features(a, b, lam, weight, H, 2)
    first = (2 * 0.25 * H[0] + 0.75 * H[1]) / (2 * 0.25 + 0.75)
    second = (2 * 0.75 * H[0] + 0.25 * H[1]) / (2 * 0.75 + 0.25)
    assert np.allclose(means, np.stack([first, second]) - (first + second) / 2)


@pytest.mark.parametrize("score", SCORES, ids=lambda s: s.short)
def test_scores_reach_their_largest_values_and_never_exceed_them(score: Any) -> None:
    measure = uniformity.SCORES[score.short]
    rng = np.random.default_rng(4)
    for K_ in (3, 10):
        etf = geometry.simplex_etf(K_)
        if "angle" in score.short and K_ == 10:  # the maximum is not the ETF: five vectors at each of two poles
            side = np.repeat([1.0, -1.0], 5)
            assert measure(np.outer(side, side)) == pytest.approx(score.largest(K_))
            assert measure(etf) < score.largest(K_)
        else:
            assert measure(etf) == pytest.approx(score.largest(K_))
        for _ in range(20):
            u = rng.normal(size=(K_, K_))
            assert measure(geometry.cosines(u @ u.T)) <= score.largest(K_) + 1e-9


def test_every_definition_of_the_check_is_computed() -> None:
    assert set(uniformity.SCORES) == {s.short for s in SCORES}


def test_changes_are_against_the_reference_of_the_same_seed() -> None:
    place = {"dataset": "d", "imbalance": 100.0, "preset": "quick", "a": 0, "b": 1}

    def row(method: str, seed: int, value: float) -> dict[str, Any]:
        return place | {"method": method, "seed": seed, "product": value, "product_predicted": 2 * value}

    changes = changed([row("BMLS+FC", 0, 1.0), row("random+FC", 0, 1.5), row("random+FC", 1, 9.0)])
    assert [(r["method"], r["seed"], r["change"], r["change_predicted"]) for r in changes] == [
        ("random+FC", 0, 0.5, 1.0)
    ]


def test_a_flat_prediction_has_no_correlation() -> None:
    x = np.linspace(0, 1, 9)
    assert correlation(x, 2 * x) == pytest.approx(1)
    assert math.isnan(correlation(np.full(9, 0.3) + 1e-3 * x, x))


def pictures(folder: Path, name: str) -> None:
    png, pdf = (folder / f"{name}.png").read_bytes(), (folder / f"{name}.pdf").read_bytes()
    width, height = (int.from_bytes(png[i : i + 4], "big") for i in (16, 20))
    assert 300 < width <= 1400
    assert 200 < height < 1400
    assert len(png) > 5000
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf


def test_the_comparison_is_drawn_from_runs(trained: dict[str, RunFolder], tmp_path: Path) -> None:
    runs = [str(trained[m].path) for m in ("BMLS+MS", "random+FC", "BMLS+FC")]
    assert draw(["geometry", *runs, "--out", str(tmp_path / "g"), "--quiet"]) == 0
    for name in ("geometry-cosines", "geometry-epochs", "geometry-changes"):
        pictures(tmp_path / "g", name)
    with (tmp_path / "g" / "geometry-epochs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["method"], r["epoch"]) for r in rows] == [
        (m, e) for m in ("random+FC", "BMLS+FC", "BMLS+MS") for e in ("1", "2")
    ]
    assert all(float(r["relative_gap"]) <= 1e-6 for r in rows)
    with (tmp_path / "g" / "geometry-cosines.csv").open() as file:
        pairs = list(csv.DictReader(file))
    W = trained["random+FC"].geometry(2)["class_vectors"].astype(float)
    W -= W.mean(axis=0)
    cosines = [float(r["cosine"]) for r in pairs if r["method"] == "random+FC"]
    assert np.allclose(np.array(cosines).reshape(K, K), geometry.cosines(W @ W.T), atol=1e-6)
    assert (tmp_path / "g" / "geometry.md").read_text().count("\n| ") == 4


def test_figure_4_is_drawn_from_runs(trained: dict[str, RunFolder], tmp_path: Path) -> None:
    panels, scores = fig4.data([trained[m] for m in ("random+FC", "BMLS+MS")])
    with rc_context(MATPLOTLIB_SETTINGS):
        figure = fig4.plot(panels)
        for ending in ("pdf", "png"):
            figure.savefig(tmp_path / f"fig4.{ending}")
    pictures(tmp_path, "fig4")
    axes = figure.get_axes()
    assert [axis.get_title(loc="left") for axis in axes[:2]] == ["random+FC", "BMLS+MS"]
    cosines = [panel.rare_cosine for source in ("network", "optimum") for panel in panels if panel.source == source]
    assert [axis.get_xlabel() for axis in axes] == [f"cos(w8, w9) = {cosine:+.2f}" for cosine in cosines]
    text = fig4.markdown(scores)
    assert "| random+FC | network |" in text
    assert "U_G = 14.6404" in text
    assert [len(points) for points in panels[0].features.values()] == [50] * 3


def failing(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.run(lambda: draw(arguments)) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    return printed


def test_missing_runs_say_which_command_makes_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("fig4", "geometry"):
        printed = failing([name, "--store", str(tmp_path / "s"), "--out", str(tmp_path / "o")], capsys)
        assert "runs are not in" in printed
        assert "python -m training.table 8" in printed
        assert "--dataset cifar10-lt --imbalance 100" in printed
    assert not (tmp_path / "o").exists()


def damaged(name: str) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        (run / name).write_bytes(b"no tensors")

    return damage


def reshaped(name: str, change: Callable[[np.ndarray], Any]) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        from safetensors.numpy import load_file, save_file

        file = run / "geometry-0000002.safetensors"
        tensors = load_file(file)
        changed = change(tensors[name])
        save_file({k: v for k, v in {**tensors, name: changed}.items() if v is not None}, file)

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (reshaped("pair_number", lambda x: x[0].copy()), "pair_number of epoch 2 does not fit"),
        (reshaped("pair_squares", lambda x: x[:, :3].copy()), "pair_squares of epoch 2"),
        (reshaped("class_vectors", lambda x: x[0].copy()), "class_vectors of epoch 2"),
        (reshaped("class_means", lambda x: x[:, :5].copy()), "class_means of epoch 2"),
        (reshaped("class_bias", lambda x: x[:3].copy()), "class_bias of epoch 2"),
        (reshaped("ratio_means", lambda x: None), "ratio_means of epoch 2"),
        (reshaped("ratio_means", lambda x: x * 1e30), "ratio_means of epoch 2"),
        (reshaped("pair_means", lambda x: x * np.nan), "pair_means of epoch 2"),
        (reshaped("pair_number", lambda x: 0 * x), "label pairs of the training were not measured after epoch 2"),
        (lambda run: (run / "geometry-0000002.safetensors").rename(run / "geometry-0000009.safetensors"), "of epoch 9"),
        (damaged("geometry-0000002.safetensors"), "cannot be read"),
        (damaged("final.safetensors"), "cannot be read"),
        (damaged("config.json"), "is no config of a run"),
        (lambda run: (run / "metrics.json").unlink(), "is not finished"),
        (lambda run: [f.unlink() for f in run.glob("geometry-*")], "holds no geometry"),
    ],
)
def test_a_damaged_run_is_one_line(
    damage: Callable[[Path], None],
    message: str,
    digits: datasets.LongTailed,
    trained: dict[str, RunFolder],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import shutil

    source = trained["random+FC"].path
    run = tmp_path / "runs" / source.parent.name / source.name
    shutil.copytree(source, run)
    older(at(run))
    damage(run)
    assert message in failing(["geometry", str(run), "--out", str(tmp_path / "o")], capsys)
    assert not (tmp_path / "o").exists()


def test_runs_of_another_kind_are_refused(
    trained: dict[str, RunFolder], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = failing(["geometry", str(trained["BMLS+ETF+CE"].path), "--out", str(tmp_path / "o")], capsys)
    assert "'etf' has no layer-peeled program" in printed
    printed = failing(["geometry", str(tmp_path), "--out", str(tmp_path / "o")], capsys)
    assert "is not a run: it holds no config.json" in printed
    copy = tmp_path / "copy" / "seed-0"
    copy.mkdir(parents=True)
    (copy / "config.json").write_bytes((trained["random+FC"].path / "config.json").read_bytes())
    with pytest.raises(InvalidInput, match="is a copy under another name"):
        read_run(copy)


def test_runs_that_cannot_be_compared_are_refused(
    digits: datasets.LongTailed, trained: dict[str, RunFolder], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, other = trained["random+FC"], replace(TINY, epochs=1, warmup=1)
    loop.run(other, digits, folder := RunFolder(tmp_path, other), torch.device("cpu"))
    out = ["--out", str(tmp_path / "o")]
    assert "has epochs 2" in failing(["geometry", str(run.path), str(folder.path), *out], capsys)
    assert "is given twice" in failing(["geometry", str(run.path), f"{run.path}/../{run.path.name}", *out], capsys)


def test_the_table_has_one_line_per_method_and_means_over_seeds() -> None:
    row = {
        "method": "random+FC", "dataset": "d", "imbalance": 100.0, "preset": "quick", "seed": 0, "E_W": 1.0,
        "mean_square": 2.0, "few_cosine": 0.1, "few_cosine_predicted": 0.2, "few_length": 1.0, "few_length_predicted": 0.9,
        "correlation": float("nan"), "largest_deviation": 0.3, "self_duality": 0.5, "self_duality_predicted": 0.0,
    }  # fmt: skip
    changes = [
        {"method": "random+FC", "a": 0, "b": b, "change": 2.0 * b, "change_predicted": float(b)} for b in range(1, 5)
    ]
    lines = markdown([row, row | {"seed": 1, "few_cosine": 0.3}], changes).splitlines()
    assert lines[2] == (
        "| random+FC | 2 | 1.00 | 2.00 | +0.20 / +0.20 | 1.00 / 0.90 | – | 0.30 | 0.50 / 0.00 | – | +1.00 |"
    )
    assert lines[-1] == "d, imbalance 100, preset quick, last epoch; reference BMLS+FC."
