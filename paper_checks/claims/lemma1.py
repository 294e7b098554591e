"""Claims of Appendix B and Lemma 1: the convex program, and W and H recovered from it."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np

from lpm import recovery
from lpm.coordinates import Coordinates
from lpm.family import Family
from lpm.mixing import beta, fixed
from lpm.pairs import balanced, block, imbalanced, product
from lpm.problem import Problem
from lpm.programs import fc
from lpm.solve import Solver, solve
from paper_checks.claim import Finding, Quantity, Repair, check, conclude, contradictions, show
from paper_checks.interval import FLOAT64, PLAIN, Interval
from paper_checks.lab import Lab


def _instances() -> dict[str, Problem]:
    """Instances that are small enough for the semidefinite program as printed."""
    return {
        "K=3, K_A=1, product, lambda=0.3, R=10": fc(product(imbalanced(3, 1, 10)), fixed(0.3)),
        "K=4, K_A=2, block, lambda=1/2, R=10": fc(block(imbalanced(4, 2, 10))),
        "K=4, K_A=2, product, lambda=0.2, R=1000": fc(product(imbalanced(4, 2, 1000)), fixed(0.2)),
        "K=4, balanced, lambda=0.1, E_H=2": fc(balanced(imbalanced(4)), fixed(0.1), e_h=2),
    }


def _optimum(solver: Solver, problem: Problem) -> Interval:
    """The optimal value, certified at the point of one solver."""
    solution = solve(problem, solver)
    return Interval(solution.lower_bound, solution.loss + solution.gap, FLOAT64)


def _eq5_value(problem: Problem) -> tuple[float, float]:
    """Eq. 5's objective at Lemma 1's (W, H), and their relative excess over the budgets (0 within)."""
    full, Z = recovery.logits(solve(problem))
    W, H = recovery.class_vectors_and_features(full, Z)
    return _loss(full, H @ W.T), _excess(full, W, H)


def _loss(full: Problem, Z: np.ndarray) -> float:
    """The loss f at logits Z (m, K) of a problem that is written out."""
    coordinates = Coordinates(full)
    return coordinates.value_and_gradient((coordinates.scale[:, None] * Z) @ coordinates.C_half)[0]


def _excess(full: Problem, W: np.ndarray, H: np.ndarray) -> float:
    """The relative excess of (W, H) over either budget of Eq. 5; 0 within."""
    spent = (W**2).sum() / full.K / full.e_w, float(full.rows.d @ (H**2).sum(axis=1)) / full.e_h
    return max(0.0, float(max(spent)) - 1)


def _for_every_lambda(problem: Problem) -> float:
    """An upper bound on Eq. 5 when the feature budget must hold for each lambda.

    Take the optimum under the averaged budget, and scale down the features of each lambda that exceed it.
    """
    full, Z = recovery.logits(solve(problem))
    W, H = recovery.class_vectors_and_features(full, Z)
    H = H.copy()
    for lam in np.unique(full.rows.lam):
        at = full.rows.lam == lam
        spent = (H[at] ** 2).sum() / full.K**2
        H[at] *= min(1.0, float(np.sqrt(full.e_h / spent)))
    return _loss(full, H @ W.T)


@check("eq11-relaxation", "Eq. 5", "Eq. 11")
def eq11_relaxation(lab: Lab, *, gap: float = 0.0, gap_with_expectation: float = 0.0) -> Finding:
    """Statement: The convex program Eq. 11 is a tight relaxation of LPM_lambda (Eq. 5): its optimal value is the same.

    Where: §5.2 (1), Eq. 5; Appendix B, Eq. 11.
    Quote: We present a convex optimization program that serves as a relaxation of the non-convex LPM
    Formula: min Eq. 11 over X = min f(Z) s.t. ||D^(1/2) Z C^(1/2)||_* <= sqrt(E_H E_W) = min Eq. 5 over (W, H).
    Assumptions: cross-entropy, which is convex in the logits. Eq. 5 takes E_lambda; Eq. 11 has one X and no
        expectation. The paper does not say whether the feature budget is an average over lambda or holds for every
        lambda, so we try both.
    Test: For a fixed lambda three values must agree to 2e-6: the semidefinite program as printed (Clarabel), its
        nuclear-norm form (our solver), and Eq. 5 at the recovered (W, H). For lambda ~ Beta(1,1), Eq. 5 with features
        that follow lambda is compared with the single X of Eq. 11. Cross-entropy is linear in the label, so the latter
        is Eq. 11 at lambda = 1/2.
    Verdict: It holds for a fixed lambda. With E_lambda kept, Eq. 11 lies above Eq. 5, so it is no relaxation of it. If
        the budget is an average, the certified intervals are disjoint. If it holds for every lambda, Eq. 11 lies above
        a feasible point of Eq. 5. The repair is to fix lambda, or to give X a feature for each label pair and lambda.
    Overturned by: a reading of Eq. 5 in which the feature of a mixed sample may not depend on its own lambda.
    References: Fang et al. 2021 (Eq. 5 there, no mixup); Recht, Fazel, Parrilo 2010 for the nuclear-norm form.

    Args:
        lab: the instruments.
        gap: claimed difference of the optimal values for a fixed lambda.
        gap_with_expectation: claimed difference with E_lambda.
    """
    quantities = []
    for name, problem in _instances().items():
        printed, reduced = _optimum("sdp", problem), lab.loss(problem)
        value, excess = _eq5_value(problem)
        quantities += [
            Quantity(f"Eq. 11 as printed minus its nuclear-norm form ({name})", gap, printed - reduced, tolerance=2e-6),
            Quantity(f"Eq. 5 at the recovered (W, H) against Eq. 11 ({name})", reduced, value, tolerance=2e-6),
            Quantity(f"budget exceeded by (W, H) ({name})", 0.0, excess, tolerance=1e-12),
        ]
    repair = Repair(
        "For a fixed lambda (or one feature vector for each label pair and lambda) Eq. 11 is a tight "
        "relaxation of Eq. 5.",
        tuple(quantities),
        licence="the proof in Appendix C.1 has no expectation over lambda, and Eq. 11 has none either",
    )
    pairs = product(imbalanced(4, 2, 10))
    eq11, eq5 = lab.loss(fc(pairs, fixed(0.5))), lab.loss(fc(pairs, beta(1.0)))
    eq5_for_each = _for_every_lambda(fc(pairs, beta(1.0)))
    quantities += [
        Quantity("Eq. 11 minus Eq. 5 with lambda ~ Beta(1,1)", gap_with_expectation, eq11 - eq5, tolerance=1e-3),
        Quantity(
            "Eq. 5 at a feasible point, budget for every lambda, Beta(1,1)",
            eq11.middle - gap_with_expectation,
            eq5_for_each,
            ">=",
        ),
    ]
    return conclude(
        quantities,
        evidence=f"tight to 2e-6 for fixed lambda; with lambda ~ Beta(1,1) the optimum is {eq11} for Eq. 11, "
        f"{eq5} for Eq. 5",
        instances="; ".join(_instances()) + "; K=4, K_A=2, product, R=10, Beta(1,1), 64 nodes",
        repair=repair,
    )


@check("lemma1", "Lemma 1", "Eq. 6", "Eq. 12", "Eq. 13")
def lemma1(lab: Lab, *, gap: float = 0.0) -> Finding:
    """Statement: (W*, H*), read off an optimal X* of Eq. 11 by Eq. 6, is feasible for Eq. 5 and minimises it.

    Where: Lemma 1, first part; Eq. 6, 12, 13; Appendix C.1.
    Quote: is a minimizer of Eq. 5.
    Formula: [h*, W*^T] = P (X*)^(1/2), P^T P = I, then f(W*, H*) = min Eq. 11 <= f(W, H) for every feasible (W, H)
        (Jensen).
    Assumptions: the loss is convex in the logits; lambda is fixed; p >= K^2 + K, although only p >= rank X* is used
        (see p-assumption).
    Test: Take the matrix X* = [H; W][H; W]^T of the semidefinite program's optimum, its square root, and a random P
        with orthonormal columns, p = m + K + 3. Put the columns of P X^(1/2) back into Eq. 5: both budgets must be met,
        and the value must be the certified minimum. Random feasible (W, H) with three unequal features per label pair
        must not be better, nor get worse when the features are averaged.
    Verdict: The proof is Jensen's inequality plus feasibility, and it is correct. (Two sum indices of Eq. 12 are
        misprinted: the inner sums run over i.) The numbers agree on every instance tried. They confirm the lemma; the
        proof proves it.
    Overturned by: a recovered (W, H) over budget or with a loss above the certified minimum.
    References: Fang et al. 2021, Lemma 1.

    Args:
        lab: the instruments; their seed draws the instances.
        gap: claimed excess of Eq. 5 at (W*, H*) over the minimum.
    """
    rng, quantities = lab.rng(), []
    problems = _instances()
    for _ in range(4):
        K = int(rng.integers(3, 5))
        K_A, lam, R, e_h = int(rng.integers(1, K)), rng.uniform(0.05, 0.95), 10 ** rng.uniform(0, 2), rng.uniform(1, 6)
        lam, R, e_h = round(lam, 3), round(R, 1), round(e_h, 2)
        pairs = (product if rng.integers(2) else block)(imbalanced(K, K_A, R))
        problems[f"K={K}, K_A={K_A}, {pairs.profile}, lambda={lam}, R={R}, E_H={e_h}"] = fc(pairs, fixed(lam), e_h=e_h)
    for name, problem in problems.items():
        least = lab.loss(problem)
        full, Z = recovery.logits(solve(problem, "sdp"))
        stacked = np.vstack(recovery.class_vectors_and_features(full, Z)[::-1])
        values, vectors = np.linalg.eigh(stacked @ stacked.T)  # X*, (m + K) x (m + K)
        root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
        P = np.linalg.qr(rng.normal(size=(len(root) + 3, len(root))))[0]
        columns = (P @ root).T
        H, W = columns[: len(Z)], columns[len(Z) :]
        quantities += [
            Quantity(
                f"Eq. 5 at (W*, H*) = P (X*)^(1/2) ({name})",
                Interval(least.lower + gap, least.upper + gap),
                _loss(full, H @ W.T),
                tolerance=2e-6,
            ),
            Quantity(f"budget exceeded ({name})", 0.0, _excess(full, W, H), tolerance=1e-9),
        ]
        for trial in range(3):
            W = rng.normal(size=(full.K, full.K + 2))
            many = rng.normal(size=(3, len(Z), full.K + 2))  # three features per label pair
            W *= np.sqrt(full.e_w * full.K / (W**2).sum())
            many *= np.sqrt(full.e_h / np.mean([full.rows.d @ (h**2).sum(axis=1) for h in many]))
            at_unequal = float(np.mean([_loss(full, h @ W.T) for h in many]))
            at_mean = _loss(full, many.mean(axis=0) @ W.T)
            quantities += [
                Quantity(
                    f"Jensen: random features against their mean ({name}, {trial + 1})", at_mean, at_unequal, ">="
                ),
                Quantity(f"random (W, H) against the minimum ({name}, {trial + 1})", least, at_mean, ">="),
            ]
    agree = sum(q.agrees is True for q in quantities)
    return conclude(
        quantities,
        evidence=f"{agree} of {len(quantities)} comparisons on {len(problems)} instances agree",
        instances="; ".join(problems),
    )


@check("lemma1-uniqueness", "Lemma 1", "Proposition 1")
def lemma1_uniqueness(lab: Lab, *, factor: Callable[[int], Fraction] = lambda K: Fraction(1, K)) -> Finding:
    """Statement: The display that proves the last sentence of Lemma 1 is right.

    That sentence: if every X* meets the feature budget with equality, all solutions of Eq. 5 have the form of Eq. 6.
    Proposition 1 ends with the same sentence for Eq. 7.

    Where: the last display of the proof of Lemma 1, Appendix C.1.
    Quote: then all the solutions of Eq. 5 are in the form of Eq. 6. We complete the proof.
    Formula: sum_k |h_k|^2 / K^2 <= A - (1/K)(1/n_k')(|h_i - h|^2 + |h_j - h|^2), A = (1/K^2) sum_k (1/n_k) sum_i
        |h_ki|^2.
    Assumptions: the features of one label pair are not all equal (the proof is by contraposition).
    Test: Evaluate the printed display in exact fractions for features that differ in one label pair; it must hold for
        every such choice. Then again with 1/K^2.
    Verdict: The printed factor 1/K makes the first inequality false. With 1/K^2 it is an identity for two samples and
        true in general, and the last "<= E_H" must read "< E_H". So this is a misprint, and the sentence that it proves
        is right. Its hypothesis is met whenever the gradient is not zero at the optimum, because both budgets are tight
        then.
    Overturned by: a reading in which the mean over label pairs has the weight 1/K, or an error in the text version that
        we read.
    References: none beside the paper.

    Args:
        lab: the instruments.
        factor: the factor of the display as a function of K.
    """

    def slack(K: int, size: Fraction, share: Callable[[int], Fraction]) -> Fraction:
        """Right-hand minus left-hand side: all features are 0 but two samples, +size and -size, of one label pair."""
        n = 2
        squares = 2 * size**2  # sum over both samples; their mean is 0, and so is the left-hand side
        A = Fraction(1, K**2) * Fraction(1, n) * squares
        return A - share(K) * Fraction(1, n) * squares

    def inequality(share: Callable[[int], Fraction]) -> list[Quantity]:
        return [
            Quantity(
                f"right minus left side (K={K}, features ±{s})", 0.0, Interval.point(float(slack(K, s, share))), ">="
            )
            for K in (3, 4, 10)
            for s in (Fraction(1), Fraction(1, 7))
        ]

    tight = []
    for name, problem in _instances().items():
        full, Z = recovery.logits(solve(problem))
        _, H = recovery.class_vectors_and_features(full, Z)
        spent = float(full.rows.d @ (H**2).sum(axis=1)) / full.e_h
        tight.append(Quantity(f"share of the feature budget used by X* ({name})", 1.0, spent, tolerance=1e-9))
    quantities = inequality(factor)
    return conclude(
        quantities,
        evidence=contradictions(quantities, 2),
        instances="K = 3, 4, 10; two samples of one label pair at distance 2 or 2/7, all other features 0; "
        "exact fractions",
        repair=Repair(
            "With 1/K^2 in place of 1/K and a strict last inequality the display is right, and X* uses up the "
            "feature budget.",
            [*inequality(lambda K: Fraction(1, K**2)), *tight],
            licence="a misprint: the means of the same display have the weight 1/K^2",
        ),
    )


NETWORKS = (
    ("CIFAR10-LT, ResNet-32", 10, 64),
    ("CIFAR100-LT, ResNet-32 of double width", 100, 128),
    ("Places-LT, ResNet-152", 365, 2048),
    ("ImageNet-LT, ResNet-50", 1000, 2048),
    ("iNaturalist 2018, ResNet-50", 8142, 2048),
)
"""The paper's networks (Appendix D): data set and network, number of classes K, feature width p."""


def _unexplained(problem: Problem, p: int) -> float:
    """Share of the trace of X* that no Gram matrix of vectors of length p can reproduce (Eckart and Young)."""
    full, Z = recovery.logits(solve(problem))
    stacked = np.vstack(recovery.class_vectors_and_features(full, Z)[::-1])
    values = np.linalg.svd(stacked, compute_uv=False) ** 2  # eigenvalues of X* = [H; W] [H; W]^T that are not 0
    return float(values[p:].sum() / values.sum())


@check("p-assumption", "Lemma 1", "Theorem 1", "Theorem 2")
def p_assumption(lab: Lab, *, enough: Callable[[int], int] = lambda K: K**2 + K) -> Finding:
    """Statement: Features of width p >= K^2 + K guarantee that (W*, H*) of Lemma 1 and Proposition 1 exist.

    Theorem 2 assumes p >= 2 K^2.

    Where: Lemma 1, Proposition 1, Theorem 2; C.1; the networks in Appendix D.
    Quote: guarantees the existence of
    Formula: X* is a Gram matrix of vectors of length p, that is its eigenvalues beyond the p-th are 0. In fact rank X*
        = rank Z* <= K - 1 for Eq. 5, 7 and 9.
    Assumptions: feature widths of the networks named in Appendix D: 64, 128, 2048, 2048, 2048.
    Test: The share of the trace of X* beyond the p-th eigenvalue at the width that is claimed to be enough. The rank of
        the optimum. The widths p of the networks against K - 1, K^2 + K and 2 K^2.
    Verdict: It holds: the paper says "guarantees", and the width is enough. Against it one can say that the assumption
        is far from needed, and that no network of the experiments meets it. But the paper does not call it necessary,
        and no sentence says that its networks meet it. What is needed matters more: a constant added to all logits
        changes no softmax but costs nuclear norm. So every optimum of Eq. 5, 7 and 9 has 1 in its kernel and rank at
        most K - 1, and p >= K - 1 is enough. All networks but iNaturalist's (2048 < 8141) meet this. Theorem 2, read as
        K^2 free classes, does need p >= K^2 - 1 at balance, which no network has.
    Overturned by: an X* of larger rank than the width that is said to be enough.
    References: Appendix D of the paper; He et al. 2015 for the widths.

    Args:
        lab: the instruments.
        enough: the width p that is claimed to be enough, as a function of K.
    """
    cases = [
        (Family("fc", "product"), 10),
        (Family("fc", "block", 6, K_A=2), 100),
        (Family("fc", "product", 10, mixing=fixed(0.3)), 1.2),
        (Family("fc", "balanced", 10), 1),
        (Family("ms", "product", 10), 2),
    ]
    named = {f"{f.name}, K={f.K}, R={R}": (f.K, f.at(R)) for f, R in cases}
    quantities = [
        Quantity(f"share of X* beyond width {enough(K)} ({name})", 0.0, _unexplained(problem, enough(K)), "=", 1e-12)
        for name, (K, problem) in named.items()
    ]
    needed = [
        Quantity(f"rank of the optimum, the least p ({name})", K - 1, solve(problem).rank, "<=", known=PLAIN)
        for name, (K, problem) in named.items()
    ]
    free = [
        Quantity(
            f"rank with K^2 free classes, balanced (K={K})",
            K**2 - 1,
            solve(Family("ms-free", "balanced", K).at(1)).rank,
            known=PLAIN,
        )
        for K in (4, 10)
    ]
    met = [Quantity(f"p against K - 1 ({n}, K={K})", K - 1, p, ">=") for n, K, p in NETWORKS[:4]]
    unmet = [Quantity(f"p against K^2 + K ({n}, K={K})", K**2 + K, p, "<") for n, K, p in NETWORKS]
    return conclude(
        quantities,
        evidence="ranks "
        + ", ".join(f"{show(q.computed)} at K={K}" for q, (K, _) in zip(needed, named.values(), strict=True))
        + "; width p of the networks: "
        + ", ".join(f"{p} at K={K}" for _, K, p in NETWORKS),
        instances="; ".join(named),
        repair=Repair(
            "For Eq. 5, 7 and 9 p >= K - 1 is enough. All networks but iNaturalist's meet it; none meets p >= K^2 + K.",
            [*needed, *free, *met, *unmet],
        ),
    )
