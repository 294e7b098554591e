"""All checks in the paper's order, and why what has no check has none."""

from __future__ import annotations

from paper_checks.claim import Check
from paper_checks.claims import (
    ablation,
    balancing,
    batches,
    collapse,
    facts,
    lemma1,
    long_tail,
    mixed_singleton,
    mixing_ratio,
    printed_numbers,
    proposition2,
    sampling,
    significance,
    table_sentences,
)

CHECKS: tuple[Check, ...] = (
    # §1 to §4
    long_tail.long_tail,
    mixing_ratio.lambda_independence,
    sampling.eq2_feasible,
    mixed_singleton.ms_argmax,
    balancing.a_less_than_b,
    balancing.a_less_than_b_ms,
    # §5.2 and Appendices B, C.1, C.2
    sampling.remark1,
    sampling.remark1_collapse,
    balancing.budgets,
    lemma1.eq11_relaxation,
    balancing.nc_balanced,
    lemma1.lemma1,
    lemma1.lemma1_uniqueness,
    lemma1.p_assumption,
    collapse.theorem1,
    collapse.theorem1_weights,
    collapse.lemma2,
    balancing.prop1,
    balancing.prop1_equal_angles,
    sampling.mean_frequency,
    sampling.coverage_ratio,
    table_sentences.fig3_claims,
    # §5.3
    mixing_ratio.loss_without_mixup,
    mixed_singleton.theorem2,
    mixed_singleton.ms_less_collapse,
    facts.uniformity,
    printed_numbers.fig4_vs_table8,
    # Appendix C.3
    proposition2.prop2,
    proposition2.eq20,
    proposition2.eq24,
    # §6, Appendices D to G
    batches.batch_balance,
    table_sentences.table1_claims,
    table_sentences.highest_claims,
    table_sentences.few_class_claims,
    table_sentences.large_data_claims,
    sampling.exponential_growth,
    ablation.ablation_both,
    ablation.ablation_ms_alone,
    ablation.etf_claims,
    ablation.consistent_gains,
    facts.dataset_facts,
    printed_numbers.table_sums,
    printed_numbers.table_diffs,
    printed_numbers.table1_vs_8,
    printed_numbers.table6_partition,
    printed_numbers.split_definition,
    printed_numbers.table13_cut,
    significance.significance,
    facts.empirical,
)

UNCHECKED: dict[str, str] = {
    "Eq. 1": "It defines mixup; a definition is neither true nor false.",
}
"""Numbered items of the paper without a check, each with the reason."""

SENTENCES_UNCHECKED: dict[str, str] = {
    "§1, A: what other papers prove or propose": "Their own papers decide that; where our verdicts lean on "
    "them, References says so.",
    "§4: images of mixed samples look as in Figure 1": "An illustration.",
    "§5.3 (iii): mixup has a minimal or adverse effect on classifier learning "
    "(MiSLAS)": "A finding of another paper on other networks.",
    "§6.3, F: the fixed ETF's loss is called Dot-Ridge": "A name; Yang et al. 2022 call it dot regression.",
    "§8: more samples an epoch would also be a solution": "A proposal without a claim to test.",
    "D: learning rates, batch sizes, schedules": "Choices. Several are not stated;",
    "Table 7: numbers quoted from other papers": "They stand or fall with those papers; equality with Tables 2 "
    "and 5 is checked (table1-vs-8).",
}
"""Sentences that read like claims and have no check, each with the reason."""


def by_id() -> dict[str, Check]:
    """The checks by name."""
    return {c.id: c for c in CHECKS}
