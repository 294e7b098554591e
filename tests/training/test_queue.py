"""The queue of long runs: its order, what counts as finished, its time limit, and two queues on one store."""

from __future__ import annotations

import csv
import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lpm.console import cli
from training import queue
from training.config import RunConfig, with_preset
from training.data import datasets
from training.jobs import deadline as deadlines
from training.jobs.deadline import Deadline, TimeIsUp
from training.jobs.work import Work
from training.store import rows as stored
from training.store.rows import COLUMNS, NO_ROWS
from training.store.runs import RunFolder

ROOT = Path(__file__).parents[2]
PLAN, LOADED = queue.plan, queue.data_of
"""The queue itself and its data; the other tests put small ones in their place."""
TINY = replace(with_preset(RunConfig(), "smoke"), epochs=3, width=4, imbalance=10.0)
RUNS = [replace(TINY, seed=seed) for seed in range(3)]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, digits: datasets.LongTailed) -> None:
    """Make the queue three runs on the digits, and leave this process its priority."""
    monkeypatch.setattr(queue, "plan", lambda epochs=None: RUNS)
    monkeypatch.setattr(queue, "data_of", lambda root, imbalance: digits)
    monkeypatch.setattr(queue, "lowest_priority", lambda: None)


def words(tmp_path: Path, *more: str) -> list[str]:
    return ["--data-root", "D", "--store", str(tmp_path / "s"), *more]


def folders(tmp_path: Path) -> list[RunFolder]:
    return [RunFolder(tmp_path / "s", run) for run in RUNS]


def begun(monkeypatch: pytest.MonkeyPatch, then: Callable[[int], None] = lambda seed: None) -> list[int]:
    """Note the seeds of the runs that are begun, and do something after each that comes to its end."""
    seeds, train = list[int](), Work.train

    def noted(self: Work, config: RunConfig, report: Any) -> Any:
        outcome = train(self, config, report)
        seeds.append(config.seed)
        then(config.seed)
        return outcome

    monkeypatch.setattr(Work, "train", noted)
    return seeds


def test_the_queue_is_in_the_order_of_its_page() -> None:
    runs = PLAN()
    assert len(set(runs)) == 72
    assert {(run.epochs, run.model, run.dataset) for run in runs} == {(200, "resnet32", "cifar10-lt")}
    eight = ["BMLS+MS", "CAS+FC", "random+FC", "random+FC+LA", "BMLS+FC", "random+FC+DRW"]
    eight += ["random+FC, no mixup", "random+cosine+LDAM+DRW, no mixup"]
    assert [run.method for run in runs] == eight * 9
    assert [run.seed for run in runs] == [*[0] * 8, *[1] * 8, *[2] * 8] * 3
    assert [run.imbalance for run in runs] == [100.0] * 24 + [10.0] * 24 + [200.0] * 24


def test_runs_of_100_epochs_are_those_that_are_committed() -> None:
    """BMLS+MS and CAS+FC of seed 0 have rows, which ``training.train --preset paper --epochs 100`` made."""
    known = queue.stored.by_run(ROOT / "results/runs.csv", "--rows")
    runs = PLAN(epochs=100)
    waiting = queue.Queue(runs, Path("/nonexistent"), known).unfinished()
    assert {(run.method, run.seed) for run in runs[:2]} == {("BMLS+MS", 0), ("CAS+FC", 0)}
    assert not set(runs[:2]) & set(waiting)
    assert PLAN() == queue.Queue(PLAN(), Path("/nonexistent"), NO_ROWS).unfinished()


