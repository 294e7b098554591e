"""Two images of a pair become one, on the device: mixup's weighted mean, or a box of the second image in the first."""

from __future__ import annotations

import torch
from torch import Tensor


def blended(first: Tensor, second: Tensor, ratios: Tensor, boxes: Tensor) -> Tensor:
    """Blend both sides of a batch.

    Args:
        first: first image of each pair, (B, C, H, W).
        second: second image of each pair, (B, C, H, W).
        ratios: weight of the first image, (B,); without effect where there are boxes.
        boxes: rows and columns of the second image that are pasted into the first, (4, B) int64: first row, end of the rows,
            first column, end of the columns. Empty, (4, 0), for lambda times the first image plus 1 - lambda times the second.

    Returns:
        (B, C, H, W).
    """
    if not boxes.shape[1]:
        weight = ratios.view(-1, 1, 1, 1)
        return weight * first + (1 - weight) * second
    return torch.where(inside(boxes, first.shape[2], first.shape[3]), second, first)


def inside(boxes: Tensor, H: int, W: int) -> Tensor:
    """Find the pixels inside boxes, without slices: a slice would make the host wait for the boxes.

    Args:
        boxes: (4, B) int64, as in :func:`blended`.
        H: rows of an image.
        W: columns of an image.

    Returns:
        (B, 1, H, W) bool.
    """
    top, bottom, left, right = boxes[:, :, None]
    rows, columns = (torch.arange(n, device=boxes.device) for n in (H, W))
    down = (rows >= top) & (rows < bottom)
    across = (columns >= left) & (columns < right)
    return down[:, None, :, None] & across[:, None, None, :]
