"""Long-tailed data: counts, the subset that everybody uses, both layouts of CIFAR, and files that mean harm."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy._core.multiarray import _reconstruct
from PIL import Image
from sklearn.datasets import load_digits

from lpm.console.errors import InvalidInput
from training.config import RunConfig
from training.data import digits
from training.data.datasets import load, long_tailed_counts, long_tailed_indices, of
from training.store.metrics import splits

COUNTS = {
    (10, 10): [5000, 3871, 2997, 2320, 1796, 1391, 1077, 834, 645, 500],
    (10, 50): [5000, 3237, 2096, 1357, 878, 568, 368, 238, 154, 100],
    (10, 100): [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50],
    (10, 200): [5000, 2775, 1540, 854, 474, 263, 146, 81, 45, 25],
}
TOTALS = {(100, 10): 19573, (100, 50): 12608, (100, 100): 10847, (100, 200): 9502}
ROOT = Path(__file__).parents[2]
SHARED = Path(__file__).parents[3] / "shared" / "data" / "cifar10-jpeg"


@pytest.mark.parametrize(("K", "expected"), [(4, [60, 60, 6, 6]), (5, [60, 60, 6, 6, 6]), (2, [60, 6])])
def test_a_step_has_two_counts(K: int, expected: list[int]) -> None:
    counts = long_tailed_counts(60, K, 10, "step")
    assert counts.tolist() == expected
    few = expected.count(6)
    assert splits("digits-lt", counts, "step") == {"many": (0, K - few - 1), "few": (K - few, K - 1)}


def test_a_run_with_a_step_has_its_counts() -> None:
    run = RunConfig(imbalance=10, tail="step", preset="smoke", model="resnet8")
    data = of(run, None, train_list=None, test_list=None)
    assert data.counts.tolist() == [120] * 5 + [12] * 5
    assert run.factor == "10-step"
    assert run.key != replace(run, tail="exp").key


@pytest.mark.parametrize(("K", "factor"), COUNTS)
def test_long_tailed_counts(K: int, factor: int) -> None:
    assert long_tailed_counts(5000, K, factor).tolist() == COUNTS[K, factor]


@pytest.mark.parametrize(("K", "factor"), TOTALS)
def test_long_tailed_totals(K: int, factor: int) -> None:
    assert long_tailed_counts(500, K, factor).sum() == TOTALS[K, factor]


def test_the_subset_is_shuffled_class_by_class_by_one_legacy_generator() -> None:
    labels = np.array([0, 1, 0, 1, 0, 1, 1, 0])
    rng = np.random.RandomState(0)
    expected = []
    for k, n in ((0, 3), (1, 2)):
        indices = np.where(labels == k)[0]
        rng.shuffle(indices)
        expected += indices[:n].tolist()
    assert long_tailed_indices(labels, np.array([3, 2]), 0).tolist() == expected
    with pytest.raises(InvalidInput, match="class 1 has 4 images and should keep 5"):
        long_tailed_indices(labels, np.array([3, 5]), 0)
    with pytest.raises(InvalidInput, match="should keep 0"):
        long_tailed_indices(labels, np.array([3, 0]), 0)
    for imbalance in (0.5, 0.0, float("nan")):
        with pytest.raises(InvalidInput, match="must be at least 1, n_max / n_min"):
            load("digits-lt", None, imbalance=imbalance)


def test_digits() -> None:
    data = load("digits-lt", None, imbalance=10)
    assert data.counts[0] == 120
    assert data.counts[-1] == 12
    assert np.bincount(data.test.labels).tolist() == [50] * 10
    again = load("digits-lt", None, imbalance=10, subset_seed=1)
    assert not np.array_equal(again.train.images, data.train.images)
    flat = {x.tobytes() for x in data.train.images} & {x.tobytes() for x in data.test.images}
    assert not flat


@pytest.mark.parametrize("tail", ["exp", "step"])
def test_a_subset_of_few_images_is_the_beginning_of_the_usual_one(tail: str) -> None:
    few, usual = (load("digits-lt", None, imbalance=10, n_max=n, tail=tail) for n in (30, 0))
    assert few.counts.tolist() == long_tailed_counts(30, 10, 10, tail).tolist()
    for k, n in enumerate(few.counts):
        mine, theirs = few.train.images[few.train.labels == k], usual.train.images[usual.train.labels == k]
        assert np.array_equal(mine, theirs[:n])
    assert np.array_equal(few.test.images, usual.test.images)
    with pytest.raises(InvalidInput, match="and should keep 1000; take a smaller --n-max"):
        load("digits-lt", None, imbalance=10, n_max=1000)
    with pytest.raises(InvalidInput, match="should keep 0; take a smaller imbalance"):
        load("digits-lt", None, imbalance=10, n_max=5)


def test_digits_are_those_that_scikit_learn_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = digits._digits()
    monkeypatch.setattr(digits, "find_spec", lambda name: None)  # its file is somewhere else
    for one, theirs, loaded in zip(ours, load_digits(return_X_y=True), digits._digits.__wrapped__(), strict=True):
        assert one.dtype == theirs.dtype
        assert np.array_equal(one, theirs)
        assert np.array_equal(loaded, theirs)


def pixels(number: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (number, 3, 32, 32), dtype=np.uint8)


def batches(root: Path, K: int) -> tuple[np.ndarray, np.ndarray]:
    """CIFAR as Python pickles, 40 training images and 2 test images per class."""
    folder = root / ("cifar-10-batches-py" if K == 10 else "cifar-100-python")
    folder.mkdir(parents=True)
    key = b"labels" if K == 10 else b"fine_labels"
    train = np.tile(np.arange(K), 40)
    images = pixels(len(train), 0)
    names = [f"data_batch_{i}" for i in range(1, 6)] if K == 10 else ["train"]
    for name, part in zip(names, np.array_split(np.arange(len(train)), len(names)), strict=True):
        content = {b"data": images[part].reshape(len(part), -1), key: train[part].tolist()}
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    test = np.tile(np.arange(K), 2)
    content = {b"data": pixels(len(test), 1).reshape(len(test), -1), key: test.tolist()}
    (folder / ("test_batch" if K == 10 else "test")).write_bytes(pickle.dumps(content, protocol=2))
    return images, train


def parquet(root: Path, K: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """CIFAR as parquet files with encoded images."""
    root.mkdir(parents=True, exist_ok=True)
    column = "label" if K == 10 else "fine_label"
    images, labels = pixels(40 * K, 0), np.tile(np.arange(K), 40)
    for split, (x, y) in {"train": (images, labels), "test": (pixels(2 * K, 1), np.tile(np.arange(K), 2))}.items():
        encoded = []
        for image in x:
            file = io.BytesIO()
            Image.fromarray(image.transpose(1, 2, 0)).save(file, kind)
            encoded.append({"bytes": file.getvalue(), "path": None})
        extra = {} if K == 10 else {"coarse_label": y // 5}
        pq.write_table(pa.table({"img": encoded, column: y, **extra}), root / f"{split}-00000-of-00001.parquet")
    return images, labels


@pytest.mark.parametrize("K", [10, 100])
@pytest.mark.parametrize("layout", ["pickles", "parquet"])
def test_both_layouts_give_the_same_images(K: int, layout: str, tmp_path: Path) -> None:
    images, labels = batches(tmp_path, K) if layout == "pickles" else parquet(tmp_path / "data", K, "PNG")
    data = load(f"cifar{K}-lt", tmp_path, imbalance=4)
    assert data.name == f"cifar{K}-lt"
    counts = long_tailed_counts(40, K, 4)
    indices = long_tailed_indices(labels, counts, 0)
    assert np.array_equal(data.train.images, images[indices])
    assert np.array_equal(data.train.labels, labels[indices])
    assert data.counts.tolist() == counts.tolist()
    assert np.array_equal(data.test.images, pixels(2 * K, 1))


def shards(root: Path, *names: str) -> None:
    """Cut the file of CIFAR-10's training images into as many, in this order."""
    parquet(root, 10, "PNG")
    whole = root / "train-00000-of-00001.parquet"
    table = pq.read_table(whole)
    whole.unlink()
    rows = np.linspace(0, table.num_rows, len(names) + 1).astype(int)
    for name, first, last in zip(names, rows, rows[1:], strict=False):
        pq.write_table(table.slice(first, last - first), root / f"{name}.parquet")


