"""Lists for training and testing, made of class folders."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lpm.console.cli import run as run_command
from tests.training.large import encoded
from tests.training.own import trained
from training import confusion, split
from training.data import lists
from training.data.names import IMAGES
from training.data.remembered import REMEMBERED
from training.store.runs import find

ROOT = Path(__file__).parents[2]


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
    (tmp_path / "pets" / "dog" / "x.heic").write_text("")
    return tmp_path / "pets"


def test_a_share_of_each_class_is_for_testing_and_the_lists_train(root: Path, tmp_path: Path, capsys: Any) -> None:
    assert run_command(lambda: split.main([str(root), "--test-share", "0.3"])) == 0
    output = capsys.readouterr()
    assert output.out.startswith(
        "2 classes, 14 images for training, 6 for testing: train.txt, test.txt, classes.txt in "
    )
    note, following = output.err.splitlines()
    assert note == f"note: 1 file is left out: 'dog/x.heic' does not end in {', '.join(IMAGES)}"
    assert "note: 1 file left out, named in left-out.txt" in output.out
    assert (root / split.LEFT_OUT).read_text() == f"dog/x.heic\tdoes not end in {', '.join(IMAGES)}\n"
    options = (
        f"--dataset own --data-root {root} --preset quick --ratio-per batch-swapped --seeds 0-2 --adjust --minutes 5"
    )
    assert following == f"next: python -m training.compare {options}"
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


def test_a_class_with_one_image_is_trained_and_not_tested(root: Path, tmp_path: Path, capsys: Any) -> None:
    (root / "emu").mkdir()
    (root / "emu" / "1.jpg").write_bytes(encoded(21)[20])
    assert run_command(lambda: split.main([str(root)])) == 0
    assert "note: class 'emu' has one image, which is for training, so" in capsys.readouterr().out
    train, test, names = lists.load("own", root, classes=3)
    assert [part.labels.tolist().count(names.tolist().index("emu")) for part in (train, test)] == [1, 0]
    assert trained(root, tmp_path / "store", "--name", "pets") == 0
    assert "note: 1 of 3 classes has no test image, such as 'emu': trained" in capsys.readouterr().err
    (run,) = find(tmp_path / "store")
    result = run.result()
    assert result.per_class[2] is None
    of_tested = [value for value in result.per_class if value is not None]
    assert len(of_tested) == 2
    assert result.last["few"] == pytest.approx(sum(of_tested) / 2)
    for form in ("markdown", "csv", "json"):
        assert run_command(lambda form=form: confusion.main([str(run.path), "--format", form])) == 0
        assert "nan" not in capsys.readouterr().out.lower()


def no_class(root: Path) -> None:
    (root / "stray.jpg").write_bytes(b"")


def empty(root: Path) -> None:
    (root / "emu").mkdir()


def all_single(root: Path) -> None:
    for file in [*sorted(root.rglob("*.jpg"))[1:10], *sorted((root / "dog").iterdir())[1:]]:
        file.unlink()


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
        (empty, [], "class 'emu' has no image that can be used; remove its folder"),
        (all_single, [], "has two images to divide; there would be nothing to test on"),
        (lambda root: None, ["--group-column", "patient"], "--group-column names a column of --groups FILE"),
        (lambda root: None, ["--groups", "nowhere.csv"], "nowhere.csv' cannot be read"),
        (split_already, [], "test' is there already; train on it, or move it away; --list FILE divides a list"),
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
    (root / REMEMBERED).unlink(missing_ok=True)
    *_, error = capsys.readouterr().err.splitlines()  # a note may come first
    assert message in error
    assert error.startswith("error: ")
    assert sorted(root.rglob("*")) == before


def test_a_folder_without_class_folders_is_one_line(tmp_path: Path, capsys: Any) -> None:
    assert run_command(lambda: split.main([str(tmp_path)])) == 2
    assert "holds 0 class folders; it needs at least two" in capsys.readouterr().err


@pytest.mark.parametrize(("error", "status"), [(OSError(28, "No space left on device"), 2), (KeyboardInterrupt(), 130)])
@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_lists_are_written_all_or_none(
    number: int,
    call: str,
    error: BaseException,
    status: int,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    real, calls = getattr(os, call), iter(range(number))

    def full(*words: Any) -> None:
        if next(calls, None) is None:
            raise error
        real(*words)

    monkeypatch.setattr(os, call, full)
    assert run_command(lambda: split.main([str(root)])) == status
    assert ("cannot be written: No space left on device" in capsys.readouterr().err) == (status == 2)
    assert not [*root.glob("*.txt"), *root.glob(".*.txt*")]


KILLED = """
import os, signal, sys
number, real = int(sys.argv[2]), os.replace
def replace(a, b):
    global number
    number -= b.name.endswith(".txt")
    if number < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    real(a, b)
