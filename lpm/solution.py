r"""A solution and its certificate, which trusts no solver.

For any feasible Z with gradient G = grad f(Z), convexity gives for every feasible Y
f(Y) >= f(Z) + <G, Y - Z> >= f(Z) - gap(Z), where

.. math:: gap(Z) = \langle G, Z \rangle + \tau\, \| D^{-1/2} G C^{-1/2} \|_2 \ge 0 ,

so f(Z) - gap(Z) <= f* <= f(Z). A bound on the rounding of f is added to the gap. The upper end, too, is right up to
that bound. Where C is nearly singular, its error (:attr:`lpm.problem.Problem.C_error`) widens the ball of the lower
end and narrows that of the point. Every solver hands a point to :func:`certify`. That makes the point feasible,
evaluates the gap in float64 and refuses the point if the gap is too wide.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lpm import bias
from lpm.console.errors import InvalidInput, NotCertified
from lpm.console.rounding import outward, upward
from lpm.console.text import html_table
from lpm.coordinates import Coordinates
from lpm.geometry import GroupGram
from lpm.problem import Problem
from lpm.stack import Stack, stacks

TOLERANCE = 1e-6
"""Default bound on the relative gap of every solution."""

ROUNDING = 1e-8
"""A gap that is too wide, but smaller than this, is wide because of rounding."""

SMALLER = "the loss is too close to 0 for a relative gap in float64: take smaller budgets, or a smaller R"
"""The remedy for a gap that is wide because of rounding."""


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """The loss at a feasible point X, its gap and the pieces of both; the module has the formula.

    Attributes:
        loss: f(X).
        penalty: mu |X|_*; 0 for budgets.
        gap: bound on the objective f(X) + penalty less the optimal one, rounding included.
        rounding: bound on the rounding of the objective.
        gradient: gradient of f in the scaled coordinates, (M, n).
        top: spectral norm of the gradient; mu under a decay, which is its value at every optimum but 0.
        group_slack: relative distance 1 - |v_{G,g}| / top of each group, (G,). If it is positive at the optimum, every
            optimum has u_g = 0 (complementary slackness). It is nan for groups of one class, and for all where the
            budget is not used up.
        gradient_error: bound on the Frobenius distance of the scaled gradient to that of any optimum: an L-smooth
            convex f has |G - G*|^2 <= 2 L (f(X) - f*), and f(X) - f* <= gap.
        slack_error: bound on the error of every slack, from that of the gradient; inf if the gradient may be 0, that
            is if the budget need not bind.
    """

    loss: float
    penalty: float
    gap: float
    rounding: float
    gradient: np.ndarray
    top: float
    group_slack: np.ndarray
    gradient_error: float
    slack_error: float

    @property
    def relative_gap(self) -> float:
        """The gap divided by the objective; inf where that is 0 in float64."""
        objective = self.loss + self.penalty
        return self.gap / objective if objective > 0 else math.inf


def evaluate(coordinates: Coordinates, X: np.ndarray) -> Certificate:
    """Evaluate the certificate of a feasible point.

    Args:
        coordinates: coordinates of the problem.
        X: the point, (M, n), inside the nuclear-norm ball.

    Returns:
        The certificate.
    """
    return evaluate_all(Stack([coordinates]), X[None])[0]


def evaluate_all(stack: Stack, X: np.ndarray) -> list[Certificate]:
    """Evaluate the certificates of feasible points of problems of one shape.

    Args:
        stack: coordinates of the problems.
        X: their points, (B, M, n), inside the nuclear-norm balls.

    Returns:
        The certificates.
    """
    loss, gradient, rounding = stack.evaluate(X)
    norms = stack.group_norms(gradient)
    top = np.maximum(np.linalg.norm(gradient[:, :, : stack.G], 2, axis=(1, 2)), norms.max(axis=1))
    inner, tau, mu = np.einsum("bmn,bmn->b", gradient, X), stack.tau, stack.decay
    # Rounding can leave the gap of an exact optimum a hair below zero, and a negative gap would claim f* > f(X). If the
    # loss is tiny, its own rounding decides, so it is part of the gap.
    if mu is None:
        penalty = np.zeros_like(loss)
        gap = np.maximum(0.0, inner + tau * top) + rounding
        gap += stack.C_error * tau * top  # the true ball lies in this one, enlarged by that factor
    else:
        penalty = mu * stack.nuclear_norm(X)
        rounding += 64 * np.finfo(float).eps * penalty
        excess = np.maximum(0.0, top / mu - 1) + 64 * np.finfo(float).eps
        gap = np.maximum(0.0, inner + penalty) + excess * stack.value_at_zero + rounding
        for b, member in enumerate(stack.members):
            if member.problem.bias:
                gap[b] += bias.gap(member, X[b], float(loss[b] + penalty[b]))
    error = np.sqrt(2 * stack.smoothness * gap)
    if mu is None:
        # |v_g| and top may both be off by the error. Without a gradient (the budget is not used up) the dual says
        # nothing about single directions.
        uses = tau * top > 1e-9 * loss
        above = top - error
        slack_error = np.where((above > 0) & uses, 2 * error / np.where(above > 0, above, 1.0), np.inf)
    else:
        top, uses, slack_error = mu, np.ones(len(stack), dtype=bool), error / mu
    slack = np.where((stack.sizes > 1) & uses[:, None], 1 - norms / np.maximum(top, 1e-300)[:, None], np.nan)
    return [
        Certificate(
            loss=float(loss[b]),
            penalty=float(penalty[b]),
            gap=float(gap[b]),
            rounding=float(rounding[b]),
            gradient=gradient[b],
            top=float(top[b]),
            group_slack=slack[b],
            gradient_error=float(error[b]),
            slack_error=float(slack_error[b]),
        )
        for b in range(len(stack))
    ]


@dataclass(frozen=True, kw_only=True, repr=False)
class Solution:
    """A feasible point and the interval [lower_bound, upper_bound] that contains the optimal value.

    Attributes:
        coordinates: coordinates of the problem that was solved.
        X: the point, (M, n).
        loss: f at the point.
        gap: bound on the objective less its optimum, at the point: the objective less the lower bound.
        collapsed_groups: groups of two classes or more whose class vectors coincide exactly at the point.
        rank: rank of W at the point.
        solver: name of the solver.
        seconds: time that the solver took.
        iterations: iterations that the solver took.
        rounding: bound on the rounding of the objective in float64, which the gap contains.
        undecided_groups: groups of two classes or more of which the gap leaves open whether they collapse.
        rank_bounds: smallest and largest rank that the gap leaves open; None if that was not asked.
        binds: whether the gap proves that the budget binds. If not, the cosines are those of the point alone.
        penalty: mu |D^{1/2} Z C^{1/2}|_* at the point; 0 for budgets.
    """

    coordinates: Coordinates
    X: np.ndarray
    loss: float
    gap: float
    collapsed_groups: tuple[int, ...]
    rank: int
    solver: str
    seconds: float
    iterations: int
    rounding: float = 0.0
    undecided_groups: tuple[int, ...] = ()
    rank_bounds: tuple[int, int] | None = None
    binds: bool = True
    penalty: float = 0.0

    @property
    def objective(self) -> float:
        """What is minimised, at the point: f for budgets, f + mu |D^{1/2} Z C^{1/2}|_* under a decay."""
        return self.loss + self.penalty

    def __repr__(self) -> str:
        """One line without arrays."""
        interval = outward(self.lower_bound, self.upper_bound, 12)
        return f"<{type(self).__name__} of {self.problem!r} by {self.solver}: optimum in {interval}, rank {self.rank}>"

    def _repr_html_(self) -> str:
        """The certificate and what it proves as a table, for notebooks."""
        collapsed = {True: "yes", False: "no", None: "undecided"}[self.collapsed]
        names, sides = ("AA", "AB", "BB"), ((0, 0), (0, 1), (1, 1))
        cosines = (
            ", ".join(f"{x} {self.cosine(*y):.4f}" for x, y in zip(names, sides, strict=True))
            if self.problem.sides
            else ""
        )
        return html_table(
            [],
            [
                ["optimum in", outward(self.lower_bound, self.upper_bound, 12)],
                ["relative gap", upward(self.relative_gap, 2)],
                ["minority collapse" if self.problem.minority is not None else "rank below K - 1", collapsed],
                ["rank of W", self.rank],
                *([["cosines", cosines]] if cosines else []),
                ["solver", f"{self.solver}, {self.seconds:.2g} s"],
            ],
        )

    @property
    def problem(self) -> Problem:
        """The problem that was solved."""
        return self.coordinates.problem

    @property
    def lower_bound(self) -> float:
        """A lower bound on the optimal value."""
        return math.nextafter(self.objective - self.gap, -math.inf)  # the difference is rounded to nearest

    @property
    def upper_bound(self) -> float:
        """An upper bound on the optimal value: the objective, and the bound on its rounding."""
        return math.nextafter(self.objective + self.rounding, math.inf)

    @property
    def relative_gap(self) -> float:
        """The gap divided by the objective; inf where that is 0 in float64."""
        return self.gap / self.objective if self.objective > 0 else math.inf

    @property
    def collapsed(self) -> bool | None:
        """Minority collapse: the minority's class vectors coincide. Without a minority: rank W < K - 1.

        True is proved by a dual slack above its error. False is read off the point, where the minority's share is
        plain. None if it is undecided at the tolerance that was reached. :func:`lpm.dual_condition.margin` proves
        either.
        """
        minority = self.problem.minority
        if minority is not None:
            return None if minority in self.undecided_groups else minority in self.collapsed_groups
        low, high = self.rank_bounds or (self.rank, self.rank)
        return None if low < self.problem.K - 1 <= high else high < self.problem.K - 1

    @cached_property
    def gram(self) -> GroupGram:
        """W W^T by Lemma 1: gamma^2 C^{-1/2} (Z'^T Z')^{1/2} C^{-1/2}, gamma^2 = sqrt(e_W / e_H), Z' the scaled Z."""
        problem, coordinates = self.problem, self.coordinates
        gamma2 = np.sqrt(problem.e_w / problem.e_h)
        _, s, Vt = np.linalg.svd(self.X[:, : coordinates.G], full_matrices=False)
        root = (Vt.T * s) @ Vt  # (T^T T)^{1/2}, (G, G)
        block = gamma2 * coordinates.C_inverse_half.T @ root @ coordinates.C_inverse_half
        singular = coordinates.group_norms(self.X) / np.maximum(problem.sizes - 1, 1)
        return GroupGram(problem.sizes, block, gamma2 * singular / problem.c)

    def cosine(self, one: int, other: int) -> float:
        """Average the cosines between different classes of two sides.

        Args:
            one: side of the first class, 0 for the majority A and 1 for the minority B.
            other: side of the second class.

        Returns:
            The mean cosine; nan if a side has a single class, which makes no two.

        Raises:
            InvalidInput: if the problem has no sides.
        """
        sides = self._sides()
        return self.gram.mean_cosine(sides[one], sides[other])

    def norm(self, side: int) -> float:
        """Average the lengths of the class vectors of one side.

        Args:
            side: 0 for the majority A and 1 for the minority B.

        Returns:
            The mean length.

        Raises:
            InvalidInput: if the problem has no sides.
        """
        return self.gram.mean_norm(self._sides()[side])

    def _sides(self) -> tuple[tuple[int, ...], ...]:
        if not self.problem.sides:
            raise InvalidInput(
                f"program {self.problem.program!r} on counts of your own has no majority and minority; take cosines "
                "from gram.group_cosines, or from geometry.cosines(gram.matrix(problem.members))"
            )
        return self.problem.sides


