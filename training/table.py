"""Train the runs of a table of the paper and print it: ``python -m training.table 8 --data-root D``."""

from __future__ import annotations

import argparse
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
from lpm.console.text import counted, shown
from training import posthoc
from training.config import RunConfig
from training.distributed.torchrun import processes
from training.experiments import TABLES, Table
from training.named import METHODS
from training.options import NAMES, Options, add_check, add_data, add_device, add_epochs, seeds
from training.store import forms, tables, wanted
from training.store.posthoc import TITLES
from training.store.rows import add_to, by_run, check_export
from training.store.wanted import RECIPES, Wanted

USUAL = {
    **{"store": Path("runs"), "rows": None, "device": "auto", "engine": "local", "address": None, "jobs": 1},
    **{
        "workers": None,
        "weights": None,
        "tensorboard": False,
        "evaluate_every": 1,
        "skip_broken": False,
        "data_changed": "stop",
    },
}
"""Defaults of options that the printed commands repeat when they were given with other values."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: words of the command line; those of the process if None.

    Returns:
        Its exit status: 1 if a run diverged, 2 if the runs of a data set could not be trained.

    Raises:
        InvalidInput: if the table has no such cell, if ``--export`` cannot be written, or if a stored result or ``--rows``
            is damaged.
    """
    options = _options(arguments)
    engines.check(options)
    if processes() > 1:
        raise InvalidInput(
            "torchrun trains one run with all processes; use training.train with it, and name the cell's --dataset, "
            "--sampler and --classifier"
        )
    number = int(options.number)
    table = _part(number, options)
    options.seeds = options.seeds or list(range(table.seeds))
    options.recipes = RECIPES if options.recipe is None else (options.recipe,)
    check_export(options.export)
    options.known = {} if options.rows is None else by_run(options.rows, "--rows")
    status = 0 if options.dry_run else max(_train(table, options), _correct(table, options))
    missing = _missing(table, options)
    entries = tables.entries(number, table, options.store, options.preset, options.seeds, options.known)
    if options.dry_run and options.format is None:
        print(_summary(table, missing, options), end="", flush=True)
    else:
        print(forms.FORMATS[options.format or "markdown"](entries), end="", flush=True)
    if options.dry_run:
        _say_uncorrected(table, options)
    if missing:
        _say_missing(number, table, missing, options, failed=status == 2)
    if options.preset != "paper":
        print(
            f"preset {options.preset} is not the paper's recipe: "
            "it shows the order of methods, not the paper's numbers",
            file=sys.stderr,
        )
    if options.export is not None:
        add_to(options.export, options.store)
    if not (missing or options.quiet or options.format):
        cli.next_step(f"python -m figures --all --store {shlex.quote(str(options.store))} draws what the runs allow")
    return status


def _summary(table: Table, missing: Sequence[RunConfig], options: argparse.Namespace) -> str:
    """A Markdown table of the runs that are missing, by data set and imbalance."""
    rows = [["data set", "imbalance", "finished runs", "missing runs", "methods that lack runs"], ["---"] * 5]
    lacking = {replace(run, seed=0) for run in missing}
    for dataset, factor in itertools.product(table.datasets, table.factors):
        part = replace(table, datasets=(dataset,), factors=(factor,))
        cells = {cell.config: _name(cell) for cell in wanted.wanted(part, options.preset, options.recipes)}
        names = [name for config, name in cells.items() if config in lacking]
        named = "all" if len(names) == len(cells) else ", ".join(names)
        lacks = sum(replace(run, seed=0) in cells for run in missing)
        done = len(cells) * len(options.seeds) - lacks
        rows.append([dataset, tables.factor_word(factor), str(done), str(lacks), named])
    settings = itertools.product(table.rows, table.datasets, table.factors)
    reasons = {
        row.name: shown(why)
        for row, dataset, factor in settings
        if (why := wanted.runs_of_row(row, dataset, factor, options.preset)[1])
    }
    return cli.markdown_table(rows) + "".join(f"{name} is not trained: {why}.\n" for name, why in reasons.items())


def _name(cell: Wanted) -> str:
    return cell.row.method + " by its own recipe" * cell.own


