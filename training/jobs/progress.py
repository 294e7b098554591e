"""Progress of runs on a terminal, or as lines in a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from lpm.console.progress import console
from lpm.console.text import counted, shown
from training.config import RunConfig
from training.jobs.work import Watcher

LINES = 60.0
"""Seconds after which a log gets a line from inside a long epoch."""


def in_time(seconds: float) -> str:
    """Write a time in words.

    Args:
        seconds: the time.

    Returns:
        Its one or two largest units, such as '12 min' and '3 h 20 min'.
    """
    minutes = round(seconds / 60)
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if minutes < 100:
        return f"{minutes} min"
    hours = round(seconds / 3600)
    if hours < 48:
        return f"{minutes // 60} h {minutes % 60} min" if minutes < 600 else f"{hours} h"
    return f"{hours // 24} days {hours % 24} h" if hours < 240 else f"{round(hours / 24)} days"


class Pace:
    """The time that is left of some epochs, by the pace of those that this command has trained.

    Args:
        total: all epochs.
        done: epochs that are done at the start.
    """

    def __init__(self, total: float, done: float) -> None:
        self.total, self.done, self._first = total, done, done
        self._start = time.monotonic()
        self._end: float | None = None

    def at(self, done: float) -> None:
        """Take note of how far the work is.

        Args:
            done: epochs that are done now.
        """
        self.done, now = done, time.monotonic()
        if done > self._first:
            self._end = now + (now - self._start) * (self.total - done) / (done - self._first)

    def drop(self, epochs: float) -> None:
        """Take note of epochs that will not be trained, or are done without this command.

        Args:
            epochs: their number.
        """
        self._first += epochs
        self.at(self.done + epochs)

    @property
    def left(self) -> str:
        """The time in words, with a comma before it; '' at the end, and as long as no pace is known."""
        if self._end is None or self.done > self.total - 1e-6:  # fractions of epochs are added up
            return ""
        return f", {in_time(max(1.0, self._end - time.monotonic()))} left"


class _Epochs(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{int(task.completed)}/{int(task.total or 0)} epochs", style="progress.download")


class _Left(ProgressColumn):
    """Rich's own estimate forgets what is older than 30 seconds, as an epoch may be."""

    def render(self, task: Task) -> Text:
        return Text(task.fields["pace"].left.removeprefix(", "), style="progress.remaining")


@dataclass
class _Run:
    """A run in flight: its bar, its pace, the numbers of its last epoch, and when a line told of it last."""

    task: TaskID
    pace: Pace
    told: float
    state: str = ""


class Bars(Watcher):
    """Progress bars on a terminal, one for each run in flight and one for all runs; elsewhere one line now and then.

    Args:
        configs: the runs.
        begun: epochs of each run that are in the store already.
        at_once: how many are trained at a time, or where, in words.
        quiet: whether to show nothing but notes.
    """

    def __init__(self, configs: Sequence[RunConfig], begun: Sequence[int], *, at_once: str = "", quiet: bool) -> None:
        terminal = console()
        columns = (
            TextColumn("{task.description}"), BarColumn(), _Epochs(), TimeElapsedColumn(), _Left(),
            TextColumn("{task.fields[state]}"),
        )  # fmt: skip
        self._lines = not (quiet or terminal.is_terminal)
        self._progress = Progress(*columns, console=terminal, transient=True, disable=quiet or not terminal.is_terminal)
        self._configs, self._done, self._ended = configs, [float(epochs) for epochs in begun], set[int]()
        self._running: dict[int, _Run] = {}
        self._pace = Pace(sum(config.epochs for config in configs), sum(begun))
        self._total: TaskID | None = None
        if len(configs) > 1:
            name = counted(len(configs), "run") + f", {at_once}" * bool(at_once)
            self._total = self._task(name, self._pace)

    def __enter__(self) -> Bars:
        self._progress.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._progress.__exit__(*error)

    def report(self, number: int, epochs: float, state: str) -> None:
        """Show how far a run is. The first report of a run says where it resumes.

        Args:
            number: of the run.
            epochs: epochs trained so far.
            state: numbers of the last one, or ''.
        """
        if number in self._ended:  # a cluster's report may come after the end
            return
        config = self._configs[number]
        if number not in self._running:
            self._pace.drop(epochs - self._done[number])  # no epochs of this command
            self._done[number], pace = epochs, Pace(config.epochs, epochs)
            self._running[number] = _Run(self._task(_name(config), pace), pace, time.monotonic())
        run = self._running[number]
        run.pace.at(epochs)
        self._pace.at(self._pace.done + epochs - self._done[number])
        self._done[number], run.state = epochs, state or run.state
        inside = f"epoch {int(epochs) + 1} at {epochs % 1:.0%}" if epochs % 1 else ""
        self._progress.update(run.task, completed=epochs, state=", ".join(filter(None, (inside, run.state))))
        self._show_total()
        tenth = bool(state) and epochs % max(1, config.epochs // 10) == 0
        if tenth or (inside and time.monotonic() - run.told >= LINES):
            run.told = time.monotonic()
            where = f"epoch {epochs:.0f}/{config.epochs}: {state}" if tenth else f"{inside} of {config.epochs} epochs"
            self._print(f"{_name(config)}, {where}{run.pace.left}")

    def ended(self, number: int) -> None:
        """Take a run's bar away.

        Args:
            number: of the run.
        """
        if number in self._running:
            self._progress.remove_task(self._running.pop(number).task)
        rest = self._configs[number].epochs - self._done[number]
        self._pace.drop(rest)  # it stopped, or another process trains it
        self._done[number] += rest
        self._ended.add(number)
        self._show_total()
        if self._total is not None:
            self._print(f"{len(self._ended)} of {len(self._configs)} runs have ended{self._pace.left}")

    def _task(self, name: str, pace: Pace) -> TaskID:
        task = self._progress.add_task(name, total=pace.total, pace=pace, state="")
        self._progress.update(task, completed=pace.done)
        return task

    def _show_total(self) -> None:
        if self._total is not None:
            self._progress.update(self._total, completed=self._pace.done, state=f"{len(self._ended)} ended")

    def note(self, text: str) -> None:
        """Print a note on standard error.

        Args:
            text: what it says.
        """
        print(f"note: {shown(text)}", file=sys.stderr)

    def _print(self, text: str) -> None:
        if self._lines:
            print(text, file=sys.stderr, flush=True)


def _name(config: RunConfig) -> str:
    return f"{config.method}, seed {config.seed}"
