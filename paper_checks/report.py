"""The report on all findings, written as Markdown, JSON and one self-contained HTML page."""

from __future__ import annotations

import base64
import io
import itertools
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from lpm.console.cli import plain_data
from lpm.console.output import provenance
from paper_checks.beyond.catalogue import BEYOND, CONJECTURES
from paper_checks.catalogue import DROPPED, SENTENCES_UNCHECKED, UNCHECKED
from paper_checks.claim import Check, Finding, Plot, Quantity, Value, Verdict, show
from paper_checks.interval import Fact, Interval
from paper_checks.lab import Lab

LISTED = 12
"""Number of comparisons per claim that Markdown and HTML show; JSON has all."""


MEANINGS = {
    Verdict.HOLDS: "The claim is true on every instance tried. Instances are no proof; where there is one, "
    "the reasons name it.",
    Verdict.REPAIRED: "The claim is false as printed. It is true with the stated correction or assumption, "
    "which was checked and which the paper itself licenses.",
    Verdict.FAILS: "Certified intervals, or an exact argument, contradict the claim. What does hold is stated "
    "and checked.",
    Verdict.VACUOUS: "The claim's hypothesis cannot be met, so the claim says nothing.",
    Verdict.INCONSISTENT: "Two places of the paper contradict each other.",
    Verdict.OPEN: "The evidence does not decide: a definition or training runs are missing, or tests leave it open.",
}
"""What each verdict means."""

RULES = {
    "repairs": "A repair keeps the claim if it corrects a misprint, or adds an assumption that another place of the paper "
    "makes. Each names its reason. Another statement that is true instead does not save the claim.",
    "universal sentences": "A sentence with “all”, “consistently” or “the more ..., the lower” fails with one "
    "counterexample. Leaving the counterexamples out is a repair only if the paper itself names that exception.",
}
"""The rules by which a repair counts, the same for all claims."""

GLOSSARY = {
    "K, K_A, K_B": "classes; the first K_A are the majority A, the other K_B the minority B",
    "n_A, n_B, R": "samples per class, or per label pair, in A and in B; R = n_A / n_B is the imbalance",
    "lambda": "mixing ratio: a mixed sample of classes a and b has the label pair (a, b) and the label "
    "lambda e_a + (1-lambda) e_b",
    "w_a, W, h, z": "class vector of class a; matrix of all class vectors; feature vector; logits z = W h",
    "LPM_lambda": "layer-peeled model with mixup: minimise the loss over W and one feature per label pair, "
    "within budgets",
    "E_H, E_W": "budgets: mean squared length of features and of class vectors; 5 and 1 unless stated otherwise",
    "FC, MS": "usual classifier, with a softmax over K classes; mixed-singleton classifier, with a softmax "
    "over label pairs "
    "and the vectors lambda w_a + (1-lambda) w_b",
    "collapse, R0": "minority collapse: the minority's class vectors coincide at the optimum; R0 is the "
    "smallest imbalance with "
    "collapse",
    "ETF": "simplex equiangular tight frame: equal lengths, all cosines -1/(K-1); neural collapse reaches it "
    "on balanced data",
    "block": "frequencies of label pairs: n_A inside A, n_B inside B, none across the groups",
    "product": "frequencies of label pairs: n_a n_b, as random pairing gives",
    "balanced": "frequencies of label pairs: all equal",
    "cos BB": "cosine between two minority class vectors; 1 is collapse",
    "CV": "coefficient of variation: standard deviation over mean",
    "CBS, CAS, LOM, BMLS": "samplers: class-balanced, class-aware, label-occurrence mixup, balanced mixed "
    "labels (the paper's)",
    "many, med, few": "classes with many, a medium number of, and few training images; Table 6 has the ranges",
    "float64 certificate": "convex duality proves that the optimum lies in the printed interval; evaluated in "
    "float64, with a "
    "bound on rounding",
    "ball arithmetic": "the same proof with every rounding enclosed",
    "Welch, Holm": "Welch's t-test of two means; Holm's correction of p for the number of tests",
}
"""Symbols and words of the report."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of one check.

    Attributes:
        check: the check.
        finding: its finding.
        seconds: time that it took.
        expected: the verdict on record; None if there is none.
    """

    check: Check
    finding: Finding
    seconds: float
    expected: str | None

    @property
    def changed(self) -> bool:
        """Whether the verdict differs from the one on record."""
        return self.finding.verdict != self.expected


def pretty(text: str) -> str:
    """Replace words for symbols, such as lambda and <=, by the symbols.

    Args:
        text: text in ASCII.

    Returns:
        The text with symbols.
    """
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
        (r"\^3\b", "³"),
        (r"\^4\b", "⁴"),
        (r"\^T\b", "ᵀ"),
        (r"\binf\b(?=:|\})", "∞"),
    ):
        text = re.sub(word, symbol, text)
    return text


def _record(quantity: Quantity) -> dict[str, Any]:
    computed = quantity.computed
    return {
        "name": quantity.name,
        "relation": quantity.relation,
        "claimed": _plain(quantity.claimed),
        "claimed_interval": _ends(quantity.claimed),
        "computed": _plain(computed),
        "interval": _ends(computed),
        "tolerance": quantity.tolerance,
        "agrees": quantity.agrees,
        "how": quantity.how,
    }


def _ends(value: Value) -> list[float] | None:
    return [value.lower, value.upper] if isinstance(value, Interval) else None


def _plain(value: Value) -> Any:
    if isinstance(value, Interval):
        return value.middle
    return value.value if isinstance(value, Fact) else value


