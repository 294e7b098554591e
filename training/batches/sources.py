"""Where a trainer's images come from: tensors on its device, or files that worker processes decode.

A step asks a source for one side of its batch, augmented and normalised; evaluation and measurement ask for images as they
are. Files are decoded and cropped by the workers, because they differ in size; flip, colour and normalisation are done to the
whole batch on the device.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from lpm.console.errors import InvalidInput
from training.batches.augment import crop_and_flip, flipped, normalised
from training.batches.colour import ORDERS, check, jittered
from training.batches.epoch import Epoch
from training.config import RunConfig
from training.data.datasets import Images, LongTailed
from training.data.images import central_view, train_views
from training.data.lists import Listed
from training.store.locks import let_go

EVALUATION_BATCH = {"cpu": 250, "cuda": 5000}
"""Images at a time without gradients: what a core's cache holds is three times as fast as a thousand; a GPU wants many."""

PIXELS_AT_ONCE = {"cpu": 16 * 224**2, "cuda": 512 * 224**2}
"""The same of image files, in pixels."""


class Source(Protocol):
    """Images for a trainer."""

    channels: int

    def begin(self, epoch: int, drawn: Epoch, sizes: Sequence[int]) -> None:
        """Get ready for an epoch, or a share of it, in batches of these sizes. drawn: on the host."""

    def advance(self) -> None:
        """Get ready for its next batch."""

    def side(self, drawn: Epoch, rows: Tensor, side: int) -> Tensor:
        """One side of the batch, augmented and normalised, (B, C, H, W). drawn, rows: on the device."""

    def train(self, which: Tensor) -> Iterator[Tensor]:
        """Training images by number, normalised, in chunks: which (n,) gives (B, C, H, W), (n, 2) gives (B, 2, C, H, W). One
        iterator at a time.
        """

    def test(self, which: Tensor) -> Iterator[Tensor]:
        """The same of test images."""


def of(config: RunConfig, data: LongTailed, device: torch.device, workers: int) -> Source:
    """The source for a data set. Raises InvalidInput when colours shall be jittered without kornia."""
    if isinstance(data.train, Listed):
        if config.augment and config.jitter:
            check()
        return Files(config, data, device, workers)
    return Resident(config, data, device)


class Resident:
    """Images that live on the device."""

    def __init__(self, config: RunConfig, data: LongTailed, device: torch.device) -> None:
        assert isinstance(data.train, Images)
        assert isinstance(data.test, Images)
        self.augment, self.chunk = config.augment, EVALUATION_BATCH[device.type]
        self.channels = data.train.images.shape[1]
        self.mean, self.std = constants(data.mean, data.std, device)
        self.train_images, self.test_images = (torch.from_numpy(s.images).to(device) for s in (data.train, data.test))

    def begin(self, epoch: int, drawn: Epoch, sizes: Sequence[int]) -> None:
        """All is there."""

    def advance(self) -> None:
        """All is there."""

    def side(self, drawn: Epoch, rows: Tensor, side: int) -> Tensor:
        images = self.train_images[drawn.pairs[rows, side]]
        if self.augment:
            images = crop_and_flip(images, drawn.crops[side][:, rows], drawn.flips[side][rows])
        return normalised(images, self.mean, self.std)

    def train(self, which: Tensor) -> Iterator[Tensor]:
        return self._as_they_are(self.train_images, which)

    def test(self, which: Tensor) -> Iterator[Tensor]:
        return self._as_they_are(self.test_images, which)

    def _as_they_are(self, images: Tensor, which: Tensor) -> Iterator[Tensor]:
        for chunk in torch.split(which.to(images.device), self.chunk):
            yield normalised(images[chunk], self.mean, self.std)


