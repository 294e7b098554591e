"""Several runs at a time on this machine: in processes on a CPU, in one process on a GPU."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from functools import partial
from multiprocessing.queues import SimpleQueue
from typing import Any

import torch

from lpm.console import engines
from training.config import RunConfig
from training.jobs.work import Outcome, Watcher, Work
from training.run import loop

MOST_STREAMS = 16
"""Runs that are interleaved on one card at most."""

PERIOD = 0.5
"""Seconds between two looks at the reports of processes, and between two reports of a process inside an epoch."""

SILENT = Watcher()


def in_flight(configs: Sequence[RunConfig], work: Work, jobs: int, watcher: Watcher = SILENT) -> Iterator[Outcome]:
    """Train runs, several at a time.

    On a CPU they are processes that share the cores. On CUDA they share this process, because processes would take turns on the
    card.

    Args:
        configs: the runs.
        work: what all of them need.
        jobs: how many are trained at a time.
        watcher: follows them.

    Yields:
        How each run ended, as it ends.
    """
    if work.device == "cuda":
        streams = [torch.cuda.Stream() for _ in range(min(jobs, MOST_STREAMS))]  # type: ignore[no-untyped-call]
        return interleaved(configs, work, streams, torch.cuda.stream, watcher)
    return _in_processes(configs, work, jobs, watcher)


def interleaved(
    configs: Sequence[RunConfig],
    work: Work,
    streams: Sequence[Any],
    on: Callable[[Any], Any],
    watcher: Watcher = SILENT,
) -> Iterator[Outcome]:
    """Train runs in one thread, which queues an epoch of each run in turn, each on a stream of its own, where they overlap.

    Args:
        configs: the runs.
        work: what all of them need.
        streams: one per run that is trained at a time.
        on: makes the context manager that selects a stream.
        watcher: follows the runs.

    Yields:
        How each run ended, as it ends.
    """
    waiting = iter(enumerate(configs))
    running: dict[int, tuple[int, Generator[None, None, Outcome]]] = {}
    while True:
        for stream in range(len(streams)):
            if stream not in running and (task := next(waiting, None)) is not None:
                number, config = task
                running[stream] = number, work.stages_or_left(config, partial(watcher.report, number))
        if not running:
            return
        for stream, (number, stages) in list(running.items()):
            try:
                with on(streams[stream]):
                    next(stages)
            except StopIteration as end:
                del running[stream]
                watcher.ended(number)
                yield end.value


Reports = SimpleQueue[tuple[int, float, str]]
"""A pipe on which processes send the number of a run with each report of it."""

_OF_PROCESS: list[tuple[Work, Reports]] = []
"""The work of this process, when it is one of several, and where it reports."""


def _start(work: Work, threads: int, reports: Reports) -> None:
    torch.set_num_threads(threads)
    _OF_PROCESS[:] = [(work, reports)]


def _train_in_process(number: int, config: RunConfig) -> Outcome:
    work, reports = _OF_PROCESS[0]
    last = -PERIOD

    def report(epochs: float, state: str) -> None:
        nonlocal last
        if state or time.monotonic() - last >= PERIOD:
            last = time.monotonic()
            reports.put((number, epochs, state))

    return loop.finished(work.stages_or_left(config, report))


def _in_processes(configs: Sequence[RunConfig], work: Work, jobs: int, watcher: Watcher) -> Iterator[Outcome]:
    threads = max(1, torch.get_num_threads() // jobs)
    # Reports are shorter than what a pipe takes at once, so that a process that is killed leaves none half-written.
    reports: Reports = multiprocessing.get_context("spawn").SimpleQueue()
    with engines.processes(jobs, _start, (work, threads, reports)) as pool:  # interrupted, runs continue another time
        numbers = {pool.submit(_train_in_process, *task): task[0] for task in enumerate(configs)}
        running = set(numbers)
        while running:
            ended, running = wait(running, timeout=PERIOD, return_when=FIRST_COMPLETED)
            while not reports.empty():
                watcher.report(*reports.get())
            for future in ended:
                outcome = future.result()
                watcher.ended(numbers[future])
                yield outcome
