"""What a run is: a frozen record of every choice, validated once, with a key that names its folder.

Each choice is documented once, beside its default: what it means, which values it may have, and where it applies. Validation,
``--help`` and the documentation's page of options are made of that.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import Any, Literal, get_args, get_type_hints

from lpm.console.errors import InvalidInput
from training.catalogue import CATALOGUE, DataSet
from training.methods import CLASSIFIERS, KINDS, LOSSES, MIXINGS, SAMPLERS, Method, losses_of, settings

BOTTLENECKS = ("resnet50", "resnet50-wide4", "resnet152")
"""Networks for image files; 'wide4' has a last stage of twice the width."""

MODELS = ("resnet8", "resnet14", "resnet20", "resnet32", *BOTTLENECKS)

Group = Literal["data", "method", "recipe", "run"]
Holds = Callable[["RunConfig", Any], bool]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What is known of one choice of a run.

    Attributes:
        help: what it means, in words.
        group: the data, the method, the recipe, or the run.
        words: the values it may have, with what each means ('' where the word says it); none where it is a number or free text.
        holds: whether a value is possible, given the run; ``rule`` says it in words.
        rule: what a value must satisfy, or a function of the run that says it.
        applies: whether the choice has any effect on the run; elsewhere it must keep its default.
        scope: where it applies, in words.
        listed: whether ``--help`` has an option of that name.
    """

    help: str
    group: Group
    words: Mapping[str, str]
    holds: Holds | None
    rule: str | Callable[[RunConfig], str]
    applies: Callable[[RunConfig], bool]
    scope: str
    listed: bool

    def rule_of(self, config: RunConfig) -> str:
        """The rule in words.

        Args:
            config: the run that it is for.

        Returns:
            The end of a sentence that begins with the choice and its value.
        """
        return self.rule if isinstance(self.rule, str) else self.rule(config)


def _choice(
    default: Any,
    help: str,
    group: Group,
    *,
    words: Mapping[str, str] | Collection[str] = (),
    holds: Holds | None = None,
    rule: str | Callable[[RunConfig], str] = "",
    applies: Callable[[RunConfig], bool] = lambda run: True,
    scope: str = "",
    listed: bool = True,
) -> Any:
    """A field of RunConfig that carries what is known of it."""
    meanings = words if isinstance(words, Mapping) else dict.fromkeys(words, "")
    known = Choice(
        help=help,
        group=group,
        words=meanings,
        holds=holds,
        rule=rule,
        applies=applies,
        scope=scope,
        listed=listed,
    )
    return field(default=default, metadata={"choice": known})


def _between(low: float, high: float, *, rule: str = "") -> dict[str, Any]:
    """The rule of a number that must lie in low..high."""
    return {"holds": lambda run, value: low <= value <= high, "rule": rule or f"must lie in {low:g}..{high:g}"}


def _above_zero(high: float, *, included: bool = True) -> dict[str, Any]:
    """The rule of a number that must be positive and at most, or below, ``high``."""
    limit = f"{'at most' if included else 'below'} {high:,g}"
    return {
        "holds": lambda run, value: 0 < value < high or (included and value == high),
        "rule": f"must be positive, {limit}",
    }


def _helps(rows: Mapping[str, Method]) -> dict[str, str]:
    return {name: row.help for name, row in rows.items()}


def _taken_by(name: str) -> dict[str, Any]:
    """Where a setting of methods applies: to the methods that take it, as their rows say."""
    takers = {
        kind: [row.name for row in rows.values() if name in row.settings.values()] for kind, rows in KINDS.items()
    }
    takers = {kind: words for kind, words in takers.items() if words}
    return {
        "applies": lambda run: any(getattr(run, kind) in words for kind, words in takers.items()),
        "scope": " and ".join(f"{kind.replace('_', '-')} {_alternatives(words)}" for kind, words in takers.items()),
    }


def _alternatives(words: Sequence[str]) -> str:
    *first, last = [f"'{word}'" for word in words]
    return f"{', '.join(first)} or {last}" if first else last


