"""What torchrun tells the processes that it starts; needs no torch."""

from __future__ import annotations

import os


def processes() -> int:
    """Return how many processes torchrun started, 1 without torchrun.

    Other launchers set some of its environment variables, too, but not all.

    Returns:
        The number of processes, WORLD_SIZE.
    """
    words = [os.environ.get(name, "") for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK")]
    return int(words[0]) if all(map(str.isdecimal, words)) and "MASTER_ADDR" in os.environ else 1
