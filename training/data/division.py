"""Which images of a set are for training and which for testing: by their folders, their contents or their groups."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from training.data.parts import NAMES

Image = tuple[int, bytes, str]
"""Label, hash of seed and contents, and path below the root."""

TRAIN, TEST = ({*itertools.chain.from_iterable(NAMES[part])} for part in ("train", "test"))
"""Names of folders that say on which side their images are."""


def by_folder(images: Sequence[Image]) -> list[bool] | None:
    """Divide images by their folders.

    Args:
        images: the images.

    Returns:
        Whether each image is for testing; None where folders do not say so.
    """
    folders = [path.split("/")[0] for _, _, path in images]
    if not {*folders} <= TRAIN | TEST or {*folders} <= TRAIN or {*folders} <= TEST:
        return None
    return [folder in TEST for folder in folders]


def ranked(images: Sequence[Image], share: float) -> list[bool]:
    """Divide images by their hashes.

    Args:
        images: sorted by label and hash.
        share: of each class that is for testing, about.

    Returns:
        Whether each image is for testing.
    """
    tested: list[bool] = []
    for _, members in itertools.groupby(images, key=lambda image: image[0]):
        digests = [digest for _, digest, _ in members]
        n = len(digests)
        # No cut divides copies of one image, whose hashes are equal. A single image is for training.
        cuts = [cut for cut in range(1, n) if digests[cut] != digests[cut - 1]] or list(range(1, n)) or [0]
        last = min(cuts, key=lambda cut: abs(cut - share * n))
        tested += [position < last for position in range(n)]
    return tested


def joined(images: Sequence[Image], group_of: dict[str, str]) -> list[str]:
    """Join groups that hold copies of one image.

    Args:
        images: the images.
        group_of: by path, the group of an image; an image that is not there is a group of its own.

    Returns:
        The group of each image.
    """
    parent: dict[str, str] = {}

    def top(group: str) -> str:
        while (above := parent.setdefault(group, group)) != group:
            group = above
        return group

    # A digest has a prefix that no group's name has, and an image without a group is its contents' own.
    of_image = [f"hash {digest.hex()}" for _, digest, _ in images]
    for (_, _, path), digest in zip(images, of_image, strict=True):
        if path in group_of:
            parent[top(digest)] = top(f"group {group_of[path]}")
    return [top(digest) for digest in of_image]
