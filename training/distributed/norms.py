"""BatchNorm of a batch that several processes share, or of parts of it by themselves; in evaluation torch's own."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from training.distributed.ranks import Ranks


def replaced(network: nn.Module, ranks: Ranks, parts: int) -> nn.Module:
    """A network with its BatchNorms made for the processes that train it, and for the parts of a batch if there are any."""
    if ranks.world == 1 and not parts:
        return network
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
                setattr(module, name, GhostBatchNorm(child, ranks, parts) if parts else SyncBatchNorm(child, ranks))
    return network


class _Shared(_BatchNorm):
    """In place of a BatchNorm, with its parameters and statistics."""

    def __init__(self, norm: nn.BatchNorm1d | nn.BatchNorm2d, ranks: Ranks) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        self.__dict__.update(norm.__dict__)
        assert norm.momentum is not None  # a cumulative average, which no network here has
        self.ranks, self.rate = ranks, norm.momentum

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of dimensions."""


class SyncBatchNorm(_Shared):
    """BatchNorm over the batches of all processes, some of which may be empty.

    torch's own is for CUDA alone, and of an empty batch in bfloat16 sends numbers of another size than the others expect.
    """

    def forward(self, input: Tensor) -> Tensor:
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
    r"""Of all processes' x: y, the mean, the unbiased variance. Keeps no more than x; one exchange forwards, one back.

    .. math:: \partial x = w \sigma^{-1} \Bigl(\partial y - \tfrac1N \sum \partial y
                           - \hat x\, \tfrac1N \sum \partial y\, \hat x\Bigr), \qquad \hat x = (x - \mu) / \sigma

    with sums over all processes. torch's kernels do the passes over x: they have the sums over this process's n inputs in place
    of those over all N, and what is missing of the gradient is linear in x, as a BatchNorm in evaluation is.
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
        dx, own = torch.empty_like(x), weight.new_zeros(2, len(weight))
        if ctx.n:
            dx, d_weight, d_bias = torch.ops.aten.native_batch_norm_backward(
                grads[0], x, weight, None, None, mean, scale, True, ctx.eps, [True, True, True]
            )
            own = torch.stack([d_weight, d_bias])
        every = ctx.ranks.all_reduce(own.clone())
        if ctx.n:
            # A small correction: in bfloat16 a product and the whole line, rounded each, would be ten times as far off.
            slope, shift = weight * scale * (own / ctx.n - every / N)
            dx += F.batch_norm(x, mean, variance, slope, shift, eps=ctx.eps)
        return dx, own[0], own[1], None, None


class GhostBatchNorm(_Shared):
    """BatchNorm of each part of a batch by itself, as a GPU of its own would do it; running statistics are the first part's.

    A process's share of a batch is parts one after another, each as large as the next or larger by one.
    """

    def __init__(self, norm: nn.BatchNorm1d | nn.BatchNorm2d, ranks: Ranks, parts: int) -> None:
        super().__init__(norm, ranks)
        self.own = parts // ranks.world

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        if self.ranks.first and self.num_batches_tracked is not None:
            self.num_batches_tracked += 1
        sizes = [len(range(part, len(input), self.own)) for part in range(self.own)]
        # torch.tensor_split would say it shorter, but fills a whole batch of zeros for the gradient of each part.
        parts = torch.split(input, sizes) if self.own > 1 else (input,)
        normalised = []
        for part, x in enumerate(parts):
            kept = (self.running_mean, self.running_var) if self.ranks.first and part == 0 else (None, None)
            normalised.append(F.batch_norm(x, *kept, self.weight, self.bias, True, self.rate, self.eps))
        return torch.cat(normalised) if self.own > 1 else normalised[0]


def statistics(network: nn.Module) -> list[Tensor]:
    """Running statistics that the first process has and the others have not: those of the parts."""
    return [buffer for module in network.modules() if isinstance(module, GhostBatchNorm) for buffer in module.buffers()]
