"""The choices of a second stage: a run that starts from a finished one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from training.choices.choice import above_zero, choice, helps, taken_by
from training.methods import STAGES

STAGED: dict[str, Any] = {"applies": lambda run: run.stage != "none", "scope": "second stages"}


@dataclass(frozen=True)
class StageChoices:
    """What a second stage trains, and from which run it starts. ``training.stage2`` makes these choices."""

    stage: str = choice(
        "none",
        "what is trained on the frozen features of a finished run",
        "method",
        words={"none": "a run of its own", **helps(STAGES)},
        listed=False,
    )
    stage1: str = choice(
        "",
        "the key of the run that it starts from, with the same seed",
        "method",
        holds=lambda run, value: bool(re.fullmatch("[0-9a-f]{12}", value)) if run.stage != "none" else not value,
        rule="must be the 12 hexadecimal digits of a finished run's key, and only for second stages",
        listed=False,
    )
    stage1_method: str = choice(
        "",
        "the name of that run's method",
        "method",
        holds=lambda run, value: bool(value) == (run.stage != "none") and value.isprintable() and len(value) <= 100,
        rule="must be a name of at most 100 printable characters, and only for second stages",
        listed=False,
    )
    stage_norms: str = choice(
        "eval",
        "what BatchNorm does in the frozen network",
        "method",
        words={
            "eval": "its statistics stay",
            "shift": "it normalises by the batch, and its running statistics follow; its weights stay",
        },
        **STAGED,
        listed=False,
    )
    smooth_head: float = choice(
        0.3,
        "label-aware smoothing of the most frequent class",
        "method",
        holds=lambda run, value: 0 <= value < 1,
        rule="must lie in [0, 1)",
        **taken_by("smooth_head"),
        listed=False,
    )
    smooth_tail: float = choice(
        0.0,
        "label-aware smoothing of the rarest class",
        "method",
        holds=lambda run, value: 0 <= value < 1,
        rule="must lie in [0, 1)",
        **taken_by("smooth_tail"),
        listed=False,
    )
    vectors_lr: float = choice(
        1.0,
        "share of the learning rate that class vectors have beside their scales",
        "method",
        **above_zero(100),
        applies=lambda run: run.stage == "mislas",
        scope="stage 'mislas'",
        listed=False,
    )
