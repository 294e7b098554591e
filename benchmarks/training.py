"""Images per second of whole training epochs, augmentation and mixing included: ``python -m benchmarks.training [--out FILE]``.

ResNet-8 and ResNet-32 at batch 128 on random images of CIFAR's size, in one run: bfloat16 and float32, channels-last and
contiguous (weights and images); 1, 4 and 16 runs in flight, on CUDA with steps captured as graphs, on a CPU in processes of
one thread. Ratios are to float32, contiguous, not captured, one run. Evaluation is timed apart.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import torch

from benchmarks.rows import write
from training.config import RunConfig
from training.data.datasets import Images, LongTailed
from training.model import build
from training.run.trainer import Trainer

BATCHES = {"cpu": {"resnet8": 40, "resnet32": 12}, "cuda": {"resnet8": 97, "resnet32": 97}}


@dataclass(frozen=True)
class Case:
    """One way to train. runs: in flight at once, each on a stream of its own, or on a CPU in a process of its own."""

    precision: str
    layout: torch.memory_format
    capture: bool = False
    runs: int = 1


BASE = Case("fp32", torch.contiguous_format)
CPU = (BASE, *(Case(p, m) for p, m in (
    ("fp32", torch.channels_last), ("bf16", torch.contiguous_format), ("bf16", torch.channels_last)
)))  # fmt: skip
IN_FLIGHT = tuple(Case("bf16", torch.channels_last, runs=runs) for runs in (2, 4, 16))
CUDA = (*CPU, *(Case("bf16", torch.channels_last, True, runs) for runs in (1, 4, 16)))


def name(device: torch.device) -> str:
    """What rows call a device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def data(number: int) -> LongTailed:
    """Random images with ten balanced classes."""
    rng = np.random.default_rng(0)
    images = Images(rng.integers(0, 256, (number, 3, 32, 32), dtype=np.uint8), np.arange(number) % 10)
    return LongTailed("random", images, images, 10, (0.5,) * 3, (0.25,) * 3)


def rates(model: str, case: Case, device: torch.device) -> tuple[float, float]:
    """Images per second of training (the better of two rounds of an epoch, after one to warm up) and of evaluation."""
    number = 128 * BATCHES[device.type][model]
    config = replace(RunConfig(dataset="cifar10-lt"), model=model, precision=case.precision, sampler="bmls")
    cuda = device.type == "cuda"
    streams: list[Any] = [torch.cuda.Stream() if cuda else None for _ in range(case.runs)]  # type: ignore[no-untyped-call]
    on: Callable[[Any], Any] = torch.cuda.stream if cuda else nullcontext
    trainers = []
    for seed, stream in enumerate(streams):
        with on(stream):
            made = Trainer(replace(config, seed=seed), data(number), device, capture=case.capture, layout=case.layout)
        trainers.append(made)

    def each(do: Callable[[Trainer], Any]) -> float:
        for trainer, stream in zip(trainers, streams, strict=True):
            with on(stream):
                do(trainer)
        return time.perf_counter()

    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        each(lambda trainer: trainer.steps.launch())
        seconds.append(each(lambda trainer: trainer.steps.collect()) - start)
    each(Trainer.evaluate)
    start = time.perf_counter()
    evaluated = each(Trainer.evaluate) - start
    return case.runs * number / min(seconds[1:]), case.runs * number / evaluated


def _alone(model: str, case: Case, together: Barrier) -> tuple[float, float]:
    """In a process with one thread: when two epochs began and ended, after one to warm up and when all were there."""
    torch.set_num_threads(1)
    config = replace(RunConfig(dataset="cifar10-lt"), model=model, precision=case.precision, sampler="bmls")
    trainer = Trainer(config, data(128 * BATCHES["cpu"][model]), torch.device("cpu"), layout=case.layout)
    trainer.train_epoch()
    together.wait()
    start = time.perf_counter()
    for _ in range(2):
        trainer.train_epoch()
    return start, time.perf_counter()


def processes(model: str, case: Case) -> float:
    """Images per second of training of several processes that share the cores."""
    with (
        multiprocessing.Manager() as manager,
        ProcessPoolExecutor(case.runs, multiprocessing.get_context("spawn")) as pool,
    ):
        together = manager.Barrier(case.runs)
        tasks = [pool.submit(_alone, model, case, together) for _ in range(case.runs)]
        times = [task.result() for task in tasks]
    seconds = max(end for _, end in times) - min(start for start, _ in times)
    return 2 * case.runs * 128 * BATCHES["cpu"][model] / seconds


def rows(device: torch.device, *, capture: bool = True) -> Iterator[dict[str, Any]]:
    """Measure all cases and print them. capture: those with captured steps too."""
    for model in ("resnet8", "resnet32"):
        base = 0.0
        cpu = device.type == "cpu"
        for case in (*CPU, *IN_FLIGHT) if cpu else CUDA:
            if case.capture and not capture:
                continue
            apart = cpu and case.runs > 1
            training, evaluation = (processes(model, case), None) if apart else rates(model, case, device)
            base = base or training
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
                "threads": 1 if apart else torch.get_num_threads(),
            }
            print(*row.values(), sep="\t", flush=True)
            yield row


def main() -> None:
    """Measure, print, and write a row each to ``--out``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    options = parser.parse_args()
    found = list(rows(build.device(options.device)))
    write(options.out, found)


if __name__ == "__main__":
    main()
