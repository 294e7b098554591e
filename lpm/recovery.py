"""Between orbits and written-out label pairs, and from an optimal Z to class vectors W and features H (Lemma 1)."""

from __future__ import annotations

import numpy as np

from lpm.coordinates import Coordinates
from lpm.problem import Problem
from lpm.solution import Solution


def fold(coordinates: Coordinates, orbit: np.ndarray, full: Problem, Z: np.ndarray) -> np.ndarray:
    """Average a written-out Z over the problem's symmetries; the point (M, n) in scaled coordinates.

    f is convex and both it and the budget are invariant, so the average is feasible and no worse.
    coordinates: of the problem. orbit, full: from ``problem.expand()``. Z: (m, K) logits of ``full``'s rows.
    """
    problem = coordinates.problem
    if problem.expanded:
        in_groups = np.concatenate(problem.members)
        return (Z[:, in_groups] * coordinates.scale[orbit, None]) @ coordinates.C_half
    G, group_of = coordinates.G, np.empty(problem.K, dtype=int)
    for g, classes in enumerate(problem.members):
        group_of[classes] = g
    sizes = problem.sizes.astype(float)
    sums = np.stack([Z[:, classes].sum(axis=1) for classes in problem.members], axis=1)
    m = np.arange(len(Z))
    a, b = full.rows.first, full.rows.second
    out_a = Z[m, a] - sums[m, group_of[a]] / sizes[group_of[a]]
    out_b = Z[m, b] - sums[m, group_of[b]] / sizes[group_of[b]]
    if problem.partition == "unordered":  # written-out rows list a < b, orbits their groups in order
        swapped = group_of[a] != problem.rows.first[orbit]
        out_a, out_b = np.where(swapped, out_b, out_a), np.where(swapped, out_a, out_b)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(orbit, values) / problem.rows.count

    X = np.zeros(coordinates.shape)
    for g in range(G):
        X[:, g] = mean(sums[:, g]) / np.sqrt(sizes[g])
    one, two = mean(out_a), mean(out_b)
    inside = (problem.rows.first == problem.rows.second) & ~problem.rows.same
    K_one, K_two = sizes[problem.rows.first], sizes[problem.rows.second]
    with np.errstate(divide="ignore", invalid="ignore"):
        # The inverse of Coordinates.basis: a direction (e_a - 1/K_g)/norm has coordinate norm * (z_a - o) with the
        # deviation from the group mean equal to (K_g - 1)/K_g (z_a - o), and likewise for e_a + e_b - 2/K_g.
        X[:, G] = np.where(
            inside, (one + two) / 2 * np.sqrt(2 * K_one / (K_one - 2)), one * np.sqrt(K_one / (K_one - 1))
        )
        X[:, G + 1] = np.where(inside, (one - two) / np.sqrt(2), two * np.sqrt(K_two / (K_two - 1)))
    X[:, G:][coordinates.slots < 0] = 0.0
    X[:, :G] = X[:, :G] @ coordinates.C_half
    group = np.maximum(coordinates.slots, 0)
    X[:, G:] *= np.sqrt(problem.c[group] * np.maximum(problem.sizes[group] - 1, 1))
    return X * coordinates.scale[:, None]


def logits(solution: Solution) -> tuple[Problem, np.ndarray]:
    """The written-out problem and its Z (m, K), a row for each label pair (and quadrature node).

    Raises InvalidInput when Z is too large to write out.
    """
    problem, coordinates = solution.problem, solution.coordinates
    full, orbit = problem.expand()
    V = coordinates.logits(solution.X)[orbit]
    Z = np.empty((len(orbit), problem.K))
    if problem.expanded:
        Z[:, np.concatenate(problem.members)] = V
        return full, Z
    for g, classes in enumerate(problem.members):
        Z[:, classes] = V[:, g : g + 1]
    m, G = np.arange(len(orbit)), coordinates.G
    a, b = full.rows.first, full.rows.second
    group_of = np.empty(problem.K, dtype=int)
    for g, classes in enumerate(problem.members):
        group_of[classes] = g
    swapped = group_of[a] != problem.rows.first[orbit]
    a, b = np.where(swapped, b, a), np.where(swapped, a, b)
    different = ~full.rows.same
    Z[m[different], b[different]] = V[different, G + 1]
    Z[m, a] = V[:, G]
    return full, Z


def class_vectors_and_features(problem: Problem, Z: np.ndarray, p: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    r"""Lemma 1: W (K, p) and H (m, p) with ``H W^T = Z``, within both budgets.

    With the SVD ``D^{1/2} Z C^{1/2} = U S V^T`` and ``gamma^2 = sqrt(e_W / e_H)``:
    ``W = C^{-1/2} V S^{1/2} gamma``, ``H = D^{-1/2} U S^{1/2} / gamma``; ``[H; W][H; W]^T`` then solves Eq. 11.
    The paper asks p >= K^2 + K; p >= rank(Z), at most K - 1, is enough (default: K).

    problem: written out. Raises ValueError when p is smaller than the rank of Z.
    """
    coordinates = Coordinates(problem)
    U, s, Vt = np.linalg.svd((coordinates.scale[:, None] * Z) @ coordinates.C_half, full_matrices=False)
    p = problem.K if p is None else p
    rank = int((s > 1e-9 * s[0]).sum())
    if p < rank:
        raise ValueError(f"p = {p} is smaller than the rank {rank} of the optimum; use p >= {rank}")
    r = min(p, len(s))
    gamma = (problem.e_w / problem.e_h) ** 0.25
    W, H = np.zeros((problem.K, p)), np.zeros((len(Z), p))
    root = np.sqrt(s[:r])
    W[:, :r] = coordinates.C_inverse_half @ Vt[:r].T * root * gamma
    H[:, :r] = U[:, :r] * root / gamma / coordinates.scale[:, None]
    return W, H
