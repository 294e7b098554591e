"""Methods side by side: their accuracies, how sure these are, and which method is best. Needs no torch."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lpm.console import cli
from lpm.console.text import counted
from paper_checks.paper.statistics import Sample, holm, welch
from training.config import RunConfig
from training.store import uncertainty
from training.store.results import RunResult
from training.store.runs import FINAL, RunFolder
from training.store.tables import in_words, ranges, setting
from training.store.uncertainty import Estimate, Shares

LEVEL = 0.05
"""p below which a difference counts as shown."""

UNKNOWN = Estimate(math.nan)


@dataclass(frozen=True)
class Runs:
    """The finished runs of a method, which differ in their seed alone.

    Attributes:
        results: the result of each.
        labels: (n,) classes of the test images; None where a run has not stored its predictions.
        right: (S, n) whether each run predicts each test image right.
    """

    results: tuple[RunResult, ...]
    labels: np.ndarray | None = None
    right: np.ndarray | None = None

    def values(self, split: str) -> list[float]:
        """The accuracies of a split.

        Args:
            split: its name.

        Returns:
            In per cent, one per run that has the split.
        """
        return [result.last[split] for result in self.results if split in result.last]


Results = Mapping[str, Runs]
"""The runs by method. A method may have none."""


def read(folders: Sequence[RunFolder]) -> Runs:
    """Read the finished runs of a method.

    Args:
        folders: the runs, on the same data.

    Returns:
        Their results; and their predictions, if all have stored them.

    Raises:
        InvalidInput: if a result or a prediction is damaged.
    """
    results = tuple(folder.result() for folder in folders)
    if not folders or not all((folder.path / FINAL).is_file() for folder in folders):
        return Runs(results)
    finals = [folder.final() for folder in folders]
    labels = [final.get("test_labels", np.zeros(0)) for final in finals]
    if not all(
        "test_answers" in final and np.array_equal(labels[0], one) for final, one in zip(finals, labels, strict=True)
    ):
        return Runs(results)
    return Runs(results, labels[0], np.stack([final["test_answers"][:, 0] == labels[0] for final in finals]))


@dataclass(frozen=True)
class Row:
    """A method's accuracy on a split, beside the best of the others.

    Attributes:
        values: one accuracy per run, in per cent.
        accuracy: their mean, with an interval where predictions are stored.
        against: the best method; for the best one, the runner-up; '' where there is no other.
        difference: the accuracy minus that of ``against``.
        holm: the difference's p after Holm's correction for all differences from the best method.
    """

    values: list[float]
    accuracy: Estimate
    against: str
    difference: Estimate
    holm: float = math.nan


def rows(results: Results, split: str) -> dict[str, Row]:
    """Compare the methods on a split.

    Args:
        results: the runs of each method.
        split: name of an accuracy.

    Returns:
        By method that has such accuracies, its row, the best method first.
    """
    means = {method: float(np.mean(v)) for method, runs in results.items() if (v := runs.values(split))}
    ranked = sorted(means, key=lambda method: -means[method])
    shares = _shares([results[method] for method in ranked], split)
    others = {method: ranked[0] if number else next(iter(ranked[1:]), "") for number, method in enumerate(ranked)}
    differences = {method: difference(results, split, method, other) for method, other in others.items()}
    tested = [method for method in ranked[1:] if not math.isnan(differences[method].p)]
    corrected = dict(zip(tested, holm([differences[method].p for method in tested]), strict=True))
    if tested and tested[0] == ranked[1]:  # the best method is compared with the runner-up, and the runner-up with it
        corrected[ranked[0]] = corrected[ranked[1]]
    table = {}
    for method in ranked:
        right = results[method].right
        mean = Estimate(means[method]) if shares is None or right is None else uncertainty.accuracy(right, shares)
        table[method] = Row(
            values=results[method].values(split),
            accuracy=mean,
            against=others[method],
            difference=differences[method],
            holm=corrected.get(method, math.nan),
        )
    return table


def _shares(runs: Sequence[Runs], split: str) -> Shares | None:
    """What each test image counts on a split; None where predictions or the split's classes are not known."""
    first = next(iter(runs), None)
    if first is None or first.labels is None:
        return None
    if not all(one.labels is not None and np.array_equal(one.labels, first.labels) for one in runs):
        return None
    if split == "all":
        return uncertainty.of_all(first.labels)
    classes = dict(first.results[0].splits) | {"balanced": (0, int(first.labels.max()))}
    return uncertainty.of_classes(first.labels, *classes[split]) if split in classes else None


