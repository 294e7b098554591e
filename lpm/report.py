"""A solution for people and programs: printed, as JSON, as an npz file."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lpm import geometry, merged, recovery
from lpm.console import rounding
from lpm.console.errors import InvalidInput
from lpm.console.output import remove_remains, write
from lpm.options import settings_of
from lpm.solution import Solution

MAX_LISTED = 1000
"""Largest number of classes for which JSON lists the K x K cosines. The cosines between groups say the same."""
MAX_MAPPED = 100_000
"""Largest number of classes for which JSON lists the group of each."""

UNDECIDED = " at this tolerance"
"""What the gap leaves open, in words."""


@dataclass(frozen=True, kw_only=True)
class Sides:
    """The majority and the minority of a program that was not given by counts of each class.

    Attributes:
        K: number of classes.
        K_A: number of majority classes.
        R: imbalance n_A / n_B.
    """

    K: int
    K_A: int
    R: float


def as_json(solution: Solution, sides: Sides | None = None) -> dict[str, Any]:
    """Describe a solution for JSON: cosines (K x K), norms (K), the certificate, the groups.

    Args:
        solution: the solution.
        sides: majority and minority; None if the program was given by counts.

    Returns:
        The description. Its ``group_of`` is the group of each class, (K,), in the order in which classes were given;
        None if they are too many to list.
    """
    problem, gram = solution.problem, solution.gram
    listed = problem.K <= MAX_LISTED
    full = gram.matrix(problem.members) if listed else None
    return {
        "program": problem.program,
        "profile": problem.profile,
        "lam": problem.mixing,
        "K": problem.K,
        "K_A": None if sides is None else sides.K_A,
        "R": None if sides is None else sides.R,
        "E_H": problem.e_h if problem.decay is None else None,
        "E_W": problem.e_w if problem.decay is None else None,
        "decay": problem.decay,
        "bias": problem.offset if problem.bias else None,
        "loss": solution.loss,
        "objective": solution.objective,
        "lower_bound": solution.lower_bound,
        "upper_bound": solution.upper_bound,
        "gap": solution.gap,
        "relative_gap": solution.relative_gap,
        "cosines": None if full is None else geometry.cosines(full),
        "norms": None if full is None else np.sqrt(np.diag(full)),
        "group_of": problem.group_of if problem.K <= MAX_MAPPED else None,
        "group_sizes": problem.sizes,
        "group_cosines": gram.group_cosines,
        "group_norms": gram.norms,
        "rank": None if _rank_is_open(solution) else solution.rank,
        "rank_bounds": solution.rank_bounds,
        "binds": solution.binds,
        "collapsed": solution.collapsed,
        "collapsed_groups": solution.collapsed_groups,
        "solver": solution.solver,
        "iterations": solution.iterations,
        "seconds": solution.seconds,
    }


def save(solution: Solution, path: Path) -> None:
    """Store W (K, K), H (m, K), Z (m, K) and the label pairs ``a, b, lam, p`` as an npz file, whole or not at all.

    Args:
        solution: the solution.
        path: the file.

    Raises:
        InvalidInput: if Z is too large to write out, or the file cannot be written.
    """
    full, Z = recovery.logits(solution)
    W, H = recovery.class_vectors_and_features(full, Z)
    rows = full.rows
    data = io.BytesIO()
    np.savez_compressed(data, W=W, H=H, Z=Z, a=rows.first, b=rows.second, lam=rows.lam, p=rows.p)
    try:
        remove_remains(path.parent, [path.name])  # of commands that were killed
        write(path, data.getvalue())
    except OSError as error:
        raise InvalidInput(f"--save {str(path)!r} cannot be written: {error.strerror}; choose another path") from None


def show(solution: Solution, counts: np.ndarray | None, sides: Sides | None = None) -> None:
    """Print a solution: loss, certificate, rank, solver, and norms and cosines of each group.

    Args:
        solution: the solution.
        counts: class counts, (K,); None if the program was not given by counts.
        sides: majority and minority; None if the program was given by counts.
    """
    problem, gram = solution.problem, solution.gram
    print(_settings(solution, sides))
    print(f"loss        {solution.loss:.12g}")
    if problem.decay is not None:
        print(f"objective   {solution.objective:.12g}, the loss and mu times the nuclear norm")
    interval = rounding.outward(solution.lower_bound, solution.upper_bound, 12)
    print(f"certificate optimum in {interval}, relative gap {rounding.upward(solution.relative_gap, 2)}")
    if isinstance(solution, merged.MergedSolution):
        print(
            f"rank of W   {solution.rank:,} of at most {problem.K - 1:,} at this point; that of the optimum may differ"
        )
    else:
        print(f"rank of W   {_rank(solution)}{_collapse(solution)}")
    if not solution.binds:
        print(f"budgets     not proved to bind{UNDECIDED}: cosines and norms are those of this point")
    print(f"solver      {solution.solver}, {solution.iterations} iterations, {solution.seconds:.3g} s")
    G = len(problem.sizes)
    if G > 16:
        print(f"cosines     {G} groups of classes: --json lists them, and the group of each class")
        return
    names = ["A", "B"] if problem.sides == ((0,), (1,)) and G == 2 else [str(g) for g in range(G)]
    ranges = [""] * G
    if counts is not None and len(counts) == problem.K:
        ranges = [_range(counts[classes]) for classes in problem.members]
    width = max(map(len, ["count", *ranges])) + 2 if any(ranges) else 0
    print(f"{'group':<5}{'count' if width else '':>{width}}  classes       norm  cosine to another class of group")
    print(" " * (25 + width) + "".join(f"{name:>8}" for name in names))
    for g, name in enumerate(names):
        cosines = "".join("       -" if np.isnan(c) else f"{c:+8.3f}" for c in gram.group_cosines[g])
        print(f"{name:<5}{ranges[g]:>{width}}{problem.sizes[g]:>9,}{gram.norms[g]:>11.6f}{cosines}")


def _settings(solution: Solution, sides: Sides | None) -> str:
    """The program and its numbers in one line."""
    problem = solution.problem
    parts = [problem.program, problem.profile]
    if problem.mixing != "none":
        parts.append(f"lambda {problem.mixing}")
    if sides is None:
        parts.append(f"K = {problem.K:,}")
    else:
        parts += [f"K = {sides.K:,}", f"K_A = {sides.K_A:,}", f"R = {sides.R:.6g}"]
        if problem.K != sides.K:
            parts.append(f"{problem.K:,} label pairs as classes")
    return ", ".join([*parts, settings_of(problem.e_h, problem.e_w, problem.decay, bias=problem.bias)])


def _rank_is_open(solution: Solution) -> bool:
    return solution.rank_bounds is not None and solution.rank_bounds[0] != solution.rank_bounds[1]


def _rank(solution: Solution) -> str:
    """The rank of W at the optimum, or its bounds."""
    of = f" of at most {solution.problem.K - 1:,}" if solution.problem.minority is None else ""
    if not _rank_is_open(solution) or solution.rank_bounds is None:
        return f"{solution.rank:,}{of}"
    low, high = solution.rank_bounds
    return f"{low:,} to {high:,}{of}, undecided"


def _collapse(solution: Solution) -> str:
    """What is known of the collapse of the minority, or of linear dependence."""
    collapsed = solution.collapsed
    if solution.problem.minority is None:
        if collapsed is None:
            return UNDECIDED
        return (
            f": class vectors are {'linearly dependent beyond their sum' if collapsed else 'as independent as can be'}"
        )
    if collapsed is None:
        return f"; whether the minority is collapsed is undecided{UNDECIDED}"
    return f"; the minority is {'collapsed' if collapsed else 'not collapsed'}"


def _range(counts: np.ndarray) -> str:
    """The class counts of a group. They may differ, if the frequencies do not depend on them."""
    low, high = counts.min(), counts.max()
    return f"{low:.15g}" if low == high else f"{low:.15g} to {high:.15g}"
