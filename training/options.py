"""Options that the training commands share."""

from __future__ import annotations

import argparse
import re
from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import get_args, get_type_hints

from lpm.console import cli
from lpm.console.errors import InvalidInput
from training.config import LARGE_PRESETS, PRESETS, SETTING, RunConfig, with_preset
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


NAMES = tuple(dict.fromkeys((*PRESETS, *LARGE_PRESETS)))
"""Of presets, on any data set."""


HELP = {
    "imbalance": "n_max / n_min of the long-tailed subset",
    "subset_seed": "which images the subset keeps; 0 is what everybody uses",
    "classes": "of dataset own, your own images: how many there are (default: D's class folders, or the names in classes.txt)",
    "name": "what results call your own data, own-NAME",
    "cas_m": "images a class visit of sampler cas",
    "coverage": "share of the classes whose mixtures occur, for sampler coverage",
    "width": "channels of the first stage; 0 for the paper's",
    "alpha": "of mixup's Beta(alpha, alpha)",
    "warmup": "epochs of linear warm-up",
    "epochs": "epochs; this and the options down to --size are set by the preset unless given",
    "batch": "index pairs in a batch",
    "norm_batch": "of these, how many BatchNorm normalises by themselves: a GPU's share, say; 0 for all",
    "lr": "learning rate after the warm-up",
    "momentum": "of SGD",
    "weight_decay": "on every parameter",
    "augment": "random crop and flip",
    "bias": "of FC and MS",
    "sampler": ": which images are paired; cbs, cas and lom balance classes, bmls label pairs a < b, bmls-all all of them",
    "classifier": "; ms has all K^2 label pairs as classes, ms-unordered those with a < b",
    "loss": "; dr is dot regression, for etf",
    "precision": " of the backbone",
    "features": ": what the classifier does to them first; auto is as-is for fc and ms, norm-unit for the ETFs",
    "scale": "lengths of ms-wetf's class vectors at the start",
    "schedule": ": how the learning rate falls",
    "jitter": "of brightness, contrast and saturation of image files",
    "size": "pixels a side of image files; 0 for 224",
    "upright": "image files are turned as their cameras say; set for dataset own, not for published ones",
    "pretrained": "resnet50 and resnet152 start from --weights",
    "trains": ": which layers of a pretrained network train; block is a new last one",
    "ratio_per": ": how many images share a mixing ratio; batch-swapped swaps the sides of half of the pairs",
}


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
    """An option for every choice of a run but its seed, its preset, its drops and some others."""
    hints = get_type_hints(RunConfig)
    for field in fields(RunConfig):
        if field.name in ("seed", "preset", "drops", *without):
            continue
        option, kind, choices = "--" + field.name.replace("_", "-"), hints[field.name], get_args(hints[field.name])
        if choices:
            parser.add_argument(
                option, type=cli.choice(*choices), metavar="NAME", help="|".join(choices) + HELP.get(field.name, "")
            )
        elif kind is bool:
            parser.add_argument(option, action=argparse.BooleanOptionalAction, default=None, help=HELP[field.name])
        else:
            parser.add_argument(option, type=kind, help=HELP.get(field.name))


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
    given = {f.name: v for f in fields(RunConfig) if (v := getattr(options, f.name, None)) is not None}
    dataset, root = given.get("dataset", "digits-lt"), getattr(options, "data_root", None)
    if dataset == "own" and "classes" not in given and root is not None:
        given["classes"] = number_of_classes(root, options.train_list)
    if dataset == "own" and root is None:
        raise InvalidInput("dataset 'own' needs --data-root, the folder of your images")
    if "dataset" not in given and root is not None:
        raise InvalidInput("--data-root without --dataset: say which data these are; your own images are --dataset own")
    preset = options.preset or ("smoke" if dataset == "digits-lt" else "paper")
    if dataset == "digits-lt" and "imbalance" not in given:
        given["imbalance"] = 10.0
    own = {name: given[name] for name in ("classes", "name") if name in given}
    base = with_preset(RunConfig(dataset=dataset, **own), preset)
    config = replace(base, **given)
    same = all(getattr(config, f.name) == getattr(base, f.name) for f in fields(RunConfig) if f.name not in SETTING)
    if getattr(options, "weights", None) is not None and not config.pretrained:
        raise InvalidInput("--weights has a meaning for pretrained networks only; give --pretrained too, or drop it")
    return replace(config, preset=preset if same else preset + "+")
