"""The base of all pair samplers: index pairs of one epoch after another, the same on all ranks, from any position.

W processes share an epoch: rank r iterates over the pairs r, r + W, r + 2 W, ... of it, in batches of B / W. Together
their n-th batches are then the n-th batch of one process, of size B. All ranks have equally many pairs, as
:class:`torch.utils.data.DistributedSampler` has it.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch.distributed as dist
from torch.utils.data import Dataset, Sampler

from lpm.console.errors import InvalidInput
from training.sampling.shared_twice import warn_if_shared_twice
from training.sampling.shuffles import shuffle_rows

SHOWN = 10
"""Classes whose counts a sampler's line has."""


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
        try:
            seed, batch = operator.index(seed), operator.index(batch)
        except TypeError:
            raise InvalidInput(f"seed {seed!r} and batch {batch!r} must be whole numbers") from None
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

    def __repr__(self) -> str:
        """One line: the images, their classes and counts, and where an iteration would begin."""
        counts = ", ".join(map(str, self.counts[:SHOWN])) + ", ..." * (self.K > SHOWN)
        ranks = f", rank {self.rank} of {self.world_size}" * (self.world_size > 1)
        return (
            f"{type(self).__name__}({self.N:,} images of {self.K:,} classes: {counts}; batch {self.batch}, seed {self.seed}, "
            f"epoch {self.epoch}, position {self.position}{ranks})"
        )

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


def numbered(groups: np.ndarray) -> np.ndarray:
    """Number the members of consecutive groups: 0, 1, ... within each group.

    Args:
        groups: sizes of the groups, (G,).

    Returns:
        The numbers, (sum of the sizes,).
    """
    return np.arange(groups.sum()) - np.repeat(np.cumsum(groups) - groups, groups)
