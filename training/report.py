"""A page on a finished run: ``python -m training.report RUN`` writes its classes, its confusions and its surest errors."""

from __future__ import annotations

import argparse
import io
import math
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lpm.console import cli
from lpm.console.errors import InvalidInput
from lpm.console.output import OutputFolder
from lpm.console.text import shown
from training.data.datasets import LongTailed
from training.options import add_data, add_device, add_lists
from training.store import class_report, confusion_picture, pages, run_code, runs
from training.store.class_report import ClassRow
from training.store.confusions import names_of, of, splits_of
from training.store.runs import RunFolder

IMAGES, ROWS, PIXELS = 24, 100, 128
"""Images that the page shows by default, classes that it lists at most, and pixels of an image's longer side."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: words of the command line; those of the process if None.

    Returns:
        Its exit status.

    Raises:
        InvalidInput: if the run is not finished or is damaged, or its data are not there.
    """
    parser = cli.Parser(
        "training.report",
        "write a page on a finished run: precision, recall, F1 and AUC of each class, the confusion matrix, and the images "
        "that it is surest about and wrong",
    )
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="folder of a finished run (.../seed-0)")
    add("--out", type=Path, default=Path("report"), metavar="DIR", help="folder for report.html and classes.csv")
    add("--images", type=int, default=IMAGES, metavar="N", help="wrong images that the page shows, 0 to 1000")
    add_data(parser, weights=False)
    add_lists(parser)
    add_device(parser)
    options = parser.parse_args(arguments)
    if not 0 <= options.images <= 1000:
        raise InvalidInput(f"--images {options.images} must lie in 0..1000")
    folder = runs.at(options.run)
    names, confusion = names_of(folder), of(folder)  # a damaged run is refused before images are read
    with OutputFolder(options.out, "training.report") as output:
        logits, data, pictures = _evaluated(folder, options)
        labels = data.test.labels
        report = class_report.rows(names, folder.result().train_counts, confusion, logits, labels)
        errors = class_report.surest_errors(logits, labels, options.images)
        images = [
            {
                "name": data.test.names[number],
                "true": names[labels[number]],
                "predicted": names[label],
                "score": score,
                "image": picture,
            }
            for (number, label, score), picture in zip(errors, pictures([i for i, *_ in errors]), strict=True)
        ]
        matrix = ""
        if len(names) <= confusion_picture.LARGEST:
            picture = confusion_picture.drawn(
                [confusion], names, list(splits_of(folder).items()), folder.config.method, "png"
            )
            matrix = pages.embedded(picture, "png")
        listed = _listed(report)
        html = pages.page(
            "run.html",
            title=f"{folder.config.method} on {folder.config.data}",
            run=folder.config.folder,
            accuracies=folder.result().last,
            classes=listed,
            hidden=len(report) - len(listed),
            matrix=matrix,
            errors=images,
            wrong=int((logits.argmax(axis=1) != labels).sum()),
            tested=len(labels),
        )
        (output.path / "report.html").write_text(html, encoding="utf-8")
        (output.path / "classes.csv").write_text(class_report.as_csv(report), encoding="utf-8")
        output.finish({"run": folder.config.folder})
    print(f"in {shown(options.out)}: report.html, classes.csv")
    cli.next_step(f"open {shlex.quote(str(options.out / 'report.html'))} in a browser")
    return 0


def _listed(report: Sequence[ClassRow]) -> list[ClassRow]:
    """The classes that the page has: all, or of very many those with the lowest F1."""
    if len(report) <= ROWS:
        return list(report)
    return sorted(report, key=lambda row: math.inf if math.isnan(row.f1) else row.f1)[:ROWS]


def _evaluated(folder: RunFolder, options: argparse.Namespace) -> tuple[np.ndarray, LongTailed, Any]:
    """The logits of the test images, the data, and a function that makes pictures of some of them."""
    import torch  # with all of these

    from training.jobs.prepare import again
    from training.model import build
    from training.run.corrections import Finished
    from training.run.inference import network_of

    device, data = build.device(options.device), again(folder, options)
    run_code.note((folder.path, folder.config), options=["--model"])
    network = network_of(folder, data.channels, device)
    run = Finished(folder.config, network, data, device, options.workers or 0)
    logits = run.logits("test")
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (data.mean, data.std))

    def pictures(numbers: Sequence[int]) -> list[str]:
        made: list[str] = []
        for x in run.source.test(torch.tensor(numbers)) if numbers else ():
            made += [pages.embedded(_png(one * std + mean), "png") for one in x.cpu().numpy()]
        return made

    return logits, data, pictures


def _png(pixels: np.ndarray) -> bytes:
    """A small PNG of an image (C, H, W) in 0..1."""
    from PIL import Image

    whole = (255 * pixels.clip(0, 1)).round().astype(np.uint8)
    image = Image.fromarray(whole[0] if len(whole) == 1 else whole.transpose(1, 2, 0))
    image.thumbnail((PIXELS, PIXELS))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


if __name__ == "__main__":
    sys.exit(cli.run(main))
