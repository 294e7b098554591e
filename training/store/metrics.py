"""Accuracy by class and by split."""

from __future__ import annotations

import numpy as np

from training.catalogue import CATALOGUE, FEW, MANY


def splits(dataset: str, counts: np.ndarray, tail: str = "exp") -> dict[str, tuple[int, int]]:
    """Divide the classes into many, medium and few: as published, else by their numbers of training images.

    Counts that fall in one step have many and few classes only.

    Args:
        dataset: name of the data set.
        counts: (K,) training images of each class, falling.
        tail: how counts fall, 'exp' or 'step'.

    Returns:
        First and last class of each split, both included; splits without classes are left out.
    """
    if tail == "step":
        half = len(counts) // 2
        return {"many": (0, half - 1), "few": (half, len(counts) - 1)}
    published = CATALOGUE[dataset].ranges
    if published is not None:
        return dict(published)
    ends = [0, int((counts > MANY).sum()), int((counts >= FEW).sum()), len(counts)]
    bounds = zip(("many", "med", "few"), ends[:-1], ends[1:], strict=True)
    return {name: (first, end - 1) for name, first, end in bounds if first < end}


def split_of(splits: dict[str, tuple[int, int]], K: int) -> np.ndarray:
    """Number the split of each class.

    Args:
        splits: first and last class of each split, both included.
        K: number of classes.

    Returns:
        (K,) int64, the position of the class's split in ``splits``, from 0; -1 for a class in none.
    """
    numbers = np.full(K, -1)
    for number, (first, last) in enumerate(splits.values()):
        numbers[first : last + 1] = number
    return numbers


def by_class(labels: np.ndarray, predictions: np.ndarray, K: int) -> tuple[np.ndarray, np.ndarray]:
    """Count the test images of each class.

    Args:
        labels: (n,) classes of the test images.
        predictions: (n,) classes that they are predicted as.
        K: number of classes.

    Returns:
        (K,) images of each class that are predicted right, and (K,) all images of each class.
    """
    return np.bincount(labels[predictions == labels], minlength=K), np.bincount(labels, minlength=K)


def per_class(correct: np.ndarray, total: np.ndarray) -> tuple[float | None, ...]:
    """Compute the accuracy of each class in per cent.

    Args:
        correct: (K,) test images of each class that are predicted right.
        total: (K,) test images of each class.

    Returns:
        K accuracies; None for a class without a test image.
    """
    return tuple(100 * right / n if n else None for right, n in zip(correct.tolist(), total.tolist(), strict=True))


def by_split(correct: np.ndarray, total: np.ndarray, splits: dict[str, tuple[int, int]]) -> dict[str, float]:
    """Compute accuracies in per cent. Classes without a test image are left out of all means.

    Args:
        correct: (K,) test images of each class that are predicted right.
        total: (K,) test images of each class; at least one class has some.
        splits: first and last class of each split, both included.

    Returns:
        'all': accuracy over all images. 'balanced': mean recall of all classes, only where classes differ in their
        number of test images. Then each split that has test images: mean recall of its classes.
    """
    tested = total > 0
    recall = 100 * correct / np.maximum(total, 1)

    def mean(first: int, last: int) -> float:
        return float(recall[first : last + 1][tested[first : last + 1]].mean())

    means = {name: mean(*classes) for name, classes in splits.items() if tested[classes[0] : classes[1] + 1].any()}
    balanced = {"balanced": mean(0, len(total) - 1)} if len(set(total[tested].tolist())) > 1 else {}
    return {"all": float(100 * correct.sum() / total.sum())} | balanced | means
