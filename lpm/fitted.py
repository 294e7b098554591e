r"""What a network can fit of its labels, put into a program: :func:`fitted`.

The model lets the feature of a row be anything. A network's features are functions of the image, and some labels it cannot tell.
With features in a linear space V of functions the loss sees the projection of the labels onto V alone, because a loss is linear
in its label. Three shares of variance describe that projection: of the mass that labels put on each group, and of the
differences inside each group. They are measured by regression of labels on features (:mod:`benchmarks.fit`).

Here a projection of the same second moments stands for it. With the chance ``1 - group`` a label is the mean label. Else the
label of each image is known with the chance ``own_g / group``, or spread evenly over its group g. So collapse numbers are those
of the labels times ``own_g``, up to pairs of two images of one class, which are known together.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np

from lpm.console.errors import InvalidInput
from lpm.problem import Problem, Rows


def fitted(problem: Problem, *, group: float, own: Sequence[float]) -> Problem:
    """Replace labels by what can be fitted of them.

    Args:
        problem: a program with cross-entropy, whose labels lie on a and b alone.
        group: share of the variance of the label mass of groups that can be fitted, in (0, 1].
        own: for each group, (G,), that share of the differences inside it, at most ``group``.

    Returns:
        The program.

    Raises:
        InvalidInput: if a share is out of range, or the program has other labels or another softmax.
    """
    chance = np.asarray(own, dtype=float) / group if 0 < group <= 1 else np.full(1, np.nan)
    if chance.shape != problem.sizes.shape or not np.all((chance >= 0) & (chance <= 1)):
        raise InvalidInput(
            f"shares that can be fitted must lie in 0 < own <= group <= 1, one for each group: {group}, {own}"
        )
    (at_a, at_b), rest = problem.labels()
    if problem.partition != "classes" or problem.margin is not None or (rest is not None and rest.any()):
        raise InvalidInput("what can be fitted is defined for cross-entropy with labels on a and b alone")
    rows, sizes = problem.rows, problem.sizes
    parts = [(np.full(len(rows), 1 - group), _mean_label(problem))]
    for a_known, b_known in itertools.product((True, False), repeat=2):
        one, other = (
            chance[g] if known else 1 - chance[g] for g, known in ((rows.first, a_known), (rows.second, b_known))
        )
        label = _placed(rows, at_a, rows.first, -2, a_known, sizes) + _placed(
            rows, at_b, rows.second, -1, b_known, sizes
        )
        parts.append((group * one * np.where(rows.same, float(b_known), other), label))
    columns = {field.name: getattr(rows, field.name) for field in fields(Rows) if field.name != "label"}
    pieces = [
        {name: column[share > 0] for name, column in columns.items()}
        | {name: (columns[name] * share)[share > 0] for name in ("p", "d")}
        | {"label": label[share > 0]}
        for share, label in parts
    ]
    return replace(problem, rows=Rows(**{name: np.concatenate([p[name] for p in pieces]) for name in pieces[0]}))


def _placed(rows: Rows, mass: np.ndarray, group: np.ndarray, column: int, known: bool, sizes: np.ndarray) -> np.ndarray:
    """Labels (M, G + 2) that put a mass (M,) on the class of a column, or spread it over the class's group (M,)."""
    label, r = np.zeros((len(rows), len(sizes) + 2)), np.arange(len(rows))
    if known:
        label[:, column] = mass
        return label
    part = mass / sizes[group]
    label[r, group] = part
    for special, at in ((rows.first, -2), (rows.second, -1)):  # a and b have columns of their own
        label[:, at] = np.where(special == group, part, 0.0)
    return label


def _mean_label(problem: Problem) -> np.ndarray:
    """The mean label of all rows, as labels (M, G + 2)."""
    (at_a, at_b), _ = problem.labels()
    rows, weight, mean = problem.rows, problem.rows.count * problem.rows.p, np.zeros(len(problem.sizes))
    np.add.at(mean, rows.first, weight * at_a)
    np.add.at(mean, rows.second, weight * at_b)
    mean /= problem.sizes
    by_group = np.broadcast_to(mean, (len(rows), len(mean)))
    return np.concatenate([by_group, mean[rows.first, None], mean[rows.second, None]], axis=1)
