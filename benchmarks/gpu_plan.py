"""What waits for a GPU, most valuable first, within a time limit: ``python -m benchmarks.gpu_plan`` (docs/gpu-plan.md)."""

from __future__ import annotations

import csv
import io
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from benchmarks import training
from lpm import cli
from training import build, datasets, tables
from training.config import PRESETS, RunConfig
from training.experiments import config
from training.progress import Work, in_flight
from training.runs import RunFolder, write
from training.train import jobs

FIRST = ("random+FC", "BMLS+FC", "BMLS+MS", "CAS+FC", "CBS+FC")


class TimeIsUp(Exception):
    """Raised between two epochs; the run continues another time."""


@dataclass(frozen=True)
class Timed(Work):
    """Work that stops when the time is up. end: of time.monotonic()."""

    end: float = 0.0

    def train(self, config: RunConfig, on_epoch: Callable[[dict[str, Any]], None]) -> dict[str, Any] | None:
        def until_the_end(row: dict[str, Any]) -> None:
            if time.monotonic() > self.end:
                raise TimeIsUp

        try:
            return super().train(config, until_the_end) if time.monotonic() < self.end else None
        except TimeIsUp:
            return None


def plan(preset: str) -> Iterator[RunConfig]:
    """The runs in the order of their value."""
    for methods, factors in (((*FIRST, "random+MS"), (100, 200)), ((*FIRST, "random+MS"), (50, 10))):
        for factor in factors:
            for seed in range(3):
                for method in methods:
                    yield replace(config(method, "cifar10-lt", factor, preset), seed=seed)


def by_imbalance(runs: Iterator[RunConfig], store: Path) -> Iterator[tuple[float, list[RunConfig]]]:
    """Runs that are not in the store yet, in their order, those of one imbalance factor together."""
    for imbalance, group in groupby(runs, key=lambda run: run.imbalance):
        if wanted := [run for run in group if not RunFolder(store, run).done]:
            yield imbalance, wanted


def speed(store: Path, out: Path, device: torch.device) -> None:
    """Measure once, keep it beside the runs."""
    kept = store / "speed.csv"
    if not kept.exists():
        store.mkdir(parents=True, exist_ok=True)
        file = io.StringIO()
        found = training.rows(device)
        writer = csv.DictWriter(file, list(found[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)
        write(kept, file.getvalue().encode())
    (out / "speed.csv").write_bytes(kept.read_bytes())


def main(arguments: list[str] | None = None) -> int:
    """Train until the time is up, then write the rows of all finished runs; the exit status."""
    parser = cli.Parser("benchmarks.gpu_plan", "train what waits for a GPU until the time is up")
    parser.add_argument("--data-root", type=Path, required=True, metavar="DIR", help="folder with CIFAR's files")
    parser.add_argument("--store", type=Path, default=Path("runs-gpu"), metavar="DIR", help="the run store")
    parser.add_argument("--out", type=Path, default=Path("."), metavar="DIR", help="folder for runs.csv")
    parser.add_argument("--minutes", type=float, default=9.5, help="time limit")
    parser.add_argument("--jobs", type=jobs, default=8, metavar="N", help="runs in flight")
    parser.add_argument("--preset", type=cli.choice(*PRESETS), default="paper", metavar="NAME", help="|".join(PRESETS))
    parser.add_argument(
        "--device", type=cli.choice("auto", "cpu", "cuda"), default="auto", metavar="NAME", help="auto|cpu|cuda"
    )
    options = parser.parse_args(arguments)
    end, device = time.monotonic() + 60 * options.minutes, build.device(options.device)
    options.out.mkdir(parents=True, exist_ok=True)
    speed(options.store, options.out, device)
    for imbalance, wanted in by_imbalance(plan(options.preset), options.store):
        data = datasets.load("cifar10-lt", options.data_root, imbalance=imbalance)
        work = Timed(data, options.store, device.type, events=False, end=end)
        for result in in_flight(wanted, work, options.jobs):
            if isinstance(result, dict):
                print(f"{result['method']}, imbalance {imbalance:g}: {result['last']['all']:.2f} %", flush=True)
        if time.monotonic() > end:
            print("time is up; the same command goes on")
            break
    with (options.out / "runs.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, tables.COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(tables.export(options.store))
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
