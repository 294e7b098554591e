"""Weight decay against budgets, as ratios in one run: ``python -m benchmarks.decay [--out results/decay-benchmark.csv]``.

- ``orbits`` under a decay and under budgets, from K = 4 to K = 8,142, at lambda = 1/2 and under Beta(1, 1).
- A collapse number beside the solve that it makes unnecessary.
- The table of ``lpm.cures`` under a decay and under budgets, as a process of its own.

Times are medians of repeated calls after a warm-up.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.rows import csv_file, origin, write
from lpm import orbits
from lpm.family import Family
from lpm.law import collapse_number
from lpm.mixing import beta, fixed

REPEATS = 9
"""Timed calls of a measurement."""


def seconds(function: Callable[[], Any], calls: int = 1) -> float:
    """Time a function.

    Args:
        function: what is timed.
        calls: calls in one measurement.

    Returns:
        The median wall time of a call in seconds.
    """
    times = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        for _ in range(calls):
            function()
        times.append((time.perf_counter() - start) / calls)
    return statistics.median(times[1:])


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decay")
    parser.add_argument("--out", type=csv_file)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for law, name in ((fixed(), "lambda 1/2"), (beta(1.0, 16), "Beta(1), 16 nodes")):
        for K in (4, 10, 100, 1000, 8142):
            budget = Family("fc", "product", K, mixing=law).at(20.0)
            decay = Family("fc", "product", K, mixing=law, decay=0.2 / K**0.5).at(20.0)
            one, other = seconds(partial(orbits.solve, decay)), seconds(partial(orbits.solve, budget))
            number = seconds(partial(collapse_number, decay, 1), calls=100)
            rows.append(
                {
                    "what": f"orbits, {name}",
                    "K": K,
                    "decay_ms": round(1e3 * one, 2),
                    "budgets_ms": round(1e3 * other, 2),
                    "ratio": round(one / other, 2),
                    "collapse_number_us": round(1e6 * number, 1),
                    **origin(),
                }
            )
            print(*list(rows[-1].values())[:6], sep="\t")
    times = []
    for words in (["--decay", "0.03"], []):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "lpm.cures", "--quiet", *words], check=True)
        times.append(time.perf_counter() - start)
    rows.append(
        {
            "what": "lpm.cures",
            "K": 10,
            "decay_ms": round(1e3 * times[0]),
            "budgets_ms": round(1e3 * times[1]),
            "ratio": round(times[0] / times[1], 2),
            "collapse_number_us": "",
            **origin(),
        }
    )
    print(*list(rows[-1].values())[:5], sep="\t")
    write(options.out, rows)


if __name__ == "__main__":
    main()
