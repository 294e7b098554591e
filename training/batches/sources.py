"""Where a trainer's images come from: tensors on its device, or files that worker processes decode.

A step asks a source for one side of its batch (the first or the second image of each pair), augmented and normalised.
Evaluation and measurement ask for images without augmentation. Files are decoded and cropped by the workers, because
they differ in size. Flip, colour jitter and normalisation are done to the whole batch on the device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lpm.console.errors import InvalidInput
from training.batches.augment import crop_and_flip, flipped, normalised
from training.batches.colour import ORDERS, check, jittered
from training.batches.decoding import HOLDOUT, KEPT, TEST, TRAIN, Order, Undecodable, Views, next_batch, start_worker
from training.batches.epoch import Epoch
from training.config import RunConfig
from training.data.datasets import Images, Listed, LongTailed
from training.data.images import Decoding
from training.data.own_code import OwnCodeError

EVALUATION_BATCH = {"cpu": 250, "cuda": 5000}
"""Images at a time without gradients. What fits a core's cache is three times as fast as 1,000; a GPU needs many."""

PIXELS_AT_ONCE = {"cpu": 16 * 224**2, "cuda": 512 * 224**2}
"""The same for image files, in pixels."""


class Source(Protocol):
    """Images for a trainer, on its device.

    In training call :meth:`begin` once per epoch, :meth:`advance` before each batch, then :meth:`side` for both sides
    of it.

    Attributes:
        channels: channels of the images, 1 or 3.
    """

    channels: int

    def begin(self, epoch: int, draws: Epoch, sizes: Sequence[int]) -> None:
        """Prepare an epoch, or a process's share of it.

        Args:
            epoch: its number, from 1.
            draws: what is random in it, on the host.
            sizes: this process's pairs in each batch.
        """

    def advance(self) -> None:
        """Prepare the next batch of the epoch."""

    def side(self, draws: Epoch, positions: Tensor, side: int) -> Tensor:
        """Return one side of the batch, augmented and normalised.

        Args:
            draws: what is random in the epoch, on the device.
            positions: the positions of the batch in it, (B,) int64, on the device.
            side: 0 for the first image of each pair, 1 for the second.

        Returns:
            Images, (B, C, H, W).
        """

    def train(self, indices: Tensor) -> Iterator[Tensor]:
        """Iterate over training images in chunks, normalised, without augmentation. Use one iterator at a time.

        Args:
            indices: which images, (n,), or pairs of images, (n, 2).

        Yields:
            Images, (B, C, H, W), or pairs of images, (B, 2, C, H, W); the B sum to n.
        """

    def test(self, indices: Tensor) -> Iterator[Tensor]:
        """Iterate over test images in chunks, normalised, without augmentation. Use one iterator at a time.

        Args:
            indices: which images, (n,).

        Yields:
            Images, (B, C, H, W); the B sum to n.
        """

    def holdout(self, indices: Tensor) -> Iterator[Tensor]:
        """Iterate over images that are held out of training, as :meth:`test`.

        Args:
            indices: which images, (n,).

        Yields:
            Images, (B, C, H, W); the B sum to n.
        """


def of(config: RunConfig, data: LongTailed, device: torch.device, workers: int) -> Source:
    """Make the source for a run's data.

    Args:
        config: the run.
        data: its data set, arrays or image files.
        device: where images are needed.
        workers: processes that decode image files; 0 decodes in this process.

    Returns:
        The source.

    Raises:
        InvalidInput: if colours shall be jittered and kornia is not installed.
    """
    train, test, holdout = data.train, data.test, data.holdout
    if isinstance(train, Images) and isinstance(test, Images):
        assert not isinstance(holdout, Listed)
        return Resident(config, train, test, constants(data.mean, data.std, device), device, holdout)
    assert isinstance(train, Listed)
    assert isinstance(test, Listed)
    assert not isinstance(holdout, Images)
    if config.augment and config.jitter:
        check()
    how = Decoding(config.upright, config.pixel_bits, data.largest_pixels, data.max_pixels)
    return Files(config, train, test, how, constants(data.mean, data.std, device), device, workers, holdout)


class Resident:
    """A :class:`Source` of images that are on the device from the start.

    Args:
        config: the run.
        train: its training images.
        test: its test images.
        constants: mean and standard deviation of the channels, (C, 1, 1) each, on the device.
        device: where the images are kept.
        held_out: images that are held out of training.
    """

    def __init__(
        self,
        config: RunConfig,
        train: Images,
        test: Images,
        constants: tuple[Tensor, Tensor],
        device: torch.device,
        held_out: Images | None = None,
    ) -> None:
        self.augment, self.chunk = config.augment, EVALUATION_BATCH[device.type]
        self.channels = train.images.shape[1]
        self.mean, self.std = constants
        self.train_images, self.test_images = (torch.from_numpy(part.images).to(device) for part in (train, test))
        self.held_out = self.test_images[:0] if held_out is None else torch.from_numpy(held_out.images).to(device)

    def begin(self, epoch: int, draws: Epoch, sizes: Sequence[int]) -> None:
        """Do nothing: all images are on the device (:meth:`Source.begin`)."""

    def advance(self) -> None:
        """Do nothing: all images are on the device (:meth:`Source.advance`)."""

    def side(self, draws: Epoch, positions: Tensor, side: int) -> Tensor:
        """Return one side of the batch, as :meth:`Source.side`."""
        images = self.train_images[draws.pairs[positions, side]]
        if self.augment:
            images = crop_and_flip(images, draws.crops[side][:, positions], draws.flips[side][positions])
        return normalised(images, self.mean, self.std)

    def train(self, indices: Tensor) -> Iterator[Tensor]:
        """Iterate over training images, as :meth:`Source.train`."""
        return self._unaugmented(self.train_images, indices)

    def test(self, indices: Tensor) -> Iterator[Tensor]:
        """Iterate over test images, as :meth:`Source.test`."""
        return self._unaugmented(self.test_images, indices)

    def holdout(self, indices: Tensor) -> Iterator[Tensor]:
        """Iterate over images that are held out, as :meth:`Source.holdout`."""
        return self._unaugmented(self.held_out, indices)

    def _unaugmented(self, images: Tensor, indices: Tensor) -> Iterator[Tensor]:
        for chunk in torch.split(indices.to(images.device), self.chunk):
            yield normalised(images[chunk], self.mean, self.std)


