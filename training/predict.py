"""What a trained network sees in image files: ``python -m training.predict RUN IMAGE...`` (runs on image files only)."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from lpm import cli
from lpm.errors import InvalidInput
from training import build, runs, sources
from training.config import LARGE
from training.datasets import LARGE_CONSTANTS, LongTailed
from training.lists import Listed, images_below
from training.runs import RunFolder
from training.train import add_device, workers
from training.untrusted import line


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = cli.Parser("training.predict", "the most likely classes of image files, as CSV: image, rank, class, score")
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a finished run on image files")
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="JPEG or PNG files, or folders of them")
    parser.add_argument("--top", type=int, default=1, metavar="N", help="classes an image")
    parser.add_argument("--workers", type=workers, default=0, metavar="N", help="processes that decode images")
    add_device(parser)
    options = parser.parse_args(arguments)
    folder, device = runs.at(options.run), build.device(options.device)
    if not 1 <= options.top <= folder.config.K:
        raise InvalidInput(f"--top {options.top} must lie in 1..{folder.config.K}, the run's classes")
    found = list(predictions(folder, _files(options.images), device, top=options.top, workers=options.workers))
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("image", "rank", "class", "score"))
    writer.writerows(found)
    return 0


def predictions(
    folder: RunFolder, images: Sequence[Path], device: torch.device, *, top: int = 1, workers: int = 0
) -> Iterator[tuple[str, int, str, str]]:
    """A row for each image and each of its ``top`` likeliest classes: path, rank from 1, class, softmax score.

    Scores order the classes of an image. They are no probabilities: training with mixup makes them cautious.

    Raises InvalidInput for a run on other data than image files, damaged weights, or a file that is no image.
    """
    config, names = folder.config, folder.metrics().get("class_names")
    if config.dataset not in LARGE or not isinstance(names, list) or len(names) != config.K:
        raise InvalidInput(f"{str(folder.path)!r} is no run on image files that names its classes")
    network = trained(folder, sources.Files.channels, device)
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


def trained(folder: RunFolder, channels: int, device: torch.device) -> build.Network:
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


def _files(given: Sequence[Path]) -> list[Path]:
    """The images that are meant. Raises InvalidInput for folders without any, for runs, for what is not there and for names that
    a terminal does not show as they are.
    """
    found: list[Path] = []
    for path in given:
        if (path / "config.json").exists():
            raise InvalidInput(f"{str(path)!r} is a run, not images; give one run")
        found += images_below(path) if path.is_dir() else [path]
    for file in found:
        if not str(file).isprintable():
            raise InvalidInput(f"{str(file)!r}: give it a name of printable text")
        if not file.exists():
            raise InvalidInput(f"{str(file)!r} is not there")
    return found


if __name__ == "__main__":
    sys.exit(cli.run(main))
