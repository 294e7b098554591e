"""Claims about the mixing ratio: that minority collapse does not depend on it."""

from __future__ import annotations

import math

import numpy as np

from lpm.family import Family
from lpm.mixing import beta, fixed
from lpm.threshold import thresholds
from paper_checks.claim import Curve, Finding, Plot, Quantity, Repair, check, conclude, contradictions
from paper_checks.claims.balancing import etf
from paper_checks.claims.collapse import loss_at_zero
from paper_checks.epochs import mixup_counts, random
from paper_checks.interval import Fact
from paper_checks.lab import Lab
from paper_checks.paper.datasets import cifar_lt


@check("lambda-independence", "Finding 2")
def lambda_independence(lab: Lab, *, lambdas: tuple[float, float] = (0.5, 0.1)) -> Finding:
    """Statement: Minority collapse under mixup depends on the frequencies of (mixed) labels alone, not on lambda.

    Where: §1; §5.3 (i) says "regardless of the mixup ratio", which can also mean that collapse occurs at every lambda.
    Quote: minority collapse in Mixup is determined solely by the frequency of singleton and mixed-label samples,
        independent of the mixup ratio
    Formula: R0(lambda) is constant at fixed label-pair frequencies and budgets.
    Assumptions: K = 4, K_A = 2, E_H = 5, E_W = 1; product and block frequencies; also MS.
    Test: Take one R between the thresholds R0 of two lambdas, and certify for both whether the minority is collapsed
        there. Compute R0 as a function of lambda, and for Beta(1,1) and Beta(0.2,0.2).
    Verdict: At one R and the same frequencies the minority is provably collapsed for one lambda and provably not for
        another, for FC and for MS. R0 is symmetric about lambda = 1/2; the picture shows how it moves in between. At
        balanced frequencies the angles do not depend on lambda.
    Overturned by: reading the sentence as "collapse occurs at every lambda, for large enough R", which agrees with
        theorem1; or budgets that are themselves functions of lambda.
    References: none beside the paper.

    Args:
        lab: the instruments.
        lambdas: the two mixing ratios that are compared.
    """
    cases = [("fc", "product", 330), ("fc", "block", 330), ("ms", "product", 20), ("ms", "block", 20)]
    quantities = []
    for program, profile, R in cases:
        first, second = (lab.collapsed(Family(program, profile, mixing=fixed(x)).at(R)) for x in lambdas)
        known = first.value is not None and second.value is not None
        same = Fact(first.value == second.value if known else None, first.how)
        quantities.append(
            Quantity(
                f"collapsed at both lambdas or at neither, {lambdas[0]} and {lambdas[1]} ({program} {profile}, R={R})",
                True,
                same,
            )
        )
    for profile in ("product", "block"):
        first_cosine, second_cosine = (
            lab.cosines(Family("fc", profile, mixing=fixed(x)).at(100))[2, 3] for x in lambdas
        )
        name = f"cos BB at lambda = {lambdas[1]} against {lambdas[0]} (fc {profile}, R=100)"
        quantities.append(Quantity(name, first_cosine, second_cosine, tolerance=2e-3))
    mirrored = [
        Quantity(
            f"optimum at lambda = 0.7 against 0.3 ({program} {profile}, R=100)",
            lab.loss(Family(program, profile, mixing=fixed(0.3)).at(100)),
            lab.loss(Family(program, profile, mixing=fixed(0.7)).at(100)),
            tolerance=1e-6,
        )
        for program, profile, _ in cases
    ]
    even = [
        q
        for program in ("fc", "ms")
        for x in (0.1, 0.3, 0.5)
        for q in etf(lab.cosines(Family(program, "balanced", mixing=fixed(x)).at(1)), f"{program} balanced, lambda={x}")
    ]
    brackets = {
        law.label: lab.threshold(Family("fc", "product", mixing=law))
        for law in (fixed(0.5), fixed(0.1), beta(1.0), beta(0.2))
    }
    grid = np.linspace(0.02, 0.5, 9)
    families = [Family(program, profile, mixing=fixed(float(x))) for program, profile, _ in cases for x in grid]
    R0 = np.array([found.R0 or np.nan for found in thresholds(families)]).reshape(len(cases), -1)
    curves = []
    for (program, profile, _), values, style in zip(cases, R0, ("-", "--", ":", "-."), strict=True):
        curves.append(Curve(f"{program} {profile}", [*grid, *(1 - grid[-2::-1])], [*values, *values[-2::-1]], style))
    return conclude(
        quantities,
        evidence=f"{sum(q.agrees is False for q in quantities)} of {len(quantities)} comparisons contradict it; "
        f"R0 (fc product) = " + ", ".join(f"{bracket} (lambda {name})" for name, bracket in brackets.items()),
        instances="K=4, K_A=2, E_H=5, E_W=1; fc and ms, product and block",
        repair=Repair(
            "The optimal value is the same at lambda and at 1 - lambda; at balanced label pairs the angles are the "
            "same for every lambda.",
            [*mirrored, *even],
        ),
        plot=Plot("mixing ratio lambda", "threshold R0", curves, log_y=True),
    )


