"""Finished runs with their logits adjusted: for ``training.compare --adjust``, the report and the confusion matrix."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from lpm.console.errors import InvalidInput
from training.store import posthoc
from training.store.comparisons import Runs
from training.store.confusions import Confusion
from training.store.runs import RunFolder

if TYPE_CHECKING:
    from training.run.corrections import Finished


@dataclass(frozen=True)
class Adjusted:
    """A finished run after post-hoc logit adjustment.

    Attributes:
        title: the correction as tables name it.
        scores: (n, K) adjusted logits of the test images.
        confusion: what the test images are predicted as.
        last: accuracies in per cent, as :attr:`training.store.results.RunResult.last`.
    """

    title: str
    scores: np.ndarray
    confusion: Confusion
    last: Mapping[str, float]


def finished(folder: RunFolder, options: argparse.Namespace) -> Finished:
    """Load a finished run and its data.

    Args:
        folder: the run.
        options: the options of :func:`training.options.add_data`, ``add_lists`` and ``add_device``.

    Returns:
        Its network with its data.

    Raises:
        InvalidInput: if the data are not there, or are others than the run's; if its weights are damaged.
    """
    from training.jobs.prepare import again  # these bring torch
    from training.model import build
    from training.run.corrections import Finished
    from training.run.inference import network_of
    from training.store import run_code

    device, data = build.device(options.device), again(folder, options)
    run_code.note((folder.path, folder.config), options=["--model"])
    return Finished(folder.config, network_of(folder, data.channels, device), data, device, options.workers or 0)


def adjusted_run(run: Finished, tau: float) -> Adjusted:
    """Adjust the logits of a finished run.

    Args:
        run: its network with its data.
        tau: strength.

    Returns:
        What the test images are predicted as then.

    Raises:
        InvalidInput: if post-hoc logit adjustment is not defined for the run.
    """
    from training.run.correcting import confusion, corrected
    from training.run.corrections import Options, logit_adjustment

    row, scores = corrected(run, "la", Options(tau)), logit_adjustment(run, "test", Options(tau))
    return Adjusted(row.title, scores, confusion(run, scores), row.last)


def adjusted(folders: Mapping[str, Sequence[RunFolder]], options: argparse.Namespace) -> dict[str, Runs]:
    """Adjust the logits of finished runs, and store what that gives in their folders, as ``training.posthoc`` does.

    Args:
        folders: the finished runs of each method, all on the same data.
        options: the options of :func:`training.options.add_data`, ``add_lists`` and ``add_device``.

    Returns:
        For each method for which it is defined, its runs with adjusted logits, by a name that says so.

    Raises:
        InvalidInput: if the data are not there, or are others than a run's; if weights are damaged.
        Busy: if another process holds a run.
    """
    from training.jobs.prepare import again  # these bring torch
    from training.model import build
    from training.run.correcting import corrected
    from training.run.corrections import Finished, Options, log_prior, logit_adjustment
    from training.run.inference import network_of

    device, how, found, data = build.device(options.device), Options(), dict[str, Runs](), None
    workers = len(os.sched_getaffinity(0)) if options.workers is None else options.workers
    for method, runs in folders.items():
        results, right = [], []
        for folder in runs:
            data = again(folder, options) if data is None else data
            folder.check(data.fingerprint, images=data)
            network = network_of(folder, data.channels, device)
            try:
                log_prior(folder.config, data.counts, network)
            except InvalidInput:  # such as a balanced sampler, after which nothing is left to adjust
                break
            run = Finished(folder.config, network, data, device, workers)
            rows = [corrected(run, name, how) for name in ("none", "la")]
            with folder.lock():
                posthoc.save(folder, rows)
            results.append(replace(folder.result(), last=rows[1].last, best=None, per_class=rows[1].per_class))
            right.append(logit_adjustment(run, "test", how).argmax(axis=1) == data.test.labels)
        if data is not None and results:
            found[f"{method}, {posthoc.TITLES['la']}"] = Runs(tuple(results), data.test.labels, np.stack(right))
    return found
