"""A warning where a library divides the share of a process among the processes once more."""

from __future__ import annotations

import sys
import warnings
from typing import Any

from torch.utils.data import DistributedSampler

WARNING = (
    "{divider} divides this process's share of the pairs among {processes} processes once more, so most pairs of an epoch are "
    "left out; give Lightning use_distributed_sampler=False, or the sampler rank=0, world_size=1"
)
"""What is said then."""


def warn_if_shared_twice(world_size: int) -> None:
    """Warn if this call comes from a sampler that divides an epoch among processes itself.

    Such a wrapper only ever iterates over the sampler inside it, so nothing but the stack tells of it. It is looked at once
    per epoch.

    Args:
        world_size: processes that the sampler shares an epoch among; with 1 it hands out whole epochs.
    """
    frame = sys._getframe(1) if world_size > 1 else None
    while frame is not None:
        if (processes := _processes(frame.f_locals.get("self"))) > 1:
            divider = type(frame.f_locals["self"]).__name__
            warnings.warn(WARNING.format(divider=divider, processes=processes), stacklevel=2)
            return
        frame = frame.f_back


def _processes(divider: Any) -> int:
    """Among how many processes an object divides what it iterates over; 1 for any other object."""
    if isinstance(divider, DistributedSampler):  # Lightning's wrapper is one
        return divider.num_replicas
    # Accelerate's, and so that of Hugging Face's Trainer; it need not be installed.
    return getattr(divider, "num_processes", 1) if type(divider).__name__ == "BatchSamplerShard" else 1
