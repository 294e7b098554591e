"""The report: records of what was found, written as Markdown, JSON and one self-contained HTML page."""

from __future__ import annotations

import base64
import io
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from lpm.cli import plain_data
from lpm.output import provenance
from paper_checks.catalogue import SENTENCES_UNCHECKED, UNCHECKED
from paper_checks.claim import Check, Finding, Plot, Quantity, Value, Verdict
from paper_checks.interval import Fact, Interval

LISTED = 12
"""Comparisons shown in Markdown and HTML before the rest is summed up; JSON has all."""


@dataclass(frozen=True)
class Outcome:
    """A check, what it found, how long it took and the verdict that is on record (None: none is)."""

    check: Check
    finding: Finding
    seconds: float
    expected: str | None

    @property
    def changed(self) -> bool:
        return self.finding.verdict != self.expected


def pretty(text: str) -> str:
    """Words for symbols as the symbols themselves."""
    for word, symbol in (
        (r"\blambda\b|(?<=_)lambda\b|(?<=\^)lambda\b", "λ"),
        (r"\bepsilon(?=\b|_|')", "ε"),
        (r"(?<![A-Za-z])alpha\b", "α"),
        (r"\bgamma\b", "γ"),
        (r"sigma_", "σ_"),
        (r"\bmu_", "μ_"),
        (r"\bsqrt\(", "√("),
        (r"\bsum_", "Σ_"),
        (r"->", "→"),
        (r">=", "≥"),
        (r"<=", "≤"),
        (r"!=", "≠"),
        (r"\^2\b", "²"),
        (r"\^4\b", "⁴"),
        (r"\^T\b", "ᵀ"),
        (r"\binf\b(?=:|\})", "∞"),
    ):
        text = re.sub(word, symbol, text)
    return text


def show(value: Value) -> str:
    """A value for reading."""
    if isinstance(value, float):
        return f"{value:.7g}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _record(quantity: Quantity) -> dict[str, Any]:
    computed = quantity.computed
    return {
        "name": quantity.name,
        "relation": quantity.relation,
        "claimed": _plain(quantity.claimed),
        "computed": _plain(computed),
        "interval": [computed.lower, computed.upper] if isinstance(computed, Interval) else None,
        "tolerance": quantity.tolerance,
        "agrees": quantity.agrees,
        "how": quantity.how,
    }


def _plain(value: Value) -> Any:
    if isinstance(value, Interval):
        return value.middle
    return value.value if isinstance(value, Fact) else value


def deciding(finding: Finding) -> Quantity | None:
    """The comparison to look at first: one that contradicts the claim, else one left open, else the first."""
    for state in (False, None):
        for q in finding.quantities:
            if q.agrees is state:
                return q
    return finding.quantities[0] if finding.quantities else None


def record(outcome: Outcome) -> dict[str, Any]:
    """Everything about one check, for JSON; claimed, computed, interval and tolerance are those of the deciding comparison."""
    check, finding = outcome.check, outcome.finding
    first = deciding(finding)
    head = {} if first is None else _record(first)
    return plain_data(
        {
            "id": check.id,
            "where": check.says["Where"],
            "covers": check.covers,
            "claim": check.says["Statement"],
            "formula": check.says["Formula"],
            "assumptions": check.says["Assumptions"],
            "test": check.says["Test"],
            "instances": finding.instances,
            "deciding": head.get("name"),
            "computed": head.get("computed"),
            "claimed": head.get("claimed"),
            "interval": head.get("interval"),
            "tolerance": head.get("tolerance"),
            "verdict": str(finding.verdict),
            "expected": outcome.expected,
            "evidence": finding.evidence,
            "why": check.says["Verdict"],
            "overturned_by": check.says["Overturned by"],
            "references": check.says["References"],
            "repair": None
            if finding.repair is None
            else {
                "statement": finding.repair.statement,
                "checked": finding.repair.checked,
                "quantities": [_record(q) for q in finding.repair.quantities],
            },
            "quantities": [_record(q) for q in finding.quantities],
            "seconds": round(outcome.seconds, 3),
        }
    )


def summary(outcomes: Sequence[Outcome]) -> str:
    """The verdicts counted, in one line."""
    count = Counter(o.finding.verdict for o in outcomes)
    return f"{len(outcomes)} checks: " + ", ".join(f"{count[v]} {v}" for v in Verdict if count[v])


def _selected(quantities: Sequence[Quantity]) -> tuple[list[Quantity], int]:
    """What is shown of many comparisons: those that do not agree first; and how many are left out."""
    ranked = sorted(quantities, key=lambda q: {False: 0, None: 1, True: 2}[q.agrees])
    return ranked[:LISTED], max(0, len(ranked) - LISTED)


def _image(plot: Plot) -> str:
    """The plot as a data: address of an SVG picture."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    with plt.rc_context(
        {"svg.fonttype": "none", "font.size": 9, "svg.hashsalt": "paper_checks", "font.family": "sans-serif"}
    ):
        figure, axes = plt.subplots(figsize=(5.2, 3.0), layout="constrained")
        colours = ("#0072B2", "#D55E00", "#009E73", "#666666")
        for curve, colour in zip(plot.curves, colours, strict=False):
            marker, line = (curve.style, "") if curve.style in "os" else ("", curve.style)
            axes.plot(curve.x, curve.y, color=colour, label=pretty(curve.label), marker=marker, linestyle=line)
        axes.set(xlabel=pretty(plot.x), ylabel=pretty(plot.y))
        if plot.log_x:
            axes.set_xscale("log")
        if plot.log_y:
            axes.set_yscale("log")
        axes.grid(alpha=0.25)
        if len(plot.curves) > 1:
            axes.legend(frameon=False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
        plt.close(figure)
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


def _render(template: str, outcomes: Sequence[Outcome], *, images: bool) -> str:
    environment = Environment(
        loader=PackageLoader("paper_checks", "templates"),
        autoescape=template.endswith(".html"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"pretty": pretty, "show": show, "cell": lambda text: str(text).replace("|", "\\|")}
    claims = [
        {
            "check": o.check,
            "finding": o.finding,
            "seconds": o.seconds,
            "shown": _selected(o.finding.quantities),
            "repaired": _selected(o.finding.repair.quantities) if o.finding.repair else ([], 0),
            "image": _image(o.finding.plot) if images and o.finding.plot else None,
        }
        for o in outcomes
    ]
    return environment.get_template(template).render(
        claims=claims,
        summary=summary(outcomes),
        counts={v: sum(o.finding.verdict == v for o in outcomes) for v in Verdict},
        provenance=provenance(),
        unchecked=UNCHECKED | SENTENCES_UNCHECKED,
        rigorous=any(q.how == "ball arithmetic" for o in outcomes for q in o.finding.quantities),
    )


def write(folder: Path, outcomes: Sequence[Outcome]) -> None:
    """report.md, report.json and report.html into an existing folder."""
    data = {"summary": summary(outcomes), "provenance": provenance(), "checks": [record(o) for o in outcomes]}
    (folder / "report.json").write_text(json.dumps(data, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    (folder / "report.md").write_text(_render("report.md", outcomes, images=False), encoding="utf-8")
    (folder / "report.html").write_text(_render("report.html", outcomes, images=True), encoding="utf-8")
