"""Sweeps and thresholds as rows, and what notebooks show."""

from __future__ import annotations

import sys
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from lpm.console.errors import InvalidInput, NotCertified
from lpm.family import Family
from lpm.mixing import beta
from lpm.rows import Row, solve_row
from lpm.solve import solve
from lpm.threshold import thresholds
from lpm.tidy import Table, sweep_rows, threshold_rows

FAMILIES = [Family("fc", "product"), Family("ms", "block"), Family("plain", decay=0.01)]


def test_a_sweep_has_one_row_per_family_and_imbalance() -> None:
    rows = sweep_rows(FAMILIES, [1, 10.0])
    assert [(row["program"], row["R"]) for row in rows] == [(f.program, R) for f in FAMILIES for R in (1.0, 10.0)]
    for row, (family, R) in zip(rows, [(f, R) for f in FAMILIES for R in (1.0, 10.0)], strict=True):
        alone = solve_row(family, R).columns() | {"refused": ""}
        assert list(row) == list(alone)
        assert row["lower_bound"] <= alone["upper_bound"]
        assert alone["lower_bound"] <= row["upper_bound"]
        for name in ("K", "K_A", "lam", "collapsed", "refused", "profile"):
            assert row[name] == alone[name]
    one = sweep_rows(FAMILIES[0], np.array([10.0]))
    assert [row["cos_BB"] for row in one] == pytest.approx([rows[1]["cos_BB"]], abs=1e-6)


def test_a_row_that_is_not_certified_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    error = NotCertified(gap=1.0, relative_gap=1.0, tolerance=1e-6, solver="orbits", remedy="wait")
    monkeypatch.setattr("lpm.tasks.solve_rows", lambda points, **_: [error for _ in points])
    (row,) = sweep_rows(Family("fc", K=6), [10.0])
    assert row["refused"] == str(error)
    assert (row["program"], row["K"], row["R"], row["lam"], row["loss"]) == ("fc", 6, 10.0, "0.5", None)
    assert {field.name for field in fields(Row)} < set(row)


def test_thresholds_are_those_of_the_search() -> None:
    families = [*FAMILIES, Family("fc", "balanced"), Family("fc", mixing=beta(1.0, 4))]
    rows = threshold_rows(families)
    found = [one for family in families for one in thresholds([family])]
    for row, family, result in zip(rows, families, found, strict=True):
        assert (row["program"], row["profile"]) == (family.program, family.profile)
        assert row["certified"] == result.certified
        if result.R0 is None:
            assert row["R0"] is None
            assert row["bracket_low"] is None
        else:
            assert row["R0"] == pytest.approx(result.R0, rel=1e-9)
            assert row["bracket_low"] < row["R0"] < row["bracket_high"]
    with pytest.raises(InvalidInput, match="smaller K_A"):
        threshold_rows(Family("fc", K=4, K_A=3))


def test_progress_is_silent_unless_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("lpm.console.progress.INTERVAL", 0.0)
    threshold_rows(Family("fc"))
    assert capsys.readouterr() == ("", "")
    threshold_rows(Family("fc"), progress=True)
    assert "1 of 1" in capsys.readouterr().err


def test_a_sweep_without_imbalances_is_refused() -> None:
    with pytest.raises(InvalidInput, match="R is empty; give the imbalances"):
        sweep_rows(Family("fc", "product", K=4), R=[])


def test_rows_become_a_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Table([{"R": 1.0, "name": "a"}, {"R": 2.0, "name": "b"}])
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InvalidInput, match="pip install pandas"):
        rows.frame()
    monkeypatch.undo()
    pytest.importorskip("pandas", reason="pandas is not installed")
    assert rows.frame().to_dict("records") == list(rows)


def test_notebooks_show_tables_and_nothing_of_them_is_obeyed() -> None:
    assert Table()._repr_html_() == "<table></table>"
    text = Table([{"<b>": "<script>&"}])._repr_html_()
    assert text == "<table><tr><th>&lt;b&gt;</th></tr><tr><td>&lt;script&gt;&amp;</td></tr></table>"


def cells(thing: Any) -> dict[str, str]:
    """The rows of a table of two columns."""
    lines = (
        thing._repr_html_()
        .removeprefix("<table><tr><td>")
        .removesuffix("</td></tr></table>")
        .split("</td></tr><tr><td>")
    )
    return dict(line.split("</td><td>") for line in lines)


def test_a_problem_and_its_solution_say_what_they_are() -> None:
    problem = Family("fc", "product", K=6).at(1000.0)
    assert cells(problem) == {
        "program": "fc",
        "frequencies": "product",
        "lambda": "0.5",
        "classes": "6 in 2 groups of 3, 3",
        "E_H, E_W": "5, 1",
    }
    decayed = cells(replace(problem.under_decay(0.25), profile="<i>"))
    assert (decayed["mu"], decayed["frequencies"]) == ("0.25", "&lt;i&gt;")
    solution = solve(problem)
    shown = cells(solution)
    assert shown["minority collapse"] == "yes"
    assert shown["cosines"].endswith("BB 1.0000")
    low, high = (float(x) for x in shown["optimum in"].strip("[]").split(", "))
    assert low <= solution.lower_bound <= solution.upper_bound <= high
