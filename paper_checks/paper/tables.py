"""The paper's tables as data: read from ``data/*.csv``, and parsed from the paper's text to make or verify them.

``python -m paper_checks.paper.tables PAPER.txt`` writes the CSV files again. Each printed cell is one row, with the
columns dataset, imbalance, method (sampler, classifier, loss joined by '+'), split (many, med, few, all), mean, std.
The tables inside Figures 3 and 4 have the same columns ('coverage 0.4' is a method; 'U_G' and 'U' are splits). Table 6
has columns of its own: dataset, split, first and last class.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

DATA = Path(__file__).parents[1] / "data"
"""Folder of the CSV files, one per table."""

CELL = re.compile(r"(?P<mean>[+-]?\d+\.\d\d)(?: ?_\{(?P<braced>\d+\.\d\d)\}|(?P<joined>\d+\.\d\d))?$")
"""A printed cell: ``66.77 _{0.76}``, ``$74.12_{1.21}$``, ``69.992.25`` (69.99 and 2.25), ``+8.34`` or ``67.30``."""


@dataclass(frozen=True)
class Cell:
    """One number of a table: test accuracy over the paper's repeated runs.

    Attributes:
        dataset: name of the data set, such as 'cifar10-lt'.
        imbalance: imbalance factor as printed; empty where the table has none.
        method: sampler, classifier and loss joined by '+', such as 'BMLS+FC'.
        split: many, med, few or all; 'U_G' or 'U' in Figure 4.
        mean: mean test accuracy in per cent; in the rows "diff." a difference in points.
        std: standard deviation in points; None if none is printed.
    """

    dataset: str
    imbalance: str
    method: str
    split: str
    mean: float
    std: float | None


@dataclass(frozen=True)
class Layout:
    """The rows and columns of a printed table.

    Attributes:
        columns: (dataset, imbalance, split) of each numeric column; an empty dataset or imbalance comes from the row.
        rows: (dataset or imbalance, method) of each data line, in the order of print.
    """

    columns: Sequence[tuple[str, str, str]]
    rows: Sequence[tuple[str, str]]


FACTORS = ("200", "100", "50", "10")
CIFAR_LT = ("cifar10-lt", "cifar100-lt")
BASELINES = ("random+FC", "CBS+FC", "CAS+FC")
SPLITS = ("many", "med", "few", "all")
CIFAR = [(dataset, factor, "all") for dataset in ("cifar10-lt", "cifar100-lt") for factor in FACTORS]
BOTH = [(dataset, "", split) for dataset in ("cifar10-lt", "cifar100-lt") for split in SPLITS]


def _by_factor(*methods: str) -> list[tuple[str, str]]:
    return [(factor, method) for factor in FACTORS for method in methods]


SAMPLERS = ("random+FC", "CBS+FC", "CAS+FC", "BMLS+FC", "BMLS+MS")
ETF = ("random+ETF+DR", "CBS+ETF+DR", "CAS+ETF+DR", "BMLS+ETF+DR", "BMLS+MS-WETF+CE")
REPORTED = (
    "Mixup",
    "Remix",
    "CMO",
    "SBN-mix",
    "OTMix",
    "BBN-mix",
    "DBN-mix",
    "UniMix",
    "MiSLAS",
    "CP-Mix",
    "CB+RS",
    "CB+RW",
    "CB+Focal",
    "LDAM",
    "LDAM+DRW",
    "CAS",
    "LOM",
    "CAS+DRW",
    "LOM+DRW",
)
LAYOUTS: dict[int, Layout] = {
    1: Layout([("", factor, split) for factor in FACTORS[:2] for split in SPLITS],
              [(d, m) for d in ("cifar10-lt", "cifar100-lt") for m in ("BMLS+FC", "BMLS+MS", "diff.")]),
    2: Layout(
        CIFAR,
        [("", m) for m in ("Mixup (reported)", "CAS+ERM (reported)", "LOM (reported)", "random+FC", "CBS+FC", "CAS+FC")]
        + [("", "BMLS+MS")],
    ),
    3: Layout([(d, "", "all") for d in ("places-lt", "places-lt-ft", "imagenet-lt", "inaturalist2018")],
              [("", m) for m in SAMPLERS]),
    4: Layout(CIFAR, [("", m) for m in ("random+FC", "random+MS", "BMLS+FC", "BMLS+MS")]),
    5: Layout(
        CIFAR,
        [("", m) for m in ("random+ETF+CE (reported)", "random+ETF+DR (reported)", *ETF[:4], "diff. BMLS+ETF+DR")]
        + [("", ETF[4]), ("", "diff. BMLS+MS-WETF+CE")],
    ),
    7: Layout(CIFAR, [("", f"{m} (reported)") for m in REPORTED]
              + [("", m) for m in ("random+FC", "CBS+FC", "CAS+FC", "BMLS+MS")]),
    8: Layout(BOTH, _by_factor(*SAMPLERS)),
    9: Layout([(d, "", s) for d in ("places-lt", "places-lt-ft") for s in SPLITS], [("", m) for m in SAMPLERS]),
    10: Layout([(d, "", s) for d in ("imagenet-lt", "inaturalist2018") for s in SPLITS], [("", m) for m in SAMPLERS]),
    11: Layout(BOTH, _by_factor("random+FC", "random+MS", "BMLS+FC", "BMLS+MS")),
    12: Layout([("cifar10-lt", "", s) for s in SPLITS], _by_factor(*ETF)),
    13: Layout([("cifar100-lt", "", s) for s in SPLITS], _by_factor(*ETF)),
}  # fmt: skip


Source = int | Literal["figure3", "figure4"]
"""A table by its number, or the table inside a figure."""


def _file(source: Source) -> Path:
    return DATA / (f"table{source}.csv" if isinstance(source, int) else f"{source}.csv")


def load(source: Source) -> list[Cell]:
    """Read the cells of a table from its CSV file.

    Args:
        source: a table's number, or 'figure3' or 'figure4'.

    Returns:
        The cells in the order of print.
    """
    with _file(source).open(newline="", encoding="utf-8") as file:
        return [
            Cell(
                r["dataset"],
                r["imbalance"],
                r["method"],
                r["split"],
                float(r["mean"]),
                float(r["std"]) if r["std"] else None,
            )
            for r in csv.DictReader(file)
        ]


def means(source: Source, split: str = "all") -> dict[tuple[str, str, str], float]:
    """Read the means of one split of a table.

    Args:
        source: a table's number, or 'figure3' or 'figure4'.
        split: many, med, few or all.

    Returns:
        Mean accuracy in per cent by (dataset, imbalance, method).
    """
    return {(c.dataset, c.imbalance, c.method): c.mean for c in load(source) if c.split == split}


def best(cells: dict[tuple[str, str, str], float], dataset: str, imbalance: str, methods: Iterable[str]) -> float:
    """Find the largest mean among some methods at one setting.

    Args:
        cells: means by (dataset, imbalance, method), as ``means`` gives them.
        dataset: the data set.
        imbalance: the imbalance factor, empty for large data sets.
        methods: names of methods; those without a cell at this setting are left out.

    Returns:
        The largest mean, in per cent.
    """
    return max(cells[dataset, imbalance, m] for m in methods if (dataset, imbalance, m) in cells)


def parse(text: str, source: Source) -> list[Cell]:
    """Parse the cells of a table from the paper's text.

    Args:
        text: the whole paper as text; cells of a table are separated by tabs.
        source: a table's number, or 'figure3' or 'figure4'.

    Returns:
        The cells in the order of print; N/A gives none.

    Raises:
        ValueError: if the table is missing or does not have the expected layout.
    """
    if source == "figure3":
        return _figure3(text)
    if source == "figure4":
        return _figure4(text)
    table = int(source)
    layout, cells = LAYOUTS[table], []
    lines = list(_data_lines(text, table, len(layout.columns)))
    if len(lines) != len(layout.rows):
        raise ValueError(f"table {table}: {len(lines)} data lines, expected {len(layout.rows)}")
    for (key, method), values in zip(layout.rows, lines, strict=True):
        for (dataset, imbalance, split), value in zip(layout.columns, values, strict=True):
            if value is not None:
                cells.append(Cell(dataset or key, imbalance or (key if dataset else ""), method, split, *value))
    return cells


def _figure3(text: str) -> list[Cell]:
    """Parse the test accuracies over the coverage ratio.

    The name of a data set stands in the first or second row of its block of four.
    """
    lines = [line.split("\t") for line in text.split("\nFigure 3: ")[0].splitlines()[-11:] if line.count("\t") == 7]
    ratios = [word for words in lines for word in words[2:] if words[1] not in SPLITS and re.fullmatch(r"\d\.\d", word)]
    rows = [(words[1], words[2:]) for words in lines if words[1] in SPLITS]
    if [split for split, _ in rows] != ["few", "med", "many", "all"] * 2 or len(ratios) != 6:
        raise ValueError(
            f"figure 3: rows {[split for split, _ in rows]} over ratios {ratios} are not the expected table"
        )
    return [
        Cell(dataset, "", f"coverage {ratio}", split, float(value), None)
        for dataset, block in (("cifar10-lt", rows[:4]), ("cifar100-lt", rows[4:]))
        for split, values in block
        for ratio, value in zip(ratios, values, strict=True)
    ]


def _figure4(text: str) -> list[Cell]:
    """Parse accuracy, U_G and U of the four samplers with the classifier FC."""
    lines = [line.split("\t") for line in text.split("\nFigure 4: ")[0].splitlines()[-6:]]
    rows = [(words[0], words[1:]) for words in lines if words[0] in ("Random", "CBS", "CAS", "BMLS")]
    if len(rows) != 4:
        raise ValueError(f"figure 4: {len(rows)} samplers, expected 4")
    return [
        Cell("cifar10-lt", "", f"{'random' if name == 'Random' else name}+FC", split, float(value), None)
        for name, values in rows
        for split, value in zip(("all", "U_G", "U"), values, strict=True)
    ]


@dataclass(frozen=True)
class ClassRange:
    """A cell of Table 6: the classes of one split of a data set.

    Attributes:
        dataset: name of the data set.
        split: many, med or few.
        first: first class of the split, from 0.
        last: last class of the split, included.
    """

    dataset: str
    split: str
    first: int
    last: int


def parse_class_ranges(text: str) -> list[ClassRange]:
    """Parse Table 6 from the paper's text.

    Args:
        text: the whole paper as text.

    Returns:
        The class ranges, split by split.

    Raises:
        ValueError: if the table is missing or a cell is not a range.
    """
    body = text[text.index("\nTable 6: ") + 1 :].split("\n\n", 2)[1].splitlines()
    names = [name.lower() for name in body[0].split("\t")[1:]]
    ranges = []
    for split, line in zip(SPLITS, body[1:], strict=False):
        for name, word in zip(names, line.split("\t")[1:], strict=True):
            if (match := re.fullmatch(r"\[(\d+), ?(\d+)\]", word)) is None:
                raise ValueError(f"table 6: {word!r} is not a range of classes")
            ranges.append(ClassRange(name, split, int(match[1]), int(match[2])))
    return ranges


def class_ranges() -> list[ClassRange]:
    """Return the class ranges of Table 6, read from its CSV file."""
    with (DATA / "table6.csv").open(newline="", encoding="utf-8") as file:
        return [ClassRange(r["dataset"], r["split"], int(r["first"]), int(r["last"])) for r in csv.DictReader(file)]


def _data_lines(text: str, table: int, width: int) -> Iterator[list[tuple[float, float | None] | None]]:
    """Yield the last ``width`` cells of each data line; None for N/A."""
    start = text.index(f"\nTable {table}: ")
    body = text[start + 1 :].split("\n\n", 2)[1]
    for line in body.splitlines():
        values = [_cell(word) for word in line.rstrip("\t ").split("\t")[-width:]]
        if len(values) == width and all(value != () for value in values):
            yield [value or None for value in values]


def _cell(word: str) -> tuple[float, float | None] | tuple[()] | None:
    """Parse a printed cell: (mean, std), None for N/A, () for anything else."""
    word = word.replace("$", "").strip()
    if word == "N/A":
        return None
    if (match := CELL.match(word)) is None:
        return ()
    std = match["braced"] or match["joined"]
    return float(match["mean"]), float(std) if std else None


SOURCES: tuple[Source, ...] = (*LAYOUTS, "figure3", "figure4")
"""All tables of accuracies."""


def main(path: Path) -> None:
    """Write the CSV files of all tables.

    Args:
        path: file with the paper's text.
    """
    text = path.read_text(encoding="utf-8")
    for source in SOURCES:
        digits = 4 if source == "figure4" else 2
        rows = [asdict(cell) for cell in parse(text, source)]
        for row in rows:
            row["mean"] = f"{row['mean']:.{digits if row['split'].startswith('U') else 2}f}"
            row["std"] = "" if row["std"] is None else f"{row['std']:.2f}"
        _write(_file(source), rows)
    _write(DATA / "table6.csv", [asdict(row) for row in parse_class_ranges(text)])


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
