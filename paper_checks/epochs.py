"""Label-pair counts of simulated epochs, and how much they vary: samplers as their papers define them, in NumPy."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

BATCH = 128
EPOCHS = 40


def cbs(n: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Labels of one epoch of the class-balanced sampler: N draws with replacement, each class equally likely."""
    return rng.integers(0, len(n), int(n.sum()))


def cas(n: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Labels of one epoch of the class-aware sampler: shuffled cycles through the classes."""
    cycles = -(-int(n.sum()) // len(n))
    return np.concatenate([rng.permutation(len(n)) for _ in range(cycles)])[: int(n.sum())]


def mixup_counts(labels: np.ndarray, K: int, rng: np.random.Generator) -> np.ndarray:
    """Label-pair counts (K, K) of one epoch when mixup permutes each batch of ``BATCH``."""
    partner = np.concatenate([rng.permutation(labels[i : i + BATCH]) for i in range(0, len(labels), BATCH)])
    return np.bincount(labels * K + partner, minlength=K * K).reshape(K, K)


def bmls_counts(N: int, K: int, epoch: int) -> np.ndarray:
    """Label-pair counts (K, K) of one epoch when the N pairs run cyclically through all K^2 label pairs."""
    counts = np.full(K * K, N // (K * K))
    rest = N % (K * K)
    counts[(np.arange(rest) + epoch * rest) % (K * K)] += 1
    return counts.reshape(K, K)


def bmls_batches(N: int, K: int, epoch: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Label pairs (2, BATCH) of an epoch's whole batches when N shuffled pairs run cyclically through the label pairs a < b."""
    order = np.stack(np.triu_indices(K, 1))
    drawn = order[:, rng.permutation((epoch * N + np.arange(N)) % order.shape[1])]
    for start in range(0, N - BATCH + 1, BATCH):
        yield drawn[:, start : start + BATCH]


def epochs(sampler: str, n: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Label-pair counts (EPOCHS, K, K)."""
    K, N = len(n), int(n.sum())
    if sampler == "BMLS":
        return np.stack([bmls_counts(N, K, e) for e in range(EPOCHS)])
    if sampler == "LOM":
        return np.stack(
            [np.bincount(cbs(n, rng) * K + cbs(n, rng), minlength=K * K).reshape(K, K) for _ in range(EPOCHS)]
        )
    draw = {"CBS": cbs, "CAS": cas}[sampler]
    return np.stack([mixup_counts(draw(n, rng), K, rng) for _ in range(EPOCHS)])


def average_cv(counts: np.ndarray) -> float:
    """The paper's average coefficient of variation: mean over labels of std / mean over epochs; counts (epochs, ...)."""
    mean = counts.mean(axis=0)
    return float((counts.std(axis=0)[mean > 0] / mean[mean > 0]).mean())


def multinomial_cv(N: int, P: int) -> float:
    """sqrt((1 - 1/P) P / N): the coefficient of variation of one of P equally likely outcomes of N draws."""
    return math.sqrt((1 - 1 / P) * P / N)


def cyclic_cv(N: int, P: int) -> float:
    """sqrt(f (1 - f)) P / N, f = N/P - floor(N/P): that of counts that differ by at most one."""
    f = N / P - N // P
    return math.sqrt(f * (1 - f)) * P / N
