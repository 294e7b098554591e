"""Data sets in Hugging Face's forms: metadata beside images, and parquet files of images; also such that mean harm."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lpm.console.cli import run as run_command
from lpm.console.errors import InvalidInput
from tests.training.large import encoded
from tests.training.own import COUNTS, ORDER, pets, trained
from training import check, compare, split
from training.data import parquet
from training.data.found import number_of_classes
from training.data.lists import load
from training.store.runs import find

NAMES = ["cat", "dog", "emu"]


def rows(part: str) -> list[tuple[str, int]]:
    """Name of the file and class of each image."""
    return [(f"{name}-{i}.jpg", k) for k, name in enumerate(NAMES) for i in range(COUNTS[part][name])]


def write_metadata(folder: Path, entries: list[tuple[str, str]], form: str) -> None:
    if form == "csv":
        text = "file_name,caption,label\n" + "".join(f"{path},an animal,{name}\n" for path, name in entries)
    else:
        text = "".join(json.dumps({"file_name": path, "label": name}) + "\n" for path, name in entries)
    (folder / f"metadata.{form}").write_text(text)


def with_metadata(root: Path, form: str, test: str = "test") -> Path:
    """A folder with images and metadata for each part."""
    for part in ("train", "test"):
        folder = root / (test if part == "test" else part)
        folder.mkdir(parents=True)
        for number, (path, _) in enumerate(rows(part)):
            (folder / path).write_bytes(encoded(10)[number % 10])
        write_metadata(folder, [(path, NAMES[k]) for path, k in rows(part)], form)
    return root


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize("test", ["test", "validation"])
def test_metadata_beside_images_train(form: str, test: str, tmp_path: Path, capsys: Any) -> None:
    root = with_metadata(tmp_path / "D", form, test)
    assert number_of_classes(root, None) == 3
    train, test_part, names = load("own", root, classes=3)
    assert names.tolist() == ORDER
    assert np.bincount(train.labels).tolist() == [30, 12, 4]  # equal names in both folders are no conflict
    assert train.paths[0] == "train/cat-0.jpg"
    assert test_part.paths[0] == f"{test}/cat-0.jpg"
    assert run_command(lambda: check.main([str(root), "--quiet"])) == 0
    assert capsys.readouterr().out == "53 images decode\n"
    assert trained(root, tmp_path / "s") == 0
    assert [run.done for run in find(tmp_path / "s")] == [True]


def test_metadata_without_labels_leave_class_folders_as_they_are(tmp_path: Path) -> None:
    root = pets(tmp_path / "D")
    (root / "train/metadata.csv").write_text("file_name,caption\ncat/00.jpg,a cat\n")
    assert np.bincount(load("own", root, classes=3)[0].labels).tolist() == [30, 12, 4]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_metadata_of_all_images_are_divided(form: str, tmp_path: Path, capsys: Any) -> None:
    root = tmp_path / "D"
    root.mkdir()
    files = encoded(30)
    for number in range(30):
        (root / f"{number}.jpg").write_bytes(files[number])
    write_metadata(root, [(f"{n}.jpg", NAMES[n % 3]) for n in range(30)], form)
    assert run_command(lambda: split.main([str(root)])) == 0
    assert capsys.readouterr().out.startswith("3 classes, 24 images for training, 6 for testing")
    train, test, names = load("own", root, classes=3)
    assert names.tolist() == NAMES
    for part, n in ((train, 8), (test, 2)):
        assert [sum(1 for path in part.paths if int(path[:-4]) % 3 == k) for k in range(3)] == [n, n, n]
        assert all(int(path[:-4]) % 3 == k for path, k in zip(part.paths, part.labels, strict=True))


def test_metadata_of_all_images_in_folders_of_the_parts_are_divided_by_these(tmp_path: Path) -> None:
    root = with_metadata(tmp_path / "D", "csv")
    entries = []
    for part in ("train", "test"):
        (root / part / "metadata.csv").unlink()
        entries += [(f"{part}/{path}", NAMES[k]) for path, k in rows(part)]
    write_metadata(root, entries, "csv")
    assert run_command(lambda: split.main([str(root)])) == 0
    assert [len(part) for part in load("own", root, classes=3)[:2]] == [46, 7]


def test_a_list_of_training_images_beside_tests_without_labels_is_divided(tmp_path: Path, capsys: Any) -> None:
    """Kaggle's form: train.csv, images of both parts in a folder each, and no labels of the test images."""
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
        for number, data in enumerate(encoded(20)):
            (tmp_path / part / f"{part}{number}.jpg").write_bytes(data)
    (tmp_path / "train.csv").write_text("id,label\n" + "".join(f"train{n},{NAMES[n % 2]}\n" for n in range(20)))
    (tmp_path / "test.csv").write_text("id\n" + "".join(f"test{n}\n" for n in range(20)))
    with pytest.raises(InvalidInput, match=r"test\.csv' has no column for labels"):
        load("own", tmp_path, classes=2)
    assert run_command(lambda: split.main([str(tmp_path)])) == 2
    assert "--list FILE divides a list" in capsys.readouterr().err
    assert run_command(lambda: split.main([str(tmp_path), "--list", str(tmp_path / "train.csv")])) == 0
    train, test, _ = load("own", tmp_path, classes=2)
    assert (len(train), len(test)) == (16, 4)


