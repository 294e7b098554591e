"""Budgets and weight decay say the same: the decay is the multiplier of the budgets, the budgets what the decay leaves.

For budgets of radius tau let V(tau) be the optimum. It is convex, and the penalised program at mu = -V'(tau), the spectral
norm of the scaled gradient, has the same optima Z. The other way, an optimum Z under a decay has the radius |Z'|_*.
"""

from __future__ import annotations

from dataclasses import replace

from lpm.console.errors import InvalidInput
from lpm.problem import Problem
from lpm.solution import Solution, evaluate


def as_decay(solution: Solution) -> Problem:
    """Build the program under decay that has the same optimum as a solved program with budgets.

    Args:
        solution: a solution with budgets.

    Returns:
        The program at mu = |D^{-1/2} grad f C^{-1/2}|_2, right to the root of the solution's gap; C and d are the same.

    Raises:
        InvalidInput: if the budgets do not bind, so that no decay is small enough.
    """
    problem = solution.problem
    if problem.decay is not None:
        return problem
    if not solution.binds:
        raise InvalidInput("the budgets are not used up: no decay has the same optimum")
    return replace(problem, decay=evaluate(solution.coordinates, solution.X).top, e_h=1.0, e_w=1.0)


def as_budgets(solution: Solution) -> Problem:
    """Build the program with budgets that has the same optimum as a solved program under decay.

    Args:
        solution: a solution under decay.

    Returns:
        The program with e_H = e_W = |D^{1/2} Z C^{1/2}|_*, which is how the two decays, if they are equal, share it out.

    Raises:
        InvalidInput: if the decay leaves nothing, or more than a budget may be.
    """
    problem = solution.problem
    if problem.decay is None:
        return problem
    radius = solution.coordinates.nuclear_norm(solution.X)
    return replace(problem, decay=None, e_h=radius, e_w=radius)
