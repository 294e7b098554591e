r"""Collapse under weight decay in ball arithmetic: no rounding and no solver is trusted.

The class vectors W and features H of a solver's point are read as exact numbers, so its objective is at most
``f(H W^T) + mu (tr(D H H^T) + tr(C W W^T)) / 2``. Every optimum has a nuclear norm of at most f(0) / mu. So for any Z

.. math:: F^* \ge f(Z) - \langle G, Z \rangle - \max(0, \|G'\|_2 / \mu - 1)\, f(0) .

Over points with equal class vectors in a group, G' may be averaged over the group first. Everything else is as in
:mod:`paper_checks.ball`, with any labels, offsets and factors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from flint import arb, arb_mat, ctx, fmpq

from lpm import recovery
from lpm.problem import Problem
from lpm.solution import Solution
from paper_checks.ball import BITS, fraction

SQUARINGS = 40
"""Squarings of A in the bound on its spectral radius, which exceeds the radius by a factor K^(2^-40) at most."""


@dataclass(frozen=True)
class _Program:
    """A penalised program written out, in balls.

    Attributes:
        problem: the problem, with m rows and K classes.
        p: weight of each row in the loss (m).
        d: weight of each row in the features' decay (m).
        lam: mixing ratio of each row (m).
        labels: what the loss puts on each class (m, K).
        offset: added to the logits (K).
        factor: multiplies the logits (K).
        c: decay of each class vector (K); C is diagonal under decay.
        mu: the decay.
    """

    problem: Problem
    p: list[arb]
    d: list[arb]
    lam: list[arb]
    labels: list[list[arb]]
    offset: list[arb]
    factor: list[arb]
    c: list[arb]
    mu: arb


def _exact(values: np.ndarray | Sequence[float]) -> list[arb]:
    fractions = [fraction(float(x)) for x in values]
    return [arb(fmpq(x.numerator, x.denominator)) for x in fractions]


def _program(problem: Problem) -> _Program:
    """Read a written-out problem as exact numbers. Frequencies are divided by their sum, which is 1 but for rounding."""
    rows, K = problem.rows, problem.K
    p = _exact(rows.p)
    total = sum(p, arb(0))
    p = [x / total for x in p]
    at_ab, rest = problem.labels()
    at_a, at_b = _exact(at_ab[0]), _exact(at_ab[1])
    labels = []
    for k in range(len(rows)):
        row = [arb(0)] * K if rest is None else _exact(rest[k])
        a, b = int(rows.first[k]), int(rows.second[k])
        row[a] = at_a[k]
        if a != b:
            row[b] = at_b[k]
        labels.append(row)
    assert problem.decay is not None
    return _Program(
        problem=problem,
        p=p,
        d=p if np.array_equal(rows.d, rows.p) else _exact(rows.d),
        lam=_exact(rows.lam),
        labels=labels,
        offset=_exact(np.zeros(K) if problem.offset is None else problem.offset),
        factor=_exact(np.ones(K) if problem.factor is None else problem.factor),
        c=_exact(problem.c),
        mu=_exact([problem.decay])[0],
    )


def _softmax(z: list[arb]) -> tuple[arb, list[arb]]:
    e = [x.exp() for x in z]
    total = sum(e, arb(0))
    return total.log(), [x / total for x in e]


def _value_and_gradient(program: _Program, Z: arb_mat) -> tuple[arb, arb_mat]:
    """f(Z) and its gradient (m, K)."""
    f, G, K = arb(0), [], program.problem.K
    for k, (p, lam, label) in enumerate(zip(program.p, program.lam, program.labels, strict=True)):
        z = [program.factor[i] * Z[k, i] + program.offset[i] for i in range(K)]
        mass = sum(label, arb(0))
        if program.problem.partition == "classes":
            value, slope = _softmax(z)
        else:  # pairs: the log-partition is a sum of two
            left, left_slope = _softmax([lam * x for x in z])
            right, right_slope = _softmax([(1 - lam) * x for x in z])
            value = left + right
            slope = [lam * x + (1 - lam) * y for x, y in zip(left_slope, right_slope, strict=True)]
        f += p * (mass * value - sum((t * x for t, x in zip(label, z, strict=True)), arb(0)))
        G.append([p * program.factor[i] * (mass * slope[i] - label[i]) for i in range(K)])
    return f, arb_mat(G)


def _spectral_norm(program: _Program, G: arb_mat, right: arb_mat) -> arb:
    """An upper bound on |D^{-1/2} G C^{-1/2} P|_2; ``right`` is the projector P, which commutes with C."""
    m, K = G.nrows(), G.ncols()
    scaled = arb_mat([[G[k, i] / (program.d[k] * program.c[i]).sqrt() for i in range(K)] for k in range(m)]) * right
    A = scaled.transpose() * scaled
    log_norm = arb(0)
    for j in range(SQUARINGS + 1):
        size = sum((A[i, i] for i in range(K)), arb(0))
        if not size > 0:  # a zero matrix, or too wide balls: multiply the bound so far by the trace's upper end
            rest = size.upper() if size.upper() > 0 else arb(0)
            return ((log_norm / 2).exp() * rest.root(2 ** (j + 1))).upper()
        log_norm += size.log() / 2**j
        A = A * (1 / size)
        A = A * A
    return (log_norm / 2).exp().upper()


def _factors(solution: Solution) -> tuple[Problem, arb_mat, arb_mat]:
    """The problem written out, and exact W (K, r) and H (m, r) of a point."""
    full, Z = recovery.logits(solution)
    W, H = recovery.class_vectors_and_features(full, Z)
    return full, _matrix(W), _matrix(H)


def _matrix(values: np.ndarray) -> arb_mat:
    return arb_mat([[arb(float(x)) for x in row] for row in values])


def _lower(program: _Program, Z: arb_mat, right: arb_mat, value_at_zero: arb) -> tuple[arb, arb_mat]:
    """A lower bound on the objective over all Y with Y P = Y, and the gradient at Z."""
    f, G = _value_and_gradient(program, Z)
    inner = sum((G[k, i] * Z[k, i] for k in range(G.nrows()) for i in range(G.ncols())), arb(0))
    excess = (_spectral_norm(program, G, right) / program.mu - 1).upper()
    return f - inner - (excess if excess > 0 else arb(0)) * value_at_zero, G


@ctx.workprec(BITS)
def collapsed(solution: Solution, merged: np.ndarray, group: int) -> bool | None:
    """Decide whether the class vectors of a group coincide at the optimum of a program under decay.

    Args:
        solution: a point near the optimum.
        merged: a point near the optimum with equal class vectors in the group (M, n).
        group: the group.

    Returns:
        True if that is proved, False if it is refuted, otherwise None.
    """
    full, W, H = _factors(solution)
    program, K = _program(full), full.K
    members = solution.problem.members[group]
    identity = arb_mat([[arb(int(i == j)) for j in range(K)] for i in range(K)])
    average = arb_mat(
        [
            [arb(1) / len(members) if i in members and j in members else arb(int(i == j)) for j in range(K)]
            for i in range(K)
        ]
    )
    at_zero, _ = _value_and_gradient(program, arb_mat(len(full.rows), K))
    Z = H * W.transpose()
    lower, G = _lower(program, Z, identity, at_zero)
    f, _ = _value_and_gradient(program, Z)
    decay = sum((d * H[k, j] ** 2 for k, d in enumerate(program.d) for j in range(H.ncols())), arb(0))
    decay += sum((c * W[i, j] ** 2 for i, c in enumerate(program.c) for j in range(W.ncols())), arb(0))
    upper = f + program.mu * decay / 2
    _, W_merged, H_merged = _factors(replace(solution, X=merged))
    if _lower(program, H_merged * (average * W_merged).transpose(), average, at_zero)[0] > upper:
        return False
    masses = [sum(label, arb(0)) for label in program.labels]
    steepest = max((m * p / d).upper() for m, p, d in zip(masses, program.p, program.d, strict=True))
    smoothness = steepest * max((x**2).upper() for x in program.factor) / (2 * min(c.lower() for c in program.c))
    error = (2 * smoothness * abs(upper - lower).upper()).sqrt()
    return True if _spectral_norm(program, G, identity - average) + error < program.mu else None
