"""The program of the layer-peeled model that stands for a run's method, where the model can express it.

Pairs and mixing choose a cure of :mod:`lpm.cure_rows` or a law of label pairs; the loss and the class weights change it. A run
whose sampler or weights begin late has the program of its last epochs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from lpm import bias
from lpm.console.errors import InvalidInput
from lpm.coordinates import Coordinates
from lpm.cure_rows import CURES, Setting, adjusted, weighted
from lpm.pairs import ClassCounts, balanced, distinct
from lpm.problem import Problem
from lpm.programs import ms, ms_unordered, plain
from training.config import RunConfig
from training.methods import CLASSIFIERS

NODES = 4
"""Quadrature nodes of the mixing ratio; with 16 of them no cosine or relative length moves by more than 0.01."""

BUILDERS = {cure.name: cure.build for cure in CURES}

AS_PUBLISHED = ("second_power", "partner_power", "remix_kappa", "remix_tau", "box_probability")
"""Settings of pairs and mixing for which the cures have the published values alone."""

BALANCED = ("cbs", "cas", "lom", "bmls-all")
"""Samplers whose label pairs are all K^2 equally often in expectation."""

Build = Callable[[Setting], Problem]


def _even_images(setting: Setting) -> Problem:
    """Single images of classes that are drawn evenly."""
    return plain(replace(setting.classes, counts=np.ones(len(setting.classes.sizes))))


def _even_pairs(setting: Setting) -> Problem:
    """Mixed-singleton on all K^2 label pairs equally often."""
    return ms(balanced(setting.classes), setting.mixing)


def _distinct_pairs(setting: Setting) -> Problem:
    """Mixed-singleton over all label pairs on those of two classes equally often."""
    return ms(distinct(setting.classes), setting.mixing)


def _unordered_pairs(setting: Setting) -> Problem:
    """Mixed-singleton over a < b on all such label pairs equally often."""
    return ms_unordered(distinct(setting.classes), setting.mixing)


LINEAR: dict[tuple[str, str], Build] = {
    ("random", "no mixup"): BUILDERS["no mixup"],
    ("random", "mixup"): BUILDERS["mixup"],
    ("bmls", "mixup"): BUILDERS["BMLS a<b"],
    ("bilateral", "mixup"): BUILDERS["SBN"],
    ("random", "remix"): BUILDERS["Remix"],
    ("random", "cutmix"): BUILDERS["CutMix"],
    ("bilateral", "cmo"): BUILDERS["CMO"],
    ("unimix", "unimix"): BUILDERS["UniMix without offsets"],
    **{(sampler, "mixup"): BUILDERS["CBS/CAS/LOM"] for sampler in BALANCED},
    **{(sampler, "no mixup"): _even_images for sampler in BALANCED},
}
"""Programs of the linear classifier, by sampler and mixing."""

SINGLETON: dict[tuple[str, str], Build] = {
    ("random", "ms"): BUILDERS["MS"],
    ("random", "ms-unordered"): BUILDERS["MS a<b"],
    ("bmls", "ms"): _distinct_pairs,
    ("bmls", "ms-unordered"): _unordered_pairs,
    **{(sampler, "ms"): _even_pairs for sampler in BALANCED},
}
"""Programs of mixed-singleton under mixup, by sampler and classifier."""

LOSSES = ("ce", "la", "cw", "vs", "cdt", "temperature")
"""Losses that the model has: labels, offsets and factors of the logits."""


@dataclass(frozen=True)
class Method:
    """The program of a run's method at any class counts.

    Attributes:
        config: the run.
        base: the program of its pairs and mixing.
    """

    config: RunConfig
    base: Build

    def at(self, classes: ClassCounts) -> Problem:
        """Build the program.

        Args:
            classes: class counts.

        Returns:
            The program, with the paper's budgets.

        Raises:
            InvalidInput: if the mixing ratio's law is out of range.
        """
        config = self.config
        setting = Setting(classes=classes, alpha=config.alpha, nodes=NODES, n_max=float(classes.counts.max()))
        problem, n = self.base(setting), classes.counts
        if config.loss in ("la", "vs"):
            pi = setting.pi if config.prior == "data" else _label_frequencies(problem, classes)
            problem = adjusted(problem, pi, config.tau)
        if config.loss in ("vs", "cdt"):
            problem = replace(problem, factor=(n / n.max()) ** config.vs_gamma)
        if config.loss == "temperature":
            phi = config.temperature_eps * classes.K * n / n.max() + 1 - config.temperature_eps
            problem = replace(problem, factor=(phi / phi.max()) ** (1 / config.temperature_eta))
        if config.loss == "cw":
            problem = weighted(problem, 1 / (classes.K * setting.pi))
        if config.class_weights != "none":
            problem = weighted(problem, _weights(config, problem, classes))
        return problem


def _label_frequencies(problem: Problem, classes: ClassCounts) -> np.ndarray:
    """How often the labels of a program have one class of each group, (G,)."""
    mass = bias.label_mass(Coordinates(problem)) / classes.sizes
    return np.asarray(mass / (mass @ classes.sizes))


def _weights(config: RunConfig, problem: Problem, classes: ClassCounts) -> np.ndarray:
    """The class weights of a run for one class of each group, (G,)."""
    n = classes.counts
    weights = 1 / n if config.class_weights == "inverse" else -1 / np.expm1(n * np.log(config.beta))
    if config.weight_normalisation == "batch":
        return np.asarray(weights * classes.K / (weights @ classes.sizes))
    # A batch's sum of weights is their mean over the labels that it shows.
    return np.asarray(weights / (weights * classes.sizes @ _label_frequencies(problem, classes)))


def method_of(config: RunConfig) -> Method:
    """Find the program of a run's method.

    Args:
        config: the run.

    Returns:
        The method.

    Raises:
        InvalidInput: if the model cannot express it; the message is the reason in a few words.
    """
    classifier = CLASSIFIERS[config.classifier]
    if config.stage != "none":
        raise InvalidInput("its features are frozen, and those of the model are not")
    if config.branches != "none":
        raise InvalidInput("it has two branches, and the model has one network")
    if not classifier.linear or not classifier.trains_lengths or config.classifier.startswith("ms-wetf"):
        raise InvalidInput("its class vectors or their directions are fixed, or it takes cosines")
    if config.loss not in LOSSES:
        raise InvalidInput(f"the model has no loss {config.loss!r}")
    usual = RunConfig()
    if changed := [name for name in AS_PUBLISHED if getattr(config, name) != getattr(usual, name)]:
        raise InvalidInput(f"the cures have the published {changed[0]} only")
    mixing = "mixup" if config.mixing == "manifold" else config.mixing  # the model does not see where images are mixed
    mixing = mixing if config.alpha else "no mixup"
    if classifier.singleton and (config.loss == "cw" or config.class_weights != "none"):
        raise InvalidInput("a label pair has no class weight")
    tempered = config.sampler == "tempered"
    sampler = "random" if tempered else config.sampler
    if classifier.singleton:
        base = SINGLETON.get((sampler, config.classifier)) if mixing == "mixup" else None
    else:
        base = LINEAR.get((sampler, mixing))
    if base is None:
        raise InvalidInput(f"no law of label pairs for sampler {config.sampler!r} with mixing {mixing!r} in the model")
    return Method(config, partial(_tempered, base, config.pair_power) if tempered else base)


def _tempered(base: Build, power: float, setting: Setting) -> Problem:
    """A program of random pairs where classes are drawn in proportion to n^power."""
    return base(replace(setting, classes=replace(setting.classes, counts=setting.classes.counts**power)))
