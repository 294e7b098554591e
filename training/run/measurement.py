"""The measurements of a network that the theory needs: its class vectors, and the means of its classifier inputs.

The feature of a label pair depends on the mixing ratio, and the layer-peeled model has one for each ratio. So means
over a label pair are kept in bins of the ratio, which are equally likely under the run's law.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.special import betaincinv
from torch import Tensor

from training.config import RunConfig
from training.methods import LAWS

if TYPE_CHECKING:
    from training.run.trainer import Trainer

SNAPSHOTS = 6
"""Measurements per run, at even distances; the last is after its last epoch."""

CELLS = {8: 8, 1: 2}
"""Mixed images per label pair and bin, by the number of bins: enough for a variance."""


def epochs_measured(config: RunConfig) -> set[int]:
    """Choose the epochs after which a run is measured.

    Args:
        config: the run.

    Returns:
        Epochs at even distances. On image files the last epoch only: every measurement decodes all of them.
    """
    if config.data_set.files:
        return {config.epochs}
    return {-(-config.epochs * k // SNAPSHOTS) for k in range(1, SNAPSHOTS + 1)}


def bins(K: int) -> int:
    """Return the number of bins of the mixing ratio.

    Args:
        K: number of classes.

    Returns:
        8 up to 20 classes, where (8, K, K, p) is small; 1 up to 100; 0 above, where label pairs are not measured.
    """
    return 8 if K <= 20 else int(K <= 100)


@torch.no_grad()
def measured(trainer: Trainer) -> dict[str, Tensor]:
    """Measure a network in evaluation mode, with its running statistics, on its training images without augmentation.

    Every label pair that the run has trained on is measured alike, however rare it is. Images of its two classes are
    drawn anew, with ratios all over each bin. With a single bin (above 20 classes) means are over all ratios.

    Args:
        trainer: the run; its network is left in evaluation mode.

    Returns:
        float32 tensors on the CPU, by name:

        - class_vectors, (K, p), and class_bias, (K,), where there is a bias;
        - class_means, (K, p): means of the classifier inputs of unmixed images;
        - pair_means, (Q, K, K, p): means of the classifier inputs of mixed images, by bin of the ratio and label pair;
        - pair_squares, (Q, K, K): means of their squared lengths;
        - pair_number, (Q, K, K) int64: how many there are;
        - ratio_means, (Q,): means of the ratios.

        The last four are there up to 100 classes, for laws that mix images as mixup does.
    """
    config, network = trainer.config, trainer.network
    network.eval()
    labels, ranks = trainer.steps.train_labels.cpu(), trainer.ranks
    K, p = config.K, network.backbone.p
    sums = torch.zeros(K, p)
    images = ranks.shard(len(labels))
    done = 0
    for x in trainer.source.train(images):
        sums.index_add_(0, labels[images[done : done + len(x)]], trainer.classifier_inputs(x))
        done += len(x)
    sums = ranks.all_reduce(sums.to(trainer.device)).cpu()
    tensors = {
        "class_vectors": network.classifier.class_vectors.detach().float().cpu().clone(),
        "class_means": sums / torch.from_numpy(trainer.data.counts)[:, None],
    }
    if (bias := network.classifier.bias) is not None:
        tensors["class_bias"] = bias.detach().cpu().clone()
    if (Q := bins(K)) and LAWS[config.mixing].as_mixup:
        tensors |= _by_label_pair(trainer, labels, Q, p)
    return tensors


def _by_label_pair(trainer: Trainer, labels: Tensor, Q: int, p: int) -> dict[str, Tensor]:
    config, K, rng = trainer.config, trainer.config.K, np.random.default_rng([trainer.config.seed, 8, trainer.epoch])
    # A cell is a bin q and a label pair (a, b), numbered (q K + a) K + b. Ratios are drawn uniformly between the
    # quantiles at q / Q and (q + 1) / Q of their law, so that each bin is equally likely.
    occurs = np.flatnonzero(trainer.steps.label_counts.numpy().ravel())
    cell = np.repeat(np.add.outer(np.arange(Q) * K * K, occurs).ravel(), CELLS[Q])
    q, a, b = np.unravel_index(cell, (Q, K, K))
    pairs = torch.from_numpy(np.stack([_images_of(k, labels.numpy(), rng) for k in (a, b)], axis=1))
    quantiles = (q + rng.random(len(q))) / Q
    ratios = betaincinv(config.alpha, config.alpha, quantiles) if config.alpha else np.ones(len(q))  # 0: no mixup
    cells, lam = torch.from_numpy(cell), torch.from_numpy(ratios.astype(np.float32))
    means, squares = torch.zeros(Q * K * K, p), torch.zeros(Q * K * K)
    done = 0
    for sides in trainer.source.train(pairs):
        chunk = slice(done, done := done + len(sides))
        weight = lam[chunk].to(trainer.device).view(-1, 1, 1, 1)
        h = trainer.classifier_inputs(weight * sides[:, 0] + (1 - weight) * sides[:, 1])
        means.index_add_(0, cells[chunk], h)
        squares.index_add_(0, cells[chunk], (h**2).sum(dim=1))
    number = torch.bincount(cells, minlength=Q * K * K)
    divisor = number.clamp(min=1)  # label pairs that the run has not trained on have none
    return {
        "pair_means": (means / divisor[:, None]).view(Q, K, K, p),
        "pair_squares": (squares / divisor).view(Q, K, K),
        "pair_number": number.view(Q, K, K),
        "ratio_means": torch.from_numpy(np.bincount(q, ratios, minlength=Q) / np.bincount(q, minlength=Q)).float(),
    }


def _images_of(classes: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw one image of each class of a sequence, at random."""
    order, counts = np.argsort(labels, kind="stable"), np.bincount(labels)
    start = np.cumsum(counts) - counts
    return order[start[classes] + rng.integers(counts[classes])]
