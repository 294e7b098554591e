"""The choices that make a recipe: network, mixup, optimiser, schedule, augmentation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lpm.console.errors import InvalidInput
from training.choices.choice import above_zero, alternatives, between, choice, helps
from training.choices.data import AUGMENTED, FILES
from training.methods import CLASSIFIERS, LAWS, MIXINGS

if TYPE_CHECKING:
    from training.config import RunConfig

FOR_FILES = ("resnet18", "resnet34", "resnet50", "resnet50-wide4", "resnet152")
"""Networks for image files; 'wide4' has a last stage of twice the width."""

BASIC = ("resnet18", "resnet34")
"""Those of basic blocks."""

FOR_ARRAYS = ("resnet8", "resnet14", "resnet20", "resnet32")
"""Networks for small images; they take image files, too."""

MODELS = (*FOR_ARRAYS, *FOR_FILES)

CODE = r"[A-Za-z_][\w]*(\.[A-Za-z_][\w]*)*:[A-Za-z_][\w]*"
"""The dotted name of a function, 'package.module:function'."""

OTHERS = rf"timm:[a-z0-9_]+|(?!timm:){CODE}"
"""Networks of others: timm's, and functions of one's own."""

_TAKE_RATIOS = [name for name, law in LAWS.items() if law.takes_ratios]


@dataclass(frozen=True)
class RecipeChoices:
    """The recipe of a run."""

    model: str = choice(
        "resnet32",
        "the network; beside these timm:NAME, such as timm:resnet50d, and package.module:function, a function of your own that "
        "takes the number of channels and returns a module from images to features",
        "recipe",
        words=MODELS,
        pattern=OTHERS,
    )
    width: int = choice(0, "channels of the first stage; 0 for the paper's", "recipe", **between(0, 1024))
    alpha: float = choice(
        1.0,
        "parameter of mixup's Beta(alpha, alpha); 0 trains without mixup",
        "recipe",
        holds=lambda run, value: value == 0 or 1e-100 <= value <= 100,  # Beta(alpha, alpha) overflows near 1e-308
        rule="must be 0, which trains without mixup, or lie in 1e-100..100",
    )
    ratio_per: str = choice(
        "batch",
        "how the mixing ratio is drawn",
        "recipe",
        words=helps(MIXINGS),
        applies=lambda run: run.alpha > 0 and LAWS[run.mixing].takes_ratios,
        scope=f"training with mixup, alpha above 0, and mixing {alternatives(_TAKE_RATIOS)}",
    )
    epochs: int = choice(
        200, "number of epochs", "recipe", **between(1, 100_000, rule="must be at least 1, at most 100,000")
    )
    batch: int = choice(
        128,
        "index pairs per batch, over all processes",
        "recipe",
        **between(2, 1_000_000, rule="must be at least 2, at most a million"),
    )
    norm_batch: int = choice(
        0,
        "pairs that BatchNorm normalises together (ghost BatchNorm), as many as one GPU has, say; 0 for the whole batch",
        "recipe",
        holds=lambda run, value: value == 0 or (4 <= value < run.batch and run.batch % value == 0),
        rule=lambda run: f"must be 0, or a divisor of --batch, {run.batch}, from 4 to half of it",
    )
    lr: float = choice(0.1, "learning rate after the warm-up", "recipe", **above_zero(1e3, included=False))
    momentum: float = choice(
        0.9, "momentum of SGD", "recipe", holds=lambda run, value: 0 <= value < 1, rule="must lie in [0, 1)"
    )
    nesterov: bool = choice(
        False,
        "Nesterov's momentum, as BBN and DBN-mix train",
        "recipe",
        applies=lambda run: run.momentum > 0,
        scope="runs with --momentum above 0",
    )
    weight_decay: float = choice(
        2e-4,
        "weight decay on every parameter; with --classifier-decay on those of the backbone",
        "recipe",
        holds=lambda run, value: 0 <= value < 1,
        rule="must lie in [0, 1)",
    )
    feature_decay: float = choice(
        0.0,
        "l_H, a penalty in the loss: l_H / 2 times the mean squared length of the classifier inputs",
        "recipe",
        holds=lambda run, value: 0 <= value < 1,
        rule="must lie in [0, 1)",
        applies=lambda run: run.prepares == "as-is",
        scope="features 'as-is', whose lengths are free",
    )
    feature_decay_centred: bool = choice(
        False,
        "the feature penalty is on distances from the batch's mean",
        "recipe",
        applies=lambda run: run.feature_decay > 0,
        scope="runs with --feature-decay",
    )
    classifier_decay: float = choice(
        0.0,
        "l_W, a penalty in the loss: l_W / 2 times the sum of the class vectors' squared lengths",
        "recipe",
        holds=lambda run, value: 0 <= value < 1,
        rule="must lie in [0, 1)",
        applies=lambda run: CLASSIFIERS[run.classifier].trains_lengths,
        scope=f"classifier {alternatives([row.name for row in CLASSIFIERS.values() if row.trains_lengths])}",
    )
    decay_warmup: int = choice(
        0,
        "epochs in which both penalties rise linearly from zero; a network that starts with all of them may stay collapsed",
        "recipe",
        holds=lambda run, value: 0 <= value <= run.epochs,
        rule=lambda run: f"must lie in 0..{run.epochs}, the epochs",
        applies=lambda run: run.feature_decay > 0 or run.classifier_decay > 0,
        scope="runs with --feature-decay or --classifier-decay",
    )
    warmup: int = choice(
        5,
        "epochs of linear warm-up",
        "recipe",
        holds=lambda run, value: 0 <= value <= run.epochs,
        rule=lambda run: f"must lie in 0..{run.epochs}, the epochs",
    )
    schedule: str = choice(
        "steps",
        "how the learning rate falls",
        "recipe",
        words={
            "steps": "by --drop-factor after each of --drops",
            "cosine": "along a cosine to zero",
        },
    )
    drops: tuple[float, ...] = choice(
        (0.8, 0.9),
        "shares of the epochs after which the learning rate falls",
        "recipe",
        holds=lambda run, value: all(0 < share < 1 for share in value) and list(value) == sorted(value),
        rule="must be rising shares of the epochs, each in (0, 1)",
        applies=lambda run: run.schedule == "steps" or run.preset.startswith("bbn"),  # whose drops stay, unused
        scope="schedule 'steps'",
    )
    drop_factor: float = choice(
        0.1,
        "factor of the learning rate at each drop; LDAM's code and its relatives have 0.01",
        "recipe",
        **above_zero(1),
        applies=lambda run: run.schedule == "steps",
        scope="schedule 'steps'",
    )
    clean_statistics: bool = choice(
        False,
        "before each step the network also sees the first images unmixed, so that BatchNorm's running statistics are half "
        "theirs; imbalanced-DL and SBN-mix train so",
        "recipe",
        applies=lambda run: run.alpha > 0,
        scope="training with mixup, alpha above 0",
    )
    augment: bool = choice(
        True,
        "random crop and flip; --augment randaugment or trivial is that and --transform of the same word",
        "recipe",
    )
    jitter: float = choice(
        0.0,
        "jitter of brightness, contrast and saturation",
        "recipe",
        holds=lambda run, value: 0 <= value < 1,
        rule="must lie in [0, 1)",
        **AUGMENTED,
    )
    transform: str = choice(
        "none",
        "what is done with each cropped training image besides; beside these package.module:function, a function of your own "
        "that takes pixels (size, size, 3) uint8 and a NumPy generator, and returns pixels, or a module of PyTorch for images "
        "(3, size, size) uint8, such as torchvision.transforms.v2:AugMix",
        "recipe",
        words={
            "none": "",
            "randaugment": "two random operations of medium strength (Cubuk et al. 2020)",
            "trivial": "one random operation of random strength (Müller and Hutter 2021)",
        },
        pattern=CODE,
        **AUGMENTED,
    )
    size: int = choice(
        0,
        "pixels per side; 0 for 224",
        "recipe",
        holds=lambda run, value: value == 0 or 8 <= value <= 1024,
        rule="must lie in 8..1024, or be 0",
        **FILES,
    )
    upright: bool = choice(
        False, "turn images as their cameras say; set for dataset own, not for published ones", "recipe", **FILES
    )
    pixel_bits: int = choice(
        0,
        "depth of pixels in files with more than 8 bits per colour, such as 12; 0 for what the file says, else the largest "
        "value of the data set rounded up to 8, 10, 12, 14 or 16 bits",
        "recipe",
        holds=lambda run, value: value == 0 or 8 <= value <= 32,
        rule="must lie in 8..32, or be 0",
        **FILES,
    )
    pretrained: bool = choice(
        False,
        "start from the weights in --weights",
        "recipe",
        applies=lambda run: run.model not in FOR_ARRAYS,
        scope=f"models {alternatives(FOR_FILES)}, and those of others",
    )
    trains: str = choice(
        "all",
        "which layers of a pretrained network train",
        "recipe",
        words={
            "all": "",
            "stage4": "the last stage and the classifier",
            "block": "a new last block and the classifier",
            "classifier": "the classifier alone",
            "features": "the classifier alone, on features of each image that are computed once; mixup then mixes features",
        },
        applies=lambda run: run.pretrained,
        scope="pretrained networks",
    )
    precision: str = choice(
        "bf16",
        "arithmetic of the backbone; the classifier and the loss are float32",
        "recipe",
        words={"bf16": "bfloat16 on a GPU or processor that has it, else float32", "fp32": "float32"},
    )


def check_features(config: RunConfig) -> None:
    """See that features can be computed once, where a run asks for that.

    Args:
        config: the run.

    Raises:
        InvalidInput: if its images differ from epoch to epoch, or are mixed otherwise than by a weight.
    """
    if config.trains == "block" and config.model in BASIC:
        raise InvalidInput(f"trains 'block' is for networks of bottleneck blocks, not {config.model!r}: take 'stage4'")
    if config.model not in MODELS:
        if config.trains in ("stage4", "block"):
            raise InvalidInput(
                f"trains {config.trains!r} is not defined for model {config.model!r}: take 'all', 'classifier' or 'features'"
            )
        if config.width or config.branches != "none":
            raise InvalidInput(f"--width and --branches are not defined for model {config.model!r}; drop them")
    if config.trains != "features":
        return
    refusals = (
        (config.augment, "so images are not augmented: give --no-augment"),
        (LAWS[config.mixing].boxes, f"and mixing {config.mixing!r} cuts boxes from images: take --mixing mixup"),
        (
            config.stage_norms == "shift",
            "so BatchNorm's statistics stay: a second stage takes --stage-norms eval",
        ),
    )
    for refused, reason in refusals:
        if refused:
            raise InvalidInput(f"trains 'features' computes the features of each image once, {reason}")
