"""The index of methods: its options make the runs that its names stand for, and what it says of BMLS and MS is so"""

from __future__ import annotations

import csv
import re
import shlex
import statistics
from collections import defaultdict
from dataclasses import replace
from typing import Any

import pytest

from lpm.console import cli
from lpm.console.errors import InvalidInput
from tests.pages import ROOT, text
from training import experiments
from training.config import RunConfig
from training.methods import SAMPLERS
from training.named import METHODS
from training.options import add_recipe, add_running, config_of

PAGE = "docs/practice/methods/index.md"
HEAD = "| method | part | name | options | with BMLS | with MS |"
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in text(PAGE).split(HEAD)[1].split("\n\n")[0].splitlines()[2:]
]
ONES = [row for row in ROWS if row[3] == "" or row[3].startswith("`--")]
"""The rows of methods that one run makes."""


def chosen(options: str) -> RunConfig:
    """The run of a row, on CIFAR10-LT."""
    parser = cli.Parser("training.train", "")
    add_recipe(parser)
    add_running(parser)
    return config_of(
        parser.parse_args(["--dataset", "cifar10-lt", "--data-root", "D", *shlex.split(options.strip("`"))])
    )


@pytest.mark.parametrize("row", ONES, ids=[row[2] for row in ONES])
def test_options_make_the_run_of_the_name(row: list[str]) -> None:
    run, name = chosen(row[3]), row[2].strip("`")
    assert run.method == name
    assert run == experiments.config(name, "cifar10-lt", 100, "paper")


@pytest.mark.parametrize("row", ONES, ids=[row[2] for row in ONES])
@pytest.mark.parametrize(("column", "choices"), [(4, {"sampler": "bmls"}), (5, {"classifier": "ms"})])
def test_a_combination_is_possible_where_the_page_says_so(row: list[str], column: int, choices: dict[str, Any]) -> None:
    run = chosen(row[3])
    if row[column] == "–":  # the method is itself a sampler or a classifier over label pairs
        assert all(getattr(run, name) != getattr(RunConfig(), name) for name in choices)
        return
    changes: dict[str, Any] = dict(choices)
    if "sampler" in choices:
        changes |= {name: getattr(RunConfig(), name) for name in SAMPLERS[run.sampler].settings.values()}
        changes |= {"classifier": "ms-unordered"} if run.classifier == "ms" else {}
    try:
        replace(run, **changes)
        possible = True
    except InvalidInput:
        possible = False
    assert row[column].partition(":")[0] == ("yes" if possible else "no")


def test_every_method_has_its_row_or_is_made_of_such() -> None:
    """A name of ``training.compare`` is a row, or joins words that rows have."""
    words = {word for row in ROWS for word in re.split(r"\+|, ", row[2].strip("`"))}
    missing = {m for m in METHODS if not set(re.split(r"\+|, ", m)) <= words}
    assert {m for m in missing if "ETF" not in m} == {"BMLS-all+MS", "random+FC+CW"}


def test_pages_of_methods_are_linked_and_in_the_navigation() -> None:
    pages = {path.name for path in (ROOT / PAGE).parent.glob("*.md")} - {"index.md"}
    assert pages <= set(re.findall(r"\]\(([\w-]+\.md)\)", text(PAGE)))
    assert pages <= set(re.findall(r"practice/methods/([\w-]+\.md)", text("mkdocs.yml")))


def test_first_runs_are_the_committed_rows() -> None:
    """Each number of the page's last table is the mean and the standard deviation of the rows of its method."""
    runs = defaultdict(lambda: defaultdict(list))
    with (ROOT / "results" / "runs.csv").open() as file:
        for row in csv.DictReader(file):
            if (row["dataset"], row["imbalance"], row["preset"]) == ("cifar10-jpeg-lt", "100", "quick"):
                runs[row["method"]][row["split"]].append(float(row["accuracy"]))
    lines = [
        line.strip("| ").split(" | ") for line in text(PAGE).split("## First runs")[1].splitlines() if line[:3] == "| `"
    ]
    assert {line[0].strip("`") for line in lines} == {method for method in runs if not method.startswith("coverage")}
    for method, number, *cells in lines:
        for split, cell in zip(("all", "many", "few"), cells, strict=True):
            values = runs[method.strip("`")][split]
            spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
            assert (number, cell) == (str(len(values)), f"{statistics.mean(values):.1f}{spread}")
