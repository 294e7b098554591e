"""Claims that printed numbers agree: sums, differences, cells printed twice, Table 6, Figure 4."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping

from paper_checks.claim import Finding, Quantity, Repair, check, conclude, contradictions
from paper_checks.interval import PRINTED
from paper_checks.lab import Lab
from paper_checks.paper.datasets import cifar_lt
from paper_checks.paper.tables import SOURCES, Cell, Source, class_ranges, load

ROUNDING = 0.005
"""Largest rounding error of a number with two decimals."""

PARTITIONS = {
    "cifar10-lt": (3, 4, 3),
    "cifar100-lt": (36, 35, 29),
    "places-lt": (131, 157, 77),
    "places-lt-ft": (131, 157, 77),
    "imagenet-lt": (390, 445, 165),
    "inaturalist2018": (842, 3701, 3599),
}
"""Numbers of (many, med, few) classes: Table 6, but ImageNet-LT's medium classes end at 834 (table6-partition)."""

WITH_SPLITS: tuple[Source, ...] = (1, 8, 9, 10, 11, 12, 13, "figure3")
"""Tables that print many, med, few and all."""

NAMES = {"random+FC": "random", "CBS+FC": "CBS", "CAS+FC": "CAS", "BMLS+FC": "BMLS"}


def _name(source: Source) -> str:
    return f"Table {source}" if isinstance(source, int) else f"Figure {source[-1]}"


def _rows(source: Source) -> dict[tuple[str, str, str], dict[str, float]]:
    rows: dict[tuple[str, str, str], dict[str, float]] = defaultdict(dict)
    for c in load(source):
        if not c.method.startswith("diff."):
            rows[c.dataset, c.imbalance, c.method][c.split] = c.mean
    return rows


def _sums(sources: tuple[Source, ...], partitions: Mapping[str, tuple[int, int, int]]) -> list[Quantity]:
    """Compare the printed "all" of each row with the class-weighted mean of many, med and few."""
    comparisons = []
    for source in sources:
        for (dataset, imbalance, method), row in _rows(source).items():
            sizes = partitions[dataset]
            mean = sum(n * row[s] for n, s in zip(sizes, ("many", "med", "few"), strict=True)) / sum(sizes)
            name = f"{_name(source)}: {dataset} {imbalance} {method}".replace("  ", " ")
            comparisons.append(Quantity(name, row["all"], mean, tolerance=2 * ROUNDING + 1e-9))
    return comparisons


@check("table-sums", "Table 1", "Table 8", "Table 9", "Table 10", "Table 11", "Table 12", "Table 13", "Figure 3")
def table_sums(lab: Lab, *, partitions: Mapping[str, tuple[int, int, int]] = PARTITIONS) -> Finding:
    """Statement: In every table with splits, "all" is the class-weighted mean of many, med and few.

    Where: Tables 1, 8 to 13, Figure 3.
    Quote: we also calculate top-1 test accuracy of three disjoint set: many, medium, and few classes
    Formula: all = (n_many many + n_med med + n_few few) / K, within the rounding of two decimals (0.005 each side).
    Assumptions: class numbers of Table 6 (ImageNet-LT's medium classes to 834); balanced test sets; means over the same
        runs.
    Test: Every row of the eight tables.
    Verdict: All rows agree within rounding, so the splits and the totals come from the same runs.
    Overturned by: one row off by more than 0.01.
    References: none beside the paper.

    Args:
        lab: unused; the numbers are those in print.
        partitions: numbers of many, med and few classes by data set.
    """
    quantities = _sums(WITH_SPLITS, partitions)
    worst = max(
        abs(q.computed - q.claimed)
        for q in quantities
        if isinstance(q.computed, float) and isinstance(q.claimed, float)
    )
    return conclude(
        quantities,
        known=PRINTED,
        evidence=f"{sum(q.agrees is True for q in quantities)} of {len(quantities)} rows agree; largest "
        f"deviation {worst:.4f}",
        instances=", ".join(_name(s) for s in WITH_SPLITS),
    )


