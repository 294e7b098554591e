"""How much of its labels a trained network can fit: shares of variance that its classifier inputs explain.

The collapse law lets features be anything. Those of a network are functions of the image. :mod:`lpm.fitted` puts what they can
fit into the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch

from training.batches.epoch import draw
from training.run.trainer import Trainer
from training.store import runs
from training.store.runs import RunFolder

if TYPE_CHECKING:
    from training.data.datasets import LongTailed

IMAGES = 20_000
"""Mixed images that are drawn."""

CHUNK = 500
"""Images that pass the network together."""


def shares(folder: RunFolder, data: LongTailed) -> dict[str, float]:
    """Measure what a finished run fits of the labels of its first half of classes, A, and of the others, B.

    Args:
        folder: the run, on images in memory.
        data: its data.

    Returns:
        Shares of variance that a linear map of the classifier inputs explains on images that it was not fitted to, 0 if
        that is negative: ``fit_AB`` of the label mass on A, ``fit_A`` and ``fit_B`` of the differences inside A and B.
    """
    config = folder.config
    trainer = Trainer(config, data, torch.device("cpu"))
    trainer.load(config.epochs, folder.content(runs.FINAL))
    parts = list(_drawn(trainer))
    inputs, labels = (np.concatenate([part[i] for part in parts]).astype(float) for i in (0, 1))
    half = config.K // 2
    own = {"fit_A": labels[:, :half], "fit_B": labels[:, half:]}
    targets = {name: values - values.mean(axis=1, keepdims=True) for name, values in own.items()}
    targets["fit_AB"] = own["fit_A"].sum(axis=1, keepdims=True)
    return {name: max(0.0, explained(inputs, values)) for name, values in targets.items()}


def explained(inputs: np.ndarray, targets: np.ndarray) -> float:
    """Regress targets on inputs with a constant, on every other row, and measure the fit on the rest.

    Args:
        inputs: (n, p).
        targets: (n, m).

    Returns:
        The share of the targets' variance that is explained.
    """
    rows = np.column_stack([inputs, np.ones(len(inputs))])
    fitted, tested = np.arange(len(rows)) % 2 == 0, np.arange(len(rows)) % 2 == 1
    map_, *_ = np.linalg.lstsq(rows[fitted], targets[fitted], rcond=None)
    errors = targets[tested] - rows[tested] @ map_
    return float(1 - (errors**2).sum() / ((targets[tested] - targets[fitted].mean(axis=0)) ** 2).sum())


def _drawn(trainer: Trainer) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Classifier inputs (n, p) and labels (n, K) of training images, augmented and mixed as in training, drawn anew."""
    config, run, labels = trainer.config, trainer.assembly, trainer.data.train.labels
    rng, eye, done, epoch = np.random.default_rng([config.seed, 9]), np.eye(config.K), 0, config.epochs
    trainer.network.eval()
    while done < IMAGES:
        epoch += 1
        drawn = draw(config, run.sampler, epoch, run.ranks)
        pairs = drawn.pairs.numpy()
        # One ratio for each pair: a batch that shares one would make the sample smaller than it looks.
        ratios = rng.beta(config.alpha, config.alpha, len(pairs)) if config.alpha else np.ones(len(pairs))
        for rows in torch.split(torch.arange(len(pairs)), CHUNK):
            first, second = (run.source.side(drawn, rows, side) for side in (0, 1))
            weight = ratios[rows, None]
            lam = torch.from_numpy(weight.astype(np.float32)).view(-1, 1, 1, 1)
            a, b = labels[pairs[rows]].T
            yield (
                trainer.classifier_inputs(lam * first + (1 - lam) * second).numpy(),
                weight * eye[a] + (1 - weight) * eye[b],
            )
            done += len(rows)
