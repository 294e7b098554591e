"""Gram matrices of optimal class vectors: FC beside MS, and the real CIFAR-LT counts under each sampler."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from figures.style import DIVERGING, PAGE_WIDTH, SEQUENTIAL, Row
from figures.theory_maps import EMPTY
from lpm import geometry
from lpm.console.errors import NotCertified
from lpm.family import Family, limited
from lpm.mixing import Mixing
from lpm.pairs import LabelPairs, balanced, class_counts, distinct, product, table
from lpm.problem import Problem
from lpm.programs import fc, ms, ms_unordered
from lpm.solution import Solution
from lpm.solve import solve_all
from paper_checks.epochs import cbs, mixup_counts
from paper_checks.paper.datasets import cifar_lt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

IMBALANCES = (10.0, 100.0, 1000.0)
"""At K = 4 the minority is collapsed in neither program, in MS alone, and in both."""
LABELLED = 10
"""Largest number of classes for which a picture carries numbers."""


@dataclass(frozen=True)
class Case:
    """One panel.

    Attributes:
        title: its title.
        problem: the program whose optimum it shows.
    """

    title: str
    problem: Problem


def fc_ms_cases(K: int) -> Iterator[Case]:
    """Return FC and MS at lambda = 1/2 and the same budgets, at ``product`` frequencies and at balanced ones.

    Args:
        K: number of classes.

    Yields:
        For each program, the cases of growing imbalance and the balanced case.
    """
    for program in ("fc", "ms"):
        for R in IMBALANCES:
            yield Case(title=f"{program.upper()}, R = {R:g}", problem=Family(program, "product", K).at(R))
        yield Case(title=f"{program.upper()}, balanced", problem=Family(program, "balanced", K).at(1.0))


def sampler_cases(K: int, imbalance: float, law: Mixing, seed: int) -> Iterator[Case]:
    """Return the programs at the label-pair frequencies of CIFAR-LT under each sampler, most frequent class first.

    - random: n_(a,b) = n_a n_b in expectation.
    - CBS (CAS and LOM alike): all K^2 label pairs are equally frequent in expectation.
    - BMLS: label pairs a < b are equally frequent. The laws of lambda used here are symmetric about 1/2, so FC gives
      (a, b) and (b, a) the same loss, and each of them gets half.
    - MS with random and CBS has K^2 label-pair classes. With BMLS it has those with a < b, and their order matters.

    "One epoch" is drawn at random. Expectations leave out that a batch's permutation pairs 1 in 128 images with itself.
    At imbalance 100 that moves no cosine by more than 0.012, and none with CBS.

    Args:
        K: number of classes, 10 or 100.
        imbalance: imbalance factor.
        law: law of the mixing ratio.
        seed: seed of one epoch's label pairs.

    Yields:
        One case per program and sampler.
    """
    n, rng = cifar_lt(K, imbalance), np.random.default_rng(seed)
    labels = np.repeat(np.arange(K), n)
    counts, equal = class_counts(n), class_counts(np.ones(K))
    yield Case("random+FC", fc(product(counts), law))
    yield Case("CBS/CAS/LOM+FC", fc(balanced(equal), law))
    yield Case("BMLS+FC", fc(distinct(equal), law))
    yield Case("random+FC, one epoch", fc(_epoch(mixup_counts(rng.permutation(labels), K, rng)), law))
    yield Case("CBS+FC, one epoch", fc(_epoch(mixup_counts(cbs(n, rng), K, rng)), law))
    bmls = bmls_unordered_counts(int(n.sum()), K, rng)
    yield Case("BMLS+FC, one epoch", fc(_epoch(bmls + bmls.T), law))
    yield Case("random+MS", ms(product(counts), law))
    yield Case("CBS/CAS/LOM+MS", ms(balanced(equal), law))
    yield Case("BMLS+MS", ms_unordered(distinct(equal), law))


def _epoch(counts: np.ndarray) -> LabelPairs:
    return table(counts.astype(float))


def bmls_unordered_counts(N: int, K: int, rng: np.random.Generator) -> np.ndarray:
    """Draw the label pairs a < b of an epoch of BMLS: their counts differ by at most one.

    Args:
        N: number of pairs.
        K: number of classes.
        rng: decides which label pairs occur once more than the others.

    Returns:
        (K, K) counts, with zeros for a >= b.
    """
    a, b = np.triu_indices(K, 1)
    counts = np.zeros((K, K), dtype=int)
    counts[a, b] = N // len(a) + (rng.permutation(len(a)) < N % len(a))
    return counts


def gram_rows(decay: float | None, cases: Callable[..., Iterable[Case]], *arguments: Any) -> list[Row]:
    """Solve the cases of a picture.

    Args:
        decay: weight decay mu in place of the budgets; None for these.
        cases: makes the cases, such as :func:`fc_ms_cases`.
        *arguments: its arguments.

    Returns:
        The rows of all panels.
    """
    limited_cases = [replace(case, problem=limited(case.problem, decay, None)) for case in cases(*arguments)]
    solutions = solve_all([case.problem for case in limited_cases])
    return [
        row for case, solution in zip(limited_cases, solutions, strict=True) for row in optimum_rows(case, solution)
    ]


def optimum_rows(case: Case, solution: Solution | NotCertified) -> list[Row]:
    """Write the optimum of one case.

    Args:
        case: the panel.
        solution: the optimum, or the reason why it is not certified.

    Returns:
        One row per pair of classes a <= b: <w_a, w_b> and its cosine at the optimum, with the relative gap of the
        solve. An optimum that is not certified has nan for numbers.
    """
    problem = case.problem
    columns: dict[str, Any] = {
        "panel": case.title,
        "program": problem.program,
        "pairs": problem.profile,
        "lam": problem.mixing,
        "K": problem.K,
        **({"E_H": problem.e_h, "E_W": problem.e_w} if problem.decay is None else {"mu": problem.decay}),
    }
    if isinstance(solution, NotCertified):
        gram = np.full((problem.K, problem.K), math.nan)
        columns |= {"rank": None, "relative_gap": solution.relative_gap}
    else:
        gram = solution.gram.matrix(problem.members)
        columns |= {"rank": solution.rank, "relative_gap": solution.relative_gap}
    cosine = geometry.cosines(gram)
    return [
        {**columns, "a": int(a), "b": int(b), "inner": float(gram[a, b]), "cosine": float(cosine[a, b])}
        for a, b in zip(*np.triu_indices(problem.K), strict=True)
    ]


def plot_gram(rows: Sequence[Row], columns: int, title: str, order: str) -> Figure:
    """Draw one panel per case: cosines as a matrix, norms as bars below.

    Args:
        rows: rows of :func:`gram_rows`.
        columns: number of panels in a line.
        title: title of the figure.
        order: how the classes are sorted, in words.

    Returns:
        The figure.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

    panels = list(dict.fromkeys(row["panel"] for row in rows))
    lines, K = math.ceil(len(panels) / columns), max(row["K"] for row in rows)
    numbered = K <= LABELLED
    figure = Figure(figsize=(PAGE_WIDTH, lines * (PAGE_WIDTH / columns + 0.4) + 0.8), layout="constrained")
    figure.suptitle(title, fontsize=8)
    axes = figure.subplots(2 * lines, columns, sharex=True, height_ratios=[5, 1] * lines, squeeze=False)
    longest = max([row["inner"] for row in rows if row["inner"] > 0], default=1.0) ** 0.5
    # Colours need not show the sign where numbers do.
    scale = ScalarMappable(_norm(K), DIVERGING if numbered else SEQUENTIAL)
    for number, panel in enumerate(panels):
        line, column = divmod(number, columns)
        above, below = axes[2 * line, column], axes[2 * line + 1, column]
        _panel(above, below, [row for row in rows if row["panel"] == panel], scale)
        below.set_ylim(0, 1.08 * longest)
        if column:
            above.tick_params(labelleft=False)
            below.tick_params(labelleft=False)
        else:
            below.set_ylabel("norm")
    for axis in axes[-1]:
        axis.set_xlabel(f"class, {order}")
    label = "cosine of class vectors" + (", in the cells in hundredths" if numbered else "")
    bar = figure.colorbar(scale, ax=axes, location="bottom", aspect=50, shrink=0.6, pad=0.02, label=label, format="%g")
    bar.set_ticks([-1, -0.5, 0, 0.5, 1] if numbered else [-1, -0.3, -0.1, 0, 0.1, 0.3, 1])
    bar.minorticks_off()
    return figure


