"""The tests that compare accuracies: Welch's t-test of two means, and Holm's correction for several tests at once."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """A set of runs, as far as Welch's t-test looks at it.

    Attributes:
        n: number of runs.
        mean: mean over the runs; NaN without any.
        std: sample standard deviation, with n - 1 in the denominator; NaN below two runs.
    """

    n: int
    mean: float
    std: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Sample:
        """Summarise single values.

        Args:
            values: one number per run; may be empty.

        Returns:
            Their number, mean and standard deviation.
        """
        return cls(
            len(values),
            statistics.fmean(values) if values else math.nan,
            statistics.stdev(values) if len(values) > 1 else math.nan,
        )


def welch(first: Sample, second: Sample) -> float:
    """Compare two means by Welch's t-test, which does not assume equal variances.

    Source: Welch 1947.

    Args:
        first: one set of runs.
        second: the other set; the order does not matter.

    Returns:
        The two-sided p-value. NaN if a set has fewer than two runs, or if both standard deviations are 0.
    """
    if not first.std + second.std > 0:  # also where one of them is NaN
        return math.nan
    from scipy.stats import ttest_ind_from_stats  # takes a second

    test = ttest_ind_from_stats(first.mean, first.std, first.n, second.mean, second.std, second.n, equal_var=False)
    return float(test.pvalue)


def holm(p: Sequence[float]) -> list[float]:
    """Correct the p-values of several tests, so that the chance of any false finding among them stays at the level.

    The smallest of m values is multiplied by m, the next by m - 1, and so on; the results must not fall, nor exceed 1.
    Source: Holm 1979.

    Args:
        p: p-values in any order.

    Returns:
        The corrected p-values, in the same order.
    """
    order = sorted(range(len(p)), key=lambda i: p[i])
    adjusted, running = [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = running
    return adjusted
