"""What a row of the registry says, kind by kind."""

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
        return function(self.make)(*arguments, **keywords, **self.chosen(config), **self.fixed)

    def chosen(self, config: Any) -> dict[str, Any]:
        """The choices of a run that it takes.

        Args:
            config: the run's :class:`training.config.RunConfig`.

        Returns:
            Keywords of ``make``.
        """
        return {keyword: getattr(config, name) for keyword, name in self.settings.items()}


@dataclass(frozen=True, kw_only=True)
class Sampler(Method):
    """A sampler of image pairs.

    ``make`` takes labels (N,), ``seed``, ``batch``, ``rank`` and ``world_size``, and returns a
    :class:`training.sampling.pair_sampler.PairSampler`. A run draws the pairs of all processes: rank 0 of one.

    Attributes:
        draws: the label pairs that it draws.
        lower_first: whether the class of a lower number is first in each pair.
        classes: how often it draws classes: by their numbers of images, equally often, or by neither rule.
        shown: choices that follow the title in parentheses where they are not the default.
        label_law: the function that computes how often labels are trained on, as ``module:name``; it takes the config, the
            counts of the classes and :class:`training.sampling.label_law.LabelWeights`. Without it losses need ``--prior data``.
    """

    draws: LabelPairs = "all"
    lower_first: bool = False
    classes: Literal["as they are", "balanced", "other"] = "other"
    shown: tuple[str, ...] = ()
    label_law: str = ""


@dataclass(frozen=True, kw_only=True)
class Classifier(Method):
    """A classifier.

    ``make`` takes the feature width p, the number of classes K and ``features``, and returns a module like
    :class:`training.model.classifiers.FC`.

    Attributes:
        pairs: label pairs that have a class.
        singleton: whether label pairs are classes of their own, so that it needs those that the sampler draws.
        losses: the losses that it can be trained with.
        takes_loss: whether ``make`` takes the loss as ``loss``; otherwise the classifier has its own, and a loss other than
            'ce' is a map of its logits, which ``make`` takes as ``logit_map``.
        names_loss: whether tables show the loss even if it is the default one.
        random: whether ``make`` takes a ``generator``.
        trains_lengths: whether the lengths of its class vectors are trained, so that ``--classifier-decay`` can shorten them.
        features: what becomes of the features first, under ``--features auto``.
        linear: whether its logits are W h + bias of the classifier inputs h, so that a second stage can scale them.
    """

    pairs: LabelPairs = "all"
    singleton: bool = False
    losses: tuple[str, ...] = ("ce",)
    takes_loss: bool = False
    names_loss: bool = False
    random: bool = False
    trains_lengths: bool = True
    features: str = "as-is"
    linear: bool = True


@dataclass(frozen=True, kw_only=True)
class Loss(Method):
    """A loss on mixed labels.

    ``make`` takes a tensor (K,) on the CPU as ``takes`` says, and returns a function of logits (B, K), labels a and b (B,)
    and the mixing ratio, () or (B,), whose value is the mean loss. A loss that keeps a tensor is a module with a buffer, so
    that it moves to the GPU with the network. A module may have ``begin_epoch(epoch, epochs)``, called before each epoch. It
    may overwrite buffers in place that are no part of the state.

    Attributes:
        classifiers: the classifiers that can be trained with it; the row of the classifier may name it instead.
        takes: the training images of each class; the label frequencies that ``--prior`` names; or nothing.
        weighted: whether ``--class-weights`` can weigh it: ``make`` returns a
            :class:`training.model.label_losses.LabelLoss`.
        corrects: whether it treats a rare class as rare in training whatever the sampler draws.
        reason: why other classifiers cannot be trained with it, for the message.
        reason_of_labels: the same for classifiers over classes, where :attr:`reason` is of label pairs.
    """

    classifiers: tuple[str, ...] = ()
    takes: Literal["images", "frequencies", "nothing"] = "images"
    weighted: bool = False
    corrects: bool = False
    reason: str = ""
    reason_of_labels: str = ""


@dataclass(frozen=True, kw_only=True)
class Law(Method):
    """A law of mixing: what becomes of two images and their labels.

    ``make`` takes the run's config, the epoch from 1 and a :class:`training.batches.laws.Pairs`, and returns a
    :class:`training.batches.laws.Plan`.

    Attributes:
        mean: the function that computes the expected label weight of the first image, as ``module:name``; it takes the config,
            the counts of both classes, and :attr:`settings`. Without it losses need ``--prior data``.
        takes_ratios: whether images are mixed by the ratio of ``--ratio-per``, as mixup does.
        labels_as_images: whether labels weigh as their images do.
        boxes: whether a part of one image is pasted into the other.
        of_features: whether pooled features are mixed instead of images.
        matched: whether first images are exchanged within their batch in a growing share of the epochs, as
            :mod:`training.batches.transport` says.
        alpha: parameter of the Beta law where a command does not give it; None for the recipe's.
    """

    mean: str
    takes_ratios: bool = False
    labels_as_images: bool = True
    boxes: bool = False
    of_features: bool = False
    matched: bool = False
    alpha: float | None = None

    @property
    def as_mixup(self) -> bool:
        """Whether images are mixed as by mixup, so that features of mixed images can be measured by their ratio."""
        return self.takes_ratios and not self.of_features


@dataclass(frozen=True, kw_only=True)
class Mixing(Method):
    """A law of the mixing ratio.

    ``make`` takes the run's config, the epoch from 1 and the sizes of its batches, and returns
    :class:`training.batches.mixing.Ratios`.
    """


@dataclass(frozen=True, kw_only=True)
class Stage(Method):
    """What a second stage trains on frozen features.

    ``make`` takes the feature width p, the number of classes K, ``bias``, ``features``, and ``counts``, the training images of
    each class (K,); it returns a classifier like :class:`training.model.classifiers.FC`.

    Attributes:
        defaults: its recipe, by field of :class:`training.config.RunConfig`.
        linear: whether it starts from the first run's classifier, whose logits must be linear then.
    """

    defaults: Mapping[str, Any] = field(default_factory=dict)
    linear: bool = True


@dataclass(frozen=True, kw_only=True)
class Branching(Method):
    """A network with one or two branches, and how it is trained.

    ``make`` takes the arguments of :class:`training.run.objective.Objective`, and returns such a module.

    Attributes:
        ratios: the function, as ``module:name``, that changes the mixing ratios of an epoch; '' leaves them.
        share: the function that gives the mean label weight of the first image in a branch.
        doubled: what the backbone has twice: its last stage, its last block, or nothing.
        heads: number of classifiers; a single one has the joined features of all branches.
        usual: the other parts of the published method, as tables name them; with these the title stands alone.
    """

    ratios: str = ""
    share: str = ""
    doubled: Literal["stage", "block", ""] = ""
    heads: int = 1
    usual: str = ""


def function(path: str) -> Any:
    """Import what a row names.

    Args:
        path: ``module:name``.

    Returns:
        The class or function.
    """
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)
