"""The choices that make a loss: its settings, the prior that it corrects for, and class weights."""

from __future__ import annotations

from dataclasses import dataclass

from training.choices.choice import above_zero, alternatives, between, choice, taken_by
from training.methods import CLASSIFIERS, LOSSES

_PRIOR = [row.name for row in LOSSES.values() if row.takes == "frequencies"]
_WEIGHED = [row.name for row in LOSSES.values() if row.weighted]
_OF_LABELS = [row.name for row in CLASSIFIERS.values() if row.takes_loss]


@dataclass(frozen=True)
class LossChoices:
    """The loss of a run beyond its name."""

    prior: str = choice(
        "stream",
        "the class frequencies that a loss corrects for",
        "method",
        words={"stream": "of the labels that training draws", "data": "of the training images"},
        applies=lambda run: run.loss in _PRIOR,
        scope=f"loss {alternatives(_PRIOR)}",
    )
    vs_gamma: float = choice(
        0.3,
        "exponent of the factors of logits, (n / n_max)^gamma",
        "method",
        **between(0, 4),
        **taken_by("vs_gamma"),
    )
    temperature_eps: float = choice(
        0.6,
        "strength of DBN-Mix's temperature; 0 for none",
        "method",
        **between(0, 1),
        **taken_by("temperature_eps"),
    )
    temperature_eta: float = choice(
        3.0,
        "root of DBN-Mix's temperature; DBN-Mix takes 3 for CIFAR-10, 7 for CIFAR-100",
        "method",
        **above_zero(1e3),
        **taken_by("temperature_eta"),
    )
    focal_gamma: float = choice(
        1.0,
        "exponent of the focal loss",
        "method",
        **between(0, 10),
        **taken_by("focal_gamma"),
    )
    max_margin: float = choice(
        0.5,
        "LDAM's margin of the rarest class, in cosines",
        "method",
        **between(0, 2),
        **taken_by("max_margin"),
    )
    cosine_scale: float = choice(
        30.0,
        "factor of the cosines",
        "method",
        **above_zero(1e3),
        **taken_by("cosine_scale"),
    )
    class_weights: str = choice(
        "none",
        "weights of classes in the loss, n images of the class",
        "method",
        words={
            "none": "all 1",
            "inverse": "1 / n",
            "effective": "(1 - beta) / (1 - beta^n), one over the effective number of images",
        },
        applies=lambda run: run.loss in _WEIGHED and run.classifier in _OF_LABELS,
        scope=f"loss {alternatives(_WEIGHED)}, as the others have no class weights, and classifier {alternatives(_OF_LABELS)}, "
        "as a label pair has no published weight",
    )
    beta: float = choice(
        0.9999,
        "beta of the effective number of images",
        "method",
        holds=lambda run, value: 0 <= value < 1,
        rule="must lie in [0, 1)",
        applies=lambda run: run.class_weights == "effective",
        scope="class-weights 'effective'",
    )
    weight_normalisation: str = choice(
        "weights",
        "what a batch's weighted sum is divided by",
        "method",
        words={
            "weights": "the batch's sum of weights",
            "batch": "its pairs, with weights of mean 1 over classes",
        },
        applies=lambda run: run.class_weights != "none",
        scope="runs with --class-weights",
    )
    weights_from: float = choice(
        0.0,
        "share of the epochs before which all class weights are 1; 0.8 is deferred re-weighting, DRW",
        "method",
        holds=lambda run, value: value == 0 or 0 < round(value * run.epochs) < run.epochs,
        rule=lambda run: f"must be 0, or leave some of the {run.epochs} epochs on both sides; take more --epochs",
        applies=lambda run: run.class_weights != "none",
        scope="runs with --class-weights",
    )
