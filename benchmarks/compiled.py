"""What torch.compile brings a training step and costs: ``python -m benchmarks.compiled [--device cuda] [--out FILE]``.

ResNet-32 at batch 128 in float32 and bfloat16: the step of :mod:`benchmarks.bound` with the network as it is and compiled, by
turns in one process, so that what else the machine does falls on both. Compiling is timed as the first step, with an empty
cache of compiled code and again, in another process, with that cache. On a CPU with one and with two threads.
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
from pathlib import Path
from typing import Any

import torch

from benchmarks.bound import BATCH, Step
from benchmarks.rows import origin, write
from benchmarks.training import name
from training.model import build
from training.model.cifar_resnets import ResNet

ROUNDS = 7
IMAGES = 12_406
"""An epoch of CIFAR10-LT at imbalance 100."""


def measure(precision: str, device: torch.device) -> dict[str, float]:
    """Seconds of the compiled network's first step, and images a second of both: the median over rounds, and of their ratio."""
    steps = [Step(ResNet(), precision, device) for _ in range(2)]
    steps[1].backbone = torch.compile(steps[1].network)
    _, compiled = (rate(step, device, 1) for step in steps)
    first = BATCH / compiled
    plain = rate(steps[0], device, 3)  # the first step has chosen its algorithms
    count = max(3, int(2 * plain / BATCH))  # two seconds a round
    rounds = [[rate(step, device, count) for step in steps] for _ in range(ROUNDS)]
    return {
        "first_step_seconds": first,
        "images_per_second": statistics.median(one for one, _ in rounds),
        "compiled_images_per_second": statistics.median(other for _, other in rounds),
        "ratio": statistics.median(other / one for one, other in rounds),
        "smallest_ratio": min(other / one for one, other in rounds),
        "largest_ratio": max(other / one for one, other in rounds),
    }


def rate(step: Step, device: torch.device, count: int) -> float:
    """Images a second of some steps."""
    start = time.perf_counter()
    for _ in range(count):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return count * BATCH / (time.perf_counter() - start)


def row(precision: str, threads: int, device: str) -> dict[str, Any]:
    """Both measurements in fresh processes, the second one with the first one's compiled code."""
    found = []
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": cache, "OMP_NUM_THREADS": str(threads)}
        for _ in range(2):
            words = [sys.executable, "-m", "benchmarks.compiled", "--device", device, "--one", precision]
            done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            found.append(json.loads(done.stdout))
    empty, warm = found
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
    """Measure, print, and write a row for each case to ``--out``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compiled")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--one", metavar="PRECISION", help="measure one precision in this process")
    options = parser.parse_args()
    device = build.device(options.device)
    if options.one:
        print(json.dumps(measure(options.one, device)))
        return
    made = {"device": name(device), "torch": torch.__version__} | origin()
    rows = []
    for threads in (1,) if device.type == "cuda" else (1, 2):
        for precision in ("fp32", "bf16"):
            rows.append(row(precision, threads, device.type) | made)
            print(*(f"{key}={value}" for key, value in rows[-1].items()), sep="  ", flush=True)
    write(options.out, rows)


if __name__ == "__main__":
    main()
