"""Measurements that wait for a GPU, most valuable first, within a time limit: ``python -m benchmarks.gpu_plan``.

The order and its reasons are in docs/reproduce/gpu-plan.md.
Each part is a process of its own, because a failed capture leaves a process that cannot use the GPU any more. Results
are written as they come. When a part fails or takes too long, a line says so and the next part begins.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import functools
import io
import math
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks import bound, captured, training
from benchmarks.rows import as_csv
from lpm.console import cli
from lpm.console.cli import jobs
from lpm.console.errors import InvalidInput
from lpm.console.output import write
from training.catalogue import CATALOGUE
from training.config import RunConfig
from training.data import cifar, datasets
from training.data.untrusted import contents
from training.experiments import config
from training.jobs.local import in_flight
from training.jobs.work import Finished, Report, Stopped, Work
from training.model import build
from training.store import tables

METHODS = ("random+FC", "BMLS+FC", "BMLS+MS", "CAS+FC", "CBS+FC", "random+MS")
"""Methods that are trained, most valuable first."""
CORRECTIONS = ("random+FC, no mixup", "random+FC+LA", "random+FC+CW")
"""Methods beside them at imbalance 100: no mixup, and corrections in the loss."""

PRESETS = tuple(CATALOGUE["cifar10-lt"].presets)
"""Recipes that the runs may have."""

Row = dict[str, Any]
"""One row of a CSV or of a run's epochs."""


class TimeIsUp(Exception):
    """The time limit has passed. It is raised between two epochs, and the run continues another time."""


@dataclass(frozen=True)
class Timed(Work):
    """Work that stops when the time is up. It goes on after a run that fails, but not after two that fail alike.

    Attributes:
        root: folder of the images.
        out: folder for failures.txt.
        end: value of time.monotonic() at which the time is up.
        failures: messages of the runs that have failed.
    """

    root: Path = Path()
    out: Path = Path()
    end: float = 0.0
    failures: list[str] = field(default_factory=list)

    def stages(self, config: RunConfig, report: Report) -> Generator[None, None, Finished | Stopped]:
        """Train one run as :meth:`Work.stages` does.

        Args:
            config: the run.
            report: has no effect; the time limit is checked in its place.

        Yields:
            None, whenever another run in flight may go on.

        Returns:
            The finished run; or that it stopped, because the time is up or it failed.

        Raises:
            Exception: the run's error, if another run has failed with the same one.
        """

        def check_time(epochs: float, state: str) -> None:
            if state and time.monotonic() > self.end:  # after an epoch, never inside one
                raise TimeIsUp

        if time.monotonic() > self.end:
            return Stopped()
        try:
            work = replace(self, data=long_tailed(self.root, config.imbalance, config.tail))
            return (yield from Work.stages(work, config, check_time))
        except TimeIsUp:
            return Stopped()
        except Exception as error:
            message = f"{type(error).__name__}: {error}"
            print(f"{config.folder} failed: {message}", flush=True)
            with (self.out / "failures.txt").open("a") as file:
                file.write(f"{config.folder}\n{traceback.format_exc()}\n")
            if message in self.failures:
                raise
            self.failures.append(message)
            return Stopped()


@functools.cache
def long_tailed(root: Path, imbalance: float, tail: str = "exp") -> datasets.LongTailed:
    """Load CIFAR10-LT, once for each imbalance and tail.

    Args:
        root: folder with CIFAR's files.
        imbalance: n_max / n_min.
        tail: how class counts fall, 'exp' or 'step'.

    Returns:
        The data.
    """
    return datasets.load("cifar10-lt", root, imbalance=imbalance, tail=tail)


def plan(preset: str) -> Iterator[RunConfig]:
    """List the runs of the plan.

    Args:
        preset: their recipe.

    Yields:
        The runs, most valuable first.
    """
    for factor in (100, 200, 50, 10):
        for seed in range(3):
            for method in METHODS:
                yield replace(config(method, "cifar10-lt", factor, preset), seed=seed)
        if factor == 100:
            for seed in range(3):
                for method in CORRECTIONS:
                    yield replace(config(method, "cifar10-lt", factor, preset), seed=seed)
            yield from law(preset)


def law(preset: str) -> Iterator[RunConfig]:
    """List runs on the line of the collapse law: both decays known, step counts at imbalance 100.

    Args:
        preset: their recipe.

    Yields:
        Three decays around the threshold sqrt(s pi_B), s = 2/3 under Beta(1, 1), for mixup with and without logit
        adjustment.
    """
    threshold = math.sqrt(2 / 3 / (5 * 100 + 5))
    for share in (0.8, 1.05, 0.95):
        for method in ("random+FC", "random+FC+LA"):
            base = config(method, "cifar10-lt", 100, preset)
            yield replace(
                base,
                tail="step",
                preset=base.preset + "+",
                feature_decay=share * threshold,
                classifier_decay=share * threshold,
                feature_decay_centred=True,
                weight_decay=1e-5,
                decay_warmup=base.epochs // 2,
            )


