"""Pictures of the model: their rows against closed forms and other solvers, and the files that are drawn from them."""

from __future__ import annotations

import csv
import json
import struct
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from figures import __main__ as command
from figures import style, theory, theory_gram, theory_maps
from lpm import factored, mixing, pairs, programs, recovery
from lpm.console import cli
from lpm.console.errors import InvalidInput, NotCertified
from lpm.family import Family
from lpm.programs import PROGRAMS
from lpm.rows import solve_rows
from lpm.solve import solve
from lpm.threshold import Threshold
from paper_checks.paper.datasets import cifar_lt
from tests.lpm import closed_forms
from training.sampling.balanced import BalancedMixedLabels

LAW = mixing.beta(1.0, 4)
SOME = [choice for choice in theory.SWEPT if choice[1] != "block" and choice != ("ms-unordered", "product")]
DRAWN = [name for name in theory.pictures(4, 100.0, 0) if name != "theory-gram-cifar10"]
"""Pictures that are drawn in tests; CIFAR10-LT's has the same code as that of FC and MS."""


@pytest.fixture(scope="module")
def sweep() -> list[style.Row]:
    return theory.sweep_rows(4, points=3, programs=SOME)


@pytest.fixture(scope="module")
def budget() -> list[style.Row]:
    return theory_maps.budget_rows(4, lams=(0.1, 0.5), budgets=(2.0, 60.0))


@pytest.fixture(scope="module")
def classes() -> list[style.Row]:
    return theory_maps.class_rows(classes=(4, 5))


@pytest.fixture(scope="module")
def cifar10() -> list[style.Row]:
    return theory_gram.gram_rows(None, theory_gram.sampler_cases, 10, 100.0, LAW, 0)


