"""Predictions of a trained network for image files."""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from lpm.console.cli import run as run_command
from lpm.console.errors import InvalidInput
from tests.pages import code
from tests.training.own import ORDER, older, pets, trained
from training import train
from training.corrected import finished
from training.data.below import images_below
from training.data.images import MAX_PIXELS
from training.predict import main as predict
from training.run.corrections import CORRECTIONS, Options
from training.store.runs import find


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return pets(tmp_path / "data")


def test_a_run_on_your_own_data_ends_with_a_result_and_predicts_what_it_says(
    root: Path, tmp_path: Path, capsys: Any
) -> None:
    store = tmp_path / "store"
    words = ["--dataset", "own", "--classes", "3", "--name", "pets", "--data-root", str(root), "--store", str(store)]
    words += ["--preset", "smoke", "--width", "4", "--workers", "0", "--device", "cpu", "--sampler", "bmls"]
    assert run_command(lambda: train.main(words)) == 0
    assert "few" in (printed := capsys.readouterr().out)
    assert "(2 of 3 classes, below 20 training images)" in printed
    assert printed.splitlines()[-1].startswith(f"in {store}/own-pets-bmls-fc-ce-smoke+-")
    (folder,) = find(store)
    assert folder.path.parent.name.startswith("own-pets-bmls-fc-ce-smoke+-")
    metrics = json.loads((folder.path / "metrics.json").read_text())
    assert (metrics["dataset"], metrics["class_names"]) == ("own-pets", ORDER)
    assert metrics["train_counts"] == [30, 12, 4]
    assert set(metrics["last"]) == {"all", "balanced", "med", "few"}

    run = str(folder.path)
    assert run_command(lambda: predict([run, str(root / "test"), "--workers", "1"])) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["image"] for row in rows] == [str(path) for path in sorted(root.glob("test/*/*"))]
    right = {name: [row["class"] == name for row in rows if f"/{name}/" in row["image"]] for name in ORDER}
    assert [100 * np.mean(right[name]) for name in ORDER] == pytest.approx(metrics["per_class"])

    names: dict[str, Any] = {}
    example = code("docs/practice/parts.md")[3].replace("new-images/1.jpg", rows[0]["image"])
    example = re.sub(r'"runs/[^"]*"', repr(str(folder.path.parent)), example)
    exec(compile(example, "parts.md", "exec"), names)  # by the folder that holds the one run
    assert capsys.readouterr().out.split()[:3] == [rows[0]["image"], "1", rows[0]["class"]]
    assert f"{names['score']:.4f}" < rows[0]["score"]  # of the class that comes second

    image = str(root / "test/cat/00.jpg")
    assert run_command(lambda: predict([run, image, "--top", "3"])) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert sorted(row["class"] for row in rows) == sorted(ORDER)
    assert [row["rank"] for row in rows] == ["1", "2", "3"]
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(1, abs=2e-4)

    (root / "train.txt").write_text("")
    (tmp_path / "out.jpg").write_bytes(b"")
    (root / "val").mkdir()
    (root / "val/a.jpg").symlink_to(tmp_path / "out.jpg")
    (tmp_path / "empty").mkdir()
    for given, message in (
        ([image, str(root / "train.txt")], "train.txt' is no JPEG, PNG, WebP, TIFF, BMP or GIF"),
        ([str(tmp_path / "none.jpg")], "none.jpg' does not exist"),
        ([image, run], "is a run, not images"),
        ([str(root / "train/cat"), str(tmp_path / "esc\x1b.jpg")], "esc\\x1b.jpg': give it a name of printable text"),
        ([str(root / "val")], "'a.jpg' is or lies behind a link that leaves"),
        ([str(tmp_path / "empty")], "empty' holds no image"),
        ([image, "--top", "4"], "--top 4 must lie in 1..3"),
    ):
        assert run_command(lambda given=given: predict([run, *given])) == 2
        printed = capsys.readouterr()
        assert message in printed.err
        assert (printed.out, printed.err.count("\n")) == ("", 1)
    final = folder.path / "final.safetensors"
    final.write_bytes(final.read_bytes()[:1000])
    assert run_command(lambda: predict([run, image])) == 2
    assert "final.safetensors' is damaged: its SHA-256 is not the one in metrics.json" in capsys.readouterr().err


@pytest.mark.parametrize("workers", ["0", "1"])
def test_files_that_are_no_images_are_skipped_on_request(workers: str, root: Path, tmp_path: Path, capsys: Any) -> None:
    assert trained(root, tmp_path / "s") == 0
    (folder,) = find(tmp_path / "s")
    words = [str(folder.path), str(root / "train"), "--workers", workers]
    assert run_command(lambda: predict(words)) == 0
    before = capsys.readouterr().out.splitlines()
    (root / "train/cat/01.jpg").write_bytes(b"none")
    (root / "train/emu/11.jpg").write_bytes(b"none")
    assert run_command(lambda: predict(words)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "; --skip-broken leaves such files out" in printed.err
    assert run_command(lambda: predict([*words, "--skip-broken"])) == 1
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [row for row in before if "cat/01.jpg" not in row and "emu/11.jpg" not in row]
    assert [line.split(" ")[0] for line in printed.err.splitlines()] == ["skipped:", "skipped:", "next:"]
    assert "cat/01.jpg' is no JPEG, PNG, WebP, TIFF, BMP or GIF" in printed.err
    (root / "train/cat/x.heic").touch()
    assert run_command(lambda: predict([*words, "--skip-broken"])) == 1
    assert (
        f"note: 1 file is left out: '{root}/train/cat/x.heic' does not end in .jpg, .jpeg, .jpe, .jfif, .png"
        in capsys.readouterr().err
    )
    for file in root.glob("train/*/*"):
        file.write_bytes(b"none")
    assert run_command(lambda: predict([*words, "--skip-broken"])) == 1
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("skipped: ")) == ("image,rank,class,score\n", 46)


