r"""Reference solver: the paper's Eq. 11 as printed, a semidefinite program. It is the only file that imports cvxpy.

.. math::
    \min_{X \succeq 0}\ \sum_k p_k \mathcal L(z_k, y_k) \quad\text{s.t.}\quad
    \sum_k d_k X(k, k) \le e_H,\quad \langle C, X_{WW} \rangle \le e_W,\quad z_k = X(k, m+1 : m+K)

with m label pairs (K^2 in Eq. 11), d_k = 1/K^2 and C = I/K there. Under a decay mu the two constraints become mu/2 times
their left-hand sides in the objective. It is slow by design: X has (m + K)^2 unknowns.
"""

from __future__ import annotations

import contextlib
import time
import warnings
from typing import TYPE_CHECKING, Literal

import numpy as np

from lpm.console.errors import InvalidInput, NotCertified
from lpm.coordinates import Coordinates
from lpm.losses import Losses
from lpm.problem import Problem
from lpm.recovery import fold
from lpm.solution import TOLERANCE, Solution, certify

if TYPE_CHECKING:
    import cvxpy as cp

MAX_WIDTH = 42
"""Largest width m + K of X without ``force``: K = 6 in Eq. 11. Larger ones take minutes and gigabytes."""

Conic = Literal["clarabel", "scs"]
"""Conic solvers."""

OPTIONS: dict[str, list[dict[str, float]]] = {
    "clarabel": [
        {"tol_gap_abs": 1e-12, "tol_gap_rel": 1e-12, "tol_feas": 1e-12, "max_step_fraction": fraction}
        for fraction in (0.8, 0.95, 0.6)
    ],
    "scs": [{"eps_abs": 1e-9, "eps_rel": 1e-9, "max_iters": 100_000}],
}
"""Options of the conic solvers, tried in turn. They are tight, because the certificate is first order: an objective
right to 1e-9 can have a gap of 1e-5. Clarabel with its default step fraction sometimes gives up early at such settings,
so shorter steps are tried."""


def solve(
    problem: Problem, *, tolerance: float = TOLERANCE, conic: Conic = "clarabel", force: bool = False
) -> Solution:
    """Solve Eq. 11 with Clarabel or SCS and certify the Z block; the conic solver's own status is not trusted.

    Args:
        problem: the problem.
        tolerance: largest relative gap that is certified.
        conic: the conic solver.
        force: solve even if X is wider than ``MAX_WIDTH``.

    Returns:
        The certified solution.

    Raises:
        InvalidInput: if X would be wider than ``MAX_WIDTH`` and ``force`` is not set.
        NotCertified: if the conic solver fails, or its Z misses the tolerance. SCS often does: it is a first-order
            method.
    """
    import cvxpy as cp

    start = time.perf_counter()
    full, orbit = problem.expand()
    rows, K, m = full.rows, full.K, len(full.rows)
    if m + K > MAX_WIDTH and not force:
        raise InvalidInput(
            f"the semidefinite matrix of Eq. 11 would be {m + K} wide, more than {MAX_WIDTH}; use --solver orbits or "
            "factored, or --force to wait"
        )
    X = cp.Variable((m + K, m + K), PSD=True)
    Z = X[:m, m:]
    losses, lam = Losses.of(full, slice(None), 0.0), rows.lam[:, None]
    of_pair = np.zeros((m, K)) if losses.pair_offset is None else losses.pair_offset
    U = Z if losses.factor is None else cp.multiply(losses.factor, Z)
    loss = -cp.sum(cp.multiply(rows.p[:, None] * losses.target(K), U))  # without the constant of offsets
    for mass, added in losses.softmaxes(K):
        V = U + added
        if full.partition == "classes":
            partition = cp.log_sum_exp(V, axis=1)
        elif full.partition == "pairs":
            sides = (cp.multiply(ratio, V) + of_pair for ratio in (lam, 1 - lam))
            partition = sum(cp.log_sum_exp(side, axis=1) for side in sides)
        else:
            a, b = np.triu_indices(K, 1)
            both = cp.multiply(lam, V[:, a]) + cp.multiply(1 - lam, V[:, b])
            partition = cp.log_sum_exp(both + of_pair[:, a] + of_pair[:, b], axis=1)
        loss += (rows.p * mass) @ partition
    C = full.C_block
    features, classifier = rows.d @ cp.diag(X)[:m], cp.sum(cp.multiply(C, X[m:, m:]))
    if full.decay is None:
        program = cp.Problem(cp.Minimize(loss), [features <= full.e_h, classifier <= full.e_w])
    else:
        program = cp.Problem(cp.Minimize(loss + full.decay / 2 * (features + classifier)))
    coordinates, solver, best = Coordinates(problem), f"sdp ({conic})", None
    for options in OPTIONS[conic]:
        _run(program, conic, options)
        if Z.value is None:
            continue
        point = fold(coordinates, orbit, full, Z.value)
        try:
            return certify(
                coordinates,
                point,
                solver=solver,
                seconds=time.perf_counter() - start,
                iterations=int(program.solver_stats.num_iters or 0),
                tolerance=tolerance,
                remedy="use --solver orbits or factored, or loosen --tolerance",
            )
        except NotCertified as refusal:
            best = refusal if best is None or refusal.gap < best.gap else best
    raise best or NotCertified(
        gap=float("inf"),
        relative_gap=float("inf"),
        tolerance=tolerance,
        solver=solver,
        remedy=f"{conic} ended as {program.status}; use --solver orbits or factored",
    )


def _run(program: cp.Problem, conic: Conic, options: dict[str, float]) -> None:
    """Run the conic solver. Its complaints do not matter, because the certificate judges its result."""
    import cvxpy as cp

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Solution may be inaccurate", category=UserWarning)
        with contextlib.suppress(cp.SolverError):
            program.solve(solver=conic.upper(), **options)
