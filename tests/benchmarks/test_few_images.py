"""The plan of few images: its runs are what it says, and rows hold a run's corrections beside itself."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import few_images
from training.config import RunConfig, with_preset
from training.data import datasets
from training.data.datasets import long_tailed_counts
from training.run import loop
from training.store.runs import RunFolder


def test_every_setting_has_every_method_once() -> None:
    plan = list(few_images.configs(0))
    assert len({config.key for config in plan}) == len(plan) == 2 * 2 * len(few_images.METHODS)
    for config in plan:
        counts = long_tailed_counts(config.n_max, 10, config.imbalance)
        steps = -(-int(counts.sum()) // config.batch) * config.epochs
        assert counts[-1] >= 2
        assert 600 <= steps <= 1400
        assert config.preset == "quick+"


def test_rows_hold_the_run_as_trained_and_corrected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(with_preset(RunConfig(imbalance=10.0, n_max=40), "smoke"), epochs=2, width=4, alpha=0.0)
    data = datasets.of(config, None, train_list=None, test_list=None)
    folder = RunFolder(tmp_path / "runs", config)
    loop.run(config, data, folder, torch.device("cpu"))
    monkeypatch.setattr(few_images, "configs", lambda seed: iter([replace(config, seed=seed)]))
    out = tmp_path / "rows.csv"
    words = ["--data-root", str(tmp_path), "--store", str(tmp_path / "runs"), "--rows-only", "--seeds", "0-1"]
    assert few_images.main([*words, "--out", str(out)]) == 0
    with out.open() as file:
        rows = {row["correction"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["none", "la", "tau-norm", "ncm"]
    assert {(row["n_max"], row["images"]) for row in rows.values()} == {("40", str(data.counts.sum()))}
    assert float(rows["none"]["all"]) == pytest.approx(folder.result().last["all"], abs=0.006)
    assert len({row["all"] for row in rows.values()}) > 1
    assert np.isfinite([float(row["few"]) for row in rows.values()]).all()
