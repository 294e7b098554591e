"""The cure map: programs of methods, measures against loops, gains divided exactly, rows kept and read, and bad input."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from figures import __main__ as command
from figures import cure_measures, cure_plot, cure_tables, cures
from figures.cure_programs import method_of
from figures.explore_decay import networks
from lpm import law
from lpm.console.errors import InvalidInput
from lpm.pairs import class_counts, imbalanced
from lpm.solve import solve
from training.config import RunConfig
from training.data import datasets
from training.experiments import config, runs_of
from training.model import class_weights
from training.named import METHODS
from training.run import loop
from training.sampling.label_law import label_frequencies
from training.store import collapse
from training.store.runs import RunFolder, find

COUNTS = np.array([120, 72, 43, 26, 15, 9, 6, 4, 3, 2])
TRAINED = ("random+FC, no mixup", "random+FC", "random+cosine+LDAM, no mixup", "BMLS+MS", "DBN")


def cifar(method: str, **changes: Any) -> RunConfig:
    return replace(config(method, "cifar10-lt", 100, "quick"), **changes)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of an epoch on the digits."""
    folder = tmp_path_factory.mktemp("cures") / "store"
    base = replace(config("random+FC", "digits-lt", 10, "smoke"), epochs=1, warmup=0, width=4)
    for method in TRAINED:
        run = runs_of(base, method)[-1]
        data = datasets.of(run, None, train_list=None, test_list=None)
        loop.run(run, data, RunFolder(folder, run), torch.device("cpu"))
    return folder


