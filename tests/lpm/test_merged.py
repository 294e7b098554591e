"""Many groups: counts from files, merged groups, points carried back, gaps that bound the true optimum."""

from __future__ import annotations

import itertools
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.long_tails import LONG_TAILS, LongTail
from lpm import counts, factored, merged, mixing, orbits, pairs, programs, solve
from lpm.console import cli
from lpm.console.errors import InvalidInput, NotCertified
from lpm.coordinates import Coordinates
from lpm.many_groups.blocks import Blocks
from lpm.many_groups.descent import Descent
from lpm.many_groups.dual import gap, relative_gap, tighten
from lpm.many_groups.merging import (
    Interpolation,
    Level,
    log_frequency,
    merge,
    merge_alike,
    merge_equal,
    merged_level,
    similar,
)
from lpm.many_groups.spectra import Power, Spectrum
from lpm.pairs import class_counts, imbalanced
from lpm.problem import Problem
from lpm.solution import Solution, evaluate

UNEQUAL = [310, 7, 180, 95, 3, 60, 33, 21, 12]
"""Counts that all differ, in no order."""
SOME_EQUAL = class_counts([20, 5, 20, 1, 5, 7, 7, 7, 7])


def _programs(classes: pairs.ClassCounts) -> dict[str, Problem]:
    product = pairs.product(classes)
    return {
        "plain": programs.plain(classes),
        "fc": programs.fc(product),
        "fc lam=0.3": programs.fc(product, mixing.fixed(0.3)),
        "fc beta": programs.fc(product, mixing.beta(1.0, 3)),
        "ms": programs.ms(product, mixing.fixed(0.4)),
        "ms distinct": programs.ms(pairs.distinct(classes)),
        "ms-unordered": programs.ms_unordered(product),
        "ms-free": programs.ms_free(product),
    }


UNMERGED = {name: problem for name, problem in _programs(class_counts(UNEQUAL)).items() if name != "ms-free"}
UNMERGED |= {f"{name}, some equal": problem for name, problem in _programs(SOME_EQUAL).items()}
UNMERGED["table"] = programs.fc(pairs.table(np.random.default_rng(0).integers(0, 5, (7, 7))))


@pytest.mark.parametrize("name", UNMERGED)
@pytest.mark.parametrize("groups", [2, 3, None])
def test_the_interval_holds_the_true_optimum_and_is_the_generic_certificate(name: str, groups: int | None) -> None:
    problem = UNMERGED[name]
    solution = merged.solve(problem, groups=groups, tolerance=1e-6 if groups is None else 1.0)
    optimum = orbits.solve(problem)
    assert solution.lower_bound <= optimum.loss + 1e-12
    assert optimum.lower_bound <= solution.loss + 1e-12
    coordinates = Coordinates(problem)
    generic = evaluate(coordinates, solution.X)
    assert coordinates.nuclear_norm(solution.X) <= problem.tau * (1 + 1e-12)
    assert solution.loss == pytest.approx(generic.loss, rel=1e-13)
    assert solution.gap <= generic.gap + 1e-14  # its lower bound may come from another point
    gram = Solution(
        coordinates=coordinates,
        X=solution.X,
        loss=solution.loss,
        gap=solution.gap,
        collapsed_groups=(),
        rank=0,
        solver="",
        seconds=0.0,
        iterations=0,
    ).gram
    np.testing.assert_allclose(solution.gram.block, gram.block, atol=1e-12)
    np.testing.assert_allclose(solution.gram.eigenvalue, gram.eigenvalue, atol=1e-12)
    # The point's rank is not the optimum's where the gap is wide, and the solution says so.
    assert solution.rank_bounds is not None
    assert solution.rank_bounds[0] <= min(solution.rank, optimum.rank)
    assert max(solution.rank, optimum.rank) <= solution.rank_bounds[1]
    decided = set(np.flatnonzero(problem.sizes > 1).tolist()) - set(solution.undecided_groups)
    assert decided & set(solution.collapsed_groups) == decided & set(optimum.collapsed_groups)
    if solution.relative_gap > 0.05:
        assert (solution.rank_bounds, solution.collapsed, solution.binds) == ((0, problem.K - 1), None, False)
    if groups is None:
        assert solution.binds
        assert solution.collapsed is optimum.collapsed
        assert (solution.rank, solution.collapsed_groups) == (optimum.rank, optimum.collapsed_groups)
        np.testing.assert_allclose(solution.gram.norms, optimum.gram.norms, atol=5e-3)


