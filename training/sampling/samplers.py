r"""Pair samplers that balance classes, or nothing: each draws N index pairs (i, j) per epoch, the two images that mixup blends.

Every sampler is a function of (labels, seed, epoch): the pairs of an epoch do not depend on the epochs drawn before, so
a run resumes at any pair of any epoch.

- random, :class:`Random`: every image once, its partner by a random permutation of the batch; what mixup does.
- cbs, :class:`ClassBalanced`: N draws, each class equally likely, partners as above (Kang et al. 2020).
- cas, :class:`ClassAware`: shuffled cycles through the classes, m images per visit, partners as above
  (Shen and Lin 2016).
- lom, :class:`LabelOccurrence`: label-occurrence-balanced mixup, two independent class-balanced streams
  (Zhang et al. 2022).

Which to choose: ``random`` is the baseline, plain mixup. ``cas`` and ``cbs`` balance the classes, ``lom`` both sides of
a pair. The paper's own, which balances label pairs, is in :mod:`training.sampling.balanced`.
"""

from __future__ import annotations

import numpy as np

from lpm.console.errors import InvalidInput
from training.sampling.label_pairs import cycles
from training.sampling.pair_sampler import PairSampler


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
