"""The explorer: its rows against the solver, its claims, and the page in a browser that is operated by key presses."""

from __future__ import annotations

import base64
import contextlib
import csv
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from figures import explore, explore_data, explore_decay, style
from figures.__main__ import main
from figures.explore_claims import LINKS, claims
from figures.explore_data import AXES, PROFILES, Grid, depends_on_R, optima, thresholds
from lpm.console import cli, progress
from lpm.family import Family
from lpm.mixing import beta, fixed
from lpm.solve import solve
from paper_checks.catalogue import by_id
from tests.browser import Page
from tests.started import wait_for

SMALL = Grid(K=(4, 6), lams=(0.1, 0.5), points=9, programs=("plain", "fc", "ms-free"))
FEW = ["--K", "6", "--points", "2", "--programs", "plain", "--methods", "no mixup", "--decays", "2"]
READY = "document.querySelector('html[data-ready]')"
DRAWN = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
ENDS = "document.getElementById('vectors').data.filter(t => t.name[0] === 'w').map(t => [t.x[1], t.y[1], t.z[1]])"


def gram(family: Family, R: float) -> np.ndarray:
    solution = solve(family.at(R))
    return solution.gram.matrix(solution.problem.members)


@pytest.mark.parametrize(
    "family",
    [
        Family("plain"),
        *(Family(p, q, mixing=m) for p in ("fc", "ms") for q in PROFILES["fc"] for m in (fixed(0.1), beta(1.0))),
    ],
    ids=lambda f: f"{f.name} {f.mixing.label}",
)
def test_the_three_axes_hold_every_optimum_of_four_classes(family: Family) -> None:
    for R in (1.0, 20.0, 1000.0):
        matrix = gram(family, R)
        W = AXES * np.sqrt(np.maximum(np.diag(AXES.T @ matrix @ AXES), 0.0))
        assert np.abs(W @ W.T - matrix).max() < 1e-9
        assert np.abs(matrix.sum(axis=0)).max() < 1e-9


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return optima(SMALL)


@pytest.fixture(scope="module")
def threshold_rows() -> list[dict[str, Any]]:
    return thresholds(SMALL)


def test_rows_are_complete_certified_and_of_one_shape(rows: list[dict[str, Any]]) -> None:
    families = list(SMALL.families())
    assert len(rows) == sum(9 if depends_on_R(f) else 1 for f in families)
    assert len({(r["program"], r["profile"], r["K"], r["lam"], r["R"]) for r in rows}) == len(rows)
    assert len({tuple(r) for r in rows}) == 1
    assert max(r["relative_gap"] for r in rows) < 1e-6
    assert all(math.isnan(r["sigma_B"]) == (r["K"] != 4 or r["program"] == "ms-free") for r in rows)


def test_the_minority_is_collapsed_on_one_side_of_the_threshold(
    rows: list[dict[str, Any]], threshold_rows: list[dict[str, Any]]
) -> None:
    by_family = {explore._key(row): row for row in threshold_rows}
    for row in rows:
        threshold = by_family[explore._key(row)]
        above = threshold["collapsed_above"]
        assert row["collapsed"] == (above if math.isnan(threshold["R0"]) else (row["R"] > threshold["R0"]) == above)
        if row["collapsed"] and row["K"] == 4 and row["program"] != "ms-free":
            assert row["sigma_B"] < 1e-7


def test_brackets_and_gaps_on_the_page_are_rounded_outwards(
    rows: list[dict[str, Any]], threshold_rows: list[dict[str, Any]]
) -> None:
    curves = explore.document(SMALL, rows, threshold_rows, "")["curves"]
    with_R0 = [row for row in threshold_rows if not math.isnan(row["R0"])]
    assert len(with_R0) > 5
    for row in with_R0:
        curve = curves[explore._key(row)]
        assert curve["bracket_low"] <= row["bracket_low"] < row["bracket_high"] <= curve["bracket_high"]
        assert (
            curve["bracket_high"] - curve["bracket_low"] < row["bracket_high"] - row["bracket_low"] + 3e-6 * row["R0"]
        )
        text = curve["R0_text"]  # as many digits as are certain, five at most
        assert f"{row['bracket_low']:.{len(text.replace('.', '').lstrip('0'))}g}" == text or "[" in text
    for row in rows:
        assert row["relative_gap"] <= float(curves[explore._key(row)]["gap"])


