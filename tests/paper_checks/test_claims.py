"""Every claim: its verdict is the one on record, and it flips when what is claimed is changed."""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from lpm import mixing
from paper_checks.__main__ import expected, run
from paper_checks.catalogue import CHECKS, DROPPED, SENTENCES_UNCHECKED, UNCHECKED, by_id
from paper_checks.claim import Verdict
from paper_checks.claims import collapse, printed_numbers
from paper_checks.claims.proposition2 import HALF
from paper_checks.interval import BALL
from paper_checks.lab import Lab
from paper_checks.paper.datasets import cifar_lt
from paper_checks.paper.tables import load
from paper_checks.report import Outcome
from paper_checks.runs import Run
from tests.paper_checks.perturbed import Part, comparisons, mended, verdicts_against

PAPER = Path(__file__).parents[3] / "shared" / "paper" / "balancing-mixed-labels.txt"
HOLDS, REPAIRED, FAILS = Verdict.HOLDS, Verdict.REPAIRED, Verdict.FAILS


@pytest.fixture(scope="module", params=by_id())
def outcome(request: pytest.FixtureRequest) -> Outcome:
    """What the check of a claim found, of each in turn; the tests of one claim share it."""
    (one,) = run([by_id()[request.param]], Lab(), on_record=expected())
    return one


def test_verdict_is_the_one_on_record(outcome: Outcome) -> None:
    assert outcome.finding.verdict == outcome.expected
    assert outcome.finding.evidence
    assert "\n" not in outcome.finding.evidence
    assert outcome.finding.instances


def test_a_claim_that_fails_comes_with_one_that_holds(outcome: Outcome) -> None:
    finding = outcome.finding
    if finding.verdict not in (Verdict.HOLDS, Verdict.OPEN):
        assert finding.repair is not None
    if finding.repair is not None:
        assert [q.name for q in finding.repair.quantities if not q.agrees] == []
        assert finding.repair.quantities


def test_verdict_flips_when_a_comparison_that_decides_it_is_perturbed(outcome: Outcome) -> None:
    finding, verdict = outcome.finding, outcome.finding.verdict
    if finding.undefined:  # the comparisons only illustrate; without the reason the same numbers would decide
        assert replace(finding, undefined="").verdict != verdict
        return
    part: Part = "hypothesis" if verdict == Verdict.VACUOUS else "quantities"
    false = Verdict.VACUOUS if part == "hypothesis" else Verdict.INCONSISTENT if finding.internal else FAILS
    # Every comparison that agrees decides: once it contradicts the claim, the claim is false, or needs its repair.
    assert set(verdicts_against(finding, "hypothesis")) <= {Verdict.VACUOUS}
    assert set(verdicts_against(finding, part)) <= {false, REPAIRED}
    assert HOLDS not in verdicts_against(finding, "quantities")
    # Every contradiction decides: it suffices alone, and without any the verdict is another one.
    for i, q in enumerate(comparisons(finding, part)):
        if q.agrees is not True:
            assert mended(finding, part, but=i).verdict == (Verdict.OPEN if q.agrees is None else verdict)
            assert mended(finding, part).verdict not in (verdict, Verdict.OPEN)
    # Every comparison of a repair decides, and so does its licence.
    if verdict == REPAIRED:
        assert finding.repair is not None
        assert set(verdicts_against(finding, "repair")) == {false}
        assert replace(finding, repair=replace(finding.repair, licence="")).verdict == false


def _figure4() -> dict[str, float]:
    rows = {(c.dataset, c.imbalance, c.split): {} for c in load(8)}
    for c in load(8):
        rows[c.dataset, c.imbalance, c.split][c.method] = c.mean
    table = rows["cifar10-lt", "100", "all"]
    return {m: table[m] for m in ("random+FC", "CBS+FC", "CAS+FC", "BMLS+FC")}


def _by_thresholds(dataset: str, factor: int) -> tuple[int, ...]:
    n = cifar_lt(10 if dataset == "cifar10-lt" else 100, factor)
    many, few = sum(n > 100), sum(n < 20)
    return int(many), len(n) - int(many) - int(few), int(few)


