"""Show which classes test images are predicted as, for finished runs: ``python -m training.confusion RUN...``.

Minority collapse makes classes indistinguishable from one another. An imbalanced network may also tell classes apart
and yet prefer the frequent ones. Accuracy is low in both cases. Predictions among the classes of one split alone
separate the cases: collapsed classes are right as often as by chance, 100 / (classes of the split) per cent, and the
cosines of their class vectors are 1. Needs no torch.
"""

from __future__ import annotations

import csv
import io
import math
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lpm.console import cli
from lpm.console.errors import InvalidInput
from lpm.console.text import markdown as markdown_text
from training.store import metrics, runs
from training.store.metrics import by_class, split_of
from training.store.runs import RunFolder
from training.store.tables import in_words, ranges, setting

TOP = 10
"""Pairs of classes that Markdown shows by default."""

NOTE = """\
In % of a class's test images, the mean over the classes of a split. right: predicted as their own class. another of:
predicted as another class of that split. right among its own split: predicted as their own class among the classes of
their split alone; by chance: what a guess among these gives. Cosines are those of centred class vectors; they are 1
where classes have collapsed. Mean ± standard deviation (n seeds)."""
"""The note below the table that explains its columns."""


@dataclass(frozen=True)
class Confusion:
    """Which classes a run's test images are predicted as. K classes by falling count of training images, in S splits.

    Attributes:
        shares: (S, S + 2) means over the classes of each split, in per cent of a class's test images. First column:
            predicted as their own class. Next S columns: predicted as another class, which is in that split. Last
            column: predicted as their own class where only the classes of their split can be chosen. NaN for a split
            without test images.
        pairs: by (class, another class that it is predicted as), per cent of the first class's test images; pairs that
            never occur are left out.
        directions: (K, p) class vectors of length 1, centred over the classes, because a common part changes no
            prediction.
    """

    shares: np.ndarray
    pairs: dict[tuple[int, int], float]
    directions: np.ndarray

    def cosine(self, a: int, b: int) -> float:
        """Compute the cosine of two centred class vectors.

        Args:
            a: number of a class, from 0.
            b: number of another class.

        Returns:
            The cosine, in [-1, 1].
        """
        return float(self.directions[a] @ self.directions[b])

    def closeness(self, first: int, last: int) -> float:
        """Compute the mean cosine between the class vectors of some consecutive classes.

        Args:
            first: number of the first class.
            last: number of the last class, included.

        Returns:
            The mean over all pairs of different classes: 1 where they have collapsed, NaN for a single class.
        """
        vectors = self.directions[first : last + 1]
        n = len(vectors)
        # |sum of the vectors|^2 is the sum of all n^2 inner products; without the n squares, n (n - 1) are left.
        return float(((vectors.sum(axis=0) ** 2).sum() - (vectors**2).sum()) / (n * (n - 1))) if n > 1 else math.nan


def of(folder: RunFolder) -> Confusion:
    """Read the predictions of a finished run, and count them.

    Args:
        folder: the run.

    Returns:
        Its confusion.

    Raises:
        InvalidInput: if the run is damaged, or was made by a version that stored no predictions.
    """
    config, final, vectors = folder.config, folder.final(), folder.geometry(folder.config.epochs).get("class_vectors")
    if "test_answers" not in final:
        raise InvalidInput(
            f"{str(folder.path)!r} has no predictions, because an older version made it; training.measure adds them"
        )
    labels, predictions = final.get("test_labels"), final["test_answers"]
    if not (
        labels is not None
        and vectors is not None
        and predictions.shape == (*labels.shape, 2)
        and vectors.dtype.kind == "f"
        and vectors.ndim == 2
        and len(vectors) == config.K
        and np.isfinite(vectors).all()
        and all(x.dtype.kind == "i" and x.size and x.min() >= 0 and x.max() < config.K for x in (labels, predictions))
    ):
        raise InvalidInput(
            f"{str(folder.path / 'final.safetensors')!r} does not fit the run; training.measure makes it again"
        )
    return counted(labels, predictions, vectors, splits_of(folder))


def splits_of(folder: RunFolder) -> dict[str, tuple[int, int]]:
    """Find the many, medium and few classes of a finished run.

    Args:
        folder: the run.

    Returns:
        First and last class of each split, both included.

    Raises:
        InvalidInput: if the stored class counts are damaged.
    """
    counts = folder.result("train_counts").train_counts
    if len(counts) != folder.config.K:
        raise InvalidInput(
            f"{str(folder.path / 'metrics.json')!r} has class counts of another run; delete it to finish the run again"
        )
    return metrics.splits(folder.config.dataset, np.array(counts), folder.config.tail)


