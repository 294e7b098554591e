"""SyncBatchNorm is torch's BatchNorm over the whole batch; ghost BatchNorm is torch's over each part."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Barrier

import pytest
import torch
from torch import Tensor, nn

from lpm.console.errors import InvalidInput
from tests.started import HANG
from training.batches.epoch import batch_sizes, draw
from training.config import RunConfig
from training.data import datasets
from training.distributed.norms import GhostBatchNorm, SyncBatchNorm, convert_batch_norms
from training.distributed.ranks import ALONE, Ranks
from training.model import build
from training.run.trainer import Trainer

CPU = torch.device("cpu")
SMOKE = RunConfig(imbalance=10, preset="smoke", model="resnet8", width=4, batch=32, epochs=2, warmup=0, augment=False)


@dataclass
class Meeting:
    """Where threads that stand for processes meet for an all_reduce."""

    world: int
    given: dict[int, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.all_here, self.all_read = Barrier(self.world, timeout=HANG), Barrier(self.world, timeout=HANG)


@dataclass(frozen=True)
class Threads(Ranks):
    """One of several threads that stand for processes."""

    meeting: Meeting = field(default_factory=lambda: Meeting(1))

    def all_reduce(self, tensor: Tensor) -> Tensor:
        self.meeting.given[self.rank] = tensor.clone()
        self.meeting.all_here.wait()
        total = torch.stack([self.meeting.given[rank] for rank in range(self.world)]).sum(dim=0)
        self.meeting.all_read.wait()
        return tensor.copy_(total)


def norm_of(x: Tensor) -> nn.BatchNorm1d | nn.BatchNorm2d:
    """A BatchNorm for x with random weights, bias and running statistics."""
    norm = (nn.BatchNorm2d if x.dim() == 4 else nn.BatchNorm1d)(x.shape[1])
    generator = torch.Generator().manual_seed(1)
    for tensor in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
        assert tensor is not None
        tensor.copy_(torch.rand(x.shape[1], generator=generator) + 0.5)
    return norm


def passed(norm: nn.Module, x: Tensor, dy: Tensor) -> list[Tensor]:
    """y, the gradients of x, weight and bias, and the statistics afterwards."""
    x = x.clone().requires_grad_()
    y = norm(x)
    y.backward(dy)
    assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d | SyncBatchNorm | GhostBatchNorm)
    results = [y.detach(), x.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var]
    assert norm.num_batches_tracked == 1
    return [tensor for tensor in results if tensor is not None]


def batch(*shape: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Inputs far from 0, where sums of squares lose digits, and gradients."""
    generator = torch.Generator().manual_seed(0)
    x, dy = (torch.randn(shape, generator=generator) for _ in range(2))
    if len(shape) == 4:
        x, dy = (t.contiguous(memory_format=torch.channels_last) for t in (x, dy))
    return (3 * x + (20 if dtype == torch.float32 else 0)).to(dtype), dy.to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(12, 5, 4, 4), (12, 5)])