def test_rows_keep_every_digit_of_bounds(threshold_rows: list[dict[str, Any]], tmp_path: Path) -> None:
    style.write_rows(threshold_rows, tmp_path / "x.csv")
    with (tmp_path / "x.csv").open() as file:
        for row, given in zip(csv.DictReader(file), threshold_rows, strict=True):
            if not math.isnan(given["R0"]):
                assert (float(row["bracket_low"]), float(row["bracket_high"])) == (
                    given["bracket_low"],
                    given["bracket_high"],
                )


def test_every_solve_and_threshold_is_a_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "INTERVAL", -1.0)
    grid = Grid(K=(4,), lams=(0.5,), points=3, programs=("plain", "ms-free"))
    found = explore_data.solve_all(grid, quiet=False)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(found[0]) + len(found[1]) == (3 + 2 * 3 + 1) + 4
    assert lines[0].startswith("plain, K = 4: 1 of 14, ")
    assert lines[-1].startswith("ms-free balanced, K = 4: 14 of 14, ")
    assert repr(found) == repr((optima(grid), thresholds(grid)))
    assert explore_data.solve_all(grid, quiet=True)
    assert capsys.readouterr().err == ""


def test_under_a_decay_the_page_has_its_rows_and_no_claims_about_budgets(tmp_path: Path) -> None:
    grid = Grid(K=(4,), lams=(0.5,), points=3, programs=("fc",), decay=0.1)
    optimum_rows, threshold_rows = optima(grid), thresholds(grid)
    product = next(row for row in threshold_rows if row["profile"] == "product" and row["lam"] == "0.5")
    assert product["R0"] == pytest.approx(24)
    data = explore.document(grid, optimum_rows, threshold_rows, "report.html")
    assert data["links"] == []
    assert data["decay"] == 0.1
    assert "μ = 0.1" in data["limits"]


def test_where_label_pairs_are_balanced_one_row_is_right_for_every_imbalance() -> None:
    for family in (Family("fc", "balanced"), Family("ms", "distinct", K=6), Family("ms-free", "balanced")):
        assert not depends_on_R(family)
        assert np.abs(gram(family, 1.0) - gram(family, 1000.0)).max() < 1e-9


def test_every_view_of_every_program_has_one_claim_of_the_catalogue() -> None:
    for program, profiles in PROFILES.items():
        for profile in profiles:
            for view in ("vectors", "curves", "R0"):
                links = [
                    k for k in LINKS if k.view == view and program in k.programs and (profile or "-") in k.profiles
                ]
                assert len(links) == 1, (view, program, profile)
    assert set(claims()) == {link.claim for link in LINKS} <= set(by_id())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--K", "5"], "K = 5 must be even and at least 4"),
        (["--K", "4,x"], "'4,x' is not a comma-separated list of numbers of classes"),
        (["--points", "1"], "points = 1 must lie in 2..201"),
        (["--decays", "1"], "--decays 1 must lie in 2..101"),
        (["--methods", "mixup,MS a<b"], "method 'MS a<b' is not in the explorer; choose from no mixup, mixup"),
        (["--runs", "no.csv"], "'no.csv' cannot be read: No such file or directory"),
        (["--programs", "fc,svm"], "program 'svm' is not in the explorer; choose from plain, fc"),
        (["--point", "9"], "did you mean '--points'"),
    ],
)
def test_bad_use_is_one_line_and_status_two(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with contextlib.suppress(SystemExit):
        assert cli.run(lambda: main(["explore", *words, "--out", str(tmp_path / "out")])) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert message in printed.err
    assert list(tmp_path.iterdir()) == []


def test_without_plotly_the_error_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "plotly", None)  # import then raises ModuleNotFoundError
    assert cli.run(lambda: main(["explore", "--out", str(tmp_path / "out")])) == 2
    wanted = 'error: explore needs plotly; install it with pip install -c constraints.txt -e ".[figures]"\n'
    assert capsys.readouterr() == ("", wanted)
    assert list(tmp_path.iterdir()) == []