def test_any_list_is_divided(tmp_path: Path, capsys: Any) -> None:
    root = pets(tmp_path / "D")
    (root / "all.csv").write_text("id,label\n" + "".join(f"train/dog/{i:02d},{i % 2 + 4}\n" for i in range(20)))
    assert run_command(lambda: split.main([str(root), "--list", str(root / "all.csv")])) == 0
    assert (root / "classes.txt").read_text() == "4\n5\n"
    assert len((root / "train.txt").read_text().splitlines()) == 16
    capsys.readouterr()
    (root / "train.txt").unlink()
    (root / "all.csv").write_text("id,label\nnone.jpg,4\ntrain/dog/00,5\n")
    assert run_command(lambda: split.main([str(root), "--list", str(root / "all.csv")])) == 2
    assert "none.jpg': No such file or directory" in capsys.readouterr().err
    assert not (root / "train.txt").exists()


def table(
    part: str, *, names: bool = True, column: str = "image", label: str = "label", flat: bool = False
) -> pa.Table:
    """A part as Hugging Face's library writes it."""
    files, entries = encoded(10), rows(part)
    images = [files[n % 10] for n in range(len(entries))]
    cells = images if flat else [{"bytes": data, "path": "../../evil.jpg"} for data in images]
    written = pa.table({column: cells, label: [k for _, k in entries], "caption": ["x"] * len(entries)})
    features: dict[str, Any] = {column: {"_type": "Image"}, label: {"_type": "ClassLabel", "names": NAMES}}
    info = json.dumps({"info": {"features": features if names else {}}})
    return written.replace_schema_metadata({"huggingface": info})


LAYOUTS = {
    "data": (
        "data/train-00000-of-00002.parquet",
        "data/train-00001-of-00002.parquet",
        "data/test-00000-of-00001.parquet",
    ),
    "hub": ("default/train/0000.parquet", "default/train/0001.parquet", "default/validation/0000.parquet"),
    "plain": ("train-0.parquet", "train-1.parquet", "val.parquet"),
}


def with_parquet(root: Path, layout: str = "data", **how: Any) -> Path:
    whole = table("train", **how)
    for name, part in zip(LAYOUTS[layout], (whole.slice(0, 20), whole.slice(20), table("test", **how)), strict=True):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(part, root / name)
    return root


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("how", [{}, {"column": "img", "label": "fine_label"}, {"flat": True}])
def test_parquet_files_of_images_are_read(layout: str, how: dict[str, Any], tmp_path: Path) -> None:
    root = with_parquet(tmp_path / "D", layout, **how)
    assert number_of_classes(root, None) == 3
    train, test, names = load("own", root, classes=3)
    assert names.tolist() == ORDER
    assert [np.bincount(part.labels).tolist() for part in (train, test)] == [[30, 12, 4], [3, 2, 2]]
    files = encoded(10)
    assert [(train.root / path).read_bytes() for path in train.paths] == [files[n % 10] for n in range(46)]
    assert not (tmp_path / "evil.jpg").exists()
    assert {path.split("/")[0] for path in train.paths} == {parquet.FOLDER}


