"""Test images that are training images, too."""

from __future__ import annotations

import hashlib

import numpy as np

from training.data.datasets import Images, Listed
from training.data.untrusted import contents

COMPARED = 1_000_000_000
"""Bytes of images that are read in search of duplicates."""


def duplicates(train: Images | Listed, test: Images | Listed) -> list[str]:
    """Find test images that are training images too, byte for byte. They do not test a network, which has seen them.

    Files of equal size are compared. If such files have more than :data:`COMPARED` bytes together, no file is compared.

    Args:
        train: the training images.
        test: the test images.

    Returns:
        The paths of the test images; none for images in memory.
    """
    if not (isinstance(train, Listed) and isinstance(test, Listed)):
        return []
    same_size = np.isin(train.sizes, test.sizes), np.isin(test.sizes, train.sizes)
    if sum(int(part.sizes[chosen].sum()) for part, chosen in zip((train, test), same_size, strict=True)) > COMPARED:
        return []

    def digest(part: Listed, image: int) -> bytes:
        return hashlib.sha256(contents(part.root / part.paths[image], COMPARED)).digest()

    seen = {digest(train, int(image)) for image in np.flatnonzero(same_size[0])}
    return [test.paths[image] for image in np.flatnonzero(same_size[1]).tolist() if digest(test, image) in seen]
