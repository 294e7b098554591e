"""A long-tailed CIFAR as image files in one folder per class: ``python -m benchmarks.as_files --data-root D --out F``.

``python -m training.train --dataset own --classes 10 --data-root F`` then trains on them. This tests the code for large
data sets on images whose results with the code for small ones are known. Files are PNG, which keeps every pixel.
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
    """Run the command.

    Args:
        arguments: words of the command line; those of the process if None.

    Returns:
        Its exit status.
    """
    parser = cli.Parser("benchmarks.as_files", "write a long-tailed CIFAR as PNG files, one folder per class")
    add = parser.add_argument
    names = ("cifar10-lt", "cifar100-lt")
    add("--dataset", type=cli.choice(*names), default=names[0], metavar="NAME", help="|".join(names))
    add("--imbalance", type=float, default=100.0, help="n_max / n_min")
    add("--data-root", type=Path, required=True, metavar="DIR", help="folder with CIFAR's files")
    add("--out", type=Path, required=True, metavar="DIR", help="folder to make")
    options = parser.parse_args(arguments)
    data = datasets.load(options.dataset, options.data_root, imbalance=options.imbalance)
    with OutputFolder(options.out, "benchmarks.as_files") as output:
        for use, part in (("train", data.train), ("test", data.test)):
            assert isinstance(part, Images)
            for number, (pixels, label) in enumerate(zip(part.images, part.labels, strict=True)):
                folder = output.path / use / f"{label:02d}"
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.transpose(1, 2, 0)).save(folder / f"{number:05d}.png")
        output.finish({"data": data.name, "imbalance": options.imbalance})
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
