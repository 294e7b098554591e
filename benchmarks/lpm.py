"""Benchmarks of ``lpm``: ``python -m benchmarks.lpm [--out results/lpm-benchmark.csv]``, four minutes on 2 cores.

- Fang et al.'s experiment (K = 10, K_A = 5, E_H = 5, E_W = 1, 41 values of R from 1 to 10^4) by ``orbits``, and as a user
  of a modelling tool would do it: one cvxpy program per point, with each conic solver's default settings. Measured are the
  ratio of times and the largest relative gap that the certificate gives each.
- What a sweep, the maps of R0 and the explorer solve, all at once and one by one, and ``orbits`` on 1 to 1,000 points at once.
- ``orbits`` from K = 4 to K = 8,142, ``factored`` on the counts of CIFAR10-LT and CIFAR100-LT, ``sdp`` from K = 3 to 6.
- CIFAR100-LT's counts without ``--solver``; the default sweep and a ``--help``, as processes of their own.

``--counts`` (results/counts-benchmark.csv, two minutes) measures instead the cost of many classes with different counts
(:mod:`benchmarks.long_tails`): ``fc`` and ``ms`` to a relative gap of 1e-2 under ``product`` frequencies, and under
``balanced`` ones, each in a process of its own.

Times are medians of repeated solves after a warm-up. Memory is the peak of a process that does nothing else.
"""

from __future__ import annotations

import argparse
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.alone import alone
from benchmarks.long_tails import LONG_TAILS
from benchmarks.peers import gap, solve_printed
from benchmarks.rows import csv_file, origin, write
from lpm import factored, mixing, orbits, pairs, programs, sdp
from lpm.family import Family
from lpm.pairs import class_counts, imbalanced
from lpm.problem import Problem
from lpm.solution import Solution
from lpm.solve import solve
from lpm.sweep import DEFAULT
from lpm.tasks import solved, tasks_of

Measurement = tuple[str, str, str, float]
"""Solver, problem, unit and number: columns what, on, unit and value of the CSV."""


def timed(function: Callable[[], Solution], repeats: int = 5) -> tuple[float, Solution]:
    """Time a solve, after one warm-up.

    Args:
        function: the solve.
        repeats: number of timed calls.

    Returns:
        The median wall time in seconds, and the last solution.
    """
    result = function()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), result


def peer(problem: Problem, conic: str) -> float:
    """Solve one point as a user of a modelling tool does: the program as printed, in cvxpy, with default settings.

    Args:
        problem: the problem.
        conic: name of the conic solver.

    Returns:
        The relative gap that our certificate gives its solution.
    """
    (Z,) = solve_printed([problem], conic)
    return gap(problem, Z)


def _time_of_all(points: list[Problem]) -> tuple[float, float]:
    """Seconds and largest relative gap of ``orbits`` on all points at once."""
    start = time.perf_counter()
    solutions = orbits.solve_all(points)
    seconds = time.perf_counter() - start
    return seconds, max(one.relative_gap for one in solutions)


def _sweep(families: list[Family], R: np.ndarray) -> None:
    for _ in solved(tasks_of(families, R)):
        pass


@contextmanager
def one_by_one() -> Iterator[None]:
    """Let ``orbits`` solve one program after another, as it did before it took many at once.

    Yields:
        Nothing; it solves many at once again when the block ends.
    """
    solve_all, optima = orbits.solve_all, orbits.optima

    def solved_alone(problems: Sequence[Problem], **choices: Any) -> list[Any]:
        return [result for problem in problems for result in solve_all([problem], **choices)]

    def optima_alone(coordinates: Sequence[Any], *, target: float, frozen: Sequence[Any]) -> list[Any]:
        both = zip(coordinates, frozen, strict=True)
        return [point for one, its in both for point in optima([one], target=target, frozen=[its])]

    with mock.patch.multiple(orbits, solve_all=solved_alone, optima=optima_alone):
        yield


def many() -> list[Measurement]:
    """Time all that a sweep, the maps of R0 and the explorer solve, without files and pictures.

    Returns:
        Seconds, the least of three calls after a warm-up; for some also those of one program after another, and the ratio.
    """
    from figures import explore_data, explore_decay, theory_maps

    R = np.logspace(0, 4, 41)
    measured: list[Measurement] = []

    def add(what: str, function: Callable[[], object], *, ratio: bool = False) -> None:
        function()
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            function()
            seconds.append(time.perf_counter() - start)
        measured.append(("orbits", what, "seconds", min(seconds)))
        if ratio:
            with one_by_one():
                start = time.perf_counter()
                function()
                alone = time.perf_counter() - start
            measured.append(("orbits, one by one", what, "seconds", alone))
            measured.append(("orbits, one by one", what, "time as a multiple of all at once", alone / min(seconds)))

    for K in (4, 100, 8142):
        families = [Family(*choice, K) for choice in DEFAULT]
        add(f"default sweep, K = {K}: 328 rows, 8 thresholds", partial(_sweep, families, R), ratio=K == 4)
    for number in (1, 10, 41, 200, 1000):
        points = [programs.plain(imbalanced(10, 5, x)) for x in np.logspace(0, 4, number)]
        add(f"plain, K = 10, {number} points", partial(orbits.solve_all, points))
    add("maps of R0: 328 thresholds", lambda: (theory_maps.budget_rows(4), theory_maps.class_rows()), ratio=True)
    add(
        "explorer, K = 4: 1,468 rows, 68 thresholds",
        lambda: explore_data.solve_all(explore_data.Grid(K=(4,)), quiet=True),
        ratio=True,
    )
    decays = explore_decay.Decays(("mixup",))
    what = "explorer, mixup under decay: 293 rows with a free bias"
    add(what, lambda: explore_decay.predicted(decays, quiet=True), ratio=True)
    return measured


