"""Notes on a run, printed before it trains."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lpm.console.text import counted, shown
from training.choices.recipe import FOR_FILES
from training.config import RunConfig
from training.data.datasets import Listed, LongTailed
from training.data.decodable import unchecked
from training.data.depth import Largest
from training.data.duplicates import duplicates
from training.jobs.double_correction import correction_notes
from training.methods import CLASSIFIERS, SAMPLERS
from training.store import run_code

NAMED = 10
"""Classes that a note names."""


def explain(configs: Sequence[RunConfig], data: LongTailed, device: str) -> None:
    """Say on standard error what a user would otherwise find out late.

    There are notes on images that have not been checked, on pixels of more than eight bits, on test images that are
    training images too, on classes without a test image, on few steps, on large networks without a GPU, on classifiers
    with classes that never occur, on rare classes that are corrected for twice, and on more label pairs than images.

    Args:
        configs: the runs, all on the same data; methods may differ. What holds for all is said of the first one.
        data: their data.
        device: 'cpu' or 'cuda'.
    """
    config, images = configs[0], len(data.train.labels)
    listed = [part for part in data.parts.values() if isinstance(part, Listed)]
    if any(unchecked(part.root, part.paths, max_pixels=data.max_pixels) for part in listed):
        _note(
            "it is not known whether all images decode, and one that does not stops a run when it is met; --check, or "
            "`python -m training.check`, decodes each once before"
        )
    if listed:
        _note_depth(data)
    if config.data_set.user_named and (seen := duplicates(data.train, data.test)):
        among = "is a training image" if len(seen) == 1 else "are training images"
        _note(f"{len(seen):,} of {counted(len(data.test.labels), 'test image')} {among} too, for example {seen[0]!r}")
    untested = np.flatnonzero(np.bincount(data.test.labels, minlength=data.K) == 0)
    if len(untested):
        example = repr(data.class_names[untested[0]]) if data.class_names else str(untested[0])
        _note(
            f"{len(untested):,} of {data.K:,} classes {'has' if len(untested) == 1 else 'have'} no test image, such as "
            f"{example}: trained, and left out of all means"
        )
    if untried := [k for k, n in enumerate(data.holdout_counts) if not n]:
        names = ", ".join(data.class_names[k] if data.class_names else str(k) for k in untried[:NAMED])
        verb = "has" if len(untried) == 1 else "have"
        _note(
            f"{len(untried):,} of {data.K:,} classes {verb} too few training images for --holdout {config.holdout:g} "
            f"({names}{', ...' * (len(untried) > NAMED)}): none of theirs is held out, and they are left out of its means"
        )
    steps = -(-images // config.batch)
    usual = config.data_set.presets.get(config.preset, {}).get(
        "batch", config.data_set.recipe.get("batch", config.batch)
    )
    if config.preset == "quick" and config.batch != usual:
        _note(
            f"{counted(images, 'image')} in batches of {config.batch} are {counted(steps, 'step')} per epoch, "
            f"{steps * config.epochs:,} in all; preset quick takes {usual} for more images, and --batch {usual} here"
        )
    elif steps < 10:
        _note(
            f"{counted(images, 'image')} are {counted(steps, 'step')} per epoch, {steps * config.epochs:,} in all; "
            "a smaller --batch makes more"
        )
    if device == "cpu" and config.model in FOR_FILES and config.trains != "features":
        _note(
            f"without a GPU {config.model} trains on a few images per second, and the run has {images * config.epochs:,}; "
            + ("use a GPU, or --preset features" if config.pretrained else "--preset quick is for a first look")
        )
    if config.trains == "features":
        number = sum(len(part.labels) for part in data.parts.values())
        _note(
            f"the features of {counted(number, 'image')} are computed before the first epoch; other runs on the same images and "
            "network find them in the store"
        )
    said: dict[str, list[str]] = {}
    for config in {replace(config, seed=0): None for config in configs}:
        for text in _of_method(config, data):
            said.setdefault(text, []).append(config.method)
    several = len({config.method for config in configs}) > 1
    for text, methods in said.items():
        _note(f"{', '.join(dict.fromkeys(methods))}: {text}" if several else text)


def _of_method(config: RunConfig, data: LongTailed) -> list[str]:
    """The notes on a run's method."""
    notes, images = correction_notes(config, data.counts), len(data.train.labels)
    classifier, draws = CLASSIFIERS[config.classifier], SAMPLERS[config.sampler].draws
    if classifier.singleton and draws == "a < b" and classifier.pairs == "all":
        notes.append(
            f"{config.classifier} has all K^2 label pairs as classes, and {config.sampler} draws only a < b; the paper uses "
            f"--classifier {config.classifier}-unordered"
        )
    if config.sampler.startswith("bmls") and (pairs := number_of_label_pairs(config)) > images:
        epochs = -(-pairs // images)
        notes.append(f"{pairs:,} label pairs, {images:,} per epoch: all have occurred after {counted(epochs, 'epoch')}")
    return notes


def explain_float32(device: str) -> None:
    """Say that a run computes in float32, though its precision is bfloat16.

    Args:
        device: 'cpu' or 'cuda'.
    """
    which = "processor" if device == "cpu" else "GPU"
    _note(f"the network computes in float32, because this {which} has no bfloat16 and would take many times as long")


def explain_code(configs: Sequence[RunConfig], store: Path) -> None:
    """Say which code of one's own has changed since runs in the store began that these continue, repeat or start from.

    Runs that differ in their seed alone are among them, because tables take their means.

    Args:
        configs: the runs.
        store: the folder of the run store.
    """
    # A second stage has the network and the transform of its first one.
    by_key = {key: config for config in configs for key in (config.key, config.stage1) if key}
    run_code.note(*((path, config) for key, config in by_key.items() for path in sorted(store.glob(f"*-{key}/seed-*"))))


def _note_depth(data: LongTailed) -> None:
    """Say how images with more than eight bits per colour are scaled, where the set decides it."""
    largest = data.largest_pixels
    if largest.whole:
        _note(
            f"images with more than 8 bits per colour have values up to {largest.whole:,}; all are read as {largest.bits} bits, "
            "scaled to 8; --pixel-bits says another depth"
        )
    if largest.real:
        to = (
            "1"
            if largest.real <= 1
            else "255"
            if largest.real <= 255
            else f"{2 ** Largest(int(largest.real)).bits - 1:,}"
        )
        _note(
            f"images of floating-point numbers have values up to {largest.real:g}; all are read as 0 to {to}; --pixel-bits says "
            "another depth"
        )


def number_of_label_pairs(config: RunConfig) -> int:
    """Number of label pairs that a sampler draws.

    Args:
        config: the run.

    Returns:
        K^2, or K (K - 1) / 2 for a < b.
    """
    return config.K**2 if SAMPLERS[config.sampler].draws == "all" else config.K * (config.K - 1) // 2


def _note(text: str) -> None:
    print(f"note: {shown(text)}", file=sys.stderr)
