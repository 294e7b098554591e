"""The paper's comparison: each of its rows beside a method of ours, both recipes, and a note on what the number is"""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest

from lpm.console import cli
from lpm.console.output import write
from paper_checks.paper.tables import LAYOUTS, means
from training import experiments
from training.config import RunConfig, with_preset
from training.experiments import TABLES, config
from training.named import METHODS
from training.published import Recipe, Row
from training.store import tables, wanted
from training.store.forms import COMPARED, as_csv, latex, markdown
from training.store.posthoc import Corrected, save
from training.store.rows import by_run
from training.store.runs import RunFolder
from training.table import main

COMPARISONS = [number for number, table in TABLES.items() if any(row.note for row in table.rows)]
OWN = Recipe(longer=1.5, choices={"drops": (0.5, 5 / 6), "batch": 64})
SHORT = replace(
    TABLES[2],
    rows=(
        Row(printed="Mixup (reported)", method="random+FC", note="Yang et al.'s", own=OWN),
        Row(printed="CP-Mix (reported)", method="", note="not here"),
        *TABLES[2].rows[3:4],
    ),
    datasets=("cifar10-lt",),
    factors=(100,),
)


def finish(store: Path, run: RunConfig, last: float, **best: float) -> None:
    """Put a run's result into a store."""
    folder = RunFolder(store, run)
    folder.open({"name": "cifar10-jpeg-lt", "sha256": "0"})
    splits = {"all": last, "many": 90.0, "med": 70.0, "few": 50.0}
    result = {"last": splits, "dataset": "cifar10-jpeg-lt", "device": "cpu", "torch": "x", "time": "t"}
    write(folder.path / "metrics.json", json.dumps(result | {"train_seconds": 1.0} | best).encode())


def test_every_printed_row_stands_in_the_papers_order_and_says_what_it_is() -> None:
    for number in COMPARISONS:
        rows = TABLES[number].rows
        printed = dict.fromkeys(row.printed for row in rows if row.printed)
        assert list(printed) == [method for _, method in LAYOUTS[number].rows]
        assert {row.printed for row in rows if row.printed} == {method for *_, method in means(number)}
        for row in rows:
            assert bool(row.note) == ((row.printed or "(reported)") != row.method), row
            assert not row.note.endswith(".")


def test_the_rows_of_one_method_share_their_runs(tmp_path: Path) -> None:
    cells = wanted.wanted(SHORT, "quick")
    assert [(cell.row.name, cell.own) for cell in cells] == [("Mixup", False), ("Mixup", True), ("random+FC", False)]
    common, own, same = (cell.config for cell in cells)
    assert common == same == config("random+FC", "cifar10-lt", 100, "quick")
    assert own == replace(common, preset="quick+", epochs=45, drops=(0.5, 5 / 6), batch=64)
    assert len(wanted.missing(SHORT, tmp_path, "quick", [0, 1])) == 4
    assert wanted.missing(SHORT, tmp_path, "quick", [1], ["own"]) == [replace(own, seed=1)]
    finish(tmp_path, common, 70.0)
    assert wanted.missing(SHORT, tmp_path, "quick", [0]) == [own]


def test_a_comparison_shows_both_recipes_the_best_epoch_and_its_notes(tmp_path: Path) -> None:
    common, own, _ = (cell.config for cell in wanted.wanted(SHORT, "quick"))
    for seed in range(2):
        finish(tmp_path, replace(common, seed=seed), 70.0 + seed, best=71.0 + seed)
    finish(tmp_path, own, 74.0)
    cells = tables.entries(2, SHORT, tmp_path, "quick", [0, 1])
    text = markdown(cells)
    head, _, *rows = text.split("\n\n")[0].splitlines()
    assert head == "| " + " | ".join(COMPARED) + " |"
    shared = "cifar10-jpeg-lt | 100 | quick | 70.50 ± 0.71 (2) | 71.50 ± 0.71 (2)"
    assert rows == [
        f"| Mixup | random+FC | {shared} | 74.00 (1) | 72.80 | -2.30 |",
        "| CP-Mix | – | cifar10-lt | 100 | quick | – | – | same | – | – |",  # Table 2 has no such row
        f"| random+FC | random+FC | {shared} | same | 72.94 | -2.44 |",
    ]
    assert text.endswith(
        "\n- Mixup (random+FC): Yang et al.'s. Own recipe: 1.5 times the epochs, drops 0.5 and 0.833, batch 64."
        "\n- CP-Mix: not here.\n"
    )
    assert "it is shown because others report it, and does not count" in text
    assert r"CP-Mix & -- & cifar10-lt & 100 & quick & -- & -- & same & -- & -- \\" in latex(cells)
    assert "Own recipe: 1.5 times the epochs" in latex(cells)
    first, second, _ = csv.DictReader(io.StringIO(as_csv(cells)))
    assert [first[name] for name in ("row", "n", "best_mean", "own_n", "own_mean", "own_std")] == [
        *("Mixup", "2", "71.5000", "1", "74.0000", "")
    ]
    assert (second["row"], second["method"], second["mean"]) == ("CP-Mix", "", "")


