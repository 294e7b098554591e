"""CIFAR's files that mean harm cost what they weigh, and end in one line: pickles, parquet files, pipes and links."""

from __future__ import annotations

import os
import pickle
import struct
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lpm.console.errors import InvalidInput
from training.data import batch_pickles, cifar

LABELS = list(range(10)) * 2
DOUBLED = b"K\x01" + b"2\x86" * 40
"""Pickles as a tuple of itself, 40 times: it has 2^40 leaves in 82 bytes."""

WITHOUT_DUP = b"K\x01q\x000" + b"h\x00h\x00\x86q\x000" * 40 + b"h\x00"
"""The same with the memo instead of DUP; 0 is POP."""

NESTED = b"K\x01q\x00" + b"h\x00h\x00\x86q\x00" * 40
"""The same with steps that batches have; its rest stays on the stack."""


def array(word: bytes, shape: bytes) -> bytes:
    """Pickle an array of a type and a shape."""
    head = b"cnumpy.core.multiarray\n_reconstruct\n)R(K\x01"
    return head + shape + b"cnumpy\ndtype\n" + word + b"\x85R\x89U\x04abcdtb"


def batch(images: bytes) -> bytes:
    return b"\x80\x02}(U\x04data" + images + b"U\x06labels]K\x00au."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of six small batches."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    good = pickle.dumps({b"data": np.zeros((20, 3072), np.uint8), b"labels": LABELS})
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        (folder / name).write_bytes(good)
    return folder


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02}" + DOUBLED + b"K\x01s.",
        b"\x80\x02}" + WITHOUT_DUP + b"K\x01s.",
        b"\x80\x02}(" + NESTED + b"K\x01u.",
        b"\x80\x02" + NESTED + b"K\x01K\x01\x93.",
        b"\x80\x04" + NESTED + b"\x8c\x01ah\x00\x93.",
        batch(array(DOUBLED, b"K\x01M\x00\x0c\x86")),
        batch(array(b"(" + NESTED + b"t", b"K\x01M\x00\x0c\x86")),
        batch(array(b"U\x02u1", b"(" + NESTED + b"h\x00t")),
        batch(array(b"U\x02u1", b"(" + NESTED + b"t")),
        b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00a" + DOUBLED + b"\x86R.",
        b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00a(" + NESTED + b"t\x86R.",
        b"\x80\x02c_codecs\nencode\nq\x01X\xff\xff\x00\x00" + b"a" * 65535 + b"q\x02X\x06\x00\x00\x00latin1q\x03"
        b"\x86R" + b"h\x01h\x02h\x03\x86R" * 9000 + b".",
        b"\x80\x02Nr" + struct.pack("<I", 2**30) + b".",
        b"\x80\x02]" + b"(" * 1000 + b".",
        b"\x80\x02N.",
        b"\x80\x02.",
        b"\x80\x020.",
        b"\x80\x02(e.",
        b"I" + b"9" * 100_000 + b"\n.",
        b"\x80\x02\x8b\xff\xff\xff\x7f.",
        b"\x80\x02T\xff\xff\xff\x7f.",
    ],
)
def test_a_pickle_costs_what_it_weighs(content: bytes, folder: Path) -> None:
    (folder / "data_batch_2").write_bytes(content)
    start = time.process_time()
    with pytest.raises(InvalidInput, match=r"data_batch_2' is not a CIFAR batch: ") as error:
        cifar.read(folder.parent, 10)
    assert time.process_time() - start < 10  # the harm takes years
    assert len(str(error.value)) < 300


def test_files_of_python_2_are_read() -> None:
    """As the archives of CIFAR have them: strings of Python 2, memos, filenames."""
    names = b"(" + b"".join(b"U\x05a.pngr" + struct.pack("<I", i) for i in range(300, 10_300)) + b"e"
    images = (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85U\x01b\x87Rq\t(K\x01K\x01M\x00\x0c"
        b"\x86cnumpy\ndtype\nq\nU\x02u1K\x00K\x01\x87Rq\x0b(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        b"T\x00\x0c\x00\x00" + bytes(range(256)) * 12 + b"tb"
    )
    text = (
        b"\x80\x02}q\x01(U\x0bbatch_labelq\x02U\x15training batch 1 of 5q\x03U\x06labelsq\x04]q\x05K\x06aU\x04dataq\x06"
    )
    data = batch_pickles.load(text + images + b"U\tfilenamesq\x0c]q\x0d" + names + b"u.")
    assert data == pickle.loads(text + b"NU\tfilenamesq\x0c]q\x0d" + names + b"u.", encoding="bytes") | {
        b"data": data[b"data"]
    }
    assert data[b"data"].pixels().ravel().tolist() == list(range(256)) * 12


@pytest.mark.parametrize("name", ["data_batch_1", "data_batch_3", "test_batch"])
def test_pipes_and_links_that_leave_are_refused_at_once(name: str, folder: Path, tmp_path: Path) -> None:
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(InvalidInput, match=f"{name}' is not a regular file"):
        cifar.read(tmp_path, 10)
    (folder / name).unlink()
    (tmp_path / "elsewhere").write_bytes(content)
    (folder / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidInput, match=f"{name}' is a link that leaves --data-root; put a copy of the file"):
        cifar.read(folder, 10)
    assert len(cifar.read(tmp_path, 10)[1].labels) == 20


def tables(root: Path, rows: int, image: bytes = b"x") -> Path:
    """Write two parquet files whose rows all have one image. Returns the one for training."""
    kind = pa.struct([("bytes", pa.binary())])
    for name, number in (("train", rows), ("test", 20)):
        images = pa.array([{"bytes": image}], type=kind).take(pa.array(np.zeros(number, dtype=np.int32)))
        table = pa.table({"img": images, "label": np.zeros(number, dtype=np.int64)})
        pq.write_table(table, root / f"{name}-0.parquet", compression="zstd")
    return root / "train-0.parquet"


def piped(root: Path) -> None:
    tables(root, 5).unlink()
    os.mkfifo(root / "train-0.parquet")


def linked(root: Path) -> None:
    tables(root, 5).rename(root.parent / "t")
    (root / "train-0.parquet").symlink_to("../t")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda root: tables(root, 3_000_000), "there are more than 50,000 images"),
        (lambda root: tables(root, 40, b"x" * 10_000_000), "an image has 10,000,000 bytes, more than 1,000,000"),
        (piped, "is not a regular file"),
        (linked, "is a link that leaves --data-root"),
    ],
)
def test_a_parquet_file_costs_what_it_weighs(harm: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    harm(tmp_path / "data")
    start, before = time.process_time(), pa.total_allocated_bytes()
    with pytest.raises(InvalidInput, match=message):
        cifar.read(tmp_path / "data", 10)
    assert time.process_time() - start < 10  # 3 million rows would be a minute
    assert pa.total_allocated_bytes() - before < 1e9


def test_a_set_in_several_files_has_as_many_images_as_cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tables(tmp_path, 30)
    (tmp_path / "train-1.parquet").write_bytes(file.read_bytes())
    assert len(cifar.read(tmp_path, 10)[0].labels) == 60
    monkeypatch.setattr(cifar, "IMAGES", 59)
    with pytest.raises(InvalidInput, match="there are more than 59 images"):
        cifar.read(tmp_path, 10)
