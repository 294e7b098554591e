"""Files that cannot be used: all are named at once before training, and --skip-broken leaves them out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lpm.console.cli import run as run_command
from tests.started import together
from tests.training.large import make
from tests.training.own import pets, trained
from training import compare, measure, split, table
from training.data import datasets, decodable, lists, refusals
from training.store.runs import find

BAD = ("train/cat/00.jpg", "train/dog/07.jpg", "train/dog/notes.txt", "test/emu/00.jpg")
BROKEN = [path for path in BAD if path.endswith(".jpg")]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Class folders with three broken pictures and a note, and a file that an operating system puts beside images."""
    folder = pets(tmp_path / "data")
    for path in BROKEN:
        (folder / path).write_bytes((folder / path).read_bytes()[:300])
    (folder / "train/dog/notes.txt").write_text("a note")
    (folder / "train/dog/Thumbs.db").write_text("not mentioned")
    return folder


def with_lists(root: Path, *, missing: str = "") -> tuple[str, ...]:
    """Lists with the pictures, as words of a command; ``missing`` is a row of the training list without a file."""
    for part in ("train", "test"):
        rows = [f"{file.relative_to(root)} {file.parent.name}\n" for file in sorted((root / part).rglob("*.jpg"))]
        (root / f"{part}.txt").write_text("".join(rows) + f"{missing} dog\n" * bool(missing and part == "train"))
    return "--train-list", str(root / "train.txt"), "--test-list", str(root / "test.txt")


def test_all_are_named_at_once_before_anything_is_trained(root: Path, tmp_path: Path, capsys: Any) -> None:
    for words in ((), ("--check",), ("--jobs", "2", "--seeds", "0,1")):
        assert trained(root, tmp_path / "s", *words) == 2
        *lines, last = capsys.readouterr().err.splitlines()
        assert [sum(path in line for line in lines) for path in BAD] == [1, 1, 1, 1]
        assert len(lines) == 4
        assert last.startswith("error: 4 files of ")
        assert last.endswith("mend, replace or remove each, or leave them out with --skip-broken")
        assert not (tmp_path / "s").exists()


def test_many_are_named_up_to_a_number(root: Path, tmp_path: Path, capsys: Any) -> None:
    for file in (root / "train/dog").glob("*.jpg"):
        file.write_bytes(b"")
    assert trained(root, tmp_path / "s") == 2
    *lines, last = capsys.readouterr().err.splitlines()
    assert len(lines) == refusals.NAMED + 1
    assert lines[-1] == "and 13 more; python -m training.check names all"
    assert last.startswith("error: 33 files of ")


def test_what_is_left_out_is_named_and_stored(root: Path, tmp_path: Path, capsys: Any) -> None:
    assert trained(root, tmp_path / "s", "--skip-broken") == 0
    said = capsys.readouterr().err
    assert [said.count(f"left out: {start}") for start in ("image '", "'")] == [3, 1]
    assert [path in said for path in BAD] == [True] * 4
    assert "note: 4 of 54 files left out; the run's data.json names them" in said
    (folder,) = find(tmp_path / "s")
    stored = json.loads((folder.path / "data.json").read_bytes())
    assert stored.pop("left_out") == sorted(BAD)
    del stored["times"]  # of change, of the files
    assert folder.result().left_out == tuple(sorted(BAD))
    assert folder.result().train_counts == (29, 12, 3)
    # It is the run on these data, whether files are left out or removed.
    for path in BAD:
        (root / path).unlink()
    assert datasets.load("own", root, classes=3).fingerprint == stored
    assert trained(root, tmp_path / "s") == 0
    assert [folder.path for folder in find(tmp_path / "s")] == [folder.path]
    assert run_command(lambda: measure.main([str(folder.path), "--data-root", str(root), "--workers", "0"])) == 0


def test_a_run_with_files_left_out_is_measured_again(root: Path, tmp_path: Path) -> None:
    assert trained(root, tmp_path / "s", "--skip-broken") == 0
    (folder,) = find(tmp_path / "s")
    before = folder.geometry(1)
    assert run_command(lambda: measure.main([str(folder.path), "--data-root", str(root), "--workers", "0"])) == 0
    assert folder.geometry(1).keys() == before.keys()
    assert folder.result().left_out == tuple(sorted(BAD))


