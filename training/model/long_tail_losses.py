"""Losses on mixed labels that know the class frequencies: logit maps such as logit adjustment, and the class weights 'cw'.

A logit map is used in training alone: the softmax is of D_k z_k + o_k, and predictions are made with z. Its factors D
and offsets o depend on the class frequencies and not on the labels of an image. So on mixed labels there is one softmax,
and mixed-singleton takes the same map: the logit of a label pair (a, b) is lambda D_a z_a + (1-lambda) D_b z_b + o_a + o_b.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lpm.console.errors import InvalidInput
from training.model.label_losses import CrossEntropy, positive
from training.model.losses import MixingRatio, check_classes, checked, mean_of_rows, pick, without_autocast


class LogitMap(CrossEntropy):
    """Cross-entropy of the logits D_k z_k + o_k on mixed labels.

    Args:
        factors: D, (K,); 1 by default.
        offsets: o, (K,); 0 by default.
        stored: whether the offsets are part of the state.
    """

    factors: Tensor | None
    offsets: Tensor | None

    def __init__(self, factors: Tensor | None = None, offsets: Tensor | None = None, *, stored: bool = False) -> None:
        super().__init__()
        self.register_buffer("factors", None if factors is None else factors.float(), persistent=False)
        self.register_buffer("offsets", None if offsets is None else offsets.float(), persistent=stored)

    def extra_repr(self) -> str:
        """What PyTorch prints of the loss: its classes, and the range of factors and offsets."""
        known = {"factors": self.factors, "offsets": self.offsets}
        words = [
            f"{name} {x.min():.3g} to {x.max():.3g} for {len(x):,} classes"
            for name, x in known.items()
            if x is not None
        ]
        return ", ".join(words)

    def scaled(self, z: Tensor) -> Tensor:
        """Multiply logits by the factors.

        Args:
            z: (B, K) logits.

        Returns:
            D z, (B, K).

        Raises:
            InvalidInput: if there is no logit for each class.
        """
        for known in (self.factors, self.offsets):
            if known is not None:
                check_classes(z, len(known))
        return z if self.factors is None else z * self.factors

    def mapped(self, z: Tensor) -> Tensor:
        """Map logits to those that the softmax is of.

        Args:
            z: (B, K) logits.

        Returns:
            D z + o, (B, K).
        """
        z = self.scaled(z)
        return z if self.offsets is None else z + self.offsets


class LogitAdjustment(LogitMap):
    """Cross-entropy of the logits z + tau log pi on mixed labels, pi the class frequencies.

    At tau = 1 it is the balanced softmax (Ren et al. 2020), and the Bayias loss (Xu et al. 2021) up to a constant that
    a softmax does not see. Predictions are made with z alone. Source: Menon et al. 2021.

    Args:
        counts: (K,) training images of each class, or the frequencies of labels.
        tau: the strength; 0 is plain cross-entropy.

    Raises:
        InvalidInput: if a class has no image.
    """

    def __init__(self, counts: Tensor, tau: float = 1.0) -> None:
        # As a part of the state, as runs of version 0.1.0 have them.
        super().__init__(offsets=_log_frequencies(counts, tau), stored=True)


class VectorScaling(LogitMap):
    """Cross-entropy of the logits (n_k / n_max)^gamma z_k + tau log pi_k on mixed labels, the VS loss.

    At gamma = 0 it is logit adjustment, at tau = 0 the CDT loss (Ye et al. 2020). Predictions are made with z alone.
    Source: Kini et al. 2021.

    Args:
        counts: (K,) training images of each class, or the frequencies of labels.
        gamma: exponent of the factors; 0 for none.
        tau: strength of the offsets; 0 for none.

    Raises:
        InvalidInput: if a class has no image.
    """

    def __init__(self, counts: Tensor, gamma: float = 0.3, tau: float = 1.0) -> None:
        n = positive(counts)
        super().__init__((n / n.max()) ** gamma, _log_frequencies(counts, tau) if tau else None)


class Temperature(LogitMap):
    """Cross-entropy of the logits z_k / T_k on mixed labels, DBN-Mix's class-wise temperature.

    T_k = (max phi / phi_k)^(1/eta) with phi_k = eps K n_k / n_max + 1 - eps. The rarer a class, the larger its T: its
    logits must grow. Predictions are made with z alone. Source: Baik et al. 2024.

    Args:
        counts: (K,) training images of each class.
        eps: 0 is plain cross-entropy.
        eta: the larger, the closer all T are to 1; DBN-Mix takes 3 for CIFAR-10 and 7 for CIFAR-100.

    Raises:
        InvalidInput: if a class has no image, eps is outside [0, 1], or eta is not positive.
    """

    def __init__(self, counts: Tensor, eps: float = 0.6, eta: float = 3.0) -> None:
        if not 0 <= eps <= 1 or not eta > 0:
            raise InvalidInput(f"eps = {eps:g} must lie in [0, 1], and eta = {eta:g} be positive")
        n = positive(counts)
        phi = eps * len(n) * n / n.max() + 1 - eps
        super().__init__((phi / phi.max()) ** (1 / eta))


def _log_frequencies(counts: Tensor, tau: float) -> Tensor:
    """The offsets tau log pi, (K,): rounded to float32 as stored runs have them."""
    n = positive(counts)
    return tau * torch.log((n / n.sum()).float())


class ClassWeights(nn.Module):
    """Cross-entropy on mixed labels where the part of a label weighs 1 / (K pi), pi the frequency of its class.

    lambda w_a CE_a + (1 - lambda) w_b CE_b; the mean weight of a training image is 1. Its form is that of stored runs;
    :class:`training.model.class_weights.Weighted` has the weights and normalisations of the literature.

    Args:
        counts: (K,) training images of each class.

    Raises:
        InvalidInput: if a class has no image.
    """

    weights: Tensor

    def __init__(self, counts: Tensor) -> None:
        super().__init__()
        positive(counts)
        self.register_buffer("weights", (counts.sum() / (len(counts) * counts)).float())

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
            InvalidInput: as :func:`training.model.losses.checked`, or if there is no logit for each class.
        """
        check_classes(z, len(self.weights))
        z, a, b, lam = checked(z, a, b, lam)
        with without_autocast(z):
            log_p = torch.log_softmax(z, dim=1)
            first, second = (self.weights[k] * pick(log_p, k) for k in (a, b))
            return -mean_of_rows(lam * first + (1 - lam) * second)
