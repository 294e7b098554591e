"""Locks that hold a run while a process trains it. A lock ends with its process, so a dead process holds nothing."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from lpm.console.errors import InvalidInput
from training.data.untrusted import line

HELD: set[int] = set()
"""File descriptors of this process's open locks."""


class Busy(InvalidInput):
    """Another process trains the run.

    Attributes:
        task: the engine's name of that process's task; '' if it has none, or has not written it yet.
    """

    task = ""


@contextlib.contextmanager
def hold(folder: Path, task: str) -> Iterator[None]:
    """Hold a run, and write into its file ``lock`` which process does.

    Args:
        folder: the run's folder.
        task: the engine's name of this process's task, '' if it has none; others find it in :attr:`Busy.task`.

    Yields:
        While the run is held.

    Raises:
        Busy: if another process holds it.
        InvalidInput: if the file cannot be opened.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
    try:
        handle = os.open(folder / "lock", flags, 0o644)
    except OSError as error:
        raise InvalidInput(f"{str(folder / 'lock')!r} cannot be opened: {error.strerror}") from None
    HELD.add(handle)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder, _, other_task = os.pread(handle, 500, 0).decode(errors="replace").partition("\n")
            busy = Busy(f"{str(folder)!r} is being trained by {line(holder) or 'another process'}")
            busy.task = other_task
            raise busy from None
        with contextlib.suppress(OSError):  # words for others; where a full disk matters, another write reports it
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}\n{task}".encode(), 0)
            os.fsync(handle)  # other hosts shall see it now
        yield
    finally:
        HELD.discard(handle)
        os.close(handle)


def let_go() -> None:
    """Close the locks that a forked process has from its parent; it would hold them after the parent's death."""
    for handle in HELD:
        os.close(handle)
    HELD.clear()
