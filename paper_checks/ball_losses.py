"""The loss of a program and its gradient in ball arithmetic, with any labels, offsets and factors; spectral norms from above.

Coefficients in float64 are read back as the fractions that they were rounded from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from flint import arb, arb_mat, fmpq

from lpm.problem import Problem

BITS = 256
"""Precision of all balls."""

SQUARINGS = 40
"""Squarings in the bound on a spectral radius, which exceeds the radius by a factor K^(2^-40) at most."""


def fraction(x: float) -> Fraction:
    """Read a coefficient back as the fraction that it was rounded from.

    Args:
        x: the coefficient in float64.

    Returns:
        The fraction with denominator up to 10^7 within rounding of x, or else x exactly.
    """
    guess = Fraction(float(x)).limit_denominator(10**7)
    return guess if abs(float(guess) - x) <= 4 * np.spacing(x) else Fraction(float(x))


def exact(values: Sequence[float] | np.ndarray) -> list[arb]:
    """Read coefficients back as fractions.

    Args:
        values: coefficients in float64.

    Returns:
        The fractions as balls.
    """
    return [ball_of(fraction(float(x))) for x in values]


def ball_of(x: Fraction) -> arb:
    """Make a ball of a fraction.

    Args:
        x: the fraction.

    Returns:
        The ball, as narrow as the precision allows.
    """
    return arb(fmpq(x.numerator, x.denominator))


def matrix(values: np.ndarray) -> arb_mat:
    """Make exact balls of binary numbers.

    Args:
        values: a matrix in float64.

    Returns:
        The same numbers.
    """
    return arb_mat([[arb(float(x)) for x in row] for row in values])


@dataclass(frozen=True)
class BallLosses:
    """The losses of a problem that is written out, with m rows and K classes.

    Attributes:
        problem: the problem.
        p: weight of each row (m).
        lam: mixing ratio of each row (m).
        labels: what the loss puts on each class (m, K).
        mass: sum of each label (m).
        offset: added to the logits (K).
        factor: multiplies the logits (K).
    """

    problem: Problem
    p: list[arb]
    lam: list[arb]
    labels: list[list[arb]]
    mass: list[arb]
    offset: list[arb]
    factor: list[arb]

    @classmethod
    def of(cls, problem: Problem) -> BallLosses:
        """Read the losses of a problem as exact numbers.

        Args:
            problem: the problem, written out.

        Returns:
            The losses. Weights are divided by their sum, which is 1 but for the rounding of quadrature.

        Raises:
            ArithmeticError: if the problem has margins or pair offsets, which have no ball arithmetic here.
        """
        if problem.margin is not None or problem.pair_offset is not None:
            raise ArithmeticError("margins and pair offsets have no ball arithmetic")
        rows, K = problem.rows, problem.K
        p, lam = [fraction(x) for x in rows.p], exact(rows.lam)
        total = sum(p)
        (at_a, at_b), rest = problem.labels()
        a_labels, b_labels = (lam, [1 - x for x in lam]) if rows.label is None else (exact(at_a), exact(at_b))
        labels = []
        for k in range(len(rows)):
            row = [arb(0)] * K if rest is None else exact(rest[k])
            a, b = int(rows.first[k]), int(rows.second[k])
            row[a], row[b] = a_labels[k], b_labels[k]
            if a == b:
                row[a] = arb(1) if rows.label is None else a_labels[k]
            labels.append(row)
        return cls(
            problem=problem,
            p=[ball_of(x / total) for x in p],
            lam=lam,
            labels=labels,
            mass=[sum(row, arb(0)) for row in labels],
            offset=exact(np.zeros(K) if problem.offset is None else problem.offset),
            factor=exact(np.ones(K) if problem.factor is None else problem.factor),
        )

    def steepest(self, d: Sequence[arb]) -> arb:
        """Bound the largest ``m_k p_k phi^2 / d_k``: half of it over an eigenvalue of C bounds the curvature of f.

        Args:
            d: weight of each row in the feature budget or decay (m).

        Returns:
            The bound.
        """
        largest = max((m * p / x).upper() for m, p, x in zip(self.mass, self.p, d, strict=True))
        return largest * max((x**2).upper() for x in self.factor)

    def evaluate(self, Z: arb_mat) -> tuple[arb, arb_mat, list[arb]]:
        """Evaluate f, its gradient (m, K), and the smallest probability of each row's softmax.

        Args:
            Z: logits (m, K).

        Returns:
            The three.
        """
        f, G, smallest, classes = arb(0), [], [], range(self.problem.K)
        for k, (p, mass, label) in enumerate(zip(self.p, self.mass, self.labels, strict=True)):
            z = [self.factor[i] * Z[k, i] + self.offset[i] for i in classes]
            value, slope, q = self._softmax(k, z)
            f += p * (mass * value - sum((t * x for t, x in zip(label, z, strict=True)), arb(0)))
            G.append([p * self.factor[i] * (mass * slope[i] - label[i]) for i in classes])
            smallest.append(min(x.lower() for x in q))
        return f, arb_mat(G), smallest

    def _softmax(self, k: int, z: Sequence[arb]) -> tuple[arb, list[arb], list[arb]]:
        """Log-partition of row k, its gradient in z, and the probabilities of the softmax's classes."""
        K, lam = self.problem.K, self.lam[k]
        if self.problem.partition == "classes":
            e = [x.exp() for x in z]
            total = sum(e, arb(0))
            q = [x / total for x in e]
            return total.log(), q, q
        unordered = self.problem.partition == "unordered"
        classes = [(a, b) for a in range(K) for b in range(K) if a < b or not unordered]
        e = [(lam * z[a] + (1 - lam) * z[b]).exp() for a, b in classes]
        total = sum(e, arb(0))
        q, gradient = [x / total for x in e], [arb(0)] * K
        for (a, b), x in zip(classes, q, strict=True):
            gradient[a] += lam * x
            gradient[b] += (1 - lam) * x
        return total.log(), gradient, q


def trace(A: arb_mat) -> arb:
    """Add up the diagonal.

    Args:
        A: a square matrix.

    Returns:
        The sum.
    """
    return sum((A[i, i] for i in range(A.nrows())), arb(0))


def root_of_radius(A: arb_mat) -> arb:
    """Bound the root of the spectral radius of a product B^T B from above: (tr A^{2^j})^{1/2^{j+1}}.

    Args:
        A: the product, or a matrix similar to one.

    Returns:
        The bound.

    Raises:
        ArithmeticError: if it is not finite.
    """
    # Scale A to trace 1 before each squaring, and sum the logarithms of the scales.
    log_norm = arb(0)
    for j in range(SQUARINGS + 1):
        size = trace(A)
        if not size.is_finite():
            raise ArithmeticError("the bound on the spectral norm is not finite")
        if not size > 0:  # a zero matrix, or too wide balls: multiply the bound so far by the trace's upper end
            rest = size.upper() if size.upper() > 0 else arb(0)
            return ((log_norm / 2).exp() * rest.root(2 ** (j + 1))).upper()
        log_norm += size.log() / 2**j
        A = A * (1 / size)
        A = A * A
    return (log_norm / 2).exp().upper()