@check("table-diffs", "Table 1", "Table 5")
def table_diffs(lab: Lab, *, sign: int = 1) -> Finding:
    """Statement: The rows "diff." are the differences of the rows that they name.

    Where: Table 1 (MS minus FC); Table 5 (BMLS minus the paper's own run of random + ETF + DR).
    Quote: for effectiveness of Multi-Singleton Classifier
    Formula: diff = row - reference, within 0.01 of rounding.
    Assumptions: the reference in Table 5 is the row without a dagger.
    Test: Every cell of the three diff rows.
    Verdict: All differences are right.
    Overturned by: one cell off by more than 0.01.
    References: none beside the paper.

    Args:
        lab: unused; the numbers are those in print.
        sign: 1 for row minus reference, -1 for the reverse.
    """
    quantities = []
    for source, reference in ((1, "BMLS+FC"), (5, "random+ETF+DR")):
        cells = {(c.dataset, c.imbalance, c.method, c.split): c.mean for c in load(source)}
        for (dataset, imbalance, method, split), printed in cells.items():
            if method.startswith("diff."):
                row = method.removeprefix("diff.").strip() or "BMLS+MS"
                value = cells[dataset, imbalance, row, split] - cells[dataset, imbalance, reference, split]
                quantities.append(
                    Quantity(
                        f"Table {source}: {row}, {dataset} {imbalance} {split}",
                        printed,
                        sign * value,
                        tolerance=0.01 + 1e-9,
                    )
                )
    agree = sum(q.agrees is True for q in quantities)
    return conclude(
        quantities,
        known=PRINTED,
        evidence=f"{agree} of {len(quantities)} differences agree",
        instances="Tables 1 and 5",
    )


@check("table6-partition", "Table 6")
def table6_partition(lab: Lab, *, imagenet_medium_to: int | None = None) -> Finding:
    """Statement: Table 6 splits the classes of each data set into three disjoint sets.

    Where: Table 6, Appendix G.
    Quote: The classes included in each set for the respective datasets are described in Table 6.
    Formula: the ranges [first, last] of many, medium, few cover 0..K-1 once each.
    Assumptions: both ends belong to a range.
    Test: Count how often each class occurs. Where a class occurs twice, see which reading Table 10's totals support.
    Verdict: ImageNet-LT's class 835 is in both medium [390, 835] and few [835, 999]. Table 10's totals agree with
        medium classes 390..834 on all five rows. They contradict medium classes 390..835 with few classes 836..999. In
        the other data sets every class is in one set.
    Overturned by: half-open ranges; but these would leave out the last class of every other data set.
    References: Zhong et al. 2021 use 390..834 and 835..999.

    Args:
        lab: unused; the numbers are those in print.
        imagenet_medium_to: last medium class of ImageNet-LT; None: as printed.
    """
    sizes = {"cifar10-lt": 10, "cifar100-lt": 100, "places-lt": 365, "imagenet-lt": 1000, "inaturalist2018": 8142}
    quantities = []
    for dataset, K in sizes.items():
        count = [0] * K
        for r in class_ranges():
            if r.dataset == dataset:
                fixed = dataset == "imagenet-lt" and r.split == "med" and imagenet_medium_to is not None
                for k in range(r.first, (imagenet_medium_to if fixed and imagenet_medium_to else r.last) + 1):
                    count[k] += 1
        quantities += [
            Quantity(f"classes in two splits ({dataset})", 0, sum(n > 1 for n in count)),
            Quantity(f"classes in no split ({dataset})", 0, sum(n == 0 for n in count)),
        ]
    ours = [q for q in _sums((10,), PARTITIONS) if "imagenet" in q.name]
    shifted = _sums((10,), PARTITIONS | {"imagenet-lt": (390, 446, 164)})
    refuted = sum(q.agrees is False for q in shifted if "imagenet" in q.name)
    return conclude(
        quantities,
        known=PRINTED,
        evidence=f"class 835 of ImageNet-LT is in two splits; with medium classes 390..834 Table 10's totals agree in "
        f"5 of 5 rows, with 390..835 they fail in {refuted} of 5",
        instances="the five data sets of Table 6",
        internal=True,
        repair=Repair("ImageNet-LT's medium classes are 390..834, its few classes 835..999.", ours),
    )


