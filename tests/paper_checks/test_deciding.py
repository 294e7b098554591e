"""What verdicts rest on: on what the instruments say, on no constant, and on the paper's own words for each repair."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import numpy as np
import pytest

from lpm.problem import Problem
from paper_checks import claims
from paper_checks.__main__ import expected
from paper_checks.catalogue import by_id
from paper_checks.claim import Verdict
from paper_checks.interval import Fact, Interval
from paper_checks.lab import CosineTable, Lab

PAPER = Path(__file__).parents[3] / "shared" / "paper" / "balancing-mixed-labels.txt"
HOLDS, FAILS = Verdict.HOLDS, Verdict.FAILS


class LyingLab(Lab):
    """Instruments that give the same answer to every question: a loss of 1, no collapse, all cosines 1/2."""

    def loss(self, problem: Problem) -> Interval:
        return Interval.point(1.0)

    def collapsed(self, problem: Problem) -> Fact:
        return Fact(False)

    def cosines(self, problem: Problem) -> CosineTable:
        table = np.where(np.eye(problem.K) == 1, 1.0, 0.5)
        return CosineTable(table, table, "a lie")


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("finding1", FAILS),
        ("finding2-frequencies", FAILS),
        ("a-less-than-b", FAILS),
        ("eq11-relaxation", FAILS),
        ("lemma1", FAILS),
        ("lemma2", HOLDS),
        ("loss-without-mixup", HOLDS),
        ("nc-balanced", FAILS),
        ("prop1", HOLDS),
        ("prop1-equal-angles", HOLDS),
        ("prop2-theorem1", HOLDS),
    ],
)
def test_the_instruments_decide(name: str, verdict: Verdict) -> None:
    assert by_id()[name].run(LyingLab()).verdict == verdict
    assert expected()[name] != verdict


def test_no_verdict_rests_on_a_constant() -> None:
    for file in sorted(Path(claims.__file__).parent.glob("*.py")):
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Quantity":
                found = next((k.value for k in call.keywords if k.arg == "computed"), [*call.args, None, None, None][2])
                assert found is not None, f"{file.name}:{call.lineno}"
                assert not _is_constant(found), f"{file.name}:{call.lineno}: {ast.unparse(found)}"


def _is_constant(expression: ast.expr) -> bool:
    """Whether an expression is written down rather than computed. An open fact decides nothing, so it may be."""
    if ast.unparse(expression).startswith("Fact(None"):
        return False
    names = {node.id for node in ast.walk(expression) if isinstance(node, ast.Name)}
    return all(
        (len(name) > 1 and name.isupper()) or name in ("Fact", "Interval", "float", "int", "bool", "str")
        for name in names
    )


@pytest.mark.parametrize(
    ("text", "constant"),
    [("-1 / 3", True), ("Fact(False, SYMMETRY)", True), ("float(x)", False), ("Fact(None)", False), ("n % P", False)],
)
def test_a_constant_is_told_from_a_computation(text: str, constant: bool) -> None:
    assert _is_constant(ast.parse(text, mode="eval").body) is constant


def test_words_that_license_a_repair_are_in_the_paper() -> None:
    if not PAPER.is_file():
        pytest.skip(f"the paper's text is not at {PAPER}")
    text = " ".join(PAPER.read_text(encoding="utf-8").split())
    constants = [
        node.value
        for file in sorted(Path(claims.__file__).parent.glob("*.py"))
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(call, ast.keyword | ast.Assign)
        and (getattr(call, "arg", "") in ("licence", "exception") or ast.unparse(call).startswith("BALANCE"))
        for node in ast.walk(call.value)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    quotes = [quote for constant in constants for quote in re.findall(r'"([^"]+)"', constant)]
    assert len(quotes) >= 4
    assert [quote for quote in quotes if quote not in text] == []
