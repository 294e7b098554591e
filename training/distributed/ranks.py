"""Several processes train one run: who is who, which pairs are whose, and what they add up.

Started by ``torchrun --nproc-per-node N -m training.train ...``. A batch of the run is shared out among the processes, its
gradient is the sum of theirs, and BatchNorm's statistics are the whole batch's, or those of parts of it that do not depend on
the processes (:mod:`training.distributed.norms`): so a run is the same run, up to rounding, for any number of them. The first
process alone reads and writes the run store; what it finds or fails at, all learn from it.
"""

from __future__ import annotations

import gc
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from lpm.console.errors import InvalidInput
from training.distributed.torchrun import processes

T = TypeVar("T")

PATIENCE = timedelta(hours=1)
"""How long a process waits for the others: the first one may be writing a checkpoint to a slow store."""


@dataclass(frozen=True)
class Ranks:
    """This process's rank among ``world`` processes."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    def own(self, number: int, parts: int = 0) -> Tensor:
        """Which of so many are this process's: every world-th, from rank; none, perhaps. In ``parts``, a multiple of world, part
        by part, each of which is every parts-th.
        """
        parts = parts or self.world
        return torch.cat([torch.arange(number)[part::parts] for part in range(self.rank, parts, self.world)])

    def rows(self, sizes: Sequence[int], parts: int = 0) -> Tensor:
        """Positions of an epoch that are this process's, given the batches' sizes: its own of each batch."""
        starts = itertools.accumulate(sizes, initial=0)
        return torch.cat([start + self.own(size, parts) for start, size in zip(starts, sizes, strict=False)])

    def sizes(self, sizes: Sequence[int]) -> list[int]:
        """How many of each batch's pairs are this process's; none, perhaps, of the last batch's."""
        return [len(range(self.rank, size, self.world)) for size in sizes]

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """A tensor's sum over all processes, in place."""
        if self.world > 1:
            dist.all_reduce(tensor)
        return tensor

    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        """Give every process the first one's values, in place."""
        for tensor in tensors if self.world > 1 else ():
            dist.broadcast(tensor, src=0)

    def rank_0_decision(self, action: Callable[[], T]) -> T:
        """What an action of the first process gives, or raises, in all of them; they wait for it."""
        if self.world == 1:
            return action()
        outcome: list[Any] = [None]
        if self.first:
            try:
                outcome = [(True, action())]
            except Exception as error:
                outcome = [(False, error)]
        dist.broadcast_object_list(outcome, src=0)
        held, value = outcome[0]
        if not held:
            raise value
        return value

    def agree(self, said: dict[str, str]) -> None:
        """Raise InvalidInput in all processes unless all say the same."""
        every: list[Any] = [said] * self.world
        if self.world > 1:
            dist.all_gather_object(every, said)
        if odd := [rank for rank, other in enumerate(every) if other != every[0]]:
            raise InvalidInput(f"process {odd[0]} has other data or weights than the first; give all the same files")


ALONE = Ranks()
"""A process by itself."""


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """This process among those that torchrun started, talking over NCCL on 'cuda' and Gloo on 'cpu'; alone without torchrun.

    Raises InvalidInput when there are more processes on a host than GPUs, and for restarts by torchrun that would hang.
    """
    world = processes()
    if world == 1:
        yield ALONE
        return
    if (
        os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0"
        and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    ):
        # pytorch/pytorch#135712
        raise InvalidInput(
            "--max-restarts needs TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 in torchrun's environment, and on several hosts "
            "--rdzv-backend c10d; without, processes that it starts again wait for those that died"
        )
    if "TORCHELASTIC_RUN_ID" in os.environ:
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    if device == "cuda":
        local = int(os.environ["LOCAL_RANK"])
        if local >= torch.cuda.device_count():
            raise InvalidInput(
                f"process {local} of this host has no GPU; it has {torch.cuda.device_count()}: take a smaller --nproc-per-node"
            )
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if device == "cuda" else "gloo", timeout=PATIENCE)
    rank = dist.get_rank()
    try:
        yield Ranks(rank, world)
    except InvalidInput as error:
        raise InvalidInput(f"process {rank}: {error}" if rank else str(error)) from None  # it may be its host's alone
    finally:
        gc.collect()  # a trainer that outlives the group ends the process with an error
        dist.destroy_process_group()


def _end_with(launcher: int) -> None:
    """End this process once torchrun is gone, which a kill -9 keeps from doing it: an orphan would go on holding the run."""
    while os.getppid() == launcher:
        time.sleep(1)
    os._exit(1)