def _panel(above: Axes, below: Axes, rows: Sequence[Row], scale: Any) -> None:
    """Draw one optimum: its cosines off the diagonal, with numbers where they are legible, and its norms."""
    K = rows[0]["K"]
    cosine, squared_norm = np.full((K, K), np.nan), np.full(K, np.nan)
    for row in rows:
        if row["a"] == row["b"]:
            squared_norm[row["a"]] = row["inner"]
        else:
            cosine[row["a"], row["b"]] = cosine[row["b"], row["a"]] = row["cosine"]
    above.set_title(rows[0]["panel"])
    above.grid(False)
    above.tick_params(labelbottom=False)
    above.spines[:].set_visible(False)
    if np.isnan(squared_norm).all():
        above.patch.set(**EMPTY)
        above.set_yticks([])
        above.text(0.5, 0.5, "not certified", transform=above.transAxes, ha="center", backgroundcolor="white")
        return
    above.set_title(f"rank {rows[0]['rank']}/{K - 1}", loc="right", fontweight="normal", fontsize=7)
    above.set_facecolor("0.85")  # shows on the diagonal
    above.imshow(cosine, norm=scale.norm, cmap=scale.cmap, aspect="auto", interpolation="nearest")
    if K <= LABELLED:
        for a, b in zip(*np.nonzero(~np.isnan(cosine)), strict=True):
            dark = abs(scale.norm(cosine[a, b]) - 0.5) > 0.32
            text = str(round(100 * cosine[a, b]))
            above.text(b, a, text, ha="center", va="center", fontsize=7, color="white" if dark else "black")
        above.set(xticks=range(K), yticks=range(K))
    below.bar(range(K), np.sqrt(squared_norm), width=0.8 if K <= LABELLED else 1.0, color="0.35")


def _norm(K: int) -> Any:
    """Return the colour scale of cosines: white at the simplex ETF's -1/(K-1); for many classes, stretched around 0."""
    from matplotlib.colors import SymLogNorm, TwoSlopeNorm

    return TwoSlopeNorm(-1 / (K - 1), -1, 1) if K <= LABELLED else SymLogNorm(0.1, vmin=-1, vmax=1)
