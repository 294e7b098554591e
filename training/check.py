"""Decode every image once, before training: ``python -m training.check D``. Needs no torch."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

from lpm.console import cli
from lpm.console.errors import InvalidInput
from lpm.console.text import counted, shown
from training.catalogue import CATALOGUE
from training.data import decodable, lists
from training.data.below import left_out
from training.data.found import usual_source
from training.options import add_lists, add_max_pixels, first_comparison, workers


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: words of the command line; those of the process if None.

    Returns:
        Its exit status.

    Raises:
        InvalidInput: if files cannot be decoded or used; each is named on standard error before.
    """
    parser = cli.Parser(
        "training.check",
        "decode every image once and name all files that cannot be decoded, before training meets them one by one",
    )
    parser.add_argument("root", type=Path, metavar="DIR", help="folder with images and their lists, or of images alone")
    datasets = tuple(name for name, row in CATALOGUE.items() if row.files)
    parser.add_argument("--dataset", type=cli.choice(*datasets), default="own", metavar="NAME", help="|".join(datasets))
    add_lists(parser)
    parser.add_argument("--workers", type=workers, metavar="N", help="processes that decode (default: one per core)")
    parser.add_argument("--quiet", action="store_true", help="show no progress bar")
    add_max_pixels(parser)
    options = parser.parse_args(arguments)
    files = lists.files(options.dataset, options.root, train_list=options.train_list, test_list=options.test_list)
    if files.left_out:
        print(f"note: {shown(left_out(files.left_out))}", file=sys.stderr)
    processes = len(os.sched_getaffinity(0)) if options.workers is None else options.workers
    report = decodable.check(
        files.root, files.paths, workers=processes, quiet=options.quiet, max_pixels=options.max_pixels
    )
    reasons = (*files.problems, *files.unusable.values(), *report.broken.values())
    for reason in reasons:
        print(shown(reason), file=sys.stderr)
    if report.unwritable:
        print(f"note: {report.unwritable}; the next check decodes all images again", file=sys.stderr)
    if number := len(reasons):
        what = f"{number:,} files, rows or names" if files.problems and number > 1 else counted(number, "file")
        raise InvalidInput(
            f"{what} of {str(options.root)!r} cannot be used, as named above; mend, replace or remove each"
        )
    remembered = f" ({report.remembered:,} of them as an earlier check has found)" if report.remembered else ""
    print(f"{counted(report.number, 'image')} decode{'s' * (report.number == 1)}{remembered}")
    if not options.quiet:
        cli.next_step(_next(options))
    return 0


def _next(options: argparse.Namespace) -> str:
    """The command that uses the images: the one that makes lists where there are none."""
    place, row = shlex.quote(str(options.root)), CATALOGUE[options.dataset]
    if not row.user_named:
        return f"python -m training.train --dataset {row.name} --data-root {place}"
    if options.train_list is None and usual_source(row, options.root, "train") is None:
        return f"python -m training.split {place}"
    return first_comparison(options.root)


if __name__ == "__main__":
    sys.exit(cli.run(main))
