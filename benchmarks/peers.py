"""``orbits`` beside a modelling tool, in one run: ``python -m benchmarks.peers [--out FILE]``, about two minutes.

Time against the number of classes K, of ``plain`` and of ``fc`` with product frequencies, and against the number of points
of Fang et al.'s experiment. A user of a modelling tool writes the program as printed in cvxpy, for one point after the other
or once with the frequencies as a parameter, and takes a conic solver with its default settings. Peers stop where one point
takes seconds. Each time is the least of up to three, after a warm-up. Certificates are computed afterwards, for all alike;
``orbits`` has its own inside its time.

``--rows FILE`` takes rows that are there instead. ``--plot PNG`` draws them, and ``--page docs/reproduce/speed.md`` puts their
table, machine and date into the page.
"""

from __future__ import annotations

import argparse
import csv
import io
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rows import origin, write
from lpm import orbits, pairs, programs
from lpm.coordinates import Coordinates
from lpm.pairs import imbalanced
from lpm.problem import Problem
from lpm.recovery import fold
from lpm.solution import evaluate

Row = Mapping[str, Any]
"""One measurement: columns ``solver``, ``series``, ``size``, ``seconds``, ``largest_gap``, ``time``, ``commit``, ``machine``."""

REPEATS, ENOUGH = 3, 1.0
"""Measurements of each time at most, and seconds after which none follows."""


def solve_printed(problems: Sequence[Problem], conic: str, *, once: bool = False) -> list[np.ndarray]:
    """Solve points as a user of a modelling tool does: the program as printed, in cvxpy, with default settings.

    Args:
        problems: points of one program, which differ in their frequencies alone.
        conic: name of the conic solver.
        once: whether cvxpy is given one program, whose frequencies are a parameter, or one program per point.

    Returns:
        For each point the logits, (rows, K), of the problem without symmetry.
    """
    import cvxpy as cp

    points = []
    program = None
    for full in (problem.expand()[0] for problem in problems):
        if program is None or not once:
            rows, K, m = full.rows, full.K, len(full.rows)
            frequencies: Any = cp.Parameter(m, nonneg=True) if once else rows.p
            X = cp.Variable((m + K, m + K), PSD=True)
            Z = X[:m, m:]
            targets = np.zeros((m, K))
            np.add.at(targets, (np.arange(m), rows.first), rows.lam)
            np.add.at(targets, (np.arange(m), rows.second), 1 - rows.lam)
            loss = frequencies @ (cp.log_sum_exp(Z, axis=1) - cp.sum(cp.multiply(targets, Z), axis=1))
            budgets = [rows.d @ cp.diag(X)[:m] <= full.e_h, cp.sum(cp.diag(X)[m:]) / K <= full.e_w]
            program = cp.Problem(cp.Minimize(loss), budgets)
        if once:
            frequencies.value = full.rows.p
        program.solve(solver=conic)
        points.append(Z.value)
    return points


def gap(problem: Problem, Z: np.ndarray) -> float:
    """Certify a peer's point.

    Args:
        problem: the problem.
        Z: (rows, K), logits of the problem without symmetry.

    Returns:
        The relative gap that our certificate gives it, after it is scaled into the budgets.
    """
    full, orbit = problem.expand()
    coordinates = Coordinates(problem)
    point = fold(coordinates, orbit, full, Z)
    return evaluate(coordinates, point / max(1.0, coordinates.nuclear_norm(point) / problem.tau)).relative_gap


Points = list[Problem]
OURS: dict[str, Callable[[Points], list[float]]] = {
    "orbits": lambda problems: [solution.relative_gap for solution in orbits.solve_all(problems)],
    "orbits, one by one": lambda problems: [orbits.solve(problem).relative_gap for problem in problems],
}
"""Our solver by name: relative gaps of points."""
PEERS: dict[str, Callable[[Points], list[np.ndarray]]] = {
    "cvxpy + Clarabel": partial(solve_printed, conic="CLARABEL"),
    "cvxpy + Clarabel, one program": partial(solve_printed, conic="CLARABEL", once=True),
    "cvxpy + SCS": partial(solve_printed, conic="SCS"),
}
"""Peers by name: logits of points."""


@dataclass(frozen=True)
class Series:
    """Sizes for which times are measured.

    Attributes:
        title: what is solved, in words.
        label: what grows.
        points: the points of a size.
        ours: sizes for our solver.
        peers: sizes for its peers.
        many: whether a size has several points, so that it matters whether they are solved at once.
    """

    title: str
    label: str
    points: Callable[[int], Points]
    ours: tuple[int, ...]
    peers: tuple[int, ...]
    many: bool = False

    def solvers(self, size: int) -> Iterator[str]:
        """The solvers that are measured at a size.

        Args:
            size: one of the sizes.

        Yields:
            Their names.
        """
        if size in self.ours:
            yield from list(OURS)[: 1 + self.many]
        if size in self.peers:
            yield from (name for name in PEERS if self.many or "one program" not in name)


