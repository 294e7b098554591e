"""What the page on choosing a method says of few images, held to the committed rows."""

from __future__ import annotations

import csv
from collections import defaultdict

import numpy as np
import pytest

from tests.pages import ROOT

PAGE = (ROOT / "docs/practice/choosing-a-method.md").read_text()

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
    assert line in PAGE


def means(method: str, correction: str = "none", split: int = 0) -> list[float]:
    """Mean accuracy in each setting."""
    return [float(np.mean(cells()[*setting, method, correction], axis=0)[split]) for setting in SETTINGS]


def test_the_sentences_are_those_of_the_rows() -> None:
    plain, adjusted, nearest = (means("random+FC, no mixup", name) for name in ("none", "la", "ncm"))
    mixup = means("random+FC")
    assert all(mixed < alone for mixed, alone in zip(mixup, plain, strict=True))
    better = (means("random+FC+LA"), means("random+FC", "la"), means("BMLS+MS"))
    assert all(other[n] > adjusted[n] for other in better for n in (0, 1))
    others = {(m, c): means(m, c) for m, c in SHOWN}
    assert max(others, key=lambda one: others[one][2]) == ("random+FC, no mixup", "la")
    assert max(others, key=lambda one: others[one][3]) == ("CAS+FC", "none")
    few = {(m, c): means(m, c, 1) for m, c in SHOWN}
    assert {max(few, key=lambda one: few[one][n]) for n in (2, 3)} == {("BMLS+MS", "none")}
    behind = [a - b for a, b in zip(adjusted, means("random+cosine+LDAM+DRW, no mixup"), strict=True)]
    assert f"is {behind[2]:.0f} and {behind[3]:.0f} points below" in PAGE
    assert [n > a for n, a in zip(nearest, adjusted, strict=True)] == [True, True, False, False]
    spread = max(np.ptp([seed[0] for seed in cells()[*setting, m, c]]) for setting in SETTINGS for m, c in SHOWN)
    assert f"Seeds of one setting differ by up to {spread:.0f} points" in PAGE
    assert {len(seeds) for seeds in cells().values()} == {2}
