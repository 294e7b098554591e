"""How far runs are, and the time that is left: on a terminal, in a log, and across processes."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.progress import Task

from lpm.console.cli import run as run_command
from tests.training.own import pets
from training import train
from training.config import RunConfig, with_preset
from training.data.datasets import LongTailed
from training.jobs import cluster, progress
from training.jobs.local import in_flight, interleaved
from training.jobs.progress import Bars, Pace, in_time
from training.jobs.work import Finished, Watcher, Work, silent
from training.store.runs import RunFolder

TINY = replace(with_preset(RunConfig(imbalance=10), "smoke"), epochs=3, warmup=0, width=4)


class Clock:
    """A time that a test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(progress, "time", self)

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class Noted(Watcher):
    """Keeps every report."""

    def __init__(self) -> None:
        self.reports: list[tuple[int, float, str]] = []
        self.ends: list[int] = []

    def report(self, number: int, epochs: float, state: str) -> None:
        self.reports.append((number, epochs, state))

    def ended(self, number: int) -> None:
        self.ends.append(number)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        *((0.4, "0 s"), (59.6, "60 s"), (99, "99 s"), (100, "2 min"), (5940, "99 min"), (12_000, "3 h 20 min")),
        *((40_000, "11 h"), (200_000, "2 days 8 h"), (1e6, "12 days")),
    ],
)
def test_a_time_has_one_or_two_units(seconds: float, words: str) -> None:
    assert in_time(seconds) == words


def test_the_time_left_is_that_of_the_pace_so_far_and_runs_down(clock: Clock) -> None:
    pace = Pace(30, 10)  # resumed after ten epochs
    assert pace.left == ""
    clock.now += 50
    pace.at(10.5)  # half an epoch in 50 s: 19.5 are left
    assert pace.left == f", {in_time(1950)} left"
    clock.now += 900
    assert pace.left == f", {in_time(1050)} left"
    pace.drop(10)  # ten others are finished elsewhere: 9.5 are left, at 0.5 in 950 s
    assert pace.left == f", {in_time(950 / 0.5 * 9.5)} left"
    pace.at(30 - 1e-9)
    assert pace.left == ""


