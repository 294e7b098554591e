"""What waits for a GPU, most valuable first, within a time limit: ``python -m benchmarks.gpu_plan`` (docs/gpu-plan.md)."""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from lpm import cli
from training import build, datasets, tables, trainer
from training.config import PRESETS, RunConfig
from training.experiments import config
from training.runs import RunFolder

FIRST = ("random+FC", "BMLS+FC", "BMLS+MS", "CAS+FC", "CBS+FC")


class TimeIsUp(Exception):
    """Raised between two epochs; the run continues another time."""


def plan(preset: str) -> Iterator[RunConfig]:
    """The runs in the order of their value."""
    for methods, factors in ((FIRST, (100, 200)), (("random+MS",), (100, 200)), ((*FIRST, "random+MS"), (50, 10))):
        for seed in range(3):
            for factor in factors:
                for method in methods:
                    yield replace(config(method, "cifar10-lt", factor, preset), seed=seed)


def main(arguments: list[str] | None = None) -> int:
    """Train until the time is up, then write the rows of all finished runs; the exit status."""
    parser = cli.Parser("benchmarks.gpu_plan", "train what waits for a GPU until the time is up")
    parser.add_argument("--data-root", type=Path, required=True, metavar="DIR", help="folder with CIFAR's files")
    parser.add_argument("--store", type=Path, default=Path("runs-gpu"), metavar="DIR", help="the run store")
    parser.add_argument("--out", type=Path, default=Path("."), metavar="DIR", help="folder for runs.csv")
    parser.add_argument("--minutes", type=float, default=9.5, help="time limit")
    parser.add_argument("--preset", type=cli.choice(*PRESETS), default="paper", metavar="NAME", help="|".join(PRESETS))
    parser.add_argument(
        "--device", type=cli.choice("auto", "cpu", "cuda"), default="auto", metavar="NAME", help="auto|cpu|cuda"
    )
    options = parser.parse_args(arguments)
    end, device = time.monotonic() + 60 * options.minutes, build.device(options.device)
    data: dict[float, datasets.LongTailed] = {}

    def on_epoch(row: dict[str, Any]) -> None:
        if row["epoch"] in (2, 20):
            print(
                f"  epoch {row['epoch']}: {row['images_per_second']:,.0f} images/s, test {row['test_all']:.2f} %",
                flush=True,
            )
        if time.monotonic() > end:
            raise TimeIsUp

    try:
        for run in plan(options.preset):
            folder = RunFolder(options.store, run)
            if folder.done:
                continue
            if run.imbalance not in data:
                data[run.imbalance] = datasets.load(run.dataset, options.data_root, imbalance=run.imbalance)
            start = time.monotonic()
            found = trainer.run(run, data[run.imbalance], folder, device, on_epoch=on_epoch)
            print(f"{run.folder}: {found['last']['all']:.2f} %, {time.monotonic() - start:.1f} s", flush=True)
    except TimeIsUp:
        print("time is up; the same command goes on")
    with (options.out / "runs.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, tables.COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(tables.export(options.store))
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
