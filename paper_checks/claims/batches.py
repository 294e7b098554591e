"""The claim that mixup ruins the balance of a mini-batch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from paper_checks.claim import Curve, Finding, Plot, Quantity, Repair, check, conclude, contradictions
from paper_checks.epochs import BATCH, EPOCHS, average_cv, bmls_batches, cas, cbs, cyclic_cv, epochs
from paper_checks.interval import EXACT, SIMULATED, Fact
from paper_checks.lab import Lab
from paper_checks.paper.datasets import cifar_lt

ALPHAS = (1.0, 0.2)
"""Parameters of mixup's Beta law: CIFAR's recipe; the recipe of the large data sets."""


@check("batch-balance")
def batch_balance(lab: Lab, *, ruined: tuple[str, ...] = ("shares", "pairs")) -> Finding:
    """Statement: Mixup ruins the balance of single and of mixed labels that CBS and CAS make within each mini-batch.

    Where: §6.1, the paragraph on balanced mixed labels.
    Quote: While class-balanced sampling methods such as CBS and CAS oversamples singleton label samples within each
        mini-batch, Mixup ruins the balance of both singleton labels and mixed ones by randomly permuting input samples
    Formula: a batch of B pairs. Reading 1: a singleton label is a label pair (k, k), one of the K^2 of §3.2. Reading 2:
        it is a class, and its balance is its share of the batch. The share of class k in a batch of B pairs is M_k =
        (1/B) sum_i [lambda 1(a_i = k) + (1 - lambda) 1(b_i = k)]. With b a permutation of a it is n_k / B for every
        lambda. With BMLS, a < b, E[M_k | lambda] = (1/K) (1 + (2 lambda - 1)(K - 1 - 2k)/(K - 1)). The share of the K/2
        first classes then varies with lambda by a standard deviation of K / (4 (K - 1) sqrt(2 alpha + 1)), and drawing
        adds to it.
    Assumptions: one lambda per batch, as in the code of mixup. Classes are numbered from frequent to rare, as in every
        long-tailed set. BMLS uses label pairs a < b (§4.2), in which the more frequent class has the weight lambda.
    Test: Shares: M_k in exact fractions before and after the permutation, for every batch of one epoch of CBS and of
        CAS, on CIFAR10-LT and CIFAR100-LT. Label pairs (k, k), and all of them: the CV of their counts over epochs
        against the least possible one. BMLS: the share of the K/2 first classes over the batches of 40 epochs, against
        the formula within 5 %, and against CAS.
    Verdict: It holds for mixed labels. For single labels the two readings part ways. Against the claim: a permutation
        counts every image once on each side, so each class keeps its share of the batch, whatever lambda is. For it:
        the pairs (k, k) that a permutation leaves are as uneven as the other label pairs. Figure 2 counts labels like
        that ("label frequencies including mixed label"), and BMLS balances them. So the claim holds once "singleton
        labels" is read as label pairs (k, k). BMLS with a < b, however, does unbalance
        single labels within a batch. The whole batch leans to frequent classes if lambda is above 1/2, and to rare
        classes if it is below; the smaller alpha, the more. Over an epoch this averages out.
    Overturned by: a definition of "the balance of singleton labels" as the classes' shares; it fails then. One lambda
        for each image: permuted batches then keep the balance in the mean only, and the batches of BMLS do so too.
    References: docs/theory/batches.md; docs/contribute/log.md for the cost in accuracy.

    Args:
        lab: the instruments; their seed draws the epochs.
        ruined: what is claimed to be ruined: the 'shares' of the classes, the balance of label 'pairs', or both.
    """
    rng = lab.rng()
    balance_kept = all(
        _share(batch, rng.permutation(batch), lam, k) == Fraction(int((batch == k).sum()), len(batch))
        for K in (10, 100)
        for draw in (cbs, cas)
        for batch in _batches(draw(cifar_lt(K, 100), rng))
        for lam in (Fraction(3, 10), Fraction(9, 10))
        for k in (0, K // 2, K - 1)
    )
    quantities, pairs = [], []
    if "shares" in ruined:
        name = "a permutation of the batch changes a class's share of it (CBS, CAS; one lambda per batch)"
        quantities.append(Quantity(name, True, Fact(not balance_kept, EXACT)))
    if "pairs" in ruined:
        for K in (10, 100):
            n = cifar_lt(K, 100)
            least = cyclic_cv(int(n.sum()), K * K)
            for s in ("CBS", "CAS"):
                counts = epochs(s, n, rng)
                for kind, cv in (("all", average_cv(counts)), ("(k, k)", average_cv(counts[:, range(K), range(K)]))):
                    name = f"average CV of label pairs of {s}, {kind}, against the least possible (K={K})"
                    pairs.append(Quantity(name, least, cv, ">", known=SIMULATED))
    support, deviations = [], {}
    for K in (10, 100):
        n = cifar_lt(K, 100)
        for alpha in ALPHAS:
            bmls_shares = np.array(
                [
                    lam * (a < K / 2).mean() + (1 - lam) * (b < K / 2).mean()
                    for epoch in range(EPOCHS)
                    for a, b in bmls_batches(int(n.sum()), K, epoch, rng)
                    for lam in rng.beta(alpha, alpha, 1)
                ]
            )
            cas_shares = np.array([(x < K / 2).mean() for _ in range(EPOCHS) for x in _batches(cas(n, rng))])
            bmls, from_cas = float(bmls_shares.std()), float(cas_shares.std())
            deviations[K, alpha] = bmls, from_cas
            name = f"standard deviation of the share of the first K/2 classes, BMLS a < b (K={K}, alpha={alpha:g})"
            expected = _deviation(K, alpha)
            support += [
                Quantity(name, expected, bmls, tolerance=0.05 * expected, known=SIMULATED),
                Quantity(f"{name}, against four times that of CAS", 4 * from_cas, bmls, ">", known=SIMULATED),
            ]
    lam = np.linspace(0, 1, 21)
    curves = [Curve("CBS, CAS: any class", [0, 1], [0.1, 0.1], "--")]
    curves += [
        Curve(f"BMLS: class {k} of 10", lam.tolist(), (0.1 * (1 + (2 * lam - 1) * (9 - 2 * k) / 9)).tolist())
        for k in (0, 3, 9)
    ]
    return conclude(
        [*quantities, *pairs],
        evidence=contradictions(quantities)
        + "; standard deviation of the share of the first K/2 classes over batches: "
        + ", ".join(
            f"{a:.3f} (BMLS) and {b:.3f} (CAS) at K={K}, alpha={alpha:g}" for (K, alpha), (a, b) in deviations.items()
        ),
        instances=f"CIFAR10-LT and CIFAR100-LT, imbalance 100, batches of {BATCH}, seed {lab.seed}",
        repair=Repair(
            "Mixup by permutation unbalances all label pairs, (k, k) among them. It keeps every class's share of its "
            "batch; BMLS with a < b and one lambda per batch does not.",
            [*pairs, *support],
            licence='Figure 2 counts label pairs and calls them "label frequencies including mixed label"',
        ),
        plot=Plot("lambda", "expected share of a batch", curves),
    )


def _batches(labels: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(labels) - BATCH + 1, BATCH):
        yield labels[start : start + BATCH]


def _share(first: np.ndarray, second: np.ndarray, lam: Fraction, k: int) -> Fraction:
    """The share of class k in a batch of mixed labels."""
    mass = lam * int((first == k).sum()) + (1 - lam) * int((second == k).sum())
    return mass / len(first)


def _deviation(K: int, alpha: float) -> float:
    """Standard deviation of the share of the K/2 first classes in a batch of BMLS, for even K.

    The pairs of a batch are treated as independent given lambda. In a share q of the label pairs a < b both classes are
    among the first. In a share r only a is, which has the weight lambda.
    """
    half = K // 2
    pairs = K * (K - 1) / 2
    q, r = half * (half - 1) / 2 / pairs, half * half / pairs
    v = 1 / (4 * (2 * alpha + 1))  # variance of lambda
    ramp = r**2 * v
    drawing = (q + r * (0.25 + v) - (q + r / 2) ** 2 - r**2 * v) / BATCH
    return math.sqrt(ramp + drawing)
