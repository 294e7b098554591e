"""What each cure of imbalance does to the optimum: ``python -m lpm.cures --K 10 --R 100 --decay 0.03``."""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path

from lpm.console.errors import InvalidInput, check_within
from lpm.console.output import OutputFolder
from lpm.console.rounding import inside
from lpm.cure_rows import CURES, Setting
from lpm.cure_table import Row, Table
from lpm.family import limited
from lpm.options import add_limits, limits_of, settings_of
from lpm.pairs import ClassCounts, check_imbalances, class_counts, imbalanced
from lpm.problem import Problem

BY_NAME = {cure.name: cure for cure in CURES}
CLASSES = {"K": 10, "K_A": None, "R": 100.0, "R_min": 1.0, "R_max": 1e4}
"""Defaults of the options that describe two groups of classes."""

NODES, FEW_NODES = 24, 8
"""Quadrature nodes of the mixing ratio: R0 is then that of ``lpm.threshold``'s 64 to five digits. The second number is for
counts of one's own, where all classes differ and a solve takes a second. A Beta law's R0 is off by 0.3 % with 8 nodes."""


def table_of(rows: Sequence[Row], R_min: float, R_max: float) -> list[list[str]]:
    """Lay rows out for people.

    Args:
        rows: the rows.
        R_min: smallest imbalance at which collapse was looked for.
        R_max: largest imbalance.

    Returns:
        Cells; the first row is the head.
    """
    head = ["cure", "c_B", "c_A", "R0", "cos AA", "AB", "BB", "norm A", "B", "margin B", "collapsed", "gap"]
    return [head, *([row.cure, *_cells(row, _where(row, R_min, R_max))] for row in rows)]


def _where(row: Row, R_min: float, R_max: float) -> str:
    """The imbalances at which collapse holds, in the fewest words."""
    if row.intervals is None:
        return "?" if row.R0 is None or row.bracket is None else inside(row.R0, row.bracket)
    if row.intervals == ((R_min, R_max),):
        return "always"
    words = [f"up to {high:.4g}" if low == R_min else f"{low:.4g}" for low, high in row.intervals]
    return ", ".join(words) or "-"


