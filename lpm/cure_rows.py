"""The cures that the model can express: each a law of label pairs and label weights, and what it changes in the loss.

Everything is data: class probabilities of the two images of a pair, the law of the label's weight, and labels, offsets,
factors and margins of :class:`lpm.problem.Problem`. docs/theory/cures.md says what each cure is and where it comes from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from lpm.console.errors import InvalidInput
from lpm.label_weights import Weights, between, merged, patches
from lpm.mixing import Mixing, beta
from lpm.orbits import MAX_GROUPS
from lpm.pairs import ClassCounts, LabelPairs, distinct
from lpm.problem import Problem, Rows
from lpm.programs import ms, ms_unordered, plain

KAPPA, TAU = 3.0, 0.5
"""Remix: the label is the rarer class's if counts differ by kappa and its image has at least a share 1 - tau."""
JUMPS = (1 / KAPPA, KAPPA)
"""Imbalances at which a cure changes abruptly: Remix."""
UNIMIX_ALPHA, UNIMIX_POWER = 0.8, 0.5
"""UniMix: the law that it shifts, and the power of counts by which it draws partners (tau = -0.5 for CIFAR-10)."""
SMOOTHING, BETA, LARGEST_MARGIN = 0.1, 0.9999, 0.5
"""Label smoothing; effective numbers; the margin of LDAM for the rarest class, in units of the logits."""
VS_GAMMA, VS_TAU = 0.3, 1.0
"""VS: the power of the factors and the strength of the offsets."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What the cures are compared on.

    Attributes:
        classes: class counts.
        alpha: mixup's Beta(alpha, alpha); 0 for no mixup under the cures that change only the loss.
        nodes: quadrature nodes.
        n_max: images of the most frequent class; only effective numbers depend on more than ratios.
    """

    classes: ClassCounts
    alpha: float = 1.0
    nodes: int = 16
    n_max: float = 5000.0

    @cached_property
    def pi(self) -> np.ndarray:
        """Share of one class of each group in the data, (G,)."""
        return self.classes.counts / (self.classes.sizes @ self.classes.counts)

    @cached_property
    def mixing(self) -> Mixing:
        """Mixup's law.

        Raises:
            InvalidInput: at alpha 0, or if alpha or the number of nodes is out of range.
        """
        if self.alpha == 0:
            raise InvalidInput("--alpha 0 mixes nothing")
        return beta(self.alpha, self.nodes)


def _pairs(classes: ClassCounts, first: np.ndarray, second: np.ndarray) -> LabelPairs:
    """Pairs of two independent draws. first, second: probability of one class of each group, (G,)."""
    return LabelPairs(
        sizes=classes.sizes,
        same=first * second,
        cross=np.outer(first, second),
        group_of=classes.group_of,
        profile="drawn",
        side=classes.side,
    )


def program(setting: Setting, pairs: LabelPairs, law: Callable[[int, int], Weights], name: str) -> Problem:
    """Build the program of cross-entropy on label pairs whose label weight has a law of its own for each two groups.

    Args:
        setting: the setting.
        pairs: label-pair counts, ordered.
        law: the law of the weight of a, for a in group g and b in group h.
        name: name of the cure.

    Returns:
        The program, with the paper's budgets.
    """
    sizes, G, K = pairs.sizes, len(pairs.sizes), pairs.K
    total = float(sizes @ pairs.same + ((np.outer(sizes, sizes) - np.diag(sizes)) * pairs.cross).sum())
    parts = []
    for g in range(G):
        if pairs.same[g] > 0:
            parts.append((g, g, True, np.ones(1), float(sizes[g]), np.array([pairs.same[g] / total]), np.ones(1)))
        for h in range(G):
            count = float(sizes[g] * (sizes[h] - (g == h)))
            if count > 0 and pairs.cross[g, h] > 0:
                values, weights = law(g, h)
                parts.append((g, h, False, values, count, pairs.cross[g, h] / total * weights, weights))
    n = [len(part[3]) for part in parts]
    rows = Rows(
        first=np.repeat([part[0] for part in parts], n),
        second=np.repeat([part[1] for part in parts], n),
        same=np.repeat([part[2] for part in parts], n),
        lam=np.concatenate([part[3] for part in parts]),
        count=np.repeat([part[4] for part in parts], n),
        p=np.concatenate([part[5] for part in parts]),
        d=np.concatenate([part[6] for part in parts]) / K**2,
    )
    side = setting.classes.side
    return Problem(
        program="fc",
        profile=name,
        mixing=f"Beta({setting.alpha:g})",
        sizes=sizes,
        rows=rows,
        partition="classes",
        c=np.full(G, 1.0 / K),
        beta=0.0,
        e_h=5.0,
        e_w=1.0,
        group_of=pairs.group_of,
        sides=tuple(tuple(np.flatnonzero(side == x).tolist()) for x in (0, 1)) if side.any() else (),
    )


