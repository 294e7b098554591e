"""Laws that every pair sampler obeys, and what sets each apart."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from lpm.console.errors import InvalidInput
from tests.started import together
from training.config import RunConfig
from training.model import build
from training.sampling.balanced import BalancedMixedLabels, Coverage
from training.sampling.label_pairs import permuted, unranked
from training.sampling.pair_sampler import PairSampler
from training.sampling.pairs import WithRatios
from training.sampling.samplers import ClassAware, ClassBalanced, LabelOccurrence, Random
from training.sampling.two_laws import Bilateral, Deferred, Tempered, WeightedPartners

MAKE: dict[str, Callable[..., PairSampler]] = {
    "random": Random,
    "cbs": ClassBalanced,
    "lom": LabelOccurrence,
    "cas": ClassAware,
    "cas m=1": lambda labels, **k: ClassAware(labels, m=1, **k),
    "bmls": BalancedMixedLabels,
    "bmls all": lambda labels, **k: BalancedMixedLabels(labels, ordered=True, **k),
    "bilateral": Bilateral,
    "bilateral -1": lambda labels, **k: Bilateral(labels, power=-1.0, **k),
    "tempered": Tempered,
    "unimix": WeightedPartners,
    "cas after random": lambda labels, **k: Deferred(Random(labels, **k), ClassAware(labels, **k), 7),
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


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("world", [2, 3, 5])
@pytest.mark.parametrize("name", MAKE)
def test_ranks_get_equally_many_pairs_those_that_a_distributed_sampler_would_take(
    name: str, world: int, drop_last: bool
) -> None:
    pairs = MAKE[name](LABELS, seed=1).pairs(0)
    for rank in range(world):
        sampler = MAKE[name](LABELS, seed=1, rank=rank, world_size=world, drop_last=drop_last)
        taken = list(DistributedSampler(Indices(), world, rank, shuffle=False, drop_last=drop_last))
        assert list(sampler) == [tuple(p) for p in pairs[taken].tolist()]
        assert len(sampler) == len(taken)
        assert len(list(sampler)) == len(taken)  # the next epoch, too
        assert np.array_equal(sampler.pairs(0), pairs)  # of all ranks


class Listed(Dataset[Any]):
    """A sampler's epoch as a data set, as Lightning wraps it for a DistributedSampler."""

    def __init__(self, sampler: Any) -> None:
        self.sampler, self.epoch = sampler, list[Any]()

    def __len__(self) -> int:
        return len(self.sampler)

    def __getitem__(self, index: int) -> Any:
        return self.epoch[index]


class Wrapped(DistributedSampler[Any]):
    """What Lightning makes of a sampler by default, in the lines that matter."""

    def __iter__(self) -> Iterator[Any]:
        assert isinstance(self.dataset, Listed)
        self.dataset.epoch = list(self.dataset.sampler)
        return (self.dataset[i] for i in super().__iter__())


class BatchSamplerShard:
    """What Accelerate makes of the batches of a sampler, in the lines that matter."""

    def __init__(self, sampler: Any, num_processes: int) -> None:
        self.sampler, self.num_processes = sampler, num_processes

    def __iter__(self) -> Iterator[Any]:
        for number, pair in enumerate(self.sampler):
            if number % self.num_processes == 0:
                yield pair