def _cells(row: Row, R0: str) -> list[str]:
    def number(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    return [
        number(row.c_B, ".3g"),
        number(row.c_A, ".3g"),
        R0,
        *(number(value, "+.3f") for value in (row.cos_AA, row.cos_AB, row.cos_BB)),
        *(number(value, ".3g") for value in (row.norm_A, row.norm_B, row.margin_B)),
        {True: "yes", False: "no", None: "undecided"}[row.collapsed] if row.alike else f"rank {row.rank}",
        number(row.relative_gap, ".0e"),
    ]


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write rows to a CSV file; missing numbers are empty.

    Args:
        path: the file.
        rows: the rows.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        names = [field.name for field in fields(Row) if field.name not in ("bracket", "intervals")]
        writer.writerow([*names, "bracket_low", "bracket_high", "intervals"])
        for row in rows:
            low, high = row.bracket or ("", "")
            cells = [getattr(row, name) for name in names]
            intervals = " ".join(f"{start}:{end}" for start, end in row.intervals or ())
            writer.writerow([*("" if cell is None else cell for cell in cells), low, high, intervals])


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: words of the command line; those of the process if None.

    Returns:
        Its exit status; 1 if a cure that was named is not certified.

    Raises:
        InvalidInput: if options do not go together, or a cure that was named is not defined for them.
    """
    from lpm.console import cli
    from lpm.cure_plot import plot

    parser = cli.Parser("lpm.cures", "what each cure of imbalance does to the optimum: collapse, R0, cosines, margins")
    add = parser.group("classes").add_argument
    add("--K", type=int, default=CLASSES["K"], help="number of classes")
    add("--K-A", type=int, help="number of majority classes (default: K // 2)")
    add("--R", type=float, default=CLASSES["R"], help="imbalance n_A / n_B at which the programs are solved")
    add("--R-min", type=float, default=CLASSES["R_min"], help="smallest imbalance at which collapse is looked for")
    add("--R-max", type=float, default=CLASSES["R_max"], help="largest imbalance")
    add("--counts", type=cli.numbers("class counts"), metavar="N,N,...", help="class counts instead of --K, --K-A, --R")
    add("--n-max", type=float, default=5000.0, help="images of the most frequent class, for effective numbers")
    add_limits(parser)
    add = parser.group("mixing").add_argument
    add("--alpha", type=float, default=1.0, help="mixup's Beta(alpha, alpha); 0: the losses without mixup")
    add("--nodes", type=int, help=f"quadrature nodes of the mixing ratio (default: {NODES}; {FEW_NODES} with --counts)")
    parser.group("cures").add_argument(
        "--cure",
        action="append",
        type=cli.choice(*BY_NAME),
        metavar="NAME",
        help=f"one of {', '.join(BY_NAME)}; give it again for more (default: all)",
    )
    parser.group("output").add_argument("--out", type=Path, metavar="DIR", help="write cures.csv and a picture there")
    cli.add_report(parser)
    options = parser.parse_args(arguments)
    table = _table(options)
    for name in options.cure or ():
        try:
            table.limit(BY_NAME[name].build(table.setting))
        except InvalidInput as refusal:
            raise InvalidInput(f"{name}: {refusal}") from None
    rows = table.rows([BY_NAME[name] for name in dict.fromkeys(options.cure or BY_NAME)])
    limits = limits_of(options)
    words = settings_of(limits["e_h"], limits["e_w"], limits["decay"], bias=limits["bias"])
    where = f"R = {options.R:g}" if options.counts is None else "own counts"
    law = f"alpha = {options.alpha:g}, {table.setting.nodes} nodes"
    settings = f"K = {table.setting.classes.K}, {where}, {law}, {words}"
    if options.out is not None:
        with OutputFolder(options.out, "lpm.cures") as folder:
            write_csv(folder.path / "cures.csv", rows)
            plot(rows, [folder.path / f"cures.{kind}" for kind in ("png", "pdf")], settings, limits["decay"])
            folder.finish({"settings": settings})
    if options.json:
        cli.print_json([asdict(row) for row in rows])
    elif not options.quiet:
        print(settings)
        _print(table_of([row for row in rows if row.relative_gap is not None], options.R_min, options.R_max))
        for note in dict.fromkeys(row.note for row in rows if row.note):
            of = [row.cure for row in rows if row.note == note]
            print(f"{'all' if len(of) == len(rows) else ', '.join(of)}: {note}")
        cli.next_step("python -m training.compare trains networks with such cures, by default on the built-in digits")
    return int(any(options.cure and row.relative_gap is None for row in rows))


def _print(table: list[list[str]]) -> None:
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    for line in table:
        print("  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))]))


def _table(options: argparse.Namespace) -> Table:
    """The table that the options describe. Raises InvalidInput."""
    if options.counts is not None:
        for name, default in CLASSES.items():
            if getattr(options, name) != default:
                raise InvalidInput(
                    f"--counts takes the place of --K, --K-A, --R and its range, so --{name.replace('_', '-')} has no effect"
                )
    if options.alpha < 0 or not math.isfinite(options.alpha):
        raise InvalidInput(f"alpha = {options.alpha:g} must be at least 0")
    if options.nodes is None:
        options.nodes = NODES if options.counts is None else FEW_NODES
    if not 1 <= options.nodes <= 200:
        raise InvalidInput(f"nodes = {options.nodes} must lie in 1..200")
    check_within("n-max", options.n_max, 1.0, 1e12)
    check_imbalances(options.R_min, options.R_max)
    for k, count in enumerate(options.counts or []):
        if not 0 < count < math.inf:
            raise InvalidInput(
                f"--counts: count of class {k} is {count:g}, must be positive and finite; drop the class"
            )
    limits = limits_of(options)

    def limit(problem: Problem) -> Problem:
        given = replace(problem, e_h=limits["e_h"], e_w=limits["e_w"])
        return limited(given, limits["decay"], limits["features"], bias=limits["bias"])

    def at(R: float) -> ClassCounts:
        return imbalanced(options.K, options.K_A, R)

    classes = at(options.R) if options.counts is None else class_counts(options.counts)
    setting = Setting(classes=classes, alpha=options.alpha, nodes=options.nodes, n_max=options.n_max)
    limit(CURES[0].build(setting))  # a budget, decay or alpha out of range is no matter of single cures
    if setting.alpha:
        _ = setting.mixing
    return Table(
        setting=setting,
        limit=limit,
        at=at if options.counts is None else None,
        R_min=options.R_min,
        R_max=options.R_max,
    )


if __name__ == "__main__":
    from lpm.console.cli import run

    sys.exit(run(main))
