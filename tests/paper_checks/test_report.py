"""The command and its report: statuses, files, planted claims through the whole pipeline, the page in a browser."""

from __future__ import annotations

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from paper_checks import report, runs
from paper_checks.__main__ import choose, expected, main, run
from paper_checks.catalogue import CHECKS
from paper_checks.claim import (
    SECTIONS,
    Check,
    Curve,
    Finding,
    Plot,
    Quantity,
    Repair,
    check,
    conclude,
    contradictions,
    read_sections,
)
from paper_checks.interval import Interval
from paper_checks.lab import Lab
from tests.browser import Page
from tests.started import HANG, Forked

ROOT = Path(__file__).parents[2]
FAST = "prop2"
KEYS = {
    "id", "where", "claim", "assumptions", "instances", "computed", "claimed", "interval", "tolerance", "verdict", "evidence",
    "seconds", "quote", "formula", "test", "why", "overturned_by", "references", "repair", "quantities", "relation",
    "deciding", "expected", "covers",
}  # fmt: skip


@check("planted-true")
def planted_true(lab: Lab, *, value: float = 4.0) -> Finding:
    """Statement: Two and two are four & <nothing> | else.

    Where: a test.
    Quote: none
    Formula: 2 + 2 = 4.
    Assumptions: arithmetic.
    Test: add.
    Verdict: as the sum says.
    Overturned by: another arithmetic.
    References: none.
    """
    return conclude(
        [Quantity("sum | of <two>", value, Interval(3.999, 4.001, "ball arithmetic"), tolerance=0.01)],
        evidence="2 + 2 = 4 | <b>",
        instances="one",
        plot=Plot(
            "x", "y", [Curve("a", [1, 2], [1, 2]), Curve("b", [0, 1], [1, 2], "o")], log_y=True, ticks=["p", "q"]
        ),
    )


@check("planted-false")
def planted_false(lab: Lab) -> Finding:
    """Statement: Two and two are five.

    Where: a test.
    Quote: none
    Formula: 2 + 2 = 5.
    Assumptions: arithmetic.
    Test: add.
    Verdict: as the sum says.
    Overturned by: another arithmetic.
    References: none.
    """
    return conclude(
        [Quantity("sum", 5.0, 2.0 + 2.0)],
        evidence=contradictions([Quantity("sum", 5.0, 2.0 + 2.0)]),
        instances="one",
        repair=Repair("They are four.", [Quantity("sum", 4.0, 2.0 + 2.0)]),
    )


@check("planted-crash")
def planted_crash(lab: Lab) -> Finding:
    """Statement: A check that finds no certificate.

    Where: a test.
    Quote: none
    Formula: none.
    Assumptions: none.
    Test: none.
    Verdict: none.
    Overturned by: none.
    References: none.
    """
    raise ArithmeticError("no bracket")


PLANTED = (planted_true, planted_false, planted_crash)


def test_planted_claims_go_through_the_whole_pipeline(tmp_path: Path) -> None:
    record = {"planted-true": "holds", "planted-false": "holds", "planted-crash": "cannot be decided here"}
    outcomes = run(PLANTED, Lab(), on_record=record)
    assert [str(o.finding.verdict) for o in outcomes] == ["holds", "fails as stated", "cannot be decided here"]
    assert [o.changed for o in outcomes] == [False, True, False]
    report.write(tmp_path, outcomes, Lab(rigorous=True, seed=7))
    data = json.loads((tmp_path / "report.json").read_text())
    assert data["seed"] == 7
    true, false, crash = data["checks"]
    assert set(true) == KEYS
    assert (true["computed"], true["interval"], true["claimed"], true["tolerance"]) == (4.0, [3.999, 4.001], 4.0, 0.01)
    assert false["repair"]["checked"]
    assert false["quantities"][0]["agrees"] is False
    assert crash["evidence"] == "not certified: no bracket"
    page = (tmp_path / "report.html").read_text()
    assert "<nothing>" not in page
    assert "&lt;nothing&gt;" in page
    assert page.count("data:image/svg+xml;base64,") == 1
    text = (tmp_path / "report.md").read_text()
    assert "| sum \\| of <two> | = 4 | 4 |" in text
    assert "**no**" in text


def test_a_mutated_planted_claim_flips() -> None:
    assert str(planted_true.run(Lab(), value=5.0).verdict) == "fails as stated"


def test_a_check_without_a_section_is_refused() -> None:
    def bare() -> None:
        """Statement: x."""

    with pytest.raises(ValueError, match="docstring sections"):
        read_sections(bare)


