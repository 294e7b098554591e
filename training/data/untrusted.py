"""Files from elsewhere: read as bytes up to a limit, without ever waiting; their words are shown as harmless text."""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from lpm.console.errors import InvalidInput
from lpm.console.text import shown


def contents(path: Path | str, limit: int, *, name: str = "") -> bytes:
    """Read a regular file.

    Args:
        path: the file.
        limit: bytes that it may have at most.
        name: its name in errors; its path by default.

    Returns:
        Its bytes.

    Raises:
        InvalidInput: if it cannot be read, is not a regular file (a pipe would wait for ever) or is too large.
    """
    with opened(path, limit, name=name) as file:
        return file.read(
            os.fstat(file.fileno()).st_size
        )  # not the limit, for which a buffer of that size would be made


@contextlib.contextmanager
def opened(path: Path | str, limit: int, *, name: str = "") -> Iterator[BinaryIO]:
    """Open a regular file to read it.

    Args:
        path: the file.
        limit: bytes that it may have at most.
        name: its name in errors; its path by default.

    Yields:
        The open file.

    Raises:
        InvalidInput: if it cannot be read, is not a regular file (a pipe would wait for ever) or is too large.
    """
    shown = repr(name or str(path))
    try:
        # With this flag a pipe opens at once; then its type tells that it is one.
        with open(path, "rb", opener=lambda file, flags: os.open(file, flags | os.O_NONBLOCK)) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise InvalidInput(f"{shown} is not a regular file")
            if status.st_size > limit:
                raise InvalidInput(f"{shown} has {status.st_size:,} bytes; at most {limit:,} are read")
            yield file
    except OSError as error:
        raise InvalidInput(f"{shown} cannot be read: {error.strerror}") from None
    except InvalidInput:
        raise
    except ValueError as error:  # a NUL byte or half a surrogate pair in its name
        raise InvalidInput(f"{shown} cannot be read: {line(error)}") from None


def line(message: object) -> str:
    """Make one short line of an error's message, which a terminal shows unchanged: a file may have chosen the words.

    Args:
        message: an error, or text.

    Returns:
        At most 80 characters, as :func:`lpm.console.text.shown` makes them.
    """
    return shown(message, 80)


def quoted(path: Path | str) -> str:
    r"""Write a path so that it can be found, also one that a terminal would not show or that is not UTF-8.

    Args:
        path: the path.

    Returns:
        The path in quotes; where it is not printable, as bash reads it: ``$'caf\xe9.jpg'``.
    """
    if (text := str(path)).isprintable():
        return repr(text)
    kept = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"$'{''.join(c if c.isprintable() else _escape(c) for c in kept)}'"


def _escape(character: str) -> str:
    """A character by its bytes on the disk."""
    return "".join(f"\\x{byte:02x}" for byte in character.encode(errors="surrogateescape"))


def without_links(folder: Path | str) -> str:
    """Say what to do about a folder with links that are not followed.

    Args:
        folder: the folder.

    Returns:
        The end of a sentence.
    """
    return f"copy all with links resolved, `cp -rL {shlex.quote(str(folder))} COPY`, and use COPY"
