"""Correct finished runs without training: ``python -m training.posthoc RUN...``.

The corrections are post-hoc logit adjustment, tau-norm, the nearest class mean, and BatchNorm recalibrated on unmixed
images. Their accuracies are those of the weights after the last epoch. They are stored in the run's folder.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from lpm.console import cli
from lpm.console.errors import InvalidInput
from lpm.console.text import shown
from training.corrected import finished
from training.options import add_data, add_device, add_lists, add_settings
from training.store import posthoc, runs
from training.store.posthoc import NAMES, Corrected
from training.store.runs import RunFolder
from training.store.tables import in_words

NOTE = (
    "Test accuracy in % of the weights after the last epoch, mean ± standard deviation (n runs). ECE: expected calibration "
    "error in %, 15 bins; at T: with the temperature that held-out images chose."
)
"""The line below the table."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: words of the command line; those of the process if None.

    Returns:
        Its exit status.

    Raises:
        InvalidInput: if a run is not finished, is on other data, or has damaged weights; if a correction that was asked for is
            not defined for it.
        Busy: if another process holds the run.
    """
    options = parse(arguments)
    rows = corrections(options)
    if options.json:
        cli.print_json([{"run": str(f.path), "corrections": [asdict(row) for row in rows[f]]} for f in rows])
    else:
        print(markdown(rows), end="")
        cli.next_step(
            f"python -m training.diagnose {shlex.join(map(str, options.runs))} says why rare classes are wrong"
        )
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        arguments: words of the command line; those of the process if None.

    Returns:
        The options.
    """
    parser = cli.Parser(
        "training.posthoc", "correct finished runs without training, and measure them on the test images"
    )
    add = parser.add_argument
    add("runs", type=Path, nargs="+", metavar="RUN", help="finished runs, or folders that hold them")
    names = "|".join(NAMES)
    add(
        "--correction",
        type=cli.choice(*NAMES),
        nargs="+",
        metavar="NAME",
        help=f"{names} (default: all that are defined for the run)",
    )
    add_settings(parser)
    parser.set_defaults(tau=1.0, ncm_features="cl2n")
    add("--scan", action="store_true", help="let the held-out images of the run (--holdout) choose tau instead")
    add("--json", action="store_true", help="print the results as JSON")
    add_data(parser, weights=False)
    add_lists(parser)
    add_device(parser)
    return parser.parse_args(arguments)


def corrections(options: argparse.Namespace) -> dict[RunFolder, list[Corrected]]:
    """Correct runs, and store the corrections in their folders.

    Args:
        options: what :func:`parse` returns.

    Returns:
        The corrections of each run.

    Raises:
        InvalidInput: as :func:`main`.
        Busy: if another process holds a run.
    """
    folders = runs.named(options.runs)
    rows = {folder: _corrected(folder, options, alone=len(folders) == 1) for folder in folders}
    if options.correction is not None and not any(
        row.correction in options.correction for some in rows.values() for row in some
    ):
        raise InvalidInput(f"{' and '.join(options.correction)} is defined for none of these runs")
    return rows


def _corrected(folder: RunFolder, options: argparse.Namespace, *, alone: bool) -> list[Corrected]:
    """The corrections of a run, which are stored in its folder. alone: whether no other run is corrected."""
    from training.run.correcting import corrected  # these bring torch
    from training.run.corrections import NotDefined, Options

    run = finished(folder, options)
    how, rows = Options(options.tau, options.bias, options.ncm_features), []
    for name in dict.fromkeys(("none", *(options.correction or NAMES))):
        try:
            rows.append(corrected(run, name, how, scan=options.scan))
        except InvalidInput as error:
            if not isinstance(error, NotDefined) or (options.correction is not None and alone):
                raise InvalidInput(f"{str(folder.path)!r}: {error}") from None
            of = "" if alone else f" of {shown(folder.path)}"
            print(f"note: {name}{of} is left out: {shown(error)}", file=sys.stderr)
    with folder.lock():
        posthoc.save(folder, rows)
    return rows


def markdown(rows: dict[RunFolder, list[Corrected]]) -> str:
    """Write a Markdown table with one row per setting and correction.

    Args:
        rows: the corrections of each run; runs that differ in their seed alone share rows.

    Returns:
        The text.
    """
    settings: defaultdict[tuple[Path, str], list[Corrected]] = defaultdict(list)
    methods = {folder.path.parent: f"{folder.config.method} on {folder.config.data}" for folder in rows}
    for folder, corrections in rows.items():
        for row in corrections:
            settings[folder.path.parent, row.title].append(row)
    names = [
        name
        for name in ("all", "balanced", "many", "med", "few")
        if any(name in r.last for v in settings.values() for r in v)
    ]
    head = ("run", "correction", *names, "ECE", "ECE at T")
    body = [
        (
            methods[path],
            title,
            *(in_words([r.last[name] for r in group if name in r.last]) for name in names),
            in_words(_numbers([r.ece for r in group])),
            in_words(_numbers([r.ece_at_temperature for r in group])),
        )
        for (path, title), group in settings.items()
    ]
    return cli.markdown_table([head, ("---",) * len(head), *body]) + "\n" + NOTE + "\n"


def _numbers(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


if __name__ == "__main__":
    sys.exit(cli.run(main))