@pytest.mark.parametrize("ratios", [False, True])
@pytest.mark.parametrize("library", ["Lightning", "Accelerate"])
def test_a_share_that_a_library_divides_again_is_a_warning(library: str, ratios: bool) -> None:
    def divided(processes: int, **place: int) -> Any:
        sampler: Any = Random(LABELS, seed=1, **place)
        sampler = WithRatios(sampler) if ratios else sampler
        if library == "Accelerate":
            return BatchSamplerShard(sampler, processes)
        return Wrapped(Listed(sampler), processes, 0, shuffle=False)

    with pytest.warns(
        UserWarning, match="divides this process's share of the pairs among 2 processes once more"
    ) as told:
        half = len(list(divided(2, rank=0, world_size=2)))
    assert half <= -(-len(LABELS) // 4) + 1  # what the warning is about
    assert len(told) == 1
    assert "\n" not in str(told[0].message)
    # Warnings are errors: none of these warns.
    assert len(list(divided(2, rank=0, world_size=1))) == -(-len(LABELS) // 2)
    assert len(list(divided(1, rank=0, world_size=2))) == -(-len(LABELS) // 2)
    assert len(list(DataLoader(Indices(), sampler=Random(LABELS, rank=0, world_size=2), batch_size=None))) > 0


def test_fewer_pairs_than_ranks_are_repeated_or_refused() -> None:
    labels, world = np.array([0, 1, 1]), 8
    shares = [list(Random(labels, rank=rank, world_size=world)) for rank in range(world)]
    pairs = [tuple(p) for p in Random(labels).pairs(0).tolist()]
    assert [pair for share in shares for pair in share] == (3 * pairs)[:world]
    with pytest.raises(InvalidInput, match="3 pairs leave none for 8 ranks; take drop_last=False"):
        Random(labels, rank=0, world_size=world, drop_last=True)


def joined(monkeypatch: pytest.MonkeyPatch, rank: int, world: int) -> None:
    """As in a process that has called torch.distributed.init_process_group."""
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_rank", lambda: rank)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: world)


@pytest.mark.parametrize("name", MAKE)
def test_rank_and_world_size_are_those_of_torch_distributed_unless_they_are_given(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = MAKE[name](LABELS)
    assert (alone.rank, alone.world_size) == (0, 1)
    joined(monkeypatch, 2, 4)
    sampler, given = MAKE[name](LABELS), MAKE[name](LABELS, rank=1, world_size=3)
    assert (sampler.rank, sampler.world_size, len(sampler)) == (2, 4, 90)
    assert (given.rank, given.world_size) == (1, 3)
    with pytest.raises(InvalidInput, match=r"rank 2 must be .* below world_size 1; give both"):
        MAKE[name](LABELS, world_size=1)


@pytest.mark.parametrize("options", [{"rank": 2, "world_size": 2}, {"rank": -1, "world_size": 2}, {"world_size": 0}])
def test_a_rank_outside_the_world_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(InvalidInput, match=r"must be at least 0 and below world_size"):
        Random(LABELS, **options)


def test_the_trainer_draws_the_pairs_of_all_processes_whatever_torch_distributed_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = RunConfig(dataset="digits-lt", sampler="bmls")
    alone = build.sampler(config, LABELS)
    joined(monkeypatch, 2, 4)
    sampler = build.sampler(config, LABELS)
    assert (sampler.rank, sampler.world_size) == (0, 1)
    assert list(sampler) == list(alone)


@pytest.mark.parametrize("name", ["random", "cas", "bmls"])
def test_all_ranks_resume_from_the_state_of_any_one(name: str) -> None:
    def of(rank: int) -> PairSampler:
        return MAKE[name](LABELS, seed=1, rank=rank, world_size=4)

    epochs = [[list(sampler) for _ in range(2)] for sampler in map(of, range(4))]
    first = of(0)
    walk = iter(first)
    for _ in range(37):
        next(walk)
    state = json.loads(json.dumps(first.state_dict()))
    assert state == {"epoch": 0, "position": 37, "seed": 1, "world_size": 4}
    for rank in range(4):
        resumed = of(rank)
        resumed.load_state_dict(state)
        assert list(resumed) == epochs[rank][0][37:]
        assert list(resumed) == epochs[rank][1]


@pytest.mark.parametrize("drop_last", [False, True])
def test_a_state_of_another_number_of_ranks_goes_on_where_they_were_together(drop_last: bool) -> None:
    def of(rank: int, world: int) -> PairSampler:
        return Random(LABELS, seed=1, rank=rank, world_size=world, drop_last=drop_last)

    pairs = [tuple(p) for p in of(0, 1).pairs(3).tolist()]
    state = {"epoch": 3, "position": 30, "seed": 1, "world_size": 4}
    for rank in range(2):
        resumed = of(rank, 2)
        resumed.load_state_dict(state)
        assert list(resumed)[:100] == pairs[120 + rank :: 2][:100]
    alone = of(0, 1)
    alone.load_state_dict(state)
    assert list(alone) == pairs[120:]
    whole = {"epoch": 3, "position": len(of(0, 4)), "seed": 1, "world_size": 4}  # 360 pairs of 357, or 356
    for world in (1, 2, 3):
        resumed = of(0, world)
        resumed.load_state_dict(whole)
        assert list(resumed) == []
        assert resumed.epoch == 4
    for wrong, message in (
        ({"position": 31}, "position 31 of 4 ranks, 124 pairs, which 3 ranks cannot share"),
        ({"position": 900}, "outside 0..119"),
        ({"world_size": 0}, "world_size 0, which must be at least 1"),
        ({"world_size": "4"}, "lacks a whole number"),
    ):
        with pytest.raises(InvalidInput, match=message):
            of(0, 3).load_state_dict({**state, **wrong})


@pytest.mark.parametrize("name", MAKE)
@pytest.mark.parametrize("classes", [[0, 1, 3, 4, 9], [1, 2, 3, 4, 5], [0, 7, 2**40, 2**60, 2**60 + 1]])
def test_classes_without_images_are_left_out_and_the_others_keep_their_order(name: str, classes: list[int]) -> None:
    plain, gapped = MAKE[name](LABELS, seed=1), MAKE[name](np.array(classes)[LABELS], seed=1)
    assert np.array_equal(gapped.pairs(3), plain.pairs(3))
    assert gapped.K == 5
    assert np.array_equal(gapped.classes, classes)
    assert np.array_equal(gapped.labels, LABELS)


def test_the_trainer_refuses_data_without_images_of_a_class() -> None:
    config = RunConfig(dataset="digits-lt", sampler="bmls")
    for labels, message in (([0, 0, 2], "class 1 has no image"), ([1, 1, 2], "class 0 has no image")):
        with pytest.raises(InvalidInput, match=message):
            build.sampler(config, np.array(labels))


class Labelled(Indices):
    """A data set whose items must not be loaded."""

    def __getitem__(self, pair: tuple[int, int]) -> torch.Tensor:
        raise AssertionError


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (Labelled(), "needs the labels .*, not a Labelled; give one whole number per image"),
        (
            [(np.zeros(3), 0), (np.zeros(3), 1)],
            "NumPy can make no array of this list; give one number per image in a list",
        ),
        (torch.zeros(3, dtype=torch.int64, device="meta"), "no array of this Tensor; give .* a tensor on the CPU"),
        (["cat", "dog"], "not <U3 of shape"),
        (None, "not object of shape"),
    ],
)
def test_what_is_no_list_of_labels_is_refused_in_one_line(labels: Any, message: str) -> None:
    for name in ("random", "bmls"):
        with pytest.raises(InvalidInput, match=message) as error:
            MAKE[name](labels)
        assert "\n" not in str(error.value)
    assert Random([0, 1, 1]).K == Random(torch.tensor([0, 1, 1])).K == 2  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        ([], {}, r"labels \(N,\), whole numbers of at least 0, not float64 of shape \(0,\)"),
        ([[0, 1]], {}, r"shape \(1, 2\)"),
        ([0.0, 0.5, 1.0], {}, "not float64"),
        ([0, 1, -1], {}, "at least 0"),
        (["cat", "dog"], {}, r"not <U3 of shape \(2,\); names are numbered by np.unique"),
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
    "bilateral": "68ba0342 031da5fe 4b913087",
    "cas after random": "40692ffc c74f4ab4 646d193b",
}
"""First digits of the SHA-256 of epochs 0, 1 and 60, as the first version of the samplers drew them for stored runs.

Samplers that raise counts to a power are left out: the last digits of a power differ between processors.
"""


@pytest.mark.parametrize("name", PAIRS_OF_0_1_60)
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
    monkeypatch.setattr("training.sampling.balanced.CHUNK", chunk)
    labels = np.arange(40) % 23  # 253 label pairs a < b or 529, 40 an epoch
    first = BalancedMixedLabels(labels, seed=3, ordered=ordered)
    used = np.zeros(23, dtype=int)
    for epoch in range(30):
        late = BalancedMixedLabels(labels, seed=3, ordered=ordered)
        assert np.array_equal(late.used_before(epoch), used)
        used += np.bincount(first.label_pairs(epoch).ravel(), minlength=23)


def test_two_processes_take_equally_many_steps_on_different_pairs_and_keep_the_same_weights() -> None:
    ends = together(2, "tests.training.two_processes", OMP_NUM_THREADS="1")
    assert [end.status for end in ends] == [0, 0], ends
    first, second = (json.loads(end.out) for end in ends)
    assert first["steps"] == second["steps"] == 2 * 6  # 45 pairs in batches of 8
    assert first["state"] == second["state"] == {"epoch": 2, "position": 0, "seed": 0, "world_size": 2}
    assert first["weights"] == second["weights"]
    labels = np.repeat([0, 1, 2], [60, 20, 9])
    for epoch in range(2):
        pairs = BalancedMixedLabels(labels, seed=0).pairs(epoch)
        assert first["pairs"][epoch] == pairs[::2].tolist()
        assert second["pairs"][epoch] == [*pairs[1::2].tolist(), pairs[0].tolist()]
