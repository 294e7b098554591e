"""A network whose classifier was corrected after training, as a module that predicts and can be written."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.model.branches import Heads
from training.model.build import Classifier, Network


class Shifted(nn.Module):
    """A classifier less a constant of each class, as post-hoc logit adjustment has it.

    Args:
        classifier: features to logits.
        shift: what is taken from the logits, (K,).
    """

    shift: Tensor

    def __init__(self, classifier: Classifier | Heads, shift: np.ndarray) -> None:
        super().__init__()
        self.classifier = classifier
        self.register_buffer("shift", torch.from_numpy(shift).float())

    def forward(self, h: Tensor) -> Tensor:
        """Compute scores.

        Args:
            h: features, (B, p).

        Returns:
            Scores, (B, K).
        """
        logits: Tensor = self.classifier(h)
        return logits - self.shift


class Scorer(nn.Module):
    """Scores that are linear in prepared classifier inputs: W (h - centre) + bias, h - centre at unit length where that is asked.

    Args:
        classifier: the network's own, which makes classifier inputs of features.
        W: class vectors, (K, p).
        bias: (K,).
        centre: what is taken from classifier inputs, (p,).
        unit: whether they are then scaled to unit length.
    """

    W: Tensor
    bias: Tensor
    centre: Tensor

    def __init__(
        self, classifier: Classifier | Heads, W: np.ndarray, bias: np.ndarray, centre: np.ndarray, *, unit: bool
    ) -> None:
        super().__init__()
        self.classifier, self.unit = classifier, unit
        for name, values in (("W", W), ("bias", bias), ("centre", centre)):
            self.register_buffer(name, torch.from_numpy(values).float())

    def forward(self, h: Tensor) -> Tensor:
        """Compute scores.

        Args:
            h: features, (B, p).

        Returns:
            Scores, (B, K).
        """
        x = self.classifier.features(h) - self.centre
        return F.linear(F.normalize(x, dim=1, eps=1e-12) if self.unit else x, self.W, self.bias)


def replaced(network: Network, classifier: nn.Module) -> Network:
    """Give a network another classifier.

    Args:
        network: the network; it stays as it is.
        classifier: features to scores.

    Returns:
        The network in evaluation mode.
    """
    other: Any = copy.copy(network)
    other._modules = {**network._modules, "classifier": classifier.to(next(network.parameters()).device)}
    return other.eval()
