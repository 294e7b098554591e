"""Solve one program: ``solve(problem)`` as a library, ``python -m lpm.solve`` as a command."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from lpm import factored, merged, orbits, report
from lpm.console.cli import Parser, numbers
from lpm.console.errors import InvalidInput, NotCertified
from lpm.console.rounding import upward
from lpm.counts import read_counts, read_table
from lpm.dual_condition import Margin, margins
from lpm.family import limited
from lpm.many_groups.merging import merge_equal
from lpm.options import DEFAULT_PROGRAM, add_family, add_solver, family_of, law_of, limits_of
from lpm.pairs import class_counts, table
from lpm.problem import MAX_LOGITS, Problem
from lpm.programs import PROGRAMS
from lpm.solution import TOLERANCE, Solution

Solver = Literal["auto", "orbits", "factored", "merged", "sdp"]
"""Solvers, see :func:`solve`."""

PLAIN_SHARE, SMALL_BUDGET = 0.02, 0.5
"""A minority that takes more than this share of the nuclear norm, at a radius tau above this, is plainly apart."""

SMALL = 1_000_000
"""Largest number of logits for which ``auto`` tries the first-order solver where ``orbits`` does not certify."""

TINY_DECAY = 1e-4
"""Decay below which the first-order solver is not tried by itself."""

MANY = 64
"""Number of groups above which ``merged`` is faster than ``factored``: twice as fast at 100."""

TOO_FAR_APART = "numbers are too far apart for float64: take lambda, counts and budgets nearer to 1"
"""The remedy where linear algebra fails in float64."""

MAX_DIFFERENT = 2000
"""Largest number of different class counts in a program of label pairs, which keeps a frequency for each two."""


def solve(
    problem: Problem,
    solver: Solver = "auto",
    *,
    tolerance: float = TOLERANCE,
    force: bool = False,
    time_limit: float = merged.TIME_LIMIT,
    progress: merged.Progress | None = None,
) -> Solution:
    """Solve a program and certify the result.

    A problem with more groups than ``orbits`` takes is first merged into fewer, if that changes nothing.

    Args:
        problem: the problem.
        solver: ``orbits`` (exact symmetry, few groups of equal classes, any K), ``factored`` (first order, any
            frequencies), ``merged`` (many groups), ``sdp`` (Eq. 11 as printed, tiny K) or ``auto`` (see
            :func:`choose`).
        tolerance: largest relative gap that is certified.
        force: lift the size limit of ``sdp``.
        time_limit: time limit of ``merged`` in seconds.
        progress: called by ``merged`` after each number of groups.

    Returns:
        The certified solution.

    Raises:
        NotCertified: if no certificate within the tolerance is found.
        InvalidInput: if the solver does not apply, or an argument is out of range.
    """
    _check(tolerance)
    if not time_limit > 0:
        raise InvalidInput(f"time limit = {time_limit:g} s must be positive")
    if problem.bias and solver not in ("auto", "orbits"):
        raise InvalidInput(f"--solver {solver} does not solve for a free bias; use --solver orbits, or drop --bias")
    auto = solver == "auto"
    if problem.bias:
        solver = "orbits"
    elif len(problem.sizes) > orbits.MAX_GROUPS:
        problem = merge_equal(problem)
    if solver == "auto":
        solver = choose(problem)
    if solver == "orbits":
        (solution,) = _by_orbits([problem], tolerance)
        if auto and isinstance(solution, NotCertified):
            solution = _by_another(problem, solution, tolerance)
        if isinstance(solution, NotCertified):
            raise solution
        return solution
    try:
        return _run(problem, solver, tolerance=tolerance, force=force, time_limit=time_limit, progress=progress)
    except np.linalg.LinAlgError:
        raise _too_far_apart(tolerance, solver) from None


def solve_all(
    problems: Sequence[Problem], solver: Solver = "auto", *, tolerance: float = TOLERANCE, force: bool = False
) -> list[Solution | NotCertified]:
    """Solve many programs at once.

    Args:
        problems: the problems.
        solver: as for :func:`solve`.
        tolerance: as for :func:`solve`.
        force: as for :func:`solve`.

    Returns:
        For each problem its certified solution, or the error that :func:`solve` would raise.

    Raises:
        InvalidInput: as :func:`solve`.
    """
    _check(tolerance)
    results: dict[int, Solution | NotCertified] = {}
    together: list[int] = []
    for i, problem in enumerate(problems):
        if solver in ("auto", "orbits") and len(problem.sizes) <= orbits.MAX_GROUPS:
            together.append(i)
        else:
            try:
                results[i] = solve(problem, solver, tolerance=tolerance, force=force)
            except NotCertified as refusal:
                results[i] = refusal
    for i, solution in zip(together, _by_orbits([problems[i] for i in together], tolerance), strict=True):
        if solver == "auto" and isinstance(solution, NotCertified):
            solution = _by_another(problems[i], solution, tolerance)
        results[i] = solution
    return [results[i] for i in range(len(problems))]


def _check(tolerance: float) -> None:
    if not 0 < tolerance <= 1:
        raise InvalidInput(f"tolerance = {tolerance:g} must be positive, at most 1")


def _too_far_apart(tolerance: float, solver: str) -> NotCertified:
    return NotCertified(gap=np.inf, relative_gap=np.inf, tolerance=tolerance, solver=solver, remedy=TOO_FAR_APART)


def _by_orbits(problems: Sequence[Problem], tolerance: float) -> list[Solution | NotCertified]:
    """Solve by ``orbits``. Where linear algebra fails for one of many problems, each is solved by itself."""
    try:
        return _decided(orbits.solve_all(problems, tolerance=tolerance))
    except np.linalg.LinAlgError:
        if len(problems) == 1:
            return [_too_far_apart(tolerance, "orbits")]
        return [result for problem in problems for result in _by_orbits([problem], tolerance)]


def _by_another(problem: Problem, refusal: NotCertified, tolerance: float) -> Solution | NotCertified:
    """Try the first-order solver on a small problem that ``orbits`` refused: at tiny budgets it sees more.

    At a tiny decay logits are large, it sees less, and takes minutes to say so.
    """
    tiny = problem.decay is not None and problem.decay < TINY_DECAY
    if not tiny and not problem.bias and problem.rows.count.sum() * problem.K <= SMALL:
        with contextlib.suppress(NotCertified):
            return solve(problem, "factored", tolerance=tolerance)
    return refusal


def _decided(solutions: Sequence[Solution | NotCertified]) -> list[Solution | NotCertified]:
    """Leave the collapse of a minority open unless it, or its absence, is plain or proved.

    Where the minority's share of the nuclear norm is small, or the budgets are, collapse may be near. Then a point with
    a small gap proves its absence no more than its presence, and the dual condition decides, with one more solve.
    """
    results = list(solutions)
    near = {i: one for i, one in enumerate(solutions) if isinstance(one, Solution) and _may_be_near(one)}
    conditions = margins([solution.problem for solution in near.values()])
    for (i, solution), condition in zip(near.items(), conditions, strict=True):
        results[i] = _judged(solution, condition)
    return results


def _may_be_near(solution: Solution) -> bool:
    """Whether the collapse of the minority may be near, so that a gap does not tell."""
    minority, tau = solution.problem.minority, solution.problem.tau
    if minority is None or solution.problem.bias:
        return False
    if minority in solution.undecided_groups:
        return True
    if minority in solution.collapsed_groups:
        return False
    return not (tau > SMALL_BUDGET and solution.coordinates.group_norms(solution.X)[minority] / tau > PLAIN_SHARE)


def _judged(solution: Solution, condition: Margin) -> Solution:
    """A solution whose minority is decided if the dual condition agrees, and open if it does not."""
    minority, open_groups = solution.problem.minority, set(solution.undecided_groups)
    assert minority is not None
    collapsed = minority in solution.collapsed_groups
    if condition.certified and (condition.value > 0) == collapsed:
        return replace(solution, undecided_groups=tuple(sorted(open_groups - {minority})))
    low, high = solution.rank_bounds or (solution.rank, solution.rank)
    if low == high:  # the rank that the minority adds is open, too
        added = int(solution.problem.sizes[minority]) - 1
        low, high = (low, high + added) if collapsed else (max(0, low - added), high)
    undecided = tuple(sorted(open_groups | {minority}))
    return replace(solution, undecided_groups=undecided, rank_bounds=(low, high))


def _run(
    problem: Problem,
    solver: Solver,
    *,
    tolerance: float,
    force: bool,
    time_limit: float,
    progress: merged.Progress | None,
) -> Solution:
    if solver == "factored":
        return factored.solve(problem, tolerance=tolerance)
    if solver == "merged":
        return merged.solve(problem, tolerance=tolerance, time_limit=time_limit, progress=progress)
    from lpm import sdp  # here, because cvxpy takes a second to import

    return sdp.solve(problem, tolerance=tolerance, force=force)


def choose(problem: Problem) -> Solver:
    """Choose a solver by the numbers of groups and classes.

    Args:
        problem: the problem.

    Returns:
        ``orbits`` for few groups; else ``factored`` if Z can be written out and there are at most ``MANY`` groups, most of
        one class, or ``merged`` does not apply; else ``merged``.
    """
    G, K = len(problem.sizes), problem.K
    if G <= orbits.MAX_GROUPS:
        return "orbits"
    ordered = problem.partition == "unordered" and bool(np.any(problem.rows.lam != 0.5))
    alone = problem.changed or ordered or problem.profile == "table" or (G <= MANY and K <= 2 * G)
    return "factored" if alone and problem.rows.count.sum() * K <= MAX_LOGITS else "merged"


def add_counts(parser: Parser) -> None:
    """Add the options for one imbalance, or for counts that take the place of --K, --K-A and --R.

    Args:
        parser: the parser of a command that has :func:`lpm.options.add_program`.
    """
    parser.set_defaults(K=None)
    add = parser.group("classes").add_argument
    add("--R", type=float, default=1.0, help="imbalance n_A / n_B")
    add("--counts", type=numbers("class counts"), metavar="N,N,...", help="class counts instead of --K, --K-A, --R")
    add(
        "--counts-file",
        type=Path,
        metavar="FILE",
        help="class counts from a text file, one per line; # begins a comment",
    )
    add("--table", type=Path, metavar="CSV", help="K x K label-pair counts instead of a profile")


def counts_of(options: argparse.Namespace) -> np.ndarray | None:
    """Read the class counts of --counts or --counts-file.

    Args:
        options: the parsed options.

    Returns:
        The counts (K,); None if neither is given.

    Raises:
        InvalidInput: if both are given, or a count is not positive and finite.
    """
    if options.counts is not None and options.counts_file is not None:
        raise InvalidInput("--counts and --counts-file exclude each other; give one of them")
    if options.counts is not None:
        counts = np.array(options.counts)
        for k in np.flatnonzero(~((counts > 0) & (counts < np.inf)))[:1]:
            raise InvalidInput(
                f"--counts: count of class {k} is {counts[k]:g}, must be positive and finite; drop the class"
            )
        return counts
    return None if options.counts_file is None else read_counts(options.counts_file)


def problem_of(options: argparse.Namespace, counts: np.ndarray | None) -> Problem:
    """Build the program that the options describe.

    Args:
        options: the parsed options.
        counts: (K,) class counts, None if the options give none.

    Returns:
        The program.

    Raises:
        InvalidInput: if options do not go together.
    """
    program = PROGRAMS[options.program or DEFAULT_PROGRAM]
    if options.table is not None:
        if counts is not None or options.profile is not None:
            raise InvalidInput("--table brings its own label-pair counts; drop --counts, --counts-file and --profile")
        pairs = table(read_table(options.table))
        _check_K(options, pairs.K, "--table")
        if not program.has_pairs:
            raise InvalidInput(
                f"program {program.name!r} has no label pairs; give it --counts, or choose another --program"
            )
        law = law_of(options) if program.mixed else None
        limits = limits_of(options)
        decay, features, bias = (limits.pop(name) for name in ("decay", "features", "bias"))
        return limited(program.problem(pairs, mixing=law, budget=options.budget, **limits), decay, features, bias=bias)
    if counts is None:
        return family_of(options, program.name, options.profile or "").at(options.R)
    classes = class_counts(counts)
    _check_K(options, classes.K, "--counts" if options.counts_file is None else "--counts-file")
    if program.has_pairs and len(classes.sizes) > MAX_DIFFERENT:
        raise InvalidInput(
            f"{len(classes.sizes):,} different class counts, more than {MAX_DIFFERENT:,}, make too many kinds of label "
            "pairs; round the counts"
        )
    # Class counts have no majority and minority, which profile 'block' needs.
    default = "product" if program.default_profile == "block" else program.default_profile
    return family_of(options, program.name, options.profile or default).on(classes)


def _check_K(options: argparse.Namespace, K: int, source: str) -> None:
    if options.K is not None and options.K != K:
        raise InvalidInput(f"{source} has {K} classes, --K says {options.K}; they must agree (or drop --K)")
    if options.K_A is not None:
        raise InvalidInput(f"--K-A {options.K_A} does not apply with {source}; drop one of them")
    if options.R != 1 or options.w_r != 1:
        raise InvalidInput(f"--R and --w-r do not apply with {source}; drop them")


def _print_progress(groups: int, relative_gap: float, seconds: float) -> None:
    print(f"{groups} merged groups: relative gap {upward(relative_gap, 2)} after {seconds:.3g} s", file=sys.stderr)


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: words of the command line; those of the process if None.

    Returns:
        Its exit status.

    Raises:
        InvalidInput: if options do not go together, or the result cannot be saved.
    """
    from lpm.console import cli

    parser = cli.Parser("lpm.solve", "solve one program and print its certified optimum")
    add_family(parser)
    add_counts(parser)
    parser.refuse("it solves at one R; `python -m lpm.sweep` and `lpm.threshold` take a range", "--R-min", "--R-max")
    add_solver(parser)
    parser.group("solver").add_argument(
        "--time-limit",
        type=float,
        metavar="SECONDS",
        help=f"time limit of --solver merged (default: {merged.TIME_LIMIT:g})",
    )
    cli.add_report(parser)
    parser.group("output").add_argument("--save", type=Path, metavar="NPZ", help="store W, H, Z")
    options = parser.parse_args(arguments)
    if options.time_limit is not None and options.solver not in ("auto", "merged"):
        raise InvalidInput(f"--solver {options.solver} knows no time limit; drop --time-limit, or use --solver merged")
    counts = counts_of(options)
    problem = problem_of(options, counts)
    if options.save is not None and (
        os.path.isdir(options.save) or not os.path.isdir(options.save.parent)  # Path's own raise for some paths
    ):
        raise InvalidInput(f"--save {str(options.save)!r} cannot be written: it must be a file in a folder that exists")
    if options.save is not None and problem.rows.count.sum() * problem.K > MAX_LOGITS:
        raise InvalidInput(
            f"--save would write Z with more than {MAX_LOGITS:,} entries; drop it, --json has the groups"
        )
    solution = solve(
        problem,
        options.solver,
        tolerance=options.tolerance,
        force=options.force,
        time_limit=merged.TIME_LIMIT if options.time_limit is None else options.time_limit,
        progress=None if options.quiet or options.json else _print_progress,
    )
    if options.save is not None:
        report.save(solution, options.save)
    sides = None
    if counts is None and options.table is None:
        family = family_of(options, options.program or DEFAULT_PROGRAM, options.profile or "")
        sides = report.Sides(K=family.K, K_A=family.majority, R=options.R)
    if options.json:
        cli.print_json(report.as_json(solution, sides))
    elif not options.quiet:
        report.show(solution, counts, sides)
        if sides is not None:
            cli.next_step(
                "python -m lpm.threshold, with the same program and classes, finds the R of minority collapse"
            )
        elif counts is not None:
            cli.next_step("python -m lpm.cures --counts N,N,... shows what each cure of such an imbalance does")
    return 0


if __name__ == "__main__":
    from lpm.console.cli import run

    sys.exit(run(main))
