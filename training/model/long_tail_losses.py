"""Losses on mixed labels that know the class frequencies: logit adjustment, and class weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.model.losses import mixed_cross_entropy


class LogitAdjustment(nn.Module):
    """Cross-entropy of the logits z + tau log pi on mixed labels, pi the class frequencies.

    At tau = 1 it is the balanced softmax. Predictions are made with z alone. Source: Menon et al. 2021, Ren et al. 2020.

    Args:
        counts: (K,) training images of each class.
        tau: the strength; 0 is plain cross-entropy.
    """

    offsets: Tensor

    def __init__(self, counts: Tensor, tau: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("offsets", (tau * torch.log(counts / counts.sum())).float())

    def forward(self, z: Tensor, a: Tensor, b: Tensor, lam: Tensor) -> Tensor:
        """Compute the mean loss.

        Args:
            z: (B, K) logits.
            a: (B,) label of the first image of each pair.
            b: (B,) label of the second one.
            lam: () or (B,) mixing ratio, the weight of the first image.

        Returns:
            ().
        """
        return mixed_cross_entropy(z + self.offsets, a, b, lam)


class ClassWeights(nn.Module):
    """Cross-entropy on mixed labels where the part of a label weighs 1 / (K pi), pi the frequency of its class.

    lambda w_a CE_a + (1 - lambda) w_b CE_b; the mean weight of a training image is 1.

    Args:
        counts: (K,) training images of each class.
    """

    weights: Tensor

    def __init__(self, counts: Tensor) -> None:
        super().__init__()
        self.register_buffer("weights", (counts.sum() / (len(counts) * counts)).float())

    def forward(self, z: Tensor, a: Tensor, b: Tensor, lam: Tensor) -> Tensor:
        """Compute the mean loss.

        Args:
            z: (B, K) logits.
            a: (B,) label of the first image of each pair.
            b: (B,) label of the second one.
            lam: () or (B,) mixing ratio, the weight of the first image.

        Returns:
            ().
        """
        log_p = torch.log_softmax(z, dim=1)
        first, second = (self.weights[k] * log_p.gather(1, k[:, None])[:, 0] for k in (a, b))
        return -(lam * first + (1 - lam) * second).mean()