def _say_missing(
    number: int, table: Table, missing: Sequence[RunConfig], options: argparse.Namespace, *, failed: bool
) -> None:
    """Print on standard error how many runs are missing, how long they take, and what trains them."""
    remedy = "; the same command without --dry-run trains them" if options.dry_run else "; the same command trains them"
    verb, reasons = "is" if len(missing) == 1 else "are", ", for the reasons above"
    print(f"{counted(len(missing), 'run')} {verb} missing{reasons if failed else remedy}", file=sys.stderr)
    if options.dry_run:
        try:
            from training.jobs import estimate  # brings torch

            print(f"they take {estimate.in_words(missing, options.store, options.device)}", file=sys.stderr)
        except ModuleNotFoundError as error:
            print(f"an estimate of the time needs {error.name}", file=sys.stderr)
    if options.commands:
        for command in commands(number, table, missing, options):
            print(shown(command), file=sys.stderr)
    else:
        print("--commands prints one command per cell, for several machines", file=sys.stderr)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = cli.Parser(
        "training.table",
        "train the runs of a table of the paper, and print our mean, the paper's value and the difference",
    )
    add, formats = parser.add_argument, forms.FORMATS
    add(
        "number",
        type=cli.choice(*map(str, TABLES)),
        metavar="TABLE",
        help="|".join(map(str, TABLES)) + ": its number in the paper",
    )
    add("--preset", type=cli.choice(*NAMES), default="paper", metavar="NAME", help="|".join(NAMES))
    add("--seeds", type=seeds, help="seeds, such as 0-4,7 (default: as many as in the paper)")
    sets = tuple(dict.fromkeys(d for table in TABLES.values() for d in table.datasets))
    add("--dataset", type=cli.choice(*sets), metavar="NAME", help="only this data set of the table: " + "|".join(sets))
    add("--imbalance", type=int, metavar="N", help="only this imbalance factor of the table")
    add(
        "--method",
        type=cli.choice(*METHODS),
        action="append",
        metavar="NAME",
        help="only this method of the table; the option may be repeated",
    )
    add(
        "--recipe",
        type=cli.choice(*RECIPES),
        metavar="NAME",
        help="common|own: train only with the preset, or only with the recipes of the methods' authors where they differ "
        "(default: both)",
    )
    add_data(parser)
    add_check(parser)
    cli.add_engine(parser, "runs that share a GPU")
    add("--store", type=Path, default=USUAL["store"], metavar="DIR", help="folder of the run store")
    add(
        "--rows",
        type=Path,
        metavar="CSV",
        help="file of --export whose runs need no training, such as results/runs.csv",
    )
    add_device(parser)
    add_epochs(parser)
    add("--dry-run", action="store_true", help="train nothing; print which runs are missing, and how long they take")
    add("--commands", action="store_true", help="print one command for each cell that lacks runs, for several machines")
    add(
        "--format",
        type=cli.choice(*formats),
        metavar="NAME",
        help="|".join(formats) + ": how the cells are printed (default: markdown; with --dry-run only if it is given)",
    )
    add(
        "--export",
        type=Path,
        metavar="CSV",
        help="also add every finished run of the store to this file, whose other rows stay; with --dry-run, too",
    )
    add("--quiet", action="store_true", help="show no progress bar")
    return parser.parse_args(arguments)


def _part(number: int, options: argparse.Namespace) -> Table:
    """The part of a table that the options choose. Raises InvalidInput if it is empty."""
    whole = TABLES[number]
    part = replace(
        whole,
        datasets=tuple(d for d in whole.datasets if options.dataset in (None, d)),
        factors=tuple(f for f in whole.factors if options.imbalance in (None, f)),
        rows=tuple(row for row in whole.rows if options.method is None or row.method in options.method),
    )
    if not (part.datasets and part.factors and part.rows):
        raise InvalidInput(
            f"table {number} has no such cell; it has {', '.join(whole.methods)} on {', '.join(whole.datasets)} "
            f"at imbalance {', '.join(map(tables.factor_word, whole.factors))}"
        )
    return part


def _missing(table: Table, options: argparse.Namespace) -> list[RunConfig]:
    return wanted.missing(table, options.store, options.preset, options.seeds, options.recipes, options.known)


