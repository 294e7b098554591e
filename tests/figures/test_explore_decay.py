"""The explorer's second view: rows against the law and another command, networks, and the page moved by key presses."""

from __future__ import annotations

import csv
import json
import math
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from figures import explore, explore_data
from figures.explore_decay import LEFT_OUT, METHODS, Decays, document, networks, predicted
from figures.law_runs import RUNS
from lpm import cures
from lpm.console import progress
from lpm.console.errors import InvalidInput
from lpm.cure_rows import CURES
from tests.browser import Page
from tests.figures.test_explore import DRAWN, READY, text

SMALL = Decays(("mixup", "class weights", "LDAM", "BMLS a<b"), points=9, imbalances=(3.0, 10.0))
COLUMNS = ("r_A", "s_AB", "r_B")


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return predicted(SMALL, quiet=True)


@pytest.fixture(scope="module")
def runs() -> list[dict[str, Any]]:
    return networks(RUNS)


def test_a_group_has_collapsed_where_its_number_is_at_most_mu_squared(rows: list[dict[str, Any]]) -> None:
    with_law = [row for row in rows if row["method"] != "LDAM"]
    assert len({(row["method"], row["R"], row["mu"]) for row in rows}) == len(rows) > len(SMALL.methods) * 2 * 9
    for group in "AB":
        assert {row[f"r_{group}"] > 0 for row in with_law} == {True, False}
        for row in with_law:
            assert (row[f"r_{group}"] > 0) == (row["mu"] ** 2 < row[f"c_{group}"])
    assert all(row["collapsed"] == (row["r_B"] == 0) for row in rows)
    assert all(math.isnan(row["c_B"]) for row in rows if row["method"] == "LDAM")
    assert max(row["relative_gap"] for row in rows) < 1e-6
    mixup = next(row for row in with_law if (row["method"], row["R"]) == ("mixup", 10.0))
    assert (mixup["c_A"], mixup["c_B"]) == pytest.approx((2 / 3 * 2 / 11, 2 / 3 / 55))


def test_methods_that_are_left_out_have_the_class_vectors_of_one_that_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_ins = {"logit adjustment 1/2": "mixup", "BMLS": "CBS/CAS/LOM", "UniMix without offsets": "UniMix"}
    names = (*stand_ins, *stand_ins.values(), "logit adjustment 1")
    monkeypatch.setattr("figures.explore_decay.METHODS", names)
    found = predicted(Decays(names, points=2, imbalances=(10.0,)), quiet=True)
    sizes = {name: np.array([[row[c] for c in COLUMNS] for row in found if row["method"] == name]) for name in names}
    for one, other in (stand_ins | {"logit adjustment 1": "mixup"}).items():
        assert sizes[one] == pytest.approx(sizes[other], rel=1e-6, abs=1e-9)
    assert {*LEFT_OUT, *METHODS} == {cure.name for cure in CURES}
    assert {*LEFT_OUT} - {*stand_ins} == {"MS a<b"}  # it has no free bias


def test_every_imbalance_is_a_step(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "INTERVAL", -1.0)
    predicted(Decays(("no mixup",), points=2, imbalances=(2.0, 5.0)), quiet=False)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == [f"1 methods under weight decay, R = {R}" for R in (2, 5)]


def test_networks_are_those_of_the_committed_rows(runs: list[dict[str, Any]]) -> None:
    with RUNS.open() as file:
        given = [row for row in csv.DictReader(file) if row["series"] not in ("FC-cold", "FC-exp")]
    assert len(runs) == len(given)
    for run, row in zip(runs, given, strict=True):
        assert sum(s**2 for s in run["spectrum"]) == pytest.approx(sum(float(row[f"s{n}"]) ** 2 for n in range(1, 10)))
        assert run["r_B"] ** 2 == pytest.approx(np.mean([float(row[f"sB{n}"]) ** 2 for n in range(1, 5)]))
        assert run["spectrum"][4] == run["s_AB"]
        wanted = "penalties" if float(row["weight_decay"]) == 1e-5 else "balance"
        assert run["kind"] == ("CIFAR-10" if row["series"].startswith("CIFAR") else wanted)
        assert run["R"] == pytest.approx(float(row["counts"].split()[0]) / float(row["counts"].split()[-1]))
    assert {run["R"] for run in runs} == {3.0, 10.0, 30.0, 120.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [({"mu": "x"}, "could not convert"), ({"few": "nan"}, "not finite"), ({"counts": ""}, "index out of range")],
)
def test_broken_rows_are_one_line(change: dict[str, str], message: str, tmp_path: Path) -> None:
    with RUNS.open() as file:
        row = next(csv.DictReader(file)) | change
    with (tmp_path / "runs.csv").open("w") as file:
        writer = csv.DictWriter(file, list(row))
        writer.writeheader()
        writer.writerow(row)
    with pytest.raises(InvalidInput, match=message):
        networks(tmp_path / "runs.csv")