def certify(
    coordinates: Coordinates,
    X: np.ndarray,
    *,
    solver: str,
    seconds: float,
    iterations: int,
    tolerance: float = TOLERANCE,
    remedy: str = "try another --solver or a looser --tolerance",
) -> Solution:
    """Make a point feasible, certify it and read off what the dual proves about it.

    A point outside the ball is scaled into it, and further by the error of C in float64. A group is called collapsed
    under two conditions. Its share of the nuclear norm is smaller than its dual slack. And the gap still holds after
    its u_g is set to exactly 0. At least one of the two numbers is 0 at the optimum, exactly one if complementarity is
    strict, which it is not at R = R0. So the word is a guess within the gap, unless the slack exceeds its error.

    Args:
        coordinates: coordinates of the problem.
        X: any point, (M, n).
        solver: name of the solver, for the record and the error.
        seconds: time that the solver took.
        iterations: iterations that the solver took.
        tolerance: largest relative gap that is accepted.
        remedy: advice that the error ends with.

    Returns:
        The certified solution.

    Raises:
        NotCertified: if the relative gap exceeds ``tolerance``.
    """
    (solution,) = certify_all(
        [coordinates], [X], solver=solver, seconds=seconds, iterations=[iterations], tolerance=tolerance, remedy=remedy
    )
    if isinstance(solution, NotCertified):
        raise solution
    return solution


