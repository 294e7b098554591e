"""Bounds as text, rounded so that they stay true: lower ends down, upper ends up."""

from __future__ import annotations

import decimal
import math


def outward(low: float, high: float, digits: int) -> str:
    """Format an interval with its lower end rounded down and its upper end up, so that the text contains it.

    Args:
        low: lower end.
        high: upper end.
        digits: significant digits, at most 15.

    Returns:
        The interval, ``[low, high]``.
    """
    return f"[{down(low, digits):.{digits}g}, {up(high, digits):.{digits}g}]"


def inside(value: float, bracket: tuple[float, float]) -> str:
    """Format a number in the fewest digits with which it lies in a bracket.

    Args:
        value: the number.
        bracket: lower and upper end.

    Returns:
        The text.
    """
    rounded = (float(f"{value:.{digits}g}") for digits in range(1, 17))
    return f"{next((x for x in rounded if bracket[0] <= x <= bracket[1]), value):.16g}"


def upward(bound: float, digits: int) -> str:
    """Format an upper bound in scientific notation, rounded up.

    Args:
        bound: the bound.
        digits: significant digits, at most 15.

    Returns:
        The text, such as ``1.2e-07``.
    """
    return f"{up(bound, digits):.{digits - 1}e}"


def down(value: float, digits: int) -> float:
    """Round a lower bound down.

    Args:
        value: the bound.
        digits: significant digits, at most 15.

    Returns:
        The float that prints as the rounded number.
    """
    return _rounded(value, digits, decimal.ROUND_FLOOR)


def up(value: float, digits: int) -> float:
    """Round an upper bound up.

    Args:
        value: the bound.
        digits: significant digits, at most 15.

    Returns:
        The float that prints as the rounded number.
    """
    return _rounded(value, digits, decimal.ROUND_CEILING)


def certain(low: float, high: float, digits: int) -> str:
    """Format a number by the digits that are certain.

    Args:
        low: lower end of an interval that contains it.
        high: upper end.
        digits: significant digits at most, up to 15.

    Returns:
        The number, in the most digits to which every number of the interval is rounded alike; the interval if there is
        no such digit.
    """
    for shown in range(digits, 0, -1):
        if (text := f"{low:.{shown}g}") == f"{high:.{shown}g}":
            return text
    return outward(low, high, digits)


def _rounded(value: float, digits: int, rounding: str) -> float:
    """The float nearest to a value rounded to significant digits. With at most 15 digits it prints as those."""
    if not math.isfinite(value):
        return value
    return float(decimal.Context(prec=digits, rounding=rounding).create_decimal(value))
