"""Networks with two branches: a common trunk, and two ends, each with features of its own.

BBN (Zhou et al. 2020) has the last block twice, DBN-mix (Baik et al. 2024) the last stage. In evaluation an image passes both
ends, and its features are those of both ends joined: scores are linear in them, so everything that measures a network finds
features (B, 2p) and class vectors (K, 2p).
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from training.model.cifar_resnets import ResNet
from training.model.imagenet_resnets import Bottlenecks

if TYPE_CHECKING:
    from training.model.build import Classifier


class Branched(nn.Module):
    """A residual network whose last blocks exist twice: from images (B, C, H, W) to features (B, p) of one end, or (B, 2p).

    Args:
        backbone: the network that it is made of; its last blocks become the first end.
        blocks: how many of the last blocks exist twice.
        draw: whether the second end has initial weights of its own. By default it is a copy of the first one, as where
            weights come from a file.

    Attributes:
        trunk: what both branches have in common.
        ends: the two ends.
        p: width of the joined features, twice that of the network.
    """

    def __init__(self, backbone: ResNet | Bottlenecks, blocks: int, *, draw: bool = False) -> None:
        super().__init__()
        layers = backbone.layers()
        self.trunk, first = nn.Sequential(*layers[:-blocks]), nn.Sequential(*layers[-blocks:])
        second = copy.deepcopy(first)
        if draw:
            second.apply(backbone.initialise)
        self.ends = nn.ModuleList([first, second])
        self.p = 2 * backbone.p

    def forward(self, x: Tensor, branch: int | None = None) -> Tensor:
        """Compute features.

        Args:
            x: normalised images, (B, C, H, W).
            branch: 0 or 1 for the features of one end; by default both are joined.

        Returns:
            Features, (B, p / 2) of one end, else (B, p).
        """
        y = self.trunk(x)
        ends = self.ends if branch is None else [self.ends[branch]]
        return torch.cat([end(y).mean(dim=(2, 3)) for end in ends], dim=1)


class Heads(nn.Module):
    """Two classifiers, one per branch; the score of a class is the mean of its two logits.

    Args:
        first: classifier of the first branch.
        second: classifier of the second one.
    """

    def __init__(self, first: Classifier, second: Classifier) -> None:
        super().__init__()
        self.first, self.second = first, second

    @property
    def class_vectors(self) -> Tensor:
        """The class vectors of the joined classifier inputs, (K, 2p): half of those of both heads."""
        return torch.cat([self.first.class_vectors, self.second.class_vectors], dim=1) / 2

    @property
    def bias(self) -> Tensor | None:
        """The mean of both heads' biases, (K,); None if they have none."""
        first, second = self.first.bias, self.second.bias
        return None if first is None or second is None else (first + second) / 2

    def features(self, h: Tensor) -> Tensor:
        """Turn joined features into joined classifier inputs.

        Args:
            h: features of both branches, (B, 2p).

        Returns:
            Classifier inputs, (B, 2p).
        """
        first, second = h.chunk(2, dim=1)
        return torch.cat([self.first.features(first), self.second.features(second)], dim=1)

    def forward(self, h: Tensor) -> Tensor:
        """Compute the mean of both heads' logits.

        Args:
            h: features of both branches, (B, 2p).

        Returns:
            Logits, (B, K).
        """
        first, second = h.chunk(2, dim=1)
        return (self.first(first) + self.second(second)) / 2

    def loss(self, h: Tensor, a: Tensor, b: Tensor, lam: Tensor) -> Tensor:
        """Compute the mean of both heads' losses, where the second branch was shown the images with exchanged shares.

        Args:
            h: features of both branches, (B, 2p).
            a: label of the first image, (B,).
            b: label of the second image, (B,).
            lam: weight of label a in the first branch, and of label b in the second, () or (B,).

        Returns:
            ().

        Raises:
            InvalidInput: as the heads' losses.
        """
        first, second = h.chunk(2, dim=1)
        return (self.first.loss(first, a, b, lam) + self.second.loss(second, a, b, 1 - lam)) / 2
