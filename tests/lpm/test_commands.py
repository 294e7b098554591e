"""The commands as a user runs them: results, files, and one clear line for every error."""

from __future__ import annotations

import csv
import errno
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from lpm import mixing, pairs, programs, rows, solve, sweep, threshold
from lpm.console import cli, output, rounding
from lpm.family import Family
from lpm.rows import Row

COMMANDS = {"solve": solve.main, "sweep": sweep.main, "threshold": threshold.main}


def run(command: str, *arguments: str) -> int:
    """Run ``python -m lpm.<command>`` in this process and return its exit status."""
    try:
        return cli.run(lambda: COMMANDS[command](list(arguments)))
    except SystemExit as exit:
        return int(exit.code or 0)


@pytest.mark.usefixtures("drawn_pictures")
def test_sweep_writes_what_it_promises(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "sweep"
    assert run("sweep", "--K", "4", "--points", "5", "--out", str(out)) == 0
    text = capsys.readouterr().out
    assert {p.name for p in out.iterdir()} == {"sweep.csv", "thresholds.csv", "sweep.png", "sweep.pdf", "manifest.json"}
    assert [p.name for p in tmp_path.iterdir()] == ["sweep"]
    with (out / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5 * len(sweep.DEFAULT)
    expected = "program profile K K_A R lam E_H E_W decay loss objective lower_bound upper_bound gap relative_gap "
    expected += "cos_AA cos_AB cos_BB norm_A norm_B collapsed solver seconds"
    assert list(rows[0]) == expected.split()
    assert [row["R"] for row in rows[:5]] == ["1", "10", "100", "1000", "10000"]
    assert list(sweep.grid(1.0, 1e4, 41)[::10]) == [1.0, 10.0, 100.0, 1000.0, 10000.0]
    np.testing.assert_allclose(np.diff(np.log10(sweep.grid(0.5, 30.0, 7))), np.log10(60) / 6)
    for row in rows:
        loss, lower, gap = (float(row[name]) for name in ("loss", "lower_bound", "gap"))
        assert 0 <= gap <= 1e-6 * loss
        assert Fraction(lower) <= Fraction(loss) - Fraction(gap) <= Fraction(lower) * (1 + Fraction(1, 10**15))
        assert loss < float(row["upper_bound"])
        assert float(row["relative_gap"]) == gap / loss
        assert (row["collapsed"] == "True") == (float(row["cos_BB"]) > 1 - 1e-12)
    with (out / "thresholds.csv").open() as file:
        thresholds = {(row["program"], row["profile"]): row for row in csv.DictReader(file)}
    assert thresholds["fc", "balanced"]["R0"] == ""
    product = thresholds["fc", "product"]
    assert float(product["bracket_low"]) < float(product["R0"]) < float(product["bracket_high"])
    assert "297.84" in text
    assert "none" in text
    assert (out / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "sweep.pdf").read_bytes().startswith(b"%PDF")
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["tool"] == "lpm.sweep"
    assert manifest["complete"]
    assert {"command", "versions", "commit", "time"} <= set(manifest)


@pytest.mark.usefixtures("drawn_pictures")
@pytest.mark.parametrize(
    ("words", "settings"),
    [
        ([], "K = 4, K_A = 2, λ = 0.5, E_H = 5, E_W = 1"),
        (["--program", "plain", "--E-W", "2"], "K = 4, K_A = 2, E_H = 5, E_W = 2"),
        (
            ["--program", "fc", "--profile", "product", "--K", "6", "--K-A", "2", "--alpha", "0.2", "--w-r", "3"],
            "K = 6, K_A = 2, λ ~ Beta(0.2), E_H = 5, E_W = 1, w_r = 3",
        ),
        (["--program", "fc", "--budget", "eq7"], "K = 4, K_A = 2, λ = 0.5, E_H = 5, E_W = 1, budget eq7"),
    ],
)
def test_the_picture_of_a_sweep_bears_its_settings(
    words: list[str], settings: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure

    texts = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: texts.append(figure.get_supxlabel()))
    assert run("sweep", *words, "--points", "2", "--quiet", "--out", str(tmp_path / "x")) == 0
    assert texts == [f"imbalance R = n_A / n_B\n{settings}"] * 2


def test_a_sweep_without_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--points", "2", "--program", "plain", "--no-picture", "--out", str(tmp_path / "sweep")]
    assert sweep.main(words) == 0
    assert {p.name for p in (tmp_path / "sweep").iterdir()} == {"sweep.csv", "thresholds.csv", "manifest.json"}
    assert json.loads((tmp_path / "sweep" / "manifest.json").read_text())["complete"]
    assert "sweep.png" not in capsys.readouterr().err


def test_sweep_replaces_only_its_own_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "results"
    arguments = ["--program", "plain", "--points", "2", "--quiet", "--out", str(out)]
    assert run("sweep", *arguments) == 0
    assert run("sweep", *arguments) == 0  # its own output is replaced
    (out / "thesis.tex").write_text("years of work")
    assert run("sweep", *arguments) == 2
    assert "holds files of another origin (thesis.tex)" in capsys.readouterr().err
    assert (out / "thesis.tex").read_text() == "years of work"
    assert [p.name for p in tmp_path.iterdir()] == ["results"]
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "manifest.json").write_text('{"tool": "other", "files": []}')
    assert run("sweep", "--quiet", "--out", str(foreign)) == 2
    (tmp_path / "file").write_text("x")
    assert run("sweep", "--quiet", "--out", str(tmp_path / "file")) == 2
    assert run("sweep", "--quiet", "--out", str(tmp_path / "file" / "below")) == 2
    link = tmp_path / "link"
    link.symlink_to(out)
    assert run("sweep", *arguments[:-1], str(link)) == 2
    (out / "thesis.tex").unlink()
    (out / "folder").mkdir()
    assert run("sweep", *arguments) == 2
    assert all(line.startswith("error: --out") for line in capsys.readouterr().err.splitlines())
    loop = tmp_path / "loop"
    loop.symlink_to(loop.name)
    assert run("sweep", "--quiet", "--out", str(loop)) == 2


def test_without_a_checkout_the_commit_is_what_one_says(monkeypatch: pytest.MonkeyPatch) -> None:
    commit = output.provenance()["commit"]
    monkeypatch.setenv("COMMIT", "abc")
    assert output.provenance()["commit"] == commit or commit is None
    monkeypatch.setenv("PATH", "")  # no git
    monkeypatch.setattr(output, "_checked_out", output._checked_out.__wrapped__)  # which a process asks only once
    assert output.provenance()["commit"] == "abc"
    for no_name in ("", "\x1b[31m"):
        monkeypatch.setenv("COMMIT", no_name)
        assert output.provenance()["commit"] is None


INTERRUPTED = """
import signal, sys
from lpm import sweep, tasks
from lpm.console import cli

rows, solve_rows = [], tasks.solve_rows

def interrupted(points, **choices):
    if len(rows) == 7:
        signal.raise_signal(signal.Signals[sys.argv[1]])
    rows.extend(solve_rows(points, **choices))
    return rows[-len(points):]

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background processes ignore the signal
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # as do those that nohup started
tasks.BATCH, tasks.solve_rows = 7, interrupted
sys.exit(cli.run(lambda: sweep.main(sys.argv[2:])))
"""
"""A sweep that gets a signal, such as SIGINT from Ctrl-C, while it solves its second batch of rows."""


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [("SIGINT", 130, "interrupted"), ("SIGTERM", 143, "ended by SIGTERM"), ("SIGHUP", 129, "ended by SIGHUP")],
)
def test_interrupted_sweep_keeps_its_rows(name: str, status: int, words: str, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    command = [sys.executable, "-c", INTERRUPTED, name, "--points", "10", "--quiet", "--out", str(out)]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == status, ended.stderr
    assert ended.stderr.startswith(f"{words}: kept 7 of {10 * len(sweep.DEFAULT)} rows in")
    assert len((out / "sweep.csv").read_text().splitlines()[1:]) == 7
    assert not json.loads((out / "manifest.json").read_text())["complete"]
    assert [p.name for p in tmp_path.iterdir()] == ["sweep"]


def test_a_sweep_leaves_out_rows_that_are_not_certified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    budgets = ["--E-H", "30", "--E-W", "30", "--points", "5", "--quiet"]
    assert run("sweep", *budgets, "--out", str(tmp_path / "x")) == 1
    error = capsys.readouterr().err
    assert re.search(r"^not certified: plain at R = 1, 10, 100 and 2 more: orbits: relative gap", error)
    assert "incomplete: kept 30 of 40 rows in" in error
    manifest = json.loads((tmp_path / "x" / "manifest.json").read_text())
    assert not manifest["complete"]
    assert {(r["name"], r["R"]) for r in manifest["refusals"]} >= {("plain", 1.0), ("plain", 10.0)}
    assert len((tmp_path / "x" / "sweep.csv").read_text().splitlines()) == 31
    assert run("sweep", *budgets, "--program", "plain", "--out", str(tmp_path / "y")) == 1
    assert "not certified: plain at R = 1" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize(
    "reason", [ChildProcessError("a process was killed; take fewer --jobs"), MemoryError("no room")]
)
def test_a_sweep_keeps_its_rows_when_its_workers_are_lost(
    reason: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lose(tasks: object, **_: object) -> Iterator[object]:
        yield Family("plain"), rows.solve_row(Family("plain"), 1.0)
        raise reason

    monkeypatch.setattr(sweep, "solved", lose)
    assert run("sweep", "--points", "2", "--quiet", "--out", str(tmp_path / "x")) == 1
    assert capsys.readouterr().err.startswith(f"error: {reason}: kept 1 of")
    assert len((tmp_path / "x" / "sweep.csv").read_text().splitlines()) == 2


def test_pictures_that_the_disk_has_no_room_for_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_: object, __: object, paths: list[Path], ___: str) -> None:
        paths[0].write_bytes(b"half a picture")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("lpm.plot.plot_sweep", full)
    assert run("sweep", "--program", "plain", "--points", "2", "--quiet", "--out", str(tmp_path / "x")) == 1
    assert "No space left on device: kept 2 of 2 rows in" in capsys.readouterr().err
    names = {"sweep.csv", "thresholds.csv", "manifest.json", sweep.JOURNAL}
    assert {p.name for p in (tmp_path / "x").iterdir()} == names
    assert not json.loads((tmp_path / "x" / "manifest.json").read_text())["complete"]


def test_full_disk_is_one_line_and_leaves_the_old_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--program", "plain", "--points", "2", "--quiet", "--out", str(tmp_path / "x")]
    assert run("sweep", *arguments) == 0
    before = (tmp_path / "x" / "sweep.csv").read_bytes()

    def full(path: Path, rows: object) -> None:
        path.write_text("half a line")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sweep, "write_csv", full)
    assert run("sweep", *arguments) == 1
    assert capsys.readouterr().err.startswith("error: [Errno 28] No space left on device")
    assert (tmp_path / "x" / "sweep.csv").read_bytes() == before
    (left,) = set(tmp_path.iterdir()) - {tmp_path / "x"}
    assert {p.name for p in left.iterdir()} == {sweep.JOURNAL, ".lock"}  # from which the same command goes on


