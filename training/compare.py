"""Which methods suit some data: ``python -m training.compare`` trains several and prints them side by side."""

from __future__ import annotations

import csv
import io
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from lpm.console import cli, engines
from lpm.console.errors import InvalidInput
from paper_checks.paper.statistics import Sample, holm, welch
from training.config import RunConfig
from training.distributed.torchrun import processes
from training.experiments import METHODS
from training.options import Options, add_recipe, add_running, config_of
from training.store.results import RunResult
from training.store.runs import RunFolder
from training.store.tables import in_words, ranges, setting

USUAL, OF_TWO = ("random+FC", "CAS+FC", "BMLS+FC", "BMLS+MS"), ("random+FC", "CAS+FC", "BMLS+FC", "BMLS-all+MS")
"""Methods that are compared unless others are named; of two classes, which have only one label pair a < b."""

Results = Mapping[str, Sequence[RunResult]]
"""By method, the results of its finished runs."""


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = cli.Parser(
        "training.compare", "train several methods and print them side by side; by default on the built-in digits"
    )
    add_recipe(parser, without=("sampler", "cas_m", "coverage", "classifier", "loss", "scale"))
    add_running(parser)
    add, formats = parser.add_argument, {"markdown": markdown, "csv": as_csv}
    usual = f" (default: {', '.join(USUAL)})"
    add(
        "--method",
        type=cli.choice(*METHODS),
        nargs="+",
        action="extend",
        metavar="NAME",
        help="|".join(METHODS) + usual,
    )
    add("--format", type=cli.choice(*formats), default="markdown", metavar="NAME", help="|".join(formats))
    options = parser.parse_args(arguments)
    engines.check(options)
    if processes() > 1:
        raise InvalidInput("torchrun trains one run with all processes; use it with training.train, a method at a time")
    base = config_of(options)
    chosen = methods(base, options.method)
    from training.jobs.train_all import train_all  # brings torch

    wanted = [replace(config, seed=seed) for seed in options.seeds for config in chosen.values()]
    try:
        status = train_all(wanted, Options.of(options), printed=False)
    except InvalidInput as error:  # what there is, is shown
        status = 2
        print(f"error: {error}", file=sys.stderr)
    found = {
        method: [run.result() for seed in options.seeds if (run := _run(options.store, config, seed)).done]
        for method, config in chosen.items()
    }
    if lacking := len(wanted) - sum(map(len, found.values())):
        status = max(status, 1)
        print(f"{lacking} of {len(wanted)} runs are missing; the same command goes on", file=sys.stderr)
    for method, config in chosen.items() if not options.quiet else ():
        if found[method]:
            print(f"{method}: in {_run(options.store, config, 0).path.parent}", file=sys.stderr)
    if lacking < len(wanted):
        print(formats[options.format](base, found), end="")
    return status


def _run(store: Path, config: RunConfig, seed: int) -> RunFolder:
    return RunFolder(store, replace(config, seed=seed))


def methods(base: RunConfig, named: Sequence[str] | None) -> dict[str, RunConfig]:
    """A config for each method, in the order given. Raises InvalidInput for one that the data do not allow."""
    found = {}
    for method in dict.fromkeys(named or (OF_TWO if base.K == 2 else USUAL)):
        try:
            found[method] = replace(base, **METHODS[method])
        except InvalidInput as error:
            raise InvalidInput(f"{method}: {error}") from None
    return found


def markdown(base: RunConfig, found: Results) -> str:
    """What was trained; a row a method, a column a split: mean ± standard deviation (runs), and the difference from the first
    method that has runs; what the splits are.
    """
    some = next(result for results in found.values() for result in results)
    columns, first = _splits(found), _first(found)
    total = "balanced" if "balanced" in columns else "all"
    rows = [["method", *columns, f"{total} − {first}"], ["---"] * (len(columns) + 2)]
    differences = _differences(found, total)
    tests = sum(not math.isnan(p) for _, p, _ in differences.values())
    for method, runs in found.items():
        difference, p, corrected = differences[method]
        last = "" if math.isnan(difference) else f"{round(difference, 2) + 0.0:+.2f}"
        last += "" if math.isnan(p) else f" (p = {p:.2g})" if tests == 1 else f" (p = {p:.2g}, Holm {corrected:.2g})"
        rows.append([method, *(in_words(_values(runs, split)) for split in columns), last])
    if len(found) == 1:  # nothing to compare it with
        rows = [row[:-1] for row in rows]
    note = "Test accuracy in %, last epoch: mean ± standard deviation (n seeds, the same data)."
    note += " p: Welch's t-test over the seeds, for one difference alone." if tests else ""
    note += " Holm: p for all of this table together." if tests > 1 else ""
    note += " balanced: the mean over classes." if "balanced" in columns else ""
    note += "".join(f" {split}: {what}." for split, what in ranges(base, some).items())
    table = cli.markdown_table(rows)
    return f"{setting(base, some.dataset or base.data)}\n\n{table}\n{note}\n"


def as_csv(base: RunConfig, found: Results) -> str:
    """A row for each method and split. difference, p: from the first method that has runs; p_holm: of all methods together."""
    file, first = io.StringIO(), _first(found)
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(
        [
            "dataset",
            "imbalance",
            "preset",
            "method",
            "split",
            "n",
            "mean",
            "std",
            "against",
            "difference",
            "p",
            "p_holm",
        ]
    )
    differences = {split: _differences(found, split) for split in _splits(found)}
    for method, runs in found.items():
        for split in _splits(found) if runs else ():
            values = _values(runs, split)
            sample = Sample.of(values)
            numbers = (sample.mean, sample.std, *differences[split][method])
            mean, std, *rest = ["" if math.isnan(x) else f"{x:.6g}" for x in numbers]
            where = [runs[0].dataset or base.data, base.factor, base.preset, method, split]
            writer.writerow([*where, len(values), mean, std, first if method != first else "", *rest])
    return file.getvalue()


def _differences(found: Results, split: str) -> dict[str, tuple[float, float, float]]:
    """By method, the difference from the first method that has runs, p, and p after Holm's correction for all methods; NaN where
    there is none.
    """
    first = _first(found)
    each = {
        method: (math.nan, math.nan) if method == first else against(_values(runs, split), _values(found[first], split))
        for method, runs in found.items()
    }
    tested = [method for method, (_, p) in each.items() if not math.isnan(p)]
    corrected = dict(zip(tested, holm([each[method][1] for method in tested]), strict=True))
    return {method: (*pair, corrected.get(method, math.nan)) for method, pair in each.items()}


def against(one: Sequence[float], other: Sequence[float]) -> tuple[float, float]:
    """The difference of two means, NaN without values, and the two-sided p of Welch's t-test, NaN for single ones or without any
    spread.
    """
    first, second = Sample.of(one), Sample.of(other)
    return first.mean - second.mean, welch(first, second)


def _first(found: Results) -> str:
    return next(method for method, runs in found.items() if runs)


def _splits(found: Results) -> list[str]:
    """All splits of the runs, in their order. Those of one data set have the same ones."""
    return list(dict.fromkeys(split for runs in found.values() for result in runs for split in result.last))


def _values(runs: Sequence[RunResult], split: str) -> list[float]:
    return [result.last[split] for result in runs if split in result.last]


if __name__ == "__main__":
    sys.exit(cli.run(main))