def deciding(finding: Finding) -> Quantity | None:
    """Pick the comparison to look at first: one that contradicts the claim, else one left open, else the first.

    Args:
        finding: the outcome of a check.

    Returns:
        The comparison; None if there is none.
    """
    for state in (False, None):
        for q in finding.comparisons:
            if q.agrees is state:
                return q
    return finding.comparisons[0] if finding.comparisons else None


def record(outcome: Outcome) -> dict[str, Any]:
    """Collect everything about one check for JSON.

    Args:
        outcome: the outcome of the check.

    Returns:
        Plain data. Claimed, computed, interval and tolerance are those of the deciding comparison.
    """
    check, finding = outcome.check, outcome.finding
    first = deciding(finding)
    head = {} if first is None else _record(first)
    return plain_data(
        {
            "id": check.id,
            "where": check.says["Where"],
            "covers": check.covers,
            "quote": check.says["Quote"],
            "claim": check.says["Statement"],
            "formula": check.says["Formula"],
            "assumptions": check.says["Assumptions"],
            "test": check.says["Test"],
            "instances": finding.instances,
            "deciding": head.get("name"),
            "computed": head.get("computed"),
            "relation": head.get("relation"),
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
                "licence": finding.repair.licence,
                "checked": finding.repair.checked,
                "quantities": [_record(q) for q in finding.repair.quantities],
            },
            "quantities": [_record(q) for q in finding.comparisons],
            "seconds": round(outcome.seconds, 3),
        }
    )


def summary(outcomes: Sequence[Outcome]) -> str:
    """Count the verdicts.

    Args:
        outcomes: the outcomes of all checks.

    Returns:
        One line, such as "2 checks: 1 holds, 1 vacuous".
    """
    count = Counter(o.finding.verdict for o in outcomes)
    return f"{len(outcomes)} checks: " + ", ".join(f"{count[v]} {v}" for v in Verdict if count[v])


def _selected(quantities: Sequence[Quantity]) -> tuple[list[Quantity], int]:
    """Select the comparisons to show, those that do not agree first; and count those left out."""
    ranked = sorted(quantities, key=lambda q: {False: 0, None: 1, True: 2}[q.agrees])
    return ranked[:LISTED], max(0, len(ranked) - LISTED)


def _image(plot: Plot) -> str:
    """Draw the plot as an SVG picture in a data: address."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import LogFormatter

    with plt.rc_context(
        {"svg.fonttype": "none", "font.size": 9, "svg.hashsalt": "paper_checks", "font.family": "sans-serif"}
    ):
        figure, axes = plt.subplots(figsize=(5.2, 3.0), layout="constrained")
        colours = itertools.cycle(("#0072B2", "#D55E00", "#009E73", "#666666"))
        for curve, colour in zip(plot.curves, colours, strict=False):
            marker, line = (curve.style, "") if curve.style in "os" else ("", curve.style)
            axes.plot(curve.x, curve.y, color=colour, label=pretty(curve.label), marker=marker, linestyle=line)
        axes.set(xlabel=pretty(plot.x), ylabel=pretty(plot.y))
        if plot.log_x:
            axes.set_xscale("log")
        if plot.log_y:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(2, 0.5)))
        if plot.ticks:
            axes.set_xticks(range(len(plot.ticks)), plot.ticks, rotation=20, ha="right", fontsize=8)
        axes.grid(alpha=0.25)
        if len(plot.curves) > 1:
            axes.legend(frameon=False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
        plt.close(figure)
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


def _render(template: str, outcomes: Sequence[Outcome], lab: Lab, *, images: bool) -> str:
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
            "ours": o.check in BEYOND,
            "finding": o.finding,
            "seconds": o.seconds,
            "shown": _selected(o.finding.comparisons),
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
        meanings=MEANINGS,
        rules=RULES,
        glossary=GLOSSARY,
        unchecked=UNCHECKED | SENTENCES_UNCHECKED | DROPPED,
        conjectures=_conjectures(outcomes),
        rigorous=lab.rigorous,
        seed=lab.seed,
    )


def _conjectures(outcomes: Sequence[Outcome]) -> dict[str, str]:
    """What is not proved of this project's own results; {} in a report without them."""
    return CONJECTURES if any(o.check in BEYOND for o in outcomes) else {}


def document(outcomes: Sequence[Outcome], lab: Lab) -> dict[str, Any]:
    """Collect the whole report for JSON.

    Args:
        outcomes: the outcomes of all checks.
        lab: the instruments that they used.

    Returns:
        Plain data.
    """
    return {
        "summary": summary(outcomes),
        "rigorous": lab.rigorous,
        "seed": lab.seed,
        "rows_of_runs": len(lab.runs),
        "provenance": provenance(),
        "checks": [record(o) for o in outcomes],
        **({"conjectures": conjectures} if (conjectures := _conjectures(outcomes)) else {}),
    }


def write(folder: Path, outcomes: Sequence[Outcome], lab: Lab) -> None:
    """Write report.md, report.json and report.html.

    Args:
        folder: an existing folder.
        outcomes: the outcomes of all checks.
        lab: the instruments that they used.
    """
    data = document(outcomes, lab)
    (folder / "report.json").write_text(json.dumps(data, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    (folder / "report.md").write_text(_render("report.md", outcomes, lab, images=False), encoding="utf-8")
    (folder / "report.html").write_text(_render("report.html", outcomes, lab, images=True), encoding="utf-8")
