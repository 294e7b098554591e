"""The queue of long runs, trained one by one while a core idles: ``python -m training.queue --data-root D``.

Runs of the paper's recipe take an hour or two of a core. docs/reproduce/queue.md says which come first, and why.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from lpm.console import cli
from lpm.console.errors import InvalidInput
from lpm.console.text import counted, shown
from training.config import RunConfig
from training.experiments import config
from training.jobs.deadline import Deadline, TimeIsUp
from training.store import rows as stored
from training.store.locks import Busy
from training.store.rows import NO_ROWS, Measured, Rows
from training.store.runs import RunFolder

if TYPE_CHECKING:
    from training.data.datasets import LongTailed

METHODS = (
    *("BMLS+MS", "CAS+FC", "random+FC", "random+FC+LA", "BMLS+FC", "random+FC+DRW"),
    *("random+FC, no mixup", "random+cosine+LDAM+DRW, no mixup"),
)
"""The paper's method, its strongest rival, plain mixup, and what its tables lack: corrections, and the two methods without mixup
that are best in our runs of a small network."""

FACTORS, SEEDS = (100, 10, 200), (0, 1, 2)
"""Imbalances in their order, and the seeds of each."""


def plan(preset: str = "paper", epochs: int | None = None) -> list[RunConfig]:
    """List the runs of the queue, on CIFAR10-LT.

    Args:
        preset: their recipe.
        epochs: epochs of each run; those of the recipe if None.

    Returns:
        The runs, most valuable first: at each imbalance all methods with one seed, then with the next.
    """
    runs = [
        config(method, "cifar10-lt", factor, preset, seed) for factor in FACTORS for seed in SEEDS for method in METHODS
    ]
    if epochs is None or epochs == runs[0].epochs:
        return runs
    return [replace(run, epochs=epochs, preset=f"{preset}+") for run in runs]


@dataclass(frozen=True)
class Queue:
    """The runs, and where their results are.

    Attributes:
        runs: in their order.
        store: folder of the run store.
        known: finished runs that the store need not have.
    """

    runs: list[RunConfig]
    store: Path
    known: Rows

    def accuracy(self, run: RunConfig) -> float | None:
        """Look up the accuracy of a run.

        Args:
            run: the run.

        Returns:
            Accuracy in per cent over all test images; None for a run that is not finished.
        """
        folder, row = RunFolder(self.store, run), self.row(run)
        return folder.result().last["all"] if folder.done else row.last.get("all") if row else None

    def row(self, run: RunConfig) -> Measured | None:
        """Look up a run among those that the store need not have.

        Args:
            run: the run.

        Returns:
            What it gave; None if it is not among them.
        """
        return self.known.get((run.key, run.seed, run.method))

    def unfinished(self) -> list[RunConfig]:
        """List the runs that are not finished now, in their order."""
        return [run for run in self.runs if self.accuracy(run) is None]

    def train(self, work: Callable[[RunConfig], bool], ended: Callable[[], None]) -> int:
        """Train the runs one by one. After each, the first unfinished one is next, which another process may have left.

        Args:
            work: trains a run, and returns whether it came to its end.
            ended: called whenever a run has ended.

        Returns:
            The exit status: 1 if a run diverged, 2 if one could not be trained.
        """
        status, left_out = 0, set[RunConfig]()
        while True:
            for run in self.unfinished():
                if run in left_out:
                    continue
                try:
                    done = work(run)
                    status = max(status, int(not done))
                except Busy:
                    continue
                except InvalidInput as error:  # its folder may be damaged; that is no reason to leave the others
                    cli.complain(error)
                    done, status = False, 2
                if not done:
                    left_out.add(run)
                ended()
                break
            else:
                return status


def lowest_priority() -> None:
    """Give way to all other processes: nice 19, and one thread."""
    import torch

    os.setpriority(os.PRIO_PROCESS, 0, 19)
    torch.set_num_threads(1)


def table(queue: Queue) -> str:
    """Lay out what is finished, what is begun and what is next, with the minutes that each run takes.

    Args:
        queue: the runs.

    Returns:
        A Markdown table, and a line about the time.
    """
    from training.jobs import estimate  # brings torch

    left = queue.unfinished()
    timed = {run: row.cpu_seconds for run in queue.runs if (row := queue.row(run)) and row.cpu_seconds}
    seconds, basis = estimate.seconds(left, queue.store, "cpu", timed) if left else ([], "")
    of_run = dict(zip(left, seconds, strict=True))
    lines = [["method", "imbalance", "seed", "state", "minutes left"], ["---"] * 5]
    for run in queue.runs:
        epochs = RunFolder(queue.store, run).epochs
        if run in of_run:
            words = ["next"] * (run == left[0]) + [f"{epochs} of {run.epochs} epochs"] * (epochs > 0)
            state, minutes = ", ".join(words), f"{of_run[run] * (1 - epochs / run.epochs) / 60:.0f}"
        else:
            state, minutes = f"{queue.accuracy(run):.2f} %", ""
        lines.append([run.method, run.factor, str(run.seed), state, minutes])
    end = f"\nFinished: {len(queue.runs) - len(left)} of {counted(len(queue.runs), 'run')}.\n"
    return cli.markdown_table(lines) + end + f"Minutes: {basis}.\n" * bool(left)


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: words of the command line; those of the process if None.

    Returns:
        Its exit status: 1 if a run diverged, 2 if one could not be trained.

    Raises:
        InvalidInput: if data, ``--store`` or ``--export`` are not what they should be, or a result or ``--rows`` is damaged.
    """
    start, options = time.monotonic(), _options(arguments)
    known = NO_ROWS if options.rows is None else stored.by_run(options.rows, "--rows")
    queue = Queue(plan(epochs=int(options.epochs)), options.store, known)
    lowest_priority()
    if options.dry_run:
        print(table(queue), end="")
        return 0
    stored.check_export(options.export)
    if options.store.exists() and not options.store.is_dir():
        raise InvalidInput(f"--store {str(options.store)!r} is a file; name a folder")
    if options.data_root is None:
        raise InvalidInput("--data-root is missing: the folder with CIFAR's files")
    deadline = Deadline(math.inf if options.time_limit is None else start + 60 * options.time_limit)
    if left := queue.unfinished():
        data_of(options.data_root, left[0].imbalance)  # before anything is trained
    _export(options)  # what another call has finished, and to see that it can be written
    try:
        status = queue.train(lambda run: _train(run, options, deadline), lambda: _export(options))
    except TimeIsUp:
        print("the time is up; the same command goes on", file=sys.stderr)
        return 0
    print(f"{counted(len(queue.unfinished()), 'run')} left", file=sys.stderr)
    return status


