"""Predictions of a trained network for image files: ``python -m training.predict RUN IMAGE...``.

The run must be one on image files.
"""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from lpm.console import cli
from lpm.console.errors import InvalidInput
from lpm.console.text import shown
from training.data.below import images_below, left_out
from training.data.untrusted import quoted
from training.options import add_device, add_max_pixels, workers
from training.store import runs
from training.store.runs import seed_paths


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: words of the command line; those of the process if None.

    Returns:
        Its exit status: 1 if files were skipped.

    Raises:
        InvalidInput: if the run or an image cannot be used.
    """
    parser = cli.Parser(
        "training.predict",
        "print the likeliest classes of image files as CSV: image, rank, class, score; scores order the classes of an "
        "image, they are no probabilities",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a finished run on image files (.../seed-0)")
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="image files, or folders of them")
    parser.add_argument("--top", type=int, default=1, metavar="N", help="classes per image")
    parser.add_argument(
        "--workers", type=workers, metavar="N", help="processes that decode images (default: the cores)"
    )
    parser.add_argument(
        "--skip-broken",
        action="store_true",
        help="leave out files that cannot be decoded; they are named, and the status is 1",
    )
    add_max_pixels(parser)
    add_device(parser)
    options = parser.parse_args(arguments)
    images = _files(options.images)
    from training.model import build  # bring torch
    from training.run import inference

    cores = len(os.sched_getaffinity(0)) if len(images) > 100 else 0
    skipped: list[str] = []
    predictions = inference.predictions(
        runs.at(options.run),
        images,
        build.device(options.device),
        top=options.top,
        workers=cores if options.workers is None else options.workers,
        max_pixels=options.max_pixels,
        broken=skipped.append if options.skip_broken else _refuse,
    )
    text = io.StringIO()
    rows = ((*row, f"{score:.4f}") for *row, score in predictions)
    # All rows or none: nothing is printed before every image has been decoded.
    csv.writer(text, lineterminator="\n").writerows([("image", "rank", "class", "score"), *rows])
    for reason in skipped:
        print(f"skipped: {shown(reason)}", file=sys.stderr)
    print(text.getvalue(), end="")
    return min(len(skipped), 1)


def _refuse(reason: str) -> None:
    raise InvalidInput(f"{reason}; --skip-broken leaves such files out")


def _files(paths: Sequence[Path]) -> list[Path]:
    """The image files, and those below the folders, of a command line.

    Raises InvalidInput for a folder without images, a run, a missing file, and a name that a terminal does not show
    unchanged.
    """
    files, ignored = list[Path](), 0
    for path in paths:
        if seed_paths(path) != [path] or os.path.lexists(path / "config.json"):
            raise InvalidInput(f"{str(path)!r} is a run, not images; name one run (a pattern may have matched several)")
        images, other_files = images_below(path) if os.path.isdir(path) else ([path], 0)
        files, ignored = files + images, ignored + other_files
    if ignored:
        print(f"note: {shown(left_out(ignored))}", file=sys.stderr)
    for file in files:
        if not str(file).isprintable():
            raise InvalidInput(
                f"{quoted(file)}: give it a name of printable text in UTF-8; it is quoted as bash reads it"
            )
        if not os.path.exists(file):
            raise InvalidInput(f"{str(file)!r} does not exist")
    return files


if __name__ == "__main__":
    sys.exit(cli.run(main))