os.replace = replace
from training import split
split.main([sys.argv[1]])
"""


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_lists_that_a_killed_process_left_are_completed(
    number: int, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(root), str(number)], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert sorted(file.name for file in root.glob("*.txt")) == sorted(
        ["left-out.txt", "classes.txt", "test.txt"][:number]
    )
    assert list(root.glob(".*.txt.*"))
    assert run_command(lambda: split.main([str(root)])) == 0
    assert "files are left out" not in capsys.readouterr().err  # as without the lists
    completed = {file.name: file.read_bytes() for file in root.glob("*.txt")}
    assert not list(root.glob(".*.txt.*"))
    assert run_command(lambda: split.main([str(root)])) == 2
    assert "train.txt' is there already; train on it, or move it away" in capsys.readouterr().err
    for name in completed:
        (root / name).unlink()
    assert run_command(lambda: split.main([str(root)])) == 0
    assert {file.name: file.read_bytes() for file in root.glob("*.txt")} == completed


def test_half_of_the_lists_of_an_older_version_is_completed_and_others_stay(root: Path, capsys: Any) -> None:
    assert run_command(lambda: split.main([str(root)])) == 0
    completed = {file.name: file.read_bytes() for file in root.glob("*.txt")}
    for left in (["train.txt"], ["train.txt", "test.txt"]):
        for name in completed.keys() - set(left):
            (root / name).unlink()
        assert run_command(lambda: split.main([str(root), "--seed", "1"])) == 2
        assert "train.txt' is there already, and no list of this command" in capsys.readouterr().err
        assert sorted(file.name for file in root.glob("*.txt")) == sorted(left)
        assert run_command(lambda: split.main([str(root)])) == 0
        assert {file.name: file.read_bytes() for file in root.glob("*.txt")} == completed


def test_the_files_that_are_left_out_are_named_as_they_are_or_the_first_of_them(root: Path, capsys: Any) -> None:
    for name in ("a.txt", "b.xyz", "c1", "d\x1b[31m.heic", "e.doc"):
        (root / "cat" / name).write_text("")
    assert run_command(lambda: split.main([str(root)])) == 0
    (note,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert note.startswith("note: 6 files are left out: 'cat/a.txt', 'cat/b.xyz', 'cat/c1', 'cat/d")
    assert "'cat/e.doc' and 1 more do not end in .jpg" in note
    assert "\x1b" not in note
    rows = (root / split.LEFT_OUT).read_text()
    assert [row.split("\t")[0] for row in rows.splitlines()][-1] == "dog/x.heic"
    assert rows.count("\n") == 6
    assert "\x1b" not in rows


def test_pixels_have_a_limit_that_can_be_chosen(root: Path, capsys: Any) -> None:
    assert run_command(lambda: split.main([str(root), "--max-pixels", "10"])) == 2
    assert "pixels, and at most 10 are decoded" in capsys.readouterr().err
    assert not (root / "train.txt").exists()