def test_a_method_that_the_preset_does_not_allow_is_left_out_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(
        TABLES, 2, replace(SHORT, rows=(Row(printed="", method="bilateral+FC+CMO", note="boxes"), *SHORT.rows))
    )
    monkeypatch.setattr(
        experiments, "with_preset", lambda config, preset: replace(with_preset(config, preset), epochs=3, warmup=0)
    )
    words = ["2", "--preset", "quick", "--store", str(tmp_path), "--device", "cpu", "--seeds", "0", "--dry-run"]
    assert cli.run(lambda: main(words)) == 0
    output = capsys.readouterr()
    assert "bilateral+FC+CMO is not trained: mixing 'cmo' has no box in the first 4 and last 3 epochs" in output.out
    assert "| cifar10-lt | 100 | 0 | 2 | all |" in output.out
    assert cli.run(lambda: main([*words, "--format", "csv"])) == 0
    assert "bilateral+FC+CMO" in capsys.readouterr().out
    assert cli.run(lambda: main(["2", "--preset", "yang"])) == 2  # an impossible preset is an error all the same
    assert "preset 'yang' is unknown for cifar10-lt" in capsys.readouterr().err


def test_a_second_stage_brings_the_run_that_it_starts_from_unless_it_is_finished(tmp_path: Path) -> None:
    part = replace(SHORT, rows=(Row(printed="", method="random+FC+cRT", note="a stage"),))
    (stage,) = (cell.config for cell in wanted.wanted(part, "quick"))
    first = config("random+FC", "cifar10-lt", 100, "quick")
    assert stage.stage1 == first.key
    assert wanted.missing(part, tmp_path, "quick", [0]) == [first, stage]
    finish(tmp_path, first, 70.0)
    assert wanted.missing(part, tmp_path, "quick", [0, 1]) == [stage, replace(first, seed=1), replace(stage, seed=1)]
    finish(tmp_path, replace(stage, seed=1), 74.0)
    assert wanted.missing(part, tmp_path, "quick", [1]) == []
    assert [entry.ours for entry in tables.entries(2, part, tmp_path, "quick", [0, 1])] == [(74.0,)]


def test_corrections_of_finished_runs_are_rows_and_those_that_lack_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [Row(printed="", method="random+FC", correction=title, note="x") for title in ("post-hoc LA", "NCM")]
    part = replace(SHORT, rows=(*SHORT.rows[2:], *rows))
    monkeypatch.setitem(TABLES, 2, part)
    run = wanted.wanted(part, "quick")[0].config
    finish(tmp_path, run, 70.0, best=71.0)
    folder = RunFolder(tmp_path, run)
    assert wanted.uncorrected(part, tmp_path, "quick", [0, 1]) == {folder.path: ["post-hoc LA", "NCM"]}
    words = ["2", "--preset", "quick", "--store", str(tmp_path), "--device", "cpu", "--seeds", "0", "--data-root", "D"]
    assert cli.run(lambda: main([*words, "--dry-run", "--commands"])) == 0
    assert capsys.readouterr().err.splitlines()[:2] == [
        "1 finished run lacks corrections; the same command without --dry-run makes them",
        f"python -m training.posthoc {folder.path} --correction la ncm --data-root D --device cpu",
    ]
    made: list[list[str]] = []

    def corrections(options: Namespace) -> None:
        made.append(options.correction)
        splits = {"all": 75.0, "many": 80.0, "med": 75.0, "few": 70.0}
        (folder.path / "final.safetensors").write_bytes(b"weights")
        rows = [Corrected(correction="la", settings={"tau": 1.0}, last=splits)]
        save(folder, [*rows, Corrected(correction="ncm", settings={"features": "cl2n"}, last=splits | {"all": 76.0})])

    monkeypatch.setattr("training.posthoc.corrections", corrections)
    for _ in range(2):  # the second time nothing is left to correct
        assert cli.run(lambda: main([*words, "--format", "csv"])) == 0
        printed = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert made == [["la", "ncm"]]
    assert [(row["row"], row["mean"], row["best_mean"]) for row in printed] == [
        ("random+FC", "70.0000", "71.0000"),
        ("random+FC, post-hoc LA", "75.0000", ""),
        ("random+FC, NCM", "76.0000", ""),
    ]


