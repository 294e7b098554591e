"""How uniformly class vectors lie on the sphere: every published definition that the paper's U_G and U could mean.

The paper defines neither. Names are those of the check ``uniformity`` (paper_checks), which holds the largest value of each.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Score = Callable[[np.ndarray], float]


def _pairs(cosines: np.ndarray) -> np.ndarray:
    return cosines[np.triu_indices(len(cosines), 1)]


def _distances(cosines: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(2 - 2 * _pairs(cosines), 0))


def _angles(cosines: np.ndarray) -> np.ndarray:
    return np.arccos(np.clip(_pairs(cosines), -1, 1))


SCORES: dict[str, Score] = {
    "potential": lambda C: float(-np.log(np.exp(-2 * _distances(C) ** 2).mean())),
    "mean distance": lambda C: float(_distances(C).mean()),
    "sum over classes": lambda C: float(len(C) * _distances(C).mean()),
    "sum over pairs": lambda C: float(_distances(C).sum()),
    "mean angle": lambda C: float(_angles(C).mean()),
    "sum of angles": lambda C: float(len(C) * _angles(C).mean()),
    "1 - cosine": lambda C: float(1 - _pairs(C).mean()),
}
"""From the cosines (K, K) of the class vectors: -log of the mean Gaussian potential exp(-2 |u_a - u_b|^2) over pairs (Wang and
Isola 2020), distances of unit vectors (Li et al. 2022), angles in radians (Fejes Toth), each over pairs a < b.
"""
