"""Progress of runs on a terminal, or as lines in a log file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from lpm.console.text import shown
from training.config import RunConfig
from training.jobs.work import OnEpoch
from training.options import Options
from training.run import loop
from training.run.loop import EpochRow


class Bars:
    """Progress bars on a terminal; where standard error is no terminal, one line now and then.

    Args:
        quiet: whether to show nothing but notes.
    """

    def __init__(self, *, quiet: bool) -> None:
        console = Console(stderr=True)
        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TimeRemainingColumn(), TextColumn("{task.fields[state]}"),
        )  # fmt: skip
        shown = not quiet and console.is_terminal
        self._lines = not (quiet or console.is_terminal)
        self._progress = Progress(*columns, console=console, transient=True, disable=not shown)

    def __enter__(self) -> Bars:
        self._progress.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._progress.__exit__(*error)

    @contextmanager
    def run(self, config: RunConfig) -> Iterator[OnEpoch]:
        """Show one run, epoch by epoch.

        Args:
            config: the run.

        Yields:
            A function to call after each epoch.
        """
        task = self._progress.add_task(f"{config.method}, seed {config.seed}", total=config.epochs, state="")
        interval = max(1, config.epochs // 10)

        def on_epoch(row: EpochRow) -> None:
            rate, kind = f"{row['images_per_second']:,.0f} images/s", "balanced " * ("test_balanced" in row) + "test"
            state = f"{rate}, loss {row['loss']:.3f}, {kind} {loop.headline(row):.2f} %"
            self._progress.update(task, completed=row["epoch"], state=state)
            if row["epoch"] % interval == 0:
                self._line(f"{config.method}, seed {config.seed}, epoch {row['epoch']}: {state}")

        try:
            yield on_epoch
        finally:
            self._progress.remove_task(task)

    @contextmanager
    def runs(self, number: int, options: Options) -> Iterator[Callable[[], None]]:
        """Show several runs, one step per run.

        Args:
            number: of runs.
            options: how many are trained at a time, and where.

        Yields:
            A function to call whenever a run ends.
        """
        at_once = f"on {options.address}" if options.address else f"{options.jobs} at a time"
        task = self._progress.add_task(f"{number} runs, {at_once}", total=number, state="")
        ended = 0

        def on_end() -> None:
            nonlocal ended
            ended += 1
            self._progress.advance(task)
            self._line(f"{ended} of {number} runs")

        yield on_end

    def note(self, text: str) -> None:
        """Print a note on standard error.

        Args:
            text: what it says.
        """
        print(f"note: {shown(text)}", file=sys.stderr)

    def _line(self, text: str) -> None:
        if self._lines:
            print(text, file=sys.stderr, flush=True)
