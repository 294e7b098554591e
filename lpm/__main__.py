"""The commands of this package, listed: ``python -m lpm``."""

from __future__ import annotations

import sys

from lpm.console import cli

COMMANDS = {
    "solve": "solve one program and print its certified optimum",
    "sweep": "solve programs at many imbalances R: cosines of class vectors, and R0",
    "cures": "compare what each cure of imbalance does to the optimum",
    "threshold": "find R0, the imbalance at which minority collapse sets in",
    "directions": "find the weight decays at which directions of W are lost, for counts of your own",
}
"""The commands, each with one line."""


def main(arguments: list[str] | None = None) -> int:
    """List the commands.

    Args:
        arguments: words of the command line; those of the process if None.

    Returns:
        The exit status.
    """
    return cli.list_commands("lpm", "the layer-peeled model with mixup, solved with certificates", COMMANDS, arguments)


if __name__ == "__main__":
    sys.exit(main())
