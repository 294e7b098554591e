"""Post-hoc logit adjustment of the runs of a comparison, as methods of their own: ``training.compare --adjust``."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from lpm.console.errors import InvalidInput
from training.store import posthoc
from training.store.comparisons import Runs
from training.store.runs import RunFolder


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
