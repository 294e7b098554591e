"""Methods side by side."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_ind

from lpm.console.cli import run as run_command
from lpm.console.errors import InvalidInput
from tests.training.own import pets
from training import compare
from training.config import RunConfig
from training.store.results import RunResult
from training.store.runs import RunFolder, find


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return pets(tmp_path / "data")


def test_methods_are_compared_from_the_store_that_they_fill(root: Path, tmp_path: Path, capsys: Any) -> None:
    words = [
        "--dataset",
        "own",
        "--classes",
        "3",
        "--data-root",
        str(root),
        "--store",
        str(tmp_path),
        "--device",
        "cpu",
    ]
    words += ["--preset", "smoke", "--epochs", "1", "--width", "4", "--workers", "0", "--quiet", "--seeds", "0,3"]
    methods = ["--method", "BMLS+MS", "random+FC"]
    assert run_command(lambda: compare.main([*words, *methods])) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0] == "own, preset smoke+ (resnet8, epochs: 1, width: 4)"
    assert table[2] == "| method | all | balanced | med | few | balanced − BMLS+MS |"
    assert [line.split(" | ")[0] for line in table[4:6]] == ["| BMLS+MS", "| random+FC"]
    assert "few: 2 of 3 classes, below 20 training images" in table[-1]
    results = {folder.config.folder: folder.result() for folder in find(tmp_path)}
    assert {(r.method, name[-1]) for name, r in results.items()} == {
        (method, seed) for method in ("BMLS+MS", "random+FC") for seed in "03"
    }
    values = [result.last["balanced"] for result in results.values() if result.method == "BMLS+MS"]
    assert f" {np.mean(values):.2f} ± {np.std(values, ddof=1):.2f} (2) " in table[4].split("|")[3]
    random_values = [result.last["balanced"] for result in results.values() if result.method == "random+FC"]
    assert table[4].endswith("|  |")
    difference, p = compare.against(random_values, values)  # no p where seeds do not differ, as on some processors
    shown = f"{difference:+.2f}" + ("" if math.isnan(p) else f" (p = {p:.2g})")
    assert table[5].split(" | ")[-1] == f"{shown} |"
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*/final.safetensors")}
    assert run_command(lambda: compare.main([*words, *methods, "--format", "csv"])) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    means = [row["mean"] for row in rows if (row["method"], row["split"]) == ("BMLS+MS", "balanced")]
    assert means == [f"{np.mean(values):.6g}"]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*/final.safetensors")} == before


def test_a_method_without_mixup_stands_beside_those_with_it() -> None:
    base = RunConfig(alpha=0.2, ratio_per="sample")
    configs = compare.methods(base, ["random+FC", "random+FC, no mixup"])
    assert [(config.method, config.alpha) for config in configs.values()] == [
        ("random+FC", 0.2),
        ("random+FC, no mixup", 0.0),
    ]
    with pytest.raises(InvalidInput, match=r"^BMLS\+MS: classifier 'ms-unordered' needs mixed images"):
        compare.methods(replace(base, alpha=0.0, ratio_per="batch"), ["BMLS+MS"])


def test_differences_are_from_the_first_method_that_has_runs() -> None:
    def runs(*values: float) -> list[RunResult]:
        return [RunResult(last={"all": value}) for value in values]

    results = {"random+FC": [], "CAS+FC": runs(50.0, 52.0), "BMLS+FC": runs(53.0, 54.0), "BMLS+MS": runs(51.0)}
    table = compare.markdown(RunConfig(), results).splitlines()
    assert table[2] == "| method | all | all − CAS+FC |"
    assert [row.split(" | ")[-1] for row in table[4:8]] == [" |", " |", "+2.50 (p = 0.2) |", "+0.00 |"]
    rows = list(csv.DictReader(compare.as_csv(RunConfig(), results).splitlines()))
    assert [(row["method"], row["against"], row["difference"]) for row in rows] == [
        ("CAS+FC", "", ""),
        ("BMLS+FC", "CAS+FC", "2.5"),
        ("BMLS+MS", "CAS+FC", "0"),
    ]


def test_several_differences_are_corrected_for_their_number() -> None:
    values = {"a": [50.0, 51.0], "b": [54.0, 54.5], "c": [50.5, 50.0], "d": [40.0]}
    results = {method: [RunResult(last={"all": x}) for x in runs] for method, runs in values.items()}
    p = {method: ttest_ind(values[method], values["a"], equal_var=False).pvalue for method in "bc"}
    rows = {row["method"]: row for row in csv.DictReader(compare.as_csv(RunConfig(), results).splitlines())}
    assert p["b"] < p["c"]
    assert float(rows["b"]["p"]) == pytest.approx(p["b"], rel=1e-5)
    assert float(rows["b"]["p_holm"]) == pytest.approx(2 * p["b"], rel=1e-5)
    assert float(rows["c"]["p_holm"]) == pytest.approx(max(p["c"], 2 * p["b"]), rel=1e-5)
    assert (rows["a"]["p_holm"], rows["d"]["p"], rows["d"]["p_holm"]) == ("", "", "")  # itself; a single run
    table = compare.markdown(RunConfig(), results)
    assert f"(p = {p['b']:.2g}, Holm {2 * p['b']:.2g}) |" in table


def test_differences_are_those_of_a_two_sample_test() -> None:
    values, reference = [50.0, 52.5, 51.0], [48.0, 49.5]
    difference, p = compare.against(values, reference)
    assert difference == pytest.approx(np.mean(values) - np.mean(reference))
    assert p == pytest.approx(ttest_ind(values, reference, equal_var=False).pvalue)
    for first, second in (([50.0], reference), (values, [48.0]), ([50.0, 50.0], [48.0, 48.0]), ([], reference)):
        difference, p = compare.against(first, second)
        assert math.isnan(p)
        assert math.isnan(difference) == (not first)


def test_other_methods_are_compared_on_two_classes(capsys: Any) -> None:
    two = RunConfig(dataset="own", classes=2)
    assert list(compare.methods(two, None)) == list(compare.OF_TWO)
    assert list(compare.methods(RunConfig(), None)) == list(compare.USUAL)
    with pytest.raises(InvalidInput, match=r"BMLS\+MS: classifier 'ms-unordered' has one class"):
        compare.methods(two, ["random+FC", "BMLS+MS"])


def test_finished_runs_are_shown_though_others_are_missing(root: Path, tmp_path: Path, capsys: Any) -> None:
    words = ["--dataset", "own", "--data-root", str(root), "--store", str(tmp_path / "s"), "--device", "cpu", "--quiet"]
    words += ["--preset", "smoke", "--epochs", "1", "--width", "4", "--workers", "0", "--method", "random+FC"]
    assert run_command(lambda: compare.main(words)) == 0
    capsys.readouterr()
    missing = RunFolder(tmp_path / "s", replace(next(find(tmp_path / "s")).config, seed=1))
    missing.path.mkdir(parents=True)
    with missing.lock():
        assert run_command(lambda: compare.main([*words, "--seeds", "0-1"])) == 1
    output = capsys.readouterr()
    assert "1 of 2 runs are missing; the same command trains them" in output.err
    assert "(1) |" in output.out
    assert " − " not in output.out
    (root / "test/cat/00.jpg").write_bytes(b"no image")
    assert run_command(lambda: compare.main([*words, "--seeds", "2"])) == 2
    output = capsys.readouterr()
    assert "error: " in output.err
    assert output.out == ""
