"""Claims about balanced label pairs: neural collapse, Proposition 1 and its equal angles, pairs a < b, the budgets."""

from __future__ import annotations

import math
from collections.abc import Callable

from lpm.family import Family
from lpm.mixing import Mixing, beta, fixed
from lpm.pairs import PROFILES, balanced, imbalanced
from lpm.programs import Budget, fc
from lpm.solve import solve
from paper_checks.claim import Curve, Finding, Plot, Quantity, Repair, check, conclude, contradictions
from paper_checks.interval import Interval
from paper_checks.lab import CosineTable, Lab

ANGLE = 2e-3
"""Tolerance for cosines that are claimed equal: above the width of all intervals, far below the differences found."""


BALANCE = (
    'the definition of BMLS in §4.1 has it: "where the frequency of all mixed-label samples is equal in each epoch"'
)
"""Why both claims about equal angles may assume that all K^2 label pairs are equally frequent."""


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
def nc_balanced(lab: Lab, *, profiles: tuple[tuple[str, float], ...] = (("product", 10), ("block", 1))) -> Finding:
    """Statement: At the global optimum of LPM_lambda the class vectors are a simplex ETF (neural collapse).

    Where: §5.2 (2), "when LPM_lambda has the global optimality, NC properties are satisfied"; §5.1 (2).
    Quote: has the global optimality, NC properties are satisfied. We omit this step.
    Formula: <w_a, w_b> / (|w_a| |w_b|) = -1/(K-1) for all a != b, all |w_a| equal.
    Assumptions: none is stated in §5.2; §5.1 (2) speaks of balanced singleton labels. §4.1 asks for more: n_(a,b) = n
        for all K^2 label pairs.
    Test: Certified cosines of the optimum at an imbalance (R = 10), which the sentence of §5.2 allows, and for balanced
        singleton labels without label pairs across the groups (block, R = 1). Then with all K^2 label pairs equally
        frequent, for K = 3..8, several lambda and budgets, Beta(1,1) and Beta(0.2,0.2).
    Verdict: Without balance it fails, as Theorem 1 says too. Balanced singleton labels, which §5.1 (2) names, are not
        enough: without label pairs across the groups the angles differ even at R = 1 (prop1-equal-angles). With all
        label pairs equally frequent it holds by symmetry. That is how §4.1 defines the balance of mixed labels, so it
        is a licensed repair here and in prop1-equal-angles. The loss f and the budgets are invariant under all
        permutations of the classes, and the optimal W W^T is unique. So W W^T is a I + b 11^T, and its kernel contains
        1. Fisher et al., whom the paper cites for this step, fix W as an ETF and prove the form of the features. For a
        learnable W the step is this symmetry argument.
    Overturned by: a balanced program whose optimal W W^T is not unique.
    References: Fisher, Meng, Papyan 2024.

    Args:
        lab: the instruments.
        profiles: label-pair frequencies and imbalances at which it is claimed.
    """
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
    cosines = {f"{profile}, K=4, R={R:g}": lab.cosines(Family("fc", profile).at(R)) for profile, R in profiles}
    return conclude(
        [q for name, table_ in cosines.items() for q in etf(table_, f"{name}, lambda=1/2")],
        evidence="; ".join(f"cosines from {c.smallest()} to {c.largest()} ({name})" for name, c in cosines.items())
        + "; with all label pairs equally frequent all are -1/(K-1)",
        instances="; ".join(cosines)
        + "; balanced: "
        + "; ".join(f"K={K}, {law.label}, E_H={e}" for K, law, e in instances),
        repair=Repair(
            "If all K^2 label pairs are equally frequent, the class vectors are a K-simplex ETF for every law "
            "of lambda.",
            even,
            licence=BALANCE,
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
            licence="a misprint: Eq. 5 and Eq. 11, to which the proposition refers, have this budget",
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
    Verdict: With the printed counts it fails. The intervals of two cosines are disjoint: a class is never mixed with
        the other group, so it is not exchangeable with the classes there. On the other side stands §4.1: BMLS makes all
        K^2 label pairs equally frequent, those across the groups too. With this assumption all cosines are -1/(K-1).
        The flaw and its repair are those of nc-balanced, and so is the verdict.
    Overturned by: a rule that only the counts printed in the proposition itself may repair it; it would fail then, and
        nc-balanced too.
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
            licence=BALANCE,
        ),
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
    return conclude(
        quantities,
        undefined="" if learns_below is not None else "it is an assumption, neither true nor false",
        evidence=f"balanced loss / log K at K=100: {quantities[2].computed} with budgets proportional to 1/K "
        f"(R0 = {R0}, product), {quantities[6].computed} with constant budgets, "
        f"{quantities[10].computed} with sqrt(E_H E_W) ~ log K",
        instances="K = 4, 10, 100, 1000; E_H E_W = 5 at K = 4",
        plot=Plot("classes K", "balanced loss / log K", curves, log_x=True),
    )
