"""A long-tailed CIFAR as image files, a folder a class: ``python -m benchmarks.as_files --data-root D --out F``.

For ``python -m training.train --dataset own --classes 10 --data-root F``: the road of large data sets on images whose results by
the other road are known. Files are PNG, so pixels stay what they are.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from lpm.console import cli
from lpm.console.output import OutputFolder
from training.data import datasets
from training.data.datasets import Images


def main(arguments: list[str] | None = None) -> int:
    """The command; its exit status."""
    parser = cli.Parser("benchmarks.as_files", "write a long-tailed CIFAR as PNG files, a folder a class")
    add = parser.add_argument
    add("--dataset", type=cli.choice("cifar10-lt", "cifar100-lt"), default="cifar10-lt", metavar="NAME")
    add("--imbalance", type=float, default=100.0, help="n_max / n_min")
    add("--data-root", type=Path, required=True, metavar="DIR", help="folder with CIFAR's files")
    add("--out", type=Path, required=True, metavar="DIR", help="folder to make")
    options = parser.parse_args(arguments)
    data = datasets.load(options.dataset, options.data_root, imbalance=options.imbalance)
    with OutputFolder(options.out, "benchmarks.as_files") as made:
        for use, part in (("train", data.train), ("test", data.test)):
            assert isinstance(part, Images)
            for number, (pixels, label) in enumerate(zip(part.images, part.labels, strict=True)):
                folder = made.path / use / f"{label:02d}"
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.transpose(1, 2, 0)).save(folder / f"{number:05d}.png")
        made.finish({"data": data.name, "imbalance": options.imbalance})
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
