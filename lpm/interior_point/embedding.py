"""From problems to their reduced programs, and from points of these back to points of the problems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lpm.interior_point.reduced import Programs
from lpm.stack import Stack


def reduce(stack: Stack, frozen: Sequence[tuple[int, ...]]) -> tuple[Programs, Embedding]:
    """Reduce problems: leave out the common shift of the logits, frozen groups, and rows that are like others.

    Args:
        stack: coordinates of the problems.
        frozen: for each problem the groups with u_g = 0.

    Returns:
        The reduced programs, and the way back to all coordinates.
    """
    way = Embedding.of(stack, _without_shift(stack))
    span, G, rows = way.span, stack.G, way.representative
    maps, logn, share, linear = _log_sum_exps(stack)
    # A row that stands for several has the sum of their weights, and the root of the sum of their squared scales.
    scale = way.share[:, rows, None]
    maps, linear = maps[:, rows] * scale[..., None, None], linear[:, rows] * scale
    weight = way.added(stack.weight)
    maps = np.concatenate([np.matmul(maps[..., :G], span[:, None, None]), maps[..., G:]], axis=-1)
    linear = np.concatenate([linear[..., :G] @ span, linear[..., G:]], axis=-1) * weight[..., None]
    logn, share = logn[:, rows], share[:, rows] * weight[..., None]
    top = logn.max(axis=3)
    at_zero = (share * (top + np.log(np.exp(logn - top[..., None]).sum(axis=3)))).sum(axis=(1, 2))
    slots = stack.slots[:, rows]
    slots = np.where(_frozen(stack, frozen)[np.arange(len(stack))[:, None, None], slots], -1, slots)
    used = [(slots == group).any(axis=(1, 2)) for group in range(0 if stack.expanded else G)]
    active = np.concatenate([np.ones((*slots.shape[:2], G - 1)), slots >= 0], axis=2)
    programs = Programs(
        maps=_last(maps.transpose(0, 3, 4, 2, 1)),
        logn=_last(logn.transpose(0, 3, 2, 1)),
        share=_last(share.transpose(0, 2, 1)),
        target=_last(linear.transpose(0, 2, 1)),
        constant=stack.value_at_zero - at_zero,
        tau2=stack.tau**2,
        decay=stack.decay,
        slot=_last(np.maximum(slots, 0).transpose(0, 2, 1)),
        active=_last(active.transpose(0, 2, 1)),
        use=np.ones((G - 1, len(stack))),
        use_group=np.array(used, dtype=float).reshape(-1, len(stack)),
    )
    return programs, way


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """The way from points of reduced programs to points of their problems.

    A label pair (a, b) at lambda and (b, a) at 1 - lambda have the same target, as (a, a) has at every lambda under
    cross-entropy. Their logits are equal at an optimum if their p/d are. One row then stands for them.

    Attributes:
        span: orthonormal directions of the group sums that are in use, (B, G, G - 1).
        representative: the rows that are kept, (m,) int.
        owner: position among these of the one that stands for each row, (M,) int.
        share: scale of each row over the scale of the one that stands for it, (B, M).
        turned: rows in which a and b have changed places, (M,) bool.
        inside: rows with a and b in one group, (M,) bool.
    """

    span: np.ndarray
    representative: np.ndarray
    owner: np.ndarray
    share: np.ndarray
    turned: np.ndarray
    inside: np.ndarray

    @classmethod
    def of(cls, stack: Stack, span: np.ndarray) -> Embedding:
        """Find rows that are alike in all problems.

        Args:
            stack: coordinates of the problems.
            span: directions of the group sums that are in use.

        Returns:
            The way back.
        """
        rows, M = stack.members[0].problem.rows, stack.scale.shape[1]
        lam, turned = stack.losses.lam.reshape(-1, M), np.zeros(M, dtype=bool)
        owner = np.arange(M)
        plain = stack.losses.mass is None and stack.losses.margin is None and stack.losses.partition != "unordered"
        if plain and np.all(lam == lam[0]) and all(one.frame is stack.members[0].frame for one in stack.members):
            a, b, ratio = rows.first, rows.second, lam[0]
            if stack.losses.partition == "classes":
                ratio = np.where(rows.same, 1.0, ratio)
            turned = (ratio < 0.5) | ((ratio == 0.5) & (a > b))
            a, b, ratio = np.where(turned, b, a), np.where(turned, a, b), np.where(turned, 1 - ratio, ratio)
            weights = np.round(np.log(stack.weight / stack.scale**2), 12)  # p/d
            keys = np.concatenate([np.stack([a, b, rows.same, np.round(ratio, 12)]), weights])
            known: dict[bytes, int] = {}
            owner = np.array([known.setdefault(row.tobytes(), len(known)) for row in np.ascontiguousarray(keys.T)])
        representative = np.flatnonzero(np.append(True, np.diff(np.maximum.accumulate(owner)) > 0))
        turned = (turned != turned[representative[owner]]) & ~rows.same
        square = np.zeros((len(representative), len(stack)))
        np.add.at(square, owner, (stack.scale**2).T)
        return cls(
            span=span,
            representative=representative,
            owner=owner,
            share=stack.scale / np.sqrt(square.T[:, owner]),
            turned=turned,
            inside=rows.first == rows.second,
        )

    def added(self, weight: np.ndarray) -> np.ndarray:
        """Add the weights of rows that are alike.

        Args:
            weight: a number per row, (B, M).

        Returns:
            The sums, (B, m).
        """
        sums = np.zeros((len(self.representative), len(weight)))
        np.add.at(sums, self.owner, weight.T)
        return sums.T

    def __call__(self, X: np.ndarray) -> np.ndarray:
        """Write points in all coordinates of their problems.

        Args:
            X: a point of each program, (n, m, B).

        Returns:
            The points, (B, M, n + 1).
        """
        _, G, g = self.span.shape
        points = X.transpose(2, 1, 0)[:, self.owner] * self.share[:, :, None]
        points = np.concatenate([points[..., :g] @ self.span.transpose(0, 2, 1), points[..., g:]], axis=2)
        if self.turned.any() and points.shape[2] > G:
            across, within = self.turned & ~self.inside, np.flatnonzero(self.turned & self.inside)
            points[:, across, G:] = points[:, across, : G - 1 : -1]  # a's deviation is the other one's b's
            points[:, within, G + 1] *= -1  # the difference of a and b
        return points


def _last(array: np.ndarray) -> np.ndarray:
    """Move the members from the first axis to the last one."""
    return np.ascontiguousarray(np.moveaxis(array, 0, -1))


def _frozen(stack: Stack, frozen: Sequence[tuple[int, ...]]) -> np.ndarray:
    """Which groups are frozen, (B, G + 1) bool; the last column is for coordinates that a row does not have."""
    mask = np.zeros((len(stack), stack.G + 1), dtype=bool)
    for member, groups in enumerate(frozen):
        mask[member, list(groups)] = True
    return mask


def _without_shift(stack: Stack) -> np.ndarray:
    """Orthonormal bases (B, G, G - 1) of the group-sum directions without the common shift of all logits.

    A shift changes no loss, so the gradient, and with it every optimum, is orthogonal to C^{1/2} 1. Without this
    direction A is invertible at the optimum, and Newton's steps are exact to rounding. With factors of the logits it is
    the shift after them that changes no loss.
    """
    shifts = []
    for member in stack.members:
        factor = member.problem.factor
        shifts.append((np.sqrt(member.problem.sizes) / (1.0 if factor is None else factor)) @ member.C_half)
    shift = np.stack(shifts)
    # Householder's reflection takes the first unit vector to the shift, and the others to a basis of its complement.
    w = shift / np.linalg.norm(shift, axis=1, keepdims=True)
    w[:, 0] += np.where(w[:, 0] >= 0, 1.0, -1.0)
    reflection = np.eye(stack.G) - 2 * w[:, :, None] * w[:, None, :] / (w**2).sum(axis=1)[:, None, None]
    return reflection[:, :, 1:]


def _log_sum_exps(stack: Stack) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The loss of each row as T weighted log-sum-exps lse(map x + logn) less a linear part.

    Returns the maps (B, M, T, v, n), logn (B, M, T, v), weights (B, M, T) and linear parts (B, M, n).
    """
    losses, (B, M, n) = stack.losses, stack.shape
    lam, maps = losses.lam.reshape(B, M), stack.basis
    if losses.factor is not None:
        maps = maps * losses.factor.reshape(B, M, n)[..., None]
    logn = np.broadcast_to(losses.log_number, (B * M, n)).reshape(B, M, n)
    of_pair = np.zeros((B, M, n)) if losses.pair_offset is None else losses.pair_offset.reshape(B, M, n)
    linear = np.matmul(losses.target(n).reshape(B, M, 1, n), maps)[:, :, 0]
    half = bool(np.all(lam == 0.5))
    v, w = np.triu_indices(n)
    occurs = (v != w) | (logn[..., v] > 0).any(axis=(0, 1))  # a group of one class has no pair inside
    v, w = v[occurs], w[occurs]
    terms = []
    for mass, added in losses.softmaxes(n):
        mass, added = mass.reshape(B, M), added.reshape(B, M, n)
        if losses.partition == "classes":
            terms.append((maps, logn + added, mass))
        elif losses.partition == "pairs":
            # At lambda = 1/2 both are the same.
            for ratio in (lam[..., None],) if half else (lam[..., None], 1 - lam[..., None]):
                terms.append((ratio[..., None] * maps, logn + of_pair + ratio * added, 2 * mass if half else mass))
        else:
            # Pairs of classes behind two values v < w, or behind one value: n (n - 1) / 2 of them, none for n = 1.
            with np.errstate(divide="ignore"):
                inside = logn + np.log(np.maximum(np.expm1(logn), 0.0) / 2)
            number = np.where(v == w, inside[..., v], logn[..., v] + logn[..., w]) + of_pair[..., v] + of_pair[..., w]
            ratio = lam[..., None]
            shift = ratio * added[..., v] + (1 - ratio) * added[..., w]
            ratio = ratio[..., None]
            terms.append((ratio * maps[:, :, v] + (1 - ratio) * maps[:, :, w], number + shift, mass))
    maps, logn, mass = (np.stack(parts, axis=2) for parts in zip(*terms, strict=True))
    return maps, logn, mass, linear
