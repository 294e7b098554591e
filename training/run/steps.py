"""The steps of an epoch, on the device.

What is random in an epoch is drawn before it (:mod:`training.batches.epoch`), as a function of (seed, epoch). So a step takes
no argument, and on CUDA it is captured once and replayed. Several processes train a run together
(:mod:`training.distributed.ranks`): each steps on its share of a batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from training.batches.epoch import Epoch, batch_sizes, draw
from training.batches.transport import matched
from training.distributed import norms
from training.methods import LAWS
from training.run.assembly import Assembly
from training.run.capture import captured
from training.run.matching import Matching

COUNTED = 1000
"""Classes up to which a run counts its label pairs, (K, K); above, the labels of each side, (2, K)."""


class Diverged(RuntimeError):
    """The loss is no longer a finite number."""


class Steps:
    """The steps of a run, epoch by epoch.

    Args:
        assembly: the run's parts.
        capture: whether steps are captured as CUDA graphs.

    Attributes:
        epoch: the last epoch that was begun; 0 before the first.
        label_counts: (K, K) int64, how often each label pair was drawn so far, whatever its weights; above ``COUNTED`` classes
            (2, K), the labels of each side.
        drawn: everything random of the current epoch, on the device.
        sizes: for each batch the pairs of this process, and of the batch.
        offsets: (largest batch,) 0, 1, ...
        losses: (batches,) this process's share of each batch's loss.
        matching: chooses the backgrounds of batches where the mixing law matches them; None for other laws.
    """

    def __init__(self, assembly: Assembly, *, capture: bool) -> None:
        config, data, device, ranks = assembly.config, assembly.data, assembly.device, assembly.ranks
        self.assembly, self.capture = assembly, capture
        self.train_labels = torch.from_numpy(data.train.labels).to(device)
        self.label_counts = torch.zeros(config.K if config.K <= COUNTED else 2, config.K, dtype=torch.int64)
        self.epoch = 0
        whole = batch_sizes(len(data.train.labels), config)
        self.sizes = list(zip(ranks.shard_sizes(whole), whole, strict=True))
        self._ahead = 1, draw(config, assembly.sampler, 1, ranks)
        self.drawn = self._ahead[1].to(device)
        self.offsets = torch.arange(max(whole), device=device)
        self._position, self._number = (torch.zeros(1, dtype=torch.int64, device=device) for _ in range(2))
        self.losses = torch.zeros(len(self.sizes), device=device)
        self.matching = Matching(assembly, self.train_labels) if LAWS[config.mixing].matched else None
        self._steps: dict[tuple[int, int, bool], Callable[[], None]] = {}

    def launch(self, on_progress: Callable[[float], None] = lambda epochs: None) -> None:
        """Begin the next epoch: on CUDA its steps are queued, and the host is free.

        Args:
            on_progress: called after each step with the epochs trained so far, a part of this one included.
        """
        run, config = self.assembly, self.assembly.config
        self._started = time.perf_counter()
        self.epoch += 1
        run.lr.fill_(config.lr_at(self.epoch))
        run.vectors_lr.fill_(config.vectors_lr * config.lr_at(self.epoch))
        run.penalty.fill_(config.penalty_at(self.epoch))
        for module in run.network.modules():  # such as a loss whose class weights begin later
            if (begin := getattr(module, "begin_epoch", None)) is not None:
                begin(self.epoch, config.epochs)
        epoch, drawn = self._ahead
        if epoch != self.epoch:
            drawn = draw(config, run.sampler, self.epoch, run.ranks)
        matches = self._matches(drawn)
        run.source.begin(self.epoch, drawn, [local for local, _ in self.sizes])
        counted = ~np.repeat(matches, [local for local, _ in self.sizes])  # a step counts what it matches
        self._count(run.data.train.labels[drawn.pairs.numpy()[counted]])
        self.drawn.copy_(drawn)
        run.network.train()
        steps = [self._step_of(*size, match) for size, match in zip(self.sizes, matches, strict=True)]
        self.rewind()
        for number, (step, (local, _)) in enumerate(zip(steps, self.sizes, strict=True), 1):
            if local:
                run.source.advance()
            step()
            on_progress(self.epoch - 1 + number / len(steps))
        if self.epoch < config.epochs:  # while a GPU is busy
            self._ahead = self.epoch + 1, draw(config, run.sampler, self.epoch + 1, run.ranks)

    def collect(self) -> dict[str, float]:
        """Wait for the epoch that was begun.

        Returns:
            Its number, learning rate, mean loss, seconds, and images per second.

        Raises:
            Diverged: if a loss is not finite, naming the step.
        """
        run = self.assembly
        values, lr = run.ranks.all_reduce(self.losses).cpu(), run.config.lr_at(self.epoch)
        if run.config.parts:  # evaluation uses the statistics of the first part, which rank 0 has
            run.ranks.broadcast(norms.ghost_statistics(run.network))
        if self.matching is not None:
            self.label_counts += self.matching.label_counts.cpu()
            self.matching.label_counts.zero_()
        if not bool(torch.isfinite(values).all()):
            first = int(torch.nonzero(~torch.isfinite(values))[0])
            raise Diverged(
                f"the loss is {values[first].item():g} at epoch {self.epoch}, step {first + 1}, learning rate {lr:g}"
            )
        seconds = time.perf_counter() - self._started
        return {
            "epoch": self.epoch,
            "lr": lr,
            "loss": float(values.mean()),
            "train_seconds": seconds,
            "images_per_second": len(self.train_labels) / seconds,
        }

    def release(self) -> None:
        """Drop the captured steps: they refer to this object, whose memory would wait for a garbage collection."""
        self._steps.clear()

    def rewind(self) -> None:
        """Go back to the first batch of the epoch."""
        self._position.zero_()
        self._number.zero_()

    def changing(self) -> list[Tensor]:
        """Every tensor that a step changes."""
        run = self.assembly
        counts = [] if self.matching is None else [self.matching.label_counts]
        return [*run.network.state_dict().values(), *run.momentum, self._position, self._number, self.losses, *counts]

    def step(self, local: int, size: int, match: bool = False) -> None:
        """Train on the next pairs. Reads and writes only tensors on the device.

        Args:
            local: pairs of this process, its share of the batch.
            size: pairs of the batch.
            match: whether its backgrounds are matched.
        """
        run, drawn = self.assembly, self.drawn
        rows = self._position + self.offsets[:local]
        pairs, boxes = drawn.pairs[rows], drawn.boxes[:, rows] if drawn.boxes.shape[1] else drawn.boxes
        first, second = (run.source.side(drawn, rows, side) for side in (0, 1))
        a, b = self.train_labels[pairs[:, 0]], self.train_labels[pairs[:, 1]]
        if match:
            assert self.matching is not None
            first, a = self.matching.matched(first, second, a, b)
        run.optimizer.zero_grad(set_to_none=True)
        loss = run.objective(first, second, a, b, drawn.ratios[rows], drawn.weights[rows], boxes) * (local / size)
        (loss * run.ranks.world).backward()  # processes average their gradients, where the batch's is the sum
        run.optimizer.step()
        self.losses.index_copy_(0, self._number, loss.detach().view(1))
        self._position += local
        self._number += 1

    def _count(self, labels: np.ndarray) -> None:
        """Add an epoch's label pairs, (n, 2), to the counts."""
        run, K = self.assembly, self.assembly.config.K
        if len(self.label_counts) == K:
            counts = np.bincount(labels[:, 0] * K + labels[:, 1], minlength=K**2).reshape(K, K)
        else:
            counts = np.stack([np.bincount(labels[:, side], minlength=K) for side in (0, 1)])
        self.label_counts += run.ranks.all_reduce(torch.from_numpy(counts).to(run.device)).cpu()

    def _matches(self, drawn: Epoch) -> list[bool]:
        """Whether each batch has its backgrounds matched: those with a box, in some epochs."""
        if self.matching is None or not matched(self.assembly.config, self.epoch):
            return [False] * len(self.sizes)
        self.matching.begin_epoch()
        return [bool(boxes.any()) for boxes in torch.split(drawn.boxes, [local for local, _ in self.sizes], dim=1)]

    def _step_of(self, local: int, size: int, match: bool) -> Callable[[], None]:
        """The step on ``local`` pairs of a batch of ``size``, captured on CUDA."""
        key = local, size, match
        if key not in self._steps:
            step = partial(self.step, *key)
            self._steps[key] = captured(step, self.changing(), self.rewind) if self.capture else step
        return self._steps[key]
