"""Cost of BatchNorm over several processes: ``python -m benchmarks.norms [--device cuda] [--out FILE]``, a minute.

Measured are forward and backward of ResNet-50 in bfloat16 on 16 random images of 128 pixels (64 of 224 on CUDA). Four
kinds of
BatchNorm take turns: torch's own; :class:`training.distributed.norms.SyncBatchNorm`, of which one process measures the
arithmetic alone, because it has no other to exchange sums with; and :class:`training.distributed.norms.GhostBatchNorm`
in one and in two parts. Memory is what a step keeps for its backward pass.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.rows import csv_file, origin, write
from benchmarks.training import name
from training.distributed.norms import GhostBatchNorm, SyncBatchNorm
from training.distributed.ranks import ALONE
from training.model import build
from training.model.imagenet_resnets import Bottlenecks

ROUNDS = 7
"""Turns of the kinds."""

KINDS: dict[str, Callable[[nn.BatchNorm2d], nn.Module]] = {
    "torch's own": lambda norm: norm,
    "of the whole batch": lambda norm: SyncBatchNorm(norm, ALONE),
    "of one part": lambda norm: GhostBatchNorm(norm, ALONE, 1),
    "of two parts": lambda norm: GhostBatchNorm(norm, ALONE, 2),
}
"""Kinds of BatchNorm by their names in the CSV; each replaces one of torch's."""


class Step:
    """Forward and backward of a network with one kind of BatchNorm.

    Args:
        kind: key of ``KINDS``.
        device: where the step runs.
    """

    def __init__(self, kind: str, device: torch.device) -> None:
        self.network = Bottlenecks("resnet50").to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        for module in list(self.network.modules()):
            for child_name, child in module.named_children():
                if isinstance(child, nn.BatchNorm2d):
                    setattr(module, child_name, KINDS[kind](child))
        batch, pixels = (64, 224) if device.type == "cuda" else (16, 128)
        self.x = torch.randn(batch, 3, pixels, pixels, device=device).contiguous(memory_format=torch.channels_last)

    def __call__(self) -> float:
        """Take the step.

        Returns:
            Its seconds.
        """
        self.network.zero_grad()
        start = time.perf_counter()
        with torch.autocast(self.x.device.type, torch.bfloat16):
            features = self.network(self.x)
        features.float().square().mean().backward()
        if self.x.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    def kept_bytes(self) -> int:
        """Count the bytes kept for the backward pass. Each storage counts once.

        Returns:
            Bytes.
        """
        storages: dict[int, int] = {}
        alive: list[Tensor] = []

        def keep(tensor: Tensor) -> Tensor:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            alive.append(tensor)  # else another tensor might get the same address
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            self()
        return sum(storages.values())


def main() -> None:
    """Run the command: measure, print, and write one row per kind to ``--out``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.norms")
    parser.add_argument("--out", type=csv_file)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    options = parser.parse_args()
    device = build.device(options.device)
    shared = {"device": name(device), "threads": torch.get_num_threads(), "torch": torch.__version__} | origin()
    steps = {kind: Step(kind, device) for kind in KINDS}
    # This is also the first step, which chooses algorithms.
    kept_bytes = {kind: step.kept_bytes() for kind, step in steps.items()}
    rounds = [{kind: step() for kind, step in steps.items()} for _ in range(ROUNDS)]
    rows = []
    for kind in KINDS:
        ratios = [seconds[kind] / seconds["torch's own"] for seconds in rounds]
        rows.append(
            {
                "norm": kind,
                "milliseconds": round(1e3 * statistics.median(seconds[kind] for seconds in rounds)),
                "ratio": round(statistics.median(ratios), 3),
                "smallest_ratio": round(min(ratios), 3),
                "largest_ratio": round(max(ratios), 3),
                "kept_megabytes": round(kept_bytes[kind] / 1e6),
                **shared,
            }
        )
        print(*(f"{key}={value}" for key, value in rows[-1].items()), sep="  ", flush=True)
    write(options.out, rows)


if __name__ == "__main__":
    main()
