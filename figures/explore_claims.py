"""Which claim of the paper each view of the explorer illustrates, with its verdict on record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from paper_checks.__main__ import expected
from paper_checks.catalogue import by_id
from paper_checks.report import pretty


@dataclass(frozen=True)
class Link:
    """In ``view``, for these programs and profiles, claim ``claim`` is what one looks at; ``see`` says what to do or see."""

    view: str
    claim: str
    programs: tuple[str, ...]
    profiles: tuple[str, ...]
    see: str


COUNTED, EVEN, ANY = ("block", "product"), ("balanced", "distinct"), ("block", "product", "balanced")

LINKS = (
    Link(
        "vectors", "theorem1", ("fc",), COUNTED,
        "Move R up: the two ends of the minority draw together, and from R₀ on they are one.",
    ),
    Link(
        "vectors", "theorem1", ("plain",), ("-",),
        "Without mixup: the two ends of the minority draw together. Theorem 1 says that mixup does not prevent it.",
    ),
    Link(
        "vectors", "ms-less-collapse", ("ms",), COUNTED,
        "Change the program to fc at the same R: ms collapses first.",
    ),
    Link(
        "vectors", "nc-balanced", ("fc", "ms"), ("balanced",),
        "R moves nothing: all angles are equal, and the class vectors are a simplex.",
    ),
    Link(
        "vectors", "a-less-than-b", ("fc",), ("distinct",),
        "R moves nothing. With λ symmetric about 1/2 these are the label pairs a < b.",
    ),
    Link(
        "vectors", "a-less-than-b-ms", ("ms",), ("distinct",),
        "All K² label pairs are classes of ms here; with a < b alone the numbering of the classes would enter.",
    ),
    Link(
        "vectors", "theorem2", ("ms-free",), COUNTED,
        "Label pairs are classes of their own here. Compare with ms: another optimum, another R₀.",
    ),
    Link(
        "vectors", "theorem2", ("ms-free",), ("balanced",),
        "Label pairs are classes of their own here, K² of them, and form a simplex; those of ms span K dimensions at most.",
    ),
    Link(
        "curves", "prop1-equal-angles", ("fc", "ms"), ("block",),
        "R = 1 is Proposition 1's balance w_r = R: cosines inside the groups and across still differ.",
    ),
    Link(
        "curves", "theorem1", ("plain", "fc"), ("product", "-"),
        "At a finite R₀ the minority’s cosine reaches 1 (or its length 0), without a jump.",
    ),
    Link("curves", "ms-less-collapse", ("ms",), ("product",), "The minority’s cosine reaches 1 earlier than with fc."),
    Link(
        "curves", "prop1-equal-angles", ("fc", "ms"), EVEN,
        "With the label pairs across the groups as frequent as the others all cosines are −1/(K−1).",
    ),
    Link("curves", "theorem2", ("ms-free",), ANY, "Cosines here are between label pairs, and no λ enters."),
    Link("R0", "lambda-independence", ("fc", "ms"), COUNTED, "Were collapse independent of λ, this line would be flat."),
    Link(
        "R0", "remark1-collapse", ("fc", "ms"), ("balanced",),
        "Class-balanced sampling has these frequencies in expectation: no imbalance is left to collapse the minority.",
    ),
    Link(
        "R0", "lambda-independence", ("fc", "ms"), ("distinct",),
        "No imbalance is left to collapse the minority, at any λ; under product or block, R₀ moves with λ.",
    ),
    Link(
        "R0", "loss-without-mixup", ("plain",), ("-",),
        "Without mixup no λ enters. Change the program to fc: the threshold is another one.",
    ),
    Link("R0", "theorem2", ("ms-free",), ANY, "Theorem 2’s program knows no λ; ms, which it is said to equal, does."),
)  # fmt: skip


def claims() -> dict[str, dict[str, Any]]:
    """Statement, place and verdict on record of every claim that a link names."""
    checks, verdicts = by_id(), expected()
    return {
        name: {
            "statement": pretty(checks[name].says["Statement"]),
            "where": pretty(checks[name].says["Where"]),
            "because": pretty(checks[name].says["Verdict"]),
            "verdict": verdicts[name],
        }
        for name in dict.fromkeys(link.claim for link in LINKS)
    }
