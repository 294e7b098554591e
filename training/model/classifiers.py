"""Classifiers: features to K logits; each knows the loss that it is trained with on mixed labels. Scores at test are W h.

FC                  linear with bias, cross-entropy on mixed labels
MixedSingleton      linear, the mixed-singleton loss: every label pair is a class with vector lambda w_a + (1-lambda) w_b
FixedETF            class vectors are a random simplex ETF that is not trained; dot regression or cross-entropy
MixedSingletonETF   MS-WETF: W = s * W_ETF with a learnable length a class, the mixed-singleton loss
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lpm.console.errors import InvalidInput
from training.model.losses import dot_regression, mixed_cross_entropy, mixed_singleton


class Features(nn.Module):
    """What class vectors meet: features 'as-is', at 'unit' length, or 'norm-unit', after a BatchNorm at unit length."""

    def __init__(self, p: int, kind: str = "as-is") -> None:
        super().__init__()
        self.kind = kind
        if kind == "norm-unit":
            self.norm = nn.BatchNorm1d(p)

    def forward(self, h: Tensor) -> Tensor:
        """(B, p) to the same."""
        if self.kind == "as-is":
            return h
        return F.normalize(self.norm(h) if self.kind == "norm-unit" else h, dim=1, eps=1e-8)


class FC(nn.Module):
    """The usual classifier. W: (K, p), Kaiming normal as the reference networks have it."""

    def __init__(self, p: int, K: int, *, bias: bool = True, features: str = "as-is") -> None:
        super().__init__()
        self.features = Features(p, features)
        self.linear = nn.Linear(p, K, bias=bias)
        nn.init.kaiming_normal_(self.linear.weight)

    @property
    def class_vectors(self) -> Tensor:
        return self.linear.weight

    def forward(self, h: Tensor) -> Tensor:
        """Logits (B, K) of features (B, p)."""
        return self.linear(self.features(h))

    def loss(self, h: Tensor, a: Tensor, b: Tensor, lam: Tensor) -> Tensor:
        """Mean loss on mixed labels."""
        return mixed_cross_entropy(self(h), a, b, lam)


class MixedSingleton(FC):
    """The paper's MS (Eq. 3, 4). A bias is mixed like the class vectors. ``unordered``: the label pairs a < b only."""

    def __init__(self, p: int, K: int, *, bias: bool = True, unordered: bool = False, features: str = "as-is") -> None:
        super().__init__(p, K, bias=bias, features=features)
        self.unordered = unordered

    def loss(self, h: Tensor, a: Tensor, b: Tensor, lam: Tensor) -> Tensor:
        """Mean mixed-singleton loss. Raises InvalidInput for a label pair without a class (``unordered`` and a >= b)."""
        return _singleton_loss(self(h), a, b, lam, self.unordered)


def _singleton_loss(z: Tensor, a: Tensor, b: Tensor, lam: Tensor, unordered: bool) -> Tensor:
    if unordered and not torch.compiler.is_compiling() and z.device.type == "cpu" and bool((a >= b).any()):
        raise InvalidInput("the classifier has the label pairs a < b as classes; the batch holds another pair")
    return mixed_singleton(z, a, b, lam, unordered=unordered)


def simplex_etf(p: int, K: int, generator: torch.Generator | None = None) -> Tensor:
    """A random simplex ETF in p dimensions, (K, p): unit rows, cosines -1/(K-1).

    sqrt(K/(K-1)) (I - 11^T/K) Q^T with Q the orthonormal factor of a random p x K matrix (Yang et al. 2022).
    Raises InvalidInput for p < K.
    """
    if p < K:
        raise InvalidInput(
            f"a simplex ETF of K = {K} vectors needs features of width p >= K, got p = {p}; take a wider model"
        )
    Q, _ = torch.linalg.qr(torch.rand(p, K, generator=generator, dtype=torch.float64))
    centre = torch.eye(K, dtype=torch.float64) - 1.0 / K
    return (math.sqrt(K / (K - 1)) * centre @ Q.T).float()


class FixedETF(nn.Module):
    """A simplex ETF that is not trained. Features pass a BatchNorm and are scaled to unit length by default, as the reference
    code has it, also with cross-entropy: logits are cosines.
    """

    etf: Tensor

    def __init__(
        self,
        p: int,
        K: int,
        *,
        loss: str = "dr",
        features: str = "norm-unit",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.features = Features(p, features)
        self.register_buffer("etf", simplex_etf(p, K, generator))
        self.kind = loss

    @property
    def class_vectors(self) -> Tensor:
        return self.etf

    def forward(self, h: Tensor) -> Tensor:
        """Cosines (B, K)."""
        return self.features(h) @ self.etf.T

    def loss(self, h: Tensor, a: Tensor, b: Tensor, lam: Tensor) -> Tensor:
        """Mean loss on mixed labels."""
        return (dot_regression if self.kind == "dr" else mixed_cross_entropy)(self(h), a, b, lam)


class MixedSingletonETF(nn.Module):
    """MS-WETF (Appendix F): class vectors ``s_k`` times a fixed ETF's, s learnable and 10 at the start (at 1, a softmax over ten
    unit vectors cannot exceed 0.25), with the mixed-singleton loss. Features as in :class:`FixedETF`.
    """

    etf: Tensor

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
        super().__init__()
        self.features = Features(p, features)
        self.register_buffer("etf", simplex_etf(p, K, generator))
        self.scale = nn.Parameter(torch.full((K,), scale))
        self.unordered = unordered

    @property
    def class_vectors(self) -> Tensor:
        return self.scale[:, None] * self.etf

    def forward(self, h: Tensor) -> Tensor:
        """Logits (B, K)."""
        return self.features(h) @ self.class_vectors.T

    def loss(self, h: Tensor, a: Tensor, b: Tensor, lam: Tensor) -> Tensor:
        """Mean mixed-singleton loss."""
        return _singleton_loss(self(h), a, b, lam, self.unordered)
