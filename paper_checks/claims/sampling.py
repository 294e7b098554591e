"""What samplers do to the frequencies of label pairs: Remark 1, Eq. 2, Figures 2 and 3, the growth of K^2."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from lpm import geometry
from lpm.pairs import class_counts, product, table
from lpm.programs import fc
from lpm.solve import solve
from paper_checks.claim import Curve, Finding, Plot, Quantity, Relation, Repair, check, conclude
from paper_checks.datasets import FACTORS, DataSet, cifar_lt, datasets
from paper_checks.interval import EXACT, SIMULATED
from paper_checks.lab import Lab

BATCH = 128
EPOCHS = 40


def _random(n: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Labels of one epoch without balancing: every image once, in random order."""
    return rng.permutation(np.repeat(np.arange(len(n)), n))


def _cbs(n: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Labels of one epoch of the class-balanced sampler: N draws with replacement, each class equally likely."""
    return rng.integers(0, len(n), int(n.sum()))


def _cas(n: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Labels of one epoch of the class-aware sampler: shuffled cycles through the classes."""
    cycles = -(-int(n.sum()) // len(n))
    return np.concatenate([rng.permutation(len(n)) for _ in range(cycles)])[: int(n.sum())]


def _mixup_counts(labels: np.ndarray, K: int, rng: np.random.Generator) -> np.ndarray:
    """Label-pair counts (K, K) of one epoch when mixup permutes each batch of ``BATCH``."""
    partner = np.concatenate([rng.permutation(labels[i : i + BATCH]) for i in range(0, len(labels), BATCH)])
    return np.bincount(labels * K + partner, minlength=K * K).reshape(K, K)


def _bmls_counts(N: int, K: int, epoch: int) -> np.ndarray:
    """Label-pair counts (K, K) of one epoch when the N pairs run cyclically through all K^2 label pairs."""
    counts = np.full(K * K, N // (K * K))
    rest = N % (K * K)
    counts[(np.arange(rest) + epoch * rest) % (K * K)] += 1
    return counts.reshape(K, K)


def _epochs(sampler: str, n: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Label-pair counts (EPOCHS, K, K)."""
    K, N = len(n), int(n.sum())
    if sampler == "BMLS":
        return np.stack([_bmls_counts(N, K, e) for e in range(EPOCHS)])
    if sampler == "LOM":
        return np.stack(
            [np.bincount(_cbs(n, rng) * K + _cbs(n, rng), minlength=K * K).reshape(K, K) for _ in range(EPOCHS)]
        )
    draw = {"random": _random, "CBS": _cbs, "CAS": _cas}[sampler]
    return np.stack([_mixup_counts(draw(n, rng), K, rng) for _ in range(EPOCHS)])


def average_cv(counts: np.ndarray) -> float:
    """The paper's average coefficient of variation: mean over labels of std / mean over epochs; counts (epochs, ...)."""
    mean = counts.mean(axis=0)
    return float((counts.std(axis=0)[mean > 0] / mean[mean > 0]).mean())


def multinomial_cv(N: int, P: int) -> float:
    """sqrt((1 - 1/P) P / N): the coefficient of variation of one of P equally likely outcomes of N draws."""
    return math.sqrt((1 - 1 / P) * P / N)


def cyclic_cv(N: int, P: int) -> float:
    """sqrt(f (1 - f)) P / N, f = N/P - floor(N/P): that of counts that differ by at most one."""
    f = N / P - N // P
    return math.sqrt(f * (1 - f)) * P / N


@check("remark1", "Remark 1", "Figure 2")
def remark1(lab: Lab, *, balanced_sampler: str = "BMLS") -> Finding:
    """Statement: Class-balanced samplers (CBS, CAS) leave the frequencies of mixed labels unbalanced from epoch to
        epoch, BMLS does not.

    Where: Remark 1, §5.2; Figure 2 (its values are in the picture only, not in the text).
    Formula: average CV = (1/C) sum_c sigma_c / mu_c over epochs. CBS: about sqrt((1-1/K^2) K^2/N). BMLS: sqrt(f(1-f))
        K^2/N, f the fractional part of N/K^2.
    Assumptions: N pairs an epoch, batches of 128 permuted by mixup; samplers as their papers define them; all K^2
        label pairs.
    Test: Counts of 40 simulated epochs from the seed, for CIFAR10-LT and CIFAR100-LT at imbalance 100, against the
        formulas.
    Verdict: It holds: the CV of CBS, CAS and LOM is the multinomial one (0.09 at K = 10, 0.96 at K = 100), BMLS's is
        that of counts that differ by at most one (0.002 and 0.26). At K = 100 N/K^2 is 1.08, so BMLS is uneven too,
        four times less. The printed values of Figure 2 cannot be compared: they are not in the text.
    Overturned by: a class-balanced sampler that also balances pairs, or epochs of very many batches.
    References: Kang et al. 2020 (CBS), Shen and Lin 2016 (CAS), Zhang et al. 2022 (LOM); Dodge 2008 for the CV.
    """
    rng, quantities, formulas, evidence = lab.rng(), [], [], []
    for K in (10, 100):
        n = cifar_lt(K, 100)
        N = int(n.sum())
        cv = {s: average_cv(_epochs(s, n, rng)) for s in ("CBS", "CAS", "LOM", balanced_sampler)}
        for sampler in ("CBS", "CAS", "LOM"):
            quantities.append(
                Quantity(
                    f"average CV of {balanced_sampler} below that of {sampler} (K={K})",
                    cv[sampler] * 0.95,
                    cv[balanced_sampler],
                    "<",
                )
            )
        formulas += [
            Quantity(
                f"average CV of CBS, multinomial formula (K={K})", multinomial_cv(N, K * K), cv["CBS"], tolerance=0.05
            ),
            Quantity(
                f"average CV of LOM, multinomial formula (K={K})", multinomial_cv(N, K * K), cv["LOM"], tolerance=0.05
            ),
            Quantity(
                f"average CV of BMLS, formula (K={K})",
                cyclic_cv(N, K * K),
                average_cv(_epochs("BMLS", n, rng)),
                tolerance=0.03,
            ),
        ]
        evidence.append(f"K={K}: " + ", ".join(f"{s} {v:.3f}" for s, v in cv.items()))
    sets = datasets()[:8]
    curves = [
        Curve("CBS (multinomial)", list(range(8)), [multinomial_cv(d.images, d.K**2) for d in sets], "o"),
        Curve("BMLS", list(range(8)), [cyclic_cv(d.images, d.K**2) for d in sets], "s"),
    ]
    return conclude(
        [*quantities, *formulas],
        known=SIMULATED,
        evidence="average CV over epochs, imbalance 100, " + "; ".join(evidence),
        instances=f"CIFAR10-LT and CIFAR100-LT, imbalance 100, {EPOCHS} epochs, seed {lab.seed}",
        plot=Plot(
            "classes, imbalance of CIFAR-LT",
            "average CV over epochs",
            curves,
            ticks=[f"{d.K}, {f}" for d, f in zip(sets, FACTORS * 2, strict=True)],
        ),
    )


@check("remark1-collapse", "Remark 1")
def remark1_collapse(lab: Lab, *, collapsed: bool = True) -> Finding:
    """Statement: With class-balanced samplers minority collapse is only partially mitigated, because mixup disrupts
        the balance of label pairs within the epochs.

    Where: Remark 1, §5.2.
    Formula: the optimum of LPM_lambda at the label-pair counts of one epoch of CBS: are any two class vectors equal?
    Assumptions: one epoch's counts stand for the frequencies of the program; lambda = 1/2.
    Test: Counts of one simulated epoch of CBS on CIFAR10-LT at imbalance 10, 100, 200; certified cosines of the
        optimum.
    Verdict: The optimum at one epoch's counts is close to the ETF: certified cosines within 0.06 of -1/9, nothing
        collapses, and the deviations are not tied to the minority. In the model, class-balanced sampling removes
        minority collapse as BMLS does; what remains is noise of the order of the CV.
    Overturned by: data with far fewer images than label pairs (N < K^2), where an epoch misses most pairs.
    References: none beside the paper.
    """
    rng, quantities, near, evidence = lab.rng(), [], [], []
    for factor in (10, 100, 200):
        n = cifar_lt(10, factor)
        cosines = lab.cosines(fc(table(_mixup_counts(_cbs(n, rng), 10, rng).astype(float))))
        largest, smallest = cosines.largest(), cosines.smallest()
        name = f"one epoch of CBS, CIFAR10-LT, imbalance {factor}"
        quantities.append(Quantity(f"two class vectors are equal ({name})", collapsed, bool(largest.upper > 1 - 1e-6)))
        near += [
            Quantity(f"largest cosine ({name})", -1 / 9, largest, tolerance=0.06),
            Quantity(f"smallest cosine ({name})", -1 / 9, smallest, tolerance=0.06),
        ]
        evidence.append(f"{smallest} to {largest} at imbalance {factor}")
    return conclude(
        quantities,
        evidence="cosines at one epoch's counts: " + ", ".join(evidence) + "; -1/9 is the ETF",
        instances=f"CIFAR10-LT, imbalance 10, 100, 200; one epoch of CBS, seed {lab.seed}; lambda = 1/2",
        repair=Repair(
            "At one epoch's counts of CBS all cosines are within 0.06 of the ETF's: a perturbation, no collapse.", near
        ),
    )


@check("mean-frequency", "Figure 2")
def mean_frequency(lab: Lab, *, samplers: tuple[str, ...] = ("random", "CBS", "CAS", "BMLS")) -> Finding:
    """Statement: Over the whole training, the mean frequency of labels is almost balanced for all samplers of Figure
        2.

    Where: §5.2, the paragraph on Figure 2 ("almost balanced across all samplers").
    Formula: max over min of the expected label-pair frequency: 1 when balanced. Random: (n_max / n_min)^2.
    Assumptions: the samplers of Figure 2: random, CBS, CAS, BMLS.
    Test: Class frequencies over 40 simulated epochs on CIFAR10-LT, imbalance 100; ratio of the most to the least
        frequent class.
    Verdict: It fails for the random sampler, which is among those listed: its classes keep the ratio 100 of the data,
        its label pairs 10,000. It holds for CBS, CAS and BMLS.
    Overturned by: reading "all samplers" as all class-balanced samplers.
    References: none beside the paper.
    """
    rng, n = lab.rng(), cifar_lt(10, 100)

    def ratio(sampler: str) -> Quantity:
        frequency = _epochs(sampler, n, rng).sum(axis=(0, 2))
        return Quantity(
            f"most over least frequent class ({sampler})", 1.0, float(frequency.max() / frequency.min()), tolerance=0.05
        )

    quantities = [ratio(s) for s in samplers]
    return conclude(
        quantities,
        known=SIMULATED,
        evidence="most over least frequent class: "
        + ", ".join(f"{s} {q.computed:.3g}" for s, q in zip(samplers, quantities, strict=True)),
        instances=f"CIFAR10-LT, imbalance 100, {EPOCHS} epochs, seed {lab.seed}",
        repair=Repair(
            "It holds for the class-balanced samplers.", [ratio(s) for s in ("CBS", "CAS", "LOM", "BMLS")], keeps=True
        ),
    )


@check("eq2-feasible", "Eq. 2")
def eq2_feasible(lab: Lab, *, labels: Callable[[DataSet], int] = lambda d: d.K**2) -> Finding:
    """Statement: BMLS makes n_(a,b) = n for all label pairs in every epoch, with N pairs an epoch.

    Where: §4.1, Eq. 2; §6.2 and §8 concede it for large K.
    Formula: N = n K^2 for an integer n.
    Assumptions: N, the number of training images, is the number of pairs in an epoch (§8); label pairs of K^2, or a <
        b.
    Test: N mod K^2 for every data set, with class counts by formula or from the published lists.
    Verdict: K^2 divides N for none of the data sets, so exact equality is impossible in an epoch; where N < K^2
        (CIFAR100-LT at imbalance 200, and all large sets) most label pairs do not even occur. Counts that differ by
        at most one, within an epoch and in total, are always possible.
    Overturned by: epochs of another length than N.
    References: Cao et al. 2019 for the counts; Liu et al. 2019 for the lists.
    """
    quantities, repaired, parts = [], [], []
    for d in datasets():
        P = labels(d)
        quantities.append(
            Quantity(f"N mod the number of label pairs ({d.name}: N={d.images:,}, pairs={P:,})", 0, d.images % P)
        )
        total = np.zeros(min(P, 10**6), dtype=int)
        for epoch in range(3):  # a cyclic order: epoch e takes positions e N .. (e+1) N - 1 modulo P
            start = epoch * d.images
            first, last = start // P, (start + d.images) // P
            total += last - first
            total[: min((start + d.images) % P, len(total))] += 1
            total[: min(start % P, len(total))] -= 1
        repaired.append(
            Quantity(f"largest minus smallest total count after 3 epochs ({d.name})", True, bool(np.ptp(total) <= 1))
        )
        parts.append(f"{d.name} {d.images / P:.3g}")
    return conclude(
        quantities,
        evidence="N / K^2: " + "; ".join(parts),
        instances="; ".join(f"{d.name} ({d.source})" for d in datasets()),
        repair=Repair(
            "Counts of any two label pairs never differ by more than one, in an epoch and in total.",
            repaired,
            keeps=True,
        ),
    )


@check("exponential-growth")
def exponential_growth(lab: Lab, *, ratio: Callable[[int], float] = lambda K: float(K**2)) -> Finding:
    """Statement: The number of mixed labels, and of class vectors of MS, grows exponentially with K.

    Where: §6.2 ("an exponential increase in the number of class vectors for mixed labels"), §8 ("exponential
        increase").
    Formula: f(2K) / f(K): 4 for f = K^2; f(K) itself for an exponential f with f(0) = 1.
    Assumptions: f(K) = K^2 (or K(K-1)/2 with a < b).
    Test: f(2K) / f(K) for K = 10, 100, 365, 1000.
    Verdict: K^2 is quadratic: doubling K multiplies it by 4. And MS need not hold K^2 class vectors: its loss
        factorises and costs O(K) (docs/theory.md), so this is a limit of the naive implementation.
    Overturned by: a colloquial reading of "exponential".
    References: none beside the paper.
    """
    Ks = (10, 100, 365, 1000)
    quantities = [Quantity(f"f(2K) / f(K) at K={K}", ratio(K), float((2 * K) ** 2 / K**2)) for K in Ks]
    return conclude(
        quantities,
        known=EXACT,
        evidence="doubling K multiplies K^2 by 4 at every K",
        instances="K = 10, 100, 365, 1000",
        repair=Repair(
            "It grows quadratically.",
            [Quantity(f"f(2K) / f(K) at K={K}", 4.0, (2 * K) ** 2 / K**2) for K in Ks],
            keeps=True,
        ),
    )


@check("coverage-ratio", "Figure 3")
def coverage_ratio(lab: Lab, *, share: Callable[[int, int], float] = lambda classes, K: classes / K) -> Finding:
    """Statement: The coverage ratio of Figure 3 is the proportion of mixed labels used in an epoch; 0.6 on
        CIFAR100-LT means combinations of 60 classes.

    Where: Figure 3, caption.
    Formula: combinations of c classes are c^2 of K^2 label pairs (c(c-1)/2 of K(K-1)/2 with a < b), not c/K of them.
    Assumptions: all combinations of the chosen classes occur.
    Test: Count the label pairs among 20, 40, 60, 80 of 100 classes.
    Verdict: 60 of 100 classes give 36 % of the label pairs, not 60 %: the definition and its example contradict each
        other. At ratio 0, which the table prints, no label pair is left to train on. Its baseline is another
        quantity.
    Overturned by: a sampler that draws 60 % of the label pairs directly.
    References: none beside the paper.
    """
    quantities = [
        Quantity(f"share of label pairs among {c} of 100 classes", share(c, 100), c * c / 100**2, tolerance=1e-12)
        for c in (20, 40, 60, 80)
    ]
    unordered = [
        Quantity(f"the same with a < b, {c} of 100 classes", c * c / 100**2, c * (c - 1) / (100 * 99), tolerance=5e-3)
        for c in (20, 40, 60, 80)
    ]
    return conclude(
        quantities,
        known=EXACT,
        evidence="60 of 100 classes make 36 % of the label pairs, where the caption has 60 %",
        instances="20, 40, 60, 80 of 100 classes",
        internal=True,
        repair=Repair("A share c/K of the classes covers a share (c/K)^2 of the label pairs.", unordered),
    )


@check("long-tail")
def long_tail(lab: Lab, *, relation: Relation = "=") -> Finding:
    """Statement: On long-tailed data the class vectors of minority classes converge and become nearly identical.

    Where: §1, first paragraph, and Theorem 1 applied to CIFAR-LT, whose classes all have different counts.
    Formula: the optimum of LPM_lambda at n_(a,b) = n_a n_b with the counts of CIFAR10-LT: cosines among the few
        classes 7, 8, 9.
    Assumptions: random pairing, lambda = 1/2, E_H = 5, E_W = 1. Theorem 1 assumes two groups of equal counts.
    Test: Certified cosines of the optimum at imbalance 10, 100, 200, and its rank.
    Verdict: With unequal counts the tail does not become one vector: certified cosines between few classes stay below
        0.9 (7 with 8, 7 with 9). What sets in is linear dependence: rank 7 instead of 9 at imbalance 100, the last
        classes in one plane. Theorem 1's equality is a property of equal minority counts.
    Overturned by: budgets so small, or imbalance so large, that the few classes' counts no longer matter.
    References: Fang et al. 2021 state the theorem for two groups.
    """
    quantities, dependent, evidence = [], [], []
    for factor in (10, 100, 200):
        problem = fc(product(class_counts(cifar_lt(10, factor))))
        cosines = lab.cosines(problem)
        quantities += [
            Quantity(
                f"cosine of classes {a} and {b} (CIFAR10-LT, imbalance {factor})",
                1.0,
                cosines[a, b],
                relation,
                tolerance=0.02,
            )
            for a, b in ((7, 8), (7, 9))
        ]
        solution = solve(problem)
        if factor > 10:
            dependent.append(Quantity(f"rank of W (imbalance {factor})", 9, solution.rank, "<"))
        full = geometry.cosines(solution.gram.matrix(problem.members))
        evidence.append(
            f"{full[7, 8]:.2f}, {full[7, 9]:.2f}, {full[8, 9]:.2f} and rank {solution.rank} at imbalance {factor}"
        )
    return conclude(
        quantities,
        evidence="cosines 7-8, 7-9, 8-9: " + "; ".join(evidence),
        instances="CIFAR10-LT counts, imbalance 10, 100, 200, product frequencies, lambda = 1/2",
        repair=Repair("At unequal counts the tail's class vectors become linearly dependent, not equal.", dependent),
    )
