"""Backgrounds matched to foregrounds inside a step, for the mixing law OTMix-train (:mod:`training.batches.transport`)."""

from __future__ import annotations

import torch
from torch import Tensor

from training.batches import transport
from training.run.assembly import Assembly


class Matching:
    """Which background each foreground of a batch gets: a deterministic function of network, images and labels.

    Args:
        run: the run's parts.
        labels: class of each training image, (N,), on the device.

    Attributes:
        confusion: (K, K), as :func:`training.batches.transport.confusion`. It is computed of the network as an epoch begins, so
            a resumed run computes the same, and no checkpoint needs it.
        label_counts: (K, K) int64, the label pairs of this epoch's matched batches.
    """

    def __init__(self, run: Assembly, labels: Tensor) -> None:
        self.run, self.labels, K = run, labels, run.config.K
        self.confusion = torch.zeros(K, K, device=run.device)
        self.label_counts = torch.zeros(K, K, dtype=torch.int64, device=run.device)

    @torch.no_grad()
    def begin_epoch(self) -> None:
        """Predict all training images, unaugmented, and keep the errors; in place, because a captured step reads them."""
        run = self.run
        run.network.eval()
        images = run.source.train(torch.arange(len(self.labels)))
        predicted = torch.cat([run.network.classifier(self._features(x)).argmax(dim=1) for x in images])
        self.confusion.copy_(transport.confusion(self.labels, predicted, run.config.K))
        self.label_counts.zero_()

    @torch.no_grad()
    def matched(self, first: Tensor, second: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """Match the backgrounds of a batch, and count its label pairs. Reads and writes only tensors on the device.

        Several foregrounds may get the same background.

        Args:
            first: backgrounds, (B, C, H, W).
            second: foregrounds, (B, C, H, W).
            a: label of each background, (B,).
            b: label of each foreground, (B,).

        Returns:
            The background of each foreground, (B, C, H, W), and its label, (B,).
        """
        self.run.network.eval()  # BatchNorm's running statistics shall not see unmixed images
        costs = transport.cost(self._features(second), self._features(first), b, a, self.confusion)
        self.run.network.train()
        chosen = transport.plan(costs).argmax(dim=1)
        a = a[chosen]
        self.label_counts.view(-1).index_add_(0, a * len(self.label_counts) + b, torch.ones_like(a))
        return first[chosen], a

    def _features(self, images: Tensor) -> Tensor:
        run = self.run
        images = images.contiguous(memory_format=run.layout)
        return run.network.features(images, bf16=run.config.precision == "bf16")
