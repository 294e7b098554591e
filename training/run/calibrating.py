"""The temperature that makes the scores of a finished run probabilities, fitted on images that were not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from lpm.console.errors import InvalidInput
from training.data.below import images_below
from training.data.class_folders import class_folders
from training.data.images import MAX_PIXELS
from training.data.remembered import digest_of
from training.model.build import Network
from training.run import inference
from training.store import run_images
from training.store.calibration import TEMPERATURES, calibration_error, fitted_temperature
from training.store.runs import RunFolder


@dataclass(frozen=True)
class Calibration:
    """A temperature, and what it was fitted on.

    Attributes:
        temperature: what logits are divided by.
        images: images that it was fitted on.
        classes: classes that these images are of; each counts equally, however many images it has.
        before: expected calibration error of these images without it, in per cent.
        after: the same with it.
    """

    temperature: float
    images: int
    classes: int
    before: float
    after: float


def calibrated(logits: np.ndarray, labels: np.ndarray) -> Calibration:
    """Fit the temperature.

    Args:
        logits: (n, K) of images that were not trained on.
        labels: (n,) their true classes.

    Returns:
        The temperature with the least cross-entropy, where each class counts equally.

    Raises:
        InvalidInput: if no temperature has the least: all images are predicted right, or it is at an end of
            :data:`training.store.calibration.TEMPERATURES`.
    """
    if (logits.argmax(axis=1) == labels).all():
        raise InvalidInput(
            f"no temperature fits: all {len(labels)} images are predicted right, so probabilities can be as sure as one likes; "
            "take other images, or more"
        )
    temperature = fitted_temperature(logits, labels)
    if np.isclose(temperature, TEMPERATURES, rtol=0.01).any():
        raise InvalidInput(
            f"no temperature fits: the best of {TEMPERATURES[0]:g} to {TEMPERATURES[1]:g} is the "
            f"{'largest, as if scores said nothing of the class' if temperature > 1 else 'least'}; take other images, or more"
        )
    errors = (calibration_error(logits, labels, t) for t in (1.0, temperature))
    return Calibration(temperature, len(labels), len(np.unique(labels)), *errors)


class Labelled(NamedTuple):
    """Images of known classes that a run was not trained on.

    Attributes:
        logits: (n, K), float64.
        labels: (n,) true classes.
        trained: images that were left out, because the run was trained on them.
        tested: images among the n that the run was tested on.
    """

    logits: np.ndarray
    labels: np.ndarray
    trained: int
    tested: int


def of_folder(
    folder: RunFolder,
    place: Path,
    device: torch.device,
    *,
    workers: int = 0,
    max_pixels: int = MAX_PIXELS,
    network: Network | None = None,
    quiet: bool = True,
) -> Labelled:
    """Compute the logits of images in class folders, without those that the run was trained on.

    Args:
        folder: a finished run on image files.
        place: a folder that holds one folder per class; some classes may have none.
        device: where the network runs.
        workers: processes that decode images.
        max_pixels: pixels that an image may have.
        network: as for :func:`training.run.inference.logits`.
        quiet: as there.

    Returns:
        The images.

    Raises:
        InvalidInput: if a folder is of no class of the run, if there are no images or only training images, and as
            :func:`training.run.inference.logits`.
    """
    names, paths, labels = inference.class_names(folder), list[Path](), list[int]()
    for name in class_folders(place):
        if name not in names:
            raise InvalidInput(f"{str(place / name)!r} is of no class of the run; its classes are {', '.join(names)}")
        images, _ = images_below(place / name)
        paths += images
        labels += [names.index(name)] * len(images)
    if not paths:
        raise InvalidInput(f"{str(place)!r} holds no folder of a class; give one folder of images per class")
    parts = _parts_of(folder, paths)
    kept = [number for number, part in enumerate(parts) if part != "train"]
    if not kept:
        raise InvalidInput(
            f"the run was trained on all images of {str(place)!r}, of which it is too sure; give images that it has not seen"
        )
    some = [paths[i] for i in kept]
    batches = inference.logits(
        folder, some, device, workers=workers, max_pixels=max_pixels, network=network, quiet=quiet
    )
    logits = torch.cat([z.cpu() for _, z in batches]).double().numpy()
    return Labelled(logits, np.array(labels)[kept], len(paths) - len(kept), parts.count("test"))


def _parts_of(folder: RunFolder, paths: Sequence[Path]) -> list[str]:
    """The part of the run's data with an image of the same contents, for each file; '' where the run stored none."""
    begun = run_images.load(folder.path)
    images = {} if begun is None else begun.images
    part_of = {image.digest: part for (part, _), image in reversed(images.items()) if image.digest}  # 'train' wins
    sizes = {image.size for image in images.values()}
    # Only files of such a size are read.
    return [part_of.get(digest_of(Path(), str(path)), "") if path.stat().st_size in sizes else "" for path in paths]
