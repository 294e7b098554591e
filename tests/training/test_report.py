"""The page on a finished run: its measures by hand, its pictures, and names of files that it does not obey."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
import re
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import precision_recall_fscore_support, roc_auc_score

from lpm.console.cli import run as run_command
from tests.training.own import pets, trained
from training.report import main as report
from training.store import class_report, pages
from training.store.confusions import counted
from training.store.runs import find


def test_the_area_under_the_curve_counts_pairs_and_halves_ties() -> None:
    rng = np.random.default_rng(0)
    scores, members = rng.integers(5, size=40).astype(float), rng.random(40) < 0.3
    pairs = [
        (scores[i] > scores[j]) + (scores[i] == scores[j]) / 2
        for i, j in product(*map(np.flatnonzero, (members, ~members)))
    ]
    assert class_report.auc(scores, members) == pytest.approx(np.mean(pairs))
    assert class_report.auc(np.arange(4.0), np.array([False, False, True, True])) == 1
    assert math.isnan(class_report.auc(scores, members & False))
    assert math.isnan(class_report.auc(scores, members | True))


def test_rows_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(4, size=200)
    logits = rng.normal(size=(200, 4)) + 1.5 * np.eye(4)[labels]
    predicted = logits.argmax(axis=1)
    confusion = counted(labels, np.stack([predicted] * 2, axis=1), np.eye(4), {"many": (0, 3)})
    rows = class_report.rows(list("abcd"), [9, 8, 7, 6], confusion, logits, labels)
    precision, recall, f1, support = precision_recall_fscore_support(labels, predicted)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for k, row in enumerate(rows):
        assert (row.name, row.training_images, row.support) == ("abcd"[k], 9 - k, support[k])
        assert [row.precision, row.recall, row.f1] == pytest.approx([100 * x[k] for x in (precision, recall, f1)])
        assert row.auc == pytest.approx(roc_auc_score(labels == k, p[:, k]))
    (first, *_) = csv.DictReader(class_report.as_csv(rows).splitlines())
    assert list(first) == ["name", "training_images", "support", "precision", "recall", "f1", "auc"]
    assert float(first["auc"]) == pytest.approx(rows[0].auc, abs=1e-5)
    assert class_report.as_csv([replace(rows[0], precision=math.nan)]).splitlines()[1].split(",")[3] == ""


def test_the_surest_errors_come_first() -> None:
    logits = np.array([[5.0, 0, 0], [0, 9, 0], [0, 2, 0], [0, 0, 1], [3, 0, 0]])
    labels = np.array([0, 0, 0, 0, 1])
    errors = class_report.surest_errors(logits, labels, 3)
    assert [(number, label) for number, label, _ in errors] == [(1, 1), (4, 0), (2, 1)]
    assert errors[0][2] == pytest.approx(math.exp(9) / (math.exp(9) + 2))
    assert class_report.surest_errors(logits, labels, 0) == []


def test_a_run_has_a_page_that_holds_all_it_shows(tmp_path: Path, capsys: Any) -> None:
    root, store, out = pets(tmp_path / "data"), tmp_path / "store", tmp_path / "out"
    for use in ("train", "test"):  # a name that a page must not obey
        (root / use / "cat").rename(root / use / "<b onclick=x>&")
    odd = root / "test/dog/<script>alert(1)<.jpg"
    (root / "test/dog/00.jpg").rename(odd)
    assert trained(root, store) == 0
    (folder,) = find(store)
    words = [str(folder.path), "--data-root", str(root), "--out", str(out)]
    assert run_command(lambda: report([*words, "--images", "7"])) == 0
    page = (out / "report.html").read_text()
    rows = list(csv.DictReader((out / "classes.csv").read_text().splitlines()))
    assert [row["name"] for row in rows] == ["dog", "emu", "<b onclick=x>&"]
    assert [float(row["recall"]) for row in rows] == pytest.approx(folder.result().per_class, abs=1e-3)
    assert not re.search(r"<script|<b onclick|https?://|src=\"(?!data:)", page)
    assert "&lt;b onclick=x&gt;&amp;" in page
    wrong = sum(int(row["support"]) * (100 - float(row["recall"])) / 100 for row in rows)
    assert f"{wrong:.0f} of 7 test images are predicted wrong" in " ".join(page.split())
    pictures = [base64.b64decode(data) for data in re.findall(r'<img src="data:image/png;base64,([^"]+)"', page)]
    assert len(pictures) == 1 + round(wrong)
    assert max(Image.open(io.BytesIO(pictures[1])).size) <= 128
    assert run_command(lambda: report([*words, "--images", "0"])) == 0
    assert (out / "report.html").read_text().count("<figure>") == 1
    capsys.readouterr()
    for more, message in (
        (["--images", "-1"], "--images -1 must lie in 0..1000"),
        (["--data-root", str(tmp_path)], "error: "),
    ):
        assert run_command(lambda more=more: report([*words, *more])) == 2
        err = capsys.readouterr().err
        assert message in err
        assert err.count("\n") == 1
    assert (out / "report.html").exists()


def test_what_is_shown_of_many_classes_are_those_with_the_lowest_f1() -> None:
    from training.report import ROWS, _listed

    row = class_report.ClassRow(name="a", training_images=1, support=1, precision=0, recall=0, f1=0, auc=0.5)
    rows = [replace(row, name=str(k), f1=float(k % 7) if k else math.nan) for k in range(ROWS + 50)]
    listed = _listed(rows)
    assert len(listed) == ROWS
    assert max(row.f1 for row in listed) <= min(row.f1 for row in rows if row not in listed and row.f1 == row.f1)
    assert _listed(rows[:ROWS]) == rows[:ROWS]


def test_numbers_that_do_not_exist_are_dashes() -> None:
    assert [pages.number(math.nan), pages.number(1.25, 1), pages.number(0.5, 3)] == ["–", "1.2", "0.500"]


def test_a_pattern_that_matched_several_runs_is_named(capsys: Any) -> None:
    with pytest.raises(SystemExit) as ended:
        report(["runs/one/seed-0", "runs/two/seed-0"])
    assert ended.value.code == 2
    error = "error: 'runs/two/seed-0' is one word too many; a pattern may have matched several files or folders\n"
    assert capsys.readouterr().err == error


def test_a_correction_is_in_all_that_the_page_shows(tmp_path: Path) -> None:
    root, store, out = pets(tmp_path / "data"), tmp_path / "store", tmp_path / "out"
    assert trained(root, store, "--sampler", "random", "--classifier", "fc") == 0
    (folder,) = find(store)
    words = [str(folder.path), "--data-root", str(root), "--workers", "0", "--out", str(out)]
    assert run_command(lambda: report([*words, "--correction", "la", "--tau", "100"])) == 0
    rows = list(csv.DictReader((out / "classes.csv").read_text().splitlines()))
    assert [float(row["recall"]) for row in rows] == [0, 0, 100]  # so strong that the rarest class has all images
    page = (out / "report.html").read_text()
    assert "post-hoc LA(100)" in page
    assert "all 28.57" in page
    assert json.loads((out / "manifest.json").read_text())["correction"] == {"name": "la", "tau": 100.0}
    assert run_command(lambda: report([*words, "--tau", "1"])) == 2
