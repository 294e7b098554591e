"""Signals that ask a command to end, as an exception."""

from __future__ import annotations

import contextlib
import signal
import threading
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
