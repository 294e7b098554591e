"""What a run is: a frozen record of every choice, validated once, with a key that names its folder."""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args, get_type_hints

from lpm.console.errors import InvalidInput
from training.catalogue import CLASSES, LARGE, Dataset

SamplerName = Literal["random", "cbs", "cas", "lom", "bmls", "bmls-all", "coverage"]
ClassifierName = Literal["fc", "ms", "ms-unordered", "etf", "ms-wetf", "ms-wetf-unordered"]
LossName = Literal["ce", "dr"]
ModelName = Literal["resnet8", "resnet14", "resnet20", "resnet32", "resnet50", "resnet50-wide4", "resnet152"]
FeatureName = Literal["auto", "as-is", "unit", "norm-unit"]

BOTTLENECKS = frozenset({"resnet50", "resnet50-wide4", "resnet152"})
"""Networks for image files; 'wide4' has a last stage of twice the width."""

EXPRESSES = {
    "fc": {"random", "cbs", "cas", "lom", "bmls", "bmls-all", "coverage"},
    "ms": {"random", "cbs", "cas", "lom", "bmls", "bmls-all", "coverage"},
    "ms-unordered": {"bmls"},
}
"""Samplers whose label pairs a classifier has a class for; ETF takes all, MS-WETF as MS."""


