"""Laws that every pair sampler obeys, and what sets each apart."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lpm.errors import InvalidInput
from training.samplers import (
    BalancedMixedLabels,
    ClassAware,
    ClassBalanced,
    Coverage,
    LabelOccurrence,
    PairSampler,
    Random,
    permuted,
    unranked,
)

MAKE: dict[str, Callable[..., PairSampler]] = {
    "random": Random,
    "cbs": ClassBalanced,
    "lom": LabelOccurrence,
    "cas": ClassAware,
    "cas m=1": lambda labels, **k: ClassAware(labels, m=1, **k),
    "bmls": BalancedMixedLabels,
    "bmls all": lambda labels, **k: BalancedMixedLabels(labels, ordered=True, **k),
    "coverage 0": lambda labels, **k: Coverage(labels, ratio=0.0, **k),
    "coverage 0.6": lambda labels, **k: Coverage(labels, ratio=0.6, **k),
}
COUNTS = np.array([200, 90, 41, 18, 8])
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(5), COUNTS))


def table(sampler: PairSampler, epoch: int) -> np.ndarray:
    """Label-pair counts (K, K) of an epoch."""
    pairs = sampler.labels[sampler.pairs(epoch)]
    counts = np.zeros((sampler.K, sampler.K), dtype=int)
    np.add.at(counts, (pairs[:, 0], pairs[:, 1]), 1)
    return counts


@pytest.mark.parametrize("name", MAKE)
def test_an_epoch_is_n_pairs_of_valid_indices_and_depends_on_seed_and_epoch_alone(name: str) -> None:
    one, two, other = (MAKE[name](LABELS, seed=s) for s in (3, 3, 4))
    later = one.pairs(7)
    assert later.shape == (len(LABELS), 2)
    assert later.min() >= 0
    assert later.max() < len(LABELS)
    for epoch in range(3):
        two.pairs(epoch)  # the past must not matter
    assert np.array_equal(two.pairs(7), later)
    assert not np.array_equal(two.pairs(8), later)
    assert not np.array_equal(other.pairs(7), later)


@pytest.mark.parametrize("name", MAKE)
def test_iteration_walks_through_the_epochs_and_resumes(name: str) -> None:
    sampler = MAKE[name](LABELS, seed=1)
    assert len(sampler) == len(LABELS)
    first, second = list(sampler), list(sampler)
    assert first == [tuple(p) for p in sampler.pairs(0).tolist()]
    assert second == [tuple(p) for p in sampler.pairs(1).tolist()]
    state = sampler.state_dict()
    resumed = MAKE[name](LABELS, seed=1)
    resumed.load_state_dict(state)
    assert list(resumed) == list(sampler)
    with pytest.raises(InvalidInput, match="of seed 1, not 2"):
        MAKE[name](LABELS, seed=2).load_state_dict(state)


@pytest.mark.parametrize("name", MAKE)
def test_a_class_without_an_image_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="class 1 has no image"):
        MAKE[name](np.array([0, 0, 2]))


def test_random_uses_every_image_once_on_each_side() -> None:
    pairs = Random(LABELS, seed=0, batch=32).pairs(5)
    for side in (0, 1):
        assert np.array_equal(np.sort(pairs[:, side]), np.arange(len(LABELS)))
    for start in range(0, len(LABELS), 32):
        batch = pairs[start : start + 32]
        assert np.array_equal(np.sort(batch[:, 0]), np.sort(batch[:, 1]))


@pytest.mark.parametrize("name", ["cbs", "lom", "cas", "cas m=1", "bmls", "bmls all"])
def test_class_balanced_samplers_balance_classes(name: str) -> None:
    sampler = MAKE[name](LABELS, seed=0)
    total = sum(table(sampler, e) for e in range(30))
    seen = total.sum(axis=0) + total.sum(axis=1)
    assert seen.max() / seen.min() < 1.08


@pytest.mark.parametrize("m", [1, 4])
def test_class_aware_counts_differ_by_at_most_one_visit_and_images_cycle(m: int) -> None:
    sampler = ClassAware(LABELS, seed=2, m=m)
    firsts = np.concatenate([sampler.pairs(e)[:, 0] for e in range(6)])
    classes = np.bincount(LABELS[firsts], minlength=5)
    assert classes.max() - classes.min() <= m
    for k in range(5):
        used = np.bincount(firsts, minlength=len(LABELS))[k == LABELS]
        assert used.max() - used.min() <= 1


@pytest.mark.parametrize("ordered", [False, True])
def test_balanced_mixed_labels_never_differ_by_more_than_one_over_any_number_of_epochs(ordered: bool) -> None:
    sampler = BalancedMixedLabels(LABELS, seed=5, ordered=ordered)
    allowed = np.ones((5, 5), dtype=bool) if ordered else np.triu(np.ones((5, 5), dtype=bool), 1)
    total = np.zeros((5, 5), dtype=int)
    used = np.zeros(len(LABELS), dtype=int)
    for epoch in range(12):
        counts = table(sampler, epoch)
        assert counts[~allowed].sum() == 0
        total += counts
        assert np.ptp(total[allowed]) <= 1
        used += np.bincount(sampler.pairs(epoch).ravel(), minlength=len(LABELS))
        for k in range(5):
            assert np.ptp(used[k == LABELS]) <= 1


def test_more_label_pairs_than_images_are_all_reached_in_turn() -> None:
    labels = np.arange(40)  # 780 label pairs, 40 pairs an epoch
    sampler = BalancedMixedLabels(labels, seed=0)
    seen = sum(table(sampler, e) for e in range(20))
    assert (seen[np.triu_indices(40, 1)] >= 1).all()
    assert seen.max() <= 2


def test_coverage_uses_the_chosen_share_of_classes() -> None:
    sampler = Coverage(np.repeat(np.arange(10), 30), seed=0, ratio=0.6)
    sets = []
    for epoch in range(4):
        counts = table(sampler, epoch)
        assert (counts > 0).sum() == 15
        assert np.ptp(counts[counts > 0]) <= 1
        sets.append(tuple(np.flatnonzero(counts.sum(axis=0) + counts.sum(axis=1))))
    assert len(set(sets)) > 1
    alone = table(Coverage(np.repeat(np.arange(10), 30), seed=0, ratio=0.0), 0)
    assert np.array_equal(alone, np.diag(np.diag(alone)))
    with pytest.raises(InvalidInput, match="outside"):
        Coverage(LABELS, ratio=1.2)


@settings(max_examples=60, deadline=None)
@given(P=st.integers(1, 3000), key=st.integers(0, 10**6))
def test_permuted_is_a_permutation(P: int, key: int) -> None:
    assert np.array_equal(np.sort(permuted(np.arange(P), P, [key])), np.arange(P))


@settings(max_examples=40, deadline=None)
@given(K=st.integers(2, 60))
def test_unranked_lists_every_label_pair_once(K: int) -> None:
    a, b = np.triu_indices(K, 1)
    assert np.array_equal(unranked(np.arange(len(a)), K, ordered=False), np.stack([a, b], axis=1))
    assert len(np.unique(unranked(np.arange(K * K), K, ordered=True), axis=0)) == K * K


def test_unranked_is_exact_at_the_largest_data_set() -> None:
    K = 8142
    P = K * (K - 1) // 2
    ends = np.array([0, K - 2, K - 1, P - 2, P - 1, P // 2])
    a, b = unranked(ends, K, ordered=False).T
    assert np.array_equal(a * (2 * K - a - 1) // 2 + b - a - 1, ends)
    assert (a < b).all()
    assert b.max() < K


def test_balanced_mixed_labels_at_8142_classes_needs_no_memory_for_33_million_label_pairs() -> None:
    labels = np.repeat(np.arange(8142), 3)
    sampler = BalancedMixedLabels(labels, seed=0)
    tracemalloc.start()
    sampler.pairs(1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 60e6


def test_a_single_class_makes_no_label_pair() -> None:
    with pytest.raises(InvalidInput, match="no label pair a < b"):
        BalancedMixedLabels(np.zeros(4, dtype=int))
