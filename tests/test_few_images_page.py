"""What the page on choosing a method says of few images, held to the committed rows."""

from __future__ import annotations

import csv
from collections import defaultdict

import numpy as np
import pytest

from tests.pages import ROOT

NAMES = {"none": "", "la": ", post-hoc LA", "ncm": ", NCM"}
SETTINGS = (("100", "10"), ("100", "50"), ("500", "10"), ("500", "50"))
SHOWN = (
    ("random+FC, no mixup", "none"),
    ("random+FC, no mixup", "la"),
    ("random+FC, no mixup", "ncm"),
    ("random+cosine+LDAM+DRW, no mixup", "none"),
    ("random+FC", "none"),
    ("random+FC", "la"),
    ("random+FC+LA", "none"),
    ("CAS+FC", "none"),
    ("BMLS+MS", "none"),
)


def cells() -> dict[tuple[str, str, str, str], list[tuple[float, float]]]:
    """All and few accuracies of each seed, by size, imbalance, method and correction."""
    found = defaultdict(list)
    with (ROOT / "results/few-images.csv").open() as file:
        for row in csv.DictReader(file):
            key = row["n_max"], row["imbalance"], row["method"], row["correction"]
            found[key].append((float(row["all"]), float(row["few"])))
    return found


def table() -> list[str]:
    """The rows of the table: mean accuracy over all images, and of the few classes."""
    found, lines = cells(), []
    for method, correction in SHOWN:
        words = []
        for setting in SETTINGS:
            every, few = np.mean(found[*setting, method, correction], axis=0)
            words.append(f"{every:.1f} / {few:.1f}")
        lines.append(f"| `{method}{NAMES[correction]}` | {' | '.join(words)} |")
    return lines


@pytest.mark.parametrize("line", table(), ids=lambda line: line.split("`")[1])
def test_the_table_is_that_of_the_rows(line: str) -> None:
    assert line in (ROOT / "docs/practice/choosing-a-method.md").read_text()
