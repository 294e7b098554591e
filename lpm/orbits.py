"""Exact symmetry-reduced solver: an interior-point method whose cost does not depend on K.

It needs classes that are exchangeable inside G groups (equal counts), and a few groups only; a group of one class is
allowed. The method follows the central path of :mod:`lpm.interior_point.central_path` until it is plain which
directions the optimum uses. It polishes on those by Newton's method and lets the certificate judge. If the certificate
refuses, the path is followed further.

Many problems are solved at a time, as arrays with one more axis. One problem is a batch of one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lpm import bias, roots
from lpm.console.errors import InvalidInput, NotCertified
from lpm.coordinates import Coordinates
from lpm.interior_point import central_path
from lpm.interior_point.embedding import reduce
from lpm.interior_point.reduced import Programs, joined
from lpm.interior_point.state import State
from lpm.problem import Problem
from lpm.solution import TOLERANCE, Solution, certify_all
from lpm.stack import stacks

MAX_GROUPS = 16
"""Largest number of groups. With more, the Schur complement is the bottleneck and the first-order solver is faster."""

POLISH_STEPS = 15
"""Largest number of polishing steps. Newton's method converges or stalls within 10."""
DEPTHS = (1e-5, 1e-7, 1e-9, 1e-11)
"""Barrier weights, relative to f / size, at which polishing is tried in turn until it reaches the target.

The first is enough for nine problems in ten. Where it is not, the path has not shown yet which directions are used."""

DIFFERENCE = 1e-4
"""Change of a bias over which slopes are compared."""
LEAST, TINY = 1e-12, 1e-300
"""Smallest curvature along an axis that a Newton step takes for one, in proportion to the largest one, and at all."""
LONGEST = 4.0
"""Largest change of a bias in one step: second derivatives say little of what lies further away."""
BIAS_STEPS, HALVINGS = 50, 12
"""Largest numbers of Newton steps in the bias, 6 to 12 are usual, and of halvings of one of them."""


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
    (solution,) = solve_all([problem], tolerance=tolerance, target=target, frozen=frozen)
    if isinstance(solution, NotCertified):
        raise solution
    return solution


def solve_all(
    problems: Sequence[Problem],
    *,
    tolerance: float = TOLERANCE,
    target: float = 1e-10,
    frozen: tuple[int, ...] = (),
) -> list[Solution | NotCertified]:
    """Solve many problems at once.

    Args:
        problems: the problems.
        tolerance: as for :func:`solve`.
        target: as for :func:`solve`.
        frozen: as for :func:`solve`, for every problem.

    Returns:
        For each problem its certified solution, or the error that :func:`solve` would raise. Seconds are the time of
        all, divided by their number.

    Raises:
        InvalidInput: if a problem has more than ``MAX_GROUPS`` groups.
    """
    start = time.perf_counter()
    found: dict[int, tuple[Coordinates, np.ndarray, int]] = {}
    results: dict[int, Solution | NotCertified] = {}
    free = [i for i, problem in enumerate(problems) if not problem.bias]
    coordinates = [Coordinates(problems[i]) for i in free]
    points = optima(coordinates, target=min(target, tolerance), frozen=[frozen] * len(free))
    for i, member, (X, steps) in zip(free, coordinates, points, strict=True):
        found[i] = member, X, steps
    biased = [i for i, problem in enumerate(problems) if problem.bias]
    for i, result in zip(biased, at_best_bias([problems[i] for i in biased], frozen), strict=True):
        if isinstance(result, NotCertified):
            results[i] = result
        else:
            found[i] = result
    certified = certify_all(
        [member for member, _, _ in found.values()],
        [X for _, X, _ in found.values()],
        solver="orbits",
        seconds=(time.perf_counter() - start) / max(1, len(problems)),
        iterations=[steps for _, _, steps in found.values()],
        tolerance=tolerance,
        remedy="try --solver factored, or a looser --tolerance",
    )
    results |= dict(zip(found, certified, strict=True))
    return [results[i] for i in range(len(problems))]


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
    return optima([coordinates], target=target, frozen=[frozen])[0]


