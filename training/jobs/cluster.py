"""Runs on Ray: as many at a time as there are workers, each on a CPU and a share of a GPU; a lost one is taken up again.

The store decides what is left of a run: a task that is tried again resumes from the run's last checkpoint, one whose run is done
returns its result, and a worker that still lives keeps its run's lock. Workers see the store under the same path.
"""

from __future__ import annotations

import contextlib
import io
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from lpm.console import engines
from lpm.console.errors import InvalidInput
from training.config import RunConfig
from training.jobs.work import LeftToOther, Outcome, Work
from training.options import Options
from training.store.locks import Busy

PATIENCE = 300
"""Seconds that a run which is taken up again waits for the lock of the lost attempt: a host that the cluster has given up may
still be training, and a file server lends a dead host's locks for a minute or two more.
"""


def in_flight(configs: Sequence[RunConfig], work: Work, options: Options) -> Iterator[Outcome]:
    """Outcomes of runs as they end, on Ray. work: its device may be 'auto', for a GPU if the cluster has one.

    Raises InvalidInput when the device is not there.
    """
    with engines.ray(options.address, options.jobs) as ray:
        gpus = int(ray.cluster_resources().get("GPU", 0))
        device = ("cuda" if gpus else "cpu") if work.device == "auto" else work.device
        if device == "cuda" and not gpus:
            raise InvalidInput("--device cuda: the cluster has no GPU; take --device cpu")
        # On a cluster a run has one core; here they share what one run alone would use, as processes do.
        threads = 1 if options.address else max(1, torch.get_num_threads() // options.jobs)
        gpu = share(options.jobs, 1 if options.address else gpus) if device == "cuda" else 0
        cpus = max(1, work.workers if options.address else 1)  # the workers' cores decode images for a run
        remote = ray.remote(num_cpus=cpus, num_gpus=gpu, max_retries=engines.RETRIES)(_train)
        shared = ray.put(
            replace(work, device=device, store=work.store.absolute(), weights=work.weights and work.weights.absolute())
        )
        tasks = [remote.remote(shared, threads, config) for config in configs]
        for outcome, said in engines.results(ray, tasks):
            print(said, end="", file=sys.stderr)
            yield outcome


def share(jobs: int, gpus: int) -> float:
    """The part of a GPU that each of some runs takes when all have room at once."""
    # Ray counts in units of 1e-4; rounded up, the last run would have to wait.
    return 10_000 // -(-jobs // gpus) / 10_000


def _train(work: Work, threads: int, config: RunConfig) -> tuple[Outcome, str]:
    """A run in a worker: its outcome, and what it had to say on standard error, which is not the command's."""
    torch.set_num_threads(threads)
    # Ray's arrays are shared by the workers of a host and cannot be written; a trainer reads them only.
    warnings.filterwarnings("ignore", "The given NumPy array is not writable")
    with contextlib.redirect_stderr(io.StringIO()) as said:
        outcome = taken_up(replace(work, task=engines.task()), config)
    return outcome, said.getvalue()


def taken_up(work: Work, config: RunConfig) -> Outcome:
    """A run's outcome, if need be once a lost attempt at the same task has let go of it."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return work.train(config, lambda row: None)
        except Busy as error:
            if error.task != work.task or time.monotonic() > end:
                return LeftToOther(str(error))
            time.sleep(2)
