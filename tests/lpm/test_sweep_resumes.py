"""A sweep that was ended goes on from its results with the same command."""

from __future__ import annotations

import csv
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lpm import sweep, tasks
from lpm.console import cli
from lpm.console.errors import NotCertified
from lpm.console.journal import Journal, restored
from lpm.family import Family
from lpm.rows import Row, solve_rows
from lpm.threshold import Threshold

Points = list[tuple[Family, float]]

WORDS = ["--profile", "product", "--points", "6"]
"""A sweep of three families: three thresholds and 18 rows."""

ENDED = """
import os, signal, sys
from lpm import sweep, tasks
from lpm.console import cli

rows, solve_rows = [], tasks.solve_rows

def ended(points, **choices):
    if len(rows) == 8:
        os.kill(os.getpid(), signal.Signals[sys.argv[1]])
    rows.extend(solve_rows(points, **choices))
    return rows[-len(points):]

tasks.BATCH, tasks.solve_rows = 4, ended
sys.exit(cli.run(lambda: sweep.main(sys.argv[2:])))
"""
"""A sweep that gets a signal while it solves its third batch of rows."""


def run(*words: str) -> int:
    return cli.run(lambda: sweep.main(list(words)))


def end(name: str, *words: str) -> None:
    """Start a sweep that a signal ends."""
    ended = subprocess.run([sys.executable, "-c", ENDED, name, *words, "--quiet"], capture_output=True, check=False)
    assert ended.returncode in (-9, 143)


