"""Tables from the run store: ours beside the paper's, what is missing and how to fill it, and every export's form."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lpm.console import cli
from lpm.console.errors import InvalidInput
from lpm.console.output import write
from paper_checks.paper.datasets import cifar_lt
from training.config import RunConfig, with_preset
from training.experiments import TABLES, config
from training.jobs import estimate
from training.jobs.progress import in_time
from training.named import METHODS
from training.options import seeds
from training.store import rows as stored
from training.store import tables
from training.store.forms import NOTE, PLAIN, as_csv, latex, markdown
from training.store.rows import COLUMNS, export
from training.store.runs import RunFolder
from training.store.tables import Entry, entries
from training.table import main, seed_list

DATA = {"name": "cifar10-jpeg-lt", "sha256": "0"}
RESULT = {
    "last": {"all": 72.0, "many": 90.0, "med": 70.0, "few": 50.0},
    "dataset": "cifar10-jpeg-lt",
    "device": "cpu",
    "torch": "x",
    "commit": None,
    "time": "t",
    "train_seconds": 1.0,
}
ONE = replace(TABLES[8], datasets=("cifar10-lt",), factors=(100,))
CELL = ["8", "--preset", "quick", "--dataset", "cifar10-lt", "--imbalance", "100"]


@pytest.fixture(autouse=True)
def rate(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks take a millisecond per image, and tests no time to measure it, but for the one that measures."""
    if "measured_for" not in request.node.name:
        monkeypatch.setattr(estimate, "measured", lambda config, device: 0.001)


def finish(store: Path, method: str, seed: int, accuracy: float = 72.0, **changes: Any) -> Path:
    """Put the result of a run of CIFAR-10 at imbalance 100, preset quick, into a store. Returns its file."""
    folder = RunFolder(store, replace(config(method, "cifar10-lt", 100, "quick"), seed=seed))
    folder.open(DATA)
    result = {**RESULT, "last": RESULT["last"] | {"all": accuracy}, **changes}
    write(folder.path / "metrics.json", json.dumps(result).encode())
    return folder.path / "metrics.json"


def table(words: Sequence[str]) -> int:
    """The exit status of ``python -m training.table``, in this process."""
    return cli.run(lambda: main(list(words)))


def test_tables_hold_ours_beside_the_papers_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, accuracy in ((0, 72.0), (1, 73.0)):
        finish(tmp_path, "random+FC", seed, accuracy)
    cells = {(e.method, e.split): e for e in entries(8, ONE, tmp_path, "quick", [0, 1, 2])}
    cell = cells["random+FC", "all"]
    assert cell.ours == (72.0, 73.0)
    assert cell.paper is not None
    assert (cell.paper.mean, cell.paper.std) == (72.94, 0.68)
    assert cell.difference == pytest.approx(-0.44)
    assert not cell.outside
    assert not cells["random+FC", "many"].outside  # another recipe, other data
    assert replace(cells["random+FC", "many"], preset="paper", data="cifar10-lt").outside
    assert cells["BMLS+MS", "all"].mean is None
    words = [*CELL, "--seeds", "0-2", "--store", str(tmp_path), "--export", str(tmp_path / "rows.csv")]
    for form, text in (
        ("markdown", "| random+FC | cifar10-jpeg-lt | 100 | all | quick | 72.50 ± 0.71 (2) | 72.94 ± 0.68 | -0.44 |"),
        ("latex", r"all & quick & 72.50 $\pm$ 0.71 (2) & 72.94 $\pm$ 0.68 & $-0.44$ \\"),
        ("csv", "random+FC,cifar10-jpeg-lt,100,all,quick,2,72.5000,0.7071,72.94,0.68,-0.4400,0,random+FC,,0,,"),
    ):
        assert table([*words, "--dry-run", "--format", form]) == 0
        output = capsys.readouterr()
        assert text in output.out
        said = output.err.splitlines()
        assert said[0] == "13 runs are missing; the same command without --dry-run trains them"
        assert said[1].startswith("they take about 81 min here on cpu, one run after another (by some steps on noise")
        assert said[2].startswith("--commands prints one command per cell")
        assert "not the paper's numbers" in output.err
    lines = (tmp_path / "rows.csv").read_text().splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert len(lines) == 1 + 2 * 4
    from paper_checks import runs

    assert {r.dataset for r in runs.read(tmp_path / "rows.csv")} == {"cifar10-jpeg-lt"}
    assert len(export(tmp_path)) == 8


