"""Show which classes test images are predicted as, for finished runs: ``python -m training.confusion RUN...``.

Minority collapse makes classes indistinguishable from one another. An imbalanced network may also tell classes apart
and yet prefer the frequent ones. Accuracy is low in both cases. Predictions among the classes of one split alone
separate the cases: collapsed classes are right as often as by chance, 100 / (classes of the split) per cent, and the
cosines of their class vectors are 1. Needs torch and the images with ``--correction`` alone.
"""

from __future__ import annotations

import csv
import io
import json
import shlex
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lpm.console import cli
from lpm.console.errors import InvalidInput
from lpm.console.text import markdown as markdown_text
from training.corrected import corrected_run, finished
from training.options import add_correction, add_data, add_device, add_lists, settings_of
from training.store import runs
from training.store.confusion_picture import check_path, draw
from training.store.confusions import Confusion, mean_matrix, names_of, of, splits_of
from training.store.metrics import split_of
from training.store.runs import RunFolder
from training.store.tables import in_words, ranges, setting

TOP = 10
"""Pairs of classes that Markdown shows by default."""

FEW_CLASSES = 20
"""Classes up to which Markdown has all of them, and the matrix."""

MEASURES = (
    "In %. recall: the share of a class's test images that is predicted right. precision: the share of the images "
    "predicted as the class that belongs to it; it depends on how many test images the other classes have. F1: their "
    "harmonic mean."
)
"""The note below the table of classes."""

MATRIX = (
    "Rows are true classes, columns what they are predicted as: % of a class's test images, the mean over the seeds."
)
"""The note below the matrix."""

NOTE = """\
In % of a class's test images, the mean over the classes of a split. right: predicted as their own class. another of:
predicted as another class of that split. right among its own split: predicted as their own class among the classes of
their split alone; by chance: what a guess among these gives. Cosines are those of centred class vectors; they are 1
where classes have collapsed. Mean ± standard deviation (n seeds)."""
"""The note below the table that explains its columns."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: words of the command line; those of the process if None.

    Returns:
        Its exit status.

    Raises:
        InvalidInput: if the runs differ in more than their seed, or one is not finished or is damaged.
    """
    parser = cli.Parser(
        "training.confusion", "which classes the test images of finished runs are predicted as, by split and by class"
    )
    add, formats = parser.add_argument, {"markdown": markdown, "csv": as_csv, "matrix": as_matrix, "json": as_json}
    add(
        "runs",
        type=Path,
        nargs="+",
        metavar="RUN",
        help="finished runs that differ in their seed alone, or folders that hold them",
    )
    add("--top", type=int, default=TOP, metavar="N", help="pairs of classes that Markdown shows, most frequent first")
    add(
        "--format",
        type=cli.choice(*formats),
        default="markdown",
        metavar="NAME",
        help=f"{'|'.join(formats)}: csv has one row per pair of classes, matrix is a CSV of the K x K matrix of images",
    )
    add("--out", type=Path, metavar="FILE", help="also draw the matrix into this file (.png, .pdf or .svg)")
    add_correction(parser)
    add_data(parser, weights=False)
    add_lists(parser)
    add_device(parser)
    options = parser.parse_args(arguments)
    settings, after = settings_of(options), ""
    if options.out is not None:
        check_path(options.out)
    if options.top < 0:
        raise InvalidInput(f"--top {options.top} must be at least 0")
    folders = runs.named(options.runs)
    for folder in folders[1:]:
        if replace(folder.config, seed=folders[0].config.seed) != folders[0].config:
            raise InvalidInput(
                f"{str(folder.path)!r} differs from {str(folders[0].path)!r} in more than its seed; "
                "name runs of one setting"
            )
    confusions = [of(folder) for folder in folders]
    if options.correction is not None:
        runs_after = [corrected_run(finished(folder, options), options.correction, settings) for folder in folders]
        confusions, after = [run.confusion for run in runs_after], f", {runs_after[0].row.title}"
    if options.out is not None:
        result = folders[0].result()
        title = f"{folders[0].config.method}{after} on {result.dataset or folders[0].config.data}"
        draw(confusions, names_of(folders[0]), list(splits_of(folders[0]).items()), title, options.out)
    print(formats[options.format](folders[0], confusions, options.top, after), end="")
    if options.format == "markdown":
        words = " ".join(shlex.quote(str(path)) for path in options.runs)
        cli.next_step(f"python -m training.diagnose {words} says why, and what to try")
    return 0


