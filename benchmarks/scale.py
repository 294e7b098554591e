"""What BMLS and MS cost at the size of each data set: ``python -m benchmarks.scale [--out FILE]``, five minutes.

- An epoch's pairs: seconds and peak memory by sampler, on labels with the data set's numbers of classes and images.
  CIFAR-LT's counts are exact; the others are a long tail with the published extremes and splits. For BMLS also the
  first epoch after a resume, where most of a cycle has to be counted.
- Classifier and loss, forward and backward, at the recipe's batch and feature width: FC, MS over all K^2 label pairs,
  MS over a < b, and MS with the class vectors of all K^2 label pairs written out, where they fit. Then the same at one
  width as K grows.
- The data set's network, forward and backward in bfloat16, as a measure for the other costs.

Everything runs in one thread. Memory is the peak of a process that does nothing else, beyond its memory before.
:mod:`benchmarks.scale_table` makes docs/reproduce/scale.md's table of the rows.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from benchmarks.alone import alone, memory, reset_peak
from benchmarks.rows import csv_file, origin, write
from benchmarks.sizes import SETTINGS
from training.model.classifiers import FC, MixedSingleton
from training.model.losses import MixingRatio
from training.sampling.balanced import BalancedMixedLabels
from training.sampling.pair_sampler import PairSampler
from training.sampling.samplers import ClassAware, ClassBalanced, LabelOccurrence, Random

SAMPLERS: dict[str, Callable[..., PairSampler]] = {
    "random": Random,
    "cbs": ClassBalanced,
    "cas": ClassAware,
    "lom": LabelOccurrence,
    "bmls": BalancedMixedLabels,
    "bmls-all": lambda labels, **options: BalancedMixedLabels(labels, ordered=True, **options),
}
"""Samplers by their names in the CSV."""


class WrittenOut(FC):
    """MS with its K^2 class vectors as a (K^2, p) matrix, as its definition has it.

    Args:
        p: feature width.
        K: number of classes.
    """

    def loss(self, h: Tensor, a: Tensor, b: Tensor, lam: MixingRatio) -> Tensor:
        """Return the cross-entropy over all label pairs; the bias is left out.

        Args:
            h: (B, p) features.
            a: (B,) first classes.
            b: (B,) second classes.
            lam: mixing ratio.

        Returns:
            The mean loss.
        """
        W, K = self.class_vectors, len(self.class_vectors)
        weight = torch.as_tensor(lam, device=W.device)
        vectors = (weight * W[:, None] + (1 - weight) * W[None]).flatten(0, 1)
        return nn.functional.cross_entropy(h @ vectors.T, a * K + b)


CLASSIFIERS: dict[str, Callable[[int, int], FC]] = {
    "fc": FC,
    "ms": MixedSingleton,
    "ms-unordered": lambda p, K: MixedSingleton(p, K, unordered=True),
    "ms written out": WrittenOut,
}
"""Classifiers, made from feature width and number of classes, by their names in the CSV."""
FITS = 365
"""Largest number of classes for which the class vectors of all label pairs fit.

