r"""A trained network and its own layer-peeled optimum: same label-pair frequencies, same law of lambda, same budgets.

The network gives class vectors w_k and, for each label pair and bin of the mixing ratio, the mean feature
(:mod:`training.run.measurement`). Class vectors are centred over the classes, because a common part changes no softmax.
Features are centred over the class means, because a common part acts like a bias, which the model does not have.
Budgets are measured as the program weighs them,

.. math:: E_W = tr(C W W^T), \qquad E_H = \sum_{ab} d_{ab}\, E_\lambda |\bar h_{ab\lambda}|^2 ,

over the label pairs that occur. The squared length of a mean of n features is estimated without bias, by subtracting
the variance of the mean. The paper's Eq. 5 budgets single features, |h|^2 in place of |bar h|^2. Both agree at the
optimum, where the features of a label pair are equal. For a network, where they scatter, |h|^2 is larger. Both can be
chosen. Cosines of the optimum depend on E_W E_H alone. Above 20 classes a run stores features without bins of lambda,
and each mean is over all mixing ratios.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from lpm import geometry, mixing, recovery
from lpm.console import cli
from lpm.console.errors import InvalidInput
from lpm.pairs import LabelPairs, table
from lpm.problem import Problem
from lpm.programs import PROGRAMS
from lpm.solve import solve
from training.store.runs import RunFolder

NODES = 16
"""Quadrature nodes of lambda; with 64 the optima of the committed runs move by less than 1e-4 in any cosine."""

Budget = Literal["means", "features"]
"""Whose mean squared length E_H is: that of label-pair means, or that of single features."""


@dataclass(frozen=True)
class Network:
    """The class vectors and mean features of a network after an epoch. Q is the number of bins of the mixing ratio.

    Attributes:
        epoch: the epoch, counted from 1.
        W: (K, p) class vectors, centred.
        bias: (K,) biases, centred.
        mean: (p,) the mean of the class means, by which features are centred.
        H: (Q, K, K, p) mean feature of each bin and label pair, centred.
        variance: (Q, K, K) variance of a single feature around its mean; nan where fewer than two were measured.
        number: (Q, K, K) number of images measured.
        ratios: (Q,) mean mixing ratio of each bin.
    """

    epoch: int
    W: np.ndarray
    bias: np.ndarray
    mean: np.ndarray
    H: np.ndarray
    variance: np.ndarray
    number: np.ndarray
    ratios: np.ndarray

    def squares(self, budget: Budget = "means") -> np.ndarray:
        """Estimate mean squared lengths of features by label pair, averaged over lambda.

        Args:
            budget: "means": of label-pair means, without bias; "features": of single features.

        Returns:
            (K, K) squared lengths; nan for a label pair that was not measured in every bin.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            # |mean|^2 exceeds the true squared length by the variance of the mean, variance / number, on average.
            estimate = (self.H**2).sum(axis=-1) - self.variance / self.number
        if budget == "features":
            estimate = estimate + self.variance
        return estimate.mean(axis=0)  # nan in any bin is nan here

    @property
    def noise(self) -> float:
        """Mean variance of a single feature around its label pair's mean, over the means' mean squared length."""
        means = np.nanmean(self.squares("means"))
        return float((np.nanmean(self.squares("features")) - means) / means)


@dataclass(frozen=True)
class Optimum:
    """The layer-peeled optimum of a network; m features, one per label pair and quadrature node of lambda.

    Attributes:
        W: (K, K) class vectors, centred.
        H: (m, K) features.
        a: (m,) first class of each feature's label pair.
        b: (m,) second class.
        lam: (m,) mixing ratio.
        weight: (m,) weight in the feature budget.
        e_w: measured budget of class vectors, E_W.
        e_h: measured budget of features, E_H.
        mean_square: mean squared length of a feature behind ``e_h``, over the label pairs that occur.
        loss: the optimal loss.
        relative_gap: bound on how far the loss exceeds the least possible, relative to it.
        rank: rank of the class vectors.
    """

    W: np.ndarray
    H: np.ndarray
    a: np.ndarray
    b: np.ndarray
    lam: np.ndarray
    weight: np.ndarray
    e_w: float
    e_h: float
    mean_square: float
    loss: float
    relative_gap: float
    rank: int


def add_budget(parser: cli.Parser) -> None:
    """Add the option that chooses a :data:`Budget`.

    Args:
        parser: parser of the command.
    """
    parser.group("figure").add_argument(
        "--budget",
        type=cli.choice("means", "features"),
        default="means",
        metavar="NAME",
        help="means|features: E_H is the mean squared length of label-pair means, or (Eq. 5) of single features",
    )


