"""What a run is: a frozen record of every choice, validated once, with a key that names its folder.

Each choice is documented once, beside its default (:mod:`training.choices`): what it means, which values it may have, and where
it applies. Validation, ``--help`` and the documentation's page of options are made of that.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any, get_args, get_type_hints

from lpm.console.errors import InvalidInput
from training.catalogue import CATALOGUE, DataSet
from training.choices.branches import BranchChoices, check_branches
from training.choices.choice import Choice
from training.choices.data import FILES, OF_DATA, DataChoices
from training.choices.losses import LossChoices
from training.choices.method import MethodChoices
from training.choices.mixing import MixingChoices, check_mixing
from training.choices.names import method_of
from training.choices.recipe import FOR_ARRAYS, RecipeChoices, check_features
from training.choices.run import RunChoices
from training.choices.stage import StageChoices
from training.methods import CLASSIFIERS, SAMPLERS, losses_of, settings, why_not


@dataclass(frozen=True)
class RunConfig(
    RunChoices, RecipeChoices, StageChoices, BranchChoices, LossChoices, MixingChoices, MethodChoices, DataChoices
):
    """Every choice of one training run. :mod:`training.choices` and ``docs/practice/options.md`` say what each means.

    A new choice needs a default under which old runs are what they were: the key leaves out what has its default.

    Raises:
        InvalidInput: if a choice is impossible, or has no effect beside the others.
    """

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            if (value := getattr(self, name)) is not _DEFAULTS[name]:  # most are, and tables make thousands of runs
                _check_type(name, value, known, _types()[name])
        for name, known in CHOICES.items():
            value = getattr(self, name)
            if known.holds is not None and not known.holds(self, value):
                shown = f"{value:g}" if isinstance(value, int | float) else str(value)
                raise InvalidInput(f"{_option(name)} = {shown} {known.rule_of(self)}")
        self._check_words()
        check_branches(self)
        self._check_label_pairs()
        for name, known in CHOICES.items():
            if getattr(self, name) != _DEFAULTS[name] and not known.applies(self):
                value = f" {getattr(self, name)!r}" if known.words else ""
                unsaid = self.dataset == _DEFAULTS["dataset"] and known.scope in OF_DATA
                missing = ", or say which --dataset" if unsaid else ""
                raise InvalidInput(f"{_option(name)}{value} applies only to {known.scope}; drop it{missing}")
        if self.model not in FOR_ARRAYS and not self.data_set.files:
            raise InvalidInput(f"model {self.model!r} applies only to {FILES['scope']}; choose another --model")
        check_features(self)
        if self.loss not in losses_of(self.classifier):
            known_losses, reason = ", ".join(losses_of(self.classifier)), why_not(self.loss, self.classifier)
            why = f": {reason}" if reason else ""
            raise InvalidInput(
                f"loss {self.loss!r} is not defined for classifier {self.classifier!r}{why}; choose one of {known_losses}"
            )
        if self.classifier == "cosine" and self.prepares == "as-is":
            raise InvalidInput(
                "features 'as-is' have lengths, which cosines do not; take 'auto', 'unit' or 'norm-unit'"
            )
        check_mixing(self)

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
        if classifier.pairs == "a < b" and (drawn != "a < b" or self.sampler_from):
            deferred = " after random pairs" * (self.sampler_from > 0)
            raise InvalidInput(
                f"classifier {self.classifier!r} has classes for the label pairs a < b only; sampler {self.sampler!r}{deferred} "
                "draws others too: use 'bmls', or the classifier without 'unordered'"
            )
        if not self.alpha and classifier.singleton and self.branches != "bbn":
            raise InvalidInput(
                f"classifier {self.classifier!r} needs mixed images, and alpha 0 mixes none: an image without mixup has one "
                "label, no label pair; take 'fc', or an --alpha above 0"
            )
        if not self.alpha and drawn == "a < b" and self.branches == "none":
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
        return self.width or (self.data_set.channels if self.model in FOR_ARRAYS else 64)

    @property
    def pixels(self) -> int:
        """Pixels per side of what the network is shown."""
        return self.size or (224 if self.data_set.files else self.data_set.pixels)

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
        """The name in tables, such as 'BMLS+MS' (:func:`training.choices.names.method_of`)."""
        return method_of(self)

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits that stand for every choice but the seed that is not the default."""
        choices = {name: v for name in CHOICES if (v := getattr(self, name)) != _DEFAULTS[name] and name != "seed"}
        return hashlib.sha256(json.dumps(choices, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def folder(self) -> str:
        """The run's folder inside the store."""
        factor = () if self.data_set.user_named else (self.factor,)
        stage = () if self.stage == "none" else (self.stage,)
        words = (self.data, *factor, self.sampler, self.classifier, self.loss, *stage, self.preset, self.key)
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

        lr epoch / warmup during the warm-up; then lr times the drop factor after each drop, or
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
        return self.lr * self.drop_factor ** sum(epoch > round(share * self.epochs) for share in self.drops)


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


def matches(known: Choice, value: str) -> bool:
    """Whether a value is none of a choice's words, but matches its pattern.

    Args:
        known: the choice.
        value: the value.

    Returns:
        Whether it does; never without a pattern, or for more than 200 characters.
    """
    return bool(known.pattern) and len(value) <= 200 and re.fullmatch(known.pattern, value) is not None


def _option(name: str) -> str:
    return name.replace("_", "-")


def _check_type(name: str, value: Any, known: Choice, kind: Any) -> None:
    """Raise InvalidInput unless a value is one of its choice's words, or of its type and finite."""
    if known.words:
        if not isinstance(value, str) or not (value in known.words or matches(known, value)):
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
        raise InvalidInput(f"{name.replace('_', '-')} = {str(value)[:40]} must be finite")


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


OF_RECIPES = ("cas_m", "bias", "features", "scale")
"""Settings of methods that count as part of a recipe: stored runs carry a ``+`` where they differ from the preset."""

SETTING = (
    *("dataset", "classes", "name", "imbalance", "tail", "seed", "preset"),
    *(name for name in CHOICES if (CHOICES[name].group == "method" or name in settings()) and name not in OF_RECIPES),
)
"""Choices that are no part of a recipe: the data, the method with its settings, and the seed."""

if missing := set(settings()) - set(CHOICES):
    raise TypeError(f"a row of training/registry/ names {', '.join(sorted(missing))}, which RunConfig lacks")


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