def test_sweep_choices_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--points", "2", "--out", str(tmp_path / "x"), "--json"]
    assert run("sweep", "--program", "ms-unordered", "--lam", "0.3", "--K", "5", *out) == 0
    result = json.loads(capsys.readouterr().out)
    assert {row["program"] for row in result["rows"]} == {"ms-unordered"}
    assert result["thresholds"] == {}  # the order a < b leaves no exchangeable minority
    assert run("sweep", "--profile", "distinct", "--K", "3", *out) == 0
    result = json.loads(capsys.readouterr().out)
    assert {row["program"] for row in result["rows"]} == {"fc", "ms", "ms-free"}
    assert run("sweep", "--budget", "eq7", *out) == 0
    assert {row["profile"] for row in json.loads(capsys.readouterr().out)["rows"]} == {"block"}
    assert run("sweep", "--alpha", "1", "--nodes", "4", "--program", "fc", "--profile", "product", *out) == 0
    assert {row["lam"] for row in json.loads(capsys.readouterr().out)["rows"]} == {"Beta(1)"}


def test_solve_prints_and_saves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counts = "5000,2997,1796,1077,645,387,232,139,83,50"
    assert run("solve", "--counts", counts, "--json", "--save", str(tmp_path / "x.npz")) == 0
    result = json.loads(capsys.readouterr().out)
    names = {"loss", "lower_bound", "gap", "relative_gap", "cosines", "norms", "rank", "collapsed", "solver", "seconds"}
    assert names <= set(result)
    assert np.shape(result["cosines"]) == (10, 10)
    with np.load(tmp_path / "x.npz") as stored:
        assert stored["Z"].shape == (100, 10)
        np.testing.assert_allclose(stored["H"] @ stored["W"].T, stored["Z"], atol=1e-9)
        np.testing.assert_allclose(np.linalg.norm(stored["W"], axis=1), result["norms"], atol=1e-6)
    assert [p.name for p in tmp_path.iterdir()] == ["x.npz"]
    assert run("solve", "--counts", "3,5,3,1") == 0
    lines = [line.split()[:3] for line in capsys.readouterr().out.splitlines()[-3:]]
    assert lines == [["0", "5", "1"], ["1", "3", "2"], ["2", "1", "1"]]  # group, count, classes
    assert run("solve", "--counts", "3,5,3,1", "--json") == 0
    assert json.loads(capsys.readouterr().out)["group_of"] == [1, 0, 1, 2]
    assert run("solve", "--counts", ",".join(map(str, range(1, 19))), "--profile", "balanced") == 0
    assert capsys.readouterr().out.splitlines()[-1].split()[:5] == ["0", "1", "to", "18", "18"]
    assert run("solve", "--K", "10", "--R", "100", "--program", "plain") == 0
    assert "collapsed" in capsys.readouterr().out
    for extra in (["--K", "8142", "--R", "50"], ["--program", "ms-free", "--counts", "9,3,1"]):
        assert run("solve", "--json", *extra) == 0
    big, small = capsys.readouterr().out.split("}\n{")
    assert json.loads(big + "}")["cosines"] is None
    assert np.shape(json.loads("{" + small)["cosines"]) == (9, 9)


