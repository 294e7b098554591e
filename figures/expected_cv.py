"""The average coefficient of variation (CV) of a sampler by its law, in closed form. Needs no random numbers.

Every formula is for the frequencies of :mod:`figures.frequencies` (unordered label pairs): the mean over labels of the
square root of an epoch's variance, over the mean. Every formula is exact, except that for the label pairs of CAS, see
:func:`class_aware`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from figures.frequencies import possible
from training.config import RunConfig


class Classes(Protocol):
    """The part of a config that BMLS's law needs.

    Attributes:
        K: number of classes.
    """

    @property
    def K(self) -> int:
        """Number of classes."""


Law = Callable[[int, int], np.ndarray]
"""From r and s: the chance (K, K) that r given draws of an epoch are all of class a and s others all of class b."""


def closed_form(config: RunConfig, counts: np.ndarray, epochs: int) -> dict[str, float]:
    """Return the average CV of a config's sampler.

    Args:
        config: the run.
        counts: (K,) number of images of each class.
        epochs: number of epochs over which the CV is taken.

    Returns:
        The average CV by kind of label.
    """
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
    """Return the law of CBS: independent draws, each class equally likely.

    Args:
        K: number of classes.

    Returns:
        The law.
    """
    return lambda r, s: np.full((K, K), float(K) ** -(r + s))


def without_replacement(counts: np.ndarray) -> Law:
    """Return the law of random sampling: every image once.

    Args:
        counts: (K,) number of images of each class.

    Returns:
        The law.
    """

    def falling(n: np.ndarray, r: int) -> np.ndarray:
        """Return n (n - 1) ... (n - r + 1)."""
        return np.prod([n - i for i in range(r)], axis=0, dtype=float) * np.ones(n.shape)

    total = np.array([counts.sum()])
    return lambda r, s: np.outer(falling(counts, r), falling(counts, s)) / falling(total, r + s)


def permuted(law: Law, N: int, config: RunConfig) -> float:
    """Return the average CV of label pairs when mixup permutes each batch at random, fixed points included.

    Let X_i say whether draw i and its partner are the label pair. Then E (sum_i X_i)^2 is a sum over i, j of the
    chances of how i, j and their partners coincide. For a batch of B, with p_rs = law(r, s), and over two batches of B
    and B':

        a < b:  E S = 2(B-1) p_11            E S^2 = 2B p_11 + 2(B-2)(p_21 + p_12) + 4(B-2)(B-3) p_22
                                             E S S' = 4(B-1)(B'-1) p_22
        a = b:  E S = p_1 + (B-1) p_2        E S^2 = E S + 2 p_2 + 4(B-2) p_3 + (B-2)(B-3) p_4
                                             E S S' = p_2 + (B+B'-2) p_3 + (B-1)(B'-1) p_4

    Args:
        law: chances of the classes of draws.
        N: number of draws in an epoch.
        config: the run; its batch is the number of draws that are permuted together.

    Returns:
        The average CV of label pairs.
    """
    full_batches, last = divmod(N, config.batch)
    sizes = np.array([config.batch] * full_batches + [last] * (last > 0), dtype=float)
    B, n = sizes[sizes > 1], len(sizes)  # in a batch of one there is no j beside i
    partners, partners_squared = (B - 1).sum(), ((B - 1) ** 2).sum()
    p = {(r, s): law(r, s) for r, s in ((1, 1), (2, 1), (1, 2), (2, 2))}
    q = [np.diag(law(r, 0)) for r in range(5)]  # p_r of the docstring
    # Sums over all batches and all pairs of batches: (sum (B-1))^2 - sum (B-1)^2 is the sum over different batches.
    mean = 2 * partners * p[1, 1]
    square = 2 * B.sum() * p[1, 1] + 2 * (B - 2).sum() * (p[2, 1] + p[1, 2])
    square += 4 * (((B - 2) * (B - 3)).sum() + partners**2 - partners_squared) * p[2, 2]
    same_mean = n * q[1] + partners * q[2]
    same_square = same_mean + 2 * len(B) * q[2] + 4 * (B - 2).sum() * q[3] + ((B - 2) * (B - 3)).sum() * q[4]
    same_square += n * (n - 1) * q[2] + 2 * (n - 1) * partners * q[3] + (partners**2 - partners_squared) * q[4]
    np.fill_diagonal(mean, same_mean)
    np.fill_diagonal(square, same_square)
    pairs = possible(config)
    return float((np.sqrt(np.maximum(square - mean**2, 0)) / mean)[pairs].mean())


def class_aware(config: RunConfig, N: int, epochs: int) -> dict[str, float]:
    """Return the average CV of CAS.

    Labels: an epoch takes a part of its first and of its last cycle, each of K visits of m images in random order. This
    is exact where an epoch is longer than a cycle. Label pairs are an approximation, as if every batch of B held each
    class B / K times. Pairs are hypergeometric then: (1 - 1/K) sqrt(K^2/N) for ordered ones.

    Args:
        config: the run.
        N: number of pairs in an epoch.
        epochs: number of epochs over which the CV is taken.

    Returns:
        The average CV by kind of label.
    """
    K, m, B = config.K, config.cas_m, config.batch
    cut = _cut(N, K * m, epochs)
    # In a part of `cut` draws, cut // m classes have m draws and one class has cut % m.
    variance = ((cut // m) * m**2 + (cut % m) ** 2) / K - (cut / K) ** 2
    a, b = possible(config)
    ordered = (1 - 1 / K) ** 2
    pair = K**2 / N * np.where(a == b, ordered, (ordered + 1 / K**2) / 2) * B / (B - 1)
    return {"label": math.sqrt(variance.sum(axis=0).mean()) * K / N, "label pair": float(np.sqrt(pair).mean())}


def balanced(config: Classes, N: int, epochs: int) -> dict[str, float]:
    """Return the average CV of BMLS with label pairs a < b.

    An epoch takes a part of its first and of its last cycle, each of all P label pairs in its own order.

    Args:
        config: the number of classes.
        N: number of pairs in an epoch.
        epochs: number of epochs over which the CV is taken.

    Returns:
        The average CV by kind of label.
    """
    K, P = config.K, config.K * (config.K - 1) // 2
    cut = _cut(N, P, epochs)
    average_cv = {}
    for kind, containing in (("label", K - 1), ("label pair", 1)):
        variance = _hypergeometric(P, containing, cut).sum(axis=0).mean()
        average_cv[kind] = math.sqrt(variance) * P / (N * containing)
    return average_cv


@dataclass(frozen=True, kw_only=True)
class _Part:
    """The mixed classes of an epoch of coverage sampling, or the others.

    Attributes:
        classes: number of classes.
        pairs: number of pairs drawn.
        label_pairs: number of label pairs among these classes.
        with_a_class: number of them that contain a given class of the part.
        images: number of sides of such a label pair that the class takes.
        possible: number of label pairs of this kind among all K classes.
    """

    classes: int
    pairs: int
    label_pairs: int
    with_a_class: int
    images: int
    possible: int


def covered(config: RunConfig, N: int, epochs: int) -> dict[str, float]:
    """Return the average CV of coverage sampling.

    In each epoch c random classes share M label pairs a < b, and the other classes N - M pairs (a, a). Within each of
    the two parts, counts differ by at most 1.

    Args:
        config: the run.
        N: number of pairs in an epoch.
        epochs: number of epochs; it has no effect, because epochs are independent.

    Returns:
        The average CV by kind of label.
    """
    from training.sampling.balanced import mixed_classes, mixed_pairs  # brings torch

    K, c, M = config.K, mixed_classes(config.coverage, config.K), mixed_pairs(config.coverage, config.K, N)
    mixed = _Part(
        classes=c,
        pairs=M,
        label_pairs=c * (c - 1) // 2,
        with_a_class=c - 1,
        images=1,
        possible=K * (K - 1) // 2,
    )
    unmixed = _Part(classes=K - c, pairs=N - M, label_pairs=K - c, with_a_class=1, images=2, possible=K)
    square, sum_of_cvs, labels = 0.0, 0.0, 0
    for part in (mixed, unmixed):
        if part.classes == 0:
            continue
        P, extra = part.label_pairs, part.pairs % part.label_pairs  # `extra` label pairs occur once more
        mean = part.images * part.pairs * part.with_a_class / P
        variance = part.images**2 * _hypergeometric(P, part.with_a_class, extra)
        square += part.classes / K * (variance + mean**2)
        # A label pair is in the part with the chance P / possible; inside, its count varies by the extra ones.
        inside = _hypergeometric(P, 1, extra) * (P / part.pairs) ** 2
        sum_of_cvs += part.possible * math.sqrt((1 + inside) * part.possible / P - 1)
        labels += part.possible
    mean = 2 * N / K
    return {"label": math.sqrt(max(square - mean**2, 0)) / mean, "label pair": sum_of_cvs / labels}


def _cut(N: int, length: int, epochs: int) -> np.ndarray:
    """Return how much of a cycle shared with a neighbour each epoch takes, at its start and at its end: (2, epochs)."""
    first = np.minimum(-np.arange(epochs) * N % length, N)
    return np.stack([first, (N - first) % length])


def _hypergeometric(P: int, marked: int, drawn: Any) -> Any:
    """Return the variance of the number of marked ones among ``drawn`` of P without replacement."""
    share = marked / P
    return drawn * share * (1 - share) * (P - drawn) / max(P - 1, 1)
