"""A cyclic pseudo-random order of all label pairs that is never written down: any place of it in O(1) memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

ROUNDS = 4
"""Of the Feistel network that permutes label pairs; the order only has to look random."""


def cycles(first: int, last: int, length: int) -> Iterator[tuple[int, slice]]:
    """The cycles of a length that the positions first..last-1 run through, each with the places that they take in it."""
    for c in range(first // length, -(-last // length)):
        yield c, slice(max(first - c * length, 0), min(last - c * length, length))


def unranked(number: np.ndarray, K: int, *, ordered: bool) -> np.ndarray:
    """Label pairs (n, 2) of pair numbers: all K^2 in row order, or a < b in row order."""
    if ordered:
        return np.stack(np.divmod(number, K), axis=1)
    # Row a of the strict upper triangle starts at a (2K - a - 1) / 2; float64 is off by one row at most, which is mended.
    a = np.floor((2 * K - 1 - np.sqrt((2.0 * K - 1) ** 2 - 8.0 * number)) / 2).astype(np.int64)
    a = np.clip(a, 0, K - 2)
    a -= number < _row_start(a, K)
    a += number >= _row_start(a + 1, K)
    return np.stack([a, number - _row_start(a, K) + a + 1], axis=1)


def _row_start(a: np.ndarray, K: int) -> np.ndarray:
    return a * (2 * K - a - 1) // 2


def permuted(position: np.ndarray, P: int, key: list[int]) -> np.ndarray:
    """A pseudo-random permutation of 0..P-1, and another one, and so on: what stands at the given rising positions of that
    sequence. A Feistel network on the next power of 4, walked in cycles; each permutation has its keys.
    """
    number, found = np.divmod(position, P)
    if P == 1:  # two classes have one label pair a < b
        return found
    half = ((P - 1).bit_length() + 1) // 2
    mask = np.uint64((1 << half) - 1)
    keys = np.stack([_keys([*key, n]) for n in range(number[0], number[-1] + 1)])
    number -= number[0]
    found = found.astype(np.uint64)
    outside = np.arange(len(found))
    while outside.size:  # an image outside 0..P-1 is mapped again until it falls inside; the domain is less than 4 P
        left, right = found[outside] >> np.uint64(half), found[outside] & mask
        which = number[outside] if len(keys) > 1 else 0
        for add, multiply in keys.transpose(1, 2, 0):
            mixed = (right + add[which]) * multiply[which]
            left, right = right, left ^ ((mixed >> np.uint64(40)) & mask)
        found[outside] = (left << np.uint64(half)) | right
        outside = outside[found[outside] >= P]
    return found.astype(np.int64)


def _keys(key: list[int]) -> np.ndarray:
    """What a permutation's rounds add and multiply with, (ROUNDS, 2) uint64, odd."""
    return np.random.default_rng(key).integers(1, 2**63, size=(ROUNDS, 2), dtype=np.uint64) | np.uint64(1)
