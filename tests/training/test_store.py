"""The run store: what it refuses, and what damage leaves readable."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lpm.console.cli import run as run_command
from lpm.console.errors import InvalidInput
from lpm.console.output import write
from tests.training.own import older
from training.config import RunConfig, with_preset
from training.confusion import main as confusion
from training.data import datasets
from training.run import loop
from training.store import runs
from training.store.rows import export
from training.store.runs import RunFolder

TINY = replace(with_preset(RunConfig(), "smoke"), epochs=3, width=4, imbalance=10.0)
CPU = torch.device("cpu")
DATA = datasets.load("digits-lt", None, imbalance=10).fingerprint


@pytest.mark.parametrize(
    "change",
    [
        {"last": {"all": 1e999}},
        {"last": {"all": float("nan")}},
        {"last": {"all": 101}},
        {"last": {"many": 3.0}},
        {"dataset": "x\ny"},
        {"dataset": "\x1b[31m"},
        {"device": "a\x1b]0;title\x07"},
        {"best": "high"},
    ],
)
def test_results_that_no_run_can_have_are_refused(
    change: dict[str, Any], digits: datasets.LongTailed, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path, replace(TINY, epochs=1, warmup=1))
    loop.run(folder.config, digits, folder, CPU)
    older(folder)
    content = json.loads((folder.path / "metrics.json").read_bytes())
    (folder.path / "metrics.json").write_text(json.dumps(content | change))
    with pytest.raises(InvalidInput, match=r"metrics\.json' is damaged"):
        folder.result()


def test_a_temporary_name_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "mine"
    target.write_text("mine")
    (tmp_path / f".config.json.{os.getpid()}").symlink_to(target)
    write(tmp_path / "config.json", b"{}")
    assert target.read_text() == "mine"
    assert (tmp_path / "config.json").read_bytes() == b"{}"


@pytest.mark.parametrize("name", ["metrics.json", "config.json", "checkpoint-0000001.json", "epochs.jsonl"])
@pytest.mark.parametrize("content", ["", "[]", "null", "{}", "[" * 100_000, '{"last": {"all": "x"}}'])
def test_a_damaged_store_never_ends_in_a_traceback(
    name: str, content: str, digits: datasets.LongTailed, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path, replace(TINY, epochs=1, warmup=1))
    folder.open(DATA)
    (folder.path / name).write_text(content)
    if name in ("metrics.json", "config.json"):
        with pytest.raises(InvalidInput, match=name):
            loop.run(folder.config, digits, folder, CPU)
    else:
        assert loop.run(folder.config, digits, folder, CPU).last


@pytest.mark.parametrize("name", ["metrics.json", "final.safetensors", "checkpoint-0000009.json", "epochs.jsonl"])
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_something_under_the_name_of_a_file_is_refused_before_a_run_is_trained(
    make: Callable[[Path], None], name: str, digits: datasets.LongTailed, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path, replace(TINY, epochs=1, warmup=1))
    folder.open(DATA)
    make(folder.path / name)
    with pytest.raises(InvalidInput, match=f"{name}' is not a file; move it away"):
        loop.run(folder.config, digits, folder, CPU)
    assert not folder.done


def test_a_file_that_another_process_removes_meanwhile_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path, TINY)
    folder.open(DATA)
    gone = folder.path / "checkpoint-0000001.json"
    monkeypatch.setattr(Path, "glob", lambda path, pattern: iter([gone]))  # listed, and not there any more
    folder.check(DATA)
    gone.symlink_to("nowhere")
    with pytest.raises(InvalidInput, match="is not a file"):
        folder.check(DATA)


def test_a_run_is_tied_to_its_data(digits: datasets.LongTailed, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, TINY)
    loop.run(TINY, digits, folder, CPU)
    other = replace(digits, name="digits-jpeg-lt")
    with pytest.raises(InvalidInput, match=r"on other data or weights \(digits-lt\)"):
        loop.run(TINY, other, folder, CPU)


def test_a_run_that_cannot_be_built_leaves_nothing_behind(digits: datasets.LongTailed, tmp_path: Path) -> None:
    config = replace(TINY, classifier="etf", width=1)
    with pytest.raises(InvalidInput, match="p >= K"):
        loop.run(config, digits, RunFolder(tmp_path / "s", config), CPU)
    assert not (tmp_path / "s").exists()


def test_a_finished_run_needs_no_lock(digits: datasets.LongTailed, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, TINY)
    first = loop.run(TINY, digits, folder, CPU)
    (folder.path / "lock").unlink()
    (folder.path / "lock").mkdir()
    assert loop.run(TINY, digits, folder, CPU) == first


def test_copies_and_damaged_runs_are_left_out_of_the_export(digits: datasets.LongTailed, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, TINY)
    loop.run(TINY, digits, folder, CPU)
    shutil.copytree(folder.path.parent, tmp_path / "backup")
    (tmp_path / "broken" / "seed-0").mkdir(parents=True)
    (tmp_path / "broken" / "seed-0" / "config.json").write_text("{}")
    assert len(export(tmp_path)) == 4


def test_a_lock_that_is_a_link_is_refused_and_its_target_is_left_alone(
    digits: datasets.LongTailed, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "store", TINY)
    folder.open(DATA)
    target = tmp_path / "mine"
    target.write_text("mine")
    (folder.path / "lock").symlink_to(target)
    with pytest.raises(InvalidInput, match="cannot be opened"):
        loop.run(TINY, digits, folder, CPU)
    assert target.read_text() == "mine"


@pytest.mark.parametrize("name", ["config.json", "data.json"])
def test_what_a_killed_process_left_before_its_first_rename_is_removed(
    name: str, digits: datasets.LongTailed, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path, replace(TINY, epochs=1, warmup=1))
    folder.path.mkdir(parents=True)
    (folder.path / f".{name}.4711").write_text("{}")
    (folder.path / ".mine").write_text("")
    with folder.lock(), pytest.raises(InvalidInput, match="is being trained by"):
        loop.run(folder.config, digits, folder, CPU)
    assert (folder.path / f".{name}.4711").exists()  # its process may be alive while another holds the run
    assert loop.run(folder.config, digits, folder, CPU).last
    assert [file.name for file in folder.path.glob(".*")] == [".mine"]


@pytest.mark.parametrize("name", ["final.safetensors", "geometry-0000001.safetensors"])
def test_a_pipe_in_a_finished_run_is_not_waited_for(
    name: str, digits: datasets.LongTailed, tmp_path: Path, capsys: Any
) -> None:
    folder = RunFolder(tmp_path, replace(TINY, epochs=1, warmup=1))
    loop.run(folder.config, digits, folder, CPU)
    (folder.path / name).unlink()
    os.mkfifo(folder.path / name)
    assert run_command(lambda: confusion([str(folder.path)])) == 2
    assert capsys.readouterr().err == f"error: {str(folder.path / name)!r} is not a regular file\n"


def test_a_store_stands_for_all_its_finished_runs(digits: datasets.LongTailed, tmp_path: Path) -> None:
    configs = [replace(TINY, sampler=sampler, seed=seed) for sampler in ("random", "cas") for seed in (0, 1)]
    for config in configs:
        loop.run(config, digits, RunFolder(tmp_path, config), CPU)
    assert {folder.config for folder in runs.named([tmp_path])} == set(configs)
    assert [folder.config.seed for folder in runs.named([tmp_path])] == [0, 1, 0, 1]
    assert runs.run_paths([tmp_path / "none"]) == [tmp_path / "none"]
