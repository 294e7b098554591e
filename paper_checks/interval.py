"""Certified numbers: an interval that contains the true value, and how that is known.

The constants name the ways in which a number can be known. The report prints them in its column "known by".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

EXACT = "exact"
BALL = "ball arithmetic"
FLOAT64 = "float64 certificate"
SYMMETRY = "symmetry"
CONVEXITY = "convexity bounds"
PLAIN = "float64, no bound"
PRINTED = "printed digits"
TESTED = "Welch, Holm"
SIMULATED = "simulation"


@dataclass(frozen=True)
class Interval:
    """A number known to lie in [lower, upper].

    Attributes:
        lower: lower end.
        upper: upper end, not below ``lower``.
        how: how the bounds are known, one of this module's constants.
    """

    lower: float
    upper: float
    how: str = EXACT

    def __post_init__(self) -> None:
        if not self.lower <= self.upper:
            raise ValueError(f"[{self.lower}, {self.upper}] is not an interval; lower must not exceed upper")

    @classmethod
    def point(cls, value: float) -> Interval:
        """Make an exact number into an interval of width 0.

        Args:
            value: the number.

        Returns:
            [value, value], known exactly.
        """
        return cls(float(value), float(value))

    def __sub__(self, other: Interval) -> Interval:
        how = self.how if other.how == EXACT else other.how
        return Interval(self.lower - other.upper, self.upper - other.lower, how)

    @property
    def middle(self) -> float:
        """The mean of both ends."""
        return (self.lower + self.upper) / 2

    @property
    def width(self) -> float:
        """Upper minus lower end."""
        return self.upper - self.lower

    def __str__(self) -> str:
        """The certain digits: those that both ends share, or else the middle ± half the width, rounded up."""
        if self.lower == self.upper:
            return f"{self.lower:.8g}"
        for digits in range(9, 2, -1):
            low, high = f"{self.lower:.{digits}g}", f"{self.upper:.{digits}g}"
            if low == high and abs(float(low) - self.middle) <= max(self.width, 1e-4 * abs(self.middle)):
                return low
        places = max(0, 1 - math.floor(math.log10(self.width / 2)))
        middle = f"{self.middle:.{places}f}"
        reach = max(Fraction(self.upper) - Fraction(middle), Fraction(middle) - Fraction(self.lower))
        half = math.ceil(reach * 10**places) / 10**places  # rounded up, so that the text contains both ends
        return f"{middle} ± {half:.{places}f}"


@dataclass(frozen=True)
class Fact:
    """A statement that is proved true, proved false, or open.

    Attributes:
        value: True or False when proved; None when open.
        how: how it is known, one of the module's constants.
    """

    value: bool | None
    how: str = EXACT

    def __str__(self) -> str:
        return "open" if self.value is None else "yes" if self.value else "no"
