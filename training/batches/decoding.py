"""Image files decoded, and views cut from them, in the processes of a DataLoader."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from lpm.console.errors import InvalidInput
from training.config import RunConfig
from training.data.datasets import Listed
from training.data.images import Decoding, central_view_of, train_views_of, whole
from training.data.own_code import OwnCodeError
from training.data.policies import policy
from training.store.locks import let_go

KEPT = 2**29
"""Bytes of decoded image files that all workers of a run keep in memory together: half a gigabyte.

Whole images are kept, because every epoch cuts other crops from them. What is kept stays until the run ends: where not all
images fit, an epoch that met them in another order would otherwise find none of those that it needs.
"""

BYTES_PER_PIXEL = 4
"""Bytes that Pillow takes for a pixel of an RGB image."""


@dataclass(frozen=True)
class Undecodable:
    """What a worker process returns for an image that it cannot decode.

    An exception that crosses processes would arrive with other words.

    Attributes:
        reason: what is wrong, naming the file.
    """

    reason: str


TRAIN, TEST, HOLDOUT = 0, 1, 2

Key = tuple[int, ...]
"""TRAIN, TEST or HOLDOUT, the epoch, the position in it, and the images to decode there; epoch 0 means no augmentation."""


class Order(Sampler[list[Key]]):
    """The batches that a loader is to make, set before it is iterated.

    Args:
        batches: what to decode for each batch.
    """

    def __init__(self, batches: Sequence[list[Key]] = ()) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[list[Key]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class Views(Dataset[Any]):
    """Batches of decoded images, (B, sides, 3, size, size) uint8, or :class:`Undecodable`, or the error of one's own code.

    Crops in training are a function of (seed, epoch, position, side), so they do not depend on the workers. An image
    that occurs more than once in a batch, as partners drawn from the batch do, is decoded once. A worker keeps the first
    images that it decodes, as many as fit its share of :data:`KEPT`, and cuts every later crop from the same pixels.

    Args:
        train: the training images.
        test: the test images.
        config: the run.
        decoding: how files become pixels.
        room: bytes of decoded images that each process may keep.
        holdout: the images that are held out of training.
    """

    def __init__(
        self,
        train: Listed,
        test: Listed,
        config: RunConfig,
        decoding: Decoding,
        room: int,
        holdout: Listed | None = None,
    ) -> None:
        self.sets = (train, test) if holdout is None else (train, test, holdout)
        self.size, self.decoding, self.room = config.pixels, decoding, room
        self.seed, self.fault = config.seed if config.augment else None, ""
        try:
            self.policy = policy(config.transform)
        except InvalidInput as error:  # code of one's own that may not run, which test images do not need
            self.policy, self.fault = None, str(error)
        self.decoded: dict[tuple[int, int], Image.Image] = {}

    def __getitem__(self, batch: list[Key]) -> Tensor | Undecodable | OwnCodeError:
        occurrences: defaultdict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
        for number, (part, _, _, *images) in enumerate(batch):
            for side, image in enumerate(images):
                occurrences[part, image].append((number, side))
        pixels = np.empty((len(batch), len(batch[0]) - 3, 3, self.size, self.size), dtype=np.uint8)
        try:
            for (part, image), targets in occurrences.items():
                keys = [(batch[number][1], batch[number][2], side) for number, side in targets]
                for target, view in zip(targets, self._views(self._whole(part, image), keys), strict=True):
                    pixels[target] = view
        except OwnCodeError as error:
            return error  # not raised, for the reason of Undecodable
        except InvalidInput as error:
            return Undecodable(str(error))
        return torch.from_numpy(pixels)

    def _whole(self, part: int, image: int) -> Image.Image:
        """The decoded image, from memory where it is kept."""
        if (decoded := self.decoded.get((part, image))) is None:
            listed = self.sets[part]
            decoded = whole(Path(listed.paths[image]), root=listed.root, decoding=self.decoding)
            size = BYTES_PER_PIXEL * decoded.width * decoded.height
            if size <= self.room:
                self.room -= size
                self.decoded[part, image] = decoded
        return decoded

    def _views(self, image: Image.Image, keys: list[tuple[int, int, int]]) -> list[np.ndarray]:
        """The views of an image, one for each key (epoch, position, side)."""
        if self.seed is None or keys[0][0] == 0:
            return [central_view_of(image, self.size)] * len(keys)
        rngs = [np.random.default_rng([self.seed, 9, *key]) for key in keys]
        views = train_views_of(image, self.size, rngs)
        if self.fault:
            raise OwnCodeError(self.fault)
        if self.policy is None:
            return views
        return [
            self.policy(view.transpose(1, 2, 0), rng).transpose(2, 0, 1) for view, rng in zip(views, rngs, strict=True)
        ]


def start_worker(worker: int) -> None:
    """Prepare a worker process before it decodes: it drops the run's locks and uses one thread.

    Args:
        worker: its number, which a DataLoader passes.
    """
    let_go()
    torch.set_num_threads(1)


def next_batch(batches: Iterator[Any]) -> Any:
    """Return the next batch of a loader.

    Args:
        batches: iterator of a DataLoader.

    Returns:
        The batch.

    Raises:
        ChildProcessError: if a worker process was killed.
    """
    try:
        return next(batches)
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise ChildProcessError(
            "a decoding process was killed, perhaps for lack of (shared) memory; the same command continues the run, "
            "take fewer --workers"
        ) from None
