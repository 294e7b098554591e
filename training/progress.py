"""Many runs, one after another or several at once, with a progress bar: what the commands share."""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass, fields
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

from lpm import cli, engines
from lpm.errors import InvalidInput
from training import build, datasets, loop, notes, tables
from training.config import LARGE, RunConfig
from training.ranks import ALONE, Ranks, joined
from training.runs import Busy, RunFolder
from training.trainer import Diverged


@dataclass(frozen=True)
class Options:
    """How runs are trained: the options of the commands that do, by their names, with their defaults."""

    store: Path
    device: str = "auto"
    data_root: Path | None = None
    train_list: Path | None = None
    test_list: Path | None = None
    weights: Path | None = None
    workers: int | None = None
    jobs: int = 1
    engine: str = "local"
    address: str | None = None
    tensorboard: bool = False
    json: bool = False
    quiet: bool = False

    @classmethod
    def of(cls, given: argparse.Namespace) -> Options:
        """What a command was given; what it does not offer has its default."""
        return cls(**{f.name: getattr(given, f.name) for f in fields(cls) if hasattr(given, f.name)})

    @property
    def one_by_one(self) -> bool:
        """Whether this process trains one run after another."""
        return self.jobs == 1 and self.engine == "local"


def train_all(configs: Sequence[RunConfig], options: Options, *, printed: bool = True) -> int:
    """Train runs of one data set that are not in the store yet, ``options.jobs`` at a time; print their metrics.

    Of several runs, one that another process trains is left to it. Returns the exit status: 1 when a run diverged.
    """
    # A cluster's devices are not this host's.
    device = options.device if options.address is not None else build.device(options.device).type
    with joined(device) as ranks:
        if ranks.world > 1 and not options.one_by_one:
            raise InvalidInput("torchrun trains one run with all processes; drop --jobs and --engine")
        return _train_all(configs, options, device, ranks, printed=printed and ranks.first)


def ready(configs: Sequence[RunConfig], options: Options, *, quiet: bool) -> datasets.LongTailed:
    """The data of runs on one data set. Raises InvalidInput when they, or the weights that a run starts from, are not there."""
    if any(config.pretrained for config in configs):
        if options.weights is None:
            raise InvalidInput("a pretrained network needs --weights, a file in torchvision's key layout")
        if not os.path.isfile(options.weights):
            raise InvalidInput(f"--weights {str(options.weights)!r} is not a regular file")
    # CIFAR as JPEG takes ten seconds.
    with contextlib.nullcontext() if quiet else Console(stderr=True).status(f"reading {configs[0].data}"):
        return datasets.of(configs[0], options.data_root, train_list=options.train_list, test_list=options.test_list)


def _train_all(configs: Sequence[RunConfig], options: Options, device: str, ranks: Ranks, *, printed: bool) -> int:
    first, quiet = configs[0], options.quiet or not ranks.first
    data = ready(configs, options, quiet=quiet)
    if ranks.first:
        notes.explain(first, data, device)
    console = Console(stderr=True)
    events = options.tensorboard and ranks.first
    if events:
        _events(None)
    workers = _workers(options, ranks) if first.dataset in LARGE else 0
    work = Work(data, options.store, device, events, workers=workers, weights=options.weights, ranks=ranks)
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[state]}"),
    )  # fmt: skip
    found, diverged = [], 0
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as progress:
        lines = not (quiet or console.is_terminal)  # in a log file
        for metrics in (
            _sequentially(configs, work, progress, lines=lines)
            if options.one_by_one
            else _at_once(configs, work, options, progress, lines=lines)
        ):
            found += [metrics] if metrics is not None else []
            diverged += metrics is None
    if printed and options.json:
        cli.print_json(found)
    elif printed and not options.quiet and found:
        _print(first, found)
        folder = RunFolder(options.store, first).path
        print(f"in {folder if len(configs) == 1 else folder.parent}")
    return 1 if diverged else 0


@dataclass(frozen=True)
class Work:
    """What every run needs: data, the store's folder, the kind of device, whether to write TensorBoard events, whether steps are
    captured on CUDA, processes that decode image files, the file of pretrained weights, who trains together, and the engine's
    name of the task, if it has one.
    """

    data: datasets.LongTailed
    store: Path
    device: str
    events: bool
    capture: bool = True
    workers: int = 0
    weights: Path | None = None
    ranks: Ranks = ALONE
    task: str = ""

    def train(self, config: RunConfig, on_epoch: Callable[[dict[str, Any]], None]) -> dict[str, Any] | None:
        """Train one run; its metrics, or None when it diverged."""
        return loop.finished(self.stages(config, on_epoch))

    def stages(
        self, config: RunConfig, on_epoch: Callable[[dict[str, Any]], None]
    ) -> Generator[None, None, dict[str, Any] | None]:
        """:meth:`train` in stages: yields whenever an epoch is under way. Raises InvalidInput when memory does not suffice."""
        folder = RunFolder(self.store, config, self.task)
        writer: Any = None

        def show(row: dict[str, Any]) -> None:
            nonlocal writer
            if self.events:  # opened only now that this process holds the run
                writer = writer or _events(folder)
                for name, value in row.items():
                    writer.add_scalar(name, value, row["epoch"])
            on_epoch(row)

        device = torch.device(self.device)
        try:
            return (
                yield from loop.stages(
                    config,
                    self.data,
                    folder,
                    device,
                    on_epoch=show,
                    capture=self.capture,
                    workers=self.workers,
                    weights=self.weights if config.pretrained else None,
                    ranks=self.ranks,
                )
            )
        except Diverged as error:
            if self.ranks.first:  # which alone sees the store
                last = folder.last_checkpoint()
                kept = "no checkpoint yet" if last is None else f"the last good checkpoint is that of epoch {last[0]}"
                print(f"diverged: {config.method}, seed {config.seed}: {error}; {kept}", file=sys.stderr)
            return None
        except torch.OutOfMemoryError:
            raise InvalidInput("the device's memory does not suffice; take fewer --jobs or a smaller --batch") from None
        finally:
            if writer is not None:
                writer.close()


