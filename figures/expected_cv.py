"""The average coefficient of variation that a sampler has by its law, where there is a closed form. Needs no random numbers.

Every formula is for the frequencies of :mod:`figures.frequencies` (unordered label pairs), and exact but for the label pairs of
CAS, see :func:`class_aware`: the mean over labels of the square root of an epoch's variance, over the mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from figures.frequencies import possible
from training.config import RunConfig


class Classes(Protocol):
    """All that BMLS's law needs of a config."""

    @property
    def K(self) -> int: ...


Law = Callable[[int, int], np.ndarray]
"""(K, K): the chance that r given draws of an epoch are all of class a and s others all of class b."""


def closed_form(config: RunConfig, counts: np.ndarray, epochs: int) -> dict[str, float]:
    """Average CV by kind of label, for the config's sampler. counts: (K,) images of each class."""
    K, N = config.K, int(counts.sum())
    if config.sampler == "random":
        return {"label": 0.0, "label pair": permuted(without_replacement(counts), N, config)}
    if config.sampler == "cbs":
        return {"label": math.sqrt((K - 1) / N), "label pair": permuted(with_replacement(K), N, config)}
    if config.sampler == "lom":  # independent draws: an unordered pair has the chance 2 / K^2, and (a, a) 1 / K^2
        a, b = possible(config)
        chance = np.where(a == b, 1, 2) / K**2
        return {"label": math.sqrt((K - 1) / (2 * N)), "label pair": float(np.sqrt((1 / chance - 1) / N).mean())}
    form = {"cas": class_aware, "bmls": balanced, "coverage": covered}[config.sampler]
    return form(config, N, epochs)


def with_replacement(K: int) -> Law:
    """CBS: independent draws, each class equally likely."""
    return lambda r, s: np.full((K, K), float(K) ** -(r + s))


def without_replacement(counts: np.ndarray) -> Law:
    """Random: every image once."""

    def falling(n: np.ndarray, r: int) -> np.ndarray:
        return np.prod([n - i for i in range(r)], axis=0, dtype=float) * np.ones(n.shape)

    total = np.array([counts.sum()])
    return lambda r, s: np.outer(falling(counts, r), falling(counts, s)) / falling(total, r + s)


def permuted(law: Law, N: int, config: RunConfig) -> float:
    """Average CV of label pairs when mixup pairs the draws of each batch by a random permutation, fixed points included.

    With X_i whether draw i and its partner are the label pair, E (sum_i X_i)^2 is a sum over i, j of the chances of how i, j and
    their partners coincide. For a batch of B, with p_rs = law(r, s), and over two batches of B and B':

        a < b:  E S = 2(B-1) p_11            E S^2 = 2B p_11 + 2(B-2)(p_21 + p_12) + 4(B-2)(B-3) p_22
                                             E S S' = 4(B-1)(B'-1) p_22
        a = b:  E S = p_1 + (B-1) p_2        E S^2 = E S + 2 p_2 + 4(B-2) p_3 + (B-2)(B-3) p_4
                                             E S S' = p_2 + (B+B'-2) p_3 + (B-1)(B'-1) p_4
    """
    whole, last = divmod(N, config.batch)
    sizes = np.array([config.batch] * whole + [last] * (last > 0), dtype=float)
    B, n = sizes[sizes > 1], len(sizes)  # in a batch of one there is no j beside i
    rest, squared = (B - 1).sum(), ((B - 1) ** 2).sum()
    p = {(r, s): law(r, s) for r, s in ((1, 1), (2, 1), (1, 2), (2, 2))}
    q = [np.diag(law(r, 0)) for r in range(5)]
    mean = 2 * rest * p[1, 1]
    square = 2 * B.sum() * p[1, 1] + 2 * (B - 2).sum() * (p[2, 1] + p[1, 2])
    square += 4 * (((B - 2) * (B - 3)).sum() + rest**2 - squared) * p[2, 2]
    same = n * q[1] + rest * q[2]
    same_square = same + 2 * len(B) * q[2] + 4 * (B - 2).sum() * q[3] + ((B - 2) * (B - 3)).sum() * q[4]
    same_square += n * (n - 1) * q[2] + 2 * (n - 1) * rest * q[3] + (rest**2 - squared) * q[4]
    np.fill_diagonal(mean, same)
    np.fill_diagonal(square, same_square)
    here = possible(config)
    return float((np.sqrt(np.maximum(square - mean**2, 0)) / mean)[here].mean())