class Files:
    """A :class:`Source` of image files, decoded by worker processes ahead of the steps.

    Args:
        config: the run.
        train: its training images.
        test: its test images.
        decoding: how files become pixels.
        constants: mean and standard deviation of the channels, (3, 1, 1) each, on the device.
        device: where images are needed.
        workers: processes that decode; 0 decodes in this process.
        held_out: images that are held out of training.
    """

    channels = 3

    def __init__(
        self,
        config: RunConfig,
        train: Listed,
        test: Listed,
        decoding: Decoding,
        constants: tuple[Tensor, Tensor],
        device: torch.device,
        workers: int,
        held_out: Listed | None = None,
    ) -> None:
        self.config, self.device = config, device
        self.mean, self.std = constants
        self.chunk = images_at_once(config, device)
        self.order = Order()
        self.loader: DataLoader[Any] = DataLoader(
            Views(train, test, config, decoding, KEPT // max(1, workers), held_out),
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

    def begin(self, epoch: int, draws: Epoch, sizes: Sequence[int]) -> None:
        """Let the workers begin to decode the epoch, as :meth:`Source.begin`."""
        keys = [(TRAIN, epoch, *key) for key in zip(draws.number.tolist(), *draws.pairs.T.tolist(), strict=True)]
        ends = np.cumsum(sizes).tolist()
        self.order.batches = [keys[end - size : end] for size, end in zip(sizes, ends, strict=True) if size]
        self.batches = self._decoded()
        self.colours = np.random.default_rng([self.config.seed, 10, epoch])

    def advance(self) -> None:
        """Wait for the next batch and draw the order of its colour jitter, as :meth:`Source.advance`."""
        self.batch = next(self.batches)
        self.orders = [ORDERS[i] for i in self.colours.integers(len(ORDERS), size=2)]

    def side(self, draws: Epoch, positions: Tensor, side: int) -> Tensor:
        """Return one side of the batch, as :meth:`Source.side`."""
        images = self.batch[: len(positions), side]  # a process's share of the last batch may be empty
        if not self.config.augment:
            return normalised(images, self.mean, self.std)
        images = flipped(images, draws.flips[side][positions])
        if not (self.config.jitter and len(positions)):
            return normalised(images, self.mean, self.std)
        brightness, contrast, saturation = draws.factors[side][:, positions]
        coloured = jittered(images.float() / 255, brightness, contrast, saturation, self.orders[side])
        return (coloured - self.mean) / self.std

    def train(self, indices: Tensor) -> Iterator[Tensor]:
        """Iterate over training images, as :meth:`Source.train`."""
        return self._unaugmented(TRAIN, indices)

    def test(self, indices: Tensor) -> Iterator[Tensor]:
        """Iterate over test images, as :meth:`Source.test`."""
        return self._unaugmented(TEST, indices)

    def holdout(self, indices: Tensor) -> Iterator[Tensor]:
        """Iterate over images that are held out, as :meth:`Source.holdout`."""
        return self._unaugmented(HOLDOUT, indices)

    def _unaugmented(self, part: int, indices: Tensor) -> Iterator[Tensor]:
        if not len(indices):  # a process's share of very few images
            yield self.batch[:0, 0].float()
            return
        keys = [(part, 0, 0, *images) for images in indices.reshape(len(indices), -1).tolist()]
        self.order.batches = [keys[start : start + self.chunk] for start in range(0, len(keys), self.chunk)]
        for images in self._decoded():
            yield normalised(images, self.mean, self.std).reshape(-1, *indices.shape[1:], *images.shape[2:])

    def _decoded(self) -> Iterator[Tensor]:
        """The batches of the order. Workers begin at once; training, evaluation and measurement share them."""
        return _on_device(iter(self.loader), len(self.order.batches), self.device)


def _on_device(batches: Iterator[Any], number: int, device: torch.device) -> Iterator[Tensor]:
    """Move a number of batches to the device.

    This is no method, because its frame would keep the source, and with it the workers, after the run has ended.
    """
    for _ in range(number):
        if isinstance(batch := next_batch(batches), OwnCodeError):
            raise batch
        if isinstance(batch, Undecodable):
            raise InvalidInput(
                f"{batch.reason}; `python -m training.check` names all such files; mended, or with --skip-broken, a run "
                "goes on with --data-changed ok"
            )
        yield batch.to(device, non_blocking=True)


def constants(mean: Sequence[float], std: Sequence[float], device: torch.device) -> tuple[Tensor, Tensor]:
    """Put the mean and the standard deviation of each channel on a device.

    Args:
        mean: one number per channel.
        std: one number per channel.
        device: where they are needed.

    Returns:
        Both, (C, 1, 1) each.
    """
    shaped = [torch.tensor(v, device=device).view(-1, 1, 1) for v in (mean, std)]
    return shaped[0], shaped[1]


def images_at_once(config: RunConfig, device: torch.device) -> int:
    """Return how many image files are processed at a time without gradients.

    Args:
        config: the run, which says how large images are.
        device: where the network is.

    Returns:
        Their number, at least 1.
    """
    return max(1, PIXELS_AT_ONCE[device.type] // config.pixels**2)
