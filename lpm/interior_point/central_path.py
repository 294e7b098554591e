r"""The central path of the symmetry-reduced program, and primal-dual Newton steps along it.

In the coordinates of :mod:`lpm.coordinates` the program is

.. math::
    \min_{X, A} f(X) \quad\text{s.t.}\quad \mathrm{tr}(X A^{-1} X^T) \le \tau^2,\; \mathrm{tr} A \le 1,\; A \succeq 0,

because ``|X|_*^2`` is the minimum of tr(X A^{-1} X^T) over tr A <= 1. Under a decay mu there are no constraints but A
>= 0, and the objective is f(X) + mu/2 (tr(X A^{-1} X^T) + tr A), because ``2 |X|_*`` is the minimum of that sum; the
multipliers s and nu of the two constraints are then both mu/2. A is block diagonal: a symmetric block on the
group sums (the classifier's Gram matrix up to scale) and one number per group. With h, k the slacks of the two scalar
constraints, the central path minimises f - epsilon (log h + log k + log det A) as epsilon falls to 0; under a decay
without the first two logarithms.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lpm.interior_point.newton import NewtonSystem, State
from lpm.interior_point.reduced import ReducedProgram

MAX_STEPS = 150
"""Largest number of steps between two barrier weights; 2 to 12 are usual."""
GUARDED_STRIDE = 0.03
"""Factor by which a guarded step lowers the barrier's weight at a central point.

One factorisation serves all weights, so another weight is cheap to try. Too small a weight costs short steps."""
STRIDE = 0.02
"""Factor by which an unguarded step lowers the barrier's weight, as long as steps stay long."""
LONG = 0.9
"""Length from which on a step counts as long: the last point was then close to the central path."""
LEAST_WEIGHT = 1e-30
"""Barrier weight below which it is not lowered: far below the rounding of any loss."""
ARMIJO = 1e-4
"""Share of the linear prediction by which the barrier function must fall: the usual constant of Armijo's rule."""
SHORTEST_STEP = 1e-12
"""Length of a step below which rounding is to blame for the lack of descent."""
ON_THE_BOUNDARY = 0.01
"""Share of tau^2 below which the slack h shows a binding budget: it then falls with the barrier's weight. If the budget
does not bind, the slack stays of the size of tau^2."""


def start(program: ReducedProgram) -> State:
    """Start at X = 0, with A a multiple of the identity.

    Args:
        program: the reduced program.

    Returns:
        The first state, with a barrier weight of f(0).
    """
    X, A = np.zeros((program.M, program.n)), np.eye(program.size) / (2 * program.size)
    epsilon = program.value(X)
    if program.decay is not None:
        half = program.decay / 2
        A *= 2 * epsilon / half  # so that a central point begins the path at a weight of epsilon / size
        L = epsilon / program.size * np.linalg.inv(A)
        return State(X=X, A=A, h=1.0, k=1.0, s=half, nu=half, L=L, epsilon=epsilon / program.size)
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
    """Step along the central path until the barrier's weight is at most ``epsilon``.

    Args:
        program: the reduced program.
        state: where to start.
        epsilon: the last barrier weight.

    Returns:
        The state that was reached, and the number of steps.
    """
    for steps in range(MAX_STEPS):
        if state.epsilon <= epsilon:
            return state, steps
        try:
            state = step(program, state, guarded=True)
        except np.linalg.LinAlgError:
            break  # rounding has eaten the barrier; what was reached is certified like any other point
    return state, steps


