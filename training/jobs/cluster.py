"""Train runs on Ray: as many at a time as there are workers, each with a CPU and a share of a GPU.

When a worker is lost, Ray tries its task again. The run then resumes from its last checkpoint in the store, or returns
its result if it is finished. A worker that still lives keeps the lock of its run. All workers must see the store under
the same path.
"""

from __future__ import annotations

import contextlib
import io
import sys
import threading
import time
import warnings
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

import torch

from lpm.console import engines
from lpm.console.errors import InvalidInput
from training.config import RunConfig
from training.data.own_code import trust, trusted
from training.jobs.work import LeftToOther, Outcome, Watcher, Work, silent
from training.options import Options
from training.store.locks import Busy
from training.store.runs import RunFolder

PATIENCE = 300
"""Seconds that a second attempt at a task waits for the lock of the lost one. The cluster may have given up a host that
still trains, and a file server keeps a dead host's locks for a minute or two.
"""


LOOKS = 2.0
"""Seconds between two looks at the store, which says how far the workers' runs are."""


def in_flight(configs: Sequence[RunConfig], work: Work, options: Options, watcher: Watcher) -> Iterator[Outcome]:
    """Train runs on Ray, several at a time.

    Args:
        configs: the runs.
        work: what all of them need; device 'auto' takes a GPU if the cluster has one.
        options: the cluster's address, if there is one, and how many runs are trained at a time.
        watcher: follows them, epoch by epoch.

    Yields:
        How each run ended, as it ends.

    Raises:
        InvalidInput: if the cluster has no such device, or Ray cannot be reached.
    """
    with engines.ray(options.address, options.jobs) as ray:
        gpus = int(ray.cluster_resources().get("GPU", 0))
        device = ("cuda" if gpus else "cpu") if work.device == "auto" else work.device
        if device == "cuda" and not gpus:
            raise InvalidInput("--device cuda: the cluster has no GPU; take --device cpu")
        # On a cluster a run has one core. On this machine runs share the threads that one run alone would use.
        threads = 1 if options.address else max(1, torch.get_num_threads() // options.jobs)
        gpu = share(options.jobs, 1 if options.address else gpus) if device == "cuda" else 0
        cpus = max(1, work.workers if options.address else 1)  # cores on which the run's workers decode images
        remote = ray.remote(num_cpus=cpus, num_gpus=gpu, max_retries=engines.RETRIES)(_train)
        shared = ray.put(
            replace(work, device=device, store=work.store.absolute(), weights=work.weights and work.weights.absolute())
        )
        tasks = [remote.remote(shared, (trusted(), sys.path), threads, *task) for task in enumerate(configs)]
        with _followed(configs, work, watcher):
            for number, outcome, messages in engines.results(ray, tasks):
                print(messages, end="", file=sys.stderr)
                watcher.ended(number)
                yield outcome


@contextlib.contextmanager
def _followed(configs: Sequence[RunConfig], work: Work, watcher: Watcher) -> Iterator[None]:
    """Tell a watcher meanwhile which epochs of the runs are new in the store, the only place that all hosts see."""
    folders = [RunFolder(work.store, config) for config in configs]
    epochs, stop = [folder.epochs for folder in folders], threading.Event()

    def look() -> None:
        while not stop.wait(LOOKS):
            for number, folder in enumerate(folders):
                if epochs[number] < folder.config.epochs and (new := folder.epochs) > epochs[number]:
                    epochs[number] = new
                    watcher.report(number, new, "")

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def share(jobs: int, gpus: int) -> float:
    """Divide GPUs among runs that are trained at a time.

    Args:
        jobs: number of runs.
        gpus: number of GPUs.

    Returns:
        The part of a GPU that each run takes.
    """
    # Ray counts in units of 1e-4; rounded up, the last run would have to wait.
    return 10_000 // -(-jobs // gpus) / 10_000


def _train(
    work: Work, code: tuple[Collection[str], Sequence[str]], threads: int, number: int, config: RunConfig
) -> tuple[int, Outcome, str]:
    """Train a run in a worker. Returns its number and outcome, and its messages on standard error, which the command prints.

    code: the names of the user's own functions that may run, and where the command looks for modules.
    """
    torch.set_num_threads(threads)
    names, path = code
    if names:  # Ray's processes have neither the command's environment nor its folder
        trust(*names)
        sys.path += [folder for folder in path if folder not in sys.path]
    # Ray's arrays are shared by the workers of a host and cannot be written; a trainer reads them only.
    warnings.filterwarnings("ignore", "The given NumPy array is not writable")
    with contextlib.redirect_stderr(io.StringIO()) as messages:
        outcome = taken_up(replace(work, task=engines.task()), config)
    return number, outcome, messages.getvalue()


def taken_up(work: Work, config: RunConfig) -> Outcome:
    """Train a run; while a lost attempt at the same task still holds it, wait up to :data:`PATIENCE` seconds.

    Args:
        work: what the run needs, with the name of the task.
        config: the run.

    Returns:
        How it ended; left to the other process if another task trains it, or the wait was too long.

    Raises:
        InvalidInput: as :meth:`training.jobs.work.Work.train`.
    """
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return work.train(config, silent)
        except Busy as error:
            if error.task != work.task or time.monotonic() > end:
                return LeftToOther(str(error))
            time.sleep(2)
