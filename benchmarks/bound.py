"""How far a training step is from what the machine allows: ``python -m benchmarks.bound [--device cuda] [--out FILE]``.

The step is ResNet-32 at batch 128, forward, backward and SGD, in float32 and bfloat16, on a CPU with one and two
threads. It is compared with three bounds:

arithmetic   its floating-point operations at the rate of a large matrix product
operations   the bytes that its operations read and write, each on its own, at the rate of a copy
saved        the bytes that any implementation without recomputation moves: activations kept for the backward pass
             are written and read once; weights are read and written, gradients written and read, momentum read and
             written

A copy is measured twice: 256 MB, and the size of an activation, which a cache may hold. ``--profile`` prints the
operations that take the most time in an epoch of the training loop.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import training
from benchmarks.rows import csv_file, origin, write
from training.config import RunConfig
from training.model import build
from training.model.cifar_resnets import ResNet
from training.model.classifiers import FC
from training.run.capture import CudaGraph
from training.run.trainer import Trainer

BATCH = 128
"""Images of a step."""


@dataclass
class Step:
    """A training step on random images of CIFAR's size.

    Attributes:
        network: the network.
        precision: "fp32" or "bf16".
        device: where it runs.
        backbone: the function that is called for the features: the network, or its compiled form.
    """

    network: ResNet
    precision: str
    device: torch.device
    backbone: Callable[[Tensor], Tensor] = field(init=False)

    def __post_init__(self) -> None:
        device = self.device
        self.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.backbone = self.network
        self.classifier = FC(self.network.p, 10).to(device)
        self.parameters = [*self.network.parameters(), *self.classifier.parameters()]
        self.optimizer = torch.optim.SGD(self.parameters, 0.1, 0.9, weight_decay=2e-4, fused=True)
        self.x = torch.randn(BATCH, 3, 32, 32, device=device).contiguous(memory_format=torch.channels_last)
        self.a, self.b = (torch.randint(10, (BATCH,), device=device) for _ in range(2))
        self.lam = torch.tensor(0.3, device=device)

    def __call__(self) -> None:
        """Take the step."""
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            features = self.backbone(self.x)
        self.classifier.loss(features.float(), self.a, self.b, self.lam).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()


class Traffic(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the tensors that operations read and write. Operations that only make a view do not count.

    Attributes:
        total: bytes so far.
    """

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.total += sum(v.nbytes for v in tree_leaves((args, kwargs, result)) if isinstance(v, Tensor))
        return result


