"""Train: ``python -m training.train`` (the built-in digits, in about ten seconds) or any run of the paper."""

from __future__ import annotations

import sys
from dataclasses import replace

from lpm.console import cli, engines
from training.options import Options, add_recipe, add_running, config_of, dataset_in


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: words of the command line; those of the process if None.

    Returns:
        Its exit status: 1 if a run diverged.

    Raises:
        InvalidInput: if options do not go together, or as :func:`training.jobs.train_all.train_all`.
    """
    parser = cli.Parser(
        "training.train", "train one setting, one run per seed; by default the built-in digits on the CPU"
    )
    add_recipe(parser, dataset=dataset_in(arguments))
    add_running(parser)
    parser.group("run").add_argument("--json", action="store_true", help="print the results as JSON")
    options = parser.parse_args(arguments)
    engines.check(options)
    config = config_of(options)
    from training.jobs.train_all import train_all  # brings torch

    return train_all([replace(config, seed=seed) for seed in options.seeds], Options.of(options))


if __name__ == "__main__":
    sys.exit(cli.run(main))
