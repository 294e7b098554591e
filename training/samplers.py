"""Pair samplers: each yields N index pairs (i, j) an epoch, the two images that mixup blends.

Every sampler is a function of (labels, seed, epoch): the pairs of an epoch do not depend on which epochs were drawn before,
so a run resumes at any epoch. The state that ``state_dict`` holds is the epoch alone.

=============  =====================================================================================================
random         every image once, its partner by a random permutation of the batch: what mixup does
cbs            class-balanced: N draws, each class equally likely, partner as above (Kang et al. 2020)
cas            class-aware: shuffled cycles through the classes, m images a visit, partner as above (Shen and Lin 2016)
lom            label-occurrence-balanced mixup: two independent class-balanced streams (Zhang et al. 2022)
bmls           balanced mixed labels, a < b: label pairs in a fixed cyclic order, so that over any number of epochs
               the counts of two label pairs differ by at most 1; images of a class cycle without replacement
bmls-all       the same over all K^2 ordered label pairs
coverage       label pairs among a random share of the classes, drawn anew each epoch, balanced (Figure 3)
=============  =====================================================================================================
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import Sampler

from lpm.errors import InvalidInput

ROUNDS = 4
"""Of the Feistel network that permutes label pairs; the order only has to look random."""


class PairSampler(Sampler[tuple[int, int]]):
    """Index pairs of one epoch after another.

    labels: (N,) class of each image, every class of 0..K-1 at least once. batch: within which partners are permuted.

    Raises InvalidInput for a class without an image.
    """

    def __init__(self, labels: np.ndarray, *, seed: int = 0, batch: int = 128) -> None:
        self.labels = np.asarray(labels, dtype=np.int64)
        self.seed, self.batch, self.epoch = seed, batch, 0
        if self.labels.size == 0 or self.labels.min() < 0:
            raise InvalidInput("a sampler needs labels, each at least 0")
        self.counts = np.bincount(self.labels)
        if (self.counts == 0).any():
            raise InvalidInput(f"class {int(np.argmin(self.counts))} has no image; every class needs one")
        self.K = len(self.counts)
        order = np.argsort(self.labels, kind="stable")
        self.members = np.split(order, np.cumsum(self.counts)[:-1])

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The pairs of the current epoch; the next iteration is the next epoch's."""
        pairs = self.pairs(self.epoch)
        self.epoch += 1
        return iter([(int(i), int(j)) for i, j in pairs])

    def pairs(self, epoch: int) -> np.ndarray:
        """The pairs of an epoch, (N, 2) int64."""
        raise NotImplementedError

    def set_epoch(self, epoch: int) -> None:
        """Make ``epoch`` the next one."""
        self.epoch = epoch

    def state_dict(self) -> dict[str, Any]:
        """What resuming needs."""
        return {"epoch": self.epoch, "seed": self.seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume. Raises InvalidInput when the state is of another seed."""
        if state["seed"] != self.seed:
            raise InvalidInput(f"the sampler's state is of seed {state['seed']}, not {self.seed}")
        self.epoch = int(state["epoch"])

    def rng(self, *words: int) -> np.random.Generator:
        """A generator for a purpose, named by numbers; the same for the same seed."""
        return np.random.default_rng([self.seed, *words])

    def with_partners(self, first: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Pair every image with another of its batch, by a random permutation of the batch."""
        second = np.concatenate([rng.permutation(first[i : i + self.batch]) for i in range(0, len(first), self.batch)])
        return np.stack([first, second], axis=1)

    def images_of(self, classes: np.ndarray, start: np.ndarray) -> np.ndarray:
        """Images for a sequence of classes: each class goes through its images without replacement, again and again.

        classes: (n,). start: (K,) images that each class has used before. A class's order in its r-th cycle is shuffled by
        (seed, class, r).
        """
        order = np.argsort(classes, kind="stable")
        visits = np.bincount(classes, minlength=self.K)
        images = np.empty(len(classes), dtype=np.int64)
        ends = np.cumsum(visits)
        for k in np.flatnonzero(visits):
            position = int(start[k]) + np.arange(visits[k])
            cycle, place = np.divmod(position, self.counts[k])
            where = order[ends[k] - visits[k] : ends[k]]
            for r in range(int(cycle[0]), int(cycle[-1]) + 1):
                shuffled = self.rng(1, int(k), r).permutation(self.members[k])
                here = cycle == r
                images[where[here]] = shuffled[place[here]]
        return images


class Random(PairSampler):
    """Every image once; its partner by a random permutation of the batch."""

    def pairs(self, epoch: int) -> np.ndarray:
        rng = self.rng(0, epoch)
        return self.with_partners(rng.permutation(len(self)), rng)


class ClassBalanced(PairSampler):
    """CBS: N draws with replacement, each class equally likely, then each of its images."""

    def pairs(self, epoch: int) -> np.ndarray:
        rng = self.rng(0, epoch)
        return self.with_partners(self.stream(rng), rng)

    def stream(self, rng: np.random.Generator) -> np.ndarray:
        """N class-balanced draws."""
        classes = rng.integers(self.K, size=len(self))
        within = (rng.random(len(self)) * self.counts[classes]).astype(np.int64)
        offsets = np.cumsum(self.counts) - self.counts
        return np.concatenate(self.members)[offsets[classes] + within]


class LabelOccurrence(ClassBalanced):
    """LOM: two independent class-balanced streams."""

    def pairs(self, epoch: int) -> np.ndarray:
        rng = self.rng(0, epoch)
        return np.stack([self.stream(rng), self.stream(rng)], axis=1)


class ClassAware(PairSampler):
    """CAS: the classes in shuffled cycles, ``m`` consecutive images of a class a visit."""

    def __init__(self, labels: np.ndarray, *, seed: int = 0, batch: int = 128, m: int = 4) -> None:
        super().__init__(labels, seed=seed, batch=batch)
        self.m = m

    def pairs(self, epoch: int) -> np.ndarray:
        N, per_cycle = len(self), self.K * self.m
        first, last = epoch * N, (epoch + 1) * N
        # The class of every position from the start of the first cycle that this epoch touches.
        cycles = range(first // per_cycle, -(-last // per_cycle))
        classes = np.concatenate([np.repeat(self.rng(2, c).permutation(self.K), self.m) for c in cycles])
        offset = first - cycles.start * per_cycle
        # Every whole cycle takes m images of each class; within the first one some are used before this epoch starts.
        used = cycles.start * self.m + np.bincount(classes[:offset], minlength=self.K)
        return self.with_partners(self.images_of(classes[offset : offset + N], used), self.rng(0, epoch))


class BalancedMixedLabels(PairSampler):
    """BMLS: the label pairs a < b (or all K^2) in a cyclic pseudo-random order, N of them an epoch.

    Memory does not grow with K^2: position t of the order is unranked by a Feistel permutation of 0..P-1. After any number of
    epochs the counts of two label pairs differ by at most 1. No partner is permuted afterwards.

    Raises InvalidInput when there is no label pair (K = 1 with a < b).
    """

    def __init__(self, labels: np.ndarray, *, seed: int = 0, batch: int = 128, ordered: bool = False) -> None:
        super().__init__(labels, seed=seed, batch=batch)
        self.ordered = ordered
        self.P = self.K**2 if ordered else self.K * (self.K - 1) // 2
        if self.P == 0:
            raise InvalidInput("a single class makes no label pair a < b; use another sampler")
        self._used: list[np.ndarray] = [np.zeros(self.K, dtype=np.int64)]

    def pairs(self, epoch: int) -> np.ndarray:
        classes = self.label_pairs(epoch)
        images = self.images_of(classes.ravel(), self.used_before(epoch))
        return images.reshape(-1, 2)[self.rng(0, epoch).permutation(len(self))]

    def label_pairs(self, epoch: int) -> np.ndarray:
        """The label pairs of an epoch in cyclic order, (N, 2)."""
        cycle, place = np.divmod(epoch * len(self) + np.arange(len(self), dtype=np.int64), self.P)
        number = np.empty_like(place)
        for c in range(int(cycle[0]), int(cycle[-1]) + 1):
            here = cycle == c
            number[here] = permuted(place[here], self.P, [self.seed, 3, c])
        return unranked(number, self.K, ordered=self.ordered)

    def used_before(self, epoch: int) -> np.ndarray:
        """Images that each class has used in all epochs before this one, (K,)."""
        while len(self._used) <= epoch:
            drawn = np.bincount(self.label_pairs(len(self._used) - 1).ravel(), minlength=self.K)
            self._used.append(self._used[-1] + drawn)
        return self._used[epoch]


class Coverage(PairSampler):
    """Figure 3: label pairs a < b among round(ratio K) classes drawn anew each epoch, balanced; below two classes, (a, a)."""

    def __init__(self, labels: np.ndarray, *, seed: int = 0, batch: int = 128, ratio: float = 1.0) -> None:
        super().__init__(labels, seed=seed, batch=batch)
        if not 0 <= ratio <= 1:
            raise InvalidInput(f"coverage ratio {ratio:g} is outside [0, 1]")
        self.ratio = ratio

    def pairs(self, epoch: int) -> np.ndarray:
        rng = self.rng(0, epoch)
        chosen = np.sort(rng.permutation(self.K)[: round(self.ratio * self.K)])
        a, b = np.triu_indices(len(chosen), 1)
        pairs = (
            np.stack([chosen[a], chosen[b]], axis=1) if len(chosen) > 1 else np.repeat(np.arange(self.K)[:, None], 2, 1)
        )
        classes = np.resize(rng.permutation(pairs), (len(self), 2))
        # Where the drawing starts in each class's cycle is random; a class's share differs from epoch to epoch.
        images = self.images_of(classes.ravel(), rng.integers(2**31, size=self.K))
        return images.reshape(-1, 2)[rng.permutation(len(self))]


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


def permuted(place: np.ndarray, P: int, key: list[int]) -> np.ndarray:
    """A pseudo-random permutation of 0..P-1, at the given places: a Feistel network on the next power of 4, walked in cycles."""
    half = max(1, (max(P - 1, 1).bit_length() + 1) // 2)
    mask = np.uint64((1 << half) - 1)
    keys = np.random.default_rng(key).integers(1, 2**63, size=(ROUNDS, 2), dtype=np.uint64) | np.uint64(1)
    found = place.astype(np.uint64)
    outside = np.arange(len(found))
    while outside.size:  # an image outside 0..P-1 is mapped again until it falls inside; the domain is less than 4 P
        left, right = found[outside] >> np.uint64(half), found[outside] & mask
        for add, multiply in keys:
            mixed = (right + add) * multiply
            left, right = right, left ^ ((mixed >> np.uint64(40)) & mask)
        found[outside] = (left << np.uint64(half)) | right
        outside = outside[found[outside] >= P]
    return found.astype(np.int64)
