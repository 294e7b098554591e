"""Gain and cost of torch.compile in a training step: ``python -m benchmarks.compiled [--device cuda] [--out FILE]``.

The step is that of :mod:`benchmarks.bound`, ResNet-32 at batch 128 in float32 and bfloat16. The network as it is and
its compiled form take turns in one process, so that other load on the machine affects both. Compiling is timed as the
first step: with an empty cache of compiled code, and again in another process with that cache. A CPU is measured with
one and with two threads.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import torch

from benchmarks.bound import BATCH, Step
from benchmarks.rows import csv_file, origin, write
from benchmarks.training import name
from training.model import build
from training.model.cifar_resnets import ResNet

ROUNDS = 7
"""Turns of the two networks."""
IMAGES = 12_406
"""Images in an epoch of CIFAR10-LT at imbalance 100."""


def measure(precision: str, device: torch.device) -> dict[str, float]:
    """Measure the plain and the compiled network by turns.

    Args:
        precision: "fp32" or "bf16".
        device: where the steps run.

    Returns:
        Seconds of the compiled network's first step, images per second of both networks (medians over the rounds), and
        the median, smallest and largest ratio of a round.
    """
    steps = [Step(ResNet(), precision, device) for _ in range(2)]
    steps[1].backbone = torch.compile(steps[1].network)
    _, first_compiled = (rate(step, device, 1) for step in steps)
    first_step_seconds = BATCH / first_compiled
    plain_rate = rate(steps[0], device, 3)  # the first step has chosen its algorithms
    count = max(3, int(2 * plain_rate / BATCH))  # about two seconds for each network in a round
    rounds = [[rate(step, device, count) for step in steps] for _ in range(ROUNDS)]
    ratios = [compiled / plain for plain, compiled in rounds]
    return {
        "first_step_seconds": first_step_seconds,
        "images_per_second": statistics.median(plain for plain, _ in rounds),
        "compiled_images_per_second": statistics.median(compiled for _, compiled in rounds),
        "ratio": statistics.median(ratios),
        "smallest_ratio": min(ratios),
        "largest_ratio": max(ratios),
    }


def rate(step: Step, device: torch.device, count: int) -> float:
    """Time some steps.

    Args:
        step: the step.
        device: where it runs.
        count: number of steps.

    Returns:
        Images per second.
    """
    start = time.perf_counter()
    for _ in range(count):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return count * BATCH / (time.perf_counter() - start)


def row(precision: str, threads: int, device: str) -> dict[str, Any]:
    """Measure twice in fresh processes, the second time with the compiled code of the first.

    Args:
        precision: "fp32" or "bf16".
        threads: number of threads.
        device: name of the device.

    Returns:
        One row of the CSV.
    """
    measurements = []
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": cache, "OMP_NUM_THREADS": str(threads)}
        for _ in range(2):
            words = [sys.executable, "-m", "benchmarks.compiled", "--device", device, "--one", precision]
            done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            measurements.append(json.loads(done.stdout))
    empty, warm = measurements  # by the cache of compiled code
    # Seconds saved per image.
    gain = 1 / empty["images_per_second"] - 1 / empty["compiled_images_per_second"]
    return {
        "model": "resnet32",
        "precision": precision,
        "threads": threads,
        **{key: round(value, 3) for key, value in empty.items()},
        "first_step_seconds_with_cache": round(warm["first_step_seconds"], 3),
        "ratio_again": round(warm["ratio"], 3),
        "epochs_until_it_pays": round(empty["first_step_seconds"] / gain / IMAGES, 1) if gain > 0 else "never",
    }


def main() -> None:
    """Run the command: measure, print, and write one row per case to ``--out``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compiled")
    parser.add_argument("--out", type=csv_file)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--one", metavar="PRECISION", help="measure one precision in this process")
    options = parser.parse_args()
    device = build.device(options.device)
    if options.one:
        print(json.dumps(measure(options.one, device)))
        return
    shared = {"device": name(device), "torch": torch.__version__} | origin()
    rows = []
    for threads in (1,) if device.type == "cuda" else (1, 2):
        for precision in ("fp32", "bf16"):
            rows.append(row(precision, threads, device.type) | shared)
            print(*(f"{key}={value}" for key, value in rows[-1].items()), sep="  ", flush=True)
    write(options.out, rows)


if __name__ == "__main__":
    main()
