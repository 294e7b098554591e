"""What theory asks of a network: its class vectors, and the means of the features that they meet.

The feature of a label pair depends on the mixing ratio, and the layer-peeled model has one for each ratio; so means over a
label pair are kept in bins of the ratio that are equally likely under the run's law.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.stats import beta
from torch import Tensor

from training.catalogue import LARGE
from training.config import RunConfig

if TYPE_CHECKING:
    from training.run.trainer import Trainer

SNAPSHOTS = 6
"""Measurements of a run, at even distances; the last is after its last epoch."""

CELLS = {8: 8, 1: 2}
"""Mixed images a label pair and bin, by the number of bins: enough for a variance."""


def epochs_measured(config: RunConfig) -> set[int]:
    """The epochs after which a run is measured; of image files, which would all be decoded each time, the last one."""
    if config.dataset in LARGE:
        return {config.epochs}
    return {-(-config.epochs * k // SNAPSHOTS) for k in range(1, SNAPSHOTS + 1)}


def bins(K: int) -> int:
    """Bins of the mixing ratio: 8 where (8, K, K, p) is small, 1 up to 100 classes, above that none (no label pairs)."""
    return 8 if K <= 20 else int(K <= 100)


@torch.no_grad()
def measured(trainer: Trainer) -> dict[str, Tensor]:
    """Measure a network as it is, with its running statistics, on its training images without augmentation.

    class_vectors: (K, p). class_bias: (K,), where there is one. class_means: (K, p), of the features of unmixed images.
    pair_means: (Q, K, K, p) of the features of mixed images, by bin of the ratio and label pair; pair_squares: (Q, K, K), the
    means of their squared lengths; pair_number: (Q, K, K), how many; ratio_means: (Q,).

    Every label pair that the run has trained on is measured alike, however rare it is: images of its two classes drawn anew,
    ratios spread over each bin. With a single bin (above 20 classes) means are over all ratios.
    """
    config, network = trainer.config, trainer.network
    network.eval()
    labels, ranks = trainer.train_labels.cpu(), trainer.ranks
    K, p = config.K, network.backbone.p
    sums = torch.zeros(K, p)
    own = ranks.own(len(labels))
    done = 0
    for x in trainer.source.train(own):
        sums.index_add_(0, labels[own[done : done + len(x)]], trainer.classifier_inputs(x))
        done += len(x)
    sums = ranks.all_reduce(sums.to(trainer.device)).cpu()
    found = {
        "class_vectors": network.classifier.class_vectors.detach().float().cpu().clone(),
        "class_means": sums / torch.from_numpy(trainer.data.counts)[:, None],
    }
    linear = getattr(network.classifier, "linear", None)
    if linear is not None and linear.bias is not None:
        found["class_bias"] = linear.bias.detach().cpu().clone()
    if Q := bins(K):
        found |= _by_label_pair(trainer, labels, Q, p)
    return found


def _by_label_pair(trainer: Trainer, labels: Tensor, Q: int, p: int) -> dict[str, Tensor]:
    config, K, rng = trainer.config, trainer.config.K, np.random.default_rng([trainer.config.seed, 8, trainer.epoch])
    occurs = np.flatnonzero(trainer.label_counts.numpy().ravel())
    cell = np.repeat(np.add.outer(np.arange(Q) * K * K, occurs).ravel(), CELLS[Q])
    q, a, b = np.unravel_index(cell, (Q, K, K))
    pairs = torch.from_numpy(np.stack([_images_of(k, labels.numpy(), rng) for k in (a, b)], axis=1))
    ratios = beta.ppf((q + rng.random(len(q))) / Q, config.alpha, config.alpha)
    where, lam = torch.from_numpy(cell), torch.from_numpy(ratios.astype(np.float32))
    means, squares = torch.zeros(Q * K * K, p), torch.zeros(Q * K * K)
    done = 0
    for both in trainer.source.train(pairs):
        here = slice(done, done := done + len(both))
        weight = lam[here].to(trainer.device).view(-1, 1, 1, 1)
        h = trainer.classifier_inputs(weight * both[:, 0] + (1 - weight) * both[:, 1])
        means.index_add_(0, where[here], h)
        squares.index_add_(0, where[here], (h**2).sum(dim=1))
    number = torch.bincount(where, minlength=Q * K * K)
    some = number.clamp(min=1)
    return {
        "pair_means": (means / some[:, None]).view(Q, K, K, p),
        "pair_squares": (squares / some).view(Q, K, K),
        "pair_number": number.view(Q, K, K),
        "ratio_means": torch.from_numpy(np.bincount(q, ratios, minlength=Q) / np.bincount(q, minlength=Q)).float(),
    }


def _images_of(classes: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An image of each class, drawn at random."""
    order, counts = np.argsort(labels, kind="stable"), np.bincount(labels)
    start = np.cumsum(counts) - counts
    return order[start[classes] + rng.integers(counts[classes])]
