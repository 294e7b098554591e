"""The roots of many increasing functions at a time, in step, so that all are evaluated at once; and one root in a bracket."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

WIDTH = 1e-12
"""Width of a bracket, absolute and relative to the root, at which it is narrow enough."""
DOUBLINGS = 16
"""Number of doublings after which no bracket is looked for any more."""
MOST = 100
"""Largest number of evaluations inside a bracket; ten are usual."""


def increasing(function: Callable[[np.ndarray, np.ndarray], np.ndarray], number: int) -> np.ndarray:
    """Find the root of each function: a bracket by doubled steps from 0, then the method of Chandrupatla (1997).

    That method takes inverse quadratic interpolation where three values look monotone and smooth enough, else bisection.

    Args:
        function: takes positions of functions (b,) int and a number for each (b,), and gives their values (b,).
        number: number of functions.

    Returns:
        The roots, (number,); nan where a value is not finite or no bracket was found.
    """
    root = np.full(number, np.nan)
    if not number:
        return root
    b: np.ndarray = np.zeros(number)
    members: np.ndarray = np.arange(number)
    fb = function(members, b)
    a, fa, step = b.copy(), fb.copy(), -np.sign(fb)
    for _ in range(DOUBLINGS):
        left = np.flatnonzero(np.sign(fa) * np.sign(fb) > 0)
        if not left.size:
            break
        a[left], fa[left] = b[left], fb[left]
        b[left] += step[left]
        fb[left], step = function(members[left], b[left]), 2 * step
    left = np.flatnonzero(np.sign(fa) * np.sign(fb) <= 0)  # nan is left out
    root[left] = _inside(function, left, a[left], fa[left], b[left], fb[left])
    return root


def between(function: Callable[[float], float], low: float, high: float) -> float:
    """Find a root of a function between two ends at which it has different signs.

    Args:
        function: the function.
        low: one end.
        high: the other.

    Returns:
        A root.
    """

    def values(_: np.ndarray, x: np.ndarray) -> np.ndarray:
        return np.array([function(float(x[0]))])

    ends = [np.array([end]) for end in (low, high)]
    (root,) = _inside(values, np.array([0]), ends[0], values(ends[0], ends[0]), ends[1], values(ends[1], ends[1]))
    return float(root)


def _inside(
    function: Callable[[np.ndarray, np.ndarray], np.ndarray],
    members: np.ndarray,
    a: np.ndarray,
    fa: np.ndarray,
    b: np.ndarray,
    fb: np.ndarray,
) -> np.ndarray:
    """The roots of some functions inside their brackets (a, b), by the method of Chandrupatla."""
    root, places = np.empty(len(members)), np.arange(len(members))
    share: np.ndarray = np.full(len(members), 0.5)  # of the way from b to a
    for _ in range(MOST):
        best = np.where(np.abs(fa) < np.abs(fb), a, b)
        root[places] = best
        left = np.flatnonzero((np.abs(b - a) > WIDTH * (1 + np.abs(best))) & (fa != 0) & (fb != 0))
        if not left.size:
            break
        places, members, a, fa, b, fb, share = (array[left] for array in (places, members, a, fa, b, fb, share))
        x = b + share * (a - b)
        fx = function(members, x)
        same = np.sign(fx) == np.sign(fb)
        # (a, b) brackets the root, b is the last point, and c the one that it replaces.
        c, fc = np.where(same, b, a), np.where(same, fb, fa)
        a, fa, b, fb = np.where(same, a, b), np.where(same, fa, fb), x, fx
        share = _share(a, fa, b, fb, c, fc)
    return root


def _share(a: np.ndarray, fa: np.ndarray, b: np.ndarray, fb: np.ndarray, c: np.ndarray, fc: np.ndarray) -> np.ndarray:
    """The next point's share of the way from b to a."""
    with np.errstate(all="ignore"):  # what divides by 0 is not taken
        xi, phi = (b - a) / (c - a), (fb - fa) / (fc - fa)
        smooth = (phi**2 < xi) & ((1 - phi) ** 2 < 1 - xi)
        share = fb / (fb - fa) * fc / (fc - fa) - (c - b) / (a - b) * fb / (fc - fb) * fa / (fa - fc)
        least = WIDTH * (1 + np.abs(b)) / 4 / np.abs(b - a)
    return np.where(smooth & np.isfinite(share), np.clip(share, least, 1 - least), 0.5)