@lru_cache(maxsize=1)
def data_of(root: Path, imbalance: float) -> LongTailed:
    """Load CIFAR10-LT; the last one is kept.

    Args:
        root: folder with CIFAR's files.
        imbalance: n_max / n_min.

    Returns:
        The data.
    """
    from training.data import datasets

    return datasets.load("cifar10-lt", root, imbalance=imbalance)


def _train(run: RunConfig, options: argparse.Namespace, deadline: Deadline) -> bool:
    """Train one run on one core. Returns whether it came to its end. Raises TimeIsUp, and Busy."""
    from training.jobs.work import Finished, Work

    deadline.begin()
    work = Work(data_of(options.data_root, run.imbalance), options.store, "cpu", events=False)
    name = f"{run.method}, imbalance {run.factor}, seed {run.seed}"
    outcome = work.train(run, deadline.report)
    if isinstance(outcome, Finished):
        print(f"{shown(name)}: {outcome.result.last['all']:.2f} %", flush=True)
    return isinstance(outcome, Finished)


def _export(options: argparse.Namespace) -> None:
    if options.export is not None:
        stored.add_to(options.export, options.store, options.rows)


def _options(arguments: Iterable[str] | None) -> argparse.Namespace:
    parser = cli.Parser(
        "training.queue",
        "train long runs one by one, most valuable first, at the lowest priority; the same command goes on",
    )
    add = parser.add_argument
    add("--data-root", type=Path, metavar="DIR", help="folder with CIFAR's files")
    add(
        "--epochs",
        type=cli.choice("200", "100"),
        default="200",
        metavar="N",
        help="200|100: epochs of each run, all of the paper's or half of them",
    )
    add("--time-limit", type=cli.minutes, metavar="MINUTES", help="end within so many minutes (default: no limit)")
    add("--store", type=Path, default=Path("runs"), metavar="DIR", help="folder of the run store")
    add("--rows", type=Path, metavar="CSV", help="file such as results/runs.csv, whose runs need no training")
    add(
        "--export",
        type=Path,
        metavar="CSV",
        help="after each run, write the rows of --rows and those of the store to this file, which keeps its own; "
        "it may be the same file",
    )
    add(
        "--dry-run",
        action="store_true",
        help="train nothing; print what is finished and next, and the minutes it takes",
    )
    return parser.parse_args(None if arguments is None else list(arguments))


if __name__ == "__main__":
    sys.exit(cli.run(main))
