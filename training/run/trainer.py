"""A run in memory: it trains an epoch, evaluates, and gives and takes the state that is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor

from lpm.console.errors import InvalidInput
from training.batches.epoch import batch_sizes
from training.batches.laws import Pairs, plan
from training.config import RunConfig
from training.data.datasets import LongTailed
from training.distributed.ranks import ALONE, Ranks
from training.model import build
from training.run.assembly import assemble
from training.run.steps import Steps
from training.store.metrics import split_of, splits


class Trainer:
    """A run in memory.

    Args:
        config: the run.
        data: the long-tailed data.
        device: where everything lives.
        capture: whether steps are captured as CUDA graphs, on CUDA with images in memory and one process.
        layout: memory layout of weights and images.
        workers: processes that decode image files.
        weights: a file that a pretrained network starts from.
        start: the network that a second stage starts from.
        ranks: the processes that train the run together.
        features: folder that keeps features that are computed once; None keeps none.

    Attributes:
        steps: the steps of its epochs.
        splits: first and last class of many, med and few.

    Raises:
        InvalidInput: as :func:`training.run.assembly.assemble`.
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
        start: build.Network | None = None,
        ranks: Ranks = ALONE,
        features: Path | None = None,
    ) -> None:
        self.config, self.data, self.device, self.ranks = config, data, device, ranks
        self.assembly = assemble(
            config, data, device, layout=layout, workers=workers, weights=weights, start=start, ranks=ranks,
            features=features,
        )  # fmt: skip
        self.network, self.source = self.assembly.network, self.assembly.source
        capture = capture and device.type == "cuda" and ranks.world == 1 and not config.data_set.files
        self.steps = Steps(self.assembly, capture=capture)
        self.splits = splits(config.dataset, data.split_counts, config.tail)

    @property
    def epoch(self) -> int:
        """The last epoch that was begun; 0 before the first."""
        return self.steps.epoch

    def train_epoch(self) -> dict[str, float]:
        """Train the next epoch.

        Returns:
            As :meth:`training.run.steps.Steps.collect`.

        Raises:
            Diverged: if a loss is not finite, naming the step.
        """
        self.steps.launch()
        return self.steps.collect()

    @torch.no_grad()
    def evaluate(self, part: Literal["test", "holdout"] = "test") -> np.ndarray:
        """Predict the classes of the test images, or of those that are held out of training.

        Args:
            part: which images.

        Returns:
            (n, 2) int32: the likeliest class, and the likeliest one among those of the image's own split (many, med or few).
        """
        self.network.eval()
        labels = torch.from_numpy(self.data.parts[part].labels)
        images = self.ranks.shard(len(labels))
        predictions = torch.zeros(len(labels), 2, dtype=torch.int32, device=self.device)
        split = torch.from_numpy(split_of(self.splits, self.config.K)).to(self.device)
        done = 0
        for x in getattr(self.source, part)(images):
            batch = images[done : (done := done + len(x))]
            scores = self.network.classifier(self.features(x))
            other_splits = split[None, :] != split[labels[batch].to(self.device), None]
            candidates = scores, scores.masked_fill(other_splits, -torch.inf)
            predictions[batch.to(self.device)] = torch.stack([z.argmax(dim=1) for z in candidates], dim=1).int()
        return self.ranks.all_reduce(predictions).cpu().numpy()

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        """Compute the backbone's features.

        Args:
            x: (B, C, H, W) normalised images.

        Returns:
            (B, p) float32.
        """
        x = x.contiguous(memory_format=self.assembly.layout)
        return self.network.features(x, bf16=self.config.precision == "bf16")

    @torch.no_grad()
    def classifier_inputs(self, x: Tensor) -> Tensor:
        """Compute what the class vectors are multiplied with: features as the classifier prepares them.

        Args:
            x: (B, C, H, W) normalised images.

        Returns:
            (B, p) float32, on the CPU.
        """
        with build.unsearched():
            return self.network.classifier.features(self.features(x)).float().cpu()

    def state(self) -> dict[str, Tensor]:
        """The state that a checkpoint keeps: weights, running statistics, momentum and label-pair counts, on the CPU."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        for name, parameter in self.network.named_parameters():
            if (buffer := self.assembly.optimizer.state.get(parameter, {}).get("momentum_buffer")) is not None:
                tensors[f"momentum.{name}"] = buffer
        tensors_on_cpu = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
        return tensors_on_cpu | {self._counts_name: self.steps.label_counts}

    @property
    def _counts_name(self) -> str:
        return "pair_counts" if len(self.steps.label_counts) == self.config.K else "label_counts"

    def load(self, epoch: int, data: bytes) -> None:
        """Continue after an epoch.

        Args:
            epoch: from 1.
            data: what :meth:`state` gave after it, as safetensors.

        Raises:
            InvalidInput: if it is not the state of this network.
        """
        try:
            tensors = load_tensors(data)
            counts = tensors[self._counts_name]
            if counts.shape != self.steps.label_counts.shape or not 1 <= epoch <= self.config.epochs:
                raise KeyError(self._counts_name)
            weights = {k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")}
            self.network.load_state_dict(weights)
            for name, parameter in self.network.named_parameters():
                if self.config.momentum and parameter.requires_grad:
                    self.assembly.optimizer.state[parameter]["momentum_buffer"].copy_(tensors[f"momentum.{name}"])
        except (KeyError, RuntimeError, ValueError, TypeError, SafetensorError) as error:
            raise InvalidInput(f"the checkpoint of epoch {epoch} does not fit the config: {str(error)[:100]}") from None
        self.steps.label_counts, self.steps.epoch = counts.to(torch.int64), epoch

    def broadcast(self) -> None:
        """Give every process what rank 0 has loaded."""
        epoch = torch.tensor([self.epoch], device=self.device)
        counts = self.steps.label_counts.to(self.device)
        self.ranks.broadcast([epoch, counts, *self.network.state_dict().values(), *self.assembly.momentum])
        self.steps.epoch, self.steps.label_counts = int(epoch), counts.cpu()

    def outcome(self, predictions: np.ndarray) -> dict[str, Tensor]:
        """What is worth keeping at the end beside the state.

        Args:
            predictions: (n, 2), as :meth:`evaluate` gives them.

        Returns:
            Test labels and predictions. For images in memory also every share of the first image that was drawn
            (:class:`training.batches.laws.Plan`), and the classifier inputs of the test images; of image files there are too
            many.
        """
        labels = torch.from_numpy(np.ascontiguousarray(self.data.test.labels))  # a loader may give a view
        tensors = {"test_labels": labels, "test_answers": torch.from_numpy(predictions)}
        if self.config.data_set.files:
            return tensors
        self.network.eval()
        sizes = batch_sizes(len(self.data.train.labels), self.config)
        epochs = range(1, self.config.epochs + 1)
        lambdas = [plan(self.config, e, Pairs(self.config, self.assembly.sampler, e, sizes)).drawn for e in epochs]
        features = [self.classifier_inputs(x) for x in self.source.test(torch.arange(len(labels)))]
        return tensors | {
            "lambdas": torch.from_numpy(np.concatenate(lambdas)),
            "test_features": torch.cat(features).half(),
        }
