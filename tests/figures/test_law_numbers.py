"""The README's sentence and the page about networks on the law, held to the committed rows: red when either changes alone."""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path

import numpy as np
import pytest

from figures import law, law_map
from lpm.law import collapse_number

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "theory" / "law-networks.md").read_text()
WITH_CROSSING = ("FC", "MS", "LA", "CW", "no-mixup")
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight"]
MEASURED = law.measured_rows(law.RUNS)
with law.RUNS.open(newline="") as runs:
    ROWS = list(csv.DictReader(runs))


def of_law(name: str) -> float:
    """The law's threshold of a series."""
    panel = law.PANELS[name]
    return math.sqrt(collapse_number(law.BUILDERS[panel.cure](law.setting()).under_decay(1.0), panel.group))


def mean(name: str, ratio: float, column: str) -> float:
    """The mean of a column over the seeds of a series at one mu over the threshold."""
    values = [
        row[column] for row in MEASURED if row["series"] == name and row["ratio"] == pytest.approx(ratio, abs=2e-3)
    ]
    assert len(values) == 3
    return float(np.mean(values))


def short(value: float, digits: int = 3) -> str:
    """A number as tables print it, without the zero before the point."""
    text = f"{value:.{digits}f}"
    return re.sub(r"^0(?=\.)", "", text)


def table(head: str) -> list[list[str]]:
    """The cells of the page's table whose first line begins so, without its head."""
    lines = PAGE[PAGE.index(head) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]


def said(text: str) -> str:
    """The text in one line."""
    return " ".join(text.split())


def test_the_readme_counts_thresholds() -> None:
    digits = [name for name in law.PANELS if not name.startswith("CIFAR")]
    measured = {name: law.threshold(MEASURED, name) for name in digits}
    near = [name for name, mu in measured.items() if mu is not None and abs(mu / of_law(name) - 1) <= 0.05]
    sentence = (
        f"For {WORDS[len(near)]} of the {WORDS[len(digits)]} methods the measured threshold is within 5 % of the law's"
    )
    assert sentence in said((ROOT / "README.md").read_text())
    assert near == [name for name in digits if name in WITH_CROSSING]


def test_the_table_of_thresholds() -> None:
    for name, (_, predicted, measured, off) in zip(
        WITH_CROSSING, table("| method | threshold of the law | measured |"), strict=True
    ):
        mu = law.threshold(MEASURED, name)
        assert mu is not None
        assert [predicted, measured] == [short(of_law(name), 4), short(mu, 4)]
        assert off == f"{100 * (mu / of_law(name) - 1):+.1f} %"


def test_the_table_of_what_is_fitted() -> None:
    points = [row for row in MEASURED if row["series"] == "FC"]
    shares = law.shares_of(points)
    least = [row for row in points if row["ratio"] == min(p["ratio"] for p in points)]
    group, frequent, rare = (short(float(np.mean([row[name] for row in least]))) for name in law.FIT)
    sentence = (
        f"{group} of the mass on frequent classes, {frequent} inside frequent classes and {rare} inside rare ones"
    )
    assert sentence in said(PAGE)
    for ratio, *cells in table("| μ over the threshold | rare classes |"):
        x = min((row["ratio"] for row in points), key=lambda x: abs(x - float(ratio)))
        (plain,), (fitted,) = law.predicted_rows("FC", [x]), law.predicted_rows("FC", [x], shares)
        expected = [[short(mean("FC", x, r)), short(plain[r]), short(fitted[r])] for r in ("r_B", "r_A")]
        assert cells == expected[0] + expected[1]
        assert fitted["r_B"] == pytest.approx(mean("FC", x, "r_B"), rel=0.045)
        assert fitted["r_A"] == pytest.approx(mean("FC", x, "r_A"), rel=0.005)


