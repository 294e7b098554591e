"""Claims about balanced label pairs: neural collapse, Proposition 1 and its equal angles, pairs a < b, the budgets."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from lpm.family import Family
from lpm.mixing import Mixing, beta, fixed
from lpm.pairs import PROFILES, balanced, imbalanced, product, table
from lpm.programs import Budget, fc, ms_unordered
from lpm.solve import solve
from paper_checks.claim import Curve, Finding, Plot, Quantity, Repair, check, conclude, contradictions
from paper_checks.interval import Interval
from paper_checks.lab import CosineTable, Lab

ANGLE = 2e-3
"""Tolerance for cosines that are claimed equal: above the width of all intervals, far below the differences found."""


def etf(cosines: CosineTable, name: str) -> list[Quantity]:
    """Compare the cosines with those of a simplex ETF, which all are -1/(K-1).

    Args:
        cosines: certified cosines of K classes.
        name: the instance, for the names of the comparisons.

    Returns:
        Comparisons of the smallest and of the largest cosine.
    """
    value = -1 / (len(cosines.lower) - 1)
    return [
        Quantity(f"smallest cosine ({name})", value, cosines.smallest(), tolerance=ANGLE),
        Quantity(f"largest cosine ({name})", value, cosines.largest(), tolerance=ANGLE),
    ]


@check("nc-balanced", "Eq. 5")
def nc_balanced(lab: Lab, *, profile: str = "product") -> Finding:
    """Statement: At the global optimum of LPM_lambda the class vectors are a simplex ETF (neural collapse).

    Where: §5.2 (2), "when LPM_lambda has the global optimality, NC properties are satisfied"; §5.1 (2).
    Quote: has the global optimality, NC properties are satisfied. We omit this step.
    Formula: <w_a, w_b> / (|w_a| |w_b|) = -1/(K-1) for all a != b, all |w_a| equal.
    Assumptions: none is stated in §5.2; §5.1 speaks of balanced classes.
    Test: Certified cosines of the optimum, first at an imbalance (R = 10), which the sentence of §5.2 allows. Then with
        all K^2 label pairs equally frequent, for K = 3..8, several lambda and budgets, Beta(1,1) and Beta(0.2,0.2).
    Verdict: Without balance it fails, as Theorem 1 says too. With all label pairs equally frequent it holds by
        symmetry. The loss f and the budgets are invariant under all permutations of the classes, and the optimal W W^T
        is unique. So W W^T is a I + b 11^T, and its kernel contains 1. Fisher et al., whom the paper cites for this
        step, fix W as an ETF and prove the form of the features. For a learnable W the step is this symmetry argument.
    Overturned by: a balanced program whose optimal W W^T is not unique.
    References: Fisher, Meng, Papyan 2024.

    Args:
        lab: the instruments.
        profile: label-pair frequencies at the imbalance.
    """
    uneven = Family("fc", profile).at(10)
    even: list[Quantity] = []
    instances: list[tuple[int, Mixing, float]] = [
        (3, fixed(0.5), 5),
        (4, fixed(0.1), 5),
        (4, fixed(0.5), 1),
        (5, fixed(0.35), 9),
        (8, fixed(0.3), 5),
        (4, beta(1.0), 5),
        (6, beta(0.2), 5),
    ]
    for K, law, e in instances:
        name = f"balanced, K={K}, lambda {law.label}, E_H={e}"
        problem = fc(balanced(imbalanced(K)), law, e_h=e)
        even += etf(lab.cosines(problem), name)
        norms = solve(problem).gram.norms
        even.append(
            Quantity(f"ratio of class-vector norms ({name})", 1.0, float(norms.max() / norms.min()), tolerance=1e-9)
        )
    cosines = lab.cosines(uneven)
    return conclude(
        etf(cosines, f"{profile}, K=4, R=10, lambda=1/2"),
        evidence=f"at R = 10 cosines range from {cosines.smallest()} to {cosines.largest()}; with balanced label "
        f"pairs all are -1/(K-1)",
        instances=f"{profile}, K=4, R=10; balanced: "
        + "; ".join(f"K={K}, {law.label}, E_H={e}" for K, law, e in instances),
        repair=Repair(
            "If all K^2 label pairs are equally frequent, the class vectors are a K-simplex ETF for every law "
            "of lambda.",
            even,
            keeps=True,
        ),
    )


@check("prop1", "Proposition 1", "Eq. 7", "Eq. 8")
def prop1(lab: Lab, *, budget: Budget = "eq7") -> Finding:
    """Statement: Balancing by w_r replaces n_B by w_r n_B: Eq. 11 with those counts gives the minimisers of Eq. 7.

    Where: Proposition 1, Eq. 7 and 8, and the sentence after it.
    Quote: demonstrates that the number of training examples in each minority class is effectively $w_r n_B$ instead of
        n_B
    Formula: min Eq. 7 (weights n_A, w_r n_B; feature budget 1/|K_A^2| and 1/|K_B^2|) = min Eq. 11 (1/K^2 on every label
        pair).
    Assumptions: no label pairs across the groups (block); lambda = 1/2. Eq. 7 prints both sums of its budget over all
        of K^2; we also try each sum over its own group.
    Test: Certified optimal values of both programs for K_A = 1, 2, 3 of K = 4, and 3 of 5.
    Verdict: The two programs have different feature budgets and disjoint certified optima, so the proposition is false
        as printed. With Eq. 5's budget in Eq. 7 it is Lemma 1 with other counts, and w_r n_B replaces n_B exactly. (At
        K_A = K_B, Eq. 7 is Eq. 11 with E_H / 4.)
    Overturned by: reading Eq. 7's budget as a mean over all K^2 label pairs.
    References: Fang et al. 2021, Proposition 1.

    Args:
        lab: the instruments.
        budget: feature budget of the weighted program: 'eq7' as printed there, 'paper' as in Eq. 5.
    """
    R, w_r = 10.0, 4.0
    quantities, repaired = [], []
    for K, K_A in ((4, 1), (4, 2), (4, 3), (5, 3)):
        name = f"K={K}, K_A={K_A}, R={R:g}, w_r={w_r:g}"
        eq11 = lab.loss(Family("fc", "block", K, K_A=K_A, w_r=w_r).at(R))
        quantities.append(
            Quantity(
                f"optimum of Eq. 7 ({name})",
                eq11,
                lab.loss(Family("fc", "block", K, K_A=K_A, w_r=w_r, budget=budget).at(R)),
                tolerance=1e-6,
            )
        )
        spent = K**2 * (1 / K_A**2 + 1 / (K - K_A) ** 2)  # both sums of Eq. 7's budget over all of K^2, as printed
        if budget == "eq7":
            printed = lab.loss(Family("fc", "block", K, K_A=K_A, w_r=w_r, e_h=5 / spent).at(R))
            quantities.append(Quantity(f"optimum of Eq. 7, sums over all K^2 ({name})", eq11, printed, tolerance=1e-6))
        fewer = lab.loss(Family("fc", "block", K, K_A=K_A).at(R / w_r))
        repaired.append(Quantity(f"optimum with Eq. 5's budget against R / w_r ({name})", eq11, fewer, tolerance=1e-6))
    R0 = 299.783565  # threshold of fc block at K = 4; it only chooses the R that are certified
    for factor, state in ((0.99, False), (1.01, True)):
        repaired.append(
            Quantity(
                f"collapsed at R = {factor} w_r R0 (K=4, block, w_r={w_r:g})",
                state,
                lab.collapsed(Family("fc", "block", w_r=w_r).at(round(factor * w_r * R0))),
            )
        )
    quarter = lab.loss(Family("fc", "block", e_h=5 / 4).at(R))
    repaired.append(
        Quantity(
            "Eq. 7 is Eq. 11 at E_H / 4 when K_A = K_B",
            quarter,
            lab.loss(Family("fc", "block", budget="eq7").at(R)),
            tolerance=1e-6,
        )
    )
    return conclude(
        quantities,
        evidence=contradictions(quantities, 2),
        instances="(K, K_A) = (4, 1), (4, 2), (4, 3), (5, 3), R=10, w_r=4, block, lambda=1/2, E_H=5, E_W=1",
        repair=Repair(
            "With the feature budget of Eq. 5 in Eq. 7 the claim holds, and oversampling by w_r moves R0 to w_r R0.",
            repaired,
            keeps=True,
        ),
    )


@check("prop1-equal-angles", "Proposition 1", "Finding 1")
def prop1_equal_angles(lab: Lab, *, profile: str = "block") -> Finding:
    """Statement: With w_r = R all angles between class vectors are equal, within and across majority and minority.

    Where: §5.2, the paragraph after Proposition 1.
    Quote: the results indicate that the angles between any pair of last-layer classifiers are equal, regardless of
        whether they belong to the majority or minority classes
    Formula: cos(w_a, w_b) is the same for all a != b when the counts are n = n_A = w_r n_B on K_A^2 and K_B^2, and 0
        across (Proposition 1).
    Assumptions: counts as Proposition 1 prints them (block): no label pair across the groups.
    Test: Certified cosines of Eq. 11 at w_r = R for several K, K_A and lambda; then with all K^2 label pairs equal.
    Verdict: The intervals of two cosines are disjoint: a class is never mixed with the other group, so it is not
        exchangeable with the classes there. All cosines are -1/(K-1) if all K^2 label pairs are equally frequent,
        including those across the groups, as BMLS samples them.
    Overturned by: a reading of Proposition 1 that puts w_r n_B samples on the label pairs across the groups too.
    References: none beside the paper.

    Args:
        lab: the instruments.
        profile: label-pair frequencies, at R = 1.
    """
    quantities, evidence = [], ""
    cases = [(4, 2, 0.5), (4, 2, 0.2), (4, 3, 0.5), (5, 2, 0.5), (6, 3, 0.3)]
    for K, K_A, lam in cases:
        cosines = lab.cosines(fc(PROFILES[profile](imbalanced(K, K_A)), fixed(lam)))
        evidence = (
            evidence
            or f"at K=4, lambda=1/2 the cosines are {cosines[0, 1]} inside and {cosines[0, -1]} across the groups"
        )
        quantities.append(
            Quantity(
                f"largest minus smallest cosine ({profile}, K={K}, K_A={K_A}, lambda={lam})",
                0.0,
                cosines.range(),
                tolerance=ANGLE,
            )
        )
    even = [
        q
        for K, _, lam in cases
        for q in etf(lab.cosines(fc(balanced(imbalanced(K)), fixed(lam))), f"K={K}, lambda={lam}")
    ]
    return conclude(
        quantities,
        evidence=evidence,
        instances="; ".join(f"K={K}, K_A={K_A}, lambda={lam}" for K, K_A, lam in cases) + "; w_r = R, E_H=5, E_W=1",
        repair=Repair(
            "All angles are equal if all K^2 label pairs are equally frequent, including those across the groups.",
            even,
        ),
    )


def upper_triangle(K: int) -> np.ndarray:
    """Make the table of counts with 1 on the label pairs a < b and 0 elsewhere.

    Args:
        K: number of classes.

    Returns:
        Counts (K, K).
    """
    return np.triu(np.ones((K, K)), 1)


TWO_POINTS = Mixing(np.array([0.25, 0.75]), np.array([0.5, 0.5]), "1/4 or 3/4")
"""A law symmetric about 1/2 that ball arithmetic can hold exactly."""


@check("a-less-than-b", "Proposition 1", "Theorem 1")
def a_less_than_b(
    lab: Lab, *, laws: tuple[Mixing, ...] = (fixed(0.5), beta(1.0, 16), TWO_POINTS, fixed(0.3))
) -> Finding:
    """Statement: With only the label pairs a < b, all equally frequent, all angles are equal (Proposition 1).

    An imbalance still makes the minority collapse (Theorem 1). This claim is for the usual classifier (FC).

    Where: §4.2, last paragraph; Appendix C.3.
    Quote: we generated mixed labels (a,b) only for the case where a < b, ensuring that the existing theorem and
        proposition still hold
    Formula: LPM_lambda with n_(a,b) = 1 for a < b and 0 otherwise: cos = -1/(K-1).
    Assumptions: the paper draws lambda ~ Beta(alpha, alpha), but it writes its program for one lambda.
    Test: Certified cosines for K = 3, 4, 5 under lambda = 1/2, Beta(1,1), a two-point law and the fixed lambda = 0.3;
        collapse at a large R with a < b.
    Verdict: It holds when the law of lambda is symmetric about 1/2: (a, b) at lambda is then as frequent as (b, a), so
        all classes are exchangeable. At one fixed lambda != 1/2 the lower class of every pair has the weight lambda and
        the higher one 1 - lambda. Classes are then not exchangeable, and the certified cosines differ. The paper's own
        argument (Proposition 2) is vacuous.
    Overturned by: only another choice of the law of lambda.
    References: none beside the paper.

    Args:
        lab: the instruments.
        laws: laws of lambda to try.
    """
    quantities, symmetric = [], []
    for K in (3, 4, 5):
        for law in laws:
            cosines = lab.cosines(fc(table(upper_triangle(K)), law))
            comparisons = etf(cosines, f"a < b, K={K}, lambda {law.label}")
            quantities += comparisons
            if law.symmetric_point or len(law.nodes) > 1:
                symmetric += comparisons
    rare = imbalanced(6, 4, 1e4)
    both = replace(
        product(rare), same=np.zeros(2)
    )  # (a, b) and (b, a), a != b: at lambda = 1/2 twice the rows of a < b
    half = fc(table(np.triu(np.outer(rare.counts, rare.counts)[np.ix_(rare.group_of, rare.group_of)], 1)))
    collapse = [
        Quantity(
            "optimum on a < b against a != b at twice E_H (lambda=1/2)",
            lab.loss(fc(both, e_h=10)),
            lab.loss(half),
            tolerance=1e-6,
        ),
        Quantity(
            "collapsed at R = 10^4 (a < b, product, K=6, K_A=4, lambda=1/2)", True, lab.collapsed(fc(both, e_h=10))
        ),
    ]
    tilted = lab.cosines(fc(table(upper_triangle(4)), fixed(0.3)))
    return conclude(
        [*quantities, *collapse],
        evidence="all cosines are -1/(K-1) for laws of lambda symmetric about 1/2; at fixed lambda = 0.3, "
        "K=4, they range from "
        f"{tilted.smallest()} to {tilted.largest()}",
        instances="K = 3, 4, 5; lambda = " + ", ".join(law.label for law in laws),
        repair=Repair(
            "For FC the angles are equal if the law of lambda is symmetric about 1/2, as Beta(alpha, alpha) is; "
            "collapse was certified at one R.",
            [*symmetric, *collapse],
            keeps=True,
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


@check("budgets", "Eq. 5")
def budgets(lab: Lab, *, learns_below: float | None = None) -> Finding:
    """Statement: The budgets E_W and E_H are proportional to 1/K.

    Where: §5.2 (1).
    Quote: the positive thresholds ... 1/K
    Formula: f*(K) / log K of the balanced program at E_H = 20/K, E_W = 4/K (5 and 1 at K = 4). Equal predictions for
        all classes have the loss log K, so at 1 nothing is learned.
    Assumptions: budgets are means over classes and over label pairs, as Eq. 5 prints them.
    Test: Certified optimum of the balanced plain program for K = 4 to 1,000 under that scaling, under constants, and
        under sqrt(E_H E_W) proportional to log K; the threshold R0 of LPM_lambda at K = 100 (product).
    Verdict: It is an assumption, neither true nor false, but it has consequences. At K = 100 the optimum of balanced
        data reaches 98 % of log K, and R0 is 1.003. So in the model nothing is learned, and any imbalance collapses the
        minority. With constant budgets the share is 53 %; with sqrt(E_H E_W) proportional to log K it falls. The paper
        gives MS another scaling, E_{W^lambda} proportional to 1/K^2. So it does not compare FC and MS at equal budgets
        either.
    Overturned by: budgets measured from trained networks.
    References: Fang et al. 2021, who keep E_H and E_W fixed with K.

    Args:
        lab: the instruments.
        learns_below: share of log K below which the model is said to learn; None claims nothing and leaves the verdict
            open.
    """

    def share(K: int, s: float) -> Interval:
        loss = lab.loss(Family("plain", K=K, e_h=5 * s, e_w=s).at(1))
        return Interval(loss.lower / math.log(K), loss.upper / math.log(K), loss.how)

    scalings: dict[str, Callable[[int], float]] = {
        "1/K": lambda K: 4 / K,
        "constant": lambda K: 1.0,
        "sqrt(E_H E_W) ~ log K": lambda K: math.log(K) / math.log(4),
    }
    quantities = [
        Quantity(f"balanced loss / log K (K={K}, {name})", learns_below or 1.0, share(K, s(K)), "<")
        for name, s in scalings.items()
        for K in (4, 10, 100, 1000)
    ]
    R0 = lab.threshold(Family("fc", "product", K=100, e_h=5 * 0.04, e_w=0.04), R_max=1e6)
    grid = [4, 6, 10, 20, 50, 100, 200, 500, 1000]
    curves = [
        Curve(name, grid, [share(K, s(K)).middle for K in grid], style)
        for (name, s), style in zip(scalings.items(), ("-", "--", ":"), strict=True)
    ]
    finding = conclude(
        quantities if learns_below is not None else [],
        evidence=f"balanced loss / log K at K=100: {quantities[2].computed} with budgets proportional to 1/K "
        f"(R0 = {R0}, product), {quantities[6].computed} with constant budgets, "
        f"{quantities[10].computed} with sqrt(E_H E_W) ~ log K",
        instances="K = 4, 10, 100, 1000; E_H E_W = 5 at K = 4",
        plot=Plot("classes K", "balanced loss / log K", curves, log_x=True),
    )
    return replace(finding, quantities=quantities)
