"""Compare methods on some data: ``python -m training.compare`` trains several and prints them side by side."""

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
from lpm.console.text import shown
from paper_checks.paper.statistics import Sample, holm, welch
from training.config import CHOICES, RunConfig
from training.distributed.torchrun import processes
from training.experiments import METHODS
from training.methods import settings
from training.options import Options, add_recipe, add_running, config_of
from training.store.results import RunResult
from training.store.runs import RunFolder
from training.store.tables import in_words, ranges, setting

USUAL, OF_TWO = ("random+FC", "CAS+FC", "BMLS+FC", "BMLS+MS"), ("random+FC", "CAS+FC", "BMLS+FC", "BMLS-all+MS")
"""Methods that are compared by default: in general, and for two classes, which have only one label pair a < b."""

MADE_BY_METHODS = (
    *("sampler", "classifier", "loss"),
    *(name for name in settings() if not CHOICES[name].applies(RunConfig())),
)
"""Choices that the names of methods make, with the settings of methods other than the usual one."""

Results = Mapping[str, Sequence[RunResult]]
"""By method, the results of its finished runs, which differ in their seed alone."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: words of the command line; those of the process if None.

    Returns:
        Its exit status: 1 if runs are missing, 2 if training ended with an error.

    Raises:
        InvalidInput: if options do not go together, or a method does not suit the data.
    """
    parser = cli.Parser(
        "training.compare", "train several methods and print them side by side; by default on the built-in digits"
    )
    add_recipe(parser, without=MADE_BY_METHODS)
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
        raise InvalidInput(
            "torchrun trains one run with all processes; use training.train with it, once for each method"
        )
    base = config_of(options)
    configs = methods(base, options.method)
    from training.jobs.train_all import train_all  # brings torch

    wanted = [replace(config, seed=seed) for seed in options.seeds for config in configs.values()]
    try:
        status = train_all(wanted, Options.of(options), printed=False)
    except InvalidInput as error:  # finished runs are shown all the same
        status = 2
        print(f"error: {shown(error)}", file=sys.stderr)
    results = {
        method: [run.result() for seed in options.seeds if (run := _run(options.store, config, seed)).done]
        for method, config in configs.items()
    }
    if missing := len(wanted) - sum(map(len, results.values())):
        status = max(status, 1)
        print(f"{missing} of {len(wanted)} runs are missing; the same command trains them", file=sys.stderr)
    for method, config in configs.items() if not options.quiet else ():
        if results[method]:
            print(f"{method}: in {shown(_run(options.store, config, 0).path.parent)}", file=sys.stderr)
    if missing < len(wanted):
        print(formats[options.format](base, results), end="")
    return status


def _run(store: Path, config: RunConfig, seed: int) -> RunFolder:
    return RunFolder(store, replace(config, seed=seed))


def methods(base: RunConfig, named: Sequence[str] | None) -> dict[str, RunConfig]:
    """Make a run of each method.

    Args:
        base: the run whose choices they share; each method replaces sampler, classifier and loss.
        named: keys of :data:`training.experiments.METHODS`; :data:`USUAL` or :data:`OF_TWO` if None or empty.

    Returns:
        The run of each method, in the order given, each method once.

    Raises:
        InvalidInput: if a method is not possible with the other choices, such as with two classes.
    """
    configs = {}
    for method in dict.fromkeys(named or (OF_TWO if base.K == 2 else USUAL)):
        try:
            configs[method] = replace(base, **METHODS[method])
        except InvalidInput as error:
            raise InvalidInput(f"{method}: {error}") from None
    return configs