def test_parquet_files_train_compare_and_are_checked_and_divided(tmp_path: Path, capsys: Any) -> None:
    root = with_parquet(tmp_path / "D")
    assert run_command(lambda: check.main([str(root), "--quiet"])) == 0
    output = capsys.readouterr()
    assert output.out == "53 images decode\n"
    assert output.err.count("note: unpacking") == 2
    words = ["--dataset", "own", "--data-root", str(root), "--store", str(tmp_path / "s"), "--device", "cpu", "--quiet"]
    small = ["--preset", "smoke", "--epochs", "1", "--width", "4", "--workers", "0", "--method", "random+FC", "CAS+FC"]
    assert run_command(lambda: compare.main([*words, *small])) == 0
    output = capsys.readouterr()
    assert "CAS+FC" in output.out
    assert "unpacking" not in output.err
    shutil.copytree(root, tmp_path / "moved")  # times of change are other ones now
    assert trained(tmp_path / "moved", tmp_path / "s") == 0
    assert len(list(find(tmp_path / "s"))) == 2  # the same run on the same data
    assert run_command(lambda: split.main([str(root)])) == 2
    assert "is divided already, with test images in" in capsys.readouterr().err
    (root / LAYOUTS["data"][2]).unlink()
    assert run_command(lambda: split.main([str(root)])) == 0
    assert capsys.readouterr().out.startswith("3 classes, 37 images for training, 9 for testing")


def test_parquet_files_with_like_names_have_their_own_images(tmp_path: Path) -> None:
    for name, part in (("a/b", "train"), ("a-b", "test"), ("a_b", "test")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        pq.write_table(table(part), tmp_path / f"{name}.parquet")
    train, test, _ = load(
        "own", tmp_path, classes=3, train_list=tmp_path / "a/b.parquet", test_list=tmp_path / "a-b.parquet"
    )
    assert (len(train), len(test)) == (46, 7)


def test_numbers_and_words_are_labels_too(tmp_path: Path) -> None:
    root = with_parquet(tmp_path / "D", names=False)
    assert load("own", root, classes=3)[2].tolist() == [1, 2, 0]
    for name in LAYOUTS["data"]:
        content = pq.read_table(root / name)
        words = [NAMES[k] for k in content["label"].to_pylist()]
        pq.write_table(content.set_column(1, "label", pa.array(words)), root / name)
    assert load("own", root, classes=3)[2].tolist() == ORDER
    given = {"train_list": root / LAYOUTS["data"][0], "test_list": root / LAYOUTS["data"][2]}
    pq.write_table(pq.read_table(given["train_list"]).slice(0, 20), given["train_list"])
    with pytest.raises(InvalidInput, match="label 'emu' is none of the 2 classes' names"):
        load("own", root, classes=2, **given)


def test_a_killed_command_leaves_nothing_that_looks_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = with_parquet(tmp_path / "D")
    real, calls = parquet.write, iter(range(1))

    def killed(*words: Any) -> None:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        real(*words)

    monkeypatch.setattr(parquet, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        load("own", root, classes=3)
    for file in (root / parquet.FOLDER).rglob("*.jpg"):
        file.write_bytes(b"half")
    monkeypatch.undo()
    train, _, _ = load("own", root, classes=3)
    assert (train.root / train.paths[0]).read_bytes() == encoded(10)[0]


IMAGE = pa.struct([("bytes", pa.binary())])


def repeated(n: int) -> pa.Table:
    one = pa.array([{"bytes": b"\xff\xd8"}], type=IMAGE).take(pa.array(np.zeros(n, dtype=np.int32)))
    return pa.table({"image": one, "label": np.zeros(n, dtype=np.int64)})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: b"", "is not a parquet file"),
        (lambda: b"PAR1" + b"\xff" * 99 + b"PAR1", "is not a parquet file"),
        (lambda: pa.table({"a": [1]}), "needs a column 'image' with bytes and a column 'label'; its columns are a"),
        (lambda: pa.table({"image": pa.array([{"bytes": None}], IMAGE), "label": [0]}), "row 0 lacks the bytes"),
        (
            lambda: pa.table({"image": pa.array([{"bytes": b"x"}], IMAGE), "label": [0.5]}),
            "row 0 lacks the bytes",
        ),
        (
            lambda: table("train").set_column(1, "label", pa.array([-1] * 46)),
            "row 0 has label -1, and there are 3 names",
        ),
        (lambda: repeated(3_000_000), "it says it has 3,000,000 rows in .* which cannot be images"),
        (
            lambda: pa.table({"image": [b"\0" * 20_000_000], "label": [0]}),
            "a row group has 20,000,.* bytes when it is",
        ),
    ],
)
def test_a_hostile_parquet_file_is_one_line_and_costs_little(
    content: Callable[[], Any], message: str, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "ROOM", 10_000_000)
    made = content()
    file = tmp_path / "train.parquet"
    if isinstance(made, bytes):
        file.write_bytes(made)
    else:
        pq.write_table(made, file, compression="zstd")
    start = time.monotonic()
    assert run_command(lambda: split.main([str(tmp_path)])) == 2
    assert time.monotonic() - start < 60
    *_, error = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ")
    assert re.search(message, error)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.jpg")) < 2 * file.stat().st_size + 10_000
    assert not (tmp_path / "train.txt").exists()


