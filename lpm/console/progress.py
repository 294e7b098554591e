"""Signs of life of a command with many steps: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.console import Console

INTERVAL = 15.0
"""Seconds between two lines where standard error is no terminal."""

T = TypeVar("T")

Step = Callable[[str], None]
"""To be called after each step, with a few words on it."""

NOTEBOOK = "JPY_PARENT_PID"
"""Jupyter sets it for a kernel, and the kernel's commands behind ``!`` inherit it."""


def console() -> Console:
    """Make a console on standard error, for bars.

    It is no terminal where a bar would leave its control characters: in a file or pipe although FORCE_COLOR asks for
    colours, and in a cell of a notebook, which runs commands on a terminal of its own and keeps all that they print.
    TTY_COMPATIBLE=1 says that a pipe leads to a terminal.

    Returns:
        The console.
    """
    from rich.console import Console

    shown = sys.stderr.isatty() or os.environ.get("TTY_COMPATIBLE") == "1"
    return Console(stderr=True, force_terminal=None if shown and NOTEBOOK not in os.environ else False)


@contextlib.contextmanager
def steps(total: int, *, quiet: bool = False) -> Generator[Step]:
    """Show on standard error how many steps are done, and the time left.

    Args:
        total: number of steps.
        quiet: whether to show nothing.

    Yields:
        A function to call after each step.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    on_terminal = console()
    columns = (
        TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    # Rich forgets steps older than its period; without steps it shows no time left.
    bar = Progress(
        *columns,
        console=on_terminal,
        transient=True,
        disable=quiet or not on_terminal.is_terminal,
        speed_estimate_period=3600.0,
    )
    task = bar.add_task("", total=total)
    lines = None if quiet or on_terminal.is_terminal else _Lines(total)

    def step(words: str) -> None:
        bar.update(task, description=words, advance=1)
        if lines is not None:
            lines.step(words)

    with bar:
        yield step


def tracked(
    items: Iterable[T], total: int, words: str, *, size: Callable[[T], int] = lambda item: 1, quiet: bool = False
) -> Iterator[T]:
    """Pass items on, and show on a terminal how many are done, and the time left. Elsewhere nothing is shown.

    Args:
        items: items, or batches of them.
        total: how many items there are.
        words: what they are.
        size: gives the number of items in one of ``items``.
        quiet: whether to show nothing.

    Yields:
        The items.
    """
    if quiet or not console().is_terminal:
        yield from items
        return
    with steps(total) as step:
        for item in items:
            yield item
            for _ in range(size(item)):
                step(words)


class _Lines:
    """Lines of progress for a log."""

    def __init__(self, total: int) -> None:
        self.total, self.done = total, 0
        self.start = self.last = monotonic()

    def step(self, words: str) -> None:
        self.done += 1
        now = monotonic()
        if now - self.last < INTERVAL:
            return
        self.last, elapsed = now, now - self.start
        left = elapsed * (self.total - self.done) / self.done
        print(f"{words}: {self.done:,} of {self.total:,}, {elapsed:.0f} s, {left:.0f} s left", file=sys.stderr)
