"""The README: its code runs as printed, its links lead somewhere. ``tests/test_docs.py`` has its commands and numbers."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.pages import ROOT, code, text

README = text("README.md")


def test_seven_lines_print_the_printed_interval(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = code("README.md")
    assert len([line for line in example.splitlines() if line]) == 7
    names: dict[str, Any] = {}
    exec(compile(example, "README.md", "exec"), names)
    printed = capsys.readouterr().out
    interval = re.compile(r"^ *([\d.]+) <= optimum <= ([\d.]+)$", flags=re.MULTILINE)
    for ours, shown in zip(interval.findall(printed)[0], interval.findall(README)[0], strict=True):
        assert float(ours) == pytest.approx(float(shown), abs=1e-11)
    assert names["solution"].lower_bound <= names["solution"].loss
    assert printed.splitlines()[1] in README


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert len(links) > 15
    assert not [link for link in links if not (ROOT / link).exists()]


def test_make_has_the_targets_that_the_readme_names() -> None:
    makefile = text("Makefile")
    targets = set(re.findall(r"`make (\w+)`", README))
    assert {"sweep", "claims", "test"} <= targets
    assert not [target for target in targets if not re.search(rf"^{target}:", makefile, flags=re.MULTILINE)]


def test_tree_lists_every_folder() -> None:
    tree = README.split("## The tree")[1].split("## ")[0]
    listed = re.findall(r"^ {4}(\w+)/ ", tree, flags=re.MULTILINE)
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages | {"docs", "examples", "results"} == set(listed)


def test_pytorch_is_the_version_that_is_pinned() -> None:
    assert re.findall(r"torch==[\d.]+", README) == re.findall(
        r"^torch==[\d.]+$", text("constraints.txt"), flags=re.MULTILINE
    )
