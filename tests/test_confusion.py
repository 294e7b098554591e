"""What test images are taken for: counted by hand, kept by a run, shown, and refused when it is damaged."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from lpm.cli import run as run_command
from tests.own import ORDER, pets, trained
from training import datasets, loop, trainer
from training.config import RunConfig, with_preset
from training.confusion import counted
from training.confusion import main as confusion
from training.measure import main as measure
from training.runs import RunFolder, find

CPU = torch.device("cpu")
TINY = replace(with_preset(RunConfig(imbalance=10), "smoke"), epochs=1, warmup=0, width=4)
SPLITS = {"many": (0, 1), "few": (2, 3)}


@pytest.fixture
def run(digits: datasets.LongTailed, tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "store", TINY)
    loop.run(TINY, digits, folder, CPU)
    return folder


def test_what_images_are_taken_for_is_counted_by_class_and_split() -> None:
    """Of class 2 one image of four is right, two are taken for class 0 and one for class 3; of class 3 all for 2."""
    labels = np.array([0, 0, 1, 2, 2, 2, 2, 3])
    answers = np.array([[0, 0], [1, 1], [1, 1], [2, 2], [0, 2], [0, 3], [3, 3], [2, 2]])
    found = counted(labels, answers, np.array([[3.0, 0], [0, 2], [-1, 0], [-2, -2]]), SPLITS)
    assert found.shares.tolist() == [[75, 25, 0, 75], [12.5, 25, 62.5, 25]]
    assert found.pairs == {(0, 1): 50, (2, 0): 50, (2, 3): 25, (3, 2): 100}
    assert found.cosines == pytest.approx({(0, 1): 0, (2, 0): -1, (2, 3): 0.5**0.5, (3, 2): 0.5**0.5})


def test_collapsed_classes_are_told_apart_by_chance(digits: datasets.LongTailed) -> None:
    """Equal class vectors and no bias: the first of them is every image's answer among them."""
    learner = trainer.Trainer(replace(TINY, bias=False), digits, CPU)
    vectors = learner.network.classifier.class_vectors
    first, last = learner.splits["few"]
    with torch.no_grad():
        vectors[first : last + 1] = vectors[first]
    answers = learner.evaluate()
    shares = counted(digits.test.labels, answers, vectors.detach().numpy(), learner.splits).shares
    assert shares[list(learner.splits).index("few"), -1] == pytest.approx(100 / (last - first + 1))


def test_answers_are_the_likeliest_classes(digits: datasets.LongTailed) -> None:
    learner = trainer.Trainer(TINY, digits, CPU)
    answers = learner.evaluate()
    learner.network.eval()
    (x,) = learner.source.test(torch.arange(40))
    with torch.no_grad():
        scores = learner.network.classifier(learner.features(x))
    for row, (label, z) in enumerate(zip(digits.test.labels[:40], scores.numpy(), strict=True)):
        (own,) = (range(a, b + 1) for a, b in learner.splits.values() if a <= label <= b)
        assert z[answers[row, 0]] >= z.max() - 0.05  # bfloat16 rounds by batch
        assert answers[row, 1] in own
        assert z[answers[row, 1]] >= z[list(own)].max() - 0.05