def train(options: argparse.Namespace, device: torch.device) -> int:
    """Train until the time is up. After each run, the rows of all finished runs are written, with those of ``--skip``.

    Args:
        options: parsed options.
        device: where runs train.

    Returns:
        The exit status.
    """
    end, start = time.monotonic() + 60 * options.minutes, time.monotonic()
    known = known_rows(options.skip)
    skipped = _runs(known)
    done = skipped | _runs(tables.export(options.store))
    planned = list(plan(options.preset))
    wanted = [run for run in planned if (run.key, str(run.seed)) not in done]
    alone = 1 if len(wanted) == len(planned) else 0  # the very first run trains alone, so that it can be timed
    data = long_tailed(options.data_root, 100)
    folders = {"root": options.data_root, "out": options.out}
    work = Timed(data, options.store, device.type, False, not options.no_capture, end=end, **folders)
    for at_once, runs in ((1, wanted[:alone]), (options.jobs, wanted[alone:])):
        for outcome in in_flight(runs, work, at_once):
            if isinstance(outcome, Finished):
                result = outcome.result
                seconds = f"{time.monotonic() - start:.1f} s, {at_once} in flight"
                print(f"{result.dataset}, {result.method}: {result.last['all']:.2f} %, {seconds}", flush=True)
            new = [row for row in tables.export(options.store) if (row["config"], row["seed"]) not in skipped]
            if rows := known + new:
                write(options.out / "runs.csv", as_csv(rows))
    if time.monotonic() > end:
        print("time is up; give the same command again to continue")
    return 0


def known_rows(path: Path | None) -> list[Row]:
    """Read the runs that need no training.

    Args:
        path: a file such as ``results/runs.csv``, or None.

    Returns:
        Its rows.

    Raises:
        InvalidInput: if the file has other columns.
    """
    if path is None:
        return []
    try:
        reader = csv.DictReader(io.StringIO(contents(path, 100_000_000).decode(), newline=""))
        columns, rows = reader.fieldnames, list(reader)
    except (UnicodeDecodeError, csv.Error):
        columns, rows = None, []
    if tuple(columns or ()) != tables.COLUMNS or any(None in (*row, *row.values()) for row in rows):
        raise InvalidInput(f"--skip {str(path)!r} has no rows with the columns {', '.join(tables.COLUMNS)}")
    return rows


def _runs(rows: Iterable[Row]) -> set[tuple[str, str]]:
    """Return the key and the seed of each run."""
    return {(row["config"], row["seed"]) for row in rows}


def check(options: argparse.Namespace, device: torch.device) -> int:
    """Compare captured steps with plain ones.

    Args:
        options: parsed options.
        device: where steps run.

    Returns:
        The exit status: 1 if they differ.
    """
    return captured.compared(device)


def keep(options: argparse.Namespace, name: str, rows: Iterator[Row]) -> int:
    """Write rows as they come. When all are there, write them into the store too, which marks the part as done.

    Args:
        options: parsed options.
        name: name of the file.
        rows: the measurements.

    Returns:
        The exit status.
    """
    measured: list[Row] = []
    for row in rows:
        measured.append(row)
        write(options.out / name, as_csv(measured))
    write(options.store / name, as_csv(measured))
    return 0


def speed(options: argparse.Namespace, device: torch.device) -> int:
    """Measure images per second.

    Args:
        options: parsed options.
        device: where runs train.

    Returns:
        The exit status.
    """
    return keep(options, "speed.csv", training.rows(device, capture=not options.no_capture))


def bounds(options: argparse.Namespace, device: torch.device) -> int:
    """Measure how far a step is from what the machine allows.

    Args:
        options: parsed options.
        device: where steps run.

    Returns:
        The exit status.
    """
    return keep(options, "bound.csv", bound.rows(device, capture=not options.no_capture))


def profile(options: argparse.Namespace, device: torch.device) -> int:
    """Write the operations that take the most time.

    Args:
        options: parsed options.
        device: where steps run.

    Returns:
        The exit status.
    """
    text = bound.profiled(device, capture=not options.no_capture).encode()
    for folder in (options.out, options.store):
        write(folder / "profile.txt", text)
    return 0


@dataclass(frozen=True)
class Part:
    """One part of the plan.

    Attributes:
        run: does it, and returns the exit status.
        file: the file that exists in the store once the part is done; empty for a part that is always done again.
        minutes: the most minutes that it may take; 0 for the rest of the time.
    """

    run: Callable[[argparse.Namespace, torch.device], int]
    file: str = ""
    minutes: float = 0.0


PARTS = {
    "check": Part(run=check, minutes=1.5),
    "speed": Part(run=speed, file="speed.csv", minutes=4.0),
    "bound": Part(run=bounds, file="bound.csv", minutes=2.0),
    "profile": Part(run=profile, file="profile.txt", minutes=1.0),
    "train": Part(run=train),
}
"""The parts in their order."""

ATTEMPTS = 2
"""Number of times that a failing part is begun. Then it is left out, so that it leaves time for training."""