@pytest.mark.parametrize("one", CHECKS, ids=lambda c: c.id)
def test_every_section_is_filled(one: Check) -> None:
    assert all(one.says[name] for name in SECTIONS)
    assert one.run.__doc__


@pytest.mark.parametrize("one", CHECKS, ids=lambda c: c.id)
def test_every_parameter_is_documented(one: Check) -> None:
    documented = inspect.getdoc(one.run).partition("\nArgs:\n")[2]
    names = re.findall(r"^    (\w+): ", documented, flags=re.MULTILINE)
    assert names == list(inspect.signature(one.run).parameters)
    assert "Args" not in "".join(one.says.values())


def test_command_writes_a_report_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "r"
    assert main([FAST, "eq24", "--out", str(out)]) == 0
    assert {p.name for p in out.iterdir()} == {"report.md", "report.json", "report.html", "manifest.json"}
    printed = capsys.readouterr().out
    assert "vacuous" in printed
    assert "2 checks: 1 fails as stated, 1 vacuous" in printed
    assert main([FAST, "eq24", "--out", str(out), "--quiet"]) == 0  # replaced by a report on the same claims
    assert [p.name for p in tmp_path.iterdir()] == ["r"]


def test_a_report_on_some_claims_never_replaces_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "r"
    assert main([FAST, "--out", str(out), "--quiet"]) == 0
    before = (out / "report.json").read_text()
    ended = Forked("paper_checks.__main__", "eq24", "--out", str(out)).ends()
    assert ended.status == 2
    assert "another origin" in ended.err
    assert (out / "report.json").read_text() == before


def test_some_claims_write_nothing_unless_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([FAST]) == 0
    assert list(tmp_path.iterdir()) == []


