"""Claims of the text about its tables, one check per sentence."""

from __future__ import annotations

import itertools

from paper_checks.claim import Finding, Quantity, Relation, Repair, check, conclude, contradictions, restricted, show
from paper_checks.interval import PRINTED
from paper_checks.lab import Lab
from paper_checks.paper.tables import BASELINES, CIFAR_LT, FACTORS, best, load, means


@check("highest-claims", "Table 2")
def highest_claims(
    lab: Lab, *, exceptions: tuple[tuple[str, str], ...] = (("cifar10-lt", "10"), ("cifar100-lt", "10"))
) -> Finding:
    """Statement: BMLS with MS is the best method of Table 2 on CIFAR10-LT and CIFAR100-LT, except at imbalance 10.

    Where: §6.2, first paragraph.
    Quote: our proposed method achieves the highest performance on CIFAR10-LT and CIFAR100-LT across all settings,
        except for the case with an imbalance factor of 10
    Formula: mean of BMLS+MS > mean of every other row of Table 2.
    Assumptions: the exception is "the case with an imbalance factor of 10".
    Test: All other columns of Table 2. Table 7, which the caption calls "more references", has higher rows: two-stage
        methods, marked as not compared with.
    Verdict: Every column agrees. At imbalance 10 BMLS with MS is the best on CIFAR100-LT too; only CIFAR10-LT needs the
        exception.
    Overturned by: counting Table 7's two-stage methods.
    References: none beside the paper.

    Args:
        lab: unused; the numbers are those in print.
        exceptions: (data set, imbalance factor) of the columns that the claim leaves out.
    """
    cells = means(2)
    methods = {m for _, _, m in cells} - {"BMLS+MS"}
    quantities = [
        Quantity(
            f"BMLS+MS against the best other row ({d}, {f})", best(cells, d, f, methods), cells[d, f, "BMLS+MS"], ">"
        )
        for d in CIFAR_LT
        for f in FACTORS
        if (d, f) not in exceptions
    ]
    agree = sum(q.agrees is True for q in quantities)
    return conclude(
        quantities,
        known=PRINTED,
        evidence=f"best in {agree} of {len(quantities)} columns; at imbalance 10: "
        + "; ".join(
            f"{cells[d, '10', 'BMLS+MS']}, best other row {best(cells, d, '10', methods)} ({d})" for d in CIFAR_LT
        ),
        instances="columns of Table 2",
    )


@check("few-class-claims", "Table 8")
def few_class_claims(lab: Lab, *, ours: str = "BMLS+FC") -> Finding:
    """Statement: BMLS has the largest improvement on few classes among the samplers.

    Where: §6.2, first paragraph (cf. Table 8).
    Quote: BMLS demonstrates the largest improvement for few classes compared to other baselines
    Formula: few-class mean of BMLS > that of random, CBS and CAS, at each imbalance factor.
    Assumptions: BMLS with FC, the classifier of the other samplers, so that the samplers alone are compared.
    Test: Eight columns of Table 8; then the means over the four imbalance factors of each data set.
    Verdict: Column by column it fails at imbalance 200 on both data sets: 54.43 against 58.89 of CBS, and 7.09 against
        7.62 of CAS. In the mean over the four factors it holds on both. The sentence names no factor, so the mean is
        the reading that its words allow. Comparing BMLS with MS instead would change two things at once; that row is
        the best in all eight columns.
    Overturned by: "at every imbalance factor" in the sentence.
    References: none beside the paper.

    Args:
        lab: unused; the numbers are those in print.
        ours: the method that is claimed to be best.
    """
    cells = means(8, "few")

    def compare(method: str) -> list[Quantity]:
        return [
            Quantity(
                f"{method} against the best baseline, few ({d}, {f})",
                best(cells, d, f, BASELINES),
                cells[d, f, method],
                ">",
            )
            for d in CIFAR_LT
            for f in FACTORS
        ]

    quantities = compare(ours)
    in_the_mean = []
    for d in CIFAR_LT:
        average = {m: sum(cells[d, f, m] for f in FACTORS) / len(FACTORS) for m in ("BMLS+FC", *BASELINES)}
        rival = max(average[m] for m in BASELINES)
        in_the_mean.append(Quantity(f"mean over four factors, few: BMLS+FC ({d})", rival, average["BMLS+FC"], ">"))
    return conclude(
        quantities,
        known=PRINTED,
        evidence=contradictions(quantities)
        + "; in the mean over the four factors: "
        + ", ".join(f"{show(q.computed)} against {show(q.claimed)}" for q in in_the_mean),
        instances="CIFAR10-LT and CIFAR100-LT, four imbalance factors",
        repair=Repair(
            "In the mean over the four imbalance factors BMLS has the largest accuracy on few classes, all with FC.",
            in_the_mean,
            licence="the sentence speaks of the data sets as a whole and names no imbalance factor",
        ),
    )


