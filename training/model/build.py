"""The only place where the words of a config become objects."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lpm.console.errors import InvalidInput
from training.choices.recipe import FOR_ARRAYS, FOR_FILES, MODELS
from training.config import RunConfig
from training.methods import BRANCHES, CLASSIFIERS, LOSSES, SAMPLERS, STAGES
from training.model.backbones import Other
from training.model.branches import Branched, Heads
from training.model.cifar_resnets import ResNet
from training.model.class_weights import Weighted, effective, inverse
from training.model.classifiers import FC, FixedETF, MixedSingletonETF
from training.model.imagenet_resnets import Bottlenecks
from training.model.weights import fitting, load_weights
from training.sampling.label_law import label_frequencies
from training.sampling.pair_sampler import PairSampler
from training.sampling.two_laws import Deferred

Classifier = FC | FixedETF | MixedSingletonETF
"""What a network may have as its classifier; MixedSingleton is an FC."""


class Network(nn.Module):
    """A backbone and its classifier.

    Args:
        backbone: images to features.
        classifier: features to scores; it knows the loss that it is trained with.
    """

    def __init__(self, backbone: ResNet | Bottlenecks | Branched | Other, classifier: Classifier | Heads) -> None:
        super().__init__()
        self.backbone, self.classifier = backbone, classifier

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Score the classes of images.

        Args:
            x: (B, C, H, W) normalised images.

        Returns:
            (B, K) scores; the largest is the prediction.
        """
        return self.classifier(self.backbone(x))

    def features(self, x: torch.Tensor, branch: int | None = None, *, bf16: bool) -> torch.Tensor:
        """Compute the backbone's features.

        Args:
            x: (B, C, H, W) normalised images; or (B, p, 1, 1) features, which are returned.
            branch: 0 or 1 for the features of one branch; by default those of all branches, joined.
            bf16: whether the backbone computes in bfloat16, where :func:`has_bfloat16` says that the device has it.

        Returns:
            (B, p) float32.
        """
        if x.shape[2:] == (1, 1):  # no image, but features that were computed once (training/batches/cached.py)
            return x.flatten(1).float()
        with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16 and has_bfloat16(x.device)):
            features = self.backbone(x) if branch is None else self.backbone(x, branch)
        # Logits in float32: they are few, and enter sums of exponentials.
        return features.float()


@cache
def has_bfloat16(device: torch.device) -> bool:
    """Say whether a device has instructions for bfloat16. Without them it is emulated, and many times slower than float32.

    Args:
        device: the CPU or a GPU.

    Returns:
        Whether it has: a GPU since Ampere, a CPU that oneDNN computes on in bfloat16 (with AVX-512, for example).
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    # Private, but it asks the library that computes the convolutions. The public get_cpu_capability() knows x86-64 only.
    onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return bool(onednn and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def device(name: str) -> torch.device:
    """Choose the device.

    Args:
        name: 'cpu', 'cuda', or 'auto', which takes CUDA where there is one.

    Returns:
        The device.

    Raises:
        InvalidInput: if it is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise InvalidInput("--device cuda: this machine has no CUDA device; use --device cpu")
    torch.backends.cudnn.benchmark = True  # batches have one size, so its choice pays
    torch.backends.cudnn.allow_tf32 = False  # 'fp32' means it
    return torch.device(name)


@contextlib.contextmanager
def unsearched(*, deterministic: bool = False) -> Iterator[None]:
    """Keep cuDNN from searching for its fastest algorithm, for batches of a size that does not come again.

    Args:
        deterministic: whether cuDNN takes deterministic algorithms only.

    Yields:
        Nothing; the settings hold within the block.
    """
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic
    cudnn.benchmark, cudnn.deterministic = False, deterministic
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.deterministic = before


def sampler(config: RunConfig, labels: np.ndarray) -> PairSampler:
    """Make the run's sampler, of the pairs of all processes together: the trainer takes each process's share itself.

    Args:
        config: the run.
        labels: (N,) class of each training image.

    Returns:
        The sampler of image pairs.

    Raises:
        InvalidInput: if a class has no image.
    """
    present = np.unique(labels)
    if (gaps := np.flatnonzero(present != np.arange(len(present)))).size:  # a sampler would number the others anew
        raise InvalidInput(f"class {gaps[0]} has no image; every class needs one")
    if not config.sampler_from:
        return _sampler(config.sampler, config, labels)
    start = round(config.sampler_from * config.epochs)
    return Deferred(_sampler("random", config, labels), _sampler(config.sampler, config, labels), start)


def _sampler(name: str, config: RunConfig, labels: np.ndarray) -> PairSampler:
    made: PairSampler = SAMPLERS[name].made(config, labels, seed=config.seed, batch=config.batch, rank=0, world_size=1)
    return made


