"""Certified numbers: an interval that contains the true value, and how that is known."""

from __future__ import annotations

import math
from dataclasses import dataclass

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
    """A number known to lie in [lower, upper]. how: one of the names above."""

    lower: float
    upper: float
    how: str = EXACT

    def __post_init__(self) -> None:
        if not self.lower <= self.upper:
            raise ValueError(f"[{self.lower}, {self.upper}] is not an interval; lower must not exceed upper")

    @classmethod
    def point(cls, value: float) -> Interval:
        return cls(float(value), float(value))

    def __sub__(self, other: Interval) -> Interval:
        how = self.how if other.how == EXACT else other.how
        return Interval(self.lower - other.upper, self.upper - other.lower, how)

    @property
    def middle(self) -> float:
        return (self.lower + self.upper) / 2

    @property
    def width(self) -> float:
        return self.upper - self.lower

    def __str__(self) -> str:
        """The digits that are certain: those that both ends share, or the middle and how far the ends are from it."""
        if self.lower == self.upper:
            return f"{self.lower:.8g}"
        for digits in range(9, 2, -1):
            low, high = f"{self.lower:.{digits}g}", f"{self.upper:.{digits}g}"
            if low == high and abs(float(low) - self.middle) <= max(self.width, 1e-4 * abs(self.middle)):
                return low
        half = self.width / 2
        places = max(0, 1 - math.floor(math.log10(half)))
        return f"{self.middle:.{places}f} ± {half:.{places}f}"


@dataclass(frozen=True)
class Fact:
    """Whether something is so: proved True, proved False, or open (None)."""

    value: bool | None
    how: str = EXACT

    def __str__(self) -> str:
        return "open" if self.value is None else "yes" if self.value else "no"
