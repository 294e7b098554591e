"""What is said of a run before it trains, because one would otherwise find out late."""

from __future__ import annotations

import sys

from training.config import BOTTLENECKS, RunConfig
from training.data.datasets import LongTailed
from training.data.lists import Listed, duplicates


def explain(config: RunConfig, data: LongTailed, device: str) -> None:
    """Say what happens when there are more label pairs than images, few steps or very many, which classifier the paper's BMLS+MS
    has, and which of your own test images are no test.
    """
    images, train, test = len(data.train.labels), data.train, data.test
    if (
        config.dataset == "own"
        and isinstance(train, Listed)
        and isinstance(test, Listed)
        and (seen := duplicates(train, test))
    ):
        print(
            f"note: {len(seen):,} of {len(test):,} test images are training images too, {seen[0]!r} for one",
            file=sys.stderr,
        )
    steps = -(-images // config.batch)
    if steps < 10:
        print(
            f"note: {images:,} images are {steps} step{'s' * (steps > 1)} an epoch, {steps * config.epochs:,} in all; "
            "a smaller --batch makes more",
            file=sys.stderr,
        )
    if device == "cpu" and config.model in BOTTLENECKS:
        print(
            f"note: {config.model} without a GPU sees a few images a second, and {images * config.epochs:,} are to be seen; "
            + ("take a GPU" if config.pretrained else "--preset quick is a look"),
            file=sys.stderr,
        )
    if config.sampler == "bmls" and config.classifier in ("ms", "ms-wetf"):
        print(
            f"note: {config.classifier} has all K^2 label pairs as classes, bmls draws a < b alone; the paper's is "
            f"--classifier {config.classifier}-unordered",
            file=sys.stderr,
        )
    if config.sampler.startswith("bmls") and (pairs := label_pairs(config)) > images:
        epochs = -(-pairs // images)
        print(
            f"note: {pairs:,} label pairs, {images:,} an epoch: all have occurred after {epochs} epochs",
            file=sys.stderr,
        )


def label_pairs(config: RunConfig) -> int:
    """Label pairs that a BMLS sampler goes through."""
    return config.K**2 if config.sampler == "bmls-all" else config.K * (config.K - 1) // 2
