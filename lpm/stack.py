"""Coordinates of many problems of one shape: the methods of :mod:`lpm.coordinates` on arrays with a leading axis.

A sweep is then one computation. What a call costs in Python is paid once for all problems.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from functools import cached_property

import numpy as np

from lpm.coordinates import Coordinates
from lpm.losses import Losses

MOST_ENTRIES = 2_000_000
"""Largest number of entries of the maps from points to logits that are held at a time, 16 MB: some caches' size."""
MOST_LARGE = 100_000
"""The same for problems of more than ``LARGE`` coordinates a row: larger stacks of them leave the caches,
and are 1.1 to 1.8 times slower than one after the other, for six problems of 720 and 810 rows and 10 groups."""
LARGE = 7
"""See ``MOST_LARGE``."""
MOST_MEMBERS = 1024
"""Largest number of problems in a stack."""


class Stack:
    """Coordinates of B problems, all of the same :func:`shape`.

    Args:
        members: coordinates of each problem.

    Attributes:
        members: the same.
        G: number of groups.
        sizes: number of classes in each group, (B, G) int.
        scale: sqrt(count d) of each row, (B, M).
        weight: count p of each row, (B, M).
        slots: group of each zero-sum coordinate, (B, M, n - G) int.
        tau: radius of the ball, (B,).
        decay: mu, (B,); None for budgets.
        C_error: bound on the relative error of C, (B,).
        losses: the losses of all rows, of B M rows.
    """

    def __init__(self, members: Sequence[Coordinates]) -> None:
        self.members, first = members, members[0]
        problems = [member.problem for member in members]
        self.G, self.expanded = first.G, first.problem.expanded
        self.sizes = np.stack([problem.sizes for problem in problems])
        self.scale = np.stack([member.scale for member in members])
        self.weight = np.stack([member.weight for member in members])
        self.slots = np.stack([member.slots for member in members])
        self.tau = np.array([problem.tau for problem in problems])
        decays = [problem.decay for problem in problems]
        self.decay = None if decays[0] is None else np.array(decays, dtype=float)
        self.C_error = np.array([problem.C_error for problem in problems])
        self.losses = Losses.together([member.losses for member in members])

    def __len__(self) -> int:
        return len(self.members)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (B, M, n) of a point of each problem."""
        return *self.scale.shape, self.G + self.slots.shape[2]

    @cached_property
    def C_inverse_half(self) -> np.ndarray:
        """The inverse of each root of C, (B, G, G)."""
        return np.stack([member.C_inverse_half for member in self.members])

    @cached_property
    def basis(self) -> np.ndarray:
        """Linear map from a point to the logit values, (B, M, n, n); written out for problems without groups, too."""
        if self.expanded:
            across = self.C_inverse_half.transpose(0, 2, 1)[:, None]
            return np.repeat(across, self.scale.shape[1], axis=1) / self.scale[:, :, None, None]
        return np.stack([member.frame.basis for member in self.members]) / self.scale[:, :, None, None]

    @cached_property
    def smoothness(self) -> np.ndarray:
        """An upper bound on the curvature of each f, (B,)."""
        return np.array([member.smoothness for member in self.members])

    def logits(self, X: np.ndarray) -> np.ndarray:
        """Evaluate the logits.

        Args:
            X: a point of each problem, (B, M, n).

        Returns:
            Logit values, (B, M, n).
        """
        if self.expanded:
            return (X / self.scale[:, :, None]) @ self.C_inverse_half
        return np.matmul(self.basis, X[..., None])[..., 0]

    def evaluate(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Evaluate every f, its gradient, and a bound on its rounding.

        Args:
            X: a point of each problem, (B, M, n).

        Returns:
            f (B,), the gradients (B, M, n), and the bounds (B,): f is a difference of terms of the size of the logits.
        """
        B, M, n = X.shape
        value, slope, size = self.losses.evaluate(self.logits(X).reshape(B * M, n))
        f = np.einsum("bm,bm->b", self.weight, value.reshape(B, M))
        rounding = 8 * np.finfo(float).eps * np.einsum("bm,bm->b", self.weight, size.reshape(B, M))
        slope = slope.reshape(B, M, n)
        if self.expanded:
            gradient = (slope * (self.weight / self.scale)[:, :, None]) @ self.C_inverse_half.transpose(0, 2, 1)
        else:
            gradient = np.matmul(slope[:, :, None, :], self.basis)[:, :, 0] * self.weight[:, :, None]
        return f, gradient, rounding

    @cached_property
    def value_at_zero(self) -> np.ndarray:
        """Every f(0), (B,)."""
        return self.evaluate(np.zeros(self.shape))[0]

    def group_norms(self, X: np.ndarray) -> np.ndarray:
        """Measure the zero-sum part of each group.

        Args:
            X: a point or a gradient of each problem, (B, M, n).

        Returns:
            |v_g| of each group, (B, G).
        """
        zero_sum = X[:, :, self.G :] ** 2
        return np.sqrt(np.stack([(zero_sum * (self.slots == g)).sum(axis=(1, 2)) for g in range(self.G)], axis=1))

    def nuclear_norm(self, X: np.ndarray) -> np.ndarray:
        """Evaluate every |D^{1/2} Z C^{1/2}|_*.

        Args:
            X: a point of each problem, (B, M, n).

        Returns:
            The norms, (B,).
        """
        return np.linalg.svd(X[:, :, : self.G], compute_uv=False).sum(axis=1) + self.group_norms(X).sum(axis=1)

    def spectral_norm(self, gradient: np.ndarray, frozen: np.ndarray | None = None) -> np.ndarray:
        """Evaluate every dual norm |D^{-1/2} (gradient in Z) C^{-1/2}|_2.

        Args:
            gradient: gradients in these coordinates, (B, M, n).
            frozen: groups to leave out, (B, G) bool; None for none.

        Returns:
            The norms, (B,).
        """
        norms = self.group_norms(gradient)
        if frozen is not None:
            norms[frozen] = 0.0
        return np.maximum(np.linalg.norm(gradient[:, :, : self.G], 2, axis=(1, 2)), norms.max(axis=1))


def shape(coordinates: Coordinates) -> Hashable:
    """Say what problems must have in common to stand in one stack.

    Args:
        coordinates: coordinates of a problem.

    Returns:
        Its shape, partition and kind of limit, and which terms its losses have.
    """
    problem, losses = coordinates.problem, coordinates.losses
    terms = (losses.rest, losses.mass, losses.offset, losses.factor, losses.margin, losses.pair_offset)
    return (
        coordinates.shape,
        problem.expanded,
        problem.partition,
        problem.decay is None,
        *(term is None for term in terms),
    )


def stacks(members: Sequence[Coordinates]) -> Iterator[tuple[list[int], Stack]]:
    """Put problems into stacks of one shape and a bounded size.

    Args:
        members: coordinates of the problems.

    Yields:
        The positions of some problems, and their stack.
    """
    alike: dict[Hashable, list[int]] = {}
    for position, member in enumerate(members):
        alike.setdefault(shape(member), []).append(position)
    for positions in alike.values():
        M, n = members[positions[0]].shape
        entries = MOST_ENTRIES if n <= LARGE else MOST_LARGE
        most = max(1, min(MOST_MEMBERS, entries // (M * n * n)))
        for start in range(0, len(positions), most):
            some = positions[start : start + most]
            yield some, Stack([members[position] for position in some])
