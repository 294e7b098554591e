"""The README's code runs as printed, and its numbers are those of the code."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any, get_args

import pytest
import torch

from lpm.family import Family
from lpm.pairs import PROFILES
from lpm.programs import PROGRAMS
from lpm.threshold import threshold
from paper_checks.__main__ import expected
from paper_checks.catalogue import CHECKS
from paper_checks.lab import Lab
from training import experiments
from training.config import ClassifierName, SamplerName

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


CODE = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_sampler_and_classifier_drop_into_a_loop_of_ones_own() -> None:
    names: dict[str, Any] = {}
    exec(compile(CODE[0], "README.md", "exec"), names)
    assert torch.isfinite(names["loss"])
    assert len(CODE) == 3


def test_library_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    exec(compile(CODE[2], "README.md", "exec"), names)
    loss, lower, gap = (float(x) for x in capsys.readouterr().out.splitlines()[0].split())
    assert lower <= loss
    assert gap <= 1e-6
    assert getattr(names["gram"], "shape", None) == (10, 10)


def test_threshold_table_is_what_the_code_gives() -> None:
    rows = re.findall(r"^\| `(plain|fc|ms|ms-free)`[^|]*\|([^|]*)\| ([\d.]+|none) \|$", README, flags=re.MULTILINE)
    assert len(rows) == 8
    for program, profile, printed in rows:
        name = re.search(r"`(\w+)`", profile)
        found = threshold(Family(program, name.group(1) if name else ""))
        digits = len(printed.partition(".")[2])
        assert printed == ("none" if found.R0 is None else f"{found.R0:.{digits}f}")


RESULTS = re.compile(r"^\| ([^|]*), (\d+) epochs: all \|(.*)\|\n\| few \|(.*)\|$", flags=re.MULTILINE)
"""A network, its epochs, and a cell a method of two lines."""


def test_results_in_the_readme_are_those_of_the_rows() -> None:
    rows, table8 = (
        list(csv.DictReader((ROOT / name).read_text().splitlines()))
        for name in ("results/runs.csv", "paper_checks/data/table8.csv")
    )
    found = RESULTS.findall(README)
    assert len(found) >= 3
    for network, epochs, *lines in found:
        for split, line in zip(("all", "few"), lines, strict=True):
            for method, cell in zip(("random+FC", "CAS+FC", "BMLS+FC", "BMLS+MS"), line.split("|"), strict=True):
                if network.startswith("the paper"):
                    where = ("cifar10-lt", "100", method, split)
                    assert cell.split()[0] in [r["mean"] for r in table8 if tuple(r.values())[:4] == where]
                    continue
                config = experiments.config(method, "cifar10-lt", 100, "quick" if "8" in network else "paper")
                if config.epochs != int(epochs):
                    config = replace(config, epochs=int(epochs), preset=config.preset + "+")
                own = [float(r["accuracy"]) for r in rows if (r["config"], r["split"]) == (config.key, split)]
                number = f" ({len(own)})" if split == "all" else ""
                assert cell.strip() == (f"{fmean(own):.2f}{number}" if own else "")


def test_words_explain_every_name_that_an_option_takes() -> None:
    words = (ROOT / "docs/words.md").read_text()
    names = {*get_args(SamplerName), *get_args(ClassifierName), *PROGRAMS, *PROFILES}
    assert not sorted(name for name in names if f"`{name}`" not in words)


def test_tree_lists_every_module() -> None:
    tree = README.split("## The tree")[1].split("## Development")[0]
    for package in ("lpm", "training", "figures"):
        for path in (ROOT / package).glob("[a-z]*.py"):
            if path.stem != "errors":
                assert f"{path.stem}.py" in tree


def test_verdicts_in_the_readme_are_those_on_record() -> None:
    rows = re.findall(
        r"^\| `([a-z0-9-]+)` [^|]*\| ([a-z ]+) \|", README.split("## Is the paper right?")[1], flags=re.MULTILINE
    )
    assert len(rows) == 9
    assert dict(rows).items() <= expected().items()
    assert f"checks {len(CHECKS)} claims" in README
    said = {c.id: c.run(Lab()).evidence for c in CHECKS if c.id in ("significance", "highest-claims")}
    assert "of 80 winners" in said["significance"]
    assert "33 after Holm" in said["significance"]
    assert "best in 6 of 6 columns" in said["highest-claims"]
