"""``orbits`` beside a modelling tool, in one run: ``OMP_NUM_THREADS=1 python -m benchmarks.peers [--out FILE]``, two minutes.

Time against the number of classes K, of ``plain`` and of ``fc`` with product frequencies, and against the number of points
of Fang et al.'s experiment. A user of a modelling tool writes the program as printed in cvxpy, for one point after the other
or once with the frequencies as a parameter, and takes a conic solver with its default settings. Peers stop where one point
takes seconds. Times are CPU seconds of one thread, so that a busy machine changes them little; each is the least of up to
three, after a warm-up. Certificates are computed afterwards, for all alike;
``orbits`` has its own inside its time.

:mod:`benchmarks.peers_page` makes the picture and the page of the rows.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks.rows import csv_file, origin, write
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
        shown: sizes in the table of docs/reproduce/speed.md.
        many: whether a size has several points, so that it matters whether they are solved at once.
    """

    title: str
    label: str
    points: Callable[[int], Points]
    ours: tuple[int, ...]
    peers: tuple[int, ...]
    shown: tuple[int, ...]
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
        shown=(4, 24),
    ),
    "fc": Series(
        "fc, product, one point, R = 100",
        "classes K",
        lambda K: [programs.fc(pairs.product(imbalanced(K, K // 2, 100)))],
        ours=(3, 4, 5, 6, 10, 100, 1000, 8142),
        peers=(3, 4, 5, 6),
        shown=(3, 6),
    ),
    "points": Series(
        "plain, K = 10, R from 1 to 10⁴",
        "points",
        lambda n: [programs.plain(imbalanced(10, 5, R)) for R in np.logspace(0 if n > 1 else 2, 4 if n > 1 else 2, n)],
        ours=(1, 3, 10, 41, 100, 328),
        peers=(1, 3, 10, 41, 100, 328),
        shown=(1, 41, 328),
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
        start = time.process_time()
        results = solve(problems)
        seconds.append(time.process_time() - start)
    gaps = results if solver in OURS else [gap(*both) for both in zip(problems, results, strict=True)]
    return {"solver": solver, "series": series, "size": size, "seconds": min(seconds), "largest_gap": max(gaps)}


def main() -> None:
    """Run the command: measure, print, and write one row per time to ``--out``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers")
    parser.add_argument("--out", type=csv_file, help="CSV file for the rows")
    options = parser.parse_args()
    rows, shared = [], origin()
    for name, series in SERIES.items():
        for size in sorted({*series.ours, *series.peers}):
            for solver in series.solvers(size):
                rows.append(measure(name, size, solver) | shared)
                print(
                    "{series:<8}{size:>6}  {solver:<32}{seconds:>10.4f} s  {largest_gap:.1e}".format(**rows[-1]),
                    flush=True,
                )
    write(options.out, rows)


if __name__ == "__main__":
    main()
