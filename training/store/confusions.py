"""Which classes a finished run's test images are predicted as, counted. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lpm.console.errors import InvalidInput
from training.store import metrics
from training.store.metrics import by_class, split_of
from training.store.runs import RunFolder


@dataclass(frozen=True)
class Confusion:
    """Which classes a run's test images are predicted as. K classes by falling count of training images, in S splits.

    Attributes:
        shares: (S, S + 2) means over the classes of each split, in per cent of a class's test images. First column:
            predicted as their own class. Next S columns: predicted as another class, which is in that split. Last
            column: predicted as their own class where only the classes of their split can be chosen. NaN for a split
            without test images.
        counts: by (class, class that it is predicted as), the number of images; pairs that never occur are left out.
        total: (K,) test images of each class.
        directions: (K, p) class vectors of length 1, centred over the classes, because a common part changes no
            prediction.
    """

    shares: np.ndarray
    counts: dict[tuple[int, int], int]
    total: np.ndarray
    directions: np.ndarray

    @property
    def pairs(self) -> dict[tuple[int, int], float]:
        """By (class, another class that it is predicted as), per cent of the first class's test images."""
        return {(a, b): 100 * n / int(self.total[a]) for (a, b), n in self.counts.items() if a != b}

    @property
    def right(self) -> np.ndarray:
        """Images of each class that are predicted right, (K,)."""
        return np.array([self.counts.get((k, k), 0) for k in range(len(self.total))])

    @property
    def predicted(self) -> np.ndarray:
        """Images that are predicted as each class, (K,)."""
        sums = np.zeros(len(self.total), int)
        for (_, b), n in self.counts.items():
            sums[b] += n
        return sums

    @property
    def measures(self) -> dict[str, np.ndarray]:
        """Recall, precision and F1 of each class in per cent, (K,) each.

        Recall is the share of a class's images that is predicted right. Precision is the share of the images predicted as the
        class that belongs to it. F1 = 2 right / (images + predicted) is their harmonic mean. A measure that would divide by
        zero is NaN, and F1 is so for a class without test images.
        """
        right, total, predicted = (100.0 * self.right, self.total.astype(float), self.predicted.astype(float))
        with np.errstate(invalid="ignore"):  # 0 / 0
            recall, precision, f1 = right / total, right / predicted, 2 * right / (total + predicted)
        return {"recall": recall, "precision": precision, "F1": np.where(total > 0, f1, np.nan)}

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


def names_of(folder: RunFolder) -> list[str]:
    """The names of a finished run's classes.

    Args:
        folder: the run.

    Returns:
        K names; numbers where the run has no names.
    """
    names = folder.result().class_names
    return list(names) if len(names) == folder.config.K else list(map(str, range(folder.config.K)))


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
    true, predicted = labels.astype(np.int64), predictions[:, 0].astype(np.int64)
    wrong = predicted != true
    np.add.at(per_class, (true[wrong], 1 + split[predicted[wrong]]), 1)
    per_class *= 100 / np.maximum(total, 1)[:, None]
    codes, counts = np.unique(true * K + predicted, return_counts=True)  # one number per pair of classes
    centred = vectors.astype(float) - vectors.mean(axis=0, dtype=float)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    # A class without a test image enters no mean.
    tested = [per_class[first : last + 1][total[first : last + 1] > 0] for first, last in splits.values()]
    return Confusion(
        shares=np.stack([rows.mean(axis=0) if len(rows) else np.full(S + 2, np.nan) for rows in tested]),
        counts={divmod(int(code), K): int(n) for code, n in zip(codes, counts, strict=True)},
        total=total,
        directions=centred / np.maximum(lengths, np.finfo(float).tiny),
    )


def mean_matrix(confusions: Sequence[Confusion]) -> np.ndarray:
    """The confusion matrix.

    Args:
        confusions: confusion of each run, with the same K classes.

    Returns:
        (K, K) per cent of a row's test images that are predicted as the column's class, the mean over the runs; NaN in rows
        of classes without test images.
    """
    K = len(confusions[0].total)
    matrix = np.zeros((K, K))
    for confusion in confusions:
        for pair, n in confusion.counts.items():
            matrix[pair] += n
    with np.errstate(invalid="ignore"):  # a class without test images
        return 100 * matrix / (len(confusions) * confusions[0].total[:, None])
