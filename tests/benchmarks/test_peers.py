"""Our solver beside a modelling tool: the same optima, and a page and a picture that show the rows and nothing else."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from benchmarks import peers, peers_page
from benchmarks.rows import csv_file, write

ROOT = Path(__file__).parents[2]
ROWS = ROOT / "results" / "peers-benchmark.csv"


@pytest.mark.parametrize(("series", "size"), [("plain", 4), ("fc", 3), ("points", 3)])
def test_all_find_the_same_optimum(series: str, size: int) -> None:
    """A peer's gap is that of the certificate, which knows nothing of the peer."""
    for solver in peers.SERIES[series].solvers(size):
        row = peers.measure(series, size, solver)
        assert row["seconds"] > 0
        assert 0 <= row["largest_gap"] < (1e-9 if solver in peers.OURS else 1e-2)


def test_one_program_with_a_parameter_is_solved_for_every_point() -> None:
    problems = peers.SERIES["points"].points(3)
    together = peers.solve_printed(problems, "CLARABEL", once=True)
    assert all(peers.gap(problem, Z) < 1e-3 for problem, Z in zip(problems, together, strict=True))
    assert peers.gap(problems[2], together[0]) > 1e-2  # the optimum of another point


def test_rows_come_back_from_their_file(tmp_path: Path) -> None:
    rows = [peers.measure("plain", 4, "orbits") | {"time": "2026-01-02T03:04:05+00:00", "commit": "c", "machine": "m"}]
    write(tmp_path / "rows.csv", rows)
    assert peers_page.read(tmp_path / "rows.csv") == rows


def test_the_committed_rows_are_of_one_run_and_complete() -> None:
    rows = peers_page.read(ROWS)
    assert len({(row["commit"], row["machine"], row["time"]) for row in rows}) == 1
    expected = {
        (name, size, solver)
        for name, series in peers.SERIES.items()
        for size in {*series.ours, *series.peers}
        for solver in series.solvers(size)
    }
    assert {(row["series"], row["size"], row["solver"]) for row in rows} == expected


def test_the_page_has_their_table_and_their_origin() -> None:
    page, rows = (ROOT / "docs/reproduce/speed.md").read_text(), peers_page.read(ROWS)
    assert peers_page.with_rows(page, rows) == page
    assert peers_page.table(rows) in page
    assert f"Measured: {peers_page.origin_of(rows)}." in page
    others = [row | {"seconds": 2 * row["seconds"], "machine": "another"} for row in rows]
    changed = peers_page.with_rows(page, others)
    assert peers_page.table(others) in changed
    assert "another" in changed


def test_the_picture_draws_every_row() -> None:
    rows = peers_page.read(ROWS)
    axes = peers_page.plot(rows).axes
    drawn = [point for axis in axes for line in axis.lines for point in line.get_xydata().tolist()]
    assert sorted(drawn) == sorted([float(row["size"]), row["seconds"]] for row in rows)


@pytest.mark.parametrize("place", ["missing/rows.csv", "."])
def test_a_file_that_cannot_be_written_is_refused_before_minutes_of_measuring(place: str, tmp_path: Path) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is a folder, or in none"):
        csv_file(str(tmp_path / place))
    assert csv_file(str(tmp_path / "rows.csv")) == tmp_path / "rows.csv"
