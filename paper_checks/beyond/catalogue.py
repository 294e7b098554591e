"""This project's own results in order, and what was observed but is neither proved nor certified in general."""

from __future__ import annotations

from pathlib import Path

from paper_checks.beyond import budgets, growth, imbalance, law, tied
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
    imbalance.rank_exceeds_count,
    imbalance.re_entrance,
    tied.tied_features_decay,
    budgets.adjustment_under_budgets,
    growth.exponential_rate,
    budgets.small_budgets,
    budgets.collapse_at_every_R,
    budgets.tempered_pairs,
)

CONJECTURES: dict[str, str] = {
    "Counts that all differ: the rank of W is at least the number of eigenvalues of P M P above mu^2, less 1. Without mixup it "
    "is at most that number.": "The rank bounds of 2,000 solved programs agree: 400 random counts of 3 to 10 classes, random "
    "pairs or no mixup, 5 decays each; so do 1,300 more within 0.2 % of eigenvalues. Proved: where nothing survives, and for "
    "two groups up to one direction. With mixup the upper bound is false (rank-exceeds-count).",
    "Under budgets logit adjustment of no strength prevents collapse at large R.": "A finite R0 is certified at strength "
    "0, 1/2, 1, 3/2, 2 for plain and fc (adjustment-budgets).",
    "Under budgets R0 has one maximum in the strength of logit adjustment, below 1.": "It rises from 0 to 1/2 and falls "
    "from there on in four programs, certified (adjustment-budgets).",
    "Non-negative features (after ReLU) obey a law of the same kind.": "Dang et al. 2024 state an exact threshold for each class "
    "without mixup (abstract read). `python -m benchmarks.nonnegative` goes down from random starts, which agree; nothing is "
    "proved.",
}
"""What is not proved, with the evidence."""


def by_id() -> dict[str, Check]:
    """Return the results by their names."""
    return {c.id: c for c in BEYOND}