def missing(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The commands that the last call printed on standard error, one per cell."""
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("python -m training.table ")]


def test_each_missing_cell_has_the_command_that_fills_it_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, data = tmp_path / "a store", tmp_path / "it's $HOME"
    finish(store, "random+FC", 0)
    finish(store, "random+FC", 7)
    finish(store, "CBS+FC", 7)  # and not 0
    words = ["--seeds", "0,7", "--store", str(store), "--data-root", str(data), "--jobs", "2", "--skip-broken"]
    words += ["--data-changed", "ok"]
    assert (
        table(
            [
                *CELL,
                *words,
                "--dry-run",
                "--commands",
                "--method",
                "CBS+FC",
                "--method",
                "random+FC",
                "--method",
                "BMLS+MS",
            ]
        )
        == 0
    )
    commands = missing(capsys)
    shared = f"--seeds 0,7 --preset quick --data-root {shlex.quote(str(data))} --store '{store}' --jobs 2"
    shared += " --skip-broken --data-changed ok"
    assert commands == [
        f"python -m training.table 8 --dataset cifar10-lt --imbalance 100 --method {method} {shared}"
        for method in ("CBS+FC", "BMLS+MS")
    ]
    for line in commands:  # the command of a cell finds that cell missing, and no other
        assert table([*shlex.split(line)[3:], "--dry-run", "--commands"]) == 0
        assert missing(capsys) == [line]
    finish(store, "CBS+FC", 0)
    assert table([*shlex.split(commands[0])[3:]]) == 0  # nothing is left to train
    output = capsys.readouterr()
    assert "| CBS+FC | cifar10-jpeg-lt | 100 | all | quick | 72.00 ± 0.00 (2) |" in output.out
    assert "missing" not in output.err.replace(str(tmp_path), "")  # whose name has the word


def test_a_dry_run_is_short_and_says_how_long_the_runs_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rates = {"cifar10-lt": 0.001, "cifar100-lt": 0.003}
    monkeypatch.setattr(estimate, "measured", lambda config, device: rates[config.dataset])
    assert table(["8", "--store", str(tmp_path), "--dry-run", "--device", "cpu"]) == 0
    output = capsys.readouterr()
    assert len((output.out + output.err).splitlines()) == 2 + 8 + 3
    assert "| cifar100-lt | 50 | 0 | 25 | all |" in output.out
    seconds = sum(
        25 * 200 * rates[f"cifar{K}-lt"] * int(50_000 / K * (1 / f) ** (k / (K - 1)))
        for K in (10, 100)
        for f in TABLES[8].factors
        for k in range(K)
    )
    assert (
        f"they take about {in_time(seconds)} here on cpu, one run after another (by some steps on noise" in output.err
    )
    finish(tmp_path, "random+FC", 0)
    assert table([*CELL, "--store", str(tmp_path), "--dry-run", "--seeds", "0", "--device", "cpu"]) == 0
    assert "| cifar10-lt | 100 | 1 | 4 | CBS+FC, CAS+FC, BMLS+FC, BMLS+MS |" in capsys.readouterr().out
    counts = cifar_lt(10, 100)  # and a run that tells how long it took
    finish(tmp_path, "random+FC", 0, train_counts=counts.tolist(), train_seconds=90 * 60.0)
    assert table([*CELL, "--store", str(tmp_path), "--dry-run", "--seeds", "0", "--device", "cpu"]) == 0
    assert (
        f"they take about 6 h 0 min here on cpu, one run after another (by finished runs of the same networks in {tmp_path})"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize("method", ["random+FC", "BMLS+MS", "BMLS+ETF+DR", "BMLS+MS-WETF+CE"])
def test_steps_are_measured_for_every_kind_of_classifier(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "SECONDS", 0.0)
    small = replace(config(method, "cifar10-lt", 100, "quick"), width=4, batch=8)
    assert 0 < estimate.measured(small, torch.device("cpu")) < 10


def test_images_of_the_tables_are_counted_without_data() -> None:
    for number in TABLES:
        for dataset in TABLES[number].datasets:
            assert estimate.images(config("random+FC", dataset, TABLES[number].factors[0], "paper")) > 9_000


def test_a_whole_table_lists_its_cells_in_the_tables_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert table(["5", "--store", str(tmp_path), "--dry-run", "--commands"]) == 0
    words = [shlex.split(line) for line in missing(capsys)]
    shared = ["--seeds", "0-4", "--preset", "paper", "--data-root", "DIR", "--store", str(tmp_path)]
    assert words == [
        ["python", "-m", "training.table", "5", "--dataset", d, "--imbalance", str(f), "--method", m, *shared]
        for d in TABLES[5].datasets
        for f in TABLES[5].factors
        for m in TABLES[5].methods
    ]


def test_a_data_set_that_is_missing_is_said_before_another_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ready(runs: Sequence[RunConfig], options: Any, *, quiet: bool) -> str:
        if runs[0].dataset == "cifar100-lt":
            raise InvalidInput("there is no CIFAR-100")
        return "data"

    trained: list[str] = []

    def train_all(runs: Sequence[RunConfig], options: Any, *, printed: bool) -> int:
        trained.append(capsys.readouterr().err)
        assert {run.dataset for run in runs} == {"cifar10-lt"}
        return 0

    monkeypatch.setattr("training.jobs.prepare.ready", ready)
    monkeypatch.setattr("training.jobs.train_all.train_all", train_all)
    words = ["8", "--preset", "quick", "--method", "random+FC", "--imbalance", "100", "--seeds", "0-2"]
    assert table([*words, "--data-root", str(tmp_path), "--store", str(tmp_path / "s")]) == 2
    assert trained == ["error: there is no CIFAR-100\nruns to train: 3; the first is resnet8 for 30 epochs\n"]
    assert "6 runs are missing" in capsys.readouterr().err


def test_after_an_error_the_table_is_printed_and_what_is_missing_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(tmp_path, "random+FC", 0)
    words = ["4", "--preset", "quick", "--seeds", "0", "--store", str(tmp_path), "--method", "random+FC"]
    assert table([*words, "--dataset", "cifar10-lt"]) == 2
    output = capsys.readouterr()
    assert output.err.count("error: dataset 'cifar10-lt' needs --data-root") == 1  # not once for each imbalance
    assert "3 runs are missing, for the reasons above\n--commands prints" in output.err
    assert "| random+FC | cifar10-lt | 200 | all | quick | – |" in output.out
    assert "| random+FC | cifar10-jpeg-lt | 100 | all | quick | 72.00 (1) |" in output.out


@given(st.sets(st.integers(0, 40), min_size=1))
def test_seed_lists_are_read_back(numbers: set[int]) -> None:
    assert seeds(seed_list(sorted(numbers))) == sorted(numbers)


def test_names_of_methods_are_those_of_their_runs() -> None:
    for dataset in ("cifar10-lt", "cifar100-lt"):
        runs = [config(m, dataset, 100, "quick") for m in METHODS]
        assert [run.method for run in runs] == list(METHODS)
        assert len({run.key for run in runs}) == len(runs)


def test_the_best_epoch_is_exported_and_files_without_it_are_read(tmp_path: Path) -> None:
    finish(tmp_path / "store", "random+FC", 0, 72.0, best=73.5)
    rows = export(tmp_path / "store")
    assert {row["split"]: row["best"] for row in rows} == {"all": "73.5000", "many": "", "med": "", "few": ""}
    new, old = tmp_path / "new.csv", tmp_path / "old.csv"
    new.write_bytes(stored.as_csv(rows))
    old.write_text("".join(line.rpartition(",")[0] + "\n" for line in new.read_text().splitlines()))
    for path, best in ((new, 73.5), (old, None)):
        (run,) = stored.by_run(path, "--rows").values()
        assert run.best == best
        assert run.last["all"] == 72.0
    new.write_text(new.read_text().replace("73.5000", "173.5"))
    with pytest.raises(InvalidInput, match=r"accuracies lie in 0\.\.100"):
        stored.by_run(new, "--rows")


CELLS = {(e.method, e.split): e for e in entries(8, ONE, Path("nowhere"), "paper", [0])}
FAR = replace(CELLS["random+FC", "all"], ours=(70.0, 71.0), data="cifar10-lt")
ODD = Entry("a_b & c|d", r"50%_#1{}~^\$<>", 10, "all", (1.0,), None, "", "quick")


def test_a_mark_is_explained_where_it_stands() -> None:
    assert FAR.outside
    for text, mark, sign in ((markdown([FAR]), r"\*", "±"), (latex([FAR]), "*", r"$\pm$")):
        row, note = (next(line for line in text.splitlines() if word in line) for word in ("70.50", "Test accuracy"))
        assert row.count("*") == 1
        assert f"{mark} marks one of our means that is outside the paper's mean {sign} standard deviation" in note
    assert "*" not in markdown([CELLS["BMLS+MS", "all"]]).replace(NOTE.replace("*", r"\*"), "")


def test_markdown_has_as_many_columns_in_every_row() -> None:
    head, rule, *rows = markdown([FAR, ODD, *CELLS.values()]).split("\n\n")[0].splitlines()
    assert head == "| " + " | ".join(PLAIN) + " |"
    for row in (rule, *rows):
        assert row.replace(r"\|", "").count("|") == len(PLAIN) + 1
    assert "| BMLS+MS | cifar10-lt | 100 | all | paper | – | 79.67 ± 0.21 | – |" in rows


def test_latex_escapes_what_it_would_read_as_commands() -> None:
    first, *body, last = latex([FAR, ODD, *CELLS.values()]).splitlines()
    assert (first, last) == (r"\begin{tabular}{llllllll}", r"\end{tabular}")
    assert body[2] == (
        r"random+FC & cifar10-lt & 100 & all & paper & 70.50 $\pm$ 0.71 (2) & 72.94 $\pm$ 0.68 & $-2.44$ * \\"
    )
    assert body[3] == (
        r"a\_b \& c\textbar{}d & 50\%\_\#1\{\}\textasciitilde{}\textasciicircum{}\textbackslash{}\$"
        r"\textless{}\textgreater{} & 10 & all & quick & 1.00 (1) & -- & -- \\"
    )
    *rows, rule, note = body
    assert rows.pop(1) == rule == r"\hline"
    for row in rows:
        assert row.endswith(r" \\")
        assert len(row.replace(r"\&", "").split(" & ")) == len(PLAIN)
    assert note.startswith(rf"\multicolumn{{{len(PLAIN)}}}{{p{{0.95\linewidth}}}}{{\footnotesize Test accuracy in \% ")


def test_csv_reads_back() -> None:
    both = replace(FAR, data="cifar10-jpeg-lt, cifar10-lt")
    first, second, third = csv.DictReader(io.StringIO(as_csv([FAR, both, CELLS["BMLS+MS", "many"]])))
    assert first == {
        "method": "random+FC", "dataset": "cifar10-lt", "imbalance": "100", "split": "all", "preset": "paper", "n": "2",
        "mean": "70.5000", "std": "0.7071", "paper_mean": "72.94", "paper_std": "0.68",
        "difference": "-2.4400", "outside": "1", "row": "random+FC", "best_mean": "", "own_n": "0", "own_mean": "", "own_std": "",
    }  # fmt: skip
    assert second == first | {"dataset": "cifar10-jpeg-lt, cifar10-lt", "outside": "0"}
    assert [third[k] for k in ("n", "mean", "std", "difference", "outside")] == ["0", "", "", "", "0"]
    assert (third["paper_mean"], third["paper_std"]) == ("89.14", "0.63")
    none = replace(FAR, ours=(72.9399999,))
    assert next(csv.DictReader(io.StringIO(as_csv([none]))))["difference"] == "0.0000"
    assert markdown([none]).splitlines()[2].endswith("| +0.00 |")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"last": {"all": 1.0}}, "lacks many, med, few; delete it to train the run again"),
        ({"dataset": ["x"]}, "is damaged (dataset); delete it to finish the run again"),
        (
            {"train_seconds": "long", "time": None},
            "is damaged (train_seconds, time); delete it to finish the run again",
        ),
    ],
)
def test_a_damaged_result_is_one_line(
    change: dict[str, Any], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = finish(tmp_path, "random+FC", 0, **change)
    assert table([*CELL, "--store", str(tmp_path), "--dry-run"]) == 2
    assert capsys.readouterr().err == f"error: {str(file)!r} {words}\n"
    if "last" in change:  # on data of one's own a split may have no class
        assert [row["split"] for row in export(tmp_path)] == ["all"]
        return
    with pytest.raises(InvalidInput, match=re.escape(words)):
        export(tmp_path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["12", "--dataset", "cifar100-lt"], "table 12 has no such cell; it has random+ETF+DR, "),
        (["8", "--imbalance", "7"], "table 8 has no such cell"),
        (["8", "--export", "."], "--export '.': that is a folder"),
        (["8", "--export", "none/rows.csv"], "--export 'none/rows.csv': there is no such folder"),
    ],
)
def test_what_cannot_be_printed_is_refused_before_anything_is_trained(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert table([*words, "--store", str(tmp_path / "store")]) == 2
    output = capsys.readouterr()
    assert output.err.startswith(f"error: {message}")
    assert output.err.count("\n") == 1
    assert output.out == ""
    assert not (tmp_path / "store").exists()


def test_what_differs_from_the_preset_is_said() -> None:
    base = with_preset(RunConfig(dataset="own", classes=3, sampler="bmls"), "quick")
    assert tables.setting(base, "own") == "own, preset quick (resnet8, epochs: 30)"
    changed = replace(base, preset="quick+", epochs=3, batch=32, ratio_per="batch-swapped")
    assert tables.setting(changed, "own") == (
        "own, preset quick+ (resnet8, epochs: 3, ratio-per: batch-swapped, batch: 32)"
    )
    assert tables.setting(replace(base, preset="mine"), "own") == "own, preset mine (resnet8, epochs: 30)"


def test_an_export_keeps_the_rows_that_the_store_does_not_have(tmp_path: Path, capsys: Any) -> None:
    rows, words = tmp_path / "rows.csv", ["8", "--preset", "quick", "--store", str(tmp_path / "empty"), "--dry-run"]
    line = [
        "cifar10-lt",
        "100.0",
        "random+FC",
        "all",
        "70.0000",
        "0",
        "quick",
        "30",
        "resnet8",
        "cpu",
        "2",
        "",
        "now",
        "1.0",
    ]
    rows.write_bytes(stored.as_csv([dict(zip(COLUMNS, [*line, "0123456789ab", ""], strict=True))]))
    before = rows.read_bytes()
    assert cli.run(lambda: main([*words, "--export", str(rows)])) in (0, 1)
    assert rows.read_bytes() == before
    finish(tmp_path / "s", "BMLS+MS", 0)
    words[words.index("--store") + 1] = str(tmp_path / "s")
    assert cli.run(lambda: main([*words, "--export", str(rows)])) in (0, 1)
    assert rows.read_bytes().startswith(before)
    assert len(rows.read_bytes().splitlines()) > len(before.splitlines())
    other = tmp_path / "train.txt"
    other.write_text("a.jpg 0\n")
    assert cli.run(lambda: main([*words, "--export", str(other)])) == 2
    assert other.read_text() == "a.jpg 0\n"