def _sequentially(
    configs: Sequence[RunConfig], work: Work, progress: Progress, *, lines: bool
) -> Iterator[dict[str, Any] | None]:
    for config in configs:
        task = progress.add_task(f"{config.method}, seed {config.seed}", total=config.epochs, state="")

        def show(row: dict[str, Any], task: TaskID = task, config: RunConfig = config) -> None:
            rate, what = f"{row['images_per_second']:,.0f} images/s", "balanced " * ("test_balanced" in row) + "test"
            state = f"{rate}, loss {row['loss']:.3f}, {what} {loop.headline(row):.2f} %"
            progress.update(task, completed=row["epoch"], state=state)
            if lines and row["epoch"] % max(1, config.epochs // 10) == 0:
                print(
                    f"{config.method}, seed {config.seed}, epoch {row['epoch']}: {state}", file=sys.stderr, flush=True
                )

        try:
            yield work.train(config, show)
        except Busy as error:
            if len(configs) == 1:
                raise
            if work.ranks.first:
                print(f"note: {error}; left to it", file=sys.stderr)
        progress.remove_task(task)


Outcome = dict[str, Any] | str | None
"""Of a run: its metrics, a note where another process has it, None when it diverged."""


def in_flight(configs: Sequence[RunConfig], work: Work, jobs: int) -> Iterator[Outcome]:
    """Outcomes of runs as they end, ``jobs`` at a time: in processes that share the cores of a CPU; on CUDA in this one, because
    processes would take turns on the card.
    """
    if work.device == "cuda":
        return interleaved(configs, work, [torch.cuda.Stream() for _ in range(min(jobs, 16))], torch.cuda.stream)  # type: ignore[no-untyped-call]
    return _in_processes(configs, work, jobs)


def interleaved(
    configs: Sequence[RunConfig], work: Work, streams: Sequence[Any], on: Callable[[Any], Any]
) -> Iterator[Outcome]:
    """One thread queues an epoch of each run in turn, each on a stream of its own (``with on(stream)``), where they overlap."""
    waiting = iter(configs)
    flying: dict[int, Generator[None, None, Outcome]] = {}
    while True:
        for place in range(len(streams)):
            if place not in flying and (config := next(waiting, None)) is not None:
                flying[place] = _stages_or_note(work, config)
        if not flying:
            return
        for place in list(flying):
            try:
                with on(streams[place]):
                    next(flying[place])
            except StopIteration as end:
                del flying[place]
                yield end.value


def _stages_or_note(work: Work, config: RunConfig) -> Generator[None, None, Outcome]:
    try:
        return (yield from work.stages(config, lambda row: None))
    except Busy as error:
        return str(error)


_WORK: list[Work] = []
"""The work of this process, when it is one of several."""


def _start(work: Work, threads: int) -> None:
    torch.set_num_threads(threads)
    _WORK[:] = [work]


def _train_in_process(config: RunConfig) -> Outcome:
    return loop.finished(_stages_or_note(_WORK[0], config))


def _in_processes(configs: Sequence[RunConfig], work: Work, jobs: int) -> Iterator[Outcome]:
    threads = max(1, torch.get_num_threads() // jobs)
    with engines.processes(jobs, _start, (work, threads)) as pool:  # interrupted, runs continue another time
        for future in as_completed([pool.submit(_train_in_process, config) for config in configs]):
            yield future.result()


def _at_once(
    configs: Sequence[RunConfig], work: Work, options: Options, progress: Progress, *, lines: bool
) -> Iterator[dict[str, Any] | None]:
    at_once = f"on {options.address}" if options.address else f"{options.jobs} at a time"
    task = progress.add_task(f"{len(configs)} runs, {at_once}", total=len(configs), state="")
    for number, result in enumerate(_outcomes(configs, work, options), 1):
        progress.advance(task)
        if lines:
            print(f"{number} of {len(configs)} runs", file=sys.stderr, flush=True)
        if isinstance(result, str):
            print(f"note: {result}; left to it", file=sys.stderr)
            continue
        yield result


def _workers(options: Options, ranks: Ranks) -> int:
    """Processes that decode images for one run: what is asked for, or the cores shared among all that train here."""
    if options.workers is not None:
        return options.workers
    if options.address is not None:
        return 1  # other hosts' cores are not counted here
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if ranks.world > 1 else options.jobs
    return max(1, len(os.sched_getaffinity(0)) // here)


def _outcomes(configs: Sequence[RunConfig], work: Work, options: Options) -> Iterator[Outcome]:
    if options.engine == "ray":
        from training import cluster

        return cluster.in_flight(configs, work, options)
    return in_flight(configs, work, options.jobs)


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
    seeds = "1 seed" if len(metrics) == 1 else f"{len(metrics)} seeds"
    print(f"{config.method} on {tables.setting(config, metrics[0]['dataset'])}, {seeds}")
    ranges = tables.ranges(config, metrics[0])
    for split in metrics[0]["last"]:
        values = [m["last"][split] for m in metrics]
        spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
        which = f"  ({ranges[split]})" if split in ranges else ""
        print(f"  {split:<8}{statistics.fmean(values):7.2f}{spread} %{which}")