def test_more_groups_make_a_smaller_gap() -> None:
    problem = programs.fc(pairs.product(class_counts(1000 * 0.8 ** np.arange(24))))
    optimum = factored.solve(problem)
    gaps = []
    for groups in (2, 4, 8):
        solution = merged.solve(problem, groups=groups, tolerance=1.0)
        assert solution.lower_bound <= optimum.loss <= solution.loss
        assert solution.solver == f"merged ({groups} of 24 groups)"
        gaps.append(solution.relative_gap)
    assert gaps[0] > gaps[1] > gaps[2] > 1e-3
    with pytest.raises(NotCertified, match=r"loosen --tolerance to .*, or round the counts") as refusal:
        merged.solve(problem, groups=8)
    assert 1e-3 < refusal.value.relative_gap < gaps[2]  # its merged program was solved more closely
    assert merged.solve(problem).relative_gap <= 1e-6


@pytest.mark.parametrize("program", [programs.fc, programs.ms])
def test_forty_different_counts_agree_with_the_solver_that_writes_every_pair_out(
    program: Callable[..., Problem],
) -> None:
    problem = program(pairs.product(class_counts(np.floor(1000 * 0.87 ** np.arange(40)) + np.arange(40, 0, -1))))
    optimum = factored.solve(problem, tolerance=1e-5)
    for groups, tolerance in ((8, 0.05), (None, 1e-5)):
        solution = merged.solve(problem, groups=groups, tolerance=tolerance)
        assert solution.lower_bound <= optimum.loss
        assert optimum.lower_bound <= solution.loss
    assert solution.loss == pytest.approx(optimum.loss, rel=2e-5)