@check("split-definition", "Table 6")
def split_definition(
    lab: Lab, *, claimed: Callable[[str, int], tuple[int, ...]] = lambda dataset, factor: PARTITIONS[dataset]
) -> Finding:
    """Statement: Many, medium and few classes are those of Liu et al. (2019).

    They have more than 100, 20 to 100, and fewer than 20 training images.

    Where: Appendix G ("According to Liu et al. (2019)"), Table 6.
    Quote: According to Liu et al. (2019), we also calculate top-1 test accuracy of three disjoint set
    Formula: number of classes with n_k > 100, 20 <= n_k <= 100, n_k < 20, against the sizes in Table 6.
    Assumptions: CIFAR-LT counts by formula.
    Test: CIFAR10-LT and CIFAR100-LT at all imbalance factors.
    Verdict: The ranges of Table 6 are fixed ranges of class indices, which no imbalance factor reproduces. CIFAR10-LT
        has no class with fewer than 20 images; CIFAR100-LT at 100 has 35, 35 and 30 classes. So "few" means the last 3
        classes of CIFAR10-LT and the last 29 of CIFAR100-LT, whatever their counts.
    Overturned by: other thresholds, stated per data set.
    References: Liu et al. 2019 for the thresholds; Cao et al. 2019 for the counts.

    Args:
        lab: unused; the numbers are those in print.
        claimed: claimed numbers of many, med and few classes as a function of data set and imbalance factor.
    """
    quantities = []
    for K, dataset in ((10, "cifar10-lt"), (100, "cifar100-lt")):
        for factor in (200, 100, 50, 10):
            n = cifar_lt(K, factor)
            sizes = int((n > 100).sum()), int(((n >= 20) & (n <= 100)).sum()), int((n < 20).sum())
            quantities.append(
                Quantity(
                    f"(many, med, few) of {dataset}, imbalance {factor}", str(claimed(dataset, factor)), str(sizes)
                )
            )
    return conclude(
        quantities,
        known=PRINTED,
        evidence="by the thresholds " + contradictions(quantities, 3),
        instances="CIFAR10-LT, CIFAR100-LT, imbalance 200, 100, 50, 10",
        repair=Repair(
            "The splits are ranges of class indices, the same at every imbalance factor; with them all totals of "
            "Table 8 agree.",
            _sums((8,), PARTITIONS),
        ),
    )