def test_runs_on_arrays_do_not_predict(tmp_path: Path, capsys: Any) -> None:
    words = ["--epochs", "1", "--warmup", "0", "--width", "4", "--quiet", "--device", "cpu"]
    assert run_command(lambda: train.main([*words, "--store", str(tmp_path)])) == 0
    (folder,) = find(tmp_path)
    assert run_command(lambda: predict([str(folder.path), __file__])) == 2
    assert "is not a run on image files that names its classes" in capsys.readouterr().err


def test_damaged_weights_are_one_line(root: Path, tmp_path: Path, capsys: Any) -> None:
    assert trained(root, tmp_path / "s") == 0
    capsys.readouterr()
    (folder,) = find(tmp_path / "s")
    file = older(folder).path / "final.safetensors"
    tensors = load_tensors(file.read_bytes())
    vectors = "network.classifier.linear.weight"
    for change, message in (
        ({vectors: tensors[vectors] * float("nan")}, "give scores that are not finite"),
        ({vectors: tensors[vectors].bfloat16()}, "final.safetensors' cannot be read"),
        ({"network.\x1b[31m\n": tensors[vectors].clone()}, "do not fit its config"),
        ({vectors: tensors[vectors][:2]}, "do not fit its config"),
    ):
        file.write_bytes(save_tensors(tensors | change))
        assert run_command(lambda: predict([str(folder.path), str(root / "test")])) == 2
        printed = capsys.readouterr()
        assert message in printed.err
        assert (printed.out, printed.err.count("\n"), printed.err.strip().isprintable()) == ("", 1, True)


def test_folders_of_images_are_walked_whole_or_not_at_all(root: Path) -> None:
    (root / "train/.hidden").mkdir()
    (root / "train/.hidden/a.jpg").touch()
    (root / "train/notes.txt").touch()
    assert images_below(root / "train") == (sorted(root.glob("train/[a-z]*/*.jpg")), ["notes.txt"])
    (root / "train/fox").symlink_to("../test/cat")
    with pytest.raises(InvalidInput, match="fox' is a link to a folder, which is not followed"):
        images_below(root / "train")


@pytest.mark.parametrize("name", ["la", "tau-norm", "ncm", "bn"])
def test_a_correction_predicts_what_its_scores_say(name: str, root: Path, tmp_path: Path, capsys: Any) -> None:
    assert trained(root, tmp_path, "--sampler", "random", "--classifier", "fc") == 0
    (folder,) = find(tmp_path)
    options = argparse.Namespace(
        data_root=root, device="cpu", workers=0, max_pixels=MAX_PIXELS, train_list=None, test_list=None, model=None
    )
    run = finished(folder, options)
    expected = CORRECTIONS[name].scores(run, "test", Options()).argmax(axis=1)
    images = [str(root / path) for path in run.data.test.names]
    capsys.readouterr()
    words = [str(folder.path), *images, "--correction", name, "--workers", "0"]
    if name != "la":
        assert run_command(lambda: predict(words)) == 2  # class means and the like need the training images
        assert "--data-root" in capsys.readouterr().err
        words += ["--data-root", str(root)]
    assert run_command(lambda: predict([*words, "--device", "cpu"])) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["class"] for row in rows] == [folder.result().class_names[k] for k in expected]


def test_files_below_a_folder_that_are_no_images_are_skipped_too(root: Path, tmp_path: Path, capsys: Any) -> None:
    assert trained(root, tmp_path / "s") == 0
    (folder,) = find(tmp_path / "s")
    images = tmp_path / "new"
    images.mkdir()
    (images / "a.jpg").write_bytes((root / "test/cat/00.jpg").read_bytes())
    (images / "a\nb.jpg").write_bytes((root / "test/cat/00.jpg").read_bytes())
    os.mkfifo(images / "pipe.png")
    (images / "__MACOSX").mkdir()
    (images / "__MACOSX/a.jpg").write_bytes(b"of macOS")
    capsys.readouterr()
    words = [str(folder.path), str(images), "--workers", "0"]
    assert run_command(lambda: predict(words)) == 2
    assert "is not a regular file; --skip-broken" in capsys.readouterr().err
    assert run_command(lambda: predict([*words, "--skip-broken"])) == 1
    printed = capsys.readouterr()
    assert [line.split(",")[0] for line in printed.out.splitlines()[1:]] == [str(images / "a.jpg")]
    assert [line for line in printed.err.splitlines() if line.startswith("skipped: ")] == [
        line for line in printed.err.splitlines() if "pipe.png" in line or "printable" in line
    ]
