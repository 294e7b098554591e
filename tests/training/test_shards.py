"""Shards beside parquet: Arrow files of ``datasets.save_to_disk``, and tar files as WebDataset writes them; also hostile ones."""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lpm.console.cli import run as run_command
from lpm.console.errors import InvalidInput
from tests.training.large import encoded
from tests.training.own import COUNTS, ORDER, trained
from training import split
from training.data import parquet, shards
from training.data.found import number_of_classes
from training.data.lists import load
from training.store.runs import find

NAMES = ["cat", "dog", "emu"]
FEATURES = {"label": {"names": NAMES, "_type": "ClassLabel"}, "image": {"_type": "Image"}}


def labels_of(part: str) -> list[int]:
    return [k for k, name in enumerate(NAMES) for _ in range(COUNTS[part][name])]


def arrow(file: Path, labels: list[int], *, streamed: bool = True) -> None:
    """An Arrow file as ``datasets.save_to_disk`` writes it, in two batches."""
    images = [{"bytes": encoded(10)[i % 10], "path": f"../../{i}.jpg"} for i in range(len(labels))]
    table = pa.table({"image": images, "label": labels})
    table = table.replace_schema_metadata({b"huggingface": json.dumps({"info": {"features": FEATURES}}).encode()})
    file.parent.mkdir(parents=True, exist_ok=True)
    write = pa.ipc.new_stream if streamed else pa.ipc.new_file
    with write(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=len(labels) // 2 + 1)


def tar(file: Path, members: Iterable[tuple[str, bytes]]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w") as archive:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return file


def samples(labels: list[int], label: str = "cls") -> Iterable[tuple[str, bytes]]:
    for i, k in enumerate(labels):
        yield f"some/{i:04d}.jpg", encoded(10)[i % 10]
        if label == "cls":
            yield f"some/{i:04d}.cls", str(k).encode()
        else:
            yield f"some/{i:04d}.json", json.dumps({"label": NAMES[k], "caption": "an animal"}).encode()


def saved_to_disk(root: Path) -> None:
    """A DatasetDict, whose training images are in two shards; and a file of the library's cache."""
    half = labels_of("train")[::2], labels_of("train")[1::2]
    for number, labels in enumerate(half):
        arrow(root / f"train/data-0000{number}-of-00002.arrow", labels, streamed=number == 0)
    arrow(root / "test/data-00000-of-00001.arrow", labels_of("test"))
    (root / "train/cache-1234.arrow").write_bytes(b"of the library")
    (root / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    for part in ("train", "test"):
        (root / part / "state.json").write_text("{}")


def tars(root: Path) -> None:
    """Shards of WebDataset, with numbers of classes."""
    labels = labels_of("train")
    for number, some in enumerate((labels[:10], labels[10:])):
        tar(root / f"train-{number:06d}.tar", samples(some))
    tar(root / "test-000000.tar", samples(labels_of("test")))
    (root / "classes.txt").write_text("".join(f"{name}\n" for name in NAMES))


def named_tars(root: Path) -> None:
    """Shards in folders, with names of classes in JSON."""
    for part in ("train", "test"):
        tar(root / part / "000.tar", samples(labels_of(part), "json"))


@pytest.mark.parametrize("make", [saved_to_disk, tars, named_tars])
def test_shards_are_unpacked_once_and_train(make: Any, tmp_path: Path, capsys: Any) -> None:
    root = tmp_path / "D"
    make(root)
    assert number_of_classes(root, None) == 3
    train, test, names = load("own", root, classes=3)
    assert names.tolist() == ORDER
    assert np.bincount(train.labels).tolist() == [30, 12, 4]
    assert np.bincount(test.labels).tolist() == [3, 2, 2]
    assert Counter(path.read_bytes() for path in root.glob(".unpacked/**/*.jpg")).keys() <= set(encoded(10))
    assert capsys.readouterr().err.count("note: unpacking") == 2
    assert trained(root, tmp_path / "s") == 0
    assert "unpacking" not in capsys.readouterr().err
    assert [run.done for run in find(tmp_path / "s")] == [True]


def test_one_saved_data_set_is_divided(tmp_path: Path) -> None:
    root = tmp_path / "D"
    arrow(root / "data-00000-of-00001.arrow", labels_of("train"))
    assert run_command(lambda: split.main([str(root)])) == 0
    train, test, names = load("own", root, classes=3)
    assert names.tolist() == ORDER
    assert len(train) + len(test) == 46


def test_a_data_set_that_the_library_has_saved_trains(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    parts = {}
    for part in ("train", "test"):
        rows = {"image": [{"bytes": encoded(10)[i % 10], "path": None} for i in range(len(labels_of(part)))]}
        features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)})
        parts[part] = datasets.Dataset.from_dict(rows | {"label": labels_of(part)}, features=features)
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "D")
    train, _, names = load("own", tmp_path / "D", classes=3)
    assert names.tolist() == ORDER
    assert np.bincount(train.labels).tolist() == [30, 12, 4]


