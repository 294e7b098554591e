r"""A trained network and its own layer-peeled optimum: same label-pair frequencies, same law of lambda, same budgets.

The network gives class vectors w_k and, for each label pair and bin of the ratio, the mean feature (training/run/measurement.py).
Class vectors are centred over the classes (a common part changes no softmax), features over the class means (a common part
acts like a bias, which the model does not have). Budgets are measured as the program weighs them,

.. math:: E_W = tr(C W W^T), \qquad E_H = \sum_{ab} d_{ab}\, E_\lambda |\bar h_{ab\lambda}|^2 ,

over the label pairs that occur; the squared length of a mean of n features is estimated without bias, by subtracting the
variance of the mean. The paper's Eq. 5 budgets single features, |h|^2 in place of |bar h|^2: the same at the optimum, where
features of a label pair are equal, and more for a network, where they scatter. Both can be asked for. Cosines of the optimum
depend on E_W E_H alone. Above 20 classes a run's features are not told apart by lambda, and means are over all of them.
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
from lpm.programs import fc, ms, ms_unordered
from lpm.solve import solve
from training.store.runs import RunFolder

NODES = 16
"""Quadrature nodes of lambda; with 64 the optima of the committed runs move by less than 1e-4 in any cosine."""

Budget = Literal["means", "features"]
"""Whose mean squared length E_H is: of the means of label pairs, or of single features."""

PROGRAMS = {"fc": fc, "ms": ms, "ms-unordered": ms_unordered}


@dataclass(frozen=True)
class Network:
    """A network as theory sees it, after an epoch. W: (K, p) centred. bias: (K,). mean: (p,) that features are centred by.
    H: (Q, K, K, p) centred mean features, variance: (Q, K, K) of a single feature, number: (Q, K, K) of images. ratios: (Q,).
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
        """Squared lengths of label-pair means (unbiased) or of single features, (K, K), averaged over lambda; nan: unmeasured."""
        with np.errstate(divide="ignore", invalid="ignore"):
            estimate = (self.H**2).sum(axis=-1) - self.variance / self.number
        if budget == "features":
            estimate = estimate + self.variance
        return estimate.mean(axis=0)  # nan in any bin is nan here

    @property
    def noise(self) -> float:
        """Variance of a single feature around its label pair's mean over the squared length of that mean, both averaged."""
        means = np.nanmean(self.squares("means"))
        return float((np.nanmean(self.squares("features")) - means) / means)


@dataclass(frozen=True)
class Optimum:
    """The layer-peeled optimum of a network. W: (K, K) centred. H: (m, K) features of the rows a, b, lam (m,), weighed by
    ``weight`` (m,) in the feature budget. e_w, e_h: the measured budgets. square: the mean squared length behind e_h, over the
    label pairs that occur.
    """

    W: np.ndarray
    H: np.ndarray
    a: np.ndarray
    b: np.ndarray
    lam: np.ndarray
    weight: np.ndarray
    e_w: float
    e_h: float
    square: float
    loss: float
    relative_gap: float
    rank: int


def add_budget(parser: cli.Parser) -> None:
    """The option that chooses a :data:`Budget`."""
    parser.add_argument(
        "--budget",
        type=cli.choice("means", "features"),
        default="means",
        metavar="NAME",
        help="means|features: whose mean squared length is E_H, of label-pair means or (Eq. 5) of single features",
    )


def network(run: RunFolder, epoch: int) -> Network:
    """A run's network after an epoch. Raises InvalidInput when the run has no such measurement or a damaged one."""
    found, K = run.geometry(epoch), run.config.K
    if epoch > run.config.epochs:
        raise InvalidInput(
            f"{str(run.path)!r}: a run of {run.config.epochs} epochs has no measurement of epoch {epoch}"
        )
    W, means = found.get("class_vectors", np.zeros(0)), found.get("pair_means", np.zeros(0))
    Q, p = means.shape[:1] + W.shape[1:2] if means.ndim == 4 and W.ndim == 2 else (0, 0)
    shapes = {
        "class_vectors": (K, p), "class_means": (K, p), "pair_means": (Q, K, K, p), "pair_squares": (Q, K, K),
        "pair_number": (Q, K, K), "ratio_means": (Q,),
    } | ({"class_bias": (K,)} if "class_bias" in found else {})  # fmt: skip
    for name, shape in shapes.items():
        array = found.get(name)
        if not Q or array is None or array.shape != shape or not np.isfinite(array).all():
            raise _damaged(run, epoch, name)
    number, ratios = found["pair_number"], found["ratio_means"].astype(float)
    if number.dtype.kind != "i" or number.min() < 0 or not (ratios > 0).all() or not (ratios < 1).all():
        raise _damaged(run, epoch, "pair_number or ratio_means")
    W, means, squares = (found[name].astype(float) for name in ("class_vectors", "pair_means", "pair_squares"))
    mean = found["class_means"].astype(float).mean(axis=0)
    bias = found.get("class_bias", np.zeros(K)).astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.where(number > 1, (squares - (means**2).sum(axis=-1)) * number / (number - 1), np.nan)
    return Network(epoch, W - W.mean(axis=0), bias - bias.mean(), mean, means - mean, variance, number, ratios)


