"""BatchNorm over a batch that several processes share, or over each part of it; in evaluation it is torch's own."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from training.distributed.ranks import Ranks


def convert_batch_norms(network: nn.Module, ranks: Ranks, parts: int) -> nn.Module:
    """Replace the BatchNorms of a network by ones for several processes, or for parts of a batch; in place.

    Parameters, running statistics and their names stay. One process without parts keeps torch's BatchNorms.

    Args:
        network: the network.
        ranks: the processes that train it.
        parts: number of parts of a batch that are normalised one by one (:class:`GhostBatchNorm`); 0 for whole batches
            (:class:`SyncBatchNorm`).

    Returns:
        The same network.
    """
    if ranks.world == 1 and not parts:
        return network
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
                setattr(module, name, GhostBatchNorm(child, ranks, parts) if parts else SyncBatchNorm(child, ranks))
    return network


class _Replacement(_BatchNorm):
    """Stands in place of a BatchNorm, with its parameters and running statistics."""

    def __init__(self, norm: nn.BatchNorm1d | nn.BatchNorm2d, ranks: Ranks) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        self.__dict__.update(norm.__dict__)
        assert norm.momentum is not None  # a cumulative average, which no network here has
        self.ranks, self.rate = ranks, norm.momentum

    def _check_input_dim(self, input: Tensor) -> None:
        """Allow any number of dimensions."""


class SyncBatchNorm(_Replacement):
    """BatchNorm over the batches of all processes, some of which may be empty.

    torch.nn.SyncBatchNorm runs on CUDA only. For an empty batch in bfloat16 it sends statistics of another size than
    the other processes expect.

    Args:
        norm: the BatchNorm that it replaces.
        ranks: the processes.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise a process's share of the batch; in training, update the running statistics by the whole batch.

        Args:
            input: (n, C, ...); n may be 0 in some processes.

        Returns:
            The same shape.
        """
        if not self.training:
            return super().forward(input)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        y, mean, unbiased = _SyncBatchNorm.apply(input, self.weight, self.bias, self.eps, self.ranks)  # type: ignore[no-untyped-call]
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.rate)
            self.running_var.lerp_(unbiased, self.rate)
        return y


class _SyncBatchNorm(torch.autograd.Function):
    r"""The normalised x, the mean and the unbiased variance over all processes' x.

    It keeps no more than x for the backward pass; one all_reduce forwards, one backwards.

    .. math:: \partial x = w \sigma^{-1} \Bigl(\partial y - \tfrac1N \sum \partial y
                           - \hat x\, \tfrac1N \sum \partial y\, \hat x\Bigr), \qquad \hat x = (x - \mu) / \sigma

    The sums are over all processes. torch's kernels do the passes over x. They use the sums over this process's n
    inputs instead of those over all N. The missing part of the gradient is linear in x, as a BatchNorm in evaluation
    is.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, ranks: Ranks
    ) -> tuple[Tensor, Tensor, Tensor]:
        C, n = len(weight), x.numel() // len(weight)
        sums = torch.zeros(2 * C + 1, dtype=torch.float64, device=x.device)
        if n:
            _, mean, scale = torch.native_batch_norm(x, weight, bias, None, None, True, 0.0, eps)
            mean, variance = mean.double(), scale.double() ** -2 - eps
            # In double precision the difference below loses nothing that single precision has.
            sums = torch.cat([n * mean, n * (variance + mean**2), sums.new_full((1,), n)])
        total, squares, N = ranks.all_reduce(sums).tensor_split([C, 2 * C])
        mean = total / N
        variance = (squares / N - mean**2).clamp_min(0.0)
        unbiased = variance * N / (N - 1)
        mean, variance, unbiased, N = (v.to(weight.dtype) for v in (mean, variance, unbiased, N))
        ctx.save_for_backward(x, weight, mean, variance, N)
        ctx.eps, ctx.ranks, ctx.n = eps, ranks, n
        ctx.mark_non_differentiable(mean, unbiased)
        return F.batch_norm(x, mean, variance, weight, bias, eps=eps), mean, unbiased

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance, N = ctx.saved_tensors
        scale = torch.rsqrt(variance + ctx.eps)
        # Gradients of weight and bias, (2, C): sums of dy x_hat and of dy over this process's inputs.
        dx, local = torch.empty_like(x), weight.new_zeros(2, len(weight))
        if ctx.n:
            dx, d_weight, d_bias = torch.ops.aten.native_batch_norm_backward(
                grads[0], x, weight, None, None, mean, scale, True, ctx.eps, [True, True, True]
            )
            local = torch.stack([d_weight, d_bias])
        total = ctx.ranks.all_reduce(local.clone())
        if ctx.n:
            # A small correction. In bfloat16 it is one line, because two that are rounded one by one would be ten times
            # as far off.
            slope, shift = weight * scale * (local / ctx.n - total / N)
            dx += F.batch_norm(x, mean, variance, slope, shift, eps=ctx.eps)
        return dx, local[0], local[1], None, None


class GhostBatchNorm(_Replacement):
    """Ghost BatchNorm: each part of a batch is normalised with its own statistics, as if a GPU of its own did it.

    The running statistics are those of the first part. A process has parts / world of the parts. Its share of a batch
    is these parts one after another, each as large as the next or larger by one.

    Args:
        norm: the BatchNorm that it replaces.
        ranks: the processes.
        parts: number of parts of a whole batch, a multiple of the number of processes.
    """

    def __init__(self, norm: nn.BatchNorm1d | nn.BatchNorm2d, ranks: Ranks, parts: int) -> None:
        super().__init__(norm, ranks)
        self.local_parts = parts // ranks.world

    def forward(self, input: Tensor) -> Tensor:
        """Normalise each of the process's parts; in training, rank 0 updates the running statistics by its first part.

        Args:
            input: the process's share of the batch, (n, C, ...).

        Returns:
            The same shape.
        """
        if not self.training:
            return super().forward(input)
        if self.ranks.first and self.num_batches_tracked is not None:
            self.num_batches_tracked += 1
        sizes = [len(range(part, len(input), self.local_parts)) for part in range(self.local_parts)]
        # torch.tensor_split is shorter, but its gradient fills a whole batch of zeros for each part.
        parts = torch.split(input, sizes) if self.local_parts > 1 else (input,)
        normalised = []
        for part, x in enumerate(parts):
            running = (self.running_mean, self.running_var) if self.ranks.first and part == 0 else (None, None)
            normalised.append(F.batch_norm(x, *running, self.weight, self.bias, True, self.rate, self.eps))
        return torch.cat(normalised) if self.local_parts > 1 else normalised[0]


def ghost_statistics(network: nn.Module) -> list[Tensor]:
    """List the running statistics that rank 0 alone updates: those of every :class:`GhostBatchNorm`.

    Args:
        network: the network.

    Returns:
        The buffers themselves, so that a broadcast fills them in place.
    """
    return [buffer for module in network.modules() if isinstance(module, GhostBatchNorm) for buffer in module.buffers()]
