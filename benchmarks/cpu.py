"""Two ways to train faster on a CPU: ``python -m benchmarks.cpu [--out results/cpu-benchmark.csv]``, about a minute.

- Evaluation in batches of other sizes than :data:`training.batches.sources.EVALUATION_BATCH`, and what an evaluation of
  CIFAR's 10,000 test images takes beside an epoch of CIFAR10-LT.
- Four seeds as one network: convolutions with four groups, and BatchNorm with ReLU over four times the channels, forward and
  backward, at the sizes of ResNet-32's three stages.

One thread. Times are CPU seconds, the least of several turns, so other load on the machine changes them little.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch.nn import functional

from benchmarks.rows import csv_file, origin, write
from benchmarks.training import data
from training.batches.sources import EVALUATION_BATCH
from training.config import RunConfig
from training.run.trainer import Trainer

BATCHES = (64, 125, 250, 500, 1000)
"""Images that are evaluated at once."""
IMAGES, TEST_IMAGES, EPOCH = 2000, 10_000, 12_406
"""Images of a measurement, test images of CIFAR, and training images of CIFAR10-LT at imbalance 100."""
SEEDS, BATCH, STAGES = 4, 128, ((16, 32), (32, 16), (64, 8))
"""Seeds in one network, images in a batch, and channels and pixels per side of each stage."""


def turns(functions: Mapping[Any, Callable[[], object]], rounds: int) -> dict[Any, float]:
    """Time functions by turns.

    Args:
        functions: the functions by name.
        rounds: turns after one to warm up.

    Returns:
        The least CPU time of each in seconds.
    """
    seconds = dict.fromkeys(functions, float("inf"))
    for turn in range(rounds + 1):
        for name, function in functions.items():
            start = time.process_time()
            function()
            if turn:
                seconds[name] = min(seconds[name], time.process_time() - start)
    return seconds


def evaluation() -> Iterator[dict[str, Any]]:
    """Measure evaluation in batches of several sizes, and a training epoch.

    Yields:
        One row per network and size: the speed as a multiple of that with our size, and how many epochs of training
        an evaluation takes.
    """
    for model in ("resnet8", "resnet32"):
        config = replace(RunConfig(dataset="cifar10-lt"), model=model, precision="bf16")
        trainer = Trainer(config, data(IMAGES), torch.device("cpu"))

        def evaluate(size: int, trainer: Any = trainer) -> None:
            trainer.source.chunk = size
            trainer.evaluate()

        seconds = turns({size: lambda size=size: evaluate(size) for size in BATCHES}, 3)  # type: ignore[misc]
        epoch = turns({"epoch": trainer.train_epoch}, 1)["epoch"] / IMAGES * EPOCH
        usual = seconds[EVALUATION_BATCH["cpu"]]
        for size, value in seconds.items():
            share = value / IMAGES * TEST_IMAGES / epoch
            yield {"what": f"evaluation, {model}", "size": size, "ratio": usual / value, "share_of_epoch": share}


def grouped() -> Iterator[dict[str, Any]]:
    """Measure layers of several seeds as one layer.

    Yields:
        One row per layer, precision and stage: the speed as a multiple of that of single layers.
    """
    for precision in (torch.bfloat16, torch.float32):
        for channels, side in STAGES:

            def tensor(*shape: int, precision: torch.dtype = precision) -> torch.Tensor:
                values = torch.randn(shape, dtype=precision).to(memory_format=torch.channels_last)
                return values.requires_grad_()

            one, weights = tensor(BATCH, channels, side, side), tensor(channels, channels, 3, 3)
            all_of_them = tensor(BATCH, SEEDS * channels, side, side)
            all_weights = tensor(SEEDS * channels, channels, 3, 3)

            def convolve(x: torch.Tensor, w: torch.Tensor, groups: int, times: int) -> None:
                for _ in range(times):
                    functional.conv2d(x, w, padding=1, groups=groups).sum().backward()  # type: ignore[no-untyped-call]

            def normalise(x: torch.Tensor, times: int) -> None:
                for _ in range(times):
                    functional.relu(functional.batch_norm(x, None, None, training=True)).sum().backward()  # type: ignore[no-untyped-call]

            layers: dict[str, tuple[Callable[[], None], Callable[[], None]]] = {
                "convolution": (
                    lambda x=one, w=weights: convolve(x, w, 1, SEEDS),  # type: ignore[misc]
                    lambda x=all_of_them, w=all_weights: convolve(x, w, SEEDS, 1),  # type: ignore[misc]
                ),
                "BatchNorm and ReLU": (
                    lambda x=one: normalise(x, SEEDS),  # type: ignore[misc]
                    lambda x=all_of_them: normalise(x, 1),  # type: ignore[misc]
                ),
            }
            for layer, (alone, together) in layers.items():
                seconds = turns({"alone": alone, "together": together}, 7)
                what = f"{layer}, {SEEDS} seeds as one, {str(precision).removeprefix('torch.')}"
                ratio = seconds["alone"] / seconds["together"]
                yield {"what": what, "size": channels, "ratio": ratio, "share_of_epoch": ""}


def main() -> None:
    """Run the command: measure, print, and write one row per ratio to ``--out``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cpu")
    parser.add_argument("--out", type=csv_file, help="CSV file for the rows")
    options = parser.parse_args()
    torch.set_num_threads(1)
    shared, rows = origin(), []
    for part in (evaluation, grouped):
        for row in part():
            share = f"  {row['share_of_epoch']:.3f} of an epoch" if row["share_of_epoch"] else ""
            print(f"{row['what']:<52}{row['size']:>6}  ratio {row['ratio']:.2f}{share}", flush=True)
            rows.append(row | shared)
    write(options.out, rows)


if __name__ == "__main__":
    main()
