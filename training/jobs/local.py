"""Several runs at a time on this machine."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import as_completed
from typing import Any

import torch

from lpm.console import engines
from training.config import RunConfig
from training.jobs.work import Outcome, Work, stages_or_note
from training.run import loop


def in_flight(configs: Sequence[RunConfig], work: Work, jobs: int) -> Iterator[Outcome]:
    """Outcomes of runs as they end, ``jobs`` at a time: in processes that share the cores of a CPU; on CUDA in this one, because
    processes would take turns on the card.
    """
    if work.device == "cuda":
        return interleaved(configs, work, [torch.cuda.Stream() for _ in range(min(jobs, 16))], torch.cuda.stream)  # type: ignore[no-untyped-call]
    return _in_processes(configs, work, jobs)


def interleaved(
    configs: Sequence[RunConfig], work: Work, streams: Sequence[Any], on: Callable[[Any], Any]
) -> Iterator[Outcome]:
    """One thread queues an epoch of each run in turn, each on a stream of its own (``with on(stream)``), where they overlap."""
    waiting = iter(configs)
    flying: dict[int, Generator[None, None, Outcome]] = {}
    while True:
        for place in range(len(streams)):
            if place not in flying and (config := next(waiting, None)) is not None:
                flying[place] = stages_or_note(work, config)
        if not flying:
            return
        for place in list(flying):
            try:
                with on(streams[place]):
                    next(flying[place])
            except StopIteration as end:
                del flying[place]
                yield end.value


_WORK: list[Work] = []
"""The work of this process, when it is one of several."""


def _start(work: Work, threads: int) -> None:
    torch.set_num_threads(threads)
    _WORK[:] = [work]


def _train_in_process(config: RunConfig) -> Outcome:
    return loop.finished(stages_or_note(_WORK[0], config))


def _in_processes(configs: Sequence[RunConfig], work: Work, jobs: int) -> Iterator[Outcome]:
    threads = max(1, torch.get_num_threads() // jobs)
    with engines.processes(jobs, _start, (work, threads)) as pool:  # interrupted, runs continue another time
        for future in as_completed([pool.submit(_train_in_process, config) for config in configs]):
            yield future.result()
