"""Pairs of images for a loop of one's own: a plain DataLoader then yields mixed batches.

```python
sampler = BalancedMixedLabels(by_count(data.targets), seed=0, batch=128)
pairs = Pairs(data, sampler, alpha=1.0)
for x, a, b, lam in DataLoader(pairs, batch_size=128, sampler=pairs.sampler, num_workers=4):
    loss = mixed_singleton(model(x), a, b, lam, unordered=True)
```

Pairs and ratios are functions of (seed, epoch). So they do not depend on the number of workers, and a run resumes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sized
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from lpm.console.errors import InvalidInput
from training.sampling.pair_sampler import PairSampler, numbered_classes

RATIOS_PER = ("sample", "batch", "batch-swapped")
"""How ratios are drawn, the words of ``--ratio-per``."""


class Indexed(Protocol):
    """A data set that has a length and an item at each index 0..N-1."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


def by_count(labels: Any) -> np.ndarray:
    """Number classes from the most frequent to the rarest, which makes a < b mean "a is the more frequent class".

    Folders give classes in alphabetical order. Give a sampler these numbers, and losses the labels as they are:
    (a, b, lambda) and (b, a, 1 - lambda) are one mixture, and losses take either.

    Args:
        labels: class of each image, (N,) whole numbers of at least 0.

    Returns:
        The place of each image's class by falling count, from 0, (N,) int64. Between equal counts the smaller label
        is first.

    Raises:
        InvalidInput: if labels are not a list of whole numbers from 0.
    """
    _, positions = numbered_classes(labels)
    order = np.argsort(-np.bincount(positions), kind="stable")
    return np.argsort(order)[positions]