def certify_all(
    coordinates: Sequence[Coordinates],
    points: Sequence[np.ndarray],
    *,
    solver: str,
    seconds: float,
    iterations: Sequence[int],
    tolerance: float = TOLERANCE,
    remedy: str = "try another --solver or a looser --tolerance",
) -> list[Solution | NotCertified]:
    """Do for many points what :func:`certify` does for one.

    Args:
        coordinates: coordinates of the problems.
        points: any point of each, (M, n).
        solver: name of the solver.
        seconds: time that the solver took for each.
        iterations: iterations that the solver took for each.
        tolerance: largest relative gap that is accepted.
        remedy: advice that an error ends with.

    Returns:
        For each point the certified solution, or the error.
    """
    results: list[Solution | NotCertified] = []
    order: list[int] = []
    for positions, stack in stacks(coordinates):
        order += positions
        X = np.stack([points[position] for position in positions])
        steps = [iterations[position] for position in positions]
        results += _certify(stack, X, solver, seconds, steps, tolerance, remedy)
    return [result for _, result in sorted(zip(order, results, strict=True), key=lambda pair: pair[0])]


def _certify(
    stack: Stack, X: np.ndarray, solver: str, seconds: float, iterations: list[int], tolerance: float, remedy: str
) -> list[Solution | NotCertified]:
    """:func:`certify_all` for problems of one shape. X: (B, M, n)."""
    finite = np.isfinite(X).all(axis=(1, 2))
    X = np.where(finite[:, None, None], X, 0.0)
    if stack.decay is None:
        norm = stack.nuclear_norm(X)
        X = X / np.maximum(1.0, (1 + stack.C_error) * norm / stack.tau)[:, None, None]
    first = evaluate_all(stack, X)
    if stack.decay is not None:
        _zeros(stack, X, first)
    radius = _radius(stack, X)
    share, slack = stack.group_norms(X) / radius[:, None], np.stack([one.group_slack for one in first])
    certificates, collapsed = list(first), share < slack
    fine = finite & [one.relative_gap <= tolerance for one in first]
    if (some := np.flatnonzero(fine & collapsed.any(axis=1))).size:
        part = stack if len(some) == len(stack) else Stack([stack.members[int(b)] for b in some])
        exact = X[some]
        exact[:, :, stack.G :][collapsed[some][np.arange(len(some))[:, None, None], part.slots] & (part.slots >= 0)] = (
            0.0
        )
        if stack.decay is None:
            exact *= (part.nuclear_norm(X[some]) / part.nuclear_norm(exact))[:, None, None]
        for b, trial, point in zip(some.tolist(), evaluate_all(part, exact), exact, strict=True):
            if trial.relative_gap <= tolerance:
                X[b], certificates[b] = point, trial
            else:
                collapsed[b] = False
        radius = _radius(stack, X)
    error = np.array([one.slack_error for one in first])[:, None]
    proved, plain = slack > error, share - slack > error
    undecided = (stack.sizes > 1) & ~(proved & collapsed) & ~plain
    ranks, bounds = _ranks(stack, X, radius, certificates)
    results: list[Solution | NotCertified] = []
    for b, (member, certificate) in enumerate(zip(stack.members, certificates, strict=True)):
        if not fine[b]:
            one = first[b]
            gap, relative_gap = (one.gap, one.relative_gap) if finite[b] else (math.inf, math.inf)
            advice = SMALLER if gap < ROUNDING else remedy
            if member.problem.C_graded and solver != "orbits":  # orbits does not mind such a C
                advice = "C has eigenvalues far apart: use --solver orbits, or take lambda further from 0 and 1"
            results.append(
                NotCertified(gap=gap, relative_gap=relative_gap, tolerance=tolerance, solver=solver, remedy=advice)
            )
            continue
        results.append(
            Solution(
                coordinates=member,
                X=X[b],
                loss=certificate.loss,
                gap=certificate.gap,
                collapsed_groups=tuple(np.flatnonzero(collapsed[b]).tolist()),
                rank=int(ranks[b]),
                solver=solver,
                seconds=seconds,
                iterations=iterations[b],
                rounding=certificate.rounding,
                undecided_groups=tuple(np.flatnonzero(undecided[b]).tolist()),
                rank_bounds=bounds[b],
                binds=math.isfinite(certificate.slack_error),
                penalty=certificate.penalty,
            )
        )
    return results