_IN_MEMORY: dict[str, Any] = {"applies": lambda run: not run.data_set.files, "scope": "CIFAR and the digits"}
_FILES: dict[str, Any] = {
    "applies": lambda run: run.data_set.files,
    "scope": "image files (imagenet-lt, places-lt, inaturalist2018, own)",
}
_AUGMENTED: dict[str, Any] = {
    "applies": lambda run: run.data_set.files and run.augment,
    "scope": "augmented image files (imagenet-lt, places-lt, inaturalist2018, own)",
}
_OWN: dict[str, Any] = {"applies": lambda run: run.data_set.user_named, "scope": "dataset 'own'"}
_OF_DATA = {rule["scope"] for rule in (_IN_MEMORY, _FILES, _AUGMENTED, _OWN)}
"""Where a choice applies that depends on the data, which a user may have forgotten to name."""


@dataclass(frozen=True)
class RunConfig:
    """Every choice of one training run. The comments beside the fields and ``docs/practice/options.md`` say what each means.

    A new choice needs a default under which old runs are what they were: the key leaves out what has its default.

    Raises:
        InvalidInput: if a choice is impossible, or has no effect beside the others.
    """

    dataset: str = _choice("digits-lt", "the data set", "data", words=tuple(CATALOGUE))
    imbalance: float = _choice(
        100.0,
        "n_max / n_min of the long-tailed subset; commands take 10 for the digits",
        "data",
        **_between(1, 1e9, rule="must lie in 1..1e9, n_max / n_min"),
        **_IN_MEMORY,
    )
    subset_seed: int = _choice(
        0,
        "which images the long-tailed subset keeps; 0 keeps those that other repositories keep",
        "data",
        **_between(0, 2**32 - 1, rule="must lie in 0..2^32-1"),
        **_IN_MEMORY,
    )
    tail: str = _choice(
        "exp",
        "how class counts fall from n_max to n_min",
        "data",
        words={
            "exp": "exponentially",
            "step": "the first half of the classes has n_max images each, the other half n_min",
        },
        **_IN_MEMORY,
    )
    classes: int = _choice(
        0,
        "number of classes of your own images (default: counted in the folders or names under --data-root)",
        "data",
        **_OWN,
    )
    name: str = _choice("", "name of your own data; results call them own-NAME", "data", **_OWN)
    sampler: str = _choice("random", "which images are paired", "method", words=_helps(SAMPLERS))
    cas_m: int = _choice(
        4,
        "images per visit of a class",
        "method",
        **_between(1, 1_000_000, rule="must be at least 1, at most a million"),
        **_taken_by("cas_m"),
    )
    coverage: float = _choice(
        1.0,
        "share of the classes whose mixtures occur",
        "method",
        **_between(0, 1, rule="must lie in [0, 1]"),
        **_taken_by("coverage"),
    )
    classifier: str = _choice("fc", "what turns features into logits", "method", words=_helps(CLASSIFIERS))
    loss: str = _choice("ce", "what is minimised", "method", words=_helps(LOSSES))
    tau: float = _choice(
        1.0,
        "strength of logit adjustment; 1 is balanced softmax",
        "method",
        **_between(0, 10),
        **_taken_by("tau"),
    )
    bias: bool = _choice(True, "a bias in the classifier", "method", **_taken_by("bias"))
    features: str = _choice(
        "auto",
        "what the classifier does to features first",
        "method",
        words={
            "auto": "as-is for fc and ms, norm-unit for the ETFs",
            "as-is": "nothing",
            "unit": "scale them to unit length",
            "norm-unit": "a BatchNorm, then unit length",
        },
    )
    scale: float = _choice(
        10.0,
        "lengths of the class vectors at the start",
        "method",
        **_above_zero(1e4),
        **_taken_by("scale"),
    )
    model: str = _choice("resnet32", "the network", "recipe", words=MODELS)
    width: int = _choice(0, "channels of the first stage; 0 for the paper's", "recipe", **_between(0, 1024))
    alpha: float = _choice(
        1.0,
        "parameter of mixup's Beta(alpha, alpha); 0 trains without mixup",
        "recipe",
        **_between(0, 100, rule="must lie in 0..100; 0 trains without mixup"),
    )
    ratio_per: str = _choice(
        "batch",
        "how the mixing ratio is drawn",
        "recipe",
        words=_helps(MIXINGS),
        applies=lambda run: run.alpha > 0,
        scope="training with mixup, alpha above 0",
    )
    epochs: int = _choice(
        200, "number of epochs", "recipe", **_between(1, 100_000, rule="must be at least 1, at most 100,000")
    )
    batch: int = _choice(
        128,
        "index pairs per batch, over all processes",
        "recipe",
        **_between(2, 1_000_000, rule="must be at least 2, at most a million"),
    )
    norm_batch: int = _choice(
        0,
        "pairs that BatchNorm normalises together (ghost BatchNorm), as many as one GPU has, say; 0 for the whole batch",
        "recipe",
        holds=lambda run, value: value == 0 or (4 <= value < run.batch and run.batch % value == 0),
        rule=lambda run: f"must be 0, or a divisor of --batch, {run.batch}, from 4 to half of it",
    )
    lr: float = _choice(0.1, "learning rate after the warm-up", "recipe", **_above_zero(1e3, included=False))
    momentum: float = _choice(
        0.9, "momentum of SGD", "recipe", holds=lambda run, value: 0 <= value < 1, rule="must lie in [0, 1)"
    )
    weight_decay: float = _choice(
        2e-4,
        "weight decay on every parameter; with --classifier-decay on those of the backbone",
        "recipe",
        holds=lambda run, value: 0 <= value < 1,
        rule="must lie in [0, 1)",
    )
    feature_decay: float = _choice(
        0.0,
        "l_H, a penalty in the loss: l_H / 2 times the mean squared length of the classifier inputs",
        "recipe",
        holds=lambda run, value: 0 <= value < 1,
        rule="must lie in [0, 1)",
        applies=lambda run: run.prepares == "as-is",
        scope="features 'as-is', whose lengths are free",
    )
    feature_decay_centred: bool = _choice(
        False,
        "the feature penalty is on distances from the batch's mean",
        "recipe",
        applies=lambda run: run.feature_decay > 0,
        scope="runs with --feature-decay",
    )
    classifier_decay: float = _choice(
        0.0,
        "l_W, a penalty in the loss: l_W / 2 times the sum of the class vectors' squared lengths",
        "recipe",
        holds=lambda run, value: 0 <= value < 1,
        rule="must lie in [0, 1)",
        applies=lambda run: CLASSIFIERS[run.classifier].trains_lengths,
        scope=f"classifier {_alternatives([row.name for row in CLASSIFIERS.values() if row.trains_lengths])}",
    )
    decay_warmup: int = _choice(
        0,
        "epochs in which both penalties rise linearly from zero; a network that starts with all of them may stay collapsed",
        "recipe",
        holds=lambda run, value: 0 <= value <= run.epochs,
        rule=lambda run: f"must lie in 0..{run.epochs}, the epochs",
        applies=lambda run: run.feature_decay > 0 or run.classifier_decay > 0,
        scope="runs with --feature-decay or --classifier-decay",
    )
    warmup: int = _choice(
        5,
        "epochs of linear warm-up",
        "recipe",
        holds=lambda run, value: 0 <= value <= run.epochs,
        rule=lambda run: f"must lie in 0..{run.epochs}, the epochs",
    )
    schedule: str = _choice(
        "steps",
        "how the learning rate falls",
        "recipe",
        words={
            "steps": "tenfold after 4/5 and 9/10 of the epochs (preset bbn: 2/3 and 8/9)",
            "cosine": "along a cosine to zero",
        },
    )
    drops: tuple[float, ...] = _choice(
        (0.8, 0.9),
        "shares of the epochs after which the learning rate falls tenfold",
        "recipe",
        holds=lambda run, value: all(0 < share < 1 for share in value) and list(value) == sorted(value),
        rule="must be rising shares of the epochs, each in (0, 1)",
        listed=False,
    )
    augment: bool = _choice(True, "random crop and flip", "recipe")
    jitter: float = _choice(
        0.0,
        "jitter of brightness, contrast and saturation",
        "recipe",
        holds=lambda run, value: 0 <= value < 1,
        rule="must lie in [0, 1)",
        **_AUGMENTED,
    )
    size: int = _choice(
        0,
        "pixels per side; 0 for 224",
        "recipe",
        holds=lambda run, value: value == 0 or 8 <= value <= 1024,
        rule="must lie in 8..1024, or be 0",
        **_FILES,
    )
    upright: bool = _choice(
        False, "turn images as their cameras say; set for dataset own, not for published ones", "recipe", **_FILES
    )
    pixel_bits: int = _choice(
        0,
        "depth of pixels in files with more than 8 bits per colour, such as 12; 0 for what the file says, else the largest "
        "value of the data set rounded up to 8, 10, 12, 14 or 16 bits",
        "recipe",
        holds=lambda run, value: value == 0 or 8 <= value <= 32,
        rule="must lie in 8..32, or be 0",
        **_FILES,
    )
    pretrained: bool = _choice(
        False,
        "start from the weights in --weights",
        "recipe",
        applies=lambda run: run.model in BOTTLENECKS,
        scope="models 'resnet50', 'resnet50-wide4' and 'resnet152'",
    )
    trains: str = _choice(
        "all",
        "which layers of a pretrained network train",
        "recipe",
        words={
            "all": "",
            "stage4": "the last stage and the classifier",
            "block": "a new last block and the classifier",
            "classifier": "the classifier alone",
        },
        applies=lambda run: run.pretrained,
        scope="pretrained networks",
    )
    precision: str = _choice(
        "bf16",
        "arithmetic of the backbone; the classifier and the loss are float32",
        "recipe",
        words=("bf16", "fp32"),
    )
    seed: int = _choice(
        0,
        "seed of everything random but the subset",
        "run",
        **_between(0, 2**62 - 1, rule="must lie in 0..2^62-1"),
        listed=False,
    )
    preset: str = _choice("paper", "name of the recipe in results", "run", listed=False)

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            _check_type(name, getattr(self, name), known, _types()[name])
        for name, known in CHOICES.items():
            value = getattr(self, name)
            if known.holds is not None and not known.holds(self, value):
                shown = f"{value:g}" if isinstance(value, int | float) else str(value)
                raise InvalidInput(f"{_option(name)} = {shown} {known.rule_of(self)}")
        self._check_words()
        self._check_label_pairs()
        for name, known in CHOICES.items():
            if getattr(self, name) != _DEFAULTS[name] and not known.applies(self):
                value = f" {getattr(self, name)!r}" if known.words else ""
                unsaid = self.dataset == _DEFAULTS["dataset"] and known.scope in _OF_DATA
                missing = ", or say which --dataset" if unsaid else ""
                raise InvalidInput(f"{_option(name)}{value} applies only to {known.scope}; drop it{missing}")
        if self.model in BOTTLENECKS and not self.data_set.files:
            raise InvalidInput(f"model {self.model!r} applies only to {_FILES['scope']}; choose another --model")
        if self.loss not in losses_of(self.classifier):
            known_losses = ", ".join(losses_of(self.classifier))
            raise InvalidInput(
                f"loss {self.loss!r} is not defined for classifier {self.classifier!r}; choose one of {known_losses}"
            )

    def _check_words(self) -> None:
        if not re.fullmatch(r"([a-z0-9][a-z0-9-]{0,29})?", self.name):
            raise InvalidInput(
                f"name {self.name[:40]!r} must be a word of small letters, digits and hyphens, at most 30"
            )
        if self.data_set.user_named and not 2 <= self.classes <= 100_000:
            raise InvalidInput(
                f"dataset {self.dataset!r} needs its number of classes, 2 to 100,000, and it is {self.classes}: give --classes, "
                "or beside lists their names in classes.txt"
            )
        if not re.fullmatch(r"[a-z0-9-]{1,20}\+?", self.preset):
            raise InvalidInput(f"preset {self.preset[:40]!r} must be a short word of small letters")

    def _check_label_pairs(self) -> None:
        """A classifier over label pairs needs a class for each pair that is drawn, and more than one class."""
        classifier, drawn = CLASSIFIERS[self.classifier], SAMPLERS[self.sampler].draws
        if classifier.pairs == "a < b" and drawn != "a < b":
            raise InvalidInput(
                f"classifier {self.classifier!r} has classes for the label pairs a < b only; sampler {self.sampler!r} draws "
                "others too: use 'bmls', or the classifier without 'unordered'"
            )
        if not self.alpha and classifier.singleton:
            raise InvalidInput(
                f"classifier {self.classifier!r} needs mixed images, and alpha 0 mixes none: an image without mixup has one "
                "label, no label pair; take 'fc', or an --alpha above 0"
            )
        if not self.alpha and drawn == "a < b":
            raise InvalidInput(
                f"sampler {self.sampler!r} puts the lower class first in each pair, and alpha 0 trains on first images only, "
                "so the last class has none; take 'bmls-all' or 'cbs', or an --alpha above 0"
            )
        if self.K == 2 and classifier.pairs == "a < b":
            raise InvalidInput(
                f"classifier {self.classifier!r} has one class for the one label pair a < b of two classes, nothing to learn: "
                "take 'fc', or 'ms' with sampler 'bmls-all'"
            )

    @property
    def data_set(self) -> DataSet:
        """The row of the catalogue."""
        return CATALOGUE[self.dataset]

    @property
    def K(self) -> int:
        """Number of classes."""
        return self.classes or self.data_set.classes

    @property
    def data(self) -> str:
        """The name of the data in results: the data set's, with the user's name for own data."""
        return f"{self.dataset}-{self.name}" if self.name else self.dataset

    @property
    def channels(self) -> int:
        """Channels of the first stage."""
        return self.width or (64 if self.model in BOTTLENECKS else self.data_set.channels)

    @property
    def pixels(self) -> int:
        """Pixels per side of what the network is shown, for image files."""
        return self.size or 224

    @property
    def prepares(self) -> str:
        """What the classifier does to features first, a word of ``features`` other than 'auto'."""
        return CLASSIFIERS[self.classifier].features if self.features == "auto" else self.features

    @property
    def parts(self) -> int:
        """Parts of a batch that BatchNorm normalises separately (ghost BatchNorm); 0 if it is the whole batch."""
        return self.batch // self.norm_batch if self.norm_batch else 0

    @property
    def factor(self) -> str:
        """The imbalance factor as a word, '10-step' for a step; 'own' for image files, which have class counts of their own."""
        return "own" if self.data_set.files else f"{self.imbalance:g}" + "-step" * (self.tail == "step")

    @property
    def method(self) -> str:
        """The name in tables, such as 'BMLS+MS': sampler, classifier, a loss that is not the usual one, and a lack of mixup."""
        sampler, classifier, loss = SAMPLERS[self.sampler], CLASSIFIERS[self.classifier], LOSSES[self.loss]
        words = [sampler.title.format(**vars(self)), classifier.title]
        if classifier.singleton and sampler.draws == "a < b" and classifier.pairs == "all":
            words[1] += "-all"  # classes for all K^2 label pairs, though only a < b are drawn
        if classifier.names_loss or self.loss != _DEFAULTS["loss"]:
            words.append(loss.title.format(**vars(self)))
        return "+".join(words) + ", no mixup" * (not self.alpha)

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits that stand for every choice but the seed that is not the default."""
        choices = {name: v for name in CHOICES if (v := getattr(self, name)) != _DEFAULTS[name] and name != "seed"}
        return hashlib.sha256(json.dumps(choices, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def folder(self) -> str:
        """The run's folder inside the store."""
        factor = () if self.data_set.user_named else (self.factor,)
        words = (self.data, *factor, self.sampler, self.classifier, self.loss, self.preset, self.key)
        return "-".join(words) + f"/seed-{self.seed}"

    def penalty_at(self, epoch: int) -> float:
        """The share of the penalties that an epoch has: epoch / decay_warmup, at most 1.

        Args:
            epoch: from 1.

        Returns:
            The share, in (0, 1].
        """
        return min(1.0, epoch / self.decay_warmup) if self.decay_warmup else 1.0

    def lr_at(self, epoch: int) -> float:
        """The learning rate of an epoch.

        lr epoch / warmup during the warm-up; then lr divided by ten after each drop, or
        lr (1 + cos(pi (epoch - 1) / epochs)) / 2.

        Args:
            epoch: from 1.

        Returns:
            The learning rate.
        """
        if epoch <= self.warmup:
            return self.lr * epoch / self.warmup
        if self.schedule == "cosine":
            return self.lr * (1 + math.cos(math.pi * (epoch - 1) / self.epochs)) / 2
        return self.lr * 0.1 ** sum(epoch > round(share * self.epochs) for share in self.drops)


