"""What can be fitted of labels: means stay, second moments shrink by the shares, all of them is the program itself, bad input."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from lpm.console.errors import InvalidInput
from lpm.cure_rows import CURES, Setting
from lpm.fitted import fitted
from lpm.law import collapse_number
from lpm.pairs import imbalanced
from lpm.problem import Problem
from lpm.solve import solve

BUILDERS = {cure.name: cure.build for cure in CURES}
SETTING = Setting(classes=imbalanced(7, 3, 10.0), nodes=3)
CURES_IN_PART = ("no mixup", "mixup", "logit adjustment 1", "class weights", "CBS/CAS/LOM", "BMLS a<b", "VS")


def moments(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Mean label (K,) and second moment (K, K) of the labels, with every label pair written out."""
    full, _ = problem.expand()
    (at_a, at_b), rest = full.labels()
    labels = np.zeros((len(full.rows), full.K)) if rest is None else rest.copy()
    for r, (a, b, same) in enumerate(zip(full.rows.first, full.rows.second, full.rows.same, strict=True)):
        labels[r, a] = at_a[r]
        if not same:
            labels[r, b] = at_b[r]
    return full.rows.p @ labels, (labels * full.rows.p[:, None]).T @ labels


@pytest.mark.parametrize("cure", CURES_IN_PART)
def test_means_stay_and_variances_are_those_shares(cure: str) -> None:
    problem, group, own = BUILDERS[cure](SETTING), 0.9, (0.8, 0.5)
    part = fitted(problem, group=group, own=own)
    assert (part.rows.count * part.rows.p).sum() == pytest.approx(1)
    (mean, second), (part_mean, part_second) = moments(problem), moments(part)
    assert part_mean == pytest.approx(mean)
    on_A = np.repeat([1.0, 0.0], [3, 4])
    variance, part_variance = (on_A @ m @ on_A - (mean @ on_A) ** 2 for m in (second, part_second))
    assert part_variance == pytest.approx(group * variance)
    differences = {0: np.eye(7)[0] - np.eye(7)[1], 1: np.eye(7)[3] - np.eye(7)[4]}
    for g, e in differences.items():
        ratio = (e @ part_second @ e) / (e @ second @ e)
        # Not exactly: two images of one class are known together, and with a < b the two labels are not independent.
        assert ratio == pytest.approx(own[g], rel=0.1)
        numbers = [collapse_number(one.under_decay(1.0), g) for one in (part, problem)]
        assert numbers[0] / numbers[1] == pytest.approx(ratio)


def test_without_mixup_collapse_numbers_are_exactly_those_shares() -> None:
    problem = BUILDERS["no mixup"](SETTING).under_decay(1.0)
    part = fitted(problem, group=0.7, own=(0.6, 0.3))
    for g, share in enumerate((0.6, 0.3)):
        assert collapse_number(part, g) == pytest.approx(share * collapse_number(problem, g), rel=1e-12)


def test_all_of_the_labels_is_the_program_itself() -> None:
    problem = BUILDERS["mixup"](SETTING).under_decay(0.1)
    whole, part, less = (
        solve(one)
        for one in (
            problem,
            fitted(problem, group=1.0, own=(1.0, 1.0)),
            fitted(problem, group=0.95, own=(0.9, 0.9)),
        )
    )
    assert part.objective == pytest.approx(whole.objective, rel=1e-9)
    assert part.gram.block == pytest.approx(whole.gram.block, rel=1e-6)
    assert less.lower_bound > whole.upper_bound  # what cannot be fitted costs
    assert less.gram.eigenvalue[1] < whole.gram.eigenvalue[1]


def test_collapse_comes_earlier_by_the_root_of_the_share() -> None:
    problem = fitted(BUILDERS["no mixup"](SETTING).under_decay(1.0), group=0.9, own=(0.9, 0.64))
    threshold = 0.8 * math.sqrt(collapse_number(BUILDERS["no mixup"](SETTING).under_decay(1.0), 1))
    for factor in (0.97, 1.03):
        solution = solve(replace(problem, decay=factor * threshold, bias=True))
        assert (1 in solution.collapsed_groups) is (factor > 1)


@pytest.mark.parametrize(
    ("group", "own"), [(0.0, (0.0, 0.0)), (1.1, (1.0, 1.0)), (0.9, (0.95, 0.5)), (0.9, (0.5,)), (0.9, (0.5, -0.1))]
)
def test_shares_out_of_range_are_one_line(group: float, own: tuple[float, ...]) -> None:
    with pytest.raises(InvalidInput, match="shares"):
        fitted(BUILDERS["mixup"](SETTING), group=group, own=own)


@pytest.mark.parametrize("cure", ["MS", "LDAM", "label smoothing"])
def test_other_losses_and_labels_are_refused(cure: str) -> None:
    with pytest.raises(InvalidInput, match="cross-entropy"):
        fitted(BUILDERS[cure](SETTING), group=0.9, own=(0.9, 0.9))
