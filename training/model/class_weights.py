"""Class weights around a loss on two labels: 1/n or effective numbers, two normalisations, from an epoch on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lpm.console.errors import InvalidInput
from training.model.label_losses import LabelLoss, positive
from training.model.losses import MixingRatio, checked, mean_of_rows, without_autocast


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
        over_processes: adds up a tensor over the processes that share a batch.

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
        self.over_processes: Callable[[Tensor], Tensor] = lambda sums: sums
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
            InvalidInput: as :func:`training.model.losses.checked`.
        """
        z, a, b, lam = checked(z, a, b, lam)
        with without_autocast(z):
            w_a, w_b = (self.weights.to(z.dtype)[label] for label in (a, b))
            mean = mean_of_rows(self.loss.rows(z, a, b, lam, w_a, w_b))
            if self.normalisation == "batch":
                return mean
            total = (lam * w_a + (1 - lam) * w_b).detach().sum()
            pairs, total = self.over_processes(torch.stack([torch.ones_like(w_a).sum(), total]))
            return mean * (pairs / total) if len(z) else mean
