"""Synthetic class counts of long-tailed data sets whose sizes are published, but not as a formula for their counts.

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
    """The published sizes of a long-tailed data set.

    Attributes:
        images: number of training images.
        largest: images of the largest class.
        smallest: images of the smallest class.
        many: number of classes with more than 100 images.
        medium: number of classes with 20 to 100 images.
        few: number of classes with fewer.
    """

    images: int
    largest: int
    smallest: int
    many: int
    medium: int
    few: int

    def stand_in(self) -> np.ndarray:
        """Make synthetic class counts of exactly these sizes. They are not the data set's own counts.

        Above 100 images the counts follow a bounded Pareto law, whose exponent makes the total right. From 100 down to
        20, and from 19 down to the smallest, they fall geometrically.

        Returns:
            (K,) counts, largest first.
        """
        tail = np.concatenate([np.geomspace(100, 20, self.medium), np.geomspace(19, self.smallest, self.few)])
        u, top = np.linspace(0, 1, self.many), float(self.largest)

        def law(exponent: float) -> np.ndarray:
            head = (top**-exponent + (101.0**-exponent - top**-exponent) * u) ** (-1 / exponent)
            return np.concatenate([head, tail])

        n = law(brentq(lambda exponent: law(exponent).sum() - self.images, 0.01, 20.0))
        counts = np.floor(n + 1e-9).astype(np.int64)
        counts[np.argsort(counts - n, kind="stable")[: self.images - int(counts.sum())]] += 1
        return counts


LONG_TAILS = {
    "places-lt": LongTail(images=62_500, largest=4980, smallest=5, many=131, medium=163, few=71),
    "imagenet-lt": LongTail(images=115_846, largest=1280, smallest=5, many=385, medium=479, few=136),
    "inaturalist2018": LongTail(images=437_513, largest=1000, smallest=2, many=842, medium=3701, few=3599),
}
"""Source: the lists of Liu et al. 2019, whose thresholds split the classes, and those of the iNaturalist 2018 competition."""


def main() -> None:
    """Run the command: print one count per line."""
    parser = argparse.ArgumentParser(description="print synthetic class counts, one per line")
    parser.add_argument("name", choices=LONG_TAILS, help="data set")
    name = parser.parse_args().name
    print(f"# synthetic stand-in for {name}: the sizes are published, the class counts made up")
    print("\n".join(map(str, LONG_TAILS[name].stand_in())))


if __name__ == "__main__":
    main()
