"""Eq. 9, the program of the mixed-singleton classifier: the length of its labels, and neural collapse at its optimum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from lpm.family import Family
from lpm.losses import log_partition
from lpm.mixing import fixed
from paper_checks.claim import Finding, Quantity, Repair, check, conclude, contradictions
from paper_checks.claims.balancing import ANGLE, etf
from paper_checks.interval import Interval
from paper_checks.lab import CosineTable, Lab, pair_vectors


def _mixed_label(K: int, a: int, b: int, lam: float) -> np.ndarray:
    """The label of Eq. 5, lambda e_a + (1-lambda) e_b (K,)."""
    return lam * np.eye(K)[a] + (1 - lam) * np.eye(K)[b]


@check("eq9-label", "Eq. 9", "Eq. 4")
def eq9_label(lab: Lab, *, label: Callable[[int], int] | None = None) -> Finding:
    """Statement: Eq. 9 differs from Eq. 5 only in W^lambda and in its budget.

    So its label y_k^lambda is that of Eq. 5.

    Where: §5.3 (1), Eq. 9, and the line below it; Eq. 4.
    Quote: where the only differences are
    Formula: L(W^lambda h, y^lambda): W^lambda h has K^2 entries, y^lambda = lambda e_a + (1-lambda) e_b has K.
    Assumptions: cross-entropy compares vectors of the same length.
    Test: Build both vectors for K = 3, 4, 10 and compare their lengths. Then with the one-hot label of Eq. 4: its
        length, and its cross-entropy against the form that lpm solves.
    Verdict: As printed the loss is undefined: the label has K entries and the logits have K^2. §4.2 has the right
        label, the one-hot vector of Eq. 4, which is a third difference. With it Eq. 9 is the program of MS, and lambda
        stays in W^lambda only.
    Overturned by: a cross-entropy between vectors of K^2 and K entries.
    References: none beside the paper.

    Args:
        lab: the instruments; their seed draws the features.
        label: claimed length of the label as a function of K; None: that of Eq. 5's label.
    """
    rng, lam = lab.rng(), 0.3
    quantities, repaired = [], []
    for K in (3, 4, 10):
        W, h, (a, b) = rng.normal(size=(K, K)), rng.normal(size=K), (0, K - 1)
        logits = pair_vectors(K, lam) @ W @ h
        length = len(_mixed_label(K, a, b, lam)) if label is None else label(K)
        quantities.append(Quantity(f"entries of the label against entries of W^lambda h (K={K})", len(logits), length))
        one_hot = np.eye(K * K)[a * K + b]
        repaired.append(
            Quantity(f"entries of Eq. 4's label against entries of W^lambda h (K={K})", len(logits), len(one_hot))
        )
        loss = float(np.logaddexp.reduce(logits) - one_hot @ logits)
        z = W @ h
        solved = float(log_partition("pairs", z[None], np.array([lam]))[0][0] - _mixed_label(K, a, b, lam) @ z)
        repaired.append(
            Quantity(f"cross-entropy on Eq. 4's label against lpm's program (K={K})", solved, loss, "=", 1e-9)
        )
    return conclude(
        quantities,
        evidence=contradictions(quantities, 2),
        instances="K = 3, 4, 10",
        repair=Repair(
            "With the one-hot label of Eq. 4 in place of y_k^lambda, Eq. 9 is the program of MS.",
            repaired,
            licence='Eq. 4 defines these labels for MS: "their one-hot vectors"',
        ),
    )


def _pair_cosines(table: CosineTable, lam: float) -> tuple[Interval, Interval]:
    """Enclose the smallest and the largest cosine of lambda w_a + (1-lambda) w_b over different label pairs.

    All |w_a| must be equal.
    """
    K = len(table.lower)
    V = pair_vectors(K, lam)
    lower, upper = V @ table.lower @ V.T, V @ table.upper @ V.T  # V >= 0, so that bounds carry over
    corners = [
        inner / np.sqrt(np.outer(norms, norms))
        for inner in (lower, upper)
        for norms in (np.diag(lower), np.diag(upper))
    ]
    off = ~np.eye(K * K, dtype=bool)
    low, high = np.min(corners, axis=0)[off], np.max(corners, axis=0)[off]
    return Interval(float(low.min()), float(high.min()), table.how), Interval(
        float(low.max()), float(high.max()), table.how
    )


@check("nc-ms", "Eq. 9", "Remark 2")
def nc_ms(lab: Lab, *, vectors: Literal["label pairs", "classes"] = "label pairs") -> Finding:
    """Statement: At the global optimum of LPM_lambda-MS (Eq. 9) neural collapse is satisfied.

    Where: §5.1, the sentence on §5.3, "(2)"; §5.3 omits the step.
    Quote: we prove that when this model achieves global optimality, it also satisfies the NC properties
    Formula: the K^2 class vectors of Eq. 9 have the cosines -1/(K^2 - 1).
    Assumptions: all K^2 label pairs equally frequent, which favours the claim; E_H = 5, E_{W^lambda} = 1.
    Test: Certified cosines of W at the optimum for K = 3, 4 and lambda = 1/2, 0.3, and from them those of W^lambda.
    Verdict: It fails, and no proof is given: §5.3 refers to the model with K^2 classes. Against: in that model neural
        collapse is a simplex ETF of K^2 vectors, which has rank K^2 - 1. The vectors of Eq. 3 have rank K. At the
        optimum their cosines differ by far more than the intervals; at lambda = 1/2 those of (a, b) and (b, a) are
        equal vectors. For: the K rows of W do form a K-simplex ETF. But §5.3 says that Eq. 9 is "exactly same" to the
        model with K^2 classes, and these are not its classes.
    Overturned by: a definition of the NC properties of Eq. 9 in terms of W alone.
    References: Papyan, Han, Donoho 2020 for the NC properties.

    Args:
        lab: the instruments.
        vectors: vectors that are claimed to form a simplex ETF: those of the 'label pairs', or of the 'classes'.
    """
    quantities, single = [], []
    for K in (3, 4):
        for lam in (0.5, 0.3):
            cosines = lab.cosines(Family("ms", "balanced", K, mixing=fixed(lam)).at(1))
            name = f"K={K}, lambda={lam}"
            single += etf(cosines, f"W, {name}")
            for word, value in zip(("smallest", "largest"), _pair_cosines(cosines, lam), strict=True):
                claimed = -1 / (K**2 - 1)
                quantities.append(Quantity(f"{word} cosine of two label pairs ({name})", claimed, value, "=", ANGLE))
    return conclude(
        quantities if vectors == "label pairs" else single,
        evidence=contradictions(quantities, 2),
        instances="balanced label pairs, K = 3, 4, lambda = 1/2, 0.3",
        repair=Repair("At balanced label pairs the K rows of W form a K-simplex ETF, for every lambda.", single),
    )
