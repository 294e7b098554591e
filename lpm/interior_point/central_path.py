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

All functions work on B programs of one shape at a time. Each has its own weight and its own steps, and those that are
done are left out of the arrays.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lpm.interior_point import small
from lpm.interior_point.newton import NewtonSystem
from lpm.interior_point.reduced import Programs
from lpm.interior_point.state import State, advanced

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


def start(programs: Programs) -> State:
    """Start at X = 0, with A a multiple of the identity.

    Args:
        programs: the reduced programs.

    Returns:
        The first state, with a barrier weight of f(0), or under a decay of f(0) / size.
    """
    B = len(programs)
    X, one, size = np.zeros(programs.target.shape), np.ones(B), np.maximum(programs.size, 1)
    epsilon = programs.value(X)
    if programs.decay is None:
        level, h, k, s, nu = 0.5 / size, programs.tau2, 0.5 * one, epsilon / programs.tau2, 2 * epsilon
    else:  # so that a central point begins the path at a weight of epsilon / size
        half = programs.decay / 2
        level, h, k, s, nu = epsilon / half / size, one, one, half, half
        epsilon = epsilon / size
    multiplier = epsilon / level
    # What is not in use has an A and a multiplier of 1.
    A, L = (_diagonal(np.where(programs.use > 0, number, 1.0)) for number in (level, multiplier))
    a, l = (np.where(programs.use_group > 0, number, 1.0) for number in (level, multiplier))  # noqa: E741
    return State(X=X, A=A, a=a, h=h + 0, k=k + 0, s=s + 0, nu=nu + 0, L=L, l=l, epsilon=epsilon, stride=one)


def _diagonal(entries: np.ndarray) -> np.ndarray:
    """Diagonal matrices (g, g, B) of their entries (g, B)."""
    return np.eye(len(entries))[:, :, None] * entries


def follow(programs: Programs, state: State, epsilon: np.ndarray) -> tuple[State, np.ndarray]:
    """Step along the central path until the barrier's weight is at most ``epsilon``.

    Args:
        programs: the reduced programs.
        state: where to start.
        epsilon: the last barrier weights, (B,).

    Returns:
        The states that were reached, and the number of steps of each, (B,) int.
    """
    steps, reached = np.zeros(len(programs), dtype=int), replace(state, **{k: v.copy() for k, v in vars(state).items()})
    members = np.arange(len(programs))
    for _ in range(MAX_STEPS):
        if (done := state.epsilon <= epsilon).any():
            if done.all():
                break
            reached.put(members[done], state.take(np.flatnonzero(done)))
            left = np.flatnonzero(~done)
            members, programs, state, epsilon = members[left], programs.take(left), state.take(left), epsilon[left]
        new, fine = guarded_step(programs, state)
        steps[members] += 1
        if not fine.all():  # rounding has eaten the barrier; what was reached is certified like any other point
            reached.put(members[~fine], state.take(np.flatnonzero(~fine)))
            left = np.flatnonzero(fine)
            members, programs, new, epsilon = members[left], programs.take(left), new.take(left), epsilon[left]
            if not members.size:
                return reached, steps
        state = new
    reached.put(members, state)
    return reached, steps


def guarded_step(programs: Programs, state: State) -> tuple[State, np.ndarray]:
    """Take one Newton step, after lowering epsilon at central points, with a search for descent of the barrier function.

    Progress is then certain, because the direction is one of descent.

    Args:
        programs: the reduced programs.
        state: where to start.

    Returns:
        The next states, and whether each is usable, (B,) bool: rounding may leave no step.
    """
    system = NewtonSystem(programs, state, guarded=True)
    epsilon, direction = system.descend(state.epsilon, GUARDED_STRIDE, LEAST_WEIGHT)
    primal, change = direction.longest_primal, direction.change
    barrier = system.f - epsilon * system.log_det
    if programs.decay is None:
        barrier -= epsilon * (np.log(system.h) + np.log(1 - system.trace))
    else:
        barrier += programs.decay / 2 * (system.q + system.trace)
    while True:
        value = _barrier(
            programs, state.X + primal * change.X, state.A + primal * change.A, state.a + primal * change.a, epsilon
        )
        high = (value > barrier - ARMIJO * primal * direction.decrement) & (primal >= SHORTEST_STEP)
        if not high.any():
            break
        primal = np.where(high, primal / 2, primal)
    new = advanced(replace(state, h=system.h), direction, primal, direction.longest_dual, epsilon)
    return new, np.isfinite(value) & np.isfinite(new.stride) & (primal >= SHORTEST_STEP)