@pytest.fixture(scope="module")
def drawn(
    sweep: list[style.Row],
    budget: list[style.Row],
    classes: list[style.Row],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Return a folder with a picture of each kind, drawn from few rows."""
    folder = tmp_path_factory.mktemp("theory")
    pictures = theory.pictures(4, 100.0, 0)
    for name, rows in zip(DRAWN, (sweep, budget, classes, fc_ms(), even_samplers()), strict=True):
        style.save(pictures[name].plot, rows, folder, name)
    return folder


def even_samplers() -> list[style.Row]:
    """Return the rows of CBS and BMLS at K = 100, whose expected label pairs take no time to solve."""
    return theory_gram.gram_rows(None, lambda: islice(theory_gram.sampler_cases(100, 100.0, mixing.fixed(), 0), 1, 3))


def fc_ms() -> list[style.Row]:
    return theory_gram.gram_rows(None, theory_gram.fc_ms_cases, 4)


def gram(rows: Sequence[style.Row], panel: str, column: str) -> np.ndarray:
    """Return a panel's matrix (K, K)."""
    panel_rows = [r for r in rows if r["panel"] == panel]
    matrix = np.full((panel_rows[0]["K"],) * 2, np.nan)
    for r in panel_rows:
        matrix[r["a"], r["b"]] = matrix[r["b"], r["a"]] = r[column]
    return matrix


def test_every_solve_is_certified_and_says_how_well(sweep: list[style.Row], cifar10: list[style.Row]) -> None:
    for row in [*sweep, *cifar10, *fc_ms()]:
        assert 0 <= row["relative_gap"] <= 1e-6
    assert {r["program"] for r in sweep} == set(PROGRAMS)


def test_the_sweep_agrees_with_the_two_group_closed_form(sweep: list[style.Row]) -> None:
    plain = {r["R"]: r for r in sweep if r["program"] == "plain"}
    assert list(plain) == pytest.approx([1, 100, 10_000])
    assert plain[1.0]["loss"] == pytest.approx(closed_forms.plain_balanced(4, 5.0), rel=1e-9)
    for R, row in plain.items():
        loss, cosines, _ = closed_forms.plain_two_groups(2, 2, R, 5.0, collapsed=row["R0"] < R)
        assert row["loss"] == pytest.approx(loss, rel=1e-8)
        assert [row[f"cos_{pair}"] for pair in ("AA", "AB", "BB")] == pytest.approx(cosines, abs=1e-6)


def test_balanced_label_pairs_leave_the_sweep_at_a_simplex(sweep: list[style.Row]) -> None:
    even = [r for r in sweep if r["profile"] == "balanced"]
    assert {r["program"] for r in even} == {"fc", "ms", "ms-unordered", "ms-free"}
    for row in even:
        K = 16 if row["program"] == "ms-free" else 4
        assert [row["cos_AA"], row["cos_AB"], row["cos_BB"]] == pytest.approx([-1 / (K - 1)] * 3, abs=1e-9)
        assert row["norm_A"] == pytest.approx(row["norm_B"], rel=1e-9)
        assert (row["state"], row["collapsed"]) == ("none", False)
        assert np.isnan(row["R0"])


def test_thresholds_are_the_known_ones() -> None:
    threshold = theory_maps.certified_thresholds([Family("plain", K=10)])[0]
    assert threshold["state"] == "certified"
    assert threshold["R0"] == pytest.approx(closed_forms.plain_threshold(5, 5, 5.0), rel=1e-7)
    assert threshold["R0"] == pytest.approx(12.1924, abs=5e-5)
    assert threshold["R0_low"] < threshold["R0"] < threshold["R0_high"]


def test_the_maps_thresholds_lie_between_solves(budget: list[style.Row], classes: list[style.Row]) -> None:
    certified = [r for r in [*budget, *classes] if r["state"] == "certified"]
    assert {(r["program"], r["K"], r["lam"]) for r in certified} >= {("fc", 4, 0.1), ("ms", 4, 0.1), ("fc", 5, 0.5)}
    for row in certified:
        K_A, law = row["K_A"], mixing.fixed(row["lam"])
        family = Family(row["program"], row["profile"], row["K"], K_A=K_A, mixing=law, e_h=row["E"])
        assert row["R0_low"] < row["R0"] < row["R0_high"]
        assert [solve(family.at(scale * row["R0"])).collapsed for scale in (0.97, 1.03)] == [False, True]
        if "R0_ratio" in row and row["lam"] == 0.5:
            assert row["R0_ratio"] == 1


def test_what_is_not_certified_has_no_number(budget: list[style.Row]) -> None:
    beyond = [r for r in budget if r["state"] != "certified"]
    assert {(r["program"], r["E"], r["state"]) for r in beyond} >= {("fc", 60.0, "not certified")}
    for row in beyond:
        assert np.isnan([row["R0"], row["R0_low"], row["R0_high"], row["R0_ratio"]]).all()


def test_an_uncertified_root_is_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    doubtful = Threshold(R0=7.0, bracket=None, collapsed_above=True, certified=False, seconds=0.1)
    monkeypatch.setattr(theory_maps, "thresholds", lambda *_, **__: [doubtful])
    (threshold,) = theory_maps.certified_thresholds([Family("plain")])
    assert threshold["state"] == "not certified"
    assert np.isnan(threshold["R0"])


def test_class_balanced_and_balanced_mixed_labels_give_a_simplex_under_fc(cifar10: list[style.Row]) -> None:
    for panel in ("CBS/CAS/LOM+FC", "BMLS+FC"):
        np.testing.assert_allclose(gram(cifar10, panel, "inner"), (10 * np.eye(10) - 1) / 9, atol=1e-8)


def test_fc_cannot_tell_the_order_of_label_pairs(cifar10: list[style.Row]) -> None:
    ordered = solve(programs.fc(pairs.table(np.triu(np.ones((10, 10)), 1)), LAW))
    matrix = ordered.gram.matrix(ordered.problem.members)
    np.testing.assert_allclose(gram(cifar10, "BMLS+FC", "inner"), matrix, atol=1e-7)


def test_ms_sees_the_order_of_label_pairs_unless_they_are_mixed_half_and_half(cifar10: list[style.Row]) -> None:
    cosines = gram(cifar10, "BMLS+MS", "cosine")
    np.testing.assert_allclose(cosines, cosines[::-1, ::-1], atol=1e-6)  # lambda -> 1 - lambda reverses the order
    assert cosines[0, 9] > cosines[0, 5] > cosines[0, 1] + 0.04
    half = list(theory_gram.sampler_cases(10, 100.0, mixing.fixed(), 0))[-1]
    even = gram(theory_gram.optimum_rows(half, solve(half.problem)), "BMLS+MS", "cosine")
    np.testing.assert_allclose(even, (10 * np.eye(10) - 1) / 9, atol=1e-8)


@pytest.mark.parametrize("classifier", ["FC", "MS"])
def test_random_pairing_agrees_with_another_solver(classifier: str, cifar10: list[style.Row]) -> None:
    n = cifar_lt(10, 100)
    program = {"FC": programs.fc, "MS": programs.ms}[classifier]
    solution = factored.solve(program(pairs.table(np.outer(n, n)), LAW))
    W, _ = recovery.class_vectors_and_features(*recovery.logits(solution))
    np.testing.assert_allclose(gram(cifar10, f"random+{classifier}", "inner"), W @ W.T, atol=2e-3)
    assert gram(cifar10, f"random+{classifier}", "cosine")[8, 9] > 0.99


def test_one_epoch_of_balanced_mixed_labels_is_counted_as_the_sampler_draws() -> None:
    n = cifar_lt(10, 100)
    N = int(n.sum())
    counts = theory_gram.bmls_unordered_counts(N, 10, np.random.default_rng(0))
    assert not np.tril(counts).any()
    drawn = BalancedMixedLabels(np.repeat(np.arange(10), n)).label_pairs(0)
    sampled = np.bincount(drawn @ [10, 1], minlength=100).reshape(10, 10)
    upper = np.triu_indices(10, 1)
    assert sorted(counts[upper]) == sorted(sampled[upper])


def test_every_picture_is_drawn_in_full(drawn: Path) -> None:
    assert {file.name for file in drawn.iterdir()} == {f"{n}.{e}" for n in DRAWN for e in ("csv", "pdf", "png")}
    for name in DRAWN:
        png, pdf = (drawn / f"{name}.png").read_bytes(), (drawn / f"{name}.pdf").read_bytes()
        assert png.startswith(b"\x89PNG")
        width, height = struct.unpack(">II", png[16:24])
        assert width == round(style.PAGE_WIDTH * style.MATPLOTLIB_SETTINGS["savefig.dpi"])
        assert 0.3 * width < height < 1.5 * width
        assert pdf.startswith(b"%PDF")
        assert b"/FontFile2" in pdf
        assert b"/Type3" not in pdf
        ink = imread(drawn / f"{name}.png")[..., :3].mean(axis=2) < 0.9
        assert ink.any(axis=1).mean() > 0.8  # ink on most lines of the page
        assert ink.any(axis=0).mean() > 0.8


def test_the_csv_holds_the_rows_that_were_drawn(drawn: Path, budget: list[style.Row]) -> None:
    with (drawn / "theory-r0-lambda-budget.csv").open(encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    assert len(read) == len(budget)
    for cells, row in zip(read, budget, strict=True):
        assert cells["state"] == row["state"]
        assert cells["R0"] == "" if np.isnan(row["R0"]) else float(cells["R0"]) == pytest.approx(row["R0"], rel=1e-7)


def test_plots_solve_nothing(
    monkeypatch: pytest.MonkeyPatch, sweep: list[style.Row], budget: list[style.Row], classes: list[style.Row]
) -> None:
    rows = fc_ms()
    for module, name in ((theory, "solve_rows"), (theory_gram, "solve_all"), (theory_maps, "thresholds")):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("a plot has solved something"))
    all_rows = (sweep, budget, classes, rows)
    for picture, its_rows in zip(theory.pictures(4, 100.0, 0).values(), all_rows, strict=False):
        assert picture.plot(its_rows).get_axes()


REFUSED = NotCertified(gap=1.0, relative_gap=0.5, tolerance=1e-6, solver="orbits", remedy="none")


def words(figure: Figure) -> list[str]:
    return [text.get_text() for axis in figure.get_axes() for text in axis.texts]


def test_an_uncertified_optimum_is_an_empty_hatched_panel() -> None:
    fine = fc_ms()
    case = next(theory_gram.fc_ms_cases(4))
    refused = theory_gram.optimum_rows(case, REFUSED)
    assert [r.keys() for r in refused] == [r.keys() for r in fine[: len(refused)]]
    assert all(np.isnan(r["inner"]) and r["relative_gap"] == 0.5 for r in refused)
    plot: Callable[..., Figure] = theory.pictures(4, 100.0, 0)["theory-fc-ms"].plot
    assert "not certified" not in words(plot(fine))
    figure = plot([*refused, *fine[len(refused) :]])
    assert words(figure).count("not certified") == 1
    assert [axis.patch.get_hatch() for axis in figure.get_axes()].count("/////") == 1


def test_an_uncertified_point_of_the_sweep_is_hatched(monkeypatch: pytest.MonkeyPatch, sweep: list[style.Row]) -> None:
    def refusing(points: Sequence[tuple[Family, float]]) -> list[Any]:
        return [REFUSED if R > 5e3 else row for (_, R), row in zip(points, solve_rows(points), strict=True)]

    monkeypatch.setattr(theory, "solve_rows", refusing)
    broken = theory.sweep_rows(4, points=3, programs=SOME[:4])
    whole = [r for r in sweep if (r["program"], r["R"]) == ("plain", 1.0)]
    assert [list(r) for r in broken[:1]] == [list(r) for r in whole]
    assert [np.isnan(r["cos_BB"]) for r in broken] == [False, False, True] * 4
    assert theory.summary(broken)["not_certified"] == 4

    def hatched(rows: Sequence[style.Row]) -> int:
        return sum(
            patch.get_hatch() is not None for axis in theory.plot_sweep(rows).get_axes() for patch in axis.patches
        )

    assert hatched(sweep) == 0
    assert hatched(broken) == 8  # for each program, in the panels of cosines and of norms
    assert "not certified" in [text.get_text() for text in theory.plot_sweep(broken).legends[0].get_texts()]


def test_the_command_draws_one_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "pictures"
    assert command.main(["theory", "--only", "theory-fc-ms", "--K", "5", "--out", str(out)]) == 0
    captured = capsys.readouterr()
    assert captured.err == f"next: open {out}/theory-fc-ms.png\n"
    assert "theory-fc-ms.pdf" in captured.out
    manifest = json.loads((out / "manifest.json").read_text())
    drawn = manifest["figures"]["theory-fc-ms"]
    assert (manifest["K"], drawn["rows"], drawn["not_certified"]) == (5, 8 * 15, 0)
    assert 0 < drawn["largest_relative_gap"] <= 1e-6


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--K", "3", "K = 3 must lie in 4..100"),
        ("--imbalance", "0.5", "imbalance = 0.5 must lie in 1..500"),
        ("--imbalance", "nan", "imbalance = nan must lie in 1..500"),
        ("--seed", "-1", "seed = -1 must be at least 0"),
    ],
)
def test_bad_options_are_one_clear_line(option: str, value: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=message):
        command.main(["theory", option, value, "--out", str(tmp_path / "none")])
    assert not (tmp_path / "none").exists()


