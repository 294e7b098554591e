"""Solve one program: ``solve(problem)`` as a library, ``python -m lpm.solve`` as a command."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lpm import factored, geometry, orbits, recovery
from lpm.errors import InvalidInput
from lpm.pairs import class_counts, imbalanced, table
from lpm.problem import Problem
from lpm.programs import fc, ms, ms_free, ms_unordered
from lpm.solution import TOLERANCE, Solution

Solver = Literal["auto", "orbits", "factored", "sdp"]

MAX_LISTED = 1000
"""Classes up to which JSON lists the K x K cosines; above, the cosines between groups say the same."""


def solve(problem: Problem, solver: Solver = "auto", *, tolerance: float = TOLERANCE, force: bool = False) -> Solution:
    """Solve a program and certify the result to a relative gap of ``tolerance``.

    solver: ``orbits`` (exact symmetry, few groups of equal classes, any K), ``factored`` (first order, any frequencies),
    ``sdp`` (Eq. 11 as printed, tiny K; ``force`` lifts its limit), ``auto`` (orbits for few groups, else factored).

    Raises NotCertified when no certificate within the tolerance is found, InvalidInput when the solver does not apply.
    """
    if not 0 < tolerance <= 1:
        raise InvalidInput(f"tolerance = {tolerance:g} must be positive, at most 1")
    if solver == "auto":
        solver = "orbits" if len(problem.sizes) <= orbits.MAX_GROUPS else "factored"
    if solver == "orbits":
        return orbits.solve(problem, tolerance=tolerance)
    if solver == "factored":
        return factored.solve(problem, tolerance=tolerance)
    from lpm import sdp  # here, because cvxpy takes a second to import

    return sdp.solve(problem, tolerance=tolerance, force=force)


def read_table(path: Path) -> np.ndarray:
    """A K x K table of numbers from a CSV file (commas, semicolons or white space), no header.

    Raises InvalidInput naming the line for a file that is unreadable, ragged or holds anything but numbers.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise InvalidInput(
            f"table {str(path)!r} cannot be read: {reason}; give a CSV file of K rows of K counts"
        ) from None
    rows: list[list[float]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        cells = line.replace(";", ",").split(",") if {",", ";"} & set(line) else line.split()
        try:
            rows.append([float(cell) for cell in cells])
        except ValueError:
            raise InvalidInput(
                f"table {str(path)!r} line {number}: {line.strip()[:40]!r} is not a row of numbers"
            ) from None
        if len(rows[-1]) != len(rows[0]):
            raise InvalidInput(
                f"table {str(path)!r} line {number} has {len(rows[-1])} counts, line 1 has {len(rows[0])}"
            )
    return np.array(rows)


def report(solution: Solution) -> dict[str, Any]:
    """Everything worth saying about a solution, for JSON: cosines (K x K), norms (K), the certificate, the groups."""
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
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=".npz")
        with os.fdopen(handle, "wb") as file:
            np.savez_compressed(file, W=W, H=H, Z=Z, a=rows.first, b=rows.second, lam=rows.lam, p=rows.p)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except OSError as error:
        raise InvalidInput(f"--save {str(path)!r} cannot be written: {error.strerror}; choose another path") from None


def _problem(options: argparse.Namespace) -> Problem:
    from lpm import cli

    program = options.program or "fc"
    if options.table is not None:
        if options.counts is not None or options.profile is not None:
            raise InvalidInput("--table brings its own label-pair counts; drop --counts and --profile")
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
    if options.counts is None:
        return family.on(imbalanced(4 if options.K is None else options.K, options.K_A, options.R, options.w_r))
    classes = class_counts(options.counts)
    _check_K(options, classes.K, "--counts")
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


def _print(solution: Solution) -> None:
    problem, gram = solution.problem, solution.gram
    lam = "" if problem.mixing == "none" else f", lambda {problem.mixing}"
    print(f"{problem.program}, {problem.profile}{lam}, K = {problem.K:,}, E_H = {problem.e_h:g}, E_W = {problem.e_w:g}")
    print(f"loss        {solution.loss:.12g}")
    print(f"certificate optimum in [{solution.lower_bound:.12g}, {solution.loss:.12g}]", end=", ")
    print(f"relative gap {solution.relative_gap:.1e}")
    if problem.minority is None:
        dependent = "linearly dependent beyond their sum" if solution.collapsed else "as independent as they can be"
        print(f"rank of W   {solution.rank:,} of at most {problem.K - 1:,}: class vectors are {dependent}")
    else:
        print(
            f"rank of W   {solution.rank:,}; the minority is {'collapsed' if solution.collapsed else 'not collapsed'}"
        )
    print(f"solver      {solution.solver}, {solution.iterations} iterations, {solution.seconds:.3g} s")
    G = len(problem.sizes)
    if G > 16:
        print(f"cosines     {G} groups of classes: --json lists them")
        return
    names = ["A", "B"] if problem.families == ((0,), (1,)) and G == 2 else [str(g) for g in range(G)]
    print("group  classes       norm  cosine to a class of group" + "".join(f"{name:>8}" for name in names[1:]))
    for g, name in enumerate(names):
        cosines = "".join("       -" if np.isnan(c) else f"{c:+8.3f}" for c in gram.group_cosines[g])
        print(f"{name:<5}{problem.sizes[g]:>9,}{gram.norms[g]:>11.6f}{'':>20}{cosines}")


def main(arguments: list[str] | None = None) -> int:
    from lpm import cli

    parser = cli.Parser("lpm.solve", "solve one program and print its certified optimum")
    cli.add_family(parser)
    parser.set_defaults(K=None)
    parser.add_argument("--R", type=float, default=1.0, help="imbalance n_A / n_B")
    parser.add_argument("--counts", type=_counts, metavar="N,N,...", help="class counts instead of --K, --K-A, --R")
    parser.add_argument("--table", type=Path, metavar="CSV", help="K x K label-pair counts instead of a profile")
    cli.add_solver(parser)
    cli.add_report(parser)
    parser.add_argument("--save", type=Path, metavar="NPZ", help="store W, H, Z")
    options = parser.parse_args(arguments)
    if options.K is None and options.counts is None and options.table is None:
        options.K = 4
    solution = solve(_problem(options), options.solver, tolerance=options.tolerance, force=options.force)
    if options.save is not None:
        save(solution, options.save)
    if options.json:
        cli.print_json(report(solution))
    elif not options.quiet:
        _print(solution)
    return 0


if __name__ == "__main__":
    from lpm.cli import run

    sys.exit(run(main))
