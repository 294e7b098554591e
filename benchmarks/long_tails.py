"""Synthetic class counts in the published sizes of data sets that have long tails but no formula for their counts.

``python -m benchmarks.long_tails imagenet-lt > counts.txt``, then
``python -m lpm.solve --counts-file counts.txt --tolerance 1e-2``.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq


@dataclass(frozen=True)
class LongTail:
    """What is published of a long-tailed data set: classes, images, extreme counts, classes over 100 and under 20 images."""

    K: int
    images: int
    largest: int
    smallest: int
    many: int
    few: int

    def stand_in(self) -> np.ndarray:
        """Synthetic class counts (K,) of these sizes, largest first; they are not the data set's.

        Above 100 images they follow a bounded Pareto law, whose exponent makes the total right; from 100 down to 20 and from
        20 down to the smallest they fall geometrically. Rounding moves a few classes across 100 and 20.
        """
        rank, top = np.arange(self.K), float(self.largest)
        tail = np.exp(np.interp(rank, [self.many, self.K - self.few, self.K - 1], np.log([100, 20, self.smallest])))
        u = np.minimum(rank / self.many, 1.0)

        def law(exponent: float) -> np.ndarray:
            head = (top**-exponent + (100.0**-exponent - top**-exponent) * u) ** (-1 / exponent)
            return np.where(u < 1, head, tail)

        n = law(brentq(lambda exponent: law(exponent).sum() - self.images, 0.01, 20.0))
        counts = np.floor(n)
        counts[np.argsort(counts - n, kind="stable")[: self.images - int(counts.sum())]] += 1
        return -np.sort(-counts)


LONG_TAILS = {
    "imagenet-lt": LongTail(K=1000, images=115_846, largest=1280, smallest=5, many=390, few=164),
    "inaturalist2018": LongTail(K=8142, images=437_513, largest=1000, smallest=2, many=842, few=3599),
}
"""Sizes: lists of Liu et al. 2019 and of the iNaturalist 2018 competition; many and few: Table 6 of the paper."""


def main() -> None:
    parser = argparse.ArgumentParser(description="print synthetic class counts, one a line")
    parser.add_argument("name", choices=LONG_TAILS)
    name = parser.parse_args().name
    print(f"# synthetic stand-in for {name}: its published sizes, not its class counts")
    print("\n".join(f"{count:.0f}" for count in LONG_TAILS[name].stand_in()))


if __name__ == "__main__":
    main()