def counted(
    labels: np.ndarray, predictions: np.ndarray, vectors: np.ndarray, splits: dict[str, tuple[int, int]]
) -> Confusion:
    """Count predictions by class and by split.

    Args:
        labels: (n,) classes of the test images.
        predictions: (n, 2) the likeliest class of each image, and the likeliest one among the classes of its label's
            split.
        vectors: (K, p) class vectors.
        splits: first and last class of each split, both included.

    Returns:
        The confusion.
    """
    K, S = len(vectors), len(splits)
    split, total = split_of(splits, K), np.bincount(labels, minlength=K)
    per_class = np.zeros((K, S + 2))  # as Confusion.shares, one row per class
    for column, predicted in ((0, predictions[:, 0]), (S + 1, predictions[:, 1])):
        per_class[:, column] = by_class(labels, predicted, K)[0]
    wrong = predictions[:, 0] != labels
    true, predicted = labels[wrong], predictions[wrong, 0].astype(np.int64)
    np.add.at(per_class, (true, 1 + split[predicted]), 1)
    per_class *= 100 / np.maximum(total, 1)[:, None]
    codes, counts = np.unique(true * K + predicted, return_counts=True)  # one number per pair of classes
    centred = vectors.astype(float) - vectors.mean(axis=0, dtype=float)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    # A class without a test image enters no mean.
    tested = [per_class[first : last + 1][total[first : last + 1] > 0] for first, last in splits.values()]
    return Confusion(
        shares=np.stack([rows.mean(axis=0) if len(rows) else np.full(S + 2, np.nan) for rows in tested]),
        pairs={
            divmod(int(code), K): 100 * int(n) / int(total[code // K]) for code, n in zip(codes, counts, strict=True)
        },
        directions=centred / np.maximum(lengths, np.finfo(float).tiny),
    )


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
    add, formats = parser.add_argument, {"markdown": markdown, "csv": as_csv}
    add(
        "runs",
        type=Path,
        nargs="+",
        metavar="RUN",
        help="finished runs that differ in their seed alone, or folders that hold them",
    )
    add("--top", type=int, default=TOP, metavar="N", help="pairs of classes that Markdown shows, most frequent first")
    add("--format", type=cli.choice(*formats), default="markdown", metavar="NAME", help="|".join(formats))
    options = parser.parse_args(arguments)
    if options.top < 0:
        raise InvalidInput(f"--top {options.top} must be at least 0")
    folders = [runs.at(path) for path in runs.run_paths(options.runs)]
    for folder in folders[1:]:
        if replace(folder.config, seed=folders[0].config.seed) != folders[0].config:
            raise InvalidInput(
                f"{str(folder.path)!r} differs from {str(folders[0].path)!r} in more than its seed; "
                "name runs of one setting"
            )
    print(formats[options.format](folders[0], [of(folder) for folder in folders], options.top), end="")
    return 0


def markdown(first: RunFolder, confusions: Sequence[Confusion], top: int) -> str:
    """Write two Markdown tables: one of the splits, and one of the pairs of classes that are confused most often.

    Args:
        first: one of the runs, which differ in their seed alone.
        confusions: confusion of each run; the tables show means over the runs.
        top: number of pairs of classes.

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
    title = f"{setting(first.config, result.dataset or first.config.data)}, {first.config.method}"
    text = f"{title}\n\n{cli.markdown_table(rows)}\n{NOTE}\n"
    text += "".join(f"{markdown_text(name)}: {classes}.\n" for name, classes in ranges(first.config, result).items())
    names, pairs = _names(first), _pairs(confusions)[:top]
    rows = [["class", "predicted as", "% of its images", "cosine of the class vectors"], ["---"] * 4]
    rows += [[names[a], names[b], f"{share:.2f}", f"{cosine:.3f}"] for a, b, share, cosine in pairs]
    return text + (f"\n{cli.markdown_table(rows)}" if pairs else "")


def as_csv(first: RunFolder, confusions: Sequence[Confusion], top: int) -> str:
    """Write CSV, one row per pair of classes that is confused; numbers are means over the runs.

    Args:
        first: one of the runs, which differ in their seed alone.
        confusions: confusion of each run.
        top: has no effect, because CSV has all pairs.

    Returns:
        The text.
    """
    file, names = io.StringIO(), _names(first)
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


def _names(folder: RunFolder) -> list[str]:
    """The names of the classes; their numbers where the run has no names."""
    names = folder.result().class_names
    return list(names) if len(names) == folder.config.K else list(map(str, range(folder.config.K)))


if __name__ == "__main__":
    sys.exit(cli.run(main))
