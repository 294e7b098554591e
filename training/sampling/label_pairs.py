"""A cyclic pseudo-random order of all label pairs that is never stored: any position of it in O(1) memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

ROUNDS = 4
"""Rounds of the Feistel network that permutes label pairs; the order only has to look random."""


def cycles(first: int, last: int, length: int) -> Iterator[tuple[int, slice]]:
    """Divide the positions first..last-1 of an endless sequence into its cycles.

    Args:
        first: first position.
        last: position after the last one.
        length: positions in a cycle.

    Yields:
        The number of a cycle that the positions touch, and the slice of that cycle which they cover.
    """
    for c in range(first // length, -(-last // length)):
        yield c, slice(max(first - c * length, 0), min(last - c * length, length))


def unranked(number: np.ndarray, K: int, *, ordered: bool) -> np.ndarray:
    """Return the label pairs with the given numbers, in row-major order of a K x K table.

    Args:
        number: numbers of label pairs, (n,) int64: 0..K^2-1 if ordered, else 0..K(K-1)/2-1.
        K: number of classes.
        ordered: whether the table has all K^2 label pairs; else those with a < b only.

    Returns:
        The label pairs (a, b), (n, 2) int64.
    """
    if ordered:
        return np.stack(np.divmod(number, K), axis=1)
    # Row a of the strict upper triangle starts at a (2K - a - 1) / 2. Solved for a in float64, the root is off by one
    # row at most; the two comparisons with exact integers correct it.
    a = np.floor((2 * K - 1 - np.sqrt((2.0 * K - 1) ** 2 - 8.0 * number)) / 2).astype(np.int64)
    a = np.clip(a, 0, K - 2)
    a -= number < _row_start(a, K)
    a += number >= _row_start(a + 1, K)
    return np.stack([a, number - _row_start(a, K) + a + 1], axis=1)


def _row_start(a: np.ndarray, K: int) -> np.ndarray:
    return a * (2 * K - a - 1) // 2


def permuted(position: np.ndarray, P: int, key: list[int]) -> np.ndarray:
    """Return the entries of an endless sequence of pseudo-random permutations of 0..P-1 at the given positions.

    The positions 0..P-1 are the first permutation, P..2P-1 the second, and so on; each has keys of its own. A
    permutation is a Feistel network on the next power of 4. Cycle walking restricts it to 0..P-1: a value outside is
    mapped again until it falls inside. The domain is smaller than 4 P, so few repetitions are needed.

    Args:
        position: positions in the sequence, (n,) int64, rising.
        P: length of a permutation.
        key: whole numbers that name the sequence.

    Returns:
        The entries, (n,) int64 in 0..P-1.
    """
    number, within = np.divmod(position, P)
    if P == 1:  # two classes have one label pair a < b
        return within
    half = ((P - 1).bit_length() + 1) // 2
    mask = np.uint64((1 << half) - 1)
    keys = np.stack([_keys([*key, n]) for n in range(number[0], number[-1] + 1)])
    number -= number[0]
    values = within.astype(np.uint64)
    outside = np.arange(len(values))
    while outside.size:
        left, right = values[outside] >> np.uint64(half), values[outside] & mask
        permutation = number[outside] if len(keys) > 1 else 0
        for add, multiply in keys.transpose(1, 2, 0):
            mixed = (right + add[permutation]) * multiply[permutation]
            # The upper bits of a product depend on all bits of its factors, the lower ones do not.
            left, right = right, left ^ ((mixed >> np.uint64(40)) & mask)
        values[outside] = (left << np.uint64(half)) | right
        outside = outside[values[outside] >= P]
    return values.astype(np.int64)


def _keys(key: list[int]) -> np.ndarray:
    """What the rounds of a permutation add and multiply with, (ROUNDS, 2) uint64, odd."""
    return np.random.default_rng(key).integers(1, 2**63, size=(ROUNDS, 2), dtype=np.uint64) | np.uint64(1)
