"""The objectives of networks with two branches: each branch is shown images of its own, in two forwards of one step."""

from __future__ import annotations

import torch
from torch import Tensor

from training.batches.blending import blended
from training.run.objective import Objective


class DBN(Objective):
    """DBN-mix: the second branch is shown the mixture with exchanged shares. Source: Baik et al. 2024.

    The ratio is at least 1/2 (:func:`training.batches.branch_ratios.folded`), so the first branch mostly sees first images, and
    the second branch second ones. The loss is the mean of both heads' losses, :meth:`training.model.branches.Heads.loss`.
    """

    def mixed_features(self, first: Tensor, second: Tensor, ratios: Tensor, boxes: Tensor) -> Tensor:
        """Compute the features of both branches, joined.

        Args:
            first: (B, C, H, W) first image of each pair.
            second: (B, C, H, W) second image of each pair.
            ratios: (B,) weight of the first image in the first branch, and of the second image in the second branch.
            boxes: (4, 0); patches are not for branched networks.

        Returns:
            (B, 2p) float32.
        """
        sides = (first, second), (second, first)
        return torch.cat(
            [self.features(blended(*side, ratios, boxes), branch) for branch, side in enumerate(sides)], dim=1
        )


class BBN(Objective):
    """BBN: the first branch is shown first images, the second branch second ones, unmixed. Source: Zhou et al. 2020.

    Their features are multiplied by 2 l and 2 (1 - l) and joined for one classifier, and l is also the weight of the first
    label. It falls from epoch to epoch (:func:`training.batches.branch_ratios.falling`).
    """

    def mixed_features(self, first: Tensor, second: Tensor, ratios: Tensor, boxes: Tensor) -> Tensor:
        """Compute the features of both branches, weighed and joined.

        Args:
            first: (B, C, H, W) first image of each pair.
            second: (B, C, H, W) second image of each pair.
            ratios: (B,) the epoch's l.
            boxes: (4, 0); patches are not for branched networks.

        Returns:
            (B, 2p) float32.
        """
        share = ratios[:, None]
        return torch.cat([2 * share * self.features(first, 0), 2 * (1 - share) * self.features(second, 1)], dim=1)
