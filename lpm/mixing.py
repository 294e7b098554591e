"""Laws of the mixing ratio of mixup: a point mass, or Beta(alpha, alpha) by Gauss-Jacobi quadrature."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from lpm.console.errors import InvalidInput

NODES = 64
"""Default number of quadrature nodes. Thresholds are then right to about 1e-6; with 16 nodes to 1e-2."""


@dataclass(frozen=True)
class Mixing:
    """A discrete law of the mixing ratio: ``E_lambda g(lambda) = sum_q weights[q] * g(nodes[q])``.

    Build one with :func:`fixed` or :func:`beta`.

    Attributes:
        nodes: mixing ratios, (Q,), each in (0, 1).
        weights: their probabilities, (Q,), positive and summing to 1.
        label: the name of the law in tables.
    """

    nodes: np.ndarray
    weights: np.ndarray
    label: str

    @property
    def symmetric_point(self) -> bool:
        """True when lambda is 1/2 for sure. Under any other law the order of a label pair matters."""
        return bool(np.all(self.nodes == 0.5))

    def mean(self, values: np.ndarray) -> float:
        """Take the expectation over the mixing ratio.

        Args:
            values: values of a function at the nodes, (Q,).

        Returns:
            E_lambda of the function.
        """
        return float(self.weights @ values)


def fixed(lam: float = 0.5) -> Mixing:
    """Build the point mass at one mixing ratio.

    Args:
        lam: the mixing ratio, 0 < lam < 1.

    Returns:
        The law, with one node.

    Raises:
        InvalidInput: if ``lam`` lies outside the open interval. At 0 or 1 nothing is mixed: use the program ``plain``.
    """
    if not 0.0 < lam < 1.0:
        raise InvalidInput(f"lambda = {lam:g} is outside (0, 1); for no mixing use the program 'plain'")
    return Mixing(np.array([float(lam)]), np.array([1.0]), f"{lam:g}")


def beta(alpha: float, nodes: int = NODES) -> Mixing:
    r"""Build mixup's law Beta(alpha, alpha) as a Gauss-Jacobi rule, exact for polynomials of degree 2 nodes - 1.

    The rule has the weight function ``lambda^(alpha-1) (1-lambda)^(alpha-1)`` on (0, 1), normalised to mass 1. It is
    symmetric about 1/2 to rounding only. It is made exactly so, because symmetry decides which label pairs are alike.

    Args:
        alpha: parameter of the law, 1e-4 to 100; mixup uses 0.2 to 1.
        nodes: number of quadrature nodes, 1 to 200.

    Returns:
        The law, with that many nodes.

    Raises:
        InvalidInput: if ``alpha`` or ``nodes`` is out of range.
    """
    if not 1e-4 <= alpha <= 100:
        raise InvalidInput(f"alpha = {alpha:g} must be positive, within 1e-4..100; mixup uses 0.2 to 1")
    if not 1 <= nodes <= 200:
        raise InvalidInput(f"nodes = {nodes} must lie in 1..200; {NODES} suffice")
    return _rule(float(alpha), nodes)


@cache
def _rule(alpha: float, nodes: int) -> Mixing:
    """The law; a table of cures asks for the same one a thousand times."""
    if alpha == 1:  # the uniform law
        ratios, weights = np.polynomial.legendre.leggauss(nodes)
        ratios = (1.0 + ratios) / 2.0
    else:
        from scipy.special import roots_sh_jacobi  # scipy takes longer to import than most commands to run

        ratios, weights = roots_sh_jacobi(nodes, 2.0 * alpha - 1.0, alpha)
    ratios = (ratios + (1.0 - ratios[::-1])) / 2.0
    weights = (weights + weights[::-1]) / 2.0
    weights /= weights.sum()
    for array in (ratios, weights):
        array.flags.writeable = False  # all that ask share them
    return Mixing(ratios, weights, f"Beta({alpha:g})")
