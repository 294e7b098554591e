"""Appendix B and Lemma 1: the convex program, and getting W and H back from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

from lpm import recovery
from lpm.coordinates import Coordinates
from lpm.family import Family
from lpm.mixing import beta, fixed
from lpm.pairs import balanced, block, imbalanced, product
from lpm.problem import Problem
from lpm.programs import fc, plain
from lpm.solve import Solver, solve
from paper_checks.claim import Finding, Quantity, Repair, check, conclude
from paper_checks.interval import FLOAT64, Interval
from paper_checks.lab import Lab


def _instances() -> dict[str, Problem]:
    """Programs small enough for the semidefinite program as printed."""
    return {
        "K=3, K_A=1, product, lambda=0.3, R=10": fc(product(imbalanced(3, 1, 10)), fixed(0.3)),
        "K=4, K_A=2, block, lambda=1/2, R=10": fc(block(imbalanced(4, 2, 10))),
        "K=4, K_A=2, product, lambda=0.2, R=1000": fc(product(imbalanced(4, 2, 1000)), fixed(0.2)),
        "K=4, balanced, lambda=0.1, E_H=2": fc(balanced(imbalanced(4)), fixed(0.1), e_h=2),
    }


def _by(solver: Solver, problem: Problem) -> Interval:
    solution = solve(problem, solver)
    return Interval(solution.lower_bound, solution.loss + solution.gap, FLOAT64)


def _eq5_value(problem: Problem) -> tuple[Interval, float]:
    """Eq. 5's objective at Lemma 1's (W, H), and by how much they exceed the budgets (relative; 0 when within)."""
    solution = solve(problem)
    full, Z = recovery.logits(solution)
    W, H = recovery.class_vectors_and_features(full, Z)
    coordinates = Coordinates(full)
    f, _ = coordinates.value_and_gradient((coordinates.scale[:, None] * (H @ W.T)) @ coordinates.C_half)
    excess = max((W**2).sum() / full.K / full.e_w, float(full.rows.d @ (H**2).sum(axis=1)) / full.e_h) - 1
    return Interval(f - solution.gap, f + solution.gap, FLOAT64), max(0.0, excess)


@check("eq11-relaxation", "Eq. 5", "Eq. 11")
def eq11_relaxation(lab: Lab, *, gap: float = 0.0, gap_with_expectation: float = 0.0) -> Finding:
    """Statement: The convex program Eq. 11 is a relaxation of LPM_lambda (Eq. 5), and a tight one: same optimal
        value.

    Where: §5.2 (1), Eq. 5; Appendix B, Eq. 11.
    Formula: min Eq. 11 over X = min f(Z) s.t. ||D^(1/2) Z C^(1/2)||_* <= sqrt(E_H E_W) = min Eq. 5 over (W, H).
    Assumptions: cross-entropy, which is convex in the logits. Eq. 5 takes E_lambda; Eq. 11 has no expectation, one X.
    Test: For fixed lambda the semidefinite program as printed (Clarabel), its nuclear-norm form (our solver) and Eq.
        5 at the recovered (W, H) must agree to 1e-6. For lambda ~ Beta(1,1), Eq. 5 with features that follow lambda
        is compared with Eq. 11's single X; because cross-entropy is linear in the label, the latter is Eq. 11 at
        lambda = 1/2.
    Verdict: It holds for a fixed lambda. With E_lambda kept the two optimal values have disjoint certified intervals,
        and Eq. 11 lies above Eq. 5, so it is no relaxation of it; the repair is to fix lambda, or to give X a feature
        for each (label pair, lambda).
    Overturned by: a reading of Eq. 5 in which the feature of a mixed sample may not depend on its own lambda.
    References: Fang et al. 2021 (Eq. 5 there, no mixup); Recht, Fazel, Parrilo 2010 for the nuclear-norm form.
    """
    quantities = []
    for name, problem in _instances().items():
        printed, reduced = _by("sdp", problem), lab.loss(problem)
        recovered, excess = _eq5_value(problem)
        quantities += [
            Quantity(f"Eq. 11 as printed minus its nuclear-norm form ({name})", gap, printed - reduced, tolerance=2e-6),
            Quantity(f"Eq. 5 at the recovered (W, H) minus Eq. 11 ({name})", gap, recovered - reduced, tolerance=2e-6),
            Quantity(f"budget exceeded by (W, H) ({name})", 0.0, excess, tolerance=1e-12),
        ]
    repair = Repair(
        "For a fixed lambda (or one feature vector for each label pair and lambda) Eq. 11 is a tight relaxation of Eq. 5.",
        tuple(quantities),
        keeps=True,
    )
    pairs = product(imbalanced(4, 2, 10))
    one_X, kept = lab.loss(fc(pairs, fixed(0.5))), lab.loss(fc(pairs, beta(1.0)))
    quantities.append(
        Quantity("Eq. 11 minus Eq. 5 with lambda ~ Beta(1,1)", gap_with_expectation, one_X - kept, tolerance=1e-3)
    )
    return conclude(
        quantities,
        evidence=f"tight to 2e-6 for fixed lambda; with lambda ~ Beta(1,1) Eq. 11 gives {one_X}, Eq. 5 {kept}",
        instances="; ".join(_instances()) + "; K=4, K_A=2, product, R=10, Beta(1,1), 64 nodes",
        repair=repair,
    )


@check("lemma1", "Lemma 1", "Eq. 6", "Eq. 12", "Eq. 13")
def lemma1(lab: Lab, *, gap: float = 0.0) -> Finding:
    """Statement: (W*, H*) read off an optimal X* of Eq. 11 by Eq. 6 is feasible for Eq. 5 and minimises it.

    Where: Lemma 1, first part; Eq. 6, 12, 13; Appendix C.1.
    Formula: [h*, W*^T] = P (X*)^(1/2), P^T P = I, then f(W*, H*) = min Eq. 11 <= f(W, H) for every feasible (W, H)
        (Jensen).
    Assumptions: loss convex in the logits; p >= K^2 + K, of which only p >= rank X* is used (see p-assumption).
        lambda fixed.
    Test: Recover W, H, put them back into Eq. 5: both budgets must be met and the value must equal the certified
        minimum. On fixed instances and on 8 random ones (K 3..7, K_A, lambda, R, E_H from the seed).
    Verdict: The proof is Jensen's inequality plus feasibility and is correct (two sum indices of Eq. 12 are
        misprinted: the inner sums run over i). The numbers agree on every instance tried; sampling confirms, the
        proof proves.
    Overturned by: a recovered (W, H) over budget or with a loss above the certified minimum.
    References: Fang et al. 2021, Lemma 1.
    """
    rng, quantities, names = lab.rng(), [], []
    problems = _instances()
    for _ in range(8):
        K = int(rng.integers(3, 8))
        K_A, lam, R, e_h = int(rng.integers(1, K)), rng.uniform(0.05, 0.95), 10 ** rng.uniform(0, 2), rng.uniform(1, 8)
        lam, R, e_h = round(lam, 3), round(R, 1), round(e_h, 2)
        pairs = (product if rng.integers(2) else block)(imbalanced(K, K_A, R))
        problems[f"K={K}, K_A={K_A}, {pairs.profile}, lambda={lam}, R={R}, E_H={e_h}"] = fc(pairs, fixed(lam), e_h=e_h)
    for name, problem in problems.items():
        value, excess = _eq5_value(problem)
        names.append(name)
        quantities += [
            Quantity(f"Eq. 5 at (W*, H*) minus the minimum ({name})", gap, value - lab.loss(problem), tolerance=2e-6),
            Quantity(f"budget exceeded ({name})", 0.0, excess, tolerance=1e-12),
        ]
    worst = max(q.computed.upper for q in quantities[::2] if isinstance(q.computed, Interval))
    return conclude(
        quantities,
        evidence=f"(W*, H*) meets both budgets and the minimum to {worst:.0e} on {len(names)} instances",
        instances="; ".join(names),
    )


@check("lemma1-uniqueness", "Lemma 1")
def lemma1_uniqueness(lab: Lab, *, factor: Callable[[int], Fraction] = lambda K: Fraction(1, K)) -> Finding:
    """Statement: If every X* meets the feature budget with equality, all solutions of Eq. 5 have the form of Eq. 6.

    Where: Lemma 1, last sentence; the last display of its proof in Appendix C.1.
    Formula: sum_k |h_k|^2 / K^2 <= A - (1/K)(1/n_k')(|h_i - h|^2 + |h_j - h|^2), A = (1/K^2) sum_k (1/n_k) sum_i
        |h_ki|^2.
    Assumptions: the features of one label pair are not all equal (the proof is by contraposition).
    Test: Evaluate the printed display exactly, in fractions, for features that differ in one label pair: it must hold
        for every such choice. Then again with 1/K^2.
    Verdict: The printed factor 1/K makes the first inequality false; with 1/K^2 it is an identity for two samples and
        true in general, and the last "<= E_H" must read "< E_H". With both repairs the proof goes through. Its
        hypothesis is met whenever the gradient is not zero at the optimum, because then both budgets are tight.
    Overturned by: a reading in which the mean over label pairs is taken with weight 1/K.
    References: none beside the paper.
    """

    def slack(K: int, spread: Fraction, share: Callable[[int], Fraction]) -> Fraction:
        """Right-hand minus left-hand side: all features 0 but two samples (+spread, -spread) of one label pair."""
        n = 2
        A = Fraction(1, K**2) * Fraction(1, n) * 2 * spread**2
        return A - share(K) * Fraction(1, n) * 2 * spread**2 - 0

    def inequality(share: Callable[[int], Fraction]) -> list[Quantity]:
        return [
            Quantity(f"right minus left side is at least 0 (K={K}, spread {s})", True, slack(K, s, share) >= 0)
            for K in (3, 4, 10)
            for s in (Fraction(1), Fraction(1, 7))
        ]

    tight = []
    for name, problem in _instances().items():
        full, Z = recovery.logits(solve(problem))
        _, H = recovery.class_vectors_and_features(full, Z)
        spent = float(full.rows.d @ (H**2).sum(axis=1)) / full.e_h
        tight.append(Quantity(f"share of the feature budget used by X* ({name})", 1.0, spent, tolerance=1e-9))
    return conclude(
        inequality(factor),
        evidence="with the printed 1/K the display is off by (1/K^2 - 1/K) |h_i - h_j|^2 / (2 n) < 0; with 1/K^2 it holds",
        instances="K = 3, 4, 10; two samples of one label pair at distance 2 or 2/7, all other features 0; exact fractions",
        repair=Repair(
            "With 1/K^2 in place of 1/K and a strict last inequality the argument is correct; the budget is used up.",
            [*inequality(lambda K: Fraction(1, K**2)), *tight],
            keeps=True,
        ),
    )


NETWORKS = (
    ("CIFAR10-LT, ResNet-32", 10, 64),
    ("CIFAR100-LT, ResNet-32 of double width", 100, 128),
    ("Places-LT, ResNet-152", 365, 2048),
    ("ImageNet-LT, ResNet-50", 1000, 2048),
    ("iNaturalist 2018, ResNet-50", 8142, 2048),
)
"""The paper's networks (Appendix D): data set and network, K, feature width p."""


@check("p-assumption", "Lemma 1", "Theorem 1", "Theorem 2")
def p_assumption(
    lab: Lab,
    *,
    needed: Callable[[int], int] = lambda K: K**2 + K,
    networks: Sequence[tuple[str, int, int]] = NETWORKS,
) -> Finding:
    """Statement: The feature width satisfies p >= K^2 + K (Lemma 1, Proposition 1) and p >= 2 K^2 (Theorem 2).

    Where: Lemma 1, Proposition 1, Theorem 2; the networks in Appendix D.
    Formula: p >= K^2 + K. What the proof uses: p >= rank X*, and rank X* = rank Z* <= K - 1.
    Assumptions: feature widths of the networks named in Appendix D: 64, 128, 2048, 2048, 2048.
    Test: Compare p with the assumption for each data set; count the singular values of the optimum that are not zero.
    Verdict: The assumption is met by none of the networks used, so as stated the results say nothing about them:
        vacuous. A constant added to all logits changes no softmax but costs nuclear norm, so every optimum has 1 in
        its kernel and rank at most K - 1: p >= K - 1 suffices. That is met for all data sets but iNaturalist 2018
        (2048 < 8141).
    Overturned by: networks with wider features, or an optimum of rank K or more.
    References: Appendix D of the paper; He et al. 2015 for the widths.
    """
    hypothesis = [Quantity(f"p against what is assumed ({n})", needed(K), p, ">=") for n, K, p in networks]
    ranks = [
        Quantity(
            f"rank of the optimum ({family.name}, K={family.K}, R={R})", family.K - 1, solve(family.at(R)).rank, "<="
        )
        for family, R in (
            (Family("fc", "product"), 10),
            (Family("fc", "block", 6, 2), 100),
            (Family("fc", "product", 100, mixing=fixed(0.3)), 1.2),
            (Family("fc", "balanced", 1000), 1),
        )
    ]
    rank_of_plain = solve(plain(imbalanced(10, 5, 2))).rank
    enough = [Quantity(f"p against K - 1 ({n})", K - 1, p, ">=") for n, K, p in NETWORKS[:4]]
    return conclude(
        [*ranks, Quantity("rank of the plain optimum (K=10, R=2)", 9, rank_of_plain, "<=")],
        hypothesis=hypothesis,
        evidence="p = 64, 128, 2048, 2048, 2048 against K^2 + K = "
        + ", ".join(f"{K * K + K:,}" for _, K, _ in NETWORKS)
        + "; rank X* <= K - 1",
        instances="; ".join(f"{n}: K={K}, p={p}" for n, K, p in networks),
        repair=Repair("p >= K - 1 is enough, and is met by all networks but iNaturalist's.", [*ranks, *enough]),
    )
