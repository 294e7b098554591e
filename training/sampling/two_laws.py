"""Pair samplers whose second image follows a law of its own: bilateral streams, and weighted partners of the batch."""

from __future__ import annotations

import numpy as np

from training.sampling.pair_sampler import PairSampler


def _images(sampler: PairSampler, classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw an image of each class, with replacement."""
    within = (rng.random(classes.shape) * sampler.counts[classes]).astype(np.int64)
    images: np.ndarray = sampler.by_class[sampler.starts[classes] + within]
    return images


class Bilateral(PairSampler):
    """First images as they are, every one once per epoch; second images from a stream of their own, with replacement.

    The class of a second image is k with probability proportional to n_k^power, then one of its n_k images uniformly. Power 0
    balances classes (CMO, SBN-mix, DBN-mix), -1 draws them in reverse (BBN), 1 as they are. Sources: Zhou et al. 2020,
    Park et al. 2022, Baik et al. 2024.

    Args:
        labels: class of each image, (N,); see :class:`training.sampling.pair_sampler.PairSampler`.
        seed: names the random numbers.
        batch: has no effect; partners do not depend on batches.
        power: exponent of the class counts.
        rank: this process's number, see :class:`training.sampling.pair_sampler.PairSampler`.
        world_size: number of processes, likewise.
        drop_last: whether pairs that do not fill all ranks are left out, likewise.

    Raises:
        InvalidInput: as :class:`training.sampling.pair_sampler.PairSampler`.
    """

    def __init__(
        self,
        labels: np.ndarray,
        *,
        seed: int = 0,
        batch: int = 128,
        power: float = 0.0,
        rank: int | None = None,
        world_size: int | None = None,
        drop_last: bool = False,
    ) -> None:
        super().__init__(labels, seed=seed, batch=batch, rank=rank, world_size=world_size, drop_last=drop_last)
        self.cumulative = np.cumsum(power_law(self.counts, power))

    def pairs(self, epoch: int) -> np.ndarray:
        """Draw the pairs of an epoch, (N, 2), as :class:`training.sampling.pair_sampler.PairSampler` describes."""
        rng = self.rng(0, epoch)
        first = rng.permutation(self.N)
        classes = drawn(self.cumulative, rng.random(self.N))
        return np.stack([first, _images(self, classes, rng)], axis=1)


class Tempered(PairSampler):
    """Both images of a pair from independent streams in which class k has probability proportional to n_k^power.

    A label pair (a, b) of K^2 occurs in proportion to (n_a n_b)^power: power 0 balances label pairs in expectation, as LOM does,
    and 1 leaves them as they are. In between the stream is partly balanced, and a loss with the classes' frequencies corrects
    for the rest. Images are drawn with replacement.

    Args:
        labels: class of each image, (N,); see :class:`training.sampling.pair_sampler.PairSampler`.
        seed: names the random numbers.
        batch: has no effect; pairs do not depend on batches.
        power: exponent of the class counts.
        rank: this process's number, see :class:`training.sampling.pair_sampler.PairSampler`.
        world_size: number of processes, likewise.
        drop_last: whether pairs that do not fill all ranks are left out, likewise.

    Raises:
        InvalidInput: as :class:`training.sampling.pair_sampler.PairSampler`.
    """

    def __init__(
        self,
        labels: np.ndarray,
        *,
        seed: int = 0,
        batch: int = 128,
        power: float = 0.5,
        rank: int | None = None,
        world_size: int | None = None,
        drop_last: bool = False,
    ) -> None:
        super().__init__(labels, seed=seed, batch=batch, rank=rank, world_size=world_size, drop_last=drop_last)
        self.cumulative = np.cumsum(power_law(self.counts, power))

    def pairs(self, epoch: int) -> np.ndarray:
        """Draw the pairs of an epoch, (N, 2), as :class:`training.sampling.pair_sampler.PairSampler` describes."""
        rng = self.rng(0, epoch)
        return _images(self, drawn(self.cumulative, rng.random((self.N, 2))), rng)


class WeightedPartners(PairSampler):
    """Every image once per epoch, its partner drawn from its batch with replacement, with weight n_k^power for class k.

    An image may be its own partner. Over many batches a partner's class is k with probability near n_k^(1 + power). Source: Xu et
    al. 2021 (UniMix), whose code has -0.5 for CIFAR-10 and -0.1 for CIFAR-100.

    Args:
        labels: class of each image, (N,); see :class:`training.sampling.pair_sampler.PairSampler`.
        seed: names the random numbers.
        batch: pairs in a batch, within which partners are drawn.
        power: exponent of the class counts in an image's weight.
        rank: this process's number, see :class:`training.sampling.pair_sampler.PairSampler`.
        world_size: number of processes, likewise.
        drop_last: whether pairs that do not fill all ranks are left out, likewise.

    Raises:
        InvalidInput: as :class:`training.sampling.pair_sampler.PairSampler`.
    """

    def __init__(
        self,
        labels: np.ndarray,
        *,
        seed: int = 0,
        batch: int = 128,
        power: float = -0.5,
        rank: int | None = None,
        world_size: int | None = None,
        drop_last: bool = False,
    ) -> None:
        super().__init__(labels, seed=seed, batch=batch, rank=rank, world_size=world_size, drop_last=drop_last)
        self.weights = power_law(self.counts, power)[self.labels]

    def pairs(self, epoch: int) -> np.ndarray:
        """Draw the pairs of an epoch, (N, 2), as :class:`training.sampling.pair_sampler.PairSampler` describes."""
        rng = self.rng(0, epoch)
        first = rng.permutation(self.N)
        batches = np.split(first, range(self.batch, self.N, self.batch))
        partners = [batch[drawn(np.cumsum(self.weights[batch]), rng.random(len(batch)))] for batch in batches]
        return np.stack([first, np.concatenate(partners)], axis=1)


class Deferred(PairSampler):
    """One sampler until an epoch, another from it on: random pairs first, balanced ones for the last part of a run.

    Each epoch's pairs are those that its sampler draws for this epoch. So the run is the plain one, bit for bit, before the
    epoch. Source: Cao et al. 2019 (DRS).

    Args:
        before: the sampler of the first epochs.
        after: the sampler of the other ones, of the same labels.
        start: the first epoch of ``after``, from 0.
    """

    def __init__(self, before: PairSampler, after: PairSampler, start: int) -> None:
        super().__init__(
            after.classes[after.labels],
            seed=after.seed,
            batch=after.batch,
            rank=after.rank,
            world_size=after.world_size,
            drop_last=after.drop_last,
        )
        self.before, self.after, self.start = before, after, start

    def pairs(self, epoch: int) -> np.ndarray:
        """Draw the pairs of an epoch, (N, 2), as :class:`training.sampling.pair_sampler.PairSampler` describes."""
        return (self.before if epoch < self.start else self.after).pairs(epoch)


def power_law(counts: np.ndarray, power: float) -> np.ndarray:
    """Compute n_k^power, scaled so that the largest is 1: no power overflows.

    Args:
        counts: images of each class, (K,).
        power: the exponent.

    Returns:
        (K,) float64.
    """
    logarithms = power * np.log(counts)
    scaled: np.ndarray = np.exp(logarithms - logarithms.max())
    return scaled


def drawn(cumulative: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Draw positions in proportion to weights.

    Args:
        cumulative: cumulative sums of the weights, (n,).
        uniform: numbers in [0, 1), of any shape.

    Returns:
        Positions 0..n-1, int64, of that shape.
    """
    places = np.searchsorted(cumulative, uniform * cumulative[-1], side="right")
    return np.minimum(places, len(cumulative) - 1)  # a product may round up to the last sum
