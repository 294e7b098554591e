"""User data: lists or one folder per class, with any number of classes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from benchmarks import as_files
from lpm.console.cli import run as run_command
from lpm.console.errors import InvalidInput
from tests.training.large import as_inaturalist
from tests.training.own import COUNTS, ORDER, pets, trained
from tests.training.test_datasets import batches
from training import train
from training.batches import sources
from training.catalogue import IMAGENET
from training.config import RunConfig, with_preset
from training.data import datasets
from training.data.datasets import Listed
from training.data.duplicates import duplicates
from training.data.images import Decoding, central_view
from training.data.lists import load
from training.store.metrics import by_split, per_class, splits
from training.store.rows import export
from training.store.runs import RunFolder, find


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return pets(tmp_path / "data")


def rows_of(root: Path, use: str) -> list[tuple[str, int]]:
    return [(str(p.relative_to(root)), sorted(ORDER).index(p.parent.name)) for p in sorted(root.glob(f"{use}/*/*"))]


def refused(root: Path, message: str, **given: Any) -> None:
    with pytest.raises(InvalidInput, match=message) as error:
        load("own", root, **({"classes": 3} | given))
    assert str(error.value).isprintable()


def test_class_folders_are_classes_by_falling_count(root: Path) -> None:
    train_set, test_set, names = load("own", root, classes=3)
    assert names.tolist() == ORDER
    assert np.bincount(train_set.labels).tolist() == [30, 12, 4]
    for part, use in ((train_set, "train"), (test_set, "test")):
        assert all(Path(path).parts[:2] == (use, names[k]) for path, k in zip(part.paths, part.labels, strict=True))
    assert len(test_set) == 7


@pytest.mark.parametrize("as_json", [False, True])
def test_lists_say_the_same_as_folders_and_go_before_them(as_json: bool, root: Path) -> None:
    by_folder = load("own", root, classes=3)
    for use in COUNTS:
        rows = rows_of(root, use)
        text = as_inaturalist(rows) if as_json else "".join(f"{path} {label}\n" for path, label in rows)
        (root / f"{use}.{'json' if as_json else 'txt'}").write_text(text)
    (root / "train/extra").mkdir()
    by_list = load("own", root, classes=3)
    numbers = [sorted(ORDER).index(name) for name in ORDER]
    assert by_list[2].tolist() == ([f"species {number}" for number in numbers] if as_json else numbers)
    for one, other in zip(by_folder[:2], by_list[:2], strict=True):
        assert sorted(zip(one.paths, one.labels, strict=True)) == sorted(zip(other.paths, other.labels, strict=True))


def as_lists(root: Path) -> None:
    for use in COUNTS:
        (root / f"{use}.txt").write_text("".join(f"{path} {label}\n" for path, label in rows_of(root, use)))


def test_lists_may_name_their_classes(root: Path, tmp_path: Path) -> None:
    as_lists(root)
    (root / "classes.txt").write_bytes("\ufeffcat\r\ndog\r\nemu of the south\n\n".encode())
    assert load("own", root, classes=3)[2].tolist() == ["dog", "emu of the south", "cat"]
    assert trained(root, tmp_path / "s") == 0
    (folder,) = find(tmp_path / "s")
    assert folder.result().class_names == ("dog", "emu of the south", "cat")


def test_a_label_without_a_name_says_where_names_are(root: Path) -> None:
    as_lists(root)
    (root / "classes.txt").write_text("cat\ndog\n")
    refused(root, "label 2 must lie in 0..1: labels count from 0, and classes.txt has 2 names", classes=2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("cat\ndog\n", r"classes.txt' has 2 names \(cat, dog\), and the run has 3 classes"),
        ("cat\rdog\ra fly\rant", r"classes.txt' has 4 names \(cat, dog, a fly, ant\), and the run has 3 classes"),
        ("cat\n\nemu", "classes.txt', line 2: the name of a class must be printable text"),
        ("cat\ndog\nemu\x1b[2J", "classes.txt', line 3: the name of a class must be printable text"),
        ("cat\ndog\ncat", "classes.txt', line 3: 'cat' is the name of line 1 already"),
        ("", "classes.txt', line 1: the name of a class"),
        (b"\xff", "classes.txt' is not text in UTF-8"),
        (Path("/etc/hostname"), "classes.txt' is a link that leaves --data-root"),
        (Path("classes.txt"), "classes.txt' cannot be read"),
    ],
)
def test_what_are_no_names_of_classes_is_one_line(content: str | bytes | Path, message: str, root: Path) -> None:
    as_lists(root)
    file = root / "classes.txt"
    if isinstance(content, Path):
        file.symlink_to(content)
    else:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(root, message)


def test_the_root_and_class_folders_may_be_links_val_is_a_test_set_and_dots_are_hidden(root: Path) -> None:
    (root / "test").rename(root / "val")
    (root / "train/cat").rename(root / "cats")
    (root / "train/cat").symlink_to("../cats")
    (root / "train/.DS_Store").touch()
    (root / "train/dog/Thumbs.db").touch()
    (root.parent / "link").symlink_to(root)
    train_set, test_set, _ = load("own", root.parent / "link", classes=3)
    assert (len(train_set), len(test_set), train_set.root) == (46, 7, root)


def a_training_folder_for_testing(root: Path) -> None:
    (root / "test/cat").rename(root / "cat")
    (root / "test/cat").symlink_to("../train/cat")


def to_outside(root: Path) -> None:
    (root / "train/emu").rename(root.parent / "emu")
    (root / "train/emu").symlink_to(root.parent / "emu")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda root: (root / "train/fox").mkdir(),
            r"train' has 4 class folders \(cat, dog, emu, fox\), and the run has 3 classes",
        ),
        (lambda root: (root / "test/fox").mkdir(), "test/fox': there is no such class folder for training"),
        (
            lambda root: [(root / "test" / name).rename(root / name) for name in ("cat", "dog", "emu")],
            "3 of 3 classes have no test image, such as class 'cat'",
        ),
        (
            lambda root: [file.unlink() for file in (root / "train/cat").iterdir()],
            "1 of 3 classes has no training image, such as class 'cat'",
        ),
        (lambda root: (root / "train/cat").rename(root / "train/c\x1b"), "the name of a class must be printable text"),
        (lambda root: (root / "test/fly").symlink_to("../train/emu"), "test/fly': there is no such class folder"),
        (a_training_folder_for_testing, "test/cat/00.jpg' is there already, in '.*train'"),
        (lambda root: (root / "train/cat/a.heic").touch(), "a.heic' is not named as an image"),
        (lambda root: (root / "train/cat/more").mkdir(), "more' is a folder; images lie directly"),
        (lambda root: os.mkfifo(root / "train/cat/d.jpg"), "image 4: 'train/cat/d.jpg' is not a regular file"),
        (
            lambda root: (root / "test/a.jpg").touch(),
            "test/a.jpg' is not a folder; .* should hold one folder per class",
        ),
        (lambda root: (root / "train.txt").touch(), "train.txt' is a list and .*test' is a folder"),
        (lambda root: (root / "train").rename(root / "x"), "holds no train.txt or train.json or train; say where"),
        (to_outside, "train/emu' is a link that leaves --data-root"),
    ],
)
def test_what_is_no_class_folder_is_one_line(change: Callable[[Path], object], message: str, root: Path) -> None:
    change(root)
    refused(root, message)


def test_folders_outside_the_root_are_refused(root: Path, tmp_path: Path) -> None:
    (root / "train").rename(tmp_path / "train")
    refused(root, "train' lies outside --data-root", train_list=tmp_path / "train")
    (root / "train").symlink_to(tmp_path / "train")
    refused(root, "train' is a link that leaves --data-root")


def test_splits_are_by_training_images_where_none_are_published() -> None:
    counts = np.array([500, 101, 100, 20, 19, 1])
    assert splits("own", counts) == {"many": (0, 1), "med": (2, 3), "few": (4, 5)}
    assert splits("own", counts[2:4]) == {"med": (0, 1)}
    assert splits("cifar10-lt", counts)["few"] == (7, 9)


def test_balanced_accuracy_is_the_mean_recall() -> None:
    correct, total = np.array([9, 1]), np.array([10, 2])
    assert by_split(correct, total, {}) == pytest.approx({"all": 1000 / 12, "balanced": 70})
    assert "balanced" not in by_split(correct, np.array([10, 10]), {})


def test_classes_without_a_test_image_enter_no_mean() -> None:
    correct, total = np.array([9, 1, 0, 0]), np.array([10, 2, 0, 0])
    assert per_class(correct, total) == (90, 50, None, None)
    found = by_split(correct, total, {"many": (0, 0), "med": (1, 2), "few": (3, 3)})
    assert found == pytest.approx({"all": 1000 / 12, "balanced": 70, "many": 90, "med": 50})
    assert "balanced" not in by_split(correct, np.array([10, 10, 0, 0]), {})  # tested classes have equally many


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"dataset": "own"}, "dataset 'own' needs its number of classes"),
        ({"dataset": "own", "classes": 1}, "dataset 'own' needs its number of classes"),
        ({"dataset": "own", "classes": 3, "name": "../x"}, "name '../x' must be a word of small letters"),
        (
            {"dataset": "own", "classes": 2, "sampler": "bmls", "classifier": "ms-unordered"},
            "one class for the one label pair a < b of two classes",
        ),
        ({"classes": 10}, "classes applies only to dataset 'own'"),
        ({"name": "x"}, "name applies only to dataset 'own'"),
    ],
)
def test_impossible_choices_are_refused(choices: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        RunConfig(**choices)


def test_no_number_of_classes_is_one_line_for_the_library_too(root: Path) -> None:
    with pytest.raises(InvalidInput, match="the run has 0 classes"):
        datasets.load("own", root)


def test_test_images_that_are_training_images_are_said(root: Path, tmp_path: Path, capsys: Any) -> None:
    for number, file in enumerate(sorted(root.glob("*/*/*"))):  # so that there are no duplicates
        file.write_bytes(file.read_bytes() + bytes([number]))
    train_set, test_set, _ = load("own", root, classes=3)
    assert duplicates(train_set, test_set) == []
    (root / "test/dog/00.jpg").write_bytes((root / "train/emu/03.jpg").read_bytes())
    train_set, test_set, _ = load("own", root, classes=3)
    assert duplicates(train_set, test_set) == ["test/dog/00.jpg"]
    assert trained(root, tmp_path / "s") == 0
    assert "note: 1 of 7 test images is a training image too, for example 'test/dog/00.jpg'" in capsys.readouterr().err


def test_runs_from_before_images_were_turned_are_other_runs() -> None:
    base = RunConfig(dataset="own", classes=10, name="cifar10-jpeg", sampler="bmls")
    now = replace(with_preset(base, "quick"), size=32, preset="quick+")
    assert replace(now, upright=False).key == "4264f6857dfa"  # in results/runs.csv
    assert now.key != "4264f6857dfa"


def test_only_your_own_images_are_turned_as_their_cameras_say(root: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    file = root / "train/dog/00.jpg"
    Image.open(file).save(file, exif=exif)
    train_set, test_set, _ = load("own", root, classes=3)
    image = train_set.paths.index("train/dog/00.jpg")
    for dataset, upright in (("own", True), ("inaturalist2018", False)):
        base = RunConfig(dataset=dataset, classes=3 if upright else 0)
        config = replace(with_preset(base, "quick"), size=16)
        assert config.upright == upright
        data = datasets.LongTailed("own", train_set, test_set, 3, *IMAGENET)
        source = sources.of(config, data, torch.device("cpu"), 0)
        assert isinstance(source, sources.Files)
        (seen,) = source.train(torch.tensor([image]))
        want = torch.from_numpy(central_view(file, 16, decoding=Decoding(upright)))
        assert torch.allclose(seen[0] * source.std + source.mean, want / 255, atol=1e-5)


def test_cifar_as_files_has_the_pixels_and_counts_of_cifar(tmp_path: Path) -> None:
    batches(tmp_path / "cifar", 10)
    words = ["--imbalance", "4", "--data-root", str(tmp_path / "cifar"), "--out", str(tmp_path / "files")]
    assert run_command(lambda: as_files.main(words)) == 0
    arrays = datasets.load("cifar10-lt", tmp_path / "cifar", imbalance=4)
    files = datasets.load("own", tmp_path / "files", classes=10)
    assert files.counts.tolist() == arrays.counts.tolist()
    for part, whole in ((files.train, arrays.train), (files.test, arrays.test)):
        assert isinstance(part, Listed)
        read = {
            (np.asarray(Image.open(part.root / p)).tobytes(), k) for p, k in zip(part.paths, part.labels, strict=True)
        }
        assert isinstance(whole, datasets.Images)
        pixels = whole.images.transpose(0, 2, 3, 1)
        assert read == {(np.ascontiguousarray(x).tobytes(), k) for x, k in zip(pixels, whole.labels, strict=True)}
    assert run_command(lambda: as_files.main(words)) == 0  # in place of its own
    (tmp_path / "files/mine.txt").touch()
    assert run_command(lambda: as_files.main(words)) == 2


def test_a_run_that_has_finished_no_epoch_may_begin_anew_on_repaired_data(
    root: Path, tmp_path: Path, capsys: Any
) -> None:
    image = root / "test/cat/00.jpg"
    whole = image.read_bytes()
    image.write_bytes(whole[:200])
    assert trained(root, tmp_path / "s") == 2
    assert "test/cat/00.jpg' cannot be decoded" in capsys.readouterr().err
    image.write_bytes(whole)
    assert trained(root, tmp_path / "s") == 0
    (folder,) = find(tmp_path / "s")
    content = json.loads((folder.path / "data.json").read_text())
    del content["times"]  # of change, of the files
    assert content == datasets.load("own", root, classes=3).fingerprint
    image.write_bytes(whole + b"\0")
    assert trained(root, tmp_path / "s") == 2
    assert "holds a run on other data" in capsys.readouterr().err


def test_a_run_is_a_run_on_its_class_names(root: Path, tmp_path: Path, capsys: Any) -> None:
    """The same images in the same classes, whose labels the list has permuted."""
    for labels in ([0, 1, 2], [2, 0, 1]):
        for use in COUNTS:
            (root / f"{use}.txt").write_text("".join(f"{path} {labels[k]}\n" for path, k in rows_of(root, use)))
        status = trained(root, tmp_path / "s", "--classes", "3")
    assert status == 2
    assert "holds a run on other data" in capsys.readouterr().err


def test_rows_of_runs_without_a_split_are_exported(root: Path, tmp_path: Path) -> None:
    assert trained(root, tmp_path / "s") == 0
    assert [row["split"] for row in export(tmp_path / "s")] == ["all", "balanced", "med", "few"]


@pytest.mark.parametrize(
    ("change", "right"),
    [
        ({}, True),
        ({"class_names": ["a", "b\x1b[31m"]}, False),
        ({"class_names": ["a", 3]}, False),
        ({"class_names": {}}, False),
        ({"splits": {"few": [1, 2]}}, True),
        ({"splits": {"few": ["\x1b", 2]}}, False),
        ({"splits": {"few": 3}}, False),
        ({"splits": {"\x1b": [1, 2]}}, False),
        ({"splits": []}, False),
    ],
)
def test_what_a_result_says_of_classes_is_checked(change: dict[str, Any], right: bool, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, RunConfig())
    folder.path.mkdir(parents=True)
    (folder.path / "metrics.json").write_text(json.dumps({"last": {"all": 50.0}} | change))
    if right:
        assert folder.result().last == {"all": 50.0}
    else:
        with pytest.raises(InvalidInput, match=r"metrics\.json' is damaged"):
            folder.result()


def test_class_folders_are_counted_and_data_without_a_name_are_refused(root: Path, tmp_path: Path, capsys: Any) -> None:
    assert trained(root, tmp_path / "s") == 0
    capsys.readouterr()
    words = ["--store", str(tmp_path / "t"), "--data-root", str(root)]
    for more, message in (
        ([], "--data-root without --dataset"),
        (["--dataset", "own", "--data-root", str(root / "none")], "none' is not a folder"),
        (["--dataset", "own", "--data-root", str(root / "train")], "training.split` makes lists from one folder per"),
        (["--dataset", "own", "--train-list", str(root / "none.txt")], "none.txt' cannot be read: No such file"),
        (["--dataset", "own", "--train-list", str(root.parent)], "lies outside --data-root"),
    ):
        assert run_command(lambda more=more: train.main([*words, *more])) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "t").exists()


def test_files_of_all_forms_train_and_the_depth_of_deep_ones_is_said_once(
    root: Path, tmp_path: Path, capsys: Any
) -> None:
    for number, (kind, ending) in enumerate(
        [("JPEG", "jfif"), ("JPEG", "JPE"), ("WEBP", "webp"), ("TIFF", "tif"), ("BMP", "bmp"), ("GIF", "gif")]
    ):
        Image.new("RGB", (40, 32), (number, 9, 9)).save(root / f"train/cat/{ending}.{ending}", kind)
    for file in (root / "train/dog").iterdir():
        file.unlink()
        Image.fromarray(np.full((32, 40), 4000, dtype=np.uint16)).save(file.with_suffix(".png"))
    assert trained(root, tmp_path / "s", "--check") == 0
    said = capsys.readouterr().err
    assert said.count("have values up to 4,000; all are read as 12 bits, scaled to 8; --pixel-bits says another") == 1
    assert trained(root, tmp_path / "s", "--check", "--pixel-bits", "14") == 0
    assert "--pixel-bits" not in capsys.readouterr().err


def test_a_list_refuses_files_that_no_decoder_reads_before_training(root: Path, tmp_path: Path, capsys: Any) -> None:
    (root / "x.heic").touch()
    (root / "classes.txt").write_text("cat\ndog\n")
    (root / "a.txt").write_text("train/cat/00.jpg 0\ntrain/dog/00.jpg 1\nx.heic 0\n")
    (root / "b.txt").write_text("test/cat/00.jpg 0\ntest/dog/00.jpg 1\n")
    lists = ["--train-list", str(root / "a.txt"), "--test-list", str(root / "b.txt")]
    assert trained(root, tmp_path / "s", *lists) == 2
    assert "a.txt', line 3: 'x.heic' cannot be decoded; convert it to one of .jpg" in capsys.readouterr().err
