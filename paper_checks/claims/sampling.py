"""Claims about samplers and the frequencies of label pairs: Remark 1, Eq. 2, Figures 2 and 3."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from lpm import geometry
from lpm.pairs import table
from lpm.programs import fc
from paper_checks.claim import Curve, Finding, Plot, Quantity, Repair, check, conclude, contradictions, restricted
from paper_checks.epochs import (
    DRAWS,
    EPOCHS,
    average_cv,
    bmls_counts,
    cbs,
    cyclic_cv,
    epochs,
    mixup_counts,
    multinomial_cv,
)
from paper_checks.interval import EXACT, SIMULATED, Interval
from paper_checks.lab import Lab, solutions
from paper_checks.paper.datasets import FACTORS, cifar_lt, datasets

LABEL_PAIRS: dict[str, Callable[[int], int]] = {"all": lambda K: K**2, "a < b": lambda K: K * (K - 1) // 2}
"""Number of label pairs of K classes, for both sets of label pairs in the paper."""


@check("remark1", "Remark 1", "Figure 2")
def remark1(lab: Lab, *, balanced_sampler: str = "BMLS") -> Finding:
    """Statement: Class-balanced samplers (CBS, CAS) leave the frequencies of mixed labels uneven from epoch to epoch.

    BMLS does not.

    Where: Remark 1, §5.2; Figure 2 (its values are in the picture only, not in the text).
    Quote: Mixup blends input samples with a random permutation of them, and as a result, the balance of samples is
        disrupted, even when class-balanced samplers are employed
    Formula: average CV = (1/C) sum_c sigma_c / mu_c over epochs. CBS, LOM: sqrt((1-1/K^2) K^2/N). CAS: about (1-1/K)
        sqrt(K^2/N). BMLS: sqrt(f(1-f)) K^2/N, f the fractional part of N/K^2.
    Assumptions: an epoch has N pairs, and mixup permutes batches of 128. The samplers are implemented from the
        definitions in their papers. All K^2 label pairs count.
    Test: Counts of 40 simulated epochs for CIFAR10-LT and CIFAR100-LT at imbalance 100; each CV against its formula
        within 6 %.
    Verdict: It holds. CBS and LOM have the CV of independent draws. CAS has a little less, because its batches hold
        every class equally often. BMLS has the CV of counts that differ by at most one. At K = 100, where N/K^2 is
        1.08, BMLS is uneven too, but four times less. The values of Figure 2 cannot be compared: they are in the
        picture only.
    Overturned by: a class-balanced sampler that also balances pairs, or epochs of very many batches.
    References: Kang et al. 2020 (CBS), Shen and Lin 2016 (CAS), Zhang et al. 2022 (LOM); Dodge 2008 for the CV.

    Args:
        lab: the instruments; their seed draws the epochs.
        balanced_sampler: the sampler that is claimed to be balanced.
    """
    rng, quantities, evidence = lab.rng(), [], []
    for K in (10, 100):
        n = cifar_lt(K, 100)
        N = int(n.sum())
        formulas = {
            "CBS": multinomial_cv(N, K * K),
            "LOM": multinomial_cv(N, K * K),
            "CAS": (1 - 1 / K) * math.sqrt(K * K / N),
            "BMLS": cyclic_cv(N, K * K),
        }
        cv = {s: average_cv(epochs(s, n, rng)) for s in formulas}
        quantities += [
            Quantity(
                f"average CV of {balanced_sampler} against 0.9 times that of {s} (K={K})",
                0.9 * cv[s],
                cv[balanced_sampler],
                "<",
            )
            for s in ("CBS", "CAS", "LOM")
        ]
        quantities += [
            Quantity(f"average CV of {s} (K={K})", value, cv[s], tolerance=0.06 * value)
            for s, value in formulas.items()
        ]
        evidence.append(f"K={K}: " + ", ".join(f"{s} {v:.3g}" for s, v in cv.items()))
    sets = datasets()[:8]
    curves = [
        Curve("CBS (independent draws)", list(range(8)), [multinomial_cv(d.images, d.K**2) for d in sets], "o"),
        Curve("BMLS", list(range(8)), [cyclic_cv(d.images, d.K**2) for d in sets], "s"),
    ]
    return conclude(
        quantities,
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
def remark1_collapse(lab: Lab, *, samplers: tuple[str, ...] = ("CBS", "CAS")) -> Finding:
    """Statement: With class-balanced samplers (CBS, CAS) minority collapse is mitigated only in part.

    The reason given: mixup disrupts the balance of label pairs.

    Where: Remark 1, §5.2.
    Quote: even when using class-balanced samplers to alleviate label suppression and learn an unbiased classifier,
        minority collapse is partially mitigated but not fully resolved
    Formula: if the minority suffers, an epoch's label pairs must depend on which classes are the small ones. And at the
        optimum for these pairs the mean cosine among few classes exceeds that among many.
    Assumptions: one epoch's counts stand for the frequencies of the program; lambda = 1/2. The model contains
        frequencies only. It does not contain that few classes repeat the same images.
    Test: Draw the epochs of each sampler on CIFAR10-LT at imbalance 100, and again from the same seeds with the class
        sizes in reverse order. Count the epochs whose label pairs differ. Then the mean difference of the cosines over
        20 epochs, with three standard errors; and certified cosines at one epoch, beside those of BMLS.
    Verdict: It fails in the model. For: the disruption is real. At one epoch's counts the cosines differ from -1/(K-1),
        more under CBS than under BMLS. Against: CBS and CAS draw the same label pairs whichever classes are small.
        Their draws are uniform over classes, so every numbering of the classes is equally likely. The disruption
        therefore hits frequent and rare classes alike, and minority collapse is a difference between them. A repair
        that says so denies the claim, so there is none. If class-balanced sampling leaves the minority behind in
        networks, the cause is another one.
    Overturned by: a class-balanced sampler whose pairing depends on the class sizes; a model that contains repeated
        images.
    References: none beside the paper.

    Args:
        lab: the instruments; their seed draws the epochs.
        samplers: the samplers under which the minority is claimed to suffer.
    """
    n, K = cifar_lt(10, 100), 10
    quantities, alike, evidence = [], [], []
    for name in samplers:
        rng, reversed_rng, drawn, differences, changed = lab.rng(), lab.rng(), [], [], 0
        for _ in range(20):
            counts = mixup_counts(DRAWS[name](n, rng), K, rng)
            changed += int((counts != mixup_counts(DRAWS[name](n[::-1], reversed_rng), K, reversed_rng)).any())
            drawn.append(counts)
        for gram in _optimal_cosines(drawn):
            few, many = gram[7:, 7:][np.triu_indices(3, 1)], gram[:3, :3][np.triu_indices(3, 1)]
            differences.append(float(few.mean() - many.mean()))
        mean, error = float(np.mean(differences)), 3 * float(np.std(differences, ddof=1)) / math.sqrt(len(differences))
        quantities += [
            Quantity(
                f"epochs, out of 20, whose label pairs depend on which classes are small ({name})", 0, changed, ">"
            ),
            Quantity(
                f"mean cosine of few minus that of many over 20 epochs, three standard errors ({name})",
                0.0,
                Interval(mean - error, mean + error, SIMULATED),
                ">",
            ),
        ]
        alike.append(
            Quantity(f"the same, at most three standard errors from 0 ({name})", 0.0, mean, "=", error, SIMULATED)
        )
        evidence.append(f"{mean:.3f} ± {error:.3f} ({name})")
    rng = lab.rng()
    at_cbs = lab.cosines(fc(table(mixup_counts(cbs(n, rng), K, rng).astype(float))))
    at_bmls = lab.cosines(fc(table(bmls_counts(int(n.sum()), K, 0).astype(float))))
    alike += [
        Quantity(
            "largest minus smallest cosine at one epoch of BMLS against CBS", at_cbs.range(), at_bmls.range(), "<"
        ),
        Quantity("largest cosine at one epoch of CBS (1 would be collapse)", 0.0, at_cbs.largest(), "<"),
    ]
    return conclude(
        quantities,
        evidence=contradictions(quantities)
        + f"; mean cosine of few minus that of many, over 20 epochs: {', '.join(evidence)}; cosines at one epoch: "
        f"{at_cbs.smallest()} to {at_cbs.largest()} (CBS), {at_bmls.smallest()} to {at_bmls.largest()} (BMLS)",
        instances=f"CIFAR10-LT, imbalance 100, seed {lab.seed}; lambda = 1/2",
        repair=Repair(
            "Under CBS and CAS the angles of all classes alike are perturbed, few and many; under BMLS less.", alike
        ),
    )


def _optimal_cosines(drawn: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Cosines (K, K) between the class vectors of LPM_lambda's optima at given label-pair counts, lambda = 1/2."""
    optima = solutions(fc(table(counts.astype(float))) for counts in drawn)
    return [geometry.cosines(solution.gram.matrix(solution.problem.members)) for solution in optima]


