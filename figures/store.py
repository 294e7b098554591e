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
from training.experiments import METHODS, TABLES, config
from training.store import runs
from training.store.runs import RunFolder

DIGITS = "digits-lt"


@dataclass(frozen=True)
class Setting:
    """Which runs: a data set, its imbalance factor, the recipe (a preset of :mod:`training.config`), the store and seeds."""

    dataset: str
    imbalance: float
    preset: str
    seeds: tuple[int, ...]
    store: Path

    @property
    def words(self) -> str:
        """The options of a training command that say all but the method."""
        short = f"{self.imbalance:g}"
        imbalance = short if float(short) == self.imbalance else repr(self.imbalance)
        root = "" if self.dataset == DIGITS else " --data-root DIR"
        return (
            f"--dataset {self.dataset} --imbalance {imbalance} --preset {self.preset} "
            f"--seeds {','.join(map(str, self.seeds))} --store {shlex.quote(str(self.store))}{root}"
        )


def add_options(parser: cli.Parser) -> None:
    """Options that say which runs."""
    from training.options import seeds

    add = parser.add_argument
    add(
        "--preset",
        type=cli.choice("paper", "quick"),
        default="paper",
        metavar="NAME",
        help="paper|quick: the runs' recipe; quick without --dataset trains the built-in digits on the spot",
    )
    add("--dataset", type=cli.choice("cifar10-lt", "cifar100-lt", DIGITS), metavar="NAME", help="the runs' data set")
    add("--imbalance", type=float, help="the runs' imbalance factor; 100, for the digits 10")
    add("--seeds", type=seeds, default=[0], help="the runs' seeds, such as 0-2")
    add("--store", type=Path, default=Path("runs"), metavar="DIR", help="the run store")


def setting(options: argparse.Namespace) -> Setting:
    """The setting that the options describe."""
    dataset = options.dataset or (DIGITS if options.preset == "quick" else "cifar10-lt")
    digits = dataset == DIGITS
    imbalance = options.imbalance if options.imbalance is not None else (10.0 if digits else 100.0)
    return Setting(dataset, imbalance, "smoke" if digits else options.preset, tuple(options.seeds), Path(options.store))


def configs(setting: Setting, method: str, **changes: object) -> list[RunConfig]:
    """A method's runs, one a seed. changes: other choices of :class:`RunConfig`."""
    base = config(method, setting.dataset, setting.imbalance, setting.preset)
    return [replace(base, seed=seed, **changes) for seed in setting.seeds]  # type: ignore[arg-type]


def finished(wanted: Sequence[RunConfig], setting: Setting, command: str) -> list[RunFolder]:
    """The folders of finished runs, those of the digits trained first where they are missing.

    Raises InvalidInput when runs are missing, with the command that makes them.
    """
    folders = [RunFolder(setting.store, c) for c in wanted]
    if missing := [f.config for f in folders if not f.done]:
        if setting.dataset != DIGITS:
            shorter = " (--preset quick, here and there, for a short recipe)" if setting.preset == "paper" else ""
            raise InvalidInput(
                f"{len(missing)} of {len(wanted)} runs are not in {str(setting.store)!r}; make them with: {command}{shorter}"
            )
        _train(missing, setting)
    return folders


def table_command(setting: Setting, *numbers: int) -> str:
    """The command that trains some of the paper's tables at a setting: by table where they have it, else method by method."""
    tables = [TABLES[number] for number in numbers]
    if all(setting.dataset in table.datasets and setting.imbalance in table.factors for table in tables):
        commands = [f"training.table {number}" for number in numbers]
    else:
        methods = dict.fromkeys(method for table in tables for method in table.methods)
        choices = [" ".join(f"--{name} {value}" for name, value in METHODS[method].items()) for method in methods]
        commands = [f"training.train {choice}" for choice in choices]
    return " && ".join(f"python -m {command} {setting.words}" for command in commands)


def _train(missing: Sequence[RunConfig], setting: Setting) -> None:
    from training.jobs.progress import train_all
    from training.options import Options  # brings torch

    if train_all(missing, Options(setting.store), printed=False):
        raise InvalidInput("a run of the digits diverged; see above")


def read_run(path: Path) -> RunFolder:
    """A finished run by its own folder (``…/seed-<n>``). Raises InvalidInput for anything else."""
    return runs.at(path)
