"""The plan of the collapse law's networks: its thresholds are the law's, its keys stay, and rows hold what a run measured."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import class_vectors, law
from figures.law import measured_rows
from lpm.console.errors import InvalidInput
from training.data.datasets import long_tailed_counts
from training.store import collapse
from training.store.runs import RunFolder

NORMS = [f"{where}.{kind}" for where in ("1", "3.norm2", "4.norm2", "5.norm2") for kind in ("weight", "bias")]


@pytest.mark.parametrize("series", law.SERIES, ids=lambda series: series.name)
def test_the_plans_thresholds_are_those_of_the_law(series: law.Series) -> None:
    for config in series.configs():
        counts = long_tailed_counts(120, 10, config.imbalance, config.tail)
        numbers = collapse.collapse_numbers(config, counts)
        assert numbers is not None
        first_to_collapse = 0 if config.loss == "cw" else 9
        assert numbers[first_to_collapse] == pytest.approx(series.c)
        assert numbers[first_to_collapse] == pytest.approx(numbers.min())


def test_what_is_trained_first_is_a_part_of_the_whole() -> None:
    for series in law.SERIES:
        assert set(series.configs(series.first)) <= set(series.configs())
    keys = [config.key for series in law.SERIES for config in series.configs()]
    assert len(set(keys)) == len(keys)


def test_rows_hold_what_a_run_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One run of one epoch through the command, and its row against the run's own files."""
    short = {"epochs": 1, "warmup": 0, "width": 4}
    series = law.Series(name="FC", choices=short, c=law.S * law.PI_B, grid=(0.8, 1.0), first=(0.8,))
    monkeypatch.setattr(law, "SERIES", (series,))
    out = tmp_path / "rows.csv"
    assert law.main(["--seeds", "3", "--store", str(tmp_path / "store"), "--out", str(out)]) == 0
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["ratio"]) for row in rows] == pytest.approx([0.8, 1.0], abs=1e-3)
    config = replace(next(series.configs()), seed=3)
    folder = RunFolder(tmp_path / "store", config)
    W = folder.geometry(1)["class_vectors"].astype(float)
    assert float(rows[0]["s1"]) == pytest.approx(np.linalg.norm(W - W.mean(axis=0), 2), rel=1e-4)
    assert float(rows[0]["sB4"]) == pytest.approx(np.linalg.svd(W[5:] - W[5:].mean(axis=0))[1][3], abs=1e-4)
    assert np.mean([float(rows[0]["many"]), float(rows[0]["few"])]) == pytest.approx(folder.result().last["all"])
    assert float(rows[0]["nearest"].split()[0]) == pytest.approx(min(np.linalg.norm(W[0] - w) for w in W[1:]), rel=1e-4)
    norms = [folder.final()[f"network.backbone.body.{name}"] for name in NORMS]
    assert float(rows[0]["squares_norms"]) == pytest.approx(sum(float((x**2).sum()) for x in norms), rel=1e-4)
    assert float(rows[0]["squares_W"]) == pytest.approx((W**2).sum(), rel=1e-4)
    assert float(rows[0]["mu"]) == pytest.approx(config.feature_decay)
    assert all(0 <= float(row[name]) <= 1 for row in rows for name in ("fit_AB", "fit_A", "fit_B"))
    assert [row["seed"] for row in measured_rows(out)] == ["3", "3"]
    before = (folder.path / "metrics.json").read_bytes()
    assert law.main(["--seeds", "3", "--store", str(tmp_path / "store"), "--rows-only"]) == 0
    assert (folder.path / "metrics.json").read_bytes() == before


def test_what_rare_classes_share_with_frequent_ones() -> None:
    rng = np.random.default_rng(0)
    frequent = rng.normal(size=(5, 12))
    own = np.linalg.svd(frequent - frequent.mean(axis=0))[2][4:]  # orthogonal to all differences of frequent classes
    weights = rng.normal(size=(5, 5))
    mixture, apart = (weights - weights.mean(axis=1, keepdims=True)) @ frequent, rng.normal(size=(5, 8)) @ own
    mixture, apart = mixture - mixture.mean(axis=0), apart - apart.mean(axis=0)
    assert class_vectors.shared(frequent, mixture) == pytest.approx(1)
    assert class_vectors.shared(frequent, apart) == pytest.approx(0)
    both = (mixture**2).sum() / ((mixture**2).sum() + (apart**2).sum())
    assert class_vectors.shared(frequent, mixture + apart + 3) == pytest.approx(both)
    assert np.isnan(class_vectors.shared(frequent, np.ones((5, 12))))


def test_which_frequent_class_a_rare_one_resembles() -> None:
    frequent = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]])
    rare = np.array([[0, 0, 0.5, 0], [0.5, 0, 0, 0], [0, 0.5, 0, 0.1]]) + 7
    found = class_vectors.resembles(frequent, rare)
    assert [k for k, _ in found] == [2, 0, 1]
    a, b = frequent[2] - frequent.mean(axis=0), rare[0] - rare.mean(axis=0)
    assert found[0][1] == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_series_of_cifar_need_their_folder() -> None:
    with pytest.raises(InvalidInput, match="--data-root"):
        law.main(["--only", "FC", "CIFAR", "--store", "nowhere"])


def test_the_own_part_is_that_of_class_vectors_off_the_span_of_frequent_ones() -> None:
    class Stored:
        config = law.STEP

        def geometries(self) -> list[int]:
            return [5]

        def geometry(self, epoch: int) -> dict[str, np.ndarray]:
            basis = np.eye(10)
            shared, own = basis[:5], basis[5:]
            return {"class_vectors": np.concatenate([2 * shared, 0.8 * shared + 0.6 * own])}

    ((epoch, own),) = class_vectors.own_by_epoch(Stored())  # type: ignore[arg-type]
    assert epoch == 5
    assert own == pytest.approx(0.3)
