"""A correction of a finished network measured: its accuracy, its calibration, and tau chosen by held-out images."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lpm.console.errors import InvalidInput
from training.run.corrections import CORRECTIONS, Finished, NotDefined, Options
from training.store.calibration import calibration_error, fitted_temperature
from training.store.confusions import Confusion, counted
from training.store.metrics import by_class, by_split, per_class, split_of, splits
from training.store.posthoc import Corrected


def corrected(run: Finished, name: str, options: Options, *, scan: bool = False) -> Corrected:
    """Correct a network, and measure it on the test images.

    Args:
        run: the network.
        name: a key of :data:`training.run.corrections.CORRECTIONS`.
        options: how.
        scan: whether held-out images choose tau; the test images never do.

    Returns:
        Accuracies and calibration.

    Raises:
        NotDefined: if the correction is not defined for the run.
        InvalidInput: if nothing is held out to choose by.
    """
    row, held_out = CORRECTIONS[name], run.data.holdout is not None
    chosen = scan and bool(row.grid)
    if chosen:
        if not held_out:
            raise InvalidInput("tau is chosen by held-out images only, and the run has none; train with --holdout")
        options = replace(options, tau=_best(run, name, options))
    parts = {part: row.scores(run, part, options) for part in ("test", *(("holdout",) if held_out else ()))}
    accuracy = {part: _accuracies(run, part, scores) for part, scores in parts.items()}
    probable = row.probabilities and run.config.loss != "dr"  # whose logits are cosines
    labels = {part: run.data.parts[part].labels for part in parts}
    temperature = fitted_temperature(parts["holdout"], labels["holdout"]) if probable and held_out else None
    return Corrected(
        correction=name,
        settings={option: getattr(options, option) for option in row.options},
        last=accuracy["test"][0],
        per_class=accuracy["test"][1],
        holdout=accuracy["holdout"][0] if held_out else {},
        tau_by_holdout=chosen,
        ece=calibration_error(parts["test"], labels["test"]) if probable else None,
        temperature=temperature,
        ece_at_temperature=None
        if temperature is None
        else calibration_error(parts["test"], labels["test"], temperature),
    )


def every_defined(run: Finished, names: Sequence[str]) -> list[Corrected]:
    """Correct a network in each of some ways that is defined for it, with the usual options.

    Args:
        run: the network.
        names: keys of :data:`training.run.corrections.CORRECTIONS`.

    Returns:
        The corrections that are defined, in that order.
    """
    rows = []
    for name in names:
        with contextlib.suppress(NotDefined):
            rows.append(corrected(run, name, Options()))
    return rows


def confusion(run: Finished, scores: np.ndarray) -> Confusion:
    """Count what the test images are predicted as by scores.

    Args:
        run: the network.
        scores: (n, K) of its test images.

    Returns:
        Their confusion; the cosines in it are those of the network's class vectors.
    """
    labels = run.data.test.labels
    ranges = splits(run.config.dataset, run.data.split_counts, run.config.tail)
    split = split_of(ranges, run.config.K)
    own = np.where(split[labels][:, None] == split, scores, -np.inf)
    predictions = np.stack([scores.argmax(axis=1), own.argmax(axis=1)], axis=1)
    return counted(labels, predictions, run.class_vectors, ranges)


def _accuracies(run: Finished, part: str, scores: np.ndarray) -> tuple[dict[str, float], tuple[float | None, ...]]:
    correct, total = by_class(run.data.parts[part].labels, scores.argmax(axis=1), run.config.K)
    ranges = splits(run.config.dataset, run.data.split_counts, run.config.tail)
    return by_split(correct, total, ranges), per_class(correct, total)


def _best(run: Finished, name: str, options: Options) -> float:
    """The tau of the grid with the highest mean recall on held-out images; of equal ones that nearest to 1."""
    row = CORRECTIONS[name]

    def recall(tau: float) -> float:
        accuracies, _ = _accuracies(run, "holdout", row.scores(run, "holdout", replace(options, tau=tau)))
        return accuracies.get("balanced", accuracies["all"])

    return max(row.grid, key=lambda tau: (recall(tau), -abs(tau - 1)))
