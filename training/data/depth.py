"""Pixels of more than eight bits, scaled to eight by the depth that they use.

Cameras and scanners store 10, 12 or 14 bits in files with 16. The upper byte alone of such a file is nearly black.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

DEPTHS = (8, 10, 12, 14, 16)
"""Depths in bits that are tried where neither the file nor the user says one."""

BITS_PER_SAMPLE, LARGEST_VALUE = 258, 281
"""Tags of TIFF with which a file says its depth."""

OTHER_BYTE = {"16B": "16L", "16L": "16B", "16N": "16B" if sys.byteorder == "little" else "16L"}
"""Names of Pillow's that unpack 16-bit samples to their upper byte, and those that unpack the lower one instead."""


class Largest(NamedTuple):
    """The largest values of images with more than eight bits per sample: of one image, or of a set.

    All images of a set are scaled alike, or its dark ones would come out bright.

    Attributes:
        whole: of whole numbers; 0 where there are none.
        real: of floating-point numbers; 0 where there are none.
    """

    whole: int = 0
    real: float = 0.0

    @property
    def bits(self) -> int:
        """The bits that hold the whole numbers, rounded up to one of :data:`DEPTHS`."""
        return next((depth for depth in DEPTHS if self.whole < 2**depth), self.whole.bit_length())


NOTHING = Largest()
"""The largest values where no image has more than eight bits."""


def declared_bits(image: Image.Image) -> int:
    """Read the depth that a TIFF file says.

    A PNG says none: its specification has values fill all 16 bits, and the files in question do not.

    Args:
        image: the opened file, not loaded yet.

    Returns:
        9 to 15; 0 where the file says nothing.
    """
    tags: Any = getattr(image, "tag_v2", {})
    for tag, bits_of in ((BITS_PER_SAMPLE, int), (LARGEST_VALUE, lambda value: int(value).bit_length())):
        try:
            value = tags.get(tag)
            bits = max(map(bits_of, value if isinstance(value, tuple) else (value,)))
        except Exception:  # no such tag, or odd metadata
            continue
        if 8 < bits < 16:
            return bits
    return 0


def samples(image: Image.Image, again: Callable[[], Image.Image]) -> np.ndarray | None:
    """Return the values of an image with more than eight bits per sample.

    Args:
        image: the opened file, not loaded yet.
        again: opens the file again.

    Returns:
        (H, W) or (H, W, 3), non-negative: integers, or float32 where the file has floating-point numbers; None for an image
        of eight bits.
    """
    if image.mode.startswith("I"):
        return np.maximum(np.asarray(image), 0)
    if image.mode == "F":
        return np.maximum(np.nan_to_num(np.asarray(image), nan=0.0, posinf=0.0, neginf=0.0), 0)
    if image.mode not in ("RGB", "RGBA") or not (tiles := _lower_bytes(image)):
        return None
    upper = np.asarray(image)[..., :3]
    values = upper.astype(np.uint16) << 8
    if upper.max(initial=0) >= 64:  # more than 14 bits, so the lower bytes do not count
        return values
    try:
        lower = again()
        lower.tile = tiles  # type: ignore[attr-defined]
        return values | np.asarray(lower)[..., :3]
    except Exception:  # grey with transparency: Pillow has no name for its lower bytes
        return values


def largest(values: np.ndarray) -> Largest:
    """Find the largest value of an image.

    Args:
        values: what :func:`samples` returned.

    Returns:
        It, as a whole number or as a real one.
    """
    if values.dtype.kind == "f":
        return Largest(real=float(values.max(initial=0)))
    return Largest(whole=int(values.max(initial=0)))


def _lower_bytes(image: Image.Image) -> list[Any]:
    """The tiles of an image of 16 bits per colour, which unpack lower bytes; none for other images."""

    def swapped(argument: Any) -> Any:
        if isinstance(argument, tuple):
            return tuple(map(swapped, argument))
        name = argument[-3:] if isinstance(argument, str) and ";" in argument else ""
        return argument[:-3] + OTHER_BYTE[name] if name in OTHER_BYTE else argument

    tiles = list(getattr(image, "tile", ()))
    lower = [tile._replace(args=swapped(tile.args)) for tile in tiles]
    return lower if lower != tiles else []


def eight_bits(values: np.ndarray, *, bits: int, declared: int, of_set: Largest) -> np.ndarray:
    """Scale values to eight bits.

    Args:
        values: what :func:`samples` returned.
        bits: the depth that the user says, or 0.
        declared: the depth that the file says, or 0.
        of_set: the largest values of the set of which the image is one; the image's own where they are zero.

    Returns:
        The upper eight of the bits that the user says, else the file, else the set's largest value, uint8. Larger values
        become 255. Without the user's bits floating-point numbers run from 0 to 1 or from 0 to 255, where the set's largest
        value does not exceed that.
    """
    own = largest(values)
    if values.dtype.kind == "f":
        range_of_set = of_set.real or own.real
        if not bits and range_of_set <= 255:
            values, bits = values * (65535 if range_of_set <= 1 else 257), 16
        values, own = (
            np.clip(np.rint(values), 0, 2**31 - 1).astype(np.int64),
            Largest(min(int(range_of_set), 2**31 - 1)),
        )
        bits = bits or own.bits
    if not bits and declared and own.whole < 2**declared:
        bits = declared
    bits = bits or (of_set if of_set.whole else own).bits
    return np.minimum(values >> (bits - 8), 255).astype(np.uint8)
