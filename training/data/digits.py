"""The handwritten digits that come with scikit-learn, long-tailed: a data set that needs no files."""

from __future__ import annotations

import functools
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from training.data.datasets import Images, LongTailed, Request

TEST_IMAGES, TRAINING_IMAGES = 50, 120
"""Images of each class: the last 50 are the test set; at most 120 of the others are for training."""


def load(request: Request) -> LongTailed:
    """Load the digits.

    Args:
        request: the imbalance and the seed of the subset.

    Returns:
        Ten classes of images (1, 8, 8) in 0..255.

    Raises:
        InvalidInput: if the imbalance leaves a class without images.
    """
    pixels, labels = _digits()
    images = (pixels.reshape(-1, 1, 8, 8) * 15.9375).astype(np.uint8)
    K = request.classes
    test = np.concatenate([np.flatnonzero(labels == k)[-TEST_IMAGES:] for k in range(K)])
    rest = np.setdiff1d(np.arange(len(labels)), test)
    subset = rest[request.long_tailed(labels[rest], TRAINING_IMAGES)]
    mean, std = float(images[rest].mean() / 255), float(images[rest].std() / 255)
    labels = labels.astype(np.int64)
    train, tested = Images(images[subset], labels[subset]), Images(images[test], labels[test])
    return LongTailed("digits-lt", train, tested, K, (mean,), (std,))


@functools.cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    """Read pixels (1797, 64) in 0..16 and labels, where possible from scikit-learn's file: its import takes most of a second."""
    spec = find_spec("sklearn")
    file = Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz" if spec and spec.origin else None
    if file and file.is_file():
        rows = np.loadtxt(file, delimiter=",")
        return rows[:, :-1], rows[:, -1].astype(int)
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    return pixels, labels