@pytest.mark.parametrize(
    "names",
    [
        ("train-00000-of-00002", "train-00001-of-00002"),
        ("train-00000-of-00002-c08a401c53fe5312", "train-00001-of-00002-0a1b2c3d4e5f6071"),  # a hash, as some have it
        [f"train-{i}-of-12" for i in range(12)],  # by number, not by letter
        ("train-a", "train-b"),
    ],
    ids=["numbers", "hashes", "twelve", "words"],
)
def test_several_files_are_read_in_order(names: tuple[str, ...], tmp_path: Path) -> None:
    shards(tmp_path, *names)
    data = load("cifar10-lt", tmp_path, imbalance=4)
    indices = long_tailed_indices(np.tile(np.arange(10), 40), long_tailed_counts(40, 10, 4), 0)
    assert np.array_equal(data.train.images, pixels(400, 0)[indices])


@pytest.mark.parametrize(
    ("names", "gone", "message"),
    [
        ("0-of-2 1-of-2", 0, "1 train files, with the numbers 1; .* 2, each of 0 to 1 once"),
        ("0-of-2 1-of-2", 1, "1 train files, with the numbers 0; .* 2, each of 0 to 1 once"),
        ("0-of-1 0-of-1-c08a401c53fe5312", None, "2 train files, with the numbers 0, 0; .* 1, each of 0 to 0 once"),
        ("0-of-2 0-of-2-c08a401c53fe5312", None, "2 train files, with the numbers 0, 0; .* 2, each of 0 to 1 once"),
        ("0-of-2 1-of-2 more", None, "3 train files, with the numbers 0, 1; .* 2, each of 0 to 1 once"),
        ("0-of-2 1-of-3", None, "2 train files, with the numbers 0, 1; .* 3, each of 0 to 2 once"),
    ],
)
def test_files_that_are_missing_or_there_twice_are_one_line(
    names: str, gone: int | None, message: str, tmp_path: Path
) -> None:
    files = [f"train-{name}" for name in names.split()]
    shards(tmp_path, *files)
    if gone is not None:
        (tmp_path / f"{files[gone]}.parquet").unlink()
    with pytest.raises(InvalidInput, match=message) as error:
        load("cifar10-lt", tmp_path, imbalance=4)
    assert "\n" not in str(error.value)