def count_solves(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    """List the family and R of every row that is solved from now on."""
    solves: list[tuple[str, float]] = []

    def counted(points: Points, **choices: Any) -> list[Row | NotCertified]:
        solves.extend((family.name, R) for family, R in points)
        return solve_rows(points, **choices)

    monkeypatch.setattr(tasks, "solve_rows", counted)
    return solves


def rows_of(out: Path) -> list[dict[str, str]]:
    rows = list(csv.DictReader((out / "sweep.csv").read_text().splitlines()))
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def numbers_of(row: dict[str, str]) -> list[float]:
    return [float(row[name]) for name in ("R", "loss", "lower_bound", "cos_AA", "cos_AB", "cos_BB", "norm_A", "norm_B")]


@pytest.mark.parametrize("signal", ["SIGTERM", "SIGKILL"])
def test_the_same_command_goes_on(
    signal: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, whole = tmp_path / "out", tmp_path / "whole"
    end(signal, *WORDS, "--out", str(out))
    assert out.exists() == (signal == "SIGTERM")
    solves = count_solves(monkeypatch)
    assert run(*WORDS, "--out", str(out)) == 0
    assert len(solves) == len(set(solves)) == 18 - 8
    text = capsys.readouterr()
    assert " of 21 results were kept; the sweep goes on from them" in text.err
    assert "18 certified solves, 3 thresholds" in text.out
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["complete"], manifest["rows"]) == (True, 18)
    assert manifest["resumed"] == 3 + 8
    assert sweep.JOURNAL not in manifest["files"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]
    assert sorted(entry.name for entry in out.iterdir()) == sorted([*manifest["files"], "manifest.json"])
    assert run(*WORDS, "--quiet", "--out", str(whole)) == 0
    for row, other in zip(rows_of(out), rows_of(whole), strict=True):
        # Last digits depend on what is solved in one batch.
        assert numbers_of(row) == pytest.approx(numbers_of(other), rel=1e-9, abs=1e-12, nan_ok=True)
        assert (row["program"], row["profile"], row["collapsed"]) == (
            other["program"],
            other["profile"],
            other["collapsed"],
        )
    solves.clear()
    assert run(*WORDS, "--quiet", "--out", str(out)) == 0  # a complete sweep is made anew
    assert len(solves) == 18


def test_other_choices_solve_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    end("SIGKILL", *WORDS, "--out", str(out))
    solves = count_solves(monkeypatch)
    assert run(*WORDS, "--quiet", "--E-H", "4", "--out", str(out)) == 0
    assert len(solves) == 18
    assert {row["E_H"] for row in rows_of(out)} == {"4"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_rows_that_were_not_certified_are_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = NotCertified(gap=1.0, relative_gap=1.0, tolerance=1e-6, solver="orbits", remedy="x")

    def refuses(points: Points, **choices: Any) -> list[Row | NotCertified]:
        rows = solve_rows(points, **choices)
        return [refusal if R > 100 else row for (_, R), row in zip(points, rows, strict=True)]

    words = ["--program", "plain", "--points", "5", "--quiet", "--out", str(tmp_path / "out")]
    monkeypatch.setattr(tasks, "solve_rows", refuses)
    assert run(*words) == 1
    solves = count_solves(monkeypatch)
    assert run(*words) == 0
    assert [R for _, R in solves] == [1000.0, 10000.0]
    assert [row["R"] for row in rows_of(tmp_path / "out")] == ["1", "10", "100", "1000", "10000"]


def test_a_disk_that_was_full_at_the_end_costs_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    words = ["--program", "plain", "--points", "5", "--quiet", "--out", str(tmp_path / "out")]
    with monkeypatch.context() as patch:
        patch.setattr(sweep, "write_csv", full)
        assert run(*words) == 1
    solves = count_solves(monkeypatch)
    assert run(*words) == 0
    assert solves == []
    assert len(rows_of(tmp_path / "out")) == 5
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_damaged_lines_are_solved_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    end("SIGTERM", *WORDS, "--out", str(out))
    journal = out / sweep.JOURNAL
    lines = journal.read_bytes().splitlines(keepends=True)
    rows = [n for n, line in enumerate(lines) if b"cos_AA" in line]
    lines[rows[0]] = lines[rows[0]].replace(b"0", b"1")  # another number
    lines[rows[1]] = b"\xff\n"
    lines[rows[2]] = b"[" * 100_000 + b"\n"
    lines[rows[-1]] = lines[rows[-1]][:40]  # cut off
    journal.write_bytes(b"".join(lines))
    solves = count_solves(monkeypatch)
    assert run(*WORDS, "--quiet", "--out", str(out)) == 0
    assert len(solves) == 18 - 8 + 4


@pytest.mark.parametrize("kind", ["pipe", "link", "folder"])
def test_what_is_no_file_is_not_read(kind: str, tmp_path: Path) -> None:
    real, odd = tmp_path / "real", tmp_path / "odd"
    with Journal(real) as journal:
        journal.add("a", 1)
    make = {"pipe": lambda: os.mkfifo(odd), "link": lambda: odd.symlink_to(real), "folder": odd.mkdir}
    make[kind]()
    assert Journal(tmp_path / "new", [odd], {"a"}).records == {}
    assert Journal(tmp_path / "new", [tmp_path / "none", real], {"a"}).records == {"a": 1}


def test_a_journal_keeps_what_json_has_not(tmp_path: Path) -> None:
    with Journal(tmp_path / "1") as journal:
        journal.add("a", {"x": math.nan, "y": [0.1 + 0.2, 1e-300]})
        journal.add("b", 1)
        journal.add("c", "of another version")
        journal.add("c", "made anew")
    assert Journal(tmp_path / "3", [tmp_path / "1"], {"c"}).records == {"c": "made anew"}
    with Journal(tmp_path / "2", [tmp_path / "1"], {"a"}) as journal:
        assert journal.records["a"]["y"] == [0.1 + 0.2, 1e-300]
        assert math.isnan(journal.records["a"]["x"])
    assert (tmp_path / "2").read_bytes() == (tmp_path / "1").read_bytes().splitlines(keepends=True)[0]


def test_only_records_of_the_right_types_are_taken() -> None:
    good = {"R0": 2.0, "bracket": [1.0, 3.0], "collapsed_above": True, "certified": True, "seconds": 1.0}
    good |= {"intervals": [], "proofs": [[1.0, False], [3, True]], "collapsed_from": None}
    assert restored(Threshold, good) == Threshold(
        R0=2.0, bracket=(1.0, 3.0), collapsed_above=True, certified=True, seconds=1.0, proofs=((1.0, False), (3, True))
    )
    for change in (
        {"R0": "2"}, {"bracket": [1.0]}, {"certified": 1}, {"proofs": [[1.0, 0]]}, {"proofs": None}, {"other": 1},
        {"seconds": True}, {"R0": 10**400},
    ):  # fmt: skip
        assert restored(Threshold, good | change) is None, change
    for record in (None, [], "x", {}):
        assert restored(Threshold, record) is None
