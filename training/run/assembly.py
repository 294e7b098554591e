"""A run's parts put together: where its images come from, its network, its optimizer, its objective."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lpm.console.errors import InvalidInput
from training.batches import sources
from training.batches.cached import Cached
from training.config import RunConfig
from training.data.datasets import Images, LongTailed
from training.data.policies import policy
from training.distributed import norms
from training.distributed.ranks import ALONE, Ranks
from training.methods import BRANCHES, LAWS, STAGES
from training.model import build
from training.model.backbones import code_of
from training.model.classifiers import FC
from training.model.second_stage import Frozen
from training.model.second_stage import start as begin_from
from training.sampling.pair_sampler import PairSampler


@dataclass(frozen=True, kw_only=True)
class Assembly:
    """What a run is made of while it is in memory.

    Attributes:
        config: the run.
        data: the long-tailed data.
        device: where everything lives.
        layout: memory layout of weights and images.
        ranks: the processes that train the run together.
        source: where a step's images come from.
        sampler: which images are paired.
        network: backbone and classifier.
        objective: the loss of a batch, wrapped where several processes train.
        optimizer: SGD on the parameters that train.
        lr: (), the learning rate, a tensor because a captured step reads it anew.
        penalty: (), the share of the penalties, in the same way.
        vectors_lr: (), the learning rate of the class vectors of MiSLAS's second stage, in the same way.
    """

    config: RunConfig
    data: LongTailed
    device: torch.device
    layout: torch.memory_format
    ranks: Ranks
    source: sources.Source
    sampler: PairSampler
    network: build.Network
    objective: nn.Module
    optimizer: torch.optim.SGD
    lr: Tensor
    penalty: Tensor
    vectors_lr: Tensor

    @property
    def momentum(self) -> list[Tensor]:
        """The optimizer's momentum, one tensor per parameter that trains; none without momentum."""
        return [state["momentum_buffer"] for state in self.optimizer.state.values()]


def assemble(
    config: RunConfig,
    data: LongTailed,
    device: torch.device,
    *,
    layout: torch.memory_format = torch.channels_last,
    workers: int = 0,
    weights: Path | None = None,
    start: build.Network | None = None,
    ranks: Ranks = ALONE,
    features: Path | None = None,
) -> Assembly:
    """Put a run together.

    Args:
        config: the run.
        data: the long-tailed data.
        device: where everything is to live.
        layout: memory layout of weights and images.
        workers: processes that decode image files.
        weights: a file that a pretrained network starts from.
        start: the network that a second stage starts from; None where weights are loaded later.
        ranks: the processes that train the run together.
        features: folder that keeps features that are computed once; None keeps none.

    Returns:
        The parts.

    Raises:
        InvalidInput: if the network cannot be built or has nothing to train, if weights do not fit it, if there are more
            processes than pairs in a batch or than the mixing law allows, or if parts of a batch cannot be shared by the
            processes or have too few images.
    """
    _check_shares(config, data, ranks)
    _check_pixels(config, data)
    policy(config.transform)  # code of one's own that may not run is refused now, not by a process that decodes
    source: sources.Source = sources.of(config, data, device, workers)
    sampler = build.sampler(config, data.train.labels)
    network = build.network(config, source.channels, weights, counts=data.counts)
    if config.stage != "none":
        network = Frozen(network, shift=config.stage_norms == "shift")
        if start is not None:
            begin_from(network, start, classifier=STAGES[config.stage].linear)
    network.to(device, memory_format=layout)  # type: ignore[call-overload]
    norms.convert_batch_norms(network, ranks, config.parts)
    if config.trains == "features":
        source = _cached(config, data, source, network, device, layout, features)
    lr, penalty, vectors_lr = (torch.zeros((), device=device) for _ in range(3))
    return Assembly(
        config=config,
        data=data,
        device=device,
        layout=layout,
        ranks=ranks,
        source=source,
        sampler=sampler,
        network=network,
        objective=_wrapped(BRANCHES[config.branches].made(config, network, config, penalty, ranks, layout), ranks),
        optimizer=_optimizer(config, network, lr, vectors_lr),
        lr=lr,
        penalty=penalty,
        vectors_lr=vectors_lr,
    )


