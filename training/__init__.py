"""The paper's experiments: long-tailed data, pair samplers, classifiers, one training loop, a run store, tables."""

from lpm.console.signals import end_while_importing

end_while_importing()

from typing import TYPE_CHECKING  # noqa: E402 (Ctrl-C comes first)

from lpm.console.lazy import lazily  # noqa: E402

if TYPE_CHECKING:
    from training.model.class_weights import Weighted, effective
    from training.model.classifiers import FC, FixedETF, MixedSingleton, MixedSingletonETF
    from training.model.cosine import Cosine
    from training.model.label_losses import LDAM, CrossEntropy, Focal
    from training.model.long_tail_losses import LogitAdjustment, Temperature, VectorScaling
    from training.model.losses import mixed_cross_entropy, mixed_singleton
    from training.model.soft_targets import soft_targets, two_labels
    from training.sampling.balanced import BalancedMixedLabels
    from training.sampling.pair_sampler import PairSampler
    from training.sampling.pairs import Pairs, WithRatios, by_count
    from training.sampling.samplers import ClassAware, ClassBalanced, LabelOccurrence, Random
    from training.sampling.two_laws import Bilateral, Deferred

_PUBLIC = {
    "training.model.class_weights": "Weighted effective",
    "training.model.classifiers": "FC FixedETF MixedSingleton MixedSingletonETF",
    "training.model.cosine": "Cosine",
    "training.model.label_losses": "CrossEntropy Focal LDAM",
    "training.model.long_tail_losses": "LogitAdjustment Temperature VectorScaling",
    "training.model.losses": "mixed_cross_entropy mixed_singleton",
    "training.model.soft_targets": "soft_targets two_labels",
    "training.sampling.balanced": "BalancedMixedLabels",
    "training.sampling.pair_sampler": "PairSampler",
    "training.sampling.pairs": "Pairs WithRatios by_count",
    "training.sampling.samplers": "ClassAware ClassBalanced LabelOccurrence Random",
    "training.sampling.two_laws": "Bilateral Deferred",
}
"""What others may build on, by module; docs/contribute/stable.md says what stays."""

__all__ = [
    "BalancedMixedLabels",
    "Bilateral",
    "ClassAware",
    "ClassBalanced",
    "Cosine",
    "CrossEntropy",
    "Deferred",
    "FC",
    "FixedETF",
    "Focal",
    "LDAM",
    "LabelOccurrence",
    "LogitAdjustment",
    "MixedSingleton",
    "MixedSingletonETF",
    "PairSampler",
    "Pairs",
    "Random",
    "Temperature",
    "VectorScaling",
    "Weighted",
    "WithRatios",
    "by_count",
    "effective",
    "mixed_cross_entropy",
    "mixed_singleton",
    "soft_targets",
    "two_labels",
]

__getattr__, __dir__ = lazily(__name__, _PUBLIC)