def _damaged(run: RunFolder, epoch: int, name: str) -> InvalidInput:
    return InvalidInput(
        f"{str(run.path)!r}: {name} of epoch {epoch} is not that of a network of {run.config.K} classes; measure the run again "
        "with python -m training.measure"
    )


def frequencies(run: RunFolder) -> np.ndarray:
    """How often each label pair was trained on in the whole run, (K, K). Raises InvalidInput when that is not stored."""
    counts = run.final().get("pair_counts")
    if counts is None or counts.shape != (run.config.K,) * 2 or counts.min() < 0 or not counts.any():
        raise InvalidInput(f"{str(run.path)!r} holds no label-pair counts; delete the run's folder and train it again")
    return counts.astype(float)


def program(classifier: str, pairs: LabelPairs, alpha: float, e_h: float, e_w: float) -> Problem:
    """A classifier's program under lambda ~ Beta(alpha, alpha). Raises InvalidInput for a classifier that has none."""
    if classifier not in PROGRAMS:
        raise InvalidInput(
            f"classifier {classifier!r} has no layer-peeled program: its class vectors are fixed; take fc or ms"
        )
    return PROGRAMS[classifier](pairs, mixing.beta(alpha, NODES), e_h=e_h, e_w=e_w)


def optimum(run: RunFolder, net: Network, counts: np.ndarray, budget: Budget = "means") -> Optimum:
    """Solve the program of a run at the budgets measured on its network. counts: :func:`frequencies`; before the last epoch
    without the label pairs that had not occurred yet.

    Raises NotCertified when no certificate is found, InvalidInput for a classifier without a program.
    """
    if net.epoch < run.config.epochs:  # what had not occurred by then was not measured
        counts = np.where(net.number.min(axis=0) > 0, counts, 0)
    pairs = table(counts)
    full = program(run.config.classifier, pairs, run.config.alpha, 1.0, 1.0).expand()[0]
    e_w = float(full.c @ (net.W**2).sum(axis=1) + full.beta * (net.W.sum(axis=0) ** 2).sum())
    e_h, square = _feature_budget(full, net.squares(budget), run, net.epoch)
    solution = solve(program(run.config.classifier, pairs, run.config.alpha, e_h, e_w))
    full, Z = recovery.logits(solution)
    W, H = recovery.class_vectors_and_features(full, Z)
    rows = full.rows
    return Optimum(
        W - W.mean(axis=0), H, rows.first, rows.second, rows.lam, rows.d, e_w, e_h, square, solution.loss,
        solution.relative_gap, solution.rank,
    )  # fmt: skip


def _feature_budget(full: Problem, squares: np.ndarray, run: RunFolder, epoch: int) -> tuple[float, float]:
    """E_H as measured, and the mean squared length behind it: sum d squares, and that over sum d."""
    K, rows = full.K, full.rows
    d = np.bincount(rows.first * K + rows.second, rows.d, minlength=K * K).reshape(K, K)
    occurs = d > 0
    if (number := int(np.isnan(squares[occurs]).sum())) > 0:
        raise InvalidInput(
            f"{str(run.path)!r}: {number} label pairs of the training were not measured after epoch {epoch}; measure the run "
            "again with python -m training.measure"
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
    """The mean feature of each class, (K, p), centred; a row counts for a class as much as its mixed label does.

    a, b, lam, weight: (m,) rows and how much each counts. H: (m, p) their features. Training has no unmixed images, so these
    are mixup's class means.
    """
    share, m = np.zeros((K, len(a))), np.arange(len(a))
    np.add.at(share, (a, m), weight * lam)
    np.add.at(share, (b, m), weight * (1 - lam))
    means = (share @ H) / share.sum(axis=1, keepdims=True)
    return means - means.mean(axis=0)


def self_duality(net: Network, best: Optimum) -> tuple[float, float]:
    """|W/|W| - M/|M||_F, M the class features, of the network and of its optimum; 0 in neural collapse."""
    K = len(net.W)
    there = np.flatnonzero(net.number)
    q, a, b = (x.ravel()[there] for x in np.indices(net.number.shape))
    H, number = net.H.reshape(-1, net.H.shape[-1])[there], net.number.ravel()[there].astype(float)
    measured = class_features(a, b, net.ratios[q], number, H, K)
    expected = class_features(best.a, best.b, best.lam, best.weight, best.H, K)
    return geometry.self_duality(net.W, measured), geometry.self_duality(best.W, expected)