def test_saving_removes_what_a_killed_command_left_of_the_same_file(tmp_path: Path) -> None:
    for name in (".x.npz.999999999", ".x.npz.mine", ".y.npz.999999999"):
        (tmp_path / name).write_bytes(b"half")
    assert run("solve", "--quiet", "--save", str(tmp_path / "x.npz")) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"x.npz", ".x.npz.mine", ".y.npz.999999999"}


def test_solve_reads_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    losses = []
    for name, text in {
        "a.csv": "1,2,3\n4,5,6\n7,8,9\n",
        "b.txt": "1 2 3\n\n4 5 6\n7 8 9",
        "c.csv": "1;2;3\n4;5;6\n7;8;9",
    }.items():
        (tmp_path / name).write_text(text)
        assert run("solve", "--table", str(tmp_path / name), "--json") == 0
        losses.append(json.loads(capsys.readouterr().out)["loss"])
    assert losses[0] == losses[1] == losses[2]


def test_threshold_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("threshold", "--program", "plain", "--K", "10") == 0
    assert "R0 = 12.19245 (certified in [12.192" in capsys.readouterr().out
    assert run("threshold", "--program", "fc", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["bracket"][0] < result["R0"] < result["bracket"][1]
    assert result["collapsed_above"]
    assert run("threshold", "--profile", "balanced", "--json") == 0
    assert json.loads(capsys.readouterr().out)["R0"] is None


WITHOUT_CERTIFICATE = [
    "--program",
    "fc",
    "--profile",
    "block",
    "--lam",
    "0.1",
    "--E-H",
    "60",
    "--R-min",
    "1e9",
    "--R-max",
    "1e11",
]
"""A threshold at losses too small for float64."""


def test_a_threshold_without_a_certificate_is_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("threshold", *WITHOUT_CERTIFICATE) == 1
    text = capsys.readouterr().out
    assert "R0 is not certified" in text
    assert "R0 =" not in text
    assert run("threshold", *WITHOUT_CERTIFICATE, "--json") == 1
    result = json.loads(capsys.readouterr().out)
    assert (result["R0"], result["bracket"], result["certified"], result["proofs"]) == (None, None, False, [])


def test_the_package_lists_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    from lpm import __main__ as package

    for words in ([], ["--help"]):
        assert package.main(words) == 0
        text = capsys.readouterr().out
        assert re.findall(r"python -m lpm\.(\w+)", text) == ["solve", "sweep", "cures", "threshold", "directions"]
    assert package.main(["solve", "--K", "4"]) == 2
    assert capsys.readouterr() == ("", "error: 'solve' is no option of python -m lpm; type python -m lpm.solve\n")
    assert package.main(["solv\x1b"]) == 2
    assert (
        capsys.readouterr().err
        == "error: 'solv\\x1b' is no option of python -m lpm; commands: solve, sweep, cures, threshold, directions\n"
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_help_comes_in_groups_and_names_every_default(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command, "--help") == 0
    text = capsys.readouterr().out
    groups = re.findall(r"^(\w+):$", text, flags=re.MULTILINE)
    assert groups[:4] == ["options", "program", "classes", "budgets"]
    assert groups[-1] == "output"
    assert not text.split("options:")[1].split("program:")[0].replace("-h, --help", "").count(" --")
    described = re.split(r"\n  (?=--)", text)[1:]
    assert len(described) >= 15
    for words in described:
        option, *rest = words.split(maxsplit=1)
        takes_value = re.match(r"--[\w-]+ [A-Z]", words)
        assert ("(default: " in re.sub(r"\s+", " ", rest[0])) == bool(takes_value and option not in WITHOUT_DEFAULT)


WITHOUT_DEFAULT = ("--alpha", "--decay", "--counts", "--counts-file", "--table", "--save", "--address")
"""Options without which something is not done."""


BAD = [
    (
        "threshold --counts 3,2,1",
        "--counts does not apply: the command varies the imbalance R = n_A / n_B of K_A frequent",
    ),
    ("threshold --counts-file=x", "counts of your own have no R; `python -m lpm.solve` solves at them"),
    ("sweep --table x", "--table does not apply: the command varies the imbalance"),
    ("sweep --R 5", "--R does not apply: give the range --R-min and --R-max; `python -m lpm.solve` solves at one R"),
    ("solve --R-max 5", "--R-max does not apply: it solves at one R"),
    ("solve --K 1", "K = 1 must lie in 2.."),
    ("solve --K 1000000000000", "K = 1000000000000 must lie in 2.."),
    ("solve --R 1e200", "R = 1e+200 must be positive, within"),
    ("solve --counts 1,1e300", "their ratio must not exceed"),
    ("sweep --out .", "is the current folder or above it"),
    ("sweep --out ..", "is the current folder or above it"),
    ("solve --K 4 --K-A 4", "K_A = 4 is outside 1..3"),
    ("solve --K 4 --K-A 0", "K_A = 0 is outside 1..3"),
    ("solve --R 0", "R = 0 must be positive"),
    ("solve --R nan", "R = nan must be positive"),
    ("solve --lam 1", "lambda = 1 is outside (0, 1)"),
    ("solve --lam nan", "lambda = nan is outside (0, 1)"),
    ("solve --alpha 0", "alpha = 0 must be positive"),
    ("solve --alpha 1 --nodes 0", "nodes = 0 must lie in 1..200"),
    ("solve --nodes 4", "--nodes 4 applies only to --alpha"),
    ("solve --lam 0.5 --alpha 1", "exclude each other"),
    ("solve --E-H 0", "E_H = 0 must be positive"),
    ("solve --E-W -1", "E_W = -1 must be positive"),
    ("solve --w-r 0", "w_r = 0 must be positive"),
    ("solve --counts 1,-2,3", "count of class 1 is -2"),
    ("solve --counts 1,nan", "count of class 1 is nan"),
    ("solve --counts 0,0", "count of class 0 is 0, must be positive and finite; drop the class"),
    ("solve --counts 900,300,0", "count of class 2 is 0, must be positive and finite; drop the class"),
    ("solve --program ms-unordered --K 10000000 --lam 0.3", "take lambda 1/2, fewer classes or fewer --nodes"),
    ("solve --program ms-unordered --K 8142 --lam 0.3", "take lambda 1/2, fewer classes or fewer --nodes"),
    ("solve --program ms-unordered --K 8142 --alpha 0.2", "take lambda 1/2, fewer classes or fewer --nodes"),
    ("solve --program ms-unordered --K 5 --R 10 --lam 1e-170", "at lambda = 1e-170: C of the"),
    (
        f"solve --program ms-free --counts {','.join(map(str, range(1, 150)))}",
        "too many for 'ms-free'; round the counts",
    ),
    ("solve --counts 5", "at least 2 classes"),
    ("solve --counts 5,x", "not a comma-separated list"),
    ("solve --counts 5,4,3 --K 4", "--counts has 3 classes, --K says 4"),
    ("solve --counts 5,4,3 --K-A 1", "--K-A 1 does not apply with --counts"),
    ("solve --counts 5,4,3 --R 100", "--R and --w-r do not apply with --counts"),
    ("solve --counts 1e308,1e308", "must not exceed"),
    ("solve --tolerance inf", "tolerance = inf must be positive, at most 1"),
    ("solve --counts 5,4,3 --profile block", "profile 'block' is defined for a majority"),
    ("solve --program fcc", "'fcc' is unknown, did you mean 'fc'?"),
    ("solve --profile balancd", "did you mean 'balanced'?"),
    ("solve --solver orbit", "did you mean 'orbits'?"),
    ("solve --lamda 0.5", "option '--lamda' is unknown, did you mean '--lam'?"),
    ("solve --K x", "invalid int value: 'x'"),
    ("solve --budget eq7", "budget 'eq7' needs profile 'block'"),
    ("solve --program plain --budget eq7", "budget 'eq7' is defined for fc, ms and ms-free"),
    ("solve --program ms-unordered --K 2", "K must be at least 3"),
    ("solve --K 9 --solver sdp", "90 wide, more than 42"),
    ("solve --K 2000 --solver factored", "use --solver orbits"),
    ("solve --tolerance 0", "tolerance = 0 must be positive"),
    ("solve --save /nonexistent/x.npz", "cannot be written: it must be a file in a folder that exists"),
    ("solve --save .", "cannot be written: it must be a file in a folder that exists"),
    ("solve --save /proc/x.npz", "cannot be written: No such file"),
    ("solve --table /nonexistent.csv", "cannot be read: No such file"),
    ("solve --table .", "cannot be read: Is a directory"),
    ("sweep --R-min 10 --R-max 1", "0 < R_min < R_max"),
    ("sweep --points 1", "points = 1 must lie in"),
    ("sweep --K 4 --K-A 9 --out never", "K_A = 9 is outside 1..3"),
    ("sweep --out /proc/x", "cannot be written"),
    ("threshold --R-max inf", "both within 1e+60"),
    ("threshold --R-min 1e-308 --R-max 1e308", "both within 1e+60"),
    ("solve --alpha 1e300", "alpha = 1e+300 must be positive, within"),
    ("solve --E-H 1e300", "E_H = 1e+300 must be positive, within"),
    ("threshold --K 4 --K-A 3", "two or more exchangeable minority classes"),
]


@pytest.mark.parametrize(("line", "message"), BAD, ids=[line for line, _ in BAD])
def test_bad_input_is_one_line_and_status_2(
    line: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*line.split()) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("counts", ["5,0,3", "5,-1,3", "5,nan,3", "5,inf,3"])
def test_both_options_for_counts_refuse_the_same(
    counts: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "counts").write_text(counts.replace(",", "\n"))
    for words in (["--counts", counts], ["--counts-file", str(tmp_path / "counts")]):
        assert run("solve", *words) == 2
        assert re.search(r"positive and finite; drop the class\n$", capsys.readouterr().err)


def test_a_loss_of_0_is_not_certified(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("solve", "--program", "plain", "--E-W", "1e6", "--solver", "sdp") == 1
    assert capsys.readouterr().err.startswith("not certified: sdp")


@pytest.mark.parametrize(
    "error", [MemoryError(), MemoryError("15.8 GiB"), np.linalg.LinAlgError("SVD did not converge")]
)
def test_failures_of_arithmetic_and_memory_are_one_line(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> int:
        raise error

    assert cli.run(fail) == 1
    text = capsys.readouterr().err
    assert text.startswith("error: ")
    assert text.count("\n") == 1


TABLES = {
    "ragged": ("1,2\n3\n", "line 2 has 1 counts, line 1 has 2"),
    "words": ("1,2\n3,four\n", "line 2: '3,four' is not a row of numbers"),
    "not square": ("1,2,3\n4,5,6\n", "must be K x K"),
    "negative": ("1,2\n3,-4\n", "label-pair count (1, 1) is -4"),
    "nan": ("1,2\n3,nan\n", "label-pair count (1, 1) is nan"),
    "all zero": ("0,0\n0,0\n", "every label-pair count is 0"),
    "empty": ("", "must be K x K"),
    "binary": (b"\xff\xfe\x00", "not UTF-8 text"),
}


@pytest.mark.parametrize("name", TABLES)
def test_bad_tables(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, message = TABLES[name]
    path = tmp_path / "table.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert run("solve", "--table", str(path)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_table_excludes_what_it_brings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "table.csv"
    path.write_text("1,2\n3,4\n")
    for extra, message in (
        (["--counts", "1,2"], "drop --counts, --counts-file and --profile"),
        (["--program", "plain"], "has no label pairs"),
        (["--K", "3"], "--table has 2 classes, --K says 3"),
        (["--program", "ms-unordered"], "must be at least 3"),
    ):
        assert run("solve", "--table", str(path), *extra) == 2
        assert message in capsys.readouterr().err


def test_uncertified_is_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("solve", "--tolerance", "1e-30", "--counts", "7,5,3,1", "--solver", "factored") == 1
    assert capsys.readouterr().err.startswith("not certified: factored: relative gap")


def test_no_traceback_when_the_reader_leaves() -> None:
    command = f"{sys.executable} -m lpm.solve --counts 3,2,1 --json | head -c 10"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=os.environ)
    assert done.stderr == ""


def test_a_row_reports_its_solution() -> None:
    family = Family("fc", "product", K=5, K_A=2)
    row, solution = rows.solve_row(family, 10.0), solve.solve(family.at(10.0))
    cosines, norms = solution.gram.group_cosines, solution.gram.norms
    assert (row.cos_AA, row.cos_AB, row.cos_BB) == pytest.approx((cosines[0, 0], cosines[0, 1], cosines[1, 1]))
    assert (row.norm_A, row.norm_B) == pytest.approx(tuple(norms))
    assert row.norm_A > row.norm_B
    assert (row.K_A, row.R, row.loss) == (2, 10.0, solution.loss)


def test_table_takes_the_mixing_ratio_and_is_read_by_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = np.array([[5.0, 1, 0], [7, 9, 4], [0, 0, 1]])
    np.savetxt(tmp_path / "t.csv", table, delimiter=",")
    assert run("solve", "--table", str(tmp_path / "t.csv"), "--lam", "0.8", "--json") == 0
    expected = solve.solve(programs.fc(pairs.table(table), mixing.fixed(0.8))).loss
    assert json.loads(capsys.readouterr().out)["loss"] == pytest.approx(expected, rel=1e-12)
    assert expected != pytest.approx(solve.solve(programs.fc(pairs.table(table.T), mixing.fixed(0.8))).loss, rel=1e-4)


@pytest.mark.parametrize("words", ["--R 1e12", "--E-H 1e-12 --E-W 1e-12", "--program ms --K 6 --K-A 5 --R 1e6"])
def test_the_printed_interval_contains_the_certified_one(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("solve", *words.split(), "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert run("solve", *words.split()) == 0
    text = capsys.readouterr().out
    match = re.search(r"optimum in \[(.*), (.*)\], relative gap (.*)\n", text)
    assert match is not None
    low, high, gap = map(Fraction, match.groups())
    assert low <= Fraction(result["lower_bound"])
    assert Fraction(result["loss"]) <= Fraction(result["upper_bound"]) <= high
    assert high - low <= Fraction(result["gap"]) + 4 * high / 10**11
    assert gap >= Fraction(result["relative_gap"])


@pytest.mark.parametrize("value", [0.0, 1.0, 1e-300, 1.7e300, 0.1, 2 / 3, -1 / 3, 123456.7890123, 9.9999999999999])
def test_intervals_are_rounded_outwards(value: float) -> None:
    for digits in (1, 2, 9, 12, 15):
        low, high = rounding.outward(value, value, digits)[1:-1].split(", ")
        assert Fraction(low) <= Fraction(value) <= Fraction(high)
        assert Fraction(rounding.upward(value, digits)) >= Fraction(value)
        assert float(high) - float(low) <= abs(value) * 10.0 ** (1 - digits) * (1 + 1e-9)


def test_what_the_gap_leaves_open_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("solve", "--program", "plain", "--E-H", "1e-3", "--R", "1.021729") == 0
    assert "whether the minority is collapsed is undecided at this tolerance" in capsys.readouterr().out
    assert run("solve", "--program", "plain", "--E-H", "1e-3", "--R", "1.021729", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["collapsed"], result["rank"], result["rank_bounds"], result["binds"]) == (None, None, [2, 3], True)


@pytest.mark.parametrize("words", ["--E-H 1e5", "--E-H 1000 --solver sdp", "--E-H 200 --solver factored"])
def test_budgets_that_do_not_bind_leave_rank_and_cosines_open(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("solve", "--counts", "100,10,1", *words.split()) == 0
    text = capsys.readouterr().out
    assert "rank of W   0 to 2 of at most 2, undecided at this tolerance" in text
    assert "not proved to bind at this tolerance: cosines and norms are those of this point" in text
    assert "dependent" not in text


def test_an_undecided_row_has_a_word_of_its_own(tmp_path: Path) -> None:
    row = rows.solve_row(Family("plain", e_h=1e-3), 1.021729)
    rows.write_csv(tmp_path / "x.csv", [row])
    assert next(csv.DictReader((tmp_path / "x.csv").read_text().splitlines()))["collapsed"] == "undecided"


def test_rows_round_trip(tmp_path: Path) -> None:
    row = Row(
        program="fc",
        profile="product",
        K=4,
        K_A=2,
        R=1 / 3,
        lam="0.5",
        E_H=5.0,
        E_W=1.0,
        decay=float("nan"),
        loss=0.1,
        objective=0.1,
        lower_bound=0.1,
        upper_bound=0.1,
        gap=1e-17,
        cos_AA=0.5,
        cos_AB=float("nan"),
        cos_BB=1.0,
        norm_A=1.0,
        norm_B=0.1,
        collapsed=True,
        solver="x",
        seconds=0.1,
    )
    rows.write_csv(tmp_path / "x.csv", [row])
    read = next(csv.DictReader((tmp_path / "x.csv").read_text().splitlines()))
    assert float(read["R"]) == 1 / 3
    assert read["cos_AB"] == "nan"


def test_a_sweep_counts_the_thresholds_that_are_certified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("sweep", *WITHOUT_CERTIFICATE, "--points", "2", "--out", str(tmp_path / "a"))
    assert "0 thresholds (1 more not certified), " in capsys.readouterr().out
    run("sweep", "--program", "fc", "--profile", "block", "--points", "2", "--out", str(tmp_path / "b"))
    assert "2 certified solves, 1 threshold, " in capsys.readouterr().out
