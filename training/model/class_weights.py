"""Class weights around a loss on two labels: 1/n or effective numbers, two normalisations, from an epoch on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lpm.console.errors import InvalidInput
from training.model.label_losses import LabelLoss, positive
from training.model.losses import MixingRatio, check_classes, checked, mean_of_rows, without_autocast


def inverse(counts: Tensor) -> Tensor:
    """Compute the weights 1 / n_k.

    Args:
        counts: (K,) training images of each class.

    Returns:
        (K,) float64, with sum K.

    Raises:
        InvalidInput: if a class has no image.
    """
    return _with_sum_K(1 / positive(counts))


def effective(counts: Tensor, beta: float = 0.9999) -> Tensor:
    """Compute the weights (1 - beta) / (1 - beta^n_k), one over the effective number of images.

    At beta = 0 all are 1; as beta goes to 1 they go to 1 / n_k. Source: Cui et al. 2019.

    Args:
        counts: (K,) training images of each class.
        beta: in [0, 1).

    Returns:
        (K,) float64, with sum K.

    Raises:
        InvalidInput: if a class has no image, or beta is outside [0, 1).
    """
    if not 0 <= beta < 1:
        raise InvalidInput(f"beta = {beta:g} must lie in [0, 1)")
    return _with_sum_K(1 / (1 - beta ** positive(counts)))  # float32 would lose beta^n near 1


def _with_sum_K(weights: Tensor) -> Tensor:
    return weights * len(weights) / weights.sum()


class Weighted(nn.Module):
    r"""A loss on two labels with class weights w: sum_i [lambda w_a L_a + (1-lambda) w_b L_b] over its normaliser.

    The normaliser ``weights`` is the sum of the batch's weights lambda w_a + (1-lambda) w_b, as in PyTorch's weighted
    cross-entropy of class numbers: only ratios of weights count. The normaliser ``batch`` is B, as PyTorch has it for
    soft labels: weights also scale the step. At imbalance 100 it is then about six times smaller than without weights.

    Weights that begin later are 1 until then, and the loss is bit for bit that without weights; call :meth:`begin_epoch`
    before each epoch. That is deferred re-weighting (DRW; Cao et al. 2019).

    Args:
        loss: the loss of a label.
        weights: (K,) class weights.
        normalisation: 'weights' or 'batch'.
        begin: share of the epochs before which all weights are 1.

    Attributes:
        weights: (K,) the weights that hold now; overwritten in place, so that a captured step reads them anew.
        all_reduce: sums a tensor over the processes that share a batch; by default there is one.

    Raises:
        InvalidInput: if the normalisation is unknown.
    """

    chosen: Tensor
    weights: Tensor

    def __init__(self, loss: LabelLoss, weights: Tensor, *, normalisation: str = "weights", begin: float = 0.0) -> None:
        super().__init__()
        if normalisation not in ("weights", "batch"):
            raise InvalidInput(f"normalisation {normalisation[:40]!r} is unknown; choose one of weights, batch")
        self.loss, self.normalisation, self.begin = loss, normalisation, begin
        self.all_reduce: Callable[[Tensor], Tensor] = _of_one_process
        self.register_buffer("chosen", positive(weights).float(), persistent=False)
        self.register_buffer(
            "weights", torch.ones_like(self.chosen) if begin else self.chosen.clone(), persistent=False
        )

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Set the weights of an epoch.

        Args:
            epoch: from 1.
            epochs: of the whole run.
        """
        if epoch > round(self.begin * epochs):
            self.weights.copy_(self.chosen)
        else:
            self.weights.fill_(1.0)

    def forward(self, z: Tensor, a: Tensor, b: Tensor, lam: MixingRatio) -> Tensor:
        """Compute the weighted mean.

        Args:
            z: (B, K) logits.
            a: (B,) label of the first image of each pair.
            b: (B,) label of the second one.
            lam: () or (B,) mixing ratio, the weight of the first image.

        Returns:
            (); 0 for an empty batch.

        Raises:
            InvalidInput: as :func:`training.model.losses.checked`, or if there is no logit for each weight.
        """
        check_classes(z, len(self.weights))
        z, a, b, lam = checked(z, a, b, lam)
        with without_autocast(z):
            w_a, w_b = (self.weights.to(z.dtype)[label] for label in (a, b))
            mean = mean_of_rows(self.loss.rows(z, a, b, lam, w_a, w_b))
            return mean * self.factor(a, b, lam) if len(z) else mean

    @torch.no_grad()
    def factor(self, a: Tensor, b: Tensor, lam: Tensor) -> Tensor | float:
        """Compute what the mean is multiplied with: pairs over the sum of their weights, of all processes together.

        Every process must call it for every batch, as :meth:`forward` does unless the process has no share of it.

        Args:
            a: (B,) label of the first image of each pair.
            b: (B,) label of the second one.
            lam: () or (B,) mixing ratio, the weight of the first image.

        Returns:
            (); exactly 1 if all weights are 1, and if the normaliser is ``batch``.
        """
        if self.normalisation == "batch":
            return 1.0
        rows = lam * self.weights[a] + (1 - lam) * self.weights[b]
        pairs, total = self.all_reduce(torch.stack([torch.ones_like(rows).sum(), rows.sum()]))
        return pairs / total


def _of_one_process(sums: Tensor) -> Tensor:
    return sums
