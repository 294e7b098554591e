"""Compare methods on some data: ``python -m training.compare`` trains several and prints them side by side."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from lpm.console import cli, engines
from lpm.console.errors import InvalidInput
from lpm.console.output import write
from lpm.console.text import counted, shown
from training.config import CHOICES, RunConfig
from training.corrected import adjusted
from training.distributed.torchrun import processes
from training.experiments import runs_of
from training.jobs.deadline import TimeIsUp
from training.named import GROUPS, METHODS
from training.options import CORRECTIONS, Options, add_recipe, add_running, config_of, dataset_in
from training.store import comparison_page, comparison_picture, comparisons
from training.store.runs import RunFolder
from training.store.verdicts import verdict

USUAL, OF_TWO = ("random+FC", "CAS+FC", "BMLS+FC", "BMLS+MS"), ("random+FC", "CAS+FC", "BMLS+FC", "BMLS-all+MS")
"""Methods that are compared by default: in general, and for two classes, which have only one label pair a < b."""

MADE_BY_METHODS = tuple(
    name
    for name, known in CHOICES.items()
    if known.group == "method" and (any(name in row for row in METHODS.values()) or not known.applies(RunConfig()))
)
"""Choices that the names of methods make, with the settings of methods other than the usual one."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: words of the command line; those of the process if None.

    Returns:
        Its exit status: 1 if runs are missing for another reason than ``--minutes``, or all are; 2 if training ended with an
        error.

    Raises:
        InvalidInput: if options do not go together, or a method does not suit the data.
    """
    parser = cli.Parser(
        "training.compare", "train several methods and print them side by side; by default on the built-in digits"
    )
    add_recipe(parser, without=MADE_BY_METHODS, dataset=dataset_in(arguments))
    add_running(parser)
    add, formats = (
        parser.group("method").add_argument,
        {
            "markdown": comparisons.markdown,
            "csv": comparisons.as_csv,
            "json": comparisons.as_json,
        },
    )
    usual = f" (default: {', '.join(USUAL)})"
    add(
        "--method",
        type=cli.choice(*METHODS),
        nargs="+",
        action="extend",
        metavar="NAME",
        help="|".join(METHODS) + usual,
    )
    add(
        "--methods",
        type=cli.choice(*GROUPS),
        metavar="GROUP",
        help="cheap|all: many methods at once, those of about the cost of plain training, or all; what the data do not allow is "
        "left out",
    )
    parser.group("run").add_argument(
        "--format", type=cli.choice(*formats), default="markdown", metavar="NAME", help="|".join(formats)
    )
    parser.group("run").add_argument(
        "--minutes",
        type=cli.minutes,
        metavar="N",
        help="stop after so many minutes and compare the runs that are finished, all methods with the first seed before the "
        "next seed, and second stages last; the same command goes on (default: no limit)",
    )
    parser.group("run").add_argument(
        "--html",
        type=Path,
        metavar="FILE",
        help="also write the comparison as one page: table, differences, curves, confusions",
    )
    parser.group("run").add_argument(
        "--adjust",
        type=cli.choice(*CORRECTIONS),
        nargs="*",
        metavar="NAME",
        help="also show each method after these corrections, where they are defined: la (without a name), tau-norm, ncm, bn; "
        "they train nothing, and read the images once more for each run",
    )
    start, options = time.monotonic(), parser.parse_args(arguments)
    engines.check(options)
    if options.minutes is not None:
        if options.engine == "ray":
            raise InvalidInput("--minutes is for runs on this machine; drop it, or --engine ray")
        options.end = start + 60 * options.minutes
    if options.html is not None:
        _check_html(options.html)
    if processes() > 1:
        raise InvalidInput(
            "torchrun trains one run with all processes; use training.train with it, once for each method"
        )
    base = config_of(options)
    runs = methods(base, options.method or (() if options.methods else None))
    runs |= possible(base, [method for method in GROUPS.get(options.methods, ()) if method not in runs])
    configs = {method: run for method, (*_, run) in runs.items()}
    from training.jobs.train_all import train_all  # brings torch

    wanted = [replace(config, seed=seed) for seed in options.seeds for config in configs.values()]
    status, in_time = 0, True
    try:
        for part in _parts(runs, options.seeds):
            status = max(status, train_all(part, Options.of(options), printed=False))
    except TimeIsUp:
        in_time = False
    except InvalidInput as error:  # finished runs are shown all the same
        status = 2
        cli.complain(error)
    folders = {
        method: [run for seed in options.seeds if (run := _run(options.store, config, seed)).done]
        for method, config in configs.items()
    }
    results = {method: comparisons.read(finished) for method, finished in folders.items()}
    if missing := len(wanted) - sum(len(runs.results) for runs in results.values()):
        remedy = ", for the reason above" if status else "; the same command trains them"
        if in_time or missing == len(wanted):
            status = max(status, 1)
        verb, late = "is" if missing == 1 else "are", "" if in_time else "the time is up: "
        slow = (
            "" if in_time or missing < len(wanted) else "; on a busy machine OMP_NUM_THREADS=1 before it may be faster"
        )
        print(f"{late}{missing} of {counted(len(wanted), 'run')} {verb} missing{remedy}{slow}", file=sys.stderr)
    if options.adjust is not None:
        try:
            results |= adjusted(folders, options.adjust or ["la"], options)
        except (InvalidInput, OSError) as error:  # such as a full disk; what was trained is shown all the same
            status = 2
            cli.complain(error if isinstance(error, InvalidInput) else InvalidInput(str(error)))
    stopped = "" if in_time or not missing else _stopped(options.minutes, len(wanted) - missing, len(wanted))
    for method, config in configs.items() if not options.quiet else ():
        if results[method].results:
            print(f"{method}: in {shown(_run(options.store, config, 0).path.parent)}", file=sys.stderr)
    if missing < len(wanted):
        if options.html is not None:  # before the table, whose reader may stop early, as head does
            try:
                write(options.html, comparison_page.page(base, results, folders, stopped).encode())
                print(f"page: {shown(options.html)}", file=sys.stderr)
            except OSError as error:  # such as a full disk; the table is shown all the same
                status = 2
                cli.complain(InvalidInput(f"--html {str(options.html)!r} cannot be written: {error.strerror}"))
        print(formats[options.format](base, results), end="")
        print(stopped + _ending(results, runs) if options.format == "markdown" else "", end="")
        if stopped and not options.quiet:
            cli.next_step("the same command goes on with the runs that are missing")
        elif not options.quiet:
            page = "the same command with --html report.html makes a page of it, with curves and confusion matrices"
            cli.next_step(page if options.html is None else f"open {shlex.quote(str(options.html))} in a browser")
    return status


def _stopped(minutes: float, finished: int, wanted: int) -> str:
    """What a comparison says that ended before all its runs did."""
    return f"Stopped after {minutes:g} minute{'s' * (minutes != 1)}, with {finished} of {counted(wanted, 'run')} finished.\n"


def _ending(results: comparisons.Results, runs: Mapping[str, Sequence[RunConfig]]) -> str:
    """What stands below the table: which methods differ, and a picture of their intervals."""
    picture = comparison_picture.in_text(results)
    return verdict(results) + longer(runs) + (f"\n{picture}" if picture else "")


def _check_html(path: Path) -> None:
    """See before training that a page can be written, and replaces only such a page. Raises InvalidInput if not."""
    if path.is_dir() or not path.parent.is_dir():
        raise InvalidInput(f"--html {str(path)!r}: name a file in a folder that exists")
    if os.path.lexists(path) and not comparison_page.is_page(path):
        raise InvalidInput(f"--html {str(path)!r} exists and is no page of this command; name another file")
    try:
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise InvalidInput(f"--html {str(path)!r} cannot be written: {error.strerror}") from None


def longer(runs: Mapping[str, Sequence[RunConfig]]) -> str:
    """Say which methods train more epochs than the caption has.

    Args:
        runs: the runs of each method, as :func:`methods` makes them.

    Returns:
        One line; '' where all methods have one stage.
    """
    more = [f"{method} {part[-1].epochs}" for method, part in runs.items() if len(part) > 1]
    return f"Second stages train more epochs, on frozen features: {', '.join(more)}.\n" if more else ""


def _run(store: Path, config: RunConfig, seed: int) -> RunFolder:
    return RunFolder(store, replace(config, seed=seed))


def _parts(runs: Mapping[str, Sequence[RunConfig]], seeds: Sequence[int]) -> list[list[RunConfig]]:
    """The runs to train, each once: those of one stage, and then the second stages, which start from runs among them."""
    every = dict.fromkeys(replace(run, seed=seed) for seed in seeds for part in runs.values() for run in part)
    parts = [[run for run in every if (run.stage == "none") == first] for first in (True, False)]
    return [part for part in parts if part]


def methods(base: RunConfig, named: Sequence[str] | None) -> dict[str, list[RunConfig]]:
    """Make the runs of each method.

    Args:
        base: the run whose choices they share; each method replaces sampler, classifier and loss.
        named: keys of :data:`training.named.METHODS`; :data:`USUAL` or :data:`OF_TWO` if None.

    Returns:
        The runs of each method, in the order given, each method once: one, or with a second stage the run that it starts
        from and the stage.

    Raises:
        InvalidInput: if a method is not possible with the other choices, such as with two classes.
    """
    configs = {}
    for method in dict.fromkeys((OF_TWO if base.K == 2 else USUAL) if named is None else named):
        try:
            configs[method] = runs_of(base, method)
        except InvalidInput as error:
            raise InvalidInput(f"{method}: {error}") from None
    return configs


def possible(base: RunConfig, named: Sequence[str]) -> dict[str, list[RunConfig]]:
    """Make the runs of each method that the data and the other choices allow. Each one that is left out is a line.

    Args:
        base: the run whose choices they share.
        named: keys of :data:`training.named.METHODS`.

    Returns:
        The runs that are possible, in the order given.
    """
    configs: dict[str, list[RunConfig]] = {}
    for method in named:
        try:
            configs |= methods(base, [method])
        except InvalidInput as error:
            print(f"left out: {shown(error)}", file=sys.stderr)
    return configs


if __name__ == "__main__":
    sys.exit(cli.run(main))
