"""DBN-Mix's complement loss: binary cross-entropy of softmax probabilities over all classes, in a stable form."""

from __future__ import annotations

import torch
from torch import Tensor

from training.model.long_tail_losses import Temperature
from training.model.losses import MixingRatio, checked, mean_of_rows, without_autocast


class Complement(Temperature):
    r"""Binary cross-entropy of p = softmax(z_k / T_k), summed over all K classes, on mixed labels t.

    .. math:: -\sum_k [t_k \log p_k + (1 - t_k) \log(1 - p_k)]

    So the probabilities of all other classes are pushed down one by one, beside that of the label up. Here it is finite
    for all logits: written as it stands, 1 - p rounds to 0 in float32 from a gap of 17 between logits on. Source: Baik et
    al. 2024, with the temperature of :class:`training.model.long_tail_losses.Temperature`; manifold mixup's code has the
    same loss over K, without temperature.

    Args:
        counts: (K,) training images of each class, K at least 2.
        eps: of the temperature; 0 for none.
        eta: of the temperature.

    Raises:
        InvalidInput: as the temperature.
    """

    def forward(self, z: Tensor, a: Tensor, b: Tensor, lam: MixingRatio) -> Tensor:
        """Compute the mean loss.

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
            z = self.mapped(z)
            target = torch.zeros_like(z)
            for label, weight in ((a, lam), (b, 1 - lam)):
                target = target.scatter_add(1, label[:, None], weight.expand(len(z))[:, None])
            log_p = torch.log_softmax(z, dim=1)
            return mean_of_rows(-(target * log_p + (1 - target) * _log_complement(z, log_p)).sum(dim=1))


def _log_complement(z: Tensor, log_p: Tensor) -> Tensor:
    """Compute log(1 - p) of (B, K) logits: of the likeliest class from the others' sum, of the others with p <= 1/2."""
    likeliest = torch.zeros_like(z, dtype=torch.bool).scatter(1, z.argmax(dim=1, keepdim=True), True)
    others = torch.logsumexp(z.masked_fill(likeliest, -torch.inf), dim=1) - torch.logsumexp(z, dim=1)
    # The likeliest class is masked before log1p, whose gradient at p = 1 would be NaN.
    return torch.where(likeliest, others[:, None], torch.log1p(-log_p.exp().masked_fill(likeliest, 0)))
