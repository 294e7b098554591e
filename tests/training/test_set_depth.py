"""Pixels of more than eight bits: all images of a set are scaled alike. Images of very many pixels: by an option."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lpm.console.cli import run as run_command
from lpm.console.errors import InvalidInput
from tests.training.own import pets, trained
from tests.training.test_images import deep_png
from training import check, predict
from training.data import images, set_depth
from training.data.depth import Largest
from training.data.images import MAX_PIXELS, USUAL, Decoding, central_view, whole
from training.data.set_depth import REMEMBERED, largest_of
from training.store.runs import find

ROOT = Path(__file__).parents[2]


def deep(value: float, kind: Any = np.uint16) -> Image.Image:
    return Image.fromarray(np.full((32, 40), value, dtype=kind))


def seen(root: Path, path: str, of_set: Largest) -> int:
    """A pixel of an image as a network sees it."""
    return int(central_view(path, 16, root=root, decoding=Decoding(of_set=of_set))[0, 0, 0])


@pytest.mark.parametrize("workers", [1, 2])
def test_dark_images_of_a_set_stay_dark(workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(set_depth, "ALONE", 0)
    monkeypatch.setattr(set_depth, "CHUNK", 1)
    for name, value in (("dark.png", 60), ("middle.tif", 900), ("bright.png", 4095)):
        deep(value).save(tmp_path / name)
    Image.new("L", (40, 32), 200).save(tmp_path / "plain.png")
    Image.new("L", (40, 32), 200).save(tmp_path / "plain.jpg")
    paths = ["dark.png", "middle.tif", "plain.png", "plain.jpg", "bright.png", "none.png"]
    of_set = largest_of(tmp_path, paths, USUAL, workers=workers)
    assert of_set == Largest(4095)
    assert of_set.bits == 12
    assert [seen(tmp_path, name, of_set) for name in paths[:3]] == [60 >> 4, 900 >> 4, 200]
    assert seen(tmp_path, "dark.png", Largest()) == 60  # by itself


@pytest.mark.parametrize(
    ("largest", "expected"),
    [(255, [0, 60, 255]), (1000, [0, 60 >> 2, 250]), (4000, [0, 60 >> 4, 250]), (65535, [0, 0, 255])],
)
def test_the_largest_value_of_the_set_decides(largest: int, expected: list[int], tmp_path: Path) -> None:
    for value in (0, 60, largest):
        deep(value).save(tmp_path / f"{value}.png")
    paths = [f"{value}.png" for value in (0, 60, largest)]
    of_set = largest_of(tmp_path, paths, USUAL)
    assert [seen(tmp_path, path, of_set) for path in paths] == expected


def test_floating_point_images_of_a_set_have_one_range(tmp_path: Path) -> None:
    for name, value in (("dark.tif", 0.5), ("bright.tif", 250.0)):
        deep(value, np.float32).save(tmp_path / name)
    of_set = largest_of(tmp_path, ["dark.tif", "bright.tif"], USUAL)
    assert of_set == Largest(0, 250.0)
    assert [seen(tmp_path, name, of_set) for name in ("dark.tif", "bright.tif")] == [0, 250]
    assert seen(tmp_path, "dark.tif", Largest()) == 128  # by itself, as from 0 to 1
    assert seen(tmp_path, "bright.tif", Largest(0, 3000.0)) == 250 >> 4


def test_a_file_that_says_its_depth_is_scaled_by_it_and_says_nothing_of_others(tmp_path: Path) -> None:
    deep(900).save(tmp_path / "a.tif", tiffinfo={281: 4095})
    deep(60).save(tmp_path / "b.tif")
    assert largest_of(tmp_path, ["a.tif", "b.tif"], USUAL) == Largest(60)
    assert seen(tmp_path, "a.tif", Largest(65535)) == 900 >> 4


def test_colour_images_belong_to_the_set(tmp_path: Path) -> None:
    pixels = np.full((8, 8, 3), 1000)
    (tmp_path / "dark.png").write_bytes(deep_png(pixels, 2))
    (tmp_path / "bright.png").write_bytes(deep_png(pixels * 65, 2))
    of_set = largest_of(tmp_path, ["dark.png", "bright.png"], USUAL)
    assert of_set.bits == 16
    assert seen(tmp_path, "dark.png", of_set) == 1000 >> 8


def test_what_was_found_is_remembered_until_a_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep(900).save(tmp_path / "a.png")
    assert largest_of(tmp_path, ["a.png"], USUAL) == Largest(900)
    calls = []
    real = set_depth.largest_in
    monkeypatch.setattr(set_depth, "largest_in", lambda path, **more: calls.append(path) or real(path, **more))
    assert largest_of(tmp_path, ["a.png"], USUAL) == Largest(900)
    assert calls == []
    deep(4000).save(tmp_path / "a.png")
    assert largest_of(tmp_path, ["a.png"], USUAL) == Largest(4000)
    assert calls == ["a.png"]
    assert largest_of(tmp_path, ["a.png"], Decoding(bits=12)) == Largest()  # the user's depth needs no look
    for content in (b"", b"{", b"[1]", json.dumps({"x": [-1, 0]}).encode(), b'{"x": [1e400, 1]}', b'{"x": 1}'):
        (tmp_path / REMEMBERED).write_bytes(content)
        assert largest_of(tmp_path, ["a.png"], USUAL) == Largest(4000)


def test_a_run_scales_all_its_images_alike_and_predictions_follow_it(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = pets(tmp_path / "data")
    for number, file in enumerate(sorted(root.rglob("*.jpg"))):
        file.unlink()
        deep(4000 if number == 20 else 60).save(file.with_suffix(".png"))
    assert trained(root, tmp_path / "s") == 0
    assert "values up to 4,000; all are read as 12 bits, scaled to 8; --pixel-bits" in capsys.readouterr().err
    (run,) = find(tmp_path / "s")
    assert run.result().largest_pixels == (4000, 0)
    pixels = []
    from training.run import inference

    real = inference.central_view
    monkeypatch.setattr(
        inference, "central_view", lambda *words, **more: pixels.append(real(*words, **more)) or pixels[-1]
    )
    assert run_command(lambda: predict.main([str(run.path), str(root / "train/cat/00.png"), "--workers", "0"])) == 0
    assert (pixels[0] == 60 >> 4).all()


def large(kind: str, mode: str = "RGB", width: int = 12_000, height: int = 8_000) -> bytes:
    """A picture of 96 megapixels, of two halves."""
    image = Image.new(mode, (width, height), 40 if mode == "L" else (40, 80, 120))
    image.paste(200 if mode == "L" else (200, 100, 0), (width // 2, 0, width, height))
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize(("kind", "mode"), [("JPEG", "RGB"), ("JPEG", "L"), ("PNG", "L")])
def test_a_large_photograph_is_read_by_an_option(
    kind: str, mode: str, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "big.jpg").write_bytes(large(kind, mode))
    with pytest.raises(InvalidInput, match="has 96,000,000 pixels, and at most 89,478,485 are decoded; give more with"):
        whole("big.jpg", root=tmp_path)
    limit = Image.MAX_IMAGE_PIXELS
    image = whole("big.jpg", root=tmp_path, decoding=Decoding(max_pixels=100_000_000))
    assert limit == Image.MAX_IMAGE_PIXELS
    assert image.size == ((6_000, 4_000) if kind == "JPEG" else (12_000, 8_000))  # a JPEG is decoded at half its sides
    assert image.width * image.height <= (MAX_PIXELS if kind == "JPEG" else 10**8)
    view = central_view("big.jpg", 32, root=tmp_path, decoding=Decoding(max_pixels=100_000_000)).astype(int)
    left, right = ((40, 40, 40), (200, 200, 200)) if mode == "L" else ((40, 80, 120), (200, 100, 0))
    assert np.abs(view[:, 5, 5] - left).max() < 4
    assert np.abs(view[:, 5, 26] - right).max() < 4
    monkeypatch.setattr(images, "crop_box", lambda width, height, rng: (0, 0, width, height))  # no limit for crops
    rng = np.random.default_rng(0)
    assert images.train_view("big.jpg", 32, rng, root=tmp_path, decoding=Decoding(max_pixels=10**8)).shape == (
        3,
        32,
        32,
    )
    assert run_command(lambda: check.main([str(tmp_path), "--quiet"])) == 2
    assert "--max-pixels" in capsys.readouterr().err
    assert run_command(lambda: check.main([str(tmp_path), "--quiet", "--max-pixels", "100000000"])) == 0
    assert run_command(lambda: check.main([str(tmp_path), "--quiet"])) == 2  # what a larger limit decodes, it forgets


MEASURED = """
import sys
from pathlib import Path
import numpy as np
from training.data import images

