"""The table of cures: each cure's collapse number in closed form, thresholds that solved programs confirm, and the command."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from lpm import cure_table, cures, mixing
from lpm.console.cli import run
from lpm.console.errors import InvalidInput
from lpm.cure_rows import CURES, KAPPA, SMOOTHING, VS_GAMMA, Setting
from lpm.family import Family
from lpm.label_weights import CUT_SHARE, SIDE, _quadrature, patches
from lpm.law import collapse_number
from lpm.pairs import ClassCounts, class_counts, imbalanced
from lpm.problem import Features, Problem
from lpm.recovery import logits
from lpm.solve import solve
from lpm.threshold import threshold

K, K_A, R = 10, 4, 37.0
BY_NAME = {cure.name: cure for cure in CURES}
APPLIES = [name for name in BY_NAME if name not in ("MS a<b", "LDAM")]


def setting(*, alpha: float = 1.0, nodes: int = 16) -> Setting:
    return Setting(classes=imbalanced(K, K_A, R), alpha=alpha, nodes=nodes)


def under_decay(name: str, mu: float, nodes: int = 16, alpha: float = 1.0) -> Problem:
    return BY_NAME[name].build(setting(alpha=alpha, nodes=nodes)).under_decay(mu)


PI_A, PI_B = setting().pi
S = 2 / 3  # E[lambda^2 + (1 - lambda)^2] under Beta(1, 1)


@pytest.mark.parametrize(
    ("name", "c_A", "c_B"),
    [
        ("no mixup", PI_A, PI_B),
        ("mixup", S * PI_A, S * PI_B),
        ("MS", S * PI_A, S * PI_B),
        ("logit adjustment 1/2", S * PI_A, S * PI_B),
        ("logit adjustment 1", S * PI_A, S * PI_B),
        ("class weights", S / (K**2 * PI_A), S / (K**2 * PI_B)),
        ("VS", S * PI_A, S * PI_B * R ** (-2 * VS_GAMMA)),
        ("label smoothing", (1 - SMOOTHING) ** 2 * S * PI_A, (1 - SMOOTHING) ** 2 * S * PI_B),
        ("CBS/CAS/LOM", S / K, S / K),
        ("BMLS", S / K, S / K),
        ("BMLS a<b", S / K - (1 - S) / (K * (K - 1)), S / K - (1 - S) / (K * (K - 1))),
        ("SBN", S / 2 * (PI_A + 1 / K), S / 2 * (PI_B + 1 / K)),
    ],
)
def test_collapse_numbers_are_the_closed_forms(name: str, c_A: float, c_B: float) -> None:
    problem = under_decay(name, 1.0)
    assert collapse_number(problem, 0) == pytest.approx(c_A, rel=1e-12)
    assert collapse_number(problem, 1) == pytest.approx(c_B, rel=1e-12)


def test_remix_keeps_plain_mixup_inside_the_minority_and_gains_across() -> None:
    # Across, the rare label has E[w^2] = 1/2 + int_0^(1/2) w^2 = 1/2 + 1/24 on either side of the pair.
    inside, across = S * PI_B, 2 * (1 / 2 + 1 / 24) * PI_B
    share_B = (K - K_A) * PI_B
    assert collapse_number(under_decay("Remix", 1.0), 1) == pytest.approx(
        share_B * inside + (1 - share_B) * across, rel=1e-12
    )


WITHOUT_MIXUP = (
    "no mixup",
    "class weights",
    "effective numbers",
    "logit adjustment 1",
    "label smoothing",
)


@pytest.mark.parametrize(
    ("name", "alpha"), [*((name, 1.0) for name in APPLIES), *((name, 0.0) for name in WITHOUT_MIXUP)]
)
@pytest.mark.parametrize("side", [0, 1])
def test_solved_programs_collapse_where_the_law_says(name: str, alpha: float, side: int) -> None:
    threshold = np.sqrt(collapse_number(under_decay(name, 1.0, nodes=4, alpha=alpha), side))
    for factor, collapsed in ((0.97, False), (1.03, True)):
        solution = solve(under_decay(name, factor * threshold, nodes=4, alpha=alpha))
        assert solution.relative_gap < 1e-9
        assert (side in solution.collapsed_groups) is collapsed


def test_patches_have_the_area_of_clipped_boxes() -> None:
    rng = np.random.default_rng(0)
    half = np.floor(SIDE * np.sqrt(1 - rng.random(200_000))).astype(int) // 2
    x, y = rng.integers(0, SIDE, (2, len(half)))
    area = np.prod([np.minimum(c + half, SIDE) - np.maximum(c - half, 0) for c in (x, y)], axis=0) / SIDE**2
    values, weights = patches(16)
    assert weights.sum() == pytest.approx(1)
    for power in (1, 2, 5):
        assert weights @ (1 - values) ** power == pytest.approx(CUT_SHARE * np.mean(area**power), rel=0.02)


def test_quadrature_has_the_moments_of_its_law() -> None:
    rng = np.random.default_rng(1)
    values, weights = rng.random(300), rng.dirichlet(np.ones(300))
    points, shares = _quadrature(values, weights, 8)
    for power in range(16):
        assert shares @ points**power == pytest.approx(weights @ values**power, rel=1e-10)


def test_rows_come_with_certificates_and_brackets() -> None:
    table = cure_table.Table(setting=setting(), limit=lambda p: p.under_decay(0.05), at=lambda R: imbalanced(K, K_A, R))
    row = table.row(BY_NAME["mixup"])
    expected = (S / 0.05**2 - (K - K_A)) / K_A
    assert pytest.approx(expected, rel=1e-9) == row.R0
    assert row.bracket is not None
    assert row.bracket[0] < expected < row.bracket[1]
    assert row.relative_gap is not None
    assert row.relative_gap < 1e-9


def test_where_collapse_only_ends_or_holds_always_there_is_no_R0(capsys: pytest.CaptureFixture[str]) -> None:
    assert cures.main(["--decay", "0.3", "--json"]) == 0
    rows = {row["cure"]: row for row in json.loads(capsys.readouterr().out)}
    ends = 20 * 0.3**2 / S - 1  # c_B = S / (K^2 pi_B) = S (R + 1) / 20
    assert rows["class weights"]["R0"] is None
    assert rows["class weights"]["intervals"] == [[1, pytest.approx(ends)]]
    assert rows["mixup"]["R0"] is None
    assert rows["mixup"]["intervals"] == [[1, 1e4]]
    assert cures.main(["--decay", "0.3"]) == 0
    lines = {line[: line.index("  ")]: line for line in capsys.readouterr().out.splitlines() if "  " in line}
    assert f"up to {ends:.4g}" in lines["class weights"]
    assert "always" in lines["mixup"]


@pytest.mark.parametrize("mu", [1.3565677311531275, 0.8063486143553065])
def test_two_crossings_next_to_one_another_are_both_found(mu: float) -> None:
    def at(R: float) -> ClassCounts:
        return imbalanced(41, 1, R)

    limit = partial(Problem.under_decay, mu=mu, features="mean")
    table = cure_table.Table(setting=Setting(classes=at(60.0), nodes=64), limit=limit, at=at)
    family = Family("fc", "product", 41, K_A=1, mixing=mixing.beta(1.0, 64), decay=mu, features="mean")
    row, found = table.row(BY_NAME["mixup"]), threshold(family)
    assert len(found.intervals) == 2
    assert pytest.approx(found.R0) == row.R0
    assert row.intervals is not None
    assert np.ravel(row.intervals) == pytest.approx(np.ravel(found.intervals))


def test_where_remix_jumps_its_collapse_ends_and_sets_in_again() -> None:
    def at(R: float) -> ClassCounts:
        return imbalanced(6, 4, R)

    table = cure_table.Table(setting=Setting(classes=at(3.2)), limit=lambda p: p.under_decay(0.2236), at=at)
    row = table.row(BY_NAME["Remix"])
    assert row.collapsed is False
    assert row.intervals is not None
    (low, jump), (again, high) = row.intervals
    assert (jump, high) == (pytest.approx(KAPPA), 1e4)
    assert low == row.R0
    for R, collapsed in ((0.99 * low, False), (1.01 * low, True), (0.99 * again, False), (1.01 * again, True)):
        problem = BY_NAME["Remix"].build(replace(table.setting, classes=at(R))).under_decay(0.2236)
        assert (collapse_number(problem, 1) <= 0.2236**2) is collapsed


def test_what_is_not_looked_for_is_not_said_to_be_none(capsys: pytest.CaptureFixture[str]) -> None:
    for decay, expected in (("1e-3", "?"), ("0.1", "64")):
        assert cures.main(["--K", "4", "--decay", decay, "--nodes", "8"]) == 0
        (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("MS a<b ")]
        assert line.split()[4] == expected


@pytest.mark.parametrize("name", ["logit adjustment 1/2", "logit adjustment 1"])
def test_offsets_move_what_survives_and_no_collapse(name: str) -> None:
    """Single classes: c_B is mixup's, c_A is where nothing survives."""
    of = Setting(classes=class_counts([500, 100, 20, 5]), nodes=4)
    problem, plain = (BY_NAME[one].build(of).under_decay(1.0) for one in (name, "mixup"))
    (B, A, _), (mixup_B, mixup_A, _) = cure_table.collapse_numbers(problem), cure_table.collapse_numbers(plain)
    assert pytest.approx(mixup_B, rel=1e-12) == B
    assert A is not None
    assert mixup_A is not None
    assert abs(A - mixup_A) > 1e-3
    for factor, rank in ((0.99, 1), (1.01, 0)):
        assert solve(replace(problem, decay=factor * math.sqrt(A))).rank == rank
    biased = replace(problem, bias=True)
    assert cure_table.collapse_numbers(biased)[:2] == pytest.approx((mixup_B, mixup_A), rel=1e-12)


