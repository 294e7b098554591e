r"""The certificates again in ball arithmetic (Arb, through python-flint): no rounding and no solver is trusted.

A solver's W and H (Lemma 1) are read as exact binary numbers and scaled into both budgets, so Z = H W^T is a feasible
point of the printed program. The program's frequencies, budgets and mixing ratio are read back as the fractions that
they were rounded from (a budget like log K is read as the binary number that stands for it). Every number after that is
a ball that contains the true one:

- upper bound: f(Z). Lower bound: f(Z) - gap, gap = <G, Z> + tau ||D^{-1/2} G C^{-1/2}||_2 (docs/theory/certificate.md);
- the spectral norm from above as (tr A^{2^j})^{1/2^j} with A = C^{-1} G^T D^{-1} G, from below as a Rayleigh quotient;
- not collapsed: on the points with w_a = w_b throughout the minority, G P may replace G, where P averages over the
  minority. This gives a lower bound on these points, which lies above f(Z) of a point that is not collapsed;
- collapsed: the optimal scaled gradient M* is within sqrt(2 L gap) of M, the scaled gradient at Z. No singular vector
  of M* among the minority's sum-zero directions reaches the spectral norm of M*;
- cosines: as in :mod:`paper_checks.lab`, with Powers and Stoermer's bound for the square root of Z'^T Z'. Common shifts
  of Z's rows are part of the radius.

The error of quadrature is not bounded: for Beta laws the statements are about the discrete law at its nodes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from flint import arb, arb_mat, ctx

from lpm import orbits, recovery
from lpm.problem import Problem
from lpm.solution import Solution
from paper_checks.ball_losses import BITS, BallLosses, ball_of, exact, fraction, matrix, root_of_radius, trace


@dataclass(frozen=True)
class _Point:
    """A feasible point, in balls, of a problem that is written out.

    Attributes:
        losses: the losses of its m rows and K classes.
        d: weight of each row in the feature budget (m).
        C: metric of the class vectors (K, K).
        tau: radius of the nuclear-norm ball, sqrt(E_H E_W).
        W: class vectors (K, r).
        H: features (m, r).
        Z: logits H W^T (m, K).
    """

    losses: BallLosses
    d: list[arb]
    C: arb_mat
    tau: arb
    W: arb_mat
    H: arb_mat
    Z: arb_mat

    @property
    def problem(self) -> Problem:
        """The problem, written out."""
        return self.losses.problem


def _point(solution: Solution) -> _Point:
    """Lemma 1's W and H as exact numbers, scaled into the budgets."""
    full, Z = recovery.logits(solution)
    if full.decay is not None:
        raise ArithmeticError("these balls are about budgets")
    K, m = full.K, len(Z)
    shift = Z @ full.C_block @ np.ones(K)
    Z = Z - np.outer(shift, np.ones(K)) / full.C_block.sum()  # Z C 1 = 0: no budget on a constant
    W, H = recovery.class_vectors_and_features(full, Z)
    c, beta = [fraction(x) for x in full.c], fraction(full.beta)
    diagonal = [x + beta for x in c] if full.diagonal is None else [fraction(x) for x in full.diagonal]
    C = arb_mat([[ball_of(diagonal[i] if i == j else beta) for j in range(K)] for i in range(K)])
    d = exact(full.rows.d)
    w, h = matrix(W), matrix(H)
    spent_w = trace(C * w * w.transpose())
    spent_h = sum((d[k] * h[k, j] ** 2 for k in range(m) for j in range(h.ncols())), arb(0))
    e_w, e_h = ball_of(fraction(full.e_w)), ball_of(fraction(full.e_h))
    tau = (e_w * e_h).sqrt()
    scale = (e_w / spent_w).sqrt().lower(), (e_h / spent_h).sqrt().lower()
    w, h = w * arb(min(scale[0], arb(1))), h * arb(min(scale[1], arb(1)))
    return _Point(BallLosses.of(full), d, C, tau, w, h, h * w.transpose())


def _spectral_norm(point: _Point, G: arb_mat) -> arb:
    """An upper bound on ||D^{-1/2} G C^{-1/2}||_2."""
    return root_of_radius(_normal(point, G))


def _normal(point: _Point, G: arb_mat) -> arb_mat:
    """C^{-1} G^T D^{-1} G, whose largest eigenvalue is the squared norm."""
    scaled = arb_mat([[G[k, i] / point.d[k] for i in range(G.ncols())] for k in range(G.nrows())])
    return point.C.inv() * (G.transpose() * scaled)