@check("loss-without-mixup", "Proposition 1")
def loss_without_mixup(lab: Lab, *, without: str = "plain") -> Finding:
    """Statement: Collapse does not depend on lambda, because the total loss is the same as without mixup.

    Where: §5.3, rationale (i) of the conjecture.
    Quote: the total loss derived from features is equivalent to that obtained without Mixup
    Formula: min LPM_lambda = min LPM (no mixup) at equal class balance and equal budgets.
    Assumptions: balanced classes, E_H = 5, E_W = 1.
    Test: Certified optima of the plain program and of LPM_lambda for K = 3, 4, 10 and lambda = 0.1, 1/2; and the losses
        at zero features.
    Verdict: It fails. Against: a mixed label has positive entropy, so its cross-entropy cannot vanish, and the
        certified optima differ. For: the loss is linear in the label, so each class has the same total weight with and
        without mixup, and at zero features both losses are log K (Eq. 17). But the sentence is the reason given for
        collapse "regardless of the mixup ratio". That needs the same losses at the features of the optimum, and there
        they differ, as does R0 (lambda-independence).
    Overturned by: a reading in which "equivalent" means the weights of the classes, or the value at zero features.
    References: none beside the paper.

    Args:
        lab: the instruments.
        without: the program that is claimed to have the same optimum, without mixup.
    """
    quantities = []
    for K in (3, 4, 10):
        for lam in (0.1, 0.5):
            mixed = lab.loss(Family("fc", "balanced", K, mixing=fixed(lam)).at(1))
            plain = lab.loss(Family(without, "balanced", K, mixing=fixed(lam)).at(1))
            quantities.append(
                Quantity(f"optimum with mixup, lambda={lam}, against without (K={K})", plain, mixed, tolerance=1e-6)
            )
    weights = []
    for K, lam in ((10, 0.1), (10, 0.5), (100, 0.5)):
        counts = mixup_counts(random(cifar_lt(K, 100), lab.rng()), K, lab.rng())
        mass = (lam * counts.sum(axis=1) + (1 - lam) * counts.sum(axis=0)) - counts.sum(axis=1)
        name = f"largest change of a class's total weight by a permutation (K={K}, lambda={lam})"
        weights.append(Quantity(name, 0.0, float(np.abs(mass).max()), tolerance=1e-9))
    zero = [
        Quantity(
            f"f(0) of {program}, balanced, against log K (K={K})",
            math.log(K),
            loss_at_zero(Family(program, "balanced", K).at(1)),
            tolerance=1e-12,
        )
        for program in ("plain", "fc")
        for K in (3, 4, 10)
    ]
    return conclude(
        quantities,
        evidence=contradictions(quantities, 2),
        instances="K = 3, 4, 10; lambda = 0.1, 0.5; balanced, E_H=5, E_W=1",
        repair=Repair(
            "With all features 0 both losses are log K, as in Eq. 17; and each class has the same total weight in both.",
            [*zero, *weights],
        ),
    )