def test_rows_without_a_file_are_left_out(root: Path, tmp_path: Path, capsys: Any) -> None:
    words = with_lists(root, missing="train/dog/none.jpg")
    assert trained(root, tmp_path / "s", *words) == 2
    assert "error: 4 files of " in capsys.readouterr().err
    assert trained(root, tmp_path / "s", *words, "--skip-broken") == 0
    (folder,) = find(tmp_path / "s")
    assert folder.result().left_out == tuple(sorted([*BROKEN, "train/dog/none.jpg"]))


def outside(root: Path) -> tuple[str, ...]:
    return with_lists(root, missing="../x.jpg")


def unknown_class(root: Path) -> tuple[str, ...]:
    (root / "test/yak").mkdir()
    return ()


def empty_class(root: Path) -> tuple[str, ...]:
    for file in (root / "train/cat").iterdir():
        file.write_bytes(b"")
    return ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (outside, "'../x.jpg' must be relative to --data-root, without '..'; --skip-broken leaves out files only"),
        (unknown_class, "test/yak': there is no such class folder for training; remove it; --skip-broken leaves out"),
        (
            empty_class,
            "1 of 3 classes has no training image, such as class 'cat' (7 files that cannot be used left out)",
        ),
    ],
)
def test_what_no_file_can_be_left_out_for_is_one_line(
    change: Callable[[Path], tuple[str, ...]], message: str, root: Path, tmp_path: Path, capsys: Any
) -> None:
    words = change(root)
    assert trained(root, tmp_path / "s", "--skip-broken", *words) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "s").exists()


def test_a_file_beside_class_folders_is_left_out(root: Path, tmp_path: Path, capsys: Any) -> None:
    (root / "train/notes.txt").write_text("a note")
    assert trained(root, tmp_path / "s", "--skip-broken") == 0
    assert "left out: " in capsys.readouterr().err
    (folder,) = find(tmp_path / "s")
    assert folder.result().left_out == tuple(sorted([*BAD, "train/notes.txt"]))


def test_nothing_is_left_out_where_all_is_well(root: Path, tmp_path: Path, capsys: Any) -> None:
    for path in BAD:
        (root / path).unlink()
    assert trained(root, tmp_path / "s", "--skip-broken") == 0
    assert "left out" not in capsys.readouterr().err
    (folder,) = find(tmp_path / "s")
    assert "left_out" not in json.loads((folder.path / "data.json").read_bytes())


def test_compare_leaves_out_too_and_promises_nothing_that_the_same_command_does_not_do(
    root: Path, tmp_path: Path, capsys: Any
) -> None:
    words = ["--dataset", "own", "--data-root", str(root), "--store", str(tmp_path / "s"), "--device", "cpu"]
    words += ["--preset", "smoke", "--epochs", "1", "--width", "4", "--workers", "0", "--quiet"]
    words += ["--method", "random+FC", "CAS+FC"]
    assert run_command(lambda: compare.main(words)) == 2
    said = capsys.readouterr().err
    assert [path in said for path in BAD] == [True] * 4
    assert "2 of 2 runs are missing" in said
    assert "the same command" not in said
    assert run_command(lambda: compare.main([*words, "--skip-broken"])) == 0
    assert [folder.result().left_out for folder in find(tmp_path / "s")] == [tuple(sorted(BAD))] * 2


def test_a_table_names_all_before_it_trains(tmp_path: Path, capsys: Any) -> None:
    make("places-lt", tmp_path / "data", most=1, least=1)
    (name, *_) = (line.split()[0] for line in (tmp_path / "data/Places_LT_train.txt").read_text().splitlines())
    (other, *_) = (line.split()[0] for line in (tmp_path / "data/Places_LT_test.txt").read_text().splitlines())
    for path in (name, other):
        (tmp_path / "data" / path).write_bytes(b"broken")
    words = ["3", "--dataset", "places-lt", "--method", "random+FC", "--seeds", "0", "--quiet"]
    words += [
        "--data-root",
        str(tmp_path / "data"),
        "--store",
        str(tmp_path / "s"),
        "--workers",
        "0",
        "--device",
        "cpu",
    ]
    assert run_command(lambda: table.main(words)) == 2
    said = capsys.readouterr().err
    assert [f"image '{path}' is no JPEG" in said for path in (name, other)] == [True] * 2
    assert "error: 2 files of " in said
    assert not (tmp_path / "s").exists()


