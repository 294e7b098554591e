"""Several processes train one run: which rank this process has, which pairs are its share, what they communicate.

They are started by ``torchrun --nproc-per-node N -m training.train ...``. Each batch of the run is divided into one
shard per process. Its gradient is the sum of theirs, and BatchNorm's statistics are those of the whole batch, or of
parts of it that do not depend on the processes (:mod:`training.distributed.norms`). So a run is the same run, up to
rounding, for any number of processes. Rank 0 alone reads and writes the run store; the others learn its result or its
failure.
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
"""How long a process waits for the others: rank 0 may be writing a checkpoint to a slow store."""


@dataclass(frozen=True)
class Ranks:
    """This process among those that train a run.

    Attributes:
        rank: its number, from 0.
        world: number of processes.
    """

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this process is rank 0."""
        return self.rank == 0

    def shard(self, number: int, parts: int = 0) -> Tensor:
        """Choose this process's share of a batch: every world-th position, from its rank.

        With parts, part n of a batch is every parts-th position from n, and a process has every world-th part; its
        share is these parts one after another.

        Args:
            number: pairs in the batch.
            parts: number of parts, a multiple of the number of processes; 0 for one part per process.

        Returns:
            Positions in the batch, int64; none for some processes if the batch is small.
        """
        parts = parts or self.world
        return torch.cat([torch.arange(number)[part::parts] for part in range(self.rank, parts, self.world)])

    def epoch_shard(self, sizes: Sequence[int], parts: int = 0) -> Tensor:
        """Choose this process's share of an epoch: its shard of each batch, in order.

        Args:
            sizes: pairs in each batch.
            parts: as in :meth:`shard`.

        Returns:
            Positions in the epoch, int64.
        """
        starts = itertools.accumulate(sizes, initial=0)
        return torch.cat([start + self.shard(size, parts) for start, size in zip(starts, sizes, strict=False)])

    def shard_sizes(self, sizes: Sequence[int]) -> list[int]:
        """Count this process's pairs in each batch.

        Args:
            sizes: pairs in each batch.

        Returns:
            Pairs in each shard; 0 where a batch has fewer pairs than there are processes.
        """
        return [len(range(self.rank, size, self.world)) for size in sizes]

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """Sum a tensor over all processes, in place.

        Args:
            tensor: the same shape and type in every process.

        Returns:
            The same tensor.
        """
        if self.world > 1:
            dist.all_reduce(tensor)
        return tensor

    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        """Give every process the values of rank 0, in place.

        Args:
            tensors: the same shapes and types in every process.
        """
        for tensor in tensors if self.world > 1 else ():
            dist.broadcast(tensor, src=0)

    def rank_0_decision(self, action: Callable[[], T]) -> T:
        """Run an action in rank 0, while the others wait, and give all processes its result.

        Args:
            action: called in rank 0 only.

        Returns:
            What the action returned.

        Raises:
            Exception: what the action raised, in all processes.
        """
        if self.world == 1:
            return action()
        outcome: list[Any] = [None]
        if self.first:
            try:
                outcome = [(True, action())]
            except Exception as error:
                outcome = [(False, error)]
        dist.broadcast_object_list(outcome, src=0)
        succeeded, value = outcome[0]
        if not succeeded:
            raise value
        return value

    def agree(self, fingerprint: dict[str, str]) -> None:
        """Check that all processes have the same data and weights.

        Args:
            fingerprint: hashes of this process's data and weights, by name.

        Raises:
            InvalidInput: in all processes, if a fingerprint differs from that of rank 0.
        """
        fingerprints: list[Any] = [fingerprint] * self.world
        if self.world > 1:
            dist.all_gather_object(fingerprints, fingerprint)
        if odd := [rank for rank, other in enumerate(fingerprints) if other != fingerprints[0]]:
            raise InvalidInput(f"process {odd[0]} has other data or weights than process 0; give all the same files")


ALONE = Ranks()
"""A single process."""


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """Join the processes that torchrun started, for the time of a with block; without torchrun there is one process.

    Args:
        device: 'cuda', where they communicate by NCCL, or 'cpu', by Gloo.

    Yields:
        This process among them.

    Raises:
        InvalidInput: if a host has more processes than GPUs, or if restarts by torchrun would hang.
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
            "--rdzv-backend c10d; otherwise restarted processes wait for those that died"
        )
    if "TORCHELASTIC_RUN_ID" in os.environ:
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    if device == "cuda":
        local = int(os.environ["LOCAL_RANK"])
        if local >= torch.cuda.device_count():
            raise InvalidInput(
                f"process {local} of this host has no GPU, the host has {torch.cuda.device_count()}; take a smaller "
                "--nproc-per-node"
            )
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if device == "cuda" else "gloo", timeout=PATIENCE)
    rank = dist.get_rank()
    try:
        yield Ranks(rank, world)
    except InvalidInput as error:
        if rank:  # only its host may have failed
            raise InvalidInput(f"process {rank}: {error}") from None
        raise
    finally:
        gc.collect()  # a trainer that outlives the group ends the process with an error
        dist.destroy_process_group()


def _end_with(launcher: int) -> None:
    """End this process once torchrun is gone.

    A torchrun that is killed with SIGKILL cannot end its processes, and an orphan would keep the run's lock.
    """
    while os.getppid() == launcher:
        time.sleep(1)
    os._exit(1)
