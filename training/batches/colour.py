"""Jitter of brightness, contrast and saturation of a whole batch on its device, by kornia's functions."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from importlib.util import find_spec

from torch import Tensor

from lpm.console.errors import InvalidInput, install

ORDERS = tuple(itertools.permutations(range(3)))
"""The orders in which brightness (0), contrast (1) and saturation (2) may follow one another."""


def check() -> None:
    """Check that kornia is installed.

    Raises:
        InvalidInput: if it is not.
    """
    if find_spec("kornia") is None:
        raise InvalidInput(f"colour jitter needs kornia: {install('large')}, or give --jitter 0")


def jittered(
    images: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor, order: Sequence[int] = (0, 1, 2)
) -> Tensor:
    """Jitter the colours of images as torchvision's ColorJitter does, each image by factors f of its own.

    Each step blends and clamps to 0..1. Brightness: f x. Contrast: f x + (1 - f) m, with m the mean grey of the image.
    Saturation: f x + (1 - f) grey(x), with grey = 0.299 R + 0.587 G + 0.114 B.

    Args:
        images: float in 0..1, (B, 3, H, W).
        brightness: factor of each image, (B,).
        contrast: factor of each image, (B,).
        saturation: factor of each image, (B,).
        order: in which the steps follow one another: 0 brightness, 1 contrast, 2 saturation.

    Returns:
        Images of the same shape, in 0..1.
    """
    from kornia import enhance

    steps = (
        (enhance.adjust_brightness_accumulative, brightness),
        (enhance.adjust_contrast_with_mean_subtraction, contrast),
        (enhance.adjust_saturation_with_gray_subtraction, saturation),
    )
    for i in order:
        adjust, factor = steps[i]
        images = adjust(images, factor)
    return images