def class_aware(config: RunConfig, N: int, epochs: int) -> dict[str, float]:
    """CAS. Labels: an epoch takes a part of its first and of its last cycle, K visits of m images in random order; exact
    where an epoch is longer than a cycle. Label pairs: an approximation, as if every batch of B held each class B / K times, so
    that pairs are hypergeometric: (1 - 1/K) sqrt(K^2/N) for ordered ones.
    """
    K, m, B = config.K, config.cas_m, config.batch
    cut = _cut(N, K * m, epochs)
    variance = ((cut // m) * m**2 + (cut % m) ** 2) / K - (cut / K) ** 2
    a, b = possible(config)
    ordered = (1 - 1 / K) ** 2
    pair = K**2 / N * np.where(a == b, ordered, (ordered + 1 / K**2) / 2) * B / (B - 1)
    return {"label": math.sqrt(variance.sum(axis=0).mean()) * K / N, "label pair": float(np.sqrt(pair).mean())}


def balanced(config: Classes, N: int, epochs: int) -> dict[str, float]:
    """BMLS, a < b: an epoch takes a part of its first and of its last cycle, each of all P label pairs in its own order."""
    K, P = config.K, config.K * (config.K - 1) // 2
    cut = _cut(N, P, epochs)
    found = {}
    for kind, containing in (("label", K - 1), ("label pair", 1)):
        variance = _hypergeometric(P, containing, cut).sum(axis=0).mean()
        found[kind] = math.sqrt(variance) * P / (N * containing)
    return found


def covered(config: RunConfig, N: int, epochs: int) -> dict[str, float]:
    """Coverage: c random classes share M label pairs a < b, the others N - M of (a, a); counts of a part differ by at most 1."""
    from training.sampling.samplers import mixed_classes, mixed_pairs

    K, c, M = config.K, mixed_classes(config.coverage, config.K), mixed_pairs(config.coverage, config.K, N)
    square, sum_of_cvs, labels = 0.0, 0.0, 0
    # By part: classes, pairs drawn, label pairs, those with a given class, its images in one, label pairs that there can be.
    parts = ((c, M, c * (c - 1) // 2, c - 1, 1, K * (K - 1) // 2), (K - c, N - M, K - c, 1, 2, K))
    for classes, drawn, P, containing, images, every in (part for part in parts if part[0]):
        mean = images * drawn * containing / P
        square += classes / K * (images**2 * _hypergeometric(P, containing, drawn % P) + mean**2)
        inside = _hypergeometric(P, 1, drawn % P) * (P / drawn) ** 2
        sum_of_cvs, labels = sum_of_cvs + every * math.sqrt((1 + inside) * every / P - 1), labels + every
    mean = 2 * N / K
    return {"label": math.sqrt(max(square - mean**2, 0)) / mean, "label pair": sum_of_cvs / labels}


def _cut(N: int, length: int, epochs: int) -> np.ndarray:
    """How much of the cycles that they share with a neighbour do the epochs take, at their start and end: (2, epochs)."""
    first = np.minimum(-np.arange(epochs) * N % length, N)
    return np.stack([first, (N - first) % length])


def _hypergeometric(P: int, marked: int, drawn: Any) -> Any:
    """Variance of the number of marked ones among ``drawn`` of P without replacement."""
    share = marked / P
    return drawn * share * (1 - share) * (P - drawn) / max(P - 1, 1)
