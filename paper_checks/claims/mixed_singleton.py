"""Claims about the mixed-singleton classifier: Theorem 2, whether its classes can win, whether it lessens collapse."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from scipy.optimize import linprog, minimize_scalar

from lpm.family import Family
from lpm.mixing import fixed
from lpm.pairs import imbalanced, product
from lpm.problem import Problem
from lpm.programs import fc, ms_unordered
from paper_checks.claim import Curve, Finding, Plot, Quantity, Repair, check, conclude, contradictions
from paper_checks.claims.balancing import ANGLE, etf
from paper_checks.interval import CONVEXITY, Fact, Interval
from paper_checks.lab import Lab, pair_vectors, solutions


@check("theorem2", "Theorem 2", "Eq. 9", "Eq. 10", "Remark 2")
def theorem2(lab: Lab, *, free: str = "ms-free", rank_needed: int | None = None) -> Finding:
    """Statement: With the mixed-singleton classifier the program is exactly the layer-peeled model with K^2 classes.

    So the results for that model carry over.

    Where: §5.3 (2-4), Theorem 2, Remark 2; Eq. 9, 10.
    Quote: is exactly same to the LPM in imbalanced case when the number of classes is
    Formula: min Eq. 9 over W (K x p), W^lambda = [lambda w_a + (1-lambda) w_b], = min over K^2 free class vectors.
    Assumptions: both have the same budgets, E_{W^lambda} = 1, E_H = 5; lambda is fixed. The program with K^2 free
        vectors does not contain lambda.
    Test: Certified optima of both programs: block and balanced, K = 3, 4, lambda = 0.3, 1/2. And ranks: K^2 free
        classes at balance form a K^2-simplex ETF of rank K^2 - 1, but W^lambda = V W has rank at most rank V = K.
    Verdict: Eq. 9 restricts W^lambda to rank K. The certified optima are disjoint and that of Eq. 9 is the larger, so
        LPM_lambda-MS is not the LPM with K^2 classes. Theorem 2's statement is true of the free program, which is Lemma
        1 at K^2 classes and has no lambda. MS solves another one: its loss is CE(lambda z, a) + CE((1-lambda) z, b),
        and at lambda = 1/2 min MS(E) = 2 min FC(E/2).
    Overturned by: a classifier with a free vector for each label pair.
    References: Fang et al. 2021, Proposition 1.

    Args:
        lab: the instruments.
        free: the program that is claimed to equal MS.
        rank_needed: rank that W^lambda is claimed to reach; None: K^2 - 1.
    """
    quantities, ranks = [], []
    for K, profile, lam in ((3, "balanced", 0.5), (4, "balanced", 0.3), (4, "block", 0.5), (4, "block", 0.3)):
        family = Family("ms", profile, K, mixing=fixed(lam))
        free_family = Family(free, profile, K, mixing=fixed(lam))
        quantities.append(
            Quantity(
                f"optimum of Eq. 9 against K^2 free classes ({profile}, K={K}, lambda={lam}, R=10)",
                lab.loss(free_family.at(10)),
                lab.loss(family.at(10)),
                tolerance=1e-6,
            )
        )
        rank = int(np.linalg.matrix_rank(pair_vectors(K, lam)))
        needed = K**2 - 1 if rank_needed is None else rank_needed
        ranks.append(Quantity(f"rank that W^lambda can reach (K={K}, lambda={lam})", needed, rank, ">="))
    truths = [
        Quantity(
            f"free program, balanced, K={K}: log(1 + (K^2-1) exp(-K^2/(K^2-1) sqrt(E)))",
            math.log1p((K**2 - 1) * math.exp(-(K**2) / (K**2 - 1) * math.sqrt(5))),
            lab.loss(Family("ms-free", "balanced", K).at(1)),
            tolerance=1e-6,
        )
        for K in (3, 4)
    ]
    for profile in ("balanced", "block", "product"):
        half = lab.loss(Family("fc", profile, e_h=2.5).at(10))
        truths.append(
            Quantity(
                f"MS at E_H = 5 against twice FC at E_H = 2.5 ({profile}, K=4, lambda=1/2, R=10)",
                Interval(2 * half.lower, 2 * half.upper, half.how),
                lab.loss(Family("ms", profile).at(10)),
                tolerance=1e-6,
            )
        )
    return conclude(
        [*quantities, *ranks],
        evidence=contradictions(quantities, 1) + "; " + contradictions(ranks, 1),
        instances="(K, frequencies, lambda) = (3, balanced, 1/2), (4, balanced, 0.3), (4, block, 1/2), (4, "
        "block, 0.3); R=10",
        repair=Repair(
            "Theorem 2 holds for K^2 free class vectors. MS, with W^lambda, is another program; at lambda = 1/2 "
            "it is FC with halved logits.",
            truths,
        ),
    )


def _lead(lam: float, unordered: bool, K: int = 4) -> float:
    """Largest lead of the logit of label pair (1, 2) over all other classes for |z_i| <= 1, by a linear program."""
    V = pair_vectors(K, lam, unordered=unordered)
    index = 0 if unordered else 1  # (1, 2) comes first among a < b, second among all pairs
    rivals = np.delete(V, index, axis=0)
    behind = np.hstack([rivals - V[index], np.ones((len(rivals), 1))])  # lead <= logit of (1, 2) - logit of each rival
    optimum = linprog(
        [0.0] * K + [-1.0], A_ub=behind, b_ub=np.zeros(len(rivals)), bounds=[(-1, 1)] * K + [(None, None)]
    )
    return round(-float(optimum.fun), 9) + 0.0  # not -0.0


def _least_loss(lam: float) -> Interval:
    """Infimum over z of CE(lambda z, a) + CE((1-lambda) z, b), a != b: all other logits at -inf, t = z_a - z_b.

    h(t) = log(1 + e^(-lambda t)) + log(1 + e^((1-lambda) t)) is convex; a tangent bounds it from below on [-50, 50].
    """

    def h(t: float) -> float:
        return math.log1p(math.exp(-lam * t)) + math.log1p(math.exp((1 - lam) * t))

    t = float(minimize_scalar(h, bounds=(-50, 50), method="bounded", options={"xatol": 1e-10}).x)
    slope = -lam / (1 + math.exp(lam * t)) + (1 - lam) / (1 + math.exp(-(1 - lam) * t))
    return Interval(h(t) - abs(slope) * 100 - 1e-14, h(t) + 1e-14, CONVEXITY)


@check("ms-argmax", "Eq. 3", "Eq. 4", "Figure 1")
def ms_argmax(lab: Lab, *, unordered: bool = False) -> Finding:
    """Statement: The mixed-singleton classifier (MS) treats a mixed label as a class of its own.

    The logit of that class can be the largest.

    Where: §4.2, Eq. 3 and 4; Figure 1.
    Quote: which learns class vectors by treating mixed labels as singletons under a mixed-label balanced condition
    Formula: z_(a,b) = lambda z_a + (1-lambda) z_b > max over all other label pairs, for some feature.
    Assumptions: all K^2 label pairs are classes, (a, a) among them, with vectors lambda w_a + (1-lambda) w_b.
    Test: The lead of a mixed label is z_(a,b) minus the largest logit of any other class. A linear program finds the
        largest lead for logits in [-1, 1], at K = 4 and several lambda. Also the infimum of the cross-entropy on a
        mixed label.
    Verdict: A mixed label never beats its own singletons: lambda z_a + (1-lambda) z_b <= max(z_a, z_b) = max(z_(a,a),
        z_(b,b)). So its lead is at most 0, and its cross-entropy stays above log 2 (log 4 at lambda = 1/2) for any
        feature. Without the classes (a, a), on pairs a < b as §4.2 ends up doing, the lead is positive and the loss can
        vanish.
    Overturned by: a bias or a separate scale for mixed labels.
    References: none beside the paper.

    Args:
        lab: unused; the numbers are exact.
        unordered: whether the classes are the label pairs a < b instead of all K^2.
    """
    lambdas = (0.1, 0.3, 0.5, 0.9)
    quantities = [
        Quantity(
            f"largest lead of a mixed label (lambda={x}, {'a < b' if unordered else 'all K^2'})",
            0.0,
            _lead(x, unordered),
            ">",
        )
        for x in lambdas
    ]
    floor = {x: _least_loss(x) for x in lambdas}
    repaired = [
        Quantity(f"largest lead of a mixed label (lambda={x}, a < b)", 0.0, _lead(x, True), ">") for x in lambdas
    ]
    above = [
        Quantity(f"least cross-entropy on a mixed label (lambda={x}, all K^2)", math.log(2), floor[x], ">")
        for x in lambdas
    ]
    grid = np.linspace(0.01, 0.99, 99)
    return conclude(
        quantities,
        known="linear program",
        evidence=contradictions(quantities, 1)
        + f"; cross-entropy on a mixed label at least {floor[0.5]} (log 4) at lambda=1/2, "
        f"{floor[0.9]} at 0.9",
        instances="K = 4; lambda = 0.1, 0.3, 0.5, 0.9; the argument holds for every K and lambda",
        repair=Repair(
            "With label pairs a < b as the classes, a mixed label can win.",
            [*repaired, *above],
            licence='§4.2 has it: "only for the case where a < b"',
        ),
        plot=Plot(
            "mixing ratio lambda",
            "least cross-entropy on a mixed label",
            [Curve("all K^2 label pairs", grid.tolist(), [_least_loss(float(x)).upper for x in grid])],
        ),
    )


@check("ms-less-collapse", "Finding 2", "Remark 2")
def ms_less_collapse(
    lab: Lab, *, better: str = "ms", worse: str = "fc", pairs: tuple[str, ...] = ("unbalanced", "balanced")
) -> Finding:
    """Statement: Reading mixed labels as singletons (MS) mitigates minority collapse more than FC does (a conjecture).

    Where: §5.3, the conjecture; Finding 2 and §7 add "when mixed labels are balanced".
    Quote: If mixed labels are interpreted as singletons, then the mitigation of minority collapse will be enhanced.
    Formula: MS is collapsed only where FC is, and cos BB of MS is below that of FC, at equal frequencies.
    Assumptions: the prediction of the model is tested, not networks; in Table 1 MS is ahead on few classes. E_H = 5 and
        E_W = 1. E_{W^lambda} = 1, or lambda^2 + (1-lambda)^2, which is the same budget for W. MS and FC have the same
        label pairs: all K^2, or a < b.
    Test: Certify at one R per instance whether MS and FC are collapsed: K = 4, 6, 10, lambda = 0.1 to 1/2, product and
        block, both readings of the budget, and label pairs a < b at lambda = 1/2. Certified cosines at R = 20, and at
        balanced label pairs, where a gain must exceed the tolerance for equal angles (0.002).
    Verdict: At balanced label pairs, the paper's own condition, both have all cosines -1/(K-1) (nc-balanced; theorem2
        for MS), so MS enhances nothing. At unbalanced ones the opposite holds: on every instance there is an R at which
        MS is collapsed and FC is not. Between different sets of label pairs the order can change. At K = 4 MS on a < b
        collapses later (R0 = 4661) than FC on all K^2 (298), but FC on a < b collapses later still. So the model does
        not explain the gain of MS in Table 1; the cause must be something that the model leaves out.
    Overturned by: another relation between E_W and E_{W^lambda}. At lambda = 1/2 MS is FC at half its budget
        (theorem2), so with twice the budget both are equal.
    References: none beside the paper.

    Args:
        lab: the instruments.
        better: the program that is claimed to collapse less.
        worse: the other program.
        pairs: label pairs for which it is claimed, 'balanced' or 'unbalanced' ones, or both.
    """
    cases = [
        (4, "product", 0.5, 1.0, 100),
        (4, "block", 0.5, 1.0, 100),
        (4, "product", 0.1, 1.0, 100),
        (4, "block", 0.3, 1.0, 100),
        (4, "product", 0.3, 0.58, 100),
        (6, "product", 0.5, 1.0, 40),
        (6, "block", 0.3, 1.0, 40),
        (10, "product", 0.5, 1.0, 12),
        (10, "block", 0.5, 0.5, 12),
    ]
    quantities = []

    def compare(name: str, problems: dict[str, Problem]) -> None:
        first, second = (lab.collapsed(problems[p]) for p in (better, worse))
        known = first.value is not None and second.value is not None
        implied = Fact(not first.value or bool(second.value) if known else None, first.how)
        quantities.append(Quantity(f"{better} is collapsed only if {worse} is ({name})", True, implied))

    if "unbalanced" in pairs:
        for K, profile, lam, e, R in cases:
            families = {p: Family(p, profile, K, mixing=fixed(lam), e_w=e if p == "ms" else 1.0) for p in ("fc", "ms")}
            name = f"{profile}, K={K}, lambda={lam}, E_{{W^lambda}}={e}, R={R}"
            compare(name, {p: f.at(R) for p, f in families.items()})
        for K, R in ((4, 10_000), (6, 60)):
            frequencies = product(imbalanced(K, R=R))
            # At lambda = 1/2, a < b is a != b. The budget 5, a mean over the pairs a < b, is 5 (K - 1) / K over all K^2.
            distinct_pairs = fc(replace(frequencies, same=np.zeros(2)), e_h=5 * (K - 1) / K)
            compare(
                f"a < b, product, K={K}, lambda=0.5, R={R}", {"fc": distinct_pairs, "ms": ms_unordered(frequencies)}
            )
        fc_cosine, ms_cosine = (lab.cosines(Family(p, "product").at(20))[2, 3] for p in (worse, better))
        quantities.append(
            Quantity(f"cos BB of {better} against {worse} (product, K=4, R=20, lambda=1/2)", fc_cosine, ms_cosine, "<")
        )
    if "balanced" in pairs:
        for K in (4, 6):
            other, own = (lab.cosines(Family(p, "balanced", K).at(1))[K - 2, K - 1] for p in (worse, better))
            name = f"cos BB of {worse} minus that of {better}, balanced label pairs (K={K})"
            quantities.append(Quantity(name, ANGLE, other - own, ">"))
    even = [
        q
        for p in ("fc", "ms")
        for K in (4, 6)
        for q in etf(lab.cosines(Family(p, "balanced", K).at(1)), f"{p} balanced, K={K}")
    ]
    grid = np.logspace(0, 3.5, 71)
    curves = [
        Curve(
            f"{p}, product",
            grid.tolist(),
            [s.cosine(1, 1) for s in solutions(Family(p, "product").at(float(R)) for R in grid)],
            style,
        )
        for p, style in (("fc", "-"), ("ms", "--"))
    ]
    thresholds = {p: lab.threshold(Family(p, "product")) for p in ("fc", "ms")}
    against = sum(q.agrees is False for q in quantities)
    return conclude(
        quantities,
        evidence=f"{against} of {len(quantities)} comparisons contradict it; R0 = {thresholds['ms']} for MS, "
        f"{thresholds['fc']} for FC "
        "(product, K=4, lambda=1/2)",
        instances="; ".join(f"{p}, K={K}, lambda={lam}, E_{{W^lambda}}={e}, R={R}" for K, p, lam, e, R in cases)
        + "; a < b, product, lambda=1/2: K=4, R=10^4 and K=6, R=60",
        repair=Repair(
            "At balanced label pairs the class vectors of FC and of MS form an ETF; MS neither helps nor harms there.",
            even,
        ),
        plot=Plot("imbalance R", "cosine between minority class vectors", curves, log_x=True),
    )
