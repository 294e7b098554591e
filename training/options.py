"""Options that the training commands share."""

from __future__ import annotations

import argparse
import contextlib
import math
import re
import shlex
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, get_args

from lpm.console import cli
from lpm.console.errors import InvalidInput
from training.catalogue import CATALOGUE, preset_names
from training.choices.recipe import CODE
from training.choices.switch import Switch
from training.config import CHOICES, SETTING, RunConfig, type_of, with_preset
from training.data.found import number_of_classes, number_of_images
from training.data.images import MAX_PIXELS, MOST_PIXELS
from training.data.own_code import trust
from training.methods import LAWS


@dataclass(frozen=True)
class Options:
    """How runs are trained: the options of the training commands that are no choices of a run.

    Attributes:
        store: folder of the run store.
        device: 'auto', 'cpu' or 'cuda'; 'auto' takes a GPU if there is one.
        data_root: folder with CIFAR's files, or with images and their lists; None where the data need none.
        train_list: list of the training images; None for one with a usual name under ``data_root``.
        test_list: list of the test images, in the same way.
        weights: file of pretrained weights; None where runs start from random ones.
        max_pixels: pixels that an image file may have.
        workers: processes that decode image files for a run; None shares the cores among the runs.
        jobs: runs that are trained at a time.
        engine: 'local' for processes of this machine, or 'ray'.
        address: HOST:PORT of a running Ray cluster; None starts Ray on this machine.
        tensorboard: whether to write TensorBoard events into each run's folder.
        evaluate_every: epochs between two evaluations.
        json: whether to print the results as JSON.
        quiet: whether to show no progress bar.
        check: whether image files are decoded once before training; None where few are not known to decode.
        skip_broken: whether image files that cannot be used are left out.
        data_changed: what a run does whose image files have changed: 'stop', or 'ok' to go on.
        end: value of time.monotonic() at which training ends with :class:`training.jobs.deadline.TimeIsUp`.
    """

    store: Path
    device: str = "auto"
    data_root: Path | None = None
    train_list: Path | None = None
    test_list: Path | None = None
    weights: Path | None = None
    max_pixels: int = MAX_PIXELS
    workers: int | None = None
    jobs: int = 1
    engine: str = "local"
    address: str | None = None
    tensorboard: bool = False
    evaluate_every: int = 1
    json: bool = False
    quiet: bool = False
    check: bool | None = None
    skip_broken: bool = False
    data_changed: str = "stop"
    end: float = math.inf

    @classmethod
    def of(cls, given: argparse.Namespace) -> Options:
        """Read the options of a command.

        Args:
            given: the parsed command line; an option that the command does not have takes its default.

        Returns:
            The options.
        """
        return cls(**{f.name: getattr(given, f.name) for f in fields(cls) if hasattr(given, f.name)})

    @property
    def one_by_one(self) -> bool:
        """Whether this process trains one run after another."""
        return self.jobs == 1 and self.engine == "local"


NAMES = preset_names()
"""The presets of all data sets."""


def seeds(text: str) -> list[int]:
    """Read a list of seeds.

    Args:
        text: seeds and ranges of seeds, such as '0-4,7'.

    Returns:
        The seeds, rising, each once.

    Raises:
        argparse.ArgumentTypeError: if the text is no such list, or a range is empty or has more than ten thousand
            seeds.
    """
    if not re.fullmatch(r"\d{1,9}(-\d{1,9})?(,\d{1,9}(-\d{1,9})?)*", text):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a list of seeds such as 0-4,7")
    numbers: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        if int(last or first) < int(first):
            raise argparse.ArgumentTypeError(f"{part!r} is an empty range of seeds")
        if int(last or first) - int(first) > 10_000:
            raise argparse.ArgumentTypeError(f"{part!r} is more than ten thousand seeds")
        numbers += range(int(first), int(last or first) + 1)
    return sorted(set(numbers))


def workers(text: str) -> int:
    """Read a number of decoding processes.

    Args:
        text: the number, 0 to 256.

    Returns:
        The number.

    Raises:
        argparse.ArgumentTypeError: if the text is no such number.
    """
    if not re.fullmatch(r"\d{1,3}", text) or int(text) > 256:
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is not a number of processes, 0 to 256")
    return int(text)


