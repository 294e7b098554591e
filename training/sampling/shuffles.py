"""Many short rows shuffled at once, each exactly as a NumPy generator of its own would shuffle it.

An epoch of BMLS at iNaturalist 2018's size shuffles classes 250,000 times, 3.5 images each. NumPy takes ten
microseconds to make a generator, which would be three seconds. Here a step of all generators is one array operation.
The parts restate NumPy's:

- the hash of SeedSequence (O'Neill's seed_seq);
- PCG64 (PCG XSL-RR 128/64), whose 32-bit draws are the halves of a 64-bit draw, the lower half first;
- the Fisher-Yates shuffle, whose draws are masked and repeated while they are too large.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint32]
Longs = NDArray[np.uint64]

HALF, LOWER = np.uint64(32), np.uint64(2**32 - 1)
FEW = 16
"""With fewer rows than this per column, array operations cost more than one NumPy generator for each row."""
MULTIPLIER = 0x2360ED051FC65DA44385DF649FCCF645
"""The multiplier of PCG with 128 bits of state."""


def shuffle_rows(rows: np.ndarray, seed: int, names: np.ndarray) -> None:
    """Shuffle every row in place, row i as ``np.random.default_rng([seed, *names[i]]).shuffle`` does.

    Args:
        rows: (m, n), any type; changed in place.
        seed: whole number of at least 0, of any size.
        names: the words that name each row's generator, (m, c) whole numbers of at least 0.
    """
    m, n = rows.shape
    if m < FEW * n or names.max(initial=0) >= 2**32:
        for row, name in zip(rows, names.tolist(), strict=True):
            np.random.default_rng([seed, *name]).shuffle(row)
        return
    generators, all_rows = Generators(seed, names), np.arange(m)
    for last in range(n - 1, 0, -1):
        chosen = generators.integers(last + 1)
        rows[all_rows, last], rows[all_rows, chosen] = rows[all_rows, chosen], rows[all_rows, last]


class Generators:
    """m PCG64 generators, each of which advances only when it draws.

    Args:
        seed: whole number of at least 0, of any size.
        names: the words that name each generator, (m, c) whole numbers from 0 to 2^32 - 1.
    """

    def __init__(self, seed: int, names: np.ndarray) -> None:
        state = seed_words(seed, names)
        m = len(names)
        # PCG's increment must be odd: the seed's second half, shifted by one bit, with the last bit set. PCG starts
        # from state 0 and advances once before and once after the first half of the seed is added.
        self.step = state[2] << np.uint64(1) | state[3] >> np.uint64(63), state[3] << np.uint64(1) | np.uint64(1)
        self.high, self.low = added(self.step, (state[0], state[1]))
        self.spare, self.has_spare = np.zeros(m, dtype=np.uint32), np.zeros(m, dtype=bool)
        self._advance(np.arange(m))

    def integers(self, bound: int) -> NDArray[np.int64]:
        """Draw one number from every generator.

        Args:
            bound: the numbers are below it; at most 2^32.

        Returns:
            Numbers in 0..bound-1, (m,).
        """
        mask = np.uint32((1 << (bound - 1).bit_length()) - 1)
        draws = np.empty(len(self.high), dtype=np.int64)
        pending = np.arange(len(draws))
        while pending.size:
            draws[pending] = self._words(pending) & mask
            pending = pending[draws[pending] >= bound]
        return draws

    def _words(self, which: NDArray[np.int64]) -> Words:
        """The next 32 bits of some generators."""
        words, spare = self.spare[which], self.has_spare[which]
        fresh = which[~spare]
        self._advance(fresh)
        high, low = self.high[fresh], self.low[fresh]
        # PCG's output function XSL-RR: the halves of the state xored, then rotated right by its six uppermost bits.
        turn, bits = high >> np.uint64(58), high ^ low
        output = bits >> turn | bits << (np.uint64(64) - turn & np.uint64(63))
        words[~spare] = output & LOWER
        self.spare[fresh] = output >> HALF
        self.has_spare[which] = ~spare
        return words

    def _advance(self, which: NDArray[np.int64]) -> None:
        product = multiplied((self.high[which], self.low[which]), MULTIPLIER)
        self.high[which], self.low[which] = added(product, (self.step[0][which], self.step[1][which]))


def added(x: tuple[Longs, Longs], y: tuple[Longs, Longs]) -> tuple[Longs, Longs]:
    """Add 128-bit numbers modulo 2^128.

    Args:
        x: upper and lower halves of the first summands, (m,) each.
        y: the same of the second ones.

    Returns:
        Upper and lower halves of the sums.
    """
    low = x[1] + y[1]
    return x[0] + y[0] + (low < y[1]), low


def multiplied(x: tuple[Longs, Longs], factor: int) -> tuple[Longs, Longs]:
    """Multiply 128-bit numbers by a constant modulo 2^128.

    The lower halves are multiplied as in long multiplication, with digits of 32 bits: their product has 128 bits.

    Args:
        x: upper and lower halves of the numbers, (m,) each.
        factor: 0..2^128-1.

    Returns:
        Upper and lower halves of the products.
    """
    high, low = (np.uint64(part) for part in divmod(factor, 2**64))
    a, b, c, d = x[1] >> HALF, x[1] & LOWER, low >> HALF, low & LOWER
    bd, ad, bc = b * d, a * d, b * c
    carry = (bd >> HALF) + (ad & LOWER) + (bc & LOWER)
    upper = a * c + (ad >> HALF) + (bc >> HALF) + (carry >> HALF)
    return upper + x[0] * low + x[1] * high, x[1] * low


def seed_words(seed: int, names: np.ndarray) -> list[Longs]:
    """Compute ``SeedSequence([seed, *names[i]]).generate_state(4, np.uint64)`` for every i.

    Args:
        seed: whole number of at least 0, of any size.
        names: (m, c), whole numbers from 0 to 2^32 - 1.

    Returns:
        The four words of each sequence, as four arrays (m,).
    """
    seeds = [seed >> shift & 0xFFFFFFFF for shift in range(0, max(seed.bit_length(), 1), 32)]
    words = [np.full(len(names), word, dtype=np.uint32) for word in seeds] + list(names.T.astype(np.uint32))
    words += [np.zeros(len(names), dtype=np.uint32)] * (4 - len(words))
    # The pool of four words: each is hashed, then every word is mixed into all the others.
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
    """SeedSequence's hash of 32-bit words, whose constant changes from call to call.

    Args:
        constant: the first constant.
        factor: each call multiplies the constant by it, modulo 2^32.
    """

    def __init__(self, constant: int, factor: int) -> None:
        self.constant, self.factor = constant, factor

    def __call__(self, value: Words) -> Words:
        """Hash words, (m,), with the present constant."""
        value = value ^ np.uint32(self.constant)
        self.constant = self.constant * self.factor % 2**32
        value = value * np.uint32(self.constant)
        return value ^ value >> np.uint32(16)
