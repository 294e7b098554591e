r"""A solution and its certificate, which trusts no solver.

For any feasible Z with gradient G = grad f(Z), convexity gives for every feasible Y
f(Y) >= f(Z) + <G, Y - Z> >= f(Z) - gap(Z), where

.. math:: gap(Z) = \langle G, Z \rangle + \tau\, \| D^{-1/2} G C^{-1/2} \|_2 \ge 0 ,

so f(Z) - gap(Z) <= f* <= f(Z). A bound on the rounding of f is added to the gap; the upper
end, too, is right up to that bound. Every solver hands a point to :func:`certify`, which makes it feasible, evaluates the gap in
float64 and refuses the point if the gap is too wide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lpm.console.errors import NotCertified
from lpm.coordinates import Coordinates
from lpm.geometry import GroupGram
from lpm.problem import Problem

TOLERANCE = 1e-6
"""Default bound on the relative gap of every solution."""

ROUNDING = 1e-8
"""A gap below which rounding is to blame."""

SMALLER = "the loss is too close to 0 for a relative gap in float64: take smaller budgets, or a smaller R"
"""The remedy then."""


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """f(X), its gap and the pieces of both; see the module's formula.

    gradient: (M, n) in the scaled coordinates. top: the gradient's spectral norm. group_slack: (G,) relative distance
    1 - |v_{G,g}| / top; where it is positive at the optimum, every optimum has u_g = 0 (complementary slackness); nan
    for groups of one class and where the budget is not used up.
    gradient_error: bound on the Frobenius distance of the scaled gradient to that of any optimum, because an
    L-smooth convex f has |G - G*|^2 <= 2 L (f(X) - f*) and f(X) - f* <= gap.
    """

    loss: float
    gap: float
    gradient: np.ndarray
    top: float
    group_slack: np.ndarray
    gradient_error: float

    @property
    def relative_gap(self) -> float:
        return self.gap / self.loss


def evaluate(coordinates: Coordinates, X: np.ndarray) -> Certificate:
    """The certificate of a feasible point X (M, n) in scaled coordinates."""
    loss, gradient = coordinates.value_and_gradient(X)
    norms = coordinates.group_norms(gradient)
    top = max(float(np.linalg.norm(gradient[:, : coordinates.G], 2)), float(norms.max()))
    # Rounding can leave an exact optimum a hair below zero; a negative gap would claim f* > f(X). Where the loss is tiny,
    # its own rounding is what decides, so it is part of the gap.
    tau = coordinates.problem.tau
    gap = max(0.0, float((gradient * X).sum()) + tau * top) + coordinates.rounding(X)
    # Without a gradient (the budget is not used up) the dual says nothing about single directions.
    decides = (coordinates.problem.sizes > 1) & (tau * top > 1e-9 * loss)
    slack = np.where(decides, 1 - norms / max(top, 1e-300), np.nan)
    return Certificate(
        loss=loss,
        gap=gap,
        gradient=gradient,
        top=top,
        group_slack=slack,
        gradient_error=float(np.sqrt(2 * coordinates.smoothness * gap)),
    )


@dataclass(frozen=True, kw_only=True)
class Solution:
    """A feasible point and the interval [lower_bound, loss] that contains the optimal value.

    coordinates: of the problem that was solved. X: (M, n) the point in these coordinates. loss: f at the point.
    gap: width of the interval. collapsed_groups: groups (of two classes or more) whose class vectors coincide exactly.
    rank: of W at the optimum. solver, seconds, iterations: how it was found.
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

    @property
    def problem(self) -> Problem:
        """The problem that was solved."""
        return self.coordinates.problem

    @property
    def lower_bound(self) -> float:
        return self.loss - self.gap

    @property
    def relative_gap(self) -> float:
        return self.gap / self.loss

    @property
    def collapsed(self) -> bool:
        """Minority collapse: the minority's class vectors coincide; without a minority group, rank W < K - 1."""
        minority = self.problem.minority
        return self.rank < self.problem.K - 1 if minority is None else minority in self.collapsed_groups

    @cached_property
    def gram(self) -> GroupGram:
        """W W^T by Lemma 1: gamma^2 C^{-1/2} (Z'^T Z')^{1/2} C^{-1/2} with gamma^2 = sqrt(e_W / e_H), Z' the scaled Z."""
        problem, coordinates = self.problem, self.coordinates
        gamma2 = np.sqrt(problem.e_w / problem.e_h)
        _, s, Vt = np.linalg.svd(self.X[:, : coordinates.G], full_matrices=False)
        root = (Vt.T * s) @ Vt
        block = gamma2 * coordinates.C_inverse_half @ root @ coordinates.C_inverse_half
        singular = coordinates.group_norms(self.X) / np.maximum(problem.sizes - 1, 1)
        return GroupGram(problem.sizes, block, gamma2 * singular / problem.c)

    def cosine(self, one: int, other: int) -> float:
        """Mean cosine between classes of families A = 0 and B = 1; nan where the problem has no families."""
        families = self.problem.families
        return self.gram.mean_cosine(families[one], families[other]) if families else float("nan")

    def norm(self, family: int) -> float:
        """Mean class-vector length in family A = 0 or B = 1; nan where the problem has no families."""
        families = self.problem.families
        return self.gram.mean_norm(families[family]) if families else float("nan")


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
    """Make X feasible, certify it and read off what the dual proves about it.

    A point outside the ball is scaled onto it. A group is called collapsed when its share of the nuclear norm is
    smaller than its dual slack (strict complementarity: exactly one of the two is zero at the optimum) and the gap
    still holds after its u_g is set to exactly 0.

    Raises NotCertified when the relative gap exceeds ``tolerance``.
    """
    tau = coordinates.problem.tau
    gap = relative_gap = math.inf
    if np.all(np.isfinite(X)):
        X = X / max(1.0, coordinates.nuclear_norm(X) / tau)
        certificate = evaluate(coordinates, X)
        gap, relative_gap = certificate.gap, certificate.relative_gap
    if not relative_gap <= tolerance:
        if gap < ROUNDING:
            remedy = SMALLER
        raise NotCertified(gap=gap, relative_gap=relative_gap, tolerance=tolerance, solver=solver, remedy=remedy)
    share = coordinates.group_norms(X) / tau
    collapsed = tuple(int(g) for g in np.flatnonzero(share < certificate.group_slack))
    if collapsed:
        merged = X.copy()
        merged[:, coordinates.G :][np.isin(coordinates.slots, collapsed)] = 0.0
        merged *= coordinates.nuclear_norm(X) / coordinates.nuclear_norm(merged)
        trial = evaluate(coordinates, merged)
        if trial.gap <= tolerance * trial.loss:
            X, certificate = merged, trial
        else:
            collapsed = ()
    return Solution(
        coordinates=coordinates,
        X=X,
        loss=certificate.loss,
        gap=certificate.gap,
        collapsed_groups=collapsed,
        rank=_rank(coordinates, X, certificate),
        solver=solver,
        seconds=seconds,
        iterations=iterations,
    )


def _rank(coordinates: Coordinates, X: np.ndarray, certificate: Certificate) -> int:
    """Singular directions whose share of the nuclear norm exceeds their dual slack, with multiplicity."""
    _, s, Vt = np.linalg.svd(X[:, : coordinates.G], full_matrices=False)
    slack = 1 - np.linalg.norm(certificate.gradient[:, : coordinates.G] @ Vt.T, axis=0) / max(certificate.top, 1e-300)
    if coordinates.problem.tau * certificate.top <= 1e-9 * certificate.loss:  # budget not used up: count what is there
        slack = np.full_like(s, 1e-9)
    share = coordinates.group_norms(X) / coordinates.problem.tau
    group_slack = certificate.group_slack
    if np.all(np.isnan(group_slack)):
        group_slack = np.full_like(group_slack, 1e-9)
    groups = (coordinates.problem.sizes - 1)[share > group_slack]
    return int((s / coordinates.problem.tau > np.maximum(slack, 0.0)).sum() + groups.sum())
