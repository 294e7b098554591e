"""Crop and flip of a whole batch on its device, from a generator: no worker processes, no loop over images."""

from __future__ import annotations

import torch
from torch import Tensor

PADDING = 4


def normalised(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """uint8 (B, C, H, W) to float: (pixel / 255 - mean) / std; mean, std: (C, 1, 1)."""
    return (images.float() / 255 - mean) / std


def crop_and_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Pad by 4 black pixels, crop at a random place, flip half of the images left to right. uint8 (B, C, H, W) to the same.

    Random numbers come from the (CPU) generator, so that they are the same on every device.
    """
    B, C, H, W = images.shape
    place = torch.randint(2 * PADDING + 1, (2, B), generator=generator).to(images.device)
    flip = (torch.rand(B, generator=generator) < 0.5).to(images.device)
    padded = torch.nn.functional.pad(images, (PADDING,) * 4)
    rows = place[0, :, None] + torch.arange(H, device=images.device)
    columns = torch.arange(W, device=images.device).expand(B, W)
    columns = place[1, :, None] + torch.where(flip[:, None], columns.flip(1), columns)
    batch = torch.arange(B, device=images.device)
    return padded[
        batch[:, None, None, None],
        torch.arange(C, device=images.device)[:, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    ]