def fang() -> list[Measurement]:
    """Run Fang et al.'s experiment with ``orbits`` and with cvxpy's solvers, in turn.

    Returns:
        Seconds, largest relative gaps, and ratios of times.
    """
    measured: list[Measurement] = []
    points = [programs.plain(imbalanced(10, 5, R)) for R in np.logspace(0, 4, 41)]
    problem_name = "Fang et al., 41 points"
    at_once = [_time_of_all(points) for _ in range(4)]
    ours, gap = min(at_once[1:])  # the first one is a warm-up
    alone = time.perf_counter()
    for problem in points:
        orbits.solve(problem)
    alone = time.perf_counter() - alone
    measured += [
        ("orbits", problem_name, "seconds", ours),
        ("orbits", problem_name, "largest relative gap", gap),
        ("orbits, one by one", problem_name, "seconds", alone),
    ]
    for conic in ("CLARABEL", "SCS"):
        peer(points[0], conic)
        start = time.perf_counter()
        gap = max(peer(problem, conic) for problem in points)
        seconds = time.perf_counter() - start
        name = f"cvxpy + {conic}"
        measured += [
            (name, problem_name, "seconds", seconds),
            (name, problem_name, "largest relative gap", gap),
            (name, problem_name, "time as a multiple of orbits", seconds / ours),
        ]
    return measured


