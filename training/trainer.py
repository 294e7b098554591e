"""One training loop: data, augmentation and mixing on the device, a checkpoint an epoch, the same result after any interruption.

What is random in an epoch is drawn before it (:mod:`training.epoch`), as a function of (seed, epoch). So a run that resumes
from the checkpoint of epoch e draws what it would have drawn, and on a CPU ends bit for bit as if it had never stopped; and a
step takes no argument, so that on CUDA it is captured once and replayed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from lpm.errors import InvalidInput
from lpm.output import provenance
from training import build
from training.augment import crop_and_flip, normalised
from training.capture import captured
from training.config import SPLITS, RunConfig
from training.datasets import Images, LongTailed
from training.epoch import batch_sizes, draw, mixing_ratios
from training.geometry import epochs_measured, measured
from training.metrics import by_split
from training.runs import RunFolder

EVALUATION_BATCH = {"cpu": 250, "cuda": 5000}
"""Images at a time without gradients: what a core's cache holds is three times as fast as a thousand; a GPU wants many."""


CHECKPOINT_SECONDS = {"cpu": 0.0, "cuda": 2.0}
"""Training time between checkpoints: every epoch on a CPU, where one takes longer than its checkpoint; on a GPU it does not."""


Result = TypeVar("Result")


class Diverged(RuntimeError):
    """The loss is no longer a number."""