@check("table1-vs-8", "Table 1", "Table 2", "Table 3", "Table 4", "Table 7", "Table 8", "Table 11")
def table1_vs_8(lab: Lab, *, sources: tuple[Source, ...] = tuple(s for s in SOURCES if isinstance(s, int))) -> Finding:
    """Statement: A result that is printed in several tables has the same value in each.

    Where: Tables 1 to 5 and 7 to 13.
    Quote: with five repeated experiments with random seeds in CIFAR10/100-LT and three in others
    Formula: equality of the printed means (and standard deviations) of the same data set, imbalance, method and split.
    Assumptions: as the captions say, all numbers are means of five (three) repeats of the same experiment.
    Test: Every cell that occurs in more than one table.
    Verdict: The only exceptions are the eight cells of BMLS + FC on CIFAR100-LT in Table 1. They differ from Tables 4,
        8 and 11: 40.36 and 40.03 at imbalance 200, 45.32 and 45.20 at 100, and all their splits. So they come from
        another set of runs. Table 1's diff rows use its own values, so they understate the gain of MS there.
    Overturned by: a statement that Table 1 reports other runs.
    References: none beside the paper.

    Args:
        lab: unused; the numbers are those in print.
        sources: the tables that are compared.
    """
    seen: dict[tuple[str, str, str, str], list[tuple[Source, Cell]]] = defaultdict(list)
    for source in sources:
        for c in load(source):
            if not c.method.startswith("diff."):
                seen[c.dataset, c.imbalance, c.method, c.split].append((source, c))
    quantities = []
    for (dataset, imbalance, method, split), cells in seen.items():
        reference, rest = cells[-1], cells[:-1]
        for source, c in rest:
            name = f"{_name(source)} against {_name(reference[0])}: {dataset} {imbalance} {method} {split}"
            quantities.append(Quantity(name, reference[1].mean, c.mean))
            if c.std is not None and reference[1].std is not None:
                quantities.append(Quantity(name + " (std)", reference[1].std, c.std))
    wrong = [q for q in quantities if q.agrees is False]
    later = [q for q in quantities if not q.name.startswith("Table 1 ")]
    return conclude(
        quantities,
        known=PRINTED,
        evidence=f"{len(wrong)} of {len(quantities)} comparisons differ: " + contradictions(quantities, 2),
        instances="all cells printed in more than one of Tables 1 to 13",
        internal=True,
        repair=Repair("All tables but Table 1 agree with one another.", later),
    )


@check("fig4-vs-table8", "Figure 4", "Table 8")
def fig4_vs_table8(lab: Lab, *, printed: Mapping[str, float] | None = None) -> Finding:
    """Statement: Figure 4's accuracies are those of the experiments on CIFAR10-LT.

    Where: Figure 4 (table), Table 8.
    Quote: Experiments on CIFAR10-LT dataset for the effectiveness of BMLS to minority collapse.
    Formula: 72.91, 75.86, 76.60, 78.71 against Table 8, imbalance 100: 72.94, 76.63, 76.43, 78.85.
    Assumptions: imbalance 100, where Table 8 is nearest of the four; Figure 4 does not name the imbalance.
    Test: Each value, and the order of CBS and CAS.
    Verdict: All four values differ, and CBS and CAS change order. Each lies within two printed standard deviations of
        Table 8. So Figure 4 probably shows single runs (a picture of class vectors needs one run), but it does not say
        so.
    Overturned by: a caption that names the imbalance and the run.
    References: none beside the paper.

    Args:
        lab: unused; the numbers are those in print.
        printed: accuracies of Figure 4 by method; None: as printed.
    """
    figure = printed or {c.method: c.mean for c in load("figure4") if c.split == "all"}
    table = {c.method: c for c in load(8) if (c.dataset, c.imbalance, c.split) == ("cifar10-lt", "100", "all")}
    quantities = [Quantity(f"Figure 4, {NAMES[m]}", table[m].mean, value) for m, value in figure.items()]
    better = {
        name: "CBS" if t["CBS+FC"] > t["CAS+FC"] else "CAS"
        for name, t in (("figure", figure), ("table", {m: c.mean for m, c in table.items()}))
    }
    quantities.append(Quantity("the better of CBS and CAS", better["table"], better["figure"]))
    within = [
        Quantity(
            f"Figure 4 against Table 8, within two standard deviations ({NAMES[m]})",
            table[m].mean,
            value,
            tolerance=2 * (table[m].std or 0),
        )
        for m, value in figure.items()
    ]
    return conclude(
        quantities,
        known=PRINTED,
        evidence="; ".join(f"{NAMES[m]} {v} (Table 8: {table[m].mean})" for m, v in figure.items())
        + ("" if better["figure"] == better["table"] else "; CBS and CAS change order"),
        instances="CIFAR10-LT, imbalance 100",
        internal=True,
        repair=Repair(
            "Each value lies within two standard deviations of Table 8's mean, as single runs would.", within
        ),
    )
