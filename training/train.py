"""Train: ``python -m training.train`` (the built-in digits, in some ten seconds) or any run of the paper."""

from __future__ import annotations

import sys
from dataclasses import replace

from lpm.console import cli, engines
from training.options import Options, add_recipe, add_running, config_of


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = cli.Parser("training.train", "train one setting, a run a seed; by default the built-in digits on the CPU")
    add_recipe(parser)
    add_running(parser)
    parser.add_argument(
        "--tensorboard", action="store_true", help="also write TensorBoard events into the run's folder"
    )
    parser.add_argument("--json", action="store_true", help="print the metrics as JSON")
    options = parser.parse_args(arguments)
    engines.check(options)
    config = config_of(options)
    from training.jobs.train_all import train_all

    return train_all([replace(config, seed=s) for s in options.seeds], Options.of(options))


if __name__ == "__main__":
    sys.exit(cli.run(main))