def test_a_run_keeps_its_answers_and_the_command_shows_them(
    run: RunFolder, digits: datasets.LongTailed, capsys: Any
) -> None:
    final, metrics = run.final(), run.metrics()
    right = final["test_answers"][:, 0] == final["test_labels"]
    assert 100 * right.mean() == pytest.approx(metrics["last"]["all"])
    other = replace(TINY, seed=1)
    loop.run(other, digits, RunFolder(run.path.parent.parent, other), CPU)
    folders = sorted(map(str, run.path.parent.glob("seed-*")))
    assert run_command(lambda: confusion(folders)) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "digits-lt, imbalance 10, preset smoke (resnet8, epochs: 1, width: 4, warmup: 0), random+FC"
    rows = [line.strip("| ").split(" | ") for line in said if line.startswith("|")]
    assert rows[0][-2:] == ["right among its own split", "by chance"]
    splits = {row[0]: row[1:] for row in rows[2:5]}
    assert list(splits) == ["many", "med", "few"]
    seeds = [RunFolder(run.path.parent.parent, config).metrics()["last"]["few"] for config in (TINY, other)]
    assert splits["few"][0] == f"{np.mean(seeds):.2f} ± {np.std(seeds, ddof=1):.2f} (2)"
    assert splits["few"][-1] == "33.33"
    assert len(rows) == 2 + 3 + 2 + 10  # as many pairs as are asked for
    shares = [float(row[2]) for row in rows[7:]]
    assert shares == sorted(shares, reverse=True)

    assert run_command(lambda: confusion([*folders, "--format", "csv"])) == 0
    pairs = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    wrong = sum(float(pair["percent"]) for pair in pairs if pair["class"] == "9")
    recalls = [RunFolder(run.path.parent.parent, config).metrics()["per_class"][9] for config in (TINY, other)]
    assert wrong == pytest.approx(100 - np.mean(recalls), abs=1e-3)
    assert {pair["runs"] for pair in pairs} == {"2"}
    assert {pair["split"] for pair in pairs} <= {"many", "med", "few"}


def test_classes_have_their_names(tmp_path: Path, capsys: Any) -> None:
    assert trained(pets(tmp_path / "data"), tmp_path / "store", "--classes", "3") == 0
    (folder,) = find(tmp_path / "store")
    capsys.readouterr()
    assert run_command(lambda: confusion([str(folder.path), "--format", "csv"])) == 0
    pairs = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert pairs
    assert {pair[name] for pair in pairs for name in ("class", "taken_for")} <= set(ORDER)
    assert run_command(lambda: confusion([str(folder.path), "--top", "0"])) == 0
    said = capsys.readouterr().out
    assert "few: 2 of 3 classes, below 20 training images" in said
    assert "taken for |" not in said


def test_older_and_damaged_runs_are_one_line_and_measured_again(run: RunFolder, capsys: Any) -> None:
    file = run.path / "final.safetensors"
    before = load_file(file)

    def says(what: str, *words: str) -> None:
        assert run_command(lambda: confusion([str(run.path), *words])) == 2
        assert what in (said := capsys.readouterr().err)
        assert said.count("\n") == 1

    def changed(**tensors: np.ndarray) -> None:
        save_file(before | tensors, file)

    save_file({name: x for name, x in before.items() if name != "test_answers"}, file)
    says("training.measure adds them")
    assert run_command(lambda: measure([str(run.path)])) == 0
    after = load_file(file)
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    answers, labels = before["test_answers"], before["test_labels"]
    for wrong in (answers[:-1], answers[:, 0], answers + 10, answers - 10, answers.astype(np.float32)):
        changed(test_answers=wrong)
        says("does not fit the run")
    changed(test_labels=labels[:0], test_answers=answers[:0])
    says("does not fit the run")
    file.write_bytes(b"{}")
    says("cannot be read")
    changed()
    says("--top -1", "--top", "-1")
    metrics = run.metrics()
    (run.path / "metrics.json").write_text(json.dumps(metrics | {"train_counts": [1, 2]}))
    says("no class counts")
    (run.path / "metrics.json").write_text(json.dumps(metrics | {"train_counts": ["x"] * 10}))
    says("no class counts")


def test_runs_of_different_methods_are_refused(run: RunFolder, digits: datasets.LongTailed, capsys: Any) -> None:
    other = RunFolder(run.path.parent.parent, replace(TINY, sampler="cas"))
    loop.run(other.config, digits, other, CPU)
    assert run_command(lambda: confusion([str(run.path), str(other.path)])) == 2
    assert "in more than its seed" in capsys.readouterr().err
