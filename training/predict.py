"""Predictions of a trained network for image files: ``python -m training.predict RUN IMAGE...``.

The run must be one on image files. ``--calibrate`` turns scores into probabilities.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lpm.console import cli
from lpm.console.errors import InvalidInput
from lpm.console.text import counted, shown
from training import corrected
from training.data.below import images_below, left_out
from training.data.untrusted import quoted
from training.options import add_correction, add_data, add_device, add_lists, correction_words
from training.store import runs
from training.store.runs import RunFolder, seed_paths

if TYPE_CHECKING:
    from training.model.build import Network

PARTS = ("holdout", "test")
"""Images of the run's own data that ``--calibrate`` can name."""


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
        "image, they are no probabilities; with --calibrate they are, and the column is probability",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a finished run on image files (.../seed-0)")
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="image files, or folders of them")
    parser.add_argument("--top", type=int, default=1, metavar="N", help="classes per image")
    parser.add_argument(
        "--calibrate",
        metavar="WHAT",
        help="print probabilities, by a temperature that is fitted on WHAT, each class counting equally: 'holdout', the images "
        "that the run held out (--holdout, with --data-root), a folder of other images with one folder per class, or 'test', the "
        "test images, on which accuracies and probabilities then are too good",
    )
    add_correction(parser)
    parser.add_argument(
        "--skip-broken",
        action="store_true",
        help="leave out files that cannot be decoded; they are named, and the status is 1",
    )
    add_data(parser, weights=False)
    add_lists(parser)
    add_device(parser)
    options = parser.parse_args(arguments)
    skipped: list[str] = []
    images = _files(options.images, skipped if options.skip_broken else None)
    from training.model import build  # bring torch
    from training.run import inference

    cores = len(os.sched_getaffinity(0)) if len(images) > 100 else 0
    folder, device = runs.at(options.run), build.device(options.device)
    network = corrected.network(folder, options)  # before --workers means those that decode the images to predict
    options.workers = cores if options.workers is None else options.workers
    temperature = None if options.calibrate is None else _temperature(folder, options, network)
    predictions = inference.predictions(
        folder,
        images,
        device,
        top=options.top,
        workers=options.workers,
        max_pixels=options.max_pixels,
        temperature=temperature or 1.0,
        network=network,
        broken=skipped.append if options.skip_broken else _refuse,
        quiet=False,
    )
    text = io.StringIO()
    rows = ((*row, f"{score:.4f}") for *row, score in predictions)
    kind = "score" if temperature is None else "probability"
    # All rows or none: nothing is printed before every image has been decoded.
    csv.writer(text, lineterminator="\n").writerows([("image", "rank", "class", kind), *rows])
    for reason in skipped:
        print(f"skipped: {shown(reason)}", file=sys.stderr)
    print(text.getvalue(), end="", flush=True)
    run = shlex.quote(str(options.run))
    how = correction_words(options)
    if options.calibrate is None:
        cli.next_step("with --calibrate the same command prints probabilities, which scores are not")
    elif temperature is None:
        cli.next_step(f"python -m training.report {run}{how} --data-root DIR shows each class, and the surest errors")
    else:
        cli.next_step(f"python -m training.export {run} --format onnx{how} --data-root DIR takes the network elsewhere")
    return min(len(skipped), 1)


def _temperature(folder: RunFolder, options: argparse.Namespace, network: Network) -> float | None:
    """The temperature that ``--calibrate`` asks for, None if none fits; a line says what it was fitted on, or why not."""
    from training.jobs.prepare import again  # these bring torch
    from training.model import build
    from training.run import calibrating
    from training.run.corrections import Finished

    what, device = options.calibrate, build.device(options.device)
    of = {"holdout": " that were held out", "test": ", the run's own test images, on which they are too good"}
    if what in PARTS:
        data = again(folder, options)
        if what not in data.parts:
            raise InvalidInput(
                f"--calibrate holdout: {str(folder.path)!r} held out no images; train with --holdout 0.1, or give a folder of "
                "images that it has not seen"
            )
        logits = Finished(folder.config, network, data, device, options.workers, quiet=False).logits(what)
        labels = data.parts[what].labels
    else:
        place = Path(what)
        if not place.is_dir():
            raise InvalidInput(f"--calibrate {what!r} is neither {' nor '.join(PARTS)} nor a folder")
        words: Any = {"workers": options.workers, "max_pixels": options.max_pixels, "network": network, "quiet": False}
        logits, labels, trained, tested = calibrating.of_folder(folder, place, device, **words)
        if trained:
            left_out = counted(trained, "image")
            print(f"note: {left_out} of {shown(what)} left out, on which the run was trained", file=sys.stderr)
        of[what] = f" in {shown(what)}" + f", {tested} of them{of['test']}" * bool(tested)
    try:
        fitted = calibrating.calibrated(logits, labels)
    except InvalidInput as error:  # the predictions themselves are right all the same
        print(f"note: {shown(error)}; these are scores, not probabilities", file=sys.stderr)
        return None
    print(
        f"note: probabilities at temperature {fitted.temperature:.3g}, fitted on {counted(fitted.images, 'image')} of "
        f"{counted(fitted.classes, 'class', 'classes')}{of[what]}; calibration error there "
        f"{fitted.before:.1f} % before, {fitted.after:.1f} % after",
        file=sys.stderr,
    )
    return fitted.temperature


def _refuse(reason: str) -> None:
    raise InvalidInput(f"{reason}; --skip-broken leaves such files out")


def _files(paths: Sequence[Path], skipped: list[str] | None) -> list[Path]:
    """The image files, and those below the folders, of a command line.

    skipped: gets what is wrong with files below folders that cannot be used; None refuses them.

    Raises InvalidInput for a folder without images, a run, a missing file, and a name that a terminal does not show
    unchanged.
    """
    files, ignored = list[Path](), list[str]()
    for path in paths:
        if seed_paths(path) != [path] or os.path.lexists(path / "config.json"):
            raise InvalidInput(f"{str(path)!r} is a run, not images; name one run (a pattern may have matched several)")
        if not os.path.isdir(path):
            files.append(path)
            continue
        images, other_files = images_below(path, refuse_file=lambda _, problem: _leave_out(problem, skipped))
        for image in images:
            if str(image).isprintable():
                files.append(image)
            else:
                _leave_out(f"{quoted(image)}: {UNPRINTABLE}", skipped)
        ignored += [str(path / name) for name in other_files]
    if ignored:
        print(f"note: {shown(left_out(ignored))}", file=sys.stderr)
    for file in files:
        if not str(file).isprintable():
            raise InvalidInput(f"{quoted(file)}: {UNPRINTABLE}")
        if not os.path.exists(file):
            raise InvalidInput(f"{str(file)!r} does not exist")
    return files


UNPRINTABLE = "give it a name of printable text in UTF-8; it is quoted as bash reads it"
"""What is wrong with a file whose name a terminal would not show unchanged."""


def _leave_out(problem: str, skipped: list[str] | None) -> None:
    if skipped is None:
        _refuse(problem)
    else:
        skipped.append(problem)


if __name__ == "__main__":
    sys.exit(cli.run(main))