class WithRatios(Sampler[tuple[int, int, float]]):
    """The index pairs of a sampler, each with its mixing ratio: (i, j, lambda).

    Ratios are those of a training run with this seed: lambda ~ Beta(alpha, alpha), as a function of (seed, epoch).
    Processes that share an epoch share its ratios, too.

    Args:
        pairs: the sampler of index pairs.
        alpha: of Beta(alpha, alpha); 0 for lambda = 1, without mixup.
        ratio_per: 'sample' for one ratio per pair; 'batch' for one per ``pairs.batch`` pairs; 'batch-swapped' for that
            with 1 - lambda in a random half of the pairs.

    Raises:
        InvalidInput: if alpha is neither 0 nor in 1e-100..100, or the word is unknown.
    """

    def __init__(self, pairs: PairSampler, *, alpha: float = 1.0, ratio_per: str = "sample") -> None:
        if not (alpha == 0 or 1e-100 <= alpha <= 100):  # Beta(alpha, alpha) overflows near 1e-308 and 1e308
            raise InvalidInput(f"alpha = {alpha:g} must be 0, for lambda = 1, or lie in 1e-100..100")
        if ratio_per not in RATIOS_PER:
            raise InvalidInput(f"ratio_per = {ratio_per!r} is unknown; choose one of {', '.join(RATIOS_PER)}")
        self.pairs, self.alpha, self.ratio_per = pairs, alpha, ratio_per

    def __len__(self) -> int:
        """Pairs of an epoch of this rank."""
        return len(self.pairs)

    def __iter__(self) -> Iterator[tuple[int, int, float]]:
        """Iterate over this rank's share of the current epoch; the next iteration is over the next epoch."""
        ratios: Iterator[float] | None = None
        for i, j in self.pairs:
            if ratios is None:  # the sampler knows its epoch and position once it has given a pair
                ratios = iter(self.ratios(self.pairs.epoch)[self.pairs.position - 1 :].tolist())
            yield i, j, next(ratios)

    def ratios(self, epoch: int) -> np.ndarray:
        """Draw the ratios of this rank's share of an epoch.

        Args:
            epoch: its number, from 0.

        Returns:
            The weight of the first image of each pair, (len(self),) float32.
        """
        N, W = self.pairs.N, self.pairs.world_size
        per_batch = self.ratio_per != "sample"
        number = -(-N // self.pairs.batch) if per_batch else N
        # The words and the order of draws are those of training.batches.mixing, where epochs begin at 1.
        drawn = np.ones(number, np.float32)
        if self.alpha:
            drawn = self.pairs.rng(7, epoch + 1).beta(self.alpha, self.alpha, size=number).astype(np.float32)
        if per_batch:
            drawn = np.repeat(drawn, self.pairs.batch)[:N]
        if self.ratio_per == "batch-swapped":
            drawn = np.where(self.pairs.rng(11, epoch + 1).random(N) < 0.5, 1 - drawn, drawn)
        return drawn if W == 1 else np.resize(drawn, len(self) * W)[self.pairs.rank :: W]

    def set_epoch(self, epoch: int) -> None:
        """Make an epoch the next one, as :meth:`training.sampling.pair_sampler.PairSampler.set_epoch`."""
        self.pairs.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return the sampler's state, as :meth:`training.sampling.pair_sampler.PairSampler.state_dict`."""
        return self.pairs.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a state, as :meth:`training.sampling.pair_sampler.PairSampler.load_state_dict`."""
        self.pairs.load_state_dict(state)


class Pairs(Dataset[tuple[Tensor, ...]]):
    """Pairs of items of any data set with indices, such as torchvision's or one of Hugging Face.

    A DataLoader needs ``sampler=pairs.sampler`` and yields mixed images with two labels and the ratio, (x, a, b, lambda).
    With ``mix=False`` it yields both images, (x, y, a, b, lambda), to be mixed on the GPU or in another way.

    Each image is read by itself, so that a transform of the data set is drawn anew for it. One that mixes, such as
    torchvision's MixUp, must be left out.

    Args:
        data: items (image, label) or dictionaries; images are tensors of one shape.
        sampler: draws the index pairs.
        alpha: of lambda ~ Beta(alpha, alpha), see :class:`WithRatios`.
        ratio_per: 'sample', 'batch' or 'batch-swapped', see :class:`WithRatios`.
        mix: whether images are mixed here.
        image: where an item has its image: a position, or a dictionary's key.
        label: where an item has its label.

    Attributes:
        sampler: index pairs with ratios, for the DataLoader.

    Raises:
        InvalidInput: if the data set and the sampler differ in their numbers of images, and as :class:`WithRatios`.
    """

    def __init__(
        self,
        data: Indexed,
        sampler: PairSampler,
        *,
        alpha: float = 1.0,
        ratio_per: str = "sample",
        mix: bool = True,
        image: int | str = 0,
        label: int | str = 1,
    ) -> None:
        if not isinstance(sampler, PairSampler):
            raise InvalidInput(
                f"a sampler of index pairs is needed, such as BalancedMixedLabels, not a {type(sampler).__name__}"
            )
        if not isinstance(data, Sized) or len(data) != sampler.N:
            number = f"{len(data)} images" if isinstance(data, Sized) else "no length"
            raise InvalidInput(
                f"the data set has {number} and the sampler {sampler.N} labels; give the labels of these images"
            )
        self.data, self.mix, self.image, self.label = data, mix, image, label
        self._label_of: dict[int, int] = {}  # of each class of the sampler, as items show it
        self.sampler = WithRatios(sampler, alpha=alpha, ratio_per=ratio_per)

    def __repr__(self) -> str:
        """One line: the data set, and the sampler's own line."""
        return f"Pairs({type(self.data).__name__}, {self.sampler.pairs!r})"

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: tuple[int, int, float]) -> tuple[Tensor, ...]:
        """Read a pair.

        Args:
            index: (i, j, lambda), as :attr:`sampler` gives it.

        Returns:
            The mixed image, both labels and lambda; or both images, both labels and lambda.

        Raises:
            InvalidInput: if the index is no pair, the images are no tensors of one shape, or the sampler was given other
                labels.
        """
        if not isinstance(index, tuple) or len(index) != 3:
            raise InvalidInput(f"index {index!r} is not (i, j, lambda); give the DataLoader sampler=pairs.sampler")
        i, j, ratio = index
        (x, a), (y, b) = self._item(i), self._item(j)
        if x.shape != y.shape:
            raise InvalidInput(
                f"images {i} and {j} have shapes {tuple(x.shape)} and {tuple(y.shape)}; let the transform crop all to one"
            )
        lam = torch.tensor(ratio, dtype=torch.float32)
        return (ratio * x + (1 - ratio) * y, a, b, lam) if self.mix else (x, y, a, b, lam)

    def _item(self, index: int) -> tuple[Tensor, Tensor]:
        """An image and its label, a tensor ()."""
        item = self.data[index]
        x = item[self.image]
        if not isinstance(x, Tensor):
            raise InvalidInput(
                f"image {index} is a {type(x).__name__}, not a tensor; give the data set a transform that makes tensors"
            )
        label, counted = int(item[self.label]), int(self.sampler.pairs.labels[index])
        if (known := self._label_of.setdefault(counted, label)) != label:
            raise InvalidInput(
                f"image {index} has label {label}, and another one of its class, as the sampler was told, has {known}; "
                "give the sampler the labels of these images, in their order"
            )
        return x, torch.tensor(label)