@check("table1-claims", "Table 1")
def table1_claims(lab: Lab, *, relation: Relation = ">") -> Finding:
    """Statement: MS further boosts accuracy, most of all on few classes, at both imbalance factors.

    Where: §6.1, second paragraph; Table 1.
    Quote: MS further boosts performance, particularly for few classes
    Formula: diff of all > 0 and diff of few > diff of all, for C10 and C100 at 200 and 100.
    Assumptions: BMLS as the sampler.
    Test: Table 1's diff rows; the same with Table 8's values.
    Verdict: All comparisons agree. Many classes lose accuracy at the same time, and on CIFAR10-LT medium ones too. At
        imbalance 10, which Table 1 leaves out, MS is below FC (ablation-both). The model offers no explanation
        (ms-less-collapse).
    Overturned by: a diff of few classes that is below the diff of all.
    References: none beside the paper.

    Args:
        lab: unused; the numbers are those in print.
        relation: claimed relation of the larger gain to the smaller one.
    """
    quantities = []
    for source in (1, 8):
        few, total = means(source, "few"), means(source)
        for d in CIFAR_LT:
            for f in ("200", "100"):
                gain = {name: c[d, f, "BMLS+MS"] - c[d, f, "BMLS+FC"] for name, c in (("few", few), ("all", total))}
                quantities += [
                    Quantity(f"gain of MS over FC, all (Table {source}, {d}, {f})", 0.0, gain["all"], relation),
                    Quantity(
                        f"gain on few against gain on all (Table {source}, {d}, {f})",
                        gain["all"],
                        gain["few"],
                        relation,
                    ),
                ]
    return conclude(
        quantities,
        known=PRINTED,
        evidence="gains on few and on all classes in Table 1: "
        + "; ".join(
            f"{q.computed:+.2f} and {float(q.claimed):+.2f}" for q in quantities[1:8:2] if isinstance(q.claimed, float)
        ),
        instances="CIFAR10-LT and CIFAR100-LT, imbalance 200 and 100; Tables 1 and 8",
    )


@check("fig3-claims", "Figure 3")
def fig3_claims(lab: Lab, *, split: str = "all", upto: float = 1.0) -> Finding:
    """Statement: The more unbalanced the mixed labels are from epoch to epoch, the lower the accuracy.

    Where: §5.2, last paragraph; Figure 3.
    Quote: the more imbalanced mixed label appears from epoch to epoch, the lower the performance of models
    Formula: accuracy increases with the coverage ratio at every step 0, 0.2, ..., 1.
    Assumptions: a higher coverage ratio means a lower CV; this is how the text reads the figure.
    Test: The ten steps of "all" in Figure 3's table, CIFAR10-LT and CIFAR100-LT.
    Verdict: Nine of ten steps agree, and one does not, so the sentence fails. For: on CIFAR100-LT the last step falls
        from 44.81 to 44.60, by less than the standard deviations of Table 8. Against: "the more ..., the lower" has no
        exception, and it is the last step, to full balance, that goes down. The paper does not restrict it to 0.8. At
        coverage 1 the accuracies (76.64, 44.60) are near those
        of CBS and CAS in Table 8; on CIFAR10-LT this is two points below BMLS.
    Overturned by: printed standard deviations, which would show whether the last step is noise.
    References: none beside the paper.

    Args:
        lab: unused; the numbers are those in print.
        split: classes whose accuracy is claimed to rise: many, med, few or all.
        upto: largest coverage ratio of the claim.
    """
    cells = {
        (c.dataset, float(c.method.removeprefix("coverage "))): c.mean for c in load("figure3") if c.split == split
    }
    ratios = sorted({r for _, r in cells})

    def steps(top: float) -> list[Quantity]:
        return [
            Quantity(f"accuracy at {b} against {a} ({d}, {split})", cells[d, a], cells[d, b], ">")
            for d in CIFAR_LT
            for a, b in itertools.pairwise(ratios)
            if b <= top
        ]

    return conclude(
        steps(upto),
        known=PRINTED,
        evidence=contradictions(steps(upto)),
        instances="CIFAR10-LT and CIFAR100-LT, coverage 0 to 1",
        repair=restricted("Accuracy rises with the coverage ratio up to 0.8 on both data sets.", steps(0.8)),
    )


