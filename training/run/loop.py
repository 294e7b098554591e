"""A run from its first epoch, or its last checkpoint, to its result in the store.

A run that resumes from the checkpoint of epoch e draws what it would have drawn (:mod:`training.batches.epoch`), and on a CPU
ends bit for bit as if it had never stopped.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors.torch import save as save_tensors

from lpm.console.output import provenance
from training.config import RunConfig
from training.data.datasets import LongTailed
from training.distributed.ranks import ALONE, Ranks
from training.model.imagenet_resnets import weights_hash
from training.run.measurement import epochs_measured, measured
from training.run.steps import Diverged
from training.run.trainer import Trainer
from training.store.metrics import by_class, by_split
from training.store.results import RunResult
from training.store.runs import RunFolder

CHECKPOINT_SECONDS = {"cpu": 0.0, "cuda": 10.0}
"""Training time between checkpoints: every epoch on a CPU, where one takes longer than its checkpoint; on a GPU it does not."""

EpochRow = dict[str, Any]
"""What is written of an epoch: number, learning rate, mean loss, seconds, images per second, accuracies on the test images."""

Result = TypeVar("Result")


def run(
    config: RunConfig,
    data: LongTailed,
    folder: RunFolder,
    device: torch.device,
    *,
    on_epoch: Callable[[EpochRow], None] = lambda row: None,
    workers: int = 0,
    weights: Path | None = None,
    ranks: Ranks = ALONE,
) -> RunResult:
    """Train a run to its end, from its last checkpoint if there is one, and store its result; the metrics.

    Raises InvalidInput when another process trains it, Diverged when the loss is not a number.
    """
    return finished(
        stages(config, data, folder, device, on_epoch=on_epoch, workers=workers, weights=weights, ranks=ranks)
    )


def finished(steps: Generator[None, None, Result]) -> Result:
    """What a generator returns in the end."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def stages(
    config: RunConfig,
    data: LongTailed,
    folder: RunFolder,
    device: torch.device,
    *,
    on_epoch: Callable[[EpochRow], None] = lambda row: None,
    capture: bool = True,
    workers: int = 0,
    weights: Path | None = None,
    ranks: Ranks = ALONE,
) -> Generator[None, None, RunResult]:
    """:func:`run` in stages: yields whenever an epoch is under way on the device, so that one thread can see to several runs."""
    fingerprint = data.fingerprint | ({"weights": weights_hash(weights)} if weights is not None else {})
    ranks.agree(fingerprint)
    if (result := ranks.rank_0_decision(lambda: _checked(folder, fingerprint))) is not None:
        return result
    # Before anything is written: it may be impossible.
    trainer = Trainer(config, data, device, capture=capture, workers=workers, weights=weights, ranks=ranks)
    with contextlib.ExitStack() as held:

        def take() -> tuple[RunResult | None, list[EpochRow]]:
            folder.open(fingerprint)
            held.enter_context(folder.lock())
            if folder.done:  # by another process meanwhile
                return folder.result(), []
            if (found := folder.resume(fingerprint)) is None:
                return None, []
            trainer.load(*found[:2])
            return None, found[2]

        start = time.perf_counter()
        result, rows = ranks.rank_0_decision(take)
        if result is not None:
            return result
        trainer.broadcast()
        try:
            yield from _epochs(trainer, folder, rows, on_epoch)
            predictions = trainer.evaluate()
            outcome = trainer.outcome(predictions)
            result = _result(trainer, rows, predictions[:, 0], time.perf_counter() - start)
            ranks.rank_0_decision(lambda: folder.finish(save_tensors(trainer.state() | outcome), result))
        finally:
            trainer.steps.release()
        return result


def _checked(folder: RunFolder, fingerprint: dict[str, str]) -> RunResult | None:
    """The result of a run that is finished. Raises InvalidInput when the folder is another run's."""
    folder.check(fingerprint)
    if not folder.done:
        return None
    folder.drop_checkpoints()  # of a writer that was killed at the very end
    return folder.result()


def _epochs(
    trainer: Trainer, folder: RunFolder, rows: list[EpochRow], on_epoch: Callable[[EpochRow], None]
) -> Iterator[None]:
    """Train all epochs that are left, adding a row each. Raises Diverged rather than store weights that are no numbers."""
    config, saved = trainer.config, time.perf_counter()

    def save(row: EpochRow) -> None:
        nonlocal saved
        due = time.perf_counter() - saved >= CHECKPOINT_SECONDS[trainer.device.type]
        if due or trainer.epoch == config.epochs:
            state = trainer.state()
            if not all(bool(torch.isfinite(v).all()) for v in state.values()):
                raise Diverged(f"a weight is no number after epoch {trainer.epoch}, learning rate {row['lr']:g}")
            folder.save_checkpoint(trainer.epoch, save_tensors(state), rows)
            saved = time.perf_counter()

    while trainer.epoch < config.epochs:
        trainer.steps.launch()
        yield
        row = trainer.steps.collect()
        right = by_class(trainer.data.test.labels, trainer.evaluate()[:, 0], config.K)
        row |= {f"test_{k}": v for k, v in by_split(*right, trainer.splits).items()}
        rows.append(row)
        if trainer.epoch in epochs_measured(config):
            geometry = measured(trainer)
            if trainer.ranks.first:
                folder.save_geometry(trainer.epoch, save_tensors(geometry))
        trainer.ranks.rank_0_decision(partial(save, row))
        on_epoch(row)


def headline(row: EpochRow) -> float:
    """The accuracy that sums an epoch up.

    Args:
        row: what is written of the epoch.

    Returns:
        In per cent, over all test images; the mean over classes where they differ in test images.
    """
    return float(row["test_balanced"] if "test_balanced" in row else row["test_all"])


def _result(trainer: Trainer, rows: list[EpochRow], predictions: np.ndarray, seconds: float) -> RunResult:
    correct, total = by_class(trainer.data.test.labels, predictions, trainer.config.K)
    cuda = trainer.device.type == "cuda"
    return RunResult(
        dataset=trainer.data.name,
        method=trainer.config.method,
        last=by_split(correct, total, trainer.splits),
        best=max(headline(row) for row in rows),
        per_class=tuple((100 * correct / total).tolist()),
        train_counts=tuple(trainer.data.counts.tolist()),
        splits=trainer.splits,
        class_names=trainer.data.class_names,
        train_seconds=sum(row["train_seconds"] for row in rows),
        device=torch.cuda.get_device_name(trainer.device) if cuda else "cpu",
        threads=torch.get_num_threads(),
        processes=trainer.ranks.world,
        torch=torch.__version__,
        seconds_of_last_start=seconds,
        **provenance(),
    )
