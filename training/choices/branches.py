"""The choice of a network with two branches, and what it can be combined with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lpm.console.errors import InvalidInput
from training.choices.choice import choice, helps
from training.methods import BRANCHES, SAMPLERS

if TYPE_CHECKING:
    from training.config import RunConfig


@dataclass(frozen=True)
class BranchChoices:
    """How many branches the network has."""

    branches: str = choice("none", "whether the network has two branches", "method", words=helps(BRANCHES))


def check_branches(config: RunConfig) -> None:
    """Refuse what is not defined for a network with two branches.

    Args:
        config: the run.

    Raises:
        InvalidInput: if its branches do not combine with its other choices.
    """
    bbn, dbn = config.branches == "bbn", config.branches == "dbn"
    refusals = (
        (
            bbn and config.alpha > 0,
            "shows each branch whole images, and mixes none: give --alpha 0, or take 'dbn'",
        ),
        (
            bbn and config.prepares != "as-is",
            "multiplies features by shares that change from epoch to epoch, and features 'unit' or 'norm-unit' undo that: take "
            "--features as-is",
        ),
        (
            dbn and config.mixing != "mixup",
            f"gives both branches the same two images with exchanged shares, which mixing {config.mixing!r} does not have: take "
            "--mixing mixup",
        ),
        (
            dbn and config.ratio_per == "batch-swapped",
            "shows one branch the larger share of the first image and the other that of the second, so swapped shares have no "
            "effect: take --ratio-per batch or sample",
        ),
        (
            dbn and not config.alpha and SAMPLERS[config.sampler].draws == "a < b",
            f"without mixup shows each branch one side of the pairs, and sampler {config.sampler!r} puts the lower class first, "
            "so each branch lacks a class: take 'bmls-all', or an --alpha above 0",
        ),
        (
            config.feature_decay > 0 or config.classifier_decay > 0,
            "has no classifier inputs or class vectors of one network: drop --feature-decay and --classifier-decay",
        ),
        (config.trains != "all", "trains all layers: drop --trains"),
        (config.stage != "none", "trains both branches, and a second stage freezes one network: take branches 'none'"),
        (
            config.clean_statistics,
            "has two sides of clean images, and published code shows them to one network alone: drop --clean-statistics",
        ),
    )
    for refused, reason in refusals:
        if config.branches != "none" and refused:
            raise InvalidInput(f"branches {config.branches!r} {reason}")
