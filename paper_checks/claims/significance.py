"""The claim that the winners of the tables are significant: Welch's test on printed numbers, with Holm's correction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from paper_checks.claim import Finding, Quantity, Repair, check, conclude
from paper_checks.interval import TESTED, Fact
from paper_checks.lab import Lab
from paper_checks.paper.statistics import Sample, holm, welch
from paper_checks.paper.tables import Cell, Source, load

REPEATS = {"cifar10-lt": 5, "cifar100-lt": 5}
"""Number of runs behind each printed mean (§6); three on the other data sets."""

BASELINES = ("random+FC", "CBS+FC", "CAS+FC", "random+ETF+DR", "CBS+ETF+DR", "CAS+ETF+DR")
"""Methods without BMLS."""


@dataclass(frozen=True)
class Comparison:
    """A winner compared with another row of its column.

    Attributes:
        name: table, data set, imbalance and split.
        winner: cell of the winner.
        other: cell of the other row.
        p: two-sided p of Welch's t-test.
        corrected: p after Holm's correction over all comparisons.
    """

    name: str
    winner: Cell
    other: Cell
    p: float
    corrected: float = float("nan")


ROUNDING = 0.005
"""Half a unit of the last printed digit; added to standard deviations, so that rounding cannot create significance."""


def printed_sample(cell: Cell) -> Sample:
    """Read a printed cell as a set of runs.

    Args:
        cell: mean and standard deviation of a table.

    Returns:
        The mean, the standard deviation plus ``ROUNDING``, and the number of repeats that the paper states.

    Raises:
        ValueError: if the cell is printed without a standard deviation.
    """
    if cell.std is None:
        raise ValueError(f"{cell.method} is printed without a standard deviation")
    return Sample(REPEATS.get(cell.dataset, 3), cell.mean, cell.std + ROUNDING)


def columns(sources: Sequence[Source]) -> dict[str, list[Cell]]:
    """Collect the cells that compete for one bold number, that is one data set, imbalance and split of a table.

    Args:
        sources: the tables.

    Returns:
        The cells of each column, by its name.
    """
    cells: dict[str, list[Cell]] = defaultdict(list)
    for source in sources:
        for c in load(source):
            cells[f"Table {source}, {c.dataset} {c.imbalance}, {c.split}".replace(" ,", ",")].append(c)
    return cells


def corrected(comparisons: list[Comparison]) -> list[Comparison]:
    """Apply Holm's correction.

    Args:
        comparisons: comparisons with p.

    Returns:
        The same comparisons, with p corrected over all of them.
    """
    adjusted = holm([c.p for c in comparisons])
    return [Comparison(c.name, c.winner, c.other, c.p, a) for c, a in zip(comparisons, adjusted, strict=True)]


def winners(sources: Sequence[Source]) -> list[Comparison]:
    """Compare the best row of every column with the runner-up.

    Args:
        sources: the tables.

    Returns:
        One comparison per column, corrected over all columns.
    """
    comparisons = []
    for name, cells in columns(sources).items():
        best, second = sorted(cells, key=lambda c: -c.mean)[:2]
        comparisons.append(Comparison(name, best, second, welch(printed_sample(best), printed_sample(second))))
    return corrected(comparisons)


def against_baselines(sources: Sequence[Source]) -> list[Comparison]:
    """Compare the better of BMLS's two rows with the best baseline sampler, in each column "all".

    Args:
        sources: the tables.

    Returns:
        One comparison per column, corrected over all of them. BMLS stands in ``winner``, even where it loses.
    """
    comparisons = []
    for name, cells in columns(sources).items():
        if name.endswith(", all"):
            ours = max((c for c in cells if c.method not in BASELINES), key=lambda c: c.mean)
            baseline = max((c for c in cells if c.method in BASELINES), key=lambda c: c.mean)
            comparisons.append(Comparison(name, ours, baseline, welch(printed_sample(ours), printed_sample(baseline))))
    return corrected(comparisons)


TABLES: tuple[Source, ...] = (8, 9, 10, 12, 13)
"""Tables with standard deviations and several methods.

Table 11 is left out: it repeats rows of Table 8 and adds random + MS, far behind.
"""


@check("significance", "Table 8", "Table 9", "Table 10", "Table 11", "Table 12", "Table 13")
def significance(lab: Lab, *, level: float = 0.05) -> Finding:
    """Statement: The best result of each column, set in bold, is significantly better than the runner-up.

    Where: Tables 8 to 10, 12 and 13 ("best in bold"); "consistent performance gains", abstract; "significantly", §6.3,
        §7.
    Quote: Experiments on standard benchmarks further confirm consistent performance gains
    Formula: Welch's t from printed means, standard deviations and n = 5 (CIFAR) or 3; p < 0.05 after Holm's correction
        over all columns.
    Assumptions: the number after each mean is a sample standard deviation over independent runs; errors are normal. The
        two best rows are compared as if chosen beforehand, which favours the winner.
    Test: Every column, that is every data set, imbalance and split. Separately for "all": BMLS's better row against the
        best baseline sampler.
    Verdict: Where the test finds a difference, the claim is confirmed. Where it finds none, nothing is proved either
        way. Such a column stays undecided, and with it the claim for all columns. So this check can be confirmed or
        stay open; it cannot fail. The evidence counts the columns that are confirmed. The text has no bold type, so the
        largest mean of each column stands for the bold one.
    Overturned by: per-seed results (paired tests are stronger), or more seeds.
    References: Welch 1947; Holm 1979.

    Args:
        lab: unused; the numbers are those in print.
        level: level of significance, after Holm's correction.
    """
    columnwise = winners(TABLES)
    quantities = [
        Quantity(
            f"{c.name}: {c.winner.method} {c.winner.mean} over {c.other.method} {c.other.mean} (p = {c.p:.2g}, "
            f"after Holm {c.corrected:.2g})",
            True,
            Fact(True if c.corrected < level else None, TESTED),
        )
        for c in columnwise
    ]
    ours = against_baselines(TABLES)
    better = [c for c in ours if c.winner.mean > c.other.mean and c.corrected < 0.05]
    uncorrected, confirmed = sum(c.p < level for c in columnwise), sum(c.corrected < level for c in columnwise)
    share = Quantity(
        f"settings, out of {len(ours)}, in which BMLS's better row beats the best baseline sampler in 'all' "
        "(p < 0.05 after "
        "Holm)",
        len(ours) // 2,
        len(better),
        ">",
        known=TESTED,
    )
    exceptions = "; ".join(
        sorted({c.name.removesuffix(", all") for c in ours} - {c.name.removesuffix(", all") for c in better})
    )
    return conclude(
        quantities,
        evidence=f"{uncorrected} of {len(columnwise)} winners differ from the runner-up at 95 % in single tests, "
        f"{confirmed} after Holm; "
        f"in 'all', BMLS(+MS) beats the best baseline in {len(better)} of {len(ours)} settings after Holm",
        instances=", ".join(f"Table {t}" for t in TABLES) + ", all columns",
        repair=Repair(
            f"In 'all', BMLS or BMLS+MS is significantly better than the best baseline sampler in most settings. "
            f"The exceptions: {exceptions}.",
            [share],
        ),
    )