@pytest.mark.parametrize("name", ["mixup", "logit adjustment 1"])
def test_a_margin_has_the_free_bias_and_no_offset_of_the_loss(name: str) -> None:
    """Logits of all classes, written out, at test."""
    given = replace(under_decay(name, 0.03), bias=True)
    solution = solve(given)
    written, Z = logits(solution)
    offset = solution.problem.offset
    assert offset is not None
    bias = (offset - (0 if given.offset is None else given.offset)).repeat(solution.problem.sizes)
    own = written.rows.same & (written.rows.first >= K_A)
    at_test, a = (Z + bias)[own], written.rows.first[own]
    others = np.where(np.arange(K) == a[:, None], -np.inf, at_test).max(axis=1)
    margins, p = at_test[np.arange(len(a)), a] - others, (written.rows.p * written.rows.count)[own]
    assert cure_table.margin(solution, (1,), given) == pytest.approx(p @ margins / p.sum())


def test_margins_are_searched_by_the_dual_condition() -> None:
    table = cure_table.Table(
        setting=setting(nodes=2), limit=lambda p: p.under_decay(0.05), at=lambda R: imbalanced(K, K_A, R)
    )
    row = table.row(BY_NAME["LDAM"])
    assert row.c_B is None
    assert row.R0 is not None
    assert row.bracket is not None
    for R0, collapsed in zip(row.bracket, (False, True), strict=True):
        problem = BY_NAME["LDAM"].build(
            replace(table.setting, classes=imbalanced(K, K_A, R0 * (1 + 0.01 * (2 * collapsed - 1))))
        )
        assert solve(problem.under_decay(0.05)).collapsed is collapsed


