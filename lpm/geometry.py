"""Geometry of class vectors: Gram matrices, cosines and norms, the simplex ETF, neural-collapse measures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


def simplex_etf(K: int) -> np.ndarray:
    """Gram matrix (K, K) of the unit-norm K-simplex equiangular tight frame: 1 and -1/(K-1)."""
    return (K * np.eye(K) - np.ones((K, K))) / (K - 1)


def cosines(gram: np.ndarray) -> np.ndarray:
    """Cosine matrix (K, K) of a Gram matrix; nan in the rows and columns of zero vectors."""
    norm = np.sqrt(np.maximum(np.diag(gram), 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.outer(norm, norm) > 0, gram / np.outer(norm, norm), np.nan)


def etf_distance(gram: np.ndarray) -> float:
    """Largest deviation of the cosines from the simplex ETF's -1/(K-1), off the diagonal."""
    off = ~np.eye(len(gram), dtype=bool)
    return float(np.abs(cosines(gram)[off] + 1 / (len(gram) - 1)).max())


def norm_spread(gram: np.ndarray) -> float:
    """Coefficient of variation of the norms (std / mean); 0 when all class vectors are equally long."""
    norm = np.sqrt(np.diag(gram))
    return float(norm.std() / norm.mean())


def self_duality(W: np.ndarray, H: np.ndarray) -> float:
    """Distance |W/|W|_F - H/|H|_F|_F of class vectors (K, p) and their class-mean features (K, p); 0 in neural collapse."""
    return float(np.linalg.norm(W / np.linalg.norm(W) - H / np.linalg.norm(H)))


@dataclass(frozen=True)
class GroupGram:
    r"""The Gram matrix W W^T of class vectors that are exchangeable inside groups, in O(G^2) numbers.

    sizes: (G,). block: (G, G), W W^T on the normalised group sums. eigenvalue: (G,), its (K_g - 1)-fold eigenvalue on
    the zero-sum vectors of group g, so for classes a != b of g and c of h

        |w_a|^2 = (block_gg + (K_g - 1) eigenvalue_g) / K_g,  <w_a, w_b> = (block_gg - eigenvalue_g) / K_g,
        <w_a, w_c> = block_gh / sqrt(K_g K_h).
    """

    sizes: np.ndarray
    block: np.ndarray
    eigenvalue: np.ndarray

    @property
    def norms(self) -> np.ndarray:
        """Length of the class vectors of each group, (G,)."""
        square = (np.diag(self.block) + (self.sizes - 1) * self.eigenvalue) / self.sizes
        return np.sqrt(np.maximum(square, 0.0))

    @property
    def group_cosines(self) -> np.ndarray:
        """Cosine between two different classes of groups g and h, (G, G); nan where there is no such pair."""
        inner = self.block / np.sqrt(np.outer(self.sizes, self.sizes))
        np.fill_diagonal(inner, (np.diag(self.block) - self.eigenvalue) / self.sizes)
        norm = np.outer(self.norms, self.norms)
        with np.errstate(divide="ignore", invalid="ignore"):
            cosine = np.where(norm > 0, inner / norm, np.nan)
        np.fill_diagonal(cosine, np.where(self.sizes > 1, np.diag(cosine), np.nan))
        return cosine

    def mean_cosine(self, one: tuple[int, ...], other: tuple[int, ...]) -> float:
        """Mean cosine over pairs of different classes, the first from groups ``one``, the second from groups ``other``."""
        number = np.outer(self.sizes, self.sizes) - np.diag(self.sizes)
        pick = np.ix_(one, other)
        there = number[pick] > 0
        total = number[pick][there].sum()
        return float((self.group_cosines[pick][there] * number[pick][there]).sum() / total) if total else float("nan")

    def mean_norm(self, groups: tuple[int, ...]) -> float:
        """Mean length of the class vectors of some groups."""
        pick = list(groups)
        return float(self.norms[pick] @ self.sizes[pick] / self.sizes[pick].sum())

    def matrix(self, members: list[np.ndarray]) -> np.ndarray:
        """The full Gram matrix (K, K), given the classes of each group."""
        K = int(self.sizes.sum())
        gram = np.empty((K, K))
        for g, rows in enumerate(members):
            for h, columns in enumerate(members):
                gram[np.ix_(rows, columns)] = self.block[g, h] / np.sqrt(self.sizes[g] * self.sizes[h])
            gram[np.ix_(rows, rows)] -= self.eigenvalue[g] / self.sizes[g]
            gram[rows, rows] += self.eigenvalue[g]
        return gram
