"""The tables of our own networks, in the README and in docs/reproduce/cures.md: each cell is a mean of committed rows."""

from __future__ import annotations

import csv
import re

import numpy as np
import pytest

from tests.pages import ROOT, text

with (ROOT / "results" / "runs.csv").open(newline="") as file:
    ROWS = [row for row in csv.DictReader(file) if (row["dataset"], row["imbalance"]) == ("cifar10-jpeg-lt", "100")]
NAMES = {
    "no mixup, adjusted": "random+FC, no mixup, post-hoc LA",
    "LDAM+DRW": "random+cosine+LDAM+DRW, no mixup",
}
"""The columns that are not named as rows are."""
PRESETS = {"resnet8": ("quick", "30"), "resnet32": ("paper", "200")}
"""The recipe of a network and its epochs. Runs of other epochs have a preset with a plus; no other choice differs in them."""


def measured(network: str, epochs: str, method: str, split: str) -> list[float]:
    """The accuracies of the runs of one recipe, by seed."""
    name, (preset, usual) = NAMES.get(method, method), PRESETS[network]
    found = {
        row["seed"]: float(row["accuracy"])
        for row in ROWS
        if (row["model"], row["epochs"], row["method"], row["split"]) == (network, epochs, name, split)
        and (row["preset"] == preset if epochs == usual else row["preset"].startswith(f"{preset}+"))
    }
    return list(found.values())


@pytest.mark.parametrize("page", ["README.md", "docs/reproduce/cures.md"])
def test_the_table_has_the_means_of_the_rows(page: str) -> None:
    lines = text(page).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("| | random+FC |"))
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[start : lines.index("", start)]]
    methods, cells = table[0][1:], 0
    for all_classes, few in zip(table[2::2], table[3::2], strict=True):
        if not (named := re.match(r"ResNet-(\d+), (\d+) epochs: all", all_classes[0])):
            assert all_classes[0].startswith("the paper")
            continue
        for method, whole, part in zip(methods, all_classes[1:], few[1:], strict=True):
            accuracies = measured(f"resnet{named[1]}", named[2], method, "all")
            of_few = measured(f"resnet{named[1]}", named[2], method, "few")
            expected = (
                (f"{np.mean(accuracies):.2f} ({len(accuracies)})", f"{np.mean(of_few):.2f}") if of_few else ("", "")
            )
            assert (whole, part) == expected, (all_classes[0], method)
            cells += bool(of_few)
    assert cells >= 6
