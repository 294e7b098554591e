"""Appendix C.3: Proposition 2 and the steps of its proof."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np

from lpm import geometry
from lpm.mixing import beta
from lpm.pairs import imbalanced
from paper_checks.claim import Finding, Quantity, Repair, check, conclude, contradictions
from paper_checks.claims.ordered_pairs import distinct_pairs
from paper_checks.interval import EXACT, PLAIN
from paper_checks.lab import Lab, pair_vectors

Moments = tuple[Fraction, Fraction]
"""E[lambda^2] = E[(1-lambda)^2] and E[lambda (1-lambda)] of a law that is symmetric about 1/2."""


def _class_vectors_at_three(lam: float) -> np.ndarray:
    """Gram matrix of W at K = 3 when the three vectors lambda w_a + (1-lambda) w_b, a < b, form a 3-simplex ETF."""
    inverse = np.linalg.inv(pair_vectors(3, lam, unordered=True))
    return inverse @ geometry.simplex_etf(3) @ inverse.T


@check("prop2", "Proposition 2", "Eq. 22", "Eq. 23")
def prop2(lab: Lab, *, Ks: tuple[int, ...] = (4, 5, 6, 10, 100), lambdas: tuple[float, ...] = (0.5,)) -> Finding:
    """Statement: If the class vectors of the label pairs a < b form a |K^<|-simplex ETF, then W is a K-simplex ETF.

    Where: Proposition 2, Appendix C.3; Eq. 22, 23.
    Quote: W is a K-simplex ETF if
    Formula: {lambda w_a + (1-lambda) w_b : a < b}, n = K(K-1)/2 vectors; an n-simplex ETF has rank n - 1.
    Assumptions: the label pairs' vectors are combinations of the K rows of W, as Eq. 3 says.
    Test: Ranks: n - 1 against K. The distance of the ETF's Gram matrix from every A G A^T, where A maps W to the label
        pairs' means. At K = 3, where the hypothesis can be met, the cosines of the W that meets it.
    Verdict: The n vectors span at most K dimensions, and n - 1 = K(K-1)/2 - 1 exceeds K for K >= 4 (5 against 4 at K =
        4). So no W meets the hypothesis there, and the proposition is vacuous. At K = 3 the hypothesis can be met. For
        the means over lambda, which the proof uses (Eq. 20), the proposition is true; for a fixed lambda of 0.3 it is
        false. What is true: W is an ETF exactly if the means (w_a + w_b)/2 have equal norms, cosine
        (K-4)/(2(K-2)) when they share a class, and -2/(K-2) when they do not.
    Overturned by: label-pair vectors that are free parameters, which MS does not have.
    References: the Gram matrix in the repair is that of the triangular (Johnson) graph J(K, 2).

    Args:
        lab: unused; the numbers are exact.
        Ks: numbers of classes whose ranks are compared.
        lambdas: mixing ratios to try at K = 3.
    """
    hypothesis = [
        Quantity(f"rank of a K(K-1)/2-simplex ETF, at most the rank K of W (K={K})", K, K * (K - 1) // 2 - 1, "<=")
        for K in Ks
    ]
    quantities = []
    for lam in lambdas:
        cosines = geometry.cosines(_class_vectors_at_three(lam))[np.triu_indices(3, 1)]
        quantities.append(
            Quantity(
                f"largest minus smallest cosine of W (K=3, lambda={lam})", 0.0, float(np.ptp(cosines)), tolerance=1e-12
            )
        )
    distances = []
    for K in (3, 4, 5, 6):
        A = pair_vectors(K, 0.5, unordered=True)
        P, E = A @ np.linalg.pinv(A), geometry.simplex_etf(K * (K - 1) // 2)
        distances.append(float(np.linalg.norm(E - P @ E @ P)))
    truths = [
        Quantity(f"distance of the ETF's Gram matrix from all A G A^T (K={K})", 1e-9, x, "<" if K == 3 else ">")
        for K, x in zip((3, 4, 5, 6), distances, strict=True)
    ]
    for K in (4, 5, 6, 10):
        A = pair_vectors(K, 0.5, unordered=True)
        gram = geometry.cosines(A @ geometry.simplex_etf(K) @ A.T)
        shared = (A > 0).astype(int) @ (A > 0).astype(int).T
        for value, number, name in (
            (((K - 4) / (2 * (K - 2))), 1, "sharing a class"),
            (-2 / (K - 2), 0, "sharing none"),
        ):
            cosines = gram[shared == number]
            truths.append(
                Quantity(
                    f"cosine of label pairs {name} for W an ETF (K={K})", value, float(cosines.mean()), tolerance=1e-12
                )
            )
            ptp_name = f"largest minus smallest of these cosines ({name}, K={K})"
            truths.append(Quantity(ptp_name, 0.0, float(np.ptp(cosines)), tolerance=1e-12))
        truths.append(
            Quantity(f"rank of W -> label pairs, so the converse holds (K={K})", K, int(np.linalg.matrix_rank(A)))
        )
    difference = np.ptp(geometry.cosines(_class_vectors_at_three(0.3))[np.triu_indices(3, 1)])
    return conclude(
        quantities,
        hypothesis=hypothesis,
        evidence=contradictions(hypothesis, 2) + f"; at K = 3 it is true for the means; at fixed lambda = 0.3 "
        f"the cosines differ by up to {difference:.3f}",
        instances="ranks for K = " + ", ".join(map(str, Ks)) + f"; K = 3 at lambda = {lambdas}",
        repair=Repair(
            "W is a K-simplex ETF exactly if the K(K-1)/2 means (w_a + w_b)/2 have the Gram matrix of J(K, 2): "
            "two cosines, not one.",
            truths,
        ),
    )


def _etf_inner(first: tuple[int, int], second: tuple[int, int], K: int, moments: Moments) -> Fraction:
    """E[v_(a,b) . v_(c,d)] for v = lambda w_a + (1-lambda) w_b at one lambda, W a K-simplex ETF of unit vectors.

    ``moments`` are E[lambda^2] = E[(1-lambda)^2] and E[lambda (1-lambda)].
    """
    square, mixed = moments

    def inner(i: int, j: int) -> Fraction:
        return Fraction(1) if i == j else Fraction(-1, K - 1)

    (a, b), (c, d) = first, second
    return square * (inner(a, c) + inner(b, d)) + mixed * (inner(a, d) + inner(b, c))


UNIFORM = Fraction(1, 3), Fraction(1, 6)
"""E[lambda^2] and E[lambda (1-lambda)] for lambda ~ Beta(1,1)."""

HALF = Fraction(1, 4), Fraction(1, 4)
"""The same for lambda = 1/2, where Eq. 3 and Eq. 20 agree."""


@check("eq20", "Eq. 20", "Eq. 3")
def eq20(
    lab: Lab, *, lambdas: tuple[Fraction, ...] = (Fraction(1, 2), Fraction(3, 10)), moments: Moments = UNIFORM
) -> Finding:
    """Statement: A label pair's class vector w^lambda_(a,b) is (w_a + w_b) / 2, also in the products of Eq. 24.

    Where: Eq. 20, Appendix C.3; used in Eq. 22 to 24.
    Quote: For the mixup ratio λ sampled from
    Formula: Eq. 3: w^lambda_(a,b) = lambda w_a + (1-lambda) w_b. Eq. 20 replaces it by its mean over lambda. In Eq. 24:
        E[w^lambda_(1,2) . w^lambda_(1,3)] = E[w^lambda_(1,2)] . E[w^lambda_(1,3)]?
    Assumptions: lambda ~ Beta(1,1), the paper's CIFAR recipe; W a simplex ETF of unit vectors, as Proposition 2
        concludes.
    Test: Exact fractions. The weight of w_a by Eq. 3 against 1/2, at lambda = 1/2 and 3/10. The products of label pairs
        that share a class, share it in the other place, or share none, at K = 4 and 5.
    Verdict: It fails. For: if the left side of Eq. 20 is only a name for the mean, the equation is true, and so are Eq.
        22 and 23, which are linear in it. Against: Eq. 3 defines w^lambda_(a,b) for each lambda, and it is the mean for
        lambda = 1/2 alone. Proposition 2 speaks of the vectors of Eq. 3, and Eq. 24 multiplies two of them. A mean of
        products is not the product of means: 1/9 against 0 for two pairs that share a class (K = 4). The loss is not
        linear in the vectors either. So the proof needs Eq. 20 where it is false, and no repair keeps it.
    Overturned by: a Proposition 2 about the mean vectors; the paper's classifier has other ones.
    References: none beside the paper.

    Args:
        lab: unused; the numbers are exact.
        lambdas: mixing ratios at which Eq. 3 and Eq. 20 are claimed to agree.
        moments: E[lambda^2] and E[lambda (1-lambda)] of the law of lambda.
    """
    pairs = {"sharing the first class": ((0, 1), (0, 2)), "chained": ((0, 1), (1, 2)), "sharing none": ((0, 1), (2, 3))}
    weights = [
        Quantity(f"weight of w_a by Eq. 3 (lambda={x})", 0.5, float(pair_vectors(3, float(x))[1, 0]), tolerance=1e-12)
        for x in lambdas
    ]
    products = [
        Quantity(
            f"mean product of two label pairs {name} (K={K})",
            str(_etf_inner(*chosen, K, HALF)),
            str(_etf_inner(*chosen, K, moments)),
        )
        for K in (4, 5)
        for name, chosen in pairs.items()
    ]
    law, W = beta(1.0), geometry.simplex_etf(4)
    means = np.tensordot(law.weights, [pair_vectors(4, float(x), unordered=True) @ W for x in law.nodes], axes=1)
    off = np.abs(means - pair_vectors(4, 0.5, unordered=True) @ W).max()
    return conclude(
        [*weights, *products],
        known=EXACT,
        evidence=contradictions([*products, *weights], 2),
        instances=f"lambda = {', '.join(map(str, lambdas))}; K = 4, 5, W an ETF, Beta(1,1)",
        repair=Repair(
            "The mean over lambda of the class vector is (w_a + w_b)/2; it may replace the vector only where it enters "
            "linearly, as in Eq. 22 and 23.",
            [Quantity("largest deviation of the mean from (w_a + w_b)/2 (K=4)", 0.0, float(off), "=", 1e-12, PLAIN)],
        ),
    )


@check("eq24", "Eq. 21", "Eq. 24")
def eq24(lab: Lab, *, inner: Callable[[int], float] = lambda K: -1 / (K - 1), product: float = -1 / 2) -> Finding:
    """Statement: In a |K^<|-simplex ETF the inner products are -1/(K-1).

    So w_i^T w_i' = -1/(K-1) for the vectors of Eq. 23.

    Where: Eq. 21, 24, Appendix C.3.
    Quote: we use the property of the simplex ETF, i.e.,
    Formula: n unit vectors of an n-simplex ETF have inner product -1/(n-1), n = K(K-1)/2; Eq. 23: w_1 = v_12 - v_23 +
        v_13.
    Assumptions: unit vectors, as the value -1/(K-1) presumes.
    Test: Evaluate both for K = 3..6; at K = 3, where such vectors exist, expand Eq. 24.
    Verdict: The denominator belongs to n, not K; the two agree only at K = 3 (n = 3). At K = 3 the product of Eq. 24 is
        -2. The reason: Eq. 23 repeats label pairs (the products of equal pairs are 1) and gives vectors of length 2.
        Their *cosine* is -1/2. For K >= 4 the vectors do not exist (prop2).
    Overturned by: another normalisation of the simplex ETF.
    References: none beside the paper.

    Args:
        lab: unused; the numbers are exact.
        inner: claimed inner product as a function of K.
        product: claimed w_1^T w_2 at K = 3.
    """
    quantities = [
        Quantity(
            f"inner product of two vectors of a K(K-1)/2-simplex ETF (K={K})",
            inner(K),
            -1 / (K * (K - 1) // 2 - 1),
            "=",
            1e-12,
        )
        for K in (3, 4, 5, 6)
    ]
    # Label pairs (1,2), (1,3), (2,3) of K = 3 in this order; Eq. 23 for classes 1, 2, 3.
    B = np.array([[1, 1, -1], [1, -1, 1], [-1, 1, 1]])
    gram = B @ (3 * np.eye(3, dtype=int) - 1) @ B.T / 2
    quantities.append(Quantity("w_1^T w_2 by Eq. 23 (K=3)", product, float(gram[0, 1]), tolerance=1e-12))
    cosine = Quantity("cosine of w_1 and w_2 (K=3)", -1 / 2, float(geometry.cosines(gram)[0, 1]), tolerance=1e-12)
    return conclude(
        quantities,
        known=EXACT,
        evidence=contradictions(quantities, 2),
        instances="K = 3, 4, 5, 6",
        repair=Repair("At K = 3 the cosine between the vectors of Eq. 23 is -1/(K-1) = -1/2.", [cosine]),
    )


@check("prop2-theorem1", "Proposition 2", "Theorem 1")
def prop2_theorem1(lab: Lab, *, R: float = 1e4) -> Finding:
    """Statement: Proposition 2 ensures that Theorem 1 holds with the label pairs a < b only.

    Where: Appendix C.3, the sentence before Proposition 2; §4.2.
    Quote: To prove that only mixed labels (a, b) for the case where a < b ensures Theorem 1 and Proposition 1, we
        demonstrate that the following statement is true.
    Formula: Proposition 2 concludes that W is a simplex ETF, cos(w_a, w_b) = -1/(K-1). Theorem 1 concludes that the
        minority's class vectors coincide, cos = 1.
    Assumptions: label pairs a < b, product frequencies, K = 6, K_A = 4, lambda = 1/2.
    Test: Take an imbalance at which Theorem 1's conclusion is certified, and see whether Proposition 2's conclusion can
        hold there, as it would have to if it implied Theorem 1.
    Verdict: The two conclusions exclude each other: where the minority is collapsed, W is no ETF. So Proposition 2
        cannot imply Theorem 1, even if its hypothesis could be met (prop2: it cannot). For Proposition 1 it would be an
        argument, if the hypothesis were derived from balanced label pairs, which the paper does not do. Theorem 1 with
        a < b needs a proof of its own; collapse itself was certified at one R.
    Overturned by: a step from an ETF of label pairs to an unbalanced program.
    References: none beside the paper.

    Args:
        lab: the instruments.
        R: imbalance at which both conclusions are compared.
    """
    state = lab.collapsed(distinct_pairs(imbalanced(6, 4, R)))
    large = lab.collapsed(distinct_pairs(imbalanced(6, 4, 1e4)))
    name = f"the minority's class vectors coincide, which an ETF excludes (a < b, K=6, K_A=4, R={R:g})"
    return conclude(
        [Quantity(name, False, state)],
        evidence=f"at R = {R:g} the minority is collapsed: {state}; so its cosine is 1 there, and {-1 / 5:g} in an ETF",
        instances=f"a < b, product, K=6, K_A=4, R={R:g}, lambda=1/2",
        repair=Repair(
            "With a < b the minority does collapse at R = 10^4.",
            [Quantity("collapsed (a < b, product, K=6, K_A=4, R=10^4)", True, large)],
        ),
    )
