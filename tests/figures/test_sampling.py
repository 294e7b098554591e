"""Figures 2 and 3: frequencies against other counts, closed forms against enumeration, files, errors."""

from __future__ import annotations

import csv
import itertools
import json
import math
import shlex
import shutil
from argparse import Namespace
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from figures import fig2, fig3, store
from figures.__main__ import main
from figures.expected_cv import closed_form
from figures.frequencies import KINDS, counted, label_pairs, possible
from figures.style import PAGE_WIDTH
from lpm.console import cli
from paper_checks.epochs import cyclic_cv, multinomial_cv
from paper_checks.paper.datasets import cifar_lt
from training.config import RunConfig, with_preset
from training.data import datasets
from training.model import build
from training.run import loop
from training.store.runs import RunFolder
from training.train import main as train

ROOT = Path(__file__).parents[2]
EPOCHS = 40
DIGITS = store.Setting("digits-lt", 10.0, "smoke", (0, 1), Path("runs"))


def few(K: int, **choices: Any) -> RunConfig:
    """Return a run with so few classes that every possible epoch can be enumerated."""
    return RunConfig(dataset="own", classes=K, **choices)


def cv_of(outcomes: Iterable[tuple[np.ndarray, ...]], config: RunConfig) -> dict[str, float]:
    """Return the average CV by kind over equally likely outcomes; variances are averaged over the epochs of an outcome."""
    K, counts = config.K, []
    for epochs in outcomes:
        table = np.zeros((len(epochs), K, K))
        for e, pairs in enumerate(epochs):
            for a, b in pairs:
                table[e, min(a, b), max(a, b)] += 1
        counts.append(table)
    all_pairs = np.array(counts)
    labels = all_pairs.sum(axis=2) + all_pairs.sum(axis=3)
    kinds = {"label": labels, "label pair": all_pairs[(..., *possible(config))]}
    return {k: float((np.sqrt(n.var(axis=0).mean(axis=0)) / n.mean(axis=(0, 1))).mean()) for k, n in kinds.items()}


def mixed(labels: np.ndarray, batch: int) -> Iterable[tuple[np.ndarray]]:
    """Return every way in which mixup can pair a sequence of labels, batch by batch."""
    parts = [labels[i : i + batch] for i in range(0, len(labels), batch)]
    for partners in itertools.product(*(itertools.permutations(part) for part in parts)):
        yield (np.stack([labels, np.concatenate(partners)], axis=1),)


@pytest.mark.parametrize("batch", [3, 4])  # five draws: batches of 3 and 2, or of 4 and 1
def test_closed_form_of_random_is_what_all_orders_of_the_images_give(batch: int) -> None:
    labels, config = np.array([0, 0, 0, 1, 2]), few(3, batch=batch)
    orders = sorted(set(itertools.permutations(labels.tolist())))
    outcomes = [epoch for order in orders for epoch in mixed(np.array(order), batch)]
    assert closed_form(config, np.bincount(labels), 7) == pytest.approx(cv_of(outcomes, config), rel=1e-12)


@pytest.mark.parametrize("batch", [3, 4])
def test_closed_form_of_cbs_is_what_all_draws_give(batch: int) -> None:
    config = few(2, sampler="cbs", batch=batch)
    outcomes = [e for draw in itertools.product((0, 1), repeat=5) for e in mixed(np.array(draw), batch)]
    assert closed_form(config, np.array([4, 1]), 7) == pytest.approx(cv_of(outcomes, config), rel=1e-12)


def test_closed_form_of_lom_is_that_of_independent_draws() -> None:
    n = cifar_lt(10, 100)
    cv = closed_form(RunConfig(dataset="cifar10-lt", sampler="lom"), n, 7)
    N = int(n.sum())
    assert cv["label"] == pytest.approx(multinomial_cv(2 * N, 10), rel=1e-12)
    assert cv["label pair"] == pytest.approx((45 * multinomial_cv(N, 50) + 10 * multinomial_cv(N, 100)) / 55, rel=1e-12)


