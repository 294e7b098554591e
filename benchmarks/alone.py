"""Measurements in a process that does nothing else."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a fresh process.

    Args:
        function: a function of a module.
        *arguments: its arguments.

    Returns:
        The function's result.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def memory(key: str) -> int:
    """Return how much memory this process has, on Linux.

    Args:
        key: VmRSS for the memory at present, VmHWM for the peak.

    Returns:
        Bytes.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(key))


def reset_peak() -> None:
    """Set this process's peak memory (VmHWM) to its memory at present, on Linux."""
    Path("/proc/self/clear_refs").write_text("5")