def test_a_terminal_shows_the_time_left_though_an_epoch_takes_minutes(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    console = Console(force_terminal=True, width=200, file=open("/dev/null", "w"))  # noqa: SIM115
    monkeypatch.setattr(progress, "console", lambda: console)
    configs = [replace(TINY, epochs=30, seed=seed) for seed in (0, 1)]
    with console.file, Bars(configs, [10, 0], at_once="2 at a time", quiet=False) as bars:

        def rows() -> list[str]:
            columns = [column for column in bars._progress.columns if not isinstance(column, str)]
            texts = [[str(column.render(task)) for column in columns] for task in tasks()]
            return [" ".join(row[:1] + row[2:3] + row[4:]) for row in texts]

        def tasks() -> list[Task]:
            return bars._progress.tasks

        bars.report(0, 10.0, "")
        assert rows() == ["2 runs, 2 at a time 10/60 epochs  0 ended", "random+FC, seed 0 10/30 epochs  "]
        clock.now += 90
        bars.report(0, 10.5, "")
        assert rows()[1] == "random+FC, seed 0 10/30 epochs 58 min left epoch 11 at 50%"
        clock.now += 90
        bars.report(0, 11, "12 images/s, loss 2.000, test 30.00 %")
        assert rows()[1] == "random+FC, seed 0 11/30 epochs 57 min left 12 images/s, loss 2.000, test 30.00 %"
        assert rows()[0] == f"2 runs, 2 at a time 11/60 epochs {in_time(180 * 49)} left 0 ended"
        bars.ended(0)  # it diverged
        bars.report(0, 12, "late")
        assert rows() == [f"2 runs, 2 at a time 30/60 epochs {in_time(180 * 30)} left 1 ended"]


def test_a_log_has_lines_with_the_number_of_epochs_and_the_time_left(clock: Clock, capsys: Any) -> None:
    with Bars([replace(TINY, epochs=30)], [0], quiet=False) as bars:
        for epochs, state in ((0.0, ""), (0.5, ""), (1.0, "as it is"), (2.25, ""), (3.0, "as it is"), (30.0, "well")):
            bars.report(0, epochs, state)
            clock.now += 40
        bars.ended(0)
    assert capsys.readouterr().err.splitlines() == [
        "random+FC, seed 0, epoch 3 at 25% of 30 epochs, 25 min left",
        "random+FC, seed 0, epoch 3/30: as it is, 24 min left",
        "random+FC, seed 0, epoch 30/30: well",
    ]
    with Bars([TINY] * 2, [3, 0], quiet=True) as bars:
        bars.report(1, 1.0, "well")
        bars.ended(1)
    assert capsys.readouterr().err == ""


def test_a_run_tells_how_far_it_is_and_where_it_resumed(digits: LongTailed, tmp_path: Path) -> None:
    work, reports = Work(digits, tmp_path, "cpu", False), Noted()

    def stopped(epochs: float, state: str) -> None:
        reports.report(0, epochs, state)
        if epochs == 2 and state:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work.train(TINY, stopped)
    told = [epochs for _, epochs, _ in reports.reports]
    steps = (len(told) - 3) // 2  # the start, and the ends of two epochs, beside each step
    assert told == [0, *(n / steps for n in range(1, steps + 1)), 1, *(1 + n / steps for n in range(1, steps + 1)), 2]
    assert [bool(state) for _, epochs, state in reports.reports if epochs == 1] == [False, True]
    assert RunFolder(tmp_path, TINY).epochs == 2
    again = Noted()
    work.train(TINY, lambda epochs, state: again.report(0, epochs, state))
    assert again.reports[0] == (0, 2, "")
    assert re.fullmatch(r"[\d,]+ images/s, loss \d+\.\d{3}, (balanced )?test \d+\.\d\d %", again.reports[-1][2])
    assert RunFolder(tmp_path, TINY).epochs == 3


@pytest.mark.usefixtures("forked_jobs")
@pytest.mark.parametrize("how", ["processes", "one thread"])
def test_runs_at_a_time_tell_their_epochs(how: str, digits: LongTailed, tmp_path: Path) -> None:
    configs, noted = [replace(TINY, seed=seed) for seed in range(3)], Noted()
    work = Work(digits, tmp_path, "cpu", False)
    work.train(configs[1], silent)
    if how == "processes":
        outcomes = list(in_flight(configs, work, 2, noted))
    else:
        outcomes = list(interleaved(configs, work, [0, 1], lambda stream: pytest.MonkeyPatch().context(), noted))
    assert all(isinstance(outcome, Finished) for outcome in outcomes)
    assert sorted(noted.ends) == [0, 1, 2]
    told = {number: [e for n, e, state in noted.reports if n == number and state] for number in range(3)}
    assert told == {0: [1, 2, 3], 1: [], 2: [1, 2, 3]}
    for number in (0, 2):
        epochs = [epochs for n, epochs, _ in noted.reports if n == number]
        assert epochs[0] == 0
        assert all(first <= second for first, second in itertools.pairwise(epochs))


def test_a_cluster_tells_the_epochs_that_are_new_in_the_store(
    digits: LongTailed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "LOOKS", 0.001)
    configs, noted = [replace(TINY, seed=seed) for seed in range(2)], Noted()
    work = Work(digits, tmp_path, "cpu", False)
    work.train(configs[0], silent)
    with cluster._followed(configs, work, noted):
        work.train(configs[1], silent)
        while (1, 3, "") not in noted.reports:
            pass
    assert {number for number, _, _ in noted.reports} == {1}
    assert [epochs for _, epochs, _ in noted.reports] == sorted({epochs for _, epochs, _ in noted.reports})


def test_commands_print_the_lines(tmp_path: Path, capsys: Any) -> None:
    words = ["--dataset", "own", "--data-root", str(pets(tmp_path / "data")), "--store", str(tmp_path / "s")]
    words += [
        "--preset",
        "smoke",
        "--width",
        "4",
        "--workers",
        "0",
        "--device",
        "cpu",
        "--epochs",
        "2",
        "--warmup",
        "0",
    ]
    assert run_command(lambda: train.main([*words, "--seeds", "0-1"])) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith(("note: ", "next: "))]
    rows = [
        rf"random\+FC, seed {seed}, epoch {epoch}/2: [\d,]+ images/s, loss \S+, balanced test \S+ %{left}"
        for seed in (0, 1)
        for epoch, left in ((1, r", \d+ s left"), (2, ""))
    ]
    wanted = [*rows[:2], r"1 of 2 runs have ended, \d+ s left", *rows[2:], "2 of 2 runs have ended"]
    assert [bool(re.fullmatch(*both)) for both in zip(wanted, lines, strict=True)] == [True] * 6, lines