def _gap(point: _Point, G: arb_mat, norm: arb) -> arb:
    inner = sum((G[k, i] * point.Z[k, i] for k in range(G.nrows()) for i in range(G.ncols())), arb(0))
    return (inner + point.tau * norm).upper()


@ctx.workprec(BITS)
def loss(solution: Solution) -> tuple[float, float]:
    """Bound the optimal value f* rigorously.

    Args:
        solution: a solver's point; a poor one widens the bounds, but they stay true.

    Returns:
        Lower and upper bound.
    """
    point = _point(solution)
    f, G, _ = point.losses.evaluate(point.Z)
    return _down(f - _gap(point, G, _spectral_norm(point, G))), _up(f)


def _down(x: arb) -> float:
    return float(np.nextafter(float(x.lower()), -np.inf))


def _up(x: arb) -> float:
    return float(np.nextafter(float(x.upper()), np.inf))


@ctx.workprec(BITS)
def collapsed(solution: Solution) -> bool | None:
    """Decide whether the minority is collapsed at the optimum.

    Args:
        solution: a solver's point.

    Returns:
        True if collapse is proved, False if it is refuted, otherwise None.

    Raises:
        ValueError: if the problem has no exchangeable minority classes.
    """
    if solution.problem.minority is None:
        raise ValueError(f"program {solution.problem.program!r} has no group of exchangeable minority classes")
    point = _point(solution)
    B = solution.problem.members[solution.problem.minority]
    f, G, _ = point.losses.evaluate(point.Z)
    K = point.problem.K
    average = arb_mat([[ball_of(_averaging(i, j, B)) for j in range(K)] for i in range(K)])
    X, _ = orbits.optimum(solution.coordinates, target=1e-11, frozen=(solution.problem.minority,))
    merged = _point(replace(solution, X=X))
    f_merged, G_merged, _ = merged.losses.evaluate(merged.Z)
    if f_merged - _gap(merged, G_merged, _spectral_norm(merged, G_merged * average)) > f:
        return False
    norm = _spectral_norm(point, G)
    error = _gradient_error(point, abs(_gap(point, G, norm)).upper())
    sum_zero = _spectral_norm(point, G * (_identity(K) - average))  # of the part on the minority's sum-zero directions
    return True if sum_zero + error < _rayleigh(point, G) - error else None


def _gradient_error(point: _Point, gap: arb) -> arb:
    """A bound on |M - M*|_F: sqrt(2 L gap), L = max_k m_k p_k phi^2 / (2 d_k c), because softmax Hessians are at most 1/2."""
    smoothness = point.losses.steepest(point.d) / (2 * _least_eigenvalue(point))
    return (2 * smoothness * gap).sqrt()


def _least_eigenvalue(point: _Point) -> arb:
    """A lower bound on the eigenvalues of C = diag(c) + beta 11^T, beta >= 0: the least c."""
    K = point.problem.K
    return min((point.C[i, i] - point.C[i, (i + 1) % K]).lower() for i in range(K))


def _averaging(i: int, j: int, B: np.ndarray) -> Fraction:
    if i in B and j in B:
        return Fraction(1, len(B))
    return Fraction(int(i == j))


def _identity(K: int) -> arb_mat:
    return arb_mat([[arb(int(i == j)) for j in range(K)] for i in range(K)])


def _rayleigh(point: _Point, G: arb_mat) -> arb:
    """A lower bound on ||D^{-1/2} G C^{-1/2}||_2: |D^{-1/2} G v| / |C^{1/2} v| for one v."""
    A = _normal(point, G)
    mid = np.array([[float(A[i, j].mid()) for j in range(A.ncols())] for i in range(A.nrows())])
    values, vectors = np.linalg.eig(mid)
    v = matrix(np.real(vectors[:, [int(np.argmax(np.real(values)))]]))
    image = G * v
    top = sum((image[k, 0] ** 2 / point.d[k] for k in range(G.nrows())), arb(0))
    return (top / (v.transpose() * point.C * v)[0, 0]).sqrt()