def _zeros(stack: Stack, X: np.ndarray, certificates: list[Certificate]) -> None:
    """Put 0 in the place of points that are 0 but for a solver's errors, and its certificates in that of theirs.

    Under a decay shares are taken of the point's own norm. Where the optimum is 0, that is a norm of errors, and so would be the
    shares. The smaller gap decides.
    """
    small = [b for b, one in enumerate(certificates) if one.penalty <= 1e-3 * one.loss]
    if small:
        zeros = evaluate_all(Stack([stack.members[b] for b in small]), np.zeros_like(X[small]))
        for b, zero in zip(small, zeros, strict=True):
            if zero.gap <= certificates[b].gap:
                X[b], certificates[b] = 0.0, zero


def _radius(stack: Stack, X: np.ndarray) -> np.ndarray:
    """What shares of the nuclear norm are shares of: tau, or under a decay the point's own norm; (B,)."""
    return stack.tau if stack.decay is None else np.maximum(stack.nuclear_norm(X), 1e-300)


def _ranks(
    stack: Stack, X: np.ndarray, radius: np.ndarray, certificates: Sequence[Certificate]
) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Count, with multiplicity, the singular directions whose share of the nuclear norm exceeds their dual slack.

    Returns the ranks (B,), and the smallest and the largest ones that the error of the slacks leaves open.
    """
    G, most = stack.G, stack.sizes.sum(axis=1) - 1  # a common shift of the logits is in no optimum
    gradient = np.stack([certificate.gradient for certificate in certificates])
    top, loss, error = (
        np.array([getattr(certificate, name) for certificate in certificates])
        for name in ("top", "loss", "slack_error")
    )
    _, s, Vt = np.linalg.svd(X[:, :, :G], full_matrices=False)
    along = np.linalg.norm(gradient[:, :, :G] @ Vt.transpose(0, 2, 1), axis=1)
    slack = 1 - along / np.maximum(top, 1e-300)[:, None]
    # If the budget is not used up, the dual decides nothing: count all directions that are not rounding.
    if stack.decay is None:
        slack[radius * top <= 1e-9 * loss] = 1e-9
    group_slack = np.stack([certificate.group_slack for certificate in certificates])
    group_slack[np.isnan(group_slack).all(axis=1)] = 1e-9
    excess = s / radius[:, None] - np.maximum(slack, 0.0)
    group_excess = stack.group_norms(X) / radius[:, None] - group_slack

    def count(error: np.ndarray) -> np.ndarray:
        groups = np.where(group_excess > error[:, None], stack.sizes - 1, 0).sum(axis=1)
        return np.minimum((excess > error[:, None]).sum(axis=1) + groups, most)

    known = np.isfinite(error)
    low, high = np.where(known, count(error), 0), np.where(known, count(-error), most)
    return count(np.zeros_like(error)), list(zip(low.tolist(), high.tolist(), strict=True))
