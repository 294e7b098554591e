"""Exact symmetry-reduced solver: an interior-point method whose cost does not depend on K.

It needs classes that are exchangeable inside G groups (equal counts), and a few groups only; a group of one class is
allowed. The method follows the central path of :mod:`lpm.interior_point.central_path` until it is plain which
directions the optimum uses. It polishes on those by Newton's method and lets the certificate judge. If the certificate
refuses, the path is followed further.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from scipy.optimize import minimize, root

from lpm import bias
from lpm.console.errors import InvalidInput, NotCertified
from lpm.coordinates import Coordinates
from lpm.interior_point import central_path
from lpm.interior_point.newton import State
from lpm.interior_point.reduced import ReducedProgram
from lpm.problem import Problem
from lpm.solution import TOLERANCE, Solution, certify

MAX_GROUPS = 16
"""Largest number of groups. With more, the Schur complement is the bottleneck and the first-order solver is faster."""

POLISH_STEPS = 15
"""Largest number of polishing steps. Newton's method converges or stalls within 10."""
DEPTHS = (1e-5, 1e-7, 1e-9, 1e-11)
"""Barrier weights, relative to f / size, at which polishing is tried in turn until it reaches the target.

The first is enough for nine problems in ten. Where it is not, the path has not shown yet which directions are used."""


def solve(
    problem: Problem, *, tolerance: float = TOLERANCE, target: float = 1e-10, frozen: tuple[int, ...] = ()
) -> Solution:
    """Solve a problem to a relative gap of ``target`` and certify it to ``tolerance``.

    With a free bias (``problem.bias``) the solution's problem has the best bias in its offsets.

    Args:
        problem: the problem.
        tolerance: largest relative gap that is certified.
        target: relative gap at which the solver stops.
        frozen: groups whose class vectors are forced to coincide (u_g = 0), as docs/theory/collapse.md needs. The
            solution is then feasible, and certified only if that restriction costs nothing.

    Returns:
        The certified solution.

    Raises:
        InvalidInput: if there are more than ``MAX_GROUPS`` groups.
        NotCertified: if the gap stays above ``tolerance``.
    """
    start = time.perf_counter()
    if problem.bias:
        coordinates, X, iterations = at_best_bias(problem, frozen)
    else:
        coordinates = Coordinates(problem)
        X, iterations = optimum(coordinates, target=min(target, tolerance), frozen=frozen)
    return certify(
        coordinates,
        X,
        solver="orbits",
        seconds=time.perf_counter() - start,
        iterations=iterations,
        tolerance=tolerance,
        remedy="try --solver factored, or a looser --tolerance",
    )


def optimum(coordinates: Coordinates, *, target: float, frozen: tuple[int, ...] = ()) -> tuple[np.ndarray, int]:
    """Find an optimal point, without a certificate.

    Args:
        coordinates: coordinates of the problem.
        target: relative gap at which the solver stops; it may end above.
        frozen: groups with u_g = 0.

    Returns:
        The point (M, n), and the number of Newton steps.

    Raises:
        InvalidInput: if there are more than ``MAX_GROUPS`` groups.
    """
    if coordinates.G > MAX_GROUPS:
        raise InvalidInput(
            f"orbits needs at most {MAX_GROUPS} groups of equal classes, this problem has {coordinates.G}; "
            "use --solver factored"
        )
    program = ReducedProgram.of(coordinates, frozen)
    state = central_path.start(program)
    value, best, best_gap, spent = state.epsilon, program.embed(state.X), np.inf, 0
    for depth in DEPTHS:
        state, steps = central_path.follow(program, state, epsilon=depth * value / program.size)
        point, gap, polish_steps = _polish(program, state, target)
        spent += steps + polish_steps
        if gap < best_gap:
            best, best_gap = point, gap
        if best_gap <= target:
            break
    return best, spent


def _polish(program: ReducedProgram, state: State, target: float) -> tuple[np.ndarray, float, int]:
    """Newton's method to full accuracy on the directions in use; the best point, its gap, the number of steps.

    Along directions in which f is flat, a relative gap of 1e-10 leaves cosines uncertain by 1e-5. Newton's method does
    not, once the directions on which A vanishes are out of the way.
    """
    best, stalled, steps = central_path.point(program, state), 0, 0
    best_gap = program.relative_gap(best)
    smaller, state = central_path.deflate(program, state)
    if smaller.size == 0:  # a decay so strong that nothing is learned
        best = np.zeros(program.coordinates.shape)
        return best, program.relative_gap(best), steps
    while steps < POLISH_STEPS:
        steps += 1
        try:
            state = central_path.step(smaller, state, guarded=False)
        except np.linalg.LinAlgError:
            break  # rounding has eaten the barrier
        point = central_path.point(smaller, state)
        gap = program.relative_gap(point)
        # A step that does not shrink the gap by two thirds has met rounding. Above the target two more are tried.
        stalled = 0 if gap < 0.3 * best_gap else stalled + 1
        if gap < best_gap:
            best, best_gap = point, gap
        if stalled > (0 if best_gap <= target else 2):
            break
    return best, best_gap, steps


def at_best_bias(problem: Problem, frozen: tuple[int, ...] = ()) -> tuple[Coordinates, np.ndarray, int]:
    """Find the optimum over logits and a free bias, without a certificate.

    The optimal value is convex in the bias, and its derivative is that of f at the optimal Z. A common shift changes nothing,
    so the bias of the first group is 0.

    Args:
        problem: the problem.
        frozen: groups with u_g = 0.

    Returns:
        Coordinates of the problem with the best bias in its offsets, the point (M, n), and the number of Newton steps.

    Raises:
        InvalidInput: as :func:`optimum`.
        NotCertified: if no label is ever put on a class.
    """
    if not bias.label_mass(Coordinates(problem)).min() > 0:
        remedy = "a class that no label is put on has no best bias; drop --bias"
        raise NotCertified(gap=np.inf, relative_gap=np.inf, tolerance=TOLERANCE, solver="orbits", remedy=remedy)
    fixed, spent = np.zeros(len(problem.sizes)) if problem.offset is None else problem.offset, 0

    def at(free: np.ndarray) -> tuple[Coordinates, np.ndarray]:
        nonlocal spent
        coordinates = Coordinates(replace(problem, offset=fixed + np.append(0.0, free)))
        X, steps = optimum(coordinates, target=1e-13, frozen=frozen)
        spent += steps
        return coordinates, X

    def value(free: np.ndarray) -> tuple[float, np.ndarray]:
        coordinates, X = at(free)
        penalty = (problem.decay or 0.0) * coordinates.nuclear_norm(X)
        return coordinates.value_and_gradient(X)[0] + penalty, coordinates.offset_gradient(X)[1:]

    best = np.zeros(len(fixed) - 1)
    if len(best):
        best = minimize(value, best, jac=True, method="BFGS", options={"gtol": 1e-5}).x
        # A descent ends where values differ by rounding. The root of the gradient has all its digits.
        best = root(lambda free: value(free)[1], best, options={"xtol": 1e-15}).x
    return *at(best), spent
