"""Which methods suit some data: ``python -m training.compare`` trains several and prints them side by side."""

from __future__ import annotations

import csv
import io
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

from lpm import cli, engines
from lpm.errors import InvalidInput
from training.config import RunConfig
from training.experiments import METHODS
from training.runs import RunFolder
from training.tables import in_words
from training.torchrun import processes
from training.train import add_recipe, add_running, config_of

USUAL = ("random+FC", "CAS+FC", "BMLS+FC", "BMLS+MS")
"""Methods that are compared unless others are named."""

Results = Mapping[str, Sequence[Mapping[str, float]]]
"""By method, the accuracy by split of each of its runs."""


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = cli.Parser(
        "training.compare", "train several methods and print them side by side; by default on the built-in digits"
    )
    add_recipe(parser, without=("sampler", "cas_m", "coverage", "classifier", "loss", "scale"))
    add_running(parser)
    add, formats = parser.add_argument, {"markdown": markdown, "csv": as_csv}
    usual = f" (default: {', '.join(USUAL)})"
    add("--method", type=cli.choice(*METHODS), action="append", metavar="NAME", help="|".join(METHODS) + usual)
    add("--format", type=cli.choice(*formats), default="markdown", metavar="NAME", help="|".join(formats))
    options = parser.parse_args(arguments)
    engines.check(options)
    if processes() > 1:
        raise InvalidInput("torchrun trains one run with all processes; use it with training.train, a method at a time")
    chosen = methods(config_of(options), options.method)
    from training.progress import Options, train_all  # brings torch

    wanted = [replace(config, seed=seed) for seed in options.seeds for config in chosen.values()]
    status = train_all(wanted, Options.of(options), printed=False)
    found: dict[str, list[dict[str, float]]] = {method: [] for method in chosen}
    for config in wanted:
        if (folder := RunFolder(options.store, config)).done:
            metrics = folder.metrics()
            found[metrics["method"]].append(metrics["last"])
    print(formats[options.format](found), end="")
    return status


def methods(base: RunConfig, named: Sequence[str] | None) -> dict[str, RunConfig]:
    """A config for each method, in the order given. Of the usual ones those that the data do not allow are left out, with a note.

    Raises InvalidInput for a named one that they do not allow.
    """
    found = {}
    for method in dict.fromkeys(named or USUAL):
        try:
            found[method] = replace(base, **METHODS[method])
        except InvalidInput as error:
            if named:
                raise InvalidInput(f"{method}: {error}") from None
            print(f"note: {method} is left out: {error}", file=sys.stderr)
    return found


def splits(found: Results) -> list[str]:
    """All splits of the runs, in their order."""
    return list(dict.fromkeys(split for runs in found.values() for run in runs for split in run))


def markdown(found: Results) -> str:
    """A row a method, a column a split: mean ± standard deviation (runs)."""
    columns = splits(found)
    rows = [["method", *columns], ["---"] * (len(columns) + 1)]
    rows += [[m, *(in_words([run[s] for run in runs if s in run]) for s in columns)] for m, runs in found.items()]
    note = "Test accuracy in %, last epoch: mean ± standard deviation (n runs). The spread is that of seeds, on the same data.\n"
    return "".join("| " + " | ".join(row) + " |\n" for row in rows) + "\n" + note


def as_csv(found: Results) -> str:
    """A row for each method and split."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["method", "split", "n", "mean", "std"])
    for method, runs in found.items():
        for split in splits(found):
            values = [run[split] for run in runs if split in run]
            mean = f"{statistics.fmean(values):.4f}" if values else ""
            std = f"{statistics.stdev(values):.4f}" if len(values) > 1 else ""
            writer.writerow([method, split, len(values), mean, std])
    return file.getvalue()


if __name__ == "__main__":
    sys.exit(cli.run(main))
