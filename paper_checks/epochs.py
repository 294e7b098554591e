"""Label-pair counts of simulated epochs and how much they vary, for samplers as their papers define them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

BATCH = 128
"""Images in a batch, as in the paper's CIFAR recipe."""

EPOCHS = 40
"""Epochs that are simulated."""


def cbs(n: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw one epoch of the class-balanced sampler: with replacement, each class equally likely.

    Source: Kang et al. 2020.

    Args:
        n: class counts (K,); their sum N is the number of draws.
        rng: generator.

    Returns:
        Labels (N,).
    """
    return rng.integers(0, len(n), int(n.sum()))


def cas(n: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw one epoch of the class-aware sampler: cycles through all classes, each in a new random order.

    Source: Shen and Lin 2016.

    Args:
        n: class counts (K,); their sum N is the number of draws.
        rng: generator.

    Returns:
        Labels (N,).
    """
    cycles = -(-int(n.sum()) // len(n))
    return np.concatenate([rng.permutation(len(n)) for _ in range(cycles)])[: int(n.sum())]


def random(n: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw one epoch of the random sampler: every image once.

    Args:
        n: class counts (K,); their sum N is the number of draws.
        rng: generator.

    Returns:
        Labels (N,).
    """
    return rng.permutation(np.repeat(np.arange(len(n)), n))


DRAWS = {"random": random, "CBS": cbs, "CAS": cas}
"""The samplers that draw single images, as functions of the class counts (K,) and a generator."""


def mixup_counts(labels: np.ndarray, K: int, rng: np.random.Generator) -> np.ndarray:
    """Count the label pairs of one epoch in which mixup permutes each batch of ``BATCH``.

    Args:
        labels: labels (N,) in the order of the epoch.
        K: number of classes.
        rng: generator of the permutations.

    Returns:
        Counts (K, K) of the pairs (label, label of the partner).
    """
    partner = np.concatenate([rng.permutation(labels[i : i + BATCH]) for i in range(0, len(labels), BATCH)])
    return np.bincount(labels * K + partner, minlength=K * K).reshape(K, K)


def bmls_counts(N: int, K: int, epoch: int) -> np.ndarray:
    """Count the label pairs of one epoch of BMLS, whose N pairs go through all K^2 label pairs in cycles.

    Args:
        N: pairs in an epoch.
        K: number of classes.
        epoch: index of the epoch from 0; each goes on where the last one ended.

    Returns:
        Counts (K, K).
    """
    counts = np.full(K * K, N // (K * K))
    rest = N % (K * K)
    counts[(np.arange(rest) + epoch * rest) % (K * K)] += 1
    return counts.reshape(K, K)


def bmls_batches(N: int, K: int, epoch: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Draw the batches of one epoch of BMLS on the label pairs a < b: cycles through them, then shuffled.

    Args:
        N: pairs in an epoch.
        K: number of classes.
        epoch: index of the epoch from 0.
        rng: generator of the shuffle.

    Yields:
        Label pairs (2, BATCH) of each whole batch.
    """
    order = np.stack(np.triu_indices(K, 1))
    drawn = order[:, rng.permutation((epoch * N + np.arange(N)) % order.shape[1])]
    for start in range(0, N - BATCH + 1, BATCH):
        yield drawn[:, start : start + BATCH]


def epochs(sampler: str, n: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Count the label pairs of ``EPOCHS`` simulated epochs.

    Args:
        sampler: 'random', 'CBS', 'CAS', 'LOM' or 'BMLS'. LOM draws both labels of a pair class-balanced (Zhang et al. 2022).
        n: class counts (K,); their sum is the number of pairs in an epoch.
        rng: generator.

    Returns:
        Counts (EPOCHS, K, K).
    """
    K, N = len(n), int(n.sum())
    if sampler == "BMLS":
        return np.stack([bmls_counts(N, K, e) for e in range(EPOCHS)])
    if sampler == "LOM":
        return np.stack(
            [np.bincount(cbs(n, rng) * K + cbs(n, rng), minlength=K * K).reshape(K, K) for _ in range(EPOCHS)]
        )
    return np.stack([mixup_counts(DRAWS[sampler](n, rng), K, rng) for _ in range(EPOCHS)])


def average_cv(counts: np.ndarray) -> float:
    """Compute the paper's average coefficient of variation (CV): the mean over labels of std / mean over epochs.

    Args:
        counts: counts (epochs, ...) of labels or label pairs; those that never occur are left out.

    Returns:
        The average CV.
    """
    mean = counts.mean(axis=0)
    return float((counts.std(axis=0)[mean > 0] / mean[mean > 0]).mean())


def multinomial_cv(N: int, P: int) -> float:
    """Compute the CV of the count of one outcome in independent draws: sqrt((1 - 1/P) P / N).

    Args:
        N: number of draws.
        P: number of equally likely outcomes.

    Returns:
        Standard deviation over mean of the count.
    """
    return math.sqrt((1 - 1 / P) * P / N)


def cyclic_cv(N: int, P: int) -> float:
    """Compute the CV of counts that differ by at most one: sqrt(f (1 - f)) P / N, f = N/P - floor(N/P).

    Args:
        N: number of draws.
        P: number of outcomes, drawn in cycles.

    Returns:
        Standard deviation over mean of the count, the least possible one.
    """
    f = N / P - N // P
    return math.sqrt(f * (1 - f)) * P / N
