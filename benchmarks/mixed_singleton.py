"""The mixed-singleton loss in O(K) against the softmax over all K^2 label pairs: time and memory, forward and backward.

``python -m benchmarks.mixed_singleton [--out FILE]`` writes one row per K and form: batch 256, one thread, float32. The
naive form builds the (batch, K^2) logits, without W^lambda. It is left out where they would take more than 2 GB.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import torch
from torch import Tensor

from benchmarks.rows import csv_file, write
from training.model.losses import mixed_singleton

BATCH, REPEATS, LIMIT = 256, 5, 2e9
"""Label pairs, repeats of a measurement, and the most bytes of the naive form's logits."""


def naive(z: Tensor, a: Tensor, b: Tensor, lam: Tensor) -> Tensor:
    """Return the cross-entropy over the K^2 label pairs.

    Args:
        z: (B, K) logits of the classes.
        a: (B,) first classes.
        b: (B,) second classes.
        lam: mixing ratio.

    Returns:
        The mean loss.
    """
    logits = (lam * z[:, :, None] + (1 - lam) * z[:, None, :]).flatten(1)
    return torch.nn.functional.cross_entropy(logits, a * z.shape[1] + b)


def measure(K: int, form: str) -> tuple[float, float]:
    """Measure a forward and backward pass.

    Args:
        K: number of classes.
        form: "O(K)" or "naive".

    Returns:
        Median seconds, and peak memory in MiB beyond that before the first pass.
    """
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(BATCH, K, generator=generator, requires_grad=True)
    a, b = (torch.randint(K, (BATCH,), generator=generator) for _ in range(2))
    lam = torch.tensor(0.3)
    loss = naive if form == "naive" else mixed_singleton
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        torch.autograd.grad(loss(z, a, b, lam), z)
        seconds.append(time.perf_counter() - start)
    return sorted(seconds)[REPEATS // 2], (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def main() -> None:
    """Run the command: measure every form in a process of its own."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mixed_singleton")
    parser.add_argument("--out", type=csv_file)
    parser.add_argument("--one", nargs=2, metavar=("K", "FORM"), help="measure one form in this process")
    options = parser.parse_args()
    if options.one:
        print(*measure(int(options.one[0]), options.one[1]))
        return
    rows = []
    for K in (10, 100, 1000, 8142):
        for form in ("O(K)", "naive"):
            if form == "naive" and 4.0 * BATCH * K**2 > LIMIT:
                continue
            words = [sys.executable, "-m", "benchmarks.mixed_singleton", "--one", str(K), form]
            seconds, memory = map(
                float, subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
            )
            rows.append({"K": K, "form": form, "milliseconds": round(1e3 * seconds, 3), "peak_MiB": round(memory, 1)})
            print(*rows[-1].values(), sep="\t")
    write(options.out, rows)


if __name__ == "__main__":
    main()
