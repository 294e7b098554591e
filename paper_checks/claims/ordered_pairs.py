"""Claims about the label pairs a < b, to which the paper restricts its methods."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lpm.family import Family
from lpm.mixing import Mixing, beta, fixed
from lpm.pairs import ClassCounts, balanced, imbalanced, product, table
from lpm.problem import Problem
from lpm.programs import fc, ms_unordered
from paper_checks.claim import Finding, Quantity, Repair, check, conclude, contradictions
from paper_checks.claims.balancing import ANGLE, etf
from paper_checks.lab import Lab


def upper_triangle(K: int) -> np.ndarray:
    """Make the table of counts with 1 on the label pairs a < b and 0 elsewhere.

    Args:
        K: number of classes.

    Returns:
        Counts (K, K).
    """
    return np.triu(np.ones((K, K)), 1)


def distinct_pairs(classes: ClassCounts) -> Problem:
    """Build FC on the label pairs a < b at lambda = 1/2, product frequencies, with classes that stay exchangeable.

    At lambda = 1/2 the pairs (a, b) and (b, a) are the same. So a < b is a != b, at twice the budget of E_H = 5, which
    is a mean over all K^2.

    Args:
        classes: class counts.

    Returns:
        The program.
    """
    return fc(replace(product(classes), same=np.zeros(len(classes.sizes))), e_h=10)


TWO_POINTS = Mixing(np.array([0.25, 0.75]), np.array([0.5, 0.5]), "1/4 or 3/4")
"""A law symmetric about 1/2 that ball arithmetic can hold exactly."""


@check("a-less-than-b", "Proposition 1", "Theorem 1")
def a_less_than_b(
    lab: Lab, *, laws: tuple[Mixing, ...] = (fixed(0.5), beta(1.0, 16), beta(0.2, 16), TWO_POINTS)
) -> Finding:
    """Statement: With only the label pairs a < b, all equally frequent, all angles are equal (Proposition 1).

    An imbalance still makes the minority collapse (Theorem 1). This claim is for the usual classifier (FC).

    Where: §4.2, last paragraph; Appendix C.3.
    Quote: we generated mixed labels (a,b) only for the case where a < b, ensuring that the existing theorem and
        proposition still hold
    Formula: LPM_lambda with n_(a,b) = 1 for a < b and 0 otherwise: cos = -1/(K-1).
    Assumptions: lambda ~ Beta(alpha, alpha), as §3.2 and Eq. 14 say, or another law that is symmetric about 1/2.
    Test: Certified cosines for K = 3, 4, 5 under lambda = 1/2, Beta(1,1), Beta(0.2,0.2) and a two-point law; collapse
        at a large R with a < b. For comparison, the fixed lambda = 0.3.
    Verdict: It holds, because the paper's law is symmetric about 1/2: (a, b) at lambda is then as frequent as (b, a),
        so all classes are exchangeable. On the other side, the proofs of Appendix C fix one lambda. At a fixed lambda
        != 1/2 the lower class of every pair has the weight lambda and the higher one 1 - lambda. Classes are then not
        exchangeable, and the certified cosines differ. The paper uses no such law, so this is no counterexample. The
        paper's own argument (Proposition 2) is vacuous, and could not show collapse (prop2-theorem1).
    Overturned by: a law of lambda that is not symmetric, such as Beta(2, 1).
    References: none beside the paper.

    Args:
        lab: the instruments.
        laws: laws of lambda to try.
    """
    quantities = [
        q
        for K in (3, 4, 5)
        for law in laws
        for q in etf(lab.cosines(fc(table(upper_triangle(K)), law)), f"a < b, K={K}, lambda {law.label}")
    ]
    rare = imbalanced(6, 4, 1e4)
    both = distinct_pairs(rare)
    half = fc(table(np.triu(np.outer(rare.counts, rare.counts)[np.ix_(rare.group_of, rare.group_of)], 1)))
    collapse = [
        Quantity(
            "optimum on a < b against a != b at twice E_H (lambda=1/2)",
            lab.loss(both),
            lab.loss(half),
            tolerance=1e-6,
        ),
        Quantity("collapsed at R = 10^4 (a < b, product, K=6, K_A=4, lambda=1/2)", True, lab.collapsed(both)),
    ]
    tilted = lab.cosines(fc(table(upper_triangle(4)), fixed(0.3)))
    return conclude(
        [*quantities, *collapse],
        evidence="all cosines are -1/(K-1) for laws of lambda symmetric about 1/2; at fixed lambda = 0.3, "
        "K=4, they range from "
        f"{tilted.smallest()} to {tilted.largest()}",
        instances="K = 3, 4, 5; lambda = " + ", ".join(law.label for law in laws),
        repair=Repair(
            "At one fixed lambda = 0.3 the angles differ.",
            [Quantity("largest minus smallest cosine (a < b, K=4, lambda = 0.3)", ANGLE, tilted.range(), ">")],
        ),
    )


@check("a-less-than-b-ms", "Proposition 1")
def a_less_than_b_ms(lab: Lab, *, laws: tuple[Mixing, ...] = (TWO_POINTS, beta(1.0, 16))) -> Finding:
    """Statement: With only the label pairs a < b, all equally frequent, all angles are equal for MS too.

    Where: §4.2, last paragraph, "mitigating the limitations of both methods"; Appendix C.3.
    Quote: ensuring that the existing theorem and proposition still hold, thereby mitigating the limitations of both
        methods
    Formula: softmax over the K(K-1)/2 vectors lambda w_a + (1 - lambda) w_b, a < b; cos(w_a, w_b) = -1/(K-1)?
    Assumptions: all pairs a < b equally frequent; budgets are means over the label pairs; lambda symmetric about 1/2.
    Test: Certified cosines for K = 4, 5 under the two-point law (1/4 or 3/4) and Beta(1,1) (16 nodes), and at lambda =
        1/2.
    Verdict: The order of the classes enters the classifier itself. At lambda != 1/2 permutations of the classes do not
        preserve its set of classes lambda w_a + (1 - lambda) w_b, a < b. Averaging over a symmetric law of lambda does
        not restore the symmetry. The certified cosines differ, so the geometry of BMLS + MS, as the paper runs it,
        depends on how classes are numbered. At lambda = 1/2, or with all K^2 label pairs, all angles are equal.
    Overturned by: drawing the order of each label pair at random instead of a < b.
    References: none beside the paper.

    Args:
        lab: the instruments.
        laws: laws of lambda to try.
    """
    quantities, symmetric = [], []
    for K in (4, 5):
        for law in laws:
            cosines = lab.cosines(ms_unordered(balanced(imbalanced(K)), law))
            quantities += etf(cosines, f"MS, a < b, K={K}, lambda {law.label}")
        half = lab.cosines(ms_unordered(balanced(imbalanced(K)), fixed(0.5)))
        symmetric += etf(half, f"MS, a < b, K={K}, lambda = 1/2")
    symmetric += etf(
        lab.cosines(Family("ms", "balanced", mixing=TWO_POINTS).at(1)), "MS, all K^2, K=4, lambda 1/4 or 3/4"
    )
    return conclude(
        quantities,
        evidence=contradictions(quantities),
        instances="K = 4, 5; lambda " + ", ".join(law.label for law in laws) + "; E_H=5, E_W=1",
        repair=Repair("All angles are equal with all K^2 label pairs, or at lambda = 1/2.", symmetric),
    )
