"""Directions of W: where each is lost to the decay, against the collapse law, closed forms and other solved programs."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import pytest

from lpm import directions, orbits
from lpm.console.cli import run
from lpm.console.errors import InvalidInput
from lpm.cure_rows import CURES, Cure, Setting
from lpm.cure_table import Table
from lpm.family import Family
from lpm.law import collapse_number, directions_at_zero
from lpm.many_groups.merging import merge_equal
from lpm.mixing import beta, fixed
from lpm.pairs import class_counts, imbalanced
from lpm.problem import Problem
from lpm.solve import solve

BY_NAME = {cure.name: cure for cure in CURES}
DIFFERENT = (700.0, 310.0, 120.0, 40.0, 9.0)


def program(counts: tuple[float, ...], name: str = "fc", nodes: int = 2) -> Problem:
    return Family(name, mixing=beta(1.0, nodes), decay=1.0).on(class_counts(np.array(counts)))


def bounds(problem: Problem) -> tuple[int, int]:
    solution = solve(problem)
    assert solution.rank_bounds is not None
    return solution.rank_bounds


def test_equal_classes_lose_their_directions_where_the_law_says() -> None:
    problem = program((90.0, 90.0, 90.0, 7.0, 7.0))
    rows = directions.table(problem)
    assert [(row.first, row.last) for row in rows] == [
        (1, 2),
        (3, 3),
        (4, 4),
    ]  # the third is the one between the groups
    for group, row in ((0, rows[0]), (1, rows[2])):
        root = math.sqrt(collapse_number(problem, group))
        assert row.bracket is not None
        assert row.bracket[0] < root < row.bracket[1]
        assert row.at_zero == pytest.approx(root, rel=1e-12)


def gradient_at_zero(problem: Problem) -> np.ndarray:
    """Singular values of the scaled gradient at Z = 0, by the softmax of each row written out, over all classes."""
    full, _ = problem.expand()
    rows, K = full.rows, full.K
    offset = np.zeros(K) if full.offset is None else full.offset
    gradient = np.zeros((len(rows), K))
    first, second = np.triu_indices(K, 1)
    for r, (a, b, lam) in enumerate(zip(rows.first, rows.second, rows.lam, strict=True)):
        if full.partition == "unordered":
            share = np.full(len(first), 1 / len(first))
            np.add.at(gradient[r], first, lam * share)
            np.add.at(gradient[r], second, (1 - lam) * share)
        else:
            gradient[r] = np.exp(offset) / np.exp(offset).sum()
        gradient[r, a] -= 1.0 if rows.same[r] else lam
        gradient[r, b] -= 0.0 if rows.same[r] else 1 - lam
    return np.linalg.svd(gradient * (rows.p / np.sqrt(rows.d))[:, None], compute_uv=False)


@pytest.mark.parametrize("name", ["mixup", "MS a<b", "logit adjustment 1", "no mixup"])
@pytest.mark.parametrize("counts", [(500.0, 100.0, 20.0, 3.0), (50.0, 50.0, 2.0, 2.0)])
def test_values_at_zero_are_those_of_the_gradient_written_out(name: str, counts: tuple[float, ...]) -> None:
    classes = class_counts(np.array(counts))
    problem = BY_NAME[name].build(Setting(classes=classes, nodes=3)).under_decay(1.0)
    found = [value for value, number in directions_at_zero(problem) for _ in range(number)]
    assert found == pytest.approx(gradient_at_zero(problem)[:3], rel=1e-9)
    at = replace(problem, decay=found[0] * (1 + 1e-6)), replace(problem, decay=found[0] * 0.99)
    assert [bounds(one)[1] for one in at] == [0, max(1, sum(value == found[0] for value in found))]


@pytest.mark.parametrize("name", ["plain", "fc", "ms"])
def test_brackets_of_different_counts_hold_in_other_solves(name: str) -> None:
    problem = program(DIFFERENT, name)
    rows = directions.table(problem)
    for row in rows:
        assert row.bracket is not None
        alive, dead = row.bracket
        assert 1 < dead / alive < math.exp(2 * directions.WIDTH)
        assert bounds(replace(problem, decay=alive / 1.001))[0] >= row.last
        assert bounds(replace(problem, decay=dead * 1.001))[1] < row.first
    assert all(a.bracket > b.bracket for a, b in pairwise(rows) if a.bracket and b.bracket)


def test_both_ends_are_tight() -> None:
    problem = program(DIFFERENT)
    largest = directions_at_zero(problem)[0][0]
    assert bounds(replace(problem, decay=largest * (1 + 1e-6))) == (0, 0)
    assert bounds(replace(problem, decay=largest * 0.99)) == (1, 1)
    last = directions.table(problem)[-1]
    assert last.bracket is not None
    for factor in (1.0, 0.1, 0.01):
        assert bounds(replace(problem, decay=factor * last.bracket[0])) == (4, 4)


@pytest.mark.parametrize(("name", "most"), [("plain", 0.11), ("fc", 0.07)])
def test_values_at_zero_say_nearly_where_directions_of_long_tails_are_lost(name: str, most: float) -> None:
    """What docs/theory/collapse-law.md says of CIFAR10-LT's counts."""
    counts = [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    rows = directions.table(Family(name, decay=1.0).on(class_counts(np.array(counts, dtype=float))))
    for row in rows:
        assert row.bracket is not None
        assert row.bracket[0] > (1 - most) * row.at_zero
        assert row.bracket[1] < row.at_zero * math.exp(directions.WIDTH)  # below, but for the width of the bracket
    assert max(1 - row.bracket[1] / row.at_zero for row in rows if row.bracket) > most - 0.03


def ordered(R: float, mu: float, nodes: int) -> Problem:
    return BY_NAME["MS a<b"].build(Setting(classes=imbalanced(4, 2, R), nodes=nodes)).under_decay(mu)


def test_the_order_of_pairs_moves_R0_and_the_table_has_it() -> None:
    table = Table(
        setting=Setting(classes=imbalanced(4, 2, 20.0), nodes=4),
        limit=lambda problem: problem.under_decay(0.1),
        at=lambda R: imbalanced(4, 2, R),
    )
    row, beside = table.rows([BY_NAME["MS a<b"], BY_NAME["MS"]])
    assert row.R0 is not None
    assert row.bracket is not None
    assert beside.R0 is not None
    assert row.bracket[0] < row.R0 < row.bracket[1] < 1.1 * row.bracket[0]
    assert row.bracket[0] > 1.5 * beside.R0
    assert row.intervals is None  # other crossings are not looked for
    assert bounds(ordered(row.bracket[0] / 1.001, 0.1, 4)) == (3, 3)
    assert bounds(ordered(row.bracket[1] * 1.001, 0.1, 4))[1] == 2
    assert table.row(BY_NAME["MS a<b"]).bracket == row.bracket  # also where MS is not among the rows


def test_where_the_neighbour_never_collapses_nothing_is_said() -> None:
    at = partial(imbalanced, 4, 2)
    limit = lambda problem: problem.under_decay(1e-3)  # noqa: E731
    row = Table(setting=Setting(classes=at(20.0), nodes=2), limit=limit, at=at, R_max=50.0).row(BY_NAME["MS a<b"])
    assert (row.R0, row.bracket, row.intervals, row.rank) == (None, None, None, 3)


def test_a_search_ends_without_a_place() -> None:
    cure: Cure = BY_NAME["MS a<b"]

    def at(R: float) -> Problem:
        return cure.build(Setting(classes=imbalanced(4, 2, R), nodes=2)).under_decay(0.1)

    assert directions.lost(at, {3: 5.0}, (1.0, 10.0)) == {3: None}  # alive throughout
    assert directions.lost(at, {3: 900.0}, (500.0, 1000.0)) == {3: None}  # dead throughout


def test_budgets_have_no_directions_to_lose() -> None:
    with pytest.raises(InvalidInput, match="put the problem under one first"):
        directions.table(Family("fc").at(3.0))


def test_the_command_prints_brackets(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--counts", "90,90,90,7,7", "--alpha", "1"]
    assert directions.main([*words, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["first"], row["last"]) for row in rows] == [(1, 2), (3, 3), (4, 4)]
    assert all(low < high for low, high in (row["bracket"] for row in rows))
    assert directions.main(words) == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 4
    for row, line in zip(rows, printed[1:], strict=True):
        low, high = map(float, line[line.index("[") + 1 : line.index("]")].split(","))
        assert low <= row["bracket"][0] < row["bracket"][1] <= high


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--decay", "0.1"], "the decay is what is looked for"),
        (["--E-H", "5"], "not to budgets"),
        (["--bias"], "without a free bias"),
        (["--R-min", "3"], "it looks at one R"),
        (["--counts", ",".join(map(str, range(1, 18)))], "17 groups of unlike classes"),
        (["--counts", "3,0"], "must be positive and finite"),
        (["--counts", "3,2", "--K", "4"], "they must agree"),
    ],
)
def test_bad_input_is_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        assert run(lambda: directions.main(words)) == 2
    except SystemExit as end:  # of the parser
        assert end.code == 2  # noqa: PT017
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


def test_many_equal_classes_cost_what_few_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert directions.main(["--K", "8142", "--R", "500", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["first"], row["last"]) for row in rows] == [(1, 4070), (4071, 4071), (4072, 8141)]


@pytest.mark.parametrize("K", [6, 8])
def test_a_search_does_not_creep(K: int) -> None:
    """Nearly equal values at Z = 0 gave secants through points that differ by rounding."""
    law = beta(1.0, 4) if K == 6 else fixed(0.05)
    for row in directions.table(Family("ms-unordered", K=K, mixing=law, decay=1.0).at(30.0)):
        assert row.bracket is not None
        assert row.bracket[1] < math.exp(2 * directions.WIDTH) * row.bracket[0]


def test_classes_that_the_order_sets_apart_are_not_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their frequencies are equal if lambda and 1 - lambda are equally likely."""
    problem = Family("ms-unordered", K=17, mixing=beta(1.0, 2), decay=0.1).at(30.0)
    assert merge_equal(problem) is problem
    first_order = solve(problem, tolerance=1e-4)
    monkeypatch.setattr(orbits, "MAX_GROUPS", 17)
    exact = orbits.solve(problem)
    assert first_order.lower_bound < exact.upper_bound
    assert exact.lower_bound < first_order.upper_bound
