"""Several runs at a time on this machine: in processes on a CPU, in one process on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import as_completed
from typing import Any

import torch

from lpm.console import engines
from training.config import RunConfig
from training.jobs.work import Outcome, Work
from training.run import loop

MOST_STREAMS = 16
"""Runs that are interleaved on one card at most."""


def in_flight(configs: Sequence[RunConfig], work: Work, jobs: int) -> Iterator[Outcome]:
    """Train runs, several at a time.

    On a CPU they are processes that share the cores. On CUDA they share this process, because processes would take turns on the
    card.

    Args:
        configs: the runs.
        work: what all of them need.
        jobs: how many are trained at a time.

    Yields:
        How each run ended, as it ends.
    """
    if work.device == "cuda":
        streams = [torch.cuda.Stream() for _ in range(min(jobs, MOST_STREAMS))]  # type: ignore[no-untyped-call]
        return interleaved(configs, work, streams, torch.cuda.stream)
    return _in_processes(configs, work, jobs)


def interleaved(
    configs: Sequence[RunConfig], work: Work, streams: Sequence[Any], on: Callable[[Any], Any]
) -> Iterator[Outcome]:
    """Train runs in one thread, which queues an epoch of each run in turn, each on a stream of its own, where they overlap.

    Args:
        configs: the runs.
        work: what all of them need.
        streams: one per run that is trained at a time.
        on: makes the context manager that selects a stream.

    Yields:
        How each run ended, as it ends.
    """
    waiting = iter(configs)
    running: dict[int, Generator[None, None, Outcome]] = {}
    while True:
        for stream in range(len(streams)):
            if stream not in running and (config := next(waiting, None)) is not None:
                running[stream] = work.stages_or_left(config)
        if not running:
            return
        for stream in list(running):
            try:
                with on(streams[stream]):
                    next(running[stream])
            except StopIteration as end:
                del running[stream]
                yield end.value


_WORK: list[Work] = []
"""The work of this process, when it is one of several."""


def _start(work: Work, threads: int) -> None:
    torch.set_num_threads(threads)
    _WORK[:] = [work]


def _train_in_process(config: RunConfig) -> Outcome:
    return loop.finished(_WORK[0].stages_or_left(config))


def _in_processes(configs: Sequence[RunConfig], work: Work, jobs: int) -> Iterator[Outcome]:
    threads = max(1, torch.get_num_threads() // jobs)
    with engines.processes(jobs, _start, (work, threads)) as pool:  # interrupted, runs continue another time
        for future in as_completed([pool.submit(_train_in_process, config) for config in configs]):
            yield future.result()
