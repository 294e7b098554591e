"""Why runs are wrong on rare classes: verdicts by hand, the law's numbers, a planted run of each kind, and bad input."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lpm.console.cli import run as run_command
from training import diagnose, diagnosis
from training.config import RunConfig, with_preset
from training.data import datasets
from training.diagnose import main, markdown
from training.run import loop, trainer
from training.store import collapse
from training.store.runs import RunFolder
from training.train import main as train

CPU = torch.device("cpu")
TINY = replace(with_preset(RunConfig(imbalance=10.0, tail="step"), "smoke"), epochs=2, warmup=0, width=4)
COUNTS = np.array([120] * 5 + [12] * 5)
S = 2 / 3  # E[lambda^2 + (1 - lambda)^2] of a uniform lambda


@pytest.mark.parametrize(
    ("change", "frequent", "rare"),
    [
        ({}, S * 2 / 11, S / 55),
        ({"alpha": 0.0}, 2 / 11, 1 / 55),
        ({"classifier": "ms"}, S * 2 / 11, S / 55),
        ({"loss": "la", "tau": 0.5}, S * 2 / 11, S / 55),
        ({"loss": "cw"}, S * 11 / 200, S * 55 / 100),
        ({"sampler": "cas"}, S / 10, S / 10),
        ({"sampler": "bmls"}, S / 10 - (1 - S) / 90, S / 10 - (1 - S) / 90),
        ({"sampler": "bilateral"}, S / 2 * (2 / 11 + 1 / 10), S / 2 * (1 / 55 + 1 / 10)),
        ({"sampler": "tempered", "pair_power": 0.5}, S / 5 / (1 + 0.1**0.5), S / 5 / (1 + 10**0.5)),
        ({"loss": "vs"}, S * 2 / 11, S / 55 * 0.1**0.6),
        ({"loss": "cdt", "vs_gamma": 0.5}, S * 2 / 11, S / 55 * 0.1),
        ({"loss": "vs", "sampler": "cas"}, S / 10, S / 10),
        ({"loss": "vs", "sampler": "cas", "prior": "data"}, S / 10, S / 10 * 0.1**0.6),
        (
            {"loss": "cdt", "sampler": "bilateral"},
            S / 2 * (2 / 11 + 1 / 10),
            S / 2 * (13 / 110) ** 1.6 * (31 / 110) ** -0.6,
        ),
        ({"sampler": "bilateral", "alpha": 0.0}, 2 / 11, 1 / 55),
        ({"class_weights": "inverse"}, S * 11 / 200, S * 55 / 100),
        (
            {"class_weights": "inverse", "weight_normalisation": "batch"},
            S * 2 / 11 * (2 / 11) ** 2,
            S / 55 * (20 / 11) ** 2,
        ),
    ],
)
def test_collapse_numbers_are_second_moments_of_targets(change: dict[str, Any], frequent: float, rare: float) -> None:
    """The closed forms, and the moments themselves: c of a group is M_jj - M_jk of M = E[t t^T] for two of its classes."""
    config = replace(TINY, **change)
    numbers = collapse.collapse_numbers(config, COUNTS)
    assert numbers is not None
    assert numbers[[0, 4, 5, 9]] == pytest.approx([frequent, frequent, rare, rare])
    pi, even, root = COUNTS / COUNTS.sum(), np.full(10, 0.1), COUNTS**0.5 / (COUNTS**0.5).sum()
    first, second = {"random": (pi, pi), "bilateral": (pi, even), "tempered": (root, root)}.get(
        config.sampler, (even, even)
    )
    pairs = np.outer(first, second)
    if config.sampler == "bmls":
        pairs = np.triu(np.ones((10, 10)), 1) / 45
    weights = 1 / (10 * pi) if config.loss == "cw" or config.class_weights == "inverse" else np.ones(10)
    if config.weight_normalisation == "batch":
        weights = weights / weights.mean()
    if config.loss in ("vs", "cdt"):  # factors of logits multiply the gradient, and so the labels
        frequencies = (first + second) / 2 if config.prior == "stream" else COUNTS
        weights = (frequencies / frequencies.max()) ** config.vs_gamma
    moments = np.zeros((10, 10))
    nodes, masses = np.polynomial.legendre.leggauss(4)  # exact for squares of lambda
    for lam, mass in zip((nodes + 1) / 2, masses / 2, strict=True) if config.alpha else [(1.0, 1.0)]:
        for a, b in np.ndindex(10, 10):
            t = weights * (lam * np.eye(10)[a] + (1 - lam) * np.eye(10)[b])
            moments += mass * pairs[a, b] * np.outer(t, t)
    for j, k, number in ((0, 1, frequent), (8, 9, rare)):
        assert moments[j, j] - moments[j, k] == pytest.approx(number)


def test_no_number_where_the_law_has_none() -> None:
    for change in (
        {"sampler": "coverage", "coverage": 0.5},
        {"sampler": "bmls", "classifier": "ms-unordered"},
        {"classifier": "etf", "loss": "dr"},
        {"mixing": "remix"},
        {"sampler": "bilateral", "mixing": "unimix"},
    ):
        assert collapse.collapse_numbers(replace(TINY, **change), COUNTS) is None


def test_decay_by_balance_is_the_chosen_one_at_a_minimum() -> None:
    """At a minimum the penalties are equal, l_W |W|^2 = l_H mean |h|^2; the measured mu is then sqrt(l_W l_H)."""
    l_W, l_H, W = 0.02, 0.05, np.random.default_rng(0).normal(size=(10, 3))
    squared = l_W * float((W**2).sum()) / l_H
    chosen = replace(TINY, classifier_decay=l_W, feature_decay=l_H)
    assert collapse.decay(chosen, W, 1.0) == pytest.approx(math.sqrt(l_W * l_H))
    assert collapse.decay(replace(TINY, classifier_decay=l_W), W, squared) == pytest.approx(math.sqrt(l_W * l_H))
    assert collapse.decay(replace(TINY, weight_decay=l_W), W, squared) == pytest.approx(math.sqrt(l_W * l_H))


def test_squared_lengths_are_weighed_as_pairs_were_drawn() -> None:
    """Two classes of one bin; label pair (0, 1) was drawn three times as often as (1, 0)."""
    drawn = np.array([[0, 3], [1, 0]])
    means = np.array([[[[9.0], [1.0]], [[5.0], [9.0]]]])
    geometry = {"pair_means": means, "pair_squares": np.array([[[99.0, 2.0], [30.0, 99.0]]])}
    whole = collapse.mean_squared_length(replace(TINY, bias=False), geometry, drawn, COUNTS)
    assert whole == pytest.approx((3 * 2 + 30) / 4)
    centred = collapse.mean_squared_length(TINY, geometry, drawn, COUNTS)
    assert centred == pytest.approx(whole - ((3 * 1 + 5) / 4) ** 2)


def planted(folder: RunFolder, kind: str, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A finished run whose network is one by hand: features are noisy one-hot vectors, so that W = 1 is right.

    Args:
        folder: where the run goes.
        kind: 'fine'; 'not preferred': a bias of 10 for the frequent half; 'collapsed': rare classes share one class vector;
            'unfitted': the features of rare classes are pure noise.
    """
    data = datasets.of(folder.config, None, train_list=None, test_list=None)
    rng = np.random.default_rng(0)
    vectors, bias = np.zeros((10, 16), np.float32), np.zeros(10, np.float32)
    vectors[range(10), range(10)] = 5
    features = {}
    for part, images in (("test", data.test), ("train", data.train)):
        h = np.eye(16, dtype=np.float32)[images.labels] * 2 + 0.05 * rng.normal(size=(len(images.labels), 16))
        if kind == "unfitted":
            rare = images.labels >= 5
            h[rare] = np.eye(16)[rng.integers(5, 10, int(rare.sum()))]
        features[part] = torch.from_numpy(h.astype(np.float32))
    if kind == "not preferred":
        bias[:5] = 20
    if kind == "collapsed":
        vectors[5:] = vectors[5:].mean(axis=0)

    def evaluate(self: trainer.Trainer) -> np.ndarray:
        z = features["test"].numpy() @ vectors.T + bias
        own = np.where((np.arange(10) < 5) == (data.test.labels < 5)[:, None], z, -np.inf)
        return np.stack([z.argmax(axis=1), own.argmax(axis=1)], axis=1).astype(np.int32)

    real = trainer.Trainer.outcome

    def outcome(self: trainer.Trainer, predictions: np.ndarray) -> dict[str, torch.Tensor]:
        return real(self, predictions) | {"test_features": features["test"].half()}

    def measured(self: trainer.Trainer) -> dict[str, torch.Tensor]:
        return {
            "class_vectors": torch.from_numpy(vectors),
            "class_bias": torch.from_numpy(bias),
            "pair_squares": torch.ones(8, 10, 10),
            "pair_means": torch.zeros(8, 10, 10, 16),
        }

    monkeypatch.setattr(trainer.Trainer, "evaluate", evaluate)
    monkeypatch.setattr(trainer.Trainer, "outcome", outcome)
    monkeypatch.setattr(loop, "measured", measured)
    loop.run(folder.config, data, folder, CPU)
    return folder


