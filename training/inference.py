"""A trained network at work on image files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from lpm.errors import InvalidInput
from training import build, sources
from training.config import LARGE
from training.datasets import LARGE_CONSTANTS, LongTailed
from training.lists import Listed
from training.runs import RunFolder
from training.untrusted import line


def predictions(
    folder: RunFolder, images: Sequence[Path], device: torch.device, *, top: int = 1, workers: int = 0
) -> Iterator[tuple[str, int, str, str]]:
    """A row for each image and each of its ``top`` likeliest classes: path, rank from 1, class, softmax score.

    Scores order the classes of an image. They are no probabilities: training with mixup makes them cautious.

    Raises InvalidInput for a run on other data than image files, damaged weights, a file that is no image, more classes than the
    run has.
    """
    config, names = folder.config, folder.metrics().get("class_names")
    if config.dataset not in LARGE or not isinstance(names, list) or len(names) != config.K:
        raise InvalidInput(f"{str(folder.path)!r} is no run on image files that names its classes")
    if not 1 <= top <= config.K:
        raise InvalidInput(f"--top {top} must lie in 1..{config.K}, the run's classes")
    network = network_of(folder, sources.Files.channels, device)
    listed = Listed(Path(), tuple(map(str, images)), *np.zeros((2, len(images)), dtype=np.int64))
    data = LongTailed(config.data, listed, listed, config.K, *LARGE_CONSTANTS[config.dataset])
    source, done = sources.Files(config, data, device, workers), 0
    with torch.no_grad():
        for x in source.test(torch.arange(len(images))):
            features = network.features(
                x.contiguous(memory_format=torch.channels_last), bf16=config.precision == "bf16"
            )
            scores, classes = network.classifier(features).softmax(dim=1).sort(dim=1, descending=True, stable=True)
            if not bool(torch.isfinite(scores).all()):
                raise InvalidInput(f"the weights of {str(folder.path)!r} give scores that are no numbers")
            for row in range(len(x)):
                for rank in range(top):
                    name, score = names[int(classes[row, rank])], float(scores[row, rank])
                    yield str(images[done + row]), rank + 1, name, f"{score:.4f}"
            done += len(x)


def network_of(folder: RunFolder, channels: int, device: torch.device) -> build.Network:
    """The network of a finished run, for evaluation. channels: of its images. Raises InvalidInput for damaged weights."""
    network = build.network(folder.config, channels)
    weights = {
        k.removeprefix("network."): torch.tensor(v) for k, v in folder.final().items() if k.startswith("network.")
    }
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise InvalidInput(f"the weights of {str(folder.path)!r} do not fit its config: {line(error)}") from None
    return network.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