def newton_step(programs: Programs, state: State) -> tuple[State, np.ndarray]:
    """Take one Newton step after lowering epsilon. The slack h moves independently; near the optimum it is exact.

    Args:
        programs: the reduced programs.
        state: where to start.

    Returns:
        The next states, and whether each is usable, (B,) bool.
    """
    system = NewtonSystem(programs, state, guarded=False)
    epsilon = state.epsilon * np.where(state.stride > LONG, STRIDE, 1.0)
    direction = system.direction(epsilon)
    new = advanced(state, direction, direction.longest_primal, direction.longest_dual, epsilon)
    return new, np.isfinite(new.stride) & np.isfinite(new.X).all(axis=(0, 1))


def _barrier(programs: Programs, X: np.ndarray, A: np.ndarray, a: np.ndarray, epsilon: np.ndarray) -> np.ndarray:
    """The functions f - epsilon (log of both scalar slacks + log det A), (B,); infinite outside the domain."""
    g, root = programs.g, small.cholesky(A.transpose(2, 0, 1))
    inverse = small.inverse(root)
    # The slack h = tau^2 - tr(X A^{-1} X^T): the group sums, then the zero-sum coordinates.
    Y = X[:g] / root[:, 0, 0] if g == 1 else np.einsum("bij,jmb->imb", inverse, X[:g])
    q = (Y**2).sum(axis=(0, 1)) + (programs.sum_by_group(X[g:] ** 2) / a).sum(axis=0)
    log_det = 2 * np.log(np.einsum("bii->bi", root)).sum(axis=1) + np.log(a).sum(axis=0)
    trace = np.einsum("iib,ib->b", A, programs.use) + (a * programs.use_group).sum(axis=0)
    value = programs.value(X) - epsilon * log_det
    if programs.decay is not None:
        value += programs.decay / 2 * (q + trace)
    else:
        value -= epsilon * (np.log(programs.tau2 - q) + np.log(1 - trace))
    return np.where(np.isnan(value), np.inf, value)


def deflate(programs: Programs, state: State) -> tuple[Programs, State, np.ndarray]:
    """Leave out the directions and groups that the optimum does not use: there A is near 0, its multiplier is not.

    A stays invertible without them. A wrong choice shows in the certificate, which sees all directions.

    Args:
        programs: the reduced programs.
        state: states on the central path.

    Returns:
        The programs in which they are not in use, the states in these, and the new directions of the group sums in
        terms of the old ones, (B, g, g). Nothing is left out where the budget is not used up: A is then arbitrary.
    """
    g, all_used = programs.g, ~uses_budget(programs, state)
    A, L = state.A.transpose(2, 0, 1), state.L.transpose(2, 0, 1)
    if g > 1:
        V = np.linalg.eigh(A)[1]
        A, L = (small.product(small.transposed(V), matrix, V) for matrix in (A, L))
    else:
        V = np.ones((len(programs), g, g))
    a, along = (np.einsum("bii->ib", matrix) for matrix in (A, L))
    # Complementarity: on the path A L = epsilon I, so along each direction either A or L falls to 0 with epsilon.
    # nu brings both to one scale, as nu I = L - s grad_A q on the path.
    use = programs.use * ((a * state.nu > along) | all_used)
    use_group = programs.use_group * ((state.a * state.nu > state.l) | all_used)
    smaller = programs.rotated(V, use, use_group)
    X = np.concatenate([np.einsum("bji,jmb->imb", V, state.X[:g]), state.X[g:]]) * smaller.active
    dropped = ((1 - use) * programs.use * a).sum(axis=0) + ((programs.use_group - use_group) * state.a).sum(axis=0)
    A, L = (matrix.transpose(1, 2, 0) * (use[:, None] * use) + _diagonal(1 - use) for matrix in (A, L))
    a, l = (np.where(use_group > 0, number, 1.0) for number in (state.a, state.l))  # noqa: E741
    return smaller, replace(state, X=X, A=A, a=a, L=L, l=l, k=state.k + dropped), V


def uses_budget(programs: Programs, state: State) -> np.ndarray:
    """Tell whether each optimum lies on the boundary of the nuclear-norm ball.

    Args:
        programs: the reduced programs.
        state: states near the optima.

    Returns:
        False where the slack h stays away from 0, (B,) bool. Decay always binds.
    """
    if programs.decay is not None:
        return np.ones(len(programs), dtype=bool)
    return np.asarray(state.h < ON_THE_BOUNDARY * programs.tau2)


def point(programs: Programs, state: State) -> np.ndarray:
    """Scale every X onto the boundary of the budget unless the budget is not used up.

    Args:
        programs: the reduced programs.
        state: the states.

    Returns:
        The points, (n, M, B).
    """
    if programs.decay is not None:
        return state.X
    norm = programs.nuclear_norm(state.X)
    return state.X * np.where(uses_budget(programs, state), np.sqrt(programs.tau2) / norm, 1.0)
