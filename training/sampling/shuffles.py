"""Many short lists shuffled at once, each exactly as a NumPy generator of its own shuffles it.

An epoch of BMLS at iNaturalist 2018's size shuffles classes 250,000 times, 3.5 images each, and NumPy takes ten microseconds to
make a generator: three seconds. Here a step of all generators is an array operation. The parts are NumPy's, restated: the hash
of SeedSequence (O'Neill's seed_seq), PCG64 (PCG XSL-RR 128/64, 32-bit draws as the halves of 64-bit ones, lower first) and the
Fisher-Yates shuffle with masked draws, again while they are too large.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint32]
Longs = NDArray[np.uint64]

HALF, LOWER = np.uint64(32), np.uint64(2**32 - 1)
FEW = 16
"""Rows for each place of a row below which array operations cost more than making every generator."""
MULTIPLIER = 0x2360ED051FC65DA44385DF649FCCF645
"""Of PCG with 128 bits."""


def shuffle_rows(rows: np.ndarray, seed: int, names: np.ndarray) -> None:
    """Shuffle every row of (m, n) in place, row i as ``default_rng([seed, *names[i]]).shuffle``.

    seed: at least 0. names: (m, c), whole numbers of at least 0.
    """
    m, n = rows.shape
    if m < FEW * n or names.max(initial=0) >= 2**32:
        for row, name in zip(rows, names.tolist(), strict=True):
            np.random.default_rng([seed, *name]).shuffle(row)
        return
    generators, every = Generators(seed, names), np.arange(m)
    for last in range(n - 1, 0, -1):
        chosen = generators.integers(last + 1)
        rows[every, last], rows[every, chosen] = rows[every, chosen], rows[every, last]


class Generators:
    """m PCG64 generators; each draws at its own pace. Arguments as in :func:`shuffle_rows`, names below 2^32."""

    def __init__(self, seed: int, names: np.ndarray) -> None:
        state = seed_words(seed, names)
        m = len(names)
        # PCG adds a step to a state that is multiplied; the step is odd, and the first state is 0.
        self.step = state[2] << np.uint64(1) | state[3] >> np.uint64(63), state[3] << np.uint64(1) | np.uint64(1)
        self.high, self.low = added(self.step, (state[0], state[1]))
        self.spare, self.has_spare = np.zeros(m, dtype=np.uint32), np.zeros(m, dtype=bool)
        self._advance(np.arange(m))

    def integers(self, bound: int) -> NDArray[np.int64]:
        """A number of 0..bound-1 from every generator, (m,). bound: at most 2^32."""
        mask = np.uint32((1 << (bound - 1).bit_length()) - 1)
        found = np.empty(len(self.high), dtype=np.int64)
        left = np.arange(len(found))
        while left.size:
            found[left] = self._words(left) & mask
            left = left[found[left] >= bound]
        return found

    def _words(self, which: NDArray[np.int64]) -> Words:
        """The next 32 bits of some generators."""
        words, spare = self.spare[which], self.has_spare[which]
        fresh = which[~spare]
        self._advance(fresh)
        high, low = self.high[fresh], self.low[fresh]
        turn, bits = high >> np.uint64(58), high ^ low
        drawn = bits >> turn | bits << (np.uint64(64) - turn & np.uint64(63))
        words[~spare] = drawn & LOWER
        self.spare[fresh] = drawn >> HALF
        self.has_spare[which] = ~spare
        return words

    def _advance(self, which: NDArray[np.int64]) -> None:
        product = multiplied((self.high[which], self.low[which]), MULTIPLIER)
        self.high[which], self.low[which] = added(product, (self.step[0][which], self.step[1][which]))


def added(x: tuple[Longs, Longs], y: tuple[Longs, Longs]) -> tuple[Longs, Longs]:
    """x + y modulo 2^128, each as (upper, lower) half."""
    low = x[1] + y[1]
    return x[0] + y[0] + (low < y[1]), low


def multiplied(x: tuple[Longs, Longs], factor: int) -> tuple[Longs, Longs]:
    """x times a constant modulo 2^128, as (upper, lower) half: the lower halves by the school's method, 32 bits a digit."""
    high, low = (np.uint64(part) for part in divmod(factor, 2**64))
    a, b, c, d = x[1] >> HALF, x[1] & LOWER, low >> HALF, low & LOWER
    bd, ad, bc = b * d, a * d, b * c
    carry = (bd >> HALF) + (ad & LOWER) + (bc & LOWER)
    upper = a * c + (ad >> HALF) + (bc >> HALF) + (carry >> HALF)
    return upper + x[0] * low + x[1] * high, x[1] * low


def seed_words(seed: int, names: np.ndarray) -> list[Longs]:
    """What SeedSequence([seed, *names[i]]).generate_state(4, uint64) gives, four arrays (m,)."""
    seeds = [seed >> at & 0xFFFFFFFF for at in range(0, max(seed.bit_length(), 1), 32)]
    words = [np.full(len(names), word, dtype=np.uint32) for word in seeds] + list(names.T.astype(np.uint32))
    words += [np.zeros(len(names), dtype=np.uint32)] * (4 - len(words))
    into = Hash(0x43B0D7E5, 0x931E8875)
    pool = [into(word) for word in words[:4]]
    for source in range(len(words)):
        for target in range(4):
            if source != target:
                value = pool[source] if source < 4 else words[source]
                mixed = np.uint32(0xCA01F9DD) * pool[target] - np.uint32(0x4973F715) * into(value)
                pool[target] = mixed ^ mixed >> np.uint32(16)
    out = Hash(0x8B51F9DD, 0x58F38DED)
    halves = [out(pool[i % 4]).astype(np.uint64) for i in range(8)]
    return [low | high << HALF for low, high in zip(halves[::2], halves[1::2], strict=True)]


class Hash:
    """SeedSequence's hash of 32 bits, whose constant changes from call to call."""

    def __init__(self, constant: int, factor: int) -> None:
        self.constant, self.factor = constant, factor

    def __call__(self, value: Words) -> Words:
        value = value ^ np.uint32(self.constant)
        self.constant = self.constant * self.factor % 2**32
        value = value * np.uint32(self.constant)
        return value ^ value >> np.uint32(16)