def optima(
    coordinates: Sequence[Coordinates], *, target: float, frozen: Sequence[tuple[int, ...]]
) -> list[tuple[np.ndarray, int]]:
    """Find optimal points of many problems, without certificates.

    Args:
        coordinates: coordinates of the problems.
        target: relative gap at which the solver stops; it may end above.
        frozen: for each problem the groups with u_g = 0.

    Returns:
        For each problem the point (M, n), and the number of Newton steps.

    Raises:
        InvalidInput: if a problem has more than ``MAX_GROUPS`` groups.
    """
    for member in coordinates:
        if member.G > MAX_GROUPS:
            raise InvalidInput(
                f"orbits needs at most {MAX_GROUPS} groups of equal classes, this problem has {member.G}; "
                "use --solver factored"
            )
    found: list[tuple[np.ndarray, int]] = [(np.empty(0), 0)] * len(coordinates)
    with np.errstate(all="ignore"):  # a member without an answer gets nan, and is left where it is
        parts = []
        for positions, stack in stacks(coordinates):
            parts.append((positions, *reduce(stack, [frozen[position] for position in positions])))
        for indices, programs in joined([programs for _, programs, _ in parts]):
            X, steps = _solve(programs, target)
            first = 0
            for index in indices:
                positions, part, embedded = parts[index]
                members = slice(first, first + len(part))
                first = members.stop
                points = embedded(X[:, : part.rows, members])
                for position, point, number in zip(positions, points, steps[members], strict=True):
                    found[position] = point, int(number)
    return found


def _solve(programs: Programs, target: float) -> tuple[np.ndarray, np.ndarray]:
    """Optimal points (n, M, B) of reduced programs of one shape, and their numbers of Newton steps (B,)."""
    state = central_path.start(programs)
    best, best_gap, spent = state.X.copy(), np.full(len(programs), np.inf), np.zeros(len(programs), dtype=int)
    least, members = state.epsilon / np.maximum(programs.size, 1), np.arange(len(programs))
    for depth in DEPTHS:
        state, steps = central_path.follow(programs, state, depth * least)
        point, gap, polish_steps = _polish(programs, state, target)
        spent[members] += steps + polish_steps
        better = gap < best_gap[members]
        best[:, :, members[better]], best_gap[members[better]] = point[:, :, better], gap[better]
        left = np.flatnonzero(~(best_gap[members] <= target))
        if not left.size:
            break
        members, programs, state, least = members[left], programs.take(left), state.take(left), least[left]
    return best, spent