@pytest.fixture(scope="module")
def address(rows: list[dict[str, Any]], runs: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("explore") / "explore.html"
    first = explore_data.Grid(K=(6,), lams=(0.5,), points=2, programs=("plain",))
    data = explore.document(first, explore_data.optima(first), explore_data.thresholds(first), "report.html")
    html = explore.page(data | {"decays": document(SMALL, rows, runs)}, explore.plotly_js())
    file.write_text(html, encoding="utf-8")
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
    browser.open(f"{address}#view=decay&mu=0.1", READY)
    return browser


def plot(page: Page, name: str) -> list[dict[str, Any]]:
    page.value(DRAWN)
    return page.value(f"document.getElementById({name!r}).data.map(t => ({{name: t.name, x: t.x, y: t.y}}))")


def test_arrows_choose_the_view_and_nothing_is_loaded(page: Page, address: str) -> None:
    page.open("about:blank", "document.body")
    page.open(address, READY)
    assert page.value("document.getElementById('view-decay').hidden")
    page.press("Tab", 9, times=2)
    page.press("ArrowRight", 39)
    page.value(DRAWN)
    assert page.value("document.activeElement.value") == "decay"
    hidden = "['budgets', 'decay'].map(v => document.getElementById('view-' + v).hidden)"
    assert page.value(hidden) == [True, False]
    assert page.value("[...document.querySelectorAll('#view-decay .plot')].map(p => p.data.length > 0)") == [True] * 3
    page.press("ArrowLeft", 37)
    assert page.value(hidden) == [False, True]
    assert page.complaints == []
    assert {a for a in page.requests if not a.startswith(("data:", "blob:"))} == {address}


def test_tab_reaches_every_control_of_the_view(page: Page) -> None:
    reached = []
    for _ in range(5):
        page.press("Tab", 9)
        reached.append(page.value("document.activeElement.id || document.activeElement.value"))
    assert reached == ["theme", "decay", "method", "imbalance", "mu"]


def test_arrows_on_mu_move_the_spectrum_to_the_solvers_and_past_the_threshold(
    page: Page, rows: list[dict[str, Any]]
) -> None:
    page.value("document.getElementById('mu').focus()")
    page.press("Home", 36)
    said = []
    for step, mu in enumerate(SMALL.mu):
        if step:
            page.press("ArrowRight", 39)
        row = next(r for r in rows if (r["method"], r["R"], r["mu"]) == ("mixup", 10.0, mu))
        traces = plot(page, "spectrum")
        bars = next(t for t in traces if t["name"] == "spectrum")["y"]
        assert bars == pytest.approx(
            [row[c] for c, n in zip(COLUMNS, (4, 1, 4), strict=True) for _ in range(n)], rel=1e-4
        )
        assert next(t for t in traces if t["name"] == "threshold")["y"] == [mu, mu]
        rare = next(t for t in traces if t["name"] == "root of the collapse number, rare")
        assert (rare["y"][0] > mu) == (bars[8] > 0)
        said.append(text(page, "#decay-state"))
    assert said == sorted(said, key=["not collapsed", "rare collapsed", "both collapsed"].index)
    assert len(set(said)) == 3
    assert page.complaints == []


def test_networks_stand_where_they_were_measured(page: Page, runs: list[dict[str, Any]]) -> None:
    here = [run for run in runs if run["method"] == "mixup" and run["R"] == 10.0 and 0.01 <= run["mu"] <= 0.4]
    drawn = next(t for t in plot(page, "over-decay") if t["name"] == "networks, inside rare")
    assert (drawn["x"], drawn["y"]) == (
        pytest.approx([run["mu"] for run in here], rel=1e-4),
        pytest.approx([run["r_B"] for run in here], rel=1e-4, abs=1e-5),
    )
    near = [run for run in here if run["kind"] == "penalties" and run["mu"] == 0.09909]
    circles = [t["y"] for t in plot(page, "spectrum") if t["name"].startswith("network")]
    assert circles == [pytest.approx(run["spectrum"], rel=1e-4) for run in near]
    assert len(near) == 3
    assert "3 networks at μ = 0.09909" in text(page, "#decay-numbers")
    page.value("document.getElementById('imbalance').focus()")
    page.press("ArrowLeft", 37)
    drawn = next(t for t in plot(page, "over-decay") if t["name"] == "networks, inside rare")
    assert len(drawn["x"]) == sum(run["R"] == 3.0 and run["mu"] >= 0.01 for run in runs)


def test_lengths_and_cosines_are_those_of_the_command_that_is_named(
    page: Page, capsys: pytest.CaptureFixture[str]
) -> None:
    command = shlex.split(page.value("document.querySelector('#decay-command div').textContent"))
    assert command[:3] == ["python", "-m", "lpm.cures"]
    assert cures.main([*command[3:], "--json"]) == 0
    (wanted,) = json.loads(capsys.readouterr().out)
    found = page.value("geometry(decayCurve(), place(decayCurve()))")
    assert found["lengths"] == pytest.approx([wanted["norm_A"], wanted["norm_B"]], rel=1e-4)
    assert found["cosines"] == pytest.approx([wanted["cos_AA"], wanted["cos_BB"]], abs=1e-4)
    assert found["across"] == pytest.approx(wanted["cos_AB"], abs=1e-4)


def test_every_method_is_listed_with_its_thresholds(page: Page, rows: list[dict[str, Any]]) -> None:
    assert page.value("[...document.getElementById('method').options].map(o => o.value)") == list(SMALL.methods)
    marks = {t["name"]: dict(zip(t["y"], t["x"], strict=True)) for t in plot(page, "methods") if t.get("name")}
    for name, column in (("frequent classes", "c_A"), ("rare classes", "c_B")):
        wanted = {r["method"]: math.sqrt(r[column]) for r in rows if r["R"] == 10.0 and r["method"] != "LDAM"}
        assert marks[name] == pytest.approx(wanted, rel=1e-4)
    page.value("document.getElementById('method').focus()")
    page.press("End", 35)
    page.press("ArrowUp", 38)
    page.value(DRAWN)
    assert page.value("state.method") == "LDAM"
    assert "The collapse law does not apply to margins" in text(page, "#decay-sentence")
    assert page.complaints == []


def test_the_address_holds_the_second_view(page: Page) -> None:
    page.value("location.hash = 'view=decay&method=BMLS+a%3Cb&imbalance=2.9&mu=0.39'")
    page.value(DRAWN)
    assert page.value("[state.method, state.imbalance, state.mu]") == ["BMLS a<b", 0, 8]
    page.value("document.getElementById('mu').focus()")
    page.press("ArrowLeft", 37)
    page.value("new Promise(done => setTimeout(done, 300))")  # the address is written after 200 ms
    moved = page.value("location.href")
    page.open("about:blank", "document.body")
    page.open(moved, READY)
    assert page.value("[state.view, state.method, state.imbalance, state.mu]") == ["decay", "BMLS a<b", 0, 7]


@pytest.mark.parametrize("view", ["budgets", "decay"])
def test_both_views_fit_a_phone_and_both_themes(page: Page, address: str, view: str) -> None:
    page.call("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=2, mobile=True)
    for theme, back in (("dark", "rgb(13, 17, 23)"), ("light", "rgb(255, 255, 255)")):
        page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
        page.open("about:blank", "document.body")
        page.open(f"{address}#view={view}", READY)
        page.value(DRAWN)
        assert page.value("document.documentElement.scrollWidth") == 390
        widths = page.value(
            f"[...document.querySelectorAll('#view-{view} .plot')].map(p => p.querySelector('svg').clientWidth)"
        )
        assert len(widths) == 3
        assert max(widths) <= 390
        assert page.value("getComputedStyle(document.body).backgroundColor") == back
    page.call("Emulation.clearDeviceMetricsOverride")
    page.call("Emulation.setEmulatedMedia", features=[])
    assert page.complaints == []
