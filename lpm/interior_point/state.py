"""A point of the interior-point method, and a direction from it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lpm.interior_point.reduced import taken


@dataclass(frozen=True, kw_only=True)
class State:
    """A point of the interior-point method for each of B programs: primal variables, slacks and multipliers.

    Attributes:
        X: the point, (n, M, B).
        A: block of the matrix A on the group sums, (g, g, B).
        a: its numbers for the groups, (z, B).
        h: slack of tr(X A^-1 X^T) <= tau^2, (B,).
        k: slack of tr A <= 1, (B,).
        s: multiplier of the first constraint, (B,).
        nu: multiplier of the second constraint, (B,).
        L: multiplier of the block of A, (g, g, B).
        l: multipliers of the numbers of A, (z, B).
        epsilon: weight of the barrier, (B,).
        stride: the shorter of the last primal and dual step lengths, at most 1, (B,).
    """

    X: np.ndarray
    A: np.ndarray
    a: np.ndarray
    h: np.ndarray
    k: np.ndarray
    s: np.ndarray
    nu: np.ndarray
    L: np.ndarray
    l: np.ndarray  # noqa: E741  # L's diagonal part, as a is A's
    epsilon: np.ndarray
    stride: np.ndarray

    def take(self, members: np.ndarray) -> State:
        """Give the states of some programs.

        Args:
            members: their positions, (b,) int.

        Returns:
            The states.
        """
        return State(**taken(self, members))

    def put(self, members: np.ndarray, state: State) -> None:
        """Write the states of some programs into these.

        Args:
            members: their positions, (b,) int.
            state: their states.
        """
        for name, values in vars(state).items():
            getattr(self, name)[..., members] = values


@dataclass(frozen=True, kw_only=True)
class Direction:
    """Newton's direction from a state.

    Attributes:
        change: change of every field of the state; that of ``epsilon`` and ``stride`` is not used.
        decrement: minus the slope of the barrier function along the direction, (B,).
        longest_primal: longest primal step inside the domain, at most 1, (B,).
        longest_dual: longest dual step inside the domain, at most 1, (B,).
    """

    change: State
    decrement: np.ndarray
    longest_primal: np.ndarray
    longest_dual: np.ndarray


def advanced(state: State, direction: Direction, primal: np.ndarray, dual: np.ndarray, epsilon: np.ndarray) -> State:
    """Go some way along a direction.

    Args:
        state: where to start.
        direction: the direction.
        primal: length of the primal step, (B,).
        dual: length of the dual step, (B,).
        epsilon: the new barrier weights, (B,).

    Returns:
        The next state.
    """
    new = {
        name: getattr(state, name) + (dual if name in ("s", "nu", "L", "l") else primal) * change
        for name, change in vars(direction.change).items()
    }
    return replace(state, **(new | {"epsilon": epsilon, "stride": np.minimum(primal, dual)}))
