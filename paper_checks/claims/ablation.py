"""Claims of the text about its ablations: both parts together, MS alone, the fixed ETF classifier, all settings."""

from __future__ import annotations

from paper_checks.claim import Finding, Quantity, Relation, Repair, check, conclude, contradictions, restricted
from paper_checks.interval import PRINTED
from paper_checks.lab import Lab
from paper_checks.paper.tables import BASELINES, CIFAR_LT, FACTORS, best, means


@check("consistent-gains", "Table 2", "Table 3", "Table 4")
def consistent_gains(lab: Lab, *, methods: tuple[str, ...] = ("BMLS+MS", "random+MS")) -> Finding:
    """Statement: Both BMLS and MS consistently improve performance over existing baselines.

    They do so across data sets and imbalance factors.

    Where: §7; the abstract says "consistent performance gains".
    Quote: both BMLS and MS consistently improved performance compared to existing baselines and demonstrated their
        applicability across different datasets and imbalance factors
    Formula: BMLS+MS above the best of random, CBS and CAS in every setting; MS alone above FC, both with random
        sampling.
    Assumptions: the baselines are the paper's own runs of random, CBS and CAS with FC.
    Test: Every setting of Tables 3, 4 and 8.
    Verdict: BMLS+MS is below the best baseline on CIFAR10-LT at imbalance 10 and on iNaturalist. MS without BMLS is
        below FC in all eight settings of Table 4. BMLS is consistently better than random sampling, both with FC: in
        all twelve settings. "Consistently ... across" is a universal sentence, and the paper names no exception here.
    Overturned by: reading "consistently" as "in most settings".
    References: none beside the paper.

    Args:
        lab: unused; the numbers are those in print.
        methods: methods whose gains are claimed; empty: only that BMLS beats random sampling.
    """
    settings = {**means(8), **means(3)}
    table4 = means(4)
    quantities = []
    if "BMLS+MS" in methods:
        quantities += [
            Quantity(
                f"BMLS+MS against the best baseline ({d} {f})".replace(" )", ")"),
                best(settings, d, f, BASELINES),
                v,
                ">",
            )
            for (d, f, m), v in settings.items()
            if m == "BMLS+MS"
        ]
    if "random+MS" in methods:
        quantities += [
            Quantity(f"random+MS against random+FC ({d} {f})", table4[d, f, "random+FC"], v, ">")
            for (d, f, m), v in table4.items()
            if m == "random+MS"
        ]
    plain = [
        Quantity(f"BMLS+FC against random+FC ({d} {f})".replace(" )", ")"), settings[d, f, "random+FC"], v, ">")
        for (d, f, m), v in settings.items()
        if m == "BMLS+FC"
    ]
    return conclude(
        quantities or plain,
        known=PRINTED,
        evidence=contradictions(quantities, 3),
        instances="Tables 3, 4 and 8: eight settings of CIFAR-LT, four large data sets",
        repair=restricted("BMLS is better than random sampling, both with FC, in all twelve settings.", plain),
    )


@check("ablation-both", "Table 4")
def ablation_both(lab: Lab, *, factors: tuple[str, ...] = FACTORS) -> Finding:
    """Statement: Applying BMLS and MS together gives the largest improvement.

    Where: §6.3, ablation study; Table 4.
    Quote: applying both BMLS and MS together resulted in the largest performance improvement
    Formula: BMLS+MS > BMLS+FC, random+MS, random+FC in every column.
    Assumptions: none.
    Test: Eight columns of Table 4.
    Verdict: It holds at imbalance 200, 100 and 50. At 10 BMLS+FC is better on both data sets (89.46 against 88.51,
        65.72 against 64.47). Table 2 does not show this, because it lists MS only.
        Imbalance 10 is the exception that §6.2 makes for the same runs.
    Overturned by: reading the sentence without the exception of §6.2.
    References: none beside the paper.

    Args:
        lab: unused; the numbers are those in print.
        factors: imbalance factors for which the claim is made.
    """
    cells = means(4)
    rivals = ("random+FC", "random+MS", "BMLS+FC")

    def columns(chosen: tuple[str, ...]) -> list[Quantity]:
        return [
            Quantity(
                f"BMLS+MS against the best other ({d}, {f})", best(cells, d, f, rivals), cells[d, f, "BMLS+MS"], ">"
            )
            for d in CIFAR_LT
            for f in chosen
        ]

    return conclude(
        columns(factors),
        known=PRINTED,
        evidence=contradictions(columns(factors)),
        instances="Table 4",
        repair=restricted(
            "It holds at imbalance 50, 100 and 200.",
            columns(("200", "100", "50")),
            exception='§6.2 names it for the same runs: "except for the case with an imbalance factor of 10"',
        ),
    )