@ctx.workprec(BITS)
def cosines(solution: Solution) -> tuple[np.ndarray, np.ndarray]:
    """Bound the cosines between the optimum's class vectors rigorously.

    Args:
        solution: a solver's point.

    Returns:
        Lower and upper bounds, (K, K) each.

    Raises:
        ArithmeticError: if the gap is too wide to bound them, the budget may not be used up, or the loss is not the paper's.
    """
    if solution.problem.changed:
        raise ArithmeticError("cosines are bounded for the paper's losses only")
    point = _point(solution)
    K, rows = point.problem.K, point.problem.rows
    _f, G, smallest = point.losses.evaluate(point.Z)
    gap = abs(_gap(point, G, _spectral_norm(point, G))).upper()
    if not _rayleigh(point, G) > _gradient_error(point, gap):
        raise ArithmeticError("the budget may not be used up at the optimum, so its class vectors need not be unique")
    F = _cholesky(point.C)
    c_low = _least_eigenvalue(point)
    c_high = max((point.C[i, i] - point.C[i, (i + 1) % K]).upper() for i in range(K))
    sigma = [_least_spread(point, k) for k in range(len(rows))]
    for quarter in range(-120, 1):
        rho = (arb(10) ** (arb(quarter) / 4)).upper()
        mu = min(
            (
                point.losses.p[k]
                / (point.d[k] * c_high)
                * m
                * sigma[k]
                * (-2 * rho / (point.d[k] * c_low).sqrt()).exp()
            ).lower()
            for k, m in enumerate(smallest)
        )
        if mu * rho**2 > 2 * gap:
            break
    else:
        raise ArithmeticError(f"gap {float(gap):.1e} is too wide for an interval of cosines")
    e_w, e_h = ball_of(fraction(point.problem.e_w)), ball_of(fraction(point.problem.e_h))
    # Powers and Stoermer: |B - |Z'||_F^2 is at most the trace norm of B^2 - Z'^T Z', sqrt(K) times its Frobenius norm.
    gamma2 = (e_w / e_h).sqrt()
    B = F.transpose() * point.W * point.W.transpose() * F * (1 / gamma2)
    scaled = [[point.Z[k, i] * point.d[k].sqrt() for i in range(K)] for k in range(len(rows))]
    Zs = arb_mat(scaled) * F
    difference = B * B - Zs.transpose() * Zs
    frobenius = sum((difference[i, j] ** 2 for i in range(K) for j in range(K)), arb(0)).sqrt()
    radius = arb(2).sqrt() * (rho + _shift(point)) + (arb(K).sqrt() * frobenius).sqrt()
    error = (gamma2 * radius / c_low).upper()
    gram = point.W * point.W.transpose()
    unsure = arb(0, error)
    length = [(gram[i, i] + unsure).sqrt() for i in range(K)]
    lower, upper = np.eye(K), np.eye(K)
    for i in range(K):
        for j in range(K):
            if i != j:
                cosine = (gram[i, j] + unsure) / (length[i] * length[j])
                if not cosine.is_finite():
                    raise ArithmeticError("a class vector is too short for an interval of its cosines")
                lower[i, j], upper[i, j] = max(-1.0, _down(cosine)), min(1.0, _up(cosine))
    return lower, upper


def _shift(point: _Point) -> arb:
    """An upper bound on |D^{1/2} Z C 1| / sqrt(1^T C 1), the distance of Z' from its logits without shifts of rows.

    The optimum has none, and f is the same without them, so the bound rho on the distance is about those logits.
    """
    ones = arb_mat([[arb(1)]] * point.problem.K)
    weights = point.C * ones
    shifts = point.Z * weights
    square = sum((shifts[k, 0] ** 2 * d for k, d in enumerate(point.d)), arb(0))
    # A ball around 0 has no root, so its upper end is taken first.
    return arb((square / (ones.transpose() * weights)[0, 0]).upper()).sqrt()


def _cholesky(C: arb_mat) -> arb_mat:
    """F lower triangular with F F^T = C."""
    K = C.nrows()
    F = [[arb(0)] * K for _ in range(K)]
    for i in range(K):
        for j in range(i + 1):
            rest = C[i, j] - sum((F[i][k] * F[j][k] for k in range(j)), arb(0))
            F[i][j] = rest.sqrt() if i == j else rest / F[j][j]
    return arb_mat(F)


def _least_spread(point: _Point, k: int) -> arb:
    """A lower bound on the least eigenvalue, on sum-zero vectors, of V^T (I - 11^T/n) V; V: the softmax's classes."""
    K, lam = point.problem.K, point.losses.lam[k]
    if point.problem.partition == "classes":
        return arb(1)
    if point.problem.partition == "pairs":
        return K * (lam**2 + (1 - lam) ** 2)
    classes = [(a, b) for a in range(K) for b in range(a + 1, K)]
    V = arb_mat([[lam * int(i == a) + (1 - lam) * int(i == b) for i in range(K)] for a, b in classes])
    n = len(classes)
    mean = arb_mat([[arb(1) / n] * n for _ in range(n)])
    A = V.transpose() * (V - mean * V) + arb_mat([[arb(1)] * K for _ in range(K)])
    return 1 / trace(A.inv())  # the added 11^T acts on the constant vector only