def test_the_table_of_exponential_counts() -> None:
    rows = table("| μ | | | | | | | | | |")
    for (mu, *_), (_, *measured) in zip(rows[::2], rows[1::2], strict=True):
        runs = [row for row in ROWS if row["series"] == "FC-exp" and float(row["mu"]) == pytest.approx(float(mu))]
        assert len(runs) == 3
        assert measured == [short(float(np.mean([float(row[f"s{n}"]) for row in runs]))) for n in range(1, 10)]


def test_the_table_of_ordinary_weight_decay() -> None:
    for w, mu, frequent, rare, many, few in table("| w | μ by balance | r, frequent |"):
        runs = [row for row in ROWS if row["series"] == "weight-decay" and float(row["weight_decay"]) == float(w)]
        r = {
            side: np.mean([np.sqrt(np.mean([float(row[f"s{side}{n}"]) ** 2 for n in range(1, 5)])) for row in runs])
            for side in "AB"
        }
        accuracy = [float(np.mean([float(row[name]) for row in runs])) for name in ("many", "few")]
        assert len(runs) == 3
        assert float(mu) == pytest.approx(np.mean([float(row["mu"]) for row in runs]), abs=6e-4)
        assert [frequent, rare] == [short(float(r["A"]), 2), short(float(r["B"]), 2)]
        assert [many, few] == [f"{accuracy[0]:.1f}", f"{accuracy[1]:.1f}" if accuracy[1] else "0"]


def r_of(rows: list[dict[str, str]], side: str) -> float:
    """The mean over runs of the root mean square of a group's singular values."""
    return float(np.mean([np.sqrt(np.mean([float(row[f"s{side}{n}"]) ** 2 for n in range(1, 5)])) for row in rows]))


def test_the_table_of_noise() -> None:
    series = {(".1", "32"): "weight-decay", (".01", "32"): "weight-decay-lr"}
    for lr, batch, _, w, mu, frequent, rare, few in table("| learning rate | batch | epochs |"):
        name = series[lr, batch]
        runs = [row for row in ROWS if row["series"] == name and float(row["weight_decay"]) == float(w)]
        assert len(runs) == 3
        assert float(mu) == pytest.approx(np.mean([float(row["mu"]) for row in runs]), abs=1e-3)
        assert [frequent, rare] == [short(r_of(runs, "A"), 2), short(r_of(runs, "B"), 2)]
        accuracy = np.mean([float(row["few"]) for row in runs])
        assert few == (f"{accuracy:.1f}" if accuracy else "0")
    balanced = [row for row in ROWS if row["series"].startswith("weight-decay") and float(row["weight_decay"]) >= 0.02]
    ratios = [float(row["squares_norms"]) / float(row["squares_W"]) for row in balanced]
    assert ratios == pytest.approx([1.0] * len(ratios), abs=0.04)


def test_the_sentence_about_the_map() -> None:
    """Rare classes are lost where their accuracy is 0; the law's thresholds fall in the same order."""
    cells = law_map.data(law.RUNS)
    found = {}
    for R in sorted({cell["imbalance"] for cell in cells}):
        row = [cell for cell in cells if cell["imbalance"] == R]
        kept = [cell["weight_decay"] for cell in row if cell["few"] > 10]
        lost = [cell["weight_decay"] for cell in row if cell["few"] <= 1]
        found[R] = (max(kept, default=0.0), min(lost))
        assert found[R][0] < found[R][1]
    assert found == {3: (0.05, 0.1), 10: (0.03, 0.035), 30: (0.01, 0.02), 120: (0, 0.01)}
    thresholds = [math.sqrt(2 / 3 / (5 * (R + 1))) for R in found]
    assert ", ".join(short(mu) for mu in thresholds) in said(PAGE)


