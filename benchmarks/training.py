"""Images per second of training epochs, augmentation and mixing included: ``python -m benchmarks.training [--out FILE]``.

ResNet-8 and ResNet-32 train at batch 128 on random images of CIFAR's size, all cases in one run: bfloat16 and float32;
channels-last and contiguous (weights and images); and several runs in flight. On CUDA runs in flight have captured
steps. On a CPU they are processes of one thread. Ratios are to float32, contiguous, not captured, one run. Evaluation
is timed separately.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from threading import Barrier
from typing import Any

import numpy as np
import torch

from benchmarks.rows import csv_file, write
from training.config import RunConfig
from training.data.datasets import Images, LongTailed
from training.model import build
from training.run.trainer import Trainer

BATCHES = {"cpu": {"resnet8": 40, "resnet32": 12}, "cuda": {"resnet8": 97, "resnet32": 97}}
"""Batches of an epoch by device and network."""


@dataclass(frozen=True)
class Case:
    """One way to train.

    Attributes:
        precision: "fp32" or "bf16".
        layout: memory format of weights and images.
        capture: whether steps are captured as graphs.
        runs: number of runs in flight, each on a stream of its own, or on a CPU in a process of its own.
    """

    precision: str
    layout: torch.memory_format
    capture: bool = False
    runs: int = 1


ONE_RUN = (
    Case("fp32", torch.contiguous_format),
    Case("fp32", torch.channels_last),
    Case("bf16", torch.contiguous_format),
    Case("bf16", torch.channels_last),
)
"""Cases of one run without captured steps. The first one is the base of all ratios."""
CPU = (*ONE_RUN, *(Case("bf16", torch.channels_last, runs=runs) for runs in (2, 4, 16)))
"""Cases on a CPU."""
CUDA = (*ONE_RUN, *(Case("bf16", torch.channels_last, capture=True, runs=runs) for runs in (1, 4, 16)))
"""Cases on CUDA."""


def name(device: torch.device) -> str:
    """Return a device's name in the CSV.

    Args:
        device: the device.

    Returns:
        The GPU's name, or "cpu".
    """
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def data(number: int) -> LongTailed:
    """Make random images with ten balanced classes.

    Args:
        number: number of images.

    Returns:
        The data; its test set is its training set.
    """
    rng = np.random.default_rng(0)
    images = Images(rng.integers(0, 256, (number, 3, 32, 32), dtype=np.uint8), np.arange(number) % 10)
    return LongTailed("random", images, images, 10, (0.5,) * 3, (0.25,) * 3)


def rates(model: str, case: Case, device: torch.device) -> tuple[float, float]:
    """Measure one case in this process.

    Args:
        model: name of the network.
        case: how it trains.
        device: where it trains.

    Returns:
        Images per second of training (the better of two epochs, after one to warm up), and of evaluation.
    """
    number = 128 * BATCHES[device.type][model]
    config = replace(RunConfig(dataset="cifar10-lt"), model=model, precision=case.precision, sampler="bmls")
    cuda = device.type == "cuda"
    streams: list[Any] = [torch.cuda.Stream() if cuda else None for _ in range(case.runs)]  # type: ignore[no-untyped-call]
    on_stream: Callable[[Any], Any] = torch.cuda.stream if cuda else nullcontext
    trainers = []
    for seed, stream in enumerate(streams):
        with on_stream(stream):
            trainer = Trainer(
                replace(config, seed=seed), data(number), device, capture=case.capture, layout=case.layout
            )
        trainers.append(trainer)

    def each(do: Callable[[Trainer], Any]) -> float:
        """Call a function with every trainer on its stream, and return the time afterwards."""
        for trainer, stream in zip(trainers, streams, strict=True):
            with on_stream(stream):
                do(trainer)
        return time.perf_counter()

    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        each(lambda trainer: trainer.steps.launch())
        seconds.append(each(lambda trainer: trainer.steps.collect()) - start)
    each(Trainer.evaluate)
    start = time.perf_counter()
    evaluation_seconds = each(Trainer.evaluate) - start
    return case.runs * number / min(seconds[1:]), case.runs * number / evaluation_seconds


def _alone(model: str, case: Case, ready: Barrier) -> tuple[float, float]:
    """Train two epochs in a process with one thread, and return when they began and ended.

    They begin after one epoch to warm up, when all processes are ready.
    """
    torch.set_num_threads(1)
    config = replace(RunConfig(dataset="cifar10-lt"), model=model, precision=case.precision, sampler="bmls")
    trainer = Trainer(config, data(128 * BATCHES["cpu"][model]), torch.device("cpu"), layout=case.layout)
    trainer.train_epoch()
    ready.wait()
    start = time.perf_counter()
    for _ in range(2):
        trainer.train_epoch()
    return start, time.perf_counter()


def processes(model: str, case: Case) -> float:
    """Measure training in several processes that share the cores.

    Args:
        model: name of the network.
        case: how it trains.

    Returns:
        Images per second of all processes together.
    """
    with (
        multiprocessing.Manager() as manager,
        ProcessPoolExecutor(case.runs, multiprocessing.get_context("spawn")) as pool,
    ):
        ready = manager.Barrier(case.runs)
        tasks = [pool.submit(_alone, model, case, ready) for _ in range(case.runs)]
        times = [task.result() for task in tasks]
    seconds = max(end for _, end in times) - min(start for start, _ in times)
    return 2 * case.runs * 128 * BATCHES["cpu"][model] / seconds


def rows(device: torch.device, *, capture: bool = True) -> Iterator[dict[str, Any]]:
    """Measure and print all cases.

    Args:
        device: where runs train.
        capture: whether cases with captured steps are measured.

    Yields:
        One row per case.
    """
    cpu = device.type == "cpu"
    for model in ("resnet8", "resnet32"):
        base = 0.0
        for case in CPU if cpu else CUDA:
            if case.capture and not capture:
                continue
            in_processes = cpu and case.runs > 1
            training, evaluation = (processes(model, case), None) if in_processes else rates(model, case, device)
            base = base or training  # the first case
            row = {
                "model": model,
                "precision": case.precision,
                "layout": "channels-last" if case.layout == torch.channels_last else "contiguous",
                "captured": int(case.capture),
                "in_flight": case.runs,
                "images_per_second": round(training),
                "ratio": round(training / base, 2),
                "evaluated_per_second": "" if evaluation is None else round(evaluation),
                "device": name(device),
                "threads": 1 if in_processes else torch.get_num_threads(),
            }
            print(*row.values(), sep="\t", flush=True)
            yield row


def main() -> None:
    """Run the command: measure, print, and write one row per case to ``--out``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training")
    parser.add_argument("--out", type=csv_file)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    options = parser.parse_args()
    write(options.out, list(rows(build.device(options.device))))


if __name__ == "__main__":
    main()
