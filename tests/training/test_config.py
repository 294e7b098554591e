"""Choices of a run and their options: impossible ones are one line, keys are stable."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lpm.console.errors import InvalidInput
from tests.started import Forked
from training.config import RunConfig, from_json, with_preset
from training.experiments import config
from training.options import config_of, seeds

TINY = replace(with_preset(RunConfig(), "smoke"), epochs=3, width=4, imbalance=10.0)


def test_classes_for_all_label_pairs_have_a_name_of_their_own() -> None:
    names = {
        replace(TINY, sampler="bmls", classifier=c).method
        for c in ("ms", "ms-unordered", "ms-wetf", "ms-wetf-unordered")
    }
    assert names == {"BMLS+MS-all", "BMLS+MS", "BMLS+MS-WETF-all+CE", "BMLS+MS-WETF+CE"}
    assert replace(TINY, classifier="ms").method == "random+MS"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"imbalance": 0.5}, "imbalance = 0.5 must lie in 1..1e9, n_max / n_min"),
        ({"epochs": 0}, "epochs = 0 must be at least 1"),
        ({"sampler": "smote"}, "sampler 'smote' is unknown"),
        ({"classifier": "ms-unordered"}, "label pairs a < b only; sampler 'random' draws"),
        ({"classifier": "ms-wetf-unordered"}, "label pairs a < b only"),
        (
            {"loss": "dr"},
            "loss 'dr' is not defined for classifier 'fc': it pulls features to .*; choose one of ce, la,",
        ),
        ({"drops": (0.9, 0.8)}, "must be rising shares"),
        ({"drops": 5}, "drops '5' has the wrong type"),
        ({"epochs": 2.5}, "epochs '2.5' has the wrong type"),
        ({"bias": "no"}, "bias 'no' has the wrong type"),
        ({"seed": True}, "seed 'True' has the wrong type"),
        ({"lr": float("nan")}, "lr = nan must be finite"),
        ({"imbalance": float("inf")}, "imbalance = inf must be finite"),
        ({"seed": 10**20}, "seed = 1e\\+20 must lie in"),
        ({"preset": "../../x"}, "must be a short word"),
        ({"cas_m": 8}, "cas-m applies only to sampler 'cas'"),
        ({"coverage": 0.4}, "coverage applies only to sampler 'coverage'"),
        ({"scale": 2.0}, "scale applies only to classifier 'ms-wetf'"),
        ({"classifier": "etf", "bias": False}, "bias applies only to classifier 'fc', 'ms' or 'ms-unordered'"),
        ({"alpha": -0.5}, "alpha = -0.5 must be 0, which trains without mixup, or lie in 1e-100..100"),
        ({"alpha": 1e-120}, "alpha = 1e-120 must be 0, "),
        ({"alpha": 0.0, "classifier": "ms"}, "classifier 'ms' needs mixed images, and alpha 0 mixes none"),
        ({"alpha": 0.0, "sampler": "bmls", "classifier": "ms-wetf-unordered"}, "needs mixed images"),
        ({"alpha": 0.0, "sampler": "bmls"}, "sampler 'bmls' puts the lower class first in each pair"),
        ({"alpha": 0.0, "ratio_per": "sample"}, "ratio-per 'sample' applies only to training with mixup"),
        ({"features": "whitened"}, "features 'whitened' is unknown"),
        ({"scale": 0.0, "classifier": "ms-wetf"}, "scale = 0 must be positive"),
    ],
)
def test_impossible_choices_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        replace(TINY, **change)


def test_configs_have_stable_keys_and_read_back() -> None:
    assert replace(TINY, seed=5).key == TINY.key
    assert replace(TINY, alpha=0.2).key != TINY.key
    assert (
        RunConfig().key == "44136fa355b3"
    )  # of no choice at all: a later choice with a default leaves every key as it is
    data = json.loads(json.dumps(TINY.__dict__))
    assert from_json(data) == TINY
    assert from_json({"dataset": "digits-lt", "seed": 0}) == RunConfig()  # choices of later versions at their defaults
    for wrong in ({"dataset": "digits-lt"}, {**data, "colour": "red"}, [], {**data, "drops": [[0.5]]}):
        with pytest.raises(InvalidInput):
            from_json(wrong)


def test_training_without_mixup_is_one_run_however_it_is_named() -> None:
    options = argparse.Namespace(preset="quick", dataset="cifar10-lt", imbalance=100.0, alpha=0.0)
    given = config_of(options)
    assert given == config("random+FC, no mixup", "cifar10-lt", 100, "quick")
    assert (given.method, given.preset) == ("random+FC, no mixup", "quick")
    assert given.key != replace(given, alpha=1.0).key


def test_seed_lists() -> None:
    assert seeds("0-2,7,1") == [0, 1, 2, 7]
    for wrong in ("5-1", "a", "1-", "-1", "0-99999999", "1,,2"):
        with pytest.raises(Exception, match="seeds"):
            seeds(wrong)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "cifar10-lt"], "needs --data-root"),
        (["--dataset", "svhn"], "'svhn' is unknown"),
        (["--imbalance", "0.1"], "imbalance = 0.1 must lie in 1..1e9, n_max / n_min"),
        (["--imbalance", "1000"], "class 7 has 129 images and should keep 0"),
        (["--classifier", "ms-unordered"], "label pairs a < b only"),
        (["--device", "cuda"], "no CUDA device"),
        (["--seeds", "x"], "is not a list of seeds"),
        (["--jobs", "0"], "is not a number of processes"),
        (["--epoch", "3"], "did you mean '--epochs'"),
        (["--sampler", "BMLS"], "did you mean 'bmls'?"),
        (["--sampler", "bmls,cas"], "several words; put spaces between them, not commas"),
    ],
)
def test_bad_use_is_one_line_and_nothing_is_written(arguments: list[str], message: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    ended = Forked("training.train", "--store", str(store), *arguments).ends()
    assert ended.status == 2, ended.err
    assert message in ended.err
    assert ended.err.count("\n") == 1
    assert not store.exists()


def test_options_change_the_preset_and_say_so() -> None:
    options = argparse.Namespace(preset="quick", dataset="cifar10-lt", imbalance=100.0, epochs=5)
    assert config_of(options).preset == "quick+"
    options = argparse.Namespace(preset="quick", dataset="cifar10-lt", imbalance=100.0, alpha=0.2)
    assert config_of(options).preset == "quick+"
    options = argparse.Namespace(preset="quick", dataset="cifar10-lt", imbalance=100.0, epochs=30)
    assert config_of(options).preset == "quick"
    options = argparse.Namespace(preset="quick", dataset="cifar10-lt", imbalance=100.0)
    assert config_of(options).preset == "quick"
    assert config_of(options).model == "resnet8"


@pytest.mark.parametrize("name", ["epochs", "imbalance", "seed"])
def test_a_number_of_four_hundred_digits_is_one_line(name: str) -> None:
    with pytest.raises(InvalidInput, match="more than 70 bits"):
        from_json({"dataset": "digits-lt", "seed": 0, name: 10**400})
