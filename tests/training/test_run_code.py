"""A run knows the source of the functions of one's own that it used, and commands say when it has changed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lpm.console.cli import run as run_command
from tests.training.own import pets
from training import train
from training.config import RunConfig
from training.data import own_code
from training.export import main as export
from training.jobs.notes import explain_code
from training.measure import main as measure
from training.posthoc import main as posthoc
from training.predict import main as predict
from training.report import main as report
from training.second_stage import second_stage
from training.store import run_code
from training.store.runs import find

MODULE = "code_of_a_user"
NETWORK, TRANSFORM = f"{MODULE}:network", f"{MODULE}:transform"
SOURCE = """from torch import nn

def network(channels):
    return nn.Sequential(nn.Conv2d(channels, 6, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())

def transform(pixels, rng):
    return pixels
"""
CONFIG = RunConfig(dataset="own", classes=3, size=32, model=NETWORK, transform=TRANSFORM)

Edit = Callable[[str], None]
"""Appends to the user's module, and lets this process import it anew, as the next command would."""


@pytest.fixture
def edit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Edit]:
    monkeypatch.setenv(own_code.VARIABLE, "")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    file = tmp_path / "code" / f"{MODULE}.py"
    file.parent.mkdir()
    monkeypatch.syspath_prepend(file.parent)

    def append(text: str) -> None:
        file.write_text((file.read_text() if file.exists() else SOURCE) + text)
        sys.modules.pop(MODULE, None)

    append("")
    yield append
    sys.modules.pop(MODULE, None)


def notes(capsys: Any) -> list[str]:
    """The notes on code that were printed since the last call."""
    return [text for text in capsys.readouterr().err.splitlines() if "has changed since" in text]


def test_commands_say_that_code_has_changed_since(edit: Edit, tmp_path: Path, capsys: Any) -> None:
    root, store = pets(tmp_path / "data"), tmp_path / "store"
    words = ["--dataset", "own", "--data-root", str(root), "--store", str(store), "--device", "cpu", "--workers", "0"]
    words += ["--size", "32", "--epochs", "1", "--batch", "16", "--jitter", "0", "--quiet"]
    words += ["--model", NETWORK, "--transform", TRANSFORM]
    assert run_command(lambda: train.main(words)) == 0
    (run,) = find(store)
    stored = json.loads((run.path / run_code.CODE).read_text())
    assert {name: len(hashes) for name, hashes in stored.items()} == {NETWORK: 1, TRANSFORM: 1}
    data = ["--data-root", str(root)]
    commands = {
        predict: [str(run.path), str(root / "test/dog")],
        report: [str(run.path), *data, "--out", str(tmp_path / "report")],
        posthoc: [str(run.path), *data, "--correction", "none"],
        export: [str(run.path), *data, "--out", str(tmp_path / "out"), "--format", "safetensors+py"],
        measure: [str(run.path), *data],
    }
    for text in ("", "# edited\n"):
        edit(text)
        for command, given in commands.items():
            assert run_command(lambda c=command, g=given: c(g)) == 0, command  # type: ignore[misc]
            expected = (
                f"note: --model {NETWORK} has changed since {run.path} began: stored results are not of this code "
            )
            assert notes(capsys) == [expected + "alone"] * bool(text), command
    assert run_command(lambda: train.main([*words, "--seeds", "0-1"])) == 0
    begin = f"{NETWORK} has changed since {run.path} began", f"{TRANSFORM} has changed since {run.path} began"
    assert [a in b for a, b in zip(begin, notes(capsys), strict=True)] == [True, True]
    now, before = (json.loads((folder.path / run_code.CODE).read_text()) for folder in list(find(store))[::-1])
    assert before == stored  # which this command did not train
    assert now.keys() == stored.keys()
    assert all(now[name] != stored[name] for name in now)


def test_a_run_that_goes_on_with_other_code_keeps_both_hashes(edit: Edit, tmp_path: Path, capsys: Any) -> None:
    own_code.trust(NETWORK, TRANSFORM)
    path = tmp_path / CONFIG.folder
    path.mkdir(parents=True)
    run_code.record(path, CONFIG, 0)
    (first,) = json.loads((path / run_code.CODE).read_text())[TRANSFORM]
    run_code.record(path, CONFIG, 1)
    explain_code([CONFIG], tmp_path)
    assert notes(capsys) == []
    edit("# edited\n")
    run_code.record(path, CONFIG, 1)
    before, last = json.loads((path / run_code.CODE).read_text())[TRANSFORM]
    assert before == first != last
    second = second_stage(CONFIG, "crt")
    for configs in ([CONFIG], [second], [replace(CONFIG, seed=3), replace(CONFIG, seed=4)]):
        explain_code(configs, tmp_path)
        assert len(notes(capsys)) == 2
    explain_code([replace(CONFIG, epochs=7)], tmp_path)  # of another method
    assert notes(capsys) == []
    run_code.record(path, CONFIG, 0)  # it begins anew
    assert json.loads((path / run_code.CODE).read_text())[TRANSFORM] == [last]


@pytest.mark.parametrize("content", ["", "[]", '{"code_of_a_user:network": 3}', "[" * 100_000, None])
def test_runs_without_hashes_and_code_that_may_not_run_are_not_spoken_of(
    content: str | None, edit: Edit, tmp_path: Path, capsys: Any
) -> None:
    path = tmp_path / "run"
    path.mkdir()
    if content is not None:
        (path / run_code.CODE).write_text(content)
        own_code.trust(NETWORK, TRANSFORM)
    else:
        (path / run_code.CODE).write_text(json.dumps({NETWORK: ["0"], TRANSFORM: ["0"]}))
    run_code.note((path, CONFIG))
    assert notes(capsys) == []
    assert MODULE not in sys.modules


def test_runs_without_own_code_store_none(tmp_path: Path) -> None:
    run_code.record(tmp_path, replace(CONFIG, model="resnet18", transform="trivial"), 0)
    run_code.record(tmp_path, replace(CONFIG, model="timm:resnet18", transform="none"), 0)
    assert list(tmp_path.iterdir()) == []
