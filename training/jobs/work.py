"""A run as a task: what every run of a command needs, and how a task can end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lpm.console.errors import InvalidInput, install
from lpm.console.text import shown
from training.config import RunConfig
from training.data.datasets import LongTailed
from training.distributed.ranks import ALONE, Ranks
from training.run import loop
from training.run.loop import EpochRow
from training.run.starting import start_of
from training.run.steps import Diverged
from training.store.locks import Busy
from training.store.results import RunResult
from training.store.runs import RunFolder

Report = Callable[[float, str], None]
"""Called while a run is trained: with the epochs so far, a part of the present one included, and after an epoch with its
numbers in words, else ''.
"""


def silent(epochs: float, state: str) -> None:
    """Report nothing: a :data:`Report`.

    Args:
        epochs: epochs trained so far.
        state: numbers of the last one.
    """


def in_words(row: EpochRow) -> str:
    """Write the numbers of an epoch.

    Args:
        row: what is written of it.

    Returns:
        Images per second, the mean loss, and where the epoch was evaluated an accuracy.
    """
    text = f"{row['images_per_second']:,.0f} images/s, loss {row['loss']:.3f}"
    if (accuracy := loop.headline(row)) is None:
        return text
    kind = "balanced " * ("test_balanced" in row) + "test"
    return f"{text}, {kind} {accuracy:.2f} %"


@dataclass(frozen=True)
class Finished:
    """The run has ended, now or earlier.

    Attributes:
        result: its result.
    """

    result: RunResult


@dataclass(frozen=True)
class Stopped:
    """The run did not come to its end, because it diverged, or because a caller stopped it; its last good checkpoint is kept."""


@dataclass(frozen=True)
class LeftToOther:
    """Another process trains the run.

    Attributes:
        reason: which one, in words.
    """

    reason: str


Outcome = Finished | Stopped | LeftToOther
"""How a task can end."""


class Watcher:
    """Follows the runs of a command, which it knows by their numbers from 0. This one does nothing."""

    def report(self, number: int, epochs: float, state: str) -> None:
        """Take a report, as :data:`Report`.

        Args:
            number: of the run.
            epochs: epochs trained so far.
            state: numbers of the last one, or ''.
        """

    def ended(self, number: int) -> None:
        """Learn that a run has ended, whatever its outcome.

        Args:
            number: of the run.
        """


@dataclass(frozen=True)
class Work:
    """What every run of a command needs.

    Attributes:
        data: the long-tailed data.
        store: the folder of the run store.
        device: the kind of device, 'cpu' or 'cuda'.
        events: whether to write TensorBoard events.
        capture: whether steps are captured on CUDA.
        workers: processes that decode image files.
        weights: the file of pretrained weights.
        ranks: the processes that train a run together.
        task: the engine's name of the task, if it has one.
        goes_on: whether a run goes on though its image files have changed.
        evaluate_every: epochs between two evaluations.
    """

    data: LongTailed
    store: Path
    device: str
    events: bool
    capture: bool = True
    workers: int = 0
    weights: Path | None = None
    ranks: Ranks = ALONE
    task: str = ""
    goes_on: bool = False
    evaluate_every: int = 1

    def train(self, config: RunConfig, report: Report) -> Finished | Stopped:
        """Train one run.

        Args:
            config: the run.
            report: told how it goes on.

        Returns:
            How it ended.

        Raises:
            Busy: if another process trains it.
            InvalidInput: if memory does not suffice, and as :func:`training.run.loop.run`.
        """
        return loop.finished(self.stages(config, report))

    def stages(self, config: RunConfig, report: Report) -> Generator[None, None, Finished | Stopped]:
        """Train one run in stages, so that one thread can see to several runs.

        Args:
            config: the run.
            report: told how it goes on.

        Yields:
            Whenever an epoch is under way on the device.

        Returns:
            How it ended.

        Raises:
            Busy: if another process trains it.
            InvalidInput: if memory does not suffice, and as :func:`training.run.loop.run`.
        """
        folder = RunFolder(self.store, config, self.task)
        writer: Any = None

        def show(row: EpochRow) -> None:
            nonlocal writer
            if self.events:  # opened only now that this process holds the run
                writer = writer or events_writer(folder)
                for name, value in row.items():
                    writer.add_scalar(name, value, row["epoch"])
            report(row["epoch"], in_words(row))

        try:
            result = yield from loop.stages(
                config,
                self.data,
                folder,
                torch.device(self.device),
                on_epoch=show,
                on_progress=lambda epochs: report(epochs, ""),
                capture=self.capture,
                workers=self.workers,
                weights=self.weights if config.pretrained and config.stage == "none" else None,
                start=None
                if config.stage == "none"
                else self.ranks.rank_0_decision(partial(start_of, self.store, config, self.data)),
                ranks=self.ranks,
                on_change=_note if self.goes_on else None,
                on_note=_note,
                evaluate_every=self.evaluate_every,
            )
            return Finished(result)
        except Diverged as error:
            if self.ranks.first:  # which alone sees the store
                last = folder.last_checkpoint()
                note = "no checkpoint yet" if last is None else f"the last good checkpoint is that of epoch {last[0]}"
                print(f"diverged: {config.method}, seed {config.seed}: {error}; {note}", file=sys.stderr)
            return Stopped()
        except RuntimeError as error:
            # On a CPU PyTorch raises no error of its own for it.
            if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
                raise
            raise InvalidInput("the device's memory does not suffice; take fewer --jobs or a smaller --batch") from None
        finally:
            if writer is not None:
                writer.close()

    def stages_or_left(self, config: RunConfig, report: Report) -> Generator[None, None, Outcome]:
        """Train one run in stages, and leave it to another process that trains it already.

        Args:
            config: the run.
            report: told how it goes on.

        Yields:
            Whenever an epoch is under way on the device.

        Returns:
            How it ended.
        """
        try:
            return (yield from self.stages(config, report))
        except Busy as error:
            return LeftToOther(str(error))


def _note(text: str) -> None:
    print(f"note: {shown(text)}", file=sys.stderr)


def events_writer(folder: RunFolder | None) -> Any:
    """Open a TensorBoard writer.

    Args:
        folder: of the run; None only sees whether TensorBoard is there.

    Returns:
        The writer, None without a folder.

    Raises:
        InvalidInput: if TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InvalidInput(
            f"--tensorboard needs the extra `tensorboard`; install it with {install('tensorboard')}"
        ) from None
    return None if folder is None else SummaryWriter(folder.path / "events")
