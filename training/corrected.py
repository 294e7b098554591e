"""Finished runs corrected without training: for ``training.compare --adjust``, and for what shows, predicts or writes a run."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from training.options import Settings, settings_of
from training.store import posthoc, run_code
from training.store.comparisons import Runs
from training.store.confusions import Confusion
from training.store.results import RunResult
from training.store.runs import RunFolder

if TYPE_CHECKING:
    from training.model.build import Network
    from training.run.corrections import Finished


FEW_IMAGES = 1000
"""Images up to which this process decodes them itself, because starting others takes longer."""


@dataclass(frozen=True)
class Corrected:
    """A finished run after a correction.

    Attributes:
        row: its accuracy and calibration.
        scores: (n, K) scores of the test images.
        confusion: what the test images are predicted as.
    """

    row: posthoc.Corrected
    scores: np.ndarray
    confusion: Confusion


def finished(folder: RunFolder, options: argparse.Namespace) -> Finished:
    """Load a finished run and its data.

    Args:
        folder: the run.
        options: the options of :func:`training.options.add_data`, ``add_lists`` and ``add_device``, and of the command: with
            ``--json`` no progress is shown.

    Returns:
        Its network with its data.

    Raises:
        InvalidInput: if the data are not there, or are others than the run's; if its weights are damaged.
    """
    from training.jobs.prepare import again  # these bring torch
    from training.model import build
    from training.run.corrections import Finished
    from training.run.inference import network_of

    device, data = build.device(options.device), again(folder, options)
    run_code.note((folder.path, folder.config), options=["--model"])
    few = len(data.train.labels) + len(data.test.labels) <= FEW_IMAGES
    workers = (0 if few else len(os.sched_getaffinity(0))) if options.workers is None else options.workers
    network, quiet = network_of(folder, data.channels, device), getattr(options, "json", False)
    return Finished(folder.config, network, data, device, workers, quiet=quiet)


def corrected_run(run: Finished, name: str, settings: Settings | tuple[()] = ()) -> Corrected:
    """Correct a finished run.

    Args:
        run: its network with its data.
        name: a key of :data:`training.options.CORRECTIONS`.
        settings: how, as :func:`training.options.settings_of` gives it; as usual where it is empty.

    Returns:
        What the test images are predicted as then.

    Raises:
        NotDefined: if the correction is not defined for the run.
    """
    from training.run.correcting import confusion, corrected
    from training.run.corrections import CORRECTIONS, Options

    how = Options(*settings)
    row, scores = corrected(run, name, how), CORRECTIONS[name].scores(run, "test", how)
    return Corrected(row, scores, confusion(run, scores))


def network(folder: RunFolder, options: argparse.Namespace) -> Network:
    """Load the network of a finished run on image files, corrected as the options say.

    Args:
        folder: the run.
        options: the options of :func:`training.options.add_correction`, ``add_data``, ``add_lists`` and ``add_device``.

    Returns:
        The network. Logit adjustment needs the stored class counts alone; the other corrections need the training images.

    Raises:
        InvalidInput: if the correction is not defined for the run, or its data are needed and not there.
    """
    from training.batches.sources import Files  # bring torch
    from training.model import build
    from training.model.corrected import Shifted, replaced
    from training.run.corrections import Options, corrected_network, log_prior
    from training.run.inference import class_names, network_of

    class_names(folder)
    settings = settings_of(options)
    if options.correction not in (None, "la"):
        return corrected_network(finished(folder, options), options.correction, Options(*settings))
    run_code.note((folder.path, folder.config), options=["--model"])
    loaded = network_of(folder, Files.channels, build.device(options.device))
    if options.correction is None:
        return loaded
    shift = settings[0] * log_prior(folder.config, np.array(folder.result().train_counts), loaded)
    return replaced(loaded, Shifted(loaded.classifier, shift))


def adjusted(
    folders: Mapping[str, Sequence[RunFolder]], names: Sequence[str], options: argparse.Namespace
) -> dict[str, Runs]:
    """Correct finished runs, and store what that gives in their folders, as ``training.posthoc`` does.

    Args:
        folders: the finished runs of each method, all on the same data.
        names: keys of :data:`training.options.CORRECTIONS`.
        options: the options of :func:`training.options.add_data`, ``add_lists`` and ``add_device``, and ``--quiet``.

    Returns:
        For each method and each correction that is defined for it, its runs after it, by a name that says so.

    Raises:
        InvalidInput: if the data are not there, or are others than a run's; if weights are damaged.
        Busy: if another process holds a run.
    """
    from training.jobs.prepare import again  # these bring torch
    from training.model import build
    from training.run.correcting import corrected
    from training.run.corrections import Finished, NotDefined, Options
    from training.run.inference import network_of

    device, found, data = build.device(options.device), dict[str, Runs](), None
    workers = len(os.sched_getaffinity(0)) if options.workers is None else options.workers
    for method, runs in folders.items():
        results: dict[str, list[RunResult]] = {name: [] for name in names}
        right: dict[str, list[np.ndarray]] = {name: [] for name in names}
        for folder in runs:
            data = again(folder, options) if data is None else data
            folder.check(data.fingerprint, images=data)
            network = network_of(folder, data.channels, device)
            run = Finished(folder.config, network, data, device, workers, quiet=options.quiet)
            rows = []
            for name in results:
                try:
                    after = corrected_run(run, name)
                except NotDefined:  # such as logit adjustment after a balanced sampler, which leaves nothing to adjust
                    continue
                rows.append(row := after.row)
                results[name].append(replace(folder.result(), last=row.last, best=None, per_class=row.per_class))
                right[name].append(after.scores.argmax(axis=1) == data.test.labels)
            if rows:
                with folder.lock():
                    posthoc.save(folder, [corrected(run, "none", Options()), *rows])
        for name, of in results.items():
            if of and data is not None:
                title = f"{method}, {posthoc.TITLES[name]}"
                found[title] = Runs(tuple(of), data.test.labels, np.stack(right[name]))
    return found