def step(program: ReducedProgram, state: State, *, guarded: bool) -> State:
    """Take one primal-dual Newton step, after lowering epsilon.

    Args:
        program: the reduced program.
        state: where to start.
        guarded: lower epsilon only at central points, and search the line for descent of the barrier function. Progress
            is then certain, because the direction is one of descent. Otherwise the slack h moves independently and the
            step is Newton's, which near the optimum reaches full accuracy.

    Returns:
        The next state.

    Raises:
        LinAlgError: if rounding leaves no usable step.
    """
    system = NewtonSystem(program, state, guarded)
    epsilon = state.epsilon
    if guarded:
        direction = system.direction(epsilon)
        # decrement / epsilon is the squared Newton decrement of the barrier function over epsilon. At 1 or less the
        # point is central: Newton's method would converge from there, and a smaller weight can be tried.
        while direction.decrement <= epsilon and epsilon > LEAST_WEIGHT:
            epsilon *= GUARDED_STRIDE
            direction = system.direction(epsilon)
    else:
        epsilon *= STRIDE if state.stride > LONG else 1.0
        direction = system.direction(epsilon)
    primal, dual = direction.longest_primal, direction.longest_dual
    if guarded:
        barrier = _barrier(program, state.X, state.A, epsilon)
        while (
            _barrier(program, state.X + primal * direction.X, state.A + primal * direction.A, epsilon)
            > barrier - ARMIJO * primal * direction.decrement
        ):
            primal /= 2
            if primal < SHORTEST_STEP:
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
    """The function f - epsilon (log of both scalar slacks + log det A); infinite outside the domain."""
    try:
        inverse_root = np.linalg.inv(np.linalg.cholesky(A))
    except np.linalg.LinAlgError:
        return np.inf
    diagonal = np.diag(inverse_root)
    # The slack h = tau^2 - tr(X A^{-1} X^T): the group sums, then the zero-sum coordinates.
    q = np.sum((X[:, : program.G] @ inverse_root[: program.G, : program.G].T) ** 2)
    q += (X[:, program.G :] ** 2 * program.active[:, program.G :] * diagonal[program.column] ** 2).sum()
    log_det = -2 * float(np.log(diagonal).sum())
    if program.decay is not None:
        return program.value(X) + program.decay / 2 * float(q + np.trace(A)) - epsilon * log_det
    h, k = program.tau2 - q, 1 - np.trace(A)
    if not (h > 0 and k > 0):
        return np.inf
    return program.value(X) - epsilon * (float(np.log(h) + np.log(k)) + log_det)


def deflate(program: ReducedProgram, state: State) -> tuple[ReducedProgram, State]:
    """Leave out the directions and groups that the optimum does not use: there A is near 0, its multiplier is not.

    A stays invertible without them. A wrong choice shows in the certificate, which sees all directions.

    Args:
        program: the reduced program.
        state: a state on the central path.

    Returns:
        The smaller program and the state in it; both unchanged if the budget is not used up.
    """
    if not uses_budget(program, state):
        return program, state  # A is then arbitrary
    g, zero_sum = program.G, np.arange(program.G, program.size)
    # Complementarity: on the path A L = epsilon I, so along each direction either A or L falls to 0 with epsilon.
    # nu brings both to one scale, as nu I = L - s grad_A q on the path.
    a, V = np.linalg.eigh(state.A[:g, :g])
    keep = a * state.nu > np.einsum("ij,ik,kj->j", V, state.L[:g, :g], V)
    used = state.A[zero_sum, zero_sum] * state.nu > state.L[zero_sum, zero_sum]
    smaller, basis = program.restrict(V[:, keep], used)
    X = np.concatenate([state.X[:, :g] @ V[:, keep], state.X[:, g:]], axis=1) * smaller.active
    A = basis.T @ state.A @ basis
    return smaller, replace(state, X=X, A=A, L=basis.T @ state.L @ basis, k=state.k + np.trace(state.A) - np.trace(A))


def uses_budget(program: ReducedProgram, state: State) -> bool:
    """Tell whether the optimum lies on the boundary of the nuclear-norm ball.

    Args:
        program: the reduced program.
        state: a state near the optimum.

    Returns:
        False when the slack h stays away from 0. Decay always binds.
    """
    return program.decay is not None or state.h < ON_THE_BOUNDARY * program.tau2


def point(program: ReducedProgram, state: State) -> np.ndarray:
    """Write a state's X in all coordinates, scaled onto the boundary of the budget unless the budget is not used up.

    Args:
        program: the reduced program.
        state: the state.

    Returns:
        The point in all coordinates of the problem.
    """
    X = program.embed(state.X)
    if program.decay is not None:
        return X
    return X * (np.sqrt(program.tau2) / program.coordinates.nuclear_norm(X)) if uses_budget(program, state) else X
