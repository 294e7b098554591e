"""Signals that ask a command to end, as an exception."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Generator


class Terminated(BaseException):
    """A signal that asks the command to end.

    Args:
        number: number of the signal.

    Attributes:
        number: number of the signal.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(signal.Signals(number).name)


@contextlib.contextmanager
def raised() -> Generator[None]:
    """Raise Terminated at the signals of a job that is ended, unless they are ignored (nohup).

    Yields:
        Nothing.
    """
    import threading  # here, because packages import this module first, and Ctrl-C in that time is a traceback

    def end(number: int, _: object) -> None:
        raise Terminated(number)

    if threading.current_thread() is not threading.main_thread():  # signals belong to that one
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, frame: object) -> None:
    """End at once. Nothing is done yet that would have to be cleaned up."""
    os.write(2, b"interrupted\n")
    os._exit(128 + number)


def end_while_importing() -> None:
    """Let Ctrl-C end a command in one line while it imports: packages call this first. It changes nothing for other programs.

    :func:`raise_again` ends this.
    """
    started = sys.argv[:1] == ["-m"]  # as Python has it while it imports the package of ``python -m package.command``
    if started and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def raise_again() -> None:
    """Let Ctrl-C raise KeyboardInterrupt again, which commands catch."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)
