"""Every combination of sampler, classifier, loss, class weights, mixing and branches trains, or is refused in one line."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import torch

from lpm.console.errors import InvalidInput
from training.config import CHOICES, RunConfig, with_preset
from training.data import datasets
from training.run import trainer

TINY = replace(
    with_preset(RunConfig(), "smoke"), epochs=8, width=4, imbalance=100.0, batch=1000, precision="fp32", warmup=0
)
NAMES = ("sampler", "classifier", "loss", "class_weights", "mixing", "branches")
WIDE = {"width": 8}
"""A simplex ETF of ten classes needs features of width 10."""


def combinations() -> Iterator[dict[str, Any]]:
    """All combinations; BBN without mixup, as it needs."""
    for words in itertools.product(*(CHOICES[name].words for name in NAMES)):
        choices = dict(zip(NAMES, words, strict=True))
        yield choices | ({"alpha": 0.0, "ratio_per": "batch"} if choices["branches"] == "bbn" else {}) | WIDE


@cache
def tried() -> tuple[tuple[RunConfig, ...], tuple[str, ...]]:
    """The combinations that are possible, and the messages of those that are not."""
    possible, refused = [], []
    for choices in combinations():
        try:
            possible.append(replace(TINY, **choices))
        except InvalidInput as error:
            refused.append(str(error))
    return tuple(possible), tuple(refused)


def covering(configs: tuple[RunConfig, ...]) -> list[RunConfig]:
    """A part of the runs that has every two words of two choices which some run has."""
    chosen, seen = [], set()
    for config in random.Random(0).sample(configs, len(configs)):  # in order, neighbours would have little new
        words = [(name, getattr(config, name)) for name in NAMES]
        if new := set(itertools.combinations(words, 2)) - seen:
            seen |= new
            chosen.append(config)
    return chosen


def test_what_is_refused_is_refused_in_one_line_that_names_a_choice() -> None:
    possible, refused = tried()
    assert len(possible) > 100
    assert {line for line in refused if "\n" in line or len(line) > 400} == set()
    options = {name.replace("_", "-") for name in NAMES}
    assert {line for line in refused if not any(line.startswith(option) for option in options)} == set()


def test_methods_have_names_of_their_own() -> None:
    names: dict[str, RunConfig] = {}
    for config in tried()[0]:
        assert names.setdefault(config.method, config) == config


def test_what_is_possible_trains() -> None:
    data = datasets.load("digits-lt", None, imbalance=100)
    configs = covering(tried()[0])
    for name in NAMES:
        assert {getattr(config, name) for config in configs} == set(CHOICES[name].words)
    for config in configs:
        learner = trainer.Trainer(config, data, torch.device("cpu"))
        loss = learner.train_epoch()["loss"]
        assert math.isfinite(loss), config.method