def difference(results: Results, split: str, method: str, other: str) -> Estimate:
    """Estimate how much better a method is than another one.

    Args:
        results: the runs of each method.
        split: name of an accuracy.
        method: the method.
        other: the other one; '' for none.

    Returns:
        The difference of their accuracies. Its interval and p count seeds and test images where all methods have stored
        their predictions; else p is Welch's over the seeds.
    """
    if not other:
        return UNKNOWN
    runs, rest = results[method], results[other]
    shares = _shares([one for one in results.values() if one.values(split)], split)
    if shares is not None and runs.right is not None and rest.right is not None:
        return uncertainty.difference(runs.right, rest.right, shares)
    first, second = Sample.of(runs.values(split)), Sample.of(rest.values(split))
    return Estimate(first.mean - second.mean, p=welch(first, second))


def cells(base: RunConfig, results: Results) -> tuple[str, list[list[str]], str]:
    """Make the parts of the comparison: what was trained, the table, and the note that explains its numbers.

    The table has one row per method and one column per split. A cell is mean ± standard deviation (number of runs). Behind them
    stand the interval of the main accuracy, and its difference from the best method.

    Args:
        base: the run whose choices the methods share.
        results: the runs of each method; at least one method has runs.

    Returns:
        One line; the rows of the table, of which the second is its rule; and the note.
    """
    example = next(result for runs in results.values() for result in runs.results)
    columns = _splits(results)
    total = headline(results)
    ranked = rows(results, total)
    head = ["method", *columns, f"{total}, 95 %", f"{total} − best"]
    held_out = {
        method: [r.holdout.get(total, r.holdout["all"]) for r in runs.results if r.holdout]
        for method, runs in results.items()
    }
    chosen_by = any(held_out.values())
    head = [*head[: len(columns) + 1], *["held out"] * chosen_by, *head[len(columns) + 1 :]]
    table = [head, ["---"] * len(head)]
    for method, runs in results.items():
        row = ranked.get(method)
        last = ["", ""] if row is None else [_interval(row.accuracy), _against(row, method == next(iter(ranked)))]
        numbers = [*(in_words(runs.values(split)) for split in columns), *[in_words(held_out[method])] * chosen_by]
        table.append([method, *numbers, *last])
    if len(results) == 1:  # nothing to compare it with
        table = [line[:-1] for line in table]
    known = any(not math.isnan(row.accuracy.low) for row in ranked.values())
    if not known:
        interval = 1 + len(columns) + chosen_by
        table = [[*line[:interval], *line[interval + 1 :]] for line in table]
    note = "Test accuracy in % after the last epoch: mean ± standard deviation (n seeds, the same data)."
    note += " balanced: the mean over classes." if "balanced" in columns else ""
    note += f" held out: {total} on training images that were held out; choose by it, never by the others." * chosen_by
    note += "".join(f" {split}: {classes}." for split, classes in ranges(base, example).items())
    if known:
        note += " 95 %: the interval over seeds and test images together" + ", and p the test that belongs to it" * (
            len(ranked) > 1
        )
        note += (
            ". With one seed it is that of this seed alone." if min(len(r.values) for r in ranked.values()) < 2 else "."
        )
    elif len(ranked) > 1:
        note += " p: Welch's t-test over the seeds alone; predictions that would tell more are not stored."
    note += " Holm: p corrected for all differences of this table." if len(ranked) > 2 else ""
    return setting(base, example.dataset or base.data), table, note


def markdown(base: RunConfig, results: Results) -> str:
    """Write the comparison in Markdown: what was trained, the table, which method is best, and the note.

    Args:
        base: the run whose choices the methods share.
        results: the runs of each method; at least one method has runs.

    Returns:
        The text.
    """
    caption, table, note = cells(base, results)
    text = f"{caption}\n\n{cli.markdown_table(table)}\n"
    return f"{text}{sentence(results, headline(results))}{note}\n"


