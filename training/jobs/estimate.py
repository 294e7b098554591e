"""How long runs will take: by finished runs of the same network, else by a few steps that are measured now."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from paper_checks.paper.datasets import cifar_lt, datasets
from training.config import RunConfig
from training.jobs.progress import in_time
from training.methods import BRANCHES
from training.model import build
from training.store.runs import find

PUBLISHED = {
    "places-lt": "Places-LT",
    "places-lt-ft": "Places-LT",
    "imagenet-lt": "ImageNet-LT",
    "inaturalist2018": "iNaturalist 2018",
}
"""By data set of image files, its name in :mod:`paper_checks.paper.datasets`."""

NO_TIMES: Mapping[RunConfig, float] = MappingProxyType({})
"""No run is known beside those of the store."""

PIXELS, SECONDS = 2**17, 1.0
"""Pixels of the images that a measured step takes at most, and how long steps are measured."""


def images(config: RunConfig) -> int:
    """Count the training images of a run of a table, without its data.

    Args:
        config: the run.

    Returns:
        Their number, by the formula of the long-tailed subset or the published list.
    """
    if config.dataset in PUBLISHED:
        return next(row.images for row in datasets() if row.name == PUBLISHED[config.dataset])
    return int(cifar_lt(config.K, config.imbalance).sum())


def in_words(configs: Sequence[RunConfig], store: Path, device: str) -> str:
    """Estimate how long some runs take, one after another.

    Args:
        configs: the runs; at least one.
        store: the run store, whose finished runs tell.
        device: 'auto', 'cpu' or 'cuda'.

    Returns:
        The time in words, and where it comes from.

    Raises:
        InvalidInput: if the device is not there.
    """
    each, basis = seconds(configs, store, device)
    return f"about {in_time(sum(each))} here on {build.device(device).type}, one run after another ({basis})"


def seconds(
    configs: Sequence[RunConfig], store: Path, device: str, timed: Mapping[RunConfig, float] = NO_TIMES
) -> tuple[list[float], str]:
    """Estimate how long each of some runs takes.

    Args:
        configs: the runs; at least one.
        store: the run store, whose finished runs tell.
        device: 'auto', 'cpu' or 'cuda'.
        timed: seconds of finished runs of tables beside those of the store, on the same kind of device.

    Returns:
        Seconds of each run, and where they come from, in words.

    Raises:
        InvalidInput: if the device is not there.
    """
    where = build.device(device)
    known = _known(store, where.type, timed)
    groups: dict[tuple[object, ...], list[RunConfig]] = defaultdict(list)
    for config in configs:
        groups[_cost(config)].append(config)
    rates = {cost: known.get(cost) or measured(group[0], where) for cost, group in groups.items()}
    each = [rates[_cost(config)] * config.epochs * images(config) for config in configs]
    by_runs = sum(len(group) for cost, group in groups.items() if cost in known)
    on_noise = "by some steps on noise, so without reading, augmenting and testing images: it may take twice as long"
    if by_runs == len(configs):
        return each, f"by finished runs of the same networks{'' if timed else f' in {store}'}"
    return each, (
        f"{by_runs} of {len(configs)} by finished runs{'' if timed else f' in {store}'}, the others {on_noise}"
        if by_runs
        else on_noise
    )


def _cost(config: RunConfig) -> tuple[object, ...]:
    """What decides how long an image takes. Classifiers cost little beside the network."""
    network = config.model, config.channels, config.trains, config.branches
    return config.dataset, *network, config.pixels, config.precision


def _known(store: Path, device: str, timed: Mapping[RunConfig, float]) -> Mapping[tuple[object, ...], float]:
    """Seconds per image of the finished runs of a store that were trained on such a device, and of others, by their cost."""
    rates = defaultdict(list)
    for config, took in timed.items():
        rates[_cost(config)].append(took / (config.epochs * images(config)))
    for folder in find(store):
        if folder.done:
            result = folder.result()
            trained = folder.config.epochs * sum(result.train_counts)
            if result.train_seconds and trained and (result.device == "cpu") == (device == "cpu"):
                rates[_cost(folder.config)].append(result.train_seconds / trained)
    return {cost: float(np.median(values)) for cost, values in rates.items()}


def measured(config: RunConfig, device: torch.device) -> float:
    """Measure some steps of a run's network on noise.

    Args:
        config: the run.
        device: where.

    Returns:
        Seconds per image.
    """
    side = config.pixels if config.data_set.files else 32
    n = max(4, min(config.batch, PIXELS // side**2))
    network = build.network(config, 3).to(device).train()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    objective = BRANCHES[config.branches].made(config, network, config, torch.zeros((), device=device))
    x = torch.randn(n, 3, side, side, device=device).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(n, device=device) % config.K
    a, b = torch.minimum(labels, labels.roll(1)), torch.maximum(labels, labels.roll(1))
    # a < b, for classifiers that know no other label pairs
    a, b = torch.where(a == b, 0, a), torch.where(a == b, 1, b)
    half, no_boxes = torch.full((n,), 0.5, device=device), torch.zeros(4, 0, dtype=torch.int64, device=device)

    def step() -> float:
        start = time.perf_counter()
        loss: Any = objective(x, x, a, b, half, half, no_boxes)
        network.zero_grad()
        loss.backward()
        loss.item()  # waits for the device
        return time.perf_counter() - start

    step()  # the first one is slower
    times = [step()]
    while sum(times) < SECONDS:
        times.append(step())
    return min(times) / n  # another may have disturbed the others
