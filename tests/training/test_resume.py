"""Whatever interrupts a run, it ends as if nothing had."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from lpm.console.errors import InvalidInput
from tests.started import Command, Forked, checkpointed, wait_for
from training.config import RunConfig, with_preset
from training.data import datasets
from training.run import loop, trainer
from training.run.steps import Diverged
from training.store import checkpoints
from training.store.locks import Busy
from training.store.runs import RunFolder, find

TINY = replace(with_preset(RunConfig(), "smoke"), epochs=3, width=4, imbalance=10.0)
CPU = torch.device("cpu")
DATA = datasets.load("digits-lt", None, imbalance=10).fingerprint


def weights(store: Path) -> dict[str, bytes]:
    (folder,) = find(store)
    tensors = load_tensors((folder.path / "final.safetensors").read_bytes())
    return {k: v.numpy().tobytes() for k, v in tensors.items()}


def command(store: Path, *more: str) -> list[str]:
    words = [
        "--sampler",
        "bmls",
        "--classifier",
        "ms-unordered",
        "--epochs",
        "12",
        "--width",
        "4",
        "--warmup",
        "1",
        "--quiet",
    ]
    return ["training.train", "--store", str(store), *words, *more]


def test_killed_at_any_moment_a_run_ends_bit_for_bit_the_same(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert Forked(*command(whole)).ends().status == 0
    for epochs in (2, 4):
        killed = Forked(*command(broken))
        checkpointed(broken, killed, epochs)
        killed.process.kill()
        assert killed.ends().status == -signal.SIGKILL
    assert not list(broken.glob("*/seed-0/metrics.json"))
    assert Forked(*command(broken)).ends().status == 0
    assert weights(broken) == weights(whole)
    first, second = (next(find(s)).rows() for s in (whole, broken))
    assert [r["loss"] for r in first] == [r["loss"] for r in second]


def test_a_damaged_checkpoint_is_passed_over(digits: datasets.LongTailed, tmp_path: Path) -> None:
    reference, folder = RunFolder(tmp_path / "a", TINY), RunFolder(tmp_path / "b", TINY)
    loop.run(TINY, digits, reference, CPU)
    stop = RuntimeError("stop")

    def after_two(row: dict[str, Any]) -> None:
        if row["epoch"] == 2:
            raise stop

    with pytest.raises(RuntimeError, match="stop"):
        loop.run(TINY, digits, folder, CPU, on_epoch=after_two)
    last = folder.path / "checkpoint-0000002.safetensors"
    last.write_bytes(last.read_bytes()[:-1])
    checkpoint = folder.last_checkpoint()
    assert checkpoint is not None
    assert checkpoint[0] == 1
    loop.run(TINY, digits, folder, CPU)
    a, b = ((f.path / "final.safetensors").read_bytes() for f in (reference, folder))
    assert a == b


def test_a_second_process_is_refused_and_a_dead_one_holds_nothing(digits: datasets.LongTailed, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, TINY)
    folder.open(DATA)
    code = (
        "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True)"
    )
    words = [sys.executable, "-c", code + "; time.sleep(60)", str(folder.path / "lock")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InvalidInput, match="is being trained by another process"):
            loop.run(TINY, digits, folder, CPU)
        holder.kill()
    assert loop.run(TINY, digits, folder, CPU).method == "random+FC"


def test_weights_that_are_no_numbers_are_no_checkpoint(
    digits: datasets.LongTailed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer.Trainer, "state", lambda self: {"network.weight": torch.tensor([1.0, float("inf")])})
    with pytest.raises(Diverged, match=r"a weight is not finite after epoch 1, learning rate 0.05"):
        loop.run(TINY, digits, folder := RunFolder(tmp_path, TINY), CPU)
    assert not list(folder.path.glob("checkpoint-*"))


def test_a_full_disk_leaves_the_store_readable(
    digits: datasets.LongTailed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path, TINY)
    real = os.fsync

    def full(handle: int) -> None:
        if len(folder.rows()) >= 1:
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        loop.run(TINY, digits, folder, CPU)
    monkeypatch.undo()
    assert len(folder.rows()) == 1
    assert not list(folder.path.glob(".*"))
    checkpoint = folder.last_checkpoint()
    assert checkpoint is None or checkpoint[0] == 1
    assert loop.run(TINY, digits, folder, CPU).last


class Killed(BaseException):
    """kill -9, as far as a process can tell."""


@pytest.mark.parametrize("before", [True, False])
def test_killed_around_any_write_a_run_continues_and_loses_no_row(
    before: bool, digits: datasets.LongTailed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.store import runs

    config = replace(TINY, batch=243)
    loop.run(config, digits, whole := RunFolder(tmp_path / "whole", config), CPU)
    expected, real = (whole.path / "final.safetensors").read_bytes(), runs.write
    for number in range(100):
        remaining = number
        folder = RunFolder(tmp_path / str(number), config)

        def dying(path: Path, data: bytes) -> None:
            nonlocal remaining
            remaining -= 1
            if remaining == -1 and before:
                raise Killed
            real(path, data)
            if remaining == -1:
                raise Killed

        for module in (runs, checkpoints):
            monkeypatch.setattr(module, "write", dying)
        try:
            loop.run(config, digits, folder, CPU)
            ended = True
        except Killed:
            ended = False
        for module in (runs, checkpoints):
            monkeypatch.setattr(module, "write", real)
        loop.run(config, digits, folder, CPU)
        assert (folder.path / "final.safetensors").read_bytes() == expected
        assert [row["epoch"] for row in folder.rows()] == [1, 2, 3]
        assert folder.geometries() == [1, 2, 3]
        assert not list(folder.path.glob("checkpoint-*"))
        if ended:
            break
    assert number == 2 + 3 * 4 + 2  # config and data, four files an epoch, weights and metrics


def test_two_damaged_checkpoints_do_not_stand_in_the_way_of_new_ones(
    digits: datasets.LongTailed, tmp_path: Path
) -> None:
    config = replace(TINY, epochs=5, warmup=1)

    def stop_at(epoch: int) -> Any:
        def stop(row: dict[str, Any]) -> None:
            if row["epoch"] == epoch:
                raise RuntimeError("stop")

        return stop

    folder = RunFolder(tmp_path, config)
    with pytest.raises(RuntimeError, match="stop"):
        loop.run(config, digits, folder, CPU, on_epoch=stop_at(4))
    for file in folder.path.glob("checkpoint-*.safetensors"):
        file.write_bytes(b"damaged")
    with pytest.raises(RuntimeError, match="stop"):
        loop.run(config, digits, folder, CPU, on_epoch=stop_at(2))
    checkpoint = folder.last_checkpoint()
    assert checkpoint is not None
    assert checkpoint[0] == 2
    assert len(list(folder.path.glob("checkpoint-*.json"))) == 2


def test_an_error_while_training_is_not_taken_for_a_lock(digits: datasets.LongTailed, tmp_path: Path) -> None:
    def blocked(row: dict[str, Any]) -> None:
        raise BlockingIOError("a full pipe")

    with pytest.raises(BlockingIOError, match="a full pipe"):
        loop.run(TINY, digits, RunFolder(tmp_path, TINY), CPU, on_epoch=blocked)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_several_jobs_end_with_their_command_and_the_next_one_goes_on(how: signal.Signals, tmp_path: Path) -> None:
    words = ["training.train", "--epochs", "1000", "--width", "4", "--seeds", "0-5", "--jobs", "2", "--quiet"]
    command = Command(*words, "--store", str(tmp_path))
    wait_for(lambda: len(list(tmp_path.glob("*/seed-*/checkpoint-*.json"))) >= 2)
    if how == signal.SIGINT:
        os.killpg(command.process.pid, how)  # as a terminal does: to every process of the command
        status, _, err = command.ends()
        assert (status, err.strip()) == (130, "interrupted")
    else:
        command.process.kill()
        command.ends()

    def free(folder: RunFolder) -> bool:
        try:
            with folder.lock():
                return True
        except Busy:
            return False

    for folder in find(tmp_path):
        wait_for(partial(free, folder))  # until the orphans have noticed
        assert not folder.done


def test_what_a_killed_writer_left_is_swept(digits: datasets.LongTailed, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, TINY)
    folder.open(DATA)
    for name in (".checkpoint-0000001.json.4711", ".epochs.jsonl.4711", "checkpoint-0000009.safetensors"):
        (folder.path / name).write_bytes(b"half")
    (folder.path / ".notes").write_text("mine")
    loop.run(TINY, digits, folder, CPU)
    files = [f.name for f in folder.path.iterdir() if f.name.startswith(".") or "checkpoint" in f.name]
    assert files == [".notes"]


def test_rare_checkpoints_as_on_a_gpu_cost_time_and_nothing_else(
    digits: datasets.LongTailed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop.run(TINY, digits, whole := RunFolder(tmp_path / "a", TINY), CPU)
    monkeypatch.setitem(loop.CHECKPOINT_SECONDS, "cpu", 1e9)

    def stop(row: dict[str, Any]) -> None:
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        loop.run(TINY, digits, folder := RunFolder(tmp_path / "b", TINY), CPU, on_epoch=stop)
    assert folder.last_checkpoint() is None
    loop.run(TINY, digits, folder, CPU)
    a, b = ((f.path / "final.safetensors").read_bytes() for f in (whole, folder))
    assert a == b


@pytest.mark.parametrize(
    "change",
    [
        {"momentum": 0.0},
        {"batch": 97, "classifier": "etf", "loss": "dr", "width": 8},
        {"feature_decay": 0.1, "feature_decay_centred": True, "classifier_decay": 0.2, "decay_warmup": 2, "loss": "la"},
    ],
)
def test_odd_recipes_resume_too(change: dict[str, Any], digits: datasets.LongTailed, tmp_path: Path) -> None:
    """Without momentum there is no buffer; 486 pairs in batches of 97 leave a single one over."""
    config = replace(TINY, epochs=2, **change)
    assert "batch" not in change or len(digits.train.labels) % config.batch == 1
    loop.run(config, digits, whole := RunFolder(tmp_path / "a", config), CPU)

    def stop(row: dict[str, Any]) -> None:
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        loop.run(config, digits, folder := RunFolder(tmp_path / "b", config), CPU, on_epoch=stop)
    loop.run(config, digits, folder, CPU)
    a, b = ((f.path / "final.safetensors").read_bytes() for f in (whole, folder))
    assert a == b


def test_a_checkpoint_of_another_network_is_refused(digits: datasets.LongTailed, tmp_path: Path) -> None:
    other = trainer.Trainer(replace(TINY, width=8), digits, CPU)
    with pytest.raises(InvalidInput, match="does not fit the config"):
        trainer.Trainer(TINY, digits, CPU).load(1, save_tensors(other.state()))
    with pytest.raises(InvalidInput, match="does not fit the config"):
        trainer.Trainer(TINY, digits, CPU).load(1, b"no tensors")
