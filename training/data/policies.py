"""Stronger augmentation of training images: RandAugment, TrivialAugment, or a function of one's own. Needs no torch.

Each takes a cropped image and a generator, so a view stays a function of seed, epoch, position and side.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from training.data.own_code import OwnCodeError, called, function_of

Policy = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""From pixels (S, S, 3) uint8 and a generator to pixels of the same shape and type."""

STEPS = 31
"""Magnitudes of a policy, from 0 to 30, as in the published code."""


@dataclass(frozen=True)
class Strengths:
    """What the largest magnitude means.

    Attributes:
        shear: tangent of the angle.
        translate: pixels, or below 1 a share of the side.
        rotate: degrees.
        enhance: change of the factor of brightness, colour, contrast and sharpness, which is 1 at magnitude 0.
        posterize: bits that are dropped.
    """

    shear: float
    translate: float
    rotate: float
    enhance: float
    posterize: int


RANDAUGMENT = Strengths(shear=0.3, translate=150 / 331, rotate=30, enhance=0.9, posterize=4)
"""Source: Cubuk et al. 2020, with torchvision's numbers."""

TRIVIAL = Strengths(shear=0.99, translate=32, rotate=135, enhance=0.99, posterize=6)
"""Source: Müller and Hutter 2021, the wide space, with torchvision's numbers."""

ENHANCERS = {
    "brightness": ImageEnhance.Brightness,
    "colour": ImageEnhance.Color,
    "contrast": ImageEnhance.Contrast,
    "sharpness": ImageEnhance.Sharpness,
}

OPERATIONS = (
    *("identity", "shear-x", "shear-y", "translate-x", "translate-y", "rotate"),
    *ENHANCERS,
    *("posterize", "solarize", "autocontrast", "equalize"),
)
"""The operations of both policies."""


def applied(image: Image.Image, operation: str, strengths: Strengths, magnitude: float, sign: int) -> Image.Image:
    """Apply an operation.

    Args:
        image: RGB.
        operation: one of :data:`OPERATIONS`.
        strengths: what magnitude 1 means.
        magnitude: in 0..1; identity, autocontrast and equalize have none.
        sign: 1 or -1, the direction, where there is one.

    Returns:
        The image; what comes from outside it is black.
    """
    amount = sign * magnitude
    if operation in ENHANCERS:
        return ENHANCERS[operation](image).enhance(1 + amount * strengths.enhance)
    if operation == "rotate":
        return image.rotate(amount * strengths.rotate)
    if operation.startswith("shear"):
        shear = amount * strengths.shear
        return _moved(image, (shear, 0.0) if operation == "shear-x" else (0.0, shear), (0.0, 0.0))
    if operation.startswith("translate"):
        side = image.width if operation == "translate-x" else image.height
        shift = amount * strengths.translate * (side if strengths.translate < 1 else 1)
        return _moved(image, (0.0, 0.0), (shift, 0.0) if operation == "translate-x" else (0.0, shift))
    if operation == "posterize":
        return ImageOps.posterize(image, 8 - round(magnitude * strengths.posterize))
    if operation == "solarize":
        return ImageOps.solarize(image, round(255 * (1 - magnitude)) + (magnitude == 0))
    if operation == "autocontrast":
        return ImageOps.autocontrast(image)
    return ImageOps.equalize(image) if operation == "equalize" else image


def _moved(image: Image.Image, shear: tuple[float, float], shift: tuple[float, float]) -> Image.Image:
    """Shear about the centre, and shift to the right and down by some pixels."""
    x, y = (image.width - 1) / 2, (image.height - 1) / 2
    (by_y, by_x), (right, down) = shear, shift
    # Pillow wants, for each pixel of the result, where it comes from.
    data = (1, -by_y, by_y * y - right, -by_x, 1, by_x * x - down)
    return image.transform(image.size, Image.Transform.AFFINE, data)


def randaugment(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Apply two random operations at magnitude 9 of 30. Source: Cubuk et al. 2020.

    Args:
        pixels: (S, S, 3) uint8.
        rng: the generator.

    Returns:
        Pixels of the same shape.
    """
    image = Image.fromarray(pixels)
    for operation in rng.integers(len(OPERATIONS), size=2):
        image = applied(image, OPERATIONS[operation], RANDAUGMENT, 9 / (STEPS - 1), _sign(rng))
    return np.asarray(image)


def trivial(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Apply one random operation at a random magnitude. Source: Müller and Hutter 2021 (TrivialAugment).

    Args:
        pixels: (S, S, 3) uint8.
        rng: the generator.

    Returns:
        Pixels of the same shape.
    """
    operation, magnitude = OPERATIONS[rng.integers(len(OPERATIONS))], rng.integers(STEPS) / (STEPS - 1)
    return np.asarray(applied(Image.fromarray(pixels), operation, TRIVIAL, magnitude, _sign(rng)))


def _sign(rng: np.random.Generator) -> int:
    return 1 if rng.random() < 0.5 else -1


POLICIES: dict[str, Policy] = {"randaugment": randaugment, "trivial": trivial}
"""The policies by the words of ``--transform``."""


def policy(name: str) -> Policy | None:
    """Find a policy.

    Args:
        name: 'none', a key of :data:`POLICIES`, or the dotted name of a function of one's own.

    Returns:
        The policy; None for 'none'.

    Raises:
        InvalidInput: as :func:`training.data.own_code.function_of`.
    """
    if name == "none" or name in POLICIES:
        return POLICIES.get(name)
    return OwnPolicy(name)


class OwnPolicy:
    """A function of one's own as a policy; a process that decodes may be sent it, and finds the function itself.

    A module of PyTorch, such as a transform of ``torchvision.transforms.v2``, gets pixels as a tensor (3, S, S) and PyTorch's
    generator seeded from the run's. A class is made into an object with its usual settings.

    Args:
        name: its dotted name.

    Raises:
        InvalidInput: as :func:`training.data.own_code.function_of`.
    """

    def __init__(self, name: str) -> None:
        self.name, self.function = name, function_of(name, "--transform")
        if isinstance(self.function, type):
            self.function = called(self.function, words=f"--transform {name}")
        torch = sys.modules.get("torch")  # a module of it has imported it
        if torch is not None and isinstance(self.function, torch.nn.Module):
            self.function = partial(_on_tensors, self.function)

    def __reduce__(self) -> tuple[type[OwnPolicy], tuple[str]]:
        # By name, because functions that are made by others, or wrapped ones, cannot be pickled.
        return OwnPolicy, (self.name,)

    def __call__(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Apply the function.

        Args:
            pixels: (S, S, 3) uint8.
            rng: the generator.

        Returns:
            Pixels of the same shape.

        Raises:
            OwnCodeError: if the function raised something, or returned something else.
        """
        result = called(lambda: np.asarray(self.function(pixels, rng)), words=f"--transform {self.name}")
        if result.shape != pixels.shape or result.dtype != np.uint8:
            raise OwnCodeError(
                f"--transform {self.name} returned {result.dtype} of shape {result.shape}; it must return uint8 of shape "
                f"{pixels.shape}"
            )
        return result


def _on_tensors(module: Callable[[Any], Any], pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Apply a module of PyTorch to pixels; all it draws is a function of the generator."""
    import torch

    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(int(rng.integers(2**63)))
        changed: np.ndarray = module(image).permute(1, 2, 0).numpy()
    return changed
