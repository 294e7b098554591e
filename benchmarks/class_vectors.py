"""What is measured of a network's class vectors, for the rows of ``benchmarks.law``."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping

import numpy as np

from training.store import collapse
from training.store.runs import RunFolder


def shared(frequent: np.ndarray, rare: np.ndarray) -> float:
    """Measure how much of the rare classes' differences lies on directions that frequent classes use.

    The law is about directions of the rare classes' own. Where rare classes resemble frequent ones, theirs carry a difference
    too, for which nothing has to be paid.

    Args:
        frequent: (n, p) class vectors.
        rare: (m, p) class vectors.

    Returns:
        The share of the squared length of the rare ones, centred, in the span of the frequent ones, centred; NaN if it is 0.
    """
    one, other = (vectors.astype(float) - vectors.mean(axis=0, dtype=float) for vectors in (frequent, rare))
    _, _, axes = np.linalg.svd(one, full_matrices=False)
    whole = float((other**2).sum())
    return float(((other @ axes[: len(one) - 1].T) ** 2).sum()) / whole if whole > 0 else math.nan


def own_by_epoch(folder: RunFolder) -> Iterator[tuple[int, float]]:
    """Follow the rare classes' directions of their own through training.

    Args:
        folder: a finished run.

    Yields:
        Each epoch whose class vectors were stored, and the root mean square of the rare ones' singular values off the span of the
        frequent ones, over that of the frequent ones.
    """
    half = folder.config.K // 2
    for epoch in folder.geometries():
        W = folder.geometry(epoch)["class_vectors"]
        frequent, rare = (float((collapse.singular_values(part) ** 2).sum()) for part in (W[:half], W[half:]))
        if frequent > 0 and rare > 0:
            yield epoch, math.sqrt(max(rare * (1 - shared(W[:half], W[half:])), 0.0) / frequent)


def resembles(frequent: np.ndarray, rare: np.ndarray) -> list[tuple[int, float]]:
    """Find the frequent class that each rare one resembles most.

    Args:
        frequent: (n, p) class vectors.
        rare: (m, p) class vectors.

    Returns:
        For each rare class that frequent class, and the cosine of the two vectors, each centred inside its group.
    """
    one, other = (vectors.astype(float) - vectors.mean(axis=0, dtype=float) for vectors in (frequent, rare))
    one, other = (
        vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-300) for vectors in (one, other)
    )
    cosines = other @ one.T
    return [(int(k), float(cosines[i, k])) for i, k in enumerate(cosines.argmax(axis=1))]


def squares_of_norms(final: Mapping[str, np.ndarray]) -> float:
    """Add up the squared weights and biases of BatchNorms that the length of features is proportional to.

    Those are the first one and the last one of each block. Under ordinary weight decay at a minimum the sum is that of squared
    class vectors: both are the same derivative, along a stretch of class vectors or of features. Other parameters before a
    BatchNorm have none.

    Args:
        final: a run's final tensors by name.

    Returns:
        The sum.
    """
    last = re.compile(r"network\.backbone\.body\.(1|\d+\.norm2)\.(weight|bias)")
    return float(sum((values.astype(float) ** 2).sum() for name, values in final.items() if last.fullmatch(name)))


def nearest(vectors: np.ndarray) -> np.ndarray:
    """The distance of each class vector to the nearest other one.

    Args:
        vectors: (K, p) class vectors.

    Returns:
        (K,).
    """
    distances = np.linalg.norm(vectors[:, None].astype(float) - vectors[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    return distances.min(axis=1)
