"""Many tasks on engines: the same results as one after another, on Ray also when a worker is killed in mid-run."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import pickle
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from lpm import sweep
from lpm.console import cli, engines
from lpm.console.errors import NotCertified
from tests.started import ROOT, Command, Forked, wait_for
from tests.training.own import pets
from tests.training.test_datasets import batches
from training.config import RunConfig, with_preset
from training.data import datasets
from training.jobs.cluster import taken_up
from training.jobs.work import Finished, LeftToOther, Work
from training.store.runs import RunFolder, find

TRAIN = ["training.train", "--width", "4", "--quiet"]
on_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed (extra `cluster`)")


def holders(lock: Path) -> list[int]:
    """Processes that hold a lock."""
    inode = lock.stat().st_ino
    held = re.findall(rf"FLOCK +ADVISORY +WRITE (\d+) \w+:\w+:{inode} ", Path("/proc/locks").read_text())
    return [int(process) for process in held]


def kill_a_worker(store: Path) -> tuple[Path, str]:
    """Kill the worker of a run that has trained for two epochs; the run's folder, and the rows of its last checkpoint.

    The last row in ``epochs.jsonl`` may be ahead of it by one, if the worker died between two writes.
    """

    def begun() -> Path | None:
        files = [file for file in store.glob("*/*/epochs.jsonl") if file.read_text().count("\n") >= 2]
        return files[0].parent if files else None

    folder: Path = wait_for(begun)
    (worker,) = holders(folder / "lock")
    os.kill(worker, signal.SIGKILL)
    assert not (folder / "metrics.json").exists()
    (run,) = [run for run in find(store) if run.path == folder]
    checkpoint = run.last_checkpoint()
    assert checkpoint is not None
    return folder, "".join(json.dumps(row) + "\n" for row in checkpoint[2])


def rows(store: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of every run of a store, without times."""
    timed = ("train_seconds", "images_per_second")
    return {
        str(file.parent.relative_to(store)): [
            {name: value for name, value in json.loads(line).items() if name not in timed}
            for line in file.read_text().splitlines()
        ]
        for file in store.glob("*/*/epochs.jsonl")
    }


def weights(store: Path) -> dict[str, bytes]:
    """Everything that the runs of a store ended with."""
    return {str(file.relative_to(store)): file.read_bytes() for file in store.glob("*/*/final.safetensors")}


@pytest.mark.heavy
@on_ray
def test_a_killed_worker_is_replaced_and_its_run_goes_on_where_it_was(tmp_path: Path) -> None:
    words = [*TRAIN, "--epochs", "8", "--seeds", "0-2", "--store"]
    disturbed = Command(*words, str(tmp_path / "ray"), "--engine", "ray", "--jobs", "2", "--json")
    folder, before = kill_a_worker(tmp_path / "ray")
    status, out, err = disturbed.ends()
    assert status == 0, err
    assert len(json.loads(out)) == 3  # what Ray says of lost workers is not among the results
    assert "killed" in err
    assert (folder / "epochs.jsonl").read_text().startswith(before)  # times included: no epoch was trained again
    assert Forked(*words, str(tmp_path / "local")).ends() == (0, "", "")
    assert rows(tmp_path / "ray") == rows(tmp_path / "local")
    assert weights(tmp_path / "ray") == weights(tmp_path / "local")
    assert len(weights(tmp_path / "ray")) == 3


