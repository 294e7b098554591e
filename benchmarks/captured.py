"""Whether captured steps equal plain steps: ``python -m benchmarks.captured [--device cuda]``.

Two epochs from the same seed, one captured and one plain, run with deterministic algorithms. Every loss and every
weight must be equal, bit for bit. A graph that read a tensor from freed memory would show here, but perhaps not in an
accuracy.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

import torch

from benchmarks.training import data
from training.config import RunConfig, with_preset
from training.model import build
from training.run.trainer import Trainer

METHODS = {
    "FC": ("random", "fc"),
    "MS": ("bmls-all", "ms"),
    "MS over a < b": ("bmls", "ms-unordered"),
    "ETF": ("cas", "etf"),
}
"""Sampler and classifier of each method that is compared."""


def compared(device: torch.device, batches: int = 12) -> int:
    """Print for each classifier where captured and plain steps first differ.

    Two plain runs are compared first. If they differ from one another, a difference from captured steps proves nothing.

    Args:
        device: where the steps run.
        batches: number of full batches in an epoch.

    Returns:
        The exit status: 1 if captured steps of a classifier differ from plain ones.
    """
    different = False
    for name, (sampler, classifier) in METHODS.items():
        config = replace(with_preset(RunConfig(dataset="cifar10-lt"), "quick"), sampler=sampler, classifier=classifier)
        plain, plain_again, captured = (trained(config, device, batches, capture) for capture in (False, False, True))
        if differences(plain, plain_again):
            verdict = "plain steps differ among themselves; this proves nothing about captured ones"
        elif names := differences(plain, captured):
            verdict = f"captured and plain steps differ: {', '.join(names[:3])}, {len(names)} in all"
            different = True
        elif device.type == "cuda":
            verdict = "captured and plain steps are equal"
        else:
            verdict = "equal; nothing is captured on a CPU"
        losses = plain["losses"]
        print(f"{name}: {verdict}; losses {losses[0]:.4f} to {losses[-1]:.4f}", flush=True)
    return int(different)


def trained(config: RunConfig, device: torch.device, batches: int, capture: bool) -> dict[str, torch.Tensor]:
    """Train two epochs.

    Args:
        config: the run.
        device: where it runs.
        batches: number of full batches in an epoch.
        capture: whether steps are captured.

    Returns:
        The losses of all steps, and the state of the network after them, by name.
    """
    with build.unsearched(deterministic=True):
        trainer, losses = Trainer(config, data(128 * batches + 50), device, capture=capture), []
        for _ in range(2):
            trainer.train_epoch()
            losses.append(trainer.steps.losses.cpu())
        return {"losses": torch.cat(losses)} | trainer.state()


def differences(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> list[str]:
    """Compare two results of :func:`trained` bit by bit.

    Args:
        first: a result.
        second: another one.

    Returns:
        The names of tensors that differ, and first of all the first step whose loss differs.
    """
    steps = torch.nonzero(first["losses"] != second["losses"]).flatten().tolist()
    tensors = [name for name, tensor in first.items() if not torch.equal(tensor, second[name])]
    return [f"loss of step {step}" for step in steps[:1]] + tensors


def main() -> int:
    """Run the command.

    Returns:
        Its exit status.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.captured")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    return compared(build.device(parser.parse_args().device))


if __name__ == "__main__":
    sys.exit(main())
