"""Probabilities of predictions: what their temperature is fitted on is said, and never the test images unasked."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.special import softmax

from lpm.console.cli import run as run_command
from lpm.console.errors import InvalidInput
from tests.training.own import COUNTS, trained
from training.predict import main as predict
from training.run import calibrating, inference
from training.store.calibration import fitted_temperature
from training.store.runs import RunFolder, find


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders with images of noise, whose brightness says the class in most of them."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for use, classes in COUNTS.items():
        for k, (name, number) in enumerate(classes.items()):
            (folder / use / name).mkdir(parents=True)
            for i in range(number):
                brightness = rng.integers(50) + 50 * (k if i % 3 else (k + 1) % 3)
                pixels = rng.integers(brightness, brightness + 60, (40, 32, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(folder / use / name / f"{i:02d}.png")
    return folder


@pytest.fixture(scope="module")
def run(root: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    store = tmp_path_factory.mktemp("store")
    assert trained(root, store, "--holdout", "0.3", "--epochs", "12") == 0
    (folder,) = find(store)
    return folder


def printed(words: list[str], capsys: Any) -> tuple[list[dict[str, str]], str]:
    """The rows of a command that ends well, and its standard error."""
    assert run_command(lambda: predict(words)) == 0
    out, err = capsys.readouterr()
    return list(csv.DictReader(out.splitlines())), err


def logits_of(run: RunFolder, images: list[Path]) -> np.ndarray:
    batches = inference.logits(run, images, torch.device("cpu"))
    return torch.cat([z for _, z in batches]).double().numpy()


def test_a_folder_of_other_images_gives_the_temperature(run: RunFolder, root: Path, capsys: Any) -> None:
    image, names = str(root / "train/cat/00.png"), ["dog", "emu", "cat"]
    rows, err = printed([str(run.path), image, "--top", "3", "--calibrate", str(root / "test")], capsys)
    assert list(rows[0]) == ["image", "rank", "class", "probability"]
    paths = sorted(root.glob("test/*/*"))
    labels = np.array([names.index(path.parent.name) for path in paths])
    T = fitted_temperature(logits_of(run, paths), labels)
    assert f"at temperature {T:.3g}, fitted on 7 images of 3 classes in {root / 'test'}; calibration error" in err
    p = softmax(logits_of(run, [root / "train/cat/00.png"])[0] / T)
    assert [float(row["probability"]) for row in rows] == pytest.approx(sorted(p, reverse=True), abs=1e-3)
    assert [row["class"] for row in rows] == [names[k] for k in np.argsort(-p)]


def test_images_that_were_held_out_give_it_and_test_images_only_when_named(
    run: RunFolder, root: Path, capsys: Any
) -> None:
    words = [str(run.path), str(root / "test/dog"), "--data-root", str(root), "--calibrate"]
    rows, err = printed([*words, "holdout"], capsys)
    assert "fitted on 13 images of 3 classes that were held out; " in err  # floor of 0.3 of 30, 12 and 4
    assert len(rows) == 3
    again, err = printed([*words, "test"], capsys)
    assert "fitted on 7 images of 3 classes, the run's own test images, on which they are too good; " in err
    assert [row["class"] for row in again] == [row["class"] for row in rows]
    plain, err = printed(words[:2], capsys)
    assert "score" in plain[0]
    assert [line.partition(" ")[0] for line in err.splitlines()] == ["next:"]


def test_what_gives_no_temperature_is_one_line(run: RunFolder, root: Path, tmp_path: Path, capsys: Any) -> None:
    store, image = tmp_path / "store", str(root / "test/dog/00.png")
    assert trained(root, store) == 0
    (without,) = find(store)
    (tmp_path / "other/fox").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    for folder, words, message in (
        (
            without,
            ["holdout", "--data-root", str(root)],
            "held out no images; train with --holdout 0.1, or give a folder",
        ),
        (run, ["holdout"], "needs --data-root"),
        (run, [str(tmp_path / "none")], "is neither holdout nor test nor a folder"),
        (run, [str(tmp_path / "other")], "fox' is of no class of the run; its classes are dog, emu, cat"),
        (run, [str(tmp_path / "empty")], "empty' holds no folder of a class"),
    ):
        capsys.readouterr()
        assert run_command(lambda w=words, f=folder: predict([str(f.path), image, "--calibrate", *w])) == 2
        out, err = capsys.readouterr()
        assert message in err
        assert (out, err.count("\n")) == ("", 1)


def test_the_temperature_is_that_of_scores_that_were_sharpened() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=(4000, 3)) * 2
    labels = np.array([rng.choice(3, p=p) for p in softmax(z, axis=1)])
    fitted = calibrating.calibrated(3 * z, labels)
    assert fitted.temperature == pytest.approx(3, rel=0.1)
    assert (fitted.images, fitted.classes) == (4000, 3)
    assert fitted.after < 3 < fitted.before


def test_images_that_are_all_right_fix_no_temperature() -> None:
    z = np.eye(3)[[0, 1, 2, 1]]
    with pytest.raises(InvalidInput, match="all 4 images are predicted right, so probabilities can be as sure as one"):
        calibrating.calibrated(z, np.array([0, 1, 2, 1]))


def test_a_network_that_knows_nothing_has_probabilities_of_chance() -> None:
    z = np.eye(3)[[0, 1, 2, 1]]
    fitted = calibrating.calibrated(-z, np.array([0, 1, 2, 1]))
    assert softmax(-z / fitted.temperature, axis=1) == pytest.approx(np.full((4, 3), 1 / 3), abs=0.01)
