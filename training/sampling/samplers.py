"""Pair samplers: each yields N index pairs (i, j) an epoch, the two images that mixup blends.

Every sampler is a function of (labels, seed, epoch): the pairs of an epoch do not depend on which epochs were drawn before,
so a run resumes at any pair of any epoch. W processes share an epoch out when each takes ``pairs(epoch)[rank::W]``, in batches of
B / W: then together their n-th batches are the n-th batch of one process, of size B.

=============  =====================================================================================================
random         every image once, its partner by a random permutation of the batch: what mixup does
cbs            class-balanced: N draws, each class equally likely, partner as above (Kang et al. 2020)
cas            class-aware: shuffled cycles through the classes, m images a visit, partner as above (Shen and Lin 2016)
lom            label-occurrence-balanced mixup: two independent class-balanced streams (Zhang et al. 2022)
bmls           balanced mixed labels, a < b: label pairs in a fixed cyclic order, so that over any number of epochs
               the counts of two label pairs differ by at most 1; images of a class cycle without replacement
bmls-all       the same over all K^2 ordered label pairs
coverage       label pairs among a random share of the classes, drawn anew each epoch, the other classes within
               themselves (Figure 3)
=============  =====================================================================================================
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import Sampler

from lpm.console.errors import InvalidInput
from training.sampling.label_pairs import cycles, permuted, unranked
from training.sampling.shuffles import shuffle_rows

CHUNK = 2**16
"""Label pairs that are counted at a time: what a core's cache holds."""


