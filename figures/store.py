"""The runs that a figure draws: from the store, or, for the built-in digits, trained on the spot."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lpm import cli
from lpm.errors import InvalidInput
from training.config import RunConfig
from training.experiments import config
from training.runs import RunFolder

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
    def data_root(self) -> str:
        """The option that a training command needs for the data set's files."""
        return "" if self.dataset == DIGITS else " --data-root DIR"


def add_options(parser: cli.Parser) -> None:
    """Options that say which runs."""
    from training.train import seeds

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
            raise InvalidInput(
                f"{len(missing)} of {len(wanted)} runs are not in {str(setting.store)!r}; make them with: {command}"
            )
        _train(missing, setting)
    return folders


def table_command(setting: Setting, *numbers: int) -> str:
    """The command that trains a setting's rows of some of the paper's tables."""
    options = f"--preset {setting.preset} --dataset {setting.dataset} --imbalance {setting.imbalance:g}"
    rest = f"--seeds {','.join(map(str, setting.seeds))} --store {shlex.quote(str(setting.store))}{setting.data_root}"
    return " && ".join(f"python -m training.table {number} {options} {rest}" for number in numbers)


def _train(missing: Sequence[RunConfig], setting: Setting) -> None:
    from training.progress import train_all  # brings torch

    options = argparse.Namespace(
        device="auto", data_root=None, store=setting.store, jobs=1, quiet=False, json=False, tensorboard=False
    )
    if train_all(missing, options, printed=False):
        raise InvalidInput("a run of the digits diverged; see above")


def read_run(path: Path) -> RunFolder:
    """A finished run by its own folder (``…/seed-<n>``). Raises InvalidInput for anything else."""
    from training.runs import read_config

    if not (path / "config.json").is_file():
        raise InvalidInput(f"{str(path)!r} is not a run: it holds no config.json; give a folder such as runs/…/seed-0")
    absolute = path.absolute()
    folder = RunFolder(absolute.parent.parent, read_config(path / "config.json"))
    if folder.path != absolute:
        raise InvalidInput(
            f"{str(path)!r} is a copy under another name; its config belongs to {folder.config.folder!r}"
        )
    if not folder.done:
        raise InvalidInput(f"{str(path)!r} is not finished; the training command that began it continues it")
    return folder