class Files:
    """Image files, decoded by worker processes (none: by this one) ahead of the steps."""

    channels = 3

    def __init__(self, config: RunConfig, data: LongTailed, device: torch.device, workers: int) -> None:
        assert isinstance(data.train, Listed)
        assert isinstance(data.test, Listed)
        self.config, self.device = config, device
        self.mean, self.std = constants(data.mean, data.std, device)
        self.chunk = images_at_once(config, device)
        self.order = _Order()
        self.loader: DataLoader[Any] = DataLoader(
            _Views(data.train, data.test, config),
            sampler=self.order,
            batch_size=None,  # the dataset makes whole batches
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=device.type == "cuda",
            worker_init_fn=start_worker,
        )
        self.colours, self.orders = np.random.default_rng(0), [ORDERS[0]] * 2
        self.batches: Iterator[Tensor] = iter(())
        self.batch = torch.zeros(0, 2, self.channels, config.pixels, config.pixels, dtype=torch.uint8, device=device)

    def begin(self, epoch: int, drawn: Epoch, sizes: Sequence[int]) -> None:
        keys = [(TRAIN, epoch, *key) for key in zip(drawn.number.tolist(), *drawn.pairs.T.tolist(), strict=True)]
        ends = np.cumsum(sizes).tolist()
        self.order.batches = [keys[end - size : end] for size, end in zip(sizes, ends, strict=True) if size]
        self.batches = self._decoded()
        self.colours = np.random.default_rng([self.config.seed, 10, epoch])

    def advance(self) -> None:
        self.batch = next(self.batches)
        self.orders = [ORDERS[i] for i in self.colours.integers(len(ORDERS), size=2)]

    def side(self, drawn: Epoch, rows: Tensor, side: int) -> Tensor:
        images = self.batch[: len(rows), side]  # of the last batch, a process's share may be none
        if not self.config.augment:
            return normalised(images, self.mean, self.std)
        images = flipped(images, drawn.flips[side][rows])
        if not (self.config.jitter and len(rows)):
            return normalised(images, self.mean, self.std)
        brightness, contrast, saturation = drawn.factors[side][:, rows]
        coloured = jittered(images.float() / 255, brightness, contrast, saturation, self.orders[side])
        return (coloured - self.mean) / self.std

    def train(self, which: Tensor) -> Iterator[Tensor]:
        return self._as_they_are(TRAIN, which)

    def test(self, which: Tensor) -> Iterator[Tensor]:
        return self._as_they_are(TEST, which)

    def _as_they_are(self, part: int, which: Tensor) -> Iterator[Tensor]:
        if not len(which):  # a process's share of very few images
            yield self.batch[:0, 0].float()
            return
        rows = which.reshape(len(which), -1)
        self.order.batches = [[(part, 0, 0, *row) for row in chunk.tolist()] for chunk in torch.split(rows, self.chunk)]
        for images in self._decoded():
            yield normalised(images, self.mean, self.std).reshape(-1, *which.shape[1:], *images.shape[2:])

    def _decoded(self) -> Iterator[Tensor]:
        """The batches of the order; workers begin at once, and are the same for all that is asked."""
        return _on_device(iter(self.loader), len(self.order.batches), self.device)


TRAIN, TEST = 0, 1

Key = tuple[int, ...]
"""Whether of TRAIN or TEST, the epoch, the position in it, and the images to decode there; epoch 0: as they are."""


class _Order(Sampler[list[Key]]):
    """The batches that a loader is to make, set before it is iterated."""

    def __init__(self, batches: Sequence[list[Key]] = ()) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[list[Key]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class _Views(Dataset[Any]):
    """Batches of decoded images, (B, sides, 3, size, size) uint8, or what is wrong with one: an error that crosses processes
    would lose its line.

    Crops in training are a function of (seed, epoch, position, side), so that workers do not matter. An image that a batch
    shows more than once, as partners drawn from the batch are, is decoded once.
    """

    def __init__(self, train: Listed, test: Listed, config: RunConfig) -> None:
        self.sets, self.size, self.upright = (train, test), config.pixels, config.upright
        self.seed = config.seed if config.augment else None

    def __getitem__(self, batch: list[Key]) -> Tensor | str:
        shown: defaultdict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
        for row, (part, _, _, *images) in enumerate(batch):
            for side, image in enumerate(images):
                shown[part, image].append((row, side))
        made = np.empty((len(batch), len(batch[0]) - 3, 3, self.size, self.size), dtype=np.uint8)
        try:
            for (part, image), places in shown.items():
                keys = [(batch[row][1], batch[row][2], side) for row, side in places]
                for place, view in zip(places, self._views(self.sets[part], image, keys), strict=True):
                    made[place] = view
        except InvalidInput as error:
            return str(error)
        return torch.from_numpy(made)

    def _views(self, listed: Listed, image: int, keys: list[tuple[int, int, int]]) -> list[np.ndarray]:
        """An image at each of the (epoch, position, side)s."""
        path = Path(listed.paths[image])
        if self.seed is None or keys[0][0] == 0:
            return [central_view(path, self.size, root=listed.root, upright=self.upright)] * len(keys)
        rngs = [np.random.default_rng([self.seed, 9, *key]) for key in keys]
        return train_views(path, self.size, rngs, root=listed.root, upright=self.upright)


def start_worker(worker: int) -> None:
    """In a worker, before it decodes."""
    let_go()
    torch.set_num_threads(1)


def _on_device(batches: Iterator[Any], number: int, device: torch.device) -> Iterator[Tensor]:
    """So many batches. No method: it would hold its source, and with it the workers, when the run has long ended."""
    for _ in range(number):
        if isinstance(batch := next_batch(batches), str):
            raise InvalidInput(batch)
        yield batch.to(device, non_blocking=True)


def next_batch(batches: Iterator[Any]) -> Any:
    """The next batch. Raises ChildProcessError when a worker was killed."""
    try:
        return next(batches)
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise ChildProcessError(
            "a decoding process was killed, for lack of (shared) memory perhaps; the same command goes on, with fewer --workers"
        ) from None


def constants(mean: Sequence[float], std: Sequence[float], device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and std of a set's channels, (C, 1, 1) each."""
    shaped = [torch.tensor(v, device=device).view(-1, 1, 1) for v in (mean, std)]
    return shaped[0], shaped[1]


def images_at_once(config: RunConfig, device: torch.device) -> int:
    """Image files at a time without gradients."""
    return max(1, PIXELS_AT_ONCE[device.type] // config.pixels**2)
