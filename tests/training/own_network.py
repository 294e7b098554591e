"""A network and transforms of one's own, as a user writes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class Small(nn.Module):
    """A convolution and the mean over the image."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, 6, 3, stride=2)
        self.norm = nn.BatchNorm2d(6)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm(self.convolution(x))).mean(dim=(2, 3))


def small(channels: int) -> nn.Module:
    return Small(channels)


def unpooled(channels: int) -> nn.Module:
    return nn.Conv2d(channels, 6, 3)


def no_network(channels: int) -> str:
    return "no network"


def failing(channels: int) -> nn.Module:
    raise RuntimeError("of the user's own \x1b[31m code")


def inverted(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return 255 - pixels


def halved(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return pixels[::2]


def flipping(axis: int) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    def flip(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return np.flip(pixels, axis).copy()

    return flip


upside_down = flipping(0)


class Attention(nn.Module):
    """A layer whose text is no Python, and which computes otherwise where gradients are wanted."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, 8, 8, stride=8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.convolution(x).flatten(2).transpose(1, 2)
        attended: Tensor = self.attention(y, y, y)[0]
        return attended.mean(dim=1)


def attention(channels: int) -> nn.Module:
    return Attention(channels)


class Branching(Small):
    """A network that decides by values while it runs."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (2 if x.sum() > 0 else 1)


def branching(channels: int) -> nn.Module:
    return Branching(channels)


class Auxiliary(Small):
    """A network with a second output in training mode only, as Inception has."""

    def forward(self, x: Tensor) -> Any:
        y = super().forward(x)
        return (y, y) if self.training else y


def auxiliary(channels: int) -> nn.Module:
    return Auxiliary(channels)


class Dropping(Small):
    """A network that draws at random in training mode."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(super().forward(x), training=self.training)


def dropping(channels: int) -> nn.Module:
    return Dropping(channels)


class Untrainable(Small):
    """A network that fails in training mode only."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            raise RuntimeError("a teacher is missing")
        return super().forward(x)


def untrainable(channels: int) -> nn.Module:
    return Untrainable(channels)


class Untraceable(Small):
    """A network that refuses to be traced."""

    def forward(self, x: Tensor) -> Tensor:
        if torch.jit.is_tracing():
            raise RuntimeError("it cannot be traced.\nMore lines on that")
        return super().forward(x)


def untraceable(channels: int) -> nn.Module:
    return Untraceable(channels)


def broken(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _asked(pixels)


def _asked(pixels: np.ndarray) -> np.ndarray:
    raise KeyError("of a transform\x1b[31m")


def ragged(pixels: np.ndarray, rng: np.random.Generator) -> list[list[int]]:
    return [[1, 2], [3]]
