"""Features of images that are computed once, in place of the images: for a classifier on a frozen network.

An image file is decoded once, and an epoch costs what its classifier costs. Images are not augmented. Mixup mixes features.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from lpm.console.output import write
from training.batches.epoch import Epoch
from training.batches.sources import EVALUATION_BATCH, Files
from training.config import RunConfig
from training.data.datasets import Listed, LongTailed
from training.data.untrusted import contents

FOLDER = ".features"
"""Folder inside the run store that keeps features."""

LIMIT = 20_000_000_000
"""Bytes that a file of features may have."""

Compute = Callable[[Tensor], Tensor]
"""From normalised images (B, 3, H, W) to features (B, p)."""


class Cached:
    """A :class:`training.batches.sources.Source` of features, (B, p, 1, 1), which are computed at the first use.

    They are not computed earlier, because the network's weights may be loaded after the source is made.

    Args:
        config: the run.
        data: its data; image files.
        files: the source of the images.
        compute: the frozen network; it gives the same features at each call.
        state: gives the frozen network's weights and running statistics.
        code: the version of the code that computes with them; '' for this project's.
        device: where features are needed.
        folder: folder that keeps features of one network and one set of images for other runs; None keeps none.
    """

    channels = 3

    def __init__(
        self,
        config: RunConfig,
        data: LongTailed,
        files: Files,
        compute: Compute,
        state: Callable[[], dict[str, Tensor]],
        code: str,
        device: torch.device,
        folder: Path | None,
    ) -> None:
        self.config, self.data, self.files, self.compute, self.state = config, data, files, compute, state
        self.code, self.device, self.folder = code, device, folder
        self._features: dict[str, Tensor] = {}

    def begin(self, epoch: int, draws: Epoch, sizes: Sequence[int]) -> None:
        """Compute the features, if they are not there yet (:meth:`training.batches.sources.Source.begin`)."""
        self._of("train")

    def advance(self) -> None:
        """Do nothing: all features are on the device."""

    def side(self, draws: Epoch, positions: Tensor, side: int) -> Tensor:
        """Return one side of the batch, as :meth:`training.batches.sources.Source.side`."""
        return self._of("train")[draws.pairs[positions, side]]

    def train(self, indices: Tensor) -> Iterator[Tensor]:
        """Iterate over features of training images, as :meth:`training.batches.sources.Source.train`."""
        return self._chunks("train", indices)

    def test(self, indices: Tensor) -> Iterator[Tensor]:
        """Iterate over features of test images, as :meth:`training.batches.sources.Source.test`."""
        return self._chunks("test", indices)

    def holdout(self, indices: Tensor) -> Iterator[Tensor]:
        """Iterate over features of images that are held out, as :meth:`training.batches.sources.Source.holdout`."""
        return self._chunks("holdout", indices)

    def _chunks(self, part: str, indices: Tensor) -> Iterator[Tensor]:
        features = self._of(part)
        for chunk in torch.split(indices.to(features.device), EVALUATION_BATCH[self.device.type]):
            yield features[chunk]

    def _of(self, part: str) -> Tensor:
        """The features of a part, (n, p, 1, 1); all parts are computed at once."""
        if not self._features:
            file = None if self.folder is None else self.folder / f"{self._name()}.safetensors"
            features = self._read(file) if file is not None and file.is_file() else None
            if features is None:
                features = {name: self._computed(name) for name in self.data.parts}
                if file is not None:
                    file.parent.mkdir(exist_ok=True)
                    write(file, save_tensors(features))
            self._features = {name: x.to(self.device)[:, :, None, None] for name, x in features.items()}
        return self._features[part]

    @torch.no_grad()
    def _computed(self, part: str) -> Tensor:
        images = torch.arange(len(self.data.parts[part].labels))
        return torch.cat([self.compute(x).float().cpu() for x in getattr(self.files, part)(images)])

    def _read(self, file: Path) -> dict[str, Tensor] | None:
        """Features that another run has kept; None if the file is damaged."""
        try:
            features = load_tensors(contents(file, LIMIT))
        except (SafetensorError, ValueError):  # InvalidInput is a ValueError
            return None
        sizes = {name: len(part.labels) for name, part in self.data.parts.items()}
        whole = all(x.ndim == 2 and bool(torch.isfinite(x).all()) for x in features.values())
        return features if whole and {name: len(x) for name, x in features.items()} == sizes else None

    def _name(self) -> str:
        """A hash of all that features depend on: the network, its code, the image files, and how these become pixels."""
        config, digest = self.config, hashlib.sha256()
        how = (config.model, config.pixels, config.upright, config.pixel_bits, config.precision, self.device.type)
        digest.update(json.dumps([*map(str, how), [float(x) for x in self.data.largest_pixels]]).encode())
        digest.update(self.code.encode())
        for name, tensor in sorted(self.state().items()):
            digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
        for part in self.data.parts.values():
            assert isinstance(part, Listed)
            part.update(digest)
            digest.update(part.times.astype("<i8").tobytes())
        return digest.hexdigest()[:32]