def test_links_are_not_written_through(tmp_path: Path) -> None:
    root, other = with_parquet(tmp_path / "D"), tmp_path / "other"
    (other / "train-00000-of-00002").mkdir(parents=True)
    (other / "train-00000-of-00002" / "precious.txt").write_text("x")
    (root / parquet.FOLDER).mkdir()
    (root / parquet.FOLDER / "data").symlink_to(other)
    with pytest.raises(InvalidInput, match="is or lies behind a link; remove it"):
        load("own", root, classes=3)
    shutil.rmtree(root / parquet.FOLDER)
    (root / parquet.FOLDER).symlink_to(other)
    with pytest.raises(InvalidInput, match="is or lies behind a link; remove it"):
        load("own", root, classes=3)
    assert (other / "train-00000-of-00002" / "precious.txt").read_text() == "x"
    (root / parquet.FOLDER).unlink()
    (root / LAYOUTS["data"][0]).rename(tmp_path / "outside.parquet")
    (root / LAYOUTS["data"][0]).symlink_to(tmp_path / "outside.parquet")
    with pytest.raises(InvalidInput, match="lies outside --data-root; put a copy into it"):
        load("own", root, classes=3)
    (root / LAYOUTS["data"][0]).unlink()
    os.mkfifo(root / LAYOUTS["data"][0])
    with pytest.raises(InvalidInput, match="is not a regular file"):
        load("own", root, classes=3)


def in_one_list(root: Path, form: str, *, by_column: bool) -> Path:
    """Images with one list of all of them: a column, or the folders, say which are for training."""
    root.mkdir()
    entries = []
    for part in ("train", "test"):
        for number, (name, k) in enumerate(rows(part)):
            path = f"{part}-{name}" if by_column else f"{part}/{name}"
            (root / path).parent.mkdir(exist_ok=True)
            (root / path).write_bytes(encoded(10)[number % 10])
            entries.append({"file_name": path, "label": NAMES[k]} | ({"split": part} if by_column else {}))
    header = ",".join(entries[0])
    lines = [header, *(",".join(entry.values()) for entry in entries)] if form == "csv" else map(json.dumps, entries)
    (root / f"metadata.{form}").write_text("\n".join(lines))
    return root


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize("by_column", [False, True])
def test_one_list_of_both_parts_trains(form: str, by_column: bool, tmp_path: Path, capsys: Any) -> None:
    root = in_one_list(tmp_path / "D", form, by_column=by_column)
    assert number_of_classes(root, None) == 3
    train, test, names = load("own", root, classes=3)
    assert names.tolist() == ORDER
    assert [np.bincount(part.labels).tolist() for part in (train, test)] == [[30, 12, 4], [3, 2, 2]]
    assert all(path.startswith("test") for path in test.paths)
    assert run_command(lambda: check.main([str(root), "--quiet"])) == 0
    assert capsys.readouterr().out == "53 images decode\n"
    assert trained(root, tmp_path / "s") == 0
    given = root / f"metadata.{form}"
    assert load("own", root, classes=3, train_list=given, test_list=given)[1].paths == test.paths
    if by_column:
        assert run_command(lambda: split.main([str(root)])) == 2
        assert "is divided already, by a column such as 'split'; train on it" in capsys.readouterr().err


def test_rows_that_say_no_part_are_named(tmp_path: Path, capsys: Any) -> None:
    root = in_one_list(tmp_path / "D", "csv", by_column=True)
    text = (root / "metadata.csv").read_text()
    (root / "metadata.csv").write_text(text.replace("train-dog-3.jpg,dog,train", "train-dog-3.jpg,dog,"))
    assert trained(root, tmp_path / "s") == 2
    assert "neither a column 'split' nor the folder says 'train' or 'test'" in capsys.readouterr().err