@check("mean-frequency", "Figure 2")
def mean_frequency(lab: Lab, *, samplers: tuple[str, ...] = ("random", "CBS", "CAS", "BMLS")) -> Finding:
    """Statement: Over all of training, the mean frequency of labels is almost balanced for all samplers of Figure 2.

    Where: §5.2, the paragraph on Figure 2.
    Quote: After training, the mean of label frequencies is almost balanced across all samplers, but epoch-wise balance
        is not.
    Formula: largest over smallest mean frequency of a class in the mixed pairs: 1 when balanced; n_max / n_min for the
        random sampler.
    Assumptions: the samplers of Figure 2: random, CBS, CAS, BMLS; mixup permutes each batch.
    Test: Random: from the class counts of CIFAR10-LT and CIFAR100-LT at imbalance 100. The others: 40 simulated epochs,
        within 8 %.
    Verdict: It fails for the random sampler, which is one of those listed: its classes keep the ratio 100 of the data
        (10,000 for label pairs). It holds for CBS, CAS, LOM and BMLS. (A permutation may leave an image in place. Under
        CBS this makes the pairs (a, a) 1 + K/127 times as frequent as the others, 1.79 times at K = 100. So mixed
        labels are not quite balanced in the mean either.)
        The sentence says "all", and Figure 2 lists the random sampler: leaving it out is no repair.
    Overturned by: words of the paper that restrict the sentence to class-balanced samplers.
    References: none beside the paper.

    Args:
        lab: the instruments; their seed draws the epochs.
        samplers: the samplers that "all" stands for.
    """
    rng = lab.rng()

    def ratio(sampler: str, K: int) -> Quantity:
        n, name = cifar_lt(K, 100), f"largest over smallest class frequency ({sampler}, CIFAR{K}-LT)"
        if sampler == "random":
            return Quantity(name, 1.0, int(n.max()) // int(n.min()), known=EXACT)
        frequency = epochs(sampler, n, rng).sum(axis=(0, 2))
        return Quantity(name, 1.0, float(frequency.max() / frequency.min()), "=", 0.12, SIMULATED)

    quantities = [ratio(s, K) for s in samplers for K in (10, 100)]
    return conclude(
        quantities,
        evidence=contradictions(quantities),
        instances=f"CIFAR10-LT and CIFAR100-LT, imbalance 100, {EPOCHS} epochs, seed {lab.seed}",
        repair=restricted(
            "It holds for the class-balanced samplers.",
            [ratio(s, K) for s in ("CBS", "CAS", "LOM", "BMLS") for K in (10, 100)],
        ),
    )


@check("eq2-feasible", "Eq. 2")
def eq2_feasible(lab: Lab, *, pairs: Mapping[str, Callable[[int], int]] = LABEL_PAIRS) -> Finding:
    """Statement: BMLS makes n_(a,b) = n for all label pairs in every epoch of N pairs.

    Where: §4.1, Eq. 2; §6.2 and §8 concede that it fails for large K.
    Quote: where the frequency of all mixed-label samples is equal in each epoch
    Formula: N = n K^2 (or n K(K-1)/2 with a < b) for an integer n >= 1.
    Assumptions: N, the number of training images, is the number of pairs in an epoch (§8).
    Test: N modulo the number of label pairs for every data set, with class counts by formula or from the published
        lists.
    Verdict: The number of label pairs divides N for none of the data sets, so exact equality is impossible in an epoch.
        Where it exceeds N (CIFAR100-LT at imbalance 200, all large sets), some label pairs do not occur at all; on
        iNaturalist 99 % do not. A cyclic order gives counts that differ by at most one, within an epoch and in total.
        (Eq. 2's 1/N is the probability of an index pair and says nothing about labels; the probability of a label pair
        would be n/N.)
    Overturned by: epochs of another length than N.
    References: Cao et al. 2019 for the counts; Liu et al. 2019 for the lists.

    Args:
        lab: unused; the numbers are those in print.
        pairs: number of label pairs as a function of K, for each set of label pairs that is tried.
    """
    quantities, cyclic = [], []
    for d in datasets():
        for name, number in pairs.items():
            P = number(d.K)
            quantities.append(
                Quantity(f"N mod label pairs ({d.name}, {name}: {d.images:,} mod {P:,})", 0, d.images % P)
            )
    for K in (10, 100):
        counts = np.stack([bmls_counts(int(cifar_lt(K, f).sum()), K, e) for f in FACTORS[:1] for e in range(EPOCHS)])
        cyclic += [
            Quantity(
                f"largest minus smallest count in an epoch (K={K}, imbalance 200)",
                1,
                int(max(np.ptp(c) for c in counts)),
                "<=",
            ),
            Quantity(
                f"largest minus smallest total count after any epoch (K={K}, imbalance 200)",
                1,
                int(max(np.ptp(c) for c in counts.cumsum(axis=0))),
                "<=",
            ),
        ]
    fewer = [f"{d.name} {d.images / d.K**2:.3g}" for d in datasets() if d.images < d.K**2]
    return conclude(
        quantities,
        evidence=contradictions(quantities, 2) + "; N / K^2 below 1: " + ", ".join(fewer),
        instances="; ".join(f"{d.name} ({d.source})" for d in datasets()),
        repair=Repair(
            "In a cyclic order the counts of two label pairs never differ by more than one, in an epoch and in total.",
            cyclic,
        ),
    )
