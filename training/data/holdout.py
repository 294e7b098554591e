"""Which training images are held out, for choosing hyperparameters: never the test images."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np

from lpm.console.errors import InvalidInput


def held_out_numbers(counts: np.ndarray, share: float) -> np.ndarray:
    """Compute how many images of each class are held out: floor(share n), so that at least one image stays.

    Args:
        counts: (K,) images of each class.
        share: in [0, 1).

    Returns:
        (K,) int64. Classes with few images may have none.

    Raises:
        InvalidInput: if no class has enough images.
    """
    numbers = np.floor(share * counts + 1e-9).astype(np.int64)  # 0.29 * 100 is 28.999... in floating point
    if not numbers.any():
        raise InvalidInput(
            f"--holdout {share:g} of at most {counts.max():,} images per class is no whole image; take at least "
            f"{math.ceil(1e4 / counts.max()) / 1e4:g}"
        )
    return numbers


def held_out(labels: np.ndarray, names: Sequence[str], share: float, seed: int) -> np.ndarray:
    """Choose the images that are held out, by a hash of their names.

    Images that are added or removed later hardly change which other ones are held out.

    Args:
        labels: (N,) class of each image.
        names: N names, all different.
        share: in [0, 1), the share of each class.
        seed: another seed chooses other images.

    Returns:
        (N,) bool.

    Raises:
        InvalidInput: if no class has enough images.
    """
    numbers = held_out_numbers(np.bincount(labels), share)
    digests = [hashlib.sha256(f"{seed} {name}".encode("utf-8", "surrogateescape")).digest() for name in names]
    chosen = np.zeros(len(labels), dtype=bool)
    order = np.array(sorted(range(len(names)), key=digests.__getitem__), dtype=np.int64)
    for label, number in enumerate(numbers):
        chosen[order[labels[order] == label][:number]] = True
    return chosen