class Trainer:
    """A run in memory. data: the long-tailed set. device: where everything lives. capture: steps as CUDA graphs, on CUDA.
    layout: of weights and images.
    """

    def __init__(
        self,
        config: RunConfig,
        data: LongTailed,
        device: torch.device,
        *,
        capture: bool = True,
        layout: torch.memory_format = torch.channels_last,
    ) -> None:
        self.config, self.data, self.device, self.layout = config, data, device, layout
        self.capture = capture and device.type == "cuda"
        self.sampler = build.sampler(config, data.train.labels)
        shape = data.train.images.shape
        self.network = build.network(config, shape[1]).to(device)
        self.network.to(memory_format=layout)  # type: ignore[call-overload]
        self.lr = torch.zeros((), device=device)  # a tensor, because a captured step reads it anew
        self.optimizer = torch.optim.SGD(
            self.network.parameters(), self.lr, config.momentum, weight_decay=config.weight_decay, fused=True
        )
        for parameter in self.network.parameters() if config.momentum else ():  # zeros are what the first step expects
            self.optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        self.mean, self.std = (torch.tensor(v, device=device).view(-1, 1, 1) for v in (data.mean, data.std))
        self.train_images, self.train_labels = self._on_device(data.train)
        self.test_images, self.test_labels = self._on_device(data.test)
        self.pair_counts = torch.zeros(config.K, config.K, dtype=torch.int64)
        self.epoch = 0
        self.chunk = EVALUATION_BATCH[device.type]
        self.sizes = batch_sizes(len(data.train.labels), config.batch)
        self.ahead = 1, draw(config, self.sampler, 1)
        self.drawn = self.ahead[1].to(device)
        self.offsets = torch.arange(max(self.sizes), device=device)
        self.position, self.number = (torch.zeros(1, dtype=torch.int64, device=device) for _ in range(2))
        self.losses = torch.zeros(len(self.sizes), device=device)
        self.steps: dict[int, Callable[[], None]] = {}

    def _on_device(self, images: Images) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(images.images).to(self.device), torch.from_numpy(images.labels).to(self.device)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16")

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
            drawn = draw(config, self.sampler, self.epoch)
        labels = self.data.train.labels[drawn.pairs.numpy()]
        self.pair_counts += torch.from_numpy(
            np.bincount(labels[:, 0] * config.K + labels[:, 1], minlength=config.K**2).reshape(config.K, config.K)
        )
        self.drawn.copy_(drawn)
        self.network.train()
        steps = [self._step_of(size) for size in self.sizes]
        self._rewind()
        for step in steps:
            step()
        if self.epoch < config.epochs:  # while a GPU is busy
            self.ahead = self.epoch + 1, draw(config, self.sampler, self.epoch + 1)

    def collect(self) -> dict[str, float]:
        """Wait for the epoch that was begun; its row. Raises Diverged when a loss is not a number, naming the step."""
        values, lr = self.losses.cpu(), self.config.lr_at(self.epoch)
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

    def _step_of(self, size: int) -> Callable[[], None]:
        """The step on a batch of ``size`` pairs: captured on CUDA."""
        if size not in self.steps:
            step = partial(self._step, size)
            self.steps[size] = captured(step, self._changing(), self._rewind) if self.capture else step
        return self.steps[size]

    def _rewind(self) -> None:
        self.position.zero_()
        self.number.zero_()

    def _changing(self) -> list[Tensor]:
        """Every tensor that a step changes."""
        momentum = [s["momentum_buffer"] for s in self.optimizer.state.values()]
        return [*self.network.state_dict().values(), *momentum, self.position, self.number, self.losses]

    def _step(self, size: int) -> None:
        """Train on the next ``size`` pairs of the epoch. Reads and writes only tensors on the device."""
        rows = self.position + self.offsets[:size]
        pairs, lam = self.drawn.pairs[rows], self.drawn.ratios[rows]
        first, second = (self._inputs(pairs[:, side], side, rows) for side in (0, 1))
        weight = lam.view(-1, 1, 1, 1)
        mixed = (weight * first + (1 - weight) * second).contiguous(memory_format=self.layout)
        self.optimizer.zero_grad(set_to_none=True)
        with self._autocast():
            features = self.network.backbone(mixed)
        a, b = self.train_labels[pairs[:, 0]], self.train_labels[pairs[:, 1]]
        # Logits in float32: they are few, and enter sums of exponentials.
        loss = self.network.classifier.loss(features.float(), a, b, lam)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.losses.index_copy_(0, self.number, loss.detach().view(1))
        self.position += size
        self.number += 1

    def _inputs(self, which: Tensor, side: int, rows: Tensor) -> Tensor:
        images = self.train_images[which]
        if self.config.augment:
            images = crop_and_flip(images, self.drawn.places[side][:, rows], self.drawn.flips[side][rows])
        return normalised(images, self.mean, self.std)

    @torch.no_grad()
    def evaluate(self) -> tuple[np.ndarray, np.ndarray]:
        """Test images of each class that were right, and that there are, (K,) each."""
        self.network.eval()
        right = []
        for images, labels in zip(
            torch.split(self.test_images, self.chunk),
            torch.split(self.test_labels, self.chunk),
            strict=True,
        ):
            x = normalised(images, self.mean, self.std).contiguous(memory_format=self.layout)
            with self._autocast():
                features = self.network.backbone(x)
            scores = self.network.classifier(features.float())
            right.append(scores.argmax(dim=1) == labels)
        truth, correct = self.data.test.labels, torch.cat(right).cpu().numpy()
        K = self.config.K
        return np.bincount(truth[correct], minlength=K), np.bincount(truth, minlength=K)

    def state(self) -> dict[str, Tensor]:
        """Weights, running statistics, momentum and label-pair counts, on the CPU."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        for name, parameter in self.network.named_parameters():
            if (buffer := self.optimizer.state.get(parameter, {}).get("momentum_buffer")) is not None:
                tensors[f"momentum.{name}"] = buffer
        return {k: v.detach().cpu().contiguous() for k, v in tensors.items()} | {"pair_counts": self.pair_counts}

    def load(self, epoch: int, data: bytes) -> None:
        """Continue after ``epoch`` from stored :meth:`state`. Raises InvalidInput when it is not this network's."""
        try:
            tensors = load_tensors(data)
            if tensors["pair_counts"].shape != self.pair_counts.shape or not 1 <= epoch <= self.config.epochs:
                raise KeyError("pair_counts")
            weights = {k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")}
            self.network.load_state_dict(weights)
            for name, parameter in self.network.named_parameters():
                if self.config.momentum:
                    self.optimizer.state[parameter]["momentum_buffer"].copy_(tensors[f"momentum.{name}"])
        except (KeyError, RuntimeError, ValueError, TypeError, SafetensorError) as error:
            raise InvalidInput(f"the checkpoint of epoch {epoch} does not fit the config: {str(error)[:100]}") from None
        self.pair_counts, self.epoch = tensors["pair_counts"].to(torch.int64), epoch

    @torch.no_grad()
    def features(self, images: Tensor, others: Tensor | None = None, lam: Tensor | None = None) -> Tensor:
        """What the class vectors meet, (B, p) float32 on the CPU: of images, or of mixtures with others at ratios lam (B,)."""
        x = normalised(images, self.mean, self.std)
        if others is not None and lam is not None:
            weight = lam.to(self.device).view(-1, 1, 1, 1)
            x = weight * x + (1 - weight) * normalised(others, self.mean, self.std)
        with self._autocast():
            features = self.network.backbone(x.contiguous(memory_format=self.layout))
        return self.network.classifier.features(features.float()).float().cpu()

    def outcome(self) -> dict[str, Tensor]:
        """What is worth keeping at the end beside the weights: every mixing ratio, and the test images' features."""
        self.network.eval()
        every = [mixing_ratios(self.config, e, len(self.train_labels)) for e in range(1, self.config.epochs + 1)]
        features = [self.features(images) for images in torch.split(self.test_images, self.chunk)]
        return {
            "lambdas": torch.from_numpy(np.concatenate(every)),
            "test_features": torch.cat(features).half(),
            "test_labels": self.test_labels.cpu(),
        }


def run(
    config: RunConfig,
    data: LongTailed,
    folder: RunFolder,
    device: torch.device,
    *,
    on_epoch: Callable[[dict[str, Any]], None] = lambda row: None,
) -> dict[str, Any]:
    """Train a run to its end, from its last checkpoint if there is one, and store its result; the metrics.

    Raises InvalidInput when another process trains it, Diverged when the loss is not a number.
    """
    return finished(stages(config, data, folder, device, on_epoch=on_epoch))


def finished(steps: Generator[None, None, Result]) -> Result:
    """What a generator returns in the end."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def stages(
    config: RunConfig,
    data: LongTailed,
    folder: RunFolder,
    device: torch.device,
    *,
    on_epoch: Callable[[dict[str, Any]], None] = lambda row: None,
    capture: bool = True,
) -> Generator[None, None, dict[str, Any]]:
    """:func:`run` in stages: yields whenever an epoch is under way on the device, so that one thread can see to several runs."""
    folder.check(data.fingerprint)
    if folder.done:
        folder.drop_checkpoints()  # of a writer that was killed at the very end
        return folder.metrics()
    trainer = Trainer(config, data, device, capture=capture)  # before anything is written: it may be impossible
    folder.open(data.fingerprint)
    with folder.lock():
        if folder.done:  # by another process meanwhile
            return folder.metrics()
        start = time.perf_counter()
        rows: list[dict[str, Any]] = []
        if (found := folder.resume()) is not None:
            epoch, tensors, rows = found
            trainer.load(epoch, tensors)
        try:
            yield from _epochs(trainer, folder, rows, on_epoch)
            metrics = _result(trainer, rows) | {"seconds_of_last_start": time.perf_counter() - start, **provenance()}
            folder.finish(save_tensors(trainer.state() | trainer.outcome()), metrics)
        finally:
            trainer.steps.clear()  # they refer to the trainer: its memory would wait for a garbage collection
        return metrics


def _epochs(
    trainer: Trainer, folder: RunFolder, rows: list[dict[str, Any]], on_epoch: Callable[[dict[str, Any]], None]
) -> Iterator[None]:
    """Train all epochs that are left, adding a row each. Raises Diverged rather than store weights that are no numbers."""
    config, saved = trainer.config, time.perf_counter()
    while trainer.epoch < config.epochs:
        trainer.launch()
        yield
        row = trainer.collect()
        row |= {f"test_{k}": v for k, v in by_split(*trainer.evaluate(), SPLITS[config.dataset]).items()}
        rows.append(row)
        if trainer.epoch in epochs_measured(config):
            folder.save_geometry(trainer.epoch, save_tensors(measured(trainer)))
        due = time.perf_counter() - saved >= CHECKPOINT_SECONDS[trainer.device.type]
        if due or trainer.epoch == config.epochs:
            state = trainer.state()
            if not all(bool(torch.isfinite(v).all()) for v in state.values()):
                raise Diverged(f"a weight is no number after epoch {trainer.epoch}, learning rate {row['lr']:g}")
            folder.save_checkpoint(trainer.epoch, save_tensors(state), rows)
            saved = time.perf_counter()
        on_epoch(row)


def _result(trainer: Trainer, rows: list[dict[str, Any]]) -> dict[str, Any]:
    correct, total = trainer.evaluate()
    cuda = trainer.device.type == "cuda"
    return {
        "dataset": trainer.data.name,
        "method": trainer.config.method,
        "last": by_split(correct, total, SPLITS[trainer.config.dataset]),
        "best": max(row["test_all"] for row in rows),
        "per_class": (100 * correct / total).tolist(),
        "train_counts": trainer.data.counts.tolist(),
        "train_seconds": sum(row["train_seconds"] for row in rows),
        "device": torch.cuda.get_device_name(trainer.device) if cuda else "cpu",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