@pytest.mark.parametrize("shares", [(12,), (5, 4, 3), (2, 10, 0), (1, 0, 11)])
def test_a_shared_batch_is_normalised_as_a_whole(
    shares: Sequence[int], shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    x, dy = batch(*shape, dtype=dtype)
    whole = passed(norm_of(x), x, dy)
    meeting = Meeting(len(shares))

    def in_process(rank: int) -> list[Tensor]:
        share = slice(sum(shares[:rank]), sum(shares[: rank + 1]))
        return passed(SyncBatchNorm(norm_of(x), Threads(rank, len(shares), meeting)), x[share], dy[share])

    with ThreadPoolExecutor(len(shares)) as pool:
        results = list(pool.map(in_process, range(len(shares))))
    rtol, atol = (1e-4, 1e-4) if dtype == torch.float32 else (2e-2, 3e-2)
    close = partial(torch.testing.assert_close, rtol=rtol, atol=atol)
    for expected, parts in zip(whole[:2], zip(*[result[:2] for result in results], strict=True), strict=True):
        assert all(part.dtype == dtype for part in parts)
        close(torch.cat(parts), expected)
    for expected, parts in zip(whole[2:4], zip(*[result[2:4] for result in results], strict=True), strict=True):
        close(torch.stack(parts).sum(dim=0), expected)
    for result in results:
        for expected, statistic in zip(whole[4:], result[4:], strict=True):
            close(statistic, expected)


def test_the_gradient_of_sync_batch_norm_is_that_of_its_values() -> None:
    x = torch.randn(4, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).requires_grad_()
    norm = SyncBatchNorm(norm_of(x).double(), ALONE)
    assert torch.autograd.gradcheck(norm, (x,))
    (grad,) = torch.autograd.grad(norm(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("trained", [True, False])
def test_sync_batch_norm_keeps_no_more_than_its_input(trained: bool) -> None:
    saved: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    x, dy = batch(16, 8, 6, 6, dtype=torch.bfloat16)
    norm = SyncBatchNorm(norm_of(x), ALONE).requires_grad_(trained)
    x.requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y = norm(x)
    large = {tensor.data_ptr() for tensor in saved if tensor.numel() >= x.numel()}
    assert large == {x.data_ptr()}
    y.backward(dy)
    assert x.grad is not None
    assert (norm.weight.grad is not None) == trained


def test_in_evaluation_both_are_torchs_own() -> None:
    x, _ = batch(6, 3, 4, 4)
    plain = norm_of(x).eval()
    for norm in (SyncBatchNorm(norm_of(x), ALONE), GhostBatchNorm(norm_of(x), ALONE, 2)):
        assert torch.equal(norm.eval()(x), plain(x))
        assert norm.state_dict().keys() == plain.state_dict().keys()


@pytest.mark.parametrize("shape", [(11, 3, 4, 4), (11, 3)])
def test_each_part_is_normalised_by_itself_and_the_first_is_remembered(shape: tuple[int, ...]) -> None:
    x, dy = batch(*shape)
    results = passed(GhostBatchNorm(norm_of(x), ALONE, 4), x, dy)
    each = [passed(norm_of(x), *part) for part in zip(x.split([3, 3, 3, 2]), dy.split([3, 3, 3, 2]), strict=True)]
    for i in (0, 1):
        torch.testing.assert_close(results[i], torch.cat([part[i] for part in each]))
    for i in (2, 3):
        torch.testing.assert_close(results[i], torch.stack([part[i] for part in each]).sum(dim=0))
    for i in (4, 5):
        assert torch.equal(results[i], each[0][i])


def test_parts_of_a_batch_are_the_same_for_any_number_of_processes(digits: datasets.LongTailed) -> None:
    config = replace(SMOKE, norm_batch=8, sampler="cas")
    sizes = batch_sizes(len(digits.train.labels), config)
    plain = draw(replace(SMOKE, sampler="cas"), build.sampler(config, digits.train.labels), 1)
    parts: dict[int, list[list[int]]] = {}
    for world in (1, 2, 4):
        parts[world] = [[] for _ in range(4 * len(sizes))]
        for rank in range(world):
            ranks = Ranks(rank, world)
            share = draw(config, build.sampler(config, digits.train.labels), 1, ranks)
            assert torch.equal(share.pairs, plain.pairs[share.number])
            for step, numbers in enumerate(share.number.split(ranks.shard_sizes(sizes))):
                local = 4 // world
                cut = [len(range(part, len(numbers), local)) for part in range(local)]
                for part, chunk in enumerate(numbers.split(cut)):
                    parts[world][4 * step + rank + part * world] = chunk.tolist()
    assert parts[1] == parts[2] == parts[4]
    assert sorted(number for part in parts[1] for number in part) == list(range(len(digits.train.labels)))
    assert min(map(len, parts[1])) >= 2


@pytest.mark.parametrize(("number", "sizes"), [(70, [32, 38]), (72, [32, 32, 8]), (64, [32, 32]), (39, [39])])
def test_a_last_batch_has_two_pairs_for_each_part(number: int, sizes: list[int]) -> None:
    assert batch_sizes(number, replace(SMOKE, norm_batch=8)) == sizes


def test_batch_norms_are_replaced_only_where_needed() -> None:
    def norms(ranks: Ranks, parts: int) -> set[type]:
        network = convert_batch_norms(build.network(replace(SMOKE, classifier="etf"), 1), ranks, parts)
        return {type(m) for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)}

    assert norms(ALONE, 0) == {nn.BatchNorm2d, nn.BatchNorm1d}
    assert norms(Ranks(1, 2), 0) == {SyncBatchNorm}
    assert norms(ALONE, 4) == norms(Ranks(1, 2), 4) == {GhostBatchNorm}


def test_a_run_normalises_the_parts_it_says(digits: datasets.LongTailed) -> None:
    trainers = [Trainer(replace(SMOKE, norm_batch=n, classifier="etf", precision="fp32"), digits, CPU) for n in (0, 8)]
    norms = [module for module in trainers[1].network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    assert len(norms) > 5
    assert all(isinstance(norm, GhostBatchNorm) and norm.local_parts == 4 for norm in norms)
    losses = [trainer.train_epoch()["loss"] for trainer in trainers]
    assert abs(losses[0] - losses[1]) > 1e-3  # the same run but for this


@pytest.mark.parametrize("norm_batch", [-1, 2, 5, 32, 64])
def test_parts_divide_a_batch(norm_batch: int) -> None:
    with pytest.raises(
        InvalidInput, match=r"^norm-batch = -?\d+ must be 0, or a divisor of --batch, 32, from 4 to half of it$"
    ):
        replace(SMOKE, norm_batch=norm_batch)


def test_processes_that_cannot_share_the_parts_are_refused(digits: datasets.LongTailed) -> None:
    with pytest.raises(InvalidInput, match="3 processes cannot share 4 parts of 8 pairs; take a number that divides 4"):
        Trainer(replace(SMOKE, norm_batch=8), digits, CPU, ranks=Ranks(0, 3))
    with pytest.raises(InvalidInput, match="BatchNorm needs two images per part, and 486 do not make 250 parts"):
        Trainer(replace(SMOKE, batch=1000, norm_batch=4), digits, CPU)
