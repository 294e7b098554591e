"""The notebooks: they run from the first cell to the last, their pages show them, and stored outputs are of this code."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests import notebooks
from tests.pages import ROOT

NAMES = [path.stem for path in notebooks.NOTEBOOKS]


def stored(name: str) -> dict[str, Any]:
    notebook: dict[str, Any] = json.loads((ROOT / f"examples/notebooks/{name}.ipynb").read_text())
    return notebook


def kinds(outputs: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """What a cell has put out, without what it says."""
    return [(output["output_type"], sorted(output.get("data", {}))) for output in outputs]


def words(outputs: list[dict[str, Any]]) -> str:
    """The words of what a cell has printed; numbers differ in last digits from one processor to another."""
    text = "".join(line for output in outputs for line in output.get("text", []))
    return re.sub(r"[-+]?\d[\d.,e-]*|\s+", " ", text)


COMMANDS = "own-images"
"""A notebook of commands, whose own tests show nearly the same in less time."""


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.heavy if n == COMMANDS else ()) for n in NAMES])
def test_a_notebook_runs_and_its_stored_outputs_are_of_its_code(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cells = notebooks.code_cells(stored(name))
    for cell, outputs in zip(cells, notebooks.execute(cells), strict=True):
        assert kinds(outputs) == kinds(cell["outputs"]), "python -m tests.notebooks writes them"
        if not notebooks.source(cell).startswith("!"):  # a command's sentences have tests of their own
            assert words(outputs) == words(cell["outputs"])


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_a_page_with_its_pictures(name: str) -> None:
    notebook = stored(name)
    assert (notebooks.PAGES / f"{name}.md").read_text() == notebooks.page(name, notebook)
    for file, content in notebooks.pictures(name, notebook).items():
        assert (notebooks.PICTURES / file).read_bytes() == content
    assert len((ROOT / f"examples/notebooks/{name}.ipynb").read_bytes()) < 100_000


def test_no_page_or_picture_is_left_of_another_notebook() -> None:
    assert sorted(path.stem for path in notebooks.PAGES.glob("*.md")) == sorted(NAMES)
    files = {file for name in NAMES for file in notebooks.pictures(name, stored(name))}
    assert {path.name for path in notebooks.PICTURES.iterdir()} == files


def test_the_network_of_the_notebook_is_on_the_law() -> None:
    """Stored numbers: below 0.95 of the threshold within 5 % of the prediction, above it rare classes are one."""
    text = "".join(
        line
        for cell in notebooks.code_cells(stored("collapse"))
        for out in cell["outputs"]
        for line in out.get("text", [])
    )
    rows = [
        tuple(map(float, row))
        for row in re.findall(r"([\d.]+) of the threshold: rare classes ([\d.]+), predicted ([\d.]+)", text)
    ]
    assert len(rows) == 7
    for share, measured, predicted in rows:
        assert abs(measured - predicted) <= 0.05 * predicted if share < 1 else measured < 0.1


def test_jupyter_can_open_the_notebooks() -> None:
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    for name in NAMES:
        nbformat.validate(nbformat.reads(json.dumps(stored(name)), as_version=4))


def test_a_cell_that_fails_fails() -> None:
    with pytest.raises(ZeroDivisionError):
        notebooks.execute([{"source": ["1 / 0"]}])
    with pytest.raises(AssertionError):
        notebooks.execute([{"source": ["!python -c 'raise SystemExit(3)'"]}])
    (outputs,) = notebooks.execute([{"source": ["print(1)\n", "2"]}])
    assert [output["output_type"] for output in outputs] == ["stream", "execute_result"]
