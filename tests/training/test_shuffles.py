"""Rows that are shuffled together are shuffled as NumPy's generators would shuffle each."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.sampling.shuffles import FEW, Generators, multiplied, seed_words, shuffle_rows

WORDS = st.one_of(st.integers(0, 9), st.integers(0, 2**32 - 1))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.one_of(st.integers(0, 9), st.integers(0, 2**70)),
    names=st.integers(1, 4).flatmap(lambda c: st.lists(st.tuples(*[WORDS] * c), min_size=1, max_size=5)),
)
def test_seeds_are_those_of_numpys_seed_sequence(seed: int, names: list[tuple[int, ...]]) -> None:
    all_words = np.stack(seed_words(seed, np.array(names)), axis=1)
    for words, name in zip(all_words, names, strict=True):
        assert np.array_equal(words, np.random.SeedSequence([seed, *name]).generate_state(4, np.uint64))


@pytest.mark.parametrize("seed", [0, 3, 2**32 + 7, 2**62 - 1])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 17, 64])
def test_every_row_is_shuffled_as_by_a_generator_of_its_own(n: int, seed: int) -> None:
    numbers = np.arange(FEW * n)
    names = np.stack([np.ones_like(numbers), 2**20 * numbers, numbers // 3], axis=1)
    rows = np.tile(7 * np.arange(n), (len(names), 1))
    shuffle_rows(rows, seed, names)
    for row, name in zip(rows, names.tolist(), strict=True):
        assert np.array_equal(row, np.random.default_rng([seed, *name]).permutation(7 * np.arange(n)))


@pytest.mark.parametrize("name", [5, 2**32 + 5])
def test_few_rows_and_long_names_are_left_to_numpy(name: int) -> None:
    rows, names = np.tile(np.arange(2), (100, 1)), np.arange(name, name + 100)[:, None]
    shuffle_rows(rows, 1, names)
    for row, number in zip(rows, names[:, 0].tolist(), strict=True):
        assert np.array_equal(row, np.random.default_rng([1, number]).permutation(2))
    few = np.arange(50)[None].copy()
    shuffle_rows(few, 1, names[:1])
    assert np.array_equal(few[0], np.random.default_rng([1, name]).permutation(50))


def test_draws_of_any_bound_are_numpys() -> None:
    generators = Generators(4, np.arange(50)[:, None])
    numpys = [np.random.default_rng([4, i]) for i in range(50)]
    for bound in (1, 2, 3, 1000, 2**31 + 1, 2**32, 7):
        draws = generators.integers(bound)
        assert draws.tolist() == [masked(rng, bound) for rng in numpys]


def masked(rng: np.random.Generator, bound: int) -> int:
    """A number below the bound as NumPy's shuffle draws it; a bound of 1 takes no draw there, and none is asked for."""
    mask = (1 << (bound - 1).bit_length()) - 1
    while (number := int(rng.integers(2**32, dtype=np.uint32)) & mask) >= bound:
        pass
    return number


@settings(max_examples=100, deadline=None)
@given(high=st.integers(0, 2**64 - 1), low=st.integers(0, 2**64 - 1), factor=st.integers(0, 2**128 - 1))
def test_products_are_those_of_whole_numbers_modulo_2_to_the_128(high: int, low: int, factor: int) -> None:
    upper, lower = multiplied((np.array([high], dtype=np.uint64), np.array([low], dtype=np.uint64)), factor)
    assert 2**64 * int(upper[0]) + int(lower[0]) == (2**64 * high + low) * factor % 2**128
