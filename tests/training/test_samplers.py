"""Laws that every pair sampler obeys, and what sets each apart."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from lpm.console.errors import InvalidInput
from training.sampling.label_pairs import permuted, unranked
from training.sampling.samplers import (
    BalancedMixedLabels,
    ClassAware,
    ClassBalanced,
    Coverage,
    LabelOccurrence,
    PairSampler,
    Random,
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


N = len(LABELS)
POSITIONS = (0, 1, *np.random.default_rng(5).integers(2, N - 1, size=3).tolist(), N - 1, N)


@pytest.mark.parametrize("name", MAKE)
def test_a_state_saved_in_mid_epoch_resumes_at_the_next_pair_and_goes_on_with_the_next_epochs(name: str) -> None:
    sampler = MAKE[name](LABELS, seed=1)
    epochs = [[tuple(p) for p in sampler.pairs(e).tolist()] for e in range(4)]
    sampler.set_epoch(2)
    walk, states = iter(sampler), {0: sampler.state_dict()}
    for position in range(1, N + 1):
        assert next(walk) == epochs[2][position - 1]
        states[position] = sampler.state_dict()
    for position in POSITIONS:
        state = json.loads(json.dumps(states[position]))
        assert state == {"epoch": 2, "position": position, "seed": 1}
        resumed = MAKE[name](LABELS, seed=1)
        next(iter(resumed))  # what was done before must not matter
        resumed.load_state_dict(state)
        assert resumed.state_dict() == state
        assert list(resumed) == epochs[2][position:]
        assert list(resumed) == epochs[3]
    assert next(walk, None) is None
    assert sampler.state_dict() == {"epoch": 3, "position": 0, "seed": 1}


class Indices(Dataset[Any]):
    """A data set whose items are their own indices."""

    def __len__(self) -> int:
        return N

    def __getitem__(self, pair: tuple[int, int]) -> torch.Tensor:
        return torch.tensor(pair)


def loader(sampler: PairSampler, batch: int, *, drop_last: bool = False) -> DataLoader[Any]:
    return DataLoader(Indices(), batch_size=batch, sampler=sampler, drop_last=drop_last)


@pytest.mark.parametrize("batch", [16, 51])  # 357 pairs: the last batch of 16 is cut short, that of 51 is not
@pytest.mark.parametrize("name", MAKE)
def test_a_data_loader_resumes_at_the_batch_after_the_one_in_hand(name: str, batch: int) -> None:
    sampler = MAKE[name](LABELS, seed=1)
    whole = [[b.tolist() for b in loader(sampler, batch)] for _ in range(3)]
    batches = len(whole[1])
    for done in (1, 4, batches):
        first = MAKE[name](LABELS, seed=1)
        walks = loader(first, batch)
        assert [b.tolist() for b in walks] == whole[0]
        for number, _ in enumerate(walks, start=1):
            if number == done:
                break
        resumed = MAKE[name](LABELS, seed=1)
        resumed.load_state_dict(first.state_dict())
        rest = [b.tolist() for b in loader(resumed, batch)]
        if done == batches and N % batch:  # a loader that cuts the last batch short has reached the end of the epoch
            assert rest == whole[2]
        else:
            assert rest == whole[1][done:]
            assert [b.tolist() for b in loader(resumed, batch)] == whole[2]


@pytest.mark.parametrize("name", MAKE)
def test_an_iteration_that_is_abandoned_gives_way_to_the_next_epoch(name: str) -> None:
    sampler = MAKE[name](LABELS, seed=1)
    epochs = [[tuple(p) for p in sampler.pairs(e).tolist()] for e in range(6)]
    abandoned = iter(sampler)
    assert [next(abandoned) for _ in range(5)] == epochs[0][:5]
    iter(sampler)  # nothing is taken from it, so nothing is begun
    newer = iter(sampler)
    assert [next(newer) for _ in range(3)] == epochs[1][:3]
    assert list(abandoned) == epochs[0][5:]  # goes on, and counts no longer
    assert sampler.state_dict() == {"epoch": 1, "position": 3, "seed": 1}
    assert list(newer) == epochs[1][3:]
    assert list(sampler) == epochs[2]
    for _ in loader(sampler, 16):
        break
    next(iter(sampler))
    sampler.set_epoch(5)
    assert sampler.state_dict() == {"epoch": 5, "position": 0, "seed": 1}
    assert list(sampler) == epochs[5]


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"epoch": 2, "position": 5, "seed": 2}, "has seed 2, not 1; give one of the same seed"),
        ({"epoch": 2, "position": -1, "seed": 1}, r"position -1, outside 0\.\.357"),
        ({"epoch": 2, "position": N + 1, "seed": 1}, r"position 358, outside 0\.\.357"),
        ({"epoch": -1, "position": 0, "seed": 1}, "epoch -1 must be at least 0"),
        ({"epoch": 2, "position": 5}, "lacks a whole number for epoch, position or seed"),
        ({"position": 5, "seed": 1}, "lacks a whole"),
        ({"epoch": 2.5, "position": 5, "seed": 1}, "lacks a whole"),
        ({"epoch": 2, "position": "5", "seed": 1}, "lacks a whole"),
        ({"weights": "\n" * 1000}, "lacks a whole"),
        (None, "lacks a whole"),
    ],
)
def test_a_state_that_is_not_this_samplers_is_refused_and_changes_nothing(state: Any, message: str) -> None:
    sampler = Random(LABELS, seed=1)
    walk = iter(sampler)
    next(walk)
    with pytest.raises(InvalidInput, match=message) as error:
        sampler.load_state_dict(state)
    assert "\n" not in str(error.value)
    assert next(walk) == tuple(sampler.pairs(0)[1])
    assert sampler.state_dict() == {"epoch": 0, "position": 2, "seed": 1}


def test_a_state_of_an_older_version_is_the_start_of_its_epoch() -> None:
    sampler = Random(LABELS, seed=1)
    next(iter(sampler))
    sampler.load_state_dict({"epoch": 2, "seed": 1})
    assert list(sampler) == [tuple(p) for p in sampler.pairs(2)]


@pytest.mark.parametrize("world", [1, 2, 3, 4])
@pytest.mark.parametrize("name", MAKE)
def test_processes_share_an_epoch_and_each_of_its_batches(name: str, world: int) -> None:
    B = 128 - 128 % world  # the paper's batch, or the multiple of the world size below it
    pairs = MAKE[name](LABELS, seed=1, batch=B).pairs(3)
    shards = [MAKE[name](LABELS, seed=1, batch=B).pairs(3)[rank::world] for rank in range(world)]
    assert sorted(map(tuple, np.concatenate(shards))) == sorted(map(tuple, pairs))
    local = B // world
    for n in range(-(-N // B)):
        together = np.concatenate([shard[n * local : (n + 1) * local] for shard in shards])
        assert sorted(map(tuple, together)) == sorted(map(tuple, pairs[n * B : (n + 1) * B]))


@pytest.mark.parametrize("name", MAKE)
def test_a_class_without_an_image_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="class 1 has no image"):
        MAKE[name](np.array([0, 0, 2]))
    with pytest.raises(InvalidInput, match="class 2 has no image"):
        MAKE[name](np.array([0, 1, 2**60]))  # not an array of counts for every number up to it


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        ([], {}, r"labels \(N,\), whole numbers of at least 0, not float64 of shape \(0,\)"),
        ([[0, 1]], {}, r"shape \(1, 2\)"),
        ([0.0, 0.5, 1.0], {}, "not float64"),
        ([0, 1, -1], {}, "at least 0"),
        ([0, 1], {"batch": 0}, "batch 0 at least 1"),
        ([0, 1], {"seed": -1}, "seed -1 must be at least 0"),
        ([0, 1], {"m": 0}, "m = 0, the images per visit of a class, must be at least 1"),
    ],
)
def test_what_no_sampler_can_use_is_refused(labels: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        ClassAware(labels, **options)


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


def test_coverage_mixes_the_chosen_share_of_classes_and_leaves_the_others_to_themselves() -> None:
    labels = np.repeat(np.arange(10), 30)
    sampler = Coverage(labels, seed=0, ratio=0.6)
    sets = []
    for epoch in range(4):
        counts = table(sampler, epoch)
        across, alone = counts[np.triu_indices(10, 1)], np.diag(counts)
        assert counts.sum() == 300
        assert np.tril(counts, -1).sum() == 0
        assert (across > 0).sum() == 15  # six classes
        assert np.ptp(across[across > 0]) == 0  # 180 pairs
        assert (alone > 0).sum() == 4
        assert np.ptp(alone[alone > 0]) == 0  # 120 pairs
        slots = counts.sum(axis=0) + counts.sum(axis=1)
        assert np.ptp(slots) == 0  # every class as often as the others
        sets.append(tuple(np.flatnonzero(alone == 0)))
    assert len(set(sets)) > 1
    nobody = table(Coverage(labels, seed=0, ratio=0.1), 0)  # a single class has no partner
    assert np.array_equal(nobody, 30 * np.eye(10, dtype=int))
    everybody = table(Coverage(labels, seed=0, ratio=1.0), 0)
    assert np.diag(everybody).sum() == 0
    assert np.ptp(everybody[np.triu_indices(10, 1)]) <= 1
    with pytest.raises(InvalidInput, match="outside"):
        Coverage(LABELS, ratio=1.2)


@settings(max_examples=60, deadline=None)
@given(P=st.integers(1, 3000), key=st.integers(0, 10**6))
def test_permuted_is_a_permutation(P: int, key: int) -> None:
    sequence = permuted(np.arange(3 * P), P, [key])
    for cycle in sequence.reshape(3, P):
        assert np.array_equal(np.sort(cycle), np.arange(P))
    assert np.array_equal(permuted(np.arange(P // 2, 2 * P), P, [key]), sequence[P // 2 : 2 * P])


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


PAIRS_OF_0_1_60 = {
    "random": "40692ffc c74f4ab4 b33f33d2",
    "cbs": "d035a09e d1cf06d4 8fdbae15",
    "lom": "7b919cd6 d11aede8 fe890ba0",
    "cas": "3e7eae64 640f459b 646d193b",
    "cas m=1": "857d3c1a 34aaf712 b2b04ab6",
    "bmls": "6f5f5453 f0dfa906 6aec61df",
    "bmls all": "00e2f5d9 915ea731 8fd20129",
    "coverage 0": "d952e582 bb21ef67 38d12db9",
    "coverage 0.6": "dfb9d957 f018e44f 1882b98a",
}
"""First digits of the SHA-256 of epochs 0, 1 and 60, as the first version of the samplers drew them for stored runs."""


@pytest.mark.parametrize("name", MAKE)
def test_pairs_are_those_that_stored_runs_were_trained_on(name: str) -> None:
    counts = [150, 40, 17, 9, 6, 5, 4, 3, 3, 2, 2, 1]
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(12), counts))
    sampler = MAKE[name](labels, seed=2**40 + 3)
    hashes = [hashlib.sha256(sampler.pairs(e).astype("<i8").tobytes()).hexdigest()[:8] for e in (0, 1, 60)]
    assert " ".join(hashes) == PAIRS_OF_0_1_60[name]


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("chunk", [7, 2**16])
def test_uses_before_an_epoch_are_those_of_all_epochs_before_it(
    ordered: bool, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.sampling.samplers.CHUNK", chunk)
    labels = np.arange(40) % 23  # 253 label pairs a < b or 529, 40 an epoch
    first = BalancedMixedLabels(labels, seed=3, ordered=ordered)
    used = np.zeros(23, dtype=int)
    for epoch in range(30):
        late = BalancedMixedLabels(labels, seed=3, ordered=ordered)
        assert np.array_equal(late.used_before(epoch), used)
        used += np.bincount(first.label_pairs(epoch).ravel(), minlength=23)