CHOICES: dict[str, Choice] = {f.name: f.metadata["choice"] for f in fields(RunConfig)}
"""What is known of each choice, in the order of the fields."""

_DEFAULTS: dict[str, Any] = {f.name: f.default for f in fields(RunConfig)}


@cache
def _types() -> dict[str, Any]:
    return get_type_hints(RunConfig)


def type_of(name: str) -> Any:
    """The type of a choice.

    Args:
        name: the field's name.

    Returns:
        int, float, bool, str, or a tuple of floats.
    """
    return _types()[name]


def _option(name: str) -> str:
    return name.replace("_", "-")


def _check_type(name: str, value: Any, known: Choice, kind: Any) -> None:
    """Raise InvalidInput unless a value is one of its choice's words, or of its type and finite."""
    if known.words:
        if not isinstance(value, str) or value not in known.words:
            raise InvalidInput(f"{name} {str(value)[:40]!r} is unknown; choose one of {', '.join(known.words)}")
        return
    is_tuple = bool(get_args(kind))
    numbers = value if isinstance(value, tuple) else (value,)
    number_kind = float if is_tuple else kind
    allowed: tuple[type, ...] = (int, float) if number_kind is float else (number_kind,)
    if isinstance(value, tuple) != is_tuple or any(
        not isinstance(x, allowed) or (isinstance(x, bool) and number_kind is not bool) for x in numbers
    ):
        raise InvalidInput(f"{name} {str(value)[:40]!r} has the wrong type; it must be {number_kind.__name__}")
    if any(isinstance(x, int) and abs(x) >= 2**70 for x in numbers):  # too long to format
        raise InvalidInput(f"{name} has a number of more than 70 bits; it must be smaller")
    if number_kind is float and not all(math.isfinite(x) for x in numbers):
        raise InvalidInput(f"{name} = {str(value)[:40]} must be finite")


