"""Solve one program: ``solve(problem)`` as a library, ``python -m lpm.solve`` as a command."""

from __future__ import annotations

import argparse
import io
import os
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lpm import factored, geometry, merged, orbits, recovery
from lpm.counts import read_counts, read_table
from lpm.errors import InvalidInput
from lpm.merging import merge_equal
from lpm.output import write
from lpm.pairs import class_counts, imbalanced, table
from lpm.problem import MAX_LOGITS, Problem
from lpm.programs import fc, ms, ms_free, ms_unordered
from lpm.solution import TOLERANCE, Solution

Solver = Literal["auto", "orbits", "factored", "merged", "sdp"]

MAX_LISTED = 1000
"""Classes up to which JSON lists the K x K cosines; above, the cosines between groups say the same."""

MAX_MAPPED = 100_000
"""Classes up to which JSON says the group of each."""

MAX_DIFFERENT = 2000
"""Different class counts in a program over label pairs, whose frequencies are kept for every two of them."""


def solve(
    problem: Problem,
    solver: Solver = "auto",
    *,
    tolerance: float = TOLERANCE,
    force: bool = False,
    time_limit: float = merged.TIME_LIMIT,
    progress: merged.Progress | None = None,
) -> Solution:
    """Solve a program and certify the result to a relative gap of ``tolerance``.

    solver: ``orbits`` (exact symmetry, few groups of equal classes, any K), ``factored`` (first order, any frequencies),
    ``merged`` (many groups; takes ``time_limit`` and ``progress``), ``sdp`` (Eq. 11 as printed, tiny K; ``force`` lifts its
    limit), ``auto`` (see :func:`choose`). More groups than ``orbits`` takes are first merged where that changes nothing.

    Raises NotCertified when no certificate within the tolerance is found, InvalidInput when the solver does not apply.
    """
    if not 0 < tolerance <= 1:
        raise InvalidInput(f"tolerance = {tolerance:g} must be positive, at most 1")
    if not time_limit > 0:
        raise InvalidInput(f"time limit = {time_limit:g} s must be positive")
    if len(problem.sizes) > orbits.MAX_GROUPS:
        problem = merge_equal(problem)
    solver = choose(problem) if solver == "auto" else solver
    if solver == "orbits":
        return orbits.solve(problem, tolerance=tolerance)
    if solver == "factored":
        return factored.solve(problem, tolerance=tolerance)
    if solver == "merged":
        return merged.solve(problem, tolerance=tolerance, time_limit=time_limit, progress=progress)
    from lpm import sdp  # here, because cvxpy takes a second to import

    return sdp.solve(problem, tolerance=tolerance, force=force)


def choose(problem: Problem) -> Solver:
    """``orbits`` for few groups; else ``factored`` if Z can be written out and most classes differ; else ``merged``."""
    G, K = len(problem.sizes), problem.K
    if G <= orbits.MAX_GROUPS:
        return "orbits"
    return "factored" if K <= 2 * G and problem.rows.count.sum() * K <= MAX_LOGITS else "merged"


def report(solution: Solution) -> dict[str, Any]:
    """Everything worth saying about a solution, for JSON: cosines (K x K), norms (K), the certificate, the groups.

    group_of: (K,) the group of each class, in the order in which classes were given; None where they are too many to list.
    """
    problem, gram = solution.problem, solution.gram
    listed = problem.K <= MAX_LISTED
    full = gram.matrix(problem.members) if listed else None
    return {
        "program": problem.program,
        "profile": problem.profile,
        "lam": problem.mixing,
        "K": problem.K,
        "E_H": problem.e_h,
        "E_W": problem.e_w,
        "loss": solution.loss,
        "lower_bound": solution.lower_bound,
        "gap": solution.gap,
        "relative_gap": solution.relative_gap,
        "cosines": None if full is None else geometry.cosines(full),
        "norms": None if full is None else np.sqrt(np.diag(full)),
        "group_of": problem.group_of if problem.K <= MAX_MAPPED else None,
        "group_sizes": problem.sizes,
        "group_cosines": gram.group_cosines,
        "group_norms": gram.norms,
        "rank": solution.rank,
        "collapsed": solution.collapsed,
        "collapsed_groups": solution.collapsed_groups,
        "solver": solution.solver,
        "iterations": solution.iterations,
        "seconds": solution.seconds,
    }


