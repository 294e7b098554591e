"""First-order solver for any label-pair frequencies: accelerated projected gradient, no symmetry needed.

Every label pair is written out. In Z' = D^{1/2} Z C^{1/2} the feasible set is the nuclear-norm ball of radius tau. Its
projection needs only the K x K factor of Z' = (Z' V) V^T: the eigenvectors V of Z'^T Z'. The roots of the eigenvalues
are projected onto the l1 ball; under a decay mu they are lowered by mu over the curvature of the step. An iteration
costs two m x K x K products and one pass of the loss. Momentum restarts when it points uphill (O'Donoghue and Candes
2015), and the step length is found by backtracking.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from lpm.coordinates import Coordinates
from lpm.frame import square_root
from lpm.losses import Losses
from lpm.problem import Problem, Rows
from lpm.recovery import fold
from lpm.solution import TOLERANCE, Solution, certify

MAX_ITERATIONS = 20_000
"""Default number of iterations after which the solver stops."""
PATIENCE = 1000
"""Iterations without a smaller gap that count as the end of double precision."""
CHUNK = 50_000
"""Logits that one pass of the loss handles at a time: few enough to stay in the second-level cache."""


def solve(problem: Problem, *, tolerance: float = TOLERANCE, max_iterations: int = MAX_ITERATIONS) -> Solution:
    """Solve a problem by accelerated projected gradient.

    Args:
        problem: the problem.
        tolerance: largest relative gap that is certified.
        max_iterations: iterations after which the solver stops.

    Returns:
        The certified solution.

    Raises:
        InvalidInput: if Z is too large to write out.
        NotCertified: if the gap is above ``tolerance`` after ``max_iterations``, or at the end of double precision.
    """
    start = time.perf_counter()
    full, orbit = problem.expand()
    merged, owner = _merge_alike(full)
    Z, iterations = _ProjectedGradient(merged).run(tolerance, max_iterations)
    coordinates = Coordinates(problem)
    X = fold(coordinates, orbit, full, Z[owner])
    return certify(
        coordinates,
        X,
        solver="factored",
        seconds=time.perf_counter() - start,
        iterations=iterations,
        tolerance=tolerance,
        remedy="raise max_iterations or loosen --tolerance",
    )


def _merge_alike(problem: Problem) -> tuple[Problem, np.ndarray]:
    """Merge rows with the same target.

    These are (a, b) at lambda and (b, a) at 1 - lambda, and (a, a) at any lambda for ``classes``. The loss is convex
    and the budget quadratic, so an optimum gives such rows equal logits if their p/d agree (else the more frequent one
    gets longer features). Their p and d add up. Both are compared to 12 digits; the point is certified for the problem
    as it was. Returns the merged problem, and for each old row the row that stands for it, (m,).
    """
    rows = problem.rows
    if rows.label is not None:  # with labels of any kind no two rows are merged
        return problem, np.arange(len(rows))
    a, b, lam = rows.first, rows.second, rows.lam
    if problem.partition == "classes":
        lam = np.where(rows.same, 1.0, lam)
    if problem.partition != "unordered":
        swap = (lam < 0.5) | ((lam == 0.5) & (a > b))
        a, b, lam = np.where(swap, b, a), np.where(swap, a, b), np.where(swap, 1 - lam, lam)
    keys = np.stack([a, b, np.round(lam, 12), np.round(np.log(rows.p / rows.d), 12)])
    _, first, owner = np.unique(keys, axis=1, return_index=True, return_inverse=True)
    merged = Rows(
        first=a[first],
        second=b[first],
        same=rows.same[first],
        lam=lam[first],
        count=np.ones(len(first)),
        p=np.bincount(owner, rows.p),
        d=np.bincount(owner, rows.d),
    )
    return replace(problem, rows=merged), owner


class _ProjectedGradient:
    """Accelerated projected gradient on Z' (m, K) of a written-out problem."""

    def __init__(self, problem: Problem) -> None:
        self.problem, rows = problem, problem.rows
        self.root_d = np.sqrt(rows.d)[:, None]
        _, self.C_inverse_half = square_root(problem)
        self.diagonal = problem.beta == 0.0 and bool(np.ptp(problem.c) == 0.0)
        step = max(1, CHUNK // problem.K)
        self.chunks = [slice(i, i + step) for i in range(0, len(rows), step)]
        self.losses = [Losses.of(problem, chunk, 0.0) for chunk in self.chunks]

    def logits(self, X: np.ndarray, chunk: slice) -> np.ndarray:
        """Logits of the rows ``chunk``, from Z' = X."""
        Z = X[chunk] / self.root_d[chunk]
        return Z * self.C_inverse_half[0, 0] if self.diagonal else Z @ self.C_inverse_half

    def value_and_gradient(self, X: np.ndarray, gradient: np.ndarray | None) -> float:
        """Return f at Z' = X; its gradient in Z' is written to ``gradient`` unless that is None."""
        rows, total = self.problem.rows, 0.0
        for chunk, losses in zip(self.chunks, self.losses, strict=True):
            p = rows.p[chunk]
            value, slope, _ = losses.evaluate(self.logits(X, chunk))
            total += float(p @ value)
            if gradient is not None:
                slope *= p[:, None] / self.root_d[chunk]
                gradient[chunk] = slope * self.C_inverse_half[0, 0] if self.diagonal else slope @ self.C_inverse_half.T
        return total

    def project(self, X: np.ndarray, lipschitz: float) -> np.ndarray:
        """Nearest point of the nuclear-norm ball; under a decay the proximal point at the curvature ``lipschitz``."""
        tau, decay = self.problem.tau, self.problem.decay
        squares, V = np.linalg.eigh(X.T @ X)
        s = np.sqrt(np.maximum(squares, 0.0))
        if decay is not None:
            shift = decay / lipschitz
        elif s.sum() <= tau:
            return X
        else:
            descending = s[::-1]
            excess = (np.cumsum(descending) - tau) / np.arange(1, len(s) + 1)
            larger = np.flatnonzero(descending > excess)
            if not larger.size:
                raise np.linalg.LinAlgError("singular values are not finite")
            shift = excess[larger[-1]]
        return X @ ((V * (np.maximum(s - shift, 0.0) / np.maximum(s, 1e-300))) @ V.T)

    def relative_gap(self, X: np.ndarray, f: float, gradient: np.ndarray) -> float:
        """Relative gap at Z' = X, from f and its gradient there."""
        top, inner = np.sqrt(np.linalg.eigvalsh(gradient.T @ gradient)[-1]), np.vdot(gradient, X)
        if self.problem.decay is None:
            return float((inner + self.problem.tau * top) / f)
        penalty = self.problem.decay * np.sqrt(np.maximum(np.linalg.eigvalsh(X.T @ X), 0.0)).sum()
        excess = max(0.0, top / self.problem.decay - 1) * self.at_zero
        return float((inner + penalty + excess) / (f + penalty))

    def run(self, tolerance: float, max_iterations: int) -> tuple[np.ndarray, int]:
        """Z (m, K) with relative gap at most 0.5 ``tolerance``, or the last iterate, and the iterations taken."""
        problem = self.problem
        X = np.zeros((len(problem.rows), problem.K))
        Y, G = X, np.empty_like(X)
        self.at_zero = self.value_and_gradient(X, None)
        # Start below the global bound 1/2 max p/d / lambda_min(C); backtracking raises it where the curvature asks.
        lipschitz = 0.1 * float((problem.rows.p / problem.rows.d).max()) * np.abs(self.C_inverse_half).max() ** 2
        momentum, iteration, best_gap, best_iteration = 1.0, 0, np.inf, 0
        while iteration < max_iterations:
            iteration += 1
            f = self.value_and_gradient(Y, G)
            while True:
                new = self.project(Y - G / lipschitz, lipschitz)
                step = new - Y
                f_new = self.value_and_gradient(new, None)
                if f_new <= f + np.vdot(G, step) + lipschitz / 2 * np.vdot(step, step) + 1e-15 * abs(f):
                    break
                lipschitz *= 1.5
            lipschitz *= 0.97
            if np.vdot(step, new - X) < 0:
                momentum = 1.0
            next_momentum = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
            Y = new + ((momentum - 1) / next_momentum) * (new - X)
            X, momentum = new, next_momentum
            if iteration % 10 == 0:
                gap = self.relative_gap(X, self.value_and_gradient(X, G), G)
                if gap < 0.9 * best_gap:
                    best_gap, best_iteration = gap, iteration
                if gap <= 0.5 * tolerance or iteration > best_iteration + PATIENCE:
                    break
        return np.concatenate([self.logits(X, chunk) for chunk in self.chunks]), iteration
