r"""Pair samplers: each draws N index pairs (i, j) per epoch, the two images that mixup blends.

Every sampler is a function of (labels, seed, epoch): the pairs of an epoch do not depend on the epochs drawn before, so
a run resumes at any pair of any epoch. W processes share an epoch: rank r iterates over the pairs r, r + W, r + 2 W, ...
of it, in batches of B / W. Together their n-th batches are then the n-th batch of one process, of size B. All ranks have
equally many pairs, as :class:`torch.utils.data.DistributedSampler` has it.

- random, :class:`Random`: every image once, its partner by a random permutation of the batch; what mixup does.
- cbs, :class:`ClassBalanced`: N draws, each class equally likely, partners as above (Kang et al. 2020).
- cas, :class:`ClassAware`: shuffled cycles through the classes, m images per visit, partners as above
  (Shen and Lin 2016).
- lom, :class:`LabelOccurrence`: label-occurrence-balanced mixup, two independent class-balanced streams
  (Zhang et al. 2022).
- bmls, :class:`BalancedMixedLabels`: balanced mixed labels. The label pairs a < b come in a fixed cyclic order, so
  after any number of epochs the counts of two label pairs differ by at most 1; images of a class cycle without
  replacement.
- bmls-all, the same class with ``ordered=True``: all K^2 ordered label pairs.
- coverage, :class:`Coverage`: label pairs among a random share of the classes, drawn anew in each epoch; the other
  classes are mixed within themselves (Figure 3).

Which to choose: ``random`` is the baseline, plain mixup. ``cas`` and ``cbs`` balance the classes, ``lom`` both sides of
a pair. ``bmls`` is the paper's proposal and balances the label pairs. ``coverage`` is for Figure 3's experiment only.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch.distributed as dist
from torch.utils.data import Dataset, Sampler

from lpm.console.errors import InvalidInput
from training.sampling.label_pairs import cycles, permuted, unranked
from training.sampling.shared_twice import warn_if_shared_twice
from training.sampling.shuffles import shuffle_rows

CHUNK = 2**16
"""Label pairs that are counted at a time: what a core's cache holds."""


