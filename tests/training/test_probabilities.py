"""Probabilities of predictions: what their temperature is fitted on is said, and never the test images unasked."""

from __future__ import annotations

import csv
import shutil
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
from training.store import run_images
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
    of = f"in {root / 'test'}, 7 of them, the run's own test images, on which they are too good; calibration error"
    assert f"at temperature {T:.3g}, fitted on 7 images of 3 classes {of}" in err
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


def test_a_temperature_at_an_end_of_the_range_is_no_fit() -> None:
    z, labels = np.eye(3)[[0, 1, 2, 1]], np.array([0, 1, 2, 1])
    with pytest.raises(
        InvalidInput, match=r"best of 0\.01 to 100 is the largest, as if scores said nothing of the class;"
    ):
        calibrating.calibrated(-z, labels)
    mostly = 1e-5 * np.concatenate([np.tile(z, (9, 1)), -z])
    with pytest.raises(InvalidInput, match=r"best of 0\.01 to 100 is the least; take other images"):
        calibrating.calibrated(mostly, np.tile(labels, 10))


def test_training_images_are_left_out_and_nothing_else(run: RunFolder, root: Path, tmp_path: Path, capsys: Any) -> None:
    begun = run_images.load(run.path)
    assert begun is not None
    kept = sorted(path for part, path in begun.images if part != "train")
    other = tmp_path / "all"
    for use in ("train", "test"):  # as somebody who gives all the data that there are
        for path in root.glob(f"{use}/*/*"):
            (other / path.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, other / path.parent.name / f"{use}-{path.name}")
    labelled = calibrating.of_folder(run, other, torch.device("cpu"))
    number = sum(map(sum, (classes.values() for classes in COUNTS.values())))
    assert (labelled.trained, labelled.tested) == (number - len(kept), 7)
    names = ["dog", "emu", "cat"]
    expected = logits_of(run, [root / path for path in kept])
    order = [np.flatnonzero(np.isclose(labelled.logits, z, atol=1e-5).all(axis=1)) for z in expected]
    assert all(len(found) for found in order)
    assert np.bincount(labelled.labels).tolist() == [sum(f"/{name}/" in path for path in kept) for name in names]
    image = str(root / "test/dog/00.png")
    _, err = printed([str(run.path), image, "--calibrate", str(other)], capsys)
    assert f"note: {number - len(kept)} images of {other} left out, on which the run was trained\n" in err
    assert f"fitted on {len(kept)} images of 3 classes in {other}, 7 of them, the run's own test images, " in err
    for path in other.glob("*/test-*"):
        path.unlink()
    held_out = {path.removeprefix("train/").replace("/", "/train-") for path in kept}
    for name in held_out:
        (other / name).unlink(missing_ok=True)
    assert run_command(lambda: predict([str(run.path), image, "--calibrate", str(other)])) == 2
    out, err = capsys.readouterr()
    assert f"the run was trained on all images of '{other}'" in err
    assert (out, err.count("\n")) == ("", 1)


def test_where_no_temperature_fits_scores_are_printed(run: RunFolder, tmp_path: Path, capsys: Any) -> None:
    rng, image = np.random.default_rng(1), tmp_path / "image.png"
    Image.fromarray(rng.integers(0, 60, (40, 32, 3)).astype(np.uint8)).save(image)
    plain, _ = printed([str(run.path), str(image)], capsys)
    (tmp_path / "right" / plain[0]["class"]).mkdir(parents=True)  # so that all images there are predicted right
    shutil.copy(image, tmp_path / "right" / plain[0]["class"])
    rows, err = printed([str(run.path), str(image), "--calibrate", str(tmp_path / "right")], capsys)
    assert rows == plain
    assert err.startswith("note: no temperature fits: all 1 images are predicted right")
    note, following = err.splitlines()
    assert note.endswith("take other images, or more; these are scores, not probabilities")
    assert following.startswith(f"next: python -m training.report {run.path} --data-root DIR ")