def save(solution: Solution, path: Path) -> None:
    """Store W (K, K), H (m, K), Z (m, K) and the rows' label pairs ``a, b, lam, p`` as an npz file, whole or not at all.

    Raises InvalidInput when Z is too large to write out or the file cannot be written.
    """
    full, Z = recovery.logits(solution)
    W, H = recovery.class_vectors_and_features(full, Z)
    rows = full.rows
    data = io.BytesIO()
    np.savez_compressed(data, W=W, H=H, Z=Z, a=rows.first, b=rows.second, lam=rows.lam, p=rows.p)
    try:
        write(path, data.getvalue())
    except OSError as error:
        raise InvalidInput(f"--save {str(path)!r} cannot be written: {error.strerror}; choose another path") from None


def _given(options: argparse.Namespace) -> np.ndarray | None:
    """The class counts (K,) of --counts or --counts-file."""
    if options.counts is not None and options.counts_file is not None:
        raise InvalidInput("--counts and --counts-file exclude each other; give one of them")
    if options.counts is not None:
        return np.array(options.counts)
    return None if options.counts_file is None else read_counts(options.counts_file)


def _problem(options: argparse.Namespace, counts: np.ndarray | None) -> Problem:
    from lpm import cli

    program = options.program or "fc"
    if options.table is not None:
        if counts is not None or options.profile is not None:
            raise InvalidInput("--table brings its own label-pair counts; drop --counts, --counts-file and --profile")
        pairs = table(read_table(options.table))
        _check_K(options, pairs.K, "--table")
        budgets = {"e_h": options.E_H, "e_w": options.E_W}
        if program == "plain":
            raise InvalidInput(
                "program 'plain' has no label pairs; give it --counts, or choose another --program for --table"
            )
        if program == "ms-free":
            return ms_free(pairs, **budgets, budget=options.budget)
        if program == "ms-unordered":
            return ms_unordered(pairs, cli.law(options), **budgets)
        return {"fc": fc, "ms": ms}[program](pairs, cli.law(options), **budgets, budget=options.budget)
    family = cli.family(options, program, options.profile or "")
    if counts is None:
        return family.on(imbalanced(4 if options.K is None else options.K, options.K_A, options.R, options.w_r))
    classes = class_counts(counts)
    _check_K(options, classes.K, "--counts" if options.counts_file is None else "--counts-file")
    if program != "plain" and len(classes.sizes) > MAX_DIFFERENT:
        raise InvalidInput(
            f"{len(classes.sizes):,} different class counts, more than {MAX_DIFFERENT:,}, have too many kinds of label pairs; "
            "round them"
        )
    if options.profile is None and program == "ms-free":
        family = cli.family(options, program, "product")
    return family.on(classes)


def _check_K(options: argparse.Namespace, K: int, source: str) -> None:
    if options.K is not None and options.K != K:
        raise InvalidInput(f"{source} has {K} classes, --K says {options.K}; they must agree (or drop --K)")
    if options.K_A is not None:
        raise InvalidInput(f"--K-A {options.K_A} has no meaning with {source}; drop one of them")
    if options.R != 1 or options.w_r != 1:
        raise InvalidInput(f"--R and --w-r have no meaning with {source}; drop them")


def _counts(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text[:60]!r} is not a comma-separated list of class counts") from None


