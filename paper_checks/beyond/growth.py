"""How fast the threshold grows with the budgets: exponentially, at a rate in closed form."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lpm.family import Family
from lpm.mixing import fixed
from paper_checks.claim import Finding, Quantity, check, conclude
from paper_checks.interval import Interval
from paper_checks.lab import Lab

GROWING = (
    ("plain", "", 4, 0.5),
    ("plain", "", 10, 0.5),
    ("fc", "block", 4, 0.5),
    ("fc", "product", 4, 0.5),
    ("fc", "product", 4, 0.3),
    ("fc", "block", 10, 0.3),
    ("ms", "product", 4, 0.5),
    ("ms", "product", 4, 0.3),
)
"""Programs whose growth is measured: program, profile, K, lambda; K_A = K/2."""


@check("exponential-rate")
def exponential_rate(
    lab: Lab, *, cases: Sequence[tuple[str, str, int, float]] = GROWING, ms_depends: bool = True, rate: float = 1.0
) -> Finding:
    """Statement: R0 grows exponentially in the root of the budgets, with a rate that for FC is free of lambda.

    So the core of "independent of the mixup ratio" is true: the rate depends on label pairs alone. R0 itself does not,
    and for mixed-singleton the rate depends on lambda, too.

    Where: beyond the paper; docs/theory/collapse-law.md.
    Quote: none
    Formula: ln R0 = kappa tau / N* + O(1), tau = sqrt(E_H E_W). N* is the least nuclear norm of majority rows whose
        labels' logits are equal and exceed all others by 1. plain: (K_A - 1 + sqrt(K_B/K)) / K. fc: ((K_A - 1)
        sqrt(2 K_A - 3) + sqrt((4 K_A - 3) K_B / K)) / K^(3/2). kappa = 1; for ms kappa = min(lambda, 1-lambda) /
        sqrt(q), against the N* of fc.
    Assumptions: block or product frequencies, a law of lambda on finitely many values in (0, 1), K_B >= 2.
    Test: The proof. Certified R0 at tau = 3 and 4: the slope of ln R0 lies within 2 % of the rate for plain and fc at
        lambda = 1/2 and 0.3 and for ms.
    Verdict: Proved, with closed forms of N*, which the tests compare with a convex solver.
    Overturned by: a law of lambda with mass near 0, where the constant is not bounded.
    References: the paper's Finding 2; Soudry et al. 2018 for the same exponent in margins without mixup (not read).

    Args:
        lab: the instruments.
        cases: programs as in ``GROWING``.
        ms_depends: whether the rate of ms is claimed to depend on lambda.
        rate: what the rate is claimed to be, as a multiple of the formula.
    """
    quantities, slopes = [], []
    for program, profile, K, lam in cases:
        kappa = min(lam, 1 - lam) / math.sqrt(lam**2 + (1 - lam) ** 2) if program == "ms" and ms_depends else 1.0
        expected = rate * kappa / (least_norm_plain(K, K // 2) if program == "plain" else least_norm_fc(K, K // 2))
        low, high = (
            _log(lab.threshold(Family(program, profile, K, mixing=fixed(lam), e_h=tau**2), R_max=1e8))
            for tau in (3.0, 4.0)
        )
        slope = high - low
        name = f"{program} {profile}, K={K}, lambda={lam}"
        slopes.append(f"{slope} / {expected:.4f} ({name})")
        quantities.append(
            Quantity(f"slope of ln R0 from tau = 3 to 4 ({name})", expected, slope, tolerance=0.02 * expected)
        )
    return conclude(
        quantities,
        evidence="slope / rate: " + "; ".join(slopes),
        instances="K_A = K/2; "
        + "; ".join(f"{program} {profile}, K={K}, lambda={lam}" for program, profile, K, lam in cases),
    )


def _log(R0: Interval | None) -> Interval:
    if R0 is None:
        raise ArithmeticError("no threshold up to R = 1e8")
    return Interval(math.log(R0.lower), math.log(R0.upper), R0.how)


def least_norm_plain(K: int, K_A: int) -> float:
    """Evaluate N* of the program without mixup: rows e_a less a common shift, D = C = I/K.

    Args:
        K: number of classes.
        K_A: number of majority classes.

    Returns:
        The norm.
    """
    return (K_A - 1 + math.sqrt((K - K_A) / K)) / K


def least_norm_fc(K: int, K_A: int) -> float:
    """Evaluate N* of LPM_lambda: rows e_a and e_a + e_b less a common shift, D = I/K^2, C = I/K.

    Args:
        K: number of classes.
        K_A: number of majority classes.

    Returns:
        The norm.
    """
    along = math.sqrt((4 * K_A - 3) * (K - K_A) / K)
    within = (K_A - 1) * math.sqrt(2 * K_A - 3) if K_A > 1 else 0.0
    return (within + along) / K**1.5
