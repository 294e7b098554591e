"""A table of the paper from the run store: ``python -m training.table 8 --data-root D`` fills it and prints it."""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import shlex
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from lpm.console import cli, engines
from lpm.console.errors import InvalidInput
from lpm.console.output import write
from training.config import RunConfig
from training.distributed.torchrun import processes
from training.experiments import METHODS, TABLES, Table, config
from training.options import NAMES, Options, add_data, add_device, seeds
from training.store import tables

USUAL = {
    **{"store": Path("runs"), "device": "auto", "engine": "local", "address": None, "jobs": 1},
    **{"workers": None, "weights": None},
}
"""Options that a command which fills a cell repeats where they are not these."""


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    options = _options(arguments)
    engines.check(options)
    if processes() > 1:
        raise InvalidInput(
            "torchrun trains one run with all processes; use it with training.train, whose --dataset, --sampler and --classifier "
            "say which cell"
        )
    number = int(options.number)
    table = _part(number, options)
    options.seeds = options.seeds or list(range(table.seeds))
    if (path := options.export) is not None and (path.is_dir() or not path.parent.is_dir()):
        raise InvalidInput(
            f"--export {str(path)!r}: {'that is a folder' if path.is_dir() else 'there is no such folder'}"
        )
    status = 0 if options.dry_run else _train(table, options)
    found = tables.entries(number, table, options.store, options.preset, options.seeds)
    print(tables.FORMATS[options.format](found), end="", flush=True)
    if lacking := tables.missing(table, options.store, options.preset, options.seeds):
        whole = ": the same command without --dry-run trains them" if options.dry_run else ""
        print(f"{len(lacking)} runs are missing{whole}; cell by cell:", file=sys.stderr)
        for command in commands(number, table, lacking, options):
            print(command, file=sys.stderr)
    if options.preset != "paper":
        print(
            f"preset {options.preset}: a shorter recipe; it shows the order of methods, not the paper's numbers",
            file=sys.stderr,
        )
    if options.export is not None:
        _export(options.store, options.export)
    return status


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = cli.Parser("training.table", "a table of the paper: ours, n, the paper's value, the difference")
    add, formats = parser.add_argument, tables.FORMATS
    add("number", type=cli.choice(*map(str, TABLES)), metavar="TABLE", help="|".join(map(str, TABLES)))
    add("--preset", type=cli.choice(*NAMES), default="paper", metavar="NAME", help="|".join(NAMES))
    add("--seeds", type=seeds, help="seeds, such as 0-4 (default: as many as the paper has)")
    sets = tuple(dict.fromkeys(d for table in TABLES.values() for d in table.datasets))
    add("--dataset", type=cli.choice(*sets), metavar="NAME", help="one data set of it: " + "|".join(sets))
    add("--imbalance", type=int, metavar="N", help="one imbalance factor of it")
    add("--method", type=cli.choice(*METHODS), action="append", metavar="NAME", help="some methods of it")
    add_data(parser)
    cli.add_engine(parser, "runs that share a GPU")
    add("--store", type=Path, default=USUAL["store"], metavar="DIR", help="the run store")
    add_device(parser)
    add("--dry-run", action="store_true", help="train nothing: list what is missing, and the commands that train it")
    add("--format", type=cli.choice(*formats), default="markdown", metavar="NAME", help="|".join(formats))
    add("--export", type=Path, metavar="CSV", help="also write a row for every finished run of the store")
    add("--quiet", action="store_true", help="no progress bar")
    return parser.parse_args(arguments)


def _part(number: int, options: argparse.Namespace) -> Table:
    """What the options leave of a table. Raises InvalidInput when that is nothing."""
    whole = TABLES[number]
    part = replace(
        whole,
        datasets=tuple(d for d in whole.datasets if options.dataset in (None, d)),
        factors=tuple(f for f in whole.factors if options.imbalance in (None, f)),
        methods=tuple(m for m in whole.methods if m in (options.method or whole.methods)),
    )
    if not (part.datasets and part.factors and part.methods):
        raise InvalidInput(
            f"table {number} has no such cell; it has {', '.join(whole.methods)} on {', '.join(whole.datasets)} at imbalance "
            f"{', '.join(map(tables.factor_word, whole.factors))}"
        )
    return part


def _train(table: Table, options: argparse.Namespace) -> int:
    """Train what is missing, data set by data set; what is wrong with one is said, and the others go on. The exit status."""
    from training.jobs.train_all import ready, train_all

    run, said = Options.of(options), set[str]()

    def tried(action: Callable[[], Any]) -> Any:
        """What an action returns, None where it fails; each reason is said once."""
        try:
            return action()
        except InvalidInput as error:
            if str(error) not in said:
                print(f"error: {error}", file=sys.stderr)
            said.add(str(error))

    groups: dict[tuple[str, float, bool], list[RunConfig]] = defaultdict(list)
    for wanted in tables.missing(table, options.store, options.preset, options.seeds):
        groups[_group(wanted)].append(wanted)
    # Days may lie between the first data set and the second.
    sets = {name: runs for (name, *_), runs in groups.items()}
    there = {name for name, runs in sets.items() if tried(partial(ready, runs, run, quiet=run.quiet)) is not None}
    chosen = [runs for group, runs in sorted(groups.items()) if group[0] in there]
    if chosen and not options.quiet:
        first = chosen[0][0]
        print(
            f"runs to train: {sum(map(len, chosen))}, {first.model} for {first.epochs} epochs the first",
            file=sys.stderr,
        )
    status = max((tried(partial(train_all, runs, run, printed=False)) or 0 for runs in chosen), default=0)
    return 2 if said else status


def _group(config: RunConfig) -> tuple[str, float, bool]:
    """Runs that are trained in one go: on the same data, with or without pretrained weights, which may be missing."""
    return config.dataset, config.imbalance, config.pretrained


def commands(number: int, table: Table, lacking: Sequence[RunConfig], options: argparse.Namespace) -> list[str]:
    """For each cell that lacks runs, in the table's order, the command that trains them."""
    keys = {c.key for c in lacking}
    given = {"seeds": seed_list(options.seeds), "preset": options.preset, "data-root": options.data_root or "DIR"}
    given |= {name: value for name, usual in USUAL.items() if (value := getattr(options, name)) != usual}
    found = []
    for dataset, factor, method in itertools.product(table.datasets, table.factors, table.methods):
        if (run := config(method, dataset, factor, options.preset)).key in keys:
            own: dict[str, Any] = {"imbalance": factor} if factor else {}
            if run.pretrained:
                own |= {"weights": options.weights or "FILE"}
            words = {"dataset": dataset, **own, "method": method, **given}
            pairs = [word for name, value in words.items() for word in (f"--{name}", str(value))]
            found.append(shlex.join(["python", "-m", "training.table", str(number), *pairs]))
    return found


def seed_list(numbers: Sequence[int]) -> str:
    """The word that ``--seeds`` reads as these rising numbers: '0-2,7'."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def _export(store: Path, path: Path) -> None:
    file = io.StringIO()
    writer = csv.DictWriter(file, tables.COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(tables.export(store))
    write(path, file.getvalue().encode())


if __name__ == "__main__":
    sys.exit(cli.run(main))
