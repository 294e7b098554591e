"""A program of one's own: the paper's programs and their cures written out by hand have the same optimum."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lpm.console.errors import InvalidInput
from lpm.cure_rows import adjusted, weighted
from lpm.pairs import class_counts, product
from lpm.programs import fc, plain
from lpm.solve import solve
from lpm.targets import from_targets

COUNTS = np.array([12.0, 5.0, 2.0, 1.0])
K = len(COUNTS)
CLASSES = class_counts(COUNTS)
EYE = np.eye(K)
TARGETS = 0.7 * np.repeat(EYE, K, axis=0) + 0.3 * np.tile(EYE, (K, 1))
FREQUENCIES = np.outer(COUNTS, COUNTS).ravel()


def mixup() -> Any:
    from lpm.mixing import fixed

    return fc(product(CLASSES), fixed(0.7))


def agree(one: Any, other: Any) -> None:
    """The optima of two programs lie in both intervals, and W W^T is one."""
    a, b = solve(one), solve(other)
    assert a.lower_bound <= b.upper_bound
    assert b.lower_bound <= a.upper_bound
    np.testing.assert_allclose(
        a.gram.matrix(a.problem.members), b.gram.matrix(b.problem.members), atol=1e-5
    )  # a gap of 1e-12 of a loss that is flat to second order


def test_mixup_by_its_targets() -> None:
    agree(from_targets(TARGETS, FREQUENCIES), mixup())


def test_single_images_by_their_targets() -> None:
    agree(from_targets(EYE, COUNTS), plain(CLASSES))


@pytest.mark.parametrize("features", [None, "sample", "mean"])
def test_weight_decay(features: Any) -> None:
    problem = mixup().under_decay(0.02, features or "sample")
    agree(from_targets(TARGETS, FREQUENCIES, decay=0.02, features=features), problem)


def test_offsets_are_logit_adjustment() -> None:
    pi = COUNTS / COUNTS.sum()
    agree(from_targets(TARGETS, FREQUENCIES, offsets=np.log(pi)), adjusted(mixup(), pi, 1.0))


def test_weights_are_those_of_rows() -> None:
    weight = 1 / COUNTS
    agree(from_targets(EYE, COUNTS, weights=weight), weighted(plain(CLASSES), weight))
    other = from_targets(EYE * weight[:, None], COUNTS)  # a weight is mass of the target
    agree(from_targets(EYE, COUNTS, weights=weight), other)


def test_smoothed_labels_have_more_than_two_classes() -> None:
    problem = mixup()
    labels = np.full((len(problem.rows), len(problem.sizes) + 2), 0.1 / K)
    labels[:, -2:] += 0.9 * problem.labels()[0].T
    smoothed = replace(problem, rows=replace(problem.rows, label=labels))
    agree(from_targets(0.9 * TARGETS + 0.1 / K, FREQUENCIES), smoothed)


def test_five_lines_are_enough() -> None:
    targets = [[1, 0, 0], [0.5, 0.5, 0], [0, 0, 1]]
    solution = solve(from_targets(targets, [0.6, 0.3, 0.1]))
    assert solution.relative_gap < 1e-6
    assert solution.problem.K == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (dict(targets=[[1, 0], [0, 0]]), "no row be all 0"),
        (dict(targets=[[1, -1]]), "non-negative"),
        (dict(targets=[[1], [1]]), "K >= 2"),
        (dict(targets=[1, 0]), "2 dimensions"),
        (dict(targets=[[1, 0], [1]]), "finite numbers"),
        (dict(targets=[[1, float("nan")]]), "finite numbers"),
        (dict(targets=EYE, frequencies=[1, 2]), "frequencies must be positive, one for each of the 4"),
        (dict(targets=EYE, frequencies=[1, 2, 0, 1]), "frequencies must be positive"),
        (dict(targets=EYE, weights=[1, 2, -1, 1]), "weights must be positive"),
        (dict(targets=EYE, offsets=[1, 2]), "offsets must be finite, one for each"),
        (dict(targets=EYE, decay=0.0), "decay"),
        (dict(targets=EYE, e_h=-1.0), "E_H"),
        (dict(targets=EYE, features="x"), "features 'x' must be one of sample, mean"),
        (dict(targets=EYE, decay=0.1, features="x"), "features 'x' must be one of sample, mean"),
        (dict(targets=EYE, decay=0.1, e_h=3.0), "a decay takes the place of the budgets; drop e_h and e_w, or decay"),
        (dict(targets=EYE, decay=0.1, e_w=3.0), "a decay takes the place of the budgets"),
    ],
)
def test_misuse_is_refused_in_one_line(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as refused:
        from_targets(**arguments)
    assert "\n" not in str(refused.value)
