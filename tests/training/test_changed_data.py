"""A run on image files goes on after its data changed, if the user says so, and its result says what changed."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load as load_tensors

from lpm.console.cli import run as run_command
from tests.started import together
from tests.training.own import older, pets, trained
from training import check, measure
from training.data import datasets, remembered
from training.model import build
from training.run import loop
from training.store import run_data, run_images
from training.store.runs import RunFolder, find

RECIPE = ("--epochs", "4", "--sampler", "cbs", "--no-check")
GOES_ON = ("--data-changed", "ok")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Class folders with a picture of its own under each name: sizes of files differ."""
    folder = pets(tmp_path / "data")
    for number, file in enumerate(sorted(folder.rglob("*.jpg"))):
        file.write_bytes(file.read_bytes() + bytes(number))
    return folder


def stopped(root: Path, store: Path, *words: str, after: int = 2) -> RunFolder:
    """A run that was interrupted after some epochs."""

    def interrupted(*arguments: Any, **keywords: Any) -> Any:
        def on_epoch(row: loop.EpochRow) -> None:
            if row["epoch"] == after:
                raise KeyboardInterrupt

        return stages(*arguments, **keywords | {"on_epoch": on_epoch})

    stages, patch = loop.stages, pytest.MonkeyPatch()
    patch.setattr(loop, "stages", interrupted)
    assert trained(root, store, *RECIPE, *words) == 130
    patch.undo()
    (folder,) = find(store)
    assert len(folder.rows()) == after
    return folder


def met_late(root: Path, folder: RunFolder) -> Path:
    """A training image that no pair of the first two epochs has, and one of the third has."""
    data = datasets.load("own", root, classes=3)
    assert isinstance(data.train, datasets.Listed)
    sampler = build.sampler(folder.config, data.train.labels)
    met = [set(sampler.pairs(epoch).ravel().tolist()) for epoch in range(3)]
    return root / data.train.paths[min(met[2] - met[1] - met[0])]


def test_a_run_that_meets_a_broken_image_late_keeps_its_epochs(root: Path, tmp_path: Path, capsys: Any) -> None:
    image = met_late(root, stopped(root, tmp_path / "probe", after=1))
    whole = image.read_bytes()
    image.write_bytes(whole[:400])
    assert trained(root, tmp_path / "s", *RECIPE) == 2
    path = image.relative_to(root)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert f"{str(path)!r} cannot be decoded" in line
    assert line.endswith("mended, or with --skip-broken, a run goes on with --data-changed ok")
    (folder,) = find(tmp_path / "s")
    rows = folder.rows()
    assert len(rows) == 2
    image.write_bytes(whole)
    before = json.loads((folder.path / "data.json").read_bytes())
    assert trained(root, tmp_path / "s", *RECIPE) == 2
    said = capsys.readouterr().err
    assert f"holds a run on other data (1 changed, 0 missing, 0 new, such as '{path}')" in said
    assert "go on with --data-changed ok" in said
    assert json.loads((folder.path / "data.json").read_bytes()) == before
    assert folder.rows() == rows
    assert trained(root, tmp_path / "s", *RECIPE, *GOES_ON) == 0
    said = capsys.readouterr().err
    assert f"goes on after epoch 2 with other images: 1 changed, 0 missing, 0 new, such as '{path}'" in said
    assert folder.rows()[:2] == rows
    (change,) = folder.result().data_changes
    data = datasets.load("own", root, classes=3)
    assert (change.epoch, change.changed, change.missing, change.new) == (2, 1, 0, 0)
    assert (change.before, change.after, change.files) == (before["sha256"], data.fingerprint["sha256"], (str(path),))


def test_a_broken_image_is_left_out_of_a_run_that_has_met_it(root: Path, tmp_path: Path, capsys: Any) -> None:
    folder = stopped(root, tmp_path / "s")
    (root / "train/dog/07.jpg").write_bytes(b"broken")
    assert trained(root, tmp_path / "s", *RECIPE, "--skip-broken") == 2
    assert "(0 changed, 1 missing, 0 new, such as 'train/dog/07.jpg')" in capsys.readouterr().err
    assert trained(root, tmp_path / "s", *RECIPE, "--skip-broken", *GOES_ON) == 0
    result = folder.result()
    assert result.left_out == ("train/dog/07.jpg",)
    assert [(change.epoch, change.missing) for change in result.data_changes] == [(2, 1)]
    # Measuring leaves the same file out.
    assert run_command(lambda: measure.main([str(folder.path), "--data-root", str(root), "--workers", "0"])) == 0