def network(run: RunFolder, epoch: int) -> Network:
    """Return a run's network after an epoch.

    Args:
        run: a run with measurements.
        epoch: one of the measured epochs.

    Returns:
        The network.

    Raises:
        InvalidInput: if the run has no measurement of the epoch, or a damaged one; if it has branches, or mixes in another way
            than mixup.
    """
    if run.config.mixing != "mixup":
        raise InvalidInput(
            f"{str(run.path)!r}: the layer-peeled model has no program for mixing {run.config.mixing!r}; choose a run with mixup"
        )
    if run.config.branches != "none":
        raise InvalidInput(
            f"{str(run.path)!r}: the layer-peeled model has no program for branches {run.config.branches!r}, which see images of "
            "their own; choose a run without"
        )
    tensors, K = run.geometry(epoch), run.config.K
    if epoch > run.config.epochs:
        raise InvalidInput(
            f"{str(run.path)!r}: a run of {run.config.epochs} epochs has no measurement of epoch {epoch}"
        )
    _check(tensors, run, epoch)
    number, ratios = tensors["pair_number"], tensors["ratio_means"].astype(float)
    W, means, squares = (tensors[name].astype(float) for name in ("class_vectors", "pair_means", "pair_squares"))
    mean = tensors["class_means"].astype(float).mean(axis=0)
    bias = tensors.get("class_bias", np.zeros(K)).astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        # E|h|^2 - |E h|^2 of n features is the variance times (n - 1) / n.
        variance = np.where(number > 1, (squares - (means**2).sum(axis=-1)) * number / (number - 1), np.nan)
    return Network(
        epoch=epoch,
        W=W - W.mean(axis=0),
        bias=bias - bias.mean(),
        mean=mean,
        H=means - mean,
        variance=variance,
        number=number,
        ratios=ratios,
    )


def _check(tensors: dict[str, np.ndarray], run: RunFolder, epoch: int) -> None:
    """Raise InvalidInput unless the measurement's shapes fit one another and the run, and its values can be right."""
    K = run.config.K
    class_vectors = tensors.get("class_vectors", np.zeros(0))
    pair_means = tensors.get("pair_means", np.zeros(0))
    Q, p = 0, 0
    if class_vectors.ndim == 2 and pair_means.ndim == 4:
        Q, p = len(pair_means), class_vectors.shape[1]
    shapes: dict[str, tuple[int, ...]] = {
        "class_vectors": (K, p),
        "class_means": (K, p),
        "pair_means": (Q, K, K, p),
        "pair_squares": (Q, K, K),
        "pair_number": (Q, K, K),
        "ratio_means": (Q,),
    }
    if "class_bias" in tensors:
        shapes["class_bias"] = (K,)
    for name, shape in shapes.items():
        tensor = tensors.get(name)
        if not Q or tensor is None or tensor.shape != shape or not np.isfinite(tensor).all():
            raise _damaged(run, epoch, name)
    number, ratios = tensors["pair_number"], tensors["ratio_means"].astype(float)
    if number.dtype.kind != "i" or number.min() < 0 or not (ratios > 0).all() or not (ratios < 1).all():
        raise _damaged(run, epoch, "pair_number or ratio_means")


def _damaged(run: RunFolder, epoch: int, name: str) -> InvalidInput:
    return InvalidInput(
        f"{str(run.path)!r}: {name} of epoch {epoch} does not fit a network of {run.config.K} classes; measure the run "
        "again with python -m training.measure"
    )


def frequencies(run: RunFolder) -> np.ndarray:
    """Return how often each label pair was trained on in the whole run.

    Args:
        run: a finished run.

    Returns:
        (K, K) counts of ordered label pairs.

    Raises:
        InvalidInput: if the run does not store them.
    """
    counts = run.final().get("pair_counts")
    if counts is None or counts.shape != (run.config.K,) * 2 or counts.min() < 0 or not counts.any():
        raise InvalidInput(f"{str(run.path)!r} holds no label-pair counts; delete the run's folder and train it again")
    return counts.astype(float)


def program(classifier: str, pairs: LabelPairs, alpha: float, e_h: float, e_w: float) -> Problem:
    """Return the program of a classifier under lambda ~ Beta(alpha, alpha).

    Args:
        classifier: name of the classifier.
        pairs: frequencies of label pairs.
        alpha: parameter of the Beta law.
        e_h: feature budget E_H.
        e_w: class-vector budget E_W.

    Returns:
        The problem.

    Raises:
        InvalidInput: if the classifier has no program, or alpha is 0.
    """
    if classifier not in PROGRAMS or not PROGRAMS[classifier].mixed:
        raise InvalidInput(
            f"classifier {classifier!r} has no layer-peeled program, because its class vectors are fixed; "
            "choose fc or ms"
        )
    if not alpha:
        raise InvalidInput(
            "a run without mixup (alpha 0) has no label pairs and so no program here; choose a run with mixup"
        )
    return PROGRAMS[classifier].problem(pairs, mixing=mixing.beta(alpha, NODES), e_h=e_h, e_w=e_w)


