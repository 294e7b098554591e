r"""The collapse law: which class vectors survive weight decay, in closed form.

Under a decay mu the class vectors of a group B of exchangeable classes coincide at the optimum if and only if

.. math:: c_B \le \mu^2, \qquad
          c_B = \sum_k \frac{p_k^2}{d_k} \frac{|P_B t_k|^2}{(K_B - 1)\, c} ,

t_k the label of row k, P_B the projector on vectors that live on B and sum to zero, and C = c I on B. With every
sample's feature under decay (d_k = p_k) and C = I this is ``c_B P_B = sum_k p_k (P_B t_k)(P_B t_k)^T``. Every sampler,
mixing and loss is one number. docs/theory/collapse-law.md has the proof.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from lpm import roots
from lpm.console.errors import InvalidInput
from lpm.coordinates import Coordinates
from lpm.problem import Problem

EVEN = 65
"""Imbalances between which crossings are looked for, where collapse numbers are not quotients of polynomials."""


def collapse_number(problem: Problem, group: int) -> float:
    """Evaluate c_B. No solution is needed, and under budgets its root is the norm of the dual condition.

    At a point at which the class vectors of B coincide, the logits of B are equal in every row. The log-partition
    treats the classes of B alike, so its gradient has no part along P_B: only the labels are left. A factor of the
    logits of B multiplies the gradient; offsets, which are equal inside B, change nothing.

    Args:
        problem: the problem.
        group: the group B, of two exchangeable classes or more.

    Returns:
        c_B, exact but for the rounding of a sum of positive terms.

    Raises:
        InvalidInput: if B has one class, or its classes are not treated alike: with margins, which set a label's own
            class apart, or by the order a < b of ``unordered`` unless lambda = 1/2.
    """
    part = own_part(problem, group)
    return float(part @ part)


def own_part(problem: Problem, group: int) -> np.ndarray:
    """Evaluate each row's share of a collapse number, as a root that is linear in the frequencies p.

    Args:
        problem: the problem.
        group: the group B, of two exchangeable classes or more.

    Returns:
        The roots of the terms of the sum that c_B is, count included, (M,).

    Raises:
        InvalidInput: as :func:`collapse_number`.
    """
    if problem.sizes[group] < 2:
        raise InvalidInput("the collapse law is about groups of two classes or more of equal count")
    if problem.margin is not None:
        raise InvalidInput("the collapse law does not apply to margins: they set a label's own class apart")
    rows, size = problem.rows, float(problem.sizes[group])
    if problem.partition == "unordered" and np.any(rows.lam != 0.5):
        raise InvalidInput(
            "the collapse law does not apply to pairs a < b unless lambda = 1/2: the order sets classes apart"
        )
    (label_a, label_b), rest = problem.labels()
    other = 0.0 if rest is None else rest[:, group]
    at_a = (label_a - other) * (rows.first == group)
    at_b = (label_b - other) * (~rows.same & (rows.second == group))
    # |t|^2 - (sum t)^2 / K_B on B, written without cancellation.
    square = ((size - 1) * (at_a**2 + at_b**2) - 2 * at_a * at_b) / size
    factor = 1.0 if problem.factor is None else float(problem.factor[group])
    return factor * rows.p * np.sqrt(rows.count / rows.d * square / ((size - 1) * problem.c[group]))


def directions_at_zero(problem: Problem) -> list[tuple[float, int]]:
    """Find the singular values of the scaled gradient at Z = 0, but the 0 of equal logits.

    Nothing survives a decay mu if and only if mu is at least the largest one. Without offsets and factors the softmax at Z = 0 is
    uniform if the order a < b sets no classes apart, so their squares are the eigenvalues of P M P, M = sum_k p_k t_k t_k^T
    and P = I - 1 1^T / K, on samples. Inside a group B of exchangeable classes it is the root of c_B, K_B - 1 times.

    Args:
        problem: the problem.

    Returns:
        Each value with the number of its directions, descending; the numbers add up to K - 1.

    Raises:
        InvalidInput: if the problem has a free bias, which at Z = 0 is another one than at its optimum.
    """
    if problem.bias:
        raise InvalidInput("with a free bias the gradient at Z = 0 is not that at its best bias; drop the bias")
    coordinates = Coordinates(problem)
    G = coordinates.G
    _, gradient = coordinates.value_and_gradient(np.zeros(coordinates.shape))
    single = np.zeros(G)
    found = np.linalg.svd(gradient[:, :G], compute_uv=False)
    single[: len(found)] = found
    inside = zip(coordinates.group_norms(gradient).tolist(), (problem.sizes - 1).tolist(), strict=True)
    values = [(value, 1) for value in single[:-1].tolist()]
    return sorted([*values, *((value, number) for value, number in inside if number)], reverse=True)


def own_norm(problem: Problem, group: int) -> float:
    """Evaluate |u_{G,B}|, the root of the collapse number: the norm of the gradient along the differences inside B.

    Args:
        problem: the problem.
        group: the group B, of two exchangeable classes or more.

    Returns:
        The norm at every point at which the class vectors of B coincide.

    Raises:
        InvalidInput: as :func:`collapse_number`.
    """
    return math.sqrt(collapse_number(problem, group))


def rounding(problem: Problem) -> float:
    """Bound the relative rounding of a collapse number.

    Args:
        problem: the problem.

    Returns:
        The bound: some rounding errors for each row of its sum.
    """
    return float((len(problem.rows) + 64) * np.finfo(float).eps)


@dataclass(frozen=True)
class Crossing:
    """An imbalance at which the collapse number of the minority crosses mu^2.

    Attributes:
        R: the imbalance.
        bracket: two imbalances around it, at one of which collapse is proved, at the other its absence.
        collapsed_above: whether collapse holds just above it.
    """

    R: float
    bracket: tuple[float, float]
    collapsed_above: bool


def excess(problem: Problem, group: int) -> float:
    """Compare mu^2 with the collapse number of a group.

    Args:
        problem: a problem under decay.
        group: the group, of two exchangeable classes or more.

    Returns:
        log(mu^2 / c): non-negative exactly where the group is collapsed; inf if c = 0.

    Raises:
        InvalidInput: as :func:`collapse_number`.
    """
    assert problem.decay is not None
    number = collapse_number(problem, group)
    return 2 * math.log(problem.decay) - math.log(number) if number > 0 else math.inf


def crossings(at: Callable[[float], Problem], points: Sequence[float]) -> list[Crossing]:
    """Find imbalances at which minority collapse sets in or ends under decay, one between any two points that differ.

    Args:
        at: the problem under decay at an imbalance.
        points: imbalances that separate the crossings, ascending; :func:`separators` has those that miss none.

    Returns:
        The crossings, ascending.

    Raises:
        InvalidInput: as :func:`collapse_number`.
    """

    def value(x: float) -> float:
        problem = at(math.exp(x))
        return excess(problem, problem.sides[1][0])

    found, x = [], [math.log(R) for R in points]
    collapsed = [value(one) >= 0 for one in x]
    for i in range(len(x) - 1):
        if collapsed[i] != collapsed[i + 1]:
            # A finite stand-in for inf, where nothing pulls the minority apart.
            root = roots.between(lambda y: min(value(y), 1e3), x[i], x[i + 1])
            found.append(Crossing(math.exp(root), _bracket(at, root, collapsed[i + 1]), collapsed[i + 1]))
    return found


def separators(at: Callable[[float], Problem], R_min: float, R_max: float, jumps: Sequence[float] = ()) -> list[float]:
    """Find points of a range with at most one crossing between any two, by polynomials.

    Label pairs of a family occur in proportion to powers of R. So c_B(R) is a quotient of polynomials of degree 4 at the
    most, and all its crossings are roots of ``mu^2 S(R)^j - N(R)``: p_k(R) = w_k R^e_k / S(R) with w = p(1), up to a power of
    R that all rows share. Where weights depend on R as well, c_B at another R shows it, and the points are even in log R.

    Args:
        at: the problem under decay at an imbalance.
        R_min: smallest imbalance.
        R_max: largest imbalance.
        jumps: imbalances at which c_B may jump, where it is not such a quotient.

    Returns:
        Both ends, and points between the roots, ascending. Those that are even, with the two sides of each jump, may miss two
        crossings next to one another.

    Raises:
        InvalidInput: as :func:`collapse_number`.
    """
    known = {R: at(R) for R in (3.0, 12.0, 0.2, 1.5, 48.0)}
    first, second, *_ = known.values()
    sides = [side for jump in jumps if R_min < jump < R_max for side in (math.nextafter(jump, 0), jump)]
    even = sorted([*np.geomspace(R_min, R_max, EVEN).tolist(), *sides])
    if len(first.rows) != len(second.rows):
        return even
    power = np.log(second.rows.p / first.rows.p) / math.log(4.0)
    exponents = np.rint(power - power.min()).astype(int)
    j = 1 if np.array_equal(first.rows.d, first.rows.p) else 2  # p^2 / d goes with p, or with p^2
    S, numerator = np.zeros(exponents.max() + 1), np.zeros(j * exponents.max() + 1)
    np.add.at(S, exponents, first.rows.count * first.rows.p / 3.0**exponents)
    np.add.at(numerator, j * exponents, own_part(first, first.sides[1][0]) ** 2 / 3.0 ** (j * exponents))
    S = S if j == 1 else np.convolve(S, S)
    for R, problem in known.items():
        quotient = np.polyval(numerator[::-1], R) / np.polyval(S[::-1], R)
        if not math.isclose(quotient, collapse_number(problem, problem.sides[1][0]), rel_tol=1e-9):
            return even
    assert first.decay is not None
    roots = np.roots((first.decay**2 * S - numerator)[::-1])
    real = np.sort(roots[(np.abs(roots.imag) < 1e-6 * np.abs(roots)) & (roots.real > 0)].real)
    inner = [float(R) for R in real if R_min < R < R_max]
    return [R_min, *(math.sqrt(a * b) for a, b in pairwise(inner)), R_max]


def _bracket(at: Callable[[float], Problem], root: float, collapsed_above: bool) -> tuple[float, float]:
    """Two imbalances around a crossing at which the sign of the excess is beyond its rounding. root: log R."""
    ends = []
    for side in (-1, 1):
        collapsed = collapsed_above if side == 1 else not collapsed_above
        for width in 2.0 ** np.arange(-50, 0):
            problem = at(math.exp(root + side * width))
            value = excess(problem, problem.sides[1][0])
            if (value if collapsed else -value) > 2 * rounding(problem):
                ends.append(math.exp(root + side * width))
                break
        else:
            raise InvalidInput(f"mu^2 and the collapse number touch near R = {math.exp(root):g}; take another decay")
    return ends[0], ends[1]