def all_parts(options: argparse.Namespace) -> int:
    """Run each part in a process of its own.

    Args:
        options: parsed options.

    Returns:
        The exit status: 1 if a part failed.
    """
    end, failed = time.monotonic() + 60 * options.minutes, False
    attempts_file, plain = options.store / "attempts.txt", options.no_capture
    for name, part in PARTS.items():
        # Words of earlier calls: parts that were begun, and whether steps have proved "captured" or must be "plain".
        attempts = attempts_file.read_text().split() if attempts_file.exists() else []
        plain |= "plain" in attempts
        if part.file and (options.store / part.file).exists():
            write(options.out / part.file, (options.store / part.file).read_bytes())
        elif time.monotonic() > end or (name == "check" and (plain or "captured" in attempts)):
            pass
        elif part.file and attempts.count(name) >= ATTEMPTS:
            print(f"{name}: left out after {ATTEMPTS} attempts", flush=True)
        else:
            status = _process(name, options, plain, end, part.minutes)
            failed |= status != 0
            attempts.append(name)
            # Bad input (2) and a part that took too long (124) say nothing about captured steps.
            failed_captured = not plain and status not in ((0,) if name == "check" else (0, 2, 124))
            if name in ("check", "train") and failed_captured:
                print("captured steps failed; plain steps are used from now on", flush=True)
                plain = True
                attempts.append("plain")
                if name == "train":
                    _process(name, options, plain, end, part.minutes)
            elif name == "check":
                attempts.append("captured")
            write(attempts_file, " ".join(attempts).encode())
    return int(failed)


def _process(part: str, options: argparse.Namespace, plain: bool, end: float, limit: float) -> int:
    """Run a part in a process, and return its exit status: 124 when it took too long and was killed with its children.

    ``limit``: the most minutes that it may take; 0 for the rest of the time.
    """
    rest = (end - time.monotonic()) / 60
    words = [sys.executable, "-m", "benchmarks.gpu_plan", "--part", part, "--minutes", f"{max(rest, 0.001):.3f}"]
    given = {"data-root": options.data_root, "store": options.store, "out": options.out, "skip": options.skip}
    given |= {"jobs": options.jobs, "preset": options.preset, "device": options.device}
    words += [word for name, value in given.items() if value is not None for word in (f"--{name}", str(value))]
    start = time.monotonic()
    # Training ends without help when the time is up; the 25 seconds are for the epochs that have begun.
    wait = 60 * min(limit, rest) if limit else 60 * rest + 25
    with subprocess.Popen([*words, *["--no-capture"] * plain], start_new_session=True) as process:
        try:
            status = process.wait(max(wait, 1))
        except subprocess.TimeoutExpired:
            status = 124
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    print(f"{part}: exit status {status} after {time.monotonic() - start:.1f} s", flush=True)
    return status


def minutes(text: str) -> float:
    """Parse a time limit.

    Args:
        text: word of the command line.

    Returns:
        Minutes, more than 0 and at most a day.

    Raises:
        argparse.ArgumentTypeError: if the text is anything else.
    """
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1440:
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is not a number of minutes, at most 1440")
    return value


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: words of the command line; those of the process if None.

    Returns:
        Its exit status.

    Raises:
        InvalidInput: if CIFAR-10 is missing, ``--skip`` has other columns, or a folder cannot be made.
    """
    parser = cli.Parser(
        "benchmarks.gpu_plan", "measure and train on a GPU, the most valuable first, until the time is up"
    )
    add = parser.add_argument
    add("--data-root", type=Path, required=True, metavar="DIR", help="folder with CIFAR's files")
    add("--store", type=Path, default=Path("runs-gpu"), metavar="DIR", help="the run store")
    results = "folder for runs.csv, speed.csv, bound.csv, profile.txt and failures.txt"
    add("--out", type=Path, default=Path("."), metavar="DIR", help=results)
    add("--skip", type=Path, metavar="CSV", help="file like results/runs.csv; its runs are not trained again")
    add("--minutes", type=minutes, default=9.0, help="time limit in minutes")
    add("--jobs", type=jobs, default=8, metavar="N", help="runs in flight")
    add("--no-capture", action="store_true", help="use plain steps, not captured ones")
    add(
        "--part",
        type=cli.choice(*PARTS),
        metavar="NAME",
        help="|".join(PARTS) + ": run this part only, in this process",
    )
    add(
        "--preset",
        type=cli.choice(*PRESETS),
        default="paper",
        metavar="NAME",
        help="|".join(PRESETS) + ": recipe of the runs",
    )
    devices = ("auto", "cpu", "cuda")
    add(
        "--device", type=cli.choice(*devices), default="auto", metavar="NAME", help="|".join(devices) + ": where to run"
    )
    options = parser.parse_args(arguments)
    device = build.device(options.device)
    known_rows(options.skip)
    if not options.part:
        cifar.read(options.data_root, 10)  # before minutes are spent
    for folder in (options.out, options.store):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidInput(f"{str(folder)!r} cannot be made: {error.strerror}") from None
    return PARTS[options.part].run(options, device) if options.part else all_parts(options)


if __name__ == "__main__":
    sys.exit(cli.run(main))
