"""Methods side by side."""

from __future__ import annotations

import csv
import errno
import math
import os
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lpm.console.cli import run as run_command
from lpm.console.errors import InvalidInput
from tests.training.own import pets
from training import compare
from training.config import RunConfig
from training.jobs import train_all
from training.named import METHODS
from training.store import posthoc
from training.store.runs import RunFolder, find


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return pets(tmp_path / "data")


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def unreadable(*_: object) -> None:
    raise InvalidInput("an image cannot be decoded")


def adjusted(root: Path, store: Path, words: list[str], capsys: Any) -> None:
    """The same comparison with adjusted logits: a row for the method that leaves something to adjust, and for no other."""
    page = store / "page.html"
    assert run_command(lambda: compare.main([*words, "--adjust", "--html", str(page)])) == 0
    table = capsys.readouterr().out.splitlines()
    names = ["BMLS+MS", "random+FC", "random+FC, post-hoc LA"]
    assert [line.split(" | ")[0].strip("| ") for line in table[4:7]] == names
    rows = [posthoc.corrected(folder, "post-hoc LA") for folder in find(store) if folder.result().method == "random+FC"]
    values = [row.last["balanced"] for row in rows if row is not None]
    assert len(values) == 2
    assert f" {np.mean(values):.2f} ± {np.std(values, ddof=1):.2f} (2) " in table[6].split("|")[3]
    assert "random+FC, post-hoc LA" in page.read_text()
    assert run_command(lambda: compare.main([*words, "--adjust", "la", "ncm"])) == 0
    table = [line.split(" | ")[0].strip("| ") for line in capsys.readouterr().out.splitlines()[4:9]]
    assert table == [*names[:2], "BMLS+MS, NCM", names[2], "random+FC, NCM"]
    assert run_command(lambda: compare.main([*words, "--adjust", "la", "la", "--format", "csv"])) == 0
    rows_of = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert {row["n"] for row in rows_of if row["method"].endswith("LA")} == {"2"}  # named twice, counted once
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.run.corrections.Finished.logits", unreadable)
        assert (
            run_command(lambda: compare.main([*words, "--adjust"])) == 2
        )  # which is a failure, not a correction that is not defined
    assert "cannot be decoded" in capsys.readouterr().err
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(posthoc, "save", full)
        assert run_command(lambda: compare.main([*words, "--adjust"])) == 2
    printed = capsys.readouterr()
    assert "No space left" in printed.err
    assert "| random+FC |" in printed.out
    image = next(root.glob("test/*/*"))
    kept = image.read_bytes()
    image.write_bytes(next(path for path in root.glob("test/*/*") if path.read_bytes() != kept).read_bytes())
    assert run_command(lambda: compare.main([*words, "--adjust"])) == 2  # and what was trained is shown
    assert len([line for line in capsys.readouterr().out.splitlines() if line.startswith("| random+FC")]) == 1
    image.write_bytes(kept)


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
    assert table[2] == "| method | all | balanced | med | few | balanced, 95 % | balanced − best |"
    assert [line.split(" | ")[0] for line in table[4:6]] == ["| BMLS+MS", "| random+FC"]
    assert "few: 2 of 3 classes, below 20 training images" in table[8]
    assert table[9].startswith(
        "In balanced accuracy no method differs from BMLS+MS by more than seeds and test images do "
    )
    results = {folder.config.folder: folder.result() for folder in find(tmp_path)}
    assert {(r.method, name[-1]) for name, r in results.items()} == {
        (method, seed) for method in ("BMLS+MS", "random+FC") for seed in "03"
    }
    values = [result.last["balanced"] for result in results.values() if result.method == "BMLS+MS"]
    assert f" {np.mean(values):.2f} ± {np.std(values, ddof=1):.2f} (2) " in table[4].split("|")[3]
    assert sorted(line.split(" | ")[-1] == "best |" for line in table[4:6]) == [False, True]
    assert re.search(r"[+-]?\d+\.\d\d \([+-]\d+\.\d\d to [+-]\d+\.\d\d; p = \S+\) \|", "".join(table[4:6]))
    assert re.match(r"(Best: |No method is shown to be best: )(BMLS\+MS|random\+FC)", table[7])
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*/final.safetensors")}
    assert run_command(lambda: compare.main([*words, *methods, "--format", "csv"])) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    means = [row["mean"] for row in rows if (row["method"], row["split"]) == ("BMLS+MS", "balanced")]
    assert means == [f"{np.mean(values):.6g}"]
    assert {row["test_images"] for row in rows if row["split"] in ("all", "balanced")} == {"7"}
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*/final.safetensors")} == before
    adjusted(root, tmp_path, [*words, *methods], capsys)


def test_a_comparison_that_has_to_end_compares_what_is_finished_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """The clock stands until some runs are done, and then the minutes are over."""
    store, enough = tmp_path / "runs", [2]

    def clock() -> float:
        return math.inf if sum(folder.done for folder in find(store)) >= enough[0] else 0.0

    monkeypatch.setattr(train_all, "time", SimpleNamespace(monotonic=clock))
    words = ["--store", str(store), "--device", "cpu", "--preset", "smoke", "--epochs", "1", "--warmup", "0"]
    words += ["--width", "4", "--quiet", "--seeds", "0-1", "--method", "random+FC", "BMLS+FC"]
    limited = [*words, "--minutes", "1.5", "--html", str(tmp_path / "page.html")]
    assert run_command(lambda: compare.main(limited)) == 0
    printed = capsys.readouterr()
    assert "the time is up: 2 of 4 runs are missing; the same command trains them" in printed.err
    stopped = "Stopped after 1.5 minutes, with 2 of 4 runs finished."
    assert stopped in printed.out.splitlines()
    assert stopped in (tmp_path / "page.html").read_text()
    runs = {(folder.config.method, folder.config.seed) for folder in find(store) if folder.done}
    assert runs == {("random+FC", 0), ("BMLS+FC", 0)}  # both methods with the first seed

    assert run_command(lambda: compare.main(words)) == 0
    assert "Stopped" not in capsys.readouterr().out
    assert sum(folder.done for folder in find(store)) == 4
    enough[0], others = 0, [*words[:-3], "--method", "random+FC", "CAS+FC", "--seeds", "7", "--minutes", "1"]
    assert run_command(lambda: compare.main(others)) == 1  # nothing is finished
    assert "2 of 2 runs are missing" in capsys.readouterr().err
    assert run_command(lambda: compare.main([*limited, "--engine", "ray"])) == 2
    assert "--minutes is for runs on this machine" in capsys.readouterr().err