def test_closed_form_of_bmls_is_what_all_orders_of_its_cycles_give() -> None:
    config, pairs = few(3, sampler="bmls"), [(0, 1), (0, 2), (1, 2)]
    streams = [list(itertools.chain(*cycles)) for cycles in itertools.product(itertools.permutations(pairs), repeat=4)]
    outcomes = [(np.array(s[0:4]), np.array(s[4:8]), np.array(s[8:12])) for s in streams]
    assert closed_form(config, np.array([2, 1, 1]), 3) == pytest.approx(cv_of(outcomes, config), rel=1e-12)
    assert set(closed_form(config, np.array([2, 2, 2]), 3).values()) == {0.0}  # an epoch is exactly two cycles


def test_closed_form_of_cas_is_what_all_orders_of_its_cycles_give_for_labels() -> None:
    config = few(3, sampler="cas", cas_m=2)
    cycles = itertools.product(itertools.permutations(range(3)), repeat=3)
    streams = [np.repeat(np.array(orders).ravel(), 2) for orders in cycles]
    outcomes = [tuple(np.stack([e, np.roll(e, 1)], axis=1) for e in (s[:7], s[7:14])) for s in streams]
    cv = closed_form(config, np.array([4, 2, 1]), 2)
    assert cv["label"] == pytest.approx(cv_of(outcomes, config)["label"], rel=1e-12)


def test_closed_form_of_cas_is_that_of_a_batch_which_holds_every_class_equally_often() -> None:
    config = few(2, sampler="cas", batch=6)
    outcomes = list(mixed(np.array([0, 0, 0, 1, 1, 1]), 6))
    cv = closed_form(config, np.array([4, 2]), 2)
    assert cv["label pair"] == pytest.approx(cv_of(outcomes, config)["label pair"], rel=1e-12)


def test_closed_form_of_coverage_is_what_all_choices_of_classes_and_label_pairs_give() -> None:
    config, outcomes = (
        few(5, sampler="coverage", coverage=0.6),
        [],
    )  # of 9 pairs 5 mix three classes, 4 are of the other two
    for mixed in itertools.combinations(range(5), 3):
        across, within = list(itertools.combinations(mixed, 2)), [(k, k) for k in range(5) if k not in mixed]
        outcomes += [(np.array([*across, *more, *within * 2]),) for more in itertools.combinations(across, 2)]
    assert closed_form(config, np.array([5, 1, 1, 1, 1]), 3) == pytest.approx(cv_of(outcomes, config), rel=1e-9)
    few_more = few(4, sampler="coverage", coverage=0.5)  # of 10 pairs 5 mix two classes, 5 are of the other two
    outcomes = []
    for a, b in itertools.combinations(range(4), 2):
        c, d = {0, 1, 2, 3} - {a, b}
        outcomes += [(np.array([(a, b)] * 5 + [(c, c), (d, d)] * 2 + [(k, k)]),) for k in (c, d)]
    assert closed_form(few_more, np.array([7, 1, 1, 1]), 3) == pytest.approx(cv_of(outcomes, few_more), rel=1e-9)


def test_at_coverage_0_and_1_counts_differ_by_at_most_one() -> None:
    counts = np.array([4, 3, 3, 3, 3, 3, 3, 3, 3, 3])
    none, full = (closed_form(RunConfig(sampler="coverage", coverage=c), counts, 3) for c in (0.0, 1.0))
    assert none == pytest.approx(dict.fromkeys(KINDS, cyclic_cv(31, 10)), rel=1e-9)
    assert full["label pair"] == pytest.approx(cyclic_cv(31, 45), rel=1e-12)


