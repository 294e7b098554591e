"""The name of a method in tables, made of the titles of its parts and of the settings that are not usual."""

from __future__ import annotations

from typing import TYPE_CHECKING

from training.choices.mixing import DEFERRED
from training.methods import BRANCHES, CLASSIFIERS, LAWS, LOSSES, SAMPLERS, STAGES

if TYPE_CHECKING:
    from training.config import RunConfig


def method_of(run: RunConfig) -> str:
    """Name a run's method: sampler, classifier, then loss, weights, mixing and branches where they are not the usual ones.

    Args:
        run: the run.

    Returns:
        Such as 'BMLS+MS' or 'random+FC+LA(0.5), no mixup'.
    """
    if run.stage != "none":
        return _of_stage(run)
    sampler, classifier, loss, law = (
        SAMPLERS[run.sampler],
        CLASSIFIERS[run.classifier],
        LOSSES[run.loss],
        LAWS[run.mixing],
    )
    words = [_sampler(run), classifier.title]
    if classifier.singleton and sampler.draws == "a < b" and classifier.pairs == "all":
        words[1] += "-all"  # classes for all K^2 label pairs, though only a < b are drawn
    if classifier.names_loss or _unusual(run, "loss"):
        words.append(loss.title.format(**vars(run)) + _shown(run, *loss.settings.values(), "prior"))
    if run.class_weights != "none":
        words.append(_weights(run))
    if _unusual(run, "mixing"):
        words.append(law.title + _shown(run, *law.settings.values()))
    branches = BRANCHES[run.branches]
    if branches.title:
        words = [*(words if "+".join(words) != branches.usual else ()), branches.title]
    return "+".join(words) + ", no mixup" * (not run.alpha and run.branches != "bbn")  # which never mixes images


def _sampler(run: RunConfig) -> str:
    """The sampler's title; of one that sets in later, 'DRS' for class-balanced sampling, 'LOM-deferred' for others."""
    row = SAMPLERS[run.sampler]
    title = row.title.format(**vars(run)) + _shown(run, *row.shown)
    if not run.sampler_from:
        return title
    word = "DRS" if run.sampler == "cbs" else f"{title}-deferred"
    return word + _shown(run, *["sampler_from"] * (run.sampler_from != DEFERRED))


def _of_stage(run: RunConfig) -> str:
    """The first stage's method and the stage, such as 'random+FC+cRT', with choices that are not the stage's usual ones."""
    row = STAGES[run.stage]
    first, comma, rest = run.stage1_method.partition(",")
    words = [SAMPLERS[run.sampler].title.format(**vars(run))] * (run.sampler != row.defaults["sampler"])
    words += ["mixup"] * (run.alpha > 0)
    words += [run.stage_norms] * (run.stage != "mislas" and _unusual(run, "stage_norms"))
    return f"{first}+{row.title}" + f"({', '.join(words)})" * bool(words) + comma + rest


def _weights(run: RunConfig) -> str:
    """The name of the class weights in tables, such as 'DRW' or '1/n/batch'."""
    of_count = run.class_weights == "inverse"
    word = ("DRW" if run.weights_from else "CB-RW") if not of_count else "DRW-1/n" if run.weights_from else "1/n"
    late = run.weights_from and run.weights_from != DEFERRED
    per_batch = "/batch" * (run.weight_normalisation == "batch")
    return word + _shown(run, "beta", *["weights_from"] * bool(late)) + per_batch


def _shown(run: RunConfig, *names: str) -> str:
    """The values of settings that are not their defaults, such as '(0.5)' of tau; others come with their names."""
    values = {name: getattr(run, name) for name in names if _unusual(run, name)}
    texts = {name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in values.items()}
    words = [text if name == "tau" else f"{name.replace('_', '-')}={text}" for name, text in texts.items()]
    return f"({','.join(words)})" if words else ""


def _unusual(run: RunConfig, name: str) -> bool:
    """Whether a choice is not its default, which the class has as its attribute."""
    return bool(getattr(run, name) != getattr(type(run), name))
