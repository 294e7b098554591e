"""The training loop and its command: it learns, it resumes bit for bit, it refuses what it must."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from lpm.errors import InvalidInput
from training import datasets, trainer
from training.config import RunConfig, from_json, with_preset
from training.runs import RunFolder, find, write
from training.tables import export
from training.train import config_of, main, seeds

ROOT = Path(__file__).parent.parent
TINY = replace(with_preset(RunConfig(), "smoke"), epochs=3, width=4, imbalance=10.0)
CPU = torch.device("cpu")
DATA = datasets.load("digits-lt", None, imbalance=10).fingerprint


@pytest.mark.parametrize(
    ("sampler", "classifier", "loss"),
    [
        ("random", "fc", "ce"),
        ("bmls", "ms-unordered", "ce"),
        ("cas", "ms", "ce"),
        ("bmls", "etf", "dr"),
        ("lom", "ms-wetf", "ce"),
    ],
)
def test_a_run_ends_with_everything_that_later_questions_need(
    sampler: Any, classifier: Any, loss: Any, digits: datasets.LongTailed, tmp_path: Path
) -> None:
    config = replace(TINY, sampler=sampler, classifier=classifier, loss=loss, width=8)
    rows: list[dict[str, Any]] = []
    folder = RunFolder(tmp_path, config)
    metrics = trainer.run(config, digits, folder, CPU, on_epoch=rows.append)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert folder.rows() == rows
    assert metrics["last"]["all"] == rows[-1]["test_all"]
    assert metrics["best"] == max(row["test_all"] for row in rows)
    assert np.mean(metrics["per_class"]) == pytest.approx(metrics["last"]["all"])
    assert folder.geometries() == [1, 2, 3]
    measured = folder.geometry(3)
    assert measured["class_vectors"].shape == (10, 32)
    assert measured["class_means"].shape == (10, 32)
    assert measured["pair_means"].shape == (8, 10, 10, 32)
    occurred = folder.final()["pair_counts"] > 0
    assert (measured["pair_number"] == 8 * occurred).all()  # every label pair that occurred, however rare
    assert (np.diff(measured["ratio_means"]) > 0).all()
    squares = (measured["pair_means"] ** 2).sum(axis=-1)
    assert (measured["pair_squares"] >= squares - 1e-3 * (1 + squares)).all()  # Jensen
    tensors = folder.final()
    assert int(tensors["pair_counts"].sum()) == 3 * len(digits.train.labels)
    assert tensors["test_features"].shape == (500, 32)
    assert tensors["lambdas"].shape == (3 * -(-len(digits.train.labels) // config.batch),)
    assert {p.name for p in folder.path.iterdir()} == {
        "config.json",
        "data.json",
        "epochs.jsonl",
        "final.safetensors",
        "geometry-0000001.safetensors",
        "geometry-0000002.safetensors",
        "geometry-0000003.safetensors",
        "lock",
        "metrics.json",
    }
    assert trainer.run(config, digits, folder, CPU) == metrics  # nothing is run twice


def test_a_finished_run_can_be_measured_again(digits: datasets.LongTailed, tmp_path: Path, capsys: Any) -> None:
    from training.measure import main as measure

    folder = RunFolder(tmp_path, replace(TINY, sampler="bmls"))
    trainer.run(folder.config, digits, folder, CPU)
    before = folder.geometry(3)
    (folder.path / "geometry-0000003.safetensors").write_bytes(b"damaged")
    assert measure([str(folder.path)]) == 0
    assert folder.geometries() == [3]
    after = folder.geometry(3)
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    (folder.path / "metrics.json").unlink()
    with pytest.raises(InvalidInput, match="is not finished"):
        measure([str(folder.path)])


def test_label_pairs_are_measured_by_design(digits: datasets.LongTailed) -> None:
    """Means of a network that returns what it sees are those of the mixed images themselves."""
    from training.geometry import measured

    learner = trainer.Trainer(replace(TINY, sampler="bmls"), digits, CPU)
    learner.label_counts[2, 7] = 1  # nothing else occurred
    asked: list[torch.Tensor] = []
    sides: list[torch.Tensor] = []
    mixed: list[torch.Tensor] = []
    images, met = learner.source.train, learner.met

    def watched_images(which: torch.Tensor) -> Iterator[torch.Tensor]:
        asked.append(which)
        sides.append(torch.cat(list(images(which))))
        return images(which)

    def watched_met(x: torch.Tensor) -> torch.Tensor:
        mixed.append(x)
        return met(x)

    learner.source.train = watched_images  # type: ignore[method-assign]
    learner.met = watched_met  # type: ignore[method-assign]
    found = measured(learner)
    assert (found["pair_number"] > 0).nonzero().tolist() == [[q, 2, 7] for q in range(8)]
    _, which = asked  # the first time, for the class means, it was all of them
    assert {tuple(pair) for pair in digits.train.labels[which.numpy()].tolist()} == {(2, 7)}
    first, second = sides[1].unbind(1)
    difference, seen = (first - second).flatten(1), torch.cat(mixed)[len(digits.train.labels) :]
    lam = ((seen - second).flatten(1) * difference).sum(dim=1) / (difference**2).sum(dim=1)
    assert torch.allclose(seen, lam.view(-1, 1, 1, 1) * (first - second) + second, atol=1e-4)
    assert torch.allclose(lam.view(8, 8).mean(dim=1), found["ratio_means"], atol=1e-4)
    assert ((lam.view(8, 8) * 8).floor() == torch.arange(8)[:, None]).all()  # alpha = 1: bins are eighths


def test_the_default_run_learns(tmp_path: Path) -> None:
    assert main(["--store", str(tmp_path), "--sampler", "bmls", "--quiet"]) == 0
    (folder,) = find(tmp_path)
    assert folder.metrics()["last"]["all"] > 80


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
        "6",
        "--width",
        "4",
        "--warmup",
        "1",
        "--quiet",
    ]
    return [sys.executable, "-m", "training.train", "--store", str(store), *words, *more]


def test_killed_at_any_moment_a_run_ends_bit_for_bit_the_same(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    subprocess.run(command(whole), cwd=ROOT, check=True)
    for epochs in (2, 4):
        process = subprocess.Popen(command(broken), cwd=ROOT)
        for _ in range(600):
            files = list(broken.glob("*/seed-0/checkpoint-*.json"))
            if any(int(f.stem.split("-")[1]) >= epochs for f in files):
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not list(broken.glob("*/seed-0/metrics.json"))
    subprocess.run(command(broken), cwd=ROOT, check=True)
    assert weights(broken) == weights(whole)
    first, second = (next(find(s)).rows() for s in (whole, broken))
    assert [r["loss"] for r in first] == [r["loss"] for r in second]


def test_a_damaged_checkpoint_is_passed_over(digits: datasets.LongTailed, tmp_path: Path) -> None:
    reference, folder = RunFolder(tmp_path / "a", TINY), RunFolder(tmp_path / "b", TINY)
    trainer.run(TINY, digits, reference, CPU)
    stop = RuntimeError("stop")

    def after_two(row: dict[str, Any]) -> None:
        if row["epoch"] == 2:
            raise stop

    with pytest.raises(RuntimeError, match="stop"):
        trainer.run(TINY, digits, folder, CPU, on_epoch=after_two)
    last = folder.path / "checkpoint-0000002.safetensors"
    last.write_bytes(last.read_bytes()[:-1])
    found = folder.last_checkpoint()
    assert found is not None
    assert found[0] == 1
    trainer.run(TINY, digits, folder, CPU)
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
            trainer.run(TINY, digits, folder, CPU)
        holder.kill()
    assert trainer.run(TINY, digits, folder, CPU)["method"] == "random+FC"


def test_weights_that_are_no_numbers_are_no_checkpoint(
    digits: datasets.LongTailed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer.Trainer, "state", lambda self: {"network.weight": torch.tensor([1.0, float("inf")])})
    with pytest.raises(trainer.Diverged, match=r"a weight is no number after epoch 1, learning rate 0.05"):
        trainer.run(TINY, digits, folder := RunFolder(tmp_path, TINY), CPU)
    assert not list(folder.path.glob("checkpoint-*"))


def test_a_loss_that_is_no_number_stops_the_run_at_its_step(
    digits: datasets.LongTailed, tmp_path: Path, capsys: Any
) -> None:
    learner = trainer.Trainer(TINY, digits, CPU)
    with torch.no_grad():
        next(learner.network.parameters()).fill_(float("nan"))
    with pytest.raises(trainer.Diverged, match=r"the loss is nan at epoch 1, step 1, learning rate 0.05"):
        learner.train_epoch()
    words = ["--lr", "900", "--warmup", "0", "--epochs", "3", "--width", "4", "--store", str(tmp_path / "s"), "--quiet"]
    assert main(words) == 1
    said = capsys.readouterr().err
    assert "diverged: random+FC, seed 0: " in said
    assert "checkpoint" in said


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
        trainer.run(TINY, digits, folder, CPU)
    monkeypatch.undo()
    assert len(folder.rows()) == 1
    assert not list(folder.path.glob(".*"))
    found = folder.last_checkpoint()
    assert found is None or found[0] == 1
    assert trainer.run(TINY, digits, folder, CPU)["last"]


class Killed(BaseException):
    """kill -9, as far as a process can tell."""


@pytest.mark.parametrize("before", [True, False])
def test_killed_around_any_write_a_run_continues_and_loses_no_row(
    before: bool, digits: datasets.LongTailed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training import runs

    trainer.run(TINY, digits, whole := RunFolder(tmp_path / "whole", TINY), CPU)
    expected, real = (whole.path / "final.safetensors").read_bytes(), runs.write
    for number in range(100):
        left = number
        folder = RunFolder(tmp_path / str(number), TINY)

        def dying(path: Path, data: bytes) -> None:
            nonlocal left
            left -= 1
            if left == -1 and before:
                raise Killed
            real(path, data)
            if left == -1:
                raise Killed

        monkeypatch.setattr(runs, "write", dying)
        try:
            trainer.run(TINY, digits, folder, CPU)
            ended = True
        except Killed:
            ended = False
        monkeypatch.setattr(runs, "write", real)
        trainer.run(TINY, digits, folder, CPU)
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
        trainer.run(config, digits, folder, CPU, on_epoch=stop_at(4))
    for file in folder.path.glob("checkpoint-*.safetensors"):
        file.write_bytes(b"damaged")
    with pytest.raises(RuntimeError, match="stop"):
        trainer.run(config, digits, folder, CPU, on_epoch=stop_at(2))
    found = folder.last_checkpoint()
    assert found is not None
    assert found[0] == 2
    assert len(list(folder.path.glob("checkpoint-*.json"))) == 2


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
    metrics = trainer.run(folder.config, digits, folder, CPU)
    (folder.path / "metrics.json").write_text(json.dumps(metrics | change))
    with pytest.raises(InvalidInput, match=r"metrics\.json' is damaged"):
        folder.metrics()


def test_a_temporary_name_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "mine"
    target.write_text("mine")
    (tmp_path / f".config.json.{os.getpid()}").symlink_to(target)
    write(tmp_path / "config.json", b"{}")
    assert target.read_text() == "mine"
    assert (tmp_path / "config.json").read_bytes() == b"{}"


def test_an_error_while_training_is_not_taken_for_a_lock(digits: datasets.LongTailed, tmp_path: Path) -> None:
    def blocked(row: dict[str, Any]) -> None:
        raise BlockingIOError("a full pipe")

    with pytest.raises(BlockingIOError, match="a full pipe"):
        trainer.run(TINY, digits, RunFolder(tmp_path, TINY), CPU, on_epoch=blocked)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_several_jobs_end_with_their_command_and_the_next_one_goes_on(how: signal.Signals, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "training.train", "--epochs", "60", "--width", "4", "--seeds", "0-5", "--jobs", "2"]
    words += ["--store", str(tmp_path), "--quiet"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        words, cwd=ROOT, env=environment, start_new_session=True, stderr=subprocess.PIPE, text=True
    )
    for _ in range(1200):
        if len(list(tmp_path.glob("*/seed-*/checkpoint-*.json"))) >= 2:
            break
        time.sleep(0.05)
    if how == signal.SIGINT:
        os.killpg(process.pid, how)  # as a terminal does: to every process of the command
    else:
        process.send_signal(how)
    _, said = process.communicate(timeout=30)
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert said.strip() == "interrupted"
    for folder in find(tmp_path):
        for _ in range(200):  # until the orphans have noticed
            try:
                with folder.lock():
                    break
            except InvalidInput:
                time.sleep(0.05)
        else:
            raise AssertionError(f"{folder.path} is still held")
        assert not folder.done


def test_what_a_killed_writer_left_is_swept(digits: datasets.LongTailed, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, TINY)
    folder.open(DATA)
    for name in (".checkpoint-0000001.json.4711", ".epochs.jsonl.4711", "checkpoint-0000009.safetensors"):
        (folder.path / name).write_bytes(b"half")
    trainer.run(TINY, digits, folder, CPU)
    assert not [f.name for f in folder.path.iterdir() if f.name.startswith(".") or "checkpoint" in f.name]


def test_rare_checkpoints_as_on_a_gpu_cost_time_and_nothing_else(
    digits: datasets.LongTailed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer.run(TINY, digits, whole := RunFolder(tmp_path / "a", TINY), CPU)
    monkeypatch.setitem(trainer.CHECKPOINT_SECONDS, "cpu", 1e9)

    def stop(row: dict[str, Any]) -> None:
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        trainer.run(TINY, digits, folder := RunFolder(tmp_path / "b", TINY), CPU, on_epoch=stop)
    assert folder.last_checkpoint() is None
    trainer.run(TINY, digits, folder, CPU)
    a, b = ((f.path / "final.safetensors").read_bytes() for f in (whole, folder))
    assert a == b


def test_bf16_and_fp32_learn_alike(digits: datasets.LongTailed, tmp_path: Path) -> None:
    losses = []
    for precision in ("bf16", "fp32"):
        config = replace(TINY, precision=precision, epochs=2)
        trainer.run(config, digits, folder := RunFolder(tmp_path, config), CPU)
        losses.append([row["loss"] for row in folder.rows()])
    assert np.allclose(losses[0], losses[1], rtol=0.05)
    assert losses[0] != losses[1]


@pytest.mark.parametrize("change", [{"momentum": 0.0}, {"batch": 97, "classifier": "etf", "loss": "dr", "width": 8}])
def test_odd_recipes_resume_too(change: dict[str, Any], digits: datasets.LongTailed, tmp_path: Path) -> None:
    """Without momentum there is no buffer; 486 pairs in batches of 97 leave a single one over."""
    config = replace(TINY, epochs=2, **change)
    assert "batch" not in change or len(digits.train.labels) % config.batch == 1
    trainer.run(config, digits, whole := RunFolder(tmp_path / "a", config), CPU)

    def stop(row: dict[str, Any]) -> None:
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        trainer.run(config, digits, folder := RunFolder(tmp_path / "b", config), CPU, on_epoch=stop)
    trainer.run(config, digits, folder, CPU)
    a, b = ((f.path / "final.safetensors").read_bytes() for f in (whole, folder))
    assert a == b


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
            trainer.run(folder.config, digits, folder, CPU)
    else:
        assert trainer.run(folder.config, digits, folder, CPU)["last"]


def test_a_run_is_a_run_on_its_data(digits: datasets.LongTailed, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, TINY)
    trainer.run(TINY, digits, folder, CPU)
    other = replace(digits, name="digits-jpeg-lt")
    with pytest.raises(InvalidInput, match=r"on other data or weights \(digits-lt\)"):
        trainer.run(TINY, other, folder, CPU)


def test_what_cannot_be_built_leaves_nothing_behind(digits: datasets.LongTailed, tmp_path: Path) -> None:
    config = replace(TINY, classifier="etf", width=1)
    with pytest.raises(InvalidInput, match="p >= K"):
        trainer.run(config, digits, RunFolder(tmp_path / "s", config), CPU)
    assert not (tmp_path / "s").exists()


def test_a_finished_run_needs_no_lock(digits: datasets.LongTailed, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, TINY)
    first = trainer.run(TINY, digits, folder, CPU)
    (folder.path / "lock").unlink()
    (folder.path / "lock").mkdir()
    assert trainer.run(TINY, digits, folder, CPU) == first


def test_copies_and_damaged_runs_are_left_out_of_the_export(digits: datasets.LongTailed, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, TINY)
    trainer.run(TINY, digits, folder, CPU)
    shutil.copytree(folder.path.parent, tmp_path / "backup")
    (tmp_path / "broken" / "seed-0").mkdir(parents=True)
    (tmp_path / "broken" / "seed-0" / "config.json").write_text("{}")
    assert len(export(tmp_path)) == 4


def test_classes_for_all_label_pairs_have_a_name_of_their_own() -> None:
    names = {
        replace(TINY, sampler="bmls", classifier=c).method
        for c in ("ms", "ms-unordered", "ms-wetf", "ms-wetf-unordered")
    }
    assert names == {"BMLS+MS-all", "BMLS+MS", "BMLS+MS-WETF-all+CE", "BMLS+MS-WETF+CE"}
    assert replace(TINY, classifier="ms").method == "random+MS"


def test_a_lock_that_is_a_link_is_refused_and_its_target_is_left_alone(
    digits: datasets.LongTailed, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "store", TINY)
    folder.open(DATA)
    target = tmp_path / "mine"
    target.write_text("mine")
    (folder.path / "lock").symlink_to(target)
    with pytest.raises(InvalidInput, match="cannot be opened"):
        trainer.run(TINY, digits, folder, CPU)
    assert target.read_text() == "mine"


def test_mixing_ratios_follow_the_law() -> None:
    draws = np.concatenate([trainer.mixing_ratios(replace(TINY, alpha=0.2), e, 128_000) for e in range(1, 20)])
    assert abs(draws.mean() - 0.5) < 0.01
    assert abs(draws.var() - 1 / (4 * (2 * 0.2 + 1))) < 0.005


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"imbalance": 0.5}, "imbalance = 0.5 must lie in 1..1e9, n_max / n_min"),
        ({"epochs": 0}, "epochs = 0 must be at least 1"),
        ({"sampler": "smote"}, "sampler 'smote' is unknown"),
        ({"classifier": "ms-unordered"}, "label pairs a < b only; sampler 'random' draws"),
        ({"classifier": "ms-wetf-unordered"}, "label pairs a < b only"),
        ({"loss": "dr"}, "loss 'dr' \\(dot regression\\) is defined for classifier 'etf'"),
        ({"drops": (0.9, 0.8)}, "must be rising shares"),
        ({"drops": 5}, "drops '5' has the wrong type"),
        ({"epochs": 2.5}, "epochs '2.5' has the wrong type"),
        ({"bias": "no"}, "bias 'no' has the wrong type"),
        ({"seed": True}, "seed 'True' has the wrong type"),
        ({"lr": float("nan")}, "lr = nan must be finite"),
        ({"imbalance": float("inf")}, "imbalance = inf must be finite"),
        ({"seed": 10**20}, "seed = 1e\\+20 must lie in"),
        ({"preset": "../../x"}, "must be a short word"),
        ({"cas_m": 8}, "cas-m has a meaning for sampler 'cas' only"),
        ({"coverage": 0.4}, "coverage has a meaning for sampler 'coverage' only"),
        ({"scale": 2.0}, "scale has a meaning for classifier 'ms-wetf' only"),
        ({"classifier": "etf", "bias": False}, "bias has a meaning for classifiers 'fc' and 'ms' only"),
        ({"features": "whitened"}, "features 'whitened' is unknown"),
        ({"scale": 0.0, "classifier": "ms-wetf"}, "scale = 0 must be positive"),
    ],
)
def test_impossible_choices_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        replace(TINY, **change)


def test_configs_have_stable_keys_and_read_back() -> None:
    assert replace(TINY, seed=5).key == TINY.key
    assert replace(TINY, alpha=0.2).key != TINY.key
    assert (
        RunConfig().key == "44136fa355b3"
    )  # of no choice at all: a later choice with a default leaves every key as it is
    data = json.loads(json.dumps(TINY.__dict__))
    assert from_json(data) == TINY
    assert from_json({"dataset": "digits-lt", "seed": 0}) == RunConfig()  # choices of later versions at their defaults
    for wrong in ({"dataset": "digits-lt"}, {**data, "colour": "red"}, [], {**data, "drops": [[0.5]]}):
        with pytest.raises(InvalidInput):
            from_json(wrong)  # type: ignore[arg-type]


def test_a_checkpoint_of_another_network_is_refused(digits: datasets.LongTailed, tmp_path: Path) -> None:
    other = trainer.Trainer(replace(TINY, width=8), digits, CPU)
    with pytest.raises(InvalidInput, match="does not fit the config"):
        trainer.Trainer(TINY, digits, CPU).load(1, save_tensors(other.state()))
    with pytest.raises(InvalidInput, match="does not fit the config"):
        trainer.Trainer(TINY, digits, CPU).load(1, b"no tensors")


def test_seed_lists() -> None:
    assert seeds("0-2,7,1") == [0, 1, 2, 7]
    for wrong in ("5-1", "a", "1-", "-1", "0-99999999", "1,,2"):
        with pytest.raises(Exception, match="seeds"):
            seeds(wrong)


def test_two_runs_at_once_are_the_same_as_one_after_the_other(tmp_path: Path) -> None:
    words = ["-m", "training.train", "--epochs", "2", "--width", "4", "--seeds", "0-1", "--quiet"]
    for jobs in ("1", "2"):
        where = ["--store", str(tmp_path / jobs), "--jobs", jobs]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, *words, *where], cwd=ROOT, check=True, env=environment)
    one, two = (sorted((tmp_path / jobs).glob("*/*/final.safetensors")) for jobs in ("1", "2"))
    assert [p.read_bytes() for p in one] == [p.read_bytes() for p in two]
    assert len(one) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "cifar10-lt"], "needs --data-root"),
        (["--dataset", "svhn"], "'svhn' is unknown"),
        (["--imbalance", "0.1"], "imbalance = 0.1 must lie in 1..1e9, n_max / n_min"),
        (["--imbalance", "1000"], "class 7 has 129 images and should keep 0"),
        (["--classifier", "ms-unordered"], "label pairs a < b only"),
        (["--device", "cuda"], "no CUDA device"),
        (["--seeds", "x"], "is not a list of seeds"),
        (["--jobs", "0"], "is not a number of processes"),
        (["--epoch", "3"], "did you mean '--epochs'"),
    ],
)
def test_bad_use_is_one_line_and_nothing_is_written(arguments: list[str], message: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    done = subprocess.run(
        [sys.executable, "-m", "training.train", "--store", str(store), *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not store.exists()


def test_options_change_the_preset_and_say_so() -> None:
    import argparse

    options = argparse.Namespace(preset="quick", dataset="cifar10-lt", imbalance=100.0, epochs=5)
    assert config_of(options).preset == "quick+"
    options = argparse.Namespace(preset="quick", dataset="cifar10-lt", imbalance=100.0, alpha=0.2)
    assert config_of(options).preset == "quick+"
    options = argparse.Namespace(preset="quick", dataset="cifar10-lt", imbalance=100.0, epochs=30)
    assert config_of(options).preset == "quick"
    options = argparse.Namespace(preset="quick", dataset="cifar10-lt", imbalance=100.0)
    assert config_of(options).preset == "quick"
    assert config_of(options).model == "resnet8"