def sentence(results: Results, split: str) -> str:
    """Say which method is best, and whether that is shown.

    It is shown where the best method differs from each other one at p below 5 %. No correction is needed for that: the
    statement is false only if one of these differences is no difference (Berger 1982). With a single seed it holds for its
    networks, not for the methods, so then it is not said.

    Args:
        results: the runs of each method.
        split: the accuracy that decides.

    Returns:
        One line; '' with fewer than two methods.
    """
    (ranked, labels), what = (
        (rows(results, split), next(iter(results.values())).labels),
        "balanced " * (split == "balanced"),
    )
    if len(ranked) < 2:
        return ""
    best, second, *_ = ranked
    difference = ranked[best].difference
    shown = all(row.difference.p < LEVEL for row in ranked.values())
    p = "" if math.isnan(difference.p) else f"p = {difference.p:.2g}"
    interval = "; ".join(filter(None, (_interval(difference, sign=True), p)))
    numbers = f"{difference.value:.2f} points" + f" ({interval})" * bool(interval)
    if shown and min(len(row.values) for row in ranked.values()) < 2:  # another seed may give another order
        return (
            f"Highest: {best}, with {ranked[best].accuracy.value:.2f} % {what}accuracy, {numbers} above {second} on these test "
            "images.\n"
        )
    if shown:
        others = "the other" if len(ranked) == 2 else "every other"
        return (
            f"Best: {best}, with {ranked[best].accuracy.value:.2f} % {what}accuracy, {numbers} above {second}. The "
            f"difference from {others} method is shown (p < {LEVEL}).\n"
        )
    fewer, more = sorted(len(ranked[method].values) for method in (best, second))
    limits = f"{fewer} and " * (fewer < more) + counted(more, "seed")
    limits += f" and {counted(len(labels), 'test image')}" if labels is not None else ""
    if f"{difference.value:.2f}" == "0.00":
        return (
            f"No method is shown to be best: {best} and {second} have the same {what}accuracy, "
            f"{ranked[best].accuracy.value:.2f} %"
            + f" (difference {interval})" * bool(interval)
            + f", with {limits}.\n"
        )
    return f"No method is shown to be best: {best} is {numbers} above {second} in {what}accuracy, with {limits}.\n"


def as_csv(base: RunConfig, results: Results) -> str:
    """Write the comparison as CSV, one row per method and split.

    Columns low and high are the interval of the mean. Columns from against on are the difference from the best method of
    the split; for the best one, from the runner-up. p_holm is p corrected for all methods.

    Args:
        base: the run whose choices the methods share.
        results: the runs of each method; at least one method has runs.

    Returns:
        The text.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(
        [
            *("dataset", "imbalance", "preset", "method", "split", "n", "test_images", "mean", "std", "low", "high"),
            *("against", "difference", "difference_low", "difference_high", "p", "p_holm"),
        ]
    )
    tables = {split: rows(results, split) for split in _splits(results)}
    for method, runs in results.items():
        for split, table in tables.items():
            if (row := table.get(method)) is None:
                continue
            shares = _shares([runs], split)
            std, difference = Sample.of(row.values).std, row.difference
            numbers = [_number(x) for x in (row.accuracy.value, std, row.accuracy.low, row.accuracy.high)]
            last = (difference.value, difference.low, difference.high, difference.p, row.holm)
            cell = [runs.results[0].dataset or base.data, base.factor, base.preset, method, split, len(row.values)]
            images = "" if shares is None else len(shares.images)
            writer.writerow([*cell, images, *numbers, row.against, *map(_number, last)])
    return file.getvalue()


def as_json(base: RunConfig, results: Results) -> str:
    """Write the comparison as JSON: a list of objects with the columns of :func:`as_csv`, null where there is no value.

    Args:
        base: the run whose choices the methods share.
        results: the runs of each method; at least one method has runs.

    Returns:
        The text.
    """
    words = {"dataset", "imbalance", "preset", "method", "split", "against"}
    rows = csv.DictReader(io.StringIO(as_csv(base, results)))
    whole = {"n", "test_images"}
    return (
        json.dumps(
            [
                {
                    name: value or None if name in words or not value else int(value) if name in whole else float(value)
                    for name, value in row.items()
                }
                for row in rows
            ],
            indent=1,
        )
        + "\n"
    )


def _number(x: float) -> str:
    return "" if math.isnan(x) else f"{x:.6g}"


def _interval(estimate: Estimate, *, sign: bool = False) -> str:
    if math.isnan(estimate.low):
        return ""
    return "{:{form}} to {:{form}}".format(estimate.low, estimate.high, form="+z.2f" if sign else "z.2f")


def _against(row: Row, best: bool) -> str:
    """A cell that compares a method with the best one."""
    if best:
        return "best"
    if math.isnan(row.difference.p):
        return f"{row.difference.value:+z.2f}"
    corrected = "" if math.isnan(row.holm) or row.holm == row.difference.p else f", Holm {row.holm:.2g}"
    interval = _interval(row.difference, sign=True)
    return f"{row.difference.value:+z.2f} ({interval}{'; ' * bool(interval)}p = {row.difference.p:.2g}{corrected})"


def headline(results: Results) -> str:
    """The accuracy that decides between methods.

    Args:
        results: the runs of each method.

    Returns:
        'balanced' where a run has it, else 'all'.
    """
    return "balanced" if "balanced" in _splits(results) else "all"


def _splits(results: Results) -> list[str]:
    """All splits of the runs, in their order. Runs on one data set have the same ones."""
    return list(dict.fromkeys(split for runs in results.values() for result in runs.results for split in result.last))
