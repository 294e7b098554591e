"""The runs that wait for a GPU, most valuable first, and their training within a time limit: a part of the GPU plan."""

from __future__ import annotations

import argparse
import functools
import math
import time
import traceback
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.rows import as_csv
from lpm.console.output import write
from lpm.console.text import counted
from training import queue
from training.config import RunConfig
from training.data import datasets
from training.experiments import TABLES, config
from training.jobs.local import in_flight
from training.jobs.work import Finished, Report, Stopped, Work
from training.named import GROUPS
from training.run import corrections
from training.run.correcting import every_defined
from training.run.inference import network_of
from training.store import posthoc
from training.store import rows as stored
from training.store.runs import RunFolder
from training.store.wanted import wanted as cells_of

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
        except Exception as error:  # whatever it is, the other runs use the machine while it is there
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


def groups(preset: str) -> dict[str, list[RunConfig]]:
    """List the runs of the plan by what they are for, on CIFAR10-LT.

    Args:
        preset: their recipe.

    Returns:
        By name, the runs; most valuable first. Groups may share runs.
    """

    def cells(number: int, factors: Iterable[int], seeds: int) -> list[RunConfig]:
        part = replace(TABLES[number], datasets=("cifar10-lt",), factors=tuple(factors))
        chosen = [cell for cell in cells_of(part, preset, ["common"]) if cell.row.method in GROUPS["cheap"]]
        return [replace(cell.config, seed=seed) for seed in range(seeds) for cell in chosen]

    factors = (100, 200, 50, 10)
    return {
        "the queue of long runs": queue.plan(preset),
        "Table 4": [run for factor in factors for run in cells(4, [factor], TABLES[4].seeds)],
        "Table 7, cheap methods": cells(7, [100], 3),
        "two improvements that the law suggests": suggested(preset),
        "the line of the law": list(law(preset)),
        "Table 8": [run for factor in factors for run in cells(8, [factor], 3)],
    }


def plan(preset: str) -> list[RunConfig]:
    """List the runs of the plan.

    Args:
        preset: their recipe.

    Returns:
        The runs of :func:`groups`, each once, most valuable first.
    """
    return list(dict.fromkeys(run for runs in groups(preset).values() for run in runs))


def suggested(preset: str) -> list[RunConfig]:
    """List the runs of two improvements over BMLS+MS that the law suggests (docs/contribute/log.md, 2026-11-28).

    Args:
        preset: their recipe.

    Returns:
        Tempered pairs with the correction, and BMLS+MS at five times the weight decay, with three seeds.
    """
    paper, tempered = (config(method, "cifar10-lt", 100, preset) for method in ("BMLS+MS", "tempered+MS+LA"))
    stronger = replace(paper, weight_decay=1e-3, preset=f"{preset}+")
    return [replace(run, seed=seed) for seed in range(3) for run in (tempered, stronger)]


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
    done = skipped | _runs(stored.export(options.store))
    planned = plan(options.preset)
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
            for run in planned:  # also those that an earlier call has trained and could not correct
                correct(RunFolder(options.store, run), options, device)
            new = [row for row in stored.export(options.store) if (row["config"], row["seed"]) not in skipped]
            if rows := known + new:
                write(options.out / "runs.csv", as_csv(rows))
    if time.monotonic() > end:
        print("time is up; give the same command again to continue")
    return 0


def correct(folder: RunFolder, options: argparse.Namespace, device: torch.device) -> None:
    """Correct a finished run in every way that is defined for it, because its store may not outlast the machine.

    A run that is not finished, or has been corrected, stays as it is. An error is printed and kept in ``failures.txt``, and
    is not met again.

    Args:
        folder: the run.
        options: parsed options.
        device: where it is done.
    """
    config, failures = folder.config, options.out / "failures.txt"
    if not folder.done or (folder.path / posthoc.FILE).exists() or folder.path in UNCORRECTED:
        return
    try:
        data = long_tailed(options.data_root, config.imbalance, config.tail)
        network = network_of(folder, data.channels, device)
        rows = every_defined(corrections.Finished(config, network, data, device), posthoc.NAMES)
        with folder.lock():
            posthoc.save(folder, rows)
    except Exception as error:  # the machine's time is for training, whatever this is
        UNCORRECTED.add(folder.path)
        print(f"{config.folder} is not corrected: {type(error).__name__}: {error}", flush=True)
        with failures.open("a") as file:
            file.write(f"{config.folder}, correction\n{traceback.format_exc()}\n")


UNCORRECTED: set[Path] = set()
"""Runs whose correction has failed in this process."""


def outline(options: argparse.Namespace) -> str:
    """Describe the training that is left.

    Args:
        options: parsed options.

    Returns:
        One line for each group of runs: how many it has, and how many of them are left.
    """
    done = _runs(known_rows(options.skip)) | _runs(stored.export(options.store))
    lines = []
    for name, runs in groups(options.preset).items():
        left = [run for run in runs if (run.key, str(run.seed)) not in done]
        done |= {(run.key, str(run.seed)) for run in left}  # a later group has them for nothing
        lines.append(f"train: {name}: {counted(len(runs), 'run')}, {len(left)} left\n")
    return "".join(lines)


def known_rows(path: Path | None) -> list[Row]:
    """Read the runs that need no training.

    Args:
        path: a file such as ``results/runs.csv``, or None.

    Returns:
        Its rows.

    Raises:
        InvalidInput: if the file has other columns.
    """
    return [] if path is None else stored.read(path, "--skip")


def _runs(rows: Iterable[Row]) -> set[tuple[str, str]]:
    """Return the key and the seed of each run."""
    return {(row["config"], row["seed"]) for row in rows}
