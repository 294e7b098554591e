"""Files from elsewhere: read as bytes, at most so many, and never waited for; what they say is shown harmlessly."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from lpm.console.errors import InvalidInput


def contents(path: Path | str, limit: int, *, name: str = "") -> bytes:
    """The bytes of a regular file. limit: most bytes it may have. name: what errors call it, its path by default.

    Raises InvalidInput for one that cannot be read, is no regular file (a pipe would wait for ever) or is too large.
    """
    shown = repr(name or str(path))
    try:
        # Pipes open at once with this flag, and are told by their type.
        with open(path, "rb", opener=lambda file, flags: os.open(file, flags | os.O_NONBLOCK)) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise InvalidInput(f"{shown} is not a regular file")
            if status.st_size > limit:
                raise InvalidInput(f"{shown} has {status.st_size:,} bytes; at most {limit:,} are read")
            return file.read(status.st_size)  # with the limit, a buffer that large would be made
    except OSError as error:
        raise InvalidInput(f"{shown} cannot be read: {error.strerror}") from None
    except InvalidInput:
        raise
    except ValueError as error:  # a NUL byte or half a surrogate pair in its name
        raise InvalidInput(f"{shown} cannot be read: {line(error)}") from None


def line(said: object) -> str:
    """What an error says, in one short line that a terminal shows as it is: a file may have chosen the words."""
    return "".join(c if c.isprintable() else " " for c in str(said))[:80]
