"""Classifiers: from features to K logits, each with the loss on mixed labels that it is trained with.

- :class:`FC`: linear with bias; cross-entropy on mixed labels.
- :class:`MixedSingleton`: MS, linear; each label pair is a class with vector lambda w_a + (1-lambda) w_b.
- :class:`FixedETF`: class vectors are a random simplex ETF that is not trained; dot regression or cross-entropy.
- :class:`MixedSingletonETF`: MS-WETF, W = s * W_ETF with one learnable length per class; the loss of MS.

At test time the scores of the classes are the logits W h. All are used alike:

```python
classifier = MixedSingleton(p, K)
loss = classifier.loss(h, a, b, lam)  # features (B, p) of mixed images, labels (B,) of both sides, mixing ratio
predictions = classifier(h).argmax(dim=1)  # features of unmixed images
```

The mixing ratio is a number, or one per image. Under ``torch.autocast`` logits may be in half precision, the loss is in
float32. Losses of empty batches are 0.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lpm.console.errors import InvalidInput
from training.model.features import Features
from training.model.long_tail_losses import LogitMap
from training.model.losses import (
    LossFunction,
    MixingRatio,
    checked,
    dot_regression,
    mixed_cross_entropy,
    mixed_singleton,
    without_autocast,
)


class FC(nn.Module):
    """FC, the usual linear classifier: z = W h + bias, trained with a loss on mixed labels.

    By default the loss is cross-entropy on lambda e_a + (1-lambda) e_b. This is the baseline, and fits any sampler. The
    initial W is Kaiming normal, as in the reference networks.

    Args:
        p: width of the features.
        K: number of classes.
        bias: whether there is a bias.
        features: what is done with the features, see :class:`Features`.
        loss: the loss on mixed labels, a function of (logits, a, b, lambda); cross-entropy by default.
    """

    def __init__(
        self,
        p: int,
        K: int,
        *,
        bias: bool = True,
        features: str = "as-is",
        loss: LossFunction = mixed_cross_entropy,
    ) -> None:
        super().__init__()
        self.features = Features(p, features)
        self.loss_function = loss
        self.linear = nn.Linear(p, K, bias=bias)
        nn.init.kaiming_normal_(self.linear.weight)

    @property
    def class_vectors(self) -> Tensor:
        """The class vectors W, (K, p)."""
        return self.linear.weight

    @property
    def bias(self) -> Tensor | None:
        """The bias, (K,), or None."""
        return self.linear.bias

    def forward(self, h: Tensor) -> Tensor:
        """Compute logits.

        Args:
            h: features, (B, p).

        Returns:
            Logits, (B, K).
        """
        return self.linear(self.features(h))

    def loss(self, h: Tensor, a: Tensor, b: Tensor, lam: MixingRatio) -> Tensor:
        """Compute the mean loss on mixed labels.

        Args:
            h: features of mixed images, (B, p).
            a: label of the first image, (B,).
            b: label of the second image, (B,).
            lam: mixing ratio, the first image's weight, () or (B,); see :data:`training.model.losses.MixingRatio`.

        Returns:
            The mean over the batch, ().

        Raises:
            InvalidInput: as :func:`training.model.losses.checked`.
        """
        return _loss(self.loss_function, self(h), a, b, lam)


class MixedSingleton(FC):
    """MS, the paper's mixed-singleton classifier: each label pair is a class with vector lambda w_a + (1-lambda) w_b.

    Eq. 3 and 4. Training is softmax cross-entropy over all label pairs, which costs O(K), see
    :func:`training.model.losses.mixed_singleton`. A bias is mixed like the class vectors. At test time it is a linear
    classifier.

    Use ``unordered`` with BMLS over a < b (section 4.2), the default with all other samplers. With ``unordered`` a pair
    a > b counts as (b, a) with 1-lambda, the same mixture; only a pair of two images of one class has no class.

    Args:
        p: width of the features.
        K: number of classes.
        bias: whether there is a bias.
        unordered: whether only the label pairs a < b are classes; by default all K^2.
        features: what is done with the features, see :class:`Features`.
        logit_map: map of the logits of classes that the training loss is of, such as
            :class:`training.model.long_tail_losses.LogitAdjustment`; none by default.
    """

    def __init__(
        self,
        p: int,
        K: int,
        *,
        bias: bool = True,
        unordered: bool = False,
        features: str = "as-is",
        logit_map: LogitMap | None = None,
    ) -> None:
        super().__init__(p, K, bias=bias, features=features)
        self.unordered, self.logit_map = unordered, logit_map

    def loss(self, h: Tensor, a: Tensor, b: Tensor, lam: MixingRatio) -> Tensor:
        """Compute the mean mixed-singleton loss.

        Args:
            h: features of mixed images, (B, p).
            a: label of the first image, (B,).
            b: label of the second image, (B,).
            lam: mixing ratio, the first image's weight, () or (B,); see :data:`training.model.losses.MixingRatio`.

        Returns:
            The mean over the batch, ().

        Raises:
            InvalidInput: if a shape or type does not fit, or a label pair is no class (``unordered`` and a == b);
                :func:`training.model.losses.mixed_singleton` says what becomes of such a pair on a GPU.
        """
        z, mapping = self(h), self.logit_map
        if mapping is None:
            return mixed_singleton(z, a, b, lam, unordered=self.unordered)
        return mixed_singleton(mapping.scaled(z), a, b, lam, unordered=self.unordered, offsets=mapping.offsets)


def _loss(function: LossFunction, z: Tensor, a: Tensor, b: Tensor, lam: MixingRatio) -> Tensor:
    # Here, so that a loss of one's own gets the same form of batch as the losses of this project.
    z, a, b, lam = checked(z, a, b, lam)
    with without_autocast(z):
        return function(z, a, b, lam)


def simplex_etf(p: int, K: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw a random simplex ETF: K unit vectors whose cosines are all -1/(K-1).

    sqrt(K/(K-1)) (I - 11^T/K) Q^T, with Q the orthonormal factor of a random p x K matrix. Source: Yang et al. 2022.

    Args:
        p: dimension of the vectors.
        K: number of vectors.
        generator: draws Q; torch's global one if None.

    Returns:
        The vectors as rows, (K, p) float32.

    Raises:
        InvalidInput: if p < K or K < 2.
    """
    if K < 2:
        raise InvalidInput(f"a simplex ETF needs at least two vectors, not K = {K}; its cosines are -1/(K-1)")
    if p < K:
        raise InvalidInput(
            f"a simplex ETF of K = {K} vectors needs features of width p >= K, not p = {p}; take a wider model"
        )
    Q, _ = torch.linalg.qr(torch.rand(p, K, generator=generator, dtype=torch.float64))
    centre = torch.eye(K, dtype=torch.float64) - 1.0 / K
    return (math.sqrt(K / (K - 1)) * centre @ Q.T).float()


