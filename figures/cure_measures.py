"""One run in the cure map: what the layer-peeled model predicts for its method, and what its network does.

Predictions are the certified optimum of the method's program at the run's class counts and at the decay mu that is measured on
its network (:func:`training.store.collapse.decay`), without a bias. Lengths and singular values are relative, because mu leaves
the scale of class vectors open.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from figures.cure_programs import Method, method_of
from figures.style import Row
from lpm import geometry, law
from lpm.console.errors import InvalidInput, NotCertified
from lpm.cure_rows import JUMPS
from lpm.cure_table import collapse_numbers, margin
from lpm.pairs import class_counts, imbalanced
from lpm.problem import Problem
from lpm.solve import solve
from lpm.threshold import by_law
from training import diagnosis
from training.config import RunConfig
from training.methods import CLASSIFIERS
from training.store import confusions
from training.store.calibration import calibration_error
from training.store.metrics import by_class, by_split
from training.store.runs import RunFolder

if TYPE_CHECKING:
    from training.run.corrections import Finished

Splits = Mapping[str, tuple[int, int]]
"""First and last class of many, med and few, both included."""

R_MAX = 1e9
"""Largest imbalance at which R0 is looked for."""

LARGEST = 100
"""Classes up to which there are predictions; a program has a row for each label pair and each node."""

PREDICTED = ("threshold", "R0", "singular_values", "cos_many", "cos_many_few", "cos_few", "length_few", "margin_few")
"""Columns of predictions, each with ``predicted_`` before it in the rows."""


def shape(gram: np.ndarray, ranges: Splits) -> dict[str, float | str]:
    """Describe class vectors, centred over the classes, without their scale.

    Args:
        gram: their Gram matrix, (K, K).
        ranges: the splits.

    Returns:
        singular_values: the K - 1 largest over the root of the sum of their squares, falling, with spaces between them; '' where
        all vectors are equal.
        cos_many, cos_many_few, cos_few: mean cosine of two different classes, both of one split or one of each. length_few: mean
        length of the few classes over that of the many. NaN where there are no such classes, or vectors are zero.
    """
    K = len(gram)
    centred = gram - gram.mean(axis=0) - gram.mean(axis=1)[:, None] + gram.mean()
    eigenvalues = np.maximum(np.linalg.eigvalsh(centred)[::-1][: K - 1], 0.0)
    cosines, lengths = geometry.cosines(centred), np.sqrt(np.maximum(np.diag(centred), 0.0))
    np.fill_diagonal(cosines, np.nan)
    many, few = (_classes(ranges, name) for name in ("many", "few"))
    values = np.sqrt(eigenvalues / eigenvalues.sum()) if eigenvalues.any() else ()
    length = _mean(lengths[many])
    return {
        "singular_values": " ".join(f"{value:.4f}" for value in values),
        "cos_many": _mean(cosines[np.ix_(many, many)]),
        "cos_many_few": _mean(cosines[np.ix_(many, few)]),
        "cos_few": _mean(cosines[np.ix_(few, few)]),
        "length_few": _mean(lengths[few]) / length if length > 0 else math.nan,
    }


def _classes(ranges: Splits, name: str) -> np.ndarray:
    first, last = ranges.get(name, (0, -1))
    return np.arange(first, last + 1)


def _mean(values: np.ndarray) -> float:
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else math.nan


def predicted(config: RunConfig, mu: float, counts: np.ndarray, ranges: Splits) -> dict[str, float | str]:
    """Predict what a run's method does, at some class counts and decay.

    Args:
        config: the run.
        mu: the decay; NaN where it is not defined.
        counts: (K,) training images of each class.
        ranges: the splits.

    Returns:
        The columns of :data:`PREDICTED`, and a note on what is missing. threshold is the root of the smallest non-zero eigenvalue
        of P M P, the mu at which rare classes merge if their counts are equal. R0 is the imbalance of half rare and half frequent
        classes at which the rare ones collapse under mu; infinite above :data:`R_MAX`.
    """
    values: dict[str, float | str] = dict.fromkeys((f"predicted_{name}" for name in PREDICTED), math.nan)
    values["predicted_singular_values"] = ""
    if len(counts) > LARGEST:
        return {**values, "predicted_note": f"predictions are for up to {LARGEST} classes"}
    try:
        method = method_of(config)
        classes = class_counts(counts)
        problem = method.at(classes)
        ordered = problem.partition == "unordered"  # pairs a < b as classes: their order sets all classes apart
        number, _, note = (None, None, "pairs a < b: no threshold") if ordered else collapse_numbers(problem)
        if number is not None and number > 0:  # 0 where M does not tell classes apart at all
            values["predicted_threshold"] = math.sqrt(number)
        if not math.isfinite(mu):
            return {**values, "predicted_note": "mu is not defined for it"}
        values["predicted_R0"] = _threshold(method, mu, len(counts)) if number is not None else math.nan
        given = problem.under_decay(mu)
        solution = solve(given)
    except (InvalidInput, NotCertified) as error:
        return {**values, "predicted_note": str(error)}
    gram = solution.gram.matrix(solution.problem.members)
    found = margin(solution, tuple(sorted({int(g) for g in classes.group_of[_classes(ranges, "few")]})), given)
    values |= {f"predicted_{name}": value for name, value in shape(gram, ranges).items()}
    values["predicted_margin_few"] = math.nan if found is None else found
    return {**values, "predicted_note": note}


def _threshold(method: Method, mu: float, K: int) -> float:
    """The imbalance of half rare and half frequent classes at which the rare ones collapse; infinite above R_MAX."""
    if K == 2:  # one rare class has no other to merge with
        return math.nan

    def at(R: float) -> Problem:
        return method.at(imbalanced(K, None, R)).under_decay(mu)

    first = at(1.0)
    if law.excess(first, first.sides[1][0]) >= 0:
        return 1.0
    found = by_law(at, law.separators(at, 1.0, R_MAX, JUMPS), R_MAX)
    return math.inf if found.R0 is None else found.R0


def measured(run: RunFolder, network: Finished, ranges: Splits) -> dict[str, float | str]:
    """Measure a finished run: accuracy, calibration, predictions of rare images, class vectors, two yardsticks.

    Args:
        run: the run.
        network: its network, with the data.
        ranges: the splits.

    Returns:
        Columns. Accuracies are in per cent, ``all`` of all test images. ``few_as_*``: test images of few classes that are
        predicted as their own class, as another one of the split, or as one of another split. ``among_few``: as their own where
        only few classes can be chosen. ``la_*``: after post-hoc logit adjustment. ``crt_*``: with a classifier retrained on the
        frozen features. Where one of them is not defined, its note says why.
    """
    from training.run.correcting import corrected
    from training.run.corrections import Options
    from training.run.retraining import retrained_scores

    result, geometries = run.result(), run.geometry(run.config.epochs)
    W = geometries["class_vectors"].astype(float)
    plain = corrected(network, "none", Options())
    row: dict[str, float | str] = {**_accuracies(result.last), "ece": math.nan if plain.ece is None else plain.ece}
    row |= _predicted_as(run, ranges) | shape(W @ W.T, ranges)
    row["margin_few"] = _margin(run, geometries, ranges)
    try:
        la = corrected(network, "la", Options())
        row |= _accuracies(la.last, "la_") | {"la_ece": math.nan if la.ece is None else la.ece, "la_note": ""}
    except InvalidInput as error:
        row |= _accuracies({}, "la_") | {"la_ece": math.nan, "la_note": str(error)}
    try:
        scores, labels = retrained_scores(network), network.data.test.labels
        correct, total = by_class(labels, scores.argmax(axis=1), run.config.K)
        row |= _accuracies(by_split(correct, total, dict(ranges)), "crt_")
        row |= {"crt_ece": calibration_error(scores, labels), "crt_note": ""}
    except InvalidInput as error:
        row |= _accuracies({}, "crt_") | {"crt_ece": math.nan, "crt_note": str(error)}
    return row


def _accuracies(last: Mapping[str, float], prefix: str = "") -> dict[str, float | str]:
    return {prefix + name: last.get(name, math.nan) for name in ("all", "many", "med", "few")}


def _predicted_as(run: RunFolder, ranges: Splits) -> dict[str, float | str]:
    confusion, names = confusions.of(run), list(ranges)
    columns = ("few_as_own", "few_as_many", "few_as_med", "few_as_few", "among_few")
    if "few" not in names:
        return dict.fromkeys(columns, math.nan)
    shares = dict(zip(("own", *names, "among"), confusion.shares[names.index("few")], strict=True))
    values = (shares["own"], *(shares.get(name, 0.0) for name in ("many", "med", "few")), shares["among"])
    return dict(zip(columns, map(float, values), strict=True))


def _margin(run: RunFolder, geometries: Mapping[str, np.ndarray], ranges: Splits) -> float:
    """The logit of a few class at the mean input of its training images, less the largest other one; their mean."""
    if not CLASSIFIERS[run.config.classifier].linear or run.config.branches != "none":
        return math.nan
    W, means, K = geometries["class_vectors"].astype(float), geometries["class_means"].astype(float), run.config.K
    z = means @ W.T + geometries.get("class_bias", np.zeros(K)).astype(float)
    others = np.where(np.eye(K, dtype=bool), -np.inf, z)
    return _mean((np.diag(z) - others.max(axis=1))[_classes(ranges, "few")])


def imbalance_of(run: RunFolder) -> float:
    """The imbalance of a finished run: as it was chosen, or for image files that of the class counts.

    Args:
        run: the run.

    Returns:
        n_max / n_min.

    Raises:
        InvalidInput: if its result is damaged.
    """
    counts = run.result("train_counts").train_counts
    return max(counts) / min(counts) if run.config.data_set.files else run.config.imbalance


def row_of(run: RunFolder, network: Finished) -> Row:
    """Make the row of a run.

    Args:
        run: a finished run.
        network: its network, with the data.

    Returns:
        The row: which run it is, its predictions and its measurements.

    Raises:
        InvalidInput: if the run's files are damaged, or its data have no splits.
    """
    config, result = run.config, run.result("train_counts")
    counts = np.array(result.train_counts)
    ranges = confusions.splits_of(run)
    mu = diagnosis.of(run).mu
    return {
        "dataset": result.dataset,
        "imbalance": imbalance_of(run),
        "method": config.method,
        "seed": config.seed,
        "preset": config.preset,
        "epochs": config.epochs,
        "model": config.model,
        "config": config.key,
        "counts": " ".join(map(str, counts.tolist())),
        "splits": " ".join(f"{name} {first} {last}" for name, (first, last) in ranges.items()),
        "mu": mu,
        **predicted(config, mu, counts, ranges),
        **measured(run, network, ranges),
    }