def test_classes_keep_their_numbers_and_splits_when_their_order_changes(root: Path, tmp_path: Path) -> None:
    folder = stopped(root, tmp_path / "s")
    for i in range(25):
        (root / f"train/dog/{i:02d}.jpg").unlink()
    assert datasets.load("own", root, classes=3).class_names == ("emu", "dog", "cat")
    assert trained(root, tmp_path / "s", *RECIPE, *GOES_ON) == 0
    result = folder.result()
    assert (result.class_names, result.train_counts) == (("dog", "emu", "cat"), (5, 12, 4))
    assert result.splits == {"med": (0, 0), "few": (1, 2)}
    # The test images of each class still have its number.
    labels = load_tensors((folder.path / "final.safetensors").read_bytes())["test_labels"]
    assert sorted(labels.tolist()) == [0, 0, 0, 1, 1, 2, 2]
    data = datasets.load("own", root, classes=3).as_begun(result.class_names, (30, 12, 4))
    assert labels.tolist() == data.test.labels.tolist()
    assert run_command(lambda: measure.main([str(folder.path), "--data-root", str(root), "--workers", "0"])) == 0
    assert folder.result().class_names == ("dog", "emu", "cat")


def test_after_a_change_the_run_goes_on_without_the_flag(root: Path, tmp_path: Path) -> None:
    folder = stopped(root, tmp_path / "s")
    (root / "train/emu/03.jpg").unlink()
    stopped(root, tmp_path / "s", *GOES_ON, after=3)
    assert trained(root, tmp_path / "s", *RECIPE) == 0
    assert [change.epoch for change in folder.result().data_changes] == [2]


def test_every_change_is_stored(root: Path, tmp_path: Path) -> None:
    folder = stopped(root, tmp_path / "s")
    (root / "train/emu/03.jpg").unlink()
    stopped(root, tmp_path / "s", *GOES_ON, after=3)
    (root / "train/dog/03.jpg").rename(root / "train/emu/03.jpg")
    assert trained(root, tmp_path / "s", *RECIPE, *GOES_ON) == 0
    first, second = folder.result().data_changes
    assert (first.epoch, second.epoch, second.before) == (2, 3, first.after)
    assert (second.missing, second.new, second.files) == (1, 1, ("train/dog/03.jpg", "train/emu/03.jpg"))