def _cached(
    config: RunConfig,
    data: LongTailed,
    source: sources.Source,
    network: build.Network,
    device: torch.device,
    layout: torch.memory_format,
    folder: Path | None,
) -> Cached:
    """The source of features of a frozen network, in place of that of images."""
    assert isinstance(source, sources.Files)
    backbone = network.backbone

    def compute(x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=layout)
        return network.features(x, bf16=config.precision == "bf16")

    return Cached(config, data, source, compute, backbone.state_dict, code_of(config.model), device, folder)


def _check_shares(config: RunConfig, data: LongTailed, ranks: Ranks) -> None:
    if ranks.world > config.batch:
        raise InvalidInput(f"{ranks.world} processes cannot share batches of {config.batch}; take fewer")
    if LAWS[config.mixing].matched and ranks.world > 1:
        raise InvalidInput(
            f"mixing {config.mixing!r} matches the images of a whole batch, which {ranks.world} processes would share; take one "
            "process, or 'cmo'"
        )
    if config.trains == "features" and ranks.world > 1:
        raise InvalidInput(
            "trains 'features' leaves nothing for several processes to share; drop torchrun, or take --trains classifier"
        )
    if config.parts % ranks.world:
        raise InvalidInput(
            f"{ranks.world} processes cannot share {config.parts} parts of {config.norm_batch} pairs; take a number that "
            f"divides {config.parts}, or --norm-batch 0"
        )
    if len(data.train.labels) < 2 * config.parts:
        raise InvalidInput(
            f"BatchNorm needs two images per part, and {len(data.train.labels)} do not make {config.parts} parts; take a "
            "larger --norm-batch"
        )


def _check_pixels(config: RunConfig, data: LongTailed) -> None:
    P = config.pixels
    if LAWS[config.mixing].boxes and isinstance(data.train, Images) and data.train.images.shape[2:] != (P, P):
        H, W = data.train.images.shape[2:]
        raise InvalidInput(
            f"mixing {config.mixing!r} cuts boxes from images of {P} x {P} pixels, and those of {config.dataset} have {H} x {W}; "
            "give the row of training/catalogue.py its pixels"
        )


def _optimizer(config: RunConfig, network: build.Network, lr: Tensor, vectors_lr: Tensor) -> torch.optim.SGD:
    trained = [p for p in network.parameters() if p.requires_grad]
    if not trained:
        raise InvalidInput(
            f"trains {config.trains!r} with classifier {config.classifier!r} leaves nothing to train; change one of them"
        )
    groups: list[dict[str, Any]] = [{"params": trained}]
    if config.classifier_decay:  # which takes the place of weight decay there
        of_classifier = {id(p) for p in network.classifier.parameters()}
        groups = [
            {"params": [p for p in trained if id(p) not in of_classifier]},
            {"params": [p for p in trained if id(p) in of_classifier], "weight_decay": 0.0},
        ]
    if config.vectors_lr != 1:  # of a second stage with scales
        assert isinstance(network.classifier, FC)
        vectors = {id(p) for p in network.classifier.linear.parameters()}
        groups = [
            {"params": [p for p in trained if id(p) not in vectors]},
            {"params": [p for p in trained if id(p) in vectors], "lr": vectors_lr},
        ]
    optimizer = torch.optim.SGD(
        groups, lr, config.momentum, weight_decay=config.weight_decay, nesterov=config.nesterov, fused=True
    )
    for parameter in (
        trained if config.momentum else ()
    ):  # a captured step needs them from the start; zeros change nothing
        optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def _wrapped(objective: nn.Module, ranks: Ranks) -> nn.Module:
    if ranks.world == 1:
        return objective
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # broadcast_buffers has a new name, which older versions lack
        return DistributedDataParallel(objective, broadcast_buffers=False)
