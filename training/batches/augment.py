"""Crop and flip of a whole batch on its device: no worker processes, no loop over images."""

from __future__ import annotations

import torch
from torch import Tensor

PADDING = 4


def normalised(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """uint8 (B, C, H, W) to float: (pixel / 255 - mean) / std; mean, std: (C, 1, 1)."""
    return (images.float() / 255 - mean) / std


def crops_and_flips(B: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Where to crop B images (2, B) and which to flip (B,): from a CPU generator, so that they are the same on every device."""
    place = torch.randint(2 * PADDING + 1, (2, B), generator=generator)
    return place, torch.rand(B, generator=generator) < 0.5


def flipped(images: Tensor, flip: Tensor) -> Tensor:
    """Mirror where ``flip``, (B,). (B, C, H, W) to the same."""
    return torch.where(flip.view(-1, 1, 1, 1), images.flip(3), images)


def crop_and_flip(images: Tensor, place: Tensor, flip: Tensor) -> Tensor:
    """Pad by 4 black pixels, crop at ``place``, mirror where ``flip``. uint8 (B, C, H, W) to the same."""
    B, C, H, W = images.shape
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