def markdown(first: RunFolder, confusions: Sequence[Confusion], top: int, after: str = "") -> str:
    """Write two Markdown tables: one of the splits, and one of the pairs of classes that are confused most often.

    Args:
        first: one of the runs, which differ in their seed alone.
        confusions: confusion of each run; the tables show means over the runs.
        top: number of pairs of classes.
        after: words that follow the method's name.

    Returns:
        The text, with a note that explains the columns.
    """
    result, splits = first.result(), splits_of(first)
    columns = ["true", "right", *(f"another of {name}" for name in splits), "right among its own split", "by chance"]
    columns += ["mean cosine of its class vectors"]
    rows = [columns, ["---"] * len(columns)]
    for number, (name, (start, last)) in enumerate(splits.items()):
        shares = np.stack([confusion.shares[number] for confusion in confusions], axis=1)
        cosines = [confusion.closeness(start, last) for confusion in confusions if last > start]
        chance = f"{100 / (last - start + 1):.2f}"
        cells = [in_words(values[~np.isnan(values)].tolist()) for values in shares]
        rows.append([name, *cells, chance, in_words(cosines)])
    title = (
        f"{setting(first.config, result.dataset or first.config.data)}, {markdown_text(first.config.method + after)}"
    )
    text = f"{title}\n\n{cli.markdown_table(rows)}\n{NOTE}\n"
    text += "".join(f"{markdown_text(name)}: {classes}.\n" for name, classes in ranges(first.config, result).items())
    text += _classes(first, confusions)
    names, pairs = names_of(first), _pairs(confusions)[:top]
    rows = [["class", "predicted as", "% of its images", "cosine of the class vectors"], ["---"] * 4]
    rows += [[names[a], names[b], f"{share:.2f}", f"{cosine:.3f}"] for a, b, share, cosine in pairs]
    return text + (f"\n{cli.markdown_table(rows)}" if pairs else "")


def _classes(first: RunFolder, confusions: Sequence[Confusion]) -> str:
    """A table of the classes' measures, and the matrix; of many classes those with the lowest F1, and no matrix."""
    names, few = names_of(first), first.config.K <= FEW_CLASSES
    measures = [confusion.measures for confusion in confusions]
    f1 = np.mean([one["F1"] for one in measures], axis=0)
    shown = range(len(names)) if few else [int(k) for k in np.argsort(f1, kind="stable") if not np.isnan(f1[k])][:TOP]
    rows = [["class", "training images", "test images", *measures[0]], ["---"] * (3 + len(measures[0]))]
    counts = first.result().train_counts
    for k in shown:
        values = ([float(one[name][k]) for one in measures if not np.isnan(one[name][k])] for name in measures[0])
        rows.append([names[k], f"{counts[k]:,}", f"{confusions[0].total[k]:,}", *map(in_words, values)])
    order = "" if few else f" {len(shown)} of {len(names):,} classes: those with the lowest F1."
    text = f"\n{cli.markdown_table(rows)}\n{MEASURES}{order}\n"
    if not few:
        return text
    matrix = mean_matrix(confusions)
    rows = [["true class", *names], ["---"] * (1 + len(names))]
    rows += [
        [name, *("–" if np.isnan(value) else f"{value:.1f}" for value in row)]
        for name, row in zip(names, matrix, strict=True)
    ]
    return text + f"\n{cli.markdown_table(rows)}\n{MATRIX}\n"