SWAPPED = dict(printed_numbers.PARTITIONS) | {"cifar10-lt": (4, 3, 3)}
TRUE_FACTS = {
    "ImageNet-LT images, thousands": 115.8,
    "ImageNet-LT Pareto exponent": 6,
    "Places-LT images, thousands": 62.5,
}

MUTATIONS: list[tuple[str, dict[str, Any], Verdict]] = [
    ("long-tail", {"budgets": (1.0, 2.0)}, HOLDS),
    ("long-tail", {"budgets": (10.0,)}, FAILS),
    ("lambda-independence", {"lambdas": (0.3, 0.7)}, HOLDS),
    ("eq2-feasible", {"pairs": {"one": lambda K: 1}}, HOLDS),
    ("ms-argmax", {"unordered": True}, HOLDS),
    ("remark1", {"balanced_sampler": "CBS"}, FAILS),
    ("remark1-collapse", {"samplers": ("random",)}, HOLDS),
    ("budgets", {"learns_below": 1.0}, HOLDS),
    ("budgets", {"learns_below": 0.5}, FAILS),
    ("eq11-relaxation", {"gap_with_expectation": 0.112101}, HOLDS),
    ("eq11-relaxation", {"gap": 0.01}, FAILS),
    ("nc-balanced", {"profiles": (("balanced", 1),)}, HOLDS),
    ("lemma1", {"gap": 0.01}, FAILS),
    ("lemma1-uniqueness", {"factor": lambda K: Fraction(1, K**2)}, HOLDS),
    ("p-assumption", {"enough": lambda K: K - 2}, FAILS),
    ("theorem1", {"collapses": False}, FAILS),
    ("theorem1-weights", {"printed": collapse.TRUE_WEIGHTS}, HOLDS),
    ("lemma2", {"lambdas": (0.3, 0.7), "alphas": (1.0, 1.0), "K_Bs": (3, 3)}, HOLDS),
    ("prop1", {"budget": "paper"}, HOLDS),
    ("prop1-equal-angles", {"profile": "balanced"}, HOLDS),
    ("mean-frequency", {"samplers": ("CBS", "CAS", "BMLS")}, HOLDS),
    ("coverage-ratio", {"share": lambda classes, K: (classes / K) ** 2}, HOLDS),
    ("fig3-claims", {"upto": 0.8}, HOLDS),
    ("loss-without-mixup", {"without": "fc"}, HOLDS),
    ("theorem2", {"free": "ms", "rank_needed": 3}, HOLDS),
    ("ms-less-collapse", {"better": "fc", "worse": "ms", "pairs": ("unbalanced",)}, HOLDS),
    ("uniformity", {"score": "mean angle, summed over the classes"}, HOLDS),
    ("uniformity", {"score": "1 - mean cosine"}, FAILS),
    ("fig4-vs-table8", {"printed": _figure4()}, HOLDS),
    ("prop2", {"Ks": (3,), "lambdas": (0.5,)}, HOLDS),
    ("prop2", {"Ks": (3,), "lambdas": (0.3,)}, FAILS),
    ("eq20", {"lambdas": (Fraction(1, 2),), "moments": HALF}, HOLDS),
    ("eq24", {"inner": lambda K: -1 / (K * (K - 1) / 2 - 1), "product": -2.0}, HOLDS),
    ("a-less-than-b", {"laws": (mixing.fixed(0.3),)}, FAILS),
    ("a-less-than-b-ms", {"laws": (mixing.fixed(0.5),)}, HOLDS),
    ("batch-balance", {"ruined": ("pairs",)}, HOLDS),
    ("table1-claims", {"relation": "<"}, FAILS),
    ("highest-claims", {"exceptions": ()}, FAILS),
    ("few-class-claims", {"ours": "BMLS+MS"}, HOLDS),
    ("large-data-claims", {"relation": "<"}, FAILS),
    ("consistent-gains", {"methods": ()}, HOLDS),
    ("ablation-both", {"factors": ("200", "100", "50")}, HOLDS),
    ("ablation-ms-alone", {"relation": "<"}, HOLDS),
    ("etf-claims", {"relation": "<"}, FAILS),
    ("dataset-facts", {"printed": TRUE_FACTS}, HOLDS),
    ("table-sums", {"partitions": SWAPPED}, FAILS),
    ("table-diffs", {"sign": -1}, FAILS),
    ("table1-vs-8", {"sources": (2, 3, 4, 5, 7, 8, 9, 10, 11, 12, 13)}, HOLDS),
    ("table6-partition", {"imagenet_medium_to": 834}, HOLDS),
    ("split-definition", {"claimed": _by_thresholds}, HOLDS),
    ("significance", {"level": 1.01}, HOLDS),
    ("finding1", {"mixed": "product"}, FAILS),
    ("finding2-frequencies", {"share": 0.0}, FAILS),
    ("tied-features", {"features": "free"}, HOLDS),
    ("a-less-than-b-limits", {"pairs": lambda K: K}, HOLDS),
    ("fig3-control", {"drawn": "label pairs"}, HOLDS),
    ("eq9-label", {"label": lambda K: K**2}, HOLDS),
    ("nc-ms", {"vectors": "classes"}, HOLDS),
    ("prop2-theorem1", {"R": 1.0}, HOLDS),
    ("bmls-struggles", {"columns": (("inaturalist2018", ""),)}, HOLDS),
    ("samples-per-vector", {"learned": "K^2"}, HOLDS),
    ("competitive", {"level": 0.01}, HOLDS),
]