@pytest.mark.parametrize("kind", ["fine", "not preferred", "collapsed", "unfitted"])
def test_each_verdict_on_a_run_that_has_that_fault(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = diagnosis.of(planted(RunFolder(tmp_path, TINY), kind, monkeypatch))
    assert [c.verdict for c in report.classes] == ["fine"] * 5 + [kind] * 5
    assert len(report.singular_values) == 9
    frequent, few = math.sqrt(S * 10 / 55), math.sqrt(S / 55)
    assert report.thresholds is not None
    assert np.array(report.thresholds) == pytest.approx(
        np.array([[frequent, frequent]] * 4 + [[frequent, few]] + [[few, few]] * 4)
    )
    assert [part.name for part in report.splits] == ["many", "few"]
    assert np.mean([part.right for part in report.splits]) == pytest.approx(report.right)
    rare = report.classes[-1]
    assert rare.collapse_number == pytest.approx(S / 55)
    if kind == "not preferred":
        assert rare.right == 0
        assert rare.among_split == 100
        assert "--loss la" in report.next_command
    if kind == "collapsed":
        assert rare.distance == pytest.approx(0, abs=1e-6)
        assert sum(value > 1e-3 for value in report.singular_values) == 5  # four among the frequent, and one between
        assert "logit adjustment cannot" in rare.sentence
        assert "--sampler cas" in report.next_command
    if kind == "unfitted":
        assert f"--epochs {2 * TINY.epochs}" in report.next_command
    if kind == "fine":
        assert report.next_command == ""


@pytest.mark.parametrize(("mu", "verdict"), [(0.02, "not preferred"), (0.05, "collapsed")])
def test_near_the_threshold_a_class_that_no_correction_brings_back_has_collapsed(
    mu: float, verdict: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(TINY, classifier_decay=mu, feature_decay=mu)
    report = diagnosis.of(planted(RunFolder(tmp_path, config), "not preferred", monkeypatch))
    rare = report.classes[-1]
    assert rare.corrected == 0
    assert rare.verdict == verdict
    assert ("little of a direction of its own" in rare.sentence) == (verdict == "collapsed")
    assert ("--loss la" in report.next_command) == (verdict == "not preferred")


@pytest.mark.parametrize(
    ("right", "corrected", "verdict"), [(80, 85, "not preferred"), (10, 45, "not preferred"), (10, 15, "collapsed")]
)
def test_a_class_that_is_mostly_right_has_not_collapsed(right: float, corrected: float, verdict: str) -> None:
    shares = {"right": right, "corrected": corrected, "among_split": 95.0, "chance": 20.0}
    known = {
        "name": "a",
        "images": 60,
        "tested": 50,
        "nearest": "b",
        "distance": 1.0,
        "answers": 10,
        "mu": 0.12,
        "collapse_number": 0.07,
    }
    assert diagnosis.Diagnosis(**shares, **known).verdict == verdict  # type: ignore[arg-type]
    above = diagnosis.Diagnosis(**shares, **known | {"mu": 0.3})  # type: ignore[arg-type]
    assert (above.verdict == "collapsed") == (right < 50)
    assert "1.1 of its threshold 0.265" in above.sentence
    assert diagnosis.Diagnosis(**shares, **known | {"mu": 0.3, "answers": 1}).verdict == "collapsed"  # type: ignore[arg-type]
    alone = shares | {"among_split": 100.0, "chance": 100.0}
    assert not diagnosis.Diagnosis(**alone, **known).absorbed  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("right", "corrected", "verdict"),
    [(0, None, "not preferred"), (80, None, "fine"), (0, 40, "not preferred"), (30, 35, "unfitted"), (70, 75, "fine")],
)
def test_the_only_class_of_its_split_is_judged_by_the_correction(
    right: float, corrected: float | None, verdict: str
) -> None:
    """Among its own split all of its images are right, whatever the network does."""
    found = diagnosis.Diagnosis(
        name="cat", images=10, tested=5, right=right, among_split=100.0, chance=100.0, corrected=corrected, mu=math.nan,
        collapse_number=None, nearest="b", distance=1.0, answers=2,
    )  # fmt: skip
    assert found.verdict == verdict
    if verdict != "fine":
        assert found.sentence.startswith(f"It is right in {right} % (5 test images), and the only class of its split")
        assert ("not known" in found.sentence) == (corrected is None)


@pytest.mark.parametrize("kind", ["not preferred", "collapsed"])
def test_a_run_with_class_weights_is_not_told_to_correct_twice(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weighted = replace(TINY, class_weights="effective", beta=0.99)
    command = diagnosis.of(planted(RunFolder(tmp_path, weighted), kind, monkeypatch)).next_command
    assert ("--loss la" in command) == (kind == "not preferred")
    assert ("--class-weights" in command) == (kind == "collapsed")  # which less decay goes on with
    assert "--sampler" not in command


def test_the_correction_is_that_of_the_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bias of log pi is what z - log pi takes away: all is right again."""
    folder = planted(RunFolder(tmp_path, TINY), "fine", monkeypatch)
    report = diagnosis.of(folder)
    assert report.right == report.corrected == 100
    assert [(part.right, part.corrected) for part in report.splits] == [(100, 100)] * 2
    geometry = folder.geometry(2)
    biased = geometry | {"class_bias": (60 * np.log(COUNTS / COUNTS.sum())).astype(np.float32)}
    monkeypatch.setattr(RunFolder, "geometry", lambda self, epoch: biased)
    report = diagnosis.of(folder)
    assert report.corrected is not None
    assert 50 <= report.corrected < 100
    many, few = report.splits
    assert many.corrected == pytest.approx(100)
    assert few.corrected == pytest.approx(2 * report.corrected - 100)
    assert f"few 100.0 -> {few.corrected:.1f}." in markdown(report)


@pytest.mark.parametrize("loss", ["la", "cw", "vs"])
def test_a_loss_that_corrects_is_not_corrected_once_more(
    loss: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = diagnosis.of(planted(RunFolder(tmp_path, replace(TINY, loss=loss)), "not preferred", monkeypatch))
    assert report.corrected is None
    assert all(c.corrected == c.right for c in report.classes)
    assert "by the largest z - log pi: all" not in markdown(report)
    balanced = replace(TINY, sampler="cas")
    report = diagnosis.of(planted(RunFolder(tmp_path, balanced), "not preferred", monkeypatch))
    assert report.corrected == report.right  # its pi is even
    assert f"--epochs {2 * TINY.epochs}" in report.next_command


def test_where_the_correction_wins_it_is_tried_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = planted(RunFolder(tmp_path, TINY), "not preferred", monkeypatch)
    without = folder.geometry(2) | {"class_bias": np.zeros(10, np.float32)}
    monkeypatch.setattr(RunFolder, "geometry", lambda self, epoch: without)
    report = diagnosis.of(folder)
    assert (report.right, report.corrected) == (50, 100)
    assert report.next_command == f"python -m training.posthoc {folder.path} --correction la"


def test_a_second_stage_sends_to_its_first_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = planted(RunFolder(tmp_path, TINY), "not preferred", monkeypatch)
    staged = replace(TINY, stage="crt", stage1=TINY.key, stage1_method=TINY.method, sampler="cas", alpha=0.0)
    monkeypatch.setattr(folder, "config", staged)
    assert diagnosis.of(folder).next_command == f"python -m training.diagnose {folder.path}"


def test_the_next_command_trains_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its words are read by training.train itself, and give the run with that one change."""
    config = replace(
        TINY,
        preset="smoke+",
        alpha=0.3,
        augment=True,
        lr=0.05,
        weight_decay=1e-5,
        seed=3,
        schedule="steps",
        drops=(0.5, 5 / 6),
    )
    words = diagnosis.command(config, Path("runs"), loss="la").split()
    assert words[:3] == ["python", "-m", "training.train"]
    asked: list[RunConfig] = []
    monkeypatch.setattr("training.jobs.train_all.train_all", lambda configs, options: asked.extend(configs) or 0)
    assert train(words[3:]) == 0
    assert asked == [replace(config, loss="la")]
    assert (
        diagnosis.command(replace(TINY, classifier="ms"), Path("runs"), loss="cw") == ""
    )  # which does not go together


def test_the_command_prints_and_draws(
    digits: datasets.LongTailed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = replace(TINY, tail="exp")
    folder = RunFolder(tmp_path / "store", config)
    loop.run(config, digits, folder, CPU)
    assert main([str(folder.path), "--json", "--out", str(tmp_path / "spectrum.png")]) == 0
    (report,) = json.loads(capsys.readouterr().out)
    assert [c["name"] for c in report["classes"]] == list(map(str, range(10)))
    assert (tmp_path / "spectrum.png").read_bytes().startswith(b"\x89PNG")
    assert main([str(folder.path)]) == 0
    text = capsys.readouterr().out
    assert all(len(c["sentence"]) > 10 for c in report["classes"])
    assert text.count("\n| ") == 12
    assert [part["name"] for part in report["splits"]] == ["many", "med", "few"]
    assert len(report["thresholds"]) == 9
    assert report["mu"] > 0
    assert not report["mu_known"]


def test_bad_input_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = planted(RunFolder(tmp_path / "store", TINY), "fine", monkeypatch)
    whole = folder.geometry(2)

    def refused(*words: str) -> str:
        assert run_command(lambda: main(list(words))) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1
        return captured.err

    assert "none" in refused(str(tmp_path / "none"))
    assert "no such folder" in refused(str(folder.path), "--out", str(tmp_path / "none" / "x.png"))
    for out in ("spectrum.gif", "spectrum"):
        assert "must end in .png or .pdf" in refused(str(folder.path), "--out", out)
    for name, damaged in (
        ("pair_squares", np.ones((8, 9, 9))),
        ("pair_means", np.full((8, 10, 10, 16), np.nan)),
        ("class_bias", np.zeros(3)),
    ):
        monkeypatch.setattr(RunFolder, "geometry", lambda self, epoch, change={name: damaged}: whole | change)
        assert "do not fit the run" in refused(str(folder.path))
    monkeypatch.setattr(RunFolder, "geometry", lambda self, epoch: {"class_vectors": whole["class_vectors"]})
    assert "do not fit the run" in refused(str(folder.path))


@pytest.mark.parametrize(
    ("decays", "factors"),
    [
        ({"feature_decay": 0.8, "weight_decay": 0.8}, {"feature_decay": 0.25}),
        ({"feature_decay": 0.8, "classifier_decay": 0.2}, {"feature_decay": 0.5, "classifier_decay": 0.5}),
        ({"classifier_decay": 0.2, "weight_decay": 0.0}, {"classifier_decay": 0.5}),
        ({"weight_decay": 0.01}, {"weight_decay": 0.5}),
        ({"weight_decay": 0.0}, {}),
    ],
)
def test_less_decay_brings_mu_below_the_threshold(decays: dict[str, float], factors: dict[str, float]) -> None:
    """mu is the root of the feature decay times that of the class vectors, or that of the class vectors alone by balance."""
    warmup = {"decay_warmup": 1} if decays.keys() & {"feature_decay", "classifier_decay"} else {}
    config = replace(TINY, sampler="cas", preset="smoke+", **warmup, **decays)
    shares = {"right": 0.0, "among_split": 20.0, "chance": 20.0, "corrected": None}
    known = {"name": "5", "images": 12, "tested": 50, "mu": 1.6, "collapse_number": 1.0}
    found = [diagnosis.Diagnosis(**shares, **known, nearest="6", distance=0.0, answers=10)]  # type: ignore[arg-type]
    words = diagnosis._against_collapse(config, Path("runs"), 1.6, found)
    if not factors:
        assert words == ""
    for name, factor in factors.items():
        value = float(words.split(f"--{name.replace('_', '-')} ")[1].split()[0])
        assert value == pytest.approx(factor * getattr(config, name), rel=0.05)


def test_a_class_without_test_images_has_no_shares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = planted(RunFolder(tmp_path, TINY), "fine", monkeypatch)
    report = diagnosis.of(folder)
    untested = replace(report.classes[3], tested=0, right=math.nan, among_split=math.nan, corrected=math.nan)
    report = replace(report, classes=(*report.classes[:3], untested, *report.classes[4:]))
    (row,) = (line for line in diagnose.markdown(report).splitlines() if line.startswith("| 3 |"))
    assert row.count("–") == 3
    content: Any = diagnose.as_json(report)
    assert [content["classes"][3][name] for name in ("right", "among_split", "corrected")] == [None] * 3
    json.dumps(content, allow_nan=False)