@check("ablation-ms-alone", "Table 4")
def ablation_ms_alone(lab: Lab, *, relation: Relation = ">") -> Finding:
    """Statement: Where few classes are extremely small (CIFAR100-LT, imbalance 200 and 100), MS alone beats FC.

    Where: §6.3, ablation study, last sentence; Table 4.
    Quote: where both MS and FC face the same issue about underfitting, MS alone actually outperforms
    Formula: random+MS > random+FC.
    Assumptions: "MS alone" is MS without BMLS, the row random + MS.
    Test: Two columns of Table 4; the few classes of Table 11.
    Verdict: MS alone is worse by more than five points, and worse on few classes too (0.75 against 3.85, 2.78 against
        8.77). It is worse in all eight columns. With BMLS, MS does better than FC there.
    Overturned by: reading "MS alone" as the gain of MS over FC given BMLS.
    References: none beside the paper.

    Args:
        lab: unused; the numbers are those in print.
        relation: claimed relation of MS to FC.
    """
    cells, few = means(4), means(11, "few")
    quantities = [
        Quantity(
            f"random+MS against random+FC ({name}, cifar100-lt, {f})",
            c["cifar100-lt", f, "random+FC"],
            c["cifar100-lt", f, "random+MS"],
            relation,
        )
        for name, c in (("all", cells), ("few", few))
        for f in ("200", "100")
    ]
    given = [
        Quantity(
            f"BMLS+MS against BMLS+FC (cifar100-lt, {f})",
            cells["cifar100-lt", f, "BMLS+FC"],
            cells["cifar100-lt", f, "BMLS+MS"],
            ">",
        )
        for f in ("200", "100")
    ]
    return conclude(
        quantities,
        known=PRINTED,
        evidence=contradictions(quantities),
        instances="CIFAR100-LT, imbalance 200 and 100",
        repair=Repair("Given BMLS, MS does better than FC there.", given),
    )


@check("etf-claims", "Table 5", "Table 12")
def etf_claims(lab: Lab, *, relation: Relation = ">") -> Finding:
    """Statement: The methods improve the fixed ETF classifier.

    MS-WETF does so everywhere, BMLS without other change on CIFAR10-LT.

    Where: §6.3, synergy with the fixed ETF classifier; Table 5.
    Quote: our proposed methods significantly enhance the performance of the original ETF approach through seamless
        integration
    Formula: diff > 0.
    Assumptions: the reference is the paper's own run of random + ETF + DR.
    Test: Eight columns for MS-WETF. For BMLS + ETF + DR the four of CIFAR10-LT; the text claims no more.
    Verdict: All comparisons agree. On CIFAR100-LT BMLS without other change loses one to two points, as printed.
        MS-WETF also changes the loss and the classifier (cross-entropy, learnable scale), so its gain is not due to
        balancing alone. The check significance tests whether the gains are significant.
    Overturned by: a negative difference.
    References: Yang et al. 2022.

    Args:
        lab: unused; the numbers are those in print.
        relation: claimed relation of each method to the reference.
    """
    cells = means(5)
    quantities = [
        Quantity(f"{m} against random+ETF+DR ({d}, {f})", cells[d, f, "random+ETF+DR"], cells[d, f, m], relation)
        for m, sets in (("BMLS+MS-WETF+CE", CIFAR_LT), ("BMLS+ETF+DR", CIFAR_LT[:1]))
        for d in sets
        for f in FACTORS
    ]
    gains = []
    for m in ("BMLS+MS-WETF+CE", "BMLS+ETF+DR"):
        for d in CIFAR_LT:
            differences = [cells[d, f, m] - cells[d, f, "random+ETF+DR"] for f in FACTORS]
            gains.append(f"{m} {min(differences):+.2f} to {max(differences):+.2f} ({d})")
    return conclude(
        quantities,
        known=PRINTED,
        evidence="gains in points: " + "; ".join(gains),
        instances="Table 5",
    )
