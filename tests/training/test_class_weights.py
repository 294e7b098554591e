"""Losses for rare classes in a run: the prior of the labels that it draws, weights that begin late, names, and notes."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from lpm.console.errors import InvalidInput
from training import experiments
from training.config import RunConfig, with_preset
from training.data import datasets
from training.experiments import runs_of
from training.jobs.notes import explain
from training.methods import SAMPLERS
from training.model import build
from training.model.class_weights import Weighted
from training.model.label_losses import CrossEntropy
from training.model.long_tail_losses import LogitAdjustment, LogitMap
from training.named import METHODS
from training.run.trainer import Trainer
from training.sampling.label_law import label_frequencies
from training.store import collapse

TINY = replace(with_preset(RunConfig(), "smoke"), epochs=5, warmup=1, width=4, imbalance=10.0)
CPU = torch.device("cpu")


KNOWN = [name for name, row in SAMPLERS.items() if row.classes != "other"]
"""Samplers that draw classes as they are, or equally often."""


@pytest.mark.parametrize(
    ("sampler", "alpha"),
    [*((name, 1.0) for name in (*KNOWN, "coverage")), *((name, 0.0) for name in KNOWN if name != "bmls")],
)
def test_label_frequencies_are_those_that_are_drawn(sampler: str, alpha: float, digits: datasets.LongTailed) -> None:
    """By counting 40 epochs of 486 pairs: 5 standard deviations of independent draws are wider than any law here."""
    config = replace(TINY, sampler=sampler, alpha=alpha)
    q = label_frequencies(config, digits.counts)
    made = build.sampler(config, digits.train.labels)
    drawn = digits.train.labels[np.concatenate([made.pairs(epoch) for epoch in range(40)])]
    counts = np.bincount((drawn if alpha else drawn[:, 0]).ravel(), minlength=10)
    assert q.sum() == pytest.approx(1)
    bound = 5 * np.sqrt(q * (1 - q) / counts.sum())
    assert np.all(np.abs(counts / counts.sum() - q) <= bound)
    if sampler == "random":
        assert np.array_equal(q, digits.counts / digits.counts.sum())


def test_a_class_that_is_never_a_label_is_refused_in_one_line(digits: datasets.LongTailed) -> None:
    """Coverage draws label pairs a < b, and without mixup the last class is no first label."""
    with pytest.raises(InvalidInput, match="every class needs images or labels, and class 9 has 0"):
        build.loss(replace(TINY, sampler="coverage", alpha=0.0, loss="la"), digits.counts)
    build.loss(replace(TINY, sampler="coverage", alpha=0.0, loss="la", prior="data"), digits.counts)


def test_the_offsets_of_random_sampling_are_bit_for_bit_those_of_stored_runs() -> None:
    """Version 0.1.0 made them in float32 of the counts, and frequencies in float64 round to the same below 2^24 images."""
    rng = np.random.default_rng(0)
    for K in (2, 10, 100, 8142):
        counts = rng.integers(1, 2000, K)
        config = RunConfig(loss="la", tau=1.3)
        old = (1.3 * torch.log(torch.from_numpy(counts) / torch.from_numpy(counts).sum())).float()
        q = torch.from_numpy(label_frequencies(config, counts))
        assert torch.equal(LogitAdjustment(q, 1.3).state_dict()["offsets"], old)


@pytest.mark.parametrize(("sampler", "prior", "flat"), [("bmls", "stream", True), ("bmls", "data", False)])
def test_the_prior_is_that_of_the_stream_or_of_the_data(
    sampler: str, prior: str, flat: bool, digits: datasets.LongTailed
) -> None:
    config = replace(TINY, sampler=sampler, loss="la", prior=prior)
    made = build.loss(config, digits.counts)
    assert isinstance(made, LogitMap)
    assert made.offsets is not None
    assert bool(np.ptp(made.offsets.numpy()) < 1e-6) is flat
    of_pairs = build.classifier(replace(config, classifier="ms-unordered"), 16, digits.counts)
    assert torch.equal(of_pairs.state_dict()["logit_map.offsets"], made.offsets)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"loss": "la"},
        {"loss": "focal"},
        {"classifier": "cosine", "loss": "ldam"},
        {"weight_normalisation": "batch"},
    ],
)
def test_until_they_begin_class_weights_change_no_bit(change: dict[str, Any], digits: datasets.LongTailed) -> None:
    """The learning rate falls after epochs 4 and 4.5 of 5, so weights from 0.8 on begin with the fifth."""
    deferred = replace(TINY, class_weights="inverse", weights_from=0.8, **change)
    plain = replace(deferred, class_weights="none", weights_from=0.0, weight_normalisation="weights")
    with_weights, without = (Trainer(config, digits, CPU) for config in (deferred, plain))
    for epoch in range(1, 6):
        with_weights.train_epoch(), without.train_epoch()
        states = [
            [value for key, value in learner.network.state_dict().items() if "loss_function" not in key]
            for learner in (with_weights, without)
        ]
        same = all(torch.equal(*values) for values in zip(*states, strict=True))
        assert same == (epoch < 5)


def test_weights_begin_as_learning_rates_fall_and_are_no_part_of_the_state() -> None:
    config = RunConfig(class_weights="effective", weights_from=0.8)
    loss = build.loss(config, np.arange(1, 11))
    assert isinstance(loss, Weighted)
    for epoch in (1, 160, 161, 200, 3):
        loss.begin_epoch(epoch, config.epochs)
        assert bool((loss.weights == 1).all()) is (epoch <= 160)
        assert (config.lr_at(epoch) < 0.1) is (epoch > 160 or epoch < 5)
    assert not loss.state_dict()
    assert float(build.loss(replace(config, weights_from=0.0), np.arange(1, 11)).weights.sum()) == pytest.approx(10)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"loss": "la"}, "random+FC+LA"),
        ({"loss": "la", "tau": 0.5}, "random+FC+LA(0.5)"),
        ({"loss": "la", "prior": "data", "sampler": "cas"}, "CAS+FC+LA(prior=data)"),
        ({"loss": "vs", "vs_gamma": 0.2, "tau": 1.2}, "random+FC+VS(vs-gamma=0.2,1.2)"),
        ({"loss": "complement", "temperature_eps": 0.0}, "random+FC+CL(temperature-eps=0)"),
        ({"class_weights": "effective"}, "random+FC+CB-RW"),
        ({"class_weights": "effective", "beta": 0.99, "weight_normalisation": "batch"}, "random+FC+CB-RW(beta=0.99)/batch"),
        ({"class_weights": "inverse"}, "random+FC+1/n"),
        ({"class_weights": "inverse", "weights_from": 0.8}, "random+FC+DRW-1/n"),
        ({"class_weights": "effective", "weights_from": 0.5}, "random+FC+DRW(weights-from=0.5)"),
        ({"classifier": "cosine", "loss": "ldam", "class_weights": "effective", "weights_from": 0.8}, "random+cosine+LDAM+DRW"),
        ({"classifier": "cosine"}, "random+cosine"),
    ],
)  # fmt: skip
def test_names_in_tables(change: dict[str, Any], name: str) -> None:
    assert replace(TINY, **change).method == name


def test_all_methods_have_the_name_of_their_config() -> None:
    for name in METHODS:
        assert experiments.config(name, "cifar10-lt", 100, "paper").method == name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": "ldam"}, "'ldam' is not defined for classifier 'fc': its margins are those of cosines; choose one of ce"),
        ({"loss": "vs", "classifier": "cosine"}, "it multiplies logits, which need lengths that can grow"),
        ({"loss": "focal", "classifier": "ms"}, "a label pair has no focal loss that is published"),
        ({"loss": "focal", "classifier": "etf"}, "class vectors that are fixed are trained with"),
        ({"loss": "cw", "classifier": "cosine"}, "--class-weights inverse gives it these weights"),
        ({"loss": "cw", "classifier": "ms"}, "a label pair has no published weight"),
        ({"loss": "la", "classifier": "ms-wetf"}, "only its own cross-entropy over label pairs"),
        ({"loss": "vs", "classifier": "ms-wetf"}, "only its own cross-entropy over label pairs"),
        ({"loss": "la", "classifier": "etf"}, "log frequencies dwarf logits that are cosines"),
        ({"loss": "complement", "class_weights": "inverse"}, "as the others have no class weights"),
        ({"loss": "complement", "classifier": "ms"}, "its binary terms are of single classes"),
        ({"class_weights": "inverse", "classifier": "ms"}, "class-weights 'inverse' applies only to loss 'ce'.* a label pair"),
        ({"class_weights": "inverse", "loss": "cw"}, "class-weights 'inverse' applies only to loss"),
        ({"class_weights": "inverse", "loss": "complement"}, "class-weights 'inverse' applies only to loss"),
        ({"weights_from": 0.5}, "weights-from applies only to runs with --class-weights"),
        ({"weight_normalisation": "batch"}, "weight-normalisation 'batch' applies only to runs with --class-weights"),
        ({"class_weights": "inverse", "beta": 0.9}, "beta applies only to class-weights 'effective'"),
        ({"class_weights": "effective", "beta": 1.0}, r"beta = 1 must lie in \[0, 1\)"),
        ({"class_weights": "effective", "weights_from": 1.0}, "weights-from = 1 must be 0, or leave some of the 5 epochs"),
        ({"class_weights": "effective", "weights_from": 0.8, "epochs": 2}, "leave some of the 2 epochs on both sides"),
        ({"class_weights": "effective", "weights_from": 0.05}, "leave some of the 5 epochs on both sides"),
        ({"prior": "data"}, "prior 'data' applies only to loss 'la', 'vs' or 'cdt'"),
        ({"classifier": "cosine", "features": "as-is"}, "features 'as-is' have lengths, which cosines do not"),
        ({"classifier": "cosine", "bias": False}, "bias applies only to classifier 'fc', 'ms'"),
        ({"cosine_scale": 20.0}, "cosine-scale applies only to classifier 'cosine' and loss 'ldam'"),
    ],
)  # fmt: skip
def test_what_is_not_defined_is_refused_with_the_reason(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        replace(TINY, **change)


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ({"sampler": "cas", "class_weights": "effective"}, "double correction: sampler cas and --class-weights effective each"),
        ({"sampler": "cbs", "loss": "la", "prior": "data"}, "double correction: sampler cbs and loss la each"),
        ({"sampler": "bmls", "loss": "cw"}, "double correction: sampler bmls and loss cw each"),
        ({"sampler": "lom", "loss": "vs"}, "loss vs has no effect: the labels that sampler lom draws are balanced; --prior data"),
        ({"loss": "la", "class_weights": "effective"}, "double correction: loss la and --class-weights effective each"),
        ({"classifier": "cosine", "loss": "ldam", "class_weights": "effective", "weights_from": 0.8}, ""),
        ({"sampler": "cas"}, ""),
        ({"sampler": "cbs", "loss": "complement", "temperature_eps": 0.0}, ""),
        ({"sampler": "cbs", "loss": "temperature", "temperature_eps": 0.0}, ""),
        ({"sampler": "cbs", "loss": "temperature"}, "double correction: sampler cbs and loss temperature each"),
        ({"sampler": "cbs", "loss": "la", "prior": "data", "tau": 0.0}, ""),
        ({"loss": "la", "tau": 0.0, "class_weights": "inverse"}, ""),
        ({"sampler": "cbs", "class_weights": "effective", "beta": 0.0}, ""),
        ({"sampler": "tempered", "pair_power": 0.0, "class_weights": "inverse"}, "sampler tempered and --class-weights inverse"),
        ({"sampler": "tempered", "pair_power": 0.5, "loss": "la"}, ""),
        ({"sampler": "bilateral", "class_weights": "inverse"}, "sampler bilateral and --class-weights inverse each"),
        ({"sampler": "bilateral", "loss": "la", "prior": "data"}, "sampler bilateral and loss la each"),
        ({"sampler": "bilateral", "loss": "la"}, ""),
        ({"sampler": "unimix", "mixing": "unimix", "loss": "la", "prior": "data"}, "sampler unimix and loss la each"),
        ({"sampler": "bilateral", "loss": "complement", "branches": "dbn"}, ""),
        ({"sampler": "cas", "loss": "la", "branches": "dbn"}, "loss la has no effect: the labels that sampler cas draws"),
        ({"sampler": "bmls", "loss": "la", "branches": "dbn"}, ""),  # each branch has more of one end of the classes
    ],
)  # fmt: skip
def test_a_double_correction_is_one_line(
    change: dict[str, Any], note: str, digits: datasets.LongTailed, capsys: pytest.CaptureFixture[str]
) -> None:
    explain([replace(TINY, batch=32, **change)], digits, "cpu")
    lines = [line for line in capsys.readouterr().err.splitlines() if "correct" in line or "has no effect" in line]
    if note:
        (line,) = lines
        assert re.search(note, line)
    else:
        assert not lines


def test_a_note_on_a_method_names_it_where_there_are_several(
    digits: datasets.LongTailed, capsys: pytest.CaptureFixture[str]
) -> None:
    """The note was printed for the first method of a comparison alone."""
    methods = ("random+FC", "CAS+FC+DRW", "BMLS+FC+CL", "LOM+FC+DRW")
    base = replace(TINY, batch=32, epochs=5)
    explain(
        [run for seed in (0, 1) for name in methods for run in runs_of(replace(base, seed=seed), name)], digits, "cpu"
    )
    lines = [line for line in capsys.readouterr().err.splitlines() if "double correction" in line]
    assert [line.split(": ")[1] for line in lines] == ["CAS+FC+DRW", "BMLS+FC+CL", "LOM+FC+DRW"]


def test_the_collapse_law_claims_nothing_of_other_losses() -> None:
    counts = np.array([100, 10])
    assert collapse.collapse_numbers(replace(TINY, loss="la"), counts) is not None
    for change in (
        {"loss": "focal"},
        {"loss": "la", "classifier": "ms"},
        {"classifier": "cosine"},
    ):
        assert collapse.collapse_numbers(replace(TINY, **change), counts) is None  # type: ignore[arg-type]


def test_weights_of_other_classes_are_refused() -> None:
    loss, z, k = Weighted(CrossEntropy(), torch.ones(5)), torch.zeros(2, 3), torch.tensor([0, 1])
    with pytest.raises(InvalidInput, match="5"):
        loss(z, k, k, 0.5)
