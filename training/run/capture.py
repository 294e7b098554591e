"""Replay a training step as one CUDA graph.

A small network's step is about a hundred kernels, which take longer to launch than to run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

WARM_UP = 3
"""Steps before the capture, in which libraries choose their algorithms and allocate their workspaces."""


class CudaGraph:
    """A step that is recorded once, and then replayed on the current stream.

    Captures happen one at a time, in one thread. Warm-up and capture share a stream that no replay runs on. PyTorch
    hands out streams in turn from one pool of 32 per priority; runs take theirs from the pool of normal priority, this
    one is of high priority.

    Args:
        step: the step; it takes no argument and works in place.
        rewind: called before each step of the warm-up.

    Attributes:
        graph: the recorded graph.
    """

    def __init__(self, step: Callable[[], None], rewind: Callable[[], None]) -> None:
        self.graph = torch.cuda.CUDAGraph()
        current, stream = torch.cuda.current_stream(), torch.cuda.Stream(priority=-1)  # type: ignore[no-untyped-call]
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                rewind()
                step()
        current.wait_stream(stream)
        # cuBLAS keeps one workspace per stream for matrix products. A workspace that is made during a capture belongs
        # to the graph. So it is cleared before the capture, and again after it: else two graphs would share one, or use
        # one whose graph is gone.
        torch._C._cuda_clearCublasWorkspaces()
        with torch.cuda.graph(self.graph, stream=stream):
            step()
        torch._C._cuda_clearCublasWorkspaces()

    def replay(self) -> None:
        """Run the step on the current stream."""
        self.graph.replay()


def captured(
    step: Callable[[], None], state: Sequence[Tensor], rewind: Callable[[], None], graph: Any = CudaGraph
) -> Callable[[], None]:
    """Capture a step.

    The warm-up really runs, so the tensors that it changes are restored afterwards: capturing leaves no trace.

    Args:
        step: the step; it takes no argument and works in place.
        state: every tensor that the step changes in place.
        rewind: called before each step of the warm-up, so that it does not run past the end of an epoch.
        graph: the class that records and replays; tests give one that needs no GPU.

    Returns:
        The function that replays the step; call it in place of ``step``.
    """
    values = [tensor.clone() for tensor in state]
    recorded = graph(step, rewind)
    for tensor, value in zip(state, values, strict=True):
        tensor.copy_(value)
    return recorded.replay