def add_data(parser: cli.Parser, *, weights: bool = True) -> None:
    """Add the options that say where data are, and how many processes read them.

    Args:
        parser: the command's parser.
        weights: whether to offer ``--weights`` too.
    """
    add = parser.group("data").add_argument
    add("--data-root", type=Path, metavar="DIR", help="folder with CIFAR's files, or with images and their lists")
    add(
        "--workers",
        type=workers,
        metavar="N",
        help="processes that decode image files for a run (default: one per core)",
    )
    add_max_pixels(parser)
    add(
        "--trust-code",
        type=_trusted,
        action="append",
        metavar="NAME",
        help="run this function of your own, package.module:function, where a stored run names it",
    )
    if weights:
        add(
            "--weights",
            type=Path,
            metavar="FILE",
            help="pretrained weights with torchvision's or timm's keys (.pth, .pth.tar, .ckpt, .bin, .safetensors)",
        )


def _trusted(text: str) -> str:
    if not re.fullmatch(CODE, text):
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is not package.module:function")
    trust(text)
    return text


def add_max_pixels(parser: cli.Parser) -> None:
    """Add the option that bounds the pixels of an image file, and so the memory that decoding takes.

    Args:
        parser: the command's parser.
    """
    parser.group("data").add_argument(
        "--max-pixels",
        type=_max_pixels,
        default=MAX_PIXELS,
        metavar="N",
        help="pixels that an image file may have (default: %(default)s); each decoding process may take 10 bytes per pixel, "
        "30 for colours of 16 bits",
    )


def _max_pixels(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20 and 1 <= int(text) <= MOST_PIXELS):
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is not a number of pixels, 1 to {MOST_PIXELS:,}")
    return int(text)


def add_lists(parser: cli.Parser) -> None:
    """Add the options that name the lists of image files.

    Args:
        parser: the command's parser.
    """
    for part, use in (("train", "training"), ("test", "test")):
        parser.group("data").add_argument(
            f"--{part}-list",
            type=Path,
            metavar="FILE",
            help=f"list of {use} images: 'path label' on each line, CSV, TSV, JSON Lines or COCO's JSON; for dataset own also a "
            "folder that holds one folder per class",
        )


CORRECTIONS = {
    "la": "post-hoc logit adjustment, logits less tau times the log of the class frequencies of the training labels",
    "tau-norm": "tau-norm, class vectors w_k / |w_k|^tau without the bias",
    "ncm": "the nearest class mean of training images, after centring and scaling to unit length",
    "bn": "recalibrated BatchNorm, its running statistics measured anew on unmixed training images",
}
"""Corrections of a finished run that a network can be written with, and what each is."""


def add_correction(parser: cli.Parser) -> None:
    """Add the options of a correction of a finished run.

    Args:
        parser: the command's parser.
    """
    words = "; ".join(f"{name}: {use}" for name, use in CORRECTIONS.items())
    parser.add_argument("--correction", type=cli.choice(*CORRECTIONS), metavar="NAME", help=words)
    add_settings(parser)


def add_settings(parser: cli.Parser) -> None:
    """Add the options that say how a correction is made.

    Args:
        parser: the command's parser.
    """
    add = parser.add_argument
    add("--tau", type=strength, metavar="T", help="strength of la and tau-norm (default: 1)")
    add("--bias", action="store_true", help="tau-norm keeps the bias, as some codes do")
    add(
        "--ncm-features",
        type=cli.choice("cl2n", "l2n", "un"),
        metavar="NAME",
        help="cl2n|l2n|un: what ncm does to features: centred and unit length, unit length, nothing (default: cl2n)",
    )


Settings = tuple[float, bool, str]
"""tau, whether tau-norm keeps the bias, and what ncm does to features: fields of :class:`training.run.corrections.Options`."""