@dataclass(frozen=True)
class RunConfig:
    """One training run.

    dataset, imbalance: n_max / n_min of the long-tailed subset. subset_seed: which images it keeps (0: as everybody's). classes,
    name: of your own data, dataset 'own'; results call them 'own-<name>'.
    sampler, cas_m: images a class visit of CAS. coverage: share of classes whose mixtures occur, for 'coverage'.
    classifier, loss: 'ms-unordered' has the label pairs a < b as its classes. bias: of FC and MS. features: what the
    classifier does to them first, 'as-is', 'unit' length, or 'norm-unit', a BatchNorm before that; 'auto' is as-is for FC and
    MS, norm-unit for the ETFs. scale: the lengths of MS-WETF's class vectors at the start. model, width: channels of the
    first stage, 0 for the paper's (16, on CIFAR-100 32). alpha: of mixup's Beta law. ratio_per: one mixing ratio a 'batch';
    'batch-swapped', which also swaps the sides of half of its pairs, drawn at random; or one a 'sample'. epochs, batch (over
    all processes), norm_batch: how many of its pairs BatchNorm normalises by themselves, 0 for all. lr, momentum, weight_decay,
    warmup: epochs of linear warm-up. schedule: then lr falls in 'steps', tenfold after each share of the epochs in drops, or
    as a 'cosine' to zero. augment: crop and flip. jitter: of brightness, contrast and saturation. size: pixels a side, 0 for
    the data set's own (224 for image files). upright: image files are turned as their cameras say. pretrained: weights from a
    file at the start; trains: which layers of such a network do. seed: of everything random but the subset. preset: the name
    results carry. precision: 'bf16' or 'fp32' of the backbone; classifier and loss are float32.

    A new choice needs a default under which old runs are what they were: the key leaves out what has its default.
    """

    dataset: Dataset = "digits-lt"
    imbalance: float = 100.0
    subset_seed: int = 0
    classes: int = 0
    name: str = ""
    sampler: SamplerName = "random"
    cas_m: int = 4
    coverage: float = 1.0
    classifier: ClassifierName = "fc"
    loss: LossName = "ce"
    bias: bool = True
    features: FeatureName = "auto"
    scale: float = 10.0
    model: ModelName = "resnet32"
    width: int = 0
    alpha: float = 1.0
    ratio_per: Literal["batch", "batch-swapped", "sample"] = "batch"
    epochs: int = 200
    batch: int = 128
    norm_batch: int = 0
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 2e-4
    warmup: int = 5
    schedule: Literal["steps", "cosine"] = "steps"
    drops: tuple[float, ...] = (0.8, 0.9)
    augment: bool = True
    jitter: float = 0.0
    size: int = 0
    upright: bool = False
    pretrained: bool = False
    trains: Literal["all", "stage4", "block", "classifier"] = "all"
    precision: Literal["bf16", "fp32"] = "bf16"
    seed: int = 0
    preset: str = "paper"

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for field in fields(self):
            _check_type(field.name, getattr(self, field.name), hints[field.name])
        rules: list[tuple[str, float, bool, str]] = [
            ("imbalance", self.imbalance, 1 <= self.imbalance <= 1e9, "must lie in 1..1e9, n_max / n_min"),
            ("epochs", self.epochs, 1 <= self.epochs <= 100_000, "must be at least 1, at most 100,000"),
            ("batch", self.batch, 2 <= self.batch <= 1_000_000, "must be at least 2, at most a million"),
            (
                "norm-batch",
                self.norm_batch,
                self.norm_batch == 0 or (4 <= self.norm_batch < self.batch and self.batch % self.norm_batch == 0),
                f"must be 0, or a divisor of --batch, {self.batch}, from 4 to its half",
            ),
            ("alpha", self.alpha, 0 < self.alpha <= 100, "must be positive, at most 100"),
            ("lr", self.lr, 0 < self.lr < 1e3, "must be positive, below 1,000"),
            ("momentum", self.momentum, 0 <= self.momentum < 1, "must lie in [0, 1)"),
            ("weight-decay", self.weight_decay, 0 <= self.weight_decay < 1, "must lie in [0, 1)"),
            (
                "warmup",
                self.warmup,
                0 <= self.warmup <= self.epochs,
                f"must lie in 0..{self.epochs}, the epochs: give --warmup with --epochs",
            ),
            ("width", self.width, 0 <= self.width <= 1024, "must lie in 0..1024"),
            ("cas-m", self.cas_m, 1 <= self.cas_m <= 1_000_000, "must be at least 1, at most a million"),
            ("coverage", self.coverage, 0 <= self.coverage <= 1, "must lie in [0, 1]"),
            ("scale", self.scale, 0 < self.scale <= 1e4, "must be positive, at most 10,000"),
            ("jitter", self.jitter, 0 <= self.jitter < 1, "must lie in [0, 1)"),
            ("size", self.size, self.size == 0 or 8 <= self.size <= 1024, "must lie in 8..1024, or be 0"),
            ("seed", self.seed, 0 <= self.seed < 2**62, "must lie in 0..2^62-1"),
            ("subset-seed", self.subset_seed, 0 <= self.subset_seed < 2**32, "must lie in 0..2^32-1"),
        ]
        for name, number, holds, rule in rules:
            if not holds:
                raise InvalidInput(f"{name} = {number:g} {rule}")
        if not re.fullmatch(r"([a-z0-9][a-z0-9-]{0,29})?", self.name):
            raise InvalidInput(
                f"name {self.name[:40]!r} must be a word of small letters, digits and hyphens, at most 30"
            )
        if self.dataset == "own" and not 2 <= self.classes <= 100_000:
            raise InvalidInput(
                f"dataset 'own' needs its number of classes, 2 to 100,000, and it is {self.classes}: give --classes, or beside "
                "lists their names in classes.txt"
            )
        if not re.fullmatch(r"[a-z0-9-]{1,20}\+?", self.preset):
            raise InvalidInput(f"preset {self.preset[:40]!r} must be a short word of small letters")
        if any(not 0 < d < 1 for d in self.drops) or list(self.drops) != sorted(self.drops):
            raise InvalidInput(f"drops = {self.drops} must be rising shares of the epochs, each in (0, 1)")
        pairs = self.classifier.removeprefix("ms-wetf").strip("-") if self.classifier.startswith("ms-wetf") else None
        family = ("ms-unordered" if pairs == "unordered" else "ms") if pairs is not None else self.classifier
        if self.sampler not in EXPRESSES.get(family, {self.sampler}):
            raise InvalidInput(
                f"classifier {self.classifier!r} has classes for the label pairs a < b only; sampler {self.sampler!r} draws "
                "others too: use 'bmls', or the classifier without 'unordered'"
            )
        if self.K == 2 and self.classifier.endswith("unordered"):
            raise InvalidInput(
                f"classifier {self.classifier!r} has one class for the one label pair a < b of two classes, nothing to learn: "
                "take 'fc', or 'ms' with sampler 'bmls-all'"
            )
        large, bottlenecks = self.dataset in LARGE, self.model in BOTTLENECKS
        for option, value, used, rule in (
            ("imbalance", self.imbalance == 100, not large, "CIFAR and the digits"),
            ("subset-seed", self.subset_seed == 0, not large, "CIFAR and the digits"),
            ("classes", self.classes == 0, self.dataset == "own", "dataset 'own'"),
            ("name", not self.name, self.dataset == "own", "dataset 'own'"),
            ("jitter", self.jitter == 0, large and self.augment, "augmented image files (imagenet-lt and the like)"),
            ("size", self.size == 0, large, "image files (imagenet-lt and the like)"),
            ("upright", not self.upright, large, "image files (imagenet-lt and the like)"),
            (f"model {self.model}", not bottlenecks, large, "image files (imagenet-lt and the like)"),
            ("pretrained", not self.pretrained, bottlenecks, "models 'resnet50', 'resnet50-wide4' and 'resnet152'"),
            (f"trains {self.trains!r}", self.trains == "all", self.pretrained, "pretrained networks"),
            ("cas-m", self.cas_m == 4, self.sampler == "cas", "sampler 'cas'"),
            ("coverage", self.coverage == 1, self.sampler == "coverage", "sampler 'coverage'"),
            ("scale", self.scale == 10, self.classifier.startswith("ms-wetf"), "classifier 'ms-wetf'"),
            ("bias", self.bias, "etf" not in self.classifier, "classifiers 'fc' and 'ms'"),
        ):
            if not (value or used):
                raise InvalidInput(
                    f"{option} has a meaning for {rule} only; drop it, or say --dataset where that is missing"
                )
        if self.loss == "dr" and self.classifier != "etf":
            raise InvalidInput(f"loss 'dr' (dot regression) is defined for classifier 'etf', not {self.classifier!r}")

    @property
    def K(self) -> int:
        return self.classes or CLASSES[self.dataset]

    @property
    def data(self) -> str:
        """What the data are called: by the data set's name, or your own."""
        return f"{self.dataset}-{self.name}" if self.name else self.dataset

    @property
    def channels(self) -> int:
        """Channels of the first stage."""
        if self.model in BOTTLENECKS:
            return self.width or 64
        return self.width or (32 if self.dataset == "cifar100-lt" else 16)

    @property
    def pixels(self) -> int:
        """Pixels a side of what the network is shown, for image files."""
        return self.size or 224

    @property
    def parts(self) -> int:
        """Parts of a batch that BatchNorm normalises by themselves; 0 if it is the whole batch."""
        return self.batch // self.norm_batch if self.norm_batch else 0

    @property
    def factor(self) -> str:
        """The imbalance factor as a word; image files come with theirs."""
        return "own" if self.dataset in LARGE else f"{self.imbalance:g}"

    @property
    def method(self) -> str:
        """The name in tables: sampler, classifier and loss as ``paper_checks/data`` has them."""
        sampler = {"random": "random", "cbs": "CBS", "cas": "CAS", "lom": "LOM", "bmls": "BMLS", "bmls-all": "BMLS-all"}
        name = sampler.get(self.sampler, f"coverage {self.coverage:g}")
        classifier = {"fc": "FC", "etf": "ETF"}.get(self.classifier, "MS-WETF" if "wetf" in self.classifier else "MS")
        if self.sampler == "bmls" and self.classifier in ("ms", "ms-wetf"):
            classifier += "-all"  # classes for all K^2 label pairs, though only a < b are drawn
        return f"{name}+{classifier}" + (f"+{self.loss.upper()}" if "ETF" in classifier else "")

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits of every choice but the seed that is not the default."""
        choices = {f.name: v for f in fields(self) if (v := getattr(self, f.name)) != f.default and f.name != "seed"}
        return hashlib.sha256(json.dumps(choices, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def folder(self) -> str:
        """The run's folder inside the store."""
        factor = () if self.dataset == "own" else (self.factor,)
        words = (self.data, *factor, self.sampler, self.classifier, self.loss, self.preset, self.key)
        return "-".join(words) + f"/seed-{self.seed}"

    def lr_at(self, epoch: int) -> float:
        """The learning rate of epoch 1, 2, ...: lr epoch / warmup while warming up, then tenfold less after each drop, or
        lr (1 + cos(pi (epoch - 1) / epochs)) / 2.
        """
        if epoch <= self.warmup:
            return self.lr * epoch / self.warmup
        if self.schedule == "cosine":
            return self.lr * (1 + math.cos(math.pi * (epoch - 1) / self.epochs)) / 2
        return self.lr * 0.1 ** sum(epoch > round(share * self.epochs) for share in self.drops)


