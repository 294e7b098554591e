"""The loss of a batch as one module, from the two images of each pair to a number."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.batches.blending import blended
from training.config import RunConfig
from training.distributed.ranks import ALONE, Ranks
from training.methods import LAWS
from training.model import build
from training.model.class_weights import Weighted


class Objective(nn.Module):
    """The mean loss of a batch of mixed images and the penalties, as the one module that several processes wrap.

    Penalties are ``l_H / 2 mean |h|^2`` of the classifier inputs h, and ``l_W / 2 |W|^2`` of the class vectors. See
    :class:`training.config.RunConfig`, ``feature_decay`` and ``classifier_decay``.

    Args:
        network: backbone and classifier.
        config: the run.
        penalty: (), the share of the penalties that the epoch has, a tensor because a captured step reads it anew.
        ranks: the processes that share a batch.
        layout: memory layout of the images that the network is shown.
    """

    def __init__(
        self,
        network: build.Network,
        config: RunConfig,
        penalty: Tensor,
        ranks: Ranks = ALONE,
        layout: torch.memory_format = torch.channels_last,
    ) -> None:
        super().__init__()
        self.network, self.config, self.penalty, self.ranks = network, config, penalty, ranks
        self.layout = layout
        self.weighted = [module for module in network.modules() if isinstance(module, Weighted)]
        for loss in self.weighted:
            loss.all_reduce = ranks.all_reduce

    def forward(
        self, first: Tensor, second: Tensor, a: Tensor, b: Tensor, ratios: Tensor, weights: Tensor, boxes: Tensor
    ) -> Tensor:
        """Compute the mean loss, with the penalties.

        Args:
            first: (B, C, H, W) first image of each pair; B = 0 for a process without a share of the batch.
            second: (B, C, H, W) second image of each pair.
            a: (B,) label of the first image of each pair.
            b: (B,) label of the second one.
            ratios: (B,) mixing ratio, the weight of the first image.
            weights: (B,) weight of the label a; b has the rest to 1.
            boxes: (4, B) or (4, 0), as :func:`training.batches.blending.blended` has them.

        Returns:
            (); for an empty batch a zero that depends on all weights.
        """
        config, classifier = self.config, self.network.classifier
        if config.clean_statistics:
            self._show(first)
        h = self.mixed_features(first, second, ratios, boxes)
        centre = self._mean(h) if config.feature_decay_centred else h.new_zeros(h.shape[1])
        if not len(first):
            zero = (classifier(h) * 0).sum()
            for loss_function in self.weighted:  # the other processes wait for this one's sums
                loss_function.factor(a, b, weights)
            return zero
        loss = classifier.loss(h, a, b, weights)
        if config.feature_decay:  # a choice of runs whose classifier inputs are the features
            loss = loss + self.penalty * config.feature_decay / 2 * (h - centre).square().sum(dim=1).mean()
        if config.classifier_decay:
            loss = loss + self.penalty * config.classifier_decay / 2 * classifier.class_vectors.square().sum()
        return loss

    def mixed_features(self, first: Tensor, second: Tensor, ratios: Tensor, boxes: Tensor) -> Tensor:
        """Compute the features of mixed images, or mix the features of both images (manifold mixup).

        In the second case one forward of 2B images gives both sides the same batch statistics, as the rows of a batch that is
        mixed with itself have, and updates BatchNorm's running statistics once.

        Args:
            first: (B, C, H, W) first image of each pair.
            second: (B, C, H, W) second image of each pair.
            ratios: (B,) mixing ratio.
            boxes: (4, B) or (4, 0).

        Returns:
            (B, p) float32.
        """
        if not LAWS[self.config.mixing].of_features:
            return self.features(blended(first, second, ratios, boxes))
        of_first, of_second = self.features(torch.cat([first, second])).tensor_split(2)
        weight = ratios[:, None]
        return weight * of_first + (1 - weight) * of_second

    def features(self, images: Tensor, branch: int | None = None) -> Tensor:
        """Compute the features of images as the network shall see them.

        Args:
            images: (B, C, H, W).
            branch: the branch that sees them, 0 or 1, of a network with two.

        Returns:
            (B, p) float32.
        """
        images = images.contiguous(memory_format=self.layout)
        return self.network.features(images, branch, bf16=self.config.precision == "bf16")

    @torch.no_grad()
    def _show(self, images: Tensor) -> None:
        """Let every BatchNorm in training mode add the statistics of images to its running ones."""
        self.network.classifier(self.features(images))

    @torch.no_grad()  # the mean's own gradient is that of the sum of all differences from it, which is 0
    def _mean(self, h: Tensor) -> Tensor:
        """The mean (p,) over the rows of all processes; every process must call it."""
        sums = torch.cat([h.sum(dim=0), h.new_full((1,), len(h))])
        self.ranks.all_reduce(sums)
        return sums[:-1] / sums[-1]
