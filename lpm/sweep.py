"""Sweep over the imbalance R and the paper's programs, the main job: ``python -m lpm.sweep --K 4``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lpm.console import engines, signals
from lpm.console.errors import InvalidInput
from lpm.console.journal import Journal
from lpm.console.output import OutputFolder
from lpm.console.progress import steps
from lpm.console.signals import Terminated
from lpm.console.text import counted
from lpm.family import Family
from lpm.options import add_family, add_range, add_solver, caption, family_of
from lpm.pairs import check_imbalances
from lpm.programs import PROGRAMS
from lpm.rows import Row, summary, write_csv, write_thresholds
from lpm.tasks import Refusal, Task, solved, tasks_of
from lpm.threshold import Threshold

JOURNAL = "results.journal"
"""File of the results of a sweep that is not complete. The same command goes on from it."""

DEFAULT = (
    ("plain", ""),
    ("fc", "block"),
    ("fc", "product"),
    ("fc", "balanced"),
    ("ms", "block"),
    ("ms", "product"),
    ("ms", "balanced"),
    ("ms-free", "block"),
)
"""Default programs and profiles of a sweep."""


def grid(R_min: float, R_max: float, points: int) -> np.ndarray:
    """Space imbalances evenly in log R.

    Args:
        R_min: smallest imbalance.
        R_max: largest imbalance.
        points: number of imbalances, 2 to 100,000.

    Returns:
        The imbalances, (points,), ascending.

    Raises:
        InvalidInput: if the range is empty or inverted, or ``points`` is out of range.
    """
    check_imbalances(R_min, R_max)
    if not 2 <= points <= 100_000:
        raise InvalidInput(f"points = {points} must lie in 2..100000")
    return np.logspace(np.log10(R_min), np.log10(R_max), points)


@dataclass
class Outcome:
    """What a sweep has found so far.

    Attributes:
        rows: its rows.
        thresholds: thresholds by the name of their family.
        refusals: rows that were not certified.
        resumed: number of results that an earlier command has kept.
        end: what ended it early; None if nothing did.
    """

    rows: list[Row] = field(default_factory=list)
    thresholds: dict[str, Threshold] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)
    resumed: int = 0
    end: BaseException | None = None

    @property
    def complete(self) -> bool:
        """Whether it has every row."""
        return self.end is None and not self.refusals


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: words of the command line; those of the process if None.

    Returns:
        Its exit status: 1 if a row is missing, 128 and the number of a signal that ended it after some rows.

    Raises:
        KeyboardInterrupt: if it was interrupted before the first row; the reason of another early end is raised, too.
    """
    from lpm.console import cli

    parser = cli.Parser(
        "lpm.sweep", "class-vector cosines against the imbalance R, certified, and where minority collapse sets in"
    )
    add_family(parser, f"{len(DEFAULT)} programs with their profiles", "those of the program")
    add_range(parser)
    parser.group("classes").add_argument("--points", type=int, default=41, help="number of imbalances, evenly in log R")
    add_solver(parser)
    cli.add_engine(parser)
    parser.group("output").add_argument(
        "--out", type=Path, metavar="DIR", help="folder for the results (default: sweep-K<K>)"
    )
    parser.group("output").add_argument("--no-picture", action="store_true", help="write no sweep.png and sweep.pdf")
    cli.add_report(parser)
    options = parser.parse_args(arguments)
    engines.check(options)

    start = time.perf_counter()
    R = grid(options.R_min, options.R_max, options.points)
    families = [family_of(options, *choice) for choice in _choices(options.program, options.profile, options.budget)]
    tasks = tasks_of(families, R, solver=options.solver, tolerance=options.tolerance, force=options.force)
    silent = options.quiet or options.json
    try:
        with OutputFolder(options.out or Path(f"sweep-K{options.K}"), "lpm.sweep", JOURNAL) as folder:
            outcome = _solve_all(tasks, folder, options, silent)
            if outcome.rows:
                seconds = time.perf_counter() - start
                lacking = _write(folder, outcome, families, seconds, drawn=not options.no_picture)
                outcome.end = outcome.end or lacking
            elif outcome.end is not None:
                raise outcome.end
    except Terminated as error:
        print(f"ended by {error}", file=sys.stderr)
        return _status(error)
    _print_refusals(outcome.refusals)
    if not outcome.rows:
        return 1
    rows, thresholds = outcome.rows, outcome.thresholds
    if options.json:
        cli.print_json(
            {
                "thresholds": {name: asdict(result) for name, result in thresholds.items()},
                "rows": [row.columns() for row in rows],
                "refusals": [asdict(refusal) for refusal in outcome.refusals],
                "complete": outcome.complete,
            }
        )
    elif not options.quiet:
        _print(rows, thresholds)
        print(f"{_numbers(rows, thresholds)}, {time.perf_counter() - start:.1f} s", end="; ")
        print(f"files in {folder.final}")
    if outcome.complete:
        if not silent:
            first = "" if options.no_picture else f"open {folder.final / 'sweep.png'}; "
            cli.next_step(f"{first}python -m lpm.cures shows what moves R0")
        return 0
    kept = f"kept {len(rows)} of {len(families) * len(R)} rows in {folder.final}"
    print(
        f"{_reason(outcome.end)}: {kept}{'' if outcome.end is None else '; the same command goes on'}", file=sys.stderr
    )
    return _status(outcome.end)


