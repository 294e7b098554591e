"""What image files cost: ``python -m benchmarks.files [--out FILE]``, some two minutes and 2 GB of disk for a while.

- Lists of iNaturalist's size: 437,513 training and 24,426 test images of 8,142 classes, as text and as JSON; files of a byte in
  a folder a class. Seconds and peak memory of reading and checking them, the best of two.
- A view of a photograph, decoded, cut and scaled to 224 pixels: milliseconds on one core, of pictures of 500 x 375 and 1000 x 750
  pixels (smooth noise, JPEG at quality 90), as it is and with Pillow's draft mode, by turns; and how far draft's pixels are off.
  And two views of it, as partners from the same batch are seen: decoded once, as training does, and twice.
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
from benchmarks.rows import origin, write
from benchmarks.sizes import SETTINGS
from training.data import lists
from training.data.images import crop_box, train_view, train_views

TEST_IMAGES = 3
"""Of each class, as iNaturalist's validation set has."""
VIEWS, ROUNDS, SIZE = 40, 5, 224

Row = dict[str, object]


def written(root: Path) -> list[tuple[Path, Path]]:
    """Files and lists of iNaturalist's size: the lists as text and as JSON, each for training and testing."""
    setting = SETTINGS["iNaturalist 2018"]
    rng = np.random.default_rng(0)
    made: list[list[Path]] = []
    for split, counts in (("train", setting.counts), ("val", np.full(setting.K, TEST_IMAGES))):
        rows = []
        for k, count in enumerate(counts):
            folder = f"{split}_val2018/Plantae/{k:04d}"
            (root / folder).mkdir(parents=True)
            rows += [(f"{folder}/{split}{i:04d}{k:028x}.jpg", k) for i in range(count)]
        for path, _ in rows:
            (root / path).write_bytes(b"0")
        rows = [rows[i] for i in rng.permutation(len(rows))]
        images = [{"id": i, "file_name": path, "width": 800, "height": 600, "license": 3, "rights_holder": f"person {i}"}
                  for i, (path, _) in enumerate(rows)]  # fmt: skip
        annotations = [{"id": i, "image_id": i, "category_id": k} for i, (_, k) in enumerate(rows)]
        made.append([root / f"{split}.txt", root / f"{split}2018.json"])
        made[-1][0].write_text("".join(f"{path} {k}\n" for path, k in rows))
        made[-1][1].write_text(json.dumps({"images": images, "annotations": annotations}))
    return [(train, test) for train, test in zip(*made, strict=True)]


def checked(root: Path, train: Path, test: Path) -> tuple[float, float]:
    """Seconds and peak MB of reading and checking two lists."""
    reset_peak()
    before, start = memory("VmRSS"), time.perf_counter()
    lists.load("inaturalist2018", root, train_list=train, test_list=test)
    return time.perf_counter() - start, (memory("VmHWM") - before) / 1e6


def of_lists() -> Iterator[Row]:
    """The lists, each in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        for train, test in written(Path(folder)):
            found = [alone(checked, Path(folder), train, test) for _ in range(2)]
            on = f"lists of iNaturalist's size, {train.suffix[1:]}"
            yield {"on": on, "quantity": "list, MB", "value": train.stat().st_size / 1e6}
            yield {"on": on, "quantity": "seconds", "value": min(seconds for seconds, _ in found)}
            yield {"on": on, "quantity": "peak MB", "value": min(peak for _, peak in found)}


def picture(width: int, height: int) -> bytes:
    """Smooth noise, as JPEG."""
    noise = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return file.getvalue()


def whole(path: Path, rng: np.random.Generator) -> np.ndarray:
    """train_view."""
    return train_view(path, SIZE, rng)


def drafted(path: Path, rng: np.random.Generator) -> np.ndarray:
    """train_view with Pillow's draft mode: decoded at half, a quarter or an eighth where the crop still has SIZE pixels."""
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
    """Views of a picture, by turns in each way."""
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
            for kind, taken in seconds.items():
                yield {"on": on, "quantity": f"milliseconds, {kind}", "value": 1e3 * statistics.median(taken)}
            off = max(
                np.abs(np.subtract(*(of(path, np.random.default_rng(s)) for of in (whole, drafted)), dtype=int)).max()
                for s in range(VIEWS)
            )
            yield {"on": on, "quantity": "largest difference, grey levels", "value": off}


def main() -> None:
    """Measure, print, and write a row for each number to ``--out``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.files")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    made, rows = origin(), []
    for part in (of_views, of_lists):
        for row in part():
            rows.append(row | {"value": f"{row['value']:.4g}"} | made)
            print(row["on"], row["quantity"], rows[-1]["value"], sep="\t", flush=True)
    write(options.out, rows)


if __name__ == "__main__":
    main()
