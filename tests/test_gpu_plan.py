"""The plan of what waits for a GPU, on the CPU: what it does with failures, and with what is there already."""

from __future__ import annotations

import csv
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import captured, gpu_plan
from training import build, datasets
from training.config import RunConfig, with_preset
from training.progress import Work

TINY = replace(with_preset(RunConfig(), "smoke"), epochs=2, width=4, imbalance=10.0)
DIGITS = datasets.load("digits-lt", None, imbalance=10.0)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three runs on the digits, in this process, as on CUDA."""
    monkeypatch.setattr(gpu_plan, "plan", lambda preset: (replace(TINY, seed=seed) for seed in range(3)))
    monkeypatch.setattr(gpu_plan, "long_tailed", lambda root, imbalance: DIGITS)
    monkeypatch.setattr(gpu_plan, "in_flight", lambda runs, work, jobs: (work.train(run, print) for run in runs))


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
    assert rows(tmp_path / "runs.csv") == [(TINY.key, str(seed)) for seed in range(3)]
    first = [line for line in (tmp_path / "runs.csv").read_text().splitlines(keepends=True) if ",1,smoke" not in line]
    (tmp_path / "known.csv").write_text("".join(first))
    trained = []
    stages = Work.stages

    def noted(self: Work, config: RunConfig, on_epoch: Any) -> Any:
        trained.append(config.seed)
        return stages(self, config, on_epoch)

    monkeypatch.setattr(Work, "stages", noted)
    again = [*words(tmp_path, "--part", "train", "--skip", str(tmp_path / "known.csv")), "--store", str(tmp_path / "t")]
    assert gpu_plan.main(again) == 0
    assert trained == [1]
    assert sorted(rows(tmp_path / "runs.csv")) == [(TINY.key, str(seed)) for seed in range(3)]


@pytest.mark.parametrize(("said", "ends"), [(["a", "b", "c"], False), (["a", "a", "c"], True)])
def test_runs_that_fail_alike_end_the_plan(
    said: list[str], ends: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Work, config: RunConfig, on_epoch: Any) -> Generator[None, None, None]:
        yield
        raise RuntimeError(said[config.seed])

    monkeypatch.setattr(Work, "stages", fail)
    if ends:
        with pytest.raises(RuntimeError, match="a"):
            gpu_plan.main(words(tmp_path, "--part", "train"))
    else:
        assert gpu_plan.main(words(tmp_path, "--part", "train")) == 0
    failures = (tmp_path / "failures.txt").read_text()
    assert failures.count("Traceback") == (2 if ends else 3)


def test_time_that_is_up_ends_runs_between_epochs(tmp_path: Path, capsys: Any) -> None:
    assert gpu_plan.main(words(tmp_path, "--part", "train", "--minutes", "0.00001")) == 0
    assert "time is up" in capsys.readouterr().out
    assert not (tmp_path / "runs.csv").exists()


@pytest.mark.parametrize(
    ("failing", "status", "begun"),
    [
        ((), 0, ["check", "speed", "bound", "profile", "train"]),
        (("speed", "profile"), 1, ["check", "speed", "bound", "profile", "train"]),
        (("check",), 1, ["check", "speed plain", "bound plain", "profile plain", "train plain"]),
        (("train",), 1, ["check", "speed", "bound", "profile", "train", "train plain"]),
    ],
)
def test_what_fails_is_said_and_the_rest_goes_on(
    failing: tuple[str, ...], status: int, begun: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []

    def process(part: str, options: Any, plain: bool, end: float, limit: float) -> int:
        found.append(part + " plain" * plain)
        return int(found[-1] in failing)

    monkeypatch.setattr(gpu_plan, "_process", process)
    assert gpu_plan.main(words(tmp_path)) == status
    assert found == begun


def test_parts_are_processes_that_end_in_time(tmp_path: Path, capsys: Any) -> None:
    assert gpu_plan.main([*words(tmp_path, "--minutes", "0.01"), "--no-capture"]) == 1
    assert "speed: exit status 124" in capsys.readouterr().out


def test_captured_steps_are_compared_with_plain_ones(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captured, "METHODS", {"FC": ("random", "fc")})
    assert captured.compared(build.device("cpu"), 1) == 0
    made = captured.Trainer

    def other(config: RunConfig, *given: Any, capture: bool) -> Any:
        return made(replace(config, seed=int(capture)), *given, capture=capture)

    monkeypatch.setattr(captured, "Trainer", other)
    assert captured.compared(build.device("cpu"), 1) == 1
    assert "different from step [0]" in capsys.readouterr().out
