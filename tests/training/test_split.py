"""Lists for training and testing, made of class folders."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from lpm.console.cli import run as run_command
from tests.training.large import encoded
from tests.training.own import trained
from training import split
from training.data import lists
from training.store.runs import find


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two class folders, one of them with folders inside, and files that operating systems put beside images."""
    files = encoded(20)
    for number, path in enumerate(["cat/a b", "cat/c", "dog", "dog"]):
        folder = tmp_path / "pets" / path
        folder.mkdir(parents=True, exist_ok=True)
        for i in range(5):
            (folder / f"{number}{i}.jpg").write_bytes(files[5 * number + i])
    (tmp_path / "pets" / "cat" / ".DS_Store").write_text("")
    (tmp_path / "pets" / "dog" / "x.webp").write_text("")
    return tmp_path / "pets"


def test_a_share_of_each_class_is_for_testing_and_the_lists_train(root: Path, tmp_path: Path, capsys: Any) -> None:
    assert run_command(lambda: split.main([str(root), "--test-share", "0.3"])) == 0
    output = capsys.readouterr()
    assert output.out.startswith(
        "2 classes, 14 images for training, 6 for testing: train.txt, test.txt, classes.txt in "
    )
    assert output.err == "note: 1 file is left out: its name does not end in .jpg, .jpeg, .png\n"
    train, test, names = lists.load("own", root, classes=2)
    assert names.tolist() == ["cat", "dog"]
    assert not set(train.paths) & set(test.paths)
    assert {*train.paths, *test.paths} == {str(file.relative_to(root)) for file in root.rglob("*.jpg")}
    assert [sorted(part.labels.tolist()) for part in (train, test)] == [[0] * 7 + [1] * 7, [0] * 3 + [1] * 3]
    assert all(path.startswith(names[label]) for path, label in zip(train.paths, train.labels, strict=True))
    assert trained(root, tmp_path / "store", "--classes", "2", "--name", "pets") == 0
    assert [run.done for run in find(tmp_path / "store")] == [True]


def test_the_sets_depend_on_contents_and_the_seed_only(root: Path) -> None:
    first = split.split(root, 0.3, 0)
    assert split.split(root, 0.3, 1) != first
    (test,) = [path for path, label in first[2][:1]]
    os.rename(root / test, root / "cat" / "zzz.jpg")
    again = split.split(root, 0.3, 0)
    assert ("cat/zzz.jpg", 0) in again[2]
    assert [pair for pair in again[1] if pair in first[1]] == first[1]


@pytest.mark.parametrize(("share", "number"), [(0.01, 1), (0.5, 5), (0.999, 9)])
def test_each_class_has_an_image_in_both_sets(share: float, number: int, root: Path) -> None:
    _, train, test = split.split(root, share, 0)
    assert [len(train), len(test)] == [2 * (10 - number), 2 * number]


def test_copies_of_an_image_are_in_one_set(root: Path) -> None:
    original = (root / "dog" / "20.jpg").read_bytes()
    for file in sorted((root / "dog").iterdir())[:6]:
        file.write_bytes(original)
    for seed in range(10):
        _, train, test = split.split(root, 0.5, seed)
        sides = [any((root / path).read_bytes() == original for path, _ in part) for part in (train, test)]
        assert sum(sides) == 1


def no_class(root: Path) -> None:
    (root / "stray.jpg").write_bytes(b"")


def single(root: Path) -> None:
    (root / "emu").mkdir()
    (root / "emu" / "1.jpg").write_bytes(b"")


def split_already(root: Path) -> None:
    (root / "test").mkdir()


def listed(root: Path) -> None:
    (root / "classes.txt").write_text("cat\n")


def line_break(root: Path) -> None:
    (root / "cat" / "a\nb.jpg").write_bytes(b"")


def spaced(root: Path) -> None:
    (root / "cat").rename(root / "cat ")


def linked(root: Path) -> None:
    (root / "cat" / "again.jpg").symlink_to("../dog/20.jpg")


def linked_folder(root: Path) -> None:
    (root / "emu").symlink_to("dog")


def dangling(root: Path) -> None:
    (root / "train.txt").symlink_to("nowhere")


def outside(root: Path) -> None:
    (root / "cat" / "link.jpg").symlink_to("/etc/hostname")


@pytest.mark.parametrize(
    ("change", "words", "message"),
    [
        (no_class, [], "stray.jpg' is in no class folder; move it into one"),
        (single, [], "class 'emu' has 1 image; it needs at least one to train and one to test"),
        (split_already, [], "test' is there already; train on it, or move it away"),
        (listed, [], "classes.txt' is there already"),
        (line_break, [], "give it a name of printable text"),
        (spaced, [], "cat ': lists cannot hold a name with white space at its ends"),
        (linked, [], "dog/20.jpg' and "),
        (linked_folder, [], "emu' is a link to a folder, which is not followed"),
        (dangling, [], "train.txt' is there already"),
        (outside, [], "'cat/link.jpg' is or lies behind a link that leaves"),
        (lambda root: None, ["--test-share", "1"], "--test-share 1 must lie between 0 and 1"),
        (lambda root: None, ["--test-share", "nan"], "--test-share nan must lie between 0 and 1"),
    ],
)
def test_what_cannot_be_split_is_one_line_and_writes_nothing(
    change: Any, words: list[str], message: str, root: Path, capsys: Any
) -> None:
    change(root)
    before = sorted(root.rglob("*"))
    assert run_command(lambda: split.main([str(root), *words])) == 2
    *_, error = capsys.readouterr().err.splitlines()  # a note may come first
    assert message in error
    assert error.startswith("error: ")
    assert sorted(root.rglob("*")) == before


def test_a_folder_without_class_folders_is_one_line(tmp_path: Path, capsys: Any) -> None:
    assert run_command(lambda: split.main([str(tmp_path)])) == 2
    assert "holds 0 class folders; it needs at least two" in capsys.readouterr().err


@pytest.mark.parametrize(("error", "status"), [(OSError(28, "No space left on device"), 2), (KeyboardInterrupt(), 130)])
def test_lists_are_written_all_or_none(
    error: BaseException, status: int, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    write = split.write

    def full(path: Path, data: bytes) -> None:
        if path.name == "classes.txt":
            raise error
        write(path, data)

    monkeypatch.setattr(split, "write", full)
    assert run_command(lambda: split.main([str(root)])) == status
    assert ("cannot be written: No space left on device" in capsys.readouterr().err) == (status == 2)
    assert not list(root.glob("*.txt"))