SERIES = {
    "plain": Series(
        "plain, one point, R = 100",
        "classes K",
        lambda K: [programs.plain(imbalanced(K, K // 2, 100))],
        ours=(4, 6, 10, 16, 24, 100, 1000, 8142),
        peers=(4, 6, 10, 16, 24),
    ),
    "fc": Series(
        "fc, product, one point, R = 100",
        "classes K",
        lambda K: [programs.fc(pairs.product(imbalanced(K, K // 2, 100)))],
        ours=(3, 4, 5, 6, 10, 100, 1000, 8142),
        peers=(3, 4, 5, 6),
    ),
    "points": Series(
        "plain, K = 10, R from 1 to 10⁴",
        "points",
        lambda n: [programs.plain(imbalanced(10, 5, R)) for R in np.logspace(0 if n > 1 else 2, 4 if n > 1 else 2, n)],
        ours=(1, 3, 10, 41, 100, 328),
        peers=(1, 3, 10, 41, 100, 328),
        many=True,
    ),
}
"""The series by name."""


def measure(series: str, size: int, solver: str) -> dict[str, Any]:
    """Time one solver at one size.

    Args:
        series: a name in :data:`SERIES`.
        size: classes or points.
        solver: a name in :data:`OURS` or :data:`PEERS`.

    Returns:
        The columns of :data:`Row` without those of the origin.
    """
    problems = SERIES[series].points(size)
    solve: Callable[[Points], list[Any]] = OURS[solver] if solver in OURS else PEERS[solver]
    solve(problems[:1])  # a warm-up
    seconds: list[float] = []
    while len(seconds) < REPEATS and sum(seconds) < ENOUGH:
        start = time.perf_counter()
        results = solve(problems)
        seconds.append(time.perf_counter() - start)
    gaps = results if solver in OURS else [gap(*both) for both in zip(problems, results, strict=True)]
    return {"solver": solver, "series": series, "size": size, "seconds": min(seconds), "largest_gap": max(gaps)}


def read(path: Path) -> list[dict[str, Any]]:
    """Read rows that this command wrote.

    Args:
        path: the CSV file.

    Returns:
        The rows, numbers as numbers.
    """
    numbers: dict[str, Callable[[str], Any]] = {"size": int, "seconds": float, "largest_gap": float}
    rows = csv.DictReader(io.StringIO(path.read_text()))
    return [{name: numbers.get(name, str)(value) for name, value in row.items()} for row in rows]


def table(rows: Sequence[Row]) -> str:
    """Write the table of docs/reproduce/speed.md.

    Args:
        rows: the measurements.

    Returns:
        Markdown: at the largest size of the peers in each series, seconds, multiples of the time of ``orbits``, and gaps.
    """
    lines = [
        "| what | solver | seconds | multiple of `orbits` | largest relative gap |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, series in SERIES.items():
        size = max(series.peers)
        at_size = {row["solver"]: row for row in rows if row["series"] == name and row["size"] == size}
        for solver, row in at_size.items():
            multiple = row["seconds"] / at_size["orbits"]["seconds"]
            what = f"{series.title}, {series.label}: {size:,}"
            lines.append(f"| {what} | {solver} | {row['seconds']:.2g} | {multiple:.3g} | {row['largest_gap']:.1e} |")
    return "\n".join(lines)


def origin_of(rows: Sequence[Row]) -> str:
    """Say when and where rows were measured.

    Args:
        rows: of one run.

    Returns:
        Date, machine and commit, with a ``+`` for uncommitted changes.
    """
    commit = rows[0]["commit"]
    return f"{rows[0]['time'][:10]}, {rows[0]['machine']}, commit {commit[:7]}{'+' * commit.endswith('+')}"


def with_rows(page: str, rows: Sequence[Row]) -> str:
    """Put rows into a page.

    Args:
        page: Markdown with a table of other rows and a line "Measured: ...".
        rows: the measurements.

    Returns:
        The page with the table and the origin of these.
    """
    page = re.sub(r"(^\|.*\n)+", lambda old: table(rows) + "\n", page, count=1, flags=re.MULTILINE)
    return re.sub(r"^Measured: .*$", f"Measured: {origin_of(rows)}.", page, flags=re.MULTILINE)


def main() -> None:
    """Run the command: measure, or take rows that are there; write, draw and tabulate them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers")
    parser.add_argument("--out", type=Path, help="CSV file for the rows")
    parser.add_argument("--rows", type=Path, help="CSV file with rows, instead of measuring")
    parser.add_argument("--plot", type=Path, help="PNG file for the picture")
    parser.add_argument("--page", type=Path, help="Markdown page whose table is replaced")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = [] if options.rows is None else read(options.rows)
    if options.rows is None:
        shared = origin()
        for name, series in SERIES.items():
            for size in sorted({*series.ours, *series.peers}):
                for solver in series.solvers(size):
                    rows.append(measure(name, size, solver) | shared)
                    print(
                        "{series:<8}{size:>6}  {solver:<32}{seconds:>10.4f} s  {largest_gap:.1e}".format(**rows[-1]),
                        flush=True,
                    )
        write(options.out, rows)
    if options.page is not None:
        options.page.write_text(with_rows(options.page.read_text(), rows))
    if options.plot is not None:
        from benchmarks.peers_plot import plot

        plot(rows).savefig(options.plot, dpi=200)


if __name__ == "__main__":
    main()