@pytest.mark.parametrize(
    "choices",
    [{"sampler": s} for s in ("random", "cbs", "cas", "lom", "bmls")]
    + [{"sampler": "coverage", "coverage": c} for c in (0.0, 0.4, 1.0)],
    ids=lambda choices: "-".join(map(str, choices.values())),
)
def test_frequencies_are_those_of_the_trainers_own_sampler(choices: dict[str, Any]) -> None:
    config, counts = RunConfig(seed=3, batch=32, **choices), np.array([40, 31, 24, 19, 15, 12, 9, 7, 6, 5])
    sampler = build.sampler(config, np.repeat(np.arange(10), counts))
    pairs, labels = np.zeros((6, 10, 10)), np.zeros((6, 10))
    for e in range(6):
        for i, j in sampler.pairs(e):
            a, b = sorted((sampler.labels[i], sampler.labels[j]))
            pairs[e, a, b] += 1
            labels[e, a] += 1
            labels[e, b] += 1
    statistics = counted(config, counts, 6)
    entries = possible(config)
    assert pairs.sum() == pairs[(slice(None), *entries)].sum()  # the sampler produces no other label pair
    for kind, n in (("label", labels), ("label pair", pairs[(slice(None), *entries)])):
        np.testing.assert_allclose(statistics[kind].mean, n.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(statistics[kind].std, n.std(axis=0), rtol=1e-12, atol=1e-12)
        occurring = n.any(axis=0)
        assert statistics[kind].seen == occurring.sum()
        assert statistics[kind].average_cv == pytest.approx(
            (n.std(axis=0)[occurring] / n.mean(axis=0)[occurring]).mean(), rel=1e-12
        )


@pytest.fixture(scope="module")
def drawn() -> list[fig2.Drawn]:
    return list(fig2.draw(EPOCHS, datasets=("cifar10-lt",), factors=(100,)))


def test_counted_average_cv_is_the_closed_form(drawn: list[fig2.Drawn]) -> None:
    rows = fig2.cv_data(drawn)
    assert [(r["imbalance"], r["sampler"], r["kind"]) for r in rows] == [
        (100, s, k) for s in fig2.SAMPLERS for k in KINDS
    ]
    for row in rows:
        # A sample's std falls short of the law's by 3/(4E), and the mean of C of them has a standard error of 1/sqrt(2EC).
        error = 0.75 / EPOCHS + 4 / math.sqrt(2 * EPOCHS * row["labels"])
        assert row["average_cv"] == pytest.approx(row["closed_form"], rel=error), row
        assert row["images"] == cifar_lt(10, 100).sum()
        assert (
            row["seen"]
            == row["labels"]
            == {"label": 10, "label pair": 45 if row["sampler"] == "BMLS" else 55}[row["kind"]]
        )


def test_bmls_varies_least_in_label_pairs_and_random_least_in_labels(drawn: list[fig2.Drawn]) -> None:
    rows = fig2.cv_data(drawn)
    pairs, labels = ({r["sampler"]: r["average_cv"] for r in rows if r["kind"] == kind} for kind in reversed(KINDS))
    assert pairs.pop("BMLS") < 0.1 * min(pairs.values())
    assert labels.pop("random") == 0 < min(labels.values())  # every image once an epoch


def test_rows_of_figure_2_hold_every_label_once(drawn: list[fig2.Drawn]) -> None:
    n, rows = cifar_lt(10, 100), fig2.data(drawn, 100)
    for sampler in fig2.SAMPLERS:
        sampler_rows = [r for r in rows if r["sampler"] == sampler]
        assert {r["imbalance"] for r in sampler_rows} == {100}
        for kind, total in (("label", 2 * n.sum()), ("label pair", n.sum())):
            assert sum(r["mean"] * r["labels"] for r in sampler_rows if r["kind"] == kind) == pytest.approx(
                total, rel=1e-12
            )
        assert [r["rank"] for r in sampler_rows if r["kind"] == "label"] == list(range(10))
        ranks = sorted(r["rank"] for r in sampler_rows if r["kind"] == "label pair")
        assert set(ranks) <= set(range(55))
        assert len(ranks) == len(set(ranks)) == (45 if sampler == "BMLS" else 55)
    random = [r for r in rows if (r["sampler"], r["kind"]) == ("random", "label")]
    assert [(r["mean"], r["std"]) for r in random] == [(2 * k, 0) for k in n]
    rarest = max((r for r in rows if r["sampler"] == "random"), key=lambda r: r["rank"])
    assert rarest["pairs"] == "a = b"  # two images of class 9


def test_groups_of_label_pairs_average_their_members() -> None:
    (d,) = [d for d in fig2.draw(2, datasets=("cifar100-lt",), factors=(10,)) if d.name == "LOM"]
    rows = [r for r in fig2.data([d], 10) if r["kind"] == "label pair"]
    n, (a, b) = cifar_lt(100, 10), np.triu_indices(100)
    order = np.lexsort((np.arange(len(a)), -n[a] * n[b]))
    across = order[a[order] < b[order]]
    assert [r["labels"] for r in rows] == [99] * 50 + [10] * 10
    for row, group in zip(rows, np.split(across, 50), strict=False):
        assert row["mean"] == pytest.approx(d.frequency["label pair"].mean[group].mean(), rel=1e-12)
        assert row["std"] == pytest.approx(d.frequency["label pair"].std[group].mean(), rel=1e-12)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def check_picture(folder: Path, name: str, size: tuple[float, float]) -> None:
    """Check a figure's files: fonts that publishers accept, the right size, and ink in every quarter."""
    pdf = (folder / f"{name}.pdf").read_bytes()
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    pixels = imread(folder / f"{name}.png")
    assert pixels.shape[:2] == tuple(round(200 * s) for s in reversed(size))
    ink = (pixels[..., :3] < 0.9).any(axis=2)
    assert all(part.any() for half in np.array_split(ink, 2) for part in np.array_split(half, 2, axis=1))


def test_the_command_draws_figure_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fig2", "--epochs", "2", "--imbalance", "10", "--out", str(tmp_path / "f")]) == 0
    assert capsys.readouterr().out.startswith("fig2-cv.csv, fig2-cv.pdf, fig2-cv.png, fig2.csv, fig2.pdf, fig2.png in ")
    check_picture(tmp_path / "f", "fig2", (PAGE_WIDTH, 6.5))
    check_picture(tmp_path / "f", "fig2-cv", (PAGE_WIDTH, 4.6))
    rows = read(tmp_path / "f" / "fig2-cv.csv")
    assert len(rows) == 2 * 4 * 5 * 2
    assert {r["epochs"] for r in rows} == {"2"}
    assert json.loads((tmp_path / "f" / "manifest.json").read_text())["epochs"] == 2


def test_figure_2_draws_its_rows(drawn: list[fig2.Drawn]) -> None:
    rows = fig2.data(drawn, 100)
    axes = fig2.plot(rows).axes
    assert len(axes) == 10
    for axis, sampler in zip(axes, fig2.SAMPLERS, strict=False):
        sampler_rows = [r for r in rows if (r["sampler"], r["kind"]) == (sampler, "label")]
        assert np.asarray(axis.lines[0].get_xydata()).tolist() == [[r["rank"], r["mean"]] for r in sampler_rows]
        band = np.asarray(axis.collections[0].get_paths()[0].vertices)[:, 1]
        assert {
            sampler_rows[3]["mean"] - sampler_rows[3]["std"],
            sampler_rows[3]["mean"] + sampler_rows[3]["std"],
        } <= set(band)
    curves = {line.get_label(): line for line in fig2.plot_cv(fig2.cv_data(drawn)).axes[1].lines}
    bmls = [r for r in fig2.cv_data(drawn) if (r["sampler"], r["kind"]) == ("BMLS", "label pair")]
    assert np.asarray(curves["BMLS"].get_xydata()).tolist() == [[r["imbalance"], r["average_cv"]] for r in bmls]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fig2", "--epochs", "1"], "epochs = 1 must lie in 2..10,000"),
        (["fig2", "--imbalance", "7"], "imbalance 7 is none of the paper's factors 200, 100, 50, 10"),
        (["fig2", "--seed", "-1"], "seed = -1 must lie in"),
        (["fig2", "--epochs", "many"], "invalid int value"),
        (["fig3", "--imbalance", "0.5"], "imbalance = 0.5 must lie in 1..1e9, n_max / n_min"),
        (
            ["fig3", "--store", "my runs"],
            "6 of 6 runs are not in 'my runs'; train them with: for r in 0 0.2 0.4 0.6 0.8 1; do",
        ),
        (["fig3", "--seeds", "x"], "is not a list of seeds"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        status = cli.run(lambda: main(words))
    except SystemExit as end:
        status = int(str(end.code))
    assert status == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_command_of_figure_3_makes_the_runs_that_it_looks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    setting = store.Setting("cifar100-lt", 50.0, "quick", (0, 2), Path("my runs"))
    loop, body, end = fig3.command(setting).split("; ")
    made: list[tuple[RunConfig, Namespace]] = []
    monkeypatch.setattr(
        "training.jobs.train_all.train_all", lambda configs, options: made.extend((c, options) for c in configs)
    )
    for ratio in loop.removeprefix("for r in ").split():
        words = shlex.split(body.removeprefix("do ").replace("$r", ratio))
        assert words[:3] == ["python", "-m", "training.train"]
        train(words[3:])
    wanted = [c for r in fig3.RATIOS for c in store.configs(setting, "random+FC", sampler="coverage", coverage=r)]
    assert end == "done"
    assert [config for config, _ in made] == wanted
    assert {(str(o.store), str(o.data_root)) for _, o in made} == {("my runs", "DIR")}


def accuracies(ratio: float, seed: int) -> dict[str, float]:
    return {split: 50 + 20 * ratio + i + 2 * seed for i, split in enumerate(fig3.SPLITS)}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> store.Setting:
    """Return a store of finished runs, two seeds per ratio."""
    setting = replace(DIGITS, store=tmp_path_factory.mktemp("runs"))
    counts = datasets.long_tailed_counts(120, 10, 10).tolist()
    for ratio in fig3.RATIOS:
        for config in store.configs(setting, "random+FC", sampler="coverage", coverage=ratio):
            folder = RunFolder(setting.store, config)
            folder.path.mkdir(parents=True)
            result = {"dataset": "digits-lt", "last": accuracies(ratio, config.seed), "train_counts": counts}
            (folder.path / "metrics.json").write_text(json.dumps(result))
    return setting


def test_rows_of_figure_3_are_the_runs_beside_the_papers_numbers(runs: store.Setting) -> None:
    rows = fig3.data(runs)
    cells = read(ROOT / "paper_checks" / "data" / "figure3.csv")
    paper = {(r["method"], r["split"]): float(r["mean"]) for r in cells if r["dataset"] == "cifar10-lt"}
    N = int(datasets.long_tailed_counts(120, 10, 10).sum())
    assert [row["coverage"] for row in rows] == list(fig3.RATIOS)
    for row in rows:
        for split in fig3.SPLITS:
            assert row[split] == pytest.approx(accuracies(row["coverage"], 0)[split] + 1)
            assert row[f"{split}_std"] == pytest.approx(math.sqrt(2))
            assert row[f"paper_{split}"] == paper[f"coverage {row['coverage']:.1f}", split]
        # A label pair a < b is possible if both classes are mixed, (a, a) if a is not.
        c = row["mixed_classes"]
        if 0 < c < 10:
            law = (45 * math.sqrt(90 / (c * (c - 1)) - 1) + 10 * math.sqrt(10 / (10 - c) - 1)) / 55
            assert row["cv_label_pair_closed_form"] == pytest.approx(law, rel=0.02)  # counts differ by one
            assert row["cv_label_closed_form"] < 0.1
        assert row["cv_label"] == pytest.approx(row["cv_label_closed_form"], rel=0.75 / 40 + 4 / math.sqrt(2 * 40 * 10))
    assert rows[5]["cv_label_pair_closed_form"] == pytest.approx(cyclic_cv(N, 45), rel=1e-12)
    assert rows[5]["cv_label_pair"] == pytest.approx(cyclic_cv(N, 45), rel=0.75 / 40 + 4 / math.sqrt(2 * 40 * 45))


def test_figure_3_is_written_as_picture_rows_and_table(runs: store.Setting, tmp_path: Path) -> None:
    words = ["fig3", "--preset", "quick", "--seeds", "0,1", "--store", str(runs.store), "--out", str(tmp_path / "f")]
    assert main([*words, "--quiet"]) == 0
    check_picture(tmp_path / "f", "fig3", (PAGE_WIDTH, 3.2))
    lines = (tmp_path / "f" / "fig3.md").read_text().splitlines()
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert table[0][2] == "all (ours, digits-lt)"
    assert table[0][6] == "all (paper, cifar10-lt)"
    assert {len(line) for line in table} == {12}
    last = table[-1]
    assert (last[0], last[2], last[6]) == ("1", "71.00 ± 1.41", "76.64")
    rows = read(tmp_path / "f" / "fig3.csv")
    assert [(r["all"], r["paper_all"]) for r in rows][5] == ("71", "76.64")
    assert json.loads((tmp_path / "f" / "manifest.json").read_text())["seeds"] == [0, 1]


WHOLE = "which must be 10 whole numbers in 1..1,000,000, the images of each class; train it again"
DAMAGED = "is damaged (train_counts); delete it to finish the run again"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_counts": None}, WHOLE),
        ({"train_counts": "many"}, DAMAGED),
        ({"train_counts": ["9"] * 10}, DAMAGED),
        ({"train_counts": [9] * 9}, WHOLE),
        ({"train_counts": [9] * 11}, WHOLE),
        ({"train_counts": [9] * 9 + [-1]}, DAMAGED),
        ({"train_counts": [9] * 9 + [0]}, DAMAGED),
        ({"train_counts": [9] * 9 + [1.5]}, DAMAGED),
        ({"train_counts": [9] * 9 + [True]}, DAMAGED),
        ({"train_counts": [9] * 9 + [10**30]}, DAMAGED),
        ({"train_counts": [9] * 9 + [10**7]}, WHOLE),
        ({"train_counts": [[9]] * 10}, DAMAGED),
        *(({"last": {s: 50.0 for s in fig3.SPLITS if s != lacking}}, f"no accuracy {lacking!r}; train it again")
          for lacking in ("many", "med", "few")),
    ],
)  # fmt: skip
def test_a_result_that_figure_3_cannot_use_is_one_line_that_names_the_run(
    change: dict[str, Any], message: str, runs: store.Setting, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(runs.store, tmp_path / "runs")
    # of the second seed, whose counts are not drawn, but whose accuracies are
    config = store.configs(replace(runs, store=tmp_path / "runs"), "random+FC", sampler="coverage", coverage=0.4)[1]
    file = RunFolder(tmp_path / "runs", config).path / "metrics.json"
    result = {k: v for k, v in (json.loads(file.read_text()) | change).items() if v is not None}
    file.write_text(json.dumps(result))
    words = ["fig3", "--preset", "quick", "--seeds", "0,1", "--store", str(tmp_path / "runs")]
    assert cli.run(lambda: main([*words, "--out", str(tmp_path / "f")])) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert str(file.parent) in error
    assert error.endswith(f"{message}\n")
    assert error.count("\n") == 1
    assert not (tmp_path / "f").exists()


def test_the_papers_numbers_are_drawn_where_it_has_the_data_set_only(runs: store.Setting) -> None:
    rows = fig3.data(runs)
    cifar = [{**row, "dataset": "cifar10-lt"} for row in rows]
    ours, both = (fig3.plot(r).axes[0] for r in (rows, cifar))
    printed = [[row["coverage"], row["paper_few"]] for row in rows]
    assert printed not in [np.asarray(line.get_xydata()).tolist() for line in ours.lines]
    assert printed in [np.asarray(line.get_xydata()).tolist() for line in both.lines]


def test_label_pairs_counted_from_the_metrics_are_those_that_a_run_trained_on(tmp_path: Path) -> None:
    config = replace(
        with_preset(RunConfig(imbalance=10.0), "smoke"), epochs=2, width=4, sampler="coverage", coverage=0.4
    )
    folder = RunFolder(tmp_path, config)
    loop.run(config, datasets.load("digits-lt", None, imbalance=10), folder, torch.device("cpu"))
    draw, table = label_pairs(config, np.array(folder.result().train_counts)), np.zeros((10, 10), dtype=int)
    for epoch in range(2):
        np.add.at(table, tuple(draw(epoch).T), 1)
    assert np.array_equal(table, folder.final()["pair_counts"])
