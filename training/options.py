"""Options that the training commands share."""

from __future__ import annotations

import argparse
import re
from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from pathlib import Path

from lpm.console import cli
from lpm.console.errors import InvalidInput
from training.catalogue import CATALOGUE, preset_names
from training.config import CHOICES, SETTING, RunConfig, type_of, with_preset
from training.data.lists import number_of_classes


@dataclass(frozen=True)
class Options:
    """How runs are trained: the options of the commands that do, by their names, with their defaults."""

    store: Path
    device: str = "auto"
    data_root: Path | None = None
    train_list: Path | None = None
    test_list: Path | None = None
    weights: Path | None = None
    workers: int | None = None
    jobs: int = 1
    engine: str = "local"
    address: str | None = None
    tensorboard: bool = False
    json: bool = False
    quiet: bool = False

    @classmethod
    def of(cls, given: argparse.Namespace) -> Options:
        """What a command was given; what it does not offer has its default."""
        return cls(**{f.name: getattr(given, f.name) for f in fields(cls) if hasattr(given, f.name)})

    @property
    def one_by_one(self) -> bool:
        """Whether this process trains one run after another."""
        return self.jobs == 1 and self.engine == "local"


NAMES = preset_names()
"""The presets of all data sets."""


def seeds(text: str) -> list[int]:
    """Seeds from words like '0-4,7'."""
    if not re.fullmatch(r"\d{1,9}(-\d{1,9})?(,\d{1,9}(-\d{1,9})?)*", text):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a list of seeds such as 0-4,7")
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        if int(last or first) < int(first):
            raise argparse.ArgumentTypeError(f"{part!r} is an empty range of seeds")
        if int(last or first) - int(first) > 10_000:
            raise argparse.ArgumentTypeError(f"{part!r} is more than ten thousand seeds")
        found += range(int(first), int(last or first) + 1)
    return sorted(set(found))


def workers(text: str) -> int:
    """A number of decoding processes, 0 to 256."""
    if not re.fullmatch(r"\d{1,3}", text) or int(text) > 256:
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is not a number of processes, 0 to 256")
    return int(text)


def add_data(parser: cli.Parser, *, weights: bool = True) -> None:
    """Options that say where data are, and who reads them."""
    parser.add_argument(
        "--data-root", type=Path, metavar="DIR", help="folder with CIFAR's files, or with images and their lists"
    )
    parser.add_argument(
        "--workers", type=workers, metavar="N", help="processes that decode image files for a run (default: the cores)"
    )
    if weights:
        parser.add_argument(
            "--weights",
            type=Path,
            metavar="FILE",
            help="pretrained weights in torchvision's key layout (.pth, .safetensors)",
        )


def add_lists(parser: cli.Parser) -> None:
    """Options that name the lists of image files."""
    for which in ("train", "test"):
        parser.add_argument(
            f"--{which}-list",
            type=Path,
            metavar="FILE",
            help=f"{which} list: 'path label' a line, or iNaturalist's JSON; of dataset own also a folder of class folders",
        )


def add_device(parser: cli.Parser) -> None:
    """The option that says where to compute."""
    devices = ("auto", "cpu", "cuda")
    parser.add_argument("--device", type=cli.choice(*devices), default="auto", metavar="NAME", help="|".join(devices))


def add_recipe(parser: cli.Parser, *, without: Collection[str] = ()) -> None:
    """Add an option for every choice of a run, as :class:`training.config.RunConfig` documents it.

    Args:
        parser: the command's parser.
        without: choices that the command makes itself.
    """
    for name, known in CHOICES.items():
        if not known.listed or name in without:
            continue
        option, kind, text = "--" + name.replace("_", "-"), type_of(name), help_of(name)
        if known.words:
            parser.add_argument(option, type=cli.choice(*known.words), metavar="NAME", help=text)
        elif kind is bool:
            parser.add_argument(option, action=argparse.BooleanOptionalAction, default=None, help=text)
        else:
            parser.add_argument(option, type=kind, help=text)


def help_of(name: str) -> str:
    """The text of ``--help`` for a choice of a run.

    Args:
        name: the field of :class:`training.config.RunConfig`.

    Returns:
        Its values, what it means, and where it applies.
    """
    known = CHOICES[name]
    text = "|".join(known.words) + ": " * bool(known.words) + known.help
    described = [f"{word}: {meaning}" for word, meaning in known.words.items() if meaning]
    text += f" ({'; '.join(described)})" if described else ""
    text += f"; for {known.where}" if known.where else ""
    return text.replace("%", "%%")


def add_running(parser: cli.Parser) -> None:
    """The recipe's name, the seeds, the data, and where and how runs are trained."""
    parser.add_argument("--preset", type=cli.choice(*NAMES), metavar="NAME", help="|".join(NAMES) + ": the recipe")
    parser.add_argument("--seeds", type=seeds, default=[0], help="seeds, such as 0-4,7")
    add_data(parser)
    add_lists(parser)
    cli.add_engine(parser, "runs that share a GPU")
    parser.add_argument("--store", type=Path, default=Path("runs"), metavar="DIR", help="the run store")
    add_device(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress bar; of training.train no table")


def config_of(options: argparse.Namespace) -> RunConfig:
    """The run that the options describe, seed 0. The preset sets the recipe; options that change it add a + to its name.

    Raises InvalidInput for options that do not go together.
    """
    given = {name: value for name in CHOICES if (value := getattr(options, name, None)) is not None}
    row, root = CATALOGUE[given.get("dataset", RunConfig.dataset)], getattr(options, "data_root", None)
    if row.user_named:
        if root is None:
            raise InvalidInput(f"dataset {row.name!r} needs --data-root, the folder of your images")
        if "classes" not in given:
            given["classes"] = number_of_classes(root, options.train_list)
    if "dataset" not in given and root is not None:
        raise InvalidInput("--data-root without --dataset: say which data these are; your own images are --dataset own")
    preset = options.preset or row.default_preset
    if not row.files:
        given.setdefault("imbalance", row.default_imbalance)
    own = {name: given[name] for name in ("classes", "name") if name in given}
    base = with_preset(RunConfig(dataset=row.name, **own), preset)
    config = replace(base, **given)
    same = all(getattr(config, name) == getattr(base, name) for name in CHOICES if name not in SETTING)
    if getattr(options, "weights", None) is not None and not config.pretrained:
        raise InvalidInput("--weights applies only to pretrained networks; give --pretrained too, or drop it")
    return replace(config, preset=preset if same else preset + "+")
