"""Several processes train one run: who is who, which pairs are whose, and what they add up.

Started by ``torchrun --nproc-per-node N -m training.train ...``. A batch of the run is shared out among the processes, its
gradient is the sum of theirs, and BatchNorm's statistics are the whole batch's: so a run is the same run, up to rounding, for
any number of processes. The first process alone reads and writes the run store; what it finds or fails at, all learn from it.
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
from torch import Tensor, nn

from lpm.errors import InvalidInput
from training.torchrun import processes

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

    def own(self, number: int) -> Tensor:
        """Which of so many are this process's: every world-th, from rank; none, perhaps."""
        return torch.arange(number)[self.rank :: self.world]

    def rows(self, sizes: Sequence[int]) -> Tensor:
        """Positions of an epoch that are this process's, given the batches' sizes: its own of each batch."""
        starts = itertools.accumulate(sizes, initial=0)
        return torch.cat([start + self.own(size) for start, size in zip(starts, sizes, strict=False)])

    def sizes(self, sizes: Sequence[int]) -> list[int]:
        """How many of each batch's pairs are this process's; none, perhaps, of the last batch's."""
        return [len(range(self.rank, size, self.world)) for size in sizes]

    def add_up(self, tensor: Tensor) -> Tensor:
        """A tensor's sum over all processes, in place."""
        if self.world > 1:
            dist.all_reduce(tensor)
        return tensor

    def spread(self, tensors: Sequence[Tensor]) -> None:
        """Give every process the first one's values, in place."""
        for tensor in tensors if self.world > 1 else ():
            dist.broadcast(tensor, src=0)

    def decided(self, action: Callable[[], T]) -> T:
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

    def together(self, network: nn.Module) -> nn.Module:
        """Replace each BatchNorm of a network by one over the whole batch of all processes; the network."""
        if self.world == 1:
            return network
        for module in list(network.modules()):
            for name, child in module.named_children():
                if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
                    setattr(module, name, _Together.of(child))
        return network


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


class _Sum(torch.autograd.Function):
    """The sum of a tensor over all processes; the gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.clone()
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        grad = grads[0].clone()
        dist.all_reduce(grad)
        return grad


class _Together(nn.modules.batchnorm._BatchNorm):
    """BatchNorm over the batches of all processes, in float32.

    torch's own is for CUDA alone, and of an empty batch in bfloat16 sends numbers of another size than the others expect.
    """

    @classmethod
    def of(cls, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> _Together:
        """In place of a module, with its parameters and statistics."""
        made = cls(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        made.__dict__.update(norm.__dict__)
        return made

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of dimensions."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        x = input.float()
        over = [0, *range(2, x.dim())]
        shape = (1, -1) + (1,) * (x.dim() - 2)
        number = torch.full((1,), float(x.numel() // x.shape[1]), device=x.device)
        sums = _Sum.apply(torch.cat([x.sum(over), number]))  # type: ignore[no-untyped-call]
        N = sums[-1].detach()
        mean = sums[:-1] / N
        centred = x - mean.view(shape)
        variance = _Sum.apply((centred**2).sum(over)) / N  # type: ignore[no-untyped-call]
        with torch.no_grad():
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum or 0.1)
            self.running_var.lerp_(variance * N / (N - 1), self.momentum or 0.1)
        y = centred * torch.rsqrt(variance + self.eps).view(shape)
        return (y * self.weight.view(shape) + self.bias.view(shape)).to(input.dtype)
