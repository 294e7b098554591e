"""Everything that is wrong with lists and names of classes is said at once, before anything is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lpm.console.cli import run as run_command
from tests.training.own import pets, trained
from training import check, split
from training.data.refusals import NAMED


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return pets(tmp_path / "data")


def tables(root: Path, *wrong: str) -> tuple[str, ...]:
    """Lists with the pictures and wrong rows behind those for training, as words of a command."""
    for part in ("train", "test"):
        rows = [f"{file.relative_to(root)},{file.parent.name}" for file in sorted((root / part).rglob("*.jpg"))]
        rows += wrong if part == "train" else ()
        (root / f"{part}.csv").write_text("\n".join(["path,label", *rows]))
    return "--train-list", str(root / "train.csv"), "--test-list", str(root / "test.csv")


WRONG = (
    ("train/dog/07.jpg,dog", "'train/dog/07.jpg' is there already, in "),
    ("train/cat/00.jpg,dog", "'train/cat/00.jpg' is there already, in "),
    ("train/dog/07.jpg,dog,brown", "it has 3 cells, and the first line 2"),
    ("train/dog/none.jpg,dog", "'train/dog/none.jpg': No such file or directory"),
    ("../x.jpg,dog", "'../x.jpg' must be relative to --data-root, without '..'"),
    ("train/dog/08.jpg,", "it has no label"),
)


def test_every_wrong_row_is_named_with_the_broken_files(root: Path, tmp_path: Path, capsys: Any) -> None:
    (root / "test/emu/00.jpg").write_bytes(b"broken")
    words = tables(root, *(row for row, _ in WRONG))
    assert trained(root, tmp_path / "s", *words) == 2
    *lines, last = capsys.readouterr().err.splitlines()
    assert len(lines) == len(WRONG) + 1
    for number, (_, reason) in enumerate(WRONG, 48):
        assert sum(f"train.csv', line {number}: {reason}" in line for line in lines) == 1
    assert sum("image 'test/emu/00.jpg' is no JPEG" in line for line in lines) == 1
    assert last.startswith("error: 7 files and rows of ")
    assert last.endswith("cannot be used, as named above; mend or remove each")
    assert not (tmp_path / "s").exists()
    assert run_command(lambda: check.main([str(root), *words, "--quiet"])) == 2
    *again, last = capsys.readouterr().err.splitlines()
    assert sorted(again) == sorted(lines)
    assert last.startswith("error: 7 files, rows or names of ")


def test_many_wrong_rows_are_named_up_to_a_number(root: Path, tmp_path: Path, capsys: Any) -> None:
    words = tables(root, *["train/dog/07.jpg,dog"] * 30)
    assert trained(root, tmp_path / "s", *words) == 2
    *lines, last = capsys.readouterr().err.splitlines()
    assert len(lines) == NAMED + 1
    assert lines[-1] == "and 10 more; python -m training.check names all"
    assert last.startswith("error: 30 files and rows of ")


def test_rows_without_a_class_are_all_named(root: Path, tmp_path: Path, capsys: Any) -> None:
    words = tables(root)
    file = root / "test.csv"
    file.write_text(file.read_text() + "\ntrain/x.jpg,yak\ntrain/y.jpg,fox")
    assert trained(root, tmp_path / "s", *words) == 2
    *lines, _ = capsys.readouterr().err.splitlines()
    assert [name in line for name, line in zip(("yak", "fox"), lines, strict=True)] == [True, True]


def test_every_negative_label_is_named_with_the_broken_files(root: Path, tmp_path: Path, capsys: Any) -> None:
    words = tables(root)
    number = {"cat": "0", "dog": "1", "emu": "2"}
    for part in ("train", "test"):
        head, *rows = (root / f"{part}.csv").read_text().splitlines()
        numbered = [f"{path},{number[name]}" for path, name in (row.split(",") for row in rows)]
        numbered += ["train/x.jpg,-1", "train/y.jpg,-2", "train/none.jpg,1"] if part == "train" else []
        (root / f"{part}.csv").write_text("\n".join([head, *numbered]))
    assert trained(root, tmp_path / "s", *words, "--classes", "3") == 2
    *lines, last = capsys.readouterr().err.splitlines()
    for label in ("-1", "-2"):
        assert sum(f"label '{label}' is no class; leave out rows that have no label" in line for line in lines) == 1
    assert sum("'train/none.jpg': No such file" in line for line in lines) == 1
    assert len(lines) == 3
    assert last.startswith("error: 3 files and rows of ")


COCO = (
    (lambda c: c["annotations"][2].update(category_id=9), "annotations[2]: categories lack its category_id '9'"),
    (lambda c: c["annotations"].append({"image_id": 3, "category_id": 2}), "]: its image has a label already"),
    (lambda c: c["annotations"].append({"image_id": 3.5}), "]: it needs image_id"),
    (lambda c: c["annotations"].append({"image_id": 999, "category_id": 1}), ": 1 annotation belongs to images that"),
    (lambda c: c["images"].append({"id": 777, "file_name": "x.jpg"}), "]: no annotation is left for its id"),
    (lambda c: c["images"].append({"id": 778}), "]: it needs id (int or str) and file_name"),
    (lambda c: c["images"][4].update(file_name="none.jpg"), "images[4]: 'none.jpg': No such file or directory"),
)


def test_every_wrong_entry_of_a_coco_list_is_named(root: Path, tmp_path: Path, capsys: Any) -> None:
    classes = ["cat", "dog", "emu"]
    for part in ("train", "test"):
        files = sorted((root / part).rglob("*.jpg"))
        content: dict[str, Any] = {
            "images": [{"id": i, "file_name": str(file.relative_to(root))} for i, file in enumerate(files)],
            "annotations": [
                {"image_id": i, "category_id": classes.index(file.parent.name)} for i, file in enumerate(files)
            ],
            "categories": [{"id": i, "name": name} for i, name in enumerate(classes)],
        }
        for alter, _ in COCO if part == "train" else ():
            alter(content)
        (root / f"{part}.json").write_text(json.dumps(content))
    words = ["--train-list", str(root / "train.json"), "--test-list", str(root / "test.json")]
    assert trained(root, tmp_path / "s", *words) == 2
    *lines, last = capsys.readouterr().err.splitlines()
    for _, reason in COCO:
        assert sum(reason in line for line in lines) == 1, reason
    assert len(lines) == len(COCO)
    assert last.startswith(f"error: {len(COCO)} files and rows of ")
    assert not (tmp_path / "s").exists()


NAMES = ("c\x1b[31mat", "d\u202eog", "e\u00admu")


def test_every_wrong_name_of_a_class_folder_is_named(root: Path, tmp_path: Path, capsys: Any) -> None:
    for part in ("train", "test"):
        for old, new in zip(("cat", "dog", "emu"), NAMES, strict=True):
            (root / part / old).rename(root / part / new)
    (root / "train" / NAMES[0] / "00.jpg").write_bytes(b"broken")
    assert trained(root, tmp_path / "s") == 2
    *lines, last = said = capsys.readouterr().err.splitlines()
    assert sum(line.endswith("the name of a class must be printable text, below 200 characters") for line in lines) == 3
    assert sum("00.jpg" in line for line in lines) == 1
    assert all(line.isprintable() for line in said)
    assert last.startswith("error: 4 files and rows of ")
    (root / "train").rename(tmp_path / "undivided")
    assert run_command(lambda: split.main([str(tmp_path / "undivided")])) == 2
    *lines, last = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert last.startswith("error: 4 files and rows of ")


def test_every_wrong_name_in_a_list_or_in_classes_txt_is_named(root: Path, tmp_path: Path, capsys: Any) -> None:
    words = tables(root)
    for file in (root / "train.csv", root / "test.csv"):
        for old, new in zip(("cat", "dog", "emu"), NAMES, strict=True):
            file.write_text(file.read_text().replace(f",{old}", f',"{new}"'))
    assert trained(root, tmp_path / "s", *words) == 2
    *lines, _ = capsys.readouterr().err.splitlines()
    assert [ascii(name) in line for name, line in zip(sorted(NAMES), lines, strict=True)] == [True] * 3
    (root / "classes.txt").write_text("a\x1b\nb\nb\n")
    (root / "test.csv").write_text("path,label\n")
    tables(root)
    assert trained(root, tmp_path / "s", *words) == 2
    said = capsys.readouterr().err
    assert "classes.txt', line 1: the name of a class" in said
    assert "classes.txt', line 3: 'b' is the name of line 2 already" in said


@pytest.mark.parametrize("words", [[], ["--skip-broken"]])
def test_a_list_is_divided_once_all_its_rows_are_right(words: list[str], root: Path, capsys: Any) -> None:
    tables(root, "train/dog/07.jpg,cat", "train/dog/none.jpg,dog")
    assert run_command(lambda: split.main([str(root), "--list", str(root / "train.csv"), *words])) == 2
    said = capsys.readouterr().err
    assert "'train/dog/07.jpg' is there already" in said
    assert ("'train/dog/none.jpg': No such file" in said) != bool(words)
    assert not (root / "train.txt").exists()
