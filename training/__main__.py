"""The commands of this package, listed: ``python -m training``."""

from __future__ import annotations

import sys

from lpm.console import cli

COMMANDS = {
    "train": "train one setting, by default the built-in digits",
    "compare": "train several methods and print them side by side",
    "confusion": "what the test images of finished runs are predicted as",
    "diagnose": "why finished runs are wrong on some classes, and what to try next",
    "report": "a page on a finished run: its classes, its confusions, its surest errors",
    "predict": "the likeliest classes of other images",
    "export": "a trained network for other programs: ONNX, TorchScript, or weights with code",
    "split": "lists for training and testing, from one folder per class",
    "check": "find image files that cannot be used",
    "table": "train the runs of a table of the paper, and print it",
    "queue": "train long runs one by one while a core idles",
    "stage2": "train a second stage on finished runs: cRT, LWS or MiSLAS",
    "posthoc": "correct finished runs without training: logit adjustment, tau-norm, class means, BatchNorm",
    "measure": "measure finished runs again, from their weights",
}
"""The commands, each with one line."""


def main(arguments: list[str] | None = None) -> int:
    """List the commands.

    Args:
        arguments: words of the command line; those of the process if None.

    Returns:
        The exit status.
    """
    return cli.list_commands(
        "training", "networks for imbalanced images, and the paper's experiments", COMMANDS, arguments
    )


if __name__ == "__main__":
    sys.exit(main())
