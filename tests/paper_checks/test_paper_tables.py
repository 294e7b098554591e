"""The paper's tables as data: against the paper's text where it is at hand, and against cells read by eye."""

from __future__ import annotations

from pathlib import Path

import pytest

from paper_checks.paper.tables import (
    DATA,
    LAYOUTS,
    SOURCES,
    Cell,
    ClassRange,
    Source,
    class_ranges,
    load,
    main,
    parse,
    parse_class_ranges,
)

PAPER = Path(__file__).parents[3] / "shared" / "paper" / "balancing-mixed-labels.txt"

BY_EYE: dict[Source, Cell] = {
    1: Cell("cifar100-lt", "100", "diff.", "few", 6.82, None),
    2: Cell("cifar10-lt", "100", "LOM (reported)", "all", 74.20, None),
    3: Cell("inaturalist2018", "", "BMLS+MS", "all", 56.60, None),
    4: Cell("cifar10-lt", "200", "random+MS", "all", 53.11, None),
    5: Cell("cifar100-lt", "50", "diff. BMLS+ETF+DR", "all", -1.17, None),
    7: Cell("cifar100-lt", "200", "UniMix (reported)", "all", 42.07, None),
    8: Cell("cifar10-lt", "200", "random+FC", "med", 69.99, 2.25),
    9: Cell("places-lt-ft", "", "BMLS+MS", "med", 40.14, 0.00),
    10: Cell("imagenet-lt", "", "CBS+FC", "few", 20.00, 0.92),
    11: Cell("cifar100-lt", "100", "random+MS", "med", 33.84, 0.61),
    12: Cell("cifar10-lt", "50", "BMLS+ETF+DR", "all", 84.30, 0.07),
    13: Cell("cifar100-lt", "10", "BMLS+MS-WETF+CE", "few", 57.24, 0.28),
    "figure3": Cell("cifar100-lt", "", "coverage 0.4", "many", 66.49, None),
    "figure4": Cell("cifar10-lt", "", "CAS+FC", "U_G", 15.3319, None),
}


@pytest.mark.parametrize("table", SOURCES)
def test_every_table_is_what_the_paper_prints(table: Source) -> None:
    if not PAPER.is_file():
        pytest.skip(f"the paper's text is not at {PAPER}")
    assert load(table) == parse(PAPER.read_text(encoding="utf-8"), table)


def test_table6_is_what_the_paper_prints() -> None:
    if not PAPER.is_file():
        pytest.skip(f"the paper's text is not at {PAPER}")
    assert class_ranges() == parse_class_ranges(PAPER.read_text(encoding="utf-8"))


def test_the_files_are_made_again_from_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not PAPER.is_file():
        pytest.skip(f"the paper's text is not at {PAPER}")
    monkeypatch.setattr("paper_checks.paper.tables.DATA", tmp_path)
    main(PAPER)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {p.name: p.read_bytes() for p in DATA.iterdir()}


@pytest.mark.parametrize("table", SOURCES)
def test_cells_read_by_eye(table: Source) -> None:
    cells = load(table)
    assert BY_EYE[table] in cells
    assert len({(c.dataset, c.imbalance, c.method, c.split) for c in cells}) == len(cells)
    assert all(0 <= c.mean <= 100 or c.method.startswith("diff.") for c in cells)
    if not isinstance(table, int):
        assert len(cells) == {"figure3": 48, "figure4": 12}[table]
        return
    layout = LAYOUTS[table]
    missing = len(layout.rows) * len(layout.columns) - len(cells)  # printed as N/A
    assert missing == {2: 8, 5: 5, 7: 51}.get(table, 0)


def test_every_file_is_a_table() -> None:
    tables = {f"table{source}.csv" if isinstance(source, int) else f"{source}.csv" for source in SOURCES}
    assert {path.name for path in DATA.iterdir()} == tables | {"table6.csv"}
    assert ClassRange("imagenet-lt", "few", 835, 999) in class_ranges()
    assert len(class_ranges()) == 15


def test_a_table_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="table 3: 1 data lines, expected 5"):
        parse("\nTable 3: x\n\nMethod\tPL\nrandom\t1.00\t2.00\t3.00\t4.00\n\nend", 3)
    with pytest.raises(ValueError, match="substring not found"):
        parse("no table here", 3)
    with pytest.raises(ValueError, match="figure 3: rows"):
        parse("\tfew\t1\t1\t1\t1\t1\t1\nFigure 3: x", "figure3")
    with pytest.raises(ValueError, match="figure 4: 0 samplers"):
        parse("x\nFigure 4: x", "figure4")
    with pytest.raises(ValueError, match="'0-2' is not a range"):
        parse_class_ranges("\nTable 6: x\n\n\tA\nMany\t0-2\n\n")


def test_table13_is_complete() -> None:
    cells = load(13)
    assert len({(c.imbalance, c.method) for c in cells}) == 20  # five methods at four imbalance factors
    assert len(cells) == 80  # four splits each
    assert all(c.std is not None for c in cells)
