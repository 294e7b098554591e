"""What BatchNorm costs a process that shares a batch: ``python -m benchmarks.norms [--device cuda] [--out FILE]``, a minute.

Forward and backward of ResNet-50 in bfloat16 on 16 random images of 128 pixels (64 of 224 on CUDA), by turns with torch's own
BatchNorm, with :class:`training.distributed.norms.SyncBatchNorm` (its
arithmetic; one process has nobody to exchange sums with) and with
:class:`training.distributed.norms.GhostBatchNorm` in one and in two parts. Memory is what a step keeps for its backward pass.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.rows import origin, write
from benchmarks.training import name
from training.distributed.norms import GhostBatchNorm, SyncBatchNorm
from training.distributed.ranks import ALONE
from training.model import build
from training.model.imagenet_resnets import Bottlenecks

ROUNDS = 7

KINDS: dict[str, Callable[[nn.BatchNorm2d], nn.Module]] = {
    "torch's own": lambda norm: norm,
    "of the whole batch": lambda norm: SyncBatchNorm(norm, ALONE),
    "of one part": lambda norm: GhostBatchNorm(norm, ALONE, 1),
    "of two parts": lambda norm: GhostBatchNorm(norm, ALONE, 2),
}


class Step:
    """Forward and backward of a network with one kind of BatchNorm."""

    def __init__(self, kind: str, device: torch.device) -> None:
        self.network = Bottlenecks("resnet50").to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        for module in list(self.network.modules()):
            for child_name, child in module.named_children():
                if isinstance(child, nn.BatchNorm2d):
                    setattr(module, child_name, KINDS[kind](child))
        batch, pixels = (64, 224) if device.type == "cuda" else (16, 128)
        self.x = torch.randn(batch, 3, pixels, pixels, device=device).contiguous(memory_format=torch.channels_last)

    def __call__(self) -> float:
        """Seconds it took."""
        self.network.zero_grad()
        start = time.perf_counter()
        with torch.autocast(self.x.device.type, torch.bfloat16):
            features = self.network(self.x)
        features.float().square().mean().backward()
        if self.x.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    def kept(self) -> int:
        """Bytes kept for the backward pass, each storage once."""
        storages: dict[int, int] = {}
        alive: list[Tensor] = []

        def keep(tensor: Tensor) -> Tensor:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            alive.append(tensor)  # or another one might take its place
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            self()
        return sum(storages.values())


def main() -> None:
    """Measure, print, and write a row for each kind to ``--out``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.norms")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    options = parser.parse_args()
    device = build.device(options.device)
    made = {"device": name(device), "threads": torch.get_num_threads(), "torch": torch.__version__} | origin()
    steps = {kind: Step(kind, device) for kind in KINDS}
    kept = {kind: step.kept() for kind, step in steps.items()}  # and a first step, which chooses algorithms
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
                "kept_megabytes": round(kept[kind] / 1e6),
                **made,
            }
        )
        print(*(f"{key}={value}" for key, value in rows[-1].items()), sep="  ", flush=True)
    write(options.out, rows)


if __name__ == "__main__":
    main()
