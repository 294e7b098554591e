"""The only place where the words of a config become objects."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lpm.console.errors import InvalidInput
from training.config import BOTTLENECKS, RunConfig
from training.model.cifar_resnets import ResNet
from training.model.classifiers import FC, FixedETF, MixedSingleton, MixedSingletonETF
from training.model.imagenet_resnets import Bottlenecks, load_weights
from training.sampling.samplers import (
    BalancedMixedLabels,
    ClassAware,
    ClassBalanced,
    Coverage,
    LabelOccurrence,
    PairSampler,
    Random,
)

Classifier = FC | MixedSingleton | FixedETF | MixedSingletonETF


class Network(nn.Module):
    """A backbone and its classifier."""

    def __init__(self, backbone: ResNet | Bottlenecks, classifier: Classifier) -> None:
        super().__init__()
        self.backbone, self.classifier = backbone, classifier

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores (B, K)."""
        return self.classifier(self.backbone(x))

    def features(self, x: torch.Tensor, *, bf16: bool) -> torch.Tensor:
        """The backbone's features (B, p), float32; bf16: its arithmetic."""
        with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
            features = self.backbone(x)
        # Logits in float32: they are few, and enter sums of exponentials.
        return features.float()


def device(name: str) -> torch.device:
    """The torch device: 'auto' takes CUDA where there is one. Raises InvalidInput for one that is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise InvalidInput("--device cuda: this machine has no CUDA device; use --device cpu")
    torch.backends.cudnn.benchmark = True  # batches have one size, so its choice pays
    torch.backends.cudnn.allow_tf32 = False  # 'fp32' means it
    return torch.device(name)


@contextlib.contextmanager
def unsearched(*, deterministic: bool = False) -> Iterator[None]:
    """Within it cuDNN searches for no algorithm: for batches of a size that does not come again. deterministic: it takes those
    that are.
    """
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic
    cudnn.benchmark, cudnn.deterministic = False, deterministic
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.deterministic = before


def sampler(config: RunConfig, labels: np.ndarray) -> PairSampler:
    """The config's pair sampler."""
    shared = {"seed": config.seed, "batch": config.batch}
    if config.sampler == "cas":
        return ClassAware(labels, **shared, m=config.cas_m)
    if config.sampler in ("bmls", "bmls-all"):
        return BalancedMixedLabels(labels, **shared, ordered=config.sampler == "bmls-all")
    if config.sampler == "coverage":
        return Coverage(labels, **shared, ratio=config.coverage)
    return {"random": Random, "cbs": ClassBalanced, "lom": LabelOccurrence}[config.sampler](labels, **shared)


def network(config: RunConfig, channels: int, weights: Path | None = None) -> Network:
    """The config's network, initialised from its seed. channels: of the images. weights: file of a pretrained backbone's.

    Raises InvalidInput for weights that do not fit.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        backbone: ResNet | Bottlenecks
        if config.model in BOTTLENECKS:
            backbone = Bottlenecks(config.model, width=config.channels, channels=channels, trains=config.trains)
            if weights is not None:
                load_weights(backbone, weights)
        else:
            backbone = ResNet(config.model, width=config.channels, channels=channels)
        return Network(backbone, classifier(config, backbone.p))


def classifier(config: RunConfig, p: int) -> Classifier:
    """The config's classifier on features of width p; the ETF is drawn from the seed."""
    generator = torch.Generator().manual_seed(config.seed)
    unordered = config.classifier.endswith("unordered")
    usual = "norm-unit" if "etf" in config.classifier else "as-is"
    features = usual if config.features == "auto" else config.features
    if config.classifier == "fc":
        return FC(p, config.K, bias=config.bias, features=features)
    if config.classifier.startswith("ms-wetf"):
        return MixedSingletonETF(
            p, config.K, unordered=unordered, scale=config.scale, features=features, generator=generator
        )
    if config.classifier.startswith("ms"):
        return MixedSingleton(p, config.K, bias=config.bias, unordered=unordered, features=features)
    return FixedETF(p, config.K, loss=config.loss, features=features, generator=generator)
