"""The collapse law, and what follows from it for mixup, mixed-singleton, offsets, balanced sampling and class weights."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from lpm.cure_rows import CURES, Setting
from lpm.family import Family
from lpm.law import collapse_number, rounding
from lpm.mixing import beta, fixed
from lpm.pairs import imbalanced
from lpm.problem import Problem
from lpm.threshold import threshold
from paper_checks.beyond.decided import collapsed
from paper_checks.claim import Finding, Quantity, check, conclude
from paper_checks.interval import FLOAT64, Interval
from paper_checks.lab import Lab

NEAR = (0.97, 1.03)
"""Decays that are tried, as multiples of the threshold."""

ROWS = {cure.name: cure.build for cure in CURES}
"""The programs by the names of cures."""


def number(problem: Problem, group: int = 1) -> Interval:
    """Enclose the collapse number of a group under decay on single samples.

    Args:
        problem: the program.
        group: the group.

    Returns:
        The number with a bound on its rounding.
    """
    problem = problem.under_decay(1.0)
    value, error = collapse_number(problem, group), rounding(problem)
    return Interval(value * (1 - error), value * (1 + error), FLOAT64)


def around(lab: Lab, problem: Problem, threshold: float, name: str, group: int = 1) -> list[Quantity]:
    """Compare collapse at the optimum with a claimed threshold of mu, just below and just above it.

    Args:
        lab: the instruments.
        problem: the program.
        threshold: the claimed threshold of mu.
        name: what the program is.
        group: the group that may collapse.

    Returns:
        One comparison for each decay of ``NEAR``.
    """
    return [
        Quantity(
            f"collapsed at mu = {factor} of the threshold ({name})",
            factor > 1,
            collapsed(lab, problem.under_decay(factor * threshold), group),
        )
        for factor in NEAR
    ]


def setting(K: int = 4, K_A: int = 2, R: float = 20.0, alpha: float = 1.0, nodes: int = 4) -> Setting:
    """Build the setting of a cure: two groups, mixup's law as quadrature.

    Args:
        K: number of classes.
        K_A: number of majority classes.
        R: imbalance.
        alpha: parameter of Beta(alpha, alpha).
        nodes: quadrature nodes.

    Returns:
        The setting.
    """
    return Setting(classes=imbalanced(K, K_A, R), alpha=alpha, nodes=nodes)


@check("collapse-law")
def collapse_law(lab: Lab, *, factor: float = 1.0) -> Finding:
    """Statement: Under weight decay the class vectors of exchangeable classes B coincide exactly if c_B <= mu^2.

    c_B is a closed form in targets and frequencies; no optimum is needed.

    Where: beyond the paper; docs/theory/collapse-law.md.
    Quote: none
    Formula: c_B P_B = sum_k p_k (P_B t_k)(P_B t_k)^T, P_B the projector on vectors that live on B and sum to zero.
    Assumptions: loss m_k logpartition(z) - <t_k, z>, a log-partition that treats the classes of B alike, equal counts
        inside B; decay on every sample's feature and every class vector.
    Test: Solve the penalised program at 0.97 and 1.03 of the threshold sqrt(c_B) and certify collapse or its absence
        without the law: for fixed corners, random K, K_A, R and laws of lambda, and random non-negative targets.
    Verdict: Proved: at a point with equal class vectors the gradient along the differences inside B has only targets.
        Every instance agrees.
    Overturned by: one certified optimum on the other side of the line.
    References: Hong and Ling 2023 for cross-entropy without mixup, sqrt(n_B) / N <= lambda_Z (abstract read).

    Args:
        lab: the instruments; their seed draws the instances.
        factor: what c_B is claimed to be, as a multiple of the formula.
    """
    rng = lab.rng()
    instances = [("mixup, K=4, K_A=2, R=20", ROWS["mixup"](setting())), ("MS, the same", ROWS["MS"](setting()))]
    for i in range(6):
        K = int(rng.integers(4, 11))
        K_A, R = int(rng.integers(1, K - 1)), float(np.exp(rng.uniform(0, 5)))
        law = beta(float(rng.uniform(0.2, 2)), 3) if i % 2 else fixed(float(rng.uniform(0.05, 0.95)))
        program = ("plain", "fc", "ms")[i % 3]
        family = Family(program, "product", K, K_A=K_A, mixing=law)
        instances.append((f"{program}, K={K}, K_A={K_A}, R={R:.3g}, lambda {law.label}", family.at(R)))
        instances.append(
            (f"random targets, K={K}, K_A={K_A}, R={R:.3g}", relabelled(Family("fc", "product", K, K_A=K_A).at(R), rng))
        )
    quantities = []
    for name, problem in instances:
        bound = math.sqrt(factor * collapse_number(problem.under_decay(1.0), 1))
        quantities += around(lab, problem, bound, name)
    agree = sum(q.agrees is True for q in quantities)
    return conclude(
        quantities,
        evidence=f"{agree} of {len(quantities)} certified optima at 0.97 and 1.03 of the threshold agree",
        instances="; ".join(name for name, _ in instances),
    )


def relabelled(problem: Problem, rng: np.random.Generator) -> Problem:
    """Give a program random non-negative targets, the same for exchangeable classes.

    Args:
        problem: a cross-entropy program with label pairs.
        rng: generator.

    Returns:
        The program with other targets, of other masses.
    """
    label = rng.uniform(0, 0.3, (len(problem.rows), len(problem.sizes) + 2))
    label[:, -2:] += rng.uniform(0, 1.5, (len(label), 2))
    return replace(problem, rows=replace(problem.rows, label=label))


@check("mixup-earlier")
def mixup_earlier(lab: Lab, *, share: float = 2 / 3) -> Finding:
    """Statement: Mixup makes minority collapse set in earlier: its collapse number is q times that without mixup.

    Where: beyond the paper; docs/theory/collapse-law.md.
    Quote: none
    Formula: q = E[lambda^2 + (1-lambda)^2], (alpha+1) / (2 alpha+1) for Beta(alpha, alpha). Under a decay mu collapse
        holds exactly if n_B / N <= mu^2 without mixup and q n_B / N <= mu^2 with it.
    Assumptions: as collapse-law; random pairs.
    Test: Collapse numbers for Beta(1, 1) and two other laws; R0 with and without mixup at mu = 0.12; certified optima
        between the two thresholds, collapsed with mixup and not without.
    Verdict: Proved: two independent draws add variances lambda^2 and (1-lambda)^2. Every instance agrees.
    Overturned by: another mixing of targets, such as Remix, whose number is larger than without mixup.
    References: none beside this project.

    Args:
        lab: the instruments.
        share: q of Beta(1, 1).
    """
    quantities = []
    for K, K_A, R in ((4, 2, 20.0), (10, 3, 100.0)):
        plain = number(ROWS["no mixup"](setting(K, K_A, R)))
        for alpha, q in ((1.0, share), (0.2, 1.2 / 1.4), (8.0, 9 / 17)):
            mixed = number(ROWS["mixup"](setting(K, K_A, R, alpha)))
            claimed = Interval(q * plain.lower * (1 - 1e-15), q * plain.upper * (1 + 1e-15), FLOAT64)
            quantities.append(Quantity(f"c_B with Beta({alpha:g}) (K={K}, R={R:g})", claimed, mixed, tolerance=1e-12))
    mu = 0.12
    for name, family, q in (
        ("without mixup", Family("plain", decay=mu), 1.0),
        ("with mixup", Family("fc", "product", mixing=beta(1.0, 4), decay=mu), share),
    ):
        bracket = threshold(family).bracket
        assert bracket is not None
        quantities.append(
            Quantity(f"R0 {name} (K=4, mu=0.12)", (q / mu**2 - 2) / 2, Interval(*bracket, FLOAT64), tolerance=1e-9)
        )
        quantities.append(Quantity(f"collapsed at R = 28 {name} (K=4, mu=0.12)", q < 1, collapsed(lab, family.at(28))))
    return conclude(
        quantities,
        evidence="; ".join(f"{q.name}: {q.computed}" for q in quantities[-4:]),
        instances="K=4, R=20 and K=10, K_A=3, R=100; alpha = 0.2, 1, 8; K=4 at mu = 0.12",
    )


@check("ms-same-threshold")
def ms_same_threshold(lab: Lab, *, program: str = "MS") -> Finding:
    """Statement: Under weight decay mixed-singleton and the usual classifier collapse at the same imbalance.

    Where: beyond the paper; docs/theory/collapse-law.md.
    Quote: none
    Formula: c_B(MS) = c_B(FC) on the same label pairs.
    Assumptions: as collapse-law, MS over all K^2 label pairs, decay on W itself. Under the budgets of Eq. 9 the two
        differ.
    Test: Both collapse numbers for two settings, and certified optima of MS at 0.97 and 1.03 of FC's threshold.
    Verdict: Proved: both log-partitions treat the classes of B alike, and the linear terms are equal.
    Overturned by: decay on the mixed class vectors W^lambda instead of on W.
    References: none beside this project.

    Args:
        lab: the instruments.
        program: the program that is claimed to share the threshold.
    """
    quantities = []
    for K, K_A, R, alpha in ((4, 2, 20.0, 1.0), (7, 3, 50.0, 0.2)):
        chosen, name = setting(K, K_A, R, alpha), f"K={K}, R={R:g}, Beta({alpha:g})"
        fc = number(ROWS["mixup"](chosen))
        other = ROWS[program](chosen)
        quantities.append(Quantity(f"c_B of {program} against FC ({name})", fc, number(other), tolerance=1e-12))
        quantities += around(lab, other, math.sqrt(fc.middle), f"{program}, {name}")
    return conclude(
        quantities,
        evidence=f"c_B = {quantities[0].computed} and {quantities[3].computed} for both",
        instances="K=4, R=20, Beta(1); K=7, K_A=3, R=50, Beta(0.2)",
    )


@check("offsets-do-not-move")
def offsets_do_not_move(lab: Lab, *, moved: float = 1.0) -> Finding:
    """Statement: A bias, logit adjustment of any strength and other group-wise offsets do not move the collapse.

    They change lengths and the preference for frequent classes.

    Where: beyond the paper; docs/theory/collapse-law.md.
    Quote: none
    Formula: c_B has no offset in it.
    Assumptions: as collapse-law, offsets equal inside B. A free or decayed bias is one: at a symmetric optimum it is
        equal inside B. Under budgets offsets do move the threshold (adjustment-budgets).
    Test: Certified optima at 0.97 and 1.03 of the threshold without offsets, with logit adjustment of strength 1/2, 1
        and 2, with offsets against the majority, and with random ones; cross-entropy and mixed-singleton.
    Verdict: Proved: with equal logits inside B the softmax is equal inside B, whatever the offsets.
    Overturned by: offsets that differ inside B, or margins on the own class (LDAM).
    References: Kini et al. 2021 have additive adjustments vanish at the end of training without decay (not read).

    Args:
        lab: the instruments; their seed draws offsets.
        moved: factor by which offsets are claimed to move the threshold.
    """
    rng, chosen, quantities = lab.rng(), setting(5, 2, 30.0), []
    log_pi = np.log(chosen.pi)
    offsets = {f"tau = {tau:g}": tau * log_pi for tau in (0.5, 1.0, 2.0, -1.0)}
    offsets |= {f"random {i}": rng.normal(0, 3, 2) for i in (1, 2)}
    for cure in ("mixup", "MS"):
        problem = ROWS[cure](chosen)
        bound = moved * math.sqrt(number(problem).middle)
        for name, offset in offsets.items():
            quantities += around(lab, replace(problem, offset=offset), bound, f"{cure}, {name}")
    return conclude(
        quantities,
        evidence=f"{sum(q.agrees is True for q in quantities)} of {len(quantities)} certified optima agree",
        instances="K=5, K_A=2, R=30, Beta(1,1); offsets " + ", ".join(offsets),
    )


@check("balanced-sampling")
def balanced_sampling(lab: Lab, *, pairs_add: float = 0.0) -> Finding:
    """Statement: Balanced sampling removes the minority's disadvantage, and balanced label pairs add nothing to it.

    Label pairs a < b even take a little.

    Where: beyond the paper; docs/theory/collapse-law.md.
    Quote: none
    Formula: balanced sides: c_A = c_B = q / K. All K^2 label pairs equally often: the same. a < b only:
        q/K - (1-q)/(K (K-1)). One side balanced: (q/2)(pi_B + 1/K).
    Assumptions: as collapse-law; lambda symmetric about 1/2; cross-entropy. MS over a < b treats classes of B
        differently, so the law does not cover it.
    Test: Collapse numbers of both groups at K = 4 and 10, and certified optima around each threshold.
    Verdict: Proved: the moments of the targets decide, and pairs of balanced sides have the same as balanced pairs.
    Overturned by: a sampler whose targets have other second moments.
    References: none beside this project.

    Args:
        lab: the instruments.
        pairs_add: what balanced label pairs are claimed to add to q / K.
    """
    quantities, q = [], 2 / 3
    for K, K_A, R in ((4, 2, 20.0), (10, 5, 100.0)):
        chosen, name = setting(K, K_A, R), f"K={K}, R={R:g}"
        pi_B = 1 / (K_A * R + K - K_A)
        claimed = {
            "CBS/CAS/LOM": (q / K, q / K),
            "BMLS": (q / K + pairs_add,) * 2,
            "BMLS a<b": (q / K - (1 - q) / (K * (K - 1)),) * 2,
            "SBN": (q / 2 * (R * pi_B + 1 / K), q / 2 * (pi_B + 1 / K)),
            "mixup": (q * R * pi_B, q * pi_B),
        }
        for cure, values in claimed.items():
            problem = ROWS[cure](chosen)
            quantities += [
                Quantity(f"c_{side} of {cure} ({name})", value, number(problem, group), tolerance=1e-12)
                for group, (side, value) in enumerate(zip("AB", values, strict=True))
            ]
            if K == 4:
                quantities += around(lab, problem, math.sqrt(values[1]), f"{cure}, {name}")
    return conclude(
        quantities,
        evidence="; ".join(f"{q.name}: {q.computed}" for q in quantities if "c_B" in q.name and "K=10" in q.name),
        instances="K=4, R=20 and K=10, R=100, K_A = K/2, Beta(1,1)",
    )


@check("class-weights-invert")
def class_weights_invert(lab: Lab, *, first: int = 0) -> Finding:
    """Statement: Class weights 1/(K pi) in the loss invert the collapse: the frequent classes collapse first.

    Where: beyond the paper; docs/theory/collapse-law.md.
    Quote: none
    Formula: c_B = q / (K^2 pi_B), so c_A / c_B = 1/R.
    Assumptions: as collapse-law; with mixup or without (q = 1).
    Test: Both collapse numbers; certified optima at the geometric mean of both thresholds, where one group is collapsed
        and the other is not.
    Verdict: Proved: weights enter the targets squared, frequencies once.
    Overturned by: weights of another power: pi^(-1/2) makes both numbers equal.
    References: Wang et al. 2026 on re-weighting (not read).

    Args:
        lab: the instruments.
        first: the group that is claimed to collapse first, 0 for the majority.
    """
    quantities = []
    for K, K_A, R, alpha, q in ((4, 2, 20.0, 1.0, 2 / 3), (6, 2, 50.0, 0.0, 1.0)):
        chosen, name = setting(K, K_A, R, alpha), f"K={K}, R={R:g}, " + ("mixup" if alpha else "no mixup")
        problem = ROWS["class weights"](chosen)
        pi = chosen.pi
        quantities += [
            Quantity(f"c_{'AB'[g]} ({name})", float(q / (K**2 * pi[g])), number(problem, g), tolerance=1e-12 / pi[g])
            for g in (0, 1)
        ]
        mu = math.sqrt(q / K**2 / math.sqrt(pi[0] * pi[1]))
        quantities += [
            Quantity(
                f"{'AB'[g]} collapsed between the thresholds ({name})",
                g == first,
                collapsed(lab, problem.under_decay(mu), g),
            )
            for g in (0, 1)
        ]
    return conclude(
        quantities,
        evidence=f"c_A = {quantities[0].computed}, c_B = {quantities[1].computed} at K=4, R=20; between them the "
        "majority is collapsed and the minority is not",
        instances="K=4, R=20 with mixup; K=6, K_A=2, R=50 without",
    )
