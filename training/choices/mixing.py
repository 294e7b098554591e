"""The choices that say how two images are mixed: the law with its settings, partners, and deferred sampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lpm.console.errors import InvalidInput
from training.choices.choice import between, choice, helps, taken_by
from training.methods import CLASSIFIERS, LAWS, LOSSES

if TYPE_CHECKING:
    from training.config import RunConfig

DEFERRED = 0.8
"""The usual share of the epochs after which a sampler or weights set in: where the learning rate first falls."""


MATCHED_CLASSES = 1000
"""Classes up to which backgrounds can be matched: the step then counts label pairs, (K, K), on the device."""


@dataclass(frozen=True)
class MixingChoices:
    """How images and labels are mixed, beyond the ratio."""

    mixing: str = choice(
        "mixup",
        "how two images and their labels are mixed",
        "method",
        words=helps(LAWS),
        applies=lambda run: run.alpha > 0,
        scope="training with mixup, alpha above 0",
    )
    remix_kappa: float = choice(
        3.0,
        "how many times as many images the frequent class has at least where Remix takes its label away",
        "method",
        holds=lambda run, value: 1 < value <= 1e9,
        rule="must be above 1, at most 1e9",
        **taken_by("remix_kappa"),
    )
    remix_tau: float = choice(
        0.5,
        "weight of the frequent image below which Remix takes its label away; 0 is mixup",
        "method",
        **between(0, 1),
        **taken_by("remix_tau"),
    )
    mamix_c: float = choice(
        -0.25,
        "exponent of the class counts in MAMix; 0 is mixup",
        "method",
        **between(-1, 1),
        **taken_by("mamix_c"),
    )
    box_probability: float = choice(
        0.5,
        "share of the batches in which a box is pasted",
        "method",
        holds=lambda run, value: 0 < value <= 1,
        rule="must lie in (0, 1]",
        **taken_by("box_probability"),
    )
    cmo_first: int = choice(
        4,
        "epochs without boxes at the start",
        "method",
        **between(0, 100_000),
        **taken_by("cmo_first"),
    )
    cmo_last: int = choice(
        3,
        "epochs without boxes at the end",
        "method",
        **between(0, 100_000),
        **taken_by("cmo_last"),
    )
    second_power: float = choice(
        0.0,
        "exponent of the class counts in the law of second images: 0 balances classes, -1 reverses, 1 takes them as they are",
        "method",
        **between(-4, 4),
        **taken_by("second_power"),
    )
    pair_power: float = choice(
        0.5,
        "exponent of the class counts in the law of both images: 0 balances label pairs, 1 takes classes as they are",
        "method",
        **between(-4, 4),
        **taken_by("pair_power"),
    )
    partner_power: float = choice(
        -0.5,
        "exponent of the class counts in the weight of an image as partner; UniMix takes -0.5 for CIFAR-10, -0.1 for CIFAR-100",
        "method",
        **between(-4, 4),
        **taken_by("partner_power"),
    )
    sampler_from: float = choice(
        0.0,
        "share of the epochs before which the sampler is 'random'; 0.8 is deferred re-sampling, DRS",
        "method",
        holds=lambda run, value: value == 0 or 0 < round(value * run.epochs) < run.epochs,
        rule=lambda run: f"must be 0, or leave some of the {run.epochs} epochs on both sides; take more --epochs",
        applies=lambda run: run.sampler != "random",
        scope="samplers other than 'random'",
    )


def check_mixing(run: RunConfig) -> None:
    """Refuse a mixing law that does not go together with the classifier or the recipe.

    Args:
        run: the run.

    Raises:
        InvalidInput: if they do not go together.
    """
    law, classifier = LAWS[run.mixing], CLASSIFIERS[run.classifier]
    if classifier.singleton and not law.labels_as_images:
        raise InvalidInput(
            f"classifier {run.classifier!r} mixes class vectors as images are mixed, and mixing {run.mixing!r} gives labels "
            "other weights than images; take 'fc', or a --mixing such as 'unimix'"
        )
    windowed = "cmo_first" in law.settings.values()
    if windowed and run.cmo_first + run.cmo_last >= run.epochs:
        raise InvalidInput(
            f"mixing {run.mixing!r} has no box in the first {run.cmo_first} and last {run.cmo_last} epochs, and there are "
            f"{run.epochs}; take more --epochs, or fewer with --cmo-first and --cmo-last"
        )
    if classifier.singleton and law.boxes and (windowed or run.box_probability < 1):
        raise InvalidInput(
            f"classifier {run.classifier!r} needs mixed images, and mixing {run.mixing!r} shows first images alone in some "
            "batches; take 'fc', or 'cutmix' with --box-probability 1"
        )
    if law.matched and run.K > MATCHED_CLASSES:
        raise InvalidInput(
            f"mixing {run.mixing!r} counts errors by pairs of classes, up to {MATCHED_CLASSES:,} classes, and there are "
            f"{run.K:,}; take 'cmo'"
        )
    if run.branches != "none" and run.mixing != "mixup":
        raise InvalidInput(
            f"branches {run.branches!r} share the ratio of mixup between them, which mixing {run.mixing!r} does not have; drop "
            "--mixing"
        )
    if run.sampler_from and LOSSES[run.loss].takes == "frequencies" and run.prior == "stream":
        raise InvalidInput(
            f"loss {run.loss!r} corrects for the labels that training draws, and with --sampler-from they change during the run; "
            "take --prior data"
        )
    if not law.mean and LOSSES[run.loss].takes == "frequencies" and run.prior == "stream":
        raise InvalidInput(
            f"loss {run.loss!r} corrects for the labels that training draws, and how often mixing {run.mixing!r} shows each "
            "class is not known; take --prior data"
        )
    if law.of_features and run.norm_batch:
        raise InvalidInput(
            f"mixing {run.mixing!r} shows both images of a pair to the network at once, and --norm-batch parts a batch of mixed "
            "images; drop --norm-batch"
        )
