"""Geometry of class vectors: Gram matrices, cosines and norms, the simplex ETF, measures of neural collapse."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np


def simplex_etf(K: int) -> np.ndarray:
    """Build the Gram matrix of the unit-norm K-simplex equiangular tight frame: 1 and -1/(K-1).

    Args:
        K: number of vectors.

    Returns:
        The Gram matrix, (K, K).
    """
    return (K * np.eye(K) - np.ones((K, K))) / (K - 1)


def cosines(gram: np.ndarray) -> np.ndarray:
    """Turn a Gram matrix into cosines.

    Args:
        gram: Gram matrix, (K, K).

    Returns:
        The cosines, (K, K); nan in the rows and columns of zero vectors.
    """
    norm = np.sqrt(np.maximum(np.diag(gram), 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.outer(norm, norm) > 0, gram / np.outer(norm, norm), np.nan)


def etf_distance(gram: np.ndarray) -> float:
    """Measure the largest deviation of the cosines from the simplex ETF's -1/(K-1), off the diagonal.

    Args:
        gram: Gram matrix, (K, K).

    Returns:
        The deviation; 0 for a simplex ETF.
    """
    off = ~np.eye(len(gram), dtype=bool)
    return float(np.abs(cosines(gram)[off] + 1 / (len(gram) - 1)).max())


def norm_variation(gram: np.ndarray) -> float:
    """Measure the coefficient of variation of the norms: standard deviation divided by mean.

    Args:
        gram: Gram matrix, (K, K).

    Returns:
        The coefficient; 0 when all class vectors are equally long.
    """
    norm = np.sqrt(np.diag(gram))
    return float(norm.std() / norm.mean())


def self_duality(W: np.ndarray, H: np.ndarray) -> float:
    """Measure the distance |W/|W|_F - H/|H|_F|_F of class vectors and class-mean features; it is 0 in neural collapse.

    Args:
        W: class vectors, (K, p).
        H: class means of the features, (K, p).

    Returns:
        The distance.
    """
    return float(np.linalg.norm(W / np.linalg.norm(W) - H / np.linalg.norm(H)))


@dataclass(frozen=True)
class GroupGram:
    r"""The Gram matrix W W^T of class vectors that are exchangeable inside groups, in O(G^2) numbers.

    For classes a != b of group g and c of group h

        |w_a|^2 = (block_gg + (K_g - 1) eigenvalue_g) / K_g,  <w_a, w_b> = (block_gg - eigenvalue_g) / K_g,
        <w_a, w_c> = block_gh / sqrt(K_g K_h).

    Attributes:
        sizes: number of classes in each group, (G,) int.
        block: W W^T on the normalised group sums, (G, G).
        eigenvalue: the (K_g - 1)-fold eigenvalue of W W^T on the zero-sum vectors of each group, (G,).
    """

    sizes: np.ndarray
    block: np.ndarray
    eigenvalue: np.ndarray

    @cached_property
    def norms(self) -> np.ndarray:
        """Length of the class vectors of each group, (G,)."""
        square = (np.diag(self.block) + (self.sizes - 1) * self.eigenvalue) / self.sizes
        return np.sqrt(np.maximum(square, 0.0))

    @cached_property
    def group_cosines(self) -> np.ndarray:
        """Cosine between two different classes of groups g and h, (G, G); nan if there are no two such classes."""
        inner = self.block / np.sqrt(np.outer(self.sizes, self.sizes))
        np.fill_diagonal(inner, (np.diag(self.block) - self.eigenvalue) / self.sizes)
        norm = np.outer(self.norms, self.norms)
        with np.errstate(divide="ignore", invalid="ignore"):
            cosine = np.where(norm > 0, inner / norm, np.nan)
        np.fill_diagonal(cosine, np.where(self.sizes > 1, np.diag(cosine), np.nan))
        return cosine

    def mean_cosine(self, one: tuple[int, ...], other: tuple[int, ...]) -> float:
        """Average the cosines over pairs of different classes.

        Args:
            one: groups of the first class.
            other: groups of the second class.

        Returns:
            The mean cosine; nan if there are no two such classes.
        """
        number = np.outer(self.sizes, self.sizes) - np.diag(self.sizes)  # pairs of different classes
        number, cosines = number[np.ix_(one, other)], self.group_cosines[np.ix_(one, other)]
        occurs = number > 0
        total = number[occurs].sum()
        return float((cosines[occurs] * number[occurs]).sum() / total) if total else float("nan")

    def mean_norm(self, groups: tuple[int, ...]) -> float:
        """Average the lengths of the class vectors of some groups.

        Args:
            groups: the groups.

        Returns:
            The mean length.
        """
        pick = list(groups)
        return float(self.norms[pick] @ self.sizes[pick] / self.sizes[pick].sum())

    def matrix(self, members: list[np.ndarray]) -> np.ndarray:
        """Write the Gram matrix out.

        Args:
            members: the classes of each group.

        Returns:
            The Gram matrix, (K, K).
        """
        K = int(self.sizes.sum())
        gram = np.empty((K, K))
        for g, rows in enumerate(members):
            for h, columns in enumerate(members):
                gram[np.ix_(rows, columns)] = self.block[g, h] / np.sqrt(self.sizes[g] * self.sizes[h])
            gram[np.ix_(rows, rows)] -= self.eigenvalue[g] / self.sizes[g]
            gram[rows, rows] += self.eigenvalue[g]
        return gram