def test_no_mixup_leaves_the_mixing_cures_out_with_a_reason() -> None:
    table = cure_table.Table(setting=setting(alpha=0.0), limit=lambda p: p.under_decay(0.05))
    assert "mixes nothing" in table.row(BY_NAME["mixup"]).note
    assert "mixes nothing" in table.row(BY_NAME["Remix"]).note
    assert collapse_number(BY_NAME["label smoothing"].build(table.setting).under_decay(1.0), 1) == pytest.approx(
        (1 - SMOOTHING) ** 2 * PI_B
    )


def test_counts_of_ones_own_have_the_eigenvalues_of_their_labels() -> None:
    setting = Setting(classes=class_counts([500, 200, 80, 10]))
    table = cure_table.Table(setting=setting, limit=lambda p: p.under_decay(0.05))
    row = table.row(BY_NAME["no mixup"])
    pi = np.array([500, 200, 80, 10]) / 790
    P = np.eye(4) - 0.25
    eigenvalues = np.linalg.eigvalsh(P @ np.diag(pi) @ P)
    assert row.c_B == pytest.approx(eigenvalues[1])
    assert row.c_A == pytest.approx(eigenvalues[-1])
    assert row.c_A is not None
    problem = BY_NAME["no mixup"].build(setting)
    for factor, rank in ((0.999, 1), (1.001, 0)):
        assert solve(problem.under_decay(factor * np.sqrt(row.c_A))).rank == rank


