"""The same questions under budgets: logit adjustment, small budgets, every larger R, tempered pairs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from lpm.chords import prove
from lpm.family import Family
from lpm.mixing import fixed
from lpm.pairs import imbalanced, product
from lpm.problem import Problem
from lpm.programs import fc
from lpm.threshold import search
from paper_checks.claim import Curve, Finding, Plot, Quantity, check, conclude
from paper_checks.interval import FLOAT64, Interval
from paper_checks.lab import Lab


def adjusted(family: Family, strength: float) -> Callable[[float], Problem]:
    """Add logit adjustment to a family: ``strength log pi`` on the logits in the loss.

    Args:
        family: the programs without it.
        strength: tau; 1 is balanced softmax.

    Returns:
        The program at an imbalance.
    """

    def at(R: float) -> Problem:
        problem = family.at(R)
        shares = np.array([R, 1.0]) / (problem.sizes @ np.array([R, 1.0]))
        return replace(problem, offset=strength * np.log(shares))

    return at


def lowest(at: Callable[[float], Problem], name: str, R_min: float = 1.05, R_max: float = 1e4) -> Interval:
    """Enclose the lowest threshold on the grid of :func:`lpm.threshold.search`.

    Args:
        at: the program at an imbalance.
        name: what it is, for the error.
        R_min: lower end of the search.
        R_max: upper end of the search.

    Returns:
        The certified bracket.

    Raises:
        ArithmeticError: if there is none.
    """
    bracket = search(at, R_min, R_max).bracket
    if bracket is None:
        raise ArithmeticError(f"{name}: no certified threshold in [{R_min:g}, {R_max:g}]")
    return Interval(*bracket, FLOAT64)


FOUND = {
    "plain": "47.7 107.3 46.3 20.6 12.0",
    "fc": "297.8 1079.0 240.7 60.4 25.4",
    "fc at lambda = 0.1": "350.3 1699 434.9 98.6 38.6",
    "fc at K = 10": "23.3 48.9 27.4 14.5 9.1",
}
"""R0 with logit adjustment of strength 0, 1/2, 1, 3/2, 2; K = 4 unless it says otherwise. The last digit is rounded."""
STRENGTHS = (0.0, 0.5, 1.0, 1.5, 2.0)

FAMILIES = {
    "plain": Family("plain"),
    "fc": Family("fc", "product"),
    "fc at lambda = 0.1": Family("fc", "product", mixing=fixed(0.1)),
    "fc at K = 10": Family("fc", "product", 10),
}


def half_a_digit(number: str) -> float:
    """Give the rounding of a number as text.

    Args:
        number: decimal digits.

    Returns:
        Half a unit of its last digit.
    """
    return 0.5 * 10.0 ** -len(number.partition(".")[2])


@check("adjustment-budgets")
def adjustment_under_budgets(lab: Lab, *, found: Mapping[str, str] = FOUND, best: float = 0.44) -> Finding:
    """Statement: Under budgets logit adjustment moves collapse, and cures it at no strength that was tried.

    Strength 1/2 delays it two- to fivefold. Strength 1, balanced softmax, changes little, and more makes it earlier.

    Where: beyond the paper; docs/theory/collapse-law.md.
    Quote: none
    Formula: R0 at offsets tau log pi.
    Assumptions: K = 4, K_A = 2 and K = 10, K_A = 5; product frequencies; E_H = 5, E_W = 1; the lowest threshold from
        R = 1.05 to 10,000, on a grid.
    Test: Certified brackets of R0 at strength 0, 1/2, 1, 3/2, 2. For fc at lambda = 1/2 also at the strength with the
        largest R0, and 0.05 to both sides of it. Collapse at 1.03 and its absence at 0.97 of R0 at strength 1/2, in
        balls with --rigorous.
    Verdict: A threshold is finite and certified at every strength that was tried. That it is for all is not proved.
    Overturned by: a strength without collapse at any R.
    References: Menon et al. 2021 for logit adjustment (not read).

    Args:
        lab: the instruments.
        found: R0 of some of ``FAMILIES`` at each of ``STRENGTHS``, with rounded last digits.
        best: the strength at which R0 of ``fc`` is largest.
    """
    quantities, curves, evidence = [], [], []
    for name, numbers in found.items():
        R0s = [lowest(adjusted(FAMILIES[name], tau), name) for tau in STRENGTHS]
        quantities += [
            Quantity(f"R0 at strength {tau:g} ({name})", float(claimed), R0, tolerance=half_a_digit(claimed))
            for tau, claimed, R0 in zip(STRENGTHS, numbers.split(), R0s, strict=True)
        ]
        quantities += [
            Quantity(f"R0 at strength 1/2, twice that at 0 or more ({name})", 2 * R0s[0].upper, R0s[1], ">="),
            Quantity(f"R0 at strength 3/2, below that at 0 ({name})", R0s[0], R0s[3], "<"),
            *(
                Quantity(f"R0 at strength {high:g}, below that at {low:g} ({name})", before, after, "<")
                for (low, before), (high, after) in pairwise(zip(STRENGTHS[1:], R0s[1:], strict=True))
            ),
        ]
        evidence.append(f"{name}: R0 = " + ", ".join(str(R0) for R0 in R0s))
        curves.append(Curve(name, STRENGTHS, [R0.middle for R0 in R0s]))
    for name in sorted({"plain", "fc"} & set(found)):
        at, R0 = adjusted(FAMILIES[name], 0.5), float(found[name].split()[1])
        quantities += [
            Quantity(f"collapsed at {factor} of R0, strength 1/2 ({name})", factor > 1, lab.collapsed(at(factor * R0)))
            for factor in (0.97, 1.03)
        ]
    low, top, high = (lowest(adjusted(FAMILIES["fc"], best + step), "fc", R_min=100) for step in (-0.05, 0.0, 0.05))
    quantities += [
        Quantity(f"R0 at strength {best + step:.2f}, below that at {best:g} (fc)", top, side, "<")
        for step, side in ((-0.05, low), (0.05, high))
    ]
    return conclude(
        quantities,
        evidence="; ".join(evidence) + f"; largest {top} at {best:g} (fc)",
        instances="product; " + ", ".join(found) + "; strengths 0 to 2",
        plot=Plot("strength of logit adjustment", "threshold R0", curves, log_y=True),
    )


@check("small-budgets")
def small_budgets(lab: Lab, *, limit: float = 1.0) -> Finding:
    """Statement: As the budgets vanish R0 tends to 1, or with block frequencies to another closed form.

    Where: beyond the paper; docs/theory/collapse-law.md.
    Quote: none
    Formula: plain, fc and ms with product frequencies: 1. fc with block frequencies: sqrt(min(K_B/K_A, max(0, qK/K_A -
        1))).
    Assumptions: K_B >= 2.
    Test: At E_H E_W = 1e-8 certify collapse at 1.02 times the limit and its absence at 0.98 times.
    Verdict: Proved: at Z = 0 the softmax is uniform, so all norms of the dual condition are closed forms.
    Overturned by: a certified optimum on the other side at budgets that go to 0.
    References: none beside this project.

    Args:
        lab: the instruments.
        limit: what the limits are claimed to be, as a multiple of the formula.
    """
    cases = (
        *(
            ("plain", "", 4, 2, 0.5),
            ("fc", "product", 4, 2, 0.5),
            ("fc", "product", 9, 2, 0.1),
            ("ms", "product", 6, 3, 0.3),
        ),
        *(("fc", "block", 10, 3, 0.1), ("fc", "block", 7, 2, 0.2), ("fc", "block", 6, 2, 0.5)),
    )
    quantities = []
    for program, profile, K, K_A, lam in cases:
        q = lam**2 + (1 - lam) ** 2
        R = limit * (math.sqrt(min((K - K_A) / K_A, max(0.0, q * K / K_A - 1))) if profile == "block" else 1.0)
        family = Family(program, profile, K, K_A=K_A, mixing=fixed(lam), e_h=1e-8)
        for factor in (0.98, 1.02):
            quantities.append(
                Quantity(
                    f"collapsed at {factor} of the limit {R:.4g} ({family.name}, K={K}, K_A={K_A}, lambda={lam})",
                    factor > 1,
                    lab.collapsed(family.at(factor * R)),
                )
            )
    return conclude(
        quantities,
        evidence=f"{sum(q.agrees is True for q in quantities)} of {len(quantities)} certified optima agree",
        instances="; ".join(
            f"{program} {profile}, K={K}, K_A={K_A}, lambda={lam}" for program, profile, K, K_A, lam in cases
        ),
    )


COVERED = (("plain", ""), ("fc", "block"), ("fc", "product"), ("ms", "product"))
"""Programs and profiles for which collapse at every large R is proved."""


@check("collapse-at-every-R")
def collapse_at_every_R(lab: Lab, *, families: Sequence[tuple[str, str]] = COVERED, multiple: float = 1.01) -> Finding:
    """Statement: Collapse holds at every imbalance R >= R1, with R1 hardly above the threshold R0.

    Where: beyond the paper; docs/theory/collapse-law.md.
    Quote: none
    Formula: chords of the restricted optimal value (docs/theory/collapse.md).
    Assumptions: K = 4, K_A = 2; E_H = 5, E_W = 1; frequencies that are polynomials in 1/R.
    Test: Prove collapse on intervals of 1/R that cover (0, 1 / (1.01 R0)].
    Verdict: The restricted value is concave in the weights of the rows and convex in the radius, so a few solves prove
        whole intervals. In float64, with bounds on rounding.
    Overturned by: one R >= R1 with a certified absence of collapse.
    References: Theorem 1 of the paper states the limit.

    Args:
        lab: the instruments.
        families: programs and profiles.
        multiple: R1 / R0.
    """
    quantities, found = [], []
    for program, profile in families:
        family = Family(program, profile)
        R0 = lab.threshold(family)
        if R0 is None:
            raise ArithmeticError(f"{family.name}: no threshold")
        ends = prove(family, multiple * R0.upper)
        found.append(f"{family.name}: {multiple * R0.upper:.5g}")
        quantities.append(
            Quantity(f"collapse at every R >= {multiple * R0.upper:.5g} ({family.name})", True, ends is not None)
        )
    return conclude(
        quantities, evidence="collapse proved from R1 = " + "; ".join(found), instances="; ".join(found), known=FLOAT64
    )


@check("tempered-pairs")
def tempered_pairs(lab: Lab, *, onset: float | None = None) -> Finding:
    """Statement: Label pairs drawn like (n_a n_b)^gamma avoid collapse up to an exponent below 1.

    Where: beyond the paper; docs/theory/collapse-law.md.
    Quote: none
    Formula: two groups of imbalance R: the program is that of product frequencies at R^gamma. So collapse sets in at
        gamma = ln R0 / ln R under budgets. Under decay c_B is that of R^gamma.
    Assumptions: two groups; K = 4 and 10; E_H = 5, E_W = 1; R = 1000.
    Test: Certified brackets of R0, then certified collapse or its absence 0.005 above and below gamma, on the tempered
        table itself.
    Verdict: Proved as an identity; R0 is certified. Complete balance, gamma = 0, is not needed.
    Overturned by: more than one threshold below R.
    References: none beside this project.

    Args:
        lab: the instruments.
        onset: the exponent at K = 4 that is claimed, None for ln R0 / ln R.
    """
    quantities, R = [], 1000.0
    found = []
    for K in (4, 10):
        R0 = lab.threshold(Family("fc", "product", K))
        if R0 is None:
            raise ArithmeticError("no threshold")
        gamma = math.log(R0.middle) / math.log(R)
        found.append(f"{gamma:.4f} (K={K})")
        if onset is not None:
            gamma = onset
        for step in (-0.005, 0.005):
            counts = imbalanced(K, None, R)
            pairs = product(replace(counts, counts=counts.counts ** (gamma + step)))
            quantities.append(
                Quantity(
                    f"collapsed at gamma = {gamma + step:.4f} (K={K}, R=1000)",
                    step > 0,
                    lab.collapsed(fc(pairs, fixed())),
                )
            )
    return conclude(
        quantities,
        evidence="collapse sets in at gamma = " + ", ".join(found),
        instances="K = 4, 10; R = 1000; lambda = 1/2",
    )