def settings_of(options: argparse.Namespace) -> Settings:
    """Say how the correction is made that was asked for.

    Args:
        options: the options of :func:`add_correction`.

    Returns:
        Its settings; the usual ones where none are given.

    Raises:
        InvalidInput: if one is given without a correction that takes it.
    """
    for option, given, names in (
        ("--tau", options.tau is not None, ("la", "tau-norm")),
        ("--bias", options.bias, ("tau-norm",)),
        ("--ncm-features", options.ncm_features is not None, ("ncm",)),
    ):
        if given and options.correction not in names:
            without = "it" if len(names) == 1 else "one of them"
            raise InvalidInput(
                f"{option} belongs to --correction {' and '.join(names)}, and has no effect without {without}"
            )
    return 1.0 if options.tau is None else options.tau, options.bias, options.ncm_features or "cl2n"


def correction_words(options: argparse.Namespace) -> str:
    """Give the options of a correction again, for a command that follows.

    Args:
        options: the options of :func:`add_correction`.

    Returns:
        Them with a space before each; '' without a correction.
    """
    words = "" if options.correction is None else f" --correction {options.correction}"
    words += "" if options.tau is None else f" --tau {options.tau:g}"
    words += " --bias" * options.bias
    return words + ("" if options.ncm_features is None else f" --ncm-features {options.ncm_features}")


def correction_record(options: argparse.Namespace) -> dict[str, Any] | None:
    """Say in a manifest which correction a network has.

    Args:
        options: the options of :func:`add_correction`.

    Returns:
        Its name and the settings that it takes; None without a correction.
    """
    if options.correction is None:
        return None
    tau, bias, features = settings_of(options)
    taken: dict[str, dict[str, Any]] = {
        "la": {"tau": tau},
        "tau-norm": {"tau": tau, "bias": bias},
        "ncm": {"features": features},
        "bn": {},
    }
    return {"name": options.correction, **taken[options.correction]}


