"""Locks that hold a run while a process trains it."""

from __future__ import annotations

import os

from lpm.console.errors import InvalidInput

HELD: set[int] = set()
"""Open locks of this process."""


def let_go() -> None:
    """Close the locks that a forked process has from its parent, and would hold beyond its death."""
    for handle in HELD:
        os.close(handle)
    HELD.clear()


class Busy(InvalidInput):
    """Another process trains the run. task: of which task, if it has one and had time to say."""

    task = ""