def test_json_is_the_report(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([FAST, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["checks"][0]["id"] == FAST
    assert data["summary"] == "1 checks: 1 vacuous"


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [c.id for c in CHECKS]
    assert main(["--list", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == len(CHECKS)


def test_status_one_when_a_verdict_changes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("paper_checks.__main__.expected", lambda: {FAST: "holds"})
    assert main([FAST, "--quiet"]) == 1
    assert f"changed: {FAST}: vacuous, expected holds" in capsys.readouterr().err
    monkeypatch.setattr("paper_checks.__main__.expected", lambda: {})
    assert main([FAST, "--quiet"]) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [("[verdicts", "cannot be read"), ("[verdicts]\nprop2 = 'holds'\n", "must have one known verdict for every check")],
)
def test_a_damaged_record_of_verdicts_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    from lpm.console.errors import InvalidInput

    (tmp_path / "expected.toml").write_text(text)
    with pytest.raises(InvalidInput, match=message):
        expected(tmp_path / "expected.toml")


def test_claims_keep_the_papers_order() -> None:
    assert [c.id for c in choose(["eq24", "prop2", "theorem1"])] == ["theorem1", "prop2", "eq24"]


GOOD = "dataset,imbalance,method,split,accuracy,seed,preset\ncifar10-lt,100,random+FC,all,72.9,0,paper\n"


@pytest.mark.parametrize(
    ("arguments", "rows", "message"),
    [
        (["theorem3"], None, "claim 'theorem3' is unknown, did you mean 'theorem"),
        (["--seed", "-1"], None, "--seed -1 must be at least 0"),
        (["--out", "{tmp}/file"], None, "is not a folder"),
        (["--runs", "{tmp}/none.csv"], None, "cannot be read: No such file"),
        (["--runs", "{tmp}"], None, "is not a file"),
        (["--runs", "{tmp}/fifo"], None, "is not a file"),
        (["--runs", "{tmp}/runs.csv"], "dataset,seed\n", "needs exactly one column 'imbalance'"),
        (["--runs", "{tmp}/runs.csv"], GOOD.replace("seed", "seed,seed", 1), "needs exactly one column 'seed'"),
        (["--runs", "{tmp}/runs.csv"], GOOD + "a,1,b,all,x,0,paper\n", "line 3: accuracy, seed and imbalance must be"),
        (["--runs", "{tmp}/runs.csv"], GOOD + "a,1,b,all,nan,0,paper\n", "line 3: accuracy nan is outside 0..100"),
        (["--runs", "{tmp}/runs.csv"], GOOD + GOOD.splitlines()[1], "line 3 repeats a run"),
        (["--runs", "{tmp}/runs.csv"], GOOD + "a," + "9" * 200_000, "cannot be read: not a CSV file"),
        (["--runs", "{tmp}/runs.csv"], GOOD + "a,0.5,b,all,1,0,paper\n", "line 3: imbalance 0.5 must be at least 1"),
        (["--runs", "{tmp}/runs.csv"], GOOD + "a,1,b,all,1,0\n", "line 3: the row does not have a value for each"),
        (["--rigourous"], None, "did you mean '--rigorous'"),
    ],
)  # fmt: skip
def test_bad_use_is_one_line_and_status_two(
    arguments: list[str], rows: str | None, message: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    os.mkfifo(tmp_path / "fifo")
    if rows is not None:
        (tmp_path / "runs.csv").write_text(rows)
    before = sorted(p.name for p in tmp_path.iterdir())
    words = [a.format(tmp=tmp_path) for a in arguments]
    ended = Forked("paper_checks.__main__", *([FAST] if "theorem3" not in words else []), *words).ends()
    assert ended.status == 2
    assert ended.out == ""
    assert ended.err.count("\n") == 1
    assert message in ended.err
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_rows_of_runs_are_read_as_meant(tmp_path: Path) -> None:
    file = tmp_path / "runs.csv"
    file.write_text("\ufeff" + GOOD + " cifar10-lt , 100.0 ,BMLS+FC,all, 78.6 ,1,paper\n", encoding="utf-8")
    one, two = runs.read(file)
    assert (one.dataset, one.accuracy) == ("cifar10-lt", 72.9)
    assert (two.dataset, two.imbalance, two.accuracy) == ("cifar10-lt", "100", 78.6)
    assert runs.by_setting([one, two])["cifar10-lt", "100", "BMLS+FC"] == [78.6]


def test_rigorous_without_python_flint_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lpm.console.errors import InvalidInput

    monkeypatch.setattr("paper_checks.__main__.util.find_spec", lambda name: None)
    with pytest.raises(InvalidInput, match=r"needs python-flint; install it with pip install -c constraints\.txt -e"):
        main(["--rigorous", FAST])


def test_an_ascii_terminal_is_no_reason_to_fail() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "paper_checks", "--list"],
        cwd=ROOT, capture_output=True, check=False, env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("word", "symbol"),
    [
        ("LPM_lambda at lambda = 1/2", "LPM_λ at λ = 1/2"),
        ("lambdas", "lambdas"),
        ("K^2 >= sqrt(E) -> inf}", "K² ≥ √(E) → ∞}"),
        ("E_{W^lambda}, epsilon', epsilon_2", "E_{W^λ}, ε', ε_2"),
        ("Beta(alpha, alpha)", "Beta(α, α)"),
    ],
)
def test_symbols(word: str, symbol: str) -> None:
    assert report.pretty(word) == symbol


def test_the_page_shows_only_the_claims_of_a_pressed_verdict(tmp_path: Path) -> None:
    report.write(tmp_path, run(PLANTED, Lab(), on_record={}), Lab())
    shown = (
        "[...document.querySelectorAll('tr[data-verdict], section[data-verdict]')].filter((x) => x.offsetHeight).length"
    )
    with Page(tmp_path / "profile") as page:
        page.open(f"file://{tmp_path}/report.html", "document.readyState === 'complete'")
        assert page.value("document.body.innerText.includes('Two and two are five.')")
        assert page.value("document.body.innerText.includes('sum: required 5, found 4')")
        numbers = [page.value(shown)]
        for verdict in ("holds", "fails", "holds", "fails"):
            page.value(f"document.querySelector('button[data-filter={verdict}]').focus()")
            page.press(" ", 32)
            numbers.append(page.value(shown))
        assert numbers == [6, 2, 4, 2, 6]  # one row and one section for each claim
        assert page.complaints == []


def test_the_page_opens_in_a_browser_without_console_errors(tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("no Chromium on this machine")
    outcomes = run([*PLANTED, *choose([FAST, "uniformity", "table-sums", "coverage-ratio"])], Lab(), on_record={})
    report.write(tmp_path, outcomes, Lab())
    done = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
         "--enable-logging=stderr", "--v=0", "--virtual-time-budget=2000", "--dump-dom", f"file://{tmp_path}/report.html"],
        capture_output=True, text=True, check=False, timeout=HANG,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert re.findall(r"CONSOLE.*", done.stderr) == []
    for outcome in outcomes:
        assert f'<section id="{outcome.check.id}" data-verdict=' in done.stdout
    broken = tmp_path / "broken.html"
    broken.write_text("<script>throw new Error('planted')</script>")
    again = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
         "--enable-logging=stderr", "--v=0", "--virtual-time-budget=2000", "--dump-dom", f"file://{broken}"],
        capture_output=True, text=True, check=False, timeout=HANG,
    )  # fmt: skip
    assert re.findall(r"CONSOLE.*planted", again.stderr), "console errors would not be seen"