def test_the_table_of_cifar() -> None:
    lines = table("| μ over the threshold | r, frequent |")
    for x, frequent, rare, own, fit_A, fit_B, many, few in lines:
        (run,) = [
            row for row in MEASURED if row["series"] == "CIFAR" and row["ratio"] == pytest.approx(float(x), abs=2e-3)
        ]
        assert [frequent, rare, own] == [short(run["r_A"], 2), short(run["r_B"]), short(run["own_B"])]
        assert [fit_A, fit_B] == [short(run["fit_A"], 2), short(run["fit_B"], 2)]
        assert [many, few] == [f"{run['many']:.1f}", f"{run['few']:.1f}" if run["few"] else "0"]
    assert len(lines) == sum(row["series"] == "CIFAR" for row in ROWS)
    runs = [row for row in ROWS if row["series"] == "CIFAR"]
    assert min(float(row["shared_B"]) for row in runs if float(row["ratio"]) >= 0.3) > 0.94
    points = sorted((row for row in MEASURED if row["series"] == "CIFAR"), key=lambda row: row["ratio"])
    by_ratio = {round(row["ratio"], 2): row for row in points}
    own = {x: row["own_B"] / row["r_A"] for x, row in by_ratio.items()}
    assert f"there r falls from {100 * own[0.25]:.0f} to {100 * own[0.3]:.0f} % of that of frequent classes" in said(
        PAGE
    )
    assert f"It crosses 15 % at {short(float(np.interp(-0.15, [-own[0.25], -own[0.3]], [0.25, 0.3])))}" in said(PAGE)
    shares = [short(by_ratio[x]["fit_B"], 2) for x in (0.1, 0.25, 0.3)]
    assert f"labels that is fitted is {shares[0]} at .1, {shares[1]} at .25 and {shares[2]} at .3" in said(PAGE)
    excess = [x - math.sqrt(by_ratio[x]["fit_B"]) for x in (0.25, 0.3)]
    meets = float(np.interp(0, excess, [0.25, 0.3]))
    assert f"Its root equals μ over the threshold at {short(meets)}" in said(PAGE)
    crossed = (law.threshold(MEASURED, "CIFAR") or math.nan) / math.sqrt(2 / 3 / 55)
    assert f"With it the threshold is at {short(crossed, 2)} of the law's" in said(PAGE)
    like = [row["resembles"].split() for row in runs if 0.28 < float(row["ratio"]) < 0.7]
    assert {tuple(pair.split(":")[0] for i, pair in enumerate(pairs) if i != 1) for pairs in like} == {
        ("3", "4", "0", "1")
    }
    cosines = [float(pair.split(":")[1]) for pairs in like for i, pair in enumerate(pairs) if i != 1]
    assert f"with cosines of {short(min(cosines), 2)} to {short(max(cosines), 2)}" in said(PAGE)


def test_sentences_of_the_page() -> None:
    cw_many, cw_few = mean("CW", 1.2, "many"), mean("CW", 1.2, "few")
    page = said(PAGE)
    cold = [[float(row[f"sB{n}"]) for n in range(1, 5)] for row in ROWS if row["series"] == "FC-cold"]
    assert len(cold) == 3
    r_cold = float(np.mean([np.sqrt(np.mean(np.square(values))) for values in cold]))
    for sentence in (
        f"at 0.8 of the threshold r is {short(mean('FC', 0.8, 'r_A'))} and {short(mean('FC', 0.8, 'r_B'))} for mixup with FC",
        f"At 95 % of it, accuracy on rare classes is {mean('FC', 0.95, 'few'):.1f} %",
        f"Logit adjustment has {mean('LA', 0.95, 'few'):.0f} % at the same μ",
        f"{mean('LA', 1.05, 'few'):.0f} % at 1.05, where a guess",
        f"the accuracy is {cw_many:.0f} % on frequent classes and {cw_few:.0f} % on rare ones",
        f"CAS has r = {short(mean('CAS', 0.5, 'r_A'))} and {short(mean('CAS', 0.5, 'r_B'))}",
        f"at 0.8 of the threshold r is {short(r_cold, 2)} after 200 epochs",
    ):
        assert sentence in page, sentence