def _train(table: Table, options: argparse.Namespace) -> int:
    """Train the missing runs, one group after another. An error of one group is printed, and the others go on.

    Returns the exit status.
    """
    from training.jobs.prepare import ready
    from training.jobs.train_all import train_all

    shared, errors = Options.of(options), set[str]()

    def tried(action: Callable[[], Any]) -> Any:
        """What an action returns; None where it fails. Each error is printed once."""
        try:
            return action()
        except InvalidInput as error:
            if str(error) not in errors:
                cli.complain(error)
            errors.add(str(error))

    groups: dict[tuple[str, float, bool, bool], list[RunConfig]] = defaultdict(list)
    for run in _missing(table, options):
        groups[_group(run)].append(run)
    # All data are looked for now: days may lie between the first data set and the second.
    by_dataset = {dataset: configs for (dataset, *_), configs in groups.items()}
    readable = {
        dataset
        for dataset, configs in by_dataset.items()
        if tried(partial(ready, configs, shared, quiet=shared.quiet)) is not None
    }
    to_train = [configs for group, configs in sorted(groups.items()) if group[0] in readable]
    if to_train and not options.quiet:
        first = to_train[0][0]
        print(
            f"runs to train: {sum(map(len, to_train))}; the first is {first.model} for {counted(first.epochs, 'epoch')}",
            file=sys.stderr,
        )
    status = max((tried(partial(train_all, configs, shared, printed=False)) or 0 for configs in to_train), default=0)
    return 2 if errors else status


def _posthoc_words(path: Path, titles: Sequence[str], options: argparse.Namespace) -> list[str]:
    """The words of ``training.posthoc`` that correct a run."""
    names = [name for name, title in TITLES.items() if title in titles]
    given = {"data-root": options.data_root, "device": options.device, "workers": options.workers}
    words = [word for name, value in given.items() if value not in (None, "auto") for word in (f"--{name}", str(value))]
    return [str(path), "--correction", *names, *words]


def _correct(table: Table, options: argparse.Namespace) -> int:
    """Make the corrections of finished runs that the table lacks. Returns the exit status."""
    status = 0
    for path, titles in wanted.uncorrected(table, options.store, options.preset, options.seeds).items():
        try:
            posthoc.corrections(posthoc.parse(_posthoc_words(path, titles, options)))
        except InvalidInput as error:
            cli.complain(error)
            status = 2
    return status


def _say_uncorrected(table: Table, options: argparse.Namespace) -> None:
    """Print on standard error which finished runs lack corrections, and what makes them."""
    lacking = wanted.uncorrected(table, options.store, options.preset, options.seeds)
    if lacking:
        runs = "1 finished run lacks" if len(lacking) == 1 else f"{len(lacking)} finished runs lack"
        print(f"{runs} corrections; the same command without --dry-run makes them", file=sys.stderr)
    for path, titles in lacking.items() if options.commands else ():
        print(
            shown(shlex.join(["python", "-m", "training.posthoc", *_posthoc_words(path, titles, options)])),
            file=sys.stderr,
        )


def _group(config: RunConfig) -> tuple[str, float, bool, bool]:
    """Key of the runs that are trained together: on the same data, with or without pretrained weights, of one stage.

    Pretrained weights may be missing; then the other runs are trained all the same. Second stages come after the runs that
    they start from.
    """
    return config.dataset, config.imbalance, config.pretrained, config.stage != "none"


def commands(number: int, table: Table, missing: Sequence[RunConfig], options: argparse.Namespace) -> list[str]:
    """Write the commands that train missing runs, one per cell.

    Args:
        number: the table's number in the paper.
        table: the table, or the part of it that was asked for.
        missing: runs that the store does not have.
        options: the parsed command line, whose options the commands repeat.

    Returns:
        A command for each cell that lacks runs, in the table's order.
    """
    keys = {run.key for run in missing}
    given = {"seeds": seed_list(options.seeds), "preset": options.preset, "data-root": options.data_root or "DIR"}
    given |= {
        name.replace("_", "-"): value for name, usual in USUAL.items() if (value := getattr(options, name)) != usual
    }
    lines = []
    for cell in wanted.wanted(table, options.preset, options.recipes):
        if cell.config.key in keys:
            run = cell.config
            of_cell: dict[str, Any] = {} if run.data_set.files else {"imbalance": f"{run.imbalance:g}"}
            if run.pretrained:
                of_cell |= {"weights": options.weights or "FILE"}
            of_cell["method"] = cell.row.method
            if cell.row.own is not None:
                of_cell["recipe"] = RECIPES[cell.own]
            values = {"dataset": run.dataset, **of_cell, **given}
            words = [w for name, value in values.items() for w in (f"--{name}", *[str(value)] * (value is not True))]
            lines.append(shlex.join(["python", "-m", "training.table", str(number), *words]))
    return list(dict.fromkeys(lines))


def seed_list(numbers: Sequence[int]) -> str:
    """Write seeds as ``--seeds`` reads them, such as '0-2,7'.

    Args:
        numbers: the seeds, rising.

    Returns:
        Ranges of consecutive seeds, and single seeds, between commas.
    """
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


if __name__ == "__main__":
    sys.exit(cli.run(main))
