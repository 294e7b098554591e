"""Every command says at its end what one may do next, or is named here with the reason why not.

A line ``next: ...`` goes to standard error, once, after the result. --json, --quiet and files of rows have none.
"""

from __future__ import annotations

import importlib
import re
import shutil
from pathlib import Path

import pytest

from lpm.console.cli import run as run_command
from tests.training.own import pets, trained
from training.store.runs import find

ROOT = Path(__file__).parents[1]
PACKAGES = ("lpm", "training", "figures", "paper_checks", "benchmarks")

SILENT = {
    "lpm": "it lists commands, which are the next steps",
    "training": "it lists commands, which are the next steps",
    "training.queue": "it says how many runs are left, and that the same command goes on",
    "paper_checks.paper.tables": "it writes this project's own data",
    "benchmarks.*": "they measure this project for its developers",
}
"""Commands without such a line, and why."""

TINY = "--preset smoke --epochs 1 --warmup 0 --width 4 --device cpu --store STORE"
COMMANDS = {
    "lpm.solve": ("--K 4 --R 10", "python -m lpm.threshold, with the same program and classes"),
    "lpm.sweep": ("--K 4 --points 2 --program fc --out OUT", "open OUT/sweep.png; python -m lpm.cures "),
    "lpm.threshold": ("--K 4", "python -m lpm.cures --K 4 --K-A 2 "),
    "lpm.cures": ("--K 4 --alpha 0", "python -m training.compare "),
    "lpm.directions": ("--K 4", "python -m lpm.cures "),
    "figures": ("fig2 --epochs 2 --out OUT", "open OUT/fig2.*png"),
    "paper_checks": ("highest-claims --out OUT", "open OUT/report.html in a browser"),
    "training.split": ("FOLDERS", "python -m training.compare --dataset own --data-root FOLDERS "),
    "training.check": ("D --workers 0", "python -m training.compare --dataset own --data-root D"),
    "training.train": (TINY, "python -m training.diagnose STORE/.* says why"),
    "training.compare": (f"{TINY} --method random+FC", "the same command with --html report.html "),
    "training.confusion": ("RUN", "python -m training.diagnose RUN "),
    "training.report": ("RUN --data-root D --out OUT", "open OUT/report.html in a browser"),
    "training.predict": ("RUN D/test/cat", "with --calibrate the same command prints probabilities"),
    "training.export": ("RUN --format torchscript --data-root D --out OUT", r"torch.jit.load\(.* in OUT"),
    "training.posthoc": ("RUN --data-root D --correction la", "python -m training.diagnose RUN "),
    "training.measure": ("RUN --data-root D", "python -m training.diagnose RUN "),
    "training.diagnose": ("RUN", "python -m training."),
    "training.stage2": (
        "RUN --data-root D --method crt --epochs 1 --warmup 0",
        "python -m training.diagnose .* says why",
    ),
    "training.table": (
        f"2 --dry-run --rows {ROOT}/results/runs.csv --preset quick --imbalance 100 --method BMLS+MS --dataset cifar10-lt "
        "--seeds 0 --store STORE",
        "python -m figures --all --store STORE ",
    ),
}
"""Words of the other commands, and how their line begins."""


CAPITALS = r"\b[A-Z]+\b"


def modules() -> set[str]:
    """All that ``python -m`` starts."""
    files = [
        file.relative_to(ROOT).with_suffix("")
        for package in PACKAGES
        for file in (ROOT / package).rglob("*.py")
        if '__name__ == "__main__"' in file.read_text()
    ]
    return {".".join(file.parts).removesuffix(".__main__") for file in files}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the capital words of a command stand for: images, and a finished run on them."""
    folder = tmp_path_factory.mktemp("next")
    root = pets(folder / "D")
    assert trained(root, folder / "runs") == 0
    (run,) = find(folder / "runs")
    return {"D": str(root), "RUN": str(run.path)}


def test_every_command_has_decided() -> None:
    silent = {name for name in modules() if name in SILENT or f"{name.partition('.')[0]}.*" in SILENT}
    assert modules() == silent | COMMANDS.keys()
    assert not silent & COMMANDS.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_ends_with_a_next_step_and_is_silent_where_rows_are_read(
    name: str, places: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, expected = COMMANDS[name]
    if name == "training.split":
        shutil.copytree(Path(places["D"]) / "train", tmp_path / "FOLDERS")
    stands_for = places | {word: str(tmp_path / word) for word in ("OUT", "STORE", "FOLDERS")}
    main = importlib.import_module(name if "." in name else f"{name}.__main__").main
    words = re.sub(CAPITALS, lambda word: stands_for.get(word[0], word[0]), words)
    expected = re.sub(CAPITALS, lambda word: re.escape(stands_for.get(word[0], word[0])), expected)

    def said(*more: str) -> list[str]:
        assert run_command(lambda: main([*words.split(), *more])) == 0
        printed = capsys.readouterr()
        assert "next: " not in printed.out
        return [line for line in printed.err.splitlines() if line.startswith("next: ")] or [""]

    with pytest.raises(SystemExit):
        main([*words.split(), "--help"])
    has = [option for option in ("--json", "--quiet") if f" {option} " in capsys.readouterr().out.replace("\n", " ")]
    (line,) = said()
    assert re.match(f"next: {expected}", line), line
    for command in re.findall(r"python -m ([\w.]+)", line):
        assert command in modules()
    for option in has:
        assert said(option) == [""]