@pytest.mark.parametrize("write", [pa.ipc.new_stream, pa.ipc.new_file])
@pytest.mark.parametrize("encoded_as", ["plain", "dictionary"])
def test_arrow_files_that_could_unpack_to_any_size_are_refused(write: Any, encoded_as: str, tmp_path: Path) -> None:
    label = pa.array(["cat", "dog"] * 10)
    table = pa.table(
        {"image": [encoded(1)[0]] * 20, "label": label if encoded_as == "plain" else label.dictionary_encode()}
    )
    for compression in (None, "zstd", "lz4"):
        options = pa.ipc.IpcWriteOptions(compression=compression)
        file = tmp_path / f"{compression}/train/data-0.arrow"
        file.parent.mkdir(parents=True)
        with write(file, table.schema, options=options) as writer:
            writer.write_table(table)
        with file.open("rb") as stream:
            if compression is None:
                assert sum(batch.num_rows for batch in shards.arrow_table(stream)) == 20
            else:
                with pytest.raises(ValueError, match="it is compressed"):
                    shards.arrow_table(stream)
    with pytest.raises(InvalidInput, match="no arrow file of images and labels: it is compressed"):
        load("own", tmp_path / "zstd", classes=2)


JPEG = b"\xff\xd8 an image"


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("a.jpg", JPEG)], "sample '/a' needs one image, and a label"),
        ([("a.cls", b"1")], "sample '/a' needs one image"),
        ([("a.jpg", JPEG), ("a.png", JPEG), ("a.cls", b"1")], "sample '/a' needs one image"),
        ([("a.jpg", JPEG), ("a.jpg", JPEG)], "'a.jpg' is there twice"),
        ([("a.jpg", JPEG), ("a.json", b"[1]")], "a label in .cls or .json"),
        ([("a.jpg", JPEG), ("a.json", b"{")], "no tar file of images and labels"),
        ([("a.jpg", JPEG), ("a.cls", b"\xff")], "no tar file of images and labels"),
        ([("a.jpg", JPEG), ("a.cls", b"1" * 2_000_000)], "has 2,000,000 bytes"),
    ],
)
def test_samples_without_image_or_label_are_named(members: Any, message: str, tmp_path: Path) -> None:
    tar(tmp_path / "train.tar", members)
    with pytest.raises(InvalidInput) as refused:
        load("own", tmp_path, classes=2)
    assert message in str(refused.value)
    assert str(refused.value).isprintable()


