"""All checks in the paper's order, and the reasons why the rest of the paper has none."""

from __future__ import annotations

from paper_checks.claim import Check
from paper_checks.claims import (
    ablation,
    balancing,
    batches,
    collapse,
    coverage,
    eq9,
    facts,
    findings,
    lemma1,
    long_tail,
    many_classes,
    mixed_singleton,
    mixing_ratio,
    ordered_pairs,
    printed_numbers,
    proposition2,
    sampling,
    significance,
    table_sentences,
    tied_features,
)

CHECKS: tuple[Check, ...] = (
    # §1 to §4
    long_tail.long_tail,
    findings.finding1,
    findings.finding2_frequencies,
    mixing_ratio.lambda_independence,
    sampling.eq2_feasible,
    mixed_singleton.ms_argmax,
    ordered_pairs.a_less_than_b,
    ordered_pairs.a_less_than_b_ms,
    many_classes.a_less_than_b_limits,
    # §5.2 and Appendices B, C.1, C.2
    sampling.remark1,
    sampling.remark1_collapse,
    tied_features.tied_features,
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
    coverage.coverage_ratio,
    table_sentences.fig3_claims,
    coverage.fig3_control,
    # §5.3
    mixing_ratio.loss_without_mixup,
    eq9.eq9_label,
    eq9.nc_ms,
    mixed_singleton.theorem2,
    mixed_singleton.ms_less_collapse,
    facts.uniformity,
    printed_numbers.fig4_vs_table8,
    # Appendix C.3
    proposition2.prop2_theorem1,
    proposition2.prop2,
    proposition2.eq20,
    proposition2.eq24,
    # §6, Appendices D to G
    batches.batch_balance,
    table_sentences.table1_claims,
    table_sentences.highest_claims,
    table_sentences.few_class_claims,
    table_sentences.large_data_claims,
    many_classes.bmls_struggles,
    many_classes.samples_per_vector,
    many_classes.competitive,
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
    significance.significance,
    facts.empirical,
)

UNCHECKED: dict[str, str] = {
    "Eq. 1": "It defines mixup; a definition is neither true nor false.",
}
"""Numbered items of the paper that have no check, and why."""

SENTENCES_UNCHECKED: dict[str, str] = {
    "§1, A: what other papers prove or propose": "The cited papers decide that. Where a verdict relies on "
    "them, its references name them.",
    "§4: images of mixed samples look as in Figure 1": "This is an illustration.",
    "§5.3 (iii): mixup has a minimal or adverse effect on classifier learning "
    "(MiSLAS)": "Another paper found this, on other networks.",
    "§6.3, F: the fixed ETF's loss is called Dot-Ridge": "This is a name; Yang et al. 2022 call the loss dot "
    "regression.",
    "§8: more samples per epoch would also be a solution": "A proposal; it claims nothing that can be tested.",
    "D: learning rates, batch sizes, schedules": "They are choices, and several are not stated.",
    "Table 7: numbers quoted from other papers": "The cited papers decide that. Whether they equal those in "
    "Tables 2 and 5 is checked (table1-vs-8).",
}
"""Sentences that read like claims but have no check, and why."""

DROPPED: dict[str, str] = {
    "table13-cut": "That Table 13 is printed completely is no claim of the paper, and could not fail. A test of the data "
    "files counts its cells.",
    "exponential-growth": "§6.2 and §8 call the growth of K^2 exponential. That is a colloquial word: §8 itself prints "
    "the square. K^2 is quadratic, and the loss of MS costs O(K).",
}
"""Names of former checks, and why there is none any more."""


def by_id() -> dict[str, Check]:
    """Return the checks by their names."""
    return {c.id: c for c in CHECKS}
