r"""Collapse, or its absence, at *every* imbalance of a range, proved by chords of the restricted optimal value.

Let w = 1/R. Up to a factor, a family's objective is F_w(Z) = sum_k a_k w^{n_k} L_k(z_k), a polynomial in w of degree 2
at most. Let V(w, tau) be its smallest value over the ball of radius tau with u_B = 0. V is concave in the weights of the
rows, because it is a minimum of linear functions of them. It is convex in tau. Collapse is optimal at w if the own norm
of the minority is at most -dV/dtau (:mod:`lpm.dual_condition`). By convexity that slope is at least

.. math:: \frac{V(w, \tau) - V(w, (1 + t) \tau)}{t \tau} \ge \frac{V(w, \tau) - F_w(\tilde Z)}{t \tau}

for any t > 0 and any one point of the larger ball. On an interval of w, Bernstein's basis writes the weights as means of
two or three *control* weights. There V is at least the mean of its values at these, F is that mean, and the own norm,
a norm of the weights, is at most that mean. So a few solves prove collapse at every w of the interval:

.. math:: V_j(\tau) - F_j(\tilde Z) \ge t \tau\, own_j \quad \text{for each control weight } j .

Intervals from w = 0 up to 1/R then prove it at every imbalance from R on. A chord to a *smaller* ball, t < 0, bounds the
slope from above. With a linear lower bound on the own norm it proves the absence of collapse (docs/theory/collapse.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lpm import orbits
from lpm.console.errors import InvalidInput
from lpm.coordinates import Coordinates
from lpm.dual_condition import minority_of
from lpm.family import Family
from lpm.law import own_norm, own_part
from lpm.problem import Problem, Rows

MAX_CHORDS = 60
"""Largest number of intervals; 1 to 10 are usual."""
LENGTHS = tuple(float(t) for t in np.geomspace(0.5, 1e-4, 13))
"""Relative lengths t of chords that are tried."""
ENDS = (0.0, 0.03, 0.1, 0.25, 0.45, 0.65, 0.8, 0.9, 0.95, 0.975)
"""Lower ends of an interval of w that are tried, as shares of its upper end."""
BEYOND = (1.0, 1.001, 1.003, 1.01, 1.03, 1.1, 1.3, 2.0, 4.0, 10.0, 100.0)
"""Multiples of a threshold from which on collapse is tried to be proved."""


class Chords:
    """Chords of one family, and the solves that they share.

    Args:
        family: the program as a function of R.

    Attributes:
        problem: the program at some imbalance.
        minority: group of the minority.
        power: exponent n_k of w in the weight of each row, (M,) int.
        factor: the weight of each row at w = 1, up to a common factor, (M,).

    Raises:
        InvalidInput: if the frequencies are no polynomial of degree 2 at most in w, and as
            :func:`lpm.dual_condition.minority_of`.
    """

    def __init__(self, family: Family) -> None:
        self.problem = family.at(10.0)
        self.minority = minority_of(self.problem)
        at_10, at_100 = self.problem.rows.p, family.at(100.0).rows.p
        power = np.log10((at_10 / at_10[0]) / (at_100 / at_100[0]))
        power -= power.min()
        self.power = np.rint(power).astype(int)
        if np.abs(power - self.power).max() > 1e-9 or self.power.max() > 2:
            raise InvalidInput(f"{family.name}: its frequencies are no polynomial in 1/R, so no chord proves collapse")
        self.factor = at_10 * 10.0**self.power
        self._lower: dict[bytes, float] = {}

    def control(self, low: float, high: float) -> list[np.ndarray]:
        """Give the control weights of an interval: every w in it has a weighted mean of them as its weights.

        Args:
            low: smallest w.
            high: largest w.

        Returns:
            Two or three arrays (M,), the first for ``low``, the last for ``high``.
        """
        ends = [(low, low), (low, high), (high, high)] if self.power.max() == 2 else [(low, low), (high, high)]
        return [self.factor * np.array([1.0, (u + v) / 2, u * v])[self.power] for u, v in ends]

    def proves(self, low: float, high: float, t: float, X: np.ndarray) -> bool:
        """Say whether one chord proves collapse (t > 0) or its absence (t < 0) at every w of an interval.

        Args:
            low: smallest w, at least 0.
            high: largest w.
            t: relative length of the chord, above -1.
            X: its outer end, a point (M, n) of the ball of radius (1 + t) tau with u_B = 0.

        Returns:
            Whether it does.
        """
        for weights in self.control(low, high):
            problem = self._at(weights)
            coordinates = Coordinates(problem)
            upper = coordinates.value_and_gradient(X)[0] + coordinates.rounding(X)
            need = t * problem.tau * self._own(problem, high, t)
            if not self._lower_bound(weights) - upper > need + 1e-12 * abs(need):
                return False
        return True

    def _own(self, problem: Problem, high: float, t: float) -> float:
        """The own norm at control weights, or for t < 0 a lower bound on it that is linear in the weights.

        It is the own part along that of a fixed problem, the one at the interval's largest w.
        """
        if t > 0:
            return own_norm(problem, self.minority)
        fixed = own_part(self._at(self.control(high, high)[0]), self.minority)
        return float(own_part(problem, self.minority) @ fixed / np.linalg.norm(fixed))

    def points(self, w: float, lengths: Sequence[float]) -> list[np.ndarray]:
        """Solve for good outer ends of chords, all at once.

        Args:
            w: 1/R at which the ends are nearly optimal.
            lengths: relative lengths t of the chords, each above -1.

        Returns:
            For each a point (M, n) of the ball of radius (1 + t) tau with u_B = 0.
        """
        problem = self._at(self.control(w, w)[0])
        coordinates = [Coordinates(replace(problem, e_h=self.problem.e_h * (1 + t) ** 2)) for t in lengths]
        return [
            X / max(1.0, (1 + 1e-14) * one.nuclear_norm(X) / one.problem.tau)
            for one, X in zip(coordinates, self._optima(coordinates, 1e-10), strict=True)
        ]

    def reach(self, high: float, least: float = 0.0, *, collapse: bool = True) -> float | None:
        """Find the longest interval below some w that one chord covers.

        Args:
            high: largest w of the interval.
            least: w below which nothing is asked.
            collapse: whether to prove collapse or its absence.

        Returns:
            Its smallest w; None if no chord that was tried covers any.
        """
        lengths = [t if collapse else -t for t in LENGTHS]
        points = self.points(high, lengths)
        lows = list(dict.fromkeys(max(end * high, least) for end in ENDS))
        self._solve_bounds([weights for low in lows for weights in self.control(low, high)])
        for low in lows:
            if any(self.proves(low, high, t, X) for t, X in zip(lengths, points, strict=True)):
                return low
        return None

    def cover(self, high: float, least: float = 0.0, *, collapse: bool = True) -> list[float] | None:
        """Cover a range of w by intervals with a chord each.

        Args:
            high: largest w.
            least: smallest w.
            collapse: whether to prove collapse or its absence.

        Returns:
            The ends of the intervals, ``high`` first and ``least`` last; None if no proof was found.
        """
        ends = [high]
        while len(ends) <= MAX_CHORDS:
            low = self.reach(ends[-1], least, collapse=collapse)
            if low is None:
                return None
            ends.append(low)
            if low <= least:
                return ends
        return None

    def _at(self, weights: np.ndarray) -> Problem:
        """The program with some row weights; rows without weight stay."""
        rows = self.problem.rows
        return replace(self.problem, rows=replace(rows, p=weights / float(rows.count @ weights)))

    def _optima(self, coordinates: Sequence[Coordinates], target: float) -> list[np.ndarray]:
        frozen = [(self.minority,)] * len(coordinates)
        return [X for X, _ in orbits.optima(coordinates, target=target, frozen=frozen)]

    def _lower_bound(self, weights: np.ndarray) -> float:
        """A lower bound on the restricted optimal value at some row weights."""
        self._solve_bounds([weights])
        return self._lower[weights.tobytes()]

    def _solve_bounds(self, all_weights: Sequence[np.ndarray]) -> None:
        """Solve for lower bounds that are not known, all at once."""
        unknown = {key: weights for weights in all_weights if (key := weights.tobytes()) not in self._lower}
        problems = [self._at(weights) for weights in unknown.values()]
        coordinates = [Coordinates(replace(problem, rows=_with_weight(problem.rows))) for problem in problems]
        for key, one, X in zip(unknown, coordinates, self._optima(coordinates, 1e-11), strict=True):
            loss, gradient = one.value_and_gradient(X)
            norm = one.spectral_norm(gradient, frozen=(self.minority,))
            gap = max(0.0, float((gradient * X).sum()) + one.problem.tau * norm)
            self._lower[key] = loss - gap - 2 * one.rounding(X)


def _with_weight(rows: Rows) -> Rows:
    """The rows of positive weight. Others leave the optimal value as it is, because their logits may be 0."""
    used = rows.p > 0
    names = ("first", "second", "same", "lam", "count", "p", "d")
    return Rows(**{name: getattr(rows, name)[used] for name in names})


def prove(family: Family, R: float) -> tuple[float, ...] | None:
    """Prove collapse at every imbalance from R on.

    Args:
        family: the program as a function of R.
        R: smallest imbalance.

    Returns:
        The ends of the intervals, R first and infinity last; None if no proof was found.

    Raises:
        InvalidInput: as :class:`Chords`.
    """
    ends = Chords(family).cover(1 / R)
    return None if ends is None else tuple(1 / w if w > 0 else math.inf for w in ends)


def collapsed_from(family: Family, R0: float) -> float | None:
    """Find an imbalance from which on collapse is proved, close to a threshold.

    Args:
        family: the program as a function of R.
        R0: the threshold, or an imbalance below which nothing is asked.

    Returns:
        The smallest of some multiples of R0 from which on it is proved; None if it is from none.

    Raises:
        InvalidInput: as :class:`Chords`.
    """
    chords = Chords(family)
    return next((b * R0 for b in BEYOND if chords.cover(1 / (b * R0)) is not None), None)


def apart_up_to(family: Family, R0: float, R_min: float = 1.0) -> float | None:
    """Find an imbalance up to which the absence of collapse is proved, close to a threshold.

    Args:
        family: the program as a function of R.
        R0: the threshold.
        R_min: smallest imbalance, from which on it is proved at every R.

    Returns:
        The largest of some fractions of R0 up to which it is proved; None if it is up to none.

    Raises:
        InvalidInput: as :class:`Chords`.
    """
    chords = Chords(family)
    ends = (R0 / b for b in BEYOND if R0 / b > R_min)
    return next((R for R in ends if chords.cover(1 / R_min, 1 / R, collapse=False) is not None), None)