def _numbers(rows: Sequence[Row], thresholds: dict[str, Threshold]) -> str:
    """How many solves and thresholds are certified."""
    certified = sum(threshold.certified and threshold.R0 is not None for threshold in thresholds.values())
    without = sum(not threshold.certified for threshold in thresholds.values())
    more = f" ({without} more not certified)" if without else ""
    return f"{counted(len(rows), 'certified solve')}, {counted(certified, 'threshold')}{more}"


def _solve_all(tasks: Sequence[Task], folder: OutputFolder, options: argparse.Namespace, silent: bool) -> Outcome:
    """Solve the tasks, from those on that an earlier command has kept, until all are done or something ends it."""
    outcome = Outcome()
    with (
        Journal(folder.path / JOURNAL, folder.earlier, {task.key for task in tasks}) as journal,
        steps(len(tasks), quiet=silent) as step,
    ):
        outcome.resumed = len(journal.records)
        if outcome.resumed and not silent:
            print(f"{outcome.resumed} of {len(tasks)} results were kept; the sweep goes on from them", file=sys.stderr)
        try:
            with signals.raised(), engines.mapping(options, "take fewer --jobs") as each:
                for family, result in solved(tasks, each=each, journal=journal):
                    if isinstance(result, Row):
                        outcome.rows.append(result)
                    elif isinstance(result, Refusal):
                        outcome.refusals.append(result)
                    else:
                        outcome.thresholds[family.name] = result
                    step(family.name)
        except (KeyboardInterrupt, Terminated, OSError, MemoryError) as error:
            outcome.end = error
    order = {(task.family.name, task.R): place for place, task in enumerate(tasks)}
    outcome.rows.sort(key=lambda row: order[row.name, row.R])  # those that were kept came first
    return outcome


def _reason(end: BaseException | None) -> str:
    """Why a sweep is not complete, in a few words."""
    if end is None:
        return "incomplete"
    if isinstance(end, Terminated):
        return f"ended by {end}"
    return "interrupted" if isinstance(end, KeyboardInterrupt) else f"error: {end}"


def _print_refusals(refusals: list[Refusal]) -> None:
    """Print one line per program: where it was not certified, and why there first."""
    for name in dict.fromkeys(refusal.name for refusal in refusals):
        refused = [refusal for refusal in refusals if refusal.name == name]
        more = f" and {len(refused) - 3} more" if len(refused) > 3 else ""
        places = ", ".join(f"{refusal.R:.6g}" for refusal in refused[:3])
        print(f"not certified: {name} at R = {places}{more}: {refused[0].reason}", file=sys.stderr)


def _status(end: BaseException | None) -> int:
    """The exit status of a sweep that is not complete."""
    if isinstance(end, Terminated):
        return 128 + end.number
    return 130 if isinstance(end, KeyboardInterrupt) else 1


def _choices(program: str | None, profile: str | None, budget: str) -> list[tuple[str, str]]:
    """Programs and profiles of a sweep: the default ones that match, or exactly those that were asked for."""
    if budget == "eq7" and profile is None:
        profile = "block"  # Eq. 7 has no pairs across the groups
    if program is None and profile is None:
        return list(DEFAULT)
    if program is None:
        names = dict.fromkeys(name for name, _ in DEFAULT if PROGRAMS[name].has_pairs)
        return [(name, profile or "") for name in names]
    if profile is None:
        return [pair for pair in DEFAULT if pair[0] == program] or [(program, "")]
    return [(program, profile)]


def _write(
    folder: OutputFolder, outcome: Outcome, families: Sequence[Family], seconds: float, *, drawn: bool
) -> OSError | None:
    """Write the files of a sweep and put its folder in place. Pictures are left out if the disk has no room for them.

    Returns the error of the pictures, if there was one.
    """
    write_csv(folder.path / "sweep.csv", outcome.rows)
    write_thresholds(folder.path / "thresholds.csv", families, outcome.thresholds)
    mixed = [family for family in families if PROGRAMS[family.program].mixed]
    pictures, lacking = [folder.path / "sweep.png", folder.path / "sweep.pdf"] if drawn else [], None
    try:
        if pictures:
            from lpm.plot import plot_sweep  # here, because matplotlib takes longer to import than all solves

            plot_sweep(outcome.rows, outcome.thresholds, pictures, caption((mixed or families)[0]))
    except OSError as error:
        lacking = error
        for picture in pictures:
            picture.unlink(missing_ok=True)
    complete = outcome.complete and lacking is None
    record: dict[str, Any] = {"complete": complete, "rows": len(outcome.rows), "seconds": round(seconds, 3)}
    if outcome.resumed:
        record["resumed"] = outcome.resumed
    if outcome.refusals:
        record["refusals"] = [asdict(refusal) for refusal in outcome.refusals]
    folder.finish(record, complete=complete)
    return lacking


def _print(rows: list[Row], thresholds: dict[str, Threshold]) -> None:
    """Print the table of a sweep."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    head, *lines = summary(rows, thresholds)
    table = Table(box=box.SIMPLE, show_lines=True, padding=0, collapse_padding=True)
    for name in head:
        table.add_column(name, no_wrap=True, justify="left" if name == "program" else "right")
    for line in lines:
        table.add_row(*line)
    print("Cosines of class vectors in three lines: AA, AB, BB (A majority, B minority)")
    Console().print(table)


if __name__ == "__main__":
    from lpm.console.cli import run

    sys.exit(run(main))
