"""Class counts and label-pair counts from files, and synthetic stand-ins for data sets whose class counts no formula gives.

python -m lpm.counts imagenet-lt > counts.txt && python -m lpm.solve --counts-file counts.txt --tolerance 1e-2
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import brentq

from lpm.errors import InvalidInput


def read_counts(path: Path) -> np.ndarray:
    """Class counts (K,) from a text file: one a line, or lines ``label,count`` with the labels 0..K-1 in any order.

    Blank lines and what follows a ``#`` are skipped. Raises InvalidInput naming the line for anything else.
    """
    name = f"counts file {str(path)!r}"
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise InvalidInput(f"{name} cannot be read: {reason}; give a text file with a class count a line") from None
    rows = [(number, text.split(",")) for number, line in enumerate(lines, 1) if (text := line.split("#")[0].strip())]
    if not rows:
        raise InvalidInput(f"{name} holds no counts; give a class count a line")
    with_labels = len(rows[0][1]) == 2
    counts, seen = np.zeros(len(rows)), dict[int, int]()
    for place, (number, cells) in enumerate(rows):
        where = f"{name} line {number}"
        if len(cells) != 1 + with_labels:
            form = "label,count" if with_labels else "one count"
            raise InvalidInput(f"{where}: {','.join(cells)[:40]!r} is not {form}, as the first line has it")
        label = _label(cells[0], len(rows), where) if with_labels else place
        if label in seen:
            raise InvalidInput(f"{where}: label {label} was given on line {seen[label]} already")
        seen[label] = number
        counts[label] = _count(cells[-1], where)
    return counts


def _label(text: str, K: int, where: str) -> int:
    try:
        label = int(text)
    except ValueError:
        raise InvalidInput(f"{where}: label {text.strip()[:40]!r} is not a whole number") from None
    if not 0 <= label < K:
        raise InvalidInput(f"{where}: label {label} is outside 0..{K - 1}; {K} lines need the labels 0 to {K - 1}")
    return label


def _count(text: str, where: str) -> float:
    try:
        count = float(text)
    except ValueError:
        raise InvalidInput(f"{where}: {text.strip()[:40]!r} is not a number") from None
    if not (math.isfinite(count) and count >= 0):
        raise InvalidInput(f"{where}: count {count:g}; counts must be finite and at least 0")
    return count


def read_table(path: Path) -> np.ndarray:
    """A K x K table of numbers from a CSV file (commas, semicolons or white space), no header.

    Raises InvalidInput naming the line for a file that is unreadable, ragged or holds anything but numbers.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise InvalidInput(
            f"table {str(path)!r} cannot be read: {reason}; give a CSV file of K rows of K counts"
        ) from None
    rows: list[list[float]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        cells = line.replace(";", ",").split(",") if {",", ";"} & set(line) else line.split()
        try:
            rows.append([float(cell) for cell in cells])
        except ValueError:
            raise InvalidInput(
                f"table {str(path)!r} line {number}: {line.strip()[:40]!r} is not a row of numbers"
            ) from None
        if len(rows[-1]) != len(rows[0]):
            raise InvalidInput(
                f"table {str(path)!r} line {number} has {len(rows[-1])} counts, line 1 has {len(rows[0])}"
            )
    return np.array(rows)


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


def main(arguments: list[str] | None = None) -> int:
    from lpm import cli

    parser = cli.Parser("lpm.counts", "print synthetic class counts of a data set's published sizes, one a line")
    parser.add_argument("name", type=cli.choice(*LONG_TAILS), metavar="NAME", help="|".join(LONG_TAILS))
    name = parser.parse_args(arguments).name
    print(f"# synthetic stand-in for {name}: its published sizes, not its class counts")
    print("\n".join(f"{count:.0f}" for count in LONG_TAILS[name].stand_in()))
    return 0


if __name__ == "__main__":
    from lpm.cli import run

    sys.exit(run(main))
