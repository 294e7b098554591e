"""The symmetry-reduced programs that the interior-point method solves: f on the coordinates in use, row by row.

In use are the group sums without the common shift of all logits, and the zero-sum coordinates of groups. Programs of
one shape are solved together, B at a time. Their arrays have the members in the last axis, where NumPy is fastest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from lpm.interior_point import small

FEW_ROWS = 8
"""Number of rows up to which programs of different numbers of rows are solved together."""
CACHED_ROWS = 256
"""Number of rows whose large maps are multiplied at a time, so that what a product needs fits into a cache: 2.5 times faster."""


@dataclass(frozen=True, kw_only=True)
class Programs:
    """f(X) on the coordinates in use, X (n, M, B), and the matrices A that belong to them.

    A is block diagonal: a symmetric block on the g group sums, and one number for each of the z = G groups (z = 0 if
    every class is a group of its own). A coordinate that is not in use stays 0, and its part of A stays 1.

    Attributes:
        maps: linear maps from a row of X to the v values of each of its T log-sum-exps, (v, n, T, M, B).
        logn: log-multiplicities of these values, (v, T, M, B).
        share: weight of each log-sum-exp in f, (T, M, B).
        target: the linear part of f, (n, M, B).
        constant: the constant of f, (B,).
        tau2: tau^2, (B,).
        decay: weight mu of the nuclear norm in the objective, (B,); None for budgets.
        slot: group of each zero-sum coordinate, (n - g, M, B) int; 0 for absent ones.
        active: 1 for each coordinate of a row that is in use, 0 for the others, (n, M, B).
        use: 1 for each direction of the group sums that is in use, (g, B).
        use_group: 1 for each group whose zero-sum coordinates are in use, (z, B).
    """

    maps: np.ndarray
    logn: np.ndarray
    share: np.ndarray
    target: np.ndarray
    constant: np.ndarray
    tau2: np.ndarray
    decay: np.ndarray | None
    slot: np.ndarray
    active: np.ndarray
    use: np.ndarray
    use_group: np.ndarray

    def __len__(self) -> int:
        return len(self.constant)

    @property
    def g(self) -> int:
        """Number of directions of the group sums."""
        return len(self.use)

    @property
    def rows(self) -> int:
        """Number of rows M."""
        return self.target.shape[1]

    @cached_property
    def size(self) -> np.ndarray:
        """Number of directions and groups in use, (B,)."""
        return self.use.sum(axis=0) + self.use_group.sum(axis=0)

    @cached_property
    def in_group(self) -> np.ndarray:
        """Whether a zero-sum coordinate belongs to a group, as 0 or 1, (z, n - g, M, B)."""
        z = len(self.use_group)
        return (self.slot == np.arange(z)[:, None, None, None]) * self.active[self.g :]

    @cached_property
    def basis(self) -> np.ndarray:
        """Orthonormal basis of the symmetric blocks, (P, g, g), P = g (g + 1) / 2."""
        i, j = np.triu_indices(self.g)
        basis, p = np.zeros((len(i), self.g, self.g)), np.arange(len(i))
        basis[p, i, j] = basis[p, j, i] = np.where(i == j, 1.0, 0.5**0.5)
        return basis

    @cached_property
    def use_basis(self) -> np.ndarray:
        """1 for each number of A that is in use, (P + z, B)."""
        i, j = np.triu_indices(self.g)
        return np.concatenate([self.use[i] * self.use[j], self.use_group])

    def take(self, members: np.ndarray) -> Programs:
        """Give some of the programs.

        Args:
            members: their positions, (b,) int.

        Returns:
            The programs.
        """
        return Programs(**taken(self, members))

    def by_group(self, values: np.ndarray) -> np.ndarray:
        """Write numbers of groups to the zero-sum coordinates.

        Args:
            values: a number per group, (z, B).

        Returns:
            The numbers, (n - g, M, B).
        """
        if not len(values):
            return np.ones(self.slot.shape)
        return np.take_along_axis(values[:, None], self.slot.reshape(-1, 1, len(self)), axis=0).reshape(self.slot.shape)

    def sum_by_group(self, values: np.ndarray) -> np.ndarray:
        """Add numbers of zero-sum coordinates up, group by group.

        Args:
            values: the numbers, (n - g, M, B).

        Returns:
            The sums, (z, B).
        """
        return np.einsum("zkmb,kmb->zb", self.in_group, values)

    def values(self, X: np.ndarray) -> np.ndarray:
        """Evaluate what the log-sum-exps take.

        Args:
            X: a point of each program, (n, M, B).

        Returns:
            Logits plus log-multiplicities, (v, T, M, B).
        """
        return np.einsum("vntmb,nmb->vtmb", self.maps, X) + self.logn

    def value(self, X: np.ndarray) -> np.ndarray:
        """Evaluate every f.

        Args:
            X: a point of each program, (n, M, B).

        Returns:
            f, (B,).
        """
        return self.softmax(X)[0]

    def softmax(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Evaluate every f and the softmaxes in its gradient.

        Args:
            X: a point of each program, (n, M, B).

        Returns:
            f (B,), and the softmaxes (v, T, M, B).
        """
        pi = self.values(X)
        top = pi.max(axis=0)
        pi = np.exp(pi - top)  # shifted, so that exp cannot overflow
        total = pi.sum(axis=0)
        lse = top + np.log(total)
        f = self.constant + (self.share * lse).sum(axis=(0, 1)) - (self.target * X).sum(axis=(0, 1))
        return f, pi / total

    def value_and_gradient(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Evaluate every f and its gradient.

        Args:
            X: a point of each program, (n, M, B).

        Returns:
            f (B,), and the gradients (n, M, B).
        """
        f, pi = self.softmax(X)
        return f, (np.einsum("vtmb,vntmb->nmb", pi * self.share, self.maps) - self.target) * self.active

    def derivatives(
        self, X: np.ndarray, root: np.ndarray, scale: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Evaluate every f and its derivatives in whitened coordinates Y: X = root Y on the group sums, else scale Y.

        Args:
            X: a point of each program, (n, M, B).
            root: linear maps of the group sums, (B, g, g).
            scale: factors of the zero-sum coordinates, (n - g, M, B).

        Returns:
            f (B,), the gradients (n, M, B) and the Hessian blocks (n, n, M, B); the rows of f do not couple.
        """
        f, pi = self.softmax(X)
        gradient, hessian = (self._by_matrices if len(X) > small.LARGEST else self._by_entries)(pi, root, scale)
        sums = self.target[: self.g]
        gradient[: self.g] -= sums * root[:, 0, 0] if self.g == 1 else np.einsum("imb,bij->jmb", sums, root)
        gradient[self.g :] -= self.target[self.g :] * scale
        return f, gradient * self.active, hessian

    # In both, the Hessian of a log-sum-exp is the covariance of the rows of the map under the softmax.

    def _by_entries(self, pi: np.ndarray, root: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Gradients of the log-sum-exps and Hessian blocks for :meth:`derivatives`."""
        across = np.empty_like(self.maps)  # from Y to the values
        if self.g == 1:
            across[:, :1] = self.maps[:, :1] * root[:, 0, 0]
        else:
            across[:, : self.g] = np.einsum("vitmb,bij->vjtmb", self.maps[:, : self.g], root)
        across[:, self.g :] = self.maps[:, self.g :] * scale[:, None]
        weight = pi * self.share
        gradient = np.einsum("vtmb,vntmb->nmb", weight, across)
        across -= np.einsum("vtmb,vntmb->ntmb", pi, across)
        return gradient, np.einsum("vntmb,vktmb->nkmb", weight[:, None] * across, across)

    def _by_matrices(self, pi: np.ndarray, root: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same by products of matrices: faster where they are large, as with ten groups and 55 values."""
        g, (n, M, B) = self.g, self.active.shape
        gradient, hessian = np.empty((B, M, n)), np.empty((B, M, n, n))
        for first in range(0, M, CACHED_ROWS):
            rows = slice(first, first + CACHED_ROWS)
            maps = self.maps[..., rows, :].transpose(4, 2, 3, 0, 1)  # (B, T, M, v, n)
            chance = pi[:, :, rows].transpose(3, 1, 2, 0)[..., None, :]
            share = self.share[:, rows].transpose(2, 0, 1)[..., None]
            across = np.empty(maps.shape)
            np.matmul(maps[..., :g], root[:, None, None], out=across[..., :g])
            np.multiply(maps[..., g:], scale[:, rows].transpose(2, 1, 0)[:, None, :, None], out=across[..., g:])
            mean = chance @ across
            gradient[:, rows] = (share * mean[..., 0, :]).sum(axis=1)
            across -= mean
            hessian[:, rows] = ((across.swapaxes(3, 4) * (share[..., None] * chance)) @ across).sum(axis=1)
        return gradient.transpose(2, 1, 0), hessian.transpose(2, 3, 1, 0)

    def rotated(self, V: np.ndarray, use: np.ndarray, use_group: np.ndarray) -> Programs:
        """Turn the directions of the group sums, and leave some directions and groups out.

        Args:
            V: orthogonal matrices, (B, g, g).
            use: 1 for each new direction to keep, 0 for the others, (g, B).
            use_group: the same for groups, (z, B).

        Returns:
            The programs.
        """
        g, maps, target = self.g, self.maps, self.target
        if g > 1:
            maps = np.concatenate([np.einsum("vitmb,bij->vjtmb", maps[:, :g], V), maps[:, g:]], axis=1)
            target = np.concatenate([np.einsum("imb,bij->jmb", target[:g], V), target[g:]])
        keep = np.broadcast_to(use[:, None], (g, *self.active.shape[1:]))
        active = np.concatenate([keep, self.by_group(use_group) * self.active[g:]])
        return replace(self, maps=maps, target=target, active=active, use=use, use_group=use_group)

    def nuclear_norm(self, X: np.ndarray) -> np.ndarray:
        """Evaluate |X|_*: singular values of the group sums, and lengths of the zero-sum parts.

        Args:
            X: a point of each program, (n, M, B).

        Returns:
            The norms, (B,).
        """
        return self._singular_values(X).sum(axis=1) + np.sqrt(self.sum_by_group(X[self.g :] ** 2)).sum(axis=0)

    def spectral_norm(self, gradient: np.ndarray) -> np.ndarray:
        """Evaluate the dual norm, over the directions in use.

        Args:
            gradient: gradients, (n, M, B).

        Returns:
            The norms, (B,).
        """
        groups = np.sqrt(self.sum_by_group(gradient[self.g :] ** 2))
        return np.maximum(self._singular_values(gradient).max(axis=1, initial=0.0), groups.max(axis=0, initial=0.0))

    def _singular_values(self, X: np.ndarray) -> np.ndarray:
        """Singular values of the group sums, (B, min(M, g))."""
        if self.g == 1:
            return np.sqrt((X[0] ** 2).sum(axis=0))[:, None]
        finite = np.where(np.isfinite(X[: self.g]), X[: self.g], 0.0)
        return np.linalg.svd(finite.transpose(2, 1, 0), compute_uv=False)

    def relative_gap(self, X: np.ndarray) -> np.ndarray:
        """Evaluate the relative gap of a point over all points in use.

        Args:
            X: a point of each program, (n, M, B).

        Returns:
            The relative gaps, (B,).
        """
        loss, gradient = self.value_and_gradient(X)
        top, inner = self.spectral_norm(gradient), (gradient * X).sum(axis=(0, 1))
        if self.decay is None:
            return np.abs(inner + np.sqrt(self.tau2) * top) / loss
        penalty = self.decay * self.nuclear_norm(X)
        excess = np.maximum(0.0, top / self.decay - 1) * self.value(np.zeros_like(X))
        return (np.abs(inner + penalty) + excess) / (loss + penalty)


def taken(record: object, members: np.ndarray) -> dict[str, Any]:
    """Take some members out of the last axis of every field of a dataclass.

    Args:
        record: a dataclass of arrays.
        members: positions, (b,) int.

    Returns:
        The fields by name.
    """
    values = {field.name: getattr(record, field.name) for field in fields(record)}  # type: ignore[arg-type]  # a dataclass
    return {name: None if value is None else value.take(members, axis=-1) for name, value in values.items()}


def joined(many: Sequence[Programs]) -> Iterator[tuple[list[int], Programs]]:
    """Join programs that differ in their number of rows only, if they are small: rows of weight 0 are added.

    Args:
        many: programs of several shapes.

    Yields:
        The positions of some of them, and the programs that they make, in this order.
    """
    alike: dict[tuple[object, ...], list[int]] = {}
    for position, programs in enumerate(many):
        v, n, T, M, _ = programs.maps.shape
        few = M <= FEW_ROWS
        alike.setdefault((v, n, T, programs.decay is None, len(programs.use_group), few or position), []).append(
            position
        )
    for positions in alike.values():
        some = [many[position] for position in positions]
        yield positions, some[0] if len(some) == 1 else _side_by_side(some, max(programs.rows for programs in some))


def _side_by_side(many: Sequence[Programs], M: int) -> Programs:
    """Programs with the members of several, and M rows."""
    values: dict[str, Any] = {}
    for field in fields(Programs):
        parts = [getattr(programs, field.name) for programs in many]
        if field.name in ("maps", "logn", "share", "target", "slot", "active"):
            parts = [np.pad(a, [(0, 0)] * (a.ndim - 2) + [(0, M - a.shape[-2]), (0, 0)]) for a in parts]
        values[field.name] = None if parts[0] is None else np.concatenate(parts, axis=-1)
    return Programs(**values)
