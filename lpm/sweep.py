"""Sweep over the imbalance R and the paper's programs, the main job: ``python -m lpm.sweep --K 4``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

from lpm.console import engines
from lpm.console.errors import InvalidInput
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
) -> Iterator[tuple[Family, Threshold | Row]]:
    """Solve families on a grid: for each its threshold (if its minority is exchangeable), then one row per R.

    Args:
        families: the families.
        R: imbalances, ascending.
        solver: as for :func:`lpm.solve.solve`.
        tolerance: largest relative gap that is certified.
        force: lift the size limit of ``sdp``.
        each: the ``map`` that does the work, for example that of :func:`lpm.console.engines.mapping`.

    Yields:
        A family, and its threshold or one of its rows.

    Raises:
        NotCertified: if a solve is not certified.
        InvalidInput: if a family or the solver does not allow it.
    """
    tasks: list[tuple[Family, Callable[[Family], Threshold | Row]]] = []
    for family in families:
        if family.at(R[0]).minority is not None:
            tasks.append((family, partial(threshold, R_min=float(R[0]), R_max=float(R[-1]))))
        tasks += [(family, partial(solve_row, R=float(r), solver=solver, tolerance=tolerance, force=force)) for r in R]
    yield from each(_solved, tasks)


def _solved(task: tuple[Family, Callable[[Family], Threshold | Row]]) -> tuple[Family, Threshold | Row]:
    """The family of a task, and the result of its function."""
    family, function = task
    return family, function(family)


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: words of the command line; those of the process if None.

    Returns:
        Its exit status; 130 if it was interrupted after some rows.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from lpm.console import cli

    parser = cli.Parser(
        "lpm.sweep", "class-vector cosines against the imbalance R, certified, and where minority collapse sets in"
    )
    add_family(parser)
    add_range(parser)
    parser.add_argument("--points", type=int, default=41, help="log-spaced imbalances")
    add_solver(parser)
    parser.add_argument("--out", type=Path, help="folder for the results (default: sweep-K<K>)")
    cli.add_engine(parser)
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
        complete = True
        with progress:
            task = progress.add_task("", total=len(families) * len(R))
            try:
                with engines.mapping(options) as each:
                    for family, result in sweep(
                        families, R, solver=options.solver, tolerance=options.tolerance, force=options.force, each=each
                    ):
                        if isinstance(result, Row):
                            rows.append(result)
                            progress.update(task, description=family.name, advance=1)
                        else:
                            thresholds[family.name] = result
            except KeyboardInterrupt:
                complete = False
        if not rows:
            raise KeyboardInterrupt
        _write(folder, rows, families, thresholds, complete, time.perf_counter() - start)
    if options.json:
        cli.print_json(
            {
                "thresholds": {name: asdict(result) for name, result in thresholds.items()},
                "rows": [asdict(row) for row in rows],
                "complete": complete,
            }
        )
    elif not options.quiet:
        _print(rows, thresholds)
        print(
            f"{len(rows)} certified solves, {len(thresholds)} thresholds, {time.perf_counter() - start:.1f} s", end="; "
        )
        print(f"files in {folder.final}")
    if not complete:
        print(f"interrupted: kept {len(rows)} of {len(families) * len(R)} rows in {folder.final}", file=sys.stderr)
        return 130
    return 0


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
    complete: bool,
    seconds: float,
) -> None:
    """Write the files of a sweep and put its folder in place."""
    from lpm.plot import plot_sweep

    write_csv(folder.path / "sweep.csv", rows)
    write_thresholds(folder.path / "thresholds.csv", families, thresholds)
    plot_sweep(rows, thresholds, [folder.path / "sweep.png", folder.path / "sweep.pdf"])
    folder.finish({"complete": complete, "rows": len(rows), "seconds": round(seconds, 3)})


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
