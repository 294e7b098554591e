"""Images in parquet files and other shards, as Hugging Face's data sets have them: unpacked once into files beside a list.

A column holds each image as a file's bytes, another one its label. Reading single images out of a parquet file at random would
be slow, and everything here works on files. So images are written to a hidden folder under the root, with a list.

Parquet files come from elsewhere: few rows are read at a time, what a file would unpack to is bounded before, and no path in a
file is used.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from lpm.console.errors import InvalidInput, install
from lpm.console.output import write
from lpm.console.text import shown
from training.data import shards
from training.data.tables import LABELS
from training.data.untrusted import contents, line, opened, quoted

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

FOLDER = ".unpacked"
"""Folder under the root with the unpacked images and their lists. It may be deleted."""

LIMIT = 2**40
"""Bytes that a file may have."""

IMAGE_LIMIT = 100_000_000
"""Bytes that an image may have."""

GROWTH, ROOM = 4, 100_000_000
"""How many times the bytes of its file, and how many bytes besides, images may have. They are compressed already."""

GROUP = 4_000_000_000
"""Bytes of a row group, which is read as a whole."""

LEAST = 20
"""Bytes of a file for each of its images at least: no image is smaller."""

ENDINGS = (
    (b"\xff\xd8", "jpg"),
    (b"\x89PNG", "png"),
    (b"GIF8", "gif"),
    (b"BM", "bmp"),
    (b"II*\0", "tif"),
    (b"MM\0*", "tif"),
)
"""First bytes of images, and the ending of their names."""

FILES = (
    *("{}.parquet", "{}-*.parquet", "data/{}.parquet", "data/{}-*.parquet", "{}/*.parquet", "*/{}/*.parquet"),
    "{}/data-*.arrow",  # of datasets.save_to_disk; others of that ending are its cache
    *("{}.tar", "{}-*.tar", "{}/*.tar"),
)
"""Where the shards of a part lie, with its name; the first pattern that matches any is taken."""

SHARDS = (".parquet", ".arrow", ".tar")
"""Endings of shards."""


def files_of(root: Path, names: Sequence[str]) -> list[Path]:
    """Find the parquet files, or other shards, of the training or test images.

    Args:
        root: the folder.
        names: names that the part may have, such as 'test' and 'validation'.

    Returns:
        The files, sorted; none if there are none.
    """
    for name in names:
        for pattern in FILES:
            if found := sorted(file for file in root.glob(pattern.format(name)) if not file.name.startswith(".")):
                return found
    return []


def unpacked(root: Path, files: Sequence[Path]) -> Path:
    """Unpack the images of shards, unless that was done and no file has changed.

    Args:
        root: the folder that holds them, in which :data:`FOLDER` is written.
        files: the shards.

    Returns:
        The list of the images, JSON Lines, relative to ``root``.

    Raises:
        InvalidInput: if a file lies outside ``root``, is no shard of images and labels, or is too large; or the
            folder cannot be written.
    """
    real = Path(os.path.realpath(root))
    places = [os.path.relpath(os.path.realpath(file), real) for file in files]
    if outside := [file for file, place in zip(files, places, strict=True) if place.startswith("..")]:
        raise InvalidInput(f"{str(outside[0])!r} lies outside --data-root; put a copy into it")
    state = {place: [(at := os.stat(real / place)).st_size, at.st_mtime_ns] for place in places}
    name = os.path.splitext(places[0])[0]
    listed, note = real / FOLDER / f"{name}.jsonl", real / FOLDER / f"{name}.json"
    try:
        with _alone(real / FOLDER):
            if not (listed.is_file() and _noted(note) == state):
                print(f"note: unpacking {shown(quoted(files[0]))}, once, into {shown(root / FOLDER)}", file=sys.stderr)
                _refuse_link(note.parent)
                note.unlink(missing_ok=True)  # so that a killed command leaves nothing that looks whole
                try:
                    rows = [row for place in places for row in _written(real, place)]
                except BaseException:
                    for place in places:
                        _removed(real, place)
                    raise
                write(listed, "".join(json.dumps(row) + "\n" for row in rows).encode())
                write(note, json.dumps(state).encode())
    except OSError as error:
        raise InvalidInput(f"{str(root / FOLDER)!r} cannot be written: {error.strerror}") from None
    return listed


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Make a folder, and let one process at a time into the block: those of torchrun all come here."""
    folder.mkdir(exist_ok=True)
    _refuse_link(folder)
    file = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def _refuse_link(folder: Path) -> None:
    """Raise InvalidInput for a folder that is or lies behind a link: what it leads to must not be written or removed."""
    if os.path.realpath(folder) != str(folder):
        raise InvalidInput(f"{quoted(folder)} is or lies behind a link; remove it")


def _noted(note: Path) -> Any:
    """What was unpacked; None if the note is missing or damaged."""
    try:
        return json.loads(contents(note, 10_000_000))
    except (InvalidInput, ValueError, RecursionError):
        return None


def _removed(root: Path, place: str) -> str:
    """Remove the images of a file that were written before. Returns their folder."""
    folder = f"{FOLDER}/{os.path.splitext(place)[0]}"
    _refuse_link(root / folder)
    shutil.rmtree(root / folder, ignore_errors=True)
    return folder


