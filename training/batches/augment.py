"""Crop and flip of a whole batch on its device: no worker processes, no loop over images."""

from __future__ import annotations

import torch
from torch import Tensor

PADDING = 4
"""Black pixels that are added on each side before a crop of the original size."""


def normalised(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Normalise pixels: (pixel / 255 - mean) / std.

    Args:
        images: uint8, (B, C, H, W).
        mean: mean of each channel for pixels in 0..1, (C, 1, 1).
        std: standard deviation of each channel, (C, 1, 1).

    Returns:
        Normalised images, float, (B, C, H, W).
    """
    return (images.float() / 255 - mean) / std


def crops_and_flips(B: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw a random crop and flip for each of B images.

    Args:
        B: number of images.
        generator: on the CPU, so that the draws are the same for every device.

    Returns:
        The upper left corners of the crops in the padded images, (2, B) int64: row and column in 0..8; and which images
        to flip, (B,) bool.
    """
    corners = torch.randint(2 * PADDING + 1, (2, B), generator=generator)
    return corners, torch.rand(B, generator=generator) < 0.5


def flipped(images: Tensor, flip: Tensor) -> Tensor:
    """Mirror some images from left to right.

    Args:
        images: (B, C, H, W).
        flip: which ones, (B,) bool.

    Returns:
        Images of the same shape and type.
    """
    return torch.where(flip.view(-1, 1, 1, 1), images.flip(3), images)


def crop_and_flip(images: Tensor, corners: Tensor, flip: Tensor) -> Tensor:
    """Pad images by 4 black pixels on each side, crop them to their size, and mirror some from left to right.

    Args:
        images: uint8, (B, C, H, W).
        corners: upper left corners of the crops in the padded images, row and column, (2, B).
        flip: which images to mirror, (B,) bool.

    Returns:
        Images of the same shape and type.
    """
    B, C, H, W = images.shape
    padded = torch.nn.functional.pad(images, (PADDING,) * 4)
    rows = corners[0, :, None] + torch.arange(H, device=images.device)
    columns = torch.arange(W, device=images.device).expand(B, W)
    columns = corners[1, :, None] + torch.where(flip[:, None], columns.flip(1), columns)
    batch = torch.arange(B, device=images.device)
    # One gather: each output pixel is read where the crop and the mirroring put it, so no image is copied twice.
    return padded[
        batch[:, None, None, None],
        torch.arange(C, device=images.device)[:, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    ]
