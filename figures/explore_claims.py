"""The claim of the paper that each view of the explorer illustrates, with its verdict on record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from paper_checks.__main__ import expected
from paper_checks.catalogue import by_id
from paper_checks.report import pretty


@dataclass(frozen=True)
class Link:
    """A claim that a view illustrates, for some programs and profiles.

    Attributes:
        view: "vectors", "curves" or "R0".
        claim: name of the claim.
        programs: programs under which the view illustrates it.
        profiles: profiles under which it does; "-" is the plain program's.
        see: what the reader should do or see.
    """

    view: str
    claim: str
    programs: tuple[str, ...]
    profiles: tuple[str, ...]
    see: str


COUNTED, EVEN, ANY = ("block", "product"), ("balanced", "distinct"), ("block", "product", "balanced")
"""Profiles: those that depend on R, those with balanced label pairs, and those of ms-free."""

LINKS = (
    Link(
        "vectors", "theorem1", ("fc",), COUNTED,
        "Raise R: the two minority class vectors draw together, and from R₀ on they are equal.",
    ),
    Link(
        "vectors", "theorem1", ("plain",), ("-",),
        "There is no mixup here, and the two minority class vectors draw together. "
        "Theorem 1 says that mixup does not prevent this.",
    ),
    Link(
        "vectors", "ms-less-collapse", ("ms",), COUNTED,
        "Change the program to fc at the same R. The minority of ms collapses at a smaller R than that of fc.",
    ),
    Link(
        "vectors", "nc-balanced", ("fc", "ms"), ("balanced",),
        "R has no effect: all angles are equal, and the class vectors form a simplex.",
    ),
    Link(
        "vectors", "a-less-than-b", ("fc",), ("distinct",),
        "R has no effect. When the law of λ is symmetric about 1/2, these are the label pairs a < b.",
    ),
    Link(
        "vectors", "a-less-than-b-ms", ("ms",), ("distinct",),
        "All K² label pairs are classes of ms here. "
        "With the label pairs a < b alone, the optimum would depend on how the classes are numbered.",
    ),
    Link(
        "vectors", "theorem2", ("ms-free",), COUNTED,
        "Every label pair is a class with its own class vector here. Compare with ms: its optimum and its R₀ differ.",
    ),
    Link(
        "vectors", "theorem2", ("ms-free",), ("balanced",),
        "Every label pair is a class with its own class vector here. These K² vectors form a simplex. "
        "Those of ms span K dimensions at most.",
    ),
    Link(
        "curves", "prop1-equal-angles", ("fc", "ms"), ("block",),
        "At R = 1 Proposition 1’s balance w_r = R holds. Cosines inside the groups and across them still differ.",
    ),
    Link(
        "curves", "theorem1", ("plain", "fc"), ("product", "-"),
        "At a finite R₀ the cosine inside the minority reaches 1, or the minority’s length 0, without a jump.",
    ),
    Link(
        "curves", "ms-less-collapse", ("ms",), ("product",),
        "The cosine inside the minority reaches 1 at a smaller R than with fc.",
    ),
    Link(
        "curves", "prop1-equal-angles", ("fc", "ms"), EVEN,
        "Label pairs across the groups are as frequent as the others here, and all cosines are −1/(K−1).",
    ),
    Link("curves", "theorem2", ("ms-free",), ANY, "Cosines are between label pairs here, and λ has no effect."),
    Link(
        "R0", "lambda-independence", ("fc", "ms"), COUNTED,
        "If collapse did not depend on λ, this line would be flat.",
    ),
    Link(
        "R0", "remark1-collapse", ("fc", "ms"), ("balanced",),
        "Class-balanced sampling has these frequencies in expectation. Then no imbalance makes the minority collapse.",
    ),
    Link(
        "R0", "lambda-independence", ("fc", "ms"), ("distinct",),
        "No imbalance makes the minority collapse, at any λ. Under product or block, R₀ changes with λ.",
    ),
    Link(
        "R0", "loss-without-mixup", ("plain",), ("-",),
        "Without mixup λ has no effect. Change the program to fc: its threshold differs.",
    ),
    Link(
        "R0", "theorem2", ("ms-free",), ANY,
        "λ has no effect on Theorem 2’s program. It has one on ms, which the theorem says is equivalent.",
    ),
)  # fmt: skip
"""The claim of each view, for every program and profile of the explorer."""


def claims() -> dict[str, dict[str, Any]]:
    """Return the texts of every claim that a link names.

    Returns:
        Statement, place in the paper, reason and verdict on record, by claim.
    """
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
