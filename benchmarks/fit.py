"""How much of its labels a trained network can fit, and how much its classifier inputs differ where labels do not.

The collapse law lets features be anything. Those of a network are functions of the image. :mod:`lpm.fitted` puts what they can
fit into the model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

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


class Sample(NamedTuple):
    """Mixed training images, augmented and mixed as in training, drawn anew.

    Attributes:
        inputs: (n, p) classifier inputs.
        labels: (n, K) their mixed labels.
        again: (n, p) classifier inputs of other images with the same two classes and ratio; NaN where there are none.
    """

    inputs: np.ndarray
    labels: np.ndarray
    again: np.ndarray


def sample(folder: RunFolder, data: LongTailed) -> Sample:
    """Draw mixed images and pass them through the network of a finished run.

    Args:
        folder: the run, on images in memory.
        data: its data.

    Returns:
        At least :data:`IMAGES` of them.
    """
    trainer = Trainer(folder.config, data, torch.device("cpu"))
    trainer.load(folder.config.epochs, folder.content(runs.FINAL))
    return Sample(*(np.concatenate(values) for values in zip(*_drawn(trainer), strict=True)))


def shares(drawn: Sample) -> dict[str, float]:
    """Measure what a network fits of the labels of its first half of classes, A, and of the others, B.

    Args:
        drawn: its sample.

    Returns:
        Shares of variance that a linear map of the classifier inputs explains on images that it was not fitted to, 0 if
        that is negative: ``fit_AB`` of the label mass on A, ``fit_A`` and ``fit_B`` of the differences inside A and B.
    """
    half = drawn.labels.shape[1] // 2
    own = {"fit_A": drawn.labels[:, :half], "fit_B": drawn.labels[:, half:]}
    targets = {name: values - values.mean(axis=1, keepdims=True) for name, values in own.items()}
    targets["fit_AB"] = own["fit_A"].sum(axis=1, keepdims=True)
    return {name: max(0.0, explained(drawn.inputs, values)) for name, values in targets.items()}


def scatter(drawn: Sample, vectors: np.ndarray) -> dict[str, float]:
    """Measure how much of the classifier inputs differs between images of the same two classes and ratio.

    A penalty on features is paid for it, and no label is learnt from it. Where logits are small, inputs are nearly a linear map
    of the best fit of the labels. If all directions inside a group are fitted alike, its covariance with the labels is its
    variance, rho^2 of theirs. So scatter is at most 1 - rho^2 of the squared length of inputs, and equal to it where the mean
    of the fit at a label is linear in the label.

    Random pairs draw each image once an epoch, so two images are never the same one. With n images of a class that makes
    scatter larger by n / (n - 1) at most, a twelfth for the rare digits.

    Args:
        drawn: a network's sample.
        vectors: (K, p) its class vectors.

    Returns:
        Half the mean squared difference of two such images over the variance: ``scatter_A`` and ``scatter_B`` of the logits'
        differences inside A and B, NaN where they are constant.
    """
    half, paired = len(vectors) // 2, ~np.isnan(drawn.again).any(axis=1)
    found = {}
    for name, part in (("scatter_A", vectors[:half]), ("scatter_B", vectors[half:])):
        inside = part.astype(float) - part.mean(axis=0, dtype=float)
        one, other = drawn.inputs[paired] @ inside.T, drawn.again[paired] @ inside.T
        variance = float(one.var(axis=0).sum())
        found[name] = float(((one - other) ** 2).sum(axis=1).mean()) / 2 / variance if variance > 0 else math.nan
    return found


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


def _drawn(trainer: Trainer) -> Iterator[Sample]:
    """Samples of training images, :data:`CHUNK` at a time."""
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
            one, two = _others(a), _others(b)
            again = trainer.classifier_inputs(lam * first[one] + (1 - lam) * second[two]).numpy().astype(float)
            again[(one == np.arange(len(one))) | (two == np.arange(len(two)))] = np.nan
            yield Sample(
                trainer.classifier_inputs(lam * first + (1 - lam) * second).numpy().astype(float),
                weight * eye[a] + (1 - weight) * eye[b],
                again,
            )
            done += len(rows)


def _others(classes: np.ndarray) -> np.ndarray:
    """For each of (n,) rows the next one of its class, the first one after the last; itself if it is alone."""
    following = np.empty_like(classes)
    for k in np.unique(classes):
        rows = np.flatnonzero(classes == k)
        following[rows] = np.roll(rows, -1)
    return following