@pytest.mark.parametrize(("name", "claimed", "verdict"), MUTATIONS, ids=lambda x: x if isinstance(x, str) else "")
def test_verdict_flips_when_the_claim_is_changed(name: str, claimed: dict[str, Any], verdict: Verdict) -> None:
    assert by_id()[name].run(Lab(), **claimed).verdict == verdict
    assert expected()[name] != verdict


@pytest.mark.parametrize(
    ("name", "claimed"),
    [
        ("lemma2", {"lambdas": (0.3, 0.7), "alphas": (1.0, 1.0)}),
        ("lemma2", {"lambdas": (0.3, 0.7), "K_Bs": (3, 3)}),
        ("lemma2", {"alphas": (1.0, 1.0), "K_Bs": (3, 3)}),
        ("theorem2", {"free": "ms"}),
        ("theorem2", {"rank_needed": 3}),
        ("eq20", {"moments": HALF}),
        ("eq20", {"lambdas": (Fraction(1, 2),)}),
        ("nc-balanced", {"profiles": (("product", 10),)}),
        ("nc-balanced", {"profiles": (("block", 1),)}),
        ("ms-less-collapse", {"pairs": ("balanced",)}),
        ("ms-less-collapse", {"pairs": ("unbalanced",)}),
        ("eq24", {"product": -2.0}),
        ("eq24", {"inner": lambda K: -1 / (K * (K - 1) / 2 - 1), "product": 2.0}),
    ],
)
def test_each_part_of_a_claim_is_tested(name: str, claimed: dict[str, Any]) -> None:
    assert by_id()[name].run(Lab(), **claimed).verdict == (expected()[name] if name == "nc-balanced" else FAILS)


def test_every_check_has_a_mutation() -> None:
    assert {name for name, _, _ in MUTATIONS} == set(by_id()) - {"empirical"}  # see the planted runs below


def _runs(means: dict[tuple[str, str, str], float], preset: str = "paper", suffix: str = "") -> tuple[Run, ...]:
    """Three runs of each setting, spread as the paper's."""
    return tuple(
        Run(d + suffix, f, m, "all", mean + shift, seed, preset)
        for (d, f, m), mean in means.items()
        for seed, shift in enumerate((-0.3, 0.0, 0.3))
    )


TABLE8 = {(c.dataset, c.imbalance, c.method): c.mean for c in load(8) if c.split == "all"}
ONE = ("cifar10-lt", "100", "BMLS+FC")


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        ((), Verdict.OPEN),
        (_runs(TABLE8), HOLDS),
        (_runs({k: v for k, v in TABLE8.items() if k != ONE}), Verdict.OPEN),
        (_runs(TABLE8 | {ONE: 70.0}), FAILS),
        (_runs({ONE: 70.0}), FAILS),
        (_runs(TABLE8)[::3], Verdict.OPEN),
        (_runs(TABLE8, suffix="-jpeg"), Verdict.OPEN),
        (_runs(TABLE8, preset="quick"), Verdict.OPEN),
    ],
    ids=["none", "all", "one missing", "one off", "only one, off", "one seed", "other data", "other recipe"],
)
def test_runs_decide_the_empirical_claim_only_if_they_are_the_papers(rows: tuple[Run, ...], verdict: Verdict) -> None:
    assert by_id()["empirical"].run(Lab(runs=rows)).verdict == verdict


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.heavy) for seed in (2, 3))])
@pytest.mark.parametrize("name", ["theorem1", "lemma1", "remark1", "remark1-collapse", "batch-balance", "fig3-control"])
def test_verdict_does_not_depend_on_the_seed(name: str, seed: int) -> None:
    assert by_id()[name].run(Lab(seed=seed)).verdict == expected()[name]