def from_json(data: dict[str, Any]) -> RunConfig:
    """Read the config that is stored with a run; choices of later versions have their defaults.

    Args:
        data: the content of ``config.json``.

    Returns:
        The config.

    Raises:
        InvalidInput: if it is not a config, or an impossible one.
    """
    if not isinstance(data, dict) or not {"dataset", "seed"} <= set(data) <= set(CHOICES):
        raise InvalidInput(f"a stored config has choices among {', '.join(sorted(CHOICES))}")
    choices: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
    return RunConfig(**choices)


OF_RECIPES = ("cas_m", "bias", "scale")
"""Settings of methods that count as part of a recipe: stored runs carry a ``+`` where they differ from the preset."""

SETTING = (
    *("dataset", "classes", "name", "imbalance", "tail", "sampler", "classifier", "loss", "seed", "preset"),
    *(name for name in settings() if name not in OF_RECIPES),
)
"""Choices that are no part of a recipe: the data, the method with its settings, and the seed."""

if missing := set(settings()) - set(CHOICES):
    raise TypeError(f"a row of training/methods.py names {', '.join(sorted(missing))}, which RunConfig lacks")


def presets(dataset: str) -> tuple[str, ...]:
    """The presets of a data set.

    Args:
        dataset: its name.

    Returns:
        The names.
    """
    return tuple(CATALOGUE[dataset].presets)


def with_preset(config: RunConfig, preset: str) -> RunConfig:
    """A config with a preset's recipe.

    Args:
        config: the data and the method; its recipe is replaced.
        preset: the name of the recipe.

    Returns:
        The config.

    Raises:
        InvalidInput: if the data set has no such preset.
    """
    return replace(config, **config.data_set.preset(preset), preset=preset)
