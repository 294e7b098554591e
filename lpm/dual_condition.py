r"""The dual condition of minority collapse: what pulls the minority's class vectors apart against what holds them.

Solve the program with the minority's class vectors forced to coincide (u_B = 0) and let G be its gradient. The
restriction costs nothing, that is collapse is globally optimal, exactly when

.. math:: \|u_{G,B}\|_2 \le \max(\|T_G\|_2, \|u_{G,A}\|_2) .

The left side needs no solution (:func:`lpm.law.own_norm`). The right side is uncertain by sqrt(2 L delta) at a point of gap
delta (L: smoothness of f). So a margin above that error *proves* collapse, or its absence (docs/theory/collapse.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lpm import bias, orbits
from lpm.console.errors import InvalidInput, NotCertified
from lpm.coordinates import Coordinates
from lpm.law import own_norm, rounding
from lpm.problem import Problem
from lpm.stack import Stack, stacks

PROBE = 1e-4
"""Relative step of the difference that estimates the curvature of f along a ray."""
SHORTEST, LONGEST = 1e-9, 0.5
"""Bounds of the relative length of a chord."""


@dataclass(frozen=True)
class Margin:
    """How clearly the dual condition decides.

    Attributes:
        value: log of (largest other norm) / |u_{G,B}|; positive for collapse.
        error: bound on the error of ``value``, from the solver's gap.
    """

    value: float
    error: float

    @property
    def certified(self) -> bool:
        """Whether collapse, or its absence, is proved."""
        return abs(self.value) > self.error


def minority_of(problem: Problem) -> int:
    """Give the group whose collapse is in question.

    Args:
        problem: the problem.

    Returns:
        The group of the minority.

    Raises:
        InvalidInput: if the minority classes are not exchangeable, or there is only one.
    """
    if problem.minority is None:
        raise InvalidInput(
            f"program {problem.program!r} at K = {problem.K}: a threshold needs two or more exchangeable minority "
            "classes; choose K_A <= K - 2, and lambda = 1/2 for ms-unordered"
        )
    return problem.minority


def margin(problem: Problem) -> Margin:
    """Evaluate the dual condition of collapse of a problem's minority.

    Args:
        problem: the problem.

    Returns:
        The margin of the condition.

    Raises:
        InvalidInput: as :func:`minority_of`.
    """
    return margins([problem])[0]


def margins(problems: Sequence[Problem]) -> list[Margin]:
    """Evaluate the dual condition of many problems at once.

    Args:
        problems: the problems.

    Returns:
        The margin of each.

    Raises:
        InvalidInput: as :func:`minority_of`.
    """
    results: dict[int, Margin] = {}
    open_ones: list[int] = []
    with_margins: dict[tuple[int, bool], list[int]] = {}
    minorities, own = [minority_of(problem) for problem in problems], np.zeros(len(problems))
    for i, (problem, minority) in enumerate(zip(problems, minorities, strict=True)):
        if problem.margin is not None:
            with_margins.setdefault((minority, problem.bias), []).append(i)
            continue
        own[i] = own_norm(problem, minority)
        if problem.decay is not None:  # the decay itself holds them together
            value = math.log(problem.decay / own[i]) if own[i] > 0 else math.inf
            results[i] = Margin(value, rounding(problem))
        else:
            open_ones.append(i)
    for (minority, _), some in with_margins.items():
        results |= zip(some, _by_gradient([problems[i] for i in some], minority), strict=True)
    coordinates = [Coordinates(problems[i]) for i in open_ones]
    frozen = [(minorities[i],) for i in open_ones]
    points = orbits.optima(coordinates, target=1e-11, frozen=frozen)
    for positions, stack in stacks(coordinates):
        X = np.stack([points[position][0] for position in positions])
        norms = _other_norms(stack, X, [frozen[position][0] for position in positions])
        for position, other, low, high in zip(positions, *(values.tolist() for values in norms), strict=True):
            i = open_ones[position]
            if own[i] == 0:  # minority label pairs that never occur: nothing pulls their class vectors apart
                results[i] = Margin(value=math.inf, error=0.0 if low > 0 else math.inf)
                continue
            error = max(math.log(high / other), math.log(other / low)) if low > 0 else math.inf
            results[i] = Margin(value=math.log(other / own[i]), error=error)
    return [results[i] for i in range(len(problems))]


def _by_gradient(problems: Sequence[Problem], minority: int) -> list[Margin]:
    """The dual condition where the left side needs a solution, too. The problems have all a free bias, or none."""
    if problems[0].bias:
        found = orbits.at_best_bias(problems, (minority,))
        if refused := [one for one in found if isinstance(one, NotCertified)]:
            raise refused[0]
        return [_of_gradient(one[0], one[1], minority) for one in found if not isinstance(one, NotCertified)]
    coordinates = [Coordinates(problem) for problem in problems]
    points = orbits.optima(coordinates, target=1e-12, frozen=[(minority,)] * len(problems))
    return [_of_gradient(one, X, minority) for one, (X, _) in zip(coordinates, points, strict=True)]


def _of_gradient(coordinates: Coordinates, X: np.ndarray, minority: int) -> Margin:
    """The dual condition at an optimum with u_B = 0: both norms come from one gradient.

    Each is within sqrt(2 L delta) of its value at the optimum.
    """
    problem = coordinates.problem
    loss, gradient = coordinates.value_and_gradient(X)
    own = float(coordinates.group_norms(gradient)[minority])
    other = coordinates.spectral_norm(gradient, frozen=(minority,))
    inner, mu = float((gradient * X).sum()), problem.decay
    gap = 2 * coordinates.rounding(X)
    if mu is None:
        gap += max(0.0, inner + problem.tau * other)
    else:
        penalty = mu * coordinates.nuclear_norm(X)
        gap += max(0.0, inner + penalty) + max(0.0, other / mu - 1) * coordinates.value_at_zero
        gap += bias.gap(coordinates, X, loss + penalty) if problem.bias else 0.0
        other = mu
    error = math.sqrt(2 * coordinates.smoothness * gap)
    if own <= error or other <= error:
        return Margin(math.log(max(other, 1e-300) / max(own, 1e-300)), math.inf)
    return Margin(math.log(other / own), -math.log1p(-error / own) - math.log1p(-error / other))


def _other_norms(stack: Stack, X: np.ndarray, minorities: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The norms that hold the minorities together, (B,): at X (B, M, n), and bounds on those at the optimum.

    At the optimum such a norm is -V'(tau), V the optimal value with u_B = 0 as a function of the radius. V is convex, so
    slopes of chords bound it. One end is the lower bound f(X) - gap on V(tau), the other is f at X scaled to the radius
    (1 + t) tau or (1 - t) tau. The error is gap / t plus curvature times t, smallest where both agree.
    """
    tau, radius, frozen = stack.tau, stack.nuclear_norm(X), np.zeros((len(stack), stack.G), dtype=bool)
    frozen[np.arange(len(stack)), minorities] = True
    loss, gradient, rounding = stack.evaluate(X)
    inner, other = np.einsum("bmn,bmn->b", gradient, X), stack.spectral_norm(gradient, frozen)
    error = 3 * rounding  # of f at both ends, and of the gap
    gap = np.maximum(0.0, inner + tau * other) + error
    change = stack.evaluate((1 + PROBE) * X)[1] - gradient
    curvature = np.einsum("bmn,bmn->b", change, X) / PROBE
    t = np.clip(np.sqrt(2 * gap / np.maximum(curvature, gap)), SHORTEST, LONGEST)
    outside, inside = (stack.evaluate(((1 + s * t) * tau / radius)[:, None, None] * X)[0] for s in (1, -1))
    step, blur = t * tau, 64 * np.finfo(float).eps * tau  # the norm is right to some rounding errors
    low = (loss - gap - outside) / (step + blur)
    high = (inside - loss + gap) / (step - blur)
    return other, low, np.maximum(high, other)
