"""Image files to arrays of one size, cropped by ImageNet's recipe; for worker processes, without torch.

Files come from elsewhere: Pillow decodes the forms in :data:`FORMS` only, within its limit of pixels, and every failure is
one line. Where a file has several frames or pages, the first one is decoded.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from lpm.console.errors import InvalidInput
from training.data.depth import NOTHING, Largest, declared_bits, eight_bits, largest, samples
from training.data.untrusted import contents, line
from training.data.upright import upright

Result = TypeVar("Result")

LIMIT = 100_000_000
"""Bytes of an encoded image."""

FORMS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")
"""Pillow's names of the decoders that may read a file. Others, such as the one that runs Ghostscript, never do."""

AREA, RATIO, TRIES = (0.08, 1.0), (3 / 4, 4 / 3), 10
"""Bounds of a random crop's share of the area and of its width / height, and how often it is tried."""

MAX_PIXELS = 89_478_485
"""Pixels that an image may have unless the user says more: Pillow's limit, a quarter of a gigabyte in three colours."""

MOST_PIXELS = 1_000_000_000
"""Pixels that the user may say at most. A decoding process takes up to ten bytes for each, 30 for colours of 16 bits."""


class Decoding(NamedTuple):
    """How image files become pixels.

    Attributes:
        upright: whether an image is turned by its orientation tag, which MiSLAS's loader does not do; a TIFF
            is always turned.
        bits: depth of pixels that have more than eight bits; 0 for what the file says, else the set.
        of_set: the largest values of such pixels among the images of the set; where it has none, those of each file.
        max_pixels: pixels that an image may have.
    """

    upright: bool = False
    bits: int = 0
    of_set: Largest = NOTHING
    max_pixels: int = MAX_PIXELS


USUAL = Decoding()
"""As published data sets are decoded."""


def train_view(
    path: Path | str,
    size: int,
    rng: np.random.Generator,
    *,
    root: Path | None = None,
    decoding: Decoding = USUAL,
) -> np.ndarray:
    """Decode an image and cut a random crop, scaled, as torchvision's RandomResizedCrop does.

    Args:
        path: an image file.
        size: width and height of the result.
        rng: draws the crop.
        root: the folder that the path is relative to.
        decoding: how the file becomes pixels.

    Returns:
        The crop, (3, size, size) uint8.

    Raises:
        InvalidInput: if the file cannot be read or is no image of a known form; it names ``path``.
    """
    return train_views(path, size, [rng], root=root, decoding=decoding)[0]


def train_views(
    path: Path | str,
    size: int,
    rngs: Sequence[np.random.Generator],
    *,
    root: Path | None = None,
    decoding: Decoding = USUAL,
) -> list[np.ndarray]:
    """Cut several random crops of an image that is read and decoded once.

    Args:
        path: an image file.
        size: width and height of each result.
        rngs: one generator for each crop.
        root: the folder that the path is relative to.
        decoding: as in :func:`train_view`.

    Returns:
        The result of :func:`train_view` for each generator.

    Raises:
        InvalidInput: as in :func:`train_view`.
    """
    return train_views_of(whole(path, root=root, decoding=decoding), size, rngs)


def central_view(path: Path | str, size: int, *, root: Path | None = None, decoding: Decoding = USUAL) -> np.ndarray:
    """Decode an image and cut the central square, scaled; its side is 7/8 of the image's shorter side.

    This is torchvision's Resize(256 / 224 size), then CenterCrop(size).

    Args:
        path: an image file.
        size: width and height of the result.
        root: the folder that the path is relative to.
        decoding: as in :func:`train_view`.

    Returns:
        The square, (3, size, size) uint8.

    Raises:
        InvalidInput: as in :func:`train_view`.
    """
    return central_view_of(whole(path, root=root, decoding=decoding), size)


def decode(path: Path | str, *, root: Path | None = None, decoding: Decoding = USUAL) -> None:
    """Decode an image whole, as training and testing do, and drop it.

    Args:
        path: the file.
        root: the folder that the path is relative to.
        decoding: as in :func:`train_view`.

    Raises:
        InvalidInput: as in :func:`train_view`.
    """
    whole(path, root=root, decoding=decoding)