def test_committed_rows_tell_how_long_the_others_take(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """They had 12,406 images. At imbalance 10 there are 20,431."""
    monkeypatch.setattr(queue, "plan", PLAN)
    given = ["--dry-run", "--epochs", "100", "--store", "/nonexistent", "--rows", str(ROOT / "results/runs.csv")]
    assert queue.main(given) == 0
    printed = capsys.readouterr().out
    with (ROOT / "results" / "runs.csv").open(newline="") as file:
        of_network = [row for row in csv.DictReader(file) if (row["model"], row["epochs"]) == ("resnet32", "100")]
    seconds = {(row["config"], row["seed"]): float(row["train_seconds"]) for row in of_network}
    assert len(seconds) >= 3
    minutes = np.median(list(seconds.values())) / 60
    assert f"| BMLS+MS | 100 | 1 |  | {minutes:.0f} |" in printed
    assert f"| BMLS+MS | 10 | 1 |  | {minutes * 20431 / 12406:.0f} |" in printed
    assert "Minutes: by finished runs of the same networks." in printed


def test_unfinished_runs_are_trained_in_order_and_rows_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    seeds, rows = begun(monkeypatch), tmp_path / "rows.csv"
    assert queue.main(words(tmp_path, "--export", str(rows))) == 0
    assert seeds == [0, 1, 2]
    assert "0 runs left" in capsys.readouterr().err
    assert all(folder.done for folder in folders(tmp_path))
    made = list(csv.DictReader(rows.read_text().splitlines()))
    assert [row["seed"] for row in made if row["split"] == "all"] == ["0", "1", "2"]
    assert queue.main(words(tmp_path)) == 0
    assert seeds == [0, 1, 2]

    lines = rows.read_text().splitlines(keepends=True)
    rows.write_text("".join(line for line in lines if ",1,smoke" not in line))  # the run of seed 1 has no row
    again = ["--data-root", "D", "--store", str(tmp_path / "t"), "--rows", str(rows), "--export", str(rows)]
    assert queue.main(again) == 0
    assert seeds == [0, 1, 2, 1]
    both = list(csv.DictReader(rows.read_text().splitlines()))
    accuracies = [sorted((row["seed"], row["split"], row["accuracy"]) for row in part) for part in (made, both)]
    assert accuracies[0] == accuracies[1]


def test_a_list_says_what_is_finished_begun_and_next(tmp_path: Path, capsys: Any) -> None:
    for number, folder in enumerate(folders(tmp_path)[:2]):
        deadline = Deadline(math.inf)

        def stop(epochs: float, state: str, number: int = number, deadline: Deadline = deadline) -> None:
            deadline.report(epochs, state)
            if number == 1 and epochs == 1 and state:
                raise TimeIsUp

        try:
            Work(queue.data_of(Path(), 10.0), tmp_path / "s", "cpu", events=False).train(folder.config, stop)
        except TimeIsUp:
            assert number == 1
    assert queue.main(["--store", str(tmp_path / "s"), "--dry-run"]) == 0
    printed = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in printed[2:5]]
    accuracy = folders(tmp_path)[0].result().last["all"]
    assert [row[:4] for row in cells] == [
        ["random+FC", "10", "0", f"{accuracy:.2f} %"],
        ["random+FC", "10", "1", "next, 1 of 3 epochs"],
        ["random+FC", "10", "2", ""],
    ]
    assert cells[0][4] == ""
    assert all(row[4].isdigit() for row in cells[1:])
    assert "Finished: 1 of 3 runs." in printed


def test_a_run_that_the_time_limit_ends_goes_on_as_if_it_never_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """An epoch takes 40 s of a clock, so two fit into 100 s with some slack. The third one ends in the next call."""
    clock, train = [0.0], Work.train

    def timed(self: Work, config: RunConfig, report: Any) -> Any:
        def one_more(epochs: float, state: str) -> None:
            clock[0] += 40 * bool(state)
            report(epochs, state)

        return train(self, config, one_more)

    monkeypatch.setattr(Work, "train", timed)
    for module in (queue, deadlines):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    limit = ["--time-limit", f"{100 / 60:.6f}"]
    assert queue.main(words(tmp_path, *limit)) == 0
    assert clock == [80.0]
    assert folders(tmp_path)[0].epochs == 2
    assert "the time is up" in capsys.readouterr().err
    assert queue.main(words(tmp_path, *limit)) == 0
    done = folders(tmp_path)[0].result()
    assert [folder.epochs for folder in folders(tmp_path)[1:]] == [1, 0]

    monkeypatch.setattr(Work, "train", train)
    Work(queue.data_of(Path(), 10.0), tmp_path / "whole", "cpu", events=False).train(RUNS[0], lambda *_: None)
    whole = RunFolder(tmp_path / "whole", RUNS[0]).result()
    assert done.files["final.safetensors"] == whole.files["final.safetensors"]


