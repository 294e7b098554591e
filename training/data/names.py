"""Names of images, lists and classes: their endings, what is hidden, and how they are compared."""

from __future__ import annotations

import unicodedata

IMAGES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif")
"""Endings of the names of images in class folders."""

NO_IMAGES = (
    ".heic",
    ".heif",
    ".avif",
    ".jxl",
    ".jp2",
    ".dcm",
    ".nii",
    ".npy",
    ".svg",
    ".psd",
    ".pdf",
    ".mp4",
    ".zip",
    ".txt",
    ".csv",
)
"""Endings of names that a list may not have: no decoder here reads such a file."""

METADATA = ("metadata.csv", "metadata.jsonl")
"""Names of Hugging Face's lists, which lie beside their images: paths are relative to the list's folder."""

TABLES = (".csv", ".tsv", ".jsonl")
"""Endings of the names of lists that are tables."""


def normal(name: str) -> str:
    """Write a name in Unicode's form NFC, in which names that look the same are equal.

    Args:
        name: a name or a path.

    Returns:
        The name; only for comparison, because the disk may have another form.
    """
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def hidden(name: str) -> bool:
    """Tell whether a name is one that operating systems put beside images.

    Args:
        name: of a file or folder, without its folder.

    Returns:
        Whether it begins with a dot or is Thumbs.db, desktop.ini or __MACOSX, the folder that macOS puts into archives.
    """
    return name.startswith(".") or name in ("Thumbs.db", "desktop.ini", "__MACOSX")


def name_problem(name: str) -> str:
    """Check the name of a class.

    Args:
        name: the name.

    Returns:
        What is wrong, if results cannot show it; '' if they can.
    """
    if name and name.isprintable() and len(name) < 200:
        return ""
    return "the name of a class must be printable text, below 200 characters"