def _print(solution: Solution, counts: np.ndarray | None) -> None:
    problem, gram = solution.problem, solution.gram
    lam = "" if problem.mixing == "none" else f", lambda {problem.mixing}"
    print(f"{problem.program}, {problem.profile}{lam}, K = {problem.K:,}, E_H = {problem.e_h:g}, E_W = {problem.e_w:g}")
    print(f"loss        {solution.loss:.12g}")
    print(f"certificate optimum in [{solution.lower_bound:.12g}, {solution.loss:.12g}]", end=", ")
    print(f"relative gap {solution.relative_gap:.1e}")
    if isinstance(solution, merged.MergedSolution):
        print(f"rank of W   {solution.rank:,} of at most {problem.K - 1:,} at this point; the optimum's may differ")
    elif problem.minority is None:
        dependent = "linearly dependent beyond their sum" if solution.collapsed else "as independent as they can be"
        print(f"rank of W   {solution.rank:,} of at most {problem.K - 1:,}: class vectors are {dependent}")
    else:
        print(
            f"rank of W   {solution.rank:,}; the minority is {'collapsed' if solution.collapsed else 'not collapsed'}"
        )
    print(f"solver      {solution.solver}, {solution.iterations} iterations, {solution.seconds:.3g} s")
    G = len(problem.sizes)
    if G > 16:
        print(f"cosines     {G} groups of classes: --json lists them, and the group of each class")
        return
    names = ["A", "B"] if problem.families == ((0,), (1,)) and G == 2 else [str(g) for g in range(G)]
    each = [""] * G if counts is None or len(counts) != problem.K else [_range(counts[own]) for own in problem.members]
    wide = max(map(len, ["count", *each])) + 2 if any(each) else 0
    first = f"{'group':<5}{'count' if wide else '':>{wide}}  classes       norm  cosine to a class of group"
    print(first + "".join(f"{name:>8}" for name in names[1:]))
    for g, name in enumerate(names):
        cosines = "".join("       -" if np.isnan(c) else f"{c:+8.3f}" for c in gram.group_cosines[g])
        print(f"{name:<5}{each[g]:>{wide}}{problem.sizes[g]:>9,}{gram.norms[g]:>11.6f}{'':>20}{cosines}")


def _range(counts: np.ndarray) -> str:
    """The class counts of a group; different ones under frequencies that do not depend on them."""
    low, high = counts.min(), counts.max()
    return f"{low:.15g}" if low == high else f"{low:.15g} to {high:.15g}"


def _print_progress(groups: int, relative_gap: float, seconds: float) -> None:
    print(f"{groups} merged groups: relative gap {relative_gap:.1e} after {seconds:.3g} s", file=sys.stderr)


def main(arguments: list[str] | None = None) -> int:
    from lpm import cli

    parser = cli.Parser("lpm.solve", "solve one program and print its certified optimum")
    cli.add_family(parser)
    parser.set_defaults(K=None)
    parser.add_argument("--R", type=float, default=1.0, help="imbalance n_A / n_B")
    parser.add_argument("--counts", type=_counts, metavar="N,N,...", help="class counts instead of --K, --K-A, --R")
    parser.add_argument(
        "--counts-file",
        type=Path,
        metavar="FILE",
        help="class counts from a text file, one a line; # begins a comment",
    )
    parser.add_argument("--table", type=Path, metavar="CSV", help="K x K label-pair counts instead of a profile")
    cli.add_solver(parser)
    cli.add_report(parser)
    parser.add_argument(
        "--time-limit", type=float, default=merged.TIME_LIMIT, metavar="SECONDS", help="of --solver merged"
    )
    parser.add_argument("--save", type=Path, metavar="NPZ", help="store W, H, Z")
    options = parser.parse_args(arguments)
    if options.K is None and options.counts is None and options.counts_file is None and options.table is None:
        options.K = 4
    counts = _given(options)
    problem = _problem(options, counts)
    if options.save is not None and (
        os.path.isdir(options.save) or not os.path.isdir(options.save.parent)  # Path's own raise for some paths
    ):
        raise InvalidInput(f"--save {str(options.save)!r} cannot be written: it must be a file in a folder that exists")
    if options.save is not None and problem.rows.count.sum() * problem.K > MAX_LOGITS:
        raise InvalidInput(f"--save would write Z of more than {MAX_LOGITS:,} entries; drop it, --json has the groups")
    solution = solve(
        problem,
        options.solver,
        tolerance=options.tolerance,
        force=options.force,
        time_limit=options.time_limit,
        progress=None if options.quiet or options.json else _print_progress,
    )
    if options.save is not None:
        save(solution, options.save)
    if options.json:
        cli.print_json(report(solution))
    elif not options.quiet:
        _print(solution, counts)
    return 0


if __name__ == "__main__":
    from lpm.cli import run

    sys.exit(run(main))
