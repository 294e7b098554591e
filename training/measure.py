"""Measure finished runs again, from their weights: ``python -m training.measure --data-root D RUN...``.

It is for runs whose measurements are damaged, or were made by an older version. Only the network of the last epoch is
stored and can be measured again. Measurements of earlier epochs are removed.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from lpm.console import cli
from lpm.console.text import shown
from training.options import add_data, add_device, add_lists
from training.store import run_code, runs


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: words of the command line; those of the process if None.

    Returns:
        Its exit status.

    Raises:
        InvalidInput: if a run is not finished, is on other data, has no weights that fit it, or has damaged ones, which
            measuring would make its own.
        Busy: if another process holds the run.
    """
    parser = cli.Parser("training.measure", "measure finished runs again, from their weights after the last epoch")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="finished runs, or folders that hold them")
    add_data(parser, weights=False)
    add_lists(parser)
    add_device(parser)
    options = parser.parse_args(arguments)
    from safetensors.torch import save

    from training.jobs.prepare import again
    from training.model import build
    from training.run.measurement import measured
    from training.run.trainer import Trainer

    cores = len(os.sched_getaffinity(0))
    folders = runs.named(options.runs)
    device = build.device(options.device)
    for folder in folders:
        config, data = folder.config, again(folder, options)
        run_code.note((folder.path, config), options=["--model"])
        trainer = Trainer(config, data, device, workers=cores if options.workers is None else options.workers)
        with folder.lock():
            trainer.load(config.epochs, folder.content(runs.FINAL))
            predictions = trainer.evaluate()
            geometry = save(measured(trainer))
            folder.measured_again(config.epochs, geometry, save(trainer.state() | trainer.outcome(predictions)))
        print(shown(folder.path), flush=True)
    cli.next_step(f"python -m training.diagnose {shlex.join(map(str, options.runs))} says why rare classes are wrong")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
