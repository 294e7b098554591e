"""Figure 3's experiment: what its coverage ratio means, and what it changes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Literal

import numpy as np

from paper_checks.claim import Curve, Finding, Plot, Quantity, Repair, check, conclude, contradictions
from paper_checks.epochs import EPOCHS, average_cv
from paper_checks.interval import EXACT, SIMULATED
from paper_checks.lab import Lab

RATIOS = (0.2, 0.4, 0.6, 0.8, 1.0)
"""Coverage ratios of Figure 3; at 0, its first one, no label pair would be left."""


@check("coverage-ratio", "Figure 3")
def coverage_ratio(lab: Lab, *, share: Callable[[int, int], float] = lambda classes, K: classes / K) -> Finding:
    """Statement: The coverage ratio of Figure 3 is the proportion of mixed labels used in an epoch.

    A ratio of 0.6 on CIFAR100-LT means combinations of 60 classes.

    Where: Figure 3, caption.
    Quote: Coverage ratio represents the proportion of mixed labels used in training during one epoch compared to the
        total number of mixed labels. (e.g., when coverage ratio is 0.6 in CIFAR100-LT, the model trains on mixed labels
        consisting of combinations of 60 different classes
    Formula: combinations of c classes are c^2 of K^2 label pairs (c(c-1)/2 of K(K-1)/2 with a < b), not c/K of them.
    Assumptions: all combinations of the chosen classes occur.
    Test: Count the label pairs among 20, 40, 60, 80 of 100 classes.
    Verdict: 60 of 100 classes give 36 % of the label pairs, not 60 %: the definition and its example contradict each
        other. At ratio 0, which the table prints, no label pair is left to train on, so that ratio must mean something
        else.
    Overturned by: a sampler that draws 60 % of the label pairs directly.
    References: none beside the paper.

    Args:
        lab: unused; the numbers are exact.
        share: claimed share of label pairs as a function of (number of chosen classes, K).
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
        evidence=contradictions(quantities, 2),
        instances="20, 40, 60, 80 of 100 classes",
        internal=True,
        repair=Repair("A share c/K of the classes covers a share (c/K)^2 of the label pairs.", unordered),
    )


def _epochs(K: int, ratio: float, drawn: str, rng: np.random.Generator) -> np.ndarray:
    """Shares (EPOCHS, K, K) of the label pairs in epochs that train on a share of the classes, or of the label pairs."""
    c, shares = round(ratio * K), np.zeros((EPOCHS, K, K))
    for epoch in shares:
        if drawn == "classes":
            chosen = rng.permutation(K)[:c]
            epoch[np.ix_(chosen, chosen)] = 1 / c**2
        else:
            epoch.reshape(-1)[rng.permutation(K * K)[: c * c]] = 1 / c**2
    return shares


@check("fig3-control", "Figure 3")
def fig3_control(lab: Lab, *, drawn: Literal["classes", "label pairs"] = "classes") -> Finding:
    """Statement: Figure 3 shows that uneven mixed labels, and not only uneven singleton labels, lower the accuracy.

    Where: §6.1, first paragraph; §5.2, last paragraph, "mixed-label frequency control experiments".
    Quote: As shown in Figure 3, epoch-wise imbalance not only of singleton labels but also of ... mixed ones affects model
        performance
    Formula: average CV over epochs, of the label pairs and of the classes, when an epoch trains on all combinations of
        a share r of the classes; the CV of the classes is then sqrt((1 - r) / r).
    Assumptions: to show the effect of mixed labels alone, the experiment must leave the classes about as even as drawing
        label pairs directly would. The chosen classes change with each epoch, as the caption says, at random.
    Test: Simulate 40 epochs at each coverage ratio for K = 10 and 100. The CV of the classes must not exceed 1.5 times
        that of epochs which draw as many label pairs directly.
    Verdict: It fails: the experiment changes two things at once. An epoch at ratio 0.2 leaves out four fifths of the
        classes altogether, so the classes are as uneven from epoch to epoch as sqrt((1 - r) / r) = 2. Drawing as many
        label pairs directly would leave them nearly even. For the paper: the mixed labels do get more uneven, and its
        caption says that whole classes are left out. But the loss of accuracy may come from either, so the figure does
        not show that mixed labels matter beside the classes.
    Overturned by: a sampler that draws label pairs directly.
    References: none beside the paper.

    Args:
        lab: the instruments; their seed draws the epochs.
        drawn: what an epoch draws: 'classes', as the caption says, or 'label pairs'.
    """
    rng, quantities, together, at_fifth = lab.rng(), [], [], []
    for K in (10, 100):
        pair_cv, class_cv = [], []
        for ratio in RATIOS:
            counts, direct = _epochs(K, ratio, drawn, rng), _epochs(K, ratio, "label pairs", rng)
            of_classes, if_direct = (average_cv((x + x.transpose(0, 2, 1)).sum(axis=2)) for x in (counts, direct))
            if ratio < 1:
                name = f"average CV of the classes against 1.5 times that of direct draws (K={K}, coverage {ratio})"
                quantities.append(Quantity(name, 1.5 * if_direct, of_classes, "<=", known=SIMULATED))
            shown = _epochs(K, ratio, "classes", rng)
            pair_cv.append(average_cv(shown))
            class_cv.append(average_cv((shown + shown.transpose(0, 2, 1)).sum(axis=2)))
        at_fifth.append(f"{class_cv[0]:.2f} (classes) and {pair_cv[0]:.2f} (label pairs) at K={K}")
        for word, values in (("label pairs", pair_cv), ("classes", class_cv)):
            for (low, before), (high, after) in itertools.pairwise(zip(RATIOS, values, strict=True)):
                name = f"average CV of the {word} at coverage {high} against {low} (K={K})"
                together.append(Quantity(name, before, after, "<", known=SIMULATED))
    return conclude(
        quantities,
        evidence=contradictions(quantities, 1) + "; average CV over epochs at coverage 0.2: " + "; ".join(at_fifth),
        instances=f"K = 10, 100; coverage 0.2 to 1; {EPOCHS} epochs, seed {lab.seed}",
        repair=Repair("With the coverage ratio the CV of label pairs and that of classes fall together.", together),
        plot=Plot(
            "coverage ratio r",
            "average CV over epochs",
            [
                Curve("classes", RATIOS, [float(np.sqrt((1 - r) / r)) for r in RATIOS]),
                Curve("label pairs", RATIOS, [float(np.sqrt((1 - r**2) / r**2)) for r in RATIOS], "--"),
            ],
        ),
    )
