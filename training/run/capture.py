"""A training step as one CUDA graph: a small network's step is a hundred kernels that take longer to launch than to run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

WARM_UP = 3
"""Steps before the capture, in which libraries choose their algorithms and allocate their workspaces."""


class CudaGraph:
    """Record a step; ``replay`` it on the current stream. Captures happen one at a time, in one thread.

    Warm-up and capture share a stream that no replay runs on: streams come from pools of 32 that are handed out in turn, and
    runs take theirs from the pool of normal priority.
    """

    def __init__(self, step: Callable[[], None], rewind: Callable[[], None]) -> None:
        self.graph = torch.cuda.CUDAGraph()
        here, stream = torch.cuda.current_stream(), torch.cuda.Stream(priority=-1)  # type: ignore[no-untyped-call]
        stream.wait_stream(here)
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                rewind()
                step()
        here.wait_stream(stream)
        # Matrix products keep a workspace a stream. Made during a capture it belongs to the graph, so none may be left over
        # from before, nor this one stay for the next: two graphs would share it, or outlive it.
        torch._C._cuda_clearCublasWorkspaces()
        with torch.cuda.graph(self.graph, stream=stream):
            step()
        torch._C._cuda_clearCublasWorkspaces()

    def replay(self) -> None:
        """Run the step."""
        self.graph.replay()


def captured(
    step: Callable[[], None], state: Sequence[Tensor], rewind: Callable[[], None], graph: Any = CudaGraph
) -> Callable[[], None]:
    """A step that takes no argument, captured; call the result in its place.

    state: every tensor that it changes in place. The warm-up really runs, so they are put back afterwards: capturing leaves
    no trace. rewind: called before each step of the warm-up, so that it does not run off the end of an epoch. graph: what
    records and replays (tests give one that needs no GPU).
    """
    kept = [tensor.clone() for tensor in state]
    recorded = graph(step, rewind)
    for tensor, value in zip(state, kept, strict=True):
        tensor.copy_(value)
    return recorded.replay
