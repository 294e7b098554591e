"""A run class by class: precision, recall, F1, support, and the area under the ROC curve. Needs no torch."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np
from scipy.special import log_softmax
from scipy.stats import rankdata

from training.store.confusions import Confusion


@dataclass(frozen=True, kw_only=True)
class ClassRow:
    """The measures of a class. A measure is NaN where it would divide by zero.

    Attributes:
        name: the class.
        training_images: its training images.
        support: its test images.
        precision: share of the images predicted as the class that belongs to it, in per cent.
        recall: share of its images that is predicted right, in per cent.
        f1: their harmonic mean, in per cent.
        auc: area under the ROC curve, the class against the rest, in 0..1.
    """

    name: str
    training_images: int
    support: int
    precision: float
    recall: float
    f1: float
    auc: float


def rows(
    names: Sequence[str], counts: Sequence[int], confusion: Confusion, logits: np.ndarray, labels: np.ndarray
) -> list[ClassRow]:
    """Measure each class.

    Args:
        names: K names.
        counts: (K,) training images of each class.
        confusion: what the test images are predicted as.
        logits: (n, K) of the test images.
        labels: (n,) their classes.

    Returns:
        K rows.
    """
    measures, log_p = confusion.measures, log_softmax(logits, axis=1)
    return [
        ClassRow(
            name=name,
            training_images=counts[k],
            support=int(confusion.total[k]),
            precision=float(measures["precision"][k]),
            recall=float(measures["recall"][k]),
            f1=float(measures["F1"][k]),
            auc=auc(log_p[:, k], labels == k),
        )
        for k, name in enumerate(names)
    ]


def auc(scores: np.ndarray, members: np.ndarray) -> float:
    """Compute how often a member scores higher than another image, ties counting half.

    Args:
        scores: (n,).
        members: (n,) bool.

    Returns:
        The area under the ROC curve, in 0..1; NaN unless there are members and others.
    """
    n, m = int(members.sum()), int((~members).sum())
    if not n or not m:
        return math.nan
    return float((rankdata(scores)[members].sum() - n * (n + 1) / 2) / (n * m))


def as_csv(report: Sequence[ClassRow]) -> str:
    """Write CSV, one row per class.

    Args:
        report: the rows.

    Returns:
        The text; a measure that does not exist is empty.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([f.name for f in fields(ClassRow)])
    for row in report:
        writer.writerow([_cell(value) for value in asdict(row).values()])
    return file.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return value


def surest_errors(logits: np.ndarray, labels: np.ndarray, number: int) -> list[tuple[int, int, float]]:
    """Find the images that a network is surest about and wrong.

    Args:
        logits: (n, K).
        labels: (n,) true classes.
        number: how many at most.

    Returns:
        For each image: its number, the class that it is predicted as, and that class's softmax score; the surest first.
    """
    predicted = logits.argmax(axis=1)
    scores = np.exp(log_softmax(logits, axis=1).max(axis=1))
    wrong = np.flatnonzero(predicted != labels)
    order = wrong[np.argsort(-scores[wrong], kind="stable")][:number]
    return [(int(i), int(predicted[i]), float(scores[i])) for i in order]