@pytest.mark.heavy
@on_ray
def test_a_table_completes_with_the_same_rows_when_a_worker_is_killed(tmp_path: Path) -> None:
    batches(tmp_path, 10)
    words = ["training.table", "4", "--dataset", "cifar10-lt", "--imbalance", "10", "--preset", "quick", "--seeds", "0"]
    words += [
        "--method",
        "random+FC",
        "--method",
        "BMLS+MS",
        "--data-root",
        str(tmp_path),
        "--format",
        "csv",
        "--quiet",
    ]
    printed = {}
    for engine in ("local", "ray"):
        options = ["--store", str(tmp_path / engine), "--export", str(tmp_path / f"{engine}.csv"), "--engine", engine]
        command = Command(*words, *options, "--jobs", "2")
        if engine == "ray":
            folder, before = kill_a_worker(tmp_path / "ray")
        status, printed[engine], err = command.ends()
        assert status == 0, err
        assert "missing" not in err
    assert (folder / "epochs.jsonl").read_text().startswith(before)
    assert printed["ray"] == printed["local"]
    assert [line.split(",")[5] for line in printed["ray"].splitlines()] == ["n", "1", "1"]
    local, ray = (
        list(csv.DictReader((tmp_path / f"{engine}.csv").read_text().splitlines())) for engine in ("local", "ray")
    )
    same = set(local[0]) - {"time", "train_seconds"}
    assert [{name: row[name] for name in same} for row in ray] == [{name: row[name] for name in same} for row in local]
    assert rows(tmp_path / "ray") == rows(tmp_path / "local")
    assert weights(tmp_path / "ray") == weights(tmp_path / "local")
    times = {file: file.stat().st_mtime_ns for file in (tmp_path / "ray").rglob("*")}
    again = Command(*words, "--store", str(tmp_path / "ray"), "--engine", "ray").ends()
    assert again[:2] == (0, printed["ray"])
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "ray").rglob("*")} == times  # nothing is run twice


@pytest.mark.heavy
@on_ray
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_their_command(how: signal.Signals, tmp_path: Path, folder: Path) -> None:
    words = [*TRAIN, "--epochs", "200", "--seeds", "0-2", "--jobs", "2", "--engine", "ray", "--store", str(tmp_path)]
    command = Command(*words, TMPDIR=str(folder))
    wait_for(lambda: len(list(tmp_path.glob("*/*/epochs.jsonl"))) == 2)
    assert "ray::_train" in command.alive()
    if how == signal.SIGINT:
        os.killpg(command.process.pid, how)  # as a terminal does
        status, out, err = command.ends()
        assert (status, out) == (130, "")
        assert err.splitlines()[-1] == "interrupted"  # Ray may have had something to log before
        assert list(folder.glob("ray-*")) == []
    else:
        command.process.kill()
        assert command.ends() == (-signal.SIGKILL, "", "")
    # Killed, two helpers of Ray's without work of ours look for their cluster for another minute.
    helpers = set() if how == signal.SIGINT else {"ray::DashboardAgent", "ray::RuntimeEnvAgent"}
    wait_for(lambda: command.alive() <= helpers)
    wait_for(lambda: not any(map(holders, tmp_path.glob("*/*/lock"))))
    wait_for(lambda: not command.alive())


