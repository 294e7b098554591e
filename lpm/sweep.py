"""Sweep over the imbalance R and the paper's programs, the main job: ``python -m lpm.sweep --K 4``."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lpm.console import engines
from lpm.console.errors import InvalidInput, NotCertified
from lpm.console.output import OutputFolder
from lpm.family import Family
from lpm.options import add_family, add_range, add_solver, family_of
from lpm.pairs import check_imbalances
from lpm.programs import PROGRAMS
from lpm.rows import Row, solve_row, summary, write_csv, write_thresholds
from lpm.solution import TOLERANCE
from lpm.solve import Solver
from lpm.threshold import Threshold, threshold

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


@dataclass(frozen=True)
class Refusal:
    """A row that a sweep leaves out.

    Attributes:
        name: the program with its profile.
        R: imbalance n_A / n_B.
        reason: why it was not certified, in one line.
    """

    name: str
    R: float
    reason: str


class Terminated(BaseException):
    """A signal that asks the command to end.

    Args:
        number: number of the signal.

    Attributes:
        number: number of the signal.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(signal.Signals(number).name)


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


def sweep(
    families: Sequence[Family],
    R: np.ndarray,
    *,
    solver: Solver = "auto",
    tolerance: float = TOLERANCE,
    force: bool = False,
    each: engines.Map = map,
) -> Iterator[tuple[Family, Threshold | Row | Refusal]]:
    """Solve families on a grid: for each its threshold (if its minority is exchangeable), then one row per R.

    Args:
        families: the families.
        R: imbalances, ascending.
        solver: as for :func:`lpm.solve.solve`.
        tolerance: largest relative gap that is certified.
        force: lift the size limit of ``sdp``.
        each: the ``map`` that does the work, for example that of :func:`lpm.console.engines.mapping`.

    Yields:
        A family, and its threshold or one of its rows, or the refusal of a row that was not certified.

    Raises:
        InvalidInput: if a family or the solver does not allow it.
    """
    tasks: list[tuple[Family, partial[Any]]] = []
    for family in families:
        if family.at(R[0]).minority is not None:
            tasks.append((family, partial(threshold, R_min=float(R[0]), R_max=float(R[-1]))))
        tasks += [(family, partial(solve_row, R=float(r), solver=solver, tolerance=tolerance, force=force)) for r in R]
    yield from each(_solved, tasks)


def _solved(task: tuple[Family, partial[Any]]) -> tuple[Family, Threshold | Row | Refusal]:
    """The family of a task, and the result of its function."""
    family, function = task
    try:
        return family, function(family)
    except NotCertified as error:
        return family, Refusal(family.name, function.keywords["R"], str(error))


@contextlib.contextmanager
def _signals() -> Generator[None]:
    """Raise Terminated at the signals of a job that is ended, unless they are ignored (nohup)."""

    def end(number: int, _: object) -> None:
        raise Terminated(number)

    if threading.current_thread() is not threading.main_thread():  # signals belong to that one
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: words of the command line; those of the process if None.

    Returns:
        Its exit status: 1 if a row is missing, 128 and the number of a signal that ended it after some rows.

    Raises:
        KeyboardInterrupt: if it was interrupted before the first row; the reason of another early end is raised, too.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

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
    cli.add_report(parser)
    options = parser.parse_args(arguments)
    engines.check(options)

    start = time.perf_counter()
    R = grid(options.R_min, options.R_max, options.points)
    families = [family_of(options, *choice) for choice in _choices(options.program, options.profile, options.budget)]
    for family in families:
        family.at(R[0])  # a bad option is refused before anything is written
    rows: list[Row] = []
    thresholds: dict[str, Threshold] = {}
    refusals: list[Refusal] = []
    end: BaseException | None = None
    with OutputFolder(options.out or Path(f"sweep-K{options.K}"), "lpm.sweep") as folder:
        progress = Progress(
            TextColumn("{task.description:<12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=options.quiet or options.json,
            transient=True,
        )
        with progress:
            task = progress.add_task("", total=len(families) * len(R))
            try:
                with _signals(), engines.mapping(options, "take fewer --jobs") as each:
                    for family, result in sweep(
                        families, R, solver=options.solver, tolerance=options.tolerance, force=options.force, each=each
                    ):
                        if isinstance(result, Row):
                            rows.append(result)
                            progress.update(task, description=family.name, advance=1)
                        elif isinstance(result, Refusal):
                            refusals.append(result)
                            progress.update(task, description=family.name, advance=1)
                        else:
                            thresholds[family.name] = result
            except (KeyboardInterrupt, Terminated, OSError, MemoryError) as error:
                end = error
        if rows:
            complete = end is None and not refusals
            lacking = _write(folder, rows, families, thresholds, refusals, complete, time.perf_counter() - start)
            end, complete = end or lacking, complete and lacking is None
    _print_refusals(refusals)
    if not rows:
        if isinstance(end, Terminated):
            print(f"ended by {end}", file=sys.stderr)
        elif end is not None:
            raise end
        return _status(end)
    if options.json:
        cli.print_json(
            {
                "thresholds": {name: asdict(result) for name, result in thresholds.items()},
                "rows": [asdict(row) for row in rows],
                "refusals": [asdict(refusal) for refusal in refusals],
                "complete": complete,
            }
        )
    elif not options.quiet:
        _print(rows, thresholds)
        print(
            f"{len(rows)} certified solves, {len(thresholds)} thresholds, {time.perf_counter() - start:.1f} s", end="; "
        )
        print(f"files in {folder.final}")
    if complete:
        return 0
    reason = "incomplete" if end is None else "interrupted" if isinstance(end, KeyboardInterrupt) else f"error: {end}"
    reason = f"ended by {end}" if isinstance(end, Terminated) else reason
    print(f"{reason}: kept {len(rows)} of {len(families) * len(R)} rows in {folder.final}", file=sys.stderr)
    return _status(end)


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
    folder: OutputFolder,
    rows: list[Row],
    families: list[Family],
    thresholds: dict[str, Threshold],
    refusals: list[Refusal],
    complete: bool,
    seconds: float,
) -> OSError | None:
    """Write the files of a sweep and put its folder in place. Pictures are left out if the disk has no room for them.

    Returns the error of the pictures, if there was one.
    """
    from lpm.plot import plot_sweep

    write_csv(folder.path / "sweep.csv", rows)
    write_thresholds(folder.path / "thresholds.csv", families, thresholds)
    pictures, lacking = [folder.path / "sweep.png", folder.path / "sweep.pdf"], None
    try:
        plot_sweep(rows, thresholds, pictures)
    except OSError as error:
        lacking = error
        for picture in pictures:
            picture.unlink(missing_ok=True)
    record: dict[str, Any] = {
        "complete": complete and lacking is None,
        "rows": len(rows),
        "seconds": round(seconds, 3),
    }
    if refusals:
        record["refusals"] = [asdict(refusal) for refusal in refusals]
    folder.finish(record)
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