@pytest.mark.parametrize("mu", [0.1, 0.5])
def test_counts_of_ones_own_in_two_groups_give_the_table_of_two_groups(mu: float) -> None:
    of_K, of_counts = (
        cure_table.Table(setting=Setting(classes=classes, nodes=2), limit=lambda p: p.under_decay(mu))
        for classes in (imbalanced(4, 2, 10.0), class_counts([100, 100, 10, 10]))
    )
    unordered = [cure for cure in CURES if cure.name != "MS a<b"]  # which sets classes of one count apart
    for one, other in zip(of_K.rows(unordered), of_counts.rows(unordered), strict=True):
        for name in ("c_A", "c_B", "cos_AA", "cos_AB", "cos_BB", "norm_A", "norm_B", "margin_B"):
            value, expected = getattr(other, name), getattr(one, name)
            close = value == expected if expected is None else value == pytest.approx(expected, rel=1e-5, abs=1e-6)
            assert close, (one.cure, name)
        assert (other.collapsed, other.alike, other.note) == (one.collapsed, one.alike, one.note), one.cure


@pytest.mark.parametrize("counts", [[500, 500, 80, 11, 10], [500, 200, 80, 10, 10]])
def test_a_single_class_has_an_eigenvalue_in_place_of_its_number(counts: list[int]) -> None:
    table = cure_table.Table(setting=Setting(classes=class_counts(counts)), limit=lambda p: p.under_decay(0.1))
    row = table.row(BY_NAME["no mixup"])
    pi, P = np.array(counts) / sum(counts), np.eye(5) - 0.2
    eigenvalues = np.linalg.eigvalsh(P @ np.diag(pi) @ P)
    assert row.c_A == pytest.approx(pi[0] if counts[1] == 500 else eigenvalues[-1])
    assert row.c_B == pytest.approx(pi[-1] if counts[-2] == 10 else eigenvalues[1])
    assert row.alike is (counts[-2] == 10)


def test_a_minority_without_two_classes_alike_has_a_rank_and_does_not_collapse() -> None:
    alone = cure_table.Table(
        setting=Setting(classes=class_counts([500, 200, 80, 10])), limit=lambda p: p.under_decay(0.3)
    )
    ordered = cure_table.Table(setting=setting(), limit=lambda p: p.under_decay(0.1))
    for row in (alone.row(BY_NAME["no mixup"]), ordered.row(BY_NAME["MS a<b"])):
        assert (row.collapsed, row.alike) == (None, False)
        cells = cures.table_of([row], 1, 1e4)
        assert cells[1][cells[0].index("collapsed")] == f"rank {row.rank}"


