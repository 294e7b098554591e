"""Pixels of more than eight bits, scaled to eight by the depth that they use.

Cameras and scanners store 10, 12 or 14 bits in files with 16. The upper byte alone of such a file is nearly black.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

DEPTHS = (10, 12, 14, 16)
"""Depths in bits that are tried where neither the file nor the user says one."""

BITS_PER_SAMPLE, LARGEST_VALUE = 258, 281
"""Tags of TIFF with which a file says its depth."""

OTHER_BYTE = {"16B": "16L", "16L": "16B", "16N": "16B" if sys.byteorder == "little" else "16L"}
"""Names of Pillow's that unpack 16-bit samples to their upper byte, and those that unpack the lower one instead."""


class Depth(NamedTuple):
    """The depth of an image file with more than eight bits per sample.

    Attributes:
        largest: its largest value.
        bits: the bits that hold its values; those above are not used.
        declared: whether the file says so.
    """

    largest: int
    bits: int
    declared: bool


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


def samples(image: Image.Image, again: Callable[[], Image.Image], bits: int = 0) -> np.ndarray | None:
    """Return the values of an image with more than eight bits per sample.

    Args:
        image: the opened file, not loaded yet.
        again: opens the file again.
        bits: the depth that the user says, or 0. Without it floating-point values fill 16 bits from 0 to 1, or from 0
            to 255.

    Returns:
        (H, W) or (H, W, 3), non-negative integers; None for an image of eight bits, and for one whose colours use all
        16, whose upper bytes are what Pillow gives.
    """
    if image.mode.startswith("I"):
        return np.maximum(np.asarray(image), 0)
    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image), nan=0.0, posinf=0.0, neginf=0.0)
        if not bits:
            largest = values.max(initial=0)
            values = values * (65535 if largest <= 1 else 257 if largest <= 255 else 1)
        return np.clip(np.rint(values), 0, 2**31 - 1).astype(np.int64)
    if image.mode not in ("RGB", "RGBA") or not (tiles := _lower_bytes(image)):
        return None
    upper = np.asarray(image)[..., :3]
    if upper.max(initial=0) >= 64:  # more than 14 bits
        return None
    values = upper.astype(np.uint16) << 8
    try:
        lower = again()
        lower.tile = tiles  # type: ignore[attr-defined]
        return values | np.asarray(lower)[..., :3]
    except Exception:  # grey with transparency: Pillow has no name for its lower bytes
        return values


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


def depth_of(values: np.ndarray, declared: int, bits: int = 0) -> Depth:
    """Find the depth of values.

    Args:
        values: non-negative integers.
        declared: the bits that the file says, or 0.
        bits: the bits that the user says, or 0.

    Returns:
        The user's bits, else the file's, else those of the largest value, rounded up to 10, 12, 14 or 16.
    """
    largest = int(values.max(initial=0))
    if bits or (declared and largest < 2**declared):
        return Depth(largest, bits or declared, not bits)
    return Depth(largest, next((depth for depth in DEPTHS if largest < 2**depth), largest.bit_length()), False)


def eight_bits(values: np.ndarray, bits: int) -> np.ndarray:
    """Scale values to eight bits.

    Args:
        values: non-negative integers.
        bits: the bits that hold them, at least 8.

    Returns:
        Their upper eight of these bits, uint8; larger values become 255.
    """
    return np.minimum(values >> (bits - 8), 255).astype(np.uint8)