@check("large-data-claims", "Table 3", "Table 9", "Table 10")
def large_data_claims(lab: Lab, *, relation: Relation = ">") -> Finding:
    """Statement: BMLS+MS is best on Places-LT, and BMLS is best on ImageNet-LT, with a gain on few classes.

    The effect of BMLS+MS diminishes as K grows.

    Where: §6.2, results on large data sets; Tables 3, 9, 10.
    Quote: BMLS+MS demonstrates superior performance compared to other class-balanced samplers on Place-LT, and when
        only BMLS is used on ImageNet-LT, it achieves the highest performance
    Formula: orders of means; the effect is the mean of BMLS+MS minus that of the best baseline.
    Assumptions: none. For "competitive" on iNaturalist see the check of this name.
    Test: The columns of Tables 3, 9 and 10.
    Verdict: All parts agree. The effect of BMLS+MS over the best baseline falls from three points at K = 365 to minus
        eleven at K = 8,142. On iNaturalist BMLS is below both CBS and CAS.
    Overturned by: another order of means.
    References: none beside the paper.

    Args:
        lab: unused; the numbers are those in print.
        relation: claimed relation of the best mean to the others.
    """
    cells = means(3)
    few = means(9, "few") | means(10, "few")

    def against(
        dataset: str, method: str, rivals: tuple[str, ...], cells: dict[tuple[str, str, str], float], split: str
    ) -> Quantity:
        return Quantity(
            f"{method} against the best of {', '.join(rivals)} ({dataset}, {split})",
            best(cells, dataset, "", rivals),
            cells[dataset, "", method],
            relation,
        )

    gain = {
        d: cells[d, "", "BMLS+MS"] - best(cells, d, "", BASELINES)
        for d in ("places-lt", "imagenet-lt", "inaturalist2018")
    }
    behind = best(cells, "inaturalist2018", "", BASELINES) - cells["inaturalist2018", "", "BMLS+FC"]
    quantities = [
        against("places-lt", "BMLS+MS", (*BASELINES, "BMLS+FC"), cells, "all"),
        against("places-lt-ft", "BMLS+MS", (*BASELINES, "BMLS+FC"), cells, "all"),
        against("imagenet-lt", "BMLS+FC", (*BASELINES, "BMLS+MS"), cells, "all"),
        against("imagenet-lt", "BMLS+FC", BASELINES, few, "few"),
        against("places-lt", "BMLS+MS", BASELINES, few, "few"),
        Quantity("effect of BMLS+MS at K = 1000 against K = 365", gain["places-lt"], gain["imagenet-lt"], "<"),
        Quantity("effect of BMLS+MS at K = 8142 against K = 1000", gain["imagenet-lt"], gain["inaturalist2018"], "<"),
    ]
    return conclude(
        quantities,
        known=PRINTED,
        evidence="BMLS+MS over the best baseline: "
        + ", ".join(f"{d} {g:+.2f}" for d, g in gain.items())
        + f"; BMLS over the best baseline on iNaturalist: {-behind:+.2f}",
        instances="Tables 3, 9 and 10",
    )