@pytest.mark.parametrize("name", _programs(SOME_EQUAL))
def test_blocks_are_the_symmetric_coordinates(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lpm.many_groups.blocks.BLOCK", 20)
    problem = _programs(SOME_EQUAL)[name]
    coordinates, blocks = Coordinates(problem), Blocks(problem)
    X = np.random.default_rng(1).normal(size=coordinates.shape)
    X[:, blocks.G :][coordinates.slots < 0] = 0.0
    factor = np.sqrt(np.maximum(problem.sizes - 1, 1))[np.maximum(coordinates.slots, 0)]
    ours = X.copy()
    ours[:, blocks.G :] /= factor
    f, gradient = coordinates.value_and_gradient(X)
    evaluation, spectrum = blocks.evaluate(blocks.at(ours)), blocks.spectrum(blocks.at(ours))
    assert evaluation.loss == pytest.approx(f, rel=1e-13)
    assert evaluation.inner == pytest.approx((gradient * X).sum(), rel=1e-12)
    assert evaluation.gradient.spectral == pytest.approx(coordinates.spectral_norm(gradient), rel=1e-12)
    assert spectrum.nuclear == pytest.approx(coordinates.nuclear_norm(X), rel=1e-12)
    for block in blocks:
        logits = blocks.logits(ours[block], block)
        part = blocks.pull_back(blocks.terms(logits, block)[1], block)
        part[:, blocks.G :] /= factor[block]
        np.testing.assert_allclose(part, gradient[block], atol=1e-13)
        np.testing.assert_allclose(blocks.points(logits, block), ours[block], atol=1e-13)


@pytest.mark.parametrize("name", _programs(SOME_EQUAL))
def test_powers_multiply_in_the_form_of_c(name: str) -> None:
    problem = _programs(SOME_EQUAL)[name]
    square, inverse = Power.of(problem, 2.0), Power.of(problem, -0.5)
    unit = np.eye(len(problem.sizes))
    np.testing.assert_allclose(square.after(unit), problem.C_block @ problem.C_block, rtol=1e-12)
    np.testing.assert_allclose(inverse.after(inverse.after(problem.C_block)), unit, atol=1e-13)
    np.testing.assert_allclose(inverse.after(unit), inverse.matrix, atol=1e-13 * inverse.matrix.max())
    assert (inverse.rise != 0) == (problem.beta != 0)  # no program of the paper needs the whole matrix


def test_a_step_is_the_projected_gradient_step_on_all_label_pairs() -> None:
    """Groups take the same path as their label pairs written out, so multiplicities are right."""
    problem = programs.ms(pairs.product(SOME_EQUAL), mixing.fixed(0.4))
    full, _ = problem.expand()
    few, all_pairs = (Descent(Blocks(p), np.zeros((len(p.rows), len(p.sizes) + 2))) for p in (problem, full))
    for _ in range(12):
        few.step()
        all_pairs.step()
        assert few.lipschitz == all_pairs.lipschitz
        losses = [d.blocks.evaluate(d.blocks.at(d.X)).loss for d in (few, all_pairs)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-12)
    assert few.blocks.spectrum(few.blocks.at(few.X)).nuclear == pytest.approx(problem.tau, rel=1e-9)


@pytest.mark.parametrize("name", _programs(SOME_EQUAL))
def test_any_logits_bound_the_optimum_from_below(name: str) -> None:
    problem = _programs(SOME_EQUAL)[name]
    blocks, optimum, rng = Blocks(problem), orbits.solve(problem).loss, np.random.default_rng(3)
    for size in (0.0, 0.1, 1.0, 10.0):
        logits = blocks.at(size * rng.normal(size=blocks.shape))
        evaluation = blocks.evaluate(logits)
        tight = tighten(blocks, logits, blocks.spectrum(logits), evaluation, 0.0)
        spectrum = blocks.spectrum(logits)
        for point in (evaluation, tight):
            assert point.loss - point.deficit(blocks) <= optimum + 1e-12
        assert gap(blocks, evaluation, tight, spectrum) <= gap(blocks, evaluation, evaluation, spectrum) + 1e-13


def test_a_flattened_gradient_makes_the_gap_of_second_order() -> None:
    problem = programs.fc(pairs.product(class_counts(1000 * 0.8 ** np.arange(24))))
    blocks = Blocks(problem)
    descent, ratios = Descent(blocks, np.zeros(blocks.shape)), []
    for steps in (20, 100):
        for _ in range(steps):
            descent.step()
        logits = blocks.at(descent.X)
        evaluation = blocks.evaluate(logits)
        tight = tighten(blocks, logits, descent.spectrum, evaluation, 0.0)
        at = descent.spectrum
        ratios.append(gap(blocks, evaluation, tight, at) / gap(blocks, evaluation, evaluation, at))
    assert ratios[0] < 0.5
    assert ratios[1] < 0.05  # the closer the point, the more there is to gain
    loose, strict = (relative_gap(blocks, evaluation, evaluation, at) * factor for factor in (1.01, 0.99))
    assert tighten(blocks, logits, descent.spectrum, evaluation, loose) is evaluation
    assert tighten(blocks, logits, descent.spectrum, evaluation, strict) is not evaluation


def test_merging_nothing_changes_nothing_and_interpolation_is_exact_at_its_nodes() -> None:
    problem = programs.fc(pairs.product(SOME_EQUAL), mixing.fixed(0.3))
    same, part_of = merge(problem, np.arange(len(problem.sizes)))
    np.testing.assert_allclose(same.rows.p[part_of], problem.rows.p, rtol=1e-15)
    assert len(same.rows) == len(problem.rows)
    alike = merge_alike(problem)[0]
    level = Level(Blocks(alike), log_frequency(alike))
    X = np.random.default_rng(2).normal(size=level.blocks.shape) * (np.arange(level.blocks.G + 2) < level.blocks.G)
    all_rows = slice(None)
    logits = level.blocks.logits(X, all_rows)
    carried = Interpolation(level, X, level)(all_rows)
    np.testing.assert_allclose(carried, level.blocks.centred(logits, all_rows), atol=1e-12)
    assert np.ptp(carried - logits, axis=1).max() < 1e-12  # a shift of each row
    assert (
        level.blocks.spectrum(lambda block: carried[block]).nuclear < level.blocks.spectrum(level.blocks.at(X)).nuclear
    )


def test_a_merged_program_keeps_totals_and_intervals_of_frequency() -> None:
    problem = programs.fc(pairs.product(class_counts(UNEQUAL)))
    owner = similar(problem, 3)
    assert np.all(np.diff(owner) >= 0)  # groups come largest count first
    assert np.bincount(owner).tolist() == [3, 3, 3]
    assert similar(problem, 100).max() + 1 == 3  # at least three classes per group
    few, _ = merge(problem, owner)
    assert few.K == problem.K
    assert few.rows.count @ few.rows.p == pytest.approx(1.0)
    assert few.rows.count.sum() == problem.rows.count.sum()
    assert few.group_of is not None
    assert sorted(np.array(UNEQUAL)[few.group_of == 0]) == [95, 180, 310]
    level = merged_level(problem, owner)
    assert np.all(np.diff(level.t) < 0)


@pytest.mark.parametrize("program", ["fc", "ms", "ms-unordered"])
def test_frequencies_that_do_not_depend_on_counts_make_one_group(program: str) -> None:
    classes = class_counts(np.arange(1, 41))
    make = {"fc": programs.fc, "ms": programs.ms, "ms-unordered": programs.ms_unordered}[program]
    for profile in (pairs.balanced, pairs.distinct):
        problem = make(profile(classes))
        assert merge_equal(problem).sizes.tolist() == [40]
        solution = solve.solve(problem)
        assert solution.solver == "orbits"
        assert solution.loss == pytest.approx(orbits.solve(make(profile(imbalanced(40)))).loss, rel=1e-12)
    unequal = make(pairs.product(classes))
    assert merge_equal(unequal) is unequal


def test_equal_totals_are_not_mistaken_for_exchangeable_classes() -> None:
    ring = np.roll(np.eye(20), 1, axis=1)  # every class in two pairs, but not with every class
    problem = programs.fc(pairs.table(ring))
    assert merge_equal(problem) is problem
    weights = np.ones((20, 20)) + 0.5 * (ring + ring.T)
    problem = programs.fc(pairs.table(weights))
    assert merge_equal(problem) is problem
    exchangeable = programs.fc(pairs.table(np.ones((20, 20)) + np.eye(20)))
    assert merge_equal(exchangeable).sizes.tolist() == [20]


def test_auto_takes_merged_where_label_pairs_are_too_many_or_classes_repeat() -> None:
    assert solve.choose(programs.fc(pairs.product(class_counts(np.arange(1, 17))))) == "orbits"
    assert solve.choose(programs.fc(pairs.product(class_counts(np.arange(1, 61))))) == "factored"
    assert solve.choose(programs.fc(pairs.product(class_counts(np.arange(1, 101))))) == "merged"
    assert solve.choose(programs.fc(pairs.table(np.random.default_rng(0).random((100, 100))))) == "factored"
    ordered = programs.ms_unordered(pairs.product(class_counts(np.arange(1, 101))), mixing.fixed(0.3))
    assert solve.choose(ordered) == "factored"
    assert solve.choose(programs.fc(pairs.product(class_counts(np.arange(1, 401))))) == "merged"
    repeated = programs.fc(pairs.product(class_counts(np.repeat(1.2 ** -np.arange(17), 3))))
    solution = solve.solve(repeated)
    assert solution.solver == "merged (17 of 17 groups)"
    other = factored.solve(repeated)
    assert solution.lower_bound <= other.loss
    assert other.lower_bound <= solution.loss
    assert solution.rank == other.rank
    assert solution.collapsed_groups == other.collapsed_groups


def test_a_thousand_classes_are_certified_in_less_memory_than_one_point_takes() -> None:
    problem = programs.fc(pairs.product(class_counts(LONG_TAILS["imagenet-lt"].stand_in())))
    G = len(problem.sizes)
    assert G > 300
    tracemalloc.start()
    solution = merged.solve(problem, tolerance=0.1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert solution.relative_gap <= 0.1
    assert solution.X.size == 0
    assert solution.gram.norms.shape == (G,)
    assert np.all(np.diff(solution.gram.norms[:100]) < 0)  # rarer classes have shorter vectors
    one_point = 8 * (G * (G + 1) // 2) * (G + 2)  # pairs of groups, each once, in float64
    assert peak < one_point / 2


def test_time_and_size_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = programs.fc(pairs.product(class_counts(np.geomspace(1, 1000, 150))))
    with pytest.raises(NotCertified, match=r"merged: .*raise the time limit of 0.001 s, in which no gap of 150 groups"):
        merged.solve(problem, time_limit=1e-3)
    clock = itertools.count()  # a second for each look at the clock, and one look for each block of rows
    with monkeypatch.context() as patch:
        patch.setattr(merged.time, "perf_counter", lambda: float(next(clock)))
        with pytest.raises(NotCertified, match="raise the time limit of 500 s"):
            merged.solve(problem, tolerance=1e-12, time_limit=500)
    assert next(clock) < 520
    seen: list[int] = []
    monkeypatch.setattr(merged, "MAX_STORED", 20 * 200)
    with pytest.raises(NotCertified, match="round the counts"):
        merged.solve(
            programs.fc(pairs.product(class_counts(np.geomspace(1, 90, 60)))), progress=lambda *a: seen.append(a[0])
        )
    assert seen == [19]  # the groups of a point of 4,000 entries
    monkeypatch.setattr(merged, "MAX_STREAMED", 1000)
    with pytest.raises(InvalidInput, match="150 groups of equal frequency and 22,500 kinds of label pairs"):
        merged.solve(problem)
    with pytest.raises(InvalidInput, match="orders the classes unless lambda = 1/2"):
        merged.solve(programs.ms_unordered(pairs.product(imbalanced(6)), mixing.fixed(0.3)))
    with pytest.raises(InvalidInput, match="time limit = 0 s must be positive"):
        solve.solve(problem, time_limit=0)


@pytest.mark.parametrize("name", LONG_TAILS)
def test_stand_ins_have_the_published_sizes(name: str) -> None:
    sizes = LONG_TAILS[name]
    n = sizes.stand_in()
    assert n.sum() == sizes.images
    assert (n[0], n[-1]) == (sizes.largest, sizes.smallest)
    assert np.all(np.diff(n) <= 0)
    assert ((n > 100).sum(), ((n <= 100) & (n >= 20)).sum(), (n < 20).sum()) == (sizes.many, sizes.medium, sizes.few)


def _run(*arguments: str) -> int:
    try:
        return cli.run(lambda: solve.main(list(arguments)))
    except SystemExit as exit:
        return int(exit.code or 0)


@pytest.mark.parametrize("text", ["9\n3\n\n1  # rare\n", "# counts\n 9\n3.0\n1", "\ufeff9\r\n3\r\n1\r\n"])
def test_counts_are_read_from_a_file(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "counts.csv"
    file.write_text(text, encoding="utf-8")
    assert counts.read_counts(file).tolist() == [9, 3, 1]
    assert _run("--counts-file", str(file), "--json") == 0
    from_file = json.loads(capsys.readouterr().out)
    assert _run("--counts", "9,3,1", "--json") == 0
    assert from_file["norms"] == json.loads(capsys.readouterr().out)["norms"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds 0 counts; give at least 2 classes"),
        ("# nothing\n", "holds 0 counts"),
        ("9\n", "holds 1 counts"),
        ("9\nmany\n", "line 2: 'many' is not a number"),
        ("images/1.jpg 0\n", "line 1: 'images/1.jpg 0' is not a number"),
        ("9\n0,3\n", "line 2: '0,3' is not a number"),
        ("9\n\n-3\n", "line 3: count -3 must be positive and finite"),
        ("9\n0\n", "line 2: count 0 must be positive"),
        ("9\nnan\n", "line 2: count nan"),
        ("9\n1e999\n", "line 2: count inf"),
        ("1\n" * 12, "more than 10 counts"),
        ("1\n" * 501, "more than 1,000 bytes; give one class count per line"),
        (b"\xff\xfe9", "not UTF-8 text"),
        (None, "No such file"),
    ],
)
def test_bad_counts_files_are_one_line_and_status_2(
    text: str | bytes | None,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(counts, "MAX_CLASSES", 10)
    monkeypatch.setattr(counts, "LIMIT", 1000)
    file = tmp_path / "counts.txt"
    if text is not None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert _run("--counts-file", str(file)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_counts_too_far_apart_for_float64_are_not_certified_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    far = ",".join(map(str, [1e20, *[1] * 40, *[2] * 40, *range(3, 24)]))
    assert _run("--counts", far, "--E-H", "50", "--tolerance", "0.01", "--quiet") == 1
    error = capsys.readouterr().err
    assert "too far apart for float64: take smaller ratios" in error
    assert "loosen" not in error  # a tolerance above 1 is refused
    assert Spectrum(np.array([1e17, 1.0]), np.array([1.0, 3.0]), np.eye(1)).project(3.3).tolist() == [0.0, 0.0]


def test_a_loss_of_0_in_float64_is_not_certified_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--program", "plain", "--K", "3", "--K-A", "2", "--R", "1e8", "--E-H", "6.8e7", "--solver", "merged"]
    assert cli.run(lambda: solve.main([*words, "--quiet"])) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "relative gap inf" in line
    assert "the loss is too close to 0" in line


def test_the_command_says_how_far_it_came(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = LongTail(images=30_000, largest=600, smallest=5, many=100, medium=150, few=50).stand_in()
    G, file = len(np.unique(small)), tmp_path / "counts.txt"
    file.write_text("\n".join(f"{n:.0f}" for n in small))
    assert _run("--counts-file", str(file), "--tolerance", "0.1") == 0
    out, progress = capsys.readouterr()
    assert "fc, product, lambda 0.5, K = 300" in out
    assert f"solver      merged (32 of {G} groups)" in out
    assert progress.startswith("32 merged groups: relative gap")
    assert _run("--counts-file", str(file), "--time-limit", "0.01", "--quiet") == 1
    error = capsys.readouterr().err
    assert error.startswith("not certified: merged: relative gap")
    assert "raise the time limit of 0.01 s" in error
    assert _run("--counts-file", str(file), "--profile", "balanced", "--json") == 0
    balanced = json.loads(capsys.readouterr().out)
    assert balanced["solver"] == "orbits"
    assert balanced["group_sizes"] == [300]
    assert _run("--counts-file", str(file), "--save", str(tmp_path / "optimum.npz")) == 2
    assert "--save would write Z with more than 20,000,000 entries" in capsys.readouterr().err
    assert not (tmp_path / "optimum.npz").exists()
    assert _run("--counts-file", str(file), "--counts", "1,2") == 2
    assert _run("--counts-file", str(file), "--K", "7") == 2
    assert _run("--counts-file", str(file), "--table", "t.csv") == 2
    assert "--counts-file has 300 classes, --K says 7" in capsys.readouterr().err
    file.write_text("\n".join(str(n) for n in range(1, 2002)))
    assert _run("--counts-file", str(file)) == 2
    assert "2,001 different class counts, more than 2,000" in capsys.readouterr().err
