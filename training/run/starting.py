"""The finished run that a second stage starts from, found in the store and checked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from lpm.console.errors import InvalidInput
from training.config import RunConfig
from training.data.datasets import LongTailed
from training.model.build import Network
from training.run.inference import network_of
from training.store import runs


@dataclass(frozen=True)
class Start:
    """What a second stage starts from.

    Attributes:
        network: the network of the first run, on the CPU.
        sha256: a hash of its weights.
        folder: the name of the run's folder inside the store.
        last: the accuracies of the first run after its last epoch.
    """

    network: Network
    sha256: str
    folder: str
    last: Mapping[str, float]


def start_of(store: Path, config: RunConfig, data: LongTailed) -> Start:
    """Find the run that a second stage starts from.

    Args:
        store: the folder of the run store.
        config: the second stage.
        data: its data, which must be those of the first run.

    Returns:
        What it starts from.

    Raises:
        InvalidInput: if the first run is missing, not finished or damaged, or was on other data.
    """
    paths = sorted(store.glob(f"*-{config.stage1}/seed-{config.seed}"))
    if not paths:
        raise InvalidInput(
            f"{config.method}, seed {config.seed}, starts from the run with key {config.stage1} of that seed, which "
            f"{str(store)!r} has not; train it there first"
        )
    folder = runs.at(paths[0])
    folder.check(data.fingerprint, images=data)
    network = network_of(folder, data.channels, torch.device("cpu"))
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return Start(network, digest.hexdigest(), folder.config.folder, folder.result().last)
