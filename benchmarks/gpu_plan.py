"""What waits for a GPU, most valuable first, within a time limit: ``python -m benchmarks.gpu_plan`` (docs/gpu-plan.md)."""

from __future__ import annotations

import csv
import sys
import time
import traceback
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from benchmarks import bound, training
from benchmarks.rows import as_csv
from lpm import cli
from lpm.cli import jobs
from training import build, datasets, tables
from training.config import PRESETS, RunConfig
from training.experiments import config
from training.progress import Work, in_flight
from training.runs import write

FIRST = ("random+FC", "BMLS+FC", "BMLS+MS", "CAS+FC", "CBS+FC", "random+MS")


class TimeIsUp(Exception):
    """Raised between two epochs; the run continues another time."""


@dataclass(frozen=True)
class Timed(Work):
    """Work that stops when the time is up, and survives a run that fails. end: of time.monotonic()."""

    end: float = 0.0

    def stages(
        self, config: RunConfig, on_epoch: Callable[[dict[str, Any]], None]
    ) -> Generator[None, None, dict[str, Any] | None]:
        def until_the_end(row: dict[str, Any]) -> None:
            if time.monotonic() > self.end:
                raise TimeIsUp

        if time.monotonic() > self.end:
            return None
        try:
            return (yield from super().stages(config, until_the_end))
        except TimeIsUp:
            return None
        except Exception:
            print(f"{config.folder} failed:\n{traceback.format_exc()}", flush=True)
            return None


def plan(preset: str) -> Iterator[RunConfig]:
    """The runs in the order of their value."""
    for factor in (100, 200, 50, 10):
        for seed in range(3):
            for method in FIRST:
                yield replace(config(method, "cifar10-lt", factor, preset), seed=seed)


def by_imbalance(runs: Iterator[RunConfig], done: set[tuple[str, str]]) -> Iterator[tuple[float, list[RunConfig]]]:
    """Runs that are not done yet (key and seed), in their order, those of one imbalance factor together."""
    for imbalance, group in groupby(runs, key=lambda run: run.imbalance):
        if wanted := [run for run in group if (run.key, str(run.seed)) not in done]:
            yield imbalance, wanted


def finished(store: Path, skip: Path | None) -> set[tuple[str, str]]:
    """Key and seed of the runs in the store and in a CSV file of rows, as results/ has them."""
    rows = tables.export(store)
    if skip is not None:
        with skip.open(newline="", encoding="utf-8") as file:
            rows += list(csv.DictReader(file))
    return {(row["config"], row["seed"]) for row in rows}


def speed(store: Path, out: Path, device: torch.device) -> None:
    """Measure once, keep it beside the runs; a failure is printed and no reason to train nothing."""
    store.mkdir(parents=True, exist_ok=True)
    files: dict[str, Callable[[], bytes]] = {
        "speed.csv": lambda: as_csv(training.rows(device)),
        "bound.csv": lambda: as_csv(bound.rows(device)),
        "profile.txt": lambda: bound.profiled(device).encode(),
    }
    for name, measured in files.items():
        try:
            if not (store / name).exists():
                write(store / name, measured())
            (out / name).write_bytes((store / name).read_bytes())
        except Exception:
            print(f"{name} failed:\n{traceback.format_exc()}", flush=True)


def train(options: Any, device: torch.device, end: float) -> None:
    """Train until the time is up; the rows of all finished runs are written after each of them."""
    done = finished(options.store, options.skip)
    alone = not done  # the first run of all is timed by itself
    for imbalance, wanted in by_imbalance(plan(options.preset), done):
        data = datasets.load("cifar10-lt", options.data_root, imbalance=imbalance)
        work = Timed(data, options.store, device.type, False, not options.no_capture, end=end)
        for at_once, runs in ((1, wanted[:1]), (options.jobs, wanted[1:])) if alone else ((options.jobs, wanted),):
            start = time.monotonic()
            for result in in_flight(runs, work, at_once):
                if isinstance(result, dict):
                    seconds = f"{time.monotonic() - start:.1f} s, {at_once} in flight"
                    print(f"{result['method']}, {imbalance:g}: {result['last']['all']:.2f} %, {seconds}", flush=True)
                if rows := tables.export(options.store):
                    write(options.out / "runs.csv", as_csv(rows))
        alone = False
        if time.monotonic() > end:
            print("time is up; the same command goes on")
            return


def main(arguments: list[str] | None = None) -> int:
    """The command; the exit status."""
    parser = cli.Parser("benchmarks.gpu_plan", "train what waits for a GPU until the time is up")
    add = parser.add_argument
    add("--data-root", type=Path, required=True, metavar="DIR", help="folder with CIFAR's files")
    add("--store", type=Path, default=Path("runs-gpu"), metavar="DIR", help="the run store")
    add(
        "--out",
        type=Path,
        default=Path("."),
        metavar="DIR",
        help="folder for runs.csv, speed.csv, bound.csv and profile.txt",
    )
    add("--skip", type=Path, metavar="CSV", help="rows of runs that need not be trained again")
    add("--minutes", type=float, default=9.5, help="time limit")
    add("--jobs", type=jobs, default=8, metavar="N", help="runs in flight")
    add("--no-capture", action="store_true", help="plain steps, should capturing fail")
    add("--preset", type=cli.choice(*PRESETS), default="paper", metavar="NAME", help="|".join(PRESETS))
    devices = ("auto", "cpu", "cuda")
    add("--device", type=cli.choice(*devices), default="auto", metavar="NAME", help="|".join(devices))
    options = parser.parse_args(arguments)
    end, device = time.monotonic() + 60 * options.minutes, build.device(options.device)
    options.out.mkdir(parents=True, exist_ok=True)
    speed(options.store, options.out, device)
    train(options, device, end)
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
