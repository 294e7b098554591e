"""An epoch of training and an evaluation: data, augmentation and mixing on the device.

What is random in an epoch is drawn before it (:mod:`training.batches.epoch`), as a function of (seed, epoch). So a step takes no
argument, and on CUDA it is captured once and replayed. Several processes train a run together
(:mod:`training.distributed.ranks`): each steps on its share of a batch.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lpm.console.errors import InvalidInput
from training.batches import sources
from training.batches.epoch import batch_sizes, draw, mixing_ratios
from training.catalogue import LARGE
from training.config import RunConfig
from training.data.datasets import LongTailed
from training.distributed import norms
from training.distributed.ranks import ALONE, Ranks
from training.model import build
from training.run.capture import captured
from training.store.metrics import split_of, splits

COUNTED = 1000
"""Classes up to which a run counts its label pairs, (K, K); above, the labels of each side, (2, K)."""


class Diverged(RuntimeError):
    """The loss is no longer a number."""


class Objective(nn.Module):
    """The loss of a batch of mixed images, as one module: what several processes wrap."""

    def __init__(self, network: build.Network, bf16: bool) -> None:
        super().__init__()
        self.network, self.bf16 = network, bf16

    def forward(self, mixed: Tensor, a: Tensor, b: Tensor, lam: Tensor) -> Tensor:
        """Mean loss, (); of no images, a zero that all weights enter."""
        features = self.network.features(mixed, bf16=self.bf16)
        if not len(mixed):
            return (self.network.classifier(features) * 0).sum()
        return self.network.classifier.loss(features, a, b, lam)


class Trainer:
    """A run in memory. data: the long-tailed set. device: where everything lives. capture: steps as CUDA graphs, on CUDA.
    layout: of weights and images. workers: processes that decode image files. weights: a file that a pretrained network starts
    from. ranks: the processes that train the run together.

    Raises InvalidInput for a network that cannot be built or has nothing to train, weights that do not fit it, more processes
    than pairs in a batch, parts of a batch that the processes cannot share or for which there are too few images.
    """

    def __init__(
        self,
        config: RunConfig,
        data: LongTailed,
        device: torch.device,
        *,
        capture: bool = True,
        layout: torch.memory_format = torch.channels_last,
        workers: int = 0,
        weights: Path | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        if ranks.world > config.batch:
            raise InvalidInput(f"{ranks.world} processes cannot share batches of {config.batch}; take fewer")
        if config.parts % ranks.world:
            raise InvalidInput(
                f"{ranks.world} processes cannot share {config.parts} parts of {config.norm_batch} pairs; take a number that "
                f"divides {config.parts}, or --norm-batch 0"
            )
        if len(data.train.labels) < 2 * config.parts:
            raise InvalidInput(
                f"BatchNorm needs two images a part, and {len(data.train.labels)} do not make {config.parts} parts; take a "
                "larger --norm-batch"
            )
        self.config, self.data, self.device, self.layout, self.ranks = config, data, device, layout, ranks
        self.source = sources.of(config, data, device, workers)
        self.capture = capture and device.type == "cuda" and ranks.world == 1 and config.dataset not in LARGE
        self.sampler = build.sampler(config, data.train.labels)
        self.network = build.network(config, self.source.channels, weights).to(device)
        self.network.to(memory_format=layout)  # type: ignore[call-overload]
        norms.replaced(self.network, ranks, config.parts)
        self.lr = torch.zeros((), device=device)  # a tensor, because a captured step reads it anew
        if not (trained := [p for p in self.network.parameters() if p.requires_grad]):
            raise InvalidInput(
                f"trains {config.trains!r} with classifier {config.classifier!r} leaves nothing to train; change one of them"
            )
        self.optimizer = torch.optim.SGD(
            trained, self.lr, config.momentum, weight_decay=config.weight_decay, fused=True
        )
        for parameter in trained if config.momentum else ():  # zeros are what the first step expects
            self.optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        self.objective: nn.Module = Objective(self.network, config.precision == "bf16")
        if ranks.world > 1:
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore", FutureWarning
                )  # broadcast_buffers has a new name, which older versions lack
                self.objective = DistributedDataParallel(self.objective, broadcast_buffers=False)
        self.train_labels = torch.from_numpy(data.train.labels).to(device)
        self.splits = splits(config.dataset, data.counts)
        counted = config.K if config.K <= COUNTED else 2
        self.label_counts = torch.zeros(counted, config.K, dtype=torch.int64)
        self.epoch = 0
        whole = batch_sizes(len(data.train.labels), config)
        self.sizes = list(zip(ranks.sizes(whole), whole, strict=True))
        self.ahead = 1, draw(config, self.sampler, 1, ranks)
        self.drawn = self.ahead[1].to(device)
        self.offsets = torch.arange(max(whole), device=device)
        self.position, self.number = (torch.zeros(1, dtype=torch.int64, device=device) for _ in range(2))
        self.losses = torch.zeros(len(self.sizes), device=device)
        self.steps: dict[tuple[int, int], Callable[[], None]] = {}

    def train_epoch(self) -> dict[str, float]:
        """Train the next epoch. Raises Diverged when a loss is not a number, naming the step."""
        self.launch()
        return self.collect()

    def launch(self) -> None:
        """Begin the next epoch: on CUDA its steps are queued, and the host is free."""
        config = self.config
        self.started = time.perf_counter()
        self.epoch += 1
        self.lr.fill_(config.lr_at(self.epoch))
        number, drawn = self.ahead
        if number != self.epoch:
            drawn = draw(config, self.sampler, self.epoch, self.ranks)
        self.source.begin(self.epoch, drawn, [own for own, _ in self.sizes])
        self._count(self.data.train.labels[drawn.pairs.numpy()])
        self.drawn.copy_(drawn)
        self.network.train()
        steps = [self._step_of(*size) for size in self.sizes]
        self._rewind()
        for step, (own, _) in zip(steps, self.sizes, strict=True):
            if own:
                self.source.advance()
            step()
        if self.epoch < config.epochs:  # while a GPU is busy
            self.ahead = self.epoch + 1, draw(config, self.sampler, self.epoch + 1, self.ranks)

    def _count(self, labels: np.ndarray) -> None:
        """Add an epoch's label pairs, (n, 2), to the counts."""
        K = self.config.K
        if len(self.label_counts) == K:
            counts = np.bincount(labels[:, 0] * K + labels[:, 1], minlength=K**2).reshape(K, K)
        else:
            counts = np.stack([np.bincount(labels[:, side], minlength=K) for side in (0, 1)])
        self.label_counts += self.ranks.all_reduce(torch.from_numpy(counts).to(self.device)).cpu()

    def collect(self) -> dict[str, float]:
        """Wait for the epoch that was begun; its row. Raises Diverged when a loss is not a number, naming the step."""
        values, lr = self.ranks.all_reduce(self.losses).cpu(), self.config.lr_at(self.epoch)
        if self.config.parts:  # of which the first process has the first
            self.ranks.broadcast(norms.statistics(self.network))
        if not bool(torch.isfinite(values).all()):
            first = int(torch.nonzero(~torch.isfinite(values))[0])
            raise Diverged(
                f"the loss is {values[first].item():g} at epoch {self.epoch}, step {first + 1}, learning rate {lr:g}"
            )
        seconds = time.perf_counter() - self.started
        return {
            "epoch": self.epoch,
            "lr": lr,
            "loss": float(values.mean()),
            "train_seconds": seconds,
            "images_per_second": len(self.train_labels) / seconds,
        }

    def _step_of(self, own: int, size: int) -> Callable[[], None]:
        """The step on ``own`` pairs of a batch of ``size``: captured on CUDA."""
        if (own, size) not in self.steps:
            step = partial(self._step, own, size)
            self.steps[own, size] = captured(step, self._changing(), self._rewind) if self.capture else step
        return self.steps[own, size]

    def _rewind(self) -> None:
        self.position.zero_()
        self.number.zero_()

    def _changing(self) -> list[Tensor]:
        """Every tensor that a step changes."""
        momentum = [s["momentum_buffer"] for s in self.optimizer.state.values()]
        return [*self.network.state_dict().values(), *momentum, self.position, self.number, self.losses]

    def _step(self, own: int, size: int) -> None:
        """Train on the next ``own`` pairs, this process's share of a batch of ``size``. Reads and writes only tensors on the
        device.
        """
        rows = self.position + self.offsets[:own]
        pairs, lam = self.drawn.pairs[rows], self.drawn.ratios[rows]
        first, second = (self.source.side(self.drawn, rows, side) for side in (0, 1))
        weight = lam.view(-1, 1, 1, 1)
        mixed = (weight * first + (1 - weight) * second).contiguous(memory_format=self.layout)
        self.optimizer.zero_grad(set_to_none=True)
        a, b = self.train_labels[pairs[:, 0]], self.train_labels[pairs[:, 1]]
        loss = self.objective(mixed, a, b, lam) * (own / size)
        (loss * self.ranks.world).backward()  # processes average their gradients, where the batch's is the sum
        self.optimizer.step()
        self.losses.index_copy_(0, self.number, loss.detach().view(1))
        self.position += own
        self.number += 1

    @torch.no_grad()
    def evaluate(self) -> np.ndarray:
        """What test images are taken for, (n, 2) int32: the likeliest class, and the likeliest one of their own class's split."""
        self.network.eval()
        truth = torch.from_numpy(self.data.test.labels)
        own = self.ranks.own(len(truth))
        predictions = torch.zeros(len(truth), 2, dtype=torch.int32, device=self.device)
        split = torch.from_numpy(split_of(self.splits, self.config.K)).to(self.device)
        done = 0
        for x in self.source.test(own):
            which = own[done : (done := done + len(x))]
            scores = self.network.classifier(self.features(x))
            others = split[None, :] != split[truth[which].to(self.device), None]
            kinds = scores, scores.masked_fill(others, -torch.inf)
            predictions[which.to(self.device)] = torch.stack([z.argmax(dim=1) for z in kinds], dim=1).int()
        return self.ranks.all_reduce(predictions).cpu().numpy()

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        """The backbone's features of normalised images, (B, p) float32."""
        return self.network.features(x.contiguous(memory_format=self.layout), bf16=self.config.precision == "bf16")

    @torch.no_grad()
    def classifier_inputs(self, x: Tensor) -> Tensor:
        """What the class vectors meet of normalised images, (B, p) float32, on the CPU."""
        with build.unsearched():
            return self.network.classifier.features(self.features(x)).float().cpu()

    def state(self) -> dict[str, Tensor]:
        """Weights, running statistics, momentum and label-pair counts, on the CPU."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        for name, parameter in self.network.named_parameters():
            if (buffer := self.optimizer.state.get(parameter, {}).get("momentum_buffer")) is not None:
                tensors[f"momentum.{name}"] = buffer
        return {k: v.detach().cpu().contiguous() for k, v in tensors.items()} | {self._counts: self.label_counts}

    @property
    def _counts(self) -> str:
        return "pair_counts" if len(self.label_counts) == self.config.K else "label_counts"

    def load(self, epoch: int, data: bytes) -> None:
        """Continue after ``epoch`` from stored :meth:`state`. Raises InvalidInput when it is not this network's."""
        try:
            tensors = load_tensors(data)
            if tensors[self._counts].shape != self.label_counts.shape or not 1 <= epoch <= self.config.epochs:
                raise KeyError(self._counts)
            weights = {k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")}
            self.network.load_state_dict(weights)
            for name, parameter in self.network.named_parameters():
                if self.config.momentum and parameter.requires_grad:
                    self.optimizer.state[parameter]["momentum_buffer"].copy_(tensors[f"momentum.{name}"])
        except (KeyError, RuntimeError, ValueError, TypeError, SafetensorError) as error:
            raise InvalidInput(f"the checkpoint of epoch {epoch} does not fit the config: {str(error)[:100]}") from None
        self.label_counts, self.epoch = tensors[self._counts].to(torch.int64), epoch

    def broadcast(self) -> None:
        """Give every process what the first one has loaded."""
        epoch = torch.tensor([self.epoch], device=self.device)
        counts = self.label_counts.to(self.device)
        momentum = [s["momentum_buffer"] for s in self.optimizer.state.values()]
        self.ranks.broadcast([epoch, counts, *self.network.state_dict().values(), *momentum])
        self.epoch, self.label_counts = int(epoch), counts.cpu()

    def outcome(self, predictions: np.ndarray) -> dict[str, Tensor]:
        """What is worth keeping at the end beside the weights: test labels and predictions; every mixing ratio and the test
        images' features, but not of image files, which have very many.
        """
        labels = torch.from_numpy(self.data.test.labels)
        found = {"test_labels": labels, "test_answers": torch.from_numpy(predictions)}
        if self.config.dataset in LARGE:
            return found
        self.network.eval()
        every = [mixing_ratios(self.config, e, len(self.train_labels)) for e in range(1, self.config.epochs + 1)]
        features = [self.classifier_inputs(x) for x in self.source.test(torch.arange(len(labels)))]
        return found | {"lambdas": torch.from_numpy(np.concatenate(every)), "test_features": torch.cat(features).half()}
