"""Runs one after another, with a progress bar and a line a run: what the commands share."""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from lpm import cli
from lpm.errors import InvalidInput
from training import build, datasets, trainer
from training.config import RunConfig
from training.runs import RunFolder


def train_all(configs: Sequence[RunConfig], options: argparse.Namespace, *, printed: bool = True) -> int:
    """Train runs that are not in the store yet; print their metrics. Returns the exit status: 1 when a run diverged."""
    place, found, diverged = build.device(options.device), [], 0
    first = configs[0]
    data = datasets.load(first.dataset, options.data_root, imbalance=first.imbalance, subset_seed=first.subset_seed)
    if first.sampler.startswith("bmls") and (pairs := label_pairs(first)) > len(data.train.labels):
        print(
            f"note: {pairs:,} label pairs, {len(data.train.labels):,} an epoch: all occur once in "
            f"{-(-pairs // len(data.train.labels))} epochs",
            file=sys.stderr,
        )
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[state]}"),
    )  # fmt: skip
    hidden = options.quiet or not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        for config in configs:
            folder = RunFolder(options.store, config)
            events = _events(folder) if getattr(options, "tensorboard", False) and not folder.done else None
            task = progress.add_task(f"{config.method}, seed {config.seed}", total=config.epochs, state="")

            def show(row: dict[str, Any], task: Any = task, events: Any = events) -> None:
                for name, value in row.items() if events is not None else ():
                    events.add_scalar(name, value, row["epoch"])
                state = (
                    f"{row['images_per_second']:,.0f} images/s, loss {row['loss']:.3f}, test {row['test_all']:.2f} %"
                )
                progress.update(task, completed=row["epoch"], state=state)

            try:
                found.append(trainer.run(config, data, folder, place, on_epoch=show))
            except trainer.Diverged as error:
                diverged += 1
                print(f"diverged: seed {config.seed}: {error}; the last good checkpoint is kept", file=sys.stderr)
            finally:
                if events is not None:
                    events.close()
            progress.remove_task(task)
    if not printed:
        return 1 if diverged else 0
    if options.json:
        cli.print_json(found)
    elif not options.quiet and found:
        _print(first, found)
    return 1 if diverged else 0


def label_pairs(config: RunConfig) -> int:
    """Label pairs that a BMLS sampler goes through."""
    return config.K**2 if config.sampler == "bmls-all" else config.K * (config.K - 1) // 2


def _events(folder: RunFolder) -> Any:
    """A TensorBoard writer. Raises InvalidInput where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InvalidInput(
            "--tensorboard needs the package tensorboard; install it with pip install tensorboard"
        ) from None
    return SummaryWriter(folder.path / "events")


def _print(config: RunConfig, metrics: Sequence[dict[str, Any]]) -> None:
    print(
        f"{metrics[0]['dataset']}, imbalance {config.imbalance:g}, {config.method}, preset {config.preset}, {len(metrics)} seeds"
    )
    for split in metrics[0]["last"]:
        values = [m["last"][split] for m in metrics]
        spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
        print(f"  {split:<5}{statistics.fmean(values):7.2f}{spread} %")