def strength(text: str) -> float:
    """Read the strength of a correction.

    Args:
        text: a word of the command line.

    Returns:
        The number.

    Raises:
        argparse.ArgumentTypeError: if it is no number in 0..100.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is not a number in 0..100")
    return value


def add_check(parser: cli.Parser) -> None:
    """Add the options on image files that cannot be decoded, or have changed.

    Large sets are not checked by default: the first check takes as long as their decoding in an epoch, and jobs on a
    cluster would each begin with it.

    Args:
        parser: the command's parser.
    """
    parser.group("data").add_argument(
        "--check",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="decode every image file once before training, and name all that cannot be decoded; what decodes is "
        "remembered (default: where at most 5,000 are not known to decode; python -m training.check does it alone)",
    )
    parser.group("data").add_argument(
        "--skip-broken",
        action="store_true",
        help="leave out image files that cannot be decoded; they are named, and the run's data.json and result list them",
    )
    parser.group("data").add_argument(
        "--data-changed",
        type=cli.choice("stop", "ok"),
        default="stop",
        metavar="NAME",
        help="stop|ok: whether a run goes on though image files were mended, replaced or left out; its result says so",
    )


def add_device(parser: cli.Parser) -> None:
    """Add the option that says where to compute.

    Args:
        parser: the command's parser.
    """
    devices = ("auto", "cpu", "cuda")
    parser.group("run").add_argument(
        "--device", type=cli.choice(*devices), default="auto", metavar="NAME", help="|".join(devices)
    )


def add_recipe(parser: cli.Parser, *, without: Collection[str] = (), dataset: str = RunConfig.dataset) -> None:
    """Add an option for every choice of a run, as :class:`training.config.RunConfig` documents it.

    Args:
        parser: the command's parser.
        without: choices that the command makes itself.
        dataset: the data set whose presets the help shows.
    """
    groups = {title: parser.group(title) for title in ("data", "method", "recipe", "run")}  # their order in the help
    groups[
        "recipe"
    ].description = (
        f"The preset sets these; values in brackets are those of {dataset}. --dataset NAME --help shows another's."
    )
    groups["recipe"].add_argument(
        "--preset", type=cli.choice(*NAMES), metavar="NAME", help="|".join(NAMES) + ": the recipe"
    )
    for name, known in CHOICES.items():
        if not known.listed or name in without:
            continue
        add = groups[known.group].add_argument
        option, kind, text = "--" + name.replace("_", "-"), type_of(name), help_of(name, dataset)
        if known.words:
            add(option, type=str if known.pattern else cli.choice(*known.words), metavar="NAME", help=text)
        elif name == "augment":
            words = [word for word in CHOICES["transform"].words if word != "none"]
            add(option, action=Switch, word="augmentation", type=cli.choice(*words), metavar="|".join(words), help=text)
        elif kind is bool:
            add(option, action=argparse.BooleanOptionalAction, default=None, help=text)
        elif get_args(kind):
            add(option, type=cli.numbers("shares, such as 0.8,0.9"), metavar="SHARE,...", help=text)
        else:
            add(option, type=kind, help=text)


def dataset_in(arguments: Sequence[str] | None) -> str:
    """Find the data set that a command line names, before it is parsed: the help shows its presets.

    Args:
        arguments: words of the command line; those of the process if None.

    Returns:
        The name behind the last ``--dataset``; that of the default where there is none, or it is unknown.
    """
    words = " ".join(sys.argv[1:] if arguments is None else arguments)
    names = [name for name in re.findall(r"--dataset[ =](\S+)", words) if name in CATALOGUE]
    return names[-1] if names else RunConfig.dataset


def _shown(config: RunConfig, name: str) -> str:
    """A choice of a config as one types it."""
    value = getattr(config, name)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ",".join(f"{share:.3g}" for share in value)
    return f"{value:g}" if isinstance(value, int | float) else str(value)


@cache
def _default() -> RunConfig:
    return RunConfig()


@cache
def _presets_of(dataset: str) -> dict[str, RunConfig]:
    """A run of each preset of a data set."""
    row = CATALOGUE[dataset]
    config = RunConfig(dataset=dataset, classes=2 if row.user_named else 0)
    return {preset: with_preset(config, preset) for preset in row.presets}


def help_of(name: str, dataset: str = RunConfig.dataset) -> str:
    """Describe a choice of a run for ``--help``.

    Args:
        name: the field of :class:`training.config.RunConfig`.
        dataset: the data set whose presets are shown.

    Returns:
        Its values, what it means, where it applies, and the value that each preset gives it, or its default.
    """
    known = CHOICES[name]
    text = "|".join(known.words) + ": " * bool(known.words) + known.help
    described = [f"{word}: {meaning}" for word, meaning in known.words.items() if meaning]
    text += f" ({'; '.join(described)})" if described else ""
    text += f"; for {known.scope}" if known.scope else ""
    if known.group == "recipe":
        values = {preset: _shown(config, name) for preset, config in _presets_of(dataset).items()}
        same = len(set(values.values())) == 1
        text += (
            f" (default: {next(iter(values.values()))})" if same else f" ({', '.join(map(' '.join, values.items()))})"
        )
    elif default := _shown(_default(), name):
        text += f" (default: {default})" * (not text.count("default"))
    return text.replace("%", "%%")


def add_epochs(parser: cli.Parser) -> None:
    """Add the options on what is written of each epoch: how often it is evaluated, and TensorBoard's events.

    How often is no choice of a run: weights and last accuracies do not depend on it.

    Args:
        parser: the command's parser.
    """
    parser.group("run").add_argument(
        "--evaluate-every",
        type=_epochs,
        default=1,
        metavar="N",
        help="epochs between two evaluations (default: %(default)s); the last epoch is always evaluated. Weights and last "
        "accuracies stay the same; with N above 1 there is no accuracy of the best epoch",
    )
    parser.group("run").add_argument(
        "--tensorboard",
        action="store_true",
        help="also write TensorBoard events into each run's folder (extra `tensorboard`)",
    )


def _epochs(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,5}", text):
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is not a number of epochs, 1 to 999,999")
    return int(text)


def add_running(parser: cli.Parser) -> None:
    """Add the options beside those of :func:`add_recipe`: where the data are, seeds, and how runs are trained.

    Args:
        parser: the command's parser.
    """
    add_data(parser)
    add_lists(parser)
    add_check(parser)
    add = parser.group("run").add_argument
    add("--seeds", type=seeds, default=[0], help="seeds, such as 0-4,7")
    add("--store", type=Path, default=Path("runs"), metavar="DIR", help="folder of the run store")
    add_device(parser)
    add_epochs(parser)
    add("--quiet", action="store_true", help="show no progress bar; training.train prints no table either")
    cli.add_engine(parser, "runs that share a GPU")


def first_comparison(root: Path) -> str:
    """Write the command with which somebody compares methods on images of their own for the first time.

    Args:
        root: the folder of the images and their lists.

    Returns:
        The command, which ends within minutes.
    """
    options = "--preset quick --ratio-per batch-swapped --seeds 0-2 --adjust --minutes 5"
    return f"python -m training.compare --dataset own --data-root {shlex.quote(str(root))} {options}"


STEPS, SMALLEST_BATCH = 300, 16
"""Steps that a run of preset quick has at least, as long as its batches hold at least so many pairs."""


def fitted_batch(config: RunConfig, images: int) -> int:
    """Choose a batch with which few images still make enough steps.

    Args:
        config: the run.
        images: number of training images.

    Returns:
        The run's batch, halved until it has :data:`STEPS` steps, but not below :data:`SMALLEST_BATCH`.
    """
    batch = config.batch
    while batch > SMALLEST_BATCH and config.epochs * -(-images // batch) < STEPS:
        batch = max(SMALLEST_BATCH, batch // 2)
    return batch


def config_of(options: argparse.Namespace) -> RunConfig:
    """Build the run that the options describe.

    The preset sets the recipe. Where other options change the recipe, the preset's name gets a ``+``. Preset quick fits its
    batch to the user's own images (:func:`fitted_batch`), and the run's batch says so.

    Args:
        options: the parsed command line of a command with :func:`add_recipe` and :func:`add_running`.

    Returns:
        The run with seed 0.

    Raises:
        InvalidInput: if an option is missing, or if options do not go together.
    """
    given = {name: value for name in CHOICES if (value := getattr(options, name, None)) is not None}
    word = getattr(options, "augmentation", None)
    if word is not None and given.setdefault("transform", word) != word:
        raise InvalidInput(f"--augment {word} is --transform {word}, too; drop --transform {given['transform']}")
    for name, value in given.items():
        if CHOICES[name].pattern and re.fullmatch(CODE, value) and not value.startswith("timm:"):
            trust(value)  # the user has typed it
    row, root = CATALOGUE[given.get("dataset", RunConfig.dataset)], getattr(options, "data_root", None)
    if row.user_named:
        if root is None:
            raise InvalidInput(f"dataset {row.name!r} needs --data-root, the folder of your images")
        if "classes" not in given:
            given["classes"] = number_of_classes(root, options.train_list)
    if "dataset" not in given and root is not None:
        raise InvalidInput("--data-root without --dataset: name the data set; for your own images give --dataset own")
    preset = options.preset or row.default_preset
    if not row.files:
        given.setdefault("imbalance", row.default_imbalance)
    of_user = {
        name: given[name] for name in ("classes", "name") if name in given
    }  # RunConfig checks them with the data set
    base = with_preset(RunConfig(dataset=row.name, **of_user), preset)
    if preset == "quick" and row.user_named and root is not None and "norm_batch" not in given:
        with contextlib.suppress(InvalidInput):  # what is wrong with the list is said when it is read, all at once
            batch = fitted_batch(base, number_of_images(root, options.train_list))
            base = base if given.get("batch", batch) != batch else replace(base, batch=batch)
    if given.get("epochs", base.warmup) < base.warmup:
        given.setdefault("warmup", 0)  # the preset's warm-up does not fit
    if (alpha := LAWS[given.get("mixing", RunConfig.mixing)].alpha) is not None:
        given.setdefault("alpha", alpha)
    config = replace(base, **given)
    # The methods "random+FC, no mixup" and UniMix set it, too.
    of_method = (*SETTING, "alpha") if config.alpha in (0, alpha) else SETTING
    unchanged = all(getattr(config, name) == getattr(base, name) for name in CHOICES if name not in of_method)
    if getattr(options, "weights", None) is not None and not config.pretrained:
        raise InvalidInput("--weights applies only to pretrained networks; give --pretrained too, or drop it")
    return replace(config, preset=preset if unchanged else preset + "+")