class PairSampler(Sampler[tuple[int, int]]):
    """Index pairs of one epoch after another.

    labels: (N,) class of each image, every class of 0..K-1 at least once. batch: within which partners are permuted.

    ``state_dict`` counts the pairs that were handed out. A DataLoader with workers takes them in advance, by up to
    num_workers * prefetch_factor batches, so that near an epoch's end the state is already the next epoch's. So save it with
    num_workers=0, or after an epoch's last batch, or count: {"epoch": e, "position": batches done * batch size, "seed": seed}.
    The state of torchdata's StatefulDataLoader holds the right one.

    Raises InvalidInput for labels that are no list of whole numbers, a class without an image, a negative seed, an empty batch.
    """

    def __init__(self, labels: np.ndarray, *, seed: int = 0, batch: int = 128) -> None:
        labels = np.asarray(labels)
        if labels.ndim != 1 or labels.size == 0 or labels.dtype.kind not in "biu" or labels.min() < 0:
            raise InvalidInput(
                f"a sampler needs labels (N,), whole numbers of at least 0, not {labels.dtype} of shape {labels.shape}"
            )
        present = np.unique(labels)
        if (gaps := np.flatnonzero(present != np.arange(len(present)))).size:
            raise InvalidInput(f"class {gaps[0]} has no image; every class needs one")
        if seed < 0 or batch < 1:
            raise InvalidInput(f"seed {seed} must be at least 0, batch {batch} at least 1")
        self.labels = labels.astype(np.int64)
        self.seed, self.batch, self.epoch, self.position = seed, batch, 0, 0
        self._running: object | None = None
        self.counts = np.bincount(self.labels)
        self.K = len(self.counts)
        self.by_class = np.argsort(self.labels, kind="stable")  # the images, class after class
        self.starts = np.cumsum(self.counts) - self.counts

    def __len__(self) -> int:
        """Pairs of a whole epoch, N."""
        return len(self.labels)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The current epoch from the current position; the next iteration is the next epoch's, even if this one is abandoned."""
        if self._running is not None:
            self.set_epoch(self.epoch + 1)
        self._running = iteration = object()
        for i, j in self.pairs(self.epoch)[self.position :].tolist():
            if self._running is iteration:  # no other was begun, no epoch set and no state loaded meanwhile
                self.position += 1
            yield i, j
        if self._running is iteration:
            self.set_epoch(self.epoch + 1)

    def pairs(self, epoch: int) -> np.ndarray:
        """The pairs of an epoch, (N, 2) int64."""
        raise NotImplementedError

    def set_epoch(self, epoch: int) -> None:
        """Make ``epoch`` the next one, from its first pair. Raises InvalidInput for a negative one."""
        if epoch < 0:
            raise InvalidInput(f"epoch {epoch} must be at least 0")
        self.epoch, self.position, self._running = epoch, 0, None

    def state_dict(self) -> dict[str, Any]:
        """What resuming needs: the epoch, how many of its pairs have been yielded, and the seed."""
        return {"epoch": self.epoch, "position": self.position, "seed": self.seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume: the next iteration is the rest of the state's epoch (none, if its last pair was yielded but not its end).

        A state without a position, as older versions wrote, is an epoch's start.

        Raises InvalidInput for a state of another seed, one that lacks a number, or a position outside 0..N.
        """
        try:
            position = operator.index(state.get("position", 0))
            epoch, seed = operator.index(state["epoch"]), operator.index(state["seed"])
        except (AttributeError, KeyError, TypeError):
            raise InvalidInput(
                f"the sampler's state {str(state)[:80]!r} lacks a whole epoch, position or seed; give what state_dict() gave"
            ) from None
        if seed != self.seed:
            raise InvalidInput(f"the sampler's state is of seed {seed}, not {self.seed}")
        if not 0 <= position <= len(self):
            raise InvalidInput(
                f"the sampler's state has position {position}, outside 0..{len(self)}: is it of other labels?"
            )
        self.set_epoch(epoch)
        self.position = position

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
        visits = np.bincount(classes, minlength=self.K)
        first = start // self.counts
        rounds = np.where(visits > 0, (start + visits - 1) // self.counts - first + 1, 0)
        lengths = rounds * self.counts
        # Image i of the sequence sorted by class is shuffled image i + behind of its class: it starts where the class was left.
        behind = np.cumsum(lengths) - lengths + start - first * self.counts - (np.cumsum(visits) - visits)
        images = np.empty(len(classes), dtype=np.int64)
        order = np.argsort(classes, kind="stable")
        images[order] = self.shuffled(first, rounds)[np.repeat(behind, visits) + np.arange(len(classes))]
        return images

    def shuffled(self, first: np.ndarray, rounds: np.ndarray) -> np.ndarray:
        """The images of cycles first[k]..first[k] + rounds[k] - 1 of every class k, class after class."""
        lengths = rounds * self.counts
        found, starts = np.empty(lengths.sum(), dtype=np.int64), np.cumsum(lengths) - lengths
        for size in np.unique(self.counts).tolist():  # classes of one size are shuffled together
            which = np.flatnonzero(self.counts == size)
            k, number = np.repeat(which, rounds[which]), numbered(rounds[which])
            rows = self.by_class[self.starts[k, None] + np.arange(size)]
            shuffle_rows(rows, self.seed, np.stack([np.ones_like(k), k, first[k] + number], axis=1))
            found[(starts[k] + number * size)[:, None] + np.arange(size)] = rows
        return found


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
        return self.by_class[self.starts[classes] + within]


class LabelOccurrence(ClassBalanced):
    """LOM: two independent class-balanced streams."""

    def pairs(self, epoch: int) -> np.ndarray:
        rng = self.rng(0, epoch)
        return np.stack([self.stream(rng), self.stream(rng)], axis=1)


class ClassAware(PairSampler):
    """CAS: the classes in shuffled cycles, ``m`` consecutive images of a class a visit."""

    def __init__(self, labels: np.ndarray, *, seed: int = 0, batch: int = 128, m: int = 4) -> None:
        super().__init__(labels, seed=seed, batch=batch)
        if m < 1:
            raise InvalidInput(f"m = {m} images a class visit must be at least 1")
        self.m = m

    def pairs(self, epoch: int) -> np.ndarray:
        N = len(self)
        whole, offset = divmod(epoch * N, self.K * self.m)
        # The class of every position from the start of the first cycle that this epoch touches.
        touched = cycles(whole * self.K * self.m, (epoch + 1) * N, self.K * self.m)
        classes = np.concatenate([np.repeat(self.rng(2, c).permutation(self.K), self.m) for c, _ in touched])
        # Every whole cycle takes m images of each class; within the first one some are used before this epoch starts.
        used = whole * self.m + np.bincount(classes[:offset], minlength=self.K)
        return self.with_partners(self.images_of(classes[offset : offset + N], used), self.rng(0, epoch))


class BalancedMixedLabels(PairSampler):
    """BMLS: the label pairs a < b (or all K^2) in a cyclic pseudo-random order, N of them an epoch.

    With a < b, classes numbered from frequent to rare and one mixing ratio for a batch, the whole batch leans to frequent or to
    rare classes (docs/theory.md, section 11). With 1 - lambda for lambda in half of the pairs, drawn at random, none does.

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
        self._before: tuple[int, np.ndarray] = 0, np.zeros(self.K, dtype=np.int64)

    def pairs(self, epoch: int) -> np.ndarray:
        classes, used = self.label_pairs(epoch), self.used_before(epoch)
        # So that the next epoch need not count again.
        self._before = epoch + 1, used + np.bincount(classes.ravel(), minlength=self.K)
        images = self.images_of(classes.ravel(), used)
        return images.reshape(-1, 2)[self.rng(0, epoch).permutation(len(self))]

    def label_pairs(self, epoch: int) -> np.ndarray:
        """The label pairs of an epoch in cyclic order, (N, 2)."""
        return np.concatenate([*self._chunks(epoch * len(self), (epoch + 1) * len(self))])

    def used_before(self, epoch: int) -> np.ndarray:
        """Images that each class has used in all epochs before this one, (K,).

        A whole cycle uses every class equally often, so only the last one is counted: up to its place, or what follows it.
        """
        if self._before[0] != epoch:
            here, each = epoch * len(self), 2 * self.P // self.K
            whole, place = divmod(here, self.P)
            if place <= self.P // 2:
                used = whole * each + self._uses(here - place, here)
            else:
                used = (whole + 1) * each - self._uses(here, here - place + self.P)
            self._before = epoch, used
        return self._before[1]

    def _uses(self, first: int, last: int) -> np.ndarray:
        """How often each class occurs at the positions first..last-1 of all epochs, (K,)."""
        used = np.zeros(self.K, dtype=np.int64)
        for classes in self._chunks(first, last):
            used += np.bincount(classes.ravel(), minlength=self.K)
        return used

    def _chunks(self, first: int, last: int) -> Iterator[np.ndarray]:
        """The label pairs (n, 2) at the positions first..last-1 of all epochs."""
        for start in range(first, last, CHUNK):
            numbers = permuted(np.arange(start, min(start + CHUNK, last)), self.P, [self.seed, 3])
            yield unranked(numbers, self.K, ordered=self.ordered)


class Coverage(PairSampler):
    """Figure 3: in each epoch round(ratio K) classes, drawn anew, are mixed with one another, label pairs a < b, balanced; the
    others are mixed within themselves, label pairs (a, a). Every class has the same share of the labels at any ratio.

    The paper says which classes are mixed, not what becomes of the others. They cannot be absent: at ratio 0.2 an epoch of
    CIFAR-10 would hold two classes, and a network forgets the other eight (docs/log.md).
    """

    def __init__(self, labels: np.ndarray, *, seed: int = 0, batch: int = 128, ratio: float = 1.0) -> None:
        super().__init__(labels, seed=seed, batch=batch)
        if not 0 <= ratio <= 1:
            raise InvalidInput(f"coverage ratio {ratio:g} is outside [0, 1]")
        self.ratio = ratio

    def pairs(self, epoch: int) -> np.ndarray:
        rng = self.rng(0, epoch)
        order = rng.permutation(self.K)
        mixed, number = mixed_classes(self.ratio, self.K), mixed_pairs(self.ratio, self.K, len(self))
        chosen, others = np.sort(order[:mixed]), order[mixed:]
        a, b = np.triu_indices(mixed, 1)
        across = np.resize(rng.permutation(np.stack([chosen[a], chosen[b]], axis=1)), (number, 2))
        within = np.resize(rng.permutation(others), len(self) - number)
        classes = np.concatenate([across, np.stack([within, within], axis=1)])
        # Where the drawing starts in each class's cycle is random; a class's share differs from epoch to epoch.
        images = self.images_of(classes.ravel(), rng.integers(2**31, size=self.K))
        return images.reshape(-1, 2)[rng.permutation(len(self))]


def mixed_classes(ratio: float, K: int) -> int:
    """Classes that a coverage ratio mixes with one another; a single one has no partner."""
    number = round(ratio * K)
    return number if number > 1 else 0


def mixed_pairs(ratio: float, K: int, N: int) -> int:
    """Pairs among N that mix two classes: the share of the classes that are mixed."""
    return round(N * mixed_classes(ratio, K) / K)


def numbered(groups: np.ndarray) -> np.ndarray:
    """0, 1, ... within each of consecutive groups of the given sizes."""
    return np.arange(groups.sum()) - np.repeat(np.cumsum(groups) - groups, groups)
