"""Folders that look like the large data sets, from small real images; made anew by each test that needs one."""

from __future__ import annotations

import functools
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from training.catalogue import CATALOGUE

SHARED = Path(__file__).parents[3] / "shared" / "data" / "cifar10-jpeg"


@functools.cache
def pictures(number: int) -> tuple[Image.Image, ...]:
    """Photographs of 32 x 32 pixels where there are some, else digits."""
    if SHARED.is_dir():
        import pyarrow.parquet as pq

        rows = next(pq.ParquetFile(SHARED / "test-00000-of-00001.parquet").iter_batches(number, columns=["img"]))
        return tuple(Image.open(io.BytesIO(row["bytes"])).convert("RGB") for row in rows["img"].to_pylist())
    from sklearn.datasets import load_digits

    images = (load_digits().images[:number] * 15.9375).astype(np.uint8)
    return tuple(Image.fromarray(pixels).convert("RGB") for pixels in images)


def encoded(number: int, size: tuple[int, int] = (40, 32)) -> list[bytes]:
    """The pictures scaled up to (width, height), as JPEG."""
    files = []
    for picture in pictures(number):
        file = io.BytesIO()
        picture.resize(size, Image.Resampling.BICUBIC).save(file, "JPEG")
        files.append(file.getvalue())
    return files


def make(
    dataset: str, root: Path, *, most: int = 3, least: int = 2, as_json: bool = False, seed: int = 0
) -> np.ndarray:
    """A folder with images and lists of a large set, and its training count by the list's own label, (K,).

    Every class has from ``least`` to ``most`` images for training, in some order of the labels, and one for testing.
    as_json: lists in iNaturalist's JSON.
    """
    K, rng = CATALOGUE[dataset].classes, np.random.default_rng(seed)
    counts = rng.permutation(np.linspace(most, least, K).round().astype(int))
    files = encoded(20)
    for use, per_class in enumerate((counts, np.ones(K, int))):
        rows = [(f"{'train' if use == 0 else 'val'}/{k:04d}/{i}.jpg", k) for k in range(K) for i in range(per_class[k])]
        for path, k in rows:
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(files[k % len(files)])
        rows = [rows[i] for i in rng.permutation(len(rows))]
        lists = CATALOGUE[dataset].lists
        assert lists is not None
        (root / (lists.train, lists.test)[use][as_json]).write_text(
            as_inaturalist(rows) if as_json else "".join(f"{p} {k}\n" for p, k in rows)
        )
    return counts


def as_inaturalist(rows: list[tuple[str, int]]) -> str:
    """A list in iNaturalist's form. Ids are not positions."""
    images = [
        {"id": 7 * i, "file_name": path, "width": 800, "rights_holder": "none"} for i, (path, _) in enumerate(rows)
    ]
    annotations = [{"id": 7 * i, "image_id": 7 * i, "category_id": k} for i, (_, k) in enumerate(rows)]
    categories = [{"id": k, "name": f"species {k}"} for k in sorted({k for _, k in rows})]
    return json.dumps({"images": images, "annotations": annotations[::-1], "categories": categories})
