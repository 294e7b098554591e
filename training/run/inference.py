"""Predictions of a trained network for image files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lpm.console.errors import InvalidInput
from lpm.console.progress import tracked
from training.batches import decoding, sources
from training.batches.augment import normalised
from training.data.depth import Largest
from training.data.images import MAX_PIXELS, Decoding, central_view
from training.data.untrusted import line
from training.model import build
from training.store.runs import RunFolder


def refuse(reason: str) -> None:
    """Refuse an image that cannot be decoded; the default of :func:`predictions`.

    Args:
        reason: what is wrong, naming the file.

    Raises:
        InvalidInput: always, with the reason.
    """
    raise InvalidInput(reason)


def predictions(
    folder: RunFolder,
    images: Sequence[Path | str],
    device: torch.device,
    *,
    top: int = 1,
    workers: int = 0,
    max_pixels: int = MAX_PIXELS,
    temperature: float = 1.0,
    network: build.Network | None = None,
    broken: Callable[[str], None] = refuse,
    quiet: bool = True,
) -> Iterator[tuple[str, int, str, float]]:
    """Predict the likeliest classes of images.

    Scores order the classes of an image. They are no probabilities: training with mixup keeps them far from 0 and 1. With
    the temperature of :func:`training.run.calibrating.calibrated` they are.

    Args:
        folder: a finished run on image files.
        images: image files, of the forms in :data:`training.data.images.FORMS`.
        device: where the network runs.
        top: classes per image.
        workers: processes that decode images; 0 decodes in this process.
        max_pixels: pixels that an image may have.
        temperature: what logits are divided by.
        network: as for :func:`logits`.
        broken: called with what is wrong for each file that is no image, for which nothing is yielded; by default it
            raises InvalidInput.
        quiet: whether to show no progress on a terminal.

    Yields:
        For each image and each of its likeliest classes: path, rank from 1, name of the class, softmax score.

    Raises:
        InvalidInput: if ``top`` exceeds the run's classes, and as :func:`logits`.
        ChildProcessError: if a decoding process was killed.
    """
    names = class_names(folder)
    if not 1 <= top <= len(names):
        raise InvalidInput(f"--top {top} must lie in 1..{len(names)}, the run's classes")
    more: dict[str, Any] = {"workers": workers, "max_pixels": max_pixels, "network": network, "broken": broken}
    more["quiet"] = quiet
    for decoded, z in logits(folder, images, device, **more):
        scores, classes = (z / temperature).softmax(dim=1).sort(dim=1, descending=True, stable=True)
        for number, image in enumerate(decoded):
            for rank in range(top):
                yield image, rank + 1, names[int(classes[number, rank])], float(scores[number, rank])


def class_names(folder: RunFolder) -> tuple[str, ...]:
    """The names of the classes of a run on image files.

    Args:
        folder: a finished run.

    Returns:
        K names.

    Raises:
        InvalidInput: if the run is on other data than image files, or its classes have no names.
    """
    names = folder.result().class_names
    if not folder.config.data_set.files or len(names) != folder.config.K:
        raise InvalidInput(f"{str(folder.path)!r} is not a run on image files that names its classes")
    return names


def logits(
    folder: RunFolder,
    images: Sequence[Path | str],
    device: torch.device,
    *,
    workers: int = 0,
    max_pixels: int = MAX_PIXELS,
    network: build.Network | None = None,
    broken: Callable[[str], None] = refuse,
    quiet: bool = True,
) -> Iterator[tuple[list[str], Tensor]]:
    """Compute the logits of images.

    Args:
        folder: a finished run on image files.
        images: image files.
        device: where the network runs.
        workers: processes that decode images; 0 decodes in this process.
        max_pixels: pixels that an image may have.
        network: the run's network, corrected for instance; by default as it was trained.
        broken: called with what is wrong for each file that is no image; by default it raises InvalidInput.
        quiet: whether to show no progress on a terminal.

    Yields:
        The paths of n images, and their logits, (n, K).

    Raises:
        InvalidInput: as :func:`class_names`, if the weights are damaged, or (by the default of ``broken``) if a file is no
            image.
        ChildProcessError: if a decoding process was killed.
    """
    class_names(folder)
    config = folder.config
    how = Decoding(config.upright, config.pixel_bits, Largest(*folder.result().largest_pixels), max_pixels)
    network = network_of(folder, sources.Files.channels, device) if network is None else network
    assert config.data_set.constants is not None
    mean, std = sources.constants(*config.data_set.constants, device)
    loader = DataLoader(
        _Views(images, config.pixels, how),
        batch_size=sources.images_at_once(config, device),
        num_workers=workers,
        collate_fn=_whole_ones,
        worker_init_fn=decoding.start_worker,
    )
    remaining, batches = iter(images), iter(loader)
    read = (decoding.next_batch(batches) for _ in range(len(loader)))
    for pixels, reasons in tracked(read, len(images), "images", size=lambda batch: len(batch[1]), quiet=quiet):
        decoded = []
        # In this order, or zip would take one image too many.
        for reason, image in zip(reasons, remaining, strict=False):
            if reason is None:
                decoded.append(str(image))
            else:
                broken(reason)
        if not decoded:
            continue
        with torch.no_grad():
            x = normalised(pixels.to(device), mean, std).contiguous(memory_format=torch.channels_last)
            z = network.classifier(network.features(x, bf16=config.precision == "bf16"))
        if not bool(torch.isfinite(z).all()):
            raise InvalidInput(f"the weights of {str(folder.path)!r} give scores that are not finite")
        yield decoded, z


class _Views(Dataset[Any]):
    """Decoded images (3, size, size) uint8, cropped like a run's test images, or Undecodable."""

    def __init__(self, images: Sequence[Path | str], size: int, how: Decoding) -> None:
        self.images, self.size, self.how = images, size, how

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> np.ndarray | decoding.Undecodable:
        try:
            return central_view(self.images[number], self.size, decoding=self.how)
        except InvalidInput as error:
            return decoding.Undecodable(str(error))


def _whole_ones(views: list[np.ndarray | decoding.Undecodable]) -> tuple[Tensor, list[str | None]]:
    """The images that could be decoded, (n, 3, size, size), and for each view what is wrong with it, or None."""
    whole = [view for view in views if isinstance(view, np.ndarray)]
    reasons = [view.reason if isinstance(view, decoding.Undecodable) else None for view in views]
    return torch.from_numpy(np.array(whole)), reasons


def network_of(folder: RunFolder, channels: int, device: torch.device) -> build.Network:
    """Load the network of a finished run, in evaluation mode.

    Args:
        folder: the run.
        channels: channels of its images, 1 or 3.
        device: where the network is needed.

    Returns:
        The network.

    Raises:
        InvalidInput: if the stored weights are damaged.
    """
    network = build.network(folder.config, channels)
    weights = {
        k.removeprefix("network."): torch.tensor(v) for k, v in folder.final().items() if k.startswith("network.")
    }
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise InvalidInput(f"the weights of {str(folder.path)!r} do not fit its config: {line(error)}") from None
    return network.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