def _check_type(name: str, value: Any, hint: Any) -> None:
    """Raise InvalidInput unless a value is one of its field's words, or a number of its field's type."""
    choices = get_args(hint)
    if choices and isinstance(choices[0], str):
        if value not in choices:
            raise InvalidInput(f"{name} {str(value)[:40]!r} is unknown; choose one of {', '.join(choices)}")
        return
    numbers = value if isinstance(value, tuple) else (value,)
    kind = float if hint is float or choices else hint
    allowed: tuple[type, ...] = (int, float) if kind is float else (kind,)
    if isinstance(value, tuple) != bool(choices) or any(
        not isinstance(x, allowed) or (isinstance(x, bool) and kind is not bool) for x in numbers
    ):
        raise InvalidInput(
            f"{name} {str(value)[:40]!r} has the wrong type; it must be {getattr(kind, '__name__', kind)}"
        )
    if kind is float and not all(math.isfinite(x) for x in numbers):
        raise InvalidInput(f"{name} = {str(value)[:40]} must be finite")


def from_json(data: dict[str, Any]) -> RunConfig:
    """The config stored with a run, choices of later versions at their defaults. Raises InvalidInput for impossible ones."""
    names = {field.name for field in fields(RunConfig)}
    if not isinstance(data, dict) or not {"dataset", "seed"} <= set(data) <= names:
        raise InvalidInput(f"a stored config has choices among {', '.join(sorted(names))}")
    choices: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
    return RunConfig(**choices)


PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "quick": {"model": "resnet8", "epochs": 30, "warmup": 2},
    "smoke": {"model": "resnet8", "epochs": 40, "warmup": 2, "batch": 32, "augment": False},
}
"""Choices that differ from the paper's recipe, by name. 'smoke' is the default for the built-in digits."""

LARGE_RECIPE: dict[str, Any] = {
    **{"model": "resnet50", "alpha": 0.2, "epochs": 180, "batch": 256, "weight_decay": 5e-4},
    **{"schedule": "cosine", "warmup": 0, "jitter": 0.4},
}
PRETRAINED: dict[str, Any] = {"model": "resnet152", "width": 0, "pretrained": True, "trains": "block"}
"""The network of places-lt-ft, as MiSLAS trains it, under any preset: the paper does not say."""

LARGE_RECIPES: dict[str, dict[str, Any]] = {
    "imagenet-lt": LARGE_RECIPE,
    "places-lt": LARGE_RECIPE | {"epochs": 90},
    "places-lt-ft": LARGE_RECIPE | {"epochs": 90},
    "inaturalist2018": LARGE_RECIPE | {"epochs": 200, "weight_decay": 1e-4},
    "own": LARGE_RECIPE | {"upright": True},
}
"""What CIFAR's recipe becomes on image files (MiSLAS, stage 1: Zhong et al. 2021); your own have ImageNet-LT's, and are turned as
their cameras say.
"""

LARGE_PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "quick": {"model": "resnet8", "size": 64, "epochs": 30, "jitter": 0.0},
    "smoke": {"model": "resnet8", "size": 32, "width": 8, "epochs": 2, "batch": 64, "jitter": 0.0},
    "yang": {"model": "resnet50-wide4", "epochs": 90, "batch": 1024},
    "decoupling": {"epochs": 90, "lr": 0.2, "batch": 512, "jitter": 0.0},
    "bbn": {"lr": 0.05, "schedule": "steps", "drops": (2 / 3, 8 / 9), "epochs": 180, "batch": 128},
}
"""Choices that differ from that. 'yang' (Yang et al. 2022) is for imagenet-lt, 'decoupling' (Kang et al. 2020) and 'bbn', the
schedule of Zhou et al. 2020 with mixup and the augmentation above and without their two branches, for inaturalist2018.
"""


SETTING = ("dataset", "classes", "name", "imbalance", "sampler", "coverage", "classifier", "loss", "seed", "preset")
"""Choices that are no part of a recipe: the data, the method and the seed."""


def presets(dataset: str) -> tuple[str, ...]:
    """The presets of a data set."""
    own = {"yang": "imagenet-lt", "decoupling": "inaturalist2018", "bbn": "inaturalist2018"}
    return tuple(name for name in (LARGE_PRESETS if dataset in LARGE else PRESETS) if own.get(name, dataset) == dataset)


def with_preset(config: RunConfig, preset: str) -> RunConfig:
    """A config with a preset's recipe. Raises InvalidInput for an unknown one."""
    if preset not in presets(config.dataset):
        known = ", ".join(presets(config.dataset))
        raise InvalidInput(f"preset {preset!r} is unknown for {config.dataset}; choose one of {known}")
    recipe = LARGE_RECIPES[config.dataset] | LARGE_PRESETS[preset] if config.dataset in LARGE else PRESETS[preset]
    if config.dataset == "places-lt-ft":
        recipe = recipe | PRETRAINED
    return replace(config, **recipe, preset=preset)
