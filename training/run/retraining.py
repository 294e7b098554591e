"""A classifier trained anew on the frozen features of a finished network: what its features hold, whatever they were read with.

It is cRT (Kang et al. 2020) on features that are computed once, of unmixed training images without augmentation. The run
``training.stage2 --method crt`` is the same with augmented images, and a run of its own.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from training.run.corrections import Finished
from training.second_stage import second_stage


def class_balanced(labels: np.ndarray, K: int, rng: np.random.Generator) -> np.ndarray:
    """Draw as many images as there are, each of a class that is drawn evenly.

    Args:
        labels: (n,) class of each image; every class has some.
        K: number of classes.
        rng: the generator.

    Returns:
        (n,) numbers of images.
    """
    order, counts = np.argsort(labels, kind="stable"), np.bincount(labels, minlength=K)
    first, drawn = np.cumsum(counts) - counts, rng.integers(K, size=len(labels))
    return np.asarray(order[first[drawn] + rng.integers(counts[drawn])])


def retrained_scores(run: Finished, part: str = "test") -> np.ndarray:
    """Train a linear classifier on class-balanced draws of the cached features, and score images with it.

    The recipe is that of the second stage ``crt``: epochs, learning rate, batch, momentum, decay. All draws follow from the
    run's seed.

    Args:
        run: the network.
        part: which images are scored, 'test' or 'holdout'.

    Returns:
        (n, K) logits, float64.

    Raises:
        InvalidInput: if the run has two branches, or is a second stage itself.
    """
    stage, K = second_stage(run.config, "crt"), run.config.K
    h, labels = torch.from_numpy(run.inputs("train")), torch.from_numpy(run.data.train.labels).long()
    # From zero the first steps are those of class means, so no draw of the initial weights is needed.
    W, bias = (torch.zeros(*shape, requires_grad=True) for shape in ((K, h.shape[1]), (K,)))
    optimizer = torch.optim.SGD([W, bias], lr=stage.lr, momentum=stage.momentum, weight_decay=stage.weight_decay)
    for epoch in range(1, stage.epochs + 1):
        optimizer.param_groups[0]["lr"] = stage.lr_at(epoch)
        drawn = class_balanced(labels.numpy(), K, np.random.default_rng([run.config.seed, 16, epoch]))
        for batch in torch.split(torch.from_numpy(drawn), stage.batch):
            loss = functional.cross_entropy(h[batch] @ W.T + bias, labels[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    scores = run.inputs(part).astype(np.float64) @ W.detach().double().numpy().T
    return np.asarray(scores + bias.detach().double().numpy())
