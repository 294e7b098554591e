"""A page on a finished run: ``python -m training.report RUN`` writes its classes, its confusions and its surest errors."""

from __future__ import annotations

import io
import math
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lpm.console import cli
from lpm.console.errors import InvalidInput
from lpm.console.output import OutputFolder
from lpm.console.text import shown
from training.corrected import corrected_run, finished
from training.options import add_correction, add_data, add_device, add_lists, correction_record, settings_of
from training.store import class_report, confusion_picture, pages, runs
from training.store.class_report import ClassRow
from training.store.confusions import names_of, of, splits_of

if TYPE_CHECKING:
    from training.run.corrections import Finished

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
    add_correction(parser)
    add_data(parser, weights=False)
    add_lists(parser)
    add_device(parser)
    options = parser.parse_args(arguments)
    settings = settings_of(options)
    if not 0 <= options.images <= 1000:
        raise InvalidInput(f"--images {options.images} must lie in 0..1000")
    folder = runs.at(options.run)
    names, confusion = names_of(folder), of(folder)  # a damaged run is refused before images are read
    with OutputFolder(options.out, "training.report") as output:
        run = finished(folder, options)
        logits, data, accuracies, method = run.logits("test"), run.data, folder.result().last, folder.config.method
        if options.correction is not None:
            after = corrected_run(run, options.correction, settings)
            logits, confusion, accuracies = after.scores, after.confusion, after.row.last
            method += f", {after.row.title}"
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
            for (number, label, score), picture in zip(errors, _pictures(run, [i for i, *_ in errors]), strict=True)
        ]
        matrix = ""
        if len(names) <= confusion_picture.LARGEST:
            picture = confusion_picture.drawn([confusion], names, list(splits_of(folder).items()), method, "png")
            matrix = pages.embedded(picture, "png")
        listed = _listed(report)
        html = pages.page(
            "run.html",
            title=f"{method} on {folder.config.data}",
            run=folder.config.folder,
            accuracies=accuracies,
            classes=listed,
            hidden=len(report) - len(listed),
            matrix=matrix,
            errors=images,
            wrong=int((logits.argmax(axis=1) != labels).sum()),
            tested=len(labels),
        )
        (output.path / "report.html").write_text(html, encoding="utf-8")
        (output.path / "classes.csv").write_text(class_report.as_csv(report), encoding="utf-8")
        output.finish({"run": folder.config.folder, "correction": correction_record(options)})
    print(f"in {shown(options.out)}: report.html, classes.csv")
    cli.next_step(f"open {shlex.quote(str(options.out / 'report.html'))} in a browser")
    return 0


def _listed(report: Sequence[ClassRow]) -> list[ClassRow]:
    """The classes that the page has: all, or of very many those with the lowest F1."""
    if len(report) <= ROWS:
        return list(report)
    return sorted(report, key=lambda row: math.inf if math.isnan(row.f1) else row.f1)[:ROWS]


def _pictures(run: Finished, numbers: Sequence[int]) -> list[str]:
    """Some of the test images, by their numbers, for a page."""
    import torch

    mean, std = (np.array(values, np.float32)[:, None, None] for values in (run.data.mean, run.data.std))
    made: list[str] = []
    for x in run.source.test(torch.tensor(numbers)) if numbers else ():
        made += [pages.embedded(_png(one * std + mean), "png") for one in x.cpu().numpy()]
    return made


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