def test_parquet_files_of_other_images_are_passed_over(tmp_path: Path) -> None:
    parquet(tmp_path / "cifar", 10, "PNG")
    (tmp_path / "another").mkdir()
    for split in ("train", "test"):
        pq.write_table(
            pa.table({"image": [b""], "label": [0]}), tmp_path / "another" / f"{split}-00000-of-00001.parquet"
        )
    assert load("cifar10-lt", tmp_path, imbalance=4).name == "cifar10-lt"


def test_jpeg_is_not_cifar(tmp_path: Path) -> None:
    parquet(tmp_path, 10, "JPEG")
    assert load("cifar10-lt", tmp_path, imbalance=2).name == "cifar10-jpeg-lt"


def test_real_images_re_encoded() -> None:
    if not SHARED.is_dir():
        pytest.skip(f"no images at {SHARED}")
    data = load("cifar10-lt", SHARED, imbalance=100)
    assert data.name == "cifar10-jpeg-lt"
    assert data.counts.tolist() == COUNTS[10, 100]
    assert np.bincount(data.test.labels).tolist() == [1000] * 10


class Harm:
    """Runs a command when unpickled by an unpickler that allows it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.mark}",)


def test_a_hostile_pickle_is_refused_and_not_executed(tmp_path: Path) -> None:
    batches(tmp_path, 10)
    mark = tmp_path / "harmed"
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").write_bytes(pickle.dumps({b"data": Harm(mark)}))
    with pytest.raises(InvalidInput, match=r"data_batch_3' is not a CIFAR batch: it asks for posix.system"):
        load("cifar10-lt", tmp_path, imbalance=2)
    assert not mark.exists()


class Build:
    """Pickles as a call of NumPy's own constructor with chosen arguments, and a chosen state."""

    def __init__(self, function: Any, arguments: tuple[Any, ...], state: Any = None) -> None:
        self.call = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.call


ODD_DTYPE = Build(np.dtype, ("O", False, True), (3, "|", None, None, None, -1, -1, 0))


