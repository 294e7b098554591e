"""The runs that a figure draws: from the store, or, for the built-in digits, trained on the spot."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lpm.console import cli
from lpm.console.errors import InvalidInput
from training.config import RunConfig
from training.experiments import TABLES, config
from training.named import METHODS
from training.store import runs
from training.store.runs import RunFolder

DIGITS = "digits-lt"
"""The built-in data set, whose runs are short enough to train while a figure is drawn."""


@dataclass(frozen=True)
class Setting:
    """The choices that the runs of a figure share.

    Attributes:
        dataset: name of the data set.
        imbalance: n_max / n_min of its training set.
        preset: the recipe, a preset of :mod:`training.config`.
        seeds: one run per method and seed.
        store: folder of the run store.
    """

    dataset: str
    imbalance: float
    preset: str
    seeds: tuple[int, ...]
    store: Path

    @property
    def command_options(self) -> str:
        """All options of a training command but those of the method, as a shell reads them."""
        rounded = f"{self.imbalance:g}"
        imbalance = rounded if float(rounded) == self.imbalance else repr(self.imbalance)
        data_root = "" if self.dataset == DIGITS else " --data-root DIR"
        return (
            f"--dataset {self.dataset} --imbalance {imbalance} --preset {self.preset} "
            f"--seeds {','.join(map(str, self.seeds))} --store {shlex.quote(str(self.store))}{data_root}"
        )


def add_options(parser: cli.Parser) -> None:
    """Add the options that choose a :class:`Setting`.

    Args:
        parser: parser of the figure's command.
    """
    from training.options import seeds

    add = parser.group("runs").add_argument
    add(
        "--preset",
        type=cli.choice("paper", "quick"),
        default="paper",
        metavar="NAME",
        help="paper|quick: recipe of the runs; quick without --dataset trains the built-in digits on the spot",
    )
    add(
        "--dataset",
        type=cli.choice("cifar10-lt", "cifar100-lt", DIGITS),
        metavar="NAME",
        help=f"data set of the runs (default: cifar10-lt; {DIGITS} for quick)",
    )
    add("--imbalance", type=float, help="imbalance factor of the runs (default: 100, for the digits 10)")
    add("--seeds", type=seeds, default=[0], help="seeds of the runs, such as 0-2")
    add("--store", type=Path, default=Path("runs"), metavar="DIR", help="the run store")


def setting(options: argparse.Namespace) -> Setting:
    """Return the setting that the options describe.

    Args:
        options: parsed options of :func:`add_options`.

    Returns:
        The setting, with the defaults of its data set.
    """
    dataset = options.dataset or (DIGITS if options.preset == "quick" else "cifar10-lt")
    is_digits = dataset == DIGITS
    default_imbalance = 10.0 if is_digits else 100.0
    return Setting(
        dataset=dataset,
        imbalance=default_imbalance if options.imbalance is None else options.imbalance,
        preset="smoke" if is_digits else options.preset,
        seeds=tuple(options.seeds),
        store=Path(options.store),
    )


def configs(setting: Setting, method: str, **changes: object) -> list[RunConfig]:
    """Return the runs of a method, one per seed.

    Args:
        setting: data set, recipe and seeds.
        method: name of the method in the paper's tables.
        **changes: other choices of :class:`RunConfig`.

    Returns:
        The configs in the order of the setting's seeds.
    """
    base = config(method, setting.dataset, setting.imbalance, setting.preset)
    return [replace(base, seed=seed, **changes) for seed in setting.seeds]  # type: ignore[arg-type]


def finished_runs(wanted: Sequence[RunConfig], setting: Setting, command: str) -> list[RunFolder]:
    """Return the folders of finished runs. Missing runs of the digits are trained first.

    Args:
        wanted: the runs.
        setting: their setting.
        command: shell command that trains them, for the error message.

    Returns:
        One folder per run, in the order of ``wanted``.

    Raises:
        InvalidInput: if runs of another data set are missing, or a run of the digits diverges.
    """
    folders = [RunFolder(setting.store, config) for config in wanted]
    if missing := [folder.config for folder in folders if not folder.done]:
        if setting.dataset != DIGITS:
            shorter = " (for a shorter recipe give both commands --preset quick)" if setting.preset == "paper" else ""
            raise InvalidInput(
                f"{len(missing)} of {len(wanted)} runs are not in {str(setting.store)!r}; train them with: "
                f"{command}{shorter}"
            )
        _train(missing, setting)
    return folders


def table_command(setting: Setting, *numbers: int) -> str:
    """Return the shell command that trains the methods of some of the paper's tables.

    Args:
        setting: data set, recipe and seeds.
        *numbers: numbers of the tables.

    Returns:
        One ``training.table`` per table where all tables have the setting, else one ``training.train`` per method.
    """
    tables = [TABLES[number] for number in numbers]
    if all(setting.dataset in table.datasets and setting.imbalance in table.factors for table in tables):
        commands = [f"training.table {number}" for number in numbers]
    else:
        methods = dict.fromkeys(method for table in tables for method in table.methods)
        choices = [" ".join(f"--{name} {value}" for name, value in METHODS[method].items()) for method in methods]
        commands = [f"training.train {choice}" for choice in choices]
    return " && ".join(f"python -m {command} {setting.command_options}" for command in commands)


def _train(missing: Sequence[RunConfig], setting: Setting) -> None:
    from training.jobs.train_all import train_all
    from training.options import Options  # brings torch

    if train_all(missing, Options(setting.store), printed=False):
        raise InvalidInput("a run of the digits diverged; see the lines above")


def read_run(path: Path) -> RunFolder:
    """Return a finished run.

    Args:
        path: the run's own folder, ``.../seed-<n>``.

    Returns:
        The run.

    Raises:
        InvalidInput: if the folder is not that of a finished run.
    """
    return runs.at(path)
