"""What waits for a GPU, most valuable first, within a time limit: ``python -m benchmarks.gpu_plan`` (docs/reproduce/gpu-plan.md).

Each part is a process of its own, because a capture that fails leaves a process that can do nothing more on the card. What a
part finds is written as it comes; a part that fails or takes too long is said, and the next one begins.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import functools
import io
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
from training.jobs.work import Finished, Stopped, Work
from training.model import build
from training.store import tables

FIRST = ("random+FC", "BMLS+FC", "BMLS+MS", "CAS+FC", "CBS+FC", "random+MS")

Row = dict[str, Any]


class TimeIsUp(Exception):
    """Raised between two epochs; the run continues another time."""


PRESETS = tuple(CATALOGUE["cifar10-lt"].presets)


@dataclass(frozen=True)
class Timed(Work):
    """Work that stops when the time is up, and survives a run that fails, but not two that fail alike. root: of the images.
    out: where failures are written. end: of time.monotonic().
    """

    root: Path = Path()
    out: Path = Path()
    end: float = 0.0
    failures: list[str] = field(default_factory=list)

    def stages(self, config: RunConfig, on_epoch: Callable[[Row], None]) -> Generator[None, None, Finished | Stopped]:
        def until_the_end(row: Row) -> None:
            if time.monotonic() > self.end:
                raise TimeIsUp

        if time.monotonic() > self.end:
            return Stopped()
        try:
            work = replace(self, data=long_tailed(self.root, config.imbalance))
            return (yield from Work.stages(work, config, until_the_end))
        except TimeIsUp:
            return Stopped()
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            print(f"{config.folder} failed: {said}", flush=True)
            with (self.out / "failures.txt").open("a") as file:
                file.write(f"{config.folder}\n{traceback.format_exc()}\n")
            if said in self.failures:
                raise
            self.failures.append(said)
            return Stopped()


@functools.cache
def long_tailed(root: Path, imbalance: float) -> datasets.LongTailed:
    """CIFAR10-LT."""
    return datasets.load("cifar10-lt", root, imbalance=imbalance)


def plan(preset: str) -> Iterator[RunConfig]:
    """The runs in the order of their value."""
    for factor in (100, 200, 50, 10):
        for seed in range(3):
            for method in FIRST:
                yield replace(config(method, "cifar10-lt", factor, preset), seed=seed)


def train(options: argparse.Namespace, device: torch.device) -> int:
    """Train until the time is up; the rows of all finished runs are written after each of them, those to skip among them."""
    end, start = time.monotonic() + 60 * options.minutes, time.monotonic()
    known = known_rows(options.skip)
    skipped = _runs(known)
    done, every = skipped | _runs(tables.export(options.store)), list(plan(options.preset))
    wanted = [run for run in every if (run.key, str(run.seed)) not in done]
    first = int(len(wanted) == len(every))  # the first run of all is timed by itself
    data = long_tailed(options.data_root, 100)
    places = {"root": options.data_root, "out": options.out}
    work = Timed(data, options.store, device.type, False, not options.no_capture, end=end, **places)
    for at_once, runs in ((1, wanted[:first]), (options.jobs, wanted[first:])):
        for outcome in in_flight(runs, work, at_once):
            if isinstance(outcome, Finished):
                result = outcome.result
                seconds = f"{time.monotonic() - start:.1f} s, {at_once} in flight"
                print(f"{result.dataset}, {result.method}: {result.last['all']:.2f} %, {seconds}", flush=True)
            new = [row for row in tables.export(options.store) if (row["config"], row["seed"]) not in skipped]
            if rows := known + new:
                write(options.out / "runs.csv", as_csv(rows))
    if time.monotonic() > end:
        print("time is up; the same command goes on")
    return 0


def known_rows(path: Path | None) -> list[Row]:
    """The rows of a file as ``results/runs.csv``. Raises InvalidInput for another file."""
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
    """The key and the seed of each."""
    return {(row["config"], row["seed"]) for row in rows}


def check(options: argparse.Namespace, device: torch.device) -> int:
    """Whether captured steps are the plain ones: the exit status."""
    return captured.compared(device)


def keep(options: argparse.Namespace, name: str, rows: Iterator[Row]) -> int:
    """Write rows as they come; in the store, which says that a part is done, when all are there."""
    found: list[Row] = []
    for row in rows:
        found.append(row)
        write(options.out / name, as_csv(found))
    write(options.store / name, as_csv(found))
    return 0


def speed(options: argparse.Namespace, device: torch.device) -> int:
    """Images per second."""
    return keep(options, "speed.csv", training.rows(device, capture=not options.no_capture))


def bounds(options: argparse.Namespace, device: torch.device) -> int:
    """A step beside what the machine allows."""
    return keep(options, "bound.csv", bound.rows(device, capture=not options.no_capture))


def profile(options: argparse.Namespace, device: torch.device) -> int:
    """The operations that take the time."""
    found = bound.profiled(device, capture=not options.no_capture).encode()
    for folder in (options.out, options.store):
        write(folder / "profile.txt", found)
    return 0


PARTS: dict[str, tuple[Callable[[argparse.Namespace, torch.device], int], str, float]] = {
    "check": (check, "", 1.5),
    "speed": (speed, "speed.csv", 4.0),
    "bound": (bounds, "bound.csv", 2.0),
    "profile": (profile, "profile.txt", 1.0),
    "train": (train, "", 0.0),
}
"""What does each, the file that says that it is done, and the most minutes it may take (none: all that are left)."""


ATTEMPTS = 2
"""How often a part is begun that has not ended well, so that it does not take training's time for ever."""