def sizes() -> list[Measurement]:
    """Run ``orbits`` from K = 4 to K = 8,142, at fixed lambda and under Beta(1, 1) with the default 64 nodes.

    Returns:
        Milliseconds and relative gaps.
    """
    measured: list[Measurement] = []
    for K in (4, 10, 100, 1000, 8142):
        classes = imbalanced(K, K // 2, 100)
        for name, problem in (
            ("plain", programs.plain(classes)),
            ("fc product", programs.fc(pairs.product(classes))),
            ("fc product Beta(1), 64 nodes", programs.fc(pairs.product(classes), mixing.beta(1.0))),
            ("ms product", programs.ms(pairs.product(classes))),
            ("ms-free block", programs.ms_free(pairs.block(classes))),
        ):
            seconds, solution = timed(partial(orbits.solve, problem))
            problem_name = f"{name}, K = {K}, R = 100"
            measured += [
                ("orbits", problem_name, "milliseconds", 1e3 * seconds),
                ("orbits", problem_name, "relative gap", solution.relative_gap),
            ]
    return measured


def long_tail(K: int, n_max: int, imbalance: int) -> Problem:
    """Return LPM_lambda at lambda = 1/2 on the counts of CIFAR10-LT or CIFAR100-LT, with random pairs.

    Args:
        K: number of classes.
        n_max: images of the largest class.
        imbalance: n_max / n_min.

    Returns:
        The problem.
    """
    return programs.fc(pairs.product(class_counts([int(n_max * imbalance ** (-k / (K - 1))) for k in range(K)])))


def _factored_alone(K: int, n_max: int, lam: float) -> list[Measurement]:
    problem = long_tail(K, n_max, 100)
    if lam != 0.5:
        counts = class_counts([int(n_max * 100 ** (-k / (K - 1))) for k in range(K)])
        problem = programs.fc(pairs.product(counts), mixing.fixed(lam))
    if K == 10:  # the short solve has a warm-up
        factored.solve(problem)
    solution = factored.solve(problem)
    problem_name = f"CIFAR{K}-LT counts, imbalance 100, fc product, lambda {lam}"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return [
        ("factored", problem_name, "seconds", solution.seconds),
        ("factored", problem_name, "relative gap", solution.relative_gap),
        ("factored", problem_name, "peak memory, GiB", peak),
    ]


def written_out() -> list[Measurement]:
    """Run ``factored`` in fresh processes, and ``sdp``.

    Returns:
        Seconds, relative gaps and peak memory.
    """
    measured: list[Measurement] = []
    for arguments in ((10, 5000, 0.5), (100, 500, 0.5), (100, 500, 0.3)):
        measured += alone(_factored_alone, *arguments)
    seconds, solution = timed(partial(orbits.solve, long_tail(10, 5000, 100)))
    measured += [("orbits", "CIFAR10-LT counts, 10 groups of one class", "seconds", seconds)]
    for K in (3, 4, 5, 6):
        problem = programs.fc(pairs.product(imbalanced(K, K // 2, 100)))
        seconds, solution = timed(partial(sdp.solve, problem), repeats=1)
        problem_name = f"fc product, K = {K}, R = 100"
        measured += [
            ("sdp", problem_name, "seconds", seconds),
            ("sdp", problem_name, "relative gap", solution.relative_gap),
        ]
    return measured


def _by_default_alone(program: str, lam: float) -> list[Measurement]:
    counts = class_counts([int(500 * 100 ** (-k / 99)) for k in range(100)])
    problem = {"fc": programs.fc, "ms": programs.ms}[program](pairs.product(counts), mixing.fixed(lam))
    solution = solve(problem)
    name = f"CIFAR100-LT counts, imbalance 100, {program} product, lambda {lam}"
    return [
        (f"auto: {solution.solver}", name, "seconds", solution.seconds),
        (f"auto: {solution.solver}", name, "relative gap", solution.relative_gap),
    ]


def by_default() -> list[Measurement]:
    """Solve CIFAR100-LT's counts to 1e-6 as a user does without ``--solver``, in fresh processes.

    Returns:
        Seconds and relative gaps.
    """
    cases = ("fc", 0.5), ("fc", 0.3), ("ms", 0.5)
    return [line for case in cases for line in alone(_by_default_alone, *case)]


def _many_counts_alone(data: str, program: str, profile: str, tolerance: float) -> list[Measurement]:
    classes = class_counts(LONG_TAILS[data].stand_in())
    start = time.perf_counter()
    problem = {"fc": programs.fc, "ms": programs.ms}[program](pairs.PROFILES[profile](classes))
    solution = solve(problem, tolerance=tolerance)
    seconds = time.perf_counter() - start
    problem_name = f"{data} (synthetic), {len(classes.sizes)} counts, {program} {profile}"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return [
        (solution.solver, problem_name, "loss", solution.loss),
        (solution.solver, problem_name, "relative gap", solution.relative_gap),
        (solution.solver, problem_name, "seconds", seconds),
        (solution.solver, problem_name, "peak memory, GiB", peak),
    ]


def many_counts() -> list[Measurement]:
    """Solve stand-ins for Places-LT, ImageNet-LT and iNaturalist 2018 in fresh processes.

    Returns:
        Losses, relative gaps, seconds and peak memory.
    """
    tolerances = {"product": 1e-2, "balanced": 1e-6}
    cases = [
        (data, program, profile, tolerance)
        for data in LONG_TAILS
        for profile, tolerance in tolerances.items()
        for program in ("fc", "ms")
    ]
    measured: list[Measurement] = []
    for case in (*cases, *(("imagenet-lt", program, "product", 1e-3) for program in ("fc", "ms"))):
        measured += alone(_many_counts_alone, *case)
    return measured


def processes() -> list[Measurement]:
    """Time commands in processes of their own: the default sweep with and without its picture, its imports, and a ``--help``.

    Returns:
        Seconds, the least of three.
    """
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
        runs = {
            "imports": ["-c", "import lpm.sweep, matplotlib.figure, rich.console, rich.progress"],
            "few imports": ["-c", "import lpm.sweep"],
            "process": ["-m", "lpm.sweep", "--quiet", "--out", "sweep"],
            "no picture": ["-m", "lpm.sweep", "--quiet", "--no-picture", "--out", "sweep"],
            "help": ["-m", "lpm.solve", "--help"],
        }
        seconds = dict.fromkeys(runs, math.inf)
        for name in (*runs, *runs, *runs, *runs):  # the first round warms the file cache
            start = time.perf_counter()
            subprocess.run(
                [sys.executable, *runs[name]], check=True, env=environment, cwd=folder, stdout=subprocess.DEVNULL
            )
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    command = "python -m lpm.sweep --K 4, 328 solves, 8 thresholds"
    without = seconds["no picture"] - seconds["few imports"]
    return [
        ("sweep", command, "seconds, whole process", seconds["process"]),
        ("sweep", command, "seconds after the imports", seconds["process"] - seconds["imports"]),
        ("sweep", f"{command}, --no-picture", "seconds, whole process", seconds["no picture"]),
        ("sweep", f"{command}, --no-picture", "seconds after the imports", without),
        ("start", "python -m lpm.solve --help", "seconds, whole process", seconds["help"]),
    ]


def main() -> None:
    """Run the command: measure, print, and write one row per number to ``--out``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=csv_file, help="CSV file for the numbers")
    parser.add_argument("--counts", action="store_true", help="measure many classes with different counts instead")
    options = parser.parse_args()
    shared = origin()
    print("{machine}, commit {commit}, {time}".format(**shared))
    measured: list[Measurement] = []
    for part in (many_counts,) if options.counts else (fang, many, sizes, written_out, by_default, processes):
        for line in part():
            measured.append(line)
            solver, problem_name, unit, value = line
            print(f"{solver:<28} {problem_name:<62} {value:>12.4g}  {unit}", flush=True)
    columns = ("what", "on", "unit", "value")
    write(options.out, [dict(zip(columns, line, strict=True)) | shared for line in measured])


if __name__ == "__main__":
    main()
