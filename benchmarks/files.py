"""What image files cost: ``python -m benchmarks.files [--out FILE]``, two minutes and 2 GB of temporary disk space.

- Lists of iNaturalist's size: 437,513 training and 24,426 test images of 8,142 classes, as text and as JSON, and files
  of one byte in one folder per class. Measured are the seconds and the peak memory of reading and checking them, the
  best of two.
- A view of a photograph, decoded, cropped and scaled to 224 pixels: milliseconds on one core, for pictures of 500 x 375
  and 1000 x 750 pixels (smooth noise, JPEG at quality 90). The plain view and one with Pillow's draft mode take turns,
  and the largest difference of their pixels is measured.
- Two views of a picture, as partners from the same batch need them: decoded once, as training does, and decoded twice.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.alone import alone, memory, reset_peak
from benchmarks.rows import csv_file, origin, write
from benchmarks.sizes import SETTINGS
from training.data import lists
from training.data.images import crop_box, train_view, train_views

TEST_IMAGES = 3
"""Test images of each class, as in iNaturalist's validation set."""
VIEWS, ROUNDS, SIZE = 40, 5, 224
"""Views in a round, rounds, and pixels on a side of a view."""

Row = dict[str, object]
"""One number: on what, which quantity, and its value."""


def written(root: Path) -> list[tuple[Path, Path]]:
    """Write files and lists of iNaturalist's size, as text and as JSON.

    Args:
        root: folder for them.

    Returns:
        The training and the test list of each format.
    """
    setting = SETTINGS["iNaturalist 2018"]
    rng = np.random.default_rng(0)
    lists_of_part: list[list[Path]] = []
    for part, counts in (("train", setting.counts), ("val", np.full(setting.K, TEST_IMAGES))):
        rows = []
        for k, count in enumerate(counts):
            folder = f"{part}_val2018/Plantae/{k:04d}"
            (root / folder).mkdir(parents=True)
            rows += [(f"{folder}/{part}{i:04d}{k:028x}.jpg", k) for i in range(count)]
        for path, _ in rows:
            (root / path).write_bytes(b"0")
        rows = [rows[i] for i in rng.permutation(len(rows))]
        shared = {"width": 800, "height": 600, "license": 3}
        images = [
            {"id": i, "file_name": path, **shared, "rights_holder": f"person {i}"} for i, (path, _) in enumerate(rows)
        ]
        annotations = [{"id": i, "image_id": i, "category_id": k} for i, (_, k) in enumerate(rows)]
        as_text, as_json = root / f"{part}.txt", root / f"{part}2018.json"
        as_text.write_text("".join(f"{path} {k}\n" for path, k in rows))
        as_json.write_text(json.dumps({"images": images, "annotations": annotations}))
        lists_of_part.append([as_text, as_json])
    return [(train, test) for train, test in zip(*lists_of_part, strict=True)]


def checked(root: Path, train: Path, test: Path) -> tuple[float, float]:
    """Read and check two lists.

    Args:
        root: folder of the files.
        train: list of training images.
        test: list of test images.

    Returns:
        Seconds, and peak memory in MB.
    """
    reset_peak()
    before, start = memory("VmRSS"), time.perf_counter()
    lists.load("inaturalist2018", root, train_list=train, test_list=test)
    return time.perf_counter() - start, (memory("VmHWM") - before) / 1e6


def of_lists() -> Iterator[Row]:
    """Measure the lists, each in a fresh process.

    Yields:
        One row per number.
    """
    with tempfile.TemporaryDirectory() as folder:
        for train, test in written(Path(folder)):
            measured = [alone(checked, Path(folder), train, test) for _ in range(2)]
            on = f"lists of iNaturalist's size, {train.suffix[1:]}"
            yield {"on": on, "quantity": "list, MB", "value": train.stat().st_size / 1e6}
            yield {"on": on, "quantity": "seconds", "value": min(seconds for seconds, _ in measured)}
            yield {"on": on, "quantity": "peak MB", "value": min(peak for _, peak in measured)}


def picture(width: int, height: int) -> bytes:
    """Draw a picture of smooth noise.

    Args:
        width: in pixels.
        height: in pixels.

    Returns:
        The picture as JPEG.
    """
    noise = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return file.getvalue()


def whole(path: Path, rng: np.random.Generator) -> np.ndarray:
    """Return a training view, decoded in full.

    Args:
        path: a JPEG.
        rng: decides the crop.

    Returns:
        (3, SIZE, SIZE) pixels.
    """
    return train_view(path, SIZE, rng)


def drafted(path: Path, rng: np.random.Generator) -> np.ndarray:
    """Return a training view with Pillow's draft mode.

    The picture is decoded at a half, a quarter or an eighth of its size, where the crop still has SIZE pixels.

    Args:
        path: a JPEG.
        rng: decides the crop.

    Returns:
        (3, SIZE, SIZE) pixels.
    """
    with Image.open(path) as image:
        width, height = image.size
        box = crop_box(width, height, rng)
        scale = min(1.0, max(SIZE / (box[2] - box[0]), SIZE / (box[3] - box[1])))
        image.draft("RGB", (round(width * scale), round(height * scale)))
        x, y = image.width / width, image.height / height
        part = round(box[0] * x), round(box[1] * y), round(box[2] * x), round(box[3] * y)
        small = image.crop(part).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        return np.ascontiguousarray(np.asarray(small).transpose(2, 0, 1))


def of_views() -> Iterator[Row]:
    """Measure views of a picture; the ways of making them take turns.

    Yields:
        One row per number.
    """
    kinds: dict[str, Callable[[Path, np.random.Generator], object]] = {
        "as it is": whole,
        "drafted": drafted,
        "two views decoded once": lambda path, rng: train_views(path, SIZE, [rng, rng]),
        "two views decoded twice": lambda path, rng: [whole(path, rng) for _ in range(2)],
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "picture.jpg")
        for width, height in ((500, 375), (1000, 750)):
            path.write_bytes(picture(width, height))
            seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
            for _, kind in product(range(ROUNDS), kinds):
                start = time.perf_counter()
                for seed in range(VIEWS):
                    kinds[kind](path, np.random.default_rng(seed))
                seconds[kind].append((time.perf_counter() - start) / VIEWS)
            on = f"view of {width} x {height}"
            for kind, times in seconds.items():
                yield {"on": on, "quantity": f"milliseconds, {kind}", "value": 1e3 * statistics.median(times)}
            differences = []
            for seed in range(VIEWS):
                plain, draft = (view(path, np.random.default_rng(seed)) for view in (whole, drafted))
                differences.append(np.abs(plain.astype(int) - draft).max())
            yield {"on": on, "quantity": "largest difference, grey levels", "value": max(differences)}


def main() -> None:
    """Run the command: measure, print, and write one row per number to ``--out``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.files")
    parser.add_argument("--out", type=csv_file)
    options = parser.parse_args()
    shared, rows = origin(), []
    for part in (of_views, of_lists):
        for row in part():
            rows.append(row | {"value": f"{row['value']:.4g}"} | shared)
            print(row["on"], row["quantity"], rows[-1]["value"], sep="\t", flush=True)
    write(options.out, rows)


if __name__ == "__main__":
    main()