def test_the_command_prints_writes_and_lists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--K", "4", "--R", "20", "--decay", "0.1", "--nodes", "2"]
    assert run(lambda: cures.main([*words, "--json"])) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [row["cure"] for row in listed] == [cure.name for cure in CURES]
    keys = {"cure", "c_B", "c_A", "R0", "cos_AA", "cos_AB", "cos_BB", "relative_gap"}
    assert all(keys <= row.keys() for row in listed)
    assert run(lambda: cures.main([*words, "--out", str(tmp_path / "out")])) == 0
    assert "LDAM: margins" in capsys.readouterr().out
    with (tmp_path / "out/cures.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["c_B"]) for row in rows if row["c_B"]] == [row["c_B"] for row in listed if row["c_B"]]
    assert (tmp_path / "out/cures.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--decay", "0.1", "--E-H", "3"], "--decay and --E-H exclude each other"),
        (["--decay", "-1"], "decay = -1 must be positive"),
        (["--alpha", "-1"], "alpha = -1"),
        (["--counts", "5"], "at least 2 classes"),
        (["--R", "0"], "R = 0"),
        (["--counts", "10,0,3"], "count of class 1 is 0"),
        (["--R-min", "5", "--R-max", "2"], "0 < R_min < R_max"),
        (["--nodes", "0"], "nodes = 0"),
        (["--alpha", "1e9"], "alpha = 1e+09"),
        (["--E-H", "-2"], "E_H = -2"),
        (["--n-max", "-5"], "n-max = -5"),
        (["--counts", "9,5,2", "--R", "5"], "--R has no effect"),
        (["--counts", "9,5,2", "--K-A", "1"], "--K-A has no effect"),
    ],
)
def test_bad_words_are_one_line(words: list[str], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(lambda: cures.main(words)) == 2
    error = capsys.readouterr().err
    assert part in error
    assert error.count("\n") == 1


def test_a_cure_that_is_not_certified_has_a_note_and_the_others_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(lambda: cures.main(["--K", "4", "--R", "1e30", "--decay", "0.1", "--nodes", "2", "--json"])) == 0
    rows = {row["cure"]: row for row in json.loads(capsys.readouterr().out)}
    assert "not certified" in rows["class weights"]["note"] or "relative gap" in rows["class weights"]["note"]
    assert rows["mixup"]["relative_gap"] < 1e-6


@pytest.mark.parametrize("features", ["sample", "mean"])
@pytest.mark.parametrize("name", ["mixup", "BMLS", "class weights"])
def test_the_numbers_decide_collapse_under_either_features(name: str, features: Features) -> None:
    problem = BY_NAME[name].build(setting(nodes=4)).under_decay(1.0, features)
    minority, majority, _ = cure_table.collapse_numbers(problem)
    assert minority is not None
    assert majority is not None
    for factor in (0.99, 1.01):
        assert solve(problem.under_decay(factor * math.sqrt(minority), features)).collapsed is (factor > 1)
    own = class_counts([500, 200, 80, 10])
    problem = BY_NAME[name].build(Setting(classes=own, nodes=4)).under_decay(1.0, features)
    _, largest, _ = cure_table.collapse_numbers(problem)
    assert largest is not None
    for factor in (0.99, 1.01):
        assert (solve(problem.under_decay(factor * math.sqrt(largest), features)).rank == 0) is (factor > 1)


def test_ordered_pairs_have_no_numbers_with_counts_of_ones_own() -> None:
    """An eigenvalue of the second moments would say that this decay leaves nothing."""
    of = Setting(classes=class_counts([7, 1, 1, 297, 595]), nodes=8)
    table = cure_table.Table(setting=of, limit=lambda p: p.under_decay(0.545))
    row = table.row(BY_NAME["MS a<b"])
    assert (row.c_B, row.c_A) == (None, None)
    assert "sets all classes apart" in row.note
    assert row.rank is not None
    assert row.rank > 0


def test_cures_are_chosen_by_name_and_one_that_is_refused_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--K", "4", "--decay", "0.05", "--json"]
    assert cures.main([*small, "--cure", "BMLS a<b", "--cure", "mixup", "--cure", "BMLS a<b"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["cure"] for row in rows] == ["BMLS a<b", "mixup"]
    assert rows[0]["margin_B"] is None
    assert "no image is of a rare class alone" in rows[0]["note"]
    with pytest.raises(InvalidInput, match="Remix: --alpha 0 mixes nothing"):
        cures.main([*small, "--alpha", "0", "--cure", "no mixup", "--cure", "Remix"])
    assert not capsys.readouterr().out


def test_a_side_of_one_class_has_a_note(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--K", "3", "--K-A", "2", "--decay", "0.1", "--nodes", "2"]
    assert run(lambda: cures.main(words)) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.endswith("the minority is one class")]
    assert len(lines) == 1  # one for all cures
    assert run(lambda: cures.main([*words, "--json"])) == 0
    rows = {row["cure"]: row for row in json.loads(capsys.readouterr().out)}
    assert (rows["Remix"]["c_B"], rows["Remix"]["note"]) == (None, "the minority is one class")
    assert rows["Remix"]["c_A"] > 0


def test_a_side_of_one_class_is_drawn_without_its_number(tmp_path: Path) -> None:
    words = ["--K", "2", "--R", "5", "--decay", "0.1", "--nodes", "2", "--quiet", "--out", str(tmp_path / "out")]
    assert run(lambda: cures.main(words)) == 0
    assert (tmp_path / "out/cures.png").exists()


def test_a_setting_without_mixing_has_no_law_of_lambda() -> None:
    with pytest.raises(InvalidInput, match="mixes nothing"):
        _ = setting(alpha=0.0).mixing
