"""Appendix C.3: Proposition 2 and the steps of its proof."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from lpm import geometry
from lpm.mixing import beta
from paper_checks.claim import Finding, Quantity, Repair, check, conclude, contradictions
from paper_checks.interval import CONVEXITY, EXACT, Interval
from paper_checks.lab import Lab, pair_vectors


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


@check("eq20", "Eq. 20")
def eq20(lab: Lab, *, part: Literal["loss", "own logit"] = "loss") -> Finding:
    """Statement: The mean over lambda of a label pair's class vector is (w_a + w_b) / 2 (Eq. 20).

    In the program this mean may replace the class vector, as in the proof of Proposition 2.

    Where: Eq. 20, Appendix C.3.
    Quote: For the mixup ratio λ sampled from
    Formula: E_lambda w_(a,b) = (w_a + w_b)/2, and E_lambda L(W^lambda h, (a,b)) = L(E_lambda W^lambda h, (a,b))?
    Assumptions: lambda ~ Beta(1,1); all pairs a < b.
    Test: Eq. 20 for an ETF. Then the mean of the loss against the loss at the mean, for W an ETF times 3 and features h
        = w_k and random ones. For a convex function the midpoint and the trapezoidal rule enclose the mean.
    Verdict: Eq. 20 itself is true. But the log-partition is strictly convex in lambda along a line of unequal logits.
        So by Jensen's inequality the mean of the loss exceeds the loss at the mean. The mean may replace w^lambda only
        in functions that are linear in it, such as the label pair's own logit. It may not in the program whose optimum
        is meant.
    Overturned by: a loss that is linear in the class vectors.
    References: none beside the paper.

    Args:
        lab: the instruments; their seed draws the features.
        part: the function in which the mean is claimed to replace the class vector.
    """
    rng, K = lab.rng(), 4
    W = 3 * geometry.simplex_etf(K)
    features = [W[0] / 3, W[1] / 3, *rng.normal(size=(4, K))]

    def value(lam: float, h: np.ndarray, which: str) -> float:
        z = pair_vectors(K, lam, unordered=True) @ W @ h
        return float(np.logaddexp.reduce(z) - z[0] if which == "loss" else z[0])

    def excess(h: np.ndarray, which: str) -> Interval:
        """Mean over lambda, uniform on (0, 1), minus the value at 1/2: between midpoint and trapezoidal rule."""
        n = 128
        middle = np.mean([value((i + 0.5) / n, h, which) for i in range(n)])
        ends = np.array([value(i / n, h, which) for i in range(n + 1)])
        at_mean, rounding = value(0.5, h, which), 1e-12
        trapezoid = (ends.sum() - (ends[0] + ends[-1]) / 2) / n
        return Interval(float(middle) - at_mean - rounding, float(trapezoid) - at_mean + rounding, CONVEXITY)

    def compare(which: str) -> list[Quantity]:
        return [
            Quantity(
                f"mean over lambda minus value at the mean ({which}, feature {i})", 0.0, excess(h, which), "=", 1e-9
            )
            for i, h in enumerate(features)
        ]

    excesses = [excess(h, "loss") for h in features]
    law, V = beta(1.0), [pair_vectors(K, float(x), unordered=True) @ W for x in beta(1.0).nodes]
    off = np.tensordot(law.weights, V, axes=1) - pair_vectors(K, 0.5, unordered=True) @ W
    identity = [
        Quantity("Eq. 20: largest deviation of the mean from (w_a + w_b)/2", 0.0, float(np.abs(off).max()), "=", 1e-12)
    ]
    return conclude(
        [*identity, *compare(part)],
        evidence="the mean of the loss exceeds the loss at the mean by "
        f"{min(x.lower for x in excesses):.3f} to {max(x.upper for x in excesses):.3f}",
        instances="K = 4, Beta(1,1), W = 3 ETF, two class-mean features and four random ones",
        repair=Repair(
            "Eq. 20 holds, and the mean may replace w^lambda in functions that are linear in it, such as the "
            "own logit.",
            [*identity, *compare("own logit")],
            keeps=True,
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
