"""Claims about the data sets, the uniformity scores that the paper does not define, and its experiments."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations

from paper_checks import runs
from paper_checks.claim import Curve, Finding, Plot, Quantity, Repair, check, conclude, contradictions
from paper_checks.claims.significance import printed_sample
from paper_checks.interval import TESTED, Fact
from paper_checks.lab import Lab
from paper_checks.paper.datasets import cifar_lt, datasets
from paper_checks.paper.statistics import Sample, holm, welch
from paper_checks.paper.tables import Source, load

PRINTED_FACTS: dict[str, float] = {
    "ImageNet-LT smallest class": 5,
    "ImageNet-LT largest class": 1280,
    "Places-LT smallest class": 5,
    "Places-LT largest class": 4980,
    "ImageNet-LT images, thousands": 115.8,
    "ImageNet-LT Pareto exponent": 5,
    "Places-LT images, thousands": 184.5,
    "iNaturalist 2018 images": 437_513,
    "iNaturalist 2018 label pairs K^2": 66_292_164,
}
"""Facts as Appendix D and §8 print them."""


@check("dataset-facts")
def dataset_facts(lab: Lab, *, printed: Mapping[str, float] = PRINTED_FACTS) -> Finding:
    """Statement: The data sets have the sizes that Appendix D gives.

    ImageNet-LT follows a Pareto law with exponent 5.

    Where: Appendix D, data sets; §8.
    Quote: with class sizes ranging from 5 to 4,980, yielding 184.5K images from 365 classes
    Formula: number of training images; K^2.
    Assumptions: published training lists; CIFAR-LT by formula (the paper prints no count for it).
    Test: Each printed number is compared with its source.
    Verdict: The training list of Places-LT with class sizes from 5 to 4,980 has 62,500 images. The literature also
        gives 184.5K for this data set, but these class sizes do not yield it. Others quote ImageNet-LT's exponent as 6;
        the paper has 5. The remaining facts agree.
    Overturned by: another training list of Places-LT.
    References: the published lists of Liu et al. 2019 (62,500 and 115,846 lines); the exponent as quoted from Liu et
        al. 2019 by two later papers that describe ImageNet-LT ("power value alpha = 6").

    Args:
        lab: unused; the numbers are those in print.
        printed: the printed numbers by name.
    """
    sizes = {d.name: d.images for d in datasets()}
    known: dict[str, float] = {
        "ImageNet-LT smallest class": 5,
        "ImageNet-LT largest class": 1280,
        "Places-LT smallest class": 5,
        "Places-LT largest class": 4980,
        "ImageNet-LT images, thousands": sizes["ImageNet-LT"] / 1000,
        "ImageNet-LT Pareto exponent": 6.0,
        "Places-LT images, thousands": sizes["Places-LT"] / 1000,
        "iNaturalist 2018 images": float(sizes["iNaturalist 2018"]),
        "iNaturalist 2018 label pairs K^2": float(8142**2),
    }
    quantities = [
        Quantity(name, value, known[name], tolerance=0.05 if "thousands" in name else 0.0)
        for name, value in printed.items()
    ]
    ends = [
        Quantity(
            f"CIFAR{K}-LT at imbalance {f}: n_max / n_min within rounding of n_min",
            True,
            bool(n[0] / (n[-1] + 1) <= f <= n[0] / n[-1] + 1e-9),
        )
        for K in (10, 100)
        for f in (200, 100, 50, 10)
        if (n := cifar_lt(K, f)) is not None
    ]
    return conclude(
        quantities,
        known="the sources named",
        evidence=contradictions(quantities),
        instances="; ".join(f"{d.name}: {d.images:,} ({d.source})" for d in datasets()),
        repair=Repair(
            "The other facts agree. CIFAR-LT's counts by formula have the stated imbalance, up to the rounding "
            "of the smallest class.",
            ends,
        ),
    )


@dataclass(frozen=True)
class _Score:
    """A published score of the uniformity of K unit vectors: its largest value, and the reason for that."""

    name: str
    short: str
    largest: Callable[[int], float]
    why: str


def _gap(K: int) -> float:
    """Largest mean squared distance of K unit vectors, 2K/(K-1), reached by the simplex ETF."""
    return 2 * K / (K - 1)


SCORES = (
    _Score(
        "-log of the mean Gaussian potential, t = 2 (Wang and Isola 2020)", "potential", lambda K: 2 * _gap(K), "Jensen"
    ),
    _Score(
        "mean distance to the other vectors (Li et al. 2022)", "mean distance", lambda K: math.sqrt(_gap(K)), "Jensen"
    ),
    _Score("mean distance, summed over the classes", "sum over classes", lambda K: K * math.sqrt(_gap(K)), "Jensen"),
    _Score(
        "sum of the distances of all pairs", "sum over pairs", lambda K: K * (K - 1) / 2 * math.sqrt(_gap(K)), "Jensen"
    ),
    _Score(
        "mean angle of all pairs, radians",
        "mean angle",
        lambda K: math.pi * (K**2 // 4) / (K * (K - 1) / 2),
        "a plane separates at most K^2/4 pairs",
    ),
    _Score(
        "mean angle, summed over the classes",
        "sum of angles",
        lambda K: 2 * math.pi * (K**2 // 4) / (K - 1),
        "the same",
    ),
    _Score("1 - mean cosine", "1 - cosine", lambda K: 1 + 1 / (K - 1), "the sum of all inner products is at least 0"),
)


@check("uniformity", "Figure 4")
def uniformity(lab: Lab, *, score: str | None = None) -> Finding:
    """Statement: BMLS has the most uniform class vectors: U_G = 15.34 over ten classes, U = 4.57 over three.

    Where: Figure 4, table; U_G and U are defined nowhere in the paper.
    Quote: Uniformity of all classes
    Formula: for each published definition, its largest value over K unit vectors, K = 10 and K = 3.
    Assumptions: the scores are functions of unit class vectors, and larger is more uniform.
    Test: The printed value against the largest possible one, for seven definitions.
    Verdict: Without a definition the scores cannot be recomputed. A definition is ruled out if a printed value exceeds
        the largest that unit vectors can reach (points above the line in the picture). Sums over pairs and sums of
        angles are not ruled out, nor is a Gaussian potential with t of 7 or more.
    Overturned by: the paper's definition, or its code.
    References: Wang and Isola 2020; Li et al. 2022 (TSC); Fejes Toth's sum of angles: each pair's angle is pi times the
        chance that a random plane separates it.

    Args:
        lab: unused; the numbers are those in print.
        score: name of the definition that is claimed; None claims none and leaves the verdict open.
    """
    U = {c.split: c.mean for c in load("figure4") if c.method == "BMLS+FC"}
    quantities = []
    for s in SCORES:
        if score is None or s.name == score:
            for split, K in (("U_G", 10), ("U", 3)):
                quantities.append(
                    Quantity(
                        f"{split} = {U[split]} within the maximum: {s.name} ({s.why})", s.largest(K), U[split], "<"
                    )
                )
    ruled_out = {q.name.split(": ")[1].split(" (")[0] for q in quantities if q.agrees is False}
    numbers = range(len(SCORES))
    curves = [
        Curve(f"{split} (K = {K})", list(numbers), [U[split] / s.largest(K) for s in SCORES], style)
        for split, K, style in (("U_G", 10, "o"), ("U", 3, "s"))
    ]
    reach = Curve("largest possible", list(numbers), [1.0] * len(SCORES), "--")
    plot = Plot(
        "definition", "printed / largest possible", [*curves, reach], log_y=True, ticks=[s.short for s in SCORES]
    )
    return conclude(
        quantities,
        undefined="" if score is not None else "the paper defines neither U nor U_G",
        evidence=f"U and U_G are undefined; {len(ruled_out)} of {len(SCORES)} definitions cannot reach the "
        "printed values",
        instances="K = 10 and K = 3 unit vectors",
        plot=plot,
    )


MINIMUM_SEEDS = 3
"""Seeds that a cell must have to be counted."""


@check("empirical", "Table 2", "Table 8")
def empirical(lab: Lab, *, source: Source = 8) -> Finding:
    """Statement: Trained as described, the methods reach the printed accuracies, in the printed order.

    Where: Tables 2, 4, 5 and 8; Table 8 repeats the rows of Table 2 that are the paper's own.
    Quote: All experiments can be reproduced using our text supplementary materials
    Formula: Welch's test of the runs against the printed mean, standard deviation and n, with Holm's correction over
        all cells; the sign of each difference between methods that is significant in print.
    Assumptions: the paper's recipe (preset "paper") on the paper's data sets. Runs on re-encoded images or with a
        quicker recipe have names of their own; they are reported but not counted. Cells with fewer than three seeds are
        not counted.
    Test: Training runs from the file given by --runs (default: results/runs.csv) against every cell "all" of Table 8.
    Verdict: It fails if a cell differs significantly, or if an order is significantly reversed. It holds only if every
        cell of Table 8 has three seeds or more and all comparisons agree. Otherwise it is undecided, so without runs it
        never holds.
    Overturned by: more runs.
    References: docs/contribute/log.md for the runs.

    Args:
        lab: the instruments, with the training runs.
        source: the table with the printed results.
    """
    printed = {(c.dataset, c.imbalance, c.method): c for c in load(source) if c.split == "all"}
    counted = {
        key: values
        for key, values in runs.by_setting(r for r in lab.runs if r.split == "all" and r.preset == "paper").items()
        if key in printed and len(values) >= MINIMUM_SEEDS
    }
    samples = {key: Sample.of(values) for key, values in counted.items()}
    in_print = {key: printed_sample(printed[key]) for key in counted}
    p = dict(zip(counted, holm([welch(samples[key], in_print[key]) for key in counted]), strict=True))
    quantities = [
        Quantity(
            f"{' '.join(key)}: {sum(values) / len(values):.2f} (n={len(values)}) against "
            f"{printed[key].mean}, p after Holm",
            0.05,
            p[key],
            ">=",
        )
        for key, values in counted.items()
    ]
    for first, second in combinations(counted, 2):
        if first[:2] == second[:2] and welch(in_print[first], in_print[second]) < 0.05:
            better, worse = sorted((first, second), key=lambda key: -printed[key].mean)
            apart = sum(counted[better]) / len(counted[better]) - sum(counted[worse]) / len(counted[worse])
            reversed_ = apart < 0 and welch(samples[better], samples[worse]) < 0.05
            state = Fact(True if apart > 0 else False if reversed_ else None, "runs")
            quantities.append(Quantity(f"{' '.join(first[:2])}: {better[2]} above {worse[2]}", True, state))
    agreed = sum(q.agrees is True for q in quantities)
    complete = len(counted) == len(printed)
    if not complete:
        quantities.append(
            Quantity(
                f"every cell of Table {source} has three runs ({len(counted)} of {len(printed)} do)", True, Fact(None)
            )
        )
    return conclude(
        quantities,
        known=TESTED,
        evidence=f"{len(counted)} of {len(printed)} cells have three runs of the paper's recipe on its data; "
        f"{agreed} comparisons agree; the file of runs has {len(lab.runs)} rows",
        instances=", ".join(" ".join(key) for key in counted) or "none",
    )
