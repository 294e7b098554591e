"""Theorem 1, its proof, and Lemma 2: minority collapse under mixup."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from lpm.chords import prove
from lpm.coordinates import Coordinates
from lpm.family import Family
from lpm.mixing import Mixing, beta, fixed
from lpm.pairs import LabelPairs
from lpm.problem import Problem
from lpm.programs import fc
from lpm.threshold import thresholds
from paper_checks.claim import Curve, Finding, Plot, Quantity, Repair, check, conclude, contradictions
from paper_checks.interval import FLOAT64, Fact
from paper_checks.lab import Lab, solutions


@dataclass(frozen=True)
class _Instance:
    name: str
    family: Family


def _instances(rng: np.random.Generator) -> list[_Instance]:
    """Fixed corners and random draws: both sets of label pairs, several K, K_A, lambda and budgets."""
    chosen = [
        ("fc", "block", 4, 2, 0.5, 5.0),
        ("fc", "product", 4, 2, 0.5, 5.0),
        ("fc", "block", 4, 2, 0.1, 5.0),
        ("fc", "product", 4, 2, 0.1, 5.0),
        ("fc", "block", 4, 1, 0.5, 1.0),
        ("fc", "product", 5, 3, 0.3, 2.0),
        ("fc", "block", 10, 5, 0.5, 5.0),
        ("fc", "product", 100, 36, 0.5, 5.0),
        ("fc", "block", 1000, 500, 0.3, 5.0),
    ]
    for _ in range(6):
        K = int(rng.integers(4, 13))
        K_A, lam = int(rng.integers(K // 2, K - 1)), round(float(rng.uniform(0.05, 0.95)), 3)
        profile = ("block", "product")[int(rng.integers(2))]
        chosen.append(("fc", profile, K, K_A, lam, round(float(rng.uniform(0.5, 3)), 2)))
    instances = [
        _Instance(
            f"{profile}, K={K}, K_A={K_A}, lambda={lam}, E_H={e}",
            Family("fc", profile, K, K_A=K_A, mixing=fixed(lam), e_h=e),
        )
        for _, profile, K, K_A, lam, e in chosen
    ]
    return [*instances, _Instance("product, K=4, K_A=2, Beta(1,1), E_H=5", Family("fc", "product", mixing=beta(1.0)))]


@check("theorem1", "Theorem 1", "Finding 1")
def theorem1(lab: Lab, *, collapses: bool = True) -> Finding:
    """Statement: The minority's class vectors become equal as the imbalance R = n_A / n_B grows without bound.

    The label pairs inside the majority are frequent, those inside the minority rare.

    Where: Theorem 1, §5.2 (3); Finding 1, §1.
    Quote: From Lemma 1 and Theorem 1, we demonstrate that ... also exhibits minority collapse
    Formula: lim_{R -> inf} w_k - w_k' = 0 for all K_A < k < k' <= K.
    Assumptions: p >= K; K_A and K_B fixed. Appendix C.2 sets the frequency of label pairs across the groups to 0
        (block). We also try the frequencies that mixup draws (product), where such pairs occur. lambda fixed, or
        Beta(1,1) by quadrature. Ten instances are chosen: corners, the sizes of the data sets, and Beta(1,1). Six are
        drawn from the seed: K uniform on 4..12, K_A on K/2..K-2, lambda on [0.05, 0.95], E_H on [0.5, 3], block or
        product with equal chance.
    Test: Find R0, where the dual condition changes sign: collapse is optimal iff the minority's sum-zero part of the
        optimal gradient does not reach the gradient's spectral norm. Certify collapse at 1.1 R0. Then prove it at every
        R from 1.1 R0 on, by chords of the optimal value. Where the minority is collapsed from R = 1 on, take R0 = 1.
    Verdict: The result is stronger than the claim: on every instance the minority's class vectors are equal, not just
        close, and that is proved for every R from 1.1 R0 on. So the limit is proved on each instance. For all K, K_A,
        lambda and budgets the paper's own proof stands (see theorem1-weights for its repairs).
    Overturned by: an instance with two minority class vectors that stay apart for arbitrarily large R.
    References: Fang et al. 2021, Theorem 5; docs/theory/collapse.md for the dual condition and the chords.

    Args:
        lab: the instruments; their seed draws the instances.
        collapses: whether the minority is claimed to collapse.
    """
    quantities, R0s = [], []
    instances = _instances(lab.rng())
    searches = thresholds([instance.family for instance in instances], R_max=1e8)
    for instance, search in zip(instances, searches, strict=True):
        collapsed_at = [R for R, collapsed in search.proofs if collapsed]
        if search.certified and (search.R0 is not None or search.collapsed_above):
            start = 1.0 if search.R0 is None else search.R0
        elif collapsed_at:  # R0 itself has no certified bracket; take the smallest R with a proof
            start = collapsed_at[0]
        else:  # collapse may begin beyond the range: nothing is refuted
            quantities.append(Quantity(f"collapse at a finite R ({instance.name})", collapses, Fact(None, FLOAT64)))
            continue
        if search.R0 is not None:
            R0s.append(search.R0)
        R = float(f"{1.1 * start:.3g}")
        everywhere = True if prove(instance.family, R) is not None else None
        quantities += [
            Quantity(f"collapsed at R = {R:g} ({instance.name})", collapses, lab.collapsed(instance.family.at(R))),
            Quantity(f"collapsed at every R from {R:g} on ({instance.name})", collapses, Fact(everywhere, FLOAT64)),
        ]
    agree = sum(q.agrees is True for q in quantities)
    grid = np.logspace(0, 4, 41)
    curves = []
    for profile in ("block", "product"):
        cosines = [solution.cosine(1, 1) for solution in solutions(Family("fc", profile).at(float(R)) for R in grid)]
        curves.append(Curve(f"{profile}, K=4, lambda=1/2", grid.tolist(), cosines, "-" if profile == "block" else "--"))
    return conclude(
        quantities,
        evidence=f"exact collapse at every R from 1.1 R0 on, proved on {agree // 2} of {len(instances)} instances; R0 from "
        f"{min(R0s):.4g} to {max(R0s):.4g}",
        instances="; ".join(i.name for i in instances),
        plot=Plot("imbalance R", "cosine between minority class vectors", curves, log_x=True),
    )


Weight = Callable[[int, int, int, int], Fraction]
"""A weight as a function of (K_A, K_B, n_A, n_B)."""


def _true(K_A: int, K_B: int, n_A: int, n_B: int) -> Fraction:
    return Fraction(K_B**2 * n_B, K_A**2 * n_A + K_B**2 * n_B)


TRUE_WEIGHTS: dict[str, Weight] = {
    "Eq. 18: weight of log K - L_A": _true,
    "Eq. 19, first line: weight of the majority's loss": lambda *x: 1 - _true(*x),
    "Eq. 19, first line: weight of the minority's loss": _true,
    "Eq. 19, second line: weight of the majority's loss": lambda *x: 1 - _true(*x),
    "Eq. 19, second line: weight of the minority's loss": _true,
    "Eq. 19, third line: weight of L_A + epsilon_2": lambda *x: 1 - _true(*x),
    "Eq. 19, third line: weight of L_B": _true,
    "Eq. 19, last line: weight of L_B - L_A - epsilon_2": _true,
    "Eq. 15: feature budget of one majority label pair": lambda K_A, K_B, n_A, n_B: Fraction(1, (K_A + K_B) ** 2),
}
"""The right weights, for n_A samples on |K_A^2| label pairs and n_B on |K_B^2|; budget of Eq. 5 and Eq. 14."""

PRINTED_WEIGHTS: dict[str, Weight] = {
    "Eq. 18: weight of log K - L_A": lambda K_A, K_B, n_A, n_B: 1 / (K_B * Fraction(n_A, n_B) + 1),
    "Eq. 19, first line: weight of the majority's loss": lambda K_A, K_B, n_A, n_B: Fraction(1),
    "Eq. 19, first line: weight of the minority's loss": lambda K_A, K_B, n_A, n_B: Fraction(
        K_B**2 * n_A, K_A**2 * n_A + K_B**2 * n_B
    ),
    "Eq. 19, second line: weight of the majority's loss": lambda K_A, K_B, n_A, n_B: Fraction(1),
    "Eq. 19, second line: weight of the minority's loss": lambda K_A, K_B, n_A, n_B: Fraction(
        K_B**2 * n_A, K_A**2 * n_A + K_B**2 * n_B
    ),
    "Eq. 19, third line: weight of L_A + epsilon_2": lambda K_A, K_B, n_A, n_B: Fraction(1),
    "Eq. 19, third line: weight of L_B": lambda K_A, K_B, n_A, n_B: Fraction(K_B**2, K_A**2),
    "Eq. 19, last line: weight of L_B - L_A - epsilon_2": lambda K_A, K_B, n_A, n_B: 1 / (K_B * Fraction(n_A, n_B) + 1),
    "Eq. 15: feature budget of one majority label pair": lambda K_A, K_B, n_A, n_B: Fraction(1, K_A**2),
}
"""The weights as Eq. 15, 18 and 19 print them."""


@check("theorem1-weights", "Eq. 14", "Eq. 15", "Eq. 16", "Eq. 18", "Eq. 19")
def theorem1_weights(lab: Lab, *, printed: Mapping[str, Weight] = PRINTED_WEIGHTS) -> Finding:
    """Statement: Eq. 18 and 19 have the right weights of the majority's and the minority's loss for Theorem 1's proof.

    Where: Appendix C.2, Eq. 14 to 16, 18, 19.
    Quote: Thus we meet contradiction by comparing Eq. 18 with Eq. 19 and achieve Theorem 1.
    Formula: |K_B^2| n_B / (|K_A^2| n_A + |K_B^2| n_B) = 1 / (K_R R + 1), K_R = |K_A^2| / |K_B^2|.
    Assumptions: n_A samples on each label pair of K_A^2, n_B on each of K_B^2.
    Test: Recompute every weight from n_A, n_B, K_A, K_B in exact fractions, and compare it with the printed one.
    Verdict: Eq. 18 prints K_B R + 1 for K_R R + 1; these are equal only if K_A^2 = K_B^3. Eq. 19 prints n_A for n_B and
        loses terms of denominators, and its weights do not sum to 1. Eq. 15 and 16 use another feature budget than Eq.
        14, which also divides by n_(a,b) = 0 across the groups. All of these are misprints. With the weights recomputed
        and one budget used throughout, both limits (L_A and L_A + epsilon_2) are as the proof needs them.
    Overturned by: another meaning of K_B or n_A in Eq. 18 and 19, or an error in the text version of the paper that we
        read.
    References: Fang et al. 2021, proof of Theorem 5.

    Args:
        lab: unused; the numbers are exact.
        printed: the printed weights as functions of (K_A, K_B, n_A, n_B), by their names.
    """
    cases = [(2, 2, 100, 1), (5, 5, 1000, 10), (3, 7, 500, 5)]
    quantities = [
        Quantity(f"{name} (K_A={c[0]}, K_B={c[1]}, R={c[2] // c[3]})", str(weight(*c)), str(TRUE_WEIGHTS[name](*c)))
        for name, weight in printed.items()
        for c in cases
    ]
    # What the contradiction needs: for two losses L_A < L_A + epsilon the weighted sums part ways once R is large.
    losses = {"L_A": Fraction(1, 3), "L_B": Fraction(0), "log K": Fraction(2)}
    apart = []
    for epsilon in (Fraction(1, 10), Fraction(1, 1000)):
        for K_A, K_B in ((2, 2), (3, 7)):
            w = _true(K_A, K_B, 10**7, 1)
            upper = (1 - w) * losses["L_A"] + w * losses["log K"]  # Eq. 18
            lower = (1 - w) * (losses["L_A"] + epsilon) + w * losses["L_B"]  # Eq. 19
            apart.append(
                Quantity(
                    f"Eq. 19 above Eq. 18 at R = 10^7 (K_A={K_A}, K_B={K_B}, epsilon_2={epsilon})", True, lower > upper
                )
            )
    ratio = [
        Quantity(
            f"1 / (K_R R + 1) is the minority's weight (K_A={a}, K_B={b})",
            str(_true(a, b, n, m)),
            str(1 / (Fraction(a * a, b * b) * Fraction(n, m) + 1)),
        )
        for a, b, n, m in cases
    ]
    wrong = sum(q.agrees is False for q in quantities)
    return conclude(
        quantities,
        evidence=f"{wrong} of {len(quantities)} printed weights (nine terms, three cases) are wrong: "
        + contradictions(quantities, 2),
        instances="(K_A, K_B, R) = (2, 2, 100), (5, 5, 100), (3, 7, 100), exact fractions",
        repair=Repair(
            "With K_R in place of K_B, n_B in place of n_A and one feature budget, Eq. 18 and 19 contradict "
            "each other for large R.",
            [*ratio, *apart],
            licence="misprints: the text below Eq. 18 defines K_R, and Eq. 14 has the one budget",
        ),
    )


def majority_only(K_A: int, K_B: int, law: Mixing | None = None, *, e_h: float = 5.0, e_w: float = 1.0) -> Problem:
    """Build the program of Eq. 14: the losses of K_A^2 alone, with the budgets of all K_A + K_B classes.

    Args:
        K_A: number of majority classes.
        K_B: number of minority classes.
        law: law of lambda; that of ``fc`` if None.
        e_h: feature budget E_H.
        e_w: budget of the class vectors E_W.

    Returns:
        The program.
    """
    sizes = np.array([K_A, K_B])
    pairs = LabelPairs(
        sizes=sizes,
        same=np.array([1.0, 0.0]),
        cross=np.diag([1.0, 0.0]),
        group_of=np.repeat([0, 1], sizes),
        profile="majority only",
        side=np.array([0, 1]),
    )
    return fc(pairs, law, e_h=e_h, e_w=e_w)


@check("lemma2", "Lemma 2", "Eq. 17")
def lemma2(
    lab: Lab,
    *,
    lambdas: tuple[float, float] = (0.5, 0.1),
    alphas: tuple[float, float] = (1.0, 0.2),
    K_Bs: tuple[int, int] = (2, 6),
) -> Finding:
    """Statement: The optimum L_0 of the majority's loss depends only on |K_A^2|, n_A, E_H and E_W.

    So it depends neither on the law of lambda nor on K_B. The minority's features are 0 at the optimum, and a distance
    epsilon between two minority class vectors costs epsilon' > 0.

    Where: Lemma 2 and its proof, Eq. 17, Appendix C.2.
    Quote: only depends on ... The proof of Lemma 2 is the same as Lemma 5 in Fang et al. (2021) regardless of λ
    Formula: L_0 = min (1/|K_A^2|) sum_{k in K_A^2} L(W h_k, y_k) under the budgets of Eq. 14; log K at zero features
        (Eq. 17).
    Assumptions: the budgets of Eq. 14 are means over all K classes and over all K^2 label pairs. lambda is fixed, or
        follows Beta(alpha, alpha) as in Eq. 14, by quadrature.
    Test: Certified L_0 at two lambdas, at two Beta laws and at two K_B, the rest fixed: the intervals must meet. Then
        the facts that the proof of Theorem 1 needs. L_0 strictly falls with each budget, so a minority feature that is
        not 0 wastes budget. And w_k != w_k' at distance epsilon leaves E_W - epsilon^2 / (2 K) to the rest, because
        averaging over the two is no worse.
    Verdict: L_0 depends on the law of lambda and on K_B: the certified intervals are disjoint. It does not depend on
        n_A at all. The proof of Theorem 1 itself says that L_A, L_B and epsilon_2 depend on K_B, among others. The
        parts that this proof uses do hold: independence of R, zero features, and epsilon' > 0, with epsilon' = L_0(E_W
        - epsilon^2/(2K)) - L_0(E_W).
    Overturned by: budgets that do not count K_B, together with a loss that does not depend on lambda.
    References: Fang et al. 2021, Lemma 5, whose argument has no lambda.

    Args:
        lab: the instruments.
        lambdas: two fixed mixing ratios.
        alphas: parameters of two Beta laws.
        K_Bs: two numbers of minority classes.
    """
    first, second = (lab.loss(majority_only(2, 2, fixed(lam))) for lam in lambdas)
    wide, narrow = (lab.loss(majority_only(2, 2, beta(alpha))) for alpha in alphas)
    few, many = (lab.loss(majority_only(2, K_B)) for K_B in K_Bs)
    K = 4
    zero = {lam: loss_at_zero(Family("fc", "block", K, mixing=fixed(lam)).at(7)) for lam in (0.5, 0.1)}
    quantities = [
        Quantity(f"L_0 at lambda = {lambdas[1]} against {lambdas[0]} (K_A=2, K_B=2)", first, second, tolerance=1e-6),
        Quantity(
            f"L_0 under Beta({alphas[1]:g}) against Beta({alphas[0]:g}) (K_A=2, K_B=2)", wide, narrow, tolerance=1e-3
        ),
        Quantity(f"L_0 at K_B = {K_Bs[1]} against {K_Bs[0]} (K_A=2, lambda=1/2)", few, many, tolerance=1e-6),
        *(
            Quantity(f"f(0) at lambda = {x} against log K (Eq. 17)", math.log(K), v, tolerance=1e-14)
            for x, v in zero.items()
        ),
    ]
    base = lab.loss(majority_only(2, 2))
    needed = [
        Quantity(f"L_0 with 1 % less of {name}", base, lab.loss(majority_only(2, 2, e_h=h, e_w=w)), ">")
        for name, h, w in (("E_H", 4.95, 1.0), ("E_W", 5.0, 0.99))
    ] + [
        Quantity(f"epsilon' at epsilon = {e}", 0.0, lab.loss(majority_only(2, 2, e_w=1 - e * e / (2 * K))) - base, ">")
        for e in (0.5, 0.1, 0.01)
    ]
    grid = np.linspace(0.02, 0.98, 49)
    losses = [solution.loss for solution in solutions(majority_only(2, 2, fixed(float(x))) for x in grid)]
    return conclude(
        quantities,
        evidence=contradictions(quantities),
        instances=f"K_A=2; lambda={lambdas}, Beta{alphas}, K_B=2; lambda=1/2, K_B={K_Bs}; E_H=5, E_W=1",
        repair=Repair(
            "L_0 depends on K_A, K_B, the law of lambda and E_H E_W; n_A, n_B and R cancel in the mean. It "
            "falls strictly as either budget grows, "
            "so the minority's features are 0 and epsilon' = L_0(E_W - epsilon^2/(2K)) - L_0(E_W) > 0.",
            needed,
        ),
        plot=Plot("mixing ratio lambda", "L_0", [Curve("K_A=2, K_B=2", grid.tolist(), losses)]),
    )


def loss_at_zero(problem: Problem) -> float:
    """Evaluate f(0), the loss when every feature or every class vector is 0.

    Args:
        problem: the program.

    Returns:
        The loss at logits 0.
    """
    coordinates = Coordinates(problem)
    return coordinates.value_and_gradient(np.zeros(coordinates.shape))[0]
