r"""Collapse under weight decay decided by certificates of the solved program; the collapse law is not used.

With F = f + mu |Z'|_*, a point Z of gap delta and any optimum Z*, convexity bounds a Bregman distance by the gap, so

.. math:: \|G' - G'^*\|_F \le \sqrt{2 L \delta} .

If the norm of G' along the differences inside a group, plus that error, is below mu, every optimum has equal class
vectors in the group. If a lower bound on F over all Z with equal class vectors exceeds F at some point, no optimum has.
With ``rigorous`` balls replace float64 (:mod:`paper_checks.beyond.balls`).
"""

from __future__ import annotations

import numpy as np

from lpm import orbits
from lpm.coordinates import Coordinates
from lpm.problem import Problem
from lpm.solution import evaluate
from paper_checks.interval import BALL, FLOAT64, Fact
from paper_checks.lab import BALL_SIZE, Lab

GAP = 1e-12
"""Relative gap that the solver aims at."""


def collapsed(lab: Lab, problem: Problem, group: int = 1) -> Fact:
    """Decide whether the class vectors of a group coincide at the optimum of a program under decay.

    Args:
        lab: the instruments.
        problem: the program, with exchangeable classes in its groups.
        group: the group.

    Returns:
        True or False when certified, otherwise open.
    """
    solution = orbits.solve(problem, target=GAP)
    coordinates = solution.coordinates
    merged, _ = orbits.optimum(coordinates, target=GAP, frozen=(group,))
    if lab.rigorous and problem.rows.count.sum() * problem.K <= BALL_SIZE:
        from paper_checks.beyond import balls

        return Fact(balls.collapsed(solution, merged, group), BALL)
    point, mu = evaluate(coordinates, solution.X), problem.decay
    assert mu is not None
    if float(coordinates.group_norms(point.gradient)[group]) + point.gradient_error < mu:
        return Fact(True, FLOAT64)
    return Fact(
        False if _merged_bound(coordinates, merged, group) > point.loss + point.penalty + point.rounding else None,
        FLOAT64,
    )


def _merged_bound(coordinates: Coordinates, X: np.ndarray, group: int) -> float:
    """A lower bound on the objective over all points with u_g = 0, from one of them."""
    at, mu = evaluate(coordinates, X), coordinates.problem.decay
    assert mu is not None
    excess = max(0.0, coordinates.spectral_norm(at.gradient, frozen=(group,)) / mu - 1 + 1e-13)
    return at.loss - float((at.gradient * X).sum()) - excess * coordinates.value_at_zero - 2 * at.rounding