def test_a_method_without_mixup_stands_beside_those_with_it() -> None:
    base = RunConfig(alpha=0.2, ratio_per="sample")
    configs = compare.methods(base, ["random+FC", "random+FC, no mixup"])
    assert [(config.method, config.alpha) for (config,) in configs.values()] == [
        ("random+FC", 0.2),
        ("random+FC, no mixup", 0.0),
    ]
    with pytest.raises(InvalidInput, match=r"^BMLS\+MS: classifier 'ms-unordered' needs mixed images"):
        compare.methods(replace(base, alpha=0.0, ratio_per="batch"), ["BMLS+MS"])


def test_a_group_leaves_out_what_the_data_do_not_allow(monkeypatch: Any, capsys: Any) -> None:
    """On two classes MS over a < b has nothing to learn: by its name it is refused, in a group it is a line."""
    trained: list[RunConfig] = []

    def train_all(runs: list[RunConfig], options: Any, *, printed: bool) -> int:
        trained.extend(runs)
        return 0

    monkeypatch.setattr("training.jobs.train_all.train_all", train_all)
    monkeypatch.setattr(compare, "config_of", lambda options: RunConfig(dataset="own", classes=2))
    for group, methods in compare.GROUPS.items():
        trained.clear()
        assert compare.main(["--methods", group, "--seeds", "0-1", "--quiet"]) == 1
        left_out = [line for line in capsys.readouterr().err.splitlines() if line.startswith("left out: ")]
        assert any(line.startswith("left out: BMLS+MS: classifier 'ms-unordered' has one class") for line in left_out)
        assert trained[0].method == "random+FC"
        assert {run.seed for run in trained} == {0, 1}
        assert len(trained) == 2 * (len(methods) - len(left_out))
    trained.clear()
    assert compare.main(["--methods", "cheap", "--method", "CAS+FC", "--quiet"]) == 1
    assert [run.method for run in trained[:2]] == ["CAS+FC", "random+FC"]  # all are compared with the named one
    with pytest.raises(InvalidInput, match=r"^BMLS\+MS: classifier 'ms-unordered' has one class"):
        compare.main(["--methods", "cheap", "--method", "BMLS+MS"])


def test_cheap_methods_have_one_stage_and_one_pass() -> None:
    assert set(compare.GROUPS["cheap"]) <= set(compare.GROUPS["all"]) == set(METHODS)
    configs = compare.methods(RunConfig(), compare.GROUPS["cheap"])
    assert {(config.branches, config.stage) for (config,) in configs.values()} == {("none", "none")}


def test_a_caption_hides_no_epochs_of_second_stages() -> None:
    base = RunConfig()
    assert compare.longer(compare.methods(base, ["random+FC", "BBN"])) == ""
    said = compare.longer(compare.methods(base, ["random+FC", "random+FC+cRT", "random+FC+MiSLAS"]))
    assert said == "Second stages train more epochs, on frozen features: random+FC+cRT 30, random+FC+MiSLAS 10.\n"


def test_a_second_stage_comes_after_the_run_that_it_starts_from(monkeypatch: Any) -> None:
    parts: list[list[RunConfig]] = []

    def train_all(runs: list[RunConfig], options: Any, *, printed: bool) -> int:
        parts.append(list(runs))
        return 0

    monkeypatch.setattr("training.jobs.train_all.train_all", train_all)
    words = ["--method", "random+FC+cRT", "random+FC", "BMLS+FC+MiSLAS", "--seeds", "0-1", "--quiet"]
    assert compare.main(words) == 1
    first, second = parts
    assert [(run.method, run.seed) for run in first] == [
        *(("random+FC", 0), ("BMLS+FC", 0), ("random+FC", 1), ("BMLS+FC", 1))
    ]
    assert [run.method for run in second] == ["random+FC+cRT", "BMLS+FC+MiSLAS"] * 2
    assert {(run.stage1, run.seed) for run in second} == {(run.key, run.seed) for run in first}


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
    assert "1 of 2 runs is missing; the same command trains them" in output.err
    assert "(1) |" in output.out
    assert " − " not in output.out
    (root / "test/cat/00.jpg").write_bytes(b"no image")
    assert run_command(lambda: compare.main([*words, "--seeds", "2"])) == 2
    output = capsys.readouterr()
    assert "error: " in output.err
    assert output.out == ""


def test_a_page_that_cannot_be_written_is_said_before_training(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    def nothing(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(compare.tempfile, "TemporaryFile", nothing)
    words = ["--store", str(tmp_path / "s"), "--html", str(tmp_path / "page.html"), "--seeds", "0"]
    assert run_command(lambda: compare.main(words)) == 2
    assert "cannot be written: Read-only file system" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()
