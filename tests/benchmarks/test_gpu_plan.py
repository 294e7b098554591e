"""The GPU plan, on the CPU: failures, the time limit, and results of earlier calls."""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import captured, gpu_plan, gpu_runs
from lpm.console import cli
from tests.started import wait_for
from tests.test_docs_commands import cifar as cifar10
from training import experiments, queue
from training.config import RunConfig, with_preset
from training.data import datasets
from training.jobs.work import Work
from training.model import build
from training.named import GROUPS
from training.store.rows import COLUMNS
from training.store.runs import find

PLAN, LOADED = gpu_runs.plan, gpu_runs.long_tailed
"""The plan itself and its data; the other tests put small ones in their place."""
TINY = replace(with_preset(RunConfig(), "smoke"), epochs=2, width=4, imbalance=10.0)
DIGITS = datasets.load("digits-lt", None, imbalance=10.0)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the plan three runs on the digits, which train in this process, as on CUDA."""
    monkeypatch.setattr(gpu_runs, "plan", lambda preset: [replace(TINY, seed=seed) for seed in range(3)])
    monkeypatch.setattr(gpu_runs, "long_tailed", lambda root, imbalance, tail="exp": DIGITS)
    monkeypatch.setattr(gpu_runs, "in_flight", lambda runs, work, jobs: (work.train(run, print) for run in runs))


def words(tmp_path: Path, *more: str) -> list[str]:
    return [
        "--data-root",
        ".",
        "--store",
        str(tmp_path / "s"),
        "--out",
        str(tmp_path),
        "--device",
        "cpu",
        "--jobs",
        "1",
        *more,
    ]


def rows(path: Path) -> list[tuple[str, str]]:
    with path.open(newline="") as file:
        return [(row["config"], row["seed"]) for row in csv.DictReader(file) if row["split"] == "all"]


def test_rows_of_skipped_runs_are_kept_and_nothing_is_trained_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gpu_plan.main(words(tmp_path, "--part", "train")) == 0
    assert sorted(set(rows(tmp_path / "runs.csv"))) == [(TINY.key, str(seed)) for seed in range(3)]
    with (tmp_path / "runs.csv").open() as file:  # what comes back from the machine has the corrections
        assert {"random+FC", "random+FC, post-hoc LA", "random+FC, NCM"} <= {
            row["method"] for row in csv.DictReader(file)
        }
    first = [line for line in (tmp_path / "runs.csv").read_text().splitlines(keepends=True) if ",1,smoke" not in line]
    (tmp_path / "known.csv").write_text("".join(first))
    trained = []
    stages = Work.stages

    def noted(self: Work, config: RunConfig, report: Any) -> Any:
        trained.append(config.seed)
        return stages(self, config, report)

    monkeypatch.setattr(Work, "stages", noted)
    again = [*words(tmp_path, "--part", "train", "--skip", str(tmp_path / "known.csv")), "--store", str(tmp_path / "t")]
    assert gpu_plan.main(again) == 0
    assert trained == [1]
    assert sorted(set(rows(tmp_path / "runs.csv"))) == [(TINY.key, str(seed)) for seed in range(3)]


def test_a_correction_that_fails_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def fails(*_: Any) -> Any:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(gpu_runs, "every_defined", fails)
    monkeypatch.setattr(gpu_runs, "UNCORRECTED", set())
    assert gpu_plan.main(words(tmp_path, "--part", "train")) == 0
    assert sorted(set(rows(tmp_path / "runs.csv"))) == [(TINY.key, str(seed)) for seed in range(3)]
    assert capsys.readouterr().out.count("is not corrected: RuntimeError: out of memory") == 3
    assert (tmp_path / "failures.txt").read_text().count(", correction\n") == 3


@pytest.mark.parametrize(("messages", "ends"), [(["a", "b", "c"], False), (["a", "a", "c"], True)])
def test_runs_that_fail_alike_end_the_plan(
    messages: list[str], ends: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Work, config: RunConfig, report: Any) -> Generator[None, None, None]:
        yield
        raise RuntimeError(messages[config.seed])

    monkeypatch.setattr(Work, "stages", fail)
    if ends:
        with pytest.raises(RuntimeError, match="a"):
            gpu_plan.main(words(tmp_path, "--part", "train"))
    else:
        assert gpu_plan.main(words(tmp_path, "--part", "train")) == 0
    failures = (tmp_path / "failures.txt").read_text()
    assert failures.count("Traceback") == (2 if ends else 3)


def test_when_the_time_is_up_a_run_ends_between_epochs(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, epochs = [0.0], list[tuple[int, int]]()

    def stages(self: Work, config: RunConfig, report: Any) -> Generator[None, None, None]:
        for epoch in (1, 2, 3):
            yield
            epochs.append((config.seed, epoch))
            clock[0] += 40
            report(epoch, "one more")

    monkeypatch.setattr(Work, "stages", stages)
    monkeypatch.setattr(gpu_runs, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    assert gpu_plan.main(words(tmp_path, "--part", "train", "--minutes", "1")) == 0
    assert epochs == [(0, 1), (0, 2)]
    assert "time is up" in capsys.readouterr().out


def test_the_very_first_run_trains_alone_whatever_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    together = list[tuple[list[int], int]]()
    monkeypatch.setattr(
        gpu_runs, "in_flight", lambda runs, work, jobs: together.append(([r.seed for r in runs], jobs)) or ()
    )
    known = tmp_path / "known.csv"
    known.write_text(",".join(COLUMNS) + "\n" + ",".join(["x"] * len(COLUMNS)) + "\n")
    assert gpu_plan.main([*words(tmp_path, "--part", "train", "--skip", str(known)), "--jobs", "4"]) == 0
    assert together == [([0], 1), ([1, 2], 4)]


@pytest.mark.parametrize(
    ("failing", "status", "begun"),
    [
        ((), 0, ["check", "train", "speed", "bound", "profile"]),
        (("speed", "profile"), 1, ["check", "train", "speed", "bound", "profile"]),
        (("check",), 1, ["check", "train plain", "speed plain", "bound plain", "profile plain"]),
        (("train",), 1, ["check", "train", "train plain", "speed plain", "bound plain", "profile plain"]),
    ],
)
def test_after_a_part_that_fails_the_others_go_on(
    failing: tuple[str, ...], status: int, begun: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = processes(monkeypatch, tmp_path, failing)
    assert gpu_plan.main(words(tmp_path)) == status
    assert calls == begun


def processes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, failing: tuple[str, ...]) -> list[str]:
    """Replace the processes of the parts. Return a list of the parts that are begun; those that do not fail write a file."""
    calls = list[str]()
    (tmp_path / "s").mkdir(exist_ok=True)

    def process(part: str, options: Any, plain: bool, end: float, limit: float) -> int:
        calls.append(part + " plain" * plain)
        if (file := gpu_plan.PARTS[part].file) and part not in failing:
            (tmp_path / "s" / file).write_text(part)
        return int(calls[-1] in failing)

    monkeypatch.setattr(gpu_plan, "_process", process)
    monkeypatch.setattr(gpu_plan.cifar, "read", lambda root, K: None)
    return calls


def test_no_part_is_measured_again_and_a_part_that_fails_twice_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    calls = processes(monkeypatch, tmp_path, ("speed",))
    for later in (["check", "train", "speed", "bound", "profile"], ["train", "speed"], ["train"]):
        calls.clear()
        for file in ("bound.csv", "profile.txt"):
            (tmp_path / file).unlink(missing_ok=True)
        gpu_plan.main(words(tmp_path))
        assert calls == later
        if later != ["check", "train", "speed", "bound", "profile"]:
            assert (tmp_path / "bound.csv").read_text() == "bound"
    assert "speed: left out after 2 attempts" in capsys.readouterr().out


def test_a_damaged_file_of_attempts_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = processes(monkeypatch, tmp_path, ())
    (tmp_path / "s" / "attempts.txt").write_bytes(b"\xff\xfe plain")
    assert gpu_plan.main(words(tmp_path)) == 0
    assert calls == ["train plain", "speed plain", "bound plain", "profile plain"]


def test_plain_steps_stay_plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = processes(monkeypatch, tmp_path, ("check",))
    gpu_plan.main(words(tmp_path))
    calls.clear()
    gpu_plan.main(words(tmp_path))
    assert calls == ["train plain"]


def test_a_part_that_takes_too_long_leaves_nothing_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note = tmp_path / "pid"
    run = tmp_path / "python"
    run.write_text(f"#!/bin/sh\nsleep 600 &\necho $! > '{note}'\nwait\n")
    run.chmod(0o755)
    monkeypatch.setattr(gpu_plan.sys, "executable", str(run))
    options = argparse.Namespace(data_root=".", store="s", out=".", skip=None, jobs=1, preset="quick", device="cpu")
    assert gpu_plan._process("speed", options, True, time.monotonic() + 1, 1.0) == 124

    def gone() -> bool:
        try:
            return "zombie" in Path(f"/proc/{note.read_text().strip()}/status").read_text()
        except OSError:
            return True

    wait_for(gone)  # a killed process is gone after a moment


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--data-root", "/nonexistent"], "holds no CIFAR-10"),
        (["--out", "/dev/null/x"], "cannot be made"),
        (["--skip", "/nonexistent"], "cannot be read"),
        (["--skip", __file__], "has no rows with the columns dataset"),
        (["--skip", sys.executable], "has no rows with the columns dataset"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_measured(
    given: list[str], message: str, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = gpu_plan.cifar.read
    calls = processes(monkeypatch, tmp_path, ())
    if "--data-root" in given:
        monkeypatch.setattr(gpu_plan.cifar, "read", read)
    assert cli.run(lambda: gpu_plan.main([*words(tmp_path), *given])) == 2
    assert message in capsys.readouterr().err
    assert calls == []


def test_a_dry_run_checks_what_is_given_and_says_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    calls = processes(monkeypatch, tmp_path, ())
    finished = [replace(TINY, seed=seed) for seed in range(3)]
    monkeypatch.setattr(gpu_runs, "groups", lambda preset: {"one": finished[:2], "two": finished})
    assert gpu_plan.main(words(tmp_path, "--dry-run")) == 0
    assert capsys.readouterr().out.splitlines() == [
        "check: at most 1.5 min",
        "train: one: 2 runs, 2 left",
        "train: two: 3 runs, 1 left",
        "speed: at most 4 min",
        "bound: at most 2 min",
        "profile: at most 1 min",
    ]
    gpu_plan.main(words(tmp_path, "--part", "train"))
    (tmp_path / "s/speed.csv").write_text("")
    capsys.readouterr()
    assert gpu_plan.main(words(tmp_path, "--dry-run")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:4] == ["train: one: 2 runs, 0 left", "train: two: 3 runs, 0 left", "speed: done"]
    assert not calls


def test_the_plan_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """It reads CIFAR's files and trains the first run of the real plan for an epoch, when the time is up."""
    cifar10(tmp_path)
    clock, train = [0.0], Work.stages

    def one_epoch(self: Work, config: RunConfig, report: Any) -> Any:
        def late(epochs: float, state: str) -> None:
            clock[0] += 61 * bool(state)
            report(epochs, state)

        return train(self, config, late)

    monkeypatch.setattr(Work, "stages", one_epoch)
    monkeypatch.setattr(gpu_runs, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    for name, real in (("plan", PLAN), ("long_tailed", LOADED)):
        monkeypatch.setattr(gpu_runs, name, real)
    given = ["--part", "train", "--preset", "smoke", "--minutes", "1", "--data-root", str(tmp_path / "D")]
    assert gpu_plan.main([*words(tmp_path), *given]) == 0
    assert "time is up" in capsys.readouterr().out
    assert not (tmp_path / "failures.txt").exists()
    begun = find(tmp_path / "s")
    assert [(folder.config.method, folder.epochs) for folder in begun] == [("BMLS+MS", 1)]


@pytest.mark.parametrize("given", ["nan", "0", "-1", "1e9", "x"])
def test_a_time_limit_is_some_minutes(given: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not a number of minutes"):
        gpu_plan.minutes(given)


def test_captured_steps_are_compared_with_plain_ones(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captured, "METHODS", {"FC": ("random", "fc")})
    assert captured.compared(build.device("cpu"), 1) == 0
    made, seeds = captured.Trainer, [0, 0, 1, 0, 1, 1]

    def other(config: RunConfig, *given: Any, **more: Any) -> Any:
        return made(replace(config, seed=seeds.pop(0)), *given, **more)

    monkeypatch.setattr(captured, "Trainer", other)
    capsys.readouterr()
    assert captured.compared(build.device("cpu"), 1) == 1
    assert "captured and plain steps differ: loss of step 0, losses, " in capsys.readouterr().out
    assert captured.compared(build.device("cpu"), 1) == 0
    assert "plain steps differ among themselves" in capsys.readouterr().out


def test_the_plan_has_each_run_once_and_trains_around_the_threshold_of_the_law() -> None:
    runs = PLAN("paper")
    assert len({(run.key, run.seed) for run in runs}) == len(runs)
    penalised = [run for run in runs if run.classifier_decay]
    assert {run.tail for run in penalised} == {"step"}
    pi_B = 50 / (5 * 5000 + 5 * 50)
    shares = {round((run.classifier_decay / (2 / 3 * pi_B) ** 0.5), 6) for run in penalised}
    assert shares == {0.8, 0.95, 1.05}


def test_the_plan_begins_with_the_papers_method_against_the_simple_ones() -> None:
    runs = PLAN("paper")
    assert {(run.epochs, run.dataset) for run in runs} == {(200, "cifar10-lt")}
    assert runs[:72] == queue.plan()
    of_table4 = [run for run in runs if run.method in experiments.TABLES[4].methods and run.preset == "paper"]
    assert len(of_table4) == 4 * 4 * 5  # methods, imbalances, seeds: the half on CIFAR-10
    last = max(runs.index(run) for run in of_table4)
    others = {run.method for run in runs[72:last]} - set(experiments.TABLES[4].methods)
    assert not others
    cheap = set(experiments.TABLES[7].methods) & set(GROUPS["cheap"])
    assert cheap <= {run.method for run in runs if run.imbalance == 100}
    suggested = [run for run in runs if run.method == "tempered+MS+LA" or run.weight_decay == 1e-3]
    assert len(suggested) == 6
    assert min(map(runs.index, suggested)) > max(runs.index(run) for run in runs if run.method == "random+FC+CutMix")
    assert not {"DBN", "BBN"} & {run.method for run in runs}
