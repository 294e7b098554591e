"""Second stages: from the config of a finished run to that of a run on its frozen features. Needs no torch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lpm.console.errors import InvalidInput
from training.config import CHOICES, RunConfig
from training.methods import CLASSIFIERS, STAGES

COPIED = (
    *(name for name, known in CHOICES.items() if known.group == "data"),
    *(
        "model",
        "width",
        "size",
        "upright",
        "pixel_bits",
        "augment",
        "jitter",
        "transform",
        "pretrained",
        "trains",
        "precision",
    ),
    *("batch", "norm_batch", "momentum", "nesterov", "seed", "preset"),
)
"""Choices that a second stage has from its first one; the others are the stage's own, or RunConfig's defaults."""

C10 = ((10, 0.1, 0.0, 0.2), (50, 0.2, 0.0, 0.2), (200, 0.3, 0.0, 0.5))
MISLAS: dict[str, tuple[tuple[float, float, float, float], ...]] = {
    "digits-lt": C10,
    "cifar10-lt": C10,
    "cifar100-lt": ((10, 0.2, 0.0, 0.1), (50, 0.3, 0.0, 0.1), (200, 0.4, 0.1, 0.2)),
    "places-lt": ((1e9, 0.4, 0.1, 0.05),),
    "places-lt-ft": ((1e9, 0.4, 0.1, 0.05),),
}
"""MiSLAS's values by data set: up to an imbalance, smoothing of the head and of the tail, and the class vectors' share of the
learning rate. Imbalance 200 has no published values and takes those of 100; the digits take CIFAR-10's.
"""

OTHERS = ((1e9, 0.3, 0.0, 0.05),)
"""MiSLAS's values for ImageNet-LT and iNaturalist, which own data take too."""


def published(stage: str, first: RunConfig) -> dict[str, Any]:
    """The choices that the authors of a method publish for some data.

    Args:
        stage: a key of :data:`training.methods.STAGES`.
        first: the run that the stage starts from.

    Returns:
        Choices by field of RunConfig.
    """
    choices = dict(STAGES[stage].defaults)
    if stage != "mislas":
        return choices
    rows = MISLAS.get(first.dataset, OTHERS)
    _, head, tail, share = next((row for row in rows if first.imbalance <= row[0]), rows[-1])
    norms = "eval" if rows is C10 else "shift"
    return choices | {"smooth_head": head, "smooth_tail": tail, "vectors_lr": share, "stage_norms": norms}


def second_stage(first: RunConfig, stage: str, **choices: Any) -> RunConfig:
    """Make the run that trains a second stage.

    It has the first run's data, network, augmentation, batch and seed, the stage's published recipe, and no mixup.

    Args:
        first: the run that it starts from.
        stage: a key of :data:`training.methods.STAGES`.
        choices: what shall differ, by field of RunConfig. The preset's name then gets a ``+``.

    Returns:
        The run.

    Raises:
        InvalidInput: if the stage is not defined for the first run, or a choice is impossible.
    """
    if first.stage != "none":
        raise InvalidInput(f"the run is a second stage itself ({first.method}); name the run that it starts from")
    if first.branches != "none":
        raise InvalidInput(
            f"the run has branches {first.branches!r}, and a second stage is defined on the features of one network; "
            "training.posthoc corrects it"
        )
    row, classifier = STAGES[stage], CLASSIFIERS[first.classifier]
    if row.linear and not classifier.linear:
        raise InvalidInput(
            f"{row.title} scales logits that are linear in the features, and those of classifier {first.classifier!r} are not; "
            "crt is defined for it"
        )
    usual = published(stage, first)
    if choices.get("epochs", usual["epochs"]) < usual["warmup"]:
        usual["warmup"] = 0
    with_bias = not row.linear or (first.bias and "bias" in classifier.settings.values())
    run = RunConfig(
        **{
            **{name: getattr(first, name) for name in COPIED},
            **{"alpha": 0.0, "classifier": "fc", "bias": with_bias, "features": _features(first)},
            **{"stage": stage, "stage1": first.key, "stage1_method": first.method},
            **usual,
        }
    )
    if all(getattr(run, name) == value for name, value in choices.items()):
        return run
    return replace(run, **choices, preset=first.preset.removesuffix("+") + "+")


def _features(first: RunConfig) -> str:
    """What the classifier does to features, as the word that FC has for it."""
    return "auto" if first.prepares == "as-is" else first.prepares
