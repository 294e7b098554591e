"""What test images are predicted as: counted by hand, kept by a run, shown, and refused when it is damaged."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from lpm.console.cli import run as run_command
from lpm.geometry import cosines
from tests.training.own import ORDER, older, pets, trained
from training.config import RunConfig, with_preset
from training.confusion import main as confusion_command
from training.data import datasets
from training.diagnose import main as diagnose
from training.measure import main as measure
from training.posthoc import main as posthoc
from training.run import loop, trainer
from training.store.confusions import counted, mean_matrix
from training.store.posthoc import corrected
from training.store.runs import RunFolder, find
from training.train import main as train

CPU = torch.device("cpu")
TINY = replace(with_preset(RunConfig(imbalance=10), "smoke"), epochs=1, warmup=0, width=4)
SPLITS = {"many": (0, 1), "few": (2, 3)}


@pytest.fixture
def run(digits: datasets.LongTailed, tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "store", TINY)
    loop.run(TINY, digits, folder, CPU)
    return folder


def test_predictions_are_counted_by_class_and_split() -> None:
    """Class 2 has four images: one is right, two are predicted as class 0, one as class 3. Class 3 is predicted as 2."""
    labels = np.array([0, 0, 1, 2, 2, 2, 2, 3])
    predictions = np.array([[0, 0], [1, 1], [1, 1], [2, 2], [0, 2], [0, 3], [3, 3], [2, 2]])
    vectors = np.array([[8.0, 5], [5, 7], [4, 5], [3, 3]])  # their mean is (5, 5), the first centred one (3, 0)
    confusion = counted(labels, predictions, vectors, SPLITS)
    assert confusion.shares.tolist() == [[75, 25, 0, 75], [12.5, 25, 62.5, 25]]
    assert confusion.pairs == {(0, 1): 50, (2, 0): 50, (2, 3): 25, (3, 2): 100}
    assert [confusion.cosine(*pair) for pair in confusion.pairs] == pytest.approx([0, -1, 0.5**0.5, 0.5**0.5])
    assert [confusion.closeness(*ends) for ends in ((0, 1), (2, 3), (1, 3))] == pytest.approx([0, 0.5**0.5, 0])
    assert math.isnan(confusion.closeness(1, 1))


def test_recall_precision_and_f1_are_those_of_the_counts() -> None:
    """Class 3 has no test image, and class 1 is never predicted."""
    labels = np.array([0, 0, 0, 1, 2, 2])
    predictions = np.array([[0, 0], [0, 0], [2, 0], [2, 1], [2, 2], [3, 2]])
    confusion = counted(labels, predictions, np.eye(4), {"many": (0, 3)})
    assert confusion.total.tolist() == [3, 1, 2, 0]
    assert confusion.right.tolist() == [2, 0, 1, 0]
    assert confusion.predicted.tolist() == [2, 0, 3, 1]
    measures = {name: np.round(values, 3).tolist() for name, values in confusion.measures.items()}
    assert measures["recall"][:3] == [66.667, 0, 50]
    assert measures["precision"][::2] == [100, 33.333]
    assert measures["F1"][:3] == [80, 0, 40]
    assert np.isnan([measures["recall"][3], measures["precision"][1], measures["F1"][3]]).all()
    assert measures["precision"][3] == 0
    matrix = mean_matrix([confusion, confusion])
    assert np.allclose(matrix[:3], [[200 / 3, 0, 100 / 3, 0], [0, 0, 100, 0], [0, 0, 50, 50]])
    assert np.isnan(matrix[3]).all()


def test_collapsed_classes_are_told_apart_by_chance(digits: datasets.LongTailed) -> None:
    """With equal class vectors and no bias, every image is predicted as the first class of the split.

    The class vectors are zeros, because then the logits are equal to the last bit on any processor.
    """
    learner = trainer.Trainer(replace(TINY, bias=False), digits, CPU)
    vectors = learner.network.classifier.class_vectors
    first, last = learner.splits["few"]
    with torch.no_grad():
        vectors[first : last + 1] = 0
    predictions = learner.evaluate()
    confusion = counted(digits.test.labels, predictions, vectors.detach().numpy(), learner.splits)
    assert confusion.shares[list(learner.splits).index("few"), -1] == pytest.approx(100 / (last - first + 1))
    assert confusion.closeness(first, last) == pytest.approx(1)


def test_predictions_are_the_likeliest_classes(digits: datasets.LongTailed) -> None:
    learner = trainer.Trainer(TINY, digits, CPU)
    predictions = learner.evaluate()
    learner.network.eval()
    images = torch.arange(len(digits.test.labels))
    with torch.no_grad():
        scores = torch.cat([learner.network.classifier(learner.features(x)) for x in learner.source.test(images)])
    for label, z, (likeliest, of_split) in zip(digits.test.labels, scores.numpy(), predictions, strict=True):
        ((first, last),) = (ends for ends in learner.splits.values() if ends[0] <= label <= ends[1])
        assert likeliest == z.argmax()
        assert of_split == first + z[first : last + 1].argmax()


def test_a_run_keeps_its_predictions_and_the_command_shows_them(
    run: RunFolder, digits: datasets.LongTailed, capsys: Any
) -> None:
    final, result = run.final(), run.result()
    right = final["test_answers"][:, 0] == final["test_labels"]
    assert 100 * right.mean() == pytest.approx(result.last["all"])
    other = replace(TINY, seed=1)
    loop.run(other, digits, RunFolder(run.path.parent.parent, other), CPU)
    folders = sorted(map(str, run.path.parent.glob("seed-*")))
    assert run_command(lambda: confusion_command(folders)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "digits-lt, imbalance 10, preset smoke (resnet8, epochs: 1, width: 4, warmup: 0), random+FC"
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("|")]
    assert rows[0][-3:-1] == ["right among its own split", "by chance"]
    splits = {row[0]: row[1:] for row in rows[2:5]}
    assert list(splits) == ["many", "med", "few"]
    seeds = [RunFolder(run.path.parent.parent, config).result().last["few"] for config in (TINY, other)]
    assert splits["few"][0] == f"{np.mean(seeds):.2f} ± {np.std(seeds, ddof=1):.2f} (2)"
    assert splits["few"][-2] == "33.33"
    W = [RunFolder(run.path.parent.parent, c).geometry(1)["class_vectors"].astype(float) for c in (TINY, other)]
    few = [cosines((v - v.mean(axis=0)) @ (v - v.mean(axis=0)).T) for v in W]
    means = [gram[7:, 7:][np.triu_indices(3, 1)].mean() for gram in few]
    assert splits["few"][-1] == f"{np.mean(means):.2f} ± {np.std(means, ddof=1):.2f} (2)"
    classes, matrix, pairs_shown = rows[5:17], rows[17:29], rows[29:]
    assert classes[0] == ["class", "training images", "test images", "recall", "precision", "F1"]
    results = [RunFolder(run.path.parent.parent, config).result() for config in (TINY, other)]
    for k, row in enumerate(classes[2:]):
        recalls = [result.per_class[k] for result in results]
        assert row[:2] == [str(k), str(results[0].train_counts[k])]
        assert row[3] == f"{np.mean(recalls):.2f} ± {np.std(recalls, ddof=1):.2f} (2)"
        assert matrix[2 + k][1 + k] == f"{np.mean(recalls):.1f}"
    assert len(pairs_shown) == 2 + 10  # as many pairs as are asked for
    shares = [float(row[2]) for row in pairs_shown[2:]]
    assert shares == sorted(shares, reverse=True)

    assert (
        run_command(lambda: confusion_command([str(run.path.parent), folders[0]])) == 0
    )  # the folder that holds both, one twice
    assert capsys.readouterr().out.splitlines() == lines

    assert run_command(lambda: confusion_command([*folders, "--format", "csv"])) == 0
    pairs = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    wrong = sum(float(pair["percent"]) for pair in pairs if pair["class"] == "9")
    recalls = [RunFolder(run.path.parent.parent, config).result().per_class[9] for config in (TINY, other)]
    assert wrong == pytest.approx(100 - np.mean(recalls), abs=1e-3)
    assert {pair["runs"] for pair in pairs} == {"2"}
    assert {pair["split"] for pair in pairs} <= {"many", "med", "few"}


def test_the_matrix_comes_as_csv_json_and_picture(run: RunFolder, tmp_path: Path, capsys: Any) -> None:
    def printed(*words: str) -> str:
        assert run_command(lambda: confusion_command([str(run.path), *words])) == 0
        return capsys.readouterr().out

    final = run.final()
    head, *rows = csv.reader(printed("--format", "matrix").splitlines())
    assert head == ["true", *map(str, range(10))]
    matrix = np.array([[int(cell) for cell in row[1:]] for row in rows])
    wanted = np.zeros((10, 10), int)
    np.add.at(wanted, (final["test_labels"], final["test_answers"][:, 0]), 1)
    assert np.array_equal(matrix, wanted)

    content = json.loads(printed("--format", "json"))
    assert content["runs"] == 1
    images = {(int(cell["true"]), int(cell["predicted"])): cell["images"] for cell in content["images"]}
    assert images == {pair: n for pair, n in np.ndenumerate(wanted) if n}
    for k, row in enumerate(content["classes"]):
        predicted = wanted[:, k].sum()
        assert row["test_images"] == wanted[k].sum()
        assert row["recall"] == pytest.approx(100 * wanted[k, k] / wanted[k].sum())
        assert row["precision"] == (pytest.approx(100 * wanted[k, k] / predicted) if predicted else None)
        assert row["f1"] == pytest.approx(200 * wanted[k, k] / (wanted[k].sum() + predicted))

    for ending, begins in ((".png", b"\x89PNG"), (".pdf", b"%PDF"), (".svg", b"<?xml")):
        printed("--out", str(tmp_path / f"matrix{ending}"))
        assert (tmp_path / f"matrix{ending}").read_bytes().startswith(begins)
    assert f">{wanted[0, 0] / wanted[0].sum():.0%}".rstrip("%") in (tmp_path / "matrix.svg").read_text()


@pytest.mark.parametrize(
    ("name", "message"), [("a.jpg", "must end in .png, .pdf or .svg"), ("none/a.png", "no such folder")]
)
def test_a_picture_that_cannot_be_written_is_one_line(
    name: str, message: str, run: RunFolder, tmp_path: Path, capsys: Any
) -> None:
    assert run_command(lambda: confusion_command([str(run.path), "--out", str(tmp_path / name)])) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_of_many_classes_the_worst_are_shown_and_of_too_many_no_picture(
    run: RunFolder, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.confusion.FEW_CLASSES", 9)
    monkeypatch.setattr("training.confusion.TOP", 4)
    assert run_command(lambda: confusion_command([str(run.path), "--top", "0"])) == 0
    text = capsys.readouterr().out
    assert "4 of 10 classes: those with the lowest F1." in text
    shown = [float(line.split(" | ")[-1].split(" (")[0]) for line in text.splitlines() if line.endswith("(1) |")]
    assert shown[-4:] == sorted(shown[-4:])
    assert "true class" not in text
    monkeypatch.setattr("training.store.confusion_picture.LARGEST", 9)
    assert run_command(lambda: confusion_command([str(run.path), "--out", str(tmp_path / "a.png")])) == 2
    assert "draws at most 9 classes, and there are 10" in capsys.readouterr().err
    assert not (tmp_path / "a.png").exists()


def test_classes_have_their_names(tmp_path: Path, capsys: Any) -> None:
    assert trained(pets(tmp_path / "data"), tmp_path / "store", "--classes", "3") == 0
    (folder,) = find(tmp_path / "store")
    capsys.readouterr()
    assert run_command(lambda: confusion_command([str(folder.path), "--format", "csv"])) == 0
    pairs = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert pairs
    assert {pair[name] for pair in pairs for name in ("class", "taken_for")} <= set(ORDER)
    assert run_command(lambda: confusion_command([str(folder.path), "--top", "0"])) == 0
    text = capsys.readouterr().out
    assert "few: 2 of 3 classes, below 20 training images" in text
    assert "predicted as |" not in text


def test_older_and_damaged_runs_are_one_line_and_measured_again(run: RunFolder, capsys: Any) -> None:
    file = older(run).path / "final.safetensors"
    before = load_file(file)

    def says(message: str, *words: str) -> None:
        assert run_command(lambda: confusion_command([str(run.path), *words])) == 2
        assert message in (error := capsys.readouterr().err)
        assert error.count("\n") == 1

    def changed(**tensors: np.ndarray) -> None:
        save_file(before | tensors, file)

    save_file({name: x for name, x in before.items() if name != "test_answers"}, file)
    says("training.measure adds them")
    assert run_command(lambda: measure([str(run.path)])) == 0
    assert capsys.readouterr().err.startswith("next: python -m training.diagnose")
    older(run)
    after = load_file(file)
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    predictions, labels = before["test_answers"], before["test_labels"]
    for wrong in (
        predictions[:-1],
        predictions[:, 0],
        predictions + 10,
        predictions - 10,
        predictions.astype(np.float32),
    ):
        changed(test_answers=wrong)
        says("does not fit the run")
    changed(test_labels=labels[:0], test_answers=predictions[:0])
    says("does not fit the run")
    file.write_bytes(b"{}")
    says("cannot be read")
    changed()
    geometry = run.path / "geometry-0000001.safetensors"
    measured = load_file(geometry)
    vectors = measured["class_vectors"]
    for wrong in (vectors[:, 0], vectors[:-1], vectors[0], np.ones((10, 3), dtype=np.int64), vectors * np.nan):
        save_file(measured | {"class_vectors": np.ascontiguousarray(wrong)}, geometry)
        says("does not fit the run")
    save_file(measured, geometry)
    says("--top -1", "--top", "-1")
    result = run.result()
    (run.path / "metrics.json").write_text(json.dumps(result.to_json() | {"train_counts": [1, 2]}))
    says("class counts of another run")
    (run.path / "metrics.json").write_text(json.dumps(result.to_json() | {"train_counts": ["x"] * 10}))
    says("is damaged (train_counts)")


def test_unfinished_runs_among_others_are_left_out(run: RunFolder, digits: datasets.LongTailed, capsys: Any) -> None:
    """Such as those that ``compare --minutes`` left."""
    other = RunFolder(run.path.parent.parent, replace(run.config, seed=run.config.seed + 1))
    other.open(digits.fingerprint)
    assert run_command(lambda: confusion_command([str(run.path), str(other.path)])) == 0
    printed = capsys.readouterr()
    assert f"note: {other.path} is not finished, and left out\n" in printed.err
    assert run_command(lambda: confusion_command([str(run.path)])) == 0
    assert capsys.readouterr().out == printed.out
    assert run_command(lambda: confusion_command([str(other.path)])) == 2
    assert "is not finished; repeat" in capsys.readouterr().err


def test_runs_of_different_methods_are_refused(run: RunFolder, digits: datasets.LongTailed, capsys: Any) -> None:
    other = RunFolder(run.path.parent.parent, replace(TINY, sampler="cas"))
    loop.run(other.config, digits, other, CPU)
    assert run_command(lambda: confusion_command([str(run.path), str(other.path)])) == 2
    assert "in more than its seed" in capsys.readouterr().err


def test_names_of_classes_are_no_markdown(tmp_path: Path, capsys: Any) -> None:
    root = pets(tmp_path / "data")
    for part in ("train", "test"):
        (root / part / "cat").rename(root / part / "a|b <i>*c*")
    assert trained(root, tmp_path / "store") == 0
    (folder,) = find(tmp_path / "store")
    capsys.readouterr()
    for main, words, columns in (
        (confusion_command, ["--top", "99"], (5, 7)),
        (diagnose, [], (8,)),
        (posthoc, ["--data-root", str(root), "--workers", "0"], ()),
    ):
        assert run_command(lambda main=main, words=words: main([str(folder.path), *words])) == 0
        text = capsys.readouterr().out
        assert r"\\" not in text  # escaped once
        rows = [line for line in text.splitlines() if "a\\|b" in line and line.startswith("|")]
        assert bool(rows) == bool(columns)
        assert all(r"a\|b \<i\>\*c\*" in row and row.replace(r"\|", "").count("|") in columns for row in rows)


def test_a_correction_changes_what_images_are_predicted_as(tmp_path: Path, capsys: Any) -> None:
    root, store = pets(tmp_path / "data"), tmp_path / "store"
    assert trained(root, store, "--sampler", "random", "--classifier", "fc", "--seeds", "0-1") == 0
    folders = list(find(store))
    words, data = [str(folder.path) for folder in folders], ["--data-root", str(root), "--workers", "0"]
    assert run_command(lambda: posthoc([*words, *data, "--correction", "la", "--tau", "50", "--json"])) == 0
    capsys.readouterr()
    adjusted, as_json = ["--correction", "la", "--tau", "50", *data], ["--format", "json"]
    assert run_command(lambda: confusion_command([*words, *adjusted, *as_json])) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["correction"] == "post-hoc LA(50)"
    rows = [corrected(folder, "post-hoc LA(50)") for folder in folders]
    expected = np.mean([row.per_class for row in rows if row is not None], axis=0)
    assert [row["recall"] for row in content["classes"]] == pytest.approx(expected)
    assert run_command(lambda: confusion_command([*words, *as_json])) == 0
    plain = json.loads(capsys.readouterr().out)
    assert plain["correction"] is None
    assert plain["images"] != content["images"]
    assert run_command(lambda: confusion_command([*words, *adjusted])) == 0
    assert ", post-hoc LA(50)" in capsys.readouterr().out.splitlines()[0]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--tau", "2"], "has no effect without one of them"),
        (["--correction", "bn", "--tau", "2"], "has no effect without one of them"),
        (["--correction", "la", "--bias"], "belongs to --correction tau-norm, and has no effect without it"),
        (["--ncm-features", "un"], "belongs to --correction ncm, and has no effect without it"),
        (["--correction", "la"], "the prior is uniform"),
    ],
)
def test_a_correction_that_means_nothing_is_refused(words: list[str], reason: str, tmp_path: Path, capsys: Any) -> None:
    store = ["--sampler", "cas", "--classifier", "fc", "--preset", "smoke", "--epochs", "1", "--width", "4", "--quiet"]
    assert run_command(lambda: train([*store, "--device", "cpu", "--store", str(tmp_path)])) == 0
    (folder,) = find(tmp_path)
    assert run_command(lambda: confusion_command([str(folder.path), *words])) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert reason in line


@pytest.mark.parametrize("command", [confusion_command, diagnose])
def test_a_picture_replaces_no_photograph(command: Any, run: RunFolder, tmp_path: Path, capsys: Any) -> None:
    photograph, picture = tmp_path / "dog.png", tmp_path / "picture.png"
    photograph.write_bytes(b"\x89PNG of a dog")
    assert run_command(lambda: command([str(run.path), "--out", str(photograph)])) == 2
    assert "is no picture of this command" in capsys.readouterr().err
    assert photograph.read_bytes() == b"\x89PNG of a dog"
    for _ in range(2):
        assert run_command(lambda: command([str(run.path), "--out", str(picture)])) == 0
