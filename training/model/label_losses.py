r"""Losses that are a sum over the two labels of a mixed image, so that a class can have a weight.

Each is lambda w_a L_a + (1-lambda) w_b L_b, with the loss L of one label and the weight w of its class; without class
weights w = 1. They are plain modules, and take what :mod:`training.model.losses` says:

```python
loss = LDAM(counts)
value = loss(z, a, b, lam)  # logits (B, K), labels (B,) of both sides, mixing ratio () or (B,)
```

:class:`training.model.class_weights.Weighted` puts class weights around any of them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lpm.console.errors import InvalidInput
from training.model.losses import (
    MixingRatio,
    check_classes,
    checked,
    mean_of_rows,
    mixed_cross_entropy,
    pick,
    without_autocast,
)

Weight = Tensor | float
"""The class weight of each image's label, (B,), or 1."""


class LabelLoss(nn.Module):
    """Base of the losses on two labels."""

    def rows(self, z: Tensor, a: Tensor, b: Tensor, lam: Tensor, w_a: Weight = 1.0, w_b: Weight = 1.0) -> Tensor:
        """Compute the loss of each image.

        Args:
            z: (B, K) logits, float32 or float64.
            a: (B,) label of the first image of each pair.
            b: (B,) label of the second one.
            lam: () or (B,) mixing ratio, the weight of the first image.
            w_a: weight of the class of each first label.
            w_b: weight of the class of each second label.

        Returns:
            (B,).
        """
        first, second = self.of_label(z, a, w_a), self.of_label(z, b, w_b)
        return lam * first + (1 - lam) * second

    def of_label(self, z: Tensor, label: Tensor, weight: Weight) -> Tensor:
        """Compute the loss of each image for one label.

        Args:
            z: (B, K) logits.
            label: (B,).
            weight: weight of the label's class.

        Returns:
            (B,).
        """
        raise NotImplementedError

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
            return mean_of_rows(self.rows(z, a, b, lam))


class CrossEntropy(LabelLoss):
    """Cross-entropy of a map of the logits, by default the logits themselves; predictions are made with the logits.

    Where all weights are 1 it is :func:`training.model.losses.mixed_cross_entropy` bit for bit.
    """

    def mapped(self, z: Tensor) -> Tensor:
        """Map logits to those that the softmax is of.

        Args:
            z: (B, K) logits.

        Returns:
            (B, K).
        """
        return z

    def rows(self, z: Tensor, a: Tensor, b: Tensor, lam: Tensor, w_a: Weight = 1.0, w_b: Weight = 1.0) -> Tensor:
        """Compute the loss of each image, as :meth:`LabelLoss.rows`; one softmax serves both labels."""
        z, first, second = self.mapped(z), lam * w_a, (1 - lam) * w_b
        target = first * pick(z, a) + second * pick(z, b)
        return (first + second) * torch.logsumexp(z, dim=1) - target  # lam + (1 - lam) rounds to 1

    def forward(self, z: Tensor, a: Tensor, b: Tensor, lam: MixingRatio) -> Tensor:
        """Compute the mean loss, as :meth:`LabelLoss.forward`."""
        return mixed_cross_entropy(self.mapped(z), a, b, lam)


class Focal(LabelLoss):
    r"""Focal loss of the softmax, w (1 - p)^gamma (-log p) with the probability p of a label.

    On mixed labels it is the sum over both labels, which is not a function of the soft label. Source: Lin et al. 2017.

    Args:
        gamma: exponent; 0 is cross-entropy.
    """

    def __init__(self, gamma: float = 1.0) -> None:
        super().__init__()
        self.gamma = gamma

    def of_label(self, z: Tensor, label: Tensor, weight: Weight) -> Tensor:
        """Compute the loss of each image for one label, as :meth:`LabelLoss.of_label`."""
        error = -pick(torch.log_softmax(z, dim=1), label)
        return weight * _modulated(error, self.gamma)


class FocalOfWeighted(Focal):
    r"""Focal loss in the form of LDAM-DRW's code: (1 - exp(-u))^gamma u with the weighted cross-entropy u = -w log p.

    The class weight stands inside the exponent, so exp(-u) is no probability: a small weight counts about twice. Without
    class weights it is :class:`Focal`. Source: Cao et al. 2019, ``losses.py`` of the code.

    Args:
        gamma: exponent; 0 is weighted cross-entropy.
    """

    def of_label(self, z: Tensor, label: Tensor, weight: Weight) -> Tensor:
        """Compute the loss of each image for one label, as :meth:`LabelLoss.of_label`."""
        return _modulated(weight * -pick(torch.log_softmax(z, dim=1), label), self.gamma)


def _modulated(error: Tensor, gamma: float) -> Tensor:
    """(1 - exp(-u))^gamma u of errors u >= 0."""
    # The power's derivative is infinite at 0 for gamma < 1, and times u = 0 it would be NaN.
    miss = (-torch.expm1(-error)).clamp(min=torch.finfo(error.dtype).tiny)
    return miss**gamma * error


class LDAM(LabelLoss):
    r"""LDAM: cross-entropy where the logit of the label is lowered by scale m_k, with a larger margin m_k for rare classes.

    m_k = max_margin (n_min / n_k)^(1/4). Logits are scale times cosines, as the classifier
    :class:`training.model.cosine.Cosine` makes them. On mixed labels each label has its own margin and partition:
    lambda CE(z - scale m_a e_a, a) + (1-lambda) CE(z - scale m_b e_b, b). Source: Cao et al. 2019.

    Args:
        counts: (K,) training images of each class.
        max_margin: margin of the rarest class, in cosines.
        scale: factor of the cosines, the classifier's own.

    Raises:
        InvalidInput: if a class has no image.
    """

    margins: Tensor

    def __init__(self, counts: Tensor, max_margin: float = 0.5, scale: float = 30.0) -> None:
        super().__init__()
        n = positive(counts)
        self.register_buffer("margins", (scale * max_margin * (n.min() / n) ** 0.25).float(), persistent=False)

    def of_label(self, z: Tensor, label: Tensor, weight: Weight) -> Tensor:
        """Compute the loss of each image for one label, as :meth:`LabelLoss.of_label`."""
        check_classes(z, len(self.margins))
        lowered = pick(z, label) - self.margins[label]
        logits = z.scatter(1, label[:, None], lowered[:, None].to(z.dtype))
        return weight * (torch.logsumexp(logits, dim=1) - lowered)


def positive(counts: Tensor) -> Tensor:
    """Check class counts, or frequencies.

    Args:
        counts: (K,) images of each class, or their shares.

    Returns:
        The same in float64: powers of large counts need it.

    Raises:
        InvalidInput: if they are no row of positive numbers.
    """
    n = torch.as_tensor(counts).double()
    if n.ndim != 1 or not len(n):
        raise InvalidInput(f"class counts must have shape (K,), not {tuple(n.shape)}")
    if not bool((possible := (n > 0) & torch.isfinite(n)).all()):
        k = int(torch.nonzero(~possible)[0])
        raise InvalidInput(f"every class needs images or labels, and class {k} has {float(n[k]):g}")
    return n