def all_parts(options: argparse.Namespace) -> int:
    """Each part in a process of its own; the exit status, 1 when one failed."""
    end, failed = time.monotonic() + 60 * options.minutes, False
    tried, plain = options.store / "attempts.txt", options.no_capture
    for part, (_, file, limit) in PARTS.items():
        before = tried.read_text().split() if tried.exists() else []
        plain |= "plain" in before
        if file and (options.store / file).exists():
            write(options.out / file, (options.store / file).read_bytes())
        elif time.monotonic() > end or (part == "check" and (plain or "captured" in before)):
            pass
        elif file and before.count(part) >= ATTEMPTS:
            print(f"{part}: left out after {ATTEMPTS} attempts", flush=True)
        else:
            status = _process(part, options, plain, end, limit)
            failed |= status != 0
            words = [part]
            failed_captured = not plain and status not in ((0,) if part == "check" else (0, 2, 124))
            if part in ("check", "train") and failed_captured:
                print("the rest is done with plain steps", flush=True)
                plain = True
                words.append("plain")
                if part == "train":
                    _process(part, options, plain, end, limit)
            elif part == "check":
                words.append("captured")
            write(tried, " ".join([*before, *words]).encode())
    return int(failed)


def _process(part: str, options: argparse.Namespace, plain: bool, end: float, limit: float) -> int:
    """A part's exit status; 124 when it took too long, and then nothing of it is left running."""
    left = (end - time.monotonic()) / 60
    words = [sys.executable, "-m", "benchmarks.gpu_plan", "--part", part, "--minutes", f"{max(left, 0.001):.3f}"]
    given = {"data-root": options.data_root, "store": options.store, "out": options.out, "skip": options.skip}
    given |= {"jobs": options.jobs, "preset": options.preset, "device": options.device}
    words += [word for name, value in given.items() if value is not None for word in (f"--{name}", str(value))]
    start = time.monotonic()
    # Training ends by itself when the time is up, after the epochs that are under way.
    wait = 60 * min(limit, left) if limit else 60 * left + 25
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
    """A time limit, more than 0 and at most a day."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1440:
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is not a number of minutes, at most 1440")
    return value


def main(arguments: list[str] | None = None) -> int:
    """The command; the exit status."""
    parser = cli.Parser("benchmarks.gpu_plan", "measure and train what waits for a GPU until the time is up")
    add = parser.add_argument
    add("--data-root", type=Path, required=True, metavar="DIR", help="folder with CIFAR's files")
    add("--store", type=Path, default=Path("runs-gpu"), metavar="DIR", help="the run store")
    results = "folder for runs.csv, speed.csv, bound.csv, profile.txt and failures.txt"
    add("--out", type=Path, default=Path("."), metavar="DIR", help=results)
    add("--skip", type=Path, metavar="CSV", help="rows of runs that need not be trained again")
    add("--minutes", type=minutes, default=9.0, help="time limit")
    add("--jobs", type=jobs, default=8, metavar="N", help="runs in flight")
    add("--no-capture", action="store_true", help="plain steps")
    add("--part", type=cli.choice(*PARTS), metavar="NAME", help="|".join(PARTS) + ": one part, in this process")
    add("--preset", type=cli.choice(*PRESETS), default="paper", metavar="NAME", help="|".join(PRESETS))
    devices = ("auto", "cpu", "cuda")
    add("--device", type=cli.choice(*devices), default="auto", metavar="NAME", help="|".join(devices))
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
    return PARTS[options.part][0](options, device) if options.part else all_parts(options)


if __name__ == "__main__":
    sys.exit(cli.run(main))
