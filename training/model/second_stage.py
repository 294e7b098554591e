"""What a second stage trains on the frozen features of a finished network: a new classifier, or scales of the old one."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from training.model.build import Network
from training.model.classifiers import FC
from training.model.features import Features
from training.model.losses import LossFunction, mixed_cross_entropy


class Frozen(Network):
    """A network whose backbone does not train; what its classifier does to features first does not, either.

    Args:
        network: the network.
        shift: whether BatchNorm normalises by the batch in training, and its running statistics follow; its weights stay.
    """

    def __init__(self, network: Network, *, shift: bool) -> None:
        super().__init__(network.backbone, network.classifier)
        assert isinstance(self.classifier, FC)
        self.shift, self.frozen = shift, (self.backbone, self.classifier.features)
        for part in self.frozen:
            part.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> Frozen:
        """Set training or evaluation mode; without ``shift`` the frozen parts stay in evaluation mode.

        Args:
            mode: whether to train.

        Returns:
            The network itself.
        """
        super().train(mode)
        if not self.shift:
            for part in self.frozen:
                part.eval()
        return self

    @torch.no_grad()
    def features(self, x: Tensor, branch: int | None = None, *, bf16: bool) -> Tensor:
        """Compute the backbone's features, without gradients.

        Args:
            x: (B, C, H, W) normalised images.
            branch: as in :meth:`training.model.build.Network.features`.
            bf16: whether the backbone computes in bfloat16.

        Returns:
            (B, p) float32.
        """
        return super().features(x, branch, bf16=bf16)


class Scaled(FC):
    """An FC with one scale per class, z_k = s_k (w_k h + bias_k), s = 1 at first. Source: Kang et al. 2020 (LWS).

    Args:
        p: width of the features.
        K: number of classes.
        bias: whether there is a bias.
        features: what is done with the features, see :class:`training.model.classifiers.Features`.
        loss: the loss on mixed labels.
        trains_vectors: whether class vectors and bias train beside the scales.
    """

    def __init__(
        self,
        p: int,
        K: int,
        *,
        bias: bool = True,
        features: str = "as-is",
        loss: LossFunction = mixed_cross_entropy,
        trains_vectors: bool = False,
    ) -> None:
        super().__init__(p, K, bias=bias, features=features, loss=loss)
        self.scales = nn.Parameter(torch.ones(K))
        self.linear.requires_grad_(trains_vectors)

    @property
    def class_vectors(self) -> Tensor:
        """The class vectors s_k w_k, (K, p)."""
        return self.scales[:, None] * self.linear.weight

    @property
    def bias(self) -> Tensor | None:
        """The bias s_k bias_k of each class, (K,); None without a bias."""
        return None if self.linear.bias is None else self.scales * self.linear.bias

    def forward(self, h: Tensor) -> Tensor:
        """Compute logits.

        Args:
            h: features, (B, p).

        Returns:
            Logits, (B, K).
        """
        return self.scales * super().forward(h)


class LabelAwareSmoothing(nn.Module):
    """Cross-entropy with targets that are smoothed more the more frequent the class is. Source: Zhong et al. 2021.

    (1 - e_a) CE_a + e_a mean_k(-log p_k), e_k = tail + (head - tail) sin(pi (n_k - n_K) / (2 (n_1 - n_K))); the mean has
    the true class too, as in the authors' code. On mixed labels it is the mean of both by the mixing ratio.

    Args:
        counts: (K,) training images of each class.
        head: smoothing of the class with the most images.
        tail: smoothing of the class with the fewest.
    """

    smoothing: Tensor

    def __init__(self, counts: Tensor, head: float, tail: float) -> None:
        super().__init__()
        n = counts.double()
        span = (n.max() - n.min()).clamp(min=1)  # equal counts have no head; all get the tail's value
        self.register_buffer(
            "smoothing", (tail + (head - tail) * torch.sin(math.pi / 2 * (n - n.min()) / span)).float()
        )

    def forward(self, z: Tensor, a: Tensor, b: Tensor, lam: Tensor) -> Tensor:
        """Compute the mean loss.

        Args:
            z: (B, K) logits.
            a: (B,) label of the first image of each pair.
            b: (B,) label of the second one.
            lam: () or (B,) mixing ratio, the weight of the first image.

        Returns:
            ().
        """
        log_p = torch.log_softmax(z, dim=1)
        uniform = -log_p.mean(dim=1)

        def of(label: Tensor) -> Tensor:
            smoothing = self.smoothing[label]
            return -(1 - smoothing) * log_p.gather(1, label[:, None])[:, 0] + smoothing * uniform

        return (lam * of(a) + (1 - lam) * of(b)).mean()


def new_classifier(p: int, K: int, *, counts: Tensor, bias: bool, features: str) -> FC:
    """Make the classifier of cRT: linear, from scratch.

    Args:
        p: width of the features.
        K: number of classes.
        counts: (K,) training images of each class; without effect.
        bias: whether there is a bias.
        features: what is done with the features.

    Returns:
        The classifier.
    """
    return FC(p, K, bias=bias, features=features)


def scaled_classifier(p: int, K: int, *, counts: Tensor, bias: bool, features: str) -> FC:
    """Make the classifier of LWS: the old one, frozen, with scales that train.

    Args:
        p: width of the features.
        K: number of classes.
        counts: (K,) training images of each class; without effect.
        bias: whether there is a bias.
        features: what is done with the features.

    Returns:
        The classifier.
    """
    return Scaled(p, K, bias=bias, features=features)


def smoothed_classifier(p: int, K: int, *, counts: Tensor, bias: bool, features: str, head: float, tail: float) -> FC:
    """Make the classifier of MiSLAS: the old one, whose scales and vectors train with label-aware smoothing.

    Args:
        p: width of the features.
        K: number of classes.
        counts: (K,) training images of each class.
        bias: whether there is a bias.
        features: what is done with the features.
        head: smoothing of the class with the most images.
        tail: smoothing of the class with the fewest.

    Returns:
        The classifier.
    """
    loss = LabelAwareSmoothing(counts, head, tail)
    return Scaled(p, K, bias=bias, features=features, loss=loss, trains_vectors=True)


@torch.no_grad()
def start(network: Frozen, first: Network, *, classifier: bool) -> None:
    """Give the network of a second stage the weights of the first one.

    Args:
        network: the network of the second stage.
        first: that of the finished run.
        classifier: whether it also starts from that run's class vectors and bias; otherwise its own are new.
    """
    network.backbone.load_state_dict(first.backbone.state_dict())
    old, new = first.classifier, network.classifier
    assert isinstance(new, FC)
    assert isinstance(old.features, Features)  # two branches have no second stage
    new.features.load_state_dict(old.features.state_dict())
    if classifier:
        new.linear.weight.copy_(old.class_vectors)
        if new.linear.bias is not None:
            assert isinstance(old, FC)
            new.linear.bias.copy_(old.linear.bias)
