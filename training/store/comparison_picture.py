"""Pictures of a comparison: intervals in text and drawn, and accuracies over the epochs. Needs no torch."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import numpy as np

from lpm.console.text import shown
from training.store.comparisons import Results, Row, headline, rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS, NAMED = 60, 40
"""Characters of an interval's line in text, and of a method's name at most."""


def in_text(results: Results) -> str:
    """Draw the accuracies with characters, the best method first.

    Args:
        results: the runs of each method.

    Returns:
        One line per method, indented as Markdown's code is; '' with fewer than two methods.
    """
    split = headline(results)
    ranked = {method: row.accuracy for method, row in rows(results, split).items()}
    if len(ranked) < 2:
        return ""
    ends = [x for e in ranked.values() for x in (e.value, e.low, e.high) if not math.isnan(x)]
    low, high = max(0.0, min(ends)), min(100.0, max(ends))
    low, high = (low, high) if high > low else (low - 1, high + 1)

    def column(value: float) -> int:
        return round((COLUMNS - 1) * (min(max(value, low), high) - low) / (high - low))

    width = min(NAMED, max(map(len, ranked)))
    lines = []
    for method, accuracy in ranked.items():
        marks = [" "] * COLUMNS
        if not math.isnan(accuracy.low):
            first, last = column(accuracy.low), column(accuracy.high)
            marks[first : last + 1] = "─" * (last + 1 - first)
            marks[first], marks[last] = "├", "┤"
        marks[column(accuracy.value)] = "●"
        lines.append(f"    {shown(method, width):<{width}}  {''.join(marks)}  {accuracy.value:6.2f}")
    left, right = f"{low:.1f} %", f"{high:.1f} %"
    scale = f"{left}{' ' * (COLUMNS - len(left) - len(right))}{right}"
    return "\n".join((*lines, f"    {' ' * width}  {scale}")) + "\n"


def intervals(results: Results) -> bytes:
    """Draw accuracies with their intervals, and differences from the best method beside them.

    Args:
        results: the runs of each method; at least one method has runs.

    Returns:
        An SVG.
    """
    from matplotlib.figure import Figure

    split = headline(results)
    ranked = rows(results, split)
    with _plainly():
        return _svg(_intervals(Figure(figsize=(9, 1.2 + 0.32 * len(ranked)), layout="constrained"), split, ranked))


def _intervals(figure: Figure, split: str, ranked: Mapping[str, Row]) -> Figure:
    names = list(ranked)
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, title, estimates in (
        (left, f"{split} accuracy in %", [ranked[name].accuracy for name in names]),
        (right, "difference from the best", [ranked[name].difference for name in names[1:]]),
    ):
        for place, estimate in enumerate(estimates, len(names) - len(estimates)):
            if not math.isnan(estimate.low):
                axes.plot([estimate.low, estimate.high], [place] * 2, color="black", lw=1.2)
            axes.plot(estimate.value, place, "o", color="black", ms=5)
        axes.set_title(title, fontsize=10, loc="left")
        axes.grid(axis="x", lw=0.4)
    right.axvline(0, color="black", lw=0.8, ls=":")
    left.set_yticks(range(len(names)), [shown(name, NAMED) for name in names])
    left.set_ylim(len(names) - 0.5, -0.5)  # the best method at the top
    return figure


def curves(results: Results, seeds: Mapping[str, Sequence[Mapping[int, float]]]) -> bytes:
    """Draw the test accuracy over the epochs: the mean over the seeds, and a band from the least to the largest.

    Args:
        results: the runs of each method, whose order the legend has.
        seeds: for some of the methods, the accuracies of each seed in per cent, by epoch; a run may not evaluate every epoch.

    Returns:
        An SVG.
    """
    from matplotlib.figure import Figure

    with _plainly():
        figure = Figure(figsize=(9, 4), layout="constrained")
        axes = figure.subplots()
        for number, method in enumerate(name for name in results if seeds.get(name)):
            x, mean, least, largest = over_seeds(seeds[method])
            colour = f"C{number % 10}"
            style = ("-", "--", ":", "-.")[number // 10 % 4]  # there are ten colours
            axes.plot(x, mean, style, color=colour, label=shown(method, NAMED), lw=1.3)
            axes.fill_between(x, least, largest, color=colour, alpha=0.12, lw=0)
        axes.set_xlabel("epoch")
        axes.set_ylabel(f"{headline(results)} test accuracy in %")
        axes.grid(lw=0.4)
        if axes.lines:
            axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
        return _svg(figure)


def over_seeds(
    seeds: Sequence[Mapping[int, float]],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Reduce the accuracies of some seeds.

    Args:
        seeds: the accuracies of each seed, by epoch.

    Returns:
        The epochs that all seeds have; and of each the mean, the least and the largest value.
    """
    epochs = sorted(set.intersection(*(set(seed) for seed in seeds)))
    values = np.array([[seed[epoch] for epoch in epochs] for seed in seeds])
    return np.array(epochs), values.mean(axis=0), values.min(axis=0), values.max(axis=0)


def _plainly() -> AbstractContextManager[None]:
    """Settings of matplotlib: words stay words, also with dollar signs, and the same content gives the same file."""
    from matplotlib import rc_context

    return rc_context({"text.parse_math": False, "svg.fonttype": "none", "svg.hashsalt": "comparison"})


def _svg(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()
