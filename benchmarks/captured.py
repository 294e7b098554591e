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
from training import build
from training.config import RunConfig, with_preset
from training.trainer import Trainer

METHODS = {
    "FC": ("random", "fc"),
    "MS": ("bmls-all", "ms"),
    "MS over a < b": ("bmls", "ms-unordered"),
    "ETF": ("cas", "etf"),
}


def compared(device: torch.device, batches: int = 12) -> int:
    """Print for each classifier where the two first differ; 1 when one does."""
    different = False
    for name, (sampler, classifier) in METHODS.items():
        config = replace(with_preset(RunConfig(dataset="cifar10-lt"), "quick"), sampler=sampler, classifier=classifier)  # type: ignore[arg-type]
        found = []
        with build.unsearched(deterministic=True):
            for capture in (False, True):
                trainer = Trainer(config, data(128 * batches + 50), device, capture=capture)
                losses = []
                for _ in range(2):
                    trainer.train_epoch()
                    losses.append(trainer.losses.cpu())
                found.append((torch.cat(losses), trainer.state()))
        (plain, weights), (graph, own) = found
        steps = torch.nonzero(plain != graph).flatten().tolist()
        wrong = [key for key, value in weights.items() if not torch.equal(value, own[key])]
        different |= bool(steps or wrong)
        said = (
            "equal" if not (steps or wrong) else f"different from step {steps[:1]}, {len(wrong)} tensors: {wrong[:3]}"
        )
        print(f"{name}: captured and plain steps are {said}; losses {plain[0]:.4f} to {plain[-1]:.4f}", flush=True)
    return int(different)


def main() -> int:
    """Compare; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.captured")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    return compared(build.device(parser.parse_args().device))


if __name__ == "__main__":
    sys.exit(main())
