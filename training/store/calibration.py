"""How well probabilities agree with accuracies, and the temperature that makes them agree. Needs no torch."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

BINS = 15
"""Bins of equal width of the largest probability, as in the literature (Guo et al. 2017)."""

TEMPERATURES = (1e-2, 1e2)
"""The least and the largest temperature that is tried."""


def calibration_error(logits: np.ndarray, labels: np.ndarray, temperature: float = 1.0) -> float:
    """Compute the expected calibration error: sum over bins of n_bin / n |accuracy - mean probability|.

    Args:
        logits: (n, K).
        labels: (n,) true classes.
        temperature: what logits are divided by.

    Returns:
        The error in per cent.
    """
    confidence = np.exp(log_softmax(logits / temperature, axis=1).max(axis=1))
    right = logits.argmax(axis=1) == labels
    number = np.minimum((confidence * BINS).astype(int), BINS - 1)  # a probability of 1 is in the last bin
    gaps = np.bincount(number, weights=right - confidence, minlength=BINS)
    return float(100 * np.abs(gaps).sum() / len(labels))


def fitted_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Find the temperature with the least cross-entropy, where each class counts equally.

    Args:
        logits: (n, K) of images that are neither trained nor tested on.
        labels: (n,) true classes.

    Returns:
        The temperature, within :data:`TEMPERATURES`.
    """
    weights = 1 / np.bincount(labels)[labels]

    def loss(log_temperature: float) -> float:
        log_p = log_softmax(logits / np.exp(log_temperature), axis=1)
        return float(-(weights * log_p[np.arange(len(labels)), labels]).sum())

    # Convex in 1 / T, so with one minimum in log T too.
    found = minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))
