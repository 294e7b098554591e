"""The map of weight decay and imbalance: its cells against rows written by hand, its picture, and bad input."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from figures import __main__ as command
from figures import law_map
from lpm.console.errors import InvalidInput


def row(series: str, w: str, rare: int, scale: float, few: str, seed: str = "0") -> dict[str, str]:
    """A row of benchmarks.law with singular values 1, 1, 1, 1 in A and ``scale`` times these in B."""
    return {
        "series": series,
        "seed": seed,
        "weight_decay": w,
        "counts": " ".join(["120"] * 5 + [str(rare)] * 5),
        "many": "90",
        "few": few,
        **{f"sA{n}": "1" for n in range(1, 5)},
        **{f"sB{n}": str(scale) for n in range(1, 5)},
    }


def written(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_cells_are_means_over_seeds_and_the_picture_is_drawn(tmp_path: Path) -> None:
    rows = [
        row("weight-decay", "0.02", 12, 0.6, "60"),
        row("weight-decay", "0.02", 12, 0.8, "70", "1"),
        row("weight-decay", "0.1", 12, 0.1, "0"),
        row("map-30", "0.02", 4, 0.05, "0"),
        row("FC", "0.00001", 12, 0.9, "99"),
        row("weight-decay-lr", "0.05", 12, 0.9, "99"),
    ]
    path = written(tmp_path / "runs.csv", rows)
    cells = law_map.data(path)
    assert [(c["imbalance"], c["weight_decay"], c["runs"]) for c in cells] == [
        (10, 0.02, 2),
        (10, 0.1, 1),
        (30, 0.02, 1),
    ]
    assert [c["ratio"] for c in cells] == pytest.approx([0.7, 0.1, 0.05])
    assert cells[0]["few"] == pytest.approx(65)
    assert command.main(["law-map", "--runs", str(path), "--quiet", "--out", str(tmp_path / "map")]) == 0
    assert (tmp_path / "map" / "law-map.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("change", [{"few": "nan"}, {"counts": "a b"}, {"counts": ""}, {"sB4": ""}, {"series": "FC"}])
def test_unreadable_rows_are_one_line(change: dict[str, str], tmp_path: Path) -> None:
    path = written(tmp_path / "runs.csv", [row("weight-decay", "0.02", 12, 0.6, "60") | change])
    for name in (path, tmp_path / "none.csv"):
        with pytest.raises(InvalidInput) as refused:
            law_map.data(name)
        assert "\n" not in str(refused.value)