NEGATIVE = {"prop1-equal-angles", "lambda-independence", "theorem2", "lemma2", "ms-less-collapse", "prop1"}
"""Claims that a certificate in ball arithmetic refutes."""


@pytest.mark.parametrize("name", by_id())
def test_rigorous_verdict_is_the_same(name: str) -> None:
    pytest.importorskip("flint", reason="python-flint, the extra 'rigorous', is not installed")
    (outcome,) = run([by_id()[name]], Lab(rigorous=True), on_record=expected())
    assert not outcome.changed
    if name in NEGATIVE:
        assert any(q.how == BALL and q.agrees is False for q in outcome.finding.quantities)


def test_quotes_are_in_the_paper() -> None:
    if not PAPER.is_file():
        pytest.skip(f"the paper's text is not at {PAPER}")
    text = " ".join(PAPER.read_text(encoding="utf-8").split())
    missing = [(c.id, part) for c in CHECKS for part in c.says["Quote"].split(" ... ") if part not in text]
    assert missing == []


def test_catalogue_names_are_unique_and_on_record() -> None:
    assert len({c.id for c in CHECKS}) == len(CHECKS)
    assert list(expected()) == [c.id for c in CHECKS]
    assert set(expected().values()) <= {str(v) for v in Verdict}


NUMBERED = {
    "Eq.": range(1, 25),
    "Table": range(1, 14),
    "Figure": range(1, 5),
    "Lemma": range(1, 3),
    "Theorem": range(1, 3),
    "Proposition": range(1, 3),
    "Remark": range(1, 3),
    "Finding": range(1, 3),
}


def test_every_numbered_item_has_a_check_or_a_reason() -> None:
    covered = {item for c in CHECKS for item in c.covers}
    items = {f"{kind} {n}" for kind, numbers in NUMBERED.items() for n in numbers}
    assert covered <= items
    assert items - covered == set(UNCHECKED)
    assert all(len(reason) > 10 for reason in (*UNCHECKED.values(), *SENTENCES_UNCHECKED.values(), *DROPPED.values()))


def test_the_numbered_items_are_those_of_the_paper() -> None:
    if not PAPER.is_file():
        pytest.skip(f"the paper's text is not at {PAPER}")
    text = PAPER.read_text(encoding="utf-8")
    # The paper's own theorems open a line or carry a full stop; those of other papers are cited in running text.
    opened = {
        "Table": r"^Table (\d+):",
        "Figure": r"^Figure (\d+):",
        "Lemma": r"^Lemma (\d+)\.",
        "Theorem": r"^Theorem (\d+)\.",
        "Proposition": r"^Proposition (\d+)\.",
        "Remark": r"^Remark (\d+)\.",
        "Finding": r"^- Finding (\d+):",
        "Eq.": r"\\tag\{(\d+)\}|\((\d{1,2})\)(?:\$\$)?$|\bEq\. (\d+)",
    }
    for kind, pattern in opened.items():
        numbers = {int(match[match.lastindex or 1]) for match in re.finditer(pattern, text, re.MULTILINE)}
        assert numbers == set(NUMBERED[kind]), kind


def test_rows_of_the_catalogue_of_claims_have_checks() -> None:
    file = PAPER.parent.parent / "design" / "claims.md"
    if not file.is_file():
        pytest.skip(f"the catalogue of claims is not at {file}")
    rows = set(re.findall(r"^\| ([a-z0-9][a-z0-9-]+) \|", file.read_text(encoding="utf-8"), re.MULTILINE)) - {"id"}
    assert len(rows) > 30
    assert rows - set(by_id()) == {"table13-cut"}
    assert not set(DROPPED) & set(by_id())
