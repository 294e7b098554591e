"""The choices that make a method: sampler, classifier, loss, and their settings."""

from __future__ import annotations

from dataclasses import dataclass

from training.choices.choice import above_zero, between, choice, helps, taken_by
from training.methods import CLASSIFIERS, LOSSES, SAMPLERS


@dataclass(frozen=True)
class MethodChoices:
    """The method of a run, with its settings."""

    sampler: str = choice("random", "which images are paired", "method", words=helps(SAMPLERS))
    cas_m: int = choice(
        4,
        "images per visit of a class",
        "method",
        **between(1, 1_000_000, rule="must be at least 1, at most a million"),
        **taken_by("cas_m"),
    )
    coverage: float = choice(
        1.0,
        "share of the classes whose mixtures occur",
        "method",
        **between(0, 1, rule="must lie in [0, 1]"),
        **taken_by("coverage"),
    )
    classifier: str = choice("fc", "what turns features into logits", "method", words=helps(CLASSIFIERS))
    loss: str = choice("ce", "what is minimised", "method", words=helps(LOSSES))
    tau: float = choice(
        1.0,
        "strength of logit adjustment; 1 is balanced softmax",
        "method",
        **between(0, 10),
        **taken_by("tau"),
    )
    bias: bool = choice(True, "a bias in the classifier", "method", **taken_by("bias"))
    features: str = choice(
        "auto",
        "what the classifier does to features first",
        "method",
        words={
            "auto": "as-is for fc and ms, unit for cosine, norm-unit for the ETFs",
            "as-is": "nothing",
            "unit": "scale them to unit length",
            "norm-unit": "a BatchNorm, then unit length",
        },
    )
    scale: float = choice(
        10.0,
        "lengths of the class vectors at the start",
        "method",
        **above_zero(1e4),
        **taken_by("scale"),
    )