def most():
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])

images.crop_box = lambda width, height, rng: (0, 0, width, height)
before = most()
images.train_view(Path(sys.argv[1]), 32, np.random.default_rng(0), decoding=images.Decoding(True, max_pixels=10**8))
print((most() - before) * 1024)
"""
"""A command that prints by how many bytes an image raises a process's largest memory; a crop of all of it is a copy."""


@pytest.mark.parametrize(("kind", "bytes_per_pixel"), [("JPEG", 10), ("PNG", 10), ("16 bits", 30)])
def test_memory_per_pixel_is_below_what_the_option_says(kind: str, bytes_per_pixel: int, tmp_path: Path) -> None:
    deep = kind == "16 bits"
    picture = deep_png(np.full((3_000, 4_000, 3), 3_000), 2) if deep else large(kind, width=4_000, height=3_000)
    (tmp_path / "big").write_bytes(picture)
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(tmp_path / "big")], capture_output=True, text=True, check=True, cwd=ROOT
    )
    pixels = 12_000_000
    assert pixels < int(done.stdout) < bytes_per_pixel * pixels


@pytest.mark.parametrize("word", ["0", "-1", "1e9", "1000000001", "x", "9" * 30])
def test_an_impossible_number_of_pixels_is_one_line(word: str, tmp_path: Path, capsys: Any) -> None:
    with pytest.raises(SystemExit) as status:
        check.main([str(tmp_path), "--max-pixels", word])
    assert status.value.code == 2
    assert "is not a number of pixels, 1 to 1,000,000,000" in capsys.readouterr().err
