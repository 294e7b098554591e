"""The project's own files agree: one version, pinned packages, and CI that runs the documented commands."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import lpm

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_version_is_the_same_everywhere() -> None:
    (cited,) = re.findall(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    (released,) = re.findall(r"^date-released: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    newest, date = re.findall(r"^## (\S+) \((\S+)\)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[0]
    assert (cited, released) == (newest, date) == (lpm.__version__, date)


def test_every_package_that_an_extra_asks_for_is_pinned() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    asked = [*PROJECT["project"]["dependencies"], *(package for packages in extras.values() for package in packages)]
    pins = {
        re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower()
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    names = {re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", package)[0]).lower() for package in asked}
    assert names <= pins


def test_ci_runs_the_targets_of_the_makefile() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    local, forge, guide = (
        set(re.findall(r"\bmake ([\w-]+)", (ROOT / file).read_text()))
        for file in (".ci/run", ".github/workflows/ci.yml", "CONTRIBUTING.md")
    )
    assert local == {"lint", "docs", "test"}
    assert forge == local | {"test-examples"}  # whose libraries take minutes to install
    assert guide <= targets
