"""The penalised program with non-negative features, as those after ReLU: ``python -m benchmarks.nonnegative --mu 0.09``, 20 s.

Mixup with cross-entropy on the classes of :mod:`figures.law`: over class vectors W, features H >= 0 and a free bias,

    minimise  E_rows loss(W h + b) + mu/2 |W|^2 + mu/2 E_rows |h|^2.

It is not convex, and no certificate is known here. L-BFGS-B goes from several random starts; the best point is an upper bound,
and the spread of the starts says how far to trust it. Features of any sign have a certificate: :func:`lpm.solve.solve`.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from figures.law import BUILDERS, SIZES, predicted_rows, setting
from lpm.law import collapse_number

WIDTH, STARTS = 32, 3
"""Features of the layer, and random starts."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """What a start ends at.

    Attributes:
        objective: the program's value.
        singular_values: of the centred class vectors: root mean square inside A, between the groups, inside B.
    """

    objective: float
    singular_values: tuple[float, float, float]


def descend(mu: float, *, seed: int, least: float | None = 0.0, width: int = WIDTH) -> Point:
    """Go down from a random start.

    Args:
        mu: the decay of class vectors and of features.
        seed: of the start.
        least: lower bound of each feature; None for none.
        width: number of features.

    Returns:
        The end.
    """
    full, _ = BUILDERS["mixup"](setting()).expand()
    K, p, lam = full.K, full.rows.p, full.rows.lam
    targets = np.zeros((len(p), K))
    for labels, weight in ((full.rows.first, lam), (full.rows.second, 1 - lam)):
        np.add.at(targets, (np.arange(len(p)), labels), weight)
    m, root = len(p), np.sqrt(p)[:, None]

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        W, bias, scaled = x[: K * width].reshape(K, width), x[K * width : K * (width + 1)], x[K * (width + 1) :]
        scaled = scaled.reshape(m, width)
        z = (scaled / root) @ W.T + bias
        top = z.max(axis=1, keepdims=True)
        e = np.exp(z - top)
        total = e.sum(axis=1, keepdims=True)
        value = p @ ((top + np.log(total))[:, 0] - (targets * z).sum(axis=1))
        slope = p[:, None] * (e / total - targets)
        of_W, of_H = slope.T @ (scaled / root) + mu * W, slope @ W / root + mu * scaled
        whole = value + mu / 2 * float((W**2).sum() + (scaled**2).sum())
        return float(whole), np.concatenate([of_W.ravel(), slope.sum(axis=0), of_H.ravel()])

    rng = np.random.default_rng(seed)
    start = rng.normal(size=K * (width + 1) + m * width) / 3
    start[K * (width + 1) :] = np.abs(start[K * (width + 1) :]) * np.sqrt(np.repeat(p, width))
    bounds = [(None, None)] * (K * (width + 1)) + [(least, None)] * (m * width)
    options = {"maxiter": 5000, "maxfun": 6000, "ftol": 1e-12, "gtol": 1e-8, "maxcor": 30}
    found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    W = found.x[: K * width].reshape(K, width)
    return Point(objective=float(found.fun), singular_values=sizes(W))


def sizes(W: np.ndarray) -> tuple[float, float, float]:
    """Measure class vectors as :mod:`figures.law` does.

    Args:
        W: (K, width).

    Returns:
        Root mean square of the singular values inside A, the size between the groups, and that inside B.
    """
    half = len(W) // 2
    squares = [float(((side - side.mean(axis=0)) ** 2).sum()) for side in (W[:half], W[half:])]
    between = float(((W - W.mean(axis=0)) ** 2).sum()) - sum(squares)
    frequent, rare = (float(np.sqrt(square / (half - 1))) for square in squares)
    return frequent, float(np.sqrt(max(between, 0.0))), rare


def main() -> None:
    """Run the command: print sizes of class vectors with features of any sign, certified, and those that each start ends at."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.nonnegative")
    parser.add_argument("--mu", type=float, default=0.09, help="decay of class vectors and of features")
    options = parser.parse_args()
    problem = BUILDERS["mixup"](setting()).under_decay(1.0)
    (free,) = predicted_rows("FC", [options.mu / math.sqrt(collapse_number(problem, 1))])
    print("features      inside A   between  inside B")
    print("any sign      " + "  ".join(f"{free[name]:8.4f}" for name in SIZES))
    for point in sorted((descend(options.mu, seed=seed) for seed in range(STARTS)), key=lambda end: end.objective):
        print(
            "at least 0    " + "  ".join(f"{size:8.4f}" for size in point.singular_values), f" at {point.objective:.7f}"
        )


if __name__ == "__main__":
    main()
