"""A trained network at work on image files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lpm.console.errors import InvalidInput
from training.batches import sources
from training.batches.augment import normalised
from training.catalogue import LARGE
from training.config import RunConfig
from training.data.datasets import LARGE_CONSTANTS
from training.data.images import central_view
from training.data.untrusted import line
from training.model import build
from training.store.runs import RunFolder


def refuse(said: str) -> None:
    """Raise InvalidInput."""
    raise InvalidInput(said)


def predictions(
    folder: RunFolder,
    images: Sequence[Path | str],
    device: torch.device,
    *,
    top: int = 1,
    workers: int = 0,
    broken: Callable[[str], None] = refuse,
) -> Iterator[tuple[str, int, str, float]]:
    """A row for each image and each of its ``top`` likeliest classes: path, rank from 1, class, softmax score.

    Scores order the classes of an image. They are no probabilities: training with mixup makes them cautious. broken: told of each
    file that is no image, which has no row.

    Raises InvalidInput for a run on other data than image files, damaged weights, more classes than the run has, and (by
    ``broken``'s default) a file that is no image.
    """
    config, names = folder.config, folder.metrics().get("class_names")
    if config.dataset not in LARGE or not isinstance(names, list) or len(names) != config.K:
        raise InvalidInput(f"{str(folder.path)!r} is no run on image files that names its classes")
    if not 1 <= top <= config.K:
        raise InvalidInput(f"--top {top} must lie in 1..{config.K}, the run's classes")
    network = network_of(folder, sources.Files.channels, device)
    mean, std = sources.constants(*LARGE_CONSTANTS[config.dataset], device)
    loader = DataLoader(
        _Views(images, config),
        batch_size=sources.images_at_once(config, device),
        num_workers=workers,
        collate_fn=_whole_ones,
        worker_init_fn=sources.start_worker,
    )
    remaining, batches = iter(images), iter(loader)
    for _ in range(len(loader)):
        pixels, wrong = sources.next_batch(batches)
        shown = []
        for said, image in zip(wrong, remaining, strict=False):  # in this order, or zip would take an image too many
            if said is None:
                shown.append(image)
            else:
                broken(said)
        if not shown:
            continue
        with torch.no_grad():
            x = normalised(pixels.to(device), mean, std).contiguous(memory_format=torch.channels_last)
            z = network.classifier(network.features(x, bf16=config.precision == "bf16"))
            scores, classes = z.softmax(dim=1).sort(dim=1, descending=True, stable=True)
        if not bool(torch.isfinite(scores).all()):
            raise InvalidInput(f"the weights of {str(folder.path)!r} give scores that are no numbers")
        for row, image in enumerate(shown):
            for rank in range(top):
                yield str(image), rank + 1, names[int(classes[row, rank])], float(scores[row, rank])


class _Views(Dataset[Any]):
    """Decoded images (3, size, size) uint8 as a run's test images are seen, or what is wrong with one."""

    def __init__(self, images: Sequence[Path | str], config: RunConfig) -> None:
        self.images, self.size, self.upright = images, config.pixels, config.upright

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> np.ndarray | str:
        try:
            return central_view(self.images[number], self.size, upright=self.upright)
        except InvalidInput as error:
            return str(error)


def _whole_ones(views: list[np.ndarray | str]) -> tuple[Tensor, list[str | None]]:
    """The images that there are, (n, 3, size, size), and for each view what is wrong with it."""
    whole = [view for view in views if not isinstance(view, str)]
    return torch.from_numpy(np.array(whole)), [view if isinstance(view, str) else None for view in views]


def network_of(folder: RunFolder, channels: int, device: torch.device) -> build.Network:
    """The network of a finished run, for evaluation. channels: of its images. Raises InvalidInput for damaged weights."""
    network = build.network(folder.config, channels)
    weights = {
        k.removeprefix("network."): torch.tensor(v) for k, v in folder.final().items() if k.startswith("network.")
    }
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise InvalidInput(f"the weights of {str(folder.path)!r} do not fit its config: {line(error)}") from None
    return network.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
