"""A training step as one CUDA graph: a small network's step is a hundred kernels that take longer to launch than to run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

WARM_UP = 3
"""Steps before the capture, in which libraries choose their algorithms and allocate their workspaces."""

_ONE_AT_A_TIME = threading.Lock()
"""Runs in flight on one card are threads of one process; a capture synchronises the whole device."""


class CudaGraph:
    """Record a step on a stream of its own; ``replay`` it on the current stream."""

    def __init__(self, step: Callable[[], None]) -> None:
        self.graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        # thread_local: other threads may allocate meanwhile.
        with torch.cuda.graph(self.graph, stream=stream, capture_error_mode="thread_local"):
            step()

    @staticmethod
    def warm_up(step: Callable[[], None]) -> None:
        """Run the step on a side stream, as a capture wants it."""
        here = torch.cuda.current_stream()
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(here)
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                step()
        here.wait_stream(side)

    def replay(self) -> None:
        """Run the step."""
        self.graph.replay()


def captured(step: Callable[[], None], state: Sequence[Tensor], graph: Any = CudaGraph) -> Callable[[], None]:
    """A step that takes no argument, captured; call the result in its place.

    state: every tensor that the step changes in place. The warm-up really runs, so they are put back afterwards: capturing
    leaves no trace. graph: what records and replays (tests give one that needs no GPU).
    """
    with _ONE_AT_A_TIME:
        kept = [tensor.clone() for tensor in state]
        graph.warm_up(step)
        for tensor, value in zip(state, kept, strict=True):
            tensor.copy_(value)
        recorded = graph(step)
    return recorded.replay