def markdown(base: RunConfig, results: Results) -> str:
    """Write the comparison as a Markdown table, below a line that says what was trained.

    It has one row per method and one column per split. A cell is mean ± standard deviation (number of runs). The last
    column is the difference from the first method that has runs. A note explains the numbers.

    Args:
        base: the run whose choices the methods share.
        results: results of each method; at least one method has runs.

    Returns:
        The text.
    """
    example = next(result for runs in results.values() for result in runs)
    columns, first = _splits(results), _first(results)
    total = "balanced" if "balanced" in columns else "all"
    rows = [["method", *columns, f"{total} − {first}"], ["---"] * (len(columns) + 2)]
    differences = _differences(results, total)
    tests = sum(not math.isnan(p) for _, p, _ in differences.values())
    for method, runs in results.items():
        difference, p, corrected = differences[method]
        last = "" if math.isnan(difference) else f"{round(difference, 2) + 0.0:+.2f}"
        last += "" if math.isnan(p) else f" (p = {p:.2g})" if tests == 1 else f" (p = {p:.2g}, Holm {corrected:.2g})"
        rows.append([method, *(in_words(_values(runs, split)) for split in columns), last])
    if len(results) == 1:  # nothing to compare it with
        rows = [row[:-1] for row in rows]
    note = "Test accuracy in % after the last epoch: mean ± standard deviation (n seeds, the same data)."
    note += " p: Welch's t-test over the seeds, for one difference alone." if tests else ""
    note += " Holm: p corrected for all differences of this table." if tests > 1 else ""
    note += " balanced: the mean over classes." if "balanced" in columns else ""
    note += "".join(f" {split}: {classes}." for split, classes in ranges(base, example).items())
    table = cli.markdown_table(rows)
    return f"{setting(base, example.dataset or base.data)}\n\n{table}\n{note}\n"


def as_csv(base: RunConfig, results: Results) -> str:
    """Write the comparison as CSV, one row per method and split.

    Columns difference and p are those from the first method that has runs; p_holm is p corrected for all methods.

    Args:
        base: the run whose choices the methods share.
        results: results of each method; at least one method has runs.

    Returns:
        The text.
    """
    file, first = io.StringIO(), _first(results)
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
    differences = {split: _differences(results, split) for split in _splits(results)}
    for method, runs in results.items():
        for split in _splits(results) if runs else ():
            values = _values(runs, split)
            sample = Sample.of(values)
            numbers = (sample.mean, sample.std, *differences[split][method])
            mean, std, *rest = ["" if math.isnan(x) else f"{x:.6g}" for x in numbers]
            cell = [runs[0].dataset or base.data, base.factor, base.preset, method, split]
            writer.writerow([*cell, len(values), mean, std, first if method != first else "", *rest])
    return file.getvalue()


def _differences(results: Results, split: str) -> dict[str, tuple[float, float, float]]:
    """By method, the difference from the first method that has runs, p, and p after Holm's correction for all methods.

    Numbers that do not exist are NaN, such as those of the first method.
    """
    first = _first(results)
    differences = {
        method: (math.nan, math.nan)
        if method == first
        else against(_values(runs, split), _values(results[first], split))
        for method, runs in results.items()
    }
    tested = [method for method, (_, p) in differences.items() if not math.isnan(p)]
    corrected = dict(zip(tested, holm([differences[method][1] for method in tested]), strict=True))
    return {method: (difference, p, corrected.get(method, math.nan)) for method, (difference, p) in differences.items()}


def against(values: Sequence[float], reference: Sequence[float]) -> tuple[float, float]:
    """Compare the means of two samples by Welch's t-test.

    Args:
        values: accuracies of a method, one per seed.
        reference: accuracies of the method that it is compared with, one per seed.

    Returns:
        The mean of ``values`` minus that of ``reference``, NaN if one is empty; the two-sided p, NaN if one has fewer
        than two values or neither varies.
    """
    sample, reference_sample = Sample.of(values), Sample.of(reference)
    return sample.mean - reference_sample.mean, welch(sample, reference_sample)


def _first(results: Results) -> str:
    """The first method that has runs."""
    return next(method for method, runs in results.items() if runs)


def _splits(results: Results) -> list[str]:
    """All splits of the runs, in their order. Runs on one data set have the same ones."""
    return list(dict.fromkeys(split for runs in results.values() for result in runs for split in result.last))


def _values(runs: Sequence[RunResult], split: str) -> list[float]:
    return [result.last[split] for result in runs if split in result.last]


if __name__ == "__main__":
    sys.exit(cli.run(main))
