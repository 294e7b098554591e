"""Which method helps with few images: subsets of CIFAR-10 of several sizes and imbalances: ``python -m benchmarks.few_images``.

Every run is corrected afterwards as well (``training.posthoc``). Runs that the store has are not trained again.
docs/contribute/log.md has the predictions, which were written before the runs.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.rows import as_csv, csv_file, origin
from lpm.console import cli
from lpm.console.output import write
from training.config import RunConfig, with_preset
from training.data import datasets
from training.data.datasets import LongTailed
from training.experiments import runs_of
from training.options import Options, seeds
from training.store import posthoc
from training.store.runs import RunFolder

SIZES: tuple[tuple[int, dict[str, Any]], ...] = (
    (100, {"batch": 32, "epochs": 100}),
    (500, {"batch": 64, "epochs": 30}),
)
"""Images of the most frequent class, and how long their runs train: about 1,000 steps."""

IMBALANCES = (10.0, 50.0)

METHODS = (
    "random+FC, no mixup",
    "random+FC",
    "BMLS+MS",
    "CAS+FC",
    "random+FC+LA",
    "random+cosine+LDAM+DRW, no mixup",
)

SPLITS = ("all", "many", "med", "few")


def configs(seed: int) -> Iterator[RunConfig]:
    """The runs of a seed, the smallest data first.

    Args:
        seed: the seed.

    Yields:
        Their configs.
    """
    for (n_max, recipe), imbalance, method in product(SIZES, IMBALANCES, METHODS):
        data = RunConfig(dataset="cifar10-lt", imbalance=imbalance, n_max=n_max, seed=seed)
        yield from runs_of(replace(with_preset(data, "quick"), **recipe, preset="quick+"), method)


@functools.cache
def loaded(root: Path, config: RunConfig) -> LongTailed:
    """Load the images of a setting, once: decoding CIFAR-10 takes longer than correcting a run.

    Args:
        root: the folder of the images.
        config: the setting, with one method for all.

    Returns:
        The images.
    """
    return datasets.of(config, root, train_list=None, test_list=None)


def rows(folder: RunFolder, root: Path) -> Iterator[dict[str, Any]]:
    """Measure a finished run as it is trained, and with each correction that is defined for it.

    Args:
        folder: the run.
        root: the folder of its images.

    Yields:
        A row for each.
    """
    import torch

    from training.run import corrections
    from training.run.correcting import every_defined
    from training.run.inference import network_of

    config, result, cpu = folder.config, folder.result(), torch.device("cpu")
    data = loaded(root, RunConfig(dataset=config.dataset, imbalance=config.imbalance, n_max=config.n_max))
    run = corrections.Finished(config, network_of(folder, data.channels, cpu), data, cpu)
    for found in every_defined(run, posthoc.NAMES[:-1]):  # without BatchNorm anew, which never helped
        yield {
            "n_max": config.n_max,
            "imbalance": f"{config.imbalance:g}",
            "images": sum(result.train_counts),
            "method": config.method,
            "correction": found.correction,
            "seed": config.seed,
            **{split: f"{found.last[split]:.2f}" for split in SPLITS},
            "epochs": config.epochs,
            "arithmetic": result.arithmetic,
            "train_seconds": f"{result.train_seconds:.1f}",
            "config": config.key,
            **origin(),
        }


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: words of the command line; those of the process if None.

    Returns:
        Its exit status: 1 if a run diverged.
    """
    options = parse(arguments)
    chosen, status = [config for seed in options.seeds for config in configs(seed)], 0
    if not options.rows_only:
        import torch

        from training.jobs.train_all import train_all

        torch.set_num_threads(1)
        for config in chosen:
            given = Options(store=options.store, data_root=options.data_root, device="cpu", quiet=True)
            status = max(status, train_all([config], replace(given, evaluate_every=config.epochs), printed=False))
    folders = [folder for config in chosen if (folder := RunFolder(options.store, config)).done]
    if options.out is not None and (found := [row for folder in folders for row in rows(folder, options.data_root)]):
        write(options.out, as_csv(found))
    return status


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        arguments: words of the command line; those of the process if None.

    Returns:
        The options.
    """
    parser = cli.Parser("benchmarks.few_images", "which method helps with few images: subsets of CIFAR-10")
    parser.add_argument("--seeds", type=seeds, default=[0, 1, 2], help="seeds, such as 0-2")
    parser.add_argument("--data-root", type=Path, metavar="DIR", required=True, help="folder of CIFAR-10")
    parser.add_argument("--store", type=Path, default=Path("runs"), metavar="DIR", help="folder of the run store")
    parser.add_argument("--out", type=csv_file, metavar="FILE", help="CSV of all finished runs of the plan")
    parser.add_argument("--rows-only", action="store_true", help="train nothing")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(cli.run(main))
