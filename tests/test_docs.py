"""The pages of docs/ and the README: commands parse, code runs, paths and names exist, numbers are those of the code."""

from __future__ import annotations

import argparse
import csv
import importlib
import importlib.util
import pkgutil
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch

from lpm.console.cli import run as run_command
from lpm.family import PROGRAMS, Family
from lpm.pairs import PROFILES
from lpm.threshold import threshold
from paper_checks.__main__ import expected
from paper_checks.catalogue import CHECKS
from paper_checks.lab import Lab
from tests import options_page
from tests.pages import PAGES, ROOT, code, commands, shell_lines, text
from training import experiments
from training.methods import CLASSIFIERS, SAMPLERS

NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
METHOD_PAGES = [name for name in NAMES if name.startswith("docs/practice/methods/") and code(name)]


class Parsed(Exception):
    """A command's words were understood."""


@pytest.fixture
def only_parsing(monkeypatch: pytest.MonkeyPatch) -> None:
    parse = argparse.ArgumentParser.parse_args

    def parse_and_stop(parser: argparse.ArgumentParser, *given: Any, **keywords: Any) -> None:
        parse(parser, *given, **keywords)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)


def _understood(words: list[str], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether a command knows its words; it is stopped before it does anything."""
    name, *options = words
    package = importlib.util.find_spec(name)
    assert package is not None, name
    if package.submodule_search_locations is not None:
        name += ".__main__"
    module = importlib.import_module(name)
    if name.endswith(("scale_table", "options_page")):  # they have no parser
        return len(options) <= 1
    monkeypatch.setattr(sys, "argv", [name, *options])
    try:
        module.main()
    except Parsed:
        return True
    except SystemExit as end:
        return end.code == 0  # --help and --list
    return name == "figures.__main__" and "--all" in options


@pytest.mark.parametrize("page", NAMES)
def test_commands_know_their_words(page: str, only_parsing: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not [words for words in commands(page) if not _understood(words, monkeypatch)]


def test_commands_are_found_on_the_pages() -> None:
    assert len(commands("README.md")) >= 4
    torchrun = commands("docs/practice/large-data.md")[1]
    assert torchrun[:3] == ["training.train", "--dataset", "inaturalist2018"]
    assert ["training.train", "--sampler", "coverage", "--coverage", "0", "--data-root", "D"] in [
        words[:7] for words in commands("docs/reproduce/numbers.md")
    ]


def test_a_wrong_word_is_noticed(only_parsing: None, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    assert not _understood(["training.train", "--samplr", "bmls"], monkeypatch)
    assert not _understood(["lpm.solve", "--program", "fcc"], monkeypatch)


def test_commands_of_the_model_run_as_printed(tmp_path: Path) -> None:
    lines = [line for line in shell_lines("docs/theory/solving.md") if "python -m" in line]
    assert len(lines) == 7
    (tmp_path / "counts.txt").write_text("300\n100\n40\n8\n")
    script = "\n".join(["set -e", f'python() {{ {sys.executable} "$@"; }}', *lines])
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "optimum.npz").exists()
    assert (tmp_path / "sweep-beta/sweep.csv").exists()


def test_claims_are_checked_as_printed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any) -> None:
    main = importlib.import_module("paper_checks.__main__").main
    monkeypatch.chdir(tmp_path)
    (words,) = [words for words in commands("docs/theory/claims.md") if "theorem2" in words]
    assert run_command(lambda: main(words[1:])) == 0
    assert "2 checks: 1 fails as stated, 1 vacuous" in capsys.readouterr().out


def test_parts_drop_into_a_loop_of_ones_own() -> None:
    names: dict[str, Any] = {}
    examples = code("docs/practice/parts.md")
    for example in examples[:3]:
        exec(compile(example, "parts.md", "exec"), names)
        assert torch.isfinite(names.pop("loss"))
    exec(compile(examples[5], "parts.md", "exec"), names)
    assert all(torch.isfinite(names[name]) for name in ("loss", "adjusted", "scaled"))
    assert len(examples) == 6  # tests/training/test_predict.py runs the fourth one, test_samplers.py the fifth


@pytest.mark.parametrize("page", METHOD_PAGES)
def test_methods_drop_into_a_loop_of_ones_own(page: str) -> None:
    for example in code(page):
        names: dict[str, Any] = {}
        exec(compile(example, page, "exec"), names)
        assert torch.isfinite(names["value"] if "value" in names else names["loss"])


def test_library_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    first, own, many = code("docs/theory/solving.md")
    exec(compile(first, "solving.md", "exec"), names)
    loss, lower, gap = (float(x) for x in capsys.readouterr().out.splitlines()[0].split())
    exec(compile(own, "solving.md", "exec"), {})
    exec(compile(many, "solving.md", "exec"), {})
    solution, cosines, R0 = capsys.readouterr().out.splitlines()
    assert "optimum in [" in solution
    assert (cosines.count(","), R0.count(",")) == (5, 1)
    assert lower <= loss
    assert gap <= 1e-6
    assert getattr(names["gram"], "shape", None) == (10, 10)


@pytest.mark.parametrize("page", NAMES)
def test_named_files_exist(page: str) -> None:
    packages = "lpm|training|paper_checks|figures|benchmarks|tests|docs|results"
    paths = re.findall(rf"`((?:{packages})/[\w./-]+)`", text(page))
    assert not [path for path in paths if not (ROOT / path).exists()]


@pytest.mark.parametrize("page", NAMES)
def test_named_functions_exist(page: str) -> None:
    for name in re.findall(r"`((?:lpm|training|paper_checks|figures|benchmarks)(?:\.\w+)+)`", text(page)):
        if not name.endswith(".py"):
            assert pkgutil.resolve_name(name) is not None
    for module in re.findall(r"`python -m ([\w.]+)`", text(page)):
        assert importlib.util.find_spec(module) is not None


def test_options_page_is_what_the_config_says() -> None:
    assert options_page.PAGE.read_text() == options_page.page(), "python -m tests.options_page writes it"


def test_words_explain_every_name_that_an_option_takes() -> None:
    names = {*SAMPLERS, *CLASSIFIERS, *PROGRAMS, *PROFILES}
    assert not sorted(name for name in names if f"`{name}`" not in text("docs/words.md"))


def test_tree_lists_every_file_and_no_other() -> None:
    listed = set()
    for room, files in re.findall(
        r"^## `([\w/]+)/`\n(.*?)(?=^## )", text("docs/contribute/tree.md"), re.MULTILINE | re.DOTALL
    ):
        listed |= {f"{room}/{name}" for name in re.findall(r"^\| `(\w+\.py)` \|", files, re.MULTILINE)}
    packages = ("lpm", "training", "paper_checks", "figures", "benchmarks", "tests")
    paths = [path for package in packages for path in (ROOT / package).rglob("*.py") if path.name != "__init__.py"]
    files = {str(path.relative_to(ROOT)) for path in paths}
    assert listed == files


def test_api_has_a_page_for_every_room_and_its_files() -> None:
    shown = set()
    for page in (ROOT / "docs/api").glob("*.md"):
        content = page.read_text()
        for name in re.findall(r"^::: ([\w.]+)$", content, re.MULTILINE):
            whole = "show_submodules: true" in content
            files = (
                (ROOT / name.replace(".", "/")).glob("[a-z]*.py")
                if whole
                else [ROOT / (name.replace(".", "/") + ".py")]
            )
            shown |= {str(path.relative_to(ROOT)) for path in files}
    packages = ("lpm", "training", "paper_checks", "figures")
    files = {str(path.relative_to(ROOT)) for package in packages for path in (ROOT / package).rglob("[a-z]*.py")}
    assert files <= shown


def test_threshold_table_is_what_the_code_gives() -> None:
    page = text("docs/theory/collapse.md")
    rows = re.findall(r"^\| `(plain|fc|ms|ms-free)`[^|]*\|([^|]*)\| ([\d.]+|none) \|$", page, flags=re.MULTILINE)
    assert len(rows) == 8
    for program, profile, printed in rows:
        name = re.search(r"`(\w+)`", profile)
        R0 = threshold(Family(program, name.group(1) if name else "")).R0
        digits = len(printed.partition(".")[2])
        assert printed == ("none" if R0 is None else f"{R0:.{digits}f}")


RESULTS = re.compile(r"^\| ([^|]*), (\d+) epochs: all \|(.*)\|\n\| few \|(.*)\|$", flags=re.MULTILINE)
"""A network, its epochs, and two lines with one cell per method."""

TRAINED = (
    *("random+FC", "CAS+FC", "BMLS+FC", "BMLS+MS"),
    "random+FC, no mixup, post-hoc LA",
    "random+cosine+LDAM+DRW, no mixup",
)
"""The methods of these cells."""


@pytest.mark.parametrize("page", ["README.md", "docs/reproduce/cures.md"])
def test_results_are_those_of_the_rows(page: str) -> None:
    rows, table8 = (
        list(csv.DictReader(text(name).splitlines())) for name in ("results/runs.csv", "paper_checks/data/table8.csv")
    )
    results = RESULTS.findall(text(page))
    assert len(results) >= 3
    for network, epochs, *lines in results:
        for split, line in zip(("all", "few"), lines, strict=True):
            for method, cell in zip(TRAINED, line.split("|"), strict=True):
                if network.startswith("the paper"):
                    if not cell.strip():  # which is not in the paper's table
                        assert "no mixup" in method
                        continue
                    key = ("cifar10-lt", "100", method, split)
                    assert cell.split()[0] in [r["mean"] for r in table8 if tuple(r.values())[:4] == key]
                    continue
                trained = method.removesuffix(", post-hoc LA")
                config = experiments.config(trained, "cifar10-lt", 100, "quick" if "8" in network else "paper")
                if config.epochs != int(epochs):
                    config = replace(config, epochs=int(epochs), preset=config.preset + "+")
                accuracies = [
                    float(r["accuracy"])
                    for r in rows  # corrections of a run have its config, and a name of their own
                    if (r["config"], r["method"], r["split"]) == (config.key, method, split)
                ]
                number = f" ({len(accuracies)})" if split == "all" else ""
                assert cell.strip() == (f"{fmean(accuracies):.2f}{number}" if accuracies else "")


@pytest.mark.parametrize(("page", "number"), [("README.md", 6), ("docs/theory/claims.md", 13)])
def test_verdicts_are_those_on_record(page: str, number: int) -> None:
    rows = re.findall(r"^\| `([a-z0-9-]+)` [^|]*\| ([a-z ]+) \|", text(page), flags=re.MULTILINE)
    assert len(rows) == number
    assert dict(rows).items() <= expected().items()
    assert f"checks {len(CHECKS)} claims" in text(page)


def test_evidence_beside_the_verdicts_is_that_of_the_checks() -> None:
    evidence = {c.id: c.run(Lab()).evidence for c in CHECKS if c.id in ("significance", "highest-claims")}
    assert "of 80 winners" in evidence["significance"]
    assert "33 after Holm" in evidence["significance"]
    assert "best in 6 of 6 columns" in evidence["highest-claims"]


def test_the_table_of_the_digits_is_the_same_on_both_pages() -> None:
    tables = [
        re.findall(r"^\| (?:digits-lt|[\w]+\+(?:FC|MS) \|).*$", text(page), flags=re.MULTILINE)
        for page in ("README.md", "docs/practice/training.md")
    ]
    assert len(tables[0]) == 5
    assert tables[0] == tables[1]