def network(
    config: RunConfig, channels: int, weights: Path | None = None, *, counts: np.ndarray | None = None
) -> Network:
    """Make the run's network, initialised from its seed.

    Args:
        config: the run.
        channels: of the images.
        weights: a file with the weights of a pretrained backbone.
        counts: (K,) training images of each class, which some losses need; equal by default.

    Returns:
        The network.

    Raises:
        InvalidInput: if the weights do not fit.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        undivided, row = _undivided(config, channels), BRANCHES[config.branches]
        backbone: ResNet | Bottlenecks | Branched | Other = undivided
        if weights is not None and not isinstance(undivided, ResNet):
            load_weights(undivided, weights)
        if row.doubled:
            assert not isinstance(undivided, Other)  # check_features
            blocks = undivided.last_stage if row.doubled == "stage" else 1
            backbone = Branched(undivided, blocks, draw=weights is None)
        if row.heads == 1:
            return Network(backbone, classifier(config, backbone.p, counts))
        return Network(backbone, Heads(*(classifier(config, backbone.p // 2, counts, branch) for branch in (0, 1))))


def check_networks(configs: Iterable[RunConfig], weights: Path | None) -> None:
    """See that the runs' networks can be made, before data are read and without the memory that networks take.

    Networks of others are not tried, because that runs their code.

    Args:
        configs: the runs.
        weights: a file with the weights of a pretrained backbone.

    Raises:
        InvalidInput: if a backbone is too narrow for its classifier, or the weights do not fit it.
    """
    read = set[tuple[str, int, str]]()
    for config in dict.fromkeys(replace(one, seed=0) for one in configs):
        if config.model not in MODELS or config.stage != "none":
            continue
        with torch.device("meta"):
            backbone, row = _undivided(config, 3), BRANCHES[config.branches]
        if CLASSIFIERS[config.classifier].random:  # a simplex ETF
            classifier(config, backbone.p * (2 if row.doubled else 1) // row.heads)
        kind = config.model, config.channels, config.trains
        if config.pretrained and weights is not None and kind not in read:
            assert isinstance(backbone, Bottlenecks)
            fitting(backbone, weights)
            read.add(kind)


def _undivided(config: RunConfig, channels: int) -> ResNet | Bottlenecks | Other:
    """The run's backbone before it is divided into branches."""
    if config.model in FOR_ARRAYS:
        return ResNet(config.model, width=config.channels, channels=channels)
    if config.model in FOR_FILES:
        return Bottlenecks(config.model, width=config.channels, channels=channels, trains=config.trains)
    return Other(config.model, channels=channels, size=config.pixels, trains=config.trains)


def classifier(config: RunConfig, p: int, counts: np.ndarray | None = None, branch: int = 0) -> Classifier:
    """Make the run's classifier; a simplex ETF is drawn from the seed.

    Args:
        config: the run.
        p: width of the features.
        counts: (K,) training images of each class, which some losses need; equal by default.
        branch: the branch that it is for, 0 or 1, where each has a classifier.

    Returns:
        The classifier, which knows the loss that it is trained with.
    """
    if config.stage != "none":
        images = torch.ones(config.K) if counts is None else torch.from_numpy(np.asarray(counts))
        of_stage: Classifier = STAGES[config.stage].made(
            config, p, config.K, counts=images, bias=config.bias, features=config.prepares
        )
        return of_stage
    row = CLASSIFIERS[config.classifier]
    keywords: dict[str, Any] = {"features": row.features if config.features == "auto" else config.features}
    if row.takes_loss:
        keywords["loss"] = loss(config, counts, branch)
    elif config.loss not in row.losses:
        keywords["logit_map"] = loss(config, counts, branch)
    if row.random:
        keywords["generator"] = torch.Generator().manual_seed(config.seed)
    made: Classifier = row.made(config, p, config.K, **keywords)
    return made


def loss(config: RunConfig, counts: np.ndarray | None = None, branch: int = 0) -> Any:
    """Make the run's loss, with its class weights.

    Args:
        config: the run.
        counts: (K,) training images of each class; equal by default.
        branch: the branch that it is for, 0 or 1, where each has a loss.

    Returns:
        A function of logits, labels a and b, and the mixing ratio.
    """
    row, images = LOSSES[config.loss], np.ones(config.K, dtype=np.int64) if counts is None else np.asarray(counts)
    if row.takes == "frequencies" and config.prior == "stream":
        known = [label_frequencies(config, images, branch)]
    else:  # losses that take frequencies make them of the images
        known = [images] if row.takes != "nothing" else []
    made = row.made(config, *map(torch.from_numpy, known))
    if config.class_weights == "none":
        return made
    n = torch.from_numpy(images)
    weights = inverse(n) if config.class_weights == "inverse" else effective(n, config.beta)
    return Weighted(made, weights, normalisation=config.weight_normalisation, begin=config.weights_from)
