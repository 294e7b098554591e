"""What becomes of a verdict when one of its comparisons finds another value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

from paper_checks.claim import Finding, Quantity, Verdict
from paper_checks.interval import Fact, Interval

Part = Literal["hypothesis", "quantities", "repair"]
"""The comparisons of a finding: those that the claim assumes, those that it implies, those of its repair."""


def turned(q: Quantity, *, agrees: bool) -> Quantity:
    """Replace the value that a comparison found by one that agrees with the claim, or by one that contradicts it."""
    claimed = q.claimed
    if isinstance(claimed, bool):
        changed = replace(q, computed=claimed is agrees)
    elif isinstance(claimed, str):
        changed = replace(q, computed=claimed if agrees else claimed + "?")
    else:
        assert not isinstance(claimed, Fact)
        interval = claimed if isinstance(claimed, Interval) else Interval.point(claimed)
        far = 1 + q.tolerance + abs(interval.lower) + abs(interval.upper)
        if q.relation == "=" and agrees:
            changed = replace(q, computed=claimed)
        elif (q.relation in ("<", "<=")) is agrees:
            changed = replace(q, computed=interval.lower - far)
        else:
            changed = replace(q, computed=interval.upper + far)
    assert changed.agrees is agrees
    return changed


def comparisons(finding: Finding, part: Part) -> Sequence[Quantity]:
    """The comparisons of one part of a finding."""
    if part == "repair":
        return finding.repair.quantities if finding.repair else ()
    return finding.hypothesis if part == "hypothesis" else finding.quantities


def with_comparisons(finding: Finding, part: Part, quantities: Sequence[Quantity]) -> Finding:
    """The same finding with other comparisons in one part."""
    if part == "repair":
        assert finding.repair is not None
        return replace(finding, repair=replace(finding.repair, quantities=quantities))
    if part == "hypothesis":
        return replace(finding, hypothesis=quantities)
    return replace(finding, quantities=quantities)


def verdicts_against(finding: Finding, part: Part) -> Iterator[Verdict]:
    """The verdicts after each comparison of a part, one at a time, has been made to contradict the claim."""
    whole = comparisons(finding, part)
    for i, q in enumerate(whole):
        if q.agrees is not False:
            yield with_comparisons(finding, part, [*whole[:i], turned(q, agrees=False), *whole[i + 1 :]]).verdict


def mended(finding: Finding, part: Part, *, but: int = -1) -> Finding:
    """The finding whose comparisons in a part all agree with the claim, but one."""
    whole = comparisons(finding, part)
    return with_comparisons(
        finding, part, [q if i == but or q.agrees else turned(q, agrees=True) for i, q in enumerate(whole)]
    )