class PairSampler(Sampler[tuple[int, int]]):
    """Base of all samplers: iterates over the index pairs (i, j) of one epoch after another.

    Use it as any sampler of ``torch.utils.data.DataLoader``; the data set is then indexed by pairs:

    ```python
    sampler = BalancedMixedLabels(labels, seed=0)
    loader = DataLoader(pairs_of_images, batch_size=128, sampler=sampler)
    ```

    ``state_dict`` counts the pairs that were handed out. A DataLoader with workers takes them in advance, by up to
    num_workers * prefetch_factor batches, so near the end of an epoch the state is already that of the next epoch. So
    save it with num_workers=0, or after the last batch of an epoch, or count yourself:

    ```python
    state = {"epoch": epoch, "position": batches_done * batch_size, "seed": seed}
    ```

    The state of torchdata's StatefulDataLoader holds the right one.

    Under DistributedDataParallel every process makes the same sampler and iterates over its own share of each epoch.
    Epochs go on by themselves, so no ``set_epoch`` is needed. All ranks resume from the state of any one:

    ```python
    sampler = BalancedMixedLabels(labels, seed=0, batch=256)  # rank and world_size are those of torch.distributed
    loader = DataLoader(pairs_of_images, batch_size=256 // sampler.world_size, sampler=sampler)
    ```

    Labels may have gaps, as those of a fold or subset that lacks a class. Then only the classes with images are balanced
    and paired, in the order of their labels. Their numbers 0..K-1 here are positions in ``classes``.

    Args:
        labels: class of each image, (N,) whole numbers of at least 0.
        seed: names the random numbers; at least 0. All ranks need the same.
        batch: pairs in a batch of all ranks together, within which partners are permuted.
        rank: this process's number; that of torch.distributed by default, or 0 where it is not initialised.
        world_size: number of processes; that of torch.distributed by default, or 1 where it is not initialised.
        drop_last: whether the last pairs of an epoch are left out where they do not fill all ranks. By default the
            epoch's first pairs are repeated to fill them.

    Attributes:
        N: number of images, and of pairs in an epoch of all ranks together.
        classes: labels that occur, rising, (K,).
        labels: class of each image as its position in ``classes``, (N,) int64: the labels themselves without gaps.
        counts: images of each class, (K,).
        K: number of classes that have images.

    Raises:
        InvalidInput: if labels are not a list of whole numbers from 0, the seed is negative, the batch empty, the rank
            outside 0..world_size-1, or there are fewer pairs than ranks with ``drop_last``.
    """

    def __init__(
        self,
        labels: np.ndarray,
        *,
        seed: int = 0,
        batch: int = 128,
        rank: int | None = None,
        world_size: int | None = None,
        drop_last: bool = False,
    ) -> None:
        if seed < 0 or batch < 1:
            raise InvalidInput(f"seed {seed} must be at least 0, batch {batch} at least 1")
        self.classes, self.labels = numbered_classes(labels)
        self.seed, self.batch, self.epoch, self.position = seed, batch, 0, 0
        self._running: object | None = None
        self.N = len(self.labels)
        self.rank, self.world_size = _place(rank, world_size)
        self.drop_last = drop_last
        if drop_last and self.world_size > self.N:
            raise InvalidInput(f"{self.N} pairs leave none for {self.world_size} ranks; take drop_last=False")
        self.counts = np.bincount(self.labels)
        self.K = len(self.counts)
        self.by_class = np.argsort(self.labels, kind="stable")  # the images, class after class
        self.starts = np.cumsum(self.counts) - self.counts

    def __len__(self) -> int:
        """Pairs of a whole epoch of this rank: N / world_size, rounded up, or down with ``drop_last``."""
        return self.N // self.world_size if self.drop_last else -(-self.N // self.world_size)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Iterate over this rank's share of the current epoch; the next iteration is over the next epoch.

        That holds even if this iteration is abandoned.
        """
        warn_if_shared_twice(self.world_size)
        if self._running is not None:
            self.set_epoch(self.epoch + 1)
        self._running = iteration = object()
        for i, j in self.share(self.epoch)[self.position :].tolist():
            if self._running is iteration:  # no other was begun, no epoch set and no state loaded meanwhile
                self.position += 1
            yield i, j
        if self._running is iteration:
            self.set_epoch(self.epoch + 1)

    def pairs(self, epoch: int) -> np.ndarray:
        """Draw the index pairs of an epoch, those of all ranks together.

        Args:
            epoch: its number, from 0.

        Returns:
            Index pairs (i, j), (N, 2) int64.
        """
        raise NotImplementedError

    def share(self, epoch: int) -> np.ndarray:
        """Draw the index pairs of an epoch that this rank iterates over.

        Args:
            epoch: its number, from 0.

        Returns:
            Index pairs (i, j), (len(self), 2) int64.
        """
        pairs = self.pairs(epoch)
        if self.world_size == 1:
            return pairs
        # np.resize repeats from the start what is too short, and cuts off what is too long.
        return np.resize(pairs, (len(self) * self.world_size, 2))[self.rank :: self.world_size]

    def set_epoch(self, epoch: int) -> None:
        """Make an epoch the next one, from its first pair.

        Args:
            epoch: its number, from 0.

        Raises:
            InvalidInput: if it is negative.
        """
        if epoch < 0:
            raise InvalidInput(f"epoch {epoch} must be at least 0")
        self.epoch, self.position, self._running = epoch, 0, None

    def state_dict(self) -> dict[str, Any]:
        """Return what resuming needs, the same on all ranks.

        Returns:
            The epoch, how many of its pairs this rank has yielded, the seed, and the number of ranks if not 1.
        """
        state = {"epoch": self.epoch, "position": self.position, "seed": self.seed}
        return state if self.world_size == 1 else {**state, "world_size": self.world_size}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a state: the next iteration yields the rest of its epoch.

        There is no rest if the last pair was yielded but the end of the epoch not reached.

        Args:
            state: what :meth:`state_dict` returned, on any rank. One without a position, as older versions wrote, is the
                start of its epoch. One of another number of ranks goes on where all of them together were.

        Raises:
            InvalidInput: if the state has another seed, lacks a number, has a position outside the epoch, or one of
                another number of ranks that these ranks cannot share.
        """
        try:
            position = operator.index(state.get("position", 0))
            epoch, seed = operator.index(state["epoch"]), operator.index(state["seed"])
            ranks = operator.index(state.get("world_size", 1))
        except (AttributeError, KeyError, TypeError):
            raise InvalidInput(
                f"the sampler's state {str(state)[:80]!r} lacks a whole number for epoch, position or seed; "
                "give what state_dict() returned"
            ) from None
        if seed != self.seed:
            raise InvalidInput(f"the sampler's state has seed {seed}, not {self.seed}; give one of the same seed")
        if ranks != self.world_size:
            position = self._of_other_ranks(position, ranks)
        if not 0 <= position <= len(self):
            raise InvalidInput(
                f"the sampler's state has position {position}, outside 0..{len(self)}; give one of the same labels"
            )
        self.set_epoch(epoch)
        self.position = position

    def _of_other_ranks(self, position: int, ranks: int) -> int:
        """The position of each rank here where each of so many other ranks had yielded as many pairs."""
        if ranks < 1:
            raise InvalidInput(f"the sampler's state has world_size {ranks}, which must be at least 1")
        done = position * ranks
        end = self.N - self.N % ranks if self.drop_last else self.N
        if end <= done < self.N + ranks:
            return len(self)
        if done % self.world_size:
            raise InvalidInput(
                f"the sampler's state has position {position} of {ranks} ranks, {done} pairs, which {self.world_size} "
                "ranks cannot share; save it at the end of an epoch, or take as many ranks"
            )
        return done // self.world_size

    def rng(self, *words: int) -> np.random.Generator:
        """Make a random number generator for one purpose.

        Args:
            words: numbers that name the purpose.

        Returns:
            A generator that depends on the seed and the words only.
        """
        return np.random.default_rng([self.seed, *words])

    def with_partners(self, first: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Pair every image with one of its batch, by a random permutation of the batch.

        Args:
            first: images, (N,).
            rng: draws the permutations.

        Returns:
            Index pairs, (N, 2); the first column is ``first``.
        """
        second = np.concatenate([rng.permutation(first[i : i + self.batch]) for i in range(0, len(first), self.batch)])
        return np.stack([first, second], axis=1)

    def images_of(self, classes: np.ndarray, start: np.ndarray) -> np.ndarray:
        """Choose an image for each class of a sequence, without replacement: a class cycles through its images.

        A class's order in its r-th cycle is shuffled by (seed, class, r).

        Args:
            classes: sequence of classes, (n,).
            start: images that each class has used before the sequence, (K,).

        Returns:
            Images, (n,) int64.
        """
        visits = np.bincount(classes, minlength=self.K)
        first = start // self.counts
        rounds = np.where(visits > 0, (start + visits - 1) // self.counts - first + 1, 0)
        lengths = rounds * self.counts
        # Sorted by class, the sequence takes consecutive entries of each class's shuffled cycles. Entry i of the sorted
        # sequence is entry i + offset of all cycles: a class starts where it stopped before, within its first cycle
        # here.
        offset = np.cumsum(lengths) - lengths + start - first * self.counts - (np.cumsum(visits) - visits)
        images = np.empty(len(classes), dtype=np.int64)
        order = np.argsort(classes, kind="stable")
        images[order] = self.shuffled(first, rounds)[np.repeat(offset, visits) + np.arange(len(classes))]
        return images

    def shuffled(self, first: np.ndarray, rounds: np.ndarray) -> np.ndarray:
        """Shuffle the images of each class, once for each of its cycles.

        Args:
            first: number of each class's first cycle, (K,).
            rounds: number of cycles of each class, (K,).

        Returns:
            The images of the cycles first[k]..first[k] + rounds[k] - 1 of every class k, class after class.
        """
        lengths = rounds * self.counts
        images, starts = np.empty(lengths.sum(), dtype=np.int64), np.cumsum(lengths) - lengths
        for size in np.unique(self.counts).tolist():  # classes of one size are shuffled together
            classes = np.flatnonzero(self.counts == size)
            k, number = np.repeat(classes, rounds[classes]), numbered(rounds[classes])
            rows = self.by_class[self.starts[k, None] + np.arange(size)]
            shuffle_rows(rows, self.seed, np.stack([np.ones_like(k), k, first[k] + number], axis=1))
            images[(starts[k] + number * size)[:, None] + np.arange(size)] = rows
        return images


def numbered_classes(labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """Number the labels that occur.

    Args:
        labels: class of each image, (N,) whole numbers of at least 0.

    Returns:
        The labels that occur, rising, (K,); and each image's position among them, (N,) int64.

    Raises:
        InvalidInput: if labels are not a list of whole numbers from 0.
    """
    if isinstance(labels, Dataset):  # NumPy would load all its images
        raise InvalidInput(
            f"a sampler needs the labels (N,), not a {type(labels).__name__}; give one whole number per image, as "
            "torchvision's data sets have them in .targets"
        )
    try:
        array = np.asarray(labels)
    except (TypeError, ValueError, RuntimeError):  # items of different shapes, or a tensor on a GPU
        raise InvalidInput(
            f"a sampler needs labels (N,), whole numbers of at least 0, and NumPy can make no array of this "
            f"{type(labels).__name__}; give one number per image in a list, an array or a tensor on the CPU"
        ) from None
    if array.ndim != 1 or array.size == 0 or array.dtype.kind not in "biu" or array.min() < 0:
        names = array.ndim == 1 and array.dtype.kind == "U"
        remedy = "; names are numbered by np.unique(labels, return_inverse=True)[1]" if names else ""
        raise InvalidInput(
            f"a sampler needs labels (N,), whole numbers of at least 0, not {array.dtype} of shape {array.shape}{remedy}"
        )
    classes, positions = np.unique(array, return_inverse=True)
    return classes, positions.astype(np.int64)


def _place(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """This process's rank and the number of ranks, torch.distributed's by default."""
    joined = dist.is_available() and dist.is_initialized()
    if world_size is None:
        world_size = dist.get_world_size() if joined else 1
    if rank is None:
        rank = dist.get_rank() if joined else 0
    if not 0 <= rank < world_size:
        raise InvalidInput(
            f"rank {rank} must be at least 0 and below world_size {world_size}; give both, or neither of them"
        )
    return rank, world_size


class Random(PairSampler):
    """Random sampling: every image once per epoch, its partner by a random permutation of the batch.

    This is plain mixup (Zhang et al. 2018), the paper's baseline. A label pair (a, b) occurs in proportion to n_a n_b,
    so rare classes are rare on both sides.

    Args:
        labels: class of each image, (N,); see :class:`PairSampler`.
        seed: names the random numbers.
        batch: pairs in a batch, within which partners are permuted.
        rank: this process's number, see :class:`PairSampler`.
        world_size: number of processes, see :class:`PairSampler`.
        drop_last: whether pairs that do not fill all ranks are left out, see :class:`PairSampler`.

    Raises:
        InvalidInput: as :class:`PairSampler`.
    """

    def pairs(self, epoch: int) -> np.ndarray:
        """Draw the pairs of an epoch, (N, 2), as :class:`PairSampler` describes."""
        rng = self.rng(0, epoch)
        return self.with_partners(rng.permutation(self.N), rng)


class ClassBalanced(PairSampler):
    """CBS, class-balanced sampling: N draws with replacement, P(image i) = 1 / (K n_k) for an image of class k.

    A class is drawn uniformly, then one of its n_k images; partners are a random permutation of the batch. The classes
    are equally frequent in expectation, not within an epoch. Source: Kang et al. 2020.

    Args:
        labels: class of each image, (N,); see :class:`PairSampler`.
        seed: names the random numbers.
        batch: pairs in a batch, within which partners are permuted.
        rank: this process's number, see :class:`PairSampler`.
        world_size: number of processes, see :class:`PairSampler`.
        drop_last: whether pairs that do not fill all ranks are left out, see :class:`PairSampler`.

    Raises:
        InvalidInput: as :class:`PairSampler`.
    """

    def pairs(self, epoch: int) -> np.ndarray:
        """Draw the pairs of an epoch, (N, 2), as :class:`PairSampler` describes."""
        rng = self.rng(0, epoch)
        return self.with_partners(self.stream(rng), rng)

    def stream(self, rng: np.random.Generator) -> np.ndarray:
        """Draw N images, class-balanced, with replacement.

        Args:
            rng: draws the classes, then the images.

        Returns:
            Images, (N,) int64.
        """
        classes = rng.integers(self.K, size=self.N)
        within = (rng.random(self.N) * self.counts[classes]).astype(np.int64)
        return self.by_class[self.starts[classes] + within]


class LabelOccurrence(ClassBalanced):
    """LOM, label-occurrence-balanced mixup: both images of a pair come from class-balanced streams of their own.

    Each label pair (a, b) of K^2 has probability 1 / K^2, so label pairs are balanced in expectation, not within an
    epoch. Source: Zhang et al. 2022.

    Args:
        labels: class of each image, (N,); see :class:`PairSampler`.
        seed: names the random numbers.
        batch: has no effect; partners do not depend on batches.
        rank: this process's number, see :class:`PairSampler`.
        world_size: number of processes, see :class:`PairSampler`.
        drop_last: whether pairs that do not fill all ranks are left out, see :class:`PairSampler`.

    Raises:
        InvalidInput: as :class:`PairSampler`.
    """

    def pairs(self, epoch: int) -> np.ndarray:
        """Draw the pairs of an epoch, (N, 2), as :class:`ClassBalanced` and its base describe."""
        rng = self.rng(0, epoch)
        return np.stack([self.stream(rng), self.stream(rng)], axis=1)


class ClassAware(PairSampler):
    """CAS, class-aware sampling: shuffled cycles through the classes, m consecutive images of a class per visit.

    Cycles continue across epochs, and the images of a class cycle without replacement. So after any number of epochs
    the counts of two classes differ by at most m. Partners are a random permutation of the batch, so label pairs are
    not balanced. Source: Shen and Lin 2016.

    Args:
        labels: class of each image, (N,); see :class:`PairSampler`.
        seed: names the random numbers.
        batch: pairs in a batch, within which partners are permuted.
        m: consecutive images of a class per visit.
        rank: this process's number, see :class:`PairSampler`.
        world_size: number of processes, see :class:`PairSampler`.
        drop_last: whether pairs that do not fill all ranks are left out, see :class:`PairSampler`.

    Raises:
        InvalidInput: if m is below 1, and as :class:`PairSampler`.
    """

    def __init__(
        self,
        labels: np.ndarray,
        *,
        seed: int = 0,
        batch: int = 128,
        m: int = 4,
        rank: int | None = None,
        world_size: int | None = None,
        drop_last: bool = False,
    ) -> None:
        super().__init__(labels, seed=seed, batch=batch, rank=rank, world_size=world_size, drop_last=drop_last)
        if m < 1:
            raise InvalidInput(f"m = {m}, the images per visit of a class, must be at least 1")
        self.m = m

    def pairs(self, epoch: int) -> np.ndarray:
        """Draw the pairs of an epoch, (N, 2), as :class:`PairSampler` describes."""
        N = self.N
        whole_cycles, offset = divmod(epoch * N, self.K * self.m)
        # The class of every position from the start of the first cycle that this epoch touches.
        touched = cycles(whole_cycles * self.K * self.m, (epoch + 1) * N, self.K * self.m)
        classes = np.concatenate([np.repeat(self.rng(2, c).permutation(self.K), self.m) for c, _ in touched])
        # Every whole cycle takes m images of each class; within the first one some are used before this epoch starts.
        used = whole_cycles * self.m + np.bincount(classes[:offset], minlength=self.K)
        return self.with_partners(self.images_of(classes[offset : offset + N], used), self.rng(0, epoch))


class BalancedMixedLabels(PairSampler):
    r"""BMLS, the paper's balanced mixed labels: all label pairs equally often (Eq. 2).

    The P = K(K-1)/2 label pairs a < b (section 4.2), or all P = K^2 (section 4.1), stand in a cyclic pseudo-random
    order, and each epoch takes the next N of them. So after any number of epochs the counts of two label pairs differ
    by at most 1. The images of a class cycle without replacement. At the end whole pairs are shuffled; partners stay.

    Use it with the classifier that has the same label pairs: ``MixedSingleton(p, K, unordered=True)`` with a < b,
    ``MixedSingleton(p, K)`` with all K^2. FC works with both.

    ```python
    sampler = BalancedMixedLabels(labels, seed=0)
    i, j = sampler.pairs(epoch=0).T  # images of the label pairs labels[i] < labels[j]
    ```

    With a < b, classes numbered from frequent to rare and one mixing ratio per batch, the whole batch leans to frequent
    or to rare classes (docs/theory/batches.md). With 1 - lambda in place of lambda in a random half of the pairs, no
    batch does.

    Memory does not grow with K^2: position t of the order is computed by a Feistel permutation of 0..P-1 and unranked.

    Args:
        labels: class of each image, (N,); see :class:`PairSampler`.
        seed: names the random numbers.
        batch: has no effect; partners do not depend on batches.
        ordered: whether all K^2 label pairs occur; else a < b only.
        rank: this process's number, see :class:`PairSampler`.
        world_size: number of processes, see :class:`PairSampler`.
        drop_last: whether pairs that do not fill all ranks are left out, see :class:`PairSampler`.

    Raises:
        InvalidInput: if there is no label pair (K = 1 with a < b), and as :class:`PairSampler`.
    """

    def __init__(
        self,
        labels: np.ndarray,
        *,
        seed: int = 0,
        batch: int = 128,
        ordered: bool = False,
        rank: int | None = None,
        world_size: int | None = None,
        drop_last: bool = False,
    ) -> None:
        super().__init__(labels, seed=seed, batch=batch, rank=rank, world_size=world_size, drop_last=drop_last)
        self.ordered = ordered
        self.P = self.K**2 if ordered else self.K * (self.K - 1) // 2
        if self.P == 0:
            raise InvalidInput("a single class makes no label pair a < b; use another sampler")
        self._before: tuple[int, np.ndarray] = 0, np.zeros(self.K, dtype=np.int64)

    def pairs(self, epoch: int) -> np.ndarray:
        """Draw the pairs of an epoch, (N, 2), as :class:`PairSampler` describes."""
        classes, used = self.label_pairs(epoch), self.used_before(epoch)
        # So that the next epoch need not count again.
        self._before = epoch + 1, used + np.bincount(classes.ravel(), minlength=self.K)
        images = self.images_of(classes.ravel(), used)
        return images.reshape(-1, 2)[self.rng(0, epoch).permutation(self.N)]

    def label_pairs(self, epoch: int) -> np.ndarray:
        """Compute the label pairs of an epoch, in cyclic order.

        Args:
            epoch: its number, from 0.

        Returns:
            Label pairs (a, b), (N, 2) int64.
        """
        return np.concatenate([*self._label_pairs_at(epoch * self.N, (epoch + 1) * self.N)])

    def used_before(self, epoch: int) -> np.ndarray:
        """Count the images that each class has used in all epochs before one.

        A whole cycle uses every class equally often, so only the cycle in which the epoch begins is counted, from its
        nearer end.

        Args:
            epoch: its number, from 0.

        Returns:
            Images used, (K,) int64.
        """
        if self._before[0] != epoch:
            begin, per_cycle = epoch * self.N, 2 * self.P // self.K
            whole_cycles, position = divmod(begin, self.P)
            if position <= self.P // 2:
                used = whole_cycles * per_cycle + self._uses(begin - position, begin)
            else:
                used = (whole_cycles + 1) * per_cycle - self._uses(begin, begin - position + self.P)
            self._before = epoch, used
        return self._before[1]

    def _uses(self, first: int, last: int) -> np.ndarray:
        """How often each class occurs at the positions first..last-1 of all epochs, (K,)."""
        used = np.zeros(self.K, dtype=np.int64)
        for classes in self._label_pairs_at(first, last):
            used += np.bincount(classes.ravel(), minlength=self.K)
        return used

    def _label_pairs_at(self, first: int, last: int) -> Iterator[np.ndarray]:
        """The label pairs (n, 2) at the positions first..last-1 of all epochs."""
        for start in range(first, last, CHUNK):
            numbers = permuted(np.arange(start, min(start + CHUNK, last)), self.P, [self.seed, 3])
            yield unranked(numbers, self.K, ordered=self.ordered)


class Coverage(PairSampler):
    """Figure 3's sampler: only round(ratio K) classes, drawn anew in each epoch, are mixed with one another.

    They are mixed in label pairs a < b, balanced. The other classes are mixed within themselves, in label pairs (a, a).
    Every class has the same share of the labels at any ratio.

    The paper says which classes are mixed, not what becomes of the others. They cannot be absent: at ratio 0.2 an epoch
    of CIFAR-10 would hold two classes, and a network forgets the other eight (docs/contribute/log.md).

    Args:
        labels: class of each image, (N,); see :class:`PairSampler`.
        seed: names the random numbers.
        batch: has no effect; partners do not depend on batches.
        ratio: share of the classes that are mixed with one another, in [0, 1]; Figure 3's coverage ratio.
        rank: this process's number, see :class:`PairSampler`.
        world_size: number of processes, see :class:`PairSampler`.
        drop_last: whether pairs that do not fill all ranks are left out, see :class:`PairSampler`.

    Raises:
        InvalidInput: if the ratio is outside [0, 1], and as :class:`PairSampler`.
    """

    def __init__(
        self,
        labels: np.ndarray,
        *,
        seed: int = 0,
        batch: int = 128,
        ratio: float = 1.0,
        rank: int | None = None,
        world_size: int | None = None,
        drop_last: bool = False,
    ) -> None:
        super().__init__(labels, seed=seed, batch=batch, rank=rank, world_size=world_size, drop_last=drop_last)
        if not 0 <= ratio <= 1:
            raise InvalidInput(f"coverage ratio {ratio:g} is outside [0, 1]")
        self.ratio = ratio

    def pairs(self, epoch: int) -> np.ndarray:
        """Draw the pairs of an epoch, (N, 2), as :class:`PairSampler` describes."""
        rng = self.rng(0, epoch)
        order = rng.permutation(self.K)
        mixed, number = mixed_classes(self.ratio, self.K), mixed_pairs(self.ratio, self.K, self.N)
        chosen, unmixed = np.sort(order[:mixed]), order[mixed:]
        a, b = np.triu_indices(mixed, 1)
        across = np.resize(rng.permutation(np.stack([chosen[a], chosen[b]], axis=1)), (number, 2))
        within = np.resize(rng.permutation(unmixed), self.N - number)
        classes = np.concatenate([across, np.stack([within, within], axis=1)])
        # Each class starts at a random position of its cycle of images, because its share differs from epoch to epoch.
        images = self.images_of(classes.ravel(), rng.integers(2**31, size=self.K))
        return images.reshape(-1, 2)[rng.permutation(self.N)]


def mixed_classes(ratio: float, K: int) -> int:
    """Count the classes that a coverage ratio mixes with one another.

    A single class has no partner, so it counts as none.

    Args:
        ratio: coverage ratio, in [0, 1].
        K: number of classes.

    Returns:
        round(ratio K), but 0 instead of 1.
    """
    number = round(ratio * K)
    return number if number > 1 else 0


def mixed_pairs(ratio: float, K: int, N: int) -> int:
    """Count the index pairs that mix two classes: of N, the share of the classes that are mixed.

    Args:
        ratio: coverage ratio, in [0, 1].
        K: number of classes.
        N: pairs in an epoch.

    Returns:
        Their number, rounded.
    """
    return round(N * mixed_classes(ratio, K) / K)


def numbered(groups: np.ndarray) -> np.ndarray:
    """Number the members of consecutive groups: 0, 1, ... within each group.

    Args:
        groups: sizes of the groups, (G,).

    Returns:
        The numbers, (sum of the sizes,).
    """
    return np.arange(groups.sum()) - np.repeat(np.cumsum(groups) - groups, groups)
