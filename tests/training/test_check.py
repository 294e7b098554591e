"""Images are decoded once before training: all broken files at once, and what decodes is remembered."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from lpm.console.cli import run as run_command
from tests.training.large import make
from tests.training.own import pets, trained
from training import check
from training.data import decodable, remembered
from training.data.lists import load
from training.store.runs import find


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return pets(tmp_path / "data")


def checked(*words: object) -> int:
    return run_command(lambda: check.main([*map(str, words), "--quiet"]))


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:400])


def test_all_broken_files_are_named_at_once(root: Path, capsys: Any) -> None:
    for name in ("train/dog/07.jpg", "train/cat/01.jpg", "test/emu/00.jpg"):
        cut(root / name)
    (root / "train/dog/notes.txt").write_text("a note")
    (root / "train/dog/Thumbs.db").write_text("not mentioned")
    (root / "test/yak").mkdir()
    assert checked(root) == 2
    *lines, last = capsys.readouterr().err.splitlines()
    assert len(lines) == 5
    for name in ("notes.txt", "test/yak", "train/dog/07.jpg", "train/cat/01.jpg", "test/emu/00.jpg"):
        assert sum(name in line for line in lines) == 1
    assert last.startswith("error: 5 files, rows or names of ")
    assert last.endswith("cannot be used, as named above; mend, replace or remove each")


def test_what_decodes_is_remembered_until_it_changes(root: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert checked(root) == 0
    assert capsys.readouterr().out == "53 images decode\n"
    decoded = []
    monkeypatch.setattr(decodable, "decode", lambda path, **options: decoded.append(path))
    assert checked(root) == 0
    assert capsys.readouterr().out == "53 images decode (53 of them as an earlier check has found)\n"
    file = root / "train/cat/02.jpg"
    os.utime(file, ns=(1, 1))
    (root / "train/cat/00.jpg").write_bytes(b"longer or shorter")
    assert checked(root) == 0
    assert sorted(decoded) == ["train/cat/00.jpg", "train/cat/02.jpg"]


INFINITE = {"decoder": remembered.decoder(decodable.MAX_PIXELS), "files": {"a": [float("inf"), 1, ""]}}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"decoder": 1}', b"\xff" * 9, json.dumps(INFINITE).encode()])
def test_a_damaged_memory_is_made_anew(root: Path, content: bytes, capsys: Any) -> None:
    (root / remembered.REMEMBERED).write_bytes(content)
    assert checked(root) == 0
    assert capsys.readouterr().out == "53 images decode\n"
    assert decodable.check(root, ["train/cat/00.jpg"]).remembered == 1


def test_an_interrupted_check_keeps_what_it_has_decoded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [f"train/dog/{i:02d}.jpg" for i in range(10)]
    whole = decodable.decode

    def decode(path: str, **options: Any) -> None:
        if path == paths[6]:
            raise KeyboardInterrupt
        whole(path, **options)

    monkeypatch.setattr(decodable, "decode", decode)
    with pytest.raises(KeyboardInterrupt):
        decodable.check(root, paths)
    monkeypatch.undo()
    assert decodable.check(root, paths).remembered == 6


def test_several_processes_find_the_same(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decodable, "ALONE", 0)
    monkeypatch.setattr(decodable, "CHUNK", 8)
    paths = [f"train/dog/{i:02d}.jpg" for i in range(30)] + ["train/dog/none.jpg"]
    cut(root / paths[20])
    report = decodable.check(root, paths, workers=2)
    assert len(report.broken) == 2
    assert paths[20] in report.broken[paths[20]]
    assert "none.jpg" in report.broken[paths[30]]


def test_lists_and_bare_folders_are_checked(root: Path, tmp_path: Path, capsys: Any) -> None:
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "train.txt").write_text("train/cat/00.jpg 0\n../x.jpg 1\nnone.jpg 1\ntrain/dog/03.jpg 1\n")
    cut(root / "train/dog/03.jpg")
    assert checked(root, "--train-list", lists / "train.txt", "--test-list", lists / "train.txt") == 2
    printed = capsys.readouterr().err
    assert "line 2" in printed
    assert "line 3: 'none.jpg': No such file" in printed
    assert printed.count("'train/dog/03.jpg' cannot be decoded") == 1
    assert checked(root / "train") == 2  # holds class folders that split has not seen yet
    assert "'dog/03.jpg' cannot be decoded" in capsys.readouterr().err
    assert checked(tmp_path / "none") == 2
    make("places-lt", tmp_path / "places", most=1, least=1)
    assert checked(tmp_path / "places", "--dataset", "places-lt") == 0
    assert capsys.readouterr().out == "730 images decode\n"


def test_a_run_checks_before_it_trains_if_asked(root: Path, tmp_path: Path, capsys: Any) -> None:
    cut(root / "train/dog/07.jpg")
    cut(root / "test/cat/00.jpg")
    assert trained(root, tmp_path / "s", "--check") == 2
    *lines, last = capsys.readouterr().err.splitlines()
    assert [name in line for name, line in zip(("train/dog/07.jpg", "test/cat/00.jpg"), lines, strict=True)] == [1, 1]
    assert last.startswith("error: 2 files of ")
    assert last.endswith(
        "cannot be used, as named above; mend, replace or remove each, or leave them out with --skip-broken"
    )
    assert not list(find(tmp_path / "s"))
    for name in ("train/dog/07.jpg", "test/cat/00.jpg"):
        (root / name).write_bytes((root / "train/dog/08.jpg").read_bytes())
    assert trained(root, tmp_path / "s", "--check") == 0
    assert "whether all images decode" not in capsys.readouterr().err
    (root / "train/dog/07.jpg").touch()
    assert trained(root, tmp_path / "s2", "--no-check") == 0
    assert "it is not known whether all images decode" in capsys.readouterr().err


def test_few_images_are_checked_without_being_asked_to(
    root: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut(root / "train/dog/07.jpg")
    assert trained(root, tmp_path / "s") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: image 'train/dog/07.jpg' cannot be decoded: ")
    assert not list(find(tmp_path / "s"))
    monkeypatch.setattr("training.jobs.prepare.CHECKED", 0)  # the one image is not remembered as decodable
    assert trained(root, tmp_path / "s") == 2
    assert "it is not known whether all images decode" in capsys.readouterr().err
    assert [folder.begun for folder in find(tmp_path / "s")] == [False]


def test_an_unwritable_folder_is_checked_all_the_same(root: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(path: Path, data: bytes) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(remembered, "write", write)
    assert checked(root) == 0
    printed = capsys.readouterr()
    assert printed.out == "53 images decode\n"
    assert "cannot be written: Permission denied; the next check decodes all images again" in printed.err
    train, test, _ = load("own", root, classes=3)
    assert decodable.unchecked(train.root, (*train.paths, *test.paths))