def test_a_late_epoch_is_left_and_no_run_begins_that_has_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(deadlines, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    deadline = Deadline(100.0)
    deadline.begin()
    clock[0] = 50.0
    deadline.report(0.5, "")
    clock[0] = 100.5
    with pytest.raises(TimeIsUp):
        deadline.report(0.9, "")
    with pytest.raises(TimeIsUp):
        deadline.begin()


def test_two_queues_never_train_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """Another queue holds the first run until this one has trained the second. Then this one takes the first."""
    lock = folders(tmp_path)[0].lock()
    lock.__enter__()
    seeds = begun(monkeypatch, lambda seed: lock.__exit__(None, None, None) if seed == 1 else None)
    assert queue.main(words(tmp_path)) == 0
    assert seeds == [1, 0, 2]

    with RunFolder(tmp_path / "t", RUNS[0]).lock():
        assert queue.main(["--data-root", "D", "--store", str(tmp_path / "t")]) == 0
    assert seeds == [1, 0, 2, 1, 2]
    assert "1 run left" in capsys.readouterr().err


def test_a_run_that_cannot_be_trained_does_not_keep_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    first = folders(tmp_path)[0].path
    first.mkdir(parents=True)
    (first / "config.json").mkdir()  # where a file should be
    seeds = begun(monkeypatch)
    assert queue.main(words(tmp_path)) == 2
    assert seeds == [1, 2]
    assert "config.json' is not a file" in capsys.readouterr().err


def test_the_command_gives_way_to_all_others() -> None:
    told = (
        "from training import queue; queue.lowest_priority(); import os, torch; "
        "print(os.getpriority(os.PRIO_PROCESS, 0), torch.get_num_threads())"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    ended = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, cwd=ROOT, env=environment)
    assert ended.stdout.split() == ["19", "1"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--store", "s"], "--data-root is missing"),
        (["--rows", "/nonexistent"], "cannot be read"),
        (["--rows", __file__], "has no rows with the columns dataset"),
        (["--data-root", "D", "--export", "/nonexistent/rows.csv"], "a folder that exists"),
        (["--data-root", "D", "--export", __file__], "has no rows with the columns dataset"),
        (["--data-root", "D", "--store", __file__], "is a file; name a folder"),
        (["--time-limit", "0"], "is not a number of minutes"),
        (["--epochs", "30"], "one of 200, 100"),
    ],
)
def test_bad_input_is_one_line(given: list[str], message: str, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = begun(monkeypatch)
    try:
        status = cli.run(lambda: queue.main(given))
    except SystemExit as end:
        status = int(end.code or 0)
    error = capsys.readouterr().err
    assert status == 2
    assert message in error
    assert len(error.splitlines()) == 1
    assert not seeds


def test_data_that_are_missing_are_said_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(queue, "data_of", LOADED)
    assert cli.run(lambda: queue.main(["--data-root", str(tmp_path), "--store", str(tmp_path / "s")])) == 2
    assert "holds no CIFAR-10" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def test_rows_have_their_columns(tmp_path: Path) -> None:
    stored.add_to(tmp_path / "rows.csv", tmp_path / "none")
    assert (tmp_path / "rows.csv").read_text() == ",".join(COLUMNS) + "\n"


def test_an_export_keeps_the_rows_that_the_file_had(tmp_path: Path) -> None:
    path, rows = tmp_path / "rows.csv", (ROOT / "results" / "runs.csv").read_text()
    path.write_text(rows)
    stored.add_to(path, tmp_path / "none")
    assert path.read_text() == rows
