"""Many runs, one after another or several at once, with a progress bar: what the commands share."""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
from collections.abc import Iterator, Sequence
from typing import Any

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

from lpm.console import cli
from lpm.console.errors import InvalidInput
from training.catalogue import LARGE
from training.config import RunConfig
from training.data import datasets
from training.distributed.ranks import Ranks, joined
from training.jobs import notes
from training.jobs.local import in_flight
from training.jobs.work import Outcome, Work, events_writer
from training.model import build
from training.options import Options
from training.run import loop
from training.store import tables
from training.store.locks import Busy
from training.store.runs import RunFolder


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
        events_writer(None)
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
        from training.jobs import cluster

        return cluster.in_flight(configs, work, options)
    return in_flight(configs, work, options.jobs)


def _print(config: RunConfig, metrics: Sequence[dict[str, Any]]) -> None:
    seeds = "1 seed" if len(metrics) == 1 else f"{len(metrics)} seeds"
    print(f"{config.method} on {tables.setting(config, metrics[0]['dataset'])}, {seeds}")
    ranges = tables.ranges(config, metrics[0])
    for split in metrics[0]["last"]:
        values = [m["last"][split] for m in metrics]
        spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
        which = f"  ({ranges[split]})" if split in ranges else ""
        print(f"  {split:<8}{statistics.fmean(values):7.2f}{spread} %{which}")
