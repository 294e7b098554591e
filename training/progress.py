"""Many runs, one after another or several at once, with a progress bar: what the commands share."""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from lpm import cli
from lpm.errors import InvalidInput
from training import build, datasets, trainer
from training.config import RunConfig
from training.runs import Busy, RunFolder


def train_all(configs: Sequence[RunConfig], options: argparse.Namespace, *, printed: bool = True) -> int:
    """Train runs of one data set that are not in the store yet, ``options.jobs`` at a time; print their metrics.

    Of several runs, one that another process trains is left to it. Returns the exit status: 1 when a run diverged.
    """
    first = configs[0]
    device = build.device(options.device)
    data = datasets.load(first.dataset, options.data_root, imbalance=first.imbalance, subset_seed=first.subset_seed)
    _explain(first, len(data.train.labels))
    if getattr(options, "tensorboard", False):
        _events(None)
    work = Work(data, options.store, device.type, getattr(options, "tensorboard", False))
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[state]}"),
    )  # fmt: skip
    found, diverged = [], 0
    with Progress(
        *columns, console=console, transient=True, disable=options.quiet or not console.is_terminal
    ) as progress:
        for metrics in (
            _sequentially(configs, work, progress, lines=not (options.quiet or console.is_terminal))
            if options.jobs == 1
            else _at_once(configs, work, options.jobs, progress)
        ):
            found += [metrics] if metrics is not None else []
            diverged += metrics is None
    if printed and options.json:
        cli.print_json(found)
    elif printed and not options.quiet and found:
        _print(first, found)
    return 1 if diverged else 0


@dataclass(frozen=True)
class Work:
    """What every run needs: data, the store's folder, the kind of device, whether to write TensorBoard events."""

    data: datasets.LongTailed
    store: Path
    device: str
    events: bool

    def train(self, config: RunConfig, on_epoch: Callable[[dict[str, Any]], None]) -> dict[str, Any] | None:
        """Train one run; its metrics, or None when it diverged."""
        folder = RunFolder(self.store, config)
        writer: Any = None

        def show(row: dict[str, Any]) -> None:
            nonlocal writer
            if self.events:  # opened only now that this process holds the run
                writer = writer or _events(folder)
                for name, value in row.items():
                    writer.add_scalar(name, value, row["epoch"])
            on_epoch(row)

        try:
            return trainer.run(config, self.data, folder, torch.device(self.device), on_epoch=show)
        except trainer.Diverged as error:
            last = folder.last_checkpoint()
            kept = "no checkpoint yet" if last is None else f"the last good checkpoint is that of epoch {last[0]}"
            print(f"diverged: {config.method}, seed {config.seed}: {error}; {kept}", file=sys.stderr)
            return None
        finally:
            if writer is not None:
                writer.close()


def _sequentially(
    configs: Sequence[RunConfig], work: Work, progress: Progress, *, lines: bool
) -> Iterator[dict[str, Any] | None]:
    for config in configs:
        task = progress.add_task(f"{config.method}, seed {config.seed}", total=config.epochs, state="")

        def show(row: dict[str, Any], task: TaskID = task, config: RunConfig = config) -> None:
            state = f"{row['images_per_second']:,.0f} images/s, loss {row['loss']:.3f}, test {row['test_all']:.2f} %"
            progress.update(task, completed=row["epoch"], state=state)
            if lines and row["epoch"] % max(1, config.epochs // 10) == 0:  # a log file has no progress bar
                print(
                    f"{config.method}, seed {config.seed}, epoch {row['epoch']}: {state}", file=sys.stderr, flush=True
                )

        try:
            yield work.train(config, show)
        except Busy as error:
            if len(configs) == 1:
                raise
            print(f"note: {error}; left to it", file=sys.stderr)
        progress.remove_task(task)


_WORK: list[Work] = []
"""The work of this process, when it is one of several."""


def _start(work: Work, threads: int) -> None:
    torch.set_num_threads(threads)
    _WORK[:] = [work]


def _train_in_process(config: RunConfig) -> dict[str, Any] | str | None:
    return _train_here(_WORK[0], config)


def _train_here(work: Work, config: RunConfig) -> dict[str, Any] | str | None:
    try:
        return work.train(config, lambda row: None)
    except Busy as error:
        return str(error)


def _train_on_stream(work: Work, config: RunConfig) -> dict[str, Any] | str | None:
    """In a thread: on a CUDA stream of its own, so that runs in flight on one card overlap."""
    if work.device != "cuda":
        return _train_here(work, config)
    with torch.cuda.stream(torch.cuda.Stream()):  # type: ignore[no-untyped-call]
        return _train_here(work, config)


def in_flight(configs: Sequence[RunConfig], work: Work, jobs: int) -> Iterator[dict[str, Any] | str | None]:
    """Results of runs as they end (a note where another process has a run), ``jobs`` at a time: processes that share the cores
    of a CPU; on CUDA threads of this process, because processes would take turns on the card.
    """
    if work.device == "cuda":
        pool: Executor = ThreadPoolExecutor(jobs)
        task: Callable[[RunConfig], Any] = partial(_train_on_stream, work)
    else:
        threads = max(1, torch.get_num_threads() // jobs)
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_start, initargs=(work, threads))
        task = _train_in_process
    with pool:
        for future in as_completed([pool.submit(task, config) for config in configs]):
            yield future.result()


def _at_once(
    configs: Sequence[RunConfig], work: Work, jobs: int, progress: Progress
) -> Iterator[dict[str, Any] | None]:
    task = progress.add_task(f"{len(configs)} runs, {jobs} at a time", total=len(configs), state="")
    for result in in_flight(configs, work, jobs):
        progress.advance(task)
        if isinstance(result, str):
            print(f"note: {result}; left to it", file=sys.stderr)
            continue
        yield result


def _explain(config: RunConfig, images: int) -> None:
    """Say what happens when there are more label pairs than images."""
    if config.sampler.startswith("bmls") and (pairs := label_pairs(config)) > images:
        epochs = -(-pairs // images)
        print(
            f"note: {pairs:,} label pairs, {images:,} an epoch: all have occurred after {epochs} epochs",
            file=sys.stderr,
        )


def label_pairs(config: RunConfig) -> int:
    """Label pairs that a BMLS sampler goes through."""
    return config.K**2 if config.sampler == "bmls-all" else config.K * (config.K - 1) // 2


def _events(folder: RunFolder | None) -> Any:
    """A TensorBoard writer, None without a folder. Raises InvalidInput where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InvalidInput(
            "--tensorboard needs the package tensorboard; install it with pip install tensorboard"
        ) from None
    return None if folder is None else SummaryWriter(folder.path / "events")


def _print(config: RunConfig, metrics: Sequence[dict[str, Any]]) -> None:
    print(
        f"{metrics[0]['dataset']}, imbalance {config.imbalance:g}, {config.method}, preset {config.preset}, {len(metrics)} seeds"
    )
    for split in metrics[0]["last"]:
        values = [m["last"][split] for m in metrics]
        spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
        print(f"  {split:<5}{statistics.fmean(values):7.2f}{spread} %")
