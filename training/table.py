"""A table of the paper from the run store: ``python -m training.table 8 --data-root D`` fills it and prints it."""

from __future__ import annotations

import csv
import io
import sys
from dataclasses import replace
from pathlib import Path

from lpm import cli
from lpm.errors import InvalidInput
from training import tables
from training.config import PRESETS
from training.experiments import METHODS, TABLES
from training.runs import write
from training.train import jobs, seeds


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = cli.Parser("training.table", "a table of the paper: ours, n, the paper's value, the difference")
    parser.add_argument("number", type=cli.choice(*map(str, TABLES)), metavar="TABLE", help="|".join(map(str, TABLES)))
    parser.add_argument("--preset", type=cli.choice(*PRESETS), default="paper", metavar="NAME", help="|".join(PRESETS))
    parser.add_argument("--seeds", type=seeds, default=[0, 1, 2, 3, 4], help="seeds, such as 0-4")
    parser.add_argument(
        "--dataset", type=cli.choice("cifar10-lt", "cifar100-lt"), metavar="NAME", help="one data set of it"
    )
    parser.add_argument("--imbalance", type=int, metavar="N", help="one imbalance factor of it")
    parser.add_argument(
        "--method", type=cli.choice(*METHODS), action="append", metavar="NAME", help="some methods of it"
    )
    parser.add_argument("--data-root", type=Path, metavar="DIR", help="folder with CIFAR's files")
    parser.add_argument(
        "--jobs", type=jobs, default=1, metavar="N", help="runs at a time, each in a process of its own"
    )
    parser.add_argument("--store", type=Path, default=Path("runs"), metavar="DIR", help="the run store")
    devices = ("auto", "cpu", "cuda")
    parser.add_argument("--device", type=cli.choice(*devices), default="auto", metavar="NAME", help="|".join(devices))
    parser.add_argument("--dry-run", action="store_true", help="train nothing: list what is missing")
    formats = tables.FORMATS
    parser.add_argument(
        "--format", type=cli.choice(*formats), default="markdown", metavar="NAME", help="|".join(formats)
    )
    parser.add_argument(
        "--export", type=Path, metavar="CSV", help="also write a row for every finished run of the store"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    options = parser.parse_args(arguments)
    number = int(options.number)
    table = TABLES[number]
    if options.dataset is not None:
        table = replace(table, datasets=tuple(d for d in table.datasets if d == options.dataset))
    if options.imbalance is not None:
        table = replace(table, factors=tuple(f for f in table.factors if f == options.imbalance))
    if options.method is not None:
        table = replace(table, methods=tuple(m for m in table.methods if m in options.method))
    if not (table.datasets and table.factors and table.methods):
        whole = TABLES[number]
        raise InvalidInput(
            f"table {number} has no such cell; it has {', '.join(whole.methods)} on {', '.join(whole.datasets)} at imbalance "
            f"{', '.join(map(str, whole.factors))}"
        )
    if options.export is not None and not options.export.parent.is_dir():
        raise InvalidInput(f"--export {str(options.export)!r}: there is no such folder")
    wanted = tables.missing(table, options.store, options.preset, options.seeds)
    status = 0
    if wanted and not options.dry_run:
        from training.progress import train_all

        for dataset, imbalance in sorted({(c.dataset, c.imbalance) for c in wanted}):
            chosen = [c for c in wanted if (c.dataset, c.imbalance) == (dataset, imbalance)]
            try:
                status = max(status, train_all(chosen, options, printed=False))
            except InvalidInput as error:  # say so, and go on: what is there should be printed in any case
                print(f"error: {error}", file=sys.stderr)
                status = 2
    print(
        tables.FORMATS[options.format](tables.entries(number, table, options.store, options.preset, options.seeds)),
        end="",
    )
    if options.dry_run and wanted:
        print(f"{len(wanted)} runs are missing: the same command without --dry-run trains them", file=sys.stderr)
    if options.preset != "paper":
        print(
            f"preset {options.preset}: a shorter recipe; it shows the order of methods, not the paper's numbers",
            file=sys.stderr,
        )
    if options.export is not None:
        file = io.StringIO()
        writer = csv.DictWriter(file, tables.COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(tables.export(options.store))
        write(options.export, file.getvalue().encode())
    return status


if __name__ == "__main__":
    sys.exit(cli.run(main))