def test_processes_that_train_one_run_leave_out_the_same(root: Path, tmp_path: Path) -> None:
    small = ["--preset", "smoke", "--epochs", "1", "--width", "4", "--workers", "0", "--quiet", "--device", "cpu"]
    words = ["training.train", "--dataset", "own", "--data-root", str(root), "--store", str(tmp_path / "s"), *small]
    first, second = together(2, *words)
    assert (first.status, second.status) == (2, 2)
    assert "error: 4 files of " in first.err
    first, second = together(2, *words, "--skip-broken")
    assert (first.status, second.status) == (0, 0), first.err + second.err
    assert first.err.count("left out: ") == 4
    assert "left out: " not in second.err
    (folder,) = find(tmp_path / "s")
    assert (folder.result().processes, folder.result().left_out) == (2, tuple(sorted(BAD)))


@pytest.fixture
def unsplit(tmp_path: Path) -> Path:
    """Class folders that no command has divided, with two broken pictures and one beside the folders."""
    folder = pets(tmp_path / "data") / "train"
    for number, file in enumerate(sorted(folder.rglob("*.jpg"))):  # no duplicates
        file.write_bytes(file.read_bytes() + bytes(number))
    (folder / "dog/07.jpg").write_bytes((folder / "dog/07.jpg").read_bytes()[:400])
    (folder / "cat/00.jpg").write_bytes(b"")
    (folder / "stray.jpg").write_bytes((folder / "cat/01.jpg").read_bytes())
    return folder


def test_split_names_all_at_once_and_writes_no_list(unsplit: Path, capsys: Any) -> None:
    assert run_command(lambda: split.main([str(unsplit)])) == 2
    *lines, last = capsys.readouterr().err.splitlines()
    assert [sum(name in line for line in lines) for name in ("dog/07.jpg", "cat/00.jpg", "stray.jpg")] == [1, 1, 1]
    assert last.startswith("error: 3 files of ")
    assert not list(unsplit.glob("*.txt"))


def test_split_leaves_out_and_records(unsplit: Path, tmp_path: Path, capsys: Any) -> None:
    assert run_command(lambda: split.main([str(unsplit), "--skip-broken"])) == 0
    captured = capsys.readouterr()
    assert captured.err.count("left out: ") == 3
    assert captured.out.startswith("3 classes, 35 images for training, 9 for testing")
    assert "3 files left out, named in left-out.txt" in captured.out
    rows = [line.split("\t") for line in (unsplit / split.LEFT_OUT).read_text().splitlines()]
    assert sorted(path for path, _ in rows) == ["cat/00.jpg", "dog/07.jpg", "stray.jpg"]
    assert all(reason for _, reason in rows)
    train, test, _ = lists.load("own", unsplit, classes=3)
    assert decodable.unchecked(train.root, (*train.paths, *test.paths)) == 0  # what split has decoded is remembered
    assert trained(unsplit, tmp_path / "s", "--check") == 0
    # As split does without them.
    names = ("train.txt", "test.txt", "classes.txt")
    before = {name: (unsplit / name).read_bytes() for name in names}
    for name in (*names, split.LEFT_OUT, "cat/00.jpg", "dog/07.jpg", "stray.jpg"):
        (unsplit / name).unlink()
    assert run_command(lambda: split.main([str(unsplit)])) == 0
    assert {name: (unsplit / name).read_bytes() for name in names} == before


def test_another_file_of_that_name_stays(unsplit: Path, capsys: Any) -> None:
    (unsplit / split.LEFT_OUT).write_text("mine")
    assert run_command(lambda: split.main([str(unsplit), "--skip-broken"])) == 2
    assert "left-out.txt' is there already, and no list of this command" in capsys.readouterr().err
    assert [file.name for file in unsplit.glob("*.txt")] == [split.LEFT_OUT]


def test_a_picture_in_two_classes_is_said(tmp_path: Path, capsys: Any) -> None:
    folder = pets(tmp_path / "data") / "train"
    for number, file in enumerate(sorted(folder.rglob("*.jpg"))):  # no duplicates
        file.write_bytes(file.read_bytes() + bytes(number))
    (folder / "dog/copy.jpg").write_bytes((folder / "cat/01.jpg").read_bytes())
    assert run_command(lambda: split.main([str(folder)])) == 0
    said = capsys.readouterr().err
    assert "note: 1 picture is in several classes, such as 'cat/01.jpg' and 'dog/copy.jpg'" in said
