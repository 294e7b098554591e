"""The cosine classifier, whose logits are scaled cosines of features and class vectors."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from training.model.classifiers import FC
from training.model.losses import LossFunction, mixed_cross_entropy


class Cosine(FC):
    """Logits scale cos(w_k, h), without a bias: features and class vectors count by their directions alone.

    LDAM is trained with it. The initial directions are uniform in a cube, as in LDAM's code. Weight decay does not
    change the logits; it shortens the stored vectors, and their directions then turn faster. Source: Cao et al. 2019.

    Args:
        p: width of the features.
        K: number of classes.
        scale: factor of the cosines; a softmax over cosines alone could be no sharper than e^2 to 1.
        features: what is done with the features, 'unit' or 'norm-unit'; see :class:`training.model.classifiers.Features`.
        loss: the loss on mixed labels, a function of (logits, a, b, lambda); cross-entropy by default.
    """

    def __init__(
        self,
        p: int,
        K: int,
        *,
        scale: float = 30.0,
        features: str = "unit",
        loss: LossFunction = mixed_cross_entropy,
    ) -> None:
        super().__init__(p, K, bias=False, features=features, loss=loss)
        self.scale = scale
        with torch.no_grad():
            self.linear.weight.copy_(F.normalize(self.linear.weight.uniform_(-1, 1)))

    @property
    def class_vectors(self) -> Tensor:
        """The class vectors, (K, p), of length ``scale``."""
        return self.scale * F.normalize(self.linear.weight)

    def forward(self, h: Tensor) -> Tensor:
        """Compute logits.

        Args:
            h: features, (B, p).

        Returns:
            Logits, (B, K), within -scale..scale.
        """
        return F.linear(self.features(h), self.class_vectors)
