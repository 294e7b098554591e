r"""The central path of the symmetry-reduced program, and primal-dual Newton steps along it.

In the coordinates of :mod:`lpm.coordinates` the program is

.. math::
    \min_{X, A} f(X) \quad\text{s.t.}\quad \mathrm{tr}(X A^{-1} X^T) \le \tau^2,\; \mathrm{tr} A \le 1,\; A \succeq 0,

because ``|X|_*^2`` is the minimum of tr(X A^{-1} X^T) over tr A <= 1. A is block diagonal: a symmetric block on the group
sums (the classifier's Gram matrix up to scale) and one number a group. With h, k the slacks of the two scalar constraints
the central path minimises f - epsilon (log h + log k + log det A) as epsilon falls to 0.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lpm.interior_point.newton import NewtonSystem, State
from lpm.interior_point.reduced import ReducedProgram

MAX_STEPS = 150
STRIDE = 0.02
"""Factor by which an unguarded step lowers the barrier's weight, as long as steps stay long."""


def start(program: ReducedProgram) -> State:
    """The analytic centre to begin with: X = 0."""
    X, A = np.zeros((program.M, program.n)), np.eye(program.size) / (2 * program.size)
    epsilon = program.value(X)
    return State(
        X=X,
        A=A,
        h=program.tau2,
        k=0.5,
        s=epsilon / program.tau2,
        nu=2 * epsilon,
        L=epsilon * np.linalg.inv(A),
        epsilon=epsilon,
    )


def follow(program: ReducedProgram, state: State, epsilon: float) -> tuple[State, int]:
    """Steps along the central path until the barrier's weight is at most ``epsilon``, and their number."""
    for steps in range(MAX_STEPS):
        if state.epsilon <= epsilon:
            return state, steps
        try:
            state = step(program, state, guarded=True)
        except np.linalg.LinAlgError:
            break  # rounding has eaten the barrier; what was reached is certified like any other point
    return state, steps


def step(program: ReducedProgram, state: State, *, guarded: bool) -> State:
    """One primal-dual Newton step, after lowering epsilon.

    guarded: lower epsilon only at central points, and search the line for descent of the barrier function, which
    makes progress certain because the direction is one of descent. Otherwise the slack h moves on its own and the
    step is Newton's, which near the optimum reaches full accuracy.

    Raises LinAlgError when rounding leaves no usable step.
    """
    system = NewtonSystem(program, state, guarded)
    epsilon = state.epsilon
    if guarded:
        direction = system.direction(epsilon)
        while direction.decrement <= epsilon and epsilon > 1e-30:
            epsilon *= 0.03
            direction = system.direction(epsilon)
    else:
        epsilon *= STRIDE if state.stride > 0.9 else 1.0
        direction = system.direction(epsilon)
    primal, dual = direction.longest_primal, direction.longest_dual
    if guarded:
        here = _barrier(program, state.X, state.A, epsilon)
        while (
            _barrier(program, state.X + primal * direction.X, state.A + primal * direction.A, epsilon)
            > here - 1e-4 * primal * direction.decrement
        ):
            primal /= 2
            if primal < 1e-12:
                raise np.linalg.LinAlgError("no descent along the direction")
    return State(
        X=state.X + primal * direction.X,
        A=state.A + primal * direction.A,
        h=system.h + primal * direction.h,
        k=state.k + primal * direction.k,
        s=state.s + dual * direction.s,
        nu=state.nu + dual * direction.nu,
        L=state.L + dual * direction.L,
        epsilon=epsilon,
        stride=min(primal, dual),
    )


def _barrier(program: ReducedProgram, X: np.ndarray, A: np.ndarray, epsilon: float) -> float:
    """f - epsilon (log of both scalar slacks + log det A); infinite outside the domain."""
    try:
        inverse_root = np.linalg.inv(np.linalg.cholesky(A))
    except np.linalg.LinAlgError:
        return np.inf
    diagonal = np.diag(inverse_root)
    h = program.tau2 - np.sum((X[:, : program.G] @ inverse_root[: program.G, : program.G].T) ** 2)
    h -= (X[:, program.G :] ** 2 * program.active[:, program.G :] * diagonal[program.column] ** 2).sum()
    k = 1 - np.trace(A)
    if not (h > 0 and k > 0):
        return np.inf
    return program.value(X) - epsilon * float(np.log(h) + np.log(k) - 2 * np.log(diagonal).sum())


def deflate(program: ReducedProgram, state: State) -> tuple[ReducedProgram, State]:
    """Leave out the directions and groups that the optimum does not use: there A is near 0, its multiplier is not.

    A stays invertible without them. A wrong choice shows in the certificate, which sees all directions.
    """
    if not uses_budget(program, state):
        return program, state  # A is then arbitrary
    g, zero_sum = program.G, np.arange(program.G, program.size)
    a, V = np.linalg.eigh(state.A[:g, :g])
    keep = a * state.nu > np.einsum("ij,ik,kj->j", V, state.L[:g, :g], V)
    used = state.A[zero_sum, zero_sum] * state.nu > state.L[zero_sum, zero_sum]
    smaller, basis = program.restrict(V[:, keep], used)
    X = np.concatenate([state.X[:, :g] @ V[:, keep], state.X[:, g:]], axis=1) * smaller.active
    A = basis.T @ state.A @ basis
    return smaller, replace(state, X=X, A=A, L=basis.T @ state.L @ basis, k=state.k + np.trace(state.A) - np.trace(A))


def uses_budget(program: ReducedProgram, state: State) -> bool:
    """False when the optimum lies inside the nuclear-norm ball: the slack h stays away from 0."""
    return state.h < 0.01 * program.tau2


def point(program: ReducedProgram, state: State) -> np.ndarray:
    """The point in all coordinates; scaled onto the boundary of the budget, unless the budget is not used up."""
    X = program.embed(state.X)
    return X * (np.sqrt(program.tau2) / program.coordinates.nuclear_norm(X)) if uses_budget(program, state) else X
