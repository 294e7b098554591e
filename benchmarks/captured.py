"""Whether a captured step is the plain one: ``python -m benchmarks.captured [--device cuda]``.

Two epochs from the same seed, captured and plain, with deterministic algorithms: every loss and every weight must be equal,
bit for bit. A tensor that a graph read from where it no longer is would show here and not in an accuracy.
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


def compared(device: torch.device, batches: int = 12) -> int:
    """Print for each classifier where the two first differ; 1 when one does. Plain steps that differ from plain ones prove
    nothing against captured ones.
    """
    different = False
    for name, (sampler, classifier) in METHODS.items():
        config = replace(with_preset(RunConfig(dataset="cifar10-lt"), "quick"), sampler=sampler, classifier=classifier)
        plain, again, own = (trained(config, device, batches, capture) for capture in (False, False, True))
        if differences(plain, again):
            said = "plain steps differ among themselves, nothing can be said"
        elif found := differences(plain, own):
            said, different = f"captured and plain steps differ: {', '.join(found[:3])}, {len(found)} in all", True
        else:
            said = (
                "captured and plain steps are equal" if device.type == "cuda" else "equal; nothing is captured on a CPU"
            )
        losses = plain["losses"]
        print(f"{name}: {said}; losses {losses[0]:.4f} to {losses[-1]:.4f}", flush=True)
    return int(different)


def trained(config: RunConfig, device: torch.device, batches: int, capture: bool) -> dict[str, torch.Tensor]:
    """Every loss of two epochs and what the network is then."""
    with build.unsearched(deterministic=True):
        trainer, losses = Trainer(config, data(128 * batches + 50), device, capture=capture), []
        for _ in range(2):
            trainer.train_epoch()
            losses.append(trainer.steps.losses.cpu())
        return {"losses": torch.cat(losses)} | trainer.state()


def differences(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> list[str]:
    """The tensors that differ in a bit; of the losses, the first step that does."""
    steps = torch.nonzero(one["losses"] != other["losses"]).flatten().tolist()
    return [f"loss of step {n}" for n in steps[:1]] + [k for k, v in one.items() if not torch.equal(v, other[k])]


def main() -> int:
    """Compare; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.captured")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    return compared(build.device(parser.parse_args().device))


if __name__ == "__main__":
    sys.exit(main())
