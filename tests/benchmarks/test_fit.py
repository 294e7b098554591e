"""How much of its labels a network fits: known shares, and features that hold the labels or nothing of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import fit
from training.config import RunConfig
from training.data import datasets
from training.jobs.train_all import train_all
from training.options import Options
from training.run.trainer import Trainer
from training.store.runs import RunFolder


def test_the_share_is_that_of_a_linear_map() -> None:
    rng = np.random.default_rng(0)
    inputs, noise = rng.normal(size=(20_000, 3)), rng.normal(size=(20_000, 2))
    known = inputs @ rng.normal(size=(3, 2)) + 5  # a constant is no part of the variance
    known /= known.std(axis=0)
    assert fit.explained(inputs, known) == pytest.approx(1)
    assert fit.explained(inputs, 0.6 * known + 0.8 * noise) == pytest.approx(0.36, abs=0.01)
    assert fit.explained(inputs, noise) == pytest.approx(0, abs=1e-3)


def test_features_that_are_the_labels_fit_all_and_constant_ones_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = RunConfig(dataset="digits-lt", imbalance=10.0, model="resnet8", width=4, epochs=1, warmup=0, batch=64)
    train_all([config], Options(store=tmp_path, device="cpu", quiet=True), printed=False)
    data = datasets.of(config, None, train_list=None, test_list=None)
    monkeypatch.setattr(fit, "IMAGES", 4000)
    folder, drawn = RunFolder(tmp_path, config), []
    real = fit._drawn

    def labels_as_features(trainer: Trainer):  # type: ignore[no-untyped-def]
        for _, labels in real(trainer):
            drawn.append(labels)
            yield labels, labels

    assert 0 <= fit.shares(folder, data)["fit_B"] < 1
    monkeypatch.setattr(fit, "_drawn", labels_as_features)
    assert list(fit.shares(folder, data).values()) == pytest.approx([1, 1, 1])
    labels = np.concatenate(drawn)
    assert labels.sum(axis=1) == pytest.approx(np.ones(len(labels)))
    counts = data.counts / data.counts.sum()
    assert labels.mean(axis=0) == pytest.approx(counts, abs=0.02)
    monkeypatch.setattr(fit, "_drawn", lambda trainer: ((torch.zeros(len(part), 1).numpy(), part) for part in drawn))
    assert list(fit.shares(folder, data).values()) == pytest.approx([0, 0, 0], abs=1e-3)
