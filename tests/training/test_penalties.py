"""Penalties on classifier inputs and class vectors: against formulas, beside other options, and what they do to a network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from lpm.console.errors import InvalidInput
from training.config import RunConfig, with_preset
from training.data import datasets
from training.run import trainer
from training.store import collapse

TINY = replace(with_preset(RunConfig(), "smoke"), epochs=3, width=4, imbalance=10.0, precision="fp32")
CPU = torch.device("cpu")
BOTH: dict[str, Any] = {"feature_decay": 0.3, "classifier_decay": 0.2}


def batch_of(learner: trainer.Trainer, n: int = 40) -> tuple[torch.Tensor, ...]:
    """Mixed images (n, 1, 8, 8), labels of both sides, ratios."""
    rng = torch.Generator().manual_seed(1)
    a, b = (torch.randint(0, 10, (n,), generator=rng) for _ in range(2))
    a, b = torch.minimum(a, b), torch.maximum(a, b)
    b = torch.where(a == b, (b + 1) % 10, b)  # a pair of one class has no class under a < b
    return torch.randn(n, 1, 8, 8, generator=rng), torch.minimum(a, b), torch.maximum(a, b), torch.full((n,), 0.3)


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize(
    "method",
    [
        {"classifier": "fc"},
        {"classifier": "fc", "loss": "la"},
        {"classifier": "ms"},
        {"classifier": "ms-unordered", "sampler": "bmls"},
        {"classifier": "ms-wetf", "features": "as-is", "width": 8},
    ],
)
def test_penalties_are_added_to_the_loss(method: dict[str, Any], centred: bool, digits: datasets.LongTailed) -> None:
    plain = trainer.Trainer(replace(TINY, **method), digits, CPU)
    config = replace(TINY, **method, **BOTH, feature_decay_centred=centred)
    penalised = trainer.Trainer(config, digits, CPU)
    batch = batch_of(plain)
    losses, gradients = [], []
    for learner in (plain, penalised):
        learner.assembly.penalty.fill_(1.0)
        learner.network.eval()
        losses.append(learner.assembly.objective(batch[0], *batch, batch[3], torch.zeros(4, 0, dtype=torch.int64)))
        losses[-1].backward()
        gradients.append(torch.cat([p.grad.ravel() for p in learner.network.parameters()]))
    network = plain.network
    network.zero_grad()
    h, W = network.features(batch[0], bf16=False), network.classifier.class_vectors
    distances = h - h.mean(dim=0) if centred else h  # here the mean is differentiated, in the code it is not
    added = 0.15 * distances.square().sum(dim=1).mean() + 0.1 * torch.linalg.matrix_norm(W) ** 2
    added.backward()
    own = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).ravel() for p in network.parameters()])
    assert losses[1].item() == pytest.approx(losses[0].item() + added.item(), rel=1e-5)
    assert torch.allclose(gradients[1], gradients[0] + own, rtol=1e-3, atol=1e-5)


def test_weight_decay_then_leaves_the_classifier_alone(digits: datasets.LongTailed) -> None:
    """With a learning rate of 1, no momentum and no gradient, a step multiplies a parameter by 1 - weight decay."""
    for penalties, factor in (({}, 0.75), ({"feature_decay": 0.1}, 0.75), ({"classifier_decay": 0.1}, 1.0)):
        config = replace(TINY, weight_decay=0.25, momentum=0.0, **penalties)
        learner = trainer.Trainer(config, digits, CPU)
        before = {name: p.detach().clone() for name, p in learner.network.named_parameters()}
        for p in learner.network.parameters():
            p.grad = torch.zeros_like(p)
        learner.assembly.lr.fill_(1.0)
        learner.assembly.optimizer.step()
        for name, p in learner.network.named_parameters():
            expected = factor if name.startswith("classifier.") else 0.75
            assert torch.allclose(p, expected * before[name]), name


def test_penalties_rise_over_their_warm_up(digits: datasets.LongTailed) -> None:
    config = replace(TINY, **BOTH, decay_warmup=2)
    learner = trainer.Trainer(config, digits, CPU)
    shares = []
    for _ in range(3):
        learner.train_epoch()
        shares.append(float(learner.assembly.penalty))
    assert shares == [0.5, 1.0, 1.0] == [config.penalty_at(epoch) for epoch in (1, 2, 3)]
    assert replace(config, decay_warmup=0).penalty_at(1) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"feature_decay": -0.1}, r"feature-decay = -0.1 must lie in \[0, 1\)"),
        ({"classifier_decay": 1.0}, r"classifier-decay = 1 must lie in \[0, 1\)"),
        ({"classifier_decay": 0.1, "classifier": "etf"}, "classifier-decay applies only to classifier 'fc', 'ms',"),
        ({"feature_decay": 0.1, "classifier": "etf"}, "feature-decay applies only to features 'as-is', whose lengths"),
        ({"feature_decay": 0.1, "features": "unit"}, "feature-decay applies only to features 'as-is'"),
        ({"feature_decay_centred": True}, "feature-decay-centred applies only to runs with --feature-decay; drop it"),
        ({"decay_warmup": 2}, "decay-warmup applies only to runs with --feature-decay or --classifier-decay"),
        ({"decay_warmup": 9, "feature_decay": 0.1}, r"decay-warmup = 9 must lie in 0..3, the epochs"),
        ({"tau": 0.5}, "tau applies only to loss 'la'"),
        ({"loss": "cw", "classifier": "ms"}, "loss 'cw' is not defined for classifier 'ms': a label pair has no"),
        ({"tail": "step", "dataset": "own", "classes": 3, "imbalance": 100.0}, "tail 'step' applies only to CIFAR and"),
    ],
)
def test_what_has_no_effect_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        replace(TINY, **change)


def rms(vectors: np.ndarray) -> float:
    return float(np.sqrt((collapse.singular_values(vectors) ** 2).mean()))


def test_penalties_decide_which_classes_survive() -> None:
    """The law of docs/theory/collapse-law.md on a network: the threshold of the rare classes is 0.11, of the others 0.35.

    At 0.22 the rare classes have no vectors of their own and the frequent ones do: .03 over three seeds. Without the
    penalties and at 0.05 both have: .91 and .44 at least.
    """
    ratios = {}
    for mu in (0.0, 0.05, 0.22):
        penalties = {"feature_decay": mu, "classifier_decay": mu} if mu else {}
        config = replace(TINY, tail="step", width=8, epochs=25, warmup=2, **penalties)
        if mu:
            config = replace(config, feature_decay_centred=True, decay_warmup=12, weight_decay=1e-5)
        learner = trainer.Trainer(config, datasets.of(config, None, train_list=None, test_list=None), CPU)
        for _ in range(config.epochs):
            learner.train_epoch()
        W = learner.network.classifier.class_vectors.detach().numpy()
        ratios[mu] = rms(W[5:]) / rms(W[:5])
    assert ratios[0.0] > 0.3
    assert ratios[0.05] > 0.3
    assert ratios[0.22] < 0.1