def test_rows_of_runs_and_corrections_fill_a_table_without_their_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = Row(printed="", method="random+FC", correction="post-hoc LA", note="x")
    monkeypatch.setitem(TABLES, 2, replace(SHORT, rows=(SHORT.rows[0], row)))
    common, own = (cell.config for cell in wanted.wanted(replace(SHORT, rows=SHORT.rows[:1]), "quick"))
    store, empty, path = tmp_path / "store", tmp_path / "empty", tmp_path / "rows.csv"
    for run, accuracy in ((common, 70.0), (replace(common, seed=1), 71.0), (own, 72.0)):
        finish(store, run, accuracy)
    folder = RunFolder(store, common)
    (folder.path / "final.safetensors").write_bytes(b"weights")
    save(folder, [Corrected(correction=name, last={"all": 75.0}) for name in ("none", "la")])
    words = [
        "2",
        "--preset",
        "quick",
        "--device",
        "cpu",
        "--seeds",
        "0,1",
        "--data-root",
        "D",
        "--dry-run",
        "--format",
        "csv",
    ]

    def printed(*more: str) -> list[tuple[str, ...]]:
        assert cli.run(lambda: main([*words, *more])) == 0
        cells = csv.DictReader(io.StringIO(capsys.readouterr().out))
        return [tuple(cell[name] for name in ("dataset", "row", "n", "mean", "own_n", "own_mean")) for cell in cells]

    of_store = printed("--store", str(store), "--export", str(path))
    assert of_store == [
        ("cifar10-jpeg-lt", "Mixup", "2", "70.5000", "1", "72.0000"),
        ("cifar10-jpeg-lt", "random+FC, post-hoc LA", "1", "75.0000", "0", ""),
    ]
    assert printed("--store", str(empty), "--rows", str(path)) == of_store
    known = by_run(path, "--rows")
    assert len(known) == 4
    assert wanted.missing(TABLES[2], empty, "quick", [0, 1], rows=known) == [replace(own, seed=1)]
    finish(empty, common, 60.0)  # a run of the store counts, not its row
    assert printed("--store", str(empty), "--rows", str(path))[0][3] == "65.5000"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], str]:
    """The words of a command on a store with one run, and the rows that it exports."""
    store = tmp_path_factory.mktemp("exported")
    finish(store, wanted.wanted(SHORT, "quick")[0].config, 70.0)
    words = ["2", "--preset", "quick", "--store", str(store), "--dry-run"]
    assert cli.run(lambda: main([*words, "--export", str(store / "rows.csv")])) == 0
    return words, (store / "rows.csv").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("70.0000", "nan"), "accuracies lie in 0..100"),
        (("70.0000", "101.0"), "accuracies lie in 0..100"),
        (("70.0000", "1e1"), "accuracies lie in 0..100"),
        (("cifar10-jpeg-lt", "a|b"), "dataset must be a name"),
        ((",0,quick", ",-1,quick"), "seed a whole number"),
        ((",best\n", ",key\n"), "has no rows with the columns dataset"),
        ((",many,", ",all,"), "row 2 repeats a run"),
    ],
)
def test_rows_that_no_run_can_have_are_one_line(
    change: tuple[str, str],
    message: str,
    exported: tuple[list[str], str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words, rows = exported
    path = tmp_path / "rows.csv"
    path.write_text(rows.replace(*change))
    assert path.read_text() != rows
    assert cli.run(lambda: main([*words, "--rows", str(path)])) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert message in output.err
    assert len(output.err.splitlines()) == 1


def test_a_table_trains_its_first_stages_then_the_second_ones_and_corrects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        Row(printed="", method="random+FC+MiSLAS", note="a stage"),
        Row(printed="", method="random+FC", correction="post-hoc LA", note="a correction"),
    ]
    monkeypatch.setitem(TABLES, 2, replace(SHORT, rows=tuple(rows), datasets=("digits-lt",), factors=(10,)))
    small = {"epochs": 1, "warmup": 0, "width": 4, "batch": 128}
    monkeypatch.setattr(
        experiments, "with_preset", lambda config, preset: replace(with_preset(config, preset), **small)
    )
    words = ["2", "--preset", "smoke", "--seeds", "0", "--store", str(tmp_path), "--device", "cpu", "--quiet"]
    assert cli.run(lambda: main(words)) == 0
    output = capsys.readouterr()
    assert "missing" not in output.err
    for name in ("random+FC+MiSLAS", "random+FC, post-hoc LA"):
        row = re.escape(f"| {name} | {name} | digits-lt | 10 | smoke | ") + r"\d+\.\d\d \(1\) "
        assert re.search(row, output.out)
    assert len(list(tmp_path.glob("*/seed-0/metrics.json"))) == 2


def test_each_recipe_has_a_command_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(TABLES, 2, SHORT)
    words = [
        "2",
        "--preset",
        "quick",
        "--store",
        str(tmp_path),
        "--device",
        "cpu",
        "--seeds",
        "0",
        "--dry-run",
        "--commands",
    ]

    def dry(words: list[str]) -> tuple[str, list[str]]:
        assert cli.run(lambda: main(words)) == 0
        output = capsys.readouterr()
        return output.out, [line for line in output.err.splitlines() if line.startswith("python -m training.table ")]

    summary, commands = dry(words)
    assert "| cifar10-lt | 100 | 0 | 2 | all |" in summary
    assert "CP-Mix is not trained: not here." in summary
    assert [shlex.split(line)[8:12] for line in commands] == [
        ["--method", "random+FC", "--recipe", "common"],
        ["--method", "random+FC", "--recipe", "own"],
        ["--method", "random+FC", "--seeds", "0"],
    ]
    finish(tmp_path, wanted.wanted(SHORT, "quick")[0].config, 70.0)
    summary, commands = dry(words)
    assert "| cifar10-lt | 100 | 1 | 1 | random+FC by its own recipe |" in summary
    for command in commands:
        assert dry([*shlex.split(command)[3:], "--dry-run", "--commands", "--device", "cpu"])[1] == [command]
    assert len(commands) == 1


@pytest.mark.parametrize("number", COMPARISONS)
def test_every_row_is_a_possible_run_by_both_recipes(number: int) -> None:
    """A method that RunConfig refuses would have no run; names are told apart in tables."""
    table = TABLES[number]
    assert set(table.methods) <= set(METHODS)
    for preset in ("quick", "paper"):
        for cell in wanted.wanted(table, preset):
            assert cell.config.preset == preset + "+" * cell.own
            assert cell.own or cell.config.method == cell.row.method
    keys = {cell.config.key for cell in wanted.wanted(table, "paper")}
    cells = len(table.datasets) * len(table.factors)
    own = {(row.method, row.own.words) for row in table.rows if row.own}
    assert len(keys) == cells * (len(table.methods) + len(own))  # no two methods are one run


def test_a_second_stage_by_the_authors_recipe_starts_from_the_run_by_that_recipe() -> None:
    first, stage = experiments.cell("random+FC+cRT", "cifar10-lt", 100, "quick", OWN)
    assert (first.epochs, first.batch, first.drops, first.preset) == (45, 64, (0.5, 5 / 6), "quick+")
    assert (stage.stage1, stage.batch, stage.preset) == (first.key, 64, "quick+")
    assert stage.epochs == experiments.cell("random+FC+cRT", "cifar10-lt", 100, "quick")[1].epochs
