"""The registry of training methods: one row per sampler, classifier, loss and law of the mixing ratio that a run can name.

A row names the class or function that does the work, as ``module:name``, so that this file needs no torch. CONTRIBUTING.md,
"Add a training method", says how to add one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal

LabelPairs = Literal["all", "a < b"]


@dataclass(frozen=True, kw_only=True)
class Method:
    """What the rows of all kinds say.

    Attributes:
        name: the word of the command-line option.
        title: the name in tables; ``{coverage:g}`` stands for a choice of the run.
        help: what it does, for ``--help`` and the documentation.
        make: the class or function that makes it, as ``module:name``.
        settings: choices of the run that it takes: the keyword of ``make``, and the field of :class:`training.config.RunConfig`.
        fixed: further keywords of ``make``.
    """

    name: str
    title: str
    help: str
    make: str
    settings: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)

    def made(self, config: Any, *arguments: Any, **keywords: Any) -> Any:
        """Make it for a run.

        Args:
            config: the run's :class:`training.config.RunConfig`.
            arguments: positional arguments of ``make``.
            keywords: keywords of ``make`` beside :attr:`settings` and :attr:`fixed`.

        Returns:
            What ``make`` returns.
        """
        chosen = {keyword: getattr(config, name) for keyword, name in self.settings.items()}
        return function(self.make)(*arguments, **keywords, **chosen, **self.fixed)


@dataclass(frozen=True, kw_only=True)
class Sampler(Method):
    """A sampler of image pairs.

    ``make`` takes labels (N,), ``seed``, ``batch``, ``rank`` and ``world_size``, and returns a
    :class:`training.sampling.samplers.PairSampler`. A run draws the pairs of all processes: rank 0 of one.

    Attributes:
        draws: the label pairs that it draws.
        classes: how often it draws classes: by their numbers of images, equally often, or by neither rule.
    """

    draws: LabelPairs = "all"
    classes: Literal["as they are", "balanced", "other"] = "other"


@dataclass(frozen=True, kw_only=True)
class Classifier(Method):
    """A classifier.

    ``make`` takes the feature width p, the number of classes K and ``features``, and returns a module like
    :class:`training.model.classifiers.FC`.

    Attributes:
        pairs: label pairs that have a class.
        singleton: whether label pairs are classes of their own, so that it needs those that the sampler draws.
        losses: the losses that it can be trained with.
        takes_loss: whether ``make`` takes the loss as ``loss``; otherwise the classifier has its own.
        names_loss: whether tables show the loss even if it is the default one.
        random: whether ``make`` takes a ``generator``.
        trains_lengths: whether the lengths of its class vectors are trained, so that ``--classifier-decay`` can shorten them.
        features: what becomes of the features first, under ``--features auto``.
    """

    pairs: LabelPairs = "all"
    singleton: bool = False
    losses: tuple[str, ...] = ("ce",)
    takes_loss: bool = False
    names_loss: bool = False
    random: bool = False
    trains_lengths: bool = True
    features: str = "as-is"


@dataclass(frozen=True, kw_only=True)
class Loss(Method):
    """A loss on mixed labels.

    ``make`` takes the training images of each class, a tensor (K,) on the CPU, and returns a function of logits (B, K),
    labels a and b (B,) and the mixing ratio, () or (B,), whose value is the mean loss. A loss that keeps a tensor is a module
    with a buffer, so that it moves to the GPU with the network.

    Attributes:
        classifiers: the classifiers that can be trained with it; the row of the classifier may name it instead.
    """

    classifiers: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Mixing(Method):
    """A law of the mixing ratio.

    ``make`` takes the run's config, the epoch from 1 and the sizes of its batches, and returns
    :class:`training.batches.mixing.Ratios`.
    """


SAMPLERS: dict[str, Sampler] = {
    row.name: row
    for row in (
        Sampler(
            name="random",
            title="random",
            help="every image once per epoch, its partner by a random permutation of the batch",
            make="training.sampling.samplers:Random",
            classes="as they are",
        ),
        Sampler(
            name="cbs",
            title="CBS",
            help="class-balanced sampling: all classes equally often, drawn independently",
            make="training.sampling.samplers:ClassBalanced",
            classes="balanced",
        ),
        Sampler(
            name="cas",
            title="CAS",
            help="class-aware sampling: all classes equally often, in shuffled cycles",
            make="training.sampling.samplers:ClassAware",
            settings={"m": "cas_m"},
            classes="balanced",
        ),
        Sampler(
            name="lom",
            title="LOM",
            help="label-occurrence-balanced mixup: both sides of a pair are independent class-balanced draws",
            make="training.sampling.samplers:LabelOccurrence",
            classes="balanced",
        ),
        Sampler(
            name="bmls",
            title="BMLS",
            help="balanced mixed labels, the paper's sampler: all label pairs a < b equally often",
            make="training.sampling.samplers:BalancedMixedLabels",
            fixed={"ordered": False},
            draws="a < b",
            classes="balanced",
        ),
        Sampler(
            name="bmls-all",
            title="BMLS-all",
            help="balanced mixed labels over all K^2 label pairs",
            make="training.sampling.samplers:BalancedMixedLabels",
            fixed={"ordered": True},
            classes="balanced",
        ),
        Sampler(
            name="coverage",
            title="coverage {coverage:g}",
            help="for Figure 3: a share of the classes is mixed with one another, each other class with itself",
            make="training.sampling.samplers:Coverage",
            settings={"ratio": "coverage"},
        ),
    )
}
"""Which two images are mixed, by the word of ``--sampler``."""

CLASSIFIERS: dict[str, Classifier] = {
    row.name: row
    for row in (
        Classifier(
            name="fc",
            title="FC",
            help="the usual linear layer",
            make="training.model.classifiers:FC",
            settings={"bias": "bias"},
            takes_loss=True,
        ),
        Classifier(
            name="ms",
            title="MS",
            help="mixed-singleton, the paper's classifier: all K^2 label pairs are classes",
            make="training.model.classifiers:MixedSingleton",
            settings={"bias": "bias"},
            singleton=True,
        ),
        Classifier(
            name="ms-unordered",
            title="MS",
            help="mixed-singleton with the label pairs a < b as classes",
            make="training.model.classifiers:MixedSingleton",
            settings={"bias": "bias"},
            fixed={"unordered": True},
            singleton=True,
            pairs="a < b",
        ),
        Classifier(
            name="etf",
            title="ETF",
            help="class vectors fixed as a simplex equiangular tight frame",
            make="training.model.classifiers:FixedETF",
            losses=("ce", "dr"),
            takes_loss=True,
            names_loss=True,
            random=True,
            trains_lengths=False,
            features="norm-unit",
        ),
        Classifier(
            name="ms-wetf",
            title="MS-WETF",
            help="mixed-singleton whose class vectors are a simplex ETF with learned lengths",
            make="training.model.classifiers:MixedSingletonETF",
            settings={"scale": "scale"},
            singleton=True,
            names_loss=True,
            random=True,
            features="norm-unit",
        ),
        Classifier(
            name="ms-wetf-unordered",
            title="MS-WETF",
            help="the same with the label pairs a < b as classes",
            make="training.model.classifiers:MixedSingletonETF",
            settings={"scale": "scale"},
            fixed={"unordered": True},
            singleton=True,
            pairs="a < b",
            names_loss=True,
            random=True,
            features="norm-unit",
        ),
    )
}
"""What turns features into logits, by the word of ``--classifier``."""

LOSSES: dict[str, Loss] = {
    row.name: row
    for row in (
        Loss(
            name="ce",
            title="CE",
            help="cross-entropy on mixed labels; for ms and ms-wetf over label pairs",
            make="training.model.losses:cross_entropy_loss",
        ),
        Loss(
            name="dr",
            title="DR",
            help="dot regression, for fixed class vectors",
            make="training.model.losses:dot_regression_loss",
        ),
        Loss(
            name="la",
            title="LA",
            help="logit adjustment: cross-entropy of the logits plus tau times the log of the class frequencies",
            make="training.model.long_tail_losses:LogitAdjustment",
            settings={"tau": "tau"},
            classifiers=("fc",),
        ),
        Loss(
            name="cw",
            title="CW",
            help="class weights: a label's cross-entropy times N / (K n), n images of its class among N",
            make="training.model.long_tail_losses:ClassWeights",
            classifiers=("fc",),
        ),
    )
}
"""What is minimised, by the word of ``--loss``; mixed-singleton classifiers have their own cross-entropy over label pairs,
:func:`training.model.losses.mixed_singleton`.
"""

MIXINGS: dict[str, Mixing] = {
    row.name: row
    for row in (
        Mixing(
            name="batch",
            title="one ratio per batch",
            help="one mixing ratio per batch, as MiSLAS's code has it",
            make="training.batches.mixing:per_batch",
        ),
        Mixing(
            name="batch-swapped",
            title="one ratio per batch, sides swapped",
            help="one mixing ratio per batch, and the sides of half of the pairs are swapped at random",
            make="training.batches.mixing:per_batch_swapped",
        ),
        Mixing(
            name="sample",
            title="one ratio per pair",
            help="one mixing ratio per pair of images",
            make="training.batches.mixing:per_sample",
        ),
    )
}
"""How the mixing ratio is drawn, by the word of ``--ratio-per``."""


KINDS: dict[str, Mapping[str, Method]] = {
    "sampler": SAMPLERS,
    "classifier": CLASSIFIERS,
    "loss": LOSSES,
    "ratio_per": MIXINGS,
}
"""The tables by the field of :class:`training.config.RunConfig` that names a row."""


def settings() -> tuple[str, ...]:
    """The fields of :class:`training.config.RunConfig` that some method takes."""
    rows = (row for table in KINDS.values() for row in table.values())
    return tuple(dict.fromkeys(name for row in rows for name in row.settings.values()))


def function(path: str) -> Any:
    """Import what a row names.

    Args:
        path: ``module:name``.

    Returns:
        The class or function.
    """
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


def losses_of(classifier: str) -> tuple[str, ...]:
    """The losses that a classifier can be trained with.

    Args:
        classifier: the word of ``--classifier``.

    Returns:
        The words of ``--loss``: those of the classifier's row, and those whose rows name the classifier.
    """
    return (
        *CLASSIFIERS[classifier].losses,
        *(name for name, row in LOSSES.items() if classifier in row.classifiers),
    )
