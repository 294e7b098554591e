"""A row of a list of images, and what all forms of lists share."""

from __future__ import annotations

from typing import NamedTuple

from lpm.console.errors import InvalidInput

LIMIT = 250_000_000
"""Bytes that a list may have. iNaturalist's, the longest, has about a hundred million as JSON."""


class Row(NamedTuple):
    """An image of a list, as the list has it.

    Attributes:
        number: its line in a text list, from 1; its position in JSON or in class folders, from 0.
        path: relative to the root.
        label: its class, the list's own number or the name of the class.
        part: what a column such as 'split' says; '' where there is none.
    """

    number: int
    path: str
    label: int | str
    part: str = ""


def label_of(word: str) -> int | str:
    """Read a label.

    Args:
        word: the label.

    Returns:
        It as a number, where it is one.
    """
    return int(word) if word.isascii() and word.isdigit() and len(word) < 10 else word


def text_of(data: bytes, name: str) -> str:
    """Decode a table or a text.

    Args:
        data: its bytes.
        name: of its file, for the error.

    Returns:
        The text.

    Raises:
        InvalidInput: if it is not UTF-8.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidInput(f"{name!r} is not text in UTF-8; save it with that encoding") from None
