"""This project's own results in order, and what was observed but is neither proved nor certified in general."""

from __future__ import annotations

from pathlib import Path

from paper_checks.beyond import budgets, imbalance, law, tied
from paper_checks.claim import Check

EXPECTED = Path(__file__).parent / "expected.toml"
"""The verdicts on record."""

BEYOND: tuple[Check, ...] = (
    law.collapse_law,
    law.mixup_earlier,
    law.ms_same_threshold,
    law.offsets_do_not_move,
    law.balanced_sampling,
    law.class_weights_invert,
    imbalance.counts_all_differ,
    imbalance.re_entrance,
    tied.tied_features_decay,
    budgets.adjustment_under_budgets,
    budgets.exponential_rate,
    budgets.small_budgets,
    budgets.collapse_at_every_R,
    budgets.tempered_pairs,
)

CONJECTURES: dict[str, str] = {
    "Counts that all differ: the rank of W is at most the number of eigenvalues of P M P above mu^2, and at least that "
    "number less 1.": "Certified ranks agree in 480 programs: 40 random counts of 3 to 7 classes, with random pairs and "
    "without mixup, 12 decays each. Proved: for two groups up to one direction, and at both ends.",
    "Directions leave rarest first as mu grows.": "In every solved program with counts that all differ, and in the runs "
    "of docs/theory/networks.md. Proved: for groups, the group of the smaller collapse number.",
    "Under budgets logit adjustment of no strength prevents collapse at large R.": "A finite R0 is certified at strength "
    "0, 1/2, 1, 3/2, 2 for plain and fc (adjustment-budgets).",
    "Under budgets the largest R0 is at a strength near 0.45.": "0.44 for fc, K = 4, lambda = 1/2, certified against 0.39 "
    "and 0.49; 0.46 for plain by a line search.",
    "Non-negative features (after ReLU): the same c_B with another threshold.": "Not solved here. Dang et al. 2024 state "
    "an exact threshold per class without mixup (abstract read).",
    "MS over a < b, and margins on the own class (LDAM).": "The law does not apply: the order, or the margin, sets "
    "classes of one group apart. lpm.cures solves them.",
}
"""What is not proved, with the evidence."""


def by_id() -> dict[str, Check]:
    """Return the results by their names."""
    return {c.id: c for c in BEYOND}