class _OnETF(nn.Module):
    """Logits against the directions of a random simplex ETF that is not trained. Args and errors as :class:`FixedETF`."""

    etf: Tensor
    bias = None

    def __init__(self, p: int, K: int, features: str, generator: torch.Generator | None) -> None:
        super().__init__()
        self.features = Features(p, features)
        self.register_buffer("etf", simplex_etf(p, K, generator))

    @property
    def class_vectors(self) -> Tensor:
        """The class vectors, (K, p), of unit length."""
        return self.etf

    def forward(self, h: Tensor) -> Tensor:
        """Compute logits; they are cosines where features and class vectors have unit length.

        Args:
            h: features, (B, p).

        Returns:
            Logits, (B, K).
        """
        return self.features(h) @ self.class_vectors.T


class FixedETF(_OnETF):
    """The fixed ETF classifier: class vectors are a random simplex ETF that is not trained; logits are cosines.

    By default features pass a BatchNorm and are scaled to unit length, as in Yang et al.'s code (2022), also with
    cross-entropy. Use it to fix the angles between classes from the start; the width p must be at least K. Source: Yang
    et al. 2022.

    Args:
        p: width of the features, at least K.
        K: number of classes.
        loss: the loss on mixed labels, a function of (logits, a, b, lambda); dot regression by default.
        features: what is done with the features, see :class:`Features`.
        generator: draws the ETF; torch's global one if None.

    Raises:
        InvalidInput: if p < K or K < 2.
    """

    def __init__(
        self,
        p: int,
        K: int,
        *,
        loss: LossFunction = dot_regression,
        features: str = "norm-unit",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(p, K, features, generator)
        self.loss_function = loss

    def loss(self, h: Tensor, a: Tensor, b: Tensor, lam: MixingRatio) -> Tensor:
        """Compute the mean loss on mixed labels.

        Args:
            h: features of mixed images, (B, p).
            a: label of the first image, (B,).
            b: label of the second image, (B,).
            lam: mixing ratio, the first image's weight, () or (B,); see :data:`training.model.losses.MixingRatio`.

        Returns:
            The mean over the batch, ().

        Raises:
            InvalidInput: as :func:`training.model.losses.checked`.
        """
        return _loss(self.loss_function, self(h), a, b, lam)


class MixedSingletonETF(_OnETF):
    """MS-WETF (Appendix F): class vectors s_k times those of a fixed simplex ETF, s learnable, with the loss of MS.

    The initial s is 10: at 1, a softmax over ten unit vectors cannot exceed 0.25. Features are treated as in
    :class:`FixedETF`. Use ``unordered`` with BMLS over a < b, the default with all other samplers; pairs a > b count as in
    :class:`MixedSingleton`.

    Args:
        p: width of the features, at least K.
        K: number of classes.
        unordered: whether only the label pairs a < b are classes; by default all K^2.
        scale: the initial s, the same for all classes.
        features: what is done with the features, see :class:`Features`.
        generator: draws the ETF; torch's global one if None.

    Raises:
        InvalidInput: if p < K or K < 2.
    """

    def __init__(
        self,
        p: int,
        K: int,
        *,
        unordered: bool = False,
        scale: float = 10.0,
        features: str = "norm-unit",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(p, K, features, generator)
        self.scale = nn.Parameter(torch.full((K,), scale))
        self.unordered = unordered

    @property
    def class_vectors(self) -> Tensor:
        """The class vectors s_k times the ETF's, (K, p)."""
        return self.scale[:, None] * self.etf

    def loss(self, h: Tensor, a: Tensor, b: Tensor, lam: MixingRatio) -> Tensor:
        """Compute the mean mixed-singleton loss.

        Args:
            h: features of mixed images, (B, p).
            a: label of the first image, (B,).
            b: label of the second image, (B,).
            lam: mixing ratio, the first image's weight, () or (B,); see :data:`training.model.losses.MixingRatio`.

        Returns:
            The mean over the batch, ().

        Raises:
            InvalidInput: if a shape or type does not fit, or a label pair is no class (``unordered`` and a == b);
                :func:`training.model.losses.mixed_singleton` says what becomes of such a pair on a GPU.
        """
        return mixed_singleton(self(h), a, b, lam, unordered=self.unordered)