def crop_box(width: int, height: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Draw a random crop: its area ~ U(0.08, 1) of the image's, log(width / height) ~ U(log 3/4, log 4/3).

    A crop that does not fit is drawn again. If ten do not fit, it is the largest central one whose ratio is nearest to
    the image's. Source: torchvision's RandomResizedCrop.

    Args:
        width: of the image, in pixels.
        height: of the image, in pixels.
        rng: draws area, ratio, top and left, in this order.

    Returns:
        Left, top, right and bottom, in pixels.
    """
    for _ in range(TRIES):
        area = width * height * rng.uniform(*AREA)
        ratio = math.exp(rng.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
            return left, top, left + w, top + h
    w = min(width, round(height * RATIO[1]))
    h = min(height, round(width / RATIO[0]))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def _random_crop(image: Image.Image, size: int, rng: np.random.Generator) -> Image.Image:
    # Cut before scaling, as torchvision does: the filter must not see what lies beyond the crop.
    with _limit(None):  # the image is decoded already, with as many pixels as the user allows
        crop = image.crop(crop_box(*image.size, rng))
    return crop.resize((size, size), Image.Resampling.BILINEAR)


@contextlib.contextmanager
def _limit(pixels: int | None) -> Iterator[None]:
    """Set Pillow's limit of pixels, which is a global, within a block."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = pixels
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _central_crop(image: Image.Image, size: int) -> Image.Image:
    """Cut the central crop of the scaled image without scaling the rest; 1 x 1,000,000 pixels would fill the memory."""
    shorter = round(size * 256 / 224)
    scaled = [shorter * side // min(image.size) for side in image.size]
    before = [round((side - size) / 2) for side in scaled]
    x, y = (side / to for side, to in zip(image.size, scaled, strict=True))
    box = before[0] * x, before[1] * y, (before[0] + size) * x, (before[1] + size) * y
    return image.resize((size, size), Image.Resampling.BILINEAR, box=box)


def largest_in(path: Path | str, *, root: Path | None = None, decoding: Decoding = USUAL) -> Largest:
    """Find the largest value of an image whose depth neither it nor the user says.

    Args:
        path: the file.
        root: the folder that the path is relative to.
        decoding: as in :func:`train_view`.

    Returns:
        The value; nothing for an image of eight bits, and for one that says its depth.

    Raises:
        InvalidInput: as in :func:`train_view`.
    """

    def measured(image: Image.Image, again: Callable[[], Image.Image]) -> Largest:
        declared = declared_bits(image)
        values = samples(image, again)
        found = Largest() if values is None else largest(values)
        return Largest() if declared and found.whole < 2**declared and not found.real else found

    return _opened(path, root, decoding.max_pixels, measured)


def whole(path: Path | str, *, root: Path | None = None, decoding: Decoding = USUAL) -> Image.Image:
    """Decode an image whole, before anything is cut from it.

    Args:
        path: an image file.
        root: the folder that the path is relative to.
        decoding: as in :func:`train_view`.

    Returns:
        The image in eight bits per colour, RGB.

    Raises:
        InvalidInput: as in :func:`train_view`.
    """

    def decoded(image: Image.Image, again: Callable[[], Image.Image]) -> Image.Image:
        _draft(image)
        pixels = _eight_bits(image, again, decoding)
        pixels = _rgb(upright(pixels, image) if decoding.upright else pixels)
        pixels.load()  # while the file is open
        return pixels

    return _opened(path, root, decoding.max_pixels, decoded)


def train_views_of(image: Image.Image, size: int, rngs: Sequence[np.random.Generator]) -> list[np.ndarray]:
    """Cut several random crops of an image that is decoded already.

    Args:
        image: what :func:`whole` returned.
        size: as in :func:`train_views`.
        rngs: as in :func:`train_views`.

    Returns:
        What :func:`train_views` returns.
    """
    return [_array(_random_crop(image, size, rng)) for rng in rngs]


def central_view_of(image: Image.Image, size: int) -> np.ndarray:
    """Cut the central square of an image that is decoded already.

    Args:
        image: what :func:`whole` returned.
        size: as in :func:`central_view`.

    Returns:
        What :func:`central_view` returns.
    """
    return _array(_central_crop(image, size))


def _array(image: Image.Image) -> np.ndarray:
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def _opened(
    path: Path | str,
    root: Path | None,
    max_pixels: int,
    action: Callable[[Image.Image, Callable[[], Image.Image]], Result],
) -> Result:
    """What an action makes of an image file and a function that opens it again. Raises InvalidInput if it fails."""
    data = contents(os.path.join(root or "", path), LIMIT, name=str(path))

    def opened() -> Image.Image:
        return Image.open(io.BytesIO(data), formats=FORMS)

    try:
        with warnings.catch_warnings(), _limit(max_pixels):
            warnings.simplefilter("ignore")  # warnings about odd metadata would come in every epoch
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with opened() as image:
                return action(image, opened)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        number = re.search(r"(\d+) pixels", str(error))
        said = f"{int(number[1]):,}" if number else "too many"
        raise InvalidInput(
            f"image {str(path)!r} has {said} pixels, and at most {max_pixels:,} are decoded; give more with --max-pixels, or "
            "scale it down"
        ) from None
    except UnidentifiedImageError:  # its message has the address of an object
        raise InvalidInput(f"image {str(path)!r} is no JPEG, PNG, WebP, TIFF, BMP or GIF; convert it") from None
    except Exception as error:  # decoders raise anything on a broken file
        raise InvalidInput(f"image {str(path)!r} cannot be decoded: {line(error)}") from None


def _draft(image: Image.Image) -> None:
    """Let a JPEG of more pixels than usual be decoded at 1/2, 1/4 or 1/8 of its sides: the usual number, if possible."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        part = next((part for part in (2, 4) if width * height <= MAX_PIXELS * part**2), 8)
        image.draft(image.mode, (width // part, height // part))  # has no effect on other forms


def _eight_bits(image: Image.Image, again: Callable[[], Image.Image], decoding: Decoding) -> Image.Image:
    """The image with eight bits per sample; one that has them already is itself, not loaded."""
    declared, values = declared_bits(image), samples(image, again)
    if values is None:
        return image
    return Image.fromarray(eight_bits(values, bits=decoding.bits, declared=declared, of_set=decoding.of_set))


def _rgb(image: Image.Image) -> Image.Image:
    """Convert an image of eight bits as MiSLAS's loader does: transparency is ignored."""
    return image if image.mode == "RGB" else image.convert("RGB")  # convert would copy it