def saved_bytes(step: Step) -> int:
    """Count the bytes that the forward pass keeps for the backward pass: each storage once, weights left out.

    Args:
        step: the step.

    Returns:
        Bytes.
    """
    storages: dict[int, Tensor] = {}
    weights = {p.untyped_storage().data_ptr() for p in step.parameters}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            storages[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        step()
    return sum(tensor.untyped_storage().nbytes() for tensor in storages.values())


def seconds(do: Callable[[], Any], device: torch.device, repeats: int = 10) -> float:
    """Time a function. On CUDA, fifty calls are timed together, so that waiting for the GPU does not count.

    Args:
        do: the function.
        device: where its work runs.
        repeats: number of timed calls, after two untimed ones.

    Returns:
        Seconds of the fastest call.
    """
    calls = 50 if device.type == "cuda" else 1

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    times = []
    for _ in range(repeats + 2):
        wait()
        start = time.perf_counter()
        for _ in range(calls):
            do()
        wait()
        times.append((time.perf_counter() - start) / calls)
    return min(times[2:])


def copy_rate(size: float, device: torch.device) -> float:
    """Measure the rate of a copy.

    Args:
        size: bytes to copy.
        device: where the data is.

    Returns:
        Bytes per second, read and written.
    """
    source = torch.ones(int(size) // 4, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / seconds(lambda: target.copy_(source), device, 30)


def product_rate(precision: str, device: torch.device) -> float:
    """Measure the rate of a product of two square matrices with 2,048 rows on a CPU, 8,192 on CUDA.

    Args:
        precision: "fp32" or "bf16".
        device: where the matrices are.

    Returns:
        Floating-point operations per second.
    """
    n = 8192 if device.type == "cuda" else 2048
    A = torch.randn(n, n, device=device, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    return 2 * n**3 / seconds(lambda: A @ A, device)


def row(precision: str, device: torch.device, *, capture: bool = True) -> dict[str, Any]:
    """Measure a step and its bounds.

    Args:
        precision: "fp32" or "bf16".
        device: where the step runs.
        capture: on CUDA, whether the step is captured as a graph.

    Returns:
        Milliseconds, MB and GB/s by column of the CSV.
    """
    step = Step(ResNet(), precision, device)
    step_seconds = eager_seconds = seconds(step, device)
    if device.type == "cuda" and capture:
        step_seconds = seconds(CudaGraph(step, lambda: None).replay, device)
    counter, traffic = FlopCounterMode(display=False), Traffic()  # type: ignore[no-untyped-call]
    with counter:
        step()
    with traffic:
        step()
    # Activations are written and read; weights, gradients and momentum are each read and written.
    saved = 2 * saved_bytes(step) + 6 * sum(p.nbytes for p in step.parameters)
    flops = counter.get_total_flops()
    rate, products = copy_rate(256e6, device), product_rate(precision, device)
    bounds = {"arithmetic": flops / products, "operations": traffic.total / rate, "saved": saved / rate}
    return {
        "model": "resnet32",
        "precision": precision,
        "batch": BATCH,
        "step_ms": 1e3 * step_seconds,
        "eager_ms": 1e3 * eager_seconds,
        "images_per_second": BATCH / step_seconds,
        "gflop": flops / 1e9,
        "operations_MB": traffic.total / 1e6,
        "saved_MB": saved / 1e6,
        "product_gflops": products / 1e9,
        "copy_GBps": rate / 1e9,
        "copy_8MB_GBps": copy_rate(4.0 * BATCH * 16 * 32 * 32, device) / 1e9,
        **{f"{name}_bound_ms": 1e3 * bound for name, bound in bounds.items()},
        "step_over_largest": step_seconds / max(bounds["arithmetic"], bounds["saved"]),
    }


def profiled(device: torch.device, top: int = 15, *, capture: bool = True) -> str:
    """Profile an epoch of ResNet-32's training.

    Args:
        device: where it runs.
        top: number of operations to show.
        capture: on CUDA, whether steps are captured as graphs.

    Returns:
        One line per operation (on CUDA, per kernel) with the most time of its own.
    """
    config = replace(RunConfig(dataset="cifar10-lt"), sampler="bmls")
    trainer = Trainer(config, training.data(BATCH * 24), device, capture=capture)
    trainer.train_epoch()
    kinds = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device.type == "cuda")
    with profile(activities=kinds) as profiler:
        trainer.train_epoch()
    key = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    # On CUDA an operation has the time of its kernels. These are events too, so operations are left out.
    events = [e for e in profiler.key_averages() if e.device_type.name == device.type.upper()]
    events.sort(key=lambda e: -getattr(e, key))
    total = sum(getattr(e, key) for e in events)
    return "\n".join(
        f"{e.key[:60]:60s} {e.count:7d} calls {getattr(e, key) / 1e3:9.1f} ms {getattr(e, key) / total:7.1%}"
        for e in events[:top]
    )


def rows(device: torch.device, *, capture: bool = True) -> Iterator[dict[str, Any]]:
    """Measure and print both precisions, on a CPU with one and with two threads.

    Args:
        device: where steps run.
        capture: on CUDA, whether steps are captured as graphs.

    Yields:
        One row per case.
    """
    shared = {"device": training.name(device), "torch": torch.__version__} | origin()
    for threads, precision in product((1, 2) if device.type == "cpu" else (torch.get_num_threads(),), ("fp32", "bf16")):
        torch.set_num_threads(threads)
        numbers = row(precision, device, capture=capture)
        rounded = {name: round(value, 3) if isinstance(value, float) else value for name, value in numbers.items()}
        measured = {"threads": threads} | rounded | shared
        print(*(f"{name}={value}" for name, value in measured.items()), sep="\n", end="\n\n", flush=True)
        yield measured


def main() -> None:
    """Run the command: measure, print, and write one row per case to ``--out``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bound")
    parser.add_argument("--out", type=csv_file)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--profile", action="store_true", help="only print a profile")
    options = parser.parse_args()
    device = build.device(options.device)
    if options.profile:
        print(profiled(device))
        return
    write(options.out, list(rows(device)))


if __name__ == "__main__":
    main()