def test_a_program_named_twice_is_offered_once_in_the_given_order() -> None:
    parser = cli.Parser("figures explore", "")
    explore.add_options(parser)
    assert parser.parse_args(["--programs", "ms,fc,ms,plain,fc"]).programs == ["ms", "fc", "plain"]


@pytest.mark.parametrize(
    "text", ["report.html", "../a b/r.html", "/r.html", "./a:b.html", "a/b:c", "?a:b", "https://e.org:8/r", "file:///r"]
)
def test_the_report_may_be_a_web_page_a_file_or_relative(text: str) -> None:
    assert explore.address(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "javascript:alert(1)//",
        "JavaScript:alert(1)//",
        " javascript:alert(1)//",
        "java\nscript:alert(1)//",
        "\x01javascript:alert(1)//",
        "data:text/html,<script>alert(1)</script>",
        "vbscript:x",
    ],
)
def test_an_address_that_runs_a_script_is_refused(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["explore", *FEW, "--report", text]
    assert cli.run(lambda: main([*words, "--out", str(tmp_path / "out")])) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert "must be relative, or start with one of http:, https:, file:" in printed.err
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_the_page_and_its_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["explore", *FEW, "--out", str(out)]) == 0
    names = {"explore.html", "explore.csv", "explore-R0.csv", "explore-decay.csv", "manifest.json"}
    assert {p.name for p in out.iterdir()} == names
    assert (out / "explore.html").stat().st_size < explore.LIMIT
    with (out / "explore.csv").open() as file:
        first = next(csv.DictReader(file))
    assert float(first["cos_BB"]) == pytest.approx(-1 / 5)  # plain, R = 1: a simplex
    assert "explore.html" in capsys.readouterr().out


