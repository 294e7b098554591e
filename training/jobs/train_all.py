"""Train all runs that a command asks for: what the training commands share."""

from __future__ import annotations

import os
import shlex
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from lpm.console import cli
from lpm.console.errors import InvalidInput
from lpm.console.text import counted, shown
from training.config import RunConfig
from training.distributed.ranks import Ranks, joined
from training.jobs import notes
from training.jobs.deadline import TimeIsUp
from training.jobs.local import in_flight
from training.jobs.prepare import ready
from training.jobs.progress import Bars
from training.jobs.work import Finished, LeftToOther, Outcome, Stopped, Watcher, Work, events_writer
from training.model import build
from training.options import Options
from training.store import tables
from training.store.locks import Busy
from training.store.results import RunResult
from training.store.runs import RunFolder


def train_all(configs: Sequence[RunConfig], options: Options, *, printed: bool = True) -> int:
    """Train the runs that are not in the store yet, ``options.jobs`` at a time.

    One of several runs that another process trains is left to it.

    Args:
        configs: runs on the same data.
        options: how they are trained.
        printed: whether to print their results.

    Returns:
        The exit status: 1 if a run diverged.

    Raises:
        InvalidInput: if the data, the device or the weights are not there, or if torchrun meets ``--jobs`` or ``--engine``.
        TimeIsUp: at ``options.end``.
    """
    # A cluster's devices are not this host's.
    device = options.device if options.address is not None else build.device(options.device).type
    with joined(device) as ranks:
        if ranks.world > 1 and not options.one_by_one:
            raise InvalidInput("torchrun trains one run with all processes; drop --jobs and --engine")
        return _train_all(configs, options, device, ranks, printed=printed and ranks.first)


def _train_all(configs: Sequence[RunConfig], options: Options, device: str, ranks: Ranks, *, printed: bool) -> int:
    first, quiet = configs[0], options.quiet or not ranks.first
    data = ready(configs, options, quiet=quiet, ranks=ranks)
    if ranks.first:
        notes.explain(configs, data, device)
        notes.explain_code(configs, options.store)
    events = options.tensorboard and ranks.first
    if events:
        events_writer(None)
    here = not quiet and options.address is None and first.precision == "bf16"
    if here and not build.has_bfloat16(build.device(device)):
        notes.explain_float32(device)
    workers = _workers(options, ranks) if first.data_set.files else 0
    work = Work(
        data,
        options.store,
        device,
        events,
        workers=workers,
        weights=options.weights,
        ranks=ranks,
        goes_on=options.data_changed == "ok",
        evaluate_every=options.evaluate_every,
    )
    results, diverged = [], 0
    begun = [RunFolder(options.store, config).epochs for config in configs]
    at_once = f"on {options.address}" if options.address else f"{options.jobs} at a time" * (not options.one_by_one)
    with Bars(configs, begun, at_once=at_once, quiet=quiet) as bars:
        watcher = Limited(bars, options.end)
        outcomes = (
            _one_by_one(configs, work, watcher) if options.one_by_one else _several(configs, work, options, watcher)
        )
        for outcome in outcomes:
            if isinstance(outcome, Finished):
                results.append(outcome.result)
            diverged += isinstance(outcome, Stopped)
            if isinstance(outcome, LeftToOther) and ranks.first:
                bars.note(f"{outcome.reason}; left to it")
    if printed and options.json:
        cli.print_json([result.to_json() for result in results])
    elif printed and not options.quiet and results:
        _print(first, results)
        folder = RunFolder(options.store, first).path
        place = folder if len(configs) == 1 else folder.parent
        print(f"in {shown(place)}")
        cli.next_step(f"python -m training.diagnose {shlex.quote(str(place))} says why rare classes are wrong")
    return 1 if diverged else 0


@dataclass(frozen=True)
class Limited(Watcher):
    """Ends all runs when the time is up.

    Attributes:
        watcher: what follows the runs meanwhile.
        end: value of time.monotonic() at which the time is up.
    """

    watcher: Watcher
    end: float

    def report(self, number: int, epochs: float, state: str) -> None:
        """Pass a report on, and look at the clock.

        Args:
            number: of the run.
            epochs: epochs trained so far.
            state: numbers of the last one, or ''.

        Raises:
            TimeIsUp: if the time is up.
        """
        self.watcher.report(number, epochs, state)
        if time.monotonic() > self.end:
            raise TimeIsUp

    def ended(self, number: int) -> None:
        """Pass on that a run has ended, whatever its outcome.

        Args:
            number: of the run.
        """
        self.watcher.ended(number)


def _one_by_one(configs: Sequence[RunConfig], work: Work, watcher: Watcher) -> Iterator[Outcome]:
    for number, config in enumerate(configs):
        try:
            outcome: Outcome = work.train(config, partial(watcher.report, number))
        except Busy as error:
            if len(configs) == 1:
                raise
            outcome = LeftToOther(str(error))
        watcher.ended(number)
        yield outcome


def _several(configs: Sequence[RunConfig], work: Work, options: Options, watcher: Watcher) -> Iterator[Outcome]:
    if options.engine == "ray":
        from training.jobs import cluster

        return cluster.in_flight(configs, work, options, watcher)
    return in_flight(configs, work, options.jobs, watcher)


def _workers(options: Options, ranks: Ranks) -> int:
    """Processes that decode images for one run: as asked for, or the cores shared among all that train here."""
    if options.workers is not None:
        return options.workers
    if options.address is not None:
        return 1  # other hosts' cores are not counted here
    runs_here = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if ranks.world > 1 else options.jobs
    return max(1, len(os.sched_getaffinity(0)) // runs_here)


FEW_CLASSES = 20
"""Classes up to which each is printed."""


def _print(config: RunConfig, results: Sequence[RunResult]) -> None:
    """Print the accuracies of some runs, by split and where there are few classes by class."""
    seeds = counted(len(results), "seed")
    print(f"{config.method} on {tables.setting(config, results[0].dataset)}, {seeds}")
    ranges = tables.ranges(config, results[0])
    rows = [
        (split, [result.last[split] for result in results], f"  ({ranges[split]})" if split in ranges else "")
        for split in results[0].last
    ]
    if held_out := [r.holdout.get("balanced", r.holdout["all"]) for r in results if r.holdout]:
        rows.append(("held out", held_out, "  (mean over the classes with held-out images)"))
    if first := [r.stage1_last.get("balanced", r.stage1_last["all"]) for r in results if r.stage1_last]:
        rows.append(("before", first, f"  (the first stage, {config.stage1_method})"))
    if config.K <= FEW_CLASSES and all(len(result.per_class) == config.K for result in results):
        names = results[0].class_names or tuple(f"class {k}" for k in range(config.K))
        for k, (name, count) in enumerate(zip(names, results[0].train_counts, strict=True)):
            values = [value for result in results if (value := result.per_class[k]) is not None]
            rows.append((name, values, f"  ({counted(count, 'training image')})"))
    width = max(8, *(min(len(name) + 1, 30) for name, _, _ in rows))
    for name, values, note in rows:
        deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
        accuracy = f"{statistics.fmean(values):7.2f}{deviation} %" if values else "no test image"
        print(f"  {shown(name):<{width}}{accuracy}{note}")
