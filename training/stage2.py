"""Train a second stage on finished runs: ``python -m training.stage2 RUN... --method crt|lws|mislas``.

The features stay as they are. cRT trains a new classifier on them, LWS one scale per class, MiSLAS scales and classifier. Each
is a run of its own in the store of its first run, which it names.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from lpm.console import cli, engines
from lpm.console.errors import InvalidInput
from lpm.console.text import shown
from training.config import CHOICES, RunConfig, type_of
from training.methods import STAGES
from training.options import Options, add_data, add_device, add_epochs, add_lists
from training.second_stage import second_stage
from training.store import runs

OPTIONS = (
    *("sampler", "cas_m", "alpha", "epochs", "batch", "lr", "weight_decay", "warmup", "schedule", "drop_factor"),
    *("stage_norms", "smooth_head", "smooth_tail", "vectors_lr"),
)
"""Choices that the command offers; the others are the method's, or the first run's."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: words of the command line; those of the process if None.

    Returns:
        Its exit status: 1 if a run diverged.

    Raises:
        InvalidInput: if a run is not finished, lies in another store than the first one, or cannot have the second stage.
    """
    parser = cli.Parser(
        "training.stage2", "train a second stage on the frozen features of finished runs; each becomes a run of its own"
    )
    add = parser.add_argument
    add("runs", type=Path, nargs="+", metavar="RUN", help="finished runs, or folders that hold them")
    words = "; ".join(f"{row.name}: {row.help}" for row in STAGES.values())
    add("--method", type=cli.choice(*STAGES), required=True, metavar="NAME", help=words)
    for name in OPTIONS:
        _add(parser, name)
    add_data(parser, weights=False)
    add_lists(parser)
    add_device(parser)
    add_epochs(parser)
    parser.group("run").add_argument("--quiet", action="store_true", help="show no progress bar and print no table")
    parser.group("run").add_argument("--json", action="store_true", help="print the results as JSON")
    cli.add_engine(parser, "runs that share a GPU")
    options = parser.parse_args(arguments)
    engines.check(options)
    chosen = {name: value for name in OPTIONS if (value := getattr(options, name)) is not None}
    settings, store = _settings(options, chosen)
    options.store = store
    from training.jobs.train_all import train_all  # brings torch

    return max(train_all(configs, Options.of(options)) for configs in settings)


def _settings(options: argparse.Namespace, chosen: dict[str, Any]) -> tuple[list[list[RunConfig]], Path]:
    """The second stages, those that differ in their seed alone together, and their store."""
    named = runs.named(options.runs)
    folders = [folder for folder in named if folder.config.stage == "none"] or named  # of which the first is refused
    for folder in named:
        if folder not in folders:
            print(f"note: {shown(folder.path)} is a second stage itself, and left out", file=sys.stderr)
    store = folders[0].path.parent.parent
    settings: defaultdict[Path, list[RunConfig]] = defaultdict(list)
    for folder in folders:
        if folder.path.parent.parent != store:
            raise InvalidInput(
                f"{str(folder.path)!r} lies in another store than {str(folders[0].path)!r}; name runs of one store"
            )
        try:
            settings[folder.path.parent].append(second_stage(folder.config, options.method, **chosen))
        except InvalidInput as error:
            raise InvalidInput(f"{str(folder.path)!r}: {error}") from None
    return list(settings.values()), store


def _add(parser: cli.Parser, name: str) -> None:
    """Add the option of a choice; without it the method's published value holds."""
    known = CHOICES[name]
    option, group = "--" + name.replace("_", "-"), parser.group("stage")
    text = ("|".join(known.words) + ": " * bool(known.words) + known.help).replace("%", "%%")
    if known.words:
        group.add_argument(option, type=cli.choice(*known.words), metavar="NAME", help=text)
    else:
        group.add_argument(option, type=type_of(name), help=text)


if __name__ == "__main__":
    sys.exit(cli.run(main))