@pytest.mark.parametrize(
    "content",
    [
        Build(np.ndarray, ((4,), "O", b"A" * 32)),
        Build(_reconstruct, (np.ndarray, (0,), b"b"), (1, (4,), ODD_DTYPE, False, b"A" * 32)),
        Build(_reconstruct, (np.ndarray, (0,), b"b"), (1, (10**9, 3072), np.dtype("u1"), False, b"A")),
        np.zeros((2, 3072), dtype=object),
        np.zeros((2, 3072), dtype=float),
        np.zeros((2, 32, 32, 3), dtype=np.uint8),
        np.zeros((3072, 2), dtype=np.uint8).T,
        [1, 2],
    ],
    ids=["object pointers", "flags", "short buffer", "objects", "floats", "shape", "order", "list"],
)
def test_arrays_that_are_no_images_are_refused_before_anything_reads_them(content: Any, tmp_path: Path) -> None:
    """In a process of its own: what goes wrong here is a crash."""
    batches(tmp_path, 10)
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(
        pickle.dumps({b"data": content, b"labels": [0, 1]}, 2)
    )
    code = (
        "import sys, pathlib, training.data.datasets as d; d.load('cifar10-lt', pathlib.Path(sys.argv[1]), imbalance=2)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "InvalidInput" in done.stderr.splitlines()[-1]
    assert "is not a CIFAR batch" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_batches_of_every_protocol_are_read(protocol: int, tmp_path: Path) -> None:
    images, _ = batches(tmp_path, 10)
    for file in (tmp_path / "cifar-10-batches-py").iterdir():
        content = pickle.loads(file.read_bytes())
        file.write_bytes(pickle.dumps(content, protocol))
    assert load("cifar10-lt", tmp_path, imbalance=1).train.images.sum() == images.sum()


def test_a_test_set_without_a_class_is_refused(tmp_path: Path) -> None:
    batches(tmp_path, 10)
    content = {b"data": pixels(2, 0).reshape(2, -1), b"labels": [0, 1]}
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(pickle.dumps(content, 2))
    with pytest.raises(InvalidInput, match="test set has no image of some class"):
        load("cifar10-lt", tmp_path, imbalance=2)


def broken_label(root: Path, label: int = 10) -> None:
    content = {b"data": pixels(2, 0).reshape(2, -1), b"labels": [0, label]}
    (root / "cifar-10-batches-py" / "data_batch_1").write_bytes(pickle.dumps(content))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (
            lambda root: (root / "cifar-10-batches-py" / "test_batch").unlink(),
            "test_batch' cannot be read: No such file",
        ),
        (lambda root: (root / "cifar-10-batches-py" / "data_batch_2").write_bytes(b"\x80"), "is not a CIFAR batch"),
        (lambda root: (root / "cifar-10-batches-py" / "data_batch_2").write_bytes(pickle.dumps([1])), "is not a CIFAR"),
        (broken_label, "each must lie in 0..9"),
        (lambda root: broken_label(root, 2**70), "each must lie in 0..9"),
        (
            lambda root: (root / "cifar-10-batches-py" / "data_batch_2").write_bytes(b"ca\x1b[2J\nb\n."),
            r"it asks for a\\x1b\[2J.b",
        ),
        (lambda root: (root / "cifar-10-batches-py" / "data_batch_1").unlink(), "holds no CIFAR-10"),
    ],
)
def test_damaged_pickles_are_one_line(harm: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    batches(tmp_path, 10)
    harm(tmp_path)
    with pytest.raises(InvalidInput, match=message) as error:
        load("cifar10-lt", tmp_path, imbalance=2)
    assert "\n" not in str(error.value)


def test_damaged_parquet_is_one_line(tmp_path: Path) -> None:
    parquet(tmp_path, 10, "PNG")
    file = tmp_path / "train-00000-of-00001.parquet"
    table = pq.read_table(file)
    for image, message in (
        (b"no image", "image 0 cannot be decoded"),
        (_png((31, 32)), "31 x 32, not 32 x 32"),
        (_png((60_000, 60_000)), "cannot be decoded"),
    ):
        rows = table["img"].to_pylist()
        for row in rows:
            row["bytes"] = image
        pq.write_table(table.set_column(0, "img", pa.array(rows)), file)
        with pytest.raises(InvalidInput, match="cannot be decoded" if "decoded" in message else message):
            load("cifar10-lt", tmp_path, imbalance=2)
    for column, values in (
        ("img", [{"bytes": 10**12}]),
        ("img", [None]),
        ("label", [0.5]),
        ("label", [None]),
        ("label", [2**63]),
    ):
        wrong = pa.array(values * table.num_rows, pa.uint64() if values == [2**63] else None)
        pq.write_table(table.set_column(table.schema.get_field_index(column), column, wrong), file)
        with pytest.raises(InvalidInput, match=r"is corrupt|must lie in 0\.\.9"):
            load("cifar10-lt", tmp_path, imbalance=2)
    file.write_bytes(b"PAR1 no")
    with pytest.raises(InvalidInput, match="is not a parquet file"):
        load("cifar10-lt", tmp_path, imbalance=2)


def _png(size: tuple[int, int]) -> bytes:
    """A PNG that says it has this size, without holding so many pixels."""
    file = io.BytesIO()
    Image.new("RGB", (31, 32)).save(file, "PNG")
    data = bytearray(file.getvalue())
    if size != (31, 32):
        data[16:24] = size[0].to_bytes(4, "big") + size[1].to_bytes(4, "big")
    return bytes(data)


@pytest.mark.parametrize(
    ("dataset", "root", "message"),
    [
        ("svhn", None, "dataset 'svhn' is unknown"),
        ("cifar10-lt", None, "needs --data-root"),
        ("cifar10-lt", "none", "is not a folder"),
        ("cifar10-lt", ".", "holds no CIFAR-10"),
    ],
)
def test_missing_data_is_one_line(dataset: str, root: str | None, message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=message):
        load(dataset, None if root is None else tmp_path / root, imbalance=10)
