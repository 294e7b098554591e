"""Benchmarks of ``lpm``: ``python -m benchmarks.lpm [--out results/lpm-benchmark.csv]``, about a minute on 2 cores.

- Fang et al.'s experiment (K = 10, K_A = 5, E_H = 5, E_W = 1, 41 values of R from 1 to 10^4) by ``orbits`` and, as a user
  of a modelling tool would, by one cvxpy program a point with each conic solver's default settings: ratio of times, and the
  largest relative gap that the certificate gives each.
- ``orbits`` from K = 4 to K = 8,142, ``factored`` on the counts of CIFAR10-LT and CIFAR100-LT, ``sdp`` from K = 3 to 6.
- The default sweep, as a process of its own.

``--counts`` (results/counts-benchmark.csv) measures, instead, what many classes of different counts cost
(:mod:`benchmarks.long_tails`), two minutes: a relative gap of 1e-2 for ``fc`` and ``ms`` under ``product`` frequencies,
and ``balanced`` ones, each in a process of its own.

Times are medians of repeated solves after a warm-up; memory is the peak of a process that does nothing else.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.alone import alone
from benchmarks.long_tails import LONG_TAILS
from benchmarks.rows import origin, write
from lpm import factored, mixing, orbits, pairs, programs, sdp
from lpm.coordinates import Coordinates
from lpm.pairs import class_counts, imbalanced
from lpm.problem import Problem
from lpm.recovery import fold
from lpm.solution import Solution, evaluate
from lpm.solve import solve

Measurement = tuple[str, str, str, float]
"""What was measured, on what, in which unit, and the number."""


def timed(function: Callable[[], Solution], repeats: int = 5) -> tuple[float, Solution]:
    """Median wall time of some calls after one warm-up, and the last result."""
    result = function()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), result


def peer(problem: Problem, conic: str) -> float:
    """One point as a modelling-tool user solves it: the printed program in cvxpy, default settings. Returns its true gap."""
    import cvxpy as cp

    full, orbit = problem.expand()
    rows, K, m = full.rows, full.K, len(full.rows)
    X = cp.Variable((m + K, m + K), PSD=True)
    Z = X[:m, m:]
    own = cp.sum(cp.multiply(np.eye(K)[rows.first], Z), axis=1)
    loss = rows.p @ (cp.log_sum_exp(Z, axis=1) - own)
    budgets = [cp.sum(cp.diag(X)[:m]) / K <= full.e_h, cp.sum(cp.diag(X)[m:]) / K <= full.e_w]
    cp.Problem(cp.Minimize(loss), budgets).solve(solver=conic)
    coordinates = Coordinates(problem)
    point = fold(coordinates, orbit, full, Z.value)
    return evaluate(coordinates, point / max(1.0, coordinates.nuclear_norm(point) / problem.tau)).relative_gap


def fang() -> list[Measurement]:
    """Fang et al.'s experiment, ours and the peers', in turn."""
    found: list[Measurement] = []
    points = [programs.plain(imbalanced(10, 5, R)) for R in np.logspace(0, 4, 41)]
    where = "Fang et al., 41 points"
    orbits.solve(points[0])
    start = time.perf_counter()
    gap = max(orbits.solve(problem).relative_gap for problem in points)
    ours = time.perf_counter() - start
    found += [("orbits", where, "seconds", ours), ("orbits", where, "largest relative gap", gap)]
    for conic in ("CLARABEL", "SCS"):
        peer(points[0], conic)
        start = time.perf_counter()
        gap = max(peer(problem, conic) for problem in points)
        seconds = time.perf_counter() - start
        name = f"cvxpy + {conic}"
        found += [(name, where, "seconds", seconds), (name, where, "largest relative gap", gap),
                  (name, where, "time as a multiple of orbits", seconds / ours)]  # fmt: skip
    return found


def sizes() -> list[Measurement]:
    """orbits from K = 4 to K = 8,142, fixed lambda and Beta(1, 1) at the default 64 nodes."""
    found: list[Measurement] = []
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
            where = f"{name}, K = {K}, R = 100"
            found += [
                ("orbits", where, "milliseconds", 1e3 * seconds),
                ("orbits", where, "relative gap", solution.relative_gap),
            ]
    return found


def long_tail(K: int, n_max: int, imbalance: int) -> Problem:
    """LPM_lambda at lambda = 1/2 on the counts of CIFAR10-LT or CIFAR100-LT, random pairing."""
    return programs.fc(pairs.product(class_counts([int(n_max * imbalance ** (-k / (K - 1))) for k in range(K)])))


def _factored_alone(K: int, n_max: int, lam: float) -> list[Measurement]:
    problem = long_tail(K, n_max, 100)
    if lam != 0.5:
        counts = class_counts([int(n_max * 100 ** (-k / (K - 1))) for k in range(K)])
        problem = programs.fc(pairs.product(counts), mixing.fixed(lam))
    if K == 10:
        factored.solve(problem)
    solution = factored.solve(problem)
    where = f"CIFAR{K}-LT counts, imbalance 100, fc product, lambda {lam}"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return [("factored", where, "seconds", solution.seconds), ("factored", where, "relative gap", solution.relative_gap),
            ("factored", where, "peak memory, GiB", peak)]  # fmt: skip


def written_out() -> list[Measurement]:
    """factored in fresh processes, and sdp."""
    found: list[Measurement] = []
    for arguments in ((10, 5000, 0.5), (100, 500, 0.5), (100, 500, 0.3)):
        found += alone(_factored_alone, *arguments)
    seconds, solution = timed(partial(orbits.solve, long_tail(10, 5000, 100)))
    found += [("orbits", "CIFAR10-LT counts, 10 groups of one class", "seconds", seconds)]
    for K in (3, 4, 5, 6):
        problem = programs.fc(pairs.product(imbalanced(K, K // 2, 100)))
        seconds, solution = timed(partial(sdp.solve, problem), repeats=1)
        where = f"fc product, K = {K}, R = 100"
        found += [("sdp", where, "seconds", seconds), ("sdp", where, "relative gap", solution.relative_gap)]
    return found


def _many_counts_alone(data: str, program: str, profile: str, tolerance: float) -> list[Measurement]:
    classes = class_counts(LONG_TAILS[data].stand_in())
    start = time.perf_counter()
    problem = {"fc": programs.fc, "ms": programs.ms}[program](pairs.PROFILES[profile](classes))
    solution = solve(problem, tolerance=tolerance)
    seconds = time.perf_counter() - start
    where = f"{data} (synthetic), {len(classes.sizes)} counts, {program} {profile}"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return [(solution.solver, where, "loss", solution.loss), (solution.solver, where, "relative gap", solution.relative_gap),
            (solution.solver, where, "seconds", seconds), (solution.solver, where, "peak memory, GiB", peak)]  # fmt: skip


def many_counts() -> list[Measurement]:
    """Stand-ins for Places-LT, ImageNet-LT and iNaturalist 2018, in fresh processes."""
    found: list[Measurement] = []
    cases = [(data, *case) for data in LONG_TAILS for case in (("fc", "product", 1e-2), ("ms", "product", 1e-2),
             ("fc", "balanced", 1e-6), ("ms", "balanced", 1e-6))]  # fmt: skip
    for arguments in (*cases, ("imagenet-lt", "fc", "product", 1e-3)):
        found += alone(_many_counts_alone, *arguments)
    return found


def whole_sweep() -> list[Measurement]:
    """The default sweep in a process of its own, files and picture included; and a process that only imports."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
        runs = {
            "imports": [sys.executable, "-c", "import lpm.sweep, matplotlib.figure, rich.console, rich.progress"],
            "process": [sys.executable, "-m", "lpm.sweep", "--quiet", "--out", f"{folder}/sweep"],
        }
        seconds: dict[str, float] = {}
        for name in ("imports", "process", "imports", "process"):  # the first round warms the file cache
            start = time.perf_counter()
            subprocess.run(runs[name], check=True, env=environment, cwd=folder)
            seconds[name] = time.perf_counter() - start
    where = "python -m lpm.sweep --K 4, 328 solves, 8 thresholds"
    return [("sweep", where, "seconds, whole process", seconds["process"]),
            ("sweep", where, "seconds after the imports", seconds["process"] - seconds["imports"])]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, help="CSV file for the numbers")
    parser.add_argument("--counts", action="store_true", help="only the sizes of the large data sets")
    options = parser.parse_args()
    made = origin()
    print("{machine}, commit {commit}, {time}".format(**made))
    found: list[Measurement] = []
    for part in (many_counts,) if options.counts else (fang, sizes, written_out, whole_sweep):
        for line in part():
            found.append(line)
            print(f"{line[0]:<28} {line[1]:<62} {line[3]:>12.4g}  {line[2]}", flush=True)
    write(options.out, [dict(zip(("what", "on", "unit", "value"), line, strict=True)) | made for line in found])


if __name__ == "__main__":
    main()
