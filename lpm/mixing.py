"""The mixing ratio of mixup: a point mass, or Beta(alpha, alpha) by Gauss-Jacobi quadrature."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import roots_sh_jacobi

from lpm.console.errors import InvalidInput

NODES = 64
"""Default quadrature nodes: thresholds are then right to about 1e-6, with 16 nodes to 1e-2."""


@dataclass(frozen=True)
class Mixing:
    """A discrete law of the mixing ratio: ``E_lambda g(lambda) = sum_q weights[q] * g(nodes[q])``.

    nodes: (Q,) ratios in (0, 1). weights: (Q,) positive, summing to 1. label: how tables name the law.
    Build one with :func:`fixed` or :func:`beta`.
    """

    nodes: np.ndarray
    weights: np.ndarray
    label: str

    @property
    def symmetric_point(self) -> bool:
        """True when lambda = 1/2 surely: the only law under which the order of a label pair has no meaning."""
        return bool(np.all(self.nodes == 0.5))

    def mean(self, values: np.ndarray) -> float:
        """E_lambda of a function given by its values at the nodes, shape (Q,)."""
        return float(self.weights @ values)


def fixed(lam: float = 0.5) -> Mixing:
    """The point mass at ``lam``, 0 < lam < 1.

    Raises InvalidInput outside the open interval: at 0 or 1 nothing is mixed and ``plain`` is the program meant.
    """
    if not 0.0 < lam < 1.0:
        raise InvalidInput(f"lambda = {lam:g} is outside (0, 1); for no mixing use the program 'plain'")
    return Mixing(np.array([float(lam)]), np.array([1.0]), f"{lam:g}")


def beta(alpha: float, nodes: int = NODES) -> Mixing:
    r"""Mixup's law, lambda ~ Beta(alpha, alpha), as a Gauss-Jacobi rule exact for polynomials of degree 2 nodes - 1.

    The rule has weight function ``lambda^(alpha-1) (1-lambda)^(alpha-1)`` on (0, 1), normalised to mass 1, and is
    symmetric about 1/2 to rounding; it is made exactly so, because symmetry decides which label pairs are alike.

    Raises InvalidInput for alpha outside 1e-4..100, or fewer than 1 or more than 200 nodes.
    """
    if not 1e-4 <= alpha <= 100:
        raise InvalidInput(f"alpha = {alpha:g} must be positive, within 1e-4..100; mixup uses 0.2 to 1")
    if not 1 <= nodes <= 200:
        raise InvalidInput(f"nodes = {nodes} must lie in 1..200; {NODES} suffice")
    x, w = roots_sh_jacobi(nodes, 2.0 * alpha - 1.0, alpha)
    x = (x + (1.0 - x[::-1])) / 2.0
    w = (w + w[::-1]) / 2.0
    return Mixing(x, w / w.sum(), f"Beta({alpha:g})")