def _random(setting: Setting) -> LabelPairs:
    return _pairs(setting.classes, setting.pi, setting.pi)


def _uniform(setting: Setting) -> np.ndarray:
    return np.full(len(setting.pi), 1.0 / setting.classes.K)


def _no_mixup(setting: Setting) -> Problem:
    """Cross-entropy on single images."""
    return plain(setting.classes)


def _mixup(setting: Setting) -> Problem:
    """Random pairs, as mixup draws them."""
    law = (setting.mixing.nodes, setting.mixing.weights)
    return program(setting, _random(setting), lambda g, h: law, "mixup")


def _base(setting: Setting) -> Problem:
    """What a cure of the loss alone is applied to: _mixup, or no mixup at alpha 0."""
    return _mixup(setting) if setting.alpha else _no_mixup(setting)


def _mixed_singleton(setting: Setting) -> Problem:
    """Random pairs, mixed-singleton over all K^2."""
    return ms(_random(setting), setting.mixing)


def _mixed_singleton_unordered(setting: Setting) -> Problem:
    """Random pairs a < b, mixed-singleton over a < b."""
    if setting.classes.K > MAX_GROUPS:
        raise InvalidInput(
            f"the order a < b sets classes apart, and more than {MAX_GROUPS} take minutes; see lpm.solve --program ms-unordered"
        )
    return ms_unordered(_random(setting), setting.mixing)


def adjusted(problem: Problem, pi: np.ndarray, strength: float) -> Problem:
    """Add logit adjustment: ``strength log pi`` on the logits in the loss; at strength 1 balanced softmax.

    With label pairs as classes the logit of a label pair takes ``strength (log pi_a + log pi_b)``, as networks have it.

    Args:
        problem: the problem.
        pi: share of one class of each group, (G,).
        strength: tau.

    Returns:
        The problem with offsets.
    """
    term = "offset" if problem.partition == "classes" else "pair_offset"
    return replace(problem, **{term: strength * np.log(pi)})


def weighted(problem: Problem, weight: np.ndarray) -> Problem:
    """Weigh the loss of each label by its class.

    Args:
        problem: the problem.
        weight: weight of a class of each group, (G,).

    Returns:
        The problem with other labels.
    """
    rows, (label, _) = problem.rows, problem.labels()
    labels = np.zeros((len(rows), len(problem.sizes) + 2))
    labels[:, -2], labels[:, -1] = label[0] * weight[rows.first], label[1] * weight[rows.second]
    return replace(problem, rows=replace(rows, label=labels))


def _class_weights(setting: Setting) -> Problem:
    """Weights 1 / (K pi) (CB-RW)."""
    return weighted(_base(setting), 1 / (setting.classes.K * setting.pi))


def _effective_numbers(setting: Setting) -> Problem:
    """Weights (1 - beta) / (1 - beta^n), of mean 1 over the data."""
    n = setting.classes.counts * (setting.n_max / setting.classes.counts.max())
    weight = -1 / np.expm1(n * np.log(BETA))
    return weighted(_base(setting), weight / (setting.classes.sizes @ (setting.pi * weight)))


def _ldam(setting: Setting) -> Problem:
    """Margins proportional to n^(-1/4) off the logit of the label's own class."""
    n = setting.classes.counts
    return replace(_base(setting), margin=LARGEST_MARGIN * (n.min() / n) ** 0.25)


def _vs(setting: Setting) -> Problem:
    """Factors (n / n_max)^gamma of the logits, and logit adjustment."""
    n = setting.classes.counts
    return replace(adjusted(_base(setting), setting.pi, VS_TAU), factor=(n / n.max()) ** VS_GAMMA)


def _smoothed(setting: Setting) -> Problem:
    """Label smoothing: 1 - epsilon on the label, epsilon spread over all classes."""
    problem, K = _base(setting), setting.classes.K
    rows, (label, _) = problem.rows, problem.labels()
    labels = np.full((len(rows), len(problem.sizes) + 2), SMOOTHING / K)
    labels[:, -2:] += (1 - SMOOTHING) * label.T
    return replace(problem, rows=replace(rows, label=labels))


