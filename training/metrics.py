"""Accuracy by class and by split."""

from __future__ import annotations

import numpy as np


def by_split(correct: np.ndarray, total: np.ndarray, splits: dict[str, tuple[int, int]]) -> dict[str, float]:
    """Accuracy in per cent: 'all' over all images, each split as the mean of its classes' recalls.

    correct, total: (K,) images of each class that were right, and that there are. splits: first and last class, both included.
    """
    recall = 100 * correct / total
    found = {name: float(recall[first : last + 1].mean()) for name, (first, last) in splits.items()}
    return {"all": float(100 * correct.sum() / total.sum()), **found}
