"""Train a run from its first epoch, or from its last checkpoint, to its result in the store.

A run that resumes from a checkpoint draws the same random numbers as if it had never stopped
(:mod:`training.batches.epoch`). On a CPU it ends bit for bit the same.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors.torch import save as save_tensors

from lpm.console.errors import InvalidInput
from lpm.console.output import provenance
from training.batches.cached import FOLDER
from training.config import RunConfig
from training.data.datasets import LongTailed
from training.distributed.ranks import ALONE, Ranks
from training.model import build
from training.model.weights import weights_hash
from training.run.measurement import epochs_measured, measured
from training.run.starting import Start
from training.run.steps import Diverged
from training.run.trainer import Trainer
from training.store import run_code, run_data
from training.store.metrics import by_class, by_split, per_class
from training.store.results import RunResult
from training.store.runs import FINAL, RunFolder

CHECKPOINT_SECONDS = {"cpu": 0.0, "cuda": 10.0}
"""Seconds between checkpoints at least, by device. 0 means after every epoch: on a CPU an epoch takes longer than its
checkpoint. On a GPU an epoch may take less.
"""

EpochRow = dict[str, Any]
"""What is written of an epoch, by name: number, learning rate, mean loss, seconds, images per second, accuracies."""

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
    start: Start | None = None,
    ranks: Ranks = ALONE,
) -> RunResult:
    """Train a run to its end, from its last checkpoint if there is one, and store its result.

    Args:
        config: the run.
        data: the long-tailed data.
        folder: the run's folder in the store.
        device: where it is trained.
        on_epoch: called after each epoch with what is written of it.
        workers: processes that decode image files; 0 decodes in this process.
        weights: file of pretrained weights, for a pretrained network.
        start: what a second stage starts from.
        ranks: the processes that train the run together.

    Returns:
        The result; the stored one if the run is finished already.

    Raises:
        Busy: if another process trains it.
        InvalidInput: if the folder holds another run, or as :class:`training.run.trainer.Trainer`.
        Diverged: if the loss or a weight is no longer a finite number.
    """
    return finished(
        stages(
            config, data, folder, device, on_epoch=on_epoch, workers=workers, weights=weights, start=start, ranks=ranks
        )
    )


def finished(steps: Generator[None, None, Result]) -> Result:
    """Run a generator to its end.

    Args:
        steps: the generator; what it yields is dropped.

    Returns:
        What it returns.
    """
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
    on_progress: Callable[[float], None] = lambda epochs: None,
    capture: bool = True,
    workers: int = 0,
    weights: Path | None = None,
    start: Start | None = None,
    ranks: Ranks = ALONE,
    on_change: Callable[[str], None] | None = None,
    on_note: Callable[[str], None] = lambda text: None,
    evaluate_every: int = 1,
) -> Generator[None, None, RunResult]:
    """Do what :func:`run` does in stages, so that one thread can train several runs in turn.

    Args:
        config: the run.
        data: the long-tailed data.
        folder: the run's folder in the store.
        device: where it is trained.
        on_epoch: called after each epoch with what is written of it.
        on_progress: called with the epochs trained so far: at the start, and with a fraction after each step.
        capture: whether steps are captured on CUDA.
        workers: processes that decode image files; 0 decodes in this process.
        weights: file of pretrained weights, for a pretrained network.
        start: what a second stage starts from.
        ranks: the processes that train the run together.
        on_change: called in rank 0 with how image files differ from the run's, with which it then goes on; None
            refuses other images.
        on_note: called in rank 0 with what the user should know of a finished run.
        evaluate_every: epochs between two evaluations; the last epoch is always evaluated.

    Yields:
        None, whenever an epoch is under way on the device.

    Returns:
        The result; the stored one if the run is finished already.

    Raises:
        Busy: if another process trains it.
        InvalidInput: if the folder holds another run, or as :class:`training.run.trainer.Trainer`.
        Diverged: if the loss or a weight is no longer a finite number.
    """
    if (config.stage != "none") != (start is not None):
        raise InvalidInput(f"{config.method} is a second stage, so it needs the run that it starts from, and only then")
    of_weights = {"weights": weights_hash(weights)} if weights is not None else {}
    of_weights |= {"stage1": start.sha256} if start is not None else {}
    ranks.agree(data.fingerprint | of_weights)
    if (order := ranks.rank_0_decision(lambda: _begun_order(folder, data))) is not None:
        data = data.as_begun(*order)
    fingerprint = data.fingerprint | of_weights
    if (result := ranks.rank_0_decision(lambda: _checked(folder, fingerprint, data, on_change, on_note))) is not None:
        return result
    # Before anything is written, because the run may be impossible.
    first = None if start is None else start.network
    kept = folder.path.parent.parent / FOLDER
    trainer = Trainer(
        config, data, device, capture=capture, workers=workers, weights=weights, start=first, ranks=ranks, features=kept
    )
    with contextlib.ExitStack() as locks:

        def take() -> tuple[RunResult | None, list[EpochRow]]:
            """Hold the run and load its last checkpoint. Returns the result if it is finished, and the rows so far."""
            locks.enter_context(folder.lock())
            folder.open(fingerprint, images=data, go_on=on_change is not None)
            if folder.done:  # another process has finished it meanwhile
                return folder.result(), []
            checkpoint = folder.resume()
            run_code.record(folder.path, config, checkpoint[0] if checkpoint else 0)
            change = run_data.record(folder.path, data, fingerprint, checkpoint[0] if checkpoint else 0)
            if checkpoint is None:
                return None, []
            epoch, state, rows = checkpoint
            trainer.load(epoch, state)
            if change is not None and on_change is not None:
                on_change(f"{folder.path} goes on after epoch {epoch} with other images: {change}; its result says so")
            return None, rows

        started = time.perf_counter()
        result, rows = ranks.rank_0_decision(take)
        if result is not None:
            return result
        trainer.broadcast()
        on_progress(trainer.epoch)
        try:
            predictions = yield from _epochs(trainer, folder, rows, on_epoch, on_progress, evaluate_every)
            if predictions is None:  # killed after its last checkpoint
                predictions = trainer.evaluate()
            outcome = trainer.outcome(predictions)
            result = _result(trainer, rows, predictions[:, 0], time.perf_counter() - started)
            if start is not None:
                result = replace(result, stage1=start.folder, stage1_last=start.last)
            return ranks.rank_0_decision(lambda: _stored(folder, save_tensors(trainer.state() | outcome), result))
        finally:
            trainer.steps.release()


def _begun_order(folder: RunFolder, data: LongTailed) -> tuple[list[str], list[int]] | None:
    return run_data.begun_order(folder.path, data) if folder.begun else None


def _checked(
    folder: RunFolder,
    fingerprint: dict[str, str],
    data: LongTailed,
    on_change: Callable[[str], None] | None,
    on_note: Callable[[str], None],
) -> RunResult | None:
    """The result of a finished run, else None.

    Raises InvalidInput when the folder holds another run, or the weights of a finished one are damaged.
    """
    change = folder.check(fingerprint, images=data, go_on=on_change is not None)
    if not folder.done:
        return None
    if change and on_change is not None:
        on_change(f"{folder.path} is finished, and its result is of other images: {change}")
    if (folder.path / FINAL).is_file():
        folder.content(FINAL)
    else:  # one may have removed it to save space
        on_note(
            f"{folder.path} is finished, and its {FINAL} is gone: its result stays, without predictions and weights; "
            "delete its metrics.json to train it again"
        )
    folder.drop_checkpoints()  # a process that was killed at the very end has left them
    return folder.result()


def _stored(folder: RunFolder, final: bytes, result: RunResult) -> RunResult:
    return folder.finish(final, replace(result, data_changes=run_data.changes(folder.path)))


def _epochs(
    trainer: Trainer,
    folder: RunFolder,
    rows: list[EpochRow],
    on_epoch: Callable[[EpochRow], None],
    on_progress: Callable[[float], None],
    evaluate_every: int,
) -> Generator[None, None, np.ndarray | None]:
    """Train the remaining epochs, and append one row per epoch to ``rows``.

    Returns the predictions of the test images after the last epoch; None if no epoch was left to train. Raises Diverged
    rather than store weights that are not finite.
    """
    config, saved = trainer.config, time.perf_counter()
    predictions = None

    kind = "cuda" if config.trains == "features" else trainer.device.type  # where an epoch is as short as on a GPU

    def save(row: EpochRow) -> None:
        nonlocal saved
        due = time.perf_counter() - saved >= CHECKPOINT_SECONDS[kind]
        if due or trainer.epoch == config.epochs:
            state = trainer.state()
            if not all(bool(torch.isfinite(v).all()) for v in state.values()):
                raise Diverged(f"a weight is not finite after epoch {trainer.epoch}, learning rate {row['lr']:g}")
            folder.save_checkpoint(trainer.epoch, save_tensors(state), rows)
            saved = time.perf_counter()

    while trainer.epoch < config.epochs:
        trainer.steps.launch(on_progress)
        yield
        row = trainer.steps.collect()
        if trainer.epoch % evaluate_every == 0 or trainer.epoch == config.epochs:
            predictions = trainer.evaluate()
            row |= {f"test_{name}": value for name, value in _accuracies(trainer, predictions[:, 0]).items()}
            row |= {f"holdout_{name}": value for name, value in _held_out(trainer).items()}
        rows.append(row)
        if trainer.epoch in epochs_measured(config):
            geometry = measured(trainer)
            if trainer.ranks.first:
                folder.save_geometry(trainer.epoch, save_tensors(geometry))
        trainer.ranks.rank_0_decision(partial(save, row))
        on_epoch(row)
    return predictions


def _accuracies(trainer: Trainer, predictions: np.ndarray, part: str = "test") -> dict[str, float]:
    correct, total = by_class(trainer.data.parts[part].labels, predictions, trainer.config.K)
    return by_split(correct, total, trainer.splits)


def _held_out(trainer: Trainer) -> dict[str, float]:
    """The accuracies of the images that are held out; none without such images."""
    if trainer.data.holdout is None:
        return {}
    return _accuracies(trainer, trainer.evaluate("holdout")[:, 0], "holdout")


def headline(row: EpochRow) -> float | None:
    """Choose the accuracy that sums an epoch up.

    Args:
        row: what is written of the epoch.

    Returns:
        Accuracy in per cent over all test images; where classes differ in test images, the mean over classes. None where
        the epoch was not evaluated.
    """
    return row.get("test_balanced", row.get("test_all"))


def _best(rows: list[EpochRow]) -> float | None:
    """The highest accuracy of an epoch; None unless all were evaluated, because the best one may be among the others."""
    accuracies = [accuracy for row in rows if (accuracy := headline(row)) is not None]
    return max(accuracies) if len(accuracies) == len(rows) else None


def _result(trainer: Trainer, rows: list[EpochRow], predictions: np.ndarray, seconds: float) -> RunResult:
    correct, total = by_class(trainer.data.test.labels, predictions, trainer.config.K)
    cuda = trainer.device.type == "cuda"
    bfloat16 = trainer.config.precision == "bf16" and build.has_bfloat16(trainer.device)
    return RunResult(
        dataset=trainer.data.name,
        method=trainer.config.method,
        last=by_split(correct, total, trainer.splits),
        best=_best(rows),
        holdout=_held_out(trainer),
        holdout_counts=trainer.data.holdout_counts,
        per_class=per_class(correct, total),
        train_counts=tuple(trainer.data.counts.tolist()),
        left_out=trainer.data.left_out,
        largest_pixels=(trainer.data.largest_pixels.whole, trainer.data.largest_pixels.real),
        splits=trainer.splits,
        class_names=trainer.data.class_names,
        train_seconds=sum(row["train_seconds"] for row in rows),
        device=torch.cuda.get_device_name(trainer.device) if cuda else "cpu",
        arithmetic="bfloat16" if bfloat16 else "float32",
        threads=torch.get_num_threads(),
        processes=trainer.ranks.world,
        torch=torch.__version__,
        seconds_of_last_start=seconds,
        **provenance(),
    )
