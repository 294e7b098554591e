"""What the collapse law says of a finished run: its decay mu, the collapse number of each class, the spectrum of class vectors.

Under weight decay a group of equally treated classes keeps class vectors of its own where its collapse number c is above mu
squared. Needs no torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from training.config import RunConfig
from training.methods import SAMPLERS


def collapse_numbers(config: RunConfig, counts: np.ndarray) -> np.ndarray | None:
    """Compute the collapse number of each class, the second moment of its targets.

    s pi_k for random pairs, s / K for class-balanced ones, s times the mean of both images' shares of class k for two
    independent streams, s / K - (1 - s) / (K (K - 1)) for balanced label pairs a < b, with s = (alpha + 1) / (2 alpha + 1). Label
    weights (as they are in the last epoch) and factors of logits multiply it by their square. Logit adjustment, a bias and
    mixed-singleton over all K^2 label pairs leave it as it is.

    Args:
        config: the run.
        counts: (K,) training images of each class.

    Returns:
        (K,), or None where the law has no number for the sampler, the mixing, the classifier, the loss or the branches.
    """
    sampler, K = SAMPLERS[config.sampler], len(counts)
    pi, drawn = counts / counts.sum(), label_shares(config, counts)
    s = (config.alpha + 1) / (2 * config.alpha + 1)
    known = {"fc": ("ce", "la", "cw", "vs", "cdt"), "ms": ("ce",)}
    # Fixed directions cannot merge; with label pairs a < b as classes the order sets classes apart.
    if (
        config.branches != "none"
        or config.mixing != "mixup"
        or drawn is None
        or config.loss not in known.get(config.classifier, ())
    ):
        return None
    numbers = s * drawn
    if sampler.draws == "a < b":
        numbers = numbers - (1 - s) / (K * (K - 1))
    if config.loss == "cw":
        return numbers / (K * pi) ** 2
    if config.loss in ("vs", "cdt"):
        frequencies = drawn if config.prior == "stream" else counts
        numbers = numbers * (frequencies / frequencies.max()) ** (2 * config.vs_gamma)
    return numbers * _label_weights(config, counts, drawn) ** 2


def label_shares(config: RunConfig, counts: np.ndarray) -> np.ndarray | None:
    """How often the stream of training labels has each class, where both images of a pair have half of the label on average.

    Args:
        config: the run.
        counts: (K,) training images of each class.

    Returns:
        (K,) with sum 1, or None for a sampler, a mixing law or branches whose labels are not known here, or that change during
        the run.
    """
    classes, pi = SAMPLERS[config.sampler].classes, counts / counts.sum()
    even = ("mixup", "manifold") if config.sampler == "bilateral" else ("mixup", "manifold", "cutmix")
    if config.branches != "none" or config.mixing not in even or config.sampler_from:
        return None
    if classes != "other":
        return pi if classes == "as they are" else np.full(len(counts), 1 / len(counts))
    if config.sampler == "bilateral":
        return (
            0.5 * (pi + _power(counts, config.second_power)) if config.alpha else pi
        )  # without mixing first images alone
    return _power(counts, config.pair_power) if config.sampler == "tempered" else None


def _power(counts: np.ndarray, power: float) -> np.ndarray:
    """Classes in proportion to a power of their counts."""
    powers = counts.astype(float) ** power
    return powers / powers.sum()


def _label_weights(config: RunConfig, counts: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """(K,) weights of labels in the last epoch. drawn: how often training draws a label of each class, (K,)."""
    if config.class_weights == "none":
        return np.ones(len(counts))
    weights = 1 / counts if config.class_weights == "inverse" else 1 / (1 - config.beta ** counts.astype(float))
    return weights / (drawn @ weights if config.weight_normalisation == "weights" else weights.mean())


def decay(config: RunConfig, vectors: np.ndarray, squared_length: float) -> float:
    """Find the decay mu that the class vectors and classifier inputs of a run are under.

    With penalties on both it is sqrt(l_W l_H), as chosen. Else l_H is not known. At a minimum the two penalties are equal,
    l_W |W|^2 = l_H mean |h|^2, so that mu = l_W |W| / sqrt(mean |h|^2).

    Args:
        config: the run.
        vectors: (K, p) class vectors.
        squared_length: mean squared length of the classifier inputs of mixed training images, from their mean where there is
            a bias.

    Returns:
        mu; NaN where all inputs are equal.
    """
    l_W = config.classifier_decay or config.weight_decay
    if config.feature_decay:
        return math.sqrt(l_W * config.feature_decay)
    return l_W * float(np.linalg.norm(vectors)) / math.sqrt(squared_length) if squared_length > 0 else math.nan


def mean_squared_length(
    config: RunConfig, geometry: Mapping[str, np.ndarray], drawn: np.ndarray | None, counts: np.ndarray
) -> float:
    """The mean squared length of the classifier inputs, from their mean where there is a bias.

    Args:
        config: the run.
        geometry: what :func:`training.run.measurement.measured` stored.
        drawn: (K, K) how often each label pair was drawn; None above 1000 classes.
        counts: (K,) training images of each class.

    Returns:
        The mean over label pairs as they were drawn. Where label pairs are not measured, as above 100 classes, that of the class
        means, which is lower.
    """
    if "pair_squares" in geometry and drawn is not None:
        squares, means = geometry["pair_squares"].astype(float), geometry["pair_means"].astype(float)
        weights = np.broadcast_to(drawn / drawn.sum() / len(squares), squares.shape)
    else:
        means, weights = geometry["class_means"].astype(float), counts / counts.sum()
        squares = (means**2).sum(axis=-1)
    common = np.tensordot(weights, means, axes=weights.ndim)
    centred = config.bias or config.feature_decay_centred
    return float((weights * squares).sum() - (common @ common) * centred)


def singular_values(vectors: np.ndarray) -> np.ndarray:
    """The singular values of class vectors, centred over their classes.

    Args:
        vectors: (n, p) class vectors of some or all classes.

    Returns:
        The n - 1 largest, falling. Zeros say how many directions have collapsed.
    """
    n = len(vectors)
    values: np.ndarray = np.linalg.svd(vectors.astype(float) - vectors.mean(axis=0, dtype=float), compute_uv=False)
    return np.pad(values, (0, n))[: n - 1]