def optimum(run: RunFolder, net: Network, counts: np.ndarray, budget: Budget = "means") -> Optimum:
    """Solve the program of a run at the budgets measured on its network.

    Args:
        run: the run.
        net: its network after some epoch.
        counts: (K, K) label-pair counts, see :func:`frequencies`. Before the last epoch, label pairs that had not
            occurred yet are left out.
        budget: whose mean squared length E_H is.

    Returns:
        The optimum.

    Raises:
        InvalidInput: if the classifier has no program or the measurement gives no budget.
        NotCertified: if no certificate is found.
    """
    if net.epoch < run.config.epochs:
        counts = np.where(net.number.min(axis=0) > 0, counts, 0)  # the others were not measured
    pairs = table(counts)
    full = program(run.config.classifier, pairs, run.config.alpha, 1.0, 1.0).expand()[0]
    e_w = float(full.c @ (net.W**2).sum(axis=1) + full.beta * (net.W.sum(axis=0) ** 2).sum())
    e_h, mean_square = _feature_budget(full, net.squares(budget), run, net.epoch)
    solution = solve(program(run.config.classifier, pairs, run.config.alpha, e_h, e_w))
    full, Z = recovery.logits(solution)
    W, H = recovery.class_vectors_and_features(full, Z)
    rows = full.rows
    return Optimum(
        W=W - W.mean(axis=0),
        H=H,
        a=rows.first,
        b=rows.second,
        lam=rows.lam,
        weight=rows.d,
        e_w=e_w,
        e_h=e_h,
        mean_square=mean_square,
        loss=solution.loss,
        relative_gap=solution.relative_gap,
        rank=solution.rank,
    )


def _feature_budget(full: Problem, squares: np.ndarray, run: RunFolder, epoch: int) -> tuple[float, float]:
    """Return E_H as measured, sum_ab d_ab squares_ab, and the mean squared length behind it, E_H / sum_ab d_ab."""
    K, rows = full.K, full.rows
    d = np.bincount(rows.first * K + rows.second, rows.d, minlength=K * K).reshape(K, K)
    occurs = d > 0
    if (number := int(np.isnan(squares[occurs]).sum())) > 0:
        raise InvalidInput(
            f"{str(run.path)!r}: {number} label pairs of the training were not measured after epoch {epoch}; "
            "measure the run again with python -m training.measure"
        )
    e_h = float((d * squares)[occurs].sum())
    if e_h <= 0:
        raise InvalidInput(
            f"{str(run.path)!r}: the features measured after epoch {epoch} are noise (E_H = {e_h:.2g}); train longer"
        )
    return e_h, e_h / float(d.sum())


def class_features(
    a: np.ndarray, b: np.ndarray, lam: np.ndarray, weight: np.ndarray, H: np.ndarray, K: int
) -> np.ndarray:
    """Return the mean feature of each class; a feature counts for a class as much as its mixed label does.

    Training has no unmixed images, so these are mixup's class means.

    Args:
        a: (m,) first class of each feature's label pair.
        b: (m,) second class.
        lam: (m,) weight of the first class in the label.
        weight: (m,) how much each feature counts.
        H: (m, p) features.
        K: number of classes.

    Returns:
        (K, p) class means, centred.
    """
    share, m = np.zeros((K, len(a))), np.arange(len(a))  # share of each feature in each class
    np.add.at(share, (a, m), weight * lam)
    np.add.at(share, (b, m), weight * (1 - lam))
    means = (share @ H) / share.sum(axis=1, keepdims=True)
    return means - means.mean(axis=0)


def self_duality(net: Network, best: Optimum) -> tuple[float, float]:
    """Return the distance to self-duality, |W/|W| - M/|M||_F with class features M, which is 0 in neural collapse.

    Args:
        net: a network.
        best: its optimum.

    Returns:
        The distance of the network, and that of the optimum.
    """
    K, p = len(net.W), net.H.shape[-1]
    measured = np.flatnonzero(net.number)  # label pairs and bins that have features
    bins, a, b = (index.ravel()[measured] for index in np.indices(net.number.shape))
    weight = net.number.ravel()[measured].astype(float)
    M = class_features(a, b, net.ratios[bins], weight, net.H.reshape(-1, p)[measured], K)
    M_best = class_features(best.a, best.b, best.lam, best.weight, best.H, K)
    return geometry.self_duality(net.W, M), geometry.self_duality(best.W, M_best)