def as_matrix(first: RunFolder, confusions: Sequence[Confusion], top: int, after: str = "") -> str:
    """Write the K x K matrix as CSV: numbers of images, summed over the runs.

    Args:
        first: one of the runs, which differ in their seed alone.
        confusions: confusion of each run.
        top: has no effect.
        after: has no effect.

    Returns:
        The text; its first row names the predicted classes, the first column the true ones.
    """
    file, names = io.StringIO(), names_of(first)
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["true", *names])
    for a, name in enumerate(names):
        row = np.zeros(len(names), int)
        for confusion in confusions:
            row += [confusion.counts.get((a, b), 0) for b in range(len(names))]
        writer.writerow([name, *row.tolist()])
    return file.getvalue()


def as_json(first: RunFolder, confusions: Sequence[Confusion], top: int, after: str = "") -> str:
    """Write everything as JSON.

    Args:
        first: one of the runs, which differ in their seed alone.
        confusions: confusion of each run.
        top: has no effect.
        after: ', ' and the correction after which images are predicted; empty without.

    Returns:
        The text: classes with their measures as means over the runs, and by pair of classes the images, summed over the
        runs; pairs that never occur are left out.
    """
    names, counts = names_of(first), first.result().train_counts
    means = {
        name: np.mean([confusion.measures[name] for confusion in confusions], axis=0) for name in confusions[0].measures
    }
    images: Counter[tuple[int, int]] = Counter()
    for confusion in confusions:
        images.update(confusion.counts)
    content = {
        "runs": len(confusions),
        "correction": after.removeprefix(", ") or None,
        "classes": [
            {
                **{"name": name, "training_images": counts[k], "test_images": int(confusions[0].total[k])},
                **{measure.lower(): float(values[k]) for measure, values in means.items()},
            }
            for k, name in enumerate(names)
        ],
        "images": [{"true": names[a], "predicted": names[b], "images": n} for (a, b), n in sorted(images.items())],
    }
    return json.dumps(cli.plain_data(content), indent=1, allow_nan=False) + "\n"


def as_csv(first: RunFolder, confusions: Sequence[Confusion], top: int, after: str = "") -> str:
    """Write CSV, one row per pair of classes that is confused; numbers are means over the runs.

    Args:
        first: one of the runs, which differ in their seed alone.
        confusions: confusion of each run.
        top: has no effect, because CSV has all pairs.
        after: has no effect.

    Returns:
        The text.
    """
    file, names = io.StringIO(), names_of(first)
    writer = csv.writer(file, lineterminator="\n")
    split = split_of(splits_of(first), first.config.K)
    words = [*splits_of(first), ""]  # the last for -1, the number of no split
    writer.writerow(["class", "split", "taken_for", "its_split", "percent", "cosine", "runs"])
    for a, b, share, cosine in _pairs(confusions):
        writer.writerow(
            [names[a], words[split[a]], names[b], words[split[b]], f"{share:.6g}", f"{cosine:.6g}", len(confusions)]
        )
    return file.getvalue()


def _pairs(confusions: Sequence[Confusion]) -> list[tuple[int, int, float, float]]:
    """Pairs of classes that are confused, most frequent first, as means over the runs.

    Each is a class, the class that it is predicted as, how often in per cent of its images, and the cosine of their
    vectors.
    """
    pairs = sorted({pair for confusion in confusions for pair in confusion.pairs})
    rows = [
        (
            *pair,
            statistics.fmean(confusion.pairs.get(pair, 0.0) for confusion in confusions),
            statistics.fmean(confusion.cosine(*pair) for confusion in confusions),
        )
        for pair in pairs
    ]
    return sorted(rows, key=lambda row: -row[2])


if __name__ == "__main__":
    sys.exit(cli.run(main))
