"""A run as a task: trained in a process of this machine or of a cluster."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lpm.console.errors import InvalidInput
from training.config import RunConfig
from training.data import datasets
from training.distributed.ranks import ALONE, Ranks
from training.run import loop
from training.run.trainer import Diverged
from training.store.locks import Busy
from training.store.runs import RunFolder


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
                writer = writer or events_writer(folder)
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


Outcome = dict[str, Any] | str | None
"""Of a run: its metrics, a note where another process has it, None when it diverged."""


def stages_or_note(work: Work, config: RunConfig) -> Generator[None, None, Outcome]:
    try:
        return (yield from work.stages(config, lambda row: None))
    except Busy as error:
        return str(error)


def events_writer(folder: RunFolder | None) -> Any:
    """A TensorBoard writer, None without a folder. Raises InvalidInput where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InvalidInput(
            "--tensorboard needs the package tensorboard; install it with pip install tensorboard"
        ) from None
    return None if folder is None else SummaryWriter(folder.path / "events")