def _written(root: Path, place: str) -> Iterator[dict[str, int | str]]:
    """Write the images of a file, and give a row of the list for each."""
    folder = _removed(root, place)
    (root / folder).mkdir(parents=True)
    for number, (image, label) in enumerate(_rows(root / place)):
        ending = next((ending for start, ending in ENDINGS if image.startswith(start)), "webp")
        path = f"{folder}/{number:07d}.{ending}"
        (root / path).write_bytes(image)
        yield {"file_name": path, "label": label}


def _rows(path: Path) -> Iterator[tuple[bytes, int | str]]:
    """The images and labels of a file. Raises InvalidInput for another file."""
    with opened(path, LIMIT) as file:
        kind = path.suffix.lower()
        parquet = _parquet(file, path) if kind == ".parquet" else None
        size = os.fstat(file.fileno()).st_size
        room = GROWTH * size + ROOM
        try:
            rows = shards.tar_rows(file, IMAGE_LIMIT) if kind == ".tar" else _table_rows(file, parquet, size)
            for number, (data, word) in enumerate(rows):
                if len(data) > IMAGE_LIMIT or (room := room - len(data)) < 0 or number * LEAST > size:
                    raise ValueError(f"up to row {number} its images are much larger than the file")
                yield data, word
        except Exception as error:  # a corrupt file can raise anything
            raise InvalidInput(
                f"{quoted(path)} is no {kind[1:]} file of images and labels: {line(error) or type(error).__name__}"
            ) from None


def _table_rows(file: BinaryIO, parquet: ParquetFile | None, size: int) -> Iterator[tuple[bytes, int | str]]:
    """The images and labels of a table: a parquet file of ``size`` bytes, or an Arrow file."""
    table = shards.arrow_table(file) if parquet is None else parquet
    image, label, names = _columns(table.schema if parquet is None else parquet.schema_arrow)
    if parquet is not None:
        _refuse_large(parquet, size)
    number = -1
    # Few rows at a time: a value that is stored once may stand in every row.
    batches = table if parquet is None else parquet.iter_batches(16, columns=[image, label], use_threads=False)
    for batch in batches:
        for value, word in zip(batch[image], batch[label], strict=True):
            number += 1
            value, word = value.as_py(), word.as_py()
            data = value["bytes"] if isinstance(value, dict) else value
            if type(data) is not bytes or type(word) not in (int, str):
                raise ValueError(f"row {number} lacks the bytes of an image, or a label")
            if names and not (type(word) is int and 0 <= word < len(names)):
                raise ValueError(f"row {number} has label {str(word)[:20]}, and there are {len(names)} names")
            yield data, names[word] if names else word


def _parquet(file: BinaryIO, path: Path) -> ParquetFile:
    try:
        import pyarrow.parquet as pq
    except ImportError:
        raise InvalidInput(f"parquet files need the package pyarrow; {install('train')}") from None
    try:
        return pq.ParquetFile(file)
    except Exception as error:
        raise InvalidInput(f"{quoted(path)} is not a parquet file: {line(error)}") from None


def _columns(schema: Any) -> tuple[str, str, list[str]]:
    """The columns of images and of labels, and the names of the classes where the file has them."""
    import pyarrow as pa

    features = _features(schema.metadata or {})

    def is_image(name: str) -> bool:
        kind = schema.field(name).type
        has_bytes = pa.types.is_struct(kind) and any(kind.field(i).name == "bytes" for i in range(kind.num_fields))
        return has_bytes or pa.types.is_binary(kind)

    images = sorted(filter(is_image, schema.names), key=lambda name: name.lower() not in ("image", "img"))
    named = {
        name: feature["names"] for name, feature in features.items() if _is_label(feature) and name in schema.names
    }
    words = [name for word in ("fine_label", *LABELS) for name in schema.names if name.lower() == word]
    labels = [*(name for name in words if name in named), *named, *words]
    if not images or not labels:
        columns = ", ".join(line(name) for name in schema.names[:10])
        raise ValueError(f"it needs a column 'image' with bytes and a column 'label'; its columns are {columns}")
    return images[0], labels[0], named.get(labels[0], [])


def _features(metadata: dict[bytes, bytes]) -> dict[str, Any]:
    """What Hugging Face's library has written about the columns; nothing where it has not."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def _is_label(feature: Any) -> bool:
    names = feature.get("names") if isinstance(feature, dict) else None
    return (
        isinstance(names, list) and all(isinstance(name, str) for name in names) and len(set(names)) == len(names) > 0
    )


def _refuse_large(parquet: ParquetFile, size: int) -> None:
    """Raise ValueError for a file of ``size`` bytes that says it has more rows or bytes than images could have."""
    metadata = parquet.metadata
    groups = [metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups)]
    if metadata.num_rows * LEAST > size:
        raise ValueError(f"it says it has {metadata.num_rows:,} rows in {size:,} bytes, which cannot be images")
    if max(groups, default=0) > min(GROUP, GROWTH * size + ROOM):
        raise ValueError(f"a row group has {max(groups):,} bytes when it is decompressed")
