"""Images per second of whole training epochs, augmentation and mixing included: ``python -m benchmarks.training [--out FILE]``.

ResNet-8 and ResNet-32 at batch 128 on random images of CIFAR's size, bfloat16 and float32, channels-last and not, in one run.
Ratios are to float32 without channels-last.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from training.config import RunConfig
from training.datasets import Images, LongTailed
from training.trainer import Trainer

IMAGES = {"resnet8": 128 * 40, "resnet32": 128 * 12}


def data(number: int) -> LongTailed:
    """Random images with ten balanced classes."""
    rng = np.random.default_rng(0)
    images = Images(rng.integers(0, 256, (number, 3, 32, 32), dtype=np.uint8), np.arange(number) % 10)
    return LongTailed("random", images, images, 10, (0.5,) * 3, (0.25,) * 3)


def rate(config: RunConfig, layout: torch.memory_format, device: torch.device) -> float:
    """Images per second: the better of two epochs, after one to warm up."""
    trainer = Trainer(config, data(IMAGES[config.model]), device)
    trainer.network.to(memory_format=layout)  # type: ignore[call-overload]
    return max([trainer.train_epoch()["images_per_second"] for _ in range(3)][1:])


def main() -> None:
    """Measure and print; also write a row each to ``--out``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    rows = []
    for model in ("resnet8", "resnet32"):
        base = 0.0
        for precision in ("fp32", "bf16"):
            for name, layout in (("contiguous", torch.contiguous_format), ("channels-last", torch.channels_last)):
                config = replace(RunConfig(dataset="cifar10-lt"), model=model, precision=precision, sampler="bmls")
                found = rate(config, layout, torch.device(options.device))
                base = base or found
                rows.append(
                    {
                        "model": model,
                        "precision": precision,
                        "weights": name,
                        "images_per_second": round(found),
                        "ratio": round(found / base, 2),
                    }
                )
                print(*rows[-1].values(), sep="\t", flush=True)
    if options.out:
        with options.out.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
