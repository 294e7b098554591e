"""Samplers that balance label pairs.

- bmls, :class:`BalancedMixedLabels`: balanced mixed labels, the paper's proposal. The label pairs a < b come in a fixed
  cyclic order, so after any number of epochs the counts of two label pairs differ by at most 1; images of a class cycle
  without replacement.
- bmls-all, the same class with ``ordered=True``: all K^2 ordered label pairs.
- coverage, :class:`Coverage`: label pairs among a random share of the classes, drawn anew in each epoch; the other
  classes are mixed within themselves. For Figure 3's experiment only.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lpm.console.errors import InvalidInput
from training.sampling.label_pairs import permuted, unranked
from training.sampling.pair_sampler import PairSampler

CHUNK = 2**16
"""Label pairs that are counted at a time: what a core's cache holds."""


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
