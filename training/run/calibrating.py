"""The temperature that makes the scores of a finished run probabilities, fitted on images that were not trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lpm.console.errors import InvalidInput
from training.data.below import images_below
from training.data.class_folders import class_folders
from training.data.images import MAX_PIXELS
from training.run import inference
from training.store.calibration import calibration_error, fitted_temperature
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
        InvalidInput: if no temperature has the least, because all images are predicted right.
    """
    temperature = fitted_temperature(logits, labels)
    if (logits.argmax(axis=1) == labels).all():
        raise InvalidInput(
            f"no temperature fits: all {len(labels)} images are predicted right, so probabilities can be as sure as one likes; "
            "take other images, or more"
        )
    errors = (calibration_error(logits, labels, t) for t in (1.0, temperature))
    return Calibration(temperature, len(labels), len(np.unique(labels)), *errors)


def of_folder(
    folder: RunFolder, place: Path, device: torch.device, *, workers: int = 0, max_pixels: int = MAX_PIXELS
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the logits of images in class folders.

    Args:
        folder: a finished run on image files.
        place: a folder that holds one folder per class; some classes may have none.
        device: where the network runs.
        workers: processes that decode images.
        max_pixels: pixels that an image may have.

    Returns:
        (n, K) logits, float64, and (n,) classes.

    Raises:
        InvalidInput: if a folder is of no class of the run, if there are no images, and as
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
    batches = inference.logits(folder, paths, device, workers=workers, max_pixels=max_pixels)
    return torch.cat([z.cpu() for _, z in batches]).double().numpy(), np.array(labels)
