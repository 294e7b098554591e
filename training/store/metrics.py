"""Accuracy by class and by split."""

from __future__ import annotations

import numpy as np

from training.catalogue import CATALOGUE, FEW, MANY


def splits(dataset: str, counts: np.ndarray) -> dict[str, tuple[int, int]]:
    """First and last class of many, medium and few, both included: as published, else by the training images of each class.

    counts: (K,), falling. A split without classes is left out.
    """
    published = CATALOGUE[dataset].ranges
    if published is not None:
        return dict(published)
    ends = [0, int((counts > MANY).sum()), int((counts >= FEW).sum()), len(counts)]
    found = zip(("many", "med", "few"), ends[:-1], ends[1:], strict=True)
    return {name: (first, end - 1) for name, first, end in found if first < end}


def split_of(splits: dict[str, tuple[int, int]], K: int) -> np.ndarray:
    """The number of each class's split, (K,) int64; of a class in none, -1."""
    found = np.full(K, -1)
    for number, (first, last) in enumerate(splits.values()):
        found[first : last + 1] = number
    return found


def by_class(labels: np.ndarray, predictions: np.ndarray, K: int) -> tuple[np.ndarray, np.ndarray]:
    """Test images of each class that were right, and that there are, (K,) each. labels, predictions: (n,) classes."""
    return np.bincount(labels[predictions == labels], minlength=K), np.bincount(labels, minlength=K)


def by_split(correct: np.ndarray, total: np.ndarray, splits: dict[str, tuple[int, int]]) -> dict[str, float]:
    """Accuracy in per cent: 'all' over all images, each split as the mean of its classes' recalls; 'balanced' as that of all
    classes, where they differ in test images.

    correct, total: (K,) images of each class that were right, and that there are. splits: first and last class, both included.
    """
    recall = 100 * correct / total
    found = {name: float(recall[first : last + 1].mean()) for name, (first, last) in splits.items()}
    balanced = {"balanced": float(recall.mean())} if len(set(total.tolist())) > 1 else {}
    return {"all": float(100 * correct.sum() / total.sum())} | balanced | found
