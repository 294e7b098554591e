"""The table of docs/reproduce/scale.md: ``python -m benchmarks.scale_table results/scale-benchmark.csv``.

It is made from rows of :mod:`benchmarks.scale`.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.sizes import SETTINGS, Setting
from figures import expected_cv


@dataclass(frozen=True)
class Column:
    """One data set.

    Attributes:
        setting: the data set and its recipe.
        measured: its numbers, by sampler, classifier or network and by quantity.
    """

    setting: Setting
    measured: dict[tuple[str, str], float]

    @property
    def P(self) -> int:
        """Number of label pairs a < b."""
        return self.setting.K * (self.setting.K - 1) // 2

    @property
    def cv(self) -> float:
        """Coefficient of variation of a label pair's count under BMLS, over the epochs of the recipe, by its law."""
        return expected_cv.balanced(self.setting, self.setting.N, self.setting.epochs)["label pair"]

    def pairs(self, sampler: str) -> str:
        """Return the cost of an epoch's pairs.

        Args:
            sampler: name of the sampler.

        Returns:
            Milliseconds and MB.
        """
        return f"{1e3 * self.measured[sampler, 'seconds an epoch']:.2g}, {self.measured[sampler, 'peak MB']:.2g}"

    def step(self, classifier: str) -> str:
        """Return the cost of a classifier's step.

        Args:
            classifier: name of the classifier.

        Returns:
            Milliseconds and MB.
        """
        return f"{self.measured[classifier, 'milliseconds a step']:.3g}, {self.measured[classifier, 'peak MB']:.0f}"

    def extra(self, quantity: str, expensive: str, cheap: str, images: int) -> str:
        """Return the difference of two costs in per cent of the network's time.

        Args:
            quantity: seconds or milliseconds, as the CSV names it.
            expensive: sampler or classifier with the larger cost.
            cheap: sampler or classifier with the smaller cost.
            images: number of images in that time.

        Returns:
            The percentage.
        """
        difference = self.measured[expensive, quantity] - self.measured[cheap, quantity]
        milliseconds = difference if quantity.startswith("milli") else 1e3 * difference
        return f"{100 * milliseconds / (images * self.measured['network', 'milliseconds an image']):.2g}"


LINES: list[tuple[str, Callable[[Column], str]]] = [
    ("classes K, images N", lambda c: f"{c.setting.K:,}, {c.setting.N:,}"),
    ("label pairs a < b, P", lambda c: f"{c.P:,}"),
    ("pairs for each label pair in an epoch, N / P", lambda c: f"{c.setting.N / c.P:.3g}"),
    ("epochs until every label pair has occurred", lambda c: f"{-(-c.P // c.setting.N)}"),
    ("pairs for each label pair in the recipe's epochs", lambda c: f"{c.setting.epochs * c.setting.N / c.P:,.3g}"),
    ("CV of a label pair over epochs: BMLS", lambda c: f"{c.cv:.2g}"),
    ("CV of a label pair over epochs: independent draws", lambda c: f"{((c.P - 1) / c.setting.N) ** 0.5:.2g}"),
    ("uses of an image of the smallest class in an epoch",
     lambda c: f"{2 * c.setting.N / c.setting.K / c.setting.counts.min():.0f}"),
    ("an epoch's pairs, random: ms, MB", lambda c: c.pairs("random")),
    ("an epoch's pairs, CAS: ms, MB", lambda c: c.pairs("cas")),
    ("an epoch's pairs, BMLS: ms, MB", lambda c: c.pairs("bmls")),
    ("the first epoch of BMLS after a resume, at worst: ms",
     lambda c: f"{1e3 * c.measured['bmls', 'seconds after a resume']:.2g}"),
    ("batch, feature width", lambda c: f"{c.setting.batch}, {c.setting.p:,}"),
    ("classifier and loss, FC: ms, MB", lambda c: c.step("fc")),
    ("classifier and loss, MS, all K²: ms, MB", lambda c: c.step("ms")),
    ("classifier and loss, MS, a < b: ms, MB", lambda c: c.step("ms-unordered")),
    ("the K² class vectors, if written out: GB",
     lambda c: f"{c.measured['ms written out', 'GB of its class vectors, by arithmetic']:.2g}"),
    ("network: ms an image", lambda c: f"{c.measured['network', 'milliseconds an image']:.3g}"),
    ("BMLS beyond random, % of the network's epoch",
     lambda c: c.extra("seconds an epoch", "bmls", "random", c.setting.N)),
    ("MS, a < b, beyond FC, % of the network's step",
     lambda c: c.extra("milliseconds a step", "ms-unordered", "fc", c.setting.batch)),
]  # fmt: skip


def table(path: Path) -> str:
    """Make the table.

    Args:
        path: rows of :mod:`benchmarks.scale`.

    Returns:
        The table as Markdown, one column per data set.
    """
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = [
        Column(setting, {(r["what"], r["quantity"]): float(r["value"]) for r in rows if r["on"] == name})
        for name, setting in SETTINGS.items()
    ]
    body = [["", *SETTINGS], ["---"] * (1 + len(columns))]
    body += [[title, *(cell(column) for column in columns)] for title, cell in LINES]
    return "\n".join(f"| {' | '.join(line)} |" for line in body)


if __name__ == "__main__":
    print(table(Path(sys.argv[1] if len(sys.argv) > 1 else "results/scale-benchmark.csv")))
