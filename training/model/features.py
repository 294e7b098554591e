"""The classifier inputs, made of the backbone's features."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Features(nn.Module):
    """The classifier inputs: what class vectors are multiplied with, made of the backbone's features.

    Args:
        p: width of the features.
        kind: 'as-is' leaves them; 'unit' scales each to unit length; 'norm-unit' does so after a BatchNorm. In training
            a batch of fewer than two rows is normalised by the running statistics.
    """

    def __init__(self, p: int, kind: str = "as-is") -> None:
        super().__init__()
        self.kind = kind
        if kind == "norm-unit":
            self.norm = nn.BatchNorm1d(p)

    def forward(self, h: Tensor) -> Tensor:
        """Turn features into classifier inputs.

        Args:
            h: features, (B, p).

        Returns:
            Classifier inputs, (B, p).
        """
        if self.kind == "as-is":
            return h
        return F.normalize(self._normalised(h) if self.kind == "norm-unit" else h, dim=1, eps=1e-8)

    def _normalised(self, h: Tensor) -> Tensor:
        norm = self.norm
        if norm.training and len(h) < 2 and isinstance(norm, nn.BatchNorm1d):
            # One row has no variance, and torch refuses it: a loop would stop at a last batch of one image.
            return F.batch_norm(h, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
        normalised: Tensor = norm(h)
        return normalised
