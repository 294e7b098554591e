"""Turn an image as its camera's orientation tag says."""

from __future__ import annotations

from PIL import ExifTags, Image

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The transposition that turns an image upright, by its orientation tag (Exif 2.3)."""


def upright(image: Image.Image, file: Image.Image) -> Image.Image:
    """Do what Pillow's exif_transpose does; that fails on odd metadata and copies every image.

    Args:
        image: the image.
        file: the opened file, which has the metadata.

    Returns:
        The image, turned where the tag says so.
    """
    file.load()  # getexif does so for a PNG, and only the first call reports broken data
    try:
        turn = TURNS.get(file.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # odd metadata, but whole pixels
        return image
    return image if turn is None else image.transpose(turn)