@pytest.fixture(scope="module")
def drawn(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("drawn") / "cures"
    assert command.main(["cures", "--store", str(store), "--device", "cpu", "--quiet", "--out", str(out)]) == 0
    return out


def test_every_method_has_a_program_or_a_reason() -> None:
    reasons = {}
    for method in METHODS:
        try:
            problem = method_of(cifar(method)).at(class_counts(COUNTS))
            assert len(problem.rows)
        except InvalidInput as reason:
            reasons[method] = str(reason)
    assert {m for m, r in reasons.items() if "branches" in r} == {"DBN", "BBN", "BMLS+FC+CL+DBN"}
    assert {m for m, r in reasons.items() if "frozen" in r} == {m for m in METHODS if "stage" in METHODS[m]}
    for method in ("random+FC", "random+FC+LA", "BMLS+MS", "bilateral+FC+CMO", "LOM+FC+DRW", "CAS+FC, no mixup"):
        assert method not in reasons
    assert {"random+FC+Focal", "random+FC+CL", "BMLS+ETF+DR", "random+FC+MAMix", "BMLS+FC+Remix"} <= set(reasons)


@pytest.mark.parametrize(
    "method", ["random+FC", "random+FC, no mixup", "random+FC+LA", "random+FC+CW", "CAS+FC", "BMLS+FC", "random+MS"]
)
def test_collapse_numbers_are_those_of_the_closed_forms(method: str) -> None:
    """The program's own number, by its label pairs, is training's formula."""
    run, classes = cifar(method), imbalanced(10, None, 20.0)
    number = law.collapse_number(method_of(run).at(classes).under_decay(1.0), 1)
    formula = collapse.collapse_numbers(run, classes.counts[classes.group_of])
    assert formula is not None
    assert number == pytest.approx(formula[-1])


@pytest.mark.parametrize(
    ("method", "sampler"),
    [
        ("random+FC", "random"),
        ("bilateral+FC", "bilateral"),
        ("CAS+FC", "cas"),
        ("random+FC", "tempered"),
        ("UniMix+FC+LA(prior=data)+UniMix", "unimix"),
    ],
)
def test_logit_adjustment_has_the_prior_of_the_labels_that_are_drawn(method: str, sampler: str) -> None:
    run = cifar(method, sampler=sampler, loss="la", prior="stream")
    offset = method_of(run).at(class_counts(COUNTS)).offset
    expected = np.log(label_frequencies(replace(run, batch=10**6), COUNTS))
    assert offset is not None
    # The stream pairs without replacement, and the model with it.
    assert offset == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("kind", ["effective", "inverse"])
@pytest.mark.parametrize("normalisation", ["weights", "batch"])
def test_class_weights_are_those_of_training(kind: str, normalisation: str) -> None:
    run = cifar("random+FC+CB-RW", class_weights=kind, weight_normalisation=normalisation)
    classes = class_counts(COUNTS)
    problem = method_of(run).at(classes)
    (label, _), _ = problem.labels()
    weights = label[problem.rows.same]  # a pure image of each class in turn
    expected = getattr(class_weights, kind)(torch.from_numpy(COUNTS)).numpy()
    if normalisation == "weights":
        expected = expected / (expected @ COUNTS / COUNTS.sum())
    assert weights == pytest.approx(expected[problem.rows.first[problem.rows.same]])


@pytest.mark.parametrize("method", ["random+FC", "random+FC+Remix"])
def test_more_nodes_change_no_digit_of_the_map(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = []
    for nodes in (4, 16):
        monkeypatch.setattr("figures.cure_programs.NODES", nodes)
        solution = solve(method_of(cifar(method)).at(class_counts(COUNTS)).under_decay(0.003))
        gram = solution.gram.matrix(solution.problem.members)
        shapes.append(cure_measures.shape(gram, {"many": (0, 2), "few": (7, 9)}))
    for name in ("cos_many", "cos_many_few", "cos_few", "length_few"):
        assert shapes[0][name] == pytest.approx(shapes[1][name], abs=0.01)


def test_the_shape_of_class_vectors_is_that_of_loops() -> None:
    W = np.random.default_rng(0).normal(size=(6, 8))
    ranges = {"many": (0, 1), "med": (2, 2), "few": (3, 5)}
    found = cure_measures.shape(W @ W.T, ranges)
    w = W - W.mean(axis=0)
    unit = [v / math.sqrt(sum(v**2)) for v in w]
    assert found["cos_many"] == pytest.approx(unit[0] @ unit[1])
    assert found["cos_few"] == pytest.approx(np.mean([unit[a] @ unit[b] for a, b in ((3, 4), (3, 5), (4, 5))]))
    assert found["cos_many_few"] == pytest.approx(np.mean([unit[a] @ unit[b] for a in (0, 1) for b in (3, 4, 5)]))
    lengths = [math.sqrt(sum(v**2)) for v in w]
    assert found["length_few"] == pytest.approx(np.mean(lengths[3:]) / np.mean(lengths[:2]))
    singular = np.linalg.svd(w, compute_uv=False)[:5]
    assert found["singular_values"] == " ".join(f"{s:.4f}" for s in singular / np.linalg.norm(singular))


def test_collapsed_classes_have_cosine_one_and_a_single_one_has_none() -> None:
    W = np.eye(5)[[0, 1, 2, 4, 4]]
    found = cure_measures.shape(W @ W.T, {"many": (0, 0), "few": (3, 4)})
    assert found["cos_few"] == pytest.approx(1.0)
    assert math.isnan(float(found["cos_many"]))
    assert str(found["singular_values"]).split()[-1] == "0.0000"
    assert math.isnan(float(cure_measures.shape(W @ W.T, {"many": (0, 4)})["length_few"]))
    nothing = cure_measures.shape(np.ones((5, 5)), {"many": (0, 1), "few": (3, 4)})
    assert nothing["singular_values"] == ""
    assert math.isnan(float(nothing["cos_few"]))


def test_measures_are_those_of_the_stored_run(store: Path, drawn: Path) -> None:
    rows = {row["method"]: row for row in cures.read(drawn / "cures.csv")}
    assert set(rows) == set(TRAINED)
    for run in find(store):
        row, result = rows[run.config.method], run.result()
        assert row["all"] == pytest.approx(result.last["all"])
        assert row["few_as_own"] == pytest.approx(result.last["few"])
        shares = [row[f"few_as_{name}"] for name in ("own", "many", "med", "few")]
        assert sum(shares) == pytest.approx(100)
        first, last = result.splits["few"]
        labels, predictions = run.final()["test_labels"], run.final()["test_answers"][:, 0]
        of_many = [np.mean(predictions[labels == k] <= result.splits["many"][1]) for k in range(first, last + 1)]
        assert row["few_as_many"] == pytest.approx(100 * np.mean(of_many))
        assert not math.isnan(row["ece"])
        assert math.isnan(row["crt_all"]) != (run.config.branches == "none")


def test_margins_are_at_the_mean_inputs_of_rare_classes(store: Path, drawn: Path) -> None:
    rows = {row["method"]: row for row in cures.read(drawn / "cures.csv")}
    (run,) = (run for run in find(store) if run.config.method == "random+FC")
    tensors, (first, last) = run.geometry(run.config.epochs), run.result().splits["few"]
    margins = []
    for k in range(first, last + 1):
        z = tensors["class_vectors"] @ tensors["class_means"][k] + tensors["class_bias"]
        margins.append(z[k] - max(z[j] for j in range(10) if j != k))
    assert rows["random+FC"]["margin_few"] == pytest.approx(np.mean(margins), abs=1e-5)
    assert math.isnan(rows["random+cosine+LDAM, no mixup"]["margin_few"])


def test_predictions_are_the_optimum_at_the_measured_decay_or_a_reason(store: Path, drawn: Path) -> None:
    rows = {row["method"]: row for row in cures.read(drawn / "cures.csv")}
    row = rows["random+FC"]
    (run,) = (run for run in find(store) if run.config.method == "random+FC")
    solution = solve(method_of(run.config).at(class_counts(run.result().train_counts)).under_decay(row["mu"]))
    gram = solution.gram.matrix(solution.problem.members)
    assert row["predicted_cos_few"] == pytest.approx(
        cure_measures.shape(gram, run.result().splits)["cos_few"], abs=1e-3
    )
    pi = 1 / (5 * (1 + row["predicted_R0"]))  # five frequent and five rare classes
    assert pi * 2 / 3 == pytest.approx(row["mu"] ** 2)  # the law at alpha = 1
    for method, word in (("DBN", "branches"), ("random+cosine+LDAM, no mixup", "cosines")):
        assert word in rows[method]["predicted_note"]
        assert math.isnan(rows[method]["predicted_cos_few"])
    assert "a < b" in rows["BMLS+MS"]["predicted_note"]
    assert rows["random+FC, no mixup"]["la_note"] == ""
    assert "uniform" in rows["BMLS+MS"]["la_note"]


def test_two_classes_have_no_threshold_of_merging_and_many_have_no_prediction() -> None:
    halves = {"many": (0, 0), "few": (1, 1)}
    two = cure_measures.predicted(cifar("random+FC"), 0.001, np.array([50, 5]), halves)
    assert two["predicted_note"] == ""
    assert two["predicted_cos_many_few"] == pytest.approx(-1)
    assert math.isnan(float(two["predicted_R0"]))
    many = cure_measures.predicted(
        cifar("random+FC"), 0.001, np.arange(101, 0, -1), {"many": (0, 50), "few": (51, 100)}
    )
    assert "100 classes" in str(many["predicted_note"])


def test_rows_alone_draw_the_same_map_and_known_runs_are_not_measured_again(
    store: Path, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured_again(*_: Any) -> None:
        raise AssertionError("a known run was measured")

    monkeypatch.setattr(cure_measures, "row_of", measured_again)
    rows = ["--rows", str(drawn / "cures.csv")]
    unwanted = ["--store", str(store), "--preset", "paper"]  # nothing is measured that is not drawn
    with pytest.raises(InvalidInput, match="no measured run"):
        command.main(["cures", *unwanted, "--quiet", "--out", str(tmp_path / "none")])
    for words in (rows, [*rows, "--store", str(store)]):
        out = tmp_path / str(len(words))
        assert command.main(["cures", *words, "--quiet", "--out", str(out)]) == 0
        for name in ("cures.csv", "cure-map.csv"):
            assert (out / name).read_bytes() == (drawn / name).read_bytes()
        assert (out / "cure-map.png").read_bytes().startswith(b"\x89PNG")


def test_methods_without_a_run_are_predicted_at_the_plain_runs_decay(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, unmeasured = [], cures.unmeasured
    monkeypatch.setattr(cures, "unmeasured", lambda rows: found.extend(unmeasured(rows)) or found)
    words = ["cures", "--rows", str(drawn / "cures.csv"), "--quiet", "--all-methods", "--out", str(tmp_path / "map")]
    assert command.main(words) == 0
    rows, others = cures.read(drawn / "cures.csv"), {row["method"]: row for row in found}
    assert set(others) == set(METHODS) - set(TRAINED)
    (plain,) = (row for row in rows if row["method"] == cures.PLAIN)
    assert others["CAS+FC"]["mu"] == plain["mu"]
    # Balanced single images are in neural collapse; weights beyond that favour rare classes.
    assert others["CAS+FC, no mixup"]["predicted_cos_few"] == pytest.approx(-1 / 9, abs=1e-3)
    assert others["CAS+FC, no mixup"]["predicted_length_few"] == pytest.approx(1, abs=1e-3)
    assert others["random+FC+1/n"]["predicted_length_few"] > others["random+FC+LA"]["predicted_length_few"]
    assert "frozen" in others["random+FC+cRT"]["predicted_note"]
    assert cure_tables.predictions(found) in (tmp_path / "map" / "cure-map.md").read_text()


@pytest.mark.parametrize(
    "change",
    [
        {"counts": ""},
        {"counts": "3 x"},
        {"counts": "3 0"},
        {"splits": "few 0"},
        {"splits": "few 8 12"},
        {"splits": "few 9 8"},
    ],
)
def test_counts_and_splits_must_fit(change: dict[str, str], drawn: Path, tmp_path: Path) -> None:
    with (drawn / "cures.csv").open(newline="") as file:
        rows = [row | change for row in csv.DictReader(file)]
    path = tmp_path / "rows.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(InvalidInput, match="cannot be read"):
        cures.read(path)


def a_row(method: str, seed: int = 0, **values: float) -> dict[str, Any]:
    words: dict[str, Any] = {
        "dataset": "d",
        "imbalance": 10.0,
        "preset": "quick",
        "epochs": 3,
        "model": "m",
        "config": method,
    }
    words |= {"predicted_note": "", "predicted_singular_values": "", "singular_values": "0.6 0.4"}
    return {**dict.fromkeys(cure_plot.COLUMNS, math.nan), **words, "method": method, "seed": seed, **values}


def test_a_gain_is_the_sum_of_representation_and_preference() -> None:
    rows = [
        a_row(cures.PLAIN, all=50.0, crt_all=60.0),
        a_row(cures.PLAIN, 1, all=52.0, crt_all=62.0) | {"singular_values": "0.4 0.2"},
        a_row("M", all=64.0, crt_all=66.0),
        a_row("without yardstick", all=40.0),
    ]
    one, plain, other = cures.means(rows)
    assert (one["method"], one["gain"], one["representation"], one["preference"]) == ("M", 13.0, 5.0, 8.0)
    assert (plain["singular_values"], plain["predicted_singular_values"]) == ("0.5000 0.3000", "")
    assert (plain["runs"], plain["all"], plain["gain"], plain["preference"]) == (2, 51.0, 0.0, 0.0)
    assert other["gain"] == -11.0
    assert math.isnan(other["representation"])
    assert math.isnan(other["preference"])
    (alone,) = cures.means(rows[2:3])
    assert math.isnan(alone["gain"])


@pytest.mark.parametrize(
    "change",
    [
        {"all": "x"},
        {"few": "inf"},
        {"seed": ""},
        {"epochs": "nan"},
        {"crt_all": None},
        {"config": None},
        {"singular_values": "1 nan"},
        {"few": "101"},
        {"ece": "-1"},
        {"margin_few": "1e308"},
        {"mu": "-0.1"},
        {"predicted_threshold": "0"},
        {"seed": "0.5"},
        {"seed": "0", "config": "the same"},
    ],
)
def test_unreadable_rows_are_one_line(change: dict[str, Any], drawn: Path, tmp_path: Path) -> None:
    with (drawn / "cures.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    changed = [{name: cell for name, cell in (row | change).items() if cell is not None} for row in rows]
    path = tmp_path / "rows.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(changed[0]))
        writer.writeheader()
        writer.writerows(changed)
    for name in (path, tmp_path / "none.csv"):
        with pytest.raises(InvalidInput) as refused:
            cures.read(name)
        assert "\n" not in str(refused.value)


def test_a_row_with_more_cells_than_the_header_is_one_line(drawn: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text((drawn / "cures.csv").read_text().rstrip() + ",1\n")
    with pytest.raises(InvalidInput, match="more cells"):
        cures.read(tmp_path / "rows.csv")


@pytest.mark.parametrize("read", [cures.read, networks])
def test_a_pipe_is_refused_because_it_would_wait_for_ever(read: Callable[[Path], Any], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidInput, match="not a regular file"):
        read(tmp_path / "pipe")


def test_runs_of_several_settings_or_none_are_refused(drawn: Path, tmp_path: Path) -> None:
    with (drawn / "cures.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    path = tmp_path / "rows.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows([*rows, rows[0] | {"imbalance": "50"}])
    out = ["--rows", str(path), "--quiet", "--out", str(tmp_path / "out")]
    with pytest.raises(InvalidInput, match="several settings"):
        command.main(["cures", *out])
    with pytest.raises(InvalidInput, match="no measured run"):
        command.main(["cures", *out, "--imbalance", "7"])
    with pytest.raises(InvalidInput, match="no finished run"):
        command.main(["cures", *out, "--store", str(tmp_path)])
    assert not (tmp_path / "out").exists()
    assert command.main(["cures", *out, "--imbalance", "10"]) == 0


def test_words_of_rows_are_harmless(drawn: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text((drawn / "cures.csv").read_text().replace(",DBN,", ",D\x1b[31mN$\\frac$,"))
    methods = {row["method"] for row in cures.read(path)}
    assert not any("\x1b" in method for method in methods)
    assert command.main(["cures", "--rows", str(path), "--quiet", "--out", str(tmp_path / "out")]) == 0