def test_an_unknown_picture_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.run(lambda: command.main(["theory", "--only", "theory-swoop"]))
    assert "did you mean 'theory-sweep'" in capsys.readouterr().err


def test_under_a_decay_thresholds_are_those_of_the_collapse_law(tmp_path: Path) -> None:
    mu, K = 0.1, 4
    rows = theory_maps.budget_rows(K, mu, lams=(0.1, 0.5))
    for row in rows:
        s = row["lam"] ** 2 + (1 - row["lam"]) ** 2
        R0 = (s / row["mu"] ** 2 - K / 2) / (K / 2)
        if R0 <= 1:
            assert row["state"] == "throughout"
        else:
            assert row["R0"] == pytest.approx(R0, rel=1e-9)
    sweep = theory.sweep_rows(K, mu, points=3, programs=SOME[:2])
    assert all(row["mu"] == mu for row in sweep)
    for plot, drawn in ((theory_maps.plot_budget, rows), (theory.plot_sweep, sweep)):
        assert "μ" in plot(drawn).get_suptitle() or "mixup" in plot(drawn).get_suptitle()


def test_the_command_takes_a_decay_and_refuses_a_bad_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["theory", "--only", "theory-fc-ms", "--decay", "0.1", "--out", str(tmp_path / "out")]
    assert cli.run(lambda: command.main(words)) == 0
    with (tmp_path / "out/theory-fc-ms.csv").open() as file:
        assert {row["mu"] for row in csv.DictReader(file)} == {"0.1"}
    assert cli.run(lambda: command.main([*words, "--decay", "-1"])) == 2
    assert "decay = -1 must be positive" in capsys.readouterr().err