def _polish(programs: Programs, state: State, target: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Newton's method to full accuracy on the directions in use; the best points, their gaps, the numbers of steps.

    Along directions in which f is flat, a relative gap of 1e-10 leaves cosines uncertain by 1e-5. Newton's method does
    not, once the directions on which A vanishes are out of the way.
    """
    smaller, state, V = central_path.deflate(programs, state)
    whole = replace(smaller, active=programs.active, use=programs.use, use_group=programs.use_group)
    best = central_path.point(whole, state)
    empty = smaller.size == 0  # a decay so strong that nothing is learned
    best[:, :, empty] = 0.0
    best_gap, steps = whole.relative_gap(best), np.zeros(len(programs), dtype=int)
    members, stalled = np.arange(len(programs)), np.zeros(len(programs), dtype=int)
    left = np.flatnonzero(~empty)
    for _ in range(POLISH_STEPS):
        if left.size < members.size:
            members, stalled, state = members[left], stalled[left], state.take(left)
            smaller = smaller.take(left)
            active = (getattr(whole, name).take(left, axis=-1) for name in ("active", "use", "use_group"))
            whole = replace(smaller, **dict(zip(("active", "use", "use_group"), active, strict=True)))
        if not members.size:
            break
        state, fine = central_path.newton_step(smaller, state)
        steps[members] += 1
        point = central_path.point(smaller, state)
        gap = np.where(fine, whole.relative_gap(point), np.inf)  # inf: rounding has eaten the barrier
        # A step that does not shrink the gap by two thirds has met rounding. Above the target two more are tried.
        stalled = np.where(gap < 0.3 * best_gap[members], 0, stalled + 1)
        better = gap < best_gap[members]
        best[:, :, members[better]], best_gap[members[better]] = point[:, :, better], gap[better]
        left = np.flatnonzero(fine & (stalled <= np.where(best_gap[members] <= target, 0, 2)))
    g = programs.g
    best[:g] = np.einsum("bij,jmb->imb", V, best[:g])
    return best, np.where(np.isnan(best_gap), np.inf, best_gap), steps


def at_best_bias(
    problems: Sequence[Problem], frozen: tuple[int, ...] = ()
) -> list[tuple[Coordinates, np.ndarray, int] | NotCertified]:
    """Find optima over logits and a free bias, without certificates.

    The optimal value is convex in the bias, and its derivative is that of f at the optimal Z. A common shift changes nothing,
    so the bias of the first group is 0. With two groups one number is left, the root of an increasing function, and all
    problems look for theirs at once.

    Args:
        problems: the problems.
        frozen: groups with u_g = 0.

    Returns:
        For each problem its coordinates with the best bias in the offsets, the point (M, n), and the number of Newton
        steps; an error if no label is ever put on some class.

    Raises:
        InvalidInput: as :func:`optimum`.
    """
    results: dict[int, tuple[Coordinates, np.ndarray, int] | NotCertified] = {}
    two: list[int] = []
    for i, problem in enumerate(problems):
        if not bias.label_mass(Coordinates(problem)).min() > 0:
            remedy = "a class that no label is put on has no best bias; drop --bias"
            results[i] = NotCertified(
                gap=np.inf, relative_gap=np.inf, tolerance=TOLERANCE, solver="orbits", remedy=remedy
            )
        elif len(problem.sizes) == 2:
            two.append(i)
        else:
            results[i] = _descent_in_bias(problem, frozen)
    results |= zip(two, _roots_in_bias([problems[i] for i in two], frozen), strict=True)
    return [results[i] for i in range(len(problems))]


def _with_bias(problem: Problem, free: np.ndarray) -> Coordinates:
    """Coordinates of a problem with a bias in its offsets. free: the bias of all groups but the first, (G - 1,)."""
    fixed = np.zeros(len(problem.sizes)) if problem.offset is None else problem.offset
    return Coordinates(replace(problem, offset=fixed + np.append(0.0, free)))


def _roots_in_bias(problems: Sequence[Problem], frozen: tuple[int, ...]) -> list[tuple[Coordinates, np.ndarray, int]]:
    """:func:`at_best_bias` of problems with two groups: the points of the least slope that the search for a root meets."""
    best: dict[int, tuple[Coordinates, np.ndarray]] = {}
    least, spent = np.full(len(problems), np.inf), np.zeros(len(problems), dtype=int)

    def slope(members: np.ndarray, free: np.ndarray) -> np.ndarray:
        coordinates = [_with_bias(problems[i], free[j : j + 1]) for j, i in enumerate(members)]
        points = optima(coordinates, target=1e-13, frozen=[frozen] * len(members))
        slopes = np.array([one.offset_gradient(X)[1] for one, (X, _) in zip(coordinates, points, strict=True)])
        for i, member, (X, steps), height in zip(members, coordinates, points, np.abs(slopes), strict=True):
            spent[i] += steps
            if i not in best or height < least[i]:
                best[int(i)], least[i] = (member, X), height
        return slopes

    roots.increasing(slope, len(problems))
    return [(*best[i], int(spent[i])) for i in range(len(problems))]


def _descent_in_bias(problem: Problem, frozen: tuple[int, ...]) -> tuple[Coordinates, np.ndarray, int]:
    """:func:`at_best_bias` of a problem with more groups, or with one.

    Newton's method: the optimal value is convex in the bias, and its second derivatives are differences of slopes that are
    solved for at once. A step that raises the value is halved. Near the end, where values differ by rounding, slopes decide,
    each in proportion to the labels of its group.
    """
    G, spent = len(problem.sizes), 0
    mass = bias.label_mass(Coordinates(problem))[1:]

    def around(free: np.ndarray) -> tuple[Coordinates, np.ndarray, float, np.ndarray, np.ndarray]:
        """Coordinates, the point, the value, the slope (G - 1,) and the second derivatives at a bias."""
        nonlocal spent
        coordinates = [
            _with_bias(problem, free + shift) for shift in (*np.zeros((1, G - 1)), *DIFFERENCE * np.eye(G - 1))
        ]
        points = optima(coordinates, target=1e-13, frozen=[frozen] * G)
        spent += sum(steps for _, steps in points)
        slopes = np.array([one.offset_gradient(X)[1:] for one, (X, _) in zip(coordinates, points, strict=True)])
        second = (slopes[1:] - slopes[0]) / DIFFERENCE
        here, X = coordinates[0], points[0][0]
        value = here.value_and_gradient(X)[0] + (problem.decay or 0.0) * here.nuclear_norm(X)
        return here, X, value, slopes[0], (second + second.T) / 2

    def steepest(slope: np.ndarray) -> float:
        return float(np.max(np.abs(slope) / mass))

    free = np.zeros(G - 1)
    best = around(free)
    for _ in range(BIAS_STEPS if G > 1 else 0):
        _, _, value, slope, second = best
        if not (np.isfinite(slope).all() and np.isfinite(second).all()):
            break
        # Rounding may turn small eigenvalues negative, of which the size counts: any step goes down.
        curvature, axes = np.linalg.eigh(second)
        step = -axes @ ((axes.T @ slope) / np.maximum(np.abs(curvature), LEAST * np.abs(curvature).max() + TINY))
        step *= min(1.0, LONGEST / np.abs(step).max(initial=LONGEST))
        noise = 1e-11 * abs(value)  # of solved values; less is left to gain where slopes decide
        for _ in range(HALVINGS if -slope @ step > noise else 1):
            found = around(free + step)
            change = found[2] - value
            if change < min(-noise, 1e-4 * slope @ step):
                break
            if change <= noise and steepest(found[3]) < steepest(slope) / 2:
                break
            step = step / 2
        else:
            break  # rounding
        free, best = free + step, found
    return best[0], best[1], spent
