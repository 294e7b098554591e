"""Findings 1 and 2 of the introduction, word for word: what the frequencies of mixed labels do to collapse."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from lpm.mixing import Mixing, fixed
from lpm.pairs import LabelPairs, imbalanced, product
from lpm.programs import fc
from paper_checks.claim import Finding, Quantity, Repair, check, conclude
from paper_checks.lab import Lab


def balanced_mixed(K: int, K_A: int, R: float) -> LabelPairs:
    """Make label pairs whose mixed labels are balanced and whose single labels are not.

    Args:
        K: number of classes.
        K_A: number of majority classes.
        R: count of (a, a) for a majority class; every other label pair has the count 1.

    Returns:
        The counts.
    """
    return replace(product(imbalanced(K, K_A)), same=np.array([R, 1.0]))


def images_of(pairs: LabelPairs) -> np.ndarray:
    """Count the label pairs (a, b) that a class a of each group begins.

    Args:
        pairs: the counts.

    Returns:
        One number per group (G,); for a symmetric table these are the class counts.
    """
    return pairs.same + pairs.cross @ pairs.sizes - np.diag(pairs.cross)


def partly_within(K: int, K_A: int, ratio: float, share: float) -> LabelPairs:
    """Make label pairs with the class shares of random pairing, a share of them within one class.

    Args:
        K: number of classes.
        K_A: number of majority classes.
        ratio: images of a majority class over images of a minority class.
        share: share of the images that are mixed within their own class, beyond those of random pairing.

    Returns:
        The counts.
    """
    pairs = product(imbalanced(K, K_A, ratio))
    images = images_of(pairs)
    return replace(pairs, same=(1 - share) * pairs.same + share * images, cross=(1 - share) * pairs.cross)


@check("finding1", "Finding 1")
def finding1(lab: Lab, *, mixed: Literal["balanced", "product"] = "balanced") -> Finding:
    """Statement: Balanced mixed labels mitigate minority collapse in a setting whose singleton classes are unbalanced.

    Where: Finding 1, §1.
    Quote: ensuring balanced frequencies of mixed-label samples in a singleton-class imbalanced setting mitigates
        minority collapse
    Formula: n_(a,b) = 1 for a != b, n_(a,a) = R in A and 1 in B, against n_(a,b) = n_a n_b with the same shares of the
        classes.
    Assumptions: mixed labels are the label pairs of two different classes, singleton labels the pairs (a, a). E_H = 5,
        E_W = 1.
    Test: At equal class shares (n_A / n_B = 400) certify whether the minority is collapsed, with random pairing and
        with balanced mixed labels. Bracket the threshold R0 at K = 4, lambda = 1/2.
    Verdict: It holds. With balanced mixed labels R0 is about 8,042 in terms of R, a ratio of 2,011 between classes.
        With random pairing it is 298. At a ratio of 400 only random pairing collapses. Collapse is put off, not
        prevented: above R0 the minority is collapsed, although all mixed labels are balanced.
    Overturned by: an instance that collapses with balanced mixed labels and not with random pairing.
    References: none beside the paper.

    Args:
        lab: the instruments.
        mixed: how mixed labels are paired in the setting that is claimed not to collapse.
    """
    ratio = 400.0
    cases: tuple[tuple[int, int, Mixing], ...] = (
        (4, 2, fixed(0.5)),
        (4, 2, fixed(0.1)),
        (6, 3, fixed(0.5)),
        (4, 2, fixed(0.3)),
    )
    quantities = []
    for K, K_A, law in cases:
        name = f"K={K}, K_A={K_A}, lambda {law.label}"
        random_pairing = product(imbalanced(K, K_A, ratio))
        # A class of A has R + K - 1 pairs, one of B has K.
        other = balanced_mixed(K, K_A, ratio * K - K + 1) if mixed == "balanced" else random_pairing
        for word, pairs, state in (("random pairing", random_pairing, True), ("balanced mixed labels", other, False)):
            collapsed = lab.collapsed(fc(pairs, law))
            quantities.append(Quantity(f"collapsed with {word}, classes {ratio:g} : 1 ({name})", state, collapsed))
    onset = [
        Quantity(
            f"collapsed at R = {R:g} with balanced mixed labels (K=4, lambda=1/2)",
            state,
            lab.collapsed(fc(balanced_mixed(4, 2, R))),
        )
        for R, state in ((8036, False), (8048, True), (1e5, True))
    ]
    agree = sum(q.agrees is True for q in quantities)
    return conclude(
        quantities,
        evidence=f"{agree} of {len(quantities)} comparisons agree; with balanced mixed labels R0 lies between 8,036 "
        "and 8,048 (K=4, lambda=1/2)",
        instances="; ".join(f"K={K}, K_A={K_A}, lambda {law.label}" for K, K_A, law in cases),
        repair=Repair("Balanced mixed labels put collapse off and do not prevent it.", onset),
    )


@check("finding2-frequencies", "Finding 2")
def finding2_frequencies(lab: Lab, *, share: float = 0.8) -> Finding:
    """Statement: Minority collapse depends on the frequencies of mixed labels too, not on those of the classes alone.

    Where: Finding 2, §1; §5.3 (ii).
    Quote: minority collapse in Mixup depends not only on the frequency of singleton labels but also on that of
        mixed-label samples
    Formula: two tables n_(a,b) with the same class shares and other mixed labels; collapsed at one, not at the other.
    Assumptions: E_H = 5, E_W = 1, lambda = 1/2 and 0.1.
    Test: Random pairing, and the same with 80 % of the images mixed within their own class. The class shares are equal,
        which is checked. Certify collapse for both at one R.
    Verdict: It holds: at the same class shares the minority is provably collapsed with random pairing and provably not
        with fewer mixed labels of two classes. (This does not say that the frequencies alone decide; lambda matters
        too, see lambda-independence.)
    Overturned by: nothing, once one pair of tables is certified.
    References: none beside the paper.

    Args:
        lab: the instruments.
        share: share of the images that the second table mixes within their own class.
    """
    cases: tuple[tuple[int, int, float, float], ...] = ((4, 2, 0.5, 400.0), (4, 2, 0.1, 400.0), (6, 3, 0.5, 200.0))
    quantities = []
    for K, K_A, lam, R in cases:
        name = f"K={K}, K_A={K_A}, lambda={lam}, R={R:g}"
        first, second = (partly_within(K, K_A, R, s) for s in (0.0, share))
        images = [images_of(p) for p in (first, second)]
        states = [lab.collapsed(fc(p, fixed(lam))) for p in (first, second)]
        quantities += [
            Quantity(
                f"largest relative difference of the classes' shares ({name})",
                0.0,
                float(np.abs(images[1] / images[0] - 1).max()),
                tolerance=1e-12,
            ),
            Quantity(f"collapsed with random pairing ({name})", True, states[0]),
            Quantity(f"collapsed with {share:.0%} mixed within their class ({name})", False, states[1]),
        ]
    agree = sum(q.agrees is True for q in quantities)
    return conclude(
        quantities,
        evidence=f"{agree} of {len(quantities)} comparisons agree: at equal class shares one table is collapsed, the "
        "other is not",
        instances="; ".join(f"K={K}, K_A={K_A}, lambda={lam}, R={R:g}" for K, K_A, lam, R in cases),
    )
