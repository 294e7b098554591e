"""How sure accuracies and their differences are: intervals over seeds and test images together. Needs no torch.

Two things could have been others: the seeds of the runs, and the images that the test set happens to hold. Let x_si be 1
where the run of seed s predicts test image i right, and w_i the image's share of the accuracy. The accuracy is the mean over
the S seeds of sum_i w_i x_si. Its variance is estimated as

    V = s^2 / S  +  sum_k W_k^2 s_k^2 / n_k,

with s^2 the variance of the accuracy over the seeds, and s_k^2 the variance of the seeds' mean of x_si over the n_k images
of stratum k, whose shares sum to W_k. The strata of a mean over classes are these classes; those of the accuracy over all
images are one stratum. For two methods V has both s^2 / S, and s_k^2 is that of the difference on the same images. The noise
of single predictions is in both terms, so V is a little too large.

Where all images are right, s_k^2 would be 0. Four images, two of them right, are therefore added to the strata in equal
parts before s_k^2 is computed (Agresti and Coull 1998); for a difference these are two images, one that each method alone
has right (Agresti and Min 2005). Intervals and p are those of Student's t, with the degrees of freedom of Welch and
Satterthwaite (1946). With one seed, s^2 is unknown and left out: then they are of that seed's networks alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95
"""Probability of the intervals."""


@dataclass(frozen=True)
class Estimate:
    """A number with its interval. All are NaN where they do not exist.

    Attributes:
        value: an accuracy, or the difference of two, in per cent.
        low: lower end of the interval.
        high: upper end.
        p: two-sided p-value of the value 0.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan


@dataclass(frozen=True)
class Shares:
    """How much each test image counts for an accuracy.

    Attributes:
        images: (m,) numbers of the images that count.
        weights: (m,) their shares, which sum to 1.
        strata: (m,) number of the stratum of each, from 0.
    """

    images: np.ndarray
    weights: np.ndarray
    strata: np.ndarray


def of_all(labels: np.ndarray) -> Shares:
    """The shares of the accuracy over all images.

    Args:
        labels: (n,) classes of the test images.

    Returns:
        Equal shares, one stratum.
    """
    n = len(labels)
    return Shares(np.arange(n), np.full(n, 1 / n), np.zeros(n, int))


def of_classes(labels: np.ndarray, first: int, last: int) -> Shares:
    """The shares of the mean recall of some classes.

    Args:
        labels: (n,) classes of the test images.
        first: the first class.
        last: the last class, included; at least one of them has images.

    Returns:
        Each class has the same share, divided among its images; classes without images are left out.
    """
    images = np.flatnonzero((labels >= first) & (labels <= last))
    classes, strata, counts = np.unique(labels[images], return_inverse=True, return_counts=True)
    return Shares(images, 1 / (len(classes) * counts[strata]), strata)


def accuracy(right: np.ndarray, shares: Shares) -> Estimate:
    """Estimate an accuracy.

    Args:
        right: (S, n) whether each run predicts each test image right.
        shares: how much each image counts.

    Returns:
        The accuracy with its interval, which is cut at 0 and 100; its p is NaN.
    """
    x = right[:, shares.images].astype(float)
    low_high = _estimate(x.mean(axis=0), [x], shares, extra=np.array([0.0, 0.0, 1.0, 1.0]))
    return Estimate(low_high.value, max(0.0, low_high.low), min(100.0, low_high.high))


def difference(first: np.ndarray, second: np.ndarray, shares: Shares) -> Estimate:
    """Estimate the difference of two methods' accuracies on the same test images.

    Args:
        first: (S, n) whether each run of the first method predicts each test image right.
        second: (T, n) the same for the second method.
        shares: how much each image counts.

    Returns:
        The first accuracy minus the second, with its interval and p.
    """
    x, y = (right[:, shares.images].astype(float) for right in (first, second))
    return _estimate(x.mean(axis=0) - y.mean(axis=0), [x, y], shares, extra=np.array([-1.0, 1.0]))


def _estimate(values: np.ndarray, runs: list[np.ndarray], shares: Shares, *, extra: np.ndarray) -> Estimate:
    """Estimate sum_i w_i values_i. runs: (S, m) of each method; extra: values of the images that are added to the strata."""
    from scipy.special import stdtr, stdtrit  # Student's t, without scipy.stats, which takes a second to load

    variances, freedoms = [], []
    for x in runs:
        if (seeds := len(x)) > 1:
            variances.append(np.var(x @ shares.weights, ddof=1) / seeds)
            freedoms.append(seeds - 1.0)
    n = np.bincount(shares.strata)
    part = 1 / len(n)
    total = n + part * len(extra)
    mean = (np.bincount(shares.strata, values) + part * extra.sum()) / total
    squares = np.bincount(shares.strata, values**2) + part * (extra**2).sum() - total * mean**2
    variances += (np.bincount(shares.strata, shares.weights) ** 2 * np.maximum(squares, 0) / (total - 1) / n).tolist()
    freedoms += (total - 1).tolist()
    value, V = float(values @ shares.weights), sum(variances)
    freedom = V**2 / sum(v**2 / f for v, f in zip(variances, freedoms, strict=True))
    half = stdtrit(freedom, (1 + LEVEL) / 2) * math.sqrt(V)
    p = 2 * stdtr(freedom, -abs(value) / math.sqrt(V))
    return Estimate(100 * value, float(100 * (value - half)), float(100 * (value + half)), float(p))
