"""How often the stream of a run's training labels has each class: the prior that a loss corrects for.

q_k = E[w 1(a = k) + (1 - w) 1(b = k)] with the label pairs (a, b) that the sampler draws and the label weight w of the mixing
law. The expected w depends on the counts of both classes alone (:mod:`training.batches.mean_weights`). So classes of equal
counts are summed together, and 8,142 classes are no trouble.

Each function below is the label law of a sampler, named in its row of :data:`training.methods.SAMPLERS`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lpm.console.errors import InvalidInput
from training.config import RunConfig
from training.methods import BRANCHES, LAWS, SAMPLERS, function
from training.sampling.balanced import mixed_pairs
from training.sampling.two_laws import power_law


def label_frequencies(config: RunConfig, counts: np.ndarray, branch: int = 0) -> np.ndarray:
    """Compute the frequencies of the labels that a run trains on, each label with its weight.

    For random pairs under mixup they are n_k / N exactly, for balanced samplers 1 / K. Where partners are drawn from the batch
    with weights, a batch counts as a batch of all images: an error of the order of 1 / batch.

    Args:
        config: the run.
        counts: (K,) training images of each class.
        branch: number of the branch, for networks with two; each has a share of its own for the first image's label.

    Returns:
        (K,) float64, with sum 1.

    Raises:
        InvalidInput: if the row of the sampler or of the mixing law does not say how often it shows each class.
    """
    row, n = SAMPLERS[config.sampler], np.asarray(counts)
    if not row.label_law:
        raise InvalidInput(f"it is not known how often sampler {config.sampler!r} draws each class; take --prior data")
    sizes, groups = np.unique(n, return_inverse=True)
    law = LAWS[config.mixing]
    if not law.mean:
        raise InvalidInput(f"it is not known how often mixing {config.mixing!r} shows each class; take --prior data")
    mean = function(law.mean)(config, sizes[:, None], sizes[None, :], **law.chosen(config))
    if share := BRANCHES[config.branches].share:
        mean = np.full_like(mean, function(share)(config, branch))
    q: np.ndarray = function(row.label_law)(config, n, LabelWeights(mean, groups))
    return q


@dataclass(frozen=True)
class LabelWeights:
    """The expected label weight of the first image, by the counts of both classes.

    Attributes:
        mean: (G, G), by the groups of equal counts of the first and of the second class.
        groups: (K,) group of each class.
    """

    mean: np.ndarray
    groups: np.ndarray

    def of_sides(self, first: np.ndarray, second: np.ndarray, apart: float = 1.0) -> np.ndarray:
        """Compute label frequencies where a is drawn by one law and b by another.

        Args:
            first: (K,) probabilities of a.
            second: (K,) probabilities of b.
            apart: P(a = k, b = l) = apart first_k second_l for any two classes; the rest are pairs of one class.

        Returns:
            (K,).
        """
        if np.ptp(self.mean) == 0:  # exact, where sums of products would round
            weight = self.mean.flat[0]
            return first if np.array_equal(first, second) else weight * first + (1 - weight) * second
        g, G = self.groups, len(self.mean)
        masses = [np.bincount(g, p, minlength=G) for p in (first, second)]
        own = np.diag(self.mean)[g]
        as_first = first * ((self.mean @ masses[1])[g] - second * own)
        as_second = second * ((masses[0] @ (1 - self.mean))[g] - first * (1 - own))
        of_one_class = first - apart * first * (1 - second)  # what both sides' laws leave; either label is the same
        q: np.ndarray = of_one_class + apart * (as_first + as_second)
        return q / q.sum()

    def of_ordered_pairs(self) -> np.ndarray:
        """Compute label frequencies where all label pairs a < b are equally likely.

        Returns:
            (K,).
        """
        g, K = self.groups, len(self.groups)
        of_group = np.eye(len(self.mean))[g]
        before = np.cumsum(of_group, axis=0) - of_group  # (K, G): classes of each group with lower numbers
        after = of_group.sum(axis=0) - before - of_group
        q: np.ndarray = (after * self.mean[g]).sum(axis=1) + (before * (1 - self.mean[:, g].T)).sum(axis=1)
        return q / (K * (K - 1) / 2)

    def either_side_first(self) -> LabelWeights:
        """The weights where the sides of half of the pairs are exchanged."""
        return LabelWeights((self.mean + 1 - self.mean.T) / 2, self.groups)


def _apart(config: RunConfig, N: int) -> float:
    """Probability that a random permutation of the batch gives an image a partner other than itself."""
    return 1 - math.ceil(N / config.batch) / N


def as_they_are(config: RunConfig, counts: np.ndarray, weights: LabelWeights) -> np.ndarray:
    """The label law of random images, each once, with partners by a permutation of the batch.

    Args:
        config: the run.
        counts: (K,) images of each class.
        weights: label weights of the mixing law.

    Returns:
        (K,) frequencies.
    """
    N = int(counts.sum())
    pi = counts / counts.sum()
    return weights.of_sides(pi, pi, _apart(config, N) * N / max(N - 1, 1))  # two images, drawn without replacement


def balanced(config: RunConfig, counts: np.ndarray, weights: LabelWeights) -> np.ndarray:
    """The label law of class-balanced images with partners by a permutation of the batch.

    Args:
        config: the run.
        counts: (K,) images of each class.
        weights: label weights of the mixing law.

    Returns:
        (K,) frequencies.
    """
    even = np.full(len(counts), 1 / len(counts))
    return weights.of_sides(even, even, _apart(config, int(counts.sum())))


def balanced_pairs(config: RunConfig, counts: np.ndarray, weights: LabelWeights) -> np.ndarray:
    """The label law of all K^2 label pairs, equally often.

    Args:
        config: the run.
        counts: (K,) images of each class.
        weights: label weights of the mixing law.

    Returns:
        (K,) frequencies.
    """
    even = np.full(len(counts), 1 / len(counts))
    return weights.of_sides(even, even)


def ordered_pairs(config: RunConfig, counts: np.ndarray, weights: LabelWeights) -> np.ndarray:
    """The label law of the label pairs a < b, equally often; under boxes the sides of half of them are exchanged.

    Args:
        config: the run.
        counts: (K,) images of each class.
        weights: label weights of the mixing law.

    Returns:
        (K,) frequencies.
    """
    if not config.alpha:
        return weights.of_ordered_pairs()
    if LAWS[config.mixing].boxes:
        weights = weights.either_side_first()
    if np.all(weights.mean == 0.5):
        return np.full(len(counts), 1 / len(counts))  # exact
    return weights.of_ordered_pairs()


def covered(config: RunConfig, counts: np.ndarray, weights: LabelWeights) -> np.ndarray:
    """The label law of Figure 3's sampler: label pairs a < b of some classes, and pairs of one class.

    Args:
        config: the run.
        counts: (K,) images of each class.
        weights: label weights of the mixing law.

    Returns:
        (K,) frequencies.
    """
    K, N = len(counts), int(counts.sum())
    share = mixed_pairs(config.coverage, K, N) / N
    return share * ordered_pairs(config, counts, weights) + (1 - share) / K


def bilateral(config: RunConfig, counts: np.ndarray, weights: LabelWeights) -> np.ndarray:
    """The label law of first images as they are and second ones of a stream with a class law of its own.

    Args:
        config: the run.
        counts: (K,) images of each class.
        weights: label weights of the mixing law.

    Returns:
        (K,) frequencies.
    """
    second = power_law(counts, config.second_power)
    return weights.of_sides(counts / counts.sum(), second / second.sum())


def tempered(config: RunConfig, counts: np.ndarray, weights: LabelWeights) -> np.ndarray:
    """The label law of two independent streams whose classes have a power law of their counts.

    Args:
        config: the run.
        counts: (K,) images of each class.
        weights: label weights of the mixing law.

    Returns:
        (K,) frequencies.
    """
    law = power_law(counts, config.pair_power)
    law /= law.sum()
    return weights.of_sides(law, law)


def weighted_partners(config: RunConfig, counts: np.ndarray, weights: LabelWeights) -> np.ndarray:
    """The label law of images with partners from the batch that are drawn with weights.

    Args:
        config: the run.
        counts: (K,) images of each class.
        weights: label weights of the mixing law.

    Returns:
        (K,) frequencies, with the class law of a partner as in a batch of all images.
    """
    second = counts * power_law(counts, config.partner_power)
    return weights.of_sides(counts / counts.sum(), second / second.sum())
