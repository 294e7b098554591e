"""What the test images of finished runs are taken for: ``python -m training.confusion RUN...``. Needs no torch.

Minority collapse makes classes indistinguishable from one another; an imbalanced network may also tell them apart and yet prefer
the frequent ones. Accuracy is low in both cases. What separates them is a choice among the classes of a split alone: collapsed
classes are told apart as often as by chance, 100 / (classes of the split) per cent, and the cosines of their vectors are 1.
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
from training.store import runs
from training.store.metrics import by_class, split_of, splits
from training.store.runs import RunFolder
from training.store.tables import in_words, ranges, setting

TOP = 10
"""Pairs of classes that are shown."""

NOTE = """\
In % of a class's test images, the mean over a split's classes: taken for their own class, or for another one of a split; and for
their own where only their split's classes are to choose from. Cosines (of centred class vectors) are 1 where classes have
collapsed. Mean ± standard deviation (n seeds)."""


@dataclass(frozen=True)
class Confusion:
    """What a run's test images are taken for, in per cent of a class's images. K classes, by falling count, S splits.

    shares: (S, S + 2), the mean over a split's classes of: right; taken for another class of each split; right where only the
    classes of their own split are to choose from. pairs: by (class, another one it is taken for). directions: (K, p), the class
    vectors, centred over the classes (a common part changes no answer) and of length 1.
    """

    shares: np.ndarray
    pairs: dict[tuple[int, int], float]
    directions: np.ndarray

    def cosine(self, a: int, b: int) -> float:
        """Of two class vectors."""
        return float(self.directions[a] @ self.directions[b])

    def closeness(self, first: int, last: int) -> float:
        """Mean cosine of the class vectors first..last, both included; 1 where they have collapsed, NaN of a single one."""
        some = self.directions[first : last + 1]
        n = len(some)
        return float(((some.sum(axis=0) ** 2).sum() - (some**2).sum()) / (n * (n - 1))) if n > 1 else math.nan


def of(folder: RunFolder) -> Confusion:
    """Read a finished run. Raises InvalidInput when it is damaged, or older than what is asked of it."""
    config, final, vectors = folder.config, folder.final(), folder.geometry(folder.config.epochs).get("class_vectors")
    if "test_answers" not in final:
        raise InvalidInput(
            f"{str(folder.path)!r} has no predictions, as an older version left it: training.measure adds them"
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
            f"{str(folder.path / 'final.safetensors')!r} does not fit the run; training.measure mends it"
        )
    return counted(labels, predictions, vectors, splits_of(folder))


def splits_of(folder: RunFolder) -> dict[str, tuple[int, int]]:
    """The splits of a finished run. Raises InvalidInput when its class counts are damaged."""
    counts = folder.result("train_counts").train_counts
    if len(counts) != folder.config.K:
        raise InvalidInput(
            f"{str(folder.path / 'metrics.json')!r} has class counts of another run; delete it to finish the run again"
        )
    return splits(folder.config.dataset, np.array(counts))


def counted(
    labels: np.ndarray, predictions: np.ndarray, vectors: np.ndarray, splits: dict[str, tuple[int, int]]
) -> Confusion:
    """labels: (n,). predictions: (n, 2), the likeliest class, and the likeliest one of the label's split. vectors: (K, p)."""
    K, S = len(vectors), len(splits)
    split, total = split_of(splits, K), np.bincount(labels, minlength=K)
    by = np.zeros((K, S + 2))
    for column, given in ((0, predictions[:, 0]), (S + 1, predictions[:, 1])):
        by[:, column] = by_class(labels, given, K)[0]
    wrong = predictions[:, 0] != labels
    told, taken = labels[wrong], predictions[wrong, 0].astype(np.int64)
    np.add.at(by, (told, 1 + split[taken]), 1)
    by *= 100 / np.maximum(total, 1)[:, None]
    codes, number = np.unique(told * K + taken, return_counts=True)
    centred = vectors.astype(float) - vectors.mean(axis=0, dtype=float)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    return Confusion(
        np.stack([by[first : last + 1].mean(axis=0) for first, last in splits.values()]),
        {divmod(int(code), K): 100 * int(n) / int(total[code // K]) for code, n in zip(codes, number, strict=True)},
        centred / np.maximum(lengths, np.finfo(float).tiny),
    )


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = cli.Parser(
        "training.confusion", "what the test images of finished runs are taken for, by split and by class"
    )
    add, formats = parser.add_argument, {"markdown": markdown, "csv": as_csv}
    add(
        "runs",
        type=Path,
        nargs="+",
        metavar="RUN",
        help="finished runs that differ in their seed alone, or what holds them",
    )
    add("--top", type=int, default=TOP, metavar="N", help="pairs of classes that Markdown shows")
    add("--format", type=cli.choice(*formats), default="markdown", metavar="NAME", help="|".join(formats))
    options = parser.parse_args(arguments)
    if options.top < 0:
        raise InvalidInput(f"--top {options.top} must be at least 0")
    folders = [runs.at(path) for path in runs.each(options.runs)]
    for folder in folders[1:]:
        if replace(folder.config, seed=folders[0].config.seed) != folders[0].config:
            raise InvalidInput(f"{str(folder.path)!r} differs from {str(folders[0].path)!r} in more than its seed")
    print(formats[options.format](folders[0], [of(folder) for folder in folders], options.top), end="")
    return 0


def markdown(first: RunFolder, found: Sequence[Confusion], top: int) -> str:
    """A table of the splits and one of the ``top`` most frequent pairs of classes; means over runs that differ in their seed."""
    result, parts = first.result(), splits_of(first)
    columns = ["true", "right", *(f"another of {name}" for name in parts), "right among its own split", "by chance"]
    columns += ["mean cosine of its class vectors"]
    rows = [columns, ["---"] * len(columns)]
    for number, (name, (start, last)) in enumerate(parts.items()):
        shares = np.stack([one.shares[number] for one in found], axis=1)
        cosines = [one.closeness(start, last) for one in found if last > start]
        guess = f"{100 / (last - start + 1):.2f}"
        rows.append([name, *(in_words(values.tolist()) for values in shares), guess, in_words(cosines)])
    where = f"{setting(first.config, result.dataset or first.config.data)}, {first.config.method}"
    text = f"{where}\n\n{cli.markdown_table(rows)}\n{NOTE}\n"
    text += "".join(f"{name}: {what}.\n" for name, what in ranges(first.config, result).items())
    names, every = _names(first), _pairs(found)[:top]
    rows = [["class", "taken for", "% of its images", "cosine of the class vectors"], ["---"] * 4]
    rows += [[names[a], names[b], f"{share:.2f}", f"{cosine:.3f}"] for a, b, share, cosine in every]
    return text + (f"\n{cli.markdown_table(rows)}" if every else "")


def as_csv(first: RunFolder, found: Sequence[Confusion], top: int) -> str:
    """A row for each pair of classes that is confused, means over the runs; all of them, whatever ``top`` is."""
    file, names = io.StringIO(), _names(first)
    writer = csv.writer(file, lineterminator="\n")
    part = split_of(splits_of(first), first.config.K)
    words = [*splits_of(first), ""]
    writer.writerow(["class", "split", "taken_for", "its_split", "percent", "cosine", "runs"])
    for a, b, share, cosine in _pairs(found):
        writer.writerow(
            [names[a], words[part[a]], names[b], words[part[b]], f"{share:.6g}", f"{cosine:.6g}", len(found)]
        )
    return file.getvalue()


def _pairs(found: Sequence[Confusion]) -> list[tuple[int, int, float, float]]:
    """Classes that are confused, the most often ones first: a class, what it is taken for, how often in %, their cosine."""
    every = sorted({pair for one in found for pair in one.pairs})
    rows = [
        (
            *pair,
            statistics.fmean(one.pairs.get(pair, 0.0) for one in found),
            statistics.fmean(one.cosine(*pair) for one in found),
        )
        for pair in every
    ]
    return sorted(rows, key=lambda row: -row[2])


def _names(folder: RunFolder) -> list[str]:
    names = folder.result().class_names
    return list(names) if len(names) == folder.config.K else list(map(str, range(folder.config.K)))


if __name__ == "__main__":
    sys.exit(cli.run(main))
