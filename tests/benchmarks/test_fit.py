"""How much of its labels a network fits: known shares, and features that hold the labels or nothing of them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks import fit
from training.config import RunConfig
from training.data import datasets
from training.jobs.train_all import train_all
from training.options import Options
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
    drawn = fit.sample(RunFolder(tmp_path, config), data)
    labels = drawn.labels
    assert 0 <= fit.shares(drawn)["fit_B"] < 1
    assert list(fit.shares(drawn._replace(inputs=labels)).values()) == pytest.approx([1, 1, 1])
    assert list(fit.shares(drawn._replace(inputs=np.zeros((len(labels), 1)))).values()) == pytest.approx(
        [0, 0, 0], abs=1e-3
    )
    assert labels.sum(axis=1) == pytest.approx(np.ones(len(labels)))
    counts = data.counts / data.counts.sum()
    assert labels.mean(axis=0) == pytest.approx(counts, abs=0.02)
    assert not np.allclose(drawn.inputs, drawn.again)


def test_scatter_is_what_differs_between_images_of_one_label() -> None:
    rng = np.random.default_rng(0)
    labels = np.eye(4)[rng.integers(4, size=40_000)]
    one, two = rng.normal(size=(2, *labels.shape))
    means = labels - labels.mean(axis=0)
    ratio = 0.2
    drawn = fit.Sample(means + math.sqrt(ratio) * one, labels, means + math.sqrt(ratio) * two)
    found = fit.scatter(drawn, np.eye(4))
    within, between = ratio, float((means[:, 0] - means[:, 1]).var()) / 2
    assert found["scatter_A"] == pytest.approx(within / (within + between), rel=0.02)
    assert fit.scatter(fit.Sample(means, labels, means), np.eye(4)) == {"scatter_A": 0, "scatter_B": 0}
    alone = drawn._replace(again=np.where(np.arange(len(labels))[:, None] % 2, drawn.again, np.nan))
    assert fit.scatter(alone, np.eye(4))["scatter_B"] == pytest.approx(found["scatter_B"], rel=0.03)
    assert np.isnan(fit.scatter(fit.Sample(0 * means, labels, 0 * means), np.eye(4))["scatter_A"])


def test_linear_maps_of_the_best_fit_scatter_by_what_is_not_fitted() -> None:
    rng = np.random.default_rng(0)
    labels, noise = np.eye(4)[rng.integers(4, size=40_000)], rng.normal(size=(2, 40_000, 4))
    one, two = (labels - 1 / 4 + 0.4 * n for n in noise)
    fitted = np.linalg.lstsq(one, labels - 1 / 4, rcond=None)[0]
    drawn = fit.Sample(one @ fitted, labels, two @ fitted)
    scatter, shares = fit.scatter(drawn, np.eye(4)), fit.shares(drawn)
    assert scatter["scatter_A"] == pytest.approx(1 - shares["fit_A"], rel=0.03)


def test_the_next_row_of_a_class_is_another_one_unless_it_is_alone() -> None:
    assert fit._others(np.array([2, 0, 2, 1, 0, 2])).tolist() == [2, 4, 5, 3, 1, 0]
