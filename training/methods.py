"""The registry of training methods: one row per sampler, classifier, loss, law of mixing and branched network.

A row names the class or function that does the work, as ``module:name``, so that this file needs no torch. CONTRIBUTING.md,
"Add a training method", says how to add one.
"""

from __future__ import annotations

from collections.abc import Mapping

from training.registry.branches import BRANCHES
from training.registry.classifiers import CLASSIFIERS
from training.registry.kinds import Method, function
from training.registry.losses import LOSSES
from training.registry.mixings import LAWS
from training.registry.ratios import MIXINGS
from training.registry.samplers import SAMPLERS
from training.registry.stages import STAGES

__all__ = [
    "BRANCHES",
    "CLASSIFIERS",
    "KINDS",
    "LAWS",
    "LOSSES",
    "MIXINGS",
    "SAMPLERS",
    "STAGES",
    "Method",
    "function",
    "losses_of",
    "settings",
]

KINDS: dict[str, Mapping[str, Method]] = {
    "sampler": SAMPLERS,
    "classifier": CLASSIFIERS,
    "loss": LOSSES,
    "ratio_per": MIXINGS,
    "stage": STAGES,
    "mixing": LAWS,
    "branches": BRANCHES,
}
"""The tables by the field of :class:`training.config.RunConfig` that names a row."""


def settings() -> tuple[str, ...]:
    """The fields of :class:`training.config.RunConfig` that some method takes."""
    rows = (row for table in KINDS.values() for row in table.values())
    return tuple(dict.fromkeys(name for row in rows for name in row.settings.values()))


def why_not(loss: str, classifier: str) -> str:
    """Say why a classifier cannot be trained with a loss.

    Args:
        loss: the word of ``--loss``, none of :func:`losses_of`.
        classifier: the word of ``--classifier``.

    Returns:
        The reason; '' where there is none to say.
    """
    row, of = LOSSES[loss], CLASSIFIERS[classifier]
    if of.singleton and of.names_loss:
        return "its class vectors have fixed directions, and only its own cross-entropy over label pairs is defined for them"
    return row.reason if of.singleton else row.reason_of_labels or row.reason


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
