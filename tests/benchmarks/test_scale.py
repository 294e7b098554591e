"""Memory at iNaturalist 2018's size: 8,142 classes, 437,513 images, 33 million label pairs."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
import torch

from benchmarks.alone import memory, reset_peak
from tests.started import FORKS
from training.model.classifiers import MixedSingleton
from training.sampling.balanced import BalancedMixedLabels
from training.sampling.pair_sampler import PairSampler
from training.sampling.samplers import ClassAware

K, N, BATCH = 8142, 437_513, 256
FLOAT = 4


def labels(K: int, N: int = N) -> np.ndarray:
    """Return N labels: two images of each class, and the others by a long tail."""
    rest = (K * np.random.default_rng(0).random(N - 2 * K) ** 2).astype(int)
    return np.concatenate([np.arange(K), np.arange(K), rest])


def peak(do: Callable[..., object], *arguments: int) -> int:
    """Return the peak memory of NumPy and Python in bytes, beyond that before the call."""
    tracemalloc.start()
    try:
        do(*arguments)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("epoch", "ordered"), [(1, False), (1, True), pytest.param(37, False, marks=pytest.mark.heavy)]
)  # by 37, half of a cycle is counted, in memory of the same size
def test_an_epoch_of_bmls_takes_less_than_200_mb(epoch: int, ordered: bool) -> None:
    known = labels(K)
    assert peak(lambda: BalancedMixedLabels(known, ordered=ordered).pairs(epoch)) < 200e6


def test_memory_of_bmls_does_not_grow_with_the_number_of_label_pairs() -> None:
    few, many = (peak(BalancedMixedLabels(labels(k, 50_000)).pairs, 1) for k in (K // 4, K))
    assert many < 1.5 * few  # though there are sixteen times as many label pairs


@pytest.mark.heavy
@pytest.mark.parametrize("make", [BalancedMixedLabels, ClassAware])
def test_iterating_over_an_epoch_of_pairs_takes_less_than_200_mb(make: type[PairSampler]) -> None:
    sampler = make(labels(K), batch=BATCH)
    assert peak(lambda: sum(1 for _ in sampler)) < 200e6


@pytest.mark.heavy
def test_a_cycle_of_33_million_label_pairs_has_each_once() -> None:
    sampler = BalancedMixedLabels(labels(K), seed=2)
    seen = np.zeros(sampler.P, dtype=np.uint8)
    for epoch in range(75):
        a, b = sampler.label_pairs(epoch).T
        number = a * (2 * K - a - 1) // 2 + b - a - 1
        assert seen[number].max() == 0
        seen[number] = 1
    assert seen.sum() == 75 * N


def memory_of_a_step(p: int, unordered: bool) -> int:
    """How many bytes a step of mixed-singleton adds to the memory of a process that has done nothing else."""
    torch.set_num_threads(1)
    (torch.randn(64, 64, requires_grad=True) @ torch.randn(64, 64)).sum().backward()
    reset_peak()
    before = memory("VmRSS")
    classifier = MixedSingleton(p, K, unordered=unordered)
    h = torch.randn(BATCH, p, requires_grad=True)
    a = torch.randint(K - 1, (BATCH,))
    classifier.loss(h, a, a + 1, torch.tensor(0.3)).backward()
    return memory("VmHWM") - before


@pytest.mark.skipif(sys.platform != "linux", reason="a process's peak is read from /proc")
@pytest.mark.parametrize("unordered", [False, True])
@pytest.mark.parametrize("p", [64, 2048])
def test_a_step_of_mixed_singleton_takes_a_few_times_its_weights_and_logits(p: int, unordered: bool) -> None:
    with FORKS.Pool(1) as pool:
        taken = pool.apply(memory_of_a_step, (p, unordered))
    bound = FLOAT * (4 * p * K + 20 * BATCH * K) + 20e6
    assert 2 * FLOAT * p * K < taken < bound  # at least the weights and their gradient
    if p == 64:
        assert bound < FLOAT * K**2  # less than one number for each label pair
