"""How uniformly class vectors lie on the sphere: every published definition that the paper's U_G and U could mean.

The paper defines neither. The names are those of the check ``uniformity`` (paper_checks), which holds the largest value
of each score.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Score = Callable[[np.ndarray], float]
"""A score of the cosines (K, K) of K class vectors."""


def _upper(cosines: np.ndarray) -> np.ndarray:
    """Return the cosines of classes a < b."""
    return cosines[np.triu_indices(len(cosines), 1)]


def _distances(cosines: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(2 - 2 * _upper(cosines), 0))


def _angles(cosines: np.ndarray) -> np.ndarray:
    return np.arccos(np.clip(_upper(cosines), -1, 1))


SCORES: dict[str, Score] = {
    "potential": lambda cosines: float(-np.log(np.exp(-2 * _distances(cosines) ** 2).mean())),
    "mean distance": lambda cosines: float(_distances(cosines).mean()),
    "sum over classes": lambda cosines: float(len(cosines) * _distances(cosines).mean()),
    "sum over pairs": lambda cosines: float(_distances(cosines).sum()),
    "mean angle": lambda cosines: float(_angles(cosines).mean()),
    "sum of angles": lambda cosines: float(len(cosines) * _angles(cosines).mean()),
    "1 - cosine": lambda cosines: float(1 - _upper(cosines).mean()),
}
"""The scores by name. All are over classes a < b, with unit vectors u_a.

- potential: -log of the mean Gaussian potential exp(-2 |u_a - u_b|^2). Source: Wang and Isola 2020.
- distances: |u_a - u_b|. Source: Li et al. 2022.
- angles, in radians. Source: Fejes Toth.
"""
