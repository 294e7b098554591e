"""The recipes of CONTRIBUTING.md are true: a copy of the project with their files and rows trains toy data by toy methods."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECIPES = (ROOT / "CONTRIBUTING.md").read_text()
TABLES = {
    "DataSet": "catalogue.py",
    "Loss": "registry/losses.py",
    "Sampler": "registry/samplers.py",
    "Mixing": "registry/ratios.py",
    "Law": "registry/mixings.py",
}
"""By the kind of row, the file of ``training`` whose table it belongs to."""


def section(title: str) -> str:
    """The text below a heading."""
    return RECIPES.split(f"## {title}\n")[1].split("\n## ")[0]


def blocks(text: str) -> list[tuple[str, str]]:
    """Each Python block, with the path that stands above it ('' for a row)."""
    examples = re.findall(r"(?:^ *`(training/[\w/]+\.py)`\n\n)?^( *)```python\n(.*?)^\2```", text, re.M | re.S)
    return [(path, textwrap.dedent(code)) for path, _, code in examples]


def add_row(file: Path, row: str) -> None:
    """Put a row at the end of the table whose rows are of its kind."""
    kind = row.partition("(")[0]
    source = file.read_text()
    tables = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Tuple) and node.elts]
    table = next(t for t in tables if all(isinstance(e, ast.Call) and ast.unparse(e.func) == kind for e in t.elts))
    lines = source.splitlines(keepends=True)
    end = table.elts[-1].end_lineno
    assert end is not None
    if not lines[end - 1].rstrip().endswith(","):
        lines[end - 1] = lines[end - 1].rstrip() + ",\n"
    file.write_text("".join([*lines[:end], row.rstrip() + ",\n", *lines[end:]]))


@pytest.mark.parametrize("title", ["Add a data set", "Add a training method"])
def test_the_documented_steps_are_enough(title: str, tmp_path: Path) -> None:
    for package in ("lpm", "paper_checks", "training"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    text = section(title)
    for path, code in blocks(text):
        if path:
            (tmp_path / path).write_text(code)
        else:
            add_row(tmp_path / "training" / TABLES[code.partition("(")[0]], code)
    (command,) = re.findall(r"^ +python (-m training\.train .*)$", text, re.M)
    words = [*command.split(), "--width", "4", "--json", "--quiet", "--store", "runs"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, *words], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)
    assert result["last"]["all"] >= 0
    expected = {
        "Add a data set": ("blobs-lt", "random+FC"),
        "Add a training method": ("digits-lt", "reversed+FC+smoothed+winner"),
    }
    assert (result["dataset"], result["method"]) == expected[title]