@pytest.mark.parametrize(("task", "patience"), [("this one", 300), ("this one", 0), ("another", 300)])
def test_a_run_that_is_taken_up_again_waits_for_the_lost_attempt_alone(
    task: str, patience: int, digits: datasets.LongTailed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(with_preset(RunConfig(imbalance=10), "smoke"), epochs=1, warmup=1, width=4)
    lost = RunFolder(tmp_path, config, task)
    lost.path.mkdir(parents=True)
    held = ExitStack()
    held.enter_context(lost.lock())
    slept = []

    def sleep(seconds: float) -> None:  # and meanwhile the lost attempt ends
        slept.append(seconds)
        held.close()

    monkeypatch.setattr("training.jobs.cluster.PATIENCE", patience)
    monkeypatch.setattr("training.jobs.cluster.time.sleep", sleep)
    outcome = taken_up(Work(digits, tmp_path, "cpu", False, task="this one"), config)
    if task == "this one" and patience:
        assert isinstance(outcome, Finished)
        assert lost.done
        assert len(slept) == 1
    else:
        holder = f"process {os.getpid()} on {socket.gethostname()}"
        assert outcome == LeftToOther(f"{str(lost.path)!r} is being trained by {holder}")
        assert not slept
    held.close()


@pytest.mark.heavy
@on_ray
def test_what_goes_wrong_in_a_worker_is_said_as_without_ray(tmp_path: Path) -> None:
    words = [*TRAIN, "--engine", "ray", "--jobs", "2", "--store", str(tmp_path)]
    assert Command(*words, "--epochs", "3", "--seeds", "0").ends() == (0, "", "")
    (run,) = tmp_path.glob("*/seed-0")
    (run / "metrics.json").unlink()
    with (run / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        note = f"note: {str(run)!r} is being trained by another process; left to it\n"
        assert Command(*words, "--epochs", "3", "--seeds", "0-1").ends() == (0, "", note)
    (run / "data.json").write_text('{"name": "other"}')
    status, out, err = Command(*words, "--epochs", "3", "--seeds", "0-1").ends()
    assert (status, out) == (2, "")
    assert (
        err
        == f"error: {str(run)!r} holds a run on other data or weights (other); choose another --store, or delete it\n"
    )
    status, out, err = Command(*words, "--epochs", "3", "--warmup", "0", "--lr", "900", "--seeds", "0-1").ends()
    assert (status, out) == (1, "")
    assert sorted(line.split(": the loss")[0] for line in err.splitlines()) == [
        f"diverged: random+FC, seed {seed}" for seed in (0, 1)
    ]


@pytest.mark.heavy
@on_ray
def test_ray_can_be_started_again_as_for_a_table_of_several_data_sets() -> None:
    code = """
import argparse
from lpm.console import engines
options = argparse.Namespace(engine="ray", address=None, jobs=1)
for _ in range(2):
    with engines.mapping(options) as each:
        found = list(each(abs, range(-20, 0)))
    print(found == list(range(20, 0, -1)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\nTrue\n", "")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A temporary folder with a short name: Ray's sockets are in it."""
    path = Path(tempfile.mkdtemp(prefix="t-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def cluster(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Command]]:
    """The address of a Ray cluster of two CPUs that runs beside the tests, and its processes."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", uuid4().hex)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["--num-cpus", "2", "--include-dashboard", "false", "--temp-dir", str(folder), "--block"]
    head = Command("ray.scripts.scripts", "start", "--head", "--port", str(port), *words)
    wait_for(lambda: any("raylet" in name for name in head.alive()))
    yield f"127.0.0.1:{port}", head
    head.process.terminate()
    head.ends()
    wait_for(lambda: not head.alive())


@pytest.mark.heavy
@on_ray
def test_a_cluster_by_its_address_does_the_same_and_outlives_its_commands(
    cluster: tuple[str, Command], tmp_path: Path
) -> None:
    address, head = cluster
    words = [*TRAIN, "--epochs", "6", "--seeds", "0-1", "--store"]
    options = ["--engine", "ray", "--address", address]
    assert Command(*words, str(tmp_path / "local")).ends() == (0, "", "")
    interrupted = Command(*words, str(tmp_path / "ray"), *options)
    wait_for(lambda: list(tmp_path.glob("ray/*/*/epochs.jsonl")))
    os.killpg(interrupted.process.pid, signal.SIGINT)
    assert interrupted.ends()[0] == 130
    wait_for(lambda: "ray::_train" not in head.alive())
    assert len(weights(tmp_path / "ray")) < 2
    assert Command(*words, str(tmp_path / "ray"), *options).ends() == (0, "", "")
    assert weights(tmp_path / "ray") == weights(tmp_path / "local")
    status, _, err = Command(*words, str(tmp_path / "cuda"), *options, "--device", "cuda").ends()
    assert (status, err) == (2, "error: --device cuda: the cluster has no GPU; take --device cpu\n")
    assert not (tmp_path / "cuda").exists()
    status, _, err = Command(*words, str(tmp_path / "none"), *options, RAY_AUTH_TOKEN="another").ends()
    assert status == 2
    assert err.startswith(f"error: --address {address}: Failed to connect to Ray cluster")
    assert err.endswith("; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN as its hosts have them\n")
    assert err.count("\n") == 1


OF_USER = """
import sys

if MISSING and "default_worker" in sys.argv[0]:
    raise ModuleNotFoundError("No module named 'my_code'", name="my_code")


def inverted(pixels, rng):
    return 255 - pixels
"""


@pytest.mark.heavy
@on_ray
def test_code_of_ones_own_runs_on_a_cluster_whose_hosts_have_it(cluster: tuple[str, Command], tmp_path: Path) -> None:
    address, _ = cluster
    root = pets(tmp_path / "data")
    words = [*TRAIN, "--dataset", "own", "--data-root", str(root), "--preset", "smoke"]
    words += ["--epochs", "1", "--workers", "1"]
    words += ["--device", "cpu", "--transform", "my_code:inverted", "--store"]
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    (tmp_path / "my_code.py").write_text(OF_USER.replace("MISSING", "False"))
    assert Command(*words, str(tmp_path / "local"), PYTHONPATH=path).ends().status == 0
    on_ray = [str(tmp_path / "ray"), "--engine", "ray", "--address", address]
    assert Command(*words, *on_ray, PYTHONPATH=path).ends().status == 0
    assert weights(tmp_path / "ray") == weights(tmp_path / "local")
    (tmp_path / "my_code.py").write_text(OF_USER.replace("MISSING", "True"))  # as on hosts without the file
    ended = Command(*words, *on_ray, "--seeds", "1", PYTHONPATH=path).ends()
    assert ended.status == 2
    assert ended.err.splitlines()[-1] == (
        "error: --transform my_code:inverted cannot be imported: No module named 'my_code'; start the command in the folder of "
        "your code, and with --address have that folder on every host"
    )


def test_runs_at_a_time_have_room_on_the_gpus_and_leave_none_idle() -> None:
    from training.jobs.cluster import share

    for jobs in range(1, 65):
        for gpus in range(1, 9):
            together = next(n for n in range(64, 0, -1) if n * round(share(jobs, gpus) * 10_000) <= 10_000)
            assert together == -(-jobs // gpus)


SWEEP = ["lpm.sweep", "--points", "21", "--quiet", "--program", "fc"]


def results(out: Path) -> list[dict[str, str]]:
    """The rows and thresholds of a sweep, without times."""
    lines = [
        line
        for name in ("sweep.csv", "thresholds.csv")
        for line in csv.DictReader((out / name).read_text().splitlines())
    ]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


@pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=[pytest.mark.heavy, on_ray])])
def test_a_sweep_has_the_same_rows_in_the_same_order(engine: str, tmp_path: Path) -> None:
    assert Forked(*SWEEP, "--out", str(tmp_path / "one")).ends() == (0, "", "")
    assert Command(*SWEEP, "--engine", engine, "--jobs", "2", "--out", str(tmp_path / "two")).ends() == (0, "", "")
    assert results(tmp_path / "two") == results(tmp_path / "one")
    assert len(results(tmp_path / "one")) == 3 * (21 + 1)
    words = [
        *SWEEP,
        "--points",
        "2",
        "--tolerance",
        "1e-30",
        "--out",
        str(tmp_path / "none"),
    ]  # each row takes long to give up
    one, two = (Forked(*words, *more).ends() for more in ([], ["--engine", engine, "--jobs", "2"]))
    assert (one.status, one.err) == (two.status, two.err)
    assert one.status == 1
    assert not (tmp_path / "none").exists()


def test_a_result_that_is_not_certified_can_be_told_by_a_process() -> None:
    error = NotCertified(gap=1.0, relative_gap=0.5, tolerance=1e-6, solver="orbits", remedy="wait")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_an_interrupted_sweep_in_processes_keeps_its_rows_and_leaves_no_process(tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    command = Command("lpm.sweep", "--points", "4000", "--jobs", "2", "--out", str(out), TTY_COMPATIBLE="1")
    command.says(r" (9|[1-9]\d+)/")  # on a terminal, how many results there are; the first eight may be thresholds
    os.killpg(command.process.pid, signal.SIGINT)
    status, _, err = command.ends()
    assert status == 130
    assert "interrupted: kept" in err
    assert 0 < len(results(out)) < 4000 * len(sweep.DEFAULT)
    wait_for(lambda: not command.alive())


def test_a_pool_ends_while_its_processes_write_results() -> None:
    """They write nearly all the time. Half a result would let the pool wait for the other half for ever."""
    script = """
from lpm.console.engines import processes
try:
    with processes(2) as pool:
        next(pool.map(bytes, [10_000_000] * 60))
        raise KeyboardInterrupt
except KeyboardInterrupt:
    print("ended")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "ended\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--engine", "ray", "--address", "127.0.0.1:9"],
            "error: --address 127.0.0.1:9: Connection refused; give the address",
        ),
        (["--address", "127.0.0.1:9"], "error: --address 127.0.0.1:9 applies only to --engine ray; give both"),
        (["--engine", "ray", "--address", "a;b:1"], "argument --address: 'a;b:1' is not HOST:PORT, such as"),
        (["--engine", "ray", "--address", "a:65536"], "argument --address: 'a:65536' is not HOST:PORT, such as"),
        (["--engine", "rey"], "argument --engine: 'rey' is unknown, did you mean 'ray'?"),
        (["--jobs", "65"], "argument --jobs: '65' is not a number of processes, 1 to 64"),
    ],
)
@on_ray
def test_bad_use_is_one_line_and_nothing_is_written(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = cli.run(lambda: sweep.main(["--out", str(tmp_path / "sweep"), *words]))
    except SystemExit as end:
        status = int(str(end.code))
    printed = capsys.readouterr().err
    assert status == 2
    assert message in printed
    assert printed.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("module", ["lpm.sweep", "training.train", "training.table 4"])
def test_without_ray_the_extra_is_named(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from importlib import import_module

    name, *words = module.split()
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    monkeypatch.chdir(tmp_path)
    assert cli.run(lambda: import_module(name).main([*words, "--engine", "ray"])) == 2
    assert capsys.readouterr().err == (
        'error: --engine ray needs the extra `cluster`; install it with pip install -c constraints.txt -e ".[cluster]"\n'
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.heavy
@on_ray
def test_runs_on_ray_go_on_after_their_images_changed(tmp_path: Path) -> None:
    root = pets(tmp_path / "data")
    words = ["training.train", "--dataset", "own", "--data-root", str(root), "--store", str(tmp_path / "s")]
    words += ["--preset", "smoke", "--width", "4", "--workers", "0", "--quiet", "--device", "cpu", "--epochs", "30"]
    words += ["--seeds", "0,1"]
    on_two = ["--engine", "ray", "--jobs", "2"]
    image = root / "train/dog/03.jpg"
    picture = image.read_bytes()
    image.write_bytes(picture + b"0")
    first = Command(*words, *on_two)
    wait_for(lambda: list((tmp_path / "s").glob("*/*/epochs.jsonl")))
    first.process.send_signal(signal.SIGINT)
    assert first.ends()[0] == 130
    image.write_bytes(picture + b"1")
    status, _, err = Forked(*words, *on_two).ends()
    assert status == 2
    assert "holds a run on other data (1 changed, 0 missing, 0 new, such as 'train/dog/03.jpg')" in err
    status, _, err = Forked(*words, *on_two, "--data-changed", "ok").ends()
    assert status == 0, err
    went_on = err.count(
        "with other images: 1 changed, 0 missing, 0 new, such as 'train/dog/03.jpg'; its result says so"
    )
    files = [change.files for folder in find(tmp_path / "s") for change in folder.result().data_changes]
    assert files == [("train/dog/03.jpg",)] * went_on
    assert went_on