At width 2,048 they take 1.1 GB, and several times as much with gradients.
"""
GROWTH = (1000, 2000, 4000, 8142)
"""Numbers of classes at which classifiers are measured at one width."""
REPEATS = 7
"""Repeats of a measurement."""

Measured = dict[str, float]
"""The number of each quantity; quantities are named as in the CSV."""


def sampler_cost(name: str, kind: str) -> Measured:
    """Measure a sampler's epochs. Memory is that of the second epoch, with the sampler itself.

    Args:
        name: key of ``SETTINGS``.
        kind: key of ``SAMPLERS``.

    Returns:
        The number of each quantity.
    """
    setting = SETTINGS[name]
    labels = setting.labels
    sampler = SAMPLERS[kind](labels, batch=setting.batch)
    seconds = []
    for epoch in range(REPEATS):
        start = time.perf_counter()
        sampler.pairs(epoch)
        seconds.append(time.perf_counter() - start)
    tracemalloc.start()
    SAMPLERS[kind](labels, batch=setting.batch).pairs(1)
    measured = {"seconds an epoch": statistics.median(seconds), "peak MB": tracemalloc.get_traced_memory()[1] / 1e6}
    tracemalloc.stop()
    if isinstance(sampler, BalancedMixedLabels):
        P, N = sampler.P, len(labels)
        # A resume counts a cycle from its nearer end, so that an epoch in the middle takes longest.
        worst = min(range(setting.epochs), key=lambda epoch: abs(epoch * N % P - P // 2))
        resumed = SAMPLERS[kind](labels, batch=setting.batch)
        start = time.perf_counter()
        resumed.pairs(worst)
        measured |= {
            "label pairs": P,
            "epochs until every pair has occurred": math.ceil(P / N),
            "seconds after a resume": time.perf_counter() - start,
        }
    return measured


def classifier_steps(K: int, p: int, batch: int, kinds: tuple[str, ...]) -> dict[str, Measured]:
    """Measure forward and backward of classifiers, which take turns.

    Args:
        K: number of classes.
        p: feature width.
        batch: number of pairs.
        kinds: keys of ``CLASSIFIERS``.

    Returns:
        The number of each quantity, by kind.
    """
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    h = torch.randn(batch, p, generator=generator).relu().requires_grad_()
    a = torch.randint(K - 1, (batch,), generator=generator)
    classifiers = [CLASSIFIERS[kind](p, K) for kind in kinds]
    reset_peak()
    before = memory("VmRSS")
    seconds: list[list[float]] = [[] for _ in kinds]
    for _ in range(REPEATS if K >= 300 else 10 * REPEATS):
        for times, classifier in zip(seconds, classifiers, strict=True):
            start = time.perf_counter()
            classifier.loss(h, a, a + 1, torch.tensor(0.3)).backward()  # type: ignore[no-untyped-call]
            times.append(time.perf_counter() - start)
            classifier.zero_grad(set_to_none=True)
    peak = memory("VmHWM") - before
    return {
        kind: {"milliseconds a step": 1e3 * statistics.median(times), "peak MB": peak / 1e6}
        for kind, times in zip(kinds, seconds, strict=True)
    }


def network_cost(name: str) -> Measured:
    """Measure forward and backward of a data set's network on a small batch.

    Args:
        name: key of ``SETTINGS``.

    Returns:
        Milliseconds per image, and images in the batch.
    """
    torch.set_num_threads(1)
    setting = SETTINGS[name]
    images = min(setting.batch, 128 if setting.pixels == 32 else 4)
    network = setting.network().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.randn(images, 3, setting.pixels, setting.pixels).contiguous(memory_format=torch.channels_last)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16):
            features = network(x)
        features.float().square().mean().backward()
        seconds.append(time.perf_counter() - start)
    return {"milliseconds an image": 1e3 * statistics.median(seconds) / images, "images a batch": images}


def measurements() -> Iterator[tuple[str, str, Measured]]:
    """Measure everything. FC's and MS's times are taken in turn in one process.

    Yields:
        The data set or size, the sampler, classifier or network, and its numbers.
    """
    for name, setting in SETTINGS.items():
        for kind in SAMPLERS:
            yield name, kind, alone(sampler_cost, name, kind)
        yield from classifiers(name, setting.K, setting.p, setting.batch)
        yield name, "network", alone(network_cost, name)
    for K in GROWTH:
        yield from classifiers(f"K = {K}", K, 2048, 256)


def classifiers(on: str, K: int, p: int, batch: int) -> Iterator[tuple[str, str, Measured]]:
    """Measure the classifiers at one size.

    Args:
        on: name of the size in the CSV.
        K: number of classes.
        p: feature width.
        batch: number of pairs.

    Yields:
        The size, the classifier, and its numbers.
    """
    in_turn = alone(classifier_steps, K, p, batch, ("fc", "ms", "ms-unordered"))
    fc = in_turn["fc"]["milliseconds a step"]
    for kind in CLASSIFIERS:
        if kind in in_turn or K <= FITS:
            # Memory is that of the classifier alone; times are comparable when taken in turn.
            measured = alone(classifier_steps, K, p, batch, (kind,))[kind]
            measured["milliseconds a step"] = in_turn.get(kind, measured)["milliseconds a step"]
            yield on, kind, measured | {"time as a multiple of fc": measured["milliseconds a step"] / fc}
    yield on, "ms written out", {"GB of its class vectors, by arithmetic": 4.0 * K**2 * p / 1e9}


def main() -> None:
    """Run the command: measure, print, and write one row per number to ``--out``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale")
    parser.add_argument("--out", type=csv_file)
    options = parser.parse_args()
    shared = {"device": "cpu", "threads": 1, "torch": torch.__version__} | origin()
    rows = []
    for on, what, measured in measurements():
        for quantity, value in measured.items():
            rows.append({"on": on, "what": what, "quantity": quantity, "value": f"{value:.9g}", **shared})
            print(on, what, quantity, f"{value:.4g}", sep="\t", flush=True)
    write(options.out, rows)


if __name__ == "__main__":
    main()