@pytest.fixture(scope="module")
def address(
    rows: list[dict[str, Any]], threshold_rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> str:
    file = tmp_path_factory.mktemp("explore") / "explore.html"
    data = explore.document(SMALL, rows, threshold_rows, "../paper-report/report.html")
    decays = explore_decay.Decays(("no mixup",), points=2, imbalances=(10.0,))
    data["decays"] = explore_decay.document(decays, explore_decay.predicted(decays, quiet=True), [])
    file.write_text(explore.page(data, explore.plotly_js()), encoding="utf-8")
    return f"file://{file}"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with Page(tmp_path_factory.mktemp("profile"), "--enable-unsafe-swiftshader") as page:
        yield page


@pytest.fixture
def page(browser: Page, address: str) -> Page:
    browser.call("Page.navigate", url="about:blank")
    browser.complaints.clear()
    browser.requests.clear()
    browser.open(address, READY)
    return browser


def text(page: Page, selector: str) -> str:
    return page.value(f"document.querySelector({selector!r}).textContent")


def test_the_page_loads_without_console_errors_and_without_network(page: Page, address: str) -> None:
    assert page.value(DRAWN) is not None
    assert page.value("[...document.querySelectorAll('#view-budgets .plot')].map(p => p.data.length > 0)") == [True] * 3
    assert page.complaints == []
    assert {a for a in page.requests if not a.startswith(("data:", "blob:"))} == {address}
    links = page.value("[...document.querySelectorAll('.claim a')].map(a => a.getAttribute('href'))")
    assert links == [f"../paper-report/report.html#{name}" for name in ("theorem1", "theorem1", "lambda-independence")]


def test_it_starts_with_vectors_that_are_close_but_apart(page: Page) -> None:
    R0 = explore_R0(page)
    R = page.value("DATA.R[state.R]")
    assert R0 / 10 < R < R0
    assert text(page, "#state") == "not collapsed"
    assert page.value("at(curveAt(state.lam).cos_BB, state.R)") > 0


def explore_R0(page: Page) -> float:
    return page.value("curveAt(state.lam).R0")


def test_what_is_undecided_or_not_certified_is_said(page: Page) -> None:
    page.value("curveAt(state.lam).collapsed = [null]; show()")
    assert text(page, "#state") == "undecided"
    assert "the certificate leaves it open" in text(page, "#sentence")
    page.value("for (const curve of Object.values(DATA.curves)) curve.R0 = null, curve.certified = false; show()")
    page.value(DRAWN)
    assert "R₀ could not be certified between 1 and 10,000" in text(page, "#sentence")
    assert "not certified" in text(page, "#numbers")
    assert page.value("document.getElementById('thresholds').layout.annotations[0].text") == "R₀ is not certified"
    assert page.complaints == []


def test_a_console_error_would_be_seen(page: Page) -> None:
    page.value("setTimeout(() => { throw new Error('planted') }), fetch('https://example.org/').catch(() => 0)")
    for planted in ("planted", "Content Security Policy"):  # the browser reports them some time later
        wait_for(lambda planted=planted: page.value("true") and any(planted in text for text in page.complaints))


def test_the_right_arrow_moves_the_drawn_vectors_to_the_solvers(page: Page) -> None:
    page.value("document.getElementById('R').focus()")
    page.press("Home", 36)
    family, before = Family("fc", "product", mixing=fixed(0.5)), picture(page)
    for step, R in enumerate(SMALL.R):
        if step:
            page.press("ArrowRight", 39)
        page.value(DRAWN)
        values, vectors = np.linalg.eigh(gram(family, R))
        root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T  # W = (W W^T)^{1/2} in the basis AXES
        assert np.abs(np.array(page.value(ENDS)) - root @ AXES).max() < 1e-6
        assert text(page, "#state") == ("collapsed" if solve(family.at(R)).collapsed else "not collapsed")
    assert page.value(ENDS)[2] == pytest.approx(page.value(ENDS)[3], abs=1e-7)  # minority collapse, as drawn
    assert picture(page) != before
    assert page.complaints == []


def picture(page: Page) -> bytes:
    """Return the pixels of the picture of class vectors."""
    box = page.value(
        "(({x, y, width, height}) => ({x, y, width, height}))(document.getElementById('vectors').getBoundingClientRect())"
    )
    page.value(DRAWN)
    return base64.b64decode(
        page.call("Page.captureScreenshot", clip={**box, "scale": 1}, captureBeyondViewport=True)["data"]
    )


def test_tab_reaches_every_control_in_order(page: Page) -> None:
    reached = []
    for _ in range(10):
        page.press("Tab", 9)
        reached.append(page.value("document.activeElement.id || document.activeElement.value"))
    assert reached == ["theme", "budgets", "program", "profile", "K", "lam", "R", "3d", "turn", reached[-1]]
    assert page.value("document.activeElement.closest('.claim') !== null")
    unlabelled = "[...document.querySelectorAll('input, select')].filter(c => !c.labels.length).length"
    assert page.value(unlabelled) == 0


def test_more_classes_are_drawn_as_their_cosines(page: Page) -> None:
    page.value("document.getElementById('R').focus()")
    page.press("End", 35)
    page.value("document.getElementById('K').focus()")
    page.press("ArrowRight", 39)
    page.value(DRAWN)
    assert text(page, "#K-value") == "6"
    drawn = np.array(page.value("document.getElementById('vectors').data[0].z"))
    matrix = gram(Family("fc", "product", K=6), SMALL.R[-1])
    norm = np.sqrt(np.diag(matrix))
    assert np.abs(drawn - matrix / np.outer(norm, norm)).max() < 1e-6
    assert drawn[3:, 3:] == pytest.approx(np.ones((3, 3)))


def test_the_threshold_follows_program_sampler_and_mixing_ratio(
    page: Page, threshold_rows: list[dict[str, Any]]
) -> None:
    for program, profile in (("fc", "block"), ("fc", "balanced"), ("ms-free", "block"), ("plain", "-")):
        change = "(id, value) => { const c = document.getElementById(id); c.value = value; c.dispatchEvent(new Event('input')); }"
        page.value(
            f"[['program', {program!r}], ['profile', {profile!r}]].filter(p => p[1] !== '-').forEach(p => ({change})(...p))"
        )
        page.value("document.getElementById('lam').focus()")
        page.press("Home", 36)  # lambda = 0.1
        page.value(DRAWN)
        wanted = [r for r in threshold_rows if (r["program"], r["profile"], r["K"]) == (program, profile, 4)]
        R0 = next(r["R0"] for r in wanted if r["lam"] in ("0.1", "-"))
        drawn = page.value("document.getElementById('curves').data.filter(t => t.name === 'R₀').map(t => t.x[0])")
        assert drawn == ([] if math.isnan(R0) else [pytest.approx(R0, rel=1e-6)] * 2)
        line = page.value("(document.getElementById('thresholds').data.find(t => t.name === 'R₀') ?? {y: []}).y")
        fixed_ratio = [r["R0"] for r in wanted if not r["lam"].startswith("Beta")]
        assert line == ([] if math.isnan(R0) else pytest.approx(fixed_ratio * (3 - len(fixed_ratio)), rel=1e-6))
        assert f"--program {program}" in text(page, "#command")
    assert page.complaints == []


def test_the_address_holds_the_view(page: Page) -> None:
    page.value("location.hash = 'program=ms-free&profile=block&K=6&lam=Beta(1)&R=900'")
    page.value(DRAWN)
    second = {"view": "budgets", "method": "no mixup", "imbalance": 0, "mu": 1}
    state = second | {"program": "ms-free", "profile": "block", "K": 1, "lam": 2, "R": 6, "look": "3d"}
    assert page.value("state") == state
    page.value("document.getElementById('R').focus()")
    page.press("ArrowLeft", 37)
    page.value("new Promise(done => setTimeout(done, 300))")  # the address is written after 200 ms
    moved = page.value("location.href")
    page.open("about:blank", "document.body")
    page.open(moved, READY)
    assert page.value("state") == state | {"R": 5}
    page.value(
        "location.hash = 'program=no&profile=%00&K=x&lam=7&R=-1&look=4d&view=3&method=x&imbalance=0&mu=-2'"
    )  # nonsense changes nothing
    page.value(DRAWN)
    assert page.value("state") == state | {"R": 5}
    assert page.complaints == []


def test_light_and_dark_follow_the_system_and_the_button(page: Page) -> None:
    back = "getComputedStyle(document.body).backgroundColor"
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    page.value(DRAWN)
    assert page.value(back) == "rgb(13, 17, 23)"
    assert page.value("document.getElementById('curves').layout.font.color") == "#e6edf3"
    page.value("document.getElementById('theme').focus()")
    page.press(" ", 32)
    assert page.value(back) == "rgb(255, 255, 255)"
    page.call("Emulation.setEmulatedMedia", features=[])


def test_without_webgl_the_cosines_are_drawn_and_it_says_so(address: str, tmp_path: Path) -> None:
    with Page(tmp_path, "--disable-3d-apis") as page:
        page.open(address, READY)
        assert page.value("document.getElementById('vectors').data[0].type") == "heatmap"
        assert "no WebGL" in text(page, "#notice")
        assert page.complaints == []


def test_without_decompression_the_numbers_are_there_and_it_says_so(page: Page, address: str) -> None:
    script = page.call("Page.addScriptToEvaluateOnNewDocument", source="delete window.DecompressionStream")
    page.open(f"{address}?again", READY)
    page.call("Page.removeScriptToEvaluateOnNewDocument", identifier=script["identifier"])
    assert "cannot be drawn" in text(page, "#notice")
    assert "not collapsed" in text(page, "#sentence")
    assert page.complaints == []
