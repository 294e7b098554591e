"""The page and the pictures of a comparison: they hold all they show, and show what the rows say."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lpm.console.cli import run as run_command
from tests.training.own import pets
from training import compare
from training.store import comparison_picture
from training.store.comparison_page import is_page
from training.store.comparisons import Runs, rows
from training.store.results import RunResult

LABELS = np.arange(200) % 2


def runs(*shares: float) -> Runs:
    """Runs that are right on so many of the test images."""
    right = np.stack([np.arange(len(LABELS)) < share * len(LABELS) for share in shares])
    return Runs(tuple(RunResult(last={"all": 100 * share}) for share in shares), LABELS, right)


def test_the_picture_in_text_has_each_number_at_its_place() -> None:
    results = {"one": runs(0.5, 0.52), "other\x1b[31m": runs(0.8, 0.84), "third": runs(0.6)}
    *lines, scale = comparison_picture.in_text(results).splitlines()
    ranked = rows(results, "all")
    assert [line.split()[-1] for line in lines] == ["82.00", "60.00", "51.00"]
    low, high = (float(number) for number in re.findall(r"(\d+\.\d) %", scale))
    start = scale.index(re.findall(r"\S", scale)[0])
    for line, row in zip(lines, ranked.values(), strict=True):
        assert line.startswith("    ")
        assert line.isprintable()
        for mark, value in (("├", row.accuracy.low), ("●", row.accuracy.value), ("┤", row.accuracy.high)):
            found = low + (line.index(mark) - start) / (comparison_picture.COLUMNS - 1) * (high - low)
            assert found == pytest.approx(value, abs=0.6 * (high - low) / comparison_picture.COLUMNS + 0.05)
    assert comparison_picture.in_text({"one": runs(0.5)}) == ""


def test_equal_numbers_without_intervals_have_a_picture_too() -> None:
    alike = Runs((RunResult(last={"all": 50.0}),))
    first, second, _ = comparison_picture.in_text({"a": alike, "b": alike}).splitlines()
    assert first.index("●") == second.index("●")
    assert "├" not in first


def test_curves_are_the_means_over_the_seeds() -> None:
    results = {"a": runs(0.5, 0.5), "b$x$": runs(0.5), "c": runs(0.4)}
    seeds = [{1: 10.0, 2: 20.0, 4: 30.0}, {1: 20.0, 3: 30.0, 4: 40.0}]
    svg = comparison_picture.curves(results, {"a": seeds, "b$x$": [{1: 5.0}], "c": []}).decode()
    reduced = comparison_picture.over_seeds(seeds)
    assert [values.tolist() for values in reduced] == [[1, 4], [15, 35], [10, 30], [20, 40]]
    assert ">a<" in svg  # in the legend
    assert ">b$x$<" in svg
    assert ">c<" not in svg
    assert comparison_picture.curves(results, {}).startswith(b"<?xml")


def test_the_page_holds_all_it_shows(tmp_path: Path, capsys: Any) -> None:
    root = pets(tmp_path / "data")
    for use in ("train", "test"):
        (root / use / "cat").rename(root / use / "<i>cat&")
    words = ["--dataset", "own", "--data-root", str(root), "--store", str(tmp_path / "s"), "--device", "cpu"]
    words += ["--preset", "smoke", "--epochs", "2", "--width", "4", "--workers", "0", "--quiet", "--seeds", "0-1"]
    words += ["--method", "random+FC", "BMLS+FC"]
    page = tmp_path / "page.html"
    assert run_command(lambda: compare.main([*words, "--html", str(page)])) == 0
    printed = capsys.readouterr()
    assert f"page: {page}" in printed.err
    assert re.search(r"^    (random|BMLS)\+FC .*●", printed.out, re.M)
    html = page.read_text()
    assert not re.search(r"<i>|<script|https?://|(src|href)=\"(?!data:)", html)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))
    for line in printed.out.splitlines():
        if line.startswith("| BMLS+FC"):
            assert " ".join(line.replace("|", " ").split()) in text
        if line.startswith(("Best: ", "No method")):
            assert line in text.replace("&lt;", "<")
    kinds = re.findall(r'src="data:([^;]+);base64,([^"]+)"', html)
    matrices = 1 if "and the first method" in html else 2
    assert [kind for kind, _ in kinds] == ["image/svg+xml"] * 2 + ["image/png"] * matrices
    assert "random+FC" in base64.b64decode(kinds[1][1]).decode()
    for folder in (tmp_path / "s").glob("*bmls*/seed-*"):  # as one removes it to save space
        (folder / "final.safetensors").unlink()
    assert run_command(lambda: compare.main([*words, "--html", str(page)])) == 0
    html = page.read_text()
    assert 'alt="Confusion matrix of random+FC"' in html
    assert 'alt="Confusion matrix of BMLS+FC"' not in html


def test_a_page_that_cannot_be_written_is_refused_before_training(tmp_path: Path, capsys: Any) -> None:
    for path in (tmp_path, tmp_path / "none/page.html"):
        assert run_command(lambda path=path: compare.main(["--store", str(tmp_path / "s"), "--html", str(path)])) == 2
        assert "name a file in a folder that exists" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def test_only_a_page_of_this_command_is_replaced(tmp_path: Path, capsys: Any) -> None:
    images = tmp_path / "train.txt"
    images.write_text("cat/1.png 0\n")
    (tmp_path / "link.html").symlink_to(images)
    os.mkfifo(tmp_path / "pipe.html")
    for name in ("train.txt", "link.html", "pipe.html"):
        words = ["--store", str(tmp_path / "s"), "--html", str(tmp_path / name)]
        assert run_command(lambda words=words: compare.main(words)) == 2
        out, err = capsys.readouterr()
        assert "exists and is no page of this command; name another file" in err
        assert (out, err.count("\n")) == ("", 1)
    assert images.read_text() == "cat/1.png 0\n"
    assert not (tmp_path / "s").exists()


def test_a_reader_that_stops_early_does_not_lose_the_page(tmp_path: Path) -> None:
    class Stopped(io.StringIO):
        """Standard output whose reader has ended."""

        def write(self, text: str) -> int:
            raise BrokenPipeError

    words = ["--store", str(tmp_path / "s"), "--device", "cpu", "--preset", "smoke", "--epochs", "1", "--width", "4"]
    words += ["--method", "random+FC", "--quiet", "--html", str(tmp_path / "page.html")]
    with contextlib.redirect_stdout(Stopped()), pytest.raises(BrokenPipeError):
        compare.main(words)
    assert is_page(tmp_path / "page.html")