def _balanced_sides(setting: Setting) -> Problem:
    """Both images of a pair from classes drawn evenly."""
    uniform, law = _uniform(setting), (setting.mixing.nodes, setting.mixing.weights)
    return program(setting, _pairs(setting.classes, uniform, uniform), lambda g, h: law, "balanced")


def _bmls_unordered(setting: Setting) -> Problem:
    """All label pairs a < b equally often. The law of lambda is symmetric, so the order of a pair does not matter."""
    law = (setting.mixing.nodes, setting.mixing.weights)
    return program(setting, distinct(setting.classes), lambda g, h: law, "distinct")


def _sbn(setting: Setting) -> Problem:
    """One image at random, one from classes drawn evenly."""
    law = (setting.mixing.nodes, setting.mixing.weights)
    return program(setting, _pairs(setting.classes, setting.pi, _uniform(setting)), lambda g, h: law, "SBN")


def _unimix(setting: Setting) -> Problem:
    """Partners in proportion to n^(1/2); ratios shifted by n_b / (n_a + n_b), modulo 1."""
    n = setting.classes.counts
    second = n**UNIMIX_POWER / (setting.classes.sizes @ n**UNIMIX_POWER)

    def law(g: int, h: int) -> Weights:
        shift = n[h] / (n[g] + n[h])
        values, weights = between(UNIMIX_ALPHA, setting.nodes, (1 - shift,))
        return (values + shift) % 1.0, weights

    return program(setting, _pairs(setting.classes, setting.pi, second), law, "UniMix")


def _unimix_bayias(setting: Setting) -> Problem:
    """UniMix with its offsets (Bayias), which are logit adjustment at strength 1."""
    return adjusted(_unimix(setting), setting.pi, 1.0)


def _remix(setting: Setting) -> Problem:
    """Mixup whose label is the rarer class's alone if counts differ threefold and its image has half a share or more."""
    n = setting.classes.counts
    if not setting.alpha:
        raise InvalidInput("--alpha 0 mixes nothing")

    def law(g: int, h: int) -> Weights:
        values, weights = between(setting.alpha, setting.nodes, (TAU, 1 - TAU))
        if n[g] >= KAPPA * n[h]:
            values = np.where(values < TAU, 0.0, values)
        elif n[h] >= KAPPA * n[g]:
            values = np.where(1 - values < TAU, 1.0, values)
        return merged(values, weights)

    return program(setting, _random(setting), law, "Remix")


def _cutmix(setting: Setting) -> Problem:
    """Random pairs; a patch of b on a in half of the batches, else a alone."""
    law = patches(setting.nodes)
    return program(setting, _random(setting), lambda g, h: law, "CutMix")


def _cmo(setting: Setting) -> Problem:
    """A patch from classes drawn evenly on a random image, in half of the batches."""
    law = patches(setting.nodes)
    return program(setting, _pairs(setting.classes, setting.pi, _uniform(setting)), lambda g, h: law, "CMO")


@dataclass(frozen=True)
class Cure:
    """One row of the table.

    Attributes:
        name: its name.
        build: its program on a setting.
        beside: where its program sets all classes apart, the cure from whose R0 on the loss of a direction is looked for.
    """

    name: str
    build: Callable[[Setting], Problem]
    beside: str = ""


CURES = (
    Cure("no mixup", _no_mixup),
    Cure("mixup", _mixup),
    Cure("MS", _mixed_singleton),
    Cure("MS a<b", _mixed_singleton_unordered, beside="MS"),
    Cure("logit adjustment 1/2", lambda s: adjusted(_base(s), s.pi, 0.5)),
    Cure("logit adjustment 1", lambda s: adjusted(_base(s), s.pi, 1.0)),
    Cure("class weights", _class_weights),
    Cure("effective numbers", _effective_numbers),
    Cure("LDAM", _ldam),
    Cure("VS", _vs),
    Cure("label smoothing", _smoothed),
    Cure("CBS/CAS/LOM", _balanced_sides),
    Cure("BMLS", _balanced_sides),
    Cure("BMLS a<b", _bmls_unordered),
    Cure("SBN", _sbn),
    Cure("UniMix", _unimix_bayias),
    Cure("UniMix without offsets", _unimix),
    Cure("Remix", _remix),
    Cure("CutMix", _cutmix),
    Cure("CMO", _cmo),
)
"""The cures of the paper's Table 7 that the model can express, in the order of the table."""
