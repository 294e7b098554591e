"""Where two parts of a method each make up for rare classes, so that together they favour them. Needs no torch."""

from __future__ import annotations

import numpy as np

from lpm.console.errors import InvalidInput
from training.config import RunConfig
from training.methods import LOSSES, SAMPLERS
from training.sampling.label_law import label_frequencies

BALANCED = 1e-9
"""Difference up to which frequencies count as equal."""

MORE = 1.05
"""How much more a rare class may count than a frequent one before that is worth a line. Frequencies under boxes are rounded."""


def correction_notes(config: RunConfig, counts: np.ndarray) -> list[str]:
    """Say where a loss has nothing to correct, and where parts of a method correct for rare classes twice.

    A class counts q_k w_k: q_k is its share of the labels that training draws, w_k its weight in the loss. Logit adjustment by
    tau log p counts as the weight p_k^-tau, the losses that correct in a way of their own as 1 / n_k. There are two corrections
    if two parts of the method favour rare classes, and together the rarest class counts more than the most frequent one.

    Args:
        config: the run.
        counts: (K,) training images of each class, falling.

    Returns:
        The notes.
    """
    loss, pi = LOSSES[config.loss], counts / counts.sum()
    q = _stream(config, counts)
    balanced = SAMPLERS[config.sampler].classes == "balanced"
    favours = (
        q[-1] / q[0] > MORE * pi[-1] / pi[0] if config.branches == "none" else balanced
    )  # each branch has a q of its own
    parts, count, notes = {f"sampler {config.sampler}": favours}, q, []
    strength = config.tau if "tau" in loss.settings else float("gamma" in loss.settings and config.vs_gamma != 0)
    if loss.takes == "frequencies" and (strength or ("gamma" in loss.settings and config.vs_gamma)):
        prior = q if config.prior == "stream" else pi
        if np.ptp(prior) < BALANCED and np.ptp(pi) >= BALANCED:
            notes.append(
                f"loss {config.loss} has no effect: the labels that sampler {config.sampler} draws are balanced; --prior data "
                "corrects for the training images all the same"
            )
        count = count * prior**-strength
        parts[f"loss {config.loss}"] = config.prior == "data" or np.ptp(prior) >= BALANCED
    if (loss.corrects and config.temperature_eps * ("eps" in loss.settings) != 0) or config.loss == "cw":
        count, parts[f"loss {config.loss}"] = count / pi, True
    weights = _class_weights(config, counts)
    if np.ptp(weights) > 0:
        count, parts[f"--class-weights {config.class_weights}"] = count * weights, True
    correcting = [part for part, corrects in parts.items() if corrects]
    if len(correcting) > 1 and count[-1] > MORE * count[0]:
        notes.append(f"double correction: {' and '.join(correcting)} each make up for rare classes")
    return notes


def _stream(config: RunConfig, counts: np.ndarray) -> np.ndarray:
    """The shares of the labels that training draws, in the end if the sampler is deferred."""
    try:
        return label_frequencies(config, counts)
    except InvalidInput:  # not known for this sampler and mixing law
        K = len(counts)
        return np.full(K, 1 / K) if SAMPLERS[config.sampler].classes == "balanced" else counts / counts.sum()


def _class_weights(config: RunConfig, counts: np.ndarray) -> np.ndarray:
    """The weights of classes, up to a factor."""
    if config.class_weights == "inverse":
        return 1.0 / counts
    if config.class_weights == "effective":
        return (1 - config.beta) / (1 - config.beta ** counts.astype(float))
    return np.ones(len(counts))
