"""Ways between orbits and written-out label pairs, and from an optimal Z to class vectors W and features H."""

from __future__ import annotations

import numpy as np

from lpm.coordinates import Coordinates
from lpm.problem import Problem
from lpm.solution import Solution


def fold(coordinates: Coordinates, orbit: np.ndarray, full: Problem, Z: np.ndarray) -> np.ndarray:
    """Average a written-out Z over the problem's symmetries.

    f is convex, and both f and the budget are invariant, so the average is feasible and no worse.

    Args:
        coordinates: coordinates of the problem.
        orbit: orbit of each row of ``full``, (m,) int, from ``problem.expand()``.
        full: the problem written out, from ``problem.expand()``.
        Z: logits of the rows of ``full``, (m, K).

    Returns:
        The point in the coordinates, (M, n).
    """
    problem = coordinates.problem
    if problem.expanded:
        in_groups = np.concatenate(problem.members)
        return (Z[:, in_groups] * coordinates.scale[orbit, None]) @ coordinates.C_half
    G, group_of = coordinates.G, np.empty(problem.K, dtype=int)
    for g, classes in enumerate(problem.members):
        group_of[classes] = g
    sizes = problem.sizes.astype(float)
    # Sums over each group, (m, G), and how far a and b stand out of the mean of their group, (m,).
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
    rise_a, rise_b = mean(out_a), mean(out_b)
    inside = (problem.rows.first == problem.rows.second) & ~problem.rows.same
    K_a, K_b = sizes[problem.rows.first], sizes[problem.rows.second]
    with np.errstate(divide="ignore", invalid="ignore"):
        # The inverse of Coordinates.basis. Let o be the logit of the group's other classes. The direction
        # (e_a - 1/K_g) / norm has the coordinate norm * (z_a - o), and z_a deviates from the mean of its group by
        # (K_g - 1)/K_g (z_a - o). The same holds for e_a + e_b - 2/K_g.
        X[:, G] = np.where(
            inside, (rise_a + rise_b) / 2 * np.sqrt(2 * K_a / (K_a - 2)), rise_a * np.sqrt(K_a / (K_a - 1))
        )
        X[:, G + 1] = np.where(inside, (rise_a - rise_b) / np.sqrt(2), rise_b * np.sqrt(K_b / (K_b - 1)))
    X[:, G:][coordinates.slots < 0] = 0.0
    X[:, :G] = X[:, :G] @ coordinates.C_half
    group = np.maximum(coordinates.slots, 0)
    X[:, G:] *= np.sqrt(problem.c[group] * np.maximum(problem.sizes[group] - 1, 1))
    return X * coordinates.scale[:, None]


def logits(solution: Solution) -> tuple[Problem, np.ndarray]:
    """Write the logits of a solution out.

    Args:
        solution: the solution.

    Returns:
        The problem with every label pair written out, and its Z (m, K): one row per label pair and quadrature node.

    Raises:
        InvalidInput: if Z is too large to write out.
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
    r"""Recover class vectors W and features H with ``H W^T = Z`` within both budgets (Lemma 1).

    With the SVD ``D^{1/2} Z C^{1/2} = U S V^T`` and ``gamma^2 = sqrt(e_W / e_H)``:
    ``W = C^{-1/2} V S^{1/2} gamma``, ``H = D^{-1/2} U S^{1/2} / gamma``. [H; W][H; W]^T then solves Eq. 11.

    Args:
        problem: the problem, written out.
        Z: its logits, (m, K).
        p: dimension of the features, K if None. The paper asks for p >= K^2 + K; p >= rank(Z), at most K - 1, is
            enough.

    Returns:
        W (K, p) and H (m, p).

    Raises:
        ValueError: if ``p`` is smaller than the rank of Z.
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
    W[:, :r] = coordinates.C_inverse_half.T @ Vt[:r].T * root * gamma
    H[:, :r] = U[:, :r] * root / gamma / coordinates.scale[:, None]
    return W, H