def test_no_path_and_no_link_of_a_tar_file_is_used(tmp_path: Path) -> None:
    root = tmp_path / "D"
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(encoded(1)[0])
    with tarfile.open(tar(root / "train.tar", [("../../out.jpg", JPEG), ("../../out.cls", b"0")]), "a") as archive:
        for kind, name in ((tarfile.SYMTYPE, "b.jpg"), (tarfile.LNKTYPE, "c.jpg"), (tarfile.FIFOTYPE, "d.jpg")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, str(secret)
            archive.addfile(member)
        for name, data in (("/e.jpg", JPEG), ("/e.cls", b"1"), ("._f.jpg", b"of macOS")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    with pytest.raises(InvalidInput, match="holds no test"):
        load("own", root, classes=2)
    files = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and path.name != ".lock")
    assert files == [
        ".unpacked/train.json", ".unpacked/train.jsonl", ".unpacked/train/0000000.jpg", ".unpacked/train/0000001.jpg",
        "train.tar",
    ]  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == ["D", "secret.jpg"]


@pytest.mark.parametrize("name", ["train/data-00000-of-00001.arrow", "train.tar"])
def test_broken_shards_are_one_line_and_leave_nothing(name: str, tmp_path: Path) -> None:
    saved_to_disk(tmp_path / "whole")
    tars(tmp_path / "whole")
    source = tmp_path / "whole" / {"train.tar": "train-000000.tar"}.get(name, "test/data-00000-of-00001.arrow")
    for content in (b"", b"no shard", source.read_bytes()[: source.stat().st_size // 2], bytes(2000)):
        root = tmp_path / "D"
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
        if content == bytes(2000) and name == "train.tar":  # an archive without members
            continue
        with pytest.raises(InvalidInput, match="file of images and labels: ") as refused:
            load("own", root, classes=3)
        assert str(refused.value).isprintable()
        assert not list(root.glob(".unpacked/**/*.jsonl"))


def with_holes(name: str, size: int, form: str) -> bytes:
    """A member of a tar file, as GNU tar writes one that is ``size`` zeros: two blocks of data at most."""
    if form == "gnu":
        header = bytearray(tarfile.TarInfo(name).tobuf(tarfile.GNU_FORMAT))
        header[156:157] = tarfile.GNUTYPE_SPARSE
        header[386:410] = b"%011o\0%011o\0" % (size, 0)  # one piece, empty, at the end
        header[483:495] = b"%011o\0" % size
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header[:512])
        return bytes(header)
    member = tarfile.TarInfo(name)
    member.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": name}
    member.pax_headers |= {"GNU.sparse.realsize": str(size)}
    pieces = f"1\n{size}\n0\n".encode().ljust(512, b"\0")
    member.size = len(pieces)
    return member.tobuf(tarfile.PAX_FORMAT) + pieces


@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_members_with_holes_are_refused_and_nothing_stays(form: str, tmp_path: Path) -> None:
    """71 KB became 3.6 GB."""
    file = tar(tmp_path / "train.tar", samples([0, 1]))
    with file.open("rb") as stream, tarfile.open(fileobj=stream) as archive:
        end = archive.getmembers()[-1].offset_data + 512
    hole = with_holes("x.jpg", 90_000_000, form)
    file.write_bytes(file.read_bytes()[:end] + hole + bytes(1024))
    with tarfile.open(file) as archive:
        assert archive.getmembers()[-1].size == 90_000_000  # what Python would make of it
    with pytest.raises(InvalidInput, match=r"member 'x\.jpg' has holes"):
        load("own", tmp_path, classes=2)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.name != ".lock") == [".unpacked", "train.tar"]


@pytest.mark.parametrize("name", ["train.tar", "train/data-0.arrow"])
def test_images_larger_than_their_shard_are_refused_and_nothing_stays(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name.endswith("tar"):
        tar(tmp_path / name, samples([0, 1]))
    else:
        arrow(tmp_path / name, [0, 1])
    monkeypatch.setattr(parquet, "GROWTH", 0)
    monkeypatch.setattr(parquet, "ROOM", len(encoded(10)[0]))  # one image
    with pytest.raises(InvalidInput, match="up to row 1 its images are much larger than the file"):
        load("own", tmp_path, classes=2)
    assert not list(tmp_path.rglob("*.jpg"))


def test_a_refused_shard_takes_the_images_of_the_others_with_it(tmp_path: Path) -> None:
    tar(tmp_path / "train-0.tar", samples([0, 1]))
    tar(tmp_path / "train-1.tar", [*samples([0, 1]), ("z.jpg", JPEG)])
    with pytest.raises(InvalidInput, match="sample '/z' needs one image, and a label"):
        load("own", tmp_path, classes=2)
    assert not list(tmp_path.rglob("*.jpg"))