@pytest.mark.parametrize("name", [run_data.DATA, run_images.IMAGES])
def test_a_process_that_ends_while_it_stores_the_change_loses_nothing(
    name: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = stopped(root, tmp_path / "s")
    for i in range(25):  # so that the classes change places
        (root / f"train/dog/{i:02d}.jpg").unlink()
    write = run_data.write

    def ended(file: Path, content: bytes) -> None:
        if file.name == name:
            raise KeyboardInterrupt
        write(file, content)

    for module in (run_data, run_images):
        monkeypatch.setattr(module, "write", ended)
    assert trained(root, tmp_path / "s", *RECIPE, *GOES_ON) == 130
    monkeypatch.undo()
    assert trained(root, tmp_path / "s", *RECIPE, *GOES_ON) == 0
    result = folder.result()
    assert [(change.epoch, change.missing) for change in result.data_changes] == [(2, 25)]
    assert result.class_names == ("dog", "emu", "cat")
    assert trained(root, tmp_path / "s", *RECIPE) == 0


def test_runs_in_processes_go_on(root: Path, tmp_path: Path, capfd: Any) -> None:
    stopped(root, tmp_path / "s")
    (root / "train/emu/03.jpg").unlink()
    words = (*RECIPE, "--jobs", "2", "--seeds")
    assert trained(root, tmp_path / "s", *words, "0") == 2
    assert "go on with --data-changed ok" in capfd.readouterr().err
    assert trained(root, tmp_path / "s", *words, "0,1", *GOES_ON) == 0
    assert "goes on after epoch 2 with other images: 0 changed, 1 missing, 0 new" in capfd.readouterr().err
    assert [len(folder.result().data_changes) for folder in find(tmp_path / "s")] == [1, 0]


def test_processes_that_train_one_run_go_on(root: Path, tmp_path: Path) -> None:
    folder = stopped(root, tmp_path / "s")
    for i in range(25):  # so that the classes change places
        (root / f"train/dog/{i:02d}.jpg").unlink()
    small = ["--preset", "smoke", "--width", "4", "--workers", "0", "--quiet", "--device", "cpu"]
    words = [
        "training.train",
        "--dataset",
        "own",
        "--data-root",
        str(root),
        "--store",
        str(tmp_path / "s"),
        *small,
        *RECIPE,
    ]
    refused, other = together(2, *words)
    assert (refused.status, other.status) == (2, 2)
    assert "go on with --data-changed ok" in refused.err
    first, second = together(2, *words, *GOES_ON)
    assert (first.status, second.status) == (0, 0), first.err + second.err
    assert "goes on after epoch 2" in first.err
    assert "goes on" not in second.err
    result = folder.result()
    assert (result.processes, result.class_names) == (2, ("dog", "emu", "cat"))
    assert [change.missing for change in result.data_changes] == [25]


def rename_class(root: Path, folder: RunFolder) -> None:
    for part in ("train", "test"):
        (root / part / "emu").rename(root / part / "fox")


def without_list(root: Path, folder: RunFolder) -> None:
    (root / "train/emu/03.jpg").unlink()
    (folder.path / run_images.IMAGES).unlink()


def damaged_list(root: Path, folder: RunFolder) -> None:
    (root / "train/emu/03.jpg").unlink()
    (folder.path / run_images.IMAGES).write_bytes(gzip.compress(b'{"sha256": "", "class_names": [1]}'))


@pytest.mark.parametrize("change", [rename_class, without_list, damaged_list])
def test_a_run_does_not_go_on_where_its_classes_could_be_others(
    change: Callable[[Path, RunFolder], None], root: Path, tmp_path: Path, capsys: Any
) -> None:
    change(root, folder := stopped(root, tmp_path / "s"))
    before = {file.name: file.read_bytes() for file in folder.path.iterdir() if file.is_file()}
    capsys.readouterr()
    assert trained(root, tmp_path / "s", *RECIPE, *GOES_ON) == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert "it cannot go on: its classes have other names, or it kept no list of its images" in line
    assert {file.name: file.read_bytes() for file in folder.path.iterdir() if file.is_file()} == before


def test_an_older_run_gets_a_list_of_its_images_when_it_is_resumed(root: Path, tmp_path: Path) -> None:
    folder = stopped(root, tmp_path / "s")
    (folder.path / run_images.IMAGES).unlink()
    stopped(root, tmp_path / "s", after=3)
    (root / "train/emu/03.jpg").unlink()
    assert trained(root, tmp_path / "s", *RECIPE, *GOES_ON) == 0
    assert [change.epoch for change in folder.result().data_changes] == [3]


def test_a_finished_run_stays_what_it_is(root: Path, tmp_path: Path, capsys: Any) -> None:
    assert trained(root, tmp_path / "s") == 0
    (folder,) = find(tmp_path / "s")
    before = {file.name: file.read_bytes() for file in folder.path.iterdir() if file.is_file()}
    (root / "train/emu/03.jpg").unlink()
    capsys.readouterr()
    assert trained(root, tmp_path / "s") == 2
    said = capsys.readouterr().err
    assert "such as 'train/emu/03.jpg'); choose another --name, or delete it" in said
    assert "--data-changed" not in said  # which would train nothing
    assert trained(root, tmp_path / "s", *GOES_ON) == 0
    assert "is finished, and its result is of other images: 0 changed, 1 missing, 0 new" in capsys.readouterr().err
    assert {file.name: file.read_bytes() for file in folder.path.iterdir() if file.is_file()} == before


def test_the_name_of_other_data_is_shown_as_text(root: Path, tmp_path: Path, capsys: Any) -> None:
    folder = stopped(root, tmp_path / "s")
    (folder.path / "data.json").write_text(json.dumps({"name": "a\x1b[31m\nb" + "c" * 10_000, "sha256": ""}))
    (folder.path / run_images.IMAGES).unlink()
    capsys.readouterr()
    assert trained(root, tmp_path / "s", *RECIPE) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "on other data or weights (a\\x1b[31m bccc" in line
    assert len(line) < 600


def test_a_result_without_changes_is_one_of_an_older_version(root: Path, tmp_path: Path) -> None:
    assert trained(root, tmp_path / "s") == 0
    (folder,) = find(tmp_path / "s")
    file = older(folder).path / "metrics.json"
    content = json.loads(file.read_bytes())
    del content["left_out"], content["data_changes"]
    file.write_text(json.dumps(content))
    assert (folder.result().left_out, folder.result().data_changes) == ((), ())
    for wrong in ([{"epoch": 1}], "x", [3]):
        file.write_text(json.dumps(content | {"data_changes": wrong}))
        with pytest.raises(ValueError, match="is damaged"):
            folder.result()


def other_content(file: Path) -> None:
    """Another picture of the same size: the last bytes are behind the end of the JPEG."""
    file.write_bytes(file.read_bytes()[:-1] + b"\x7f")


@pytest.mark.parametrize("word", ["--check", "--no-check"])
def test_another_picture_of_the_same_size_is_noticed(word: str, root: Path, tmp_path: Path, capsys: Any) -> None:
    folder = stopped(root, tmp_path / "s", word)
    before = {file.name: file.read_bytes() for file in folder.path.iterdir() if file.is_file()}
    other_content(root / "train/emu/03.jpg")
    assert trained(root, tmp_path / "s", *RECIPE) == 2
    assert (
        "(1 changed, 0 missing, 0 new, such as 'train/emu/03.jpg'); put them back, or go on" in capsys.readouterr().err
    )
    assert {file.name: file.read_bytes() for file in folder.path.iterdir() if file.is_file()} == before
    assert trained(root, tmp_path / "s", *RECIPE, *GOES_ON) == 0
    assert "goes on after epoch 2 with other images: 1 changed, 0 missing, 0 new" in capsys.readouterr().err
    (change,) = folder.result().data_changes
    assert (change.epoch, change.changed, change.files) == (2, 1, ("train/emu/03.jpg",))
    # The finished run is of these images.
    assert trained(root, tmp_path / "s", *RECIPE) == 0
    other_content(root / "test/dog/01.jpg")
    assert trained(root, tmp_path / "s", *RECIPE) == 2
    assert "such as 'test/dog/01.jpg'); choose another --name, or delete it" in capsys.readouterr().err


def test_copied_and_touched_files_are_the_same(
    root: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = stopped(root, tmp_path / "s")
    capsys.readouterr()
    read, digest_of = list[str](), remembered.digest_of

    def counted(root: Path, path: str) -> str:
        read.append(path)
        return digest_of(root, path)

    monkeypatch.setattr(remembered, "digest_of", counted)
    copy = shutil.copytree(root, tmp_path / "copy", copy_function=shutil.copyfile)
    stopped(copy, tmp_path / "s", after=3)
    assert len(read) == 53  # each once, since it was copied
    read.clear()
    assert trained(copy, tmp_path / "s", *RECIPE) == 0
    assert trained(copy, tmp_path / "s", *RECIPE) == 0
    assert read == []
    assert not re.search("times of change|goes on|holds a run", capsys.readouterr().err)
    assert folder.result().data_changes == ()


def test_what_is_too_much_to_read_is_said_and_a_check_can_tell_later(
    root: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_command(lambda: check.main([str(root), "--quiet"])) == 0
    folder = stopped(root, tmp_path / "s")
    capsys.readouterr()
    monkeypatch.setattr(remembered, "READ", 1)
    for name in ("03", "04"):
        other_content(root / f"train/emu/{name}.jpg")
    stopped(root, tmp_path / "s", after=3)
    said = capsys.readouterr().err
    assert "note: " in said
    assert "2 image files have the same sizes and other times of change. Whether they are the same is not known" in said
    assert run_command(lambda: check.main([str(root), "--quiet"])) == 0
    assert trained(root, tmp_path / "s", *RECIPE) == 2
    assert "(2 changed, 0 missing, 0 new, such as 'train/emu/03.jpg')" in capsys.readouterr().err
    assert trained(root, tmp_path / "s", *RECIPE, *GOES_ON) == 0
    assert [change.epoch for change in folder.result().data_changes] == [3]


def test_a_run_of_an_older_version_stores_hashes_when_it_is_resumed(root: Path, tmp_path: Path, capsys: Any) -> None:
    folder = stopped(root, tmp_path / "s")
    data = json.loads((folder.path / run_data.DATA).read_bytes())
    del data["times"]
    (folder.path / run_data.DATA).write_text(json.dumps(data, indent=1))
    content = json.loads(gzip.decompress((folder.path / run_images.IMAGES).read_bytes()))
    content |= {part: [row[:3] for row in content[part]] for part in ("train", "test")}
    (folder.path / run_images.IMAGES).write_bytes(gzip.compress(json.dumps(content).encode()))
    os.utime(root / "train/emu/04.jpg", ns=(5, 5))
    capsys.readouterr()
    stopped(root, tmp_path / "s", after=3)
    assert not re.search("times of change|goes on|holds a run", capsys.readouterr().err)
    other_content(root / "train/emu/03.jpg")
    assert trained(root, tmp_path / "s", *RECIPE) == 2
    assert trained(root, tmp_path / "s", *RECIPE, *GOES_ON) == 0
    assert [change.epoch for change in folder.result().data_changes] == [3]


def test_another_order_of_a_list_is_said_to_be_one(root: Path, tmp_path: Path, capsys: Any) -> None:
    words = []
    for part in ("train", "test"):
        rows = [f"{file.relative_to(root)} {file.parent.name}\n" for file in sorted((root / part).rglob("*.jpg"))]
        (root / f"{part}.txt").write_text("".join(rows))
        words += [f"--{part}-list", str(root / f"{part}.txt")]
    stopped(root, tmp_path / "s", *words)
    lines = (root / "train.txt").read_text().splitlines()
    (root / "train.txt").write_text("\n".join([*lines[1:], lines[0]]))
    assert trained(root, tmp_path / "s", *RECIPE, *words) == 2
    assert (
        "on other data (the same files in another order of the list); put them back, or go on"
        in capsys.readouterr().err
    )
    assert trained(root, tmp_path / "s", *RECIPE, *words, *GOES_ON) == 0
