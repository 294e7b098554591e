r"""The certificate of a free bias: ``min over Z and b of f(Z + 1 b^T) + mu |D^{1/2} Z C^{1/2}|_*``, b not penalised.

f is convex in Z and b together. With G its gradient in Z and g that in b,

.. math:: f(Y + 1 b'^T) \ge f(Z + 1 b^T) + \langle G, Y - Z \rangle + \langle g, b' - b \rangle .

The first two terms are bounded as without a bias (:mod:`lpm.solution`). For the last one, let F be the objective at the point,
so that an optimum has ``|Z'|_* <= F / mu``. A row's loss is at least ``sum_j t_j (max b' - b'_j)``, less twice its mass times
``|z|``, whose mean over rows is at most ``S |Z'|_*``. Shift b' so that its maximum is 0, which changes no loss. Then

.. math:: 0 \le -b'_j \le F\, (1 + 2 S / \mu) \,/\, (\text{mean label mass of } j) .

Offsets of the problem are part of b', and factors multiply S. Classes of a group share one number, because the mean over
permutations is no worse.
"""

from __future__ import annotations

import math

import numpy as np

from lpm.coordinates import Coordinates


def label_mass(coordinates: Coordinates) -> np.ndarray:
    """Add up the label mass on the classes of each group, in the mean over rows.

    Args:
        coordinates: coordinates of a problem.

    Returns:
        The masses, (G,). The best bias of classes without any is minus infinity.
    """
    return coordinates.of_groups(coordinates.losses.target(coordinates.shape[1]) * coordinates.weight[:, None])


def gap(coordinates: Coordinates, X: np.ndarray, objective: float) -> float:
    """Bound how far a better bias may lower the objective.

    Args:
        coordinates: coordinates of a problem under a decay, whose offsets have the bias.
        X: the point, (M, n).
        objective: the objective at the point.

    Returns:
        The bound on ``<g, b - b'>``.
    """
    problem, rows = coordinates.problem, coordinates.problem.rows
    assert problem.decay is not None
    mass = label_mass(coordinates)
    factor = 1.0 if problem.factor is None else float(problem.factor.max())
    S = factor * math.sqrt(float((rows.count * (rows.p * problem.mass) ** 2 / rows.d).sum()))
    S *= float(np.linalg.norm(coordinates.C_inverse_half, 2))
    below = 0.0 if problem.margin is None else max(0.0, -float(problem.margin.min()) * float(problem.mass.max()))
    with np.errstate(divide="ignore"):  # a class without label mass has no widest bias, and no certificate
        widest = (objective * (1 + 2 * S / problem.decay) + below) / mass
    offset = np.zeros(coordinates.G) if problem.offset is None else problem.offset
    gradient = np.abs(coordinates.offset_gradient(X)) + 64 * np.finfo(float).eps * mass  # and its rounding
    return float(gradient @ np.maximum(widest, offset.max() - offset))
